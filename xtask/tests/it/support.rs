//! Projects in temporary folders, and the program run on them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use xtask::model::{GateReport, Report};
use xtask::verdict::Verdict;

/// The repository that is being tested.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A git repository in a temporary folder.
pub struct Project {
    _folder: tempfile::TempDir,
    path: PathBuf,
    config: Option<&'static str>,
    env: BTreeMap<String, String>,
}

/// How one run of the program ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    pub report: Option<Report>,
}

impl Ran {
    #[track_caller]
    pub fn report(&self) -> &Report {
        self.report.as_ref().unwrap_or_else(|| panic!("no report:\n{}\n{}", self.stdout, self.stderr))
    }

    #[track_caller]
    pub fn gate(&self, id: &str) -> &GateReport {
        let found = self.report().gates.iter().find(|gate| gate.id == id);
        found.unwrap_or_else(|| panic!("no gate {id}:\n{}", self.stdout))
    }

    /// The gates that are not green.
    pub fn red(&self) -> Vec<&str> {
        let red = self.report().gates.iter().filter(|gate| gate.verdict != Verdict::Pass);
        red.map(|gate| gate.id.as_str()).collect()
    }

    /// The gates that were not taken from the cache.
    pub fn ran(&self) -> Vec<&str> {
        self.report().gates.iter().filter(|gate| !gate.cached).map(|gate| gate.id.as_str()).collect()
    }

    #[track_caller]
    pub fn assert_code(&self, code: i32) -> &Self {
        assert_eq!(self.code, code, "{}\n{}", self.stdout, self.stderr);
        self
    }
}

impl Project {
    fn empty() -> Self {
        let folder = tempfile::Builder::new().prefix("project").tempdir().unwrap();
        let mut env = BTreeMap::new();
        // Nothing of the surroundings but what finds programs and packages: no CI variables, no pytest options.
        for (name, value) in std::env::vars() {
            let kept = ["PATH", "HOME", "PYENV_ROOT", "RUSTUP_HOME", "CARGO_HOME", "TMPDIR"].contains(&name.as_str());
            let network = ["SSL_CERT", "CA_BUNDLE", "PROXY", "proxy", "PIP_CERT", "UV_CACHE_DIR", "INDEX"];
            if kept || network.iter().any(|part| name.contains(part)) {
                env.insert(name, value);
            }
        }
        // As the program itself sees it, links followed.
        let path = folder.path().canonicalize().unwrap();
        let project = Self { _folder: folder, path, config: None, env };
        project.git(&["init", "-q", "-b", "main"]);
        project
    }

    /// An empty repository that shares our programs and has environments of its own.
    pub fn bare() -> Self {
        let project = Self::empty();
        project.share(&["tools"]);
        project
    }

    /// A copy of this repository as it is on the disk.
    pub fn ours() -> Self {
        let project = Self::empty();
        let list = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(repository())
            .output()
            .unwrap();
        for path in String::from_utf8(list.stdout).unwrap().split('\0').filter(|path| !path.is_empty()) {
            let (from, to) = (repository().join(path), project.path().join(path));
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            if from.is_symlink() {
                std::os::unix::fs::symlink(std::fs::read_link(from).unwrap(), to).unwrap();
            } else if from.is_file() {
                std::fs::copy(from, to).unwrap();
            }
        }
        project.share_environments();
        project.commit();
        project
    }

    /// Another FastAPI project: other names, one Python, no Redis, no hooks, other places for everything.
    pub fn shop() -> Self {
        let mut project = Self::empty();
        project.config = Some("ci");
        for lock in ["tests.txt", "docs.txt", "tools.txt"] {
            let text = std::fs::read_to_string(repository().join("backend/requirements").join(lock)).unwrap();
            project.write(&format!("locks/{lock}"), &text);
        }
        project.write("ci/pipeline.toml", SHOP_CONFIG);
        project.write(".gitignore", "/target/\n__pycache__/\n*.local\n");
        project.write("pyproject.toml", SHOP_PYPROJECT);
        project.write("shop/__init__.py", "");
        project.write("shop/api.py", SHOP_API);
        project.write("checks/conftest.py", "");
        project.write("checks/test_api.py", SHOP_TEST);
        project.write("manual/mkdocs.yml", "site_name: Shop\n");
        project.write("manual/docs/index.md", "# Shop\n\nSee [prices](prices.md).\n");
        project.write("manual/docs/prices.md", "# Prices\n\nBack to [the start](index.md#shop).\n");
        project.share_environments();
        project.commit();
        project
    }

    /// Environments and uv are made once for all tests, below our own target folder.
    fn share_environments(&self) {
        self.share(&["env", "tools"]);
    }

    fn share(&self, names: &[&str]) {
        let shared = repository().join("target/xtask-tests");
        std::fs::create_dir_all(self.path().join("target/xtask")).unwrap();
        for name in names {
            std::fs::create_dir_all(shared.join(name)).unwrap();
            std::os::unix::fs::symlink(shared.join(name), self.path().join("target/xtask").join(name)).unwrap();
        }
    }

