//! A generated project of 5,000 files, with the same interpreters, locks and kinds of gates as this one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::material::write;
use crate::{Bench, Places};
use xtask::config::Config;
use xtask::disk::write_atomically;
use xtask::tools::command::Command;

/// How many files git tracks in it.
pub const FILES: usize = 5000;

/// How many modules lie in one folder.
const IN_A_FOLDER: usize = 50;

/// Where it lies.
pub fn folder(places: &Places) -> PathBuf {
    places.folder.join("large")
}

/// Makes it, unless it is there and the same.
pub async fn make(bench: &Bench) -> Result<()> {
    let places = &bench.places;
    let (root, config) = (folder(places), &places.ctx.config);
    let locks = [Some(&config.python.tools_lock), config.tests.as_ref().map(|tests| &tests.lock)];
    let locks = locks.into_iter().flatten().map(|path| {
        let text = std::fs::read_to_string(places.ctx.root.join(path));
        text.map(|text| (path.clone(), text)).with_context(|| format!("cannot read `{path}`"))
    });
    let files = files(config, locks.collect::<Result<_>>()?);
    let mut hash = blake3::Hasher::new();
    for (path, text) in &files {
        hash.update(path.as_bytes()).update(b"\0").update(text.as_bytes()).update(b"\0");
    }
    let (stamp_file, stamp) = (places.folder.join("large.stamp"), hash.finalize().to_hex());
    if std::fs::read_to_string(&stamp_file).is_ok_and(|old| old == stamp.as_str()) {
        return Ok(());
    }
    let _absent = std::fs::remove_dir_all(&root);
    for (path, text) in &files {
        write(&root.join(path), text.as_bytes())?;
    }
    share_environments(places, &root)?;
    let git = |args: &[&str]| Command::new("git", &root).args(args.iter().copied());
    let commit = ["-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "commit.gpgsign=false"];
    let commit = git(&commit).args(["commit", "--quiet", "--no-verify", "--message", "Files to count"]);
    // The last one makes git look at each file once more, after which it need not do so again.
    for command in [git(&["init", "--quiet"]), git(&["add", "--all"]), commit, git(&["status", "--porcelain"])] {
        let ended = bench.runner.run(&command).await?;
        if !ended.is_success() {
            bail!("`{command}` {}", ended.failure());
        }
    }
    write_atomically(&stamp_file, stamp.as_bytes())
}

/// The environments of a generated project are made of the same locks, so they are the same ones.
pub fn share_environments(places: &Places, root: &Path) -> Result<()> {
    let store = root.join("target/xtask");
    std::fs::create_dir_all(&store).context("cannot make the store of the generated project")?;
    let ctx = &places.ctx;
    for (name, shared) in [("env", ctx.environments.clone()), ("tools", ctx.store.join("tools"))] {
        std::fs::create_dir_all(&shared).with_context(|| format!("cannot make `{}`", shared.display()))?;
        std::os::unix::fs::symlink(&shared, store.join(name)).with_context(|| format!("cannot share `{name}`"))?;
    }
    Ok(())
}

/// Path → text, [`FILES`] in all.
fn files(config: &Config, locks: Vec<(String, String)>) -> BTreeMap<String, String> {
    let mut files: BTreeMap<String, String> = locks.into_iter().collect();
    let test = "from service import answer\n\n\ndef test_answer():\n    assert answer() == 42\n";
    for (path, text) in [
        (".gitignore", "/target/\n__pycache__/\n*.pyc\n".to_owned()),
        (".pre-commit-config.yaml", HOOKS.to_owned()),
        ("xtask/config/pipeline.toml", pipeline(config)),
        ("backend/service/__init__.py", "def answer():\n    return 42\n".to_owned()),
        ("backend/tests/test_answer.py", test.to_owned()),
    ] {
        files.insert(path.to_owned(), text);
    }
    for n in 0..FILES - files.len() {
        let path = format!("library/part_{:03}/module_{n:04}.py", n / IN_A_FOLDER);
        files.insert(path, format!("\"\"\"Module {n}.\"\"\"\n\nNUMBER = {n}\n"));
    }
    files
}

/// A hook of a program that the lock of the tools installs in any case.
const HOOKS: &str = "repos:\n- repo: local\n  hooks:\n  - id: prek\n    name: prek\n    entry: prek --version\n    \
                     language: system\n    pass_filenames: false\n";

/// Every gate depends on every file, which is the worst that a project can ask for.
fn pipeline(config: &Config) -> String {
    let python = &config.python;
    let mut text = format!(
        "[python]\nversions = {:?}\ntools = {:?}\ntools_lock = {:?}\n\n[hooks]\nconfig = \".pre-commit-config.yaml\"\n",
        python.versions, python.tools, python.tools_lock
    );
    if let Some(tests) = &config.tests {
        text.push_str(&format!(
            "\n[tests]\ndirectory = \"backend\"\npackage = \"service\"\nlock = {:?}\ninputs = [\".\"]\n\n\
             [coverage]\nfloor = 0.0\n",
            tests.lock
        ));
    }
    text.push_str("\n[cache]\ngenerated = [\"target\", \"__pycache__\", \"*.pyc\"]\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_the_files_that_its_name_says_and_a_configuration_that_is_read() {
        let text = "[python]\nversions = [\"3.11\", \"3.12\"]\ntools = \"3.12\"\ntools_lock = \"tools.txt\"\n\
                    [tests]\ndirectory = \"b\"\npackage = \"p\"\nlock = \"tests.txt\"\ninputs = [\"b\"]\n";
        let config = Config::parse(text).unwrap();
        let locks = vec![("tools.txt".to_owned(), String::new()), ("tests.txt".to_owned(), String::new())];
        let files = files(&config, locks);
        assert_eq!(files.len(), FILES);
        let generated = Config::parse(&files["xtask/config/pipeline.toml"]).unwrap();
        assert_eq!(generated.python.versions, config.python.versions);
        assert_eq!(generated.tests.unwrap().lock, "tests.txt");
    }
}
