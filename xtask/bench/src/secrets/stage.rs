//! What is to be scanned, put under names that mean nothing, so that no rule leaves a file out by its name.
//!
//! A folder of ours also has no `.gitleaks.toml` and no `.gitleaksignore`, and each file begins with empty
//! lines, so that none is taken for an archive by its first bytes. Whole blobs need no diff: neither
//! `.gitattributes` nor a merge can hide one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::corpus::Found;
use crate::material::history::MESSAGE;
use xtask::tools::command::Command;
use xtask::tools::proc::Runner;

/// Endings that rules of gitleaks ask for.
const KEPT: [&str; 8] = ["yaml", "yml", "tf", "hcl", "php", "p12", "pfx", "config"];

/// How much lies in one file at most, unless one alone is larger: as much as gitleaks reads at once.
///
/// A file for each of ten thousand blobs costs more time than looking at them.
const TOGETHER: usize = 90_000;

/// What keeps the last lines of one apart from the first lines of the next.
const BETWEEN: &[u8] = b"\n\n\n\n";

/// A folder of such files, and what each of them was.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Where they lie.
    pub folder: PathBuf,
    /// File → where in it each one begins, and what it was.
    names: BTreeMap<String, Vec<(usize, String)>>,
    /// What is not written yet.
    open: Vec<u8>,
    begins: Vec<(usize, String)>,
}

impl Stage {
    /// An empty folder.
    pub fn new(folder: PathBuf) -> Result<Self> {
        if folder.exists() {
            std::fs::remove_dir_all(&folder).with_context(|| format!("cannot remove `{}`", folder.display()))?;
        }
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
        Ok(Self { folder, names: BTreeMap::new(), open: vec![], begins: vec![] })
    }

    /// One more file. Nothing is sure to be written before [`Stage::close`].
    pub fn add(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        let alone = neutral(self.names.len(), path);
        if alone.contains('.') {
            return self.write(alone, &[BETWEEN, bytes].concat(), vec![(BETWEEN.len(), path.to_owned())]);
        }
        if self.open.len() + bytes.len() > TOGETHER {
            self.close()?;
        }
        self.open.extend_from_slice(BETWEEN);
        self.begins.push((self.open.len(), path.to_owned()));
        self.open.extend_from_slice(bytes);
        Ok(())
    }

    /// Writes what is not written yet.
    pub fn close(&mut self) -> Result<()> {
        let (bytes, begins) = (std::mem::take(&mut self.open), std::mem::take(&mut self.begins));
        if begins.is_empty() { Ok(()) } else { self.write(neutral(self.names.len(), ""), &bytes, begins) }
    }

    fn write(&mut self, name: String, bytes: &[u8], begins: Vec<(usize, String)>) -> Result<()> {
        let file = self.folder.join(&name);
        std::fs::write(&file, bytes).with_context(|| format!("cannot write `{}`", file.display()))?;
        self.names.insert(name, begins);
        Ok(())
    }

    /// What was found, where it was. Lines are counted here, for little is found.
    pub fn origin(&self, (name, first, last): Found) -> Found {
        let bytes = std::fs::read(self.folder.join(&name)).unwrap_or_default();
        let begins = self.names.get(&name).map(Vec::as_slice).unwrap_or_default();
        // One that begins at the end of a line begins with the next one.
        let line_of = |begin: usize| bytes.iter().take(begin).filter(|byte| **byte == b'\n').count();
        let origin = begins.iter().map(|(begin, path)| (line_of(*begin), path)).rfind(|(line, _)| *line < first);
        match origin {
            Some((line, path)) => (path.clone(), first - line, last.saturating_sub(line)),
            None => (name, first, last),
        }
    }
}

fn neutral(number: usize, path: &str) -> String {
    let ending = Path::new(path).extension().map(|ending| ending.to_string_lossy().to_lowercase());
    match ending.filter(|ending| KEPT.contains(&ending.as_str())) {
        Some(ending) => format!("{number:07}.{ending}"),
        None => format!("{number:07}"),
    }
}