    /// Environments of this project alone, for a test that breaks them.
    pub fn own_environments(&self) {
        let link = self.path().join("target/xtask/env");
        std::fs::remove_file(&link).unwrap();
        std::fs::create_dir(link).unwrap();
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.path().join(path)).unwrap()
    }

    /// Replaces text in a file; it has to be there.
    #[track_caller]
    pub fn edit(&self, path: &str, from: &str, to: &str) {
        let text = self.read(path);
        assert!(text.contains(from), "`{from}` is not in {path}");
        self.write(path, &text.replace(from, to));
    }

    /// The folder of the configuration, where it is not the default one.
    pub fn use_config(&mut self, folder: &'static str) {
        self.config = Some(folder);
    }

    /// Copies a file or a folder of our repository.
    pub fn copy_tree(&self, from: &str, to: &str) {
        let source = repository().join(from);
        if source.is_dir() {
            for entry in std::fs::read_dir(&source).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                self.copy_tree(&format!("{from}/{name}"), &format!("{to}/{name}"));
            }
        } else {
            let target = self.path().join(to);
            std::fs::create_dir_all(target.parent().unwrap()).unwrap();
            std::fs::copy(source, target).unwrap();
        }
    }

    /// The repository's address for `git clone`.
    pub fn url(&self) -> String {
        format!("file://{}", self.path().display())
    }

    pub fn set(&mut self, name: &str, value: impl AsRef<Path>) {
        self.env.insert(name.to_owned(), value.as_ref().to_str().unwrap().to_owned());
    }

    /// Git at another time, as far as commits know it.
    #[track_caller]
    pub fn git_at(&self, date: &str, args: &[&str]) {
        let identity = ["-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"];
        let mut command = Command::new("git");
        let command = command.args(identity).args(args).current_dir(self.path()).env("GIT_COMMITTER_DATE", date);
        assert!(command.status().unwrap().success(), "git {args:?} at {date}");
    }

    #[track_caller]
    pub fn git(&self, args: &[&str]) {
        let identity = ["-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"];
        let status = Command::new("git").args(identity).args(args).current_dir(self.path()).status().unwrap();
        assert!(status.success(), "git {args:?}");
    }

    /// Git in the surroundings of a user: with the variables of this project, whatever comes of it.
    pub fn git_output(&self, args: &[&str]) -> std::process::Output {
        Command::new("git").args(args).current_dir(self.path()).env_clear().envs(&self.env).output().unwrap()
    }

    pub fn commit(&self) {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", "a commit"]);
    }

    /// The program with these arguments, not started yet.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.current_dir(self.path()).env_clear().envs(&self.env).stdin(Stdio::null());
        // First, for what comes after `--` is pytest's.
        if let Some(config) = self.config {
            command.args(["--config", config]);
        }
        command.args(args);
        command
    }

    /// Runs the program, and reads the report that it left.
    pub fn xtask(&self, args: &[&str]) -> Ran {
        let default = self.path().join("target/xtask/out");
        let named = args.iter().position(|&arg| arg == "--out").map(|index| self.path().join(args[index + 1]));
        let report = named.unwrap_or(default).join("report.json");
        let _older = std::fs::remove_file(&report);
        let output = self.command(args).output().unwrap();
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            report: std::fs::read(report).ok().map(|bytes| serde_json::from_slice(&bytes).unwrap()),
        }
    }

    /// A folder of programs that is looked into before all others.
    pub fn put_first(&mut self, folder: &Path) {
        let path = format!("{}:{}", folder.display(), self.env["PATH"]);
        self.set("PATH", Path::new(&path));
    }

    /// PATH without one program: folders that have it give way to links to everything else in them.
    pub fn hide_program(&mut self, name: &str) {
        let hidden = self.path().join("target/hidden");
        let path = self.env["PATH"].clone();
        let folders = std::env::split_paths(&path).enumerate().map(|(index, folder)| {
            if !folder.join(name).exists() {
                return folder;
            }
            let without = hidden.join(index.to_string());
            std::fs::create_dir_all(&without).unwrap();
            for entry in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap()) {
                if entry.file_name() != name {
                    std::os::unix::fs::symlink(entry.path(), without.join(entry.file_name())).unwrap();
                }
            }
            without
        });
        let path = std::env::join_paths(folders.collect::<Vec<_>>()).unwrap();
        self.set("PATH", Path::new(&path));
    }

    /// A folder of programs, the only PATH: links to those named, found on the PATH of the tests.
    pub fn only_programs(&mut self, names: &[&str]) -> PathBuf {
        let bin = self.path().join("target/bin");
        std::fs::create_dir_all(&bin).unwrap();
        let path = std::env::var_os("PATH").unwrap();
        for name in names {
            let program = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|path| path.is_file());
            std::os::unix::fs::symlink(program.unwrap_or_else(|| panic!("{name} is not on PATH")), bin.join(name))
                .unwrap();
        }
        self.set("PATH", &bin);
        bin
    }
}

const SHOP_CONFIG: &str = r#"
[python]
versions = ["3.12"]
tools = "3.12"
tools_lock = "locks/tools.txt"

[tests]
directory = "."
package = "shop"
lock = "locks/tests.txt"
inputs = ["shop", "checks", "pyproject.toml"]

[coverage]
floor = 80.0

[docs]
directory = "manual"
config = "mkdocs.yml"
lock = "locks/docs.txt"
inputs = ["manual"]

[cache]
generated = ["__pycache__"]
environment = ["TZ"]
"#;

const SHOP_PYPROJECT: &str = r#"
[project]
name = "shop"
version = "1"

[tool.pytest.ini_options]
pythonpath = ["."]
testpaths = ["checks"]

[tool.coverage.run]
relative_files = true
"#;

const SHOP_API: &str = r#"from fastapi import FastAPI

app = FastAPI()


@app.get("/price/{item}")
def price(item: str) -> dict[str, int]:
    if item == "apple":
        return {"price": 3}
    return {"price": 0}
"#;

const SHOP_TEST: &str = r#"from shop.api import price


def test_apple():
    assert price("apple") == {"price": 3}


def test_pear():
    assert price("pear") == {"price": 0}
"#;
