//! What is generated to be measured, for more than one group: text, histories, and the git that holds them.

pub mod bulk;
pub mod history;
pub mod random;
pub mod stream;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::{Bench, Places};
use xtask::tools::command::Command;

/// Writes a file, with the folders above it.
pub fn write(file: &Path, bytes: &[u8]) -> Result<()> {
    let cannot = || format!("cannot write `{}`", file.display());
    std::fs::create_dir_all(file.parent().with_context(cannot)?).with_context(cannot)?;
    std::fs::write(file, bytes).with_context(cannot)
}

/// git in a folder, and what it said.
pub async fn git(bench: &Bench, folder: &Path, args: &[&str]) -> Result<String> {
    run(bench, &Command::new("git", folder).args(args.iter().copied())).await
}

/// `git fast-import` of a stream.
pub async fn import(bench: &Bench, repository: &Path, stream: String) -> Result<()> {
    let import = Command::new("git", repository).args(["fast-import", "--quiet", "--done"]).stdin(stream);
    run(bench, &import).await.map(drop)
}

async fn run(bench: &Bench, command: &Command) -> Result<String> {
    let ended = bench.runner.run(command).await?;
    if !ended.is_success() {
        bail!("`{command}` {}", ended.failure());
    }
    Ok(ended.stdout)
}

/// The repository with the long history of [`history`]; made where it is missing.
pub async fn long_history(bench: &Bench) -> Result<PathBuf> {
    let folder = long_history_folder(&bench.places);
    if folder.join("made").exists() {
        return Ok(folder);
    }
    write(&folder.join("latin.txt"), &history::latin())?;
    git(bench, &folder, &["init", "--quiet", "--initial-branch", "main"]).await?;
    let id = git(bench, &folder, &["hash-object", "-w", "--no-filters", "latin.txt"]).await?;
    import(bench, &folder, history::stream(id.trim())).await?;
    git(bench, &folder, &["reset", "--quiet", "--hard"]).await?;
    write(&folder.join("made"), b"")?;
    Ok(folder)
}

/// Where it lies.
pub fn long_history_folder(places: &Places) -> PathBuf {
    places.folder.join("secrets/history")
}
