//! Peers at their no-op: one hook, one session or eight cached tasks that do nothing.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::measure::{Proof, Subject};
use crate::{Bench, Places};
use xtask::disk::write_atomically;
use xtask::tools::command::Command;

/// Peers that the lock of the tools installs.
pub const PINNED: [&str; 3] = ["prek", "pre-commit", "nox"];

/// The version of turbo, which npm installs; nothing of the pipeline uses it.
pub const TURBO: &str = "2.11.11";

const HOOKS: &str = "repos:\n- repo: local\n  hooks:\n  - id: nothing\n    name: nothing\n    entry: 'true'\n    \
                     language: system\n    pass_filenames: false\n";

const NOXFILE: &str = "import nox\n\n\n@nox.session(venv_backend=\"none\")\ndef nothing(session):\n    pass\n";

const PACKAGES: usize = 8;
const FILES_IN_ALL: usize = 800;

/// Writes what the peers read.
pub fn write(places: &Places) -> Result<()> {
    write_atomically(&hooks(places), HOOKS.as_bytes())?;
    write_atomically(&noxfile(places), NOXFILE.as_bytes())
}

fn hooks(places: &Places) -> PathBuf {
    places.folder.join("peers/hooks.yaml")
}

fn noxfile(places: &Places) -> PathBuf {
    places.folder.join("peers/noxfile.py")
}

/// A runner of hooks over all files of `root`.
pub fn hook_runner(places: &Places, runner: &str, root: &Path, at: &str, ours: &str) -> Subject {
    let command = Command::new(places.tools.join(runner), root)
        .args(["run", "--all-files", "--color=never", "--config"])
        .arg(hooks(places))
        .env("PREK_HOME", places.ctx.store.join("prek"))
        .env("PRE_COMMIT_HOME", places.ctx.store.join("pre-commit"));
    Subject::new(format!("{runner}, one hook that does nothing, {at}"), command, Proof::Says("Passed")).beside(ours)
}

/// nox with one session and no environment.
pub fn nox(places: &Places, ours: &str) -> Subject {
    let command =
        Command::new(places.tools.join("nox"), &places.folder.join("peers")).arg("--noxfile").arg(noxfile(places));
    let proof = Proof::Says("Session nothing was successful");
    Subject::new("nox, one session that does nothing", command, proof).beside(ours)
}

fn turbo_folder(places: &Places) -> PathBuf {
    places.folder.join("turbo")
}

/// turbo, as npm starts it, with its tasks all cached.
pub fn turbo(places: &Places, ours: &str) -> Subject {
    let folder = turbo_folder(places);
    let command = Command::new(folder.join("node_modules/.bin/turbo"), &folder)
        .args(["run", "build", "--no-color"])
        .env("TURBO_TELEMETRY_DISABLED", "1")
        .env("DO_NOT_TRACK", "1");
    let name = format!("turbo, {PACKAGES} cached tasks over {FILES_IN_ALL} files");
    Subject::new(name, command, Proof::Says("8 cached, 8 total")).beside(ours)
}

/// Makes the workspace of turbo, and lets npm install it; says why where that is not possible.
pub async fn install_turbo(bench: &Bench) -> Result<()> {
    let folder = turbo_folder(&bench.places);
    let Some(npm) = bench.machine.on_path("npm") else { bail!("`npm` is not on PATH") };
    for (path, text) in turbo_files() {
        write_atomically(&folder.join(path), text.as_bytes())?;
    }
    let npm = Command::new(npm, &folder).args(["install", "--no-audit", "--no-fund", "--loglevel=error"]);
    let git = |args: &[&str]| Command::new("git", &folder).args(args.iter().copied());
    for command in [npm, git(&["init", "--quiet"]), git(&["add", "--all"])] {
        let ended = bench.runner.run(&command).await?;
        if !ended.is_success() {
            bail!("`{command}` {}", ended.failure());
        }
    }
    // What is not stored yet is built here, so that the run that is not counted finds all of it.
    let first = bench.runner.run(&turbo(&bench.places, "").command).await?;
    first.is_success().then_some(()).with_context(|| first.failure())
}

/// Everything but what npm installs: each package has its manifest and its modules.
fn turbo_files() -> Vec<(String, String)> {
    let root = format!(
        r#"{{"name":"bench","private":true,"packageManager":"npm@10.0.0","workspaces":["packages/*"],"devDependencies":{{"turbo":"{TURBO}"}}}}"#
    );
    let mut files = vec![
        ("package.json".to_owned(), root),
        ("turbo.json".to_owned(), r#"{"tasks":{"build":{"outputs":[]}}}"#.to_owned()),
        (".gitignore".to_owned(), "node_modules\n.turbo\n".to_owned()),
    ];
    for package in 0..PACKAGES {
        let manifest = format!(r#"{{"name":"package-{package}","version":"1.0.0","scripts":{{"build":"true"}}}}"#);
        files.push((format!("packages/p{package}/package.json"), manifest));
        let module = |n| (format!("packages/p{package}/src/m{n}.js"), format!("export const n = {n};\n"));
        files.extend((1..FILES_IN_ALL / PACKAGES).map(module));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turbo_gets_the_files_that_its_row_names() {
        let files = turbo_files();
        assert_eq!(files.iter().filter(|(path, _)| path.starts_with("packages/")).count(), FILES_IN_ALL);
        for (path, text) in files.iter().filter(|(path, _)| path.ends_with(".json")) {
            assert!(serde_json::from_str::<serde_json::Value>(text).is_ok(), "{path}");
        }
    }
}