/// Every blob and every message that any branch or tag of `repository` reaches, each of them once.
pub async fn history(runner: &Runner, repository: &Path, folder: PathBuf) -> Result<Stage> {
    let git = |args: &[&str]| Command::new("git", repository).args(args.iter().copied());
    let listed = runner.read_bytes(&git(&["rev-list", "--objects", "--all"])).await?;
    let listed = String::from_utf8_lossy(&listed).into_owned();
    let listed = || listed.lines().map(|line| line.split_once(' ').unwrap_or((line, "")));
    let paths: BTreeMap<&str, &str> = listed().collect();
    // In the order of git: it finds what lies side by side in a pack much faster.
    let ids = listed().fold(String::new(), |ids, (id, _)| ids + id + "\n");
    let kinds = git(&["cat-file", "--batch-check=%(objectname) %(objecttype)", "--buffer"]).stdin(ids);
    let kinds = String::from_utf8_lossy(&runner.read_bytes(&kinds).await?).into_owned();
    // Trees say nothing that the paths do not say.
    let wanted = kinds.lines().filter_map(|line| line.split_once(' ')).filter(|(_, kind)| *kind != "tree");
    let wanted = wanted.fold(String::new(), |ids, (id, _)| ids + id + "\n");
    let bytes = runner.read_bytes(&git(&["cat-file", "--batch", "--buffer"]).stdin(wanted)).await?;
    let mut stage = Stage::new(folder)?;
    let mut messages = Vec::new();
    for (id, kind, body) in objects(&bytes) {
        match kind {
            "blob" => stage.add(paths.get(id).copied().unwrap_or_default(), body)?,
            _ => messages.extend([body, b"\n"].concat()),
        }
    }
    stage.add(MESSAGE, &messages)?;
    stage.close()?;
    Ok(stage)
}

/// What `git cat-file --batch` prints: `ID KIND SIZE`, the bytes, and a line feed, over and over.
fn objects(bytes: &[u8]) -> impl Iterator<Item = (&str, &str, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let mut head = std::str::from_utf8(&rest[..end]).ok()?.split(' ');
        let (id, kind, size) = (head.next()?, head.next()?, head.next()?.parse::<usize>().ok()?);
        let body = rest.get(end + 1..end + 1 + size)?;
        rest = rest.get(end + 2 + size..)?;
        Some((id, kind, body))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_cut_by_their_sizes() {
        let all: Vec<_> = objects(b"a1 blob 3\nx\ny\nb2 commit 0\n\nc3 blob 1\nz\n").collect();
        assert_eq!(all, [("a1", "blob", &b"x\ny"[..]), ("b2", "commit", b""), ("c3", "blob", b"z")]);
    }

    #[test]
    fn each_line_is_found_where_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let mut stage = Stage::new(folder.path().join("stage")).unwrap();
        for (path, text) in [("a.py", "1\n2\n"), ("b.yaml", "1\n"), ("c", "1"), ("d", "1\n2"), ("e", "")] {
            stage.add(path, text.as_bytes()).unwrap();
        }
        stage.close().unwrap();
        let found = |name: &str, line| stage.origin((name.to_owned(), line, line + 1));
        assert_eq!(found("0000000.yaml", 5), ("b.yaml".to_owned(), 1, 2));
        let together = std::fs::read_to_string(stage.folder.join("0000001")).unwrap();
        assert_eq!(
            together.lines().collect::<Vec<_>>(),
            ["", "", "", "", "1", "2", "", "", "", "", "1", "", "", "", "1", "2", "", "", ""]
        );
        for (line, path, at) in [(5, "a.py", 1), (6, "a.py", 2), (11, "c", 1), (15, "d", 1), (16, "d", 2)] {
            assert_eq!(found("0000001", line), (path.to_owned(), at, at + 1));
        }
    }

    #[test]
    fn only_an_ending_that_a_rule_asks_for_is_kept() {
        for (path, name) in [
            ("node_modules/a.js", "0000007"),
            ("k8s/Secret.YAML", "0000007.yaml"),
            (".env", "0000007"),
            ("", "0000007"),
        ] {
            assert_eq!(neutral(7, path), name);
        }
    }
}
