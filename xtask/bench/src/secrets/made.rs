//! What is made for the scanners: the corpus, a large tree, changed files, a long history.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::corpus::{self, Corpus};
use super::stage::Stage;
use crate::Bench;
use crate::material::{bulk, git, long_history, write};

/// How many files are changed at once.
const CHANGED: [usize; 3] = [1, 10, 100];

/// What is made here to be scanned.
#[derive(Debug)]
pub struct Made {
    /// The corpus as it lies.
    pub corpus: PathBuf,
    /// The corpus under neutral names.
    pub staged: Stage,
    /// A large tree.
    pub tree: PathBuf,
    /// A repository with a long history.
    pub history: PathBuf,
    /// Repositories with so many files staged.
    pub changed: Vec<(usize, PathBuf)>,
}

/// Writes all that is scanned; the large parts only where they are missing.
pub async fn make(bench: &Bench, root: &Path, corpus: &Corpus) -> Result<Made> {
    let folder = root.join("corpus");
    let _absent = std::fs::remove_dir_all(&folder);
    let mut staged = Stage::new(root.join("staged"))?;
    for (path, text) in &corpus.files {
        let bytes = corpus::bytes(path, text);
        write(&folder.join(path), &bytes)?;
        staged.add(path, &bytes)?;
    }
    staged.close()?;
    let tree = root.join("tree");
    if !tree.join(STOP).exists() {
        for (path, text) in bulk::tree() {
            write(&tree.join(path), text.as_bytes())?;
        }
    }
    for folder in [&folder, &staged.folder, &tree] {
        write(&folder.join(STOP), b"")?;
    }
    let mut changed = Vec::new();
    for count in CHANGED {
        let repository = root.join(format!("changed-{count}"));
        for (path, text) in bulk::tree().step_by(29).take(count) {
            write(&repository.join(path), text.as_bytes())?;
        }
        git(bench, &repository, &["init", "--quiet"]).await?;
        git(bench, &repository, &["add", "--all"]).await?;
        changed.push((count, repository));
    }
    let history = long_history(bench).await?;
    Ok(Made { corpus: folder, staged, tree, history, changed })
}

/// Where a scanner stops to look for a `.gitignore` above.
const STOP: &str = ".git";
