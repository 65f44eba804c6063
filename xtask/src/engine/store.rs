//! Stored reports of gates that passed: `target/xtask/cache/gates/GATE/DIGEST/`.
//!
//! An entry is taken only whole: every artifact there, with the bytes that were stored. Only passes
//! are stored. An entry appears by one rename, so that a crash leaves none that is half written.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::key::Key;
use crate::disk::write_atomically;
use crate::model::GateReport;
use crate::verdict::Verdict;

/// How many entries of one gate are kept.
const KEPT: usize = 8;

/// The store of one checkout.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
    /// Seconds since the Unix epoch.
    now: i64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    /// Seconds since the Unix epoch: when what it says was asked for.
    asked: i64,
    report: GateReport,
    files: Vec<StoredFile>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredFile {
    path: String,
    blake3: String,
}

impl Store {
    /// The store below `target/xtask`, at the time of this run.
    pub fn new(store: &Path, now: OffsetDateTime) -> Self {
        Self { folder: store.join("cache/gates"), now: now.unix_timestamp() }
    }

    /// How old the entry for exactly this key is; a run that began after ours is no older than ours.
    pub fn age(&self, id: &str, digest: &str) -> Option<Duration> {
        let bytes = std::fs::read(self.gate(id).join(digest).join("entry.json")).ok()?;
        let entry: Entry = serde_json::from_slice(&bytes).ok()?;
        Some(Duration::from_secs(u64::try_from(self.now - entry.asked).unwrap_or_default()))
    }

    fn gate(&self, id: &str) -> PathBuf {
        self.folder.join(id.replace('/', "__"))
    }

    /// The stored report for exactly this key, its artifacts put into `out`; `None` unless all of it is there.
    pub fn take(&self, id: &str, digest: &str, out: &Path) -> Option<GateReport> {
        let folder = self.gate(id).join(digest);
        let entry: Entry = serde_json::from_slice(&std::fs::read(folder.join("entry.json")).ok()?).ok()?;
        if entry.report.verdict != Verdict::Pass || entry.report.id != id {
            return None;
        }
        let mut contents = Vec::new();
        for file in &entry.files {
            let bytes = std::fs::read(folder.join("files").join(&file.path)).ok()?;
            if blake3::hash(&bytes).to_hex().as_str() != file.blake3 {
                return None;
            }
            contents.push((out.join(&file.path), bytes));
        }
        for (path, bytes) in contents {
            std::fs::create_dir_all(path.parent()?).ok()?;
            std::fs::write(path, bytes).ok()?;
        }
        Some(GateReport { cached: true, ..entry.report })
    }

    /// Stores a pass with its artifacts. Nothing else is ever stored.
    pub fn put(&self, report: &GateReport, key: &Key, out: &Path) -> Result<()> {
        if report.verdict != Verdict::Pass {
            return Ok(());
        }
        let gate = self.gate(&report.id);
        std::fs::create_dir_all(&gate).with_context(|| format!("cannot make `{}`", gate.display()))?;
        let scratch = tempfile::tempdir_in(&gate).context("cannot make a folder in the cache")?;
        let mut files = Vec::new();
        let empty = report.artifacts.iter().find(|artifact| files_of(out, artifact).is_empty());
        anyhow::ensure!(empty.is_none(), "the artifact `{}` is empty", empty.map_or("", String::as_str));
        for path in report.artifacts.iter().flat_map(|artifact| files_of(out, artifact)) {
            let bytes = std::fs::read(out.join(&path)).with_context(|| format!("cannot read the artifact `{path}`"))?;
            write_file(&scratch.path().join("files").join(&path), &bytes)?;
            files.push(StoredFile { blake3: blake3::hash(&bytes).to_hex().to_string(), path });
        }
        let entry = Entry { asked: self.now, report: report.clone(), files };
        write_file(&scratch.path().join("entry.json"), &serde_json::to_vec(&entry)?)?;
        let target = gate.join(key.digest());
        let _replaced = std::fs::remove_dir_all(&target);
        // Another run may have stored the same at the same moment; one of the two is enough.
        if std::fs::rename(scratch.path(), &target).is_ok() {
            let _kept = scratch.keep();
        }
        write_atomically(&gate.join("newest.json"), &serde_json::to_vec(key)?)?;
        self.prune(&gate)
    }

    /// The key that was stored last for a gate.
    pub fn newest_key(&self, id: &str) -> Option<Key> {
        serde_json::from_slice(&std::fs::read(self.gate(id).join("newest.json")).ok()?).ok()
    }

    /// Every stored entry is forgotten; gives how many there were.
    pub fn clear(&self) -> Result<usize> {
        let gates = list(&self.folder);
        let entries = gates.iter().map(|gate| list(gate).iter().filter(|e| e.is_dir()).count()).sum();
        // What was scanned of the history is a stored result too.
        let _gone = self.folder.parent().map(|cache| std::fs::remove_file(cache.join("secrets-history.json")));
        match std::fs::remove_dir_all(&self.folder) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e).context("cannot clear the cache"),
            _ => Ok(entries),
        }
    }

    fn prune(&self, gate: &Path) -> Result<()> {
        let mut entries: Vec<_> = list(gate)
            .into_iter()
            .filter(|path| path.join("entry.json").is_file())
            .filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path)))
            .collect();
        entries.sort();
        let surplus = entries.len().saturating_sub(KEPT);
        for (_, path) in entries.into_iter().take(surplus) {
            std::fs::remove_dir_all(&path).with_context(|| format!("cannot remove `{}`", path.display()))?;
        }
        Ok(())
    }
}

/// The files of an artifact, relative to `out`; a folder's artifact ends with a slash.
pub fn files_of(out: &Path, artifact: &str) -> Vec<String> {
    let Some(folder) = artifact.strip_suffix('/') else { return vec![artifact.to_owned()] };
    let mut found = Vec::new();
    for path in list(&out.join(folder)) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            found.extend(files_of(out, &format!("{folder}/{name}/")));
        } else {
            found.push(format!("{folder}/{name}"));
        }
    }
    found
}

fn list(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let cannot = || format!("cannot write `{}`", path.display());
    std::fs::create_dir_all(path.parent().unwrap_or(path)).with_context(cannot)?;
    std::fs::write(path, bytes).with_context(cannot)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Tool, Work};

    fn report(verdict: Verdict) -> GateReport {
        GateReport {
            id: "docs/site".into(),
            verdict,
            required: true,
            cached: false,
            work: Work::new(3, "pages"),
            tool: Tool::default(),
            path_tools: vec![],
            inputs: String::new(),
            duration_ms: 5,
            reason: String::new(),
            fix: String::new(),
            findings: vec![],
            artifacts: vec!["site/".into(), "logs/docs.log".into()],
        }
    }

    #[test]
    fn an_entry_is_taken_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        write_file(&out.join("site/a/index.html"), b"<p>").unwrap();
        write_file(&out.join("logs/docs.log"), b"log").unwrap();
        let store = Store::new(folder.path(), OffsetDateTime::UNIX_EPOCH);
        let key = Key::default();
        let passed = report(Verdict::Pass);
        store.put(&passed, &key, &out).unwrap();
        assert_eq!(store.newest_key("docs/site"), Some(Key::default()));
        let other = folder.path().join("other");
        let taken = store.take("docs/site", &key.digest(), &other).unwrap();
        assert_eq!(taken, GateReport { cached: true, ..passed });
        assert_eq!(std::fs::read(other.join("site/a/index.html")).unwrap(), b"<p>");
        // Another key, a changed artifact, a missing artifact: not taken.
        assert_eq!(store.take("docs/site", "other", &other), None);
        let stored = store.gate("docs/site").join(key.digest()).join("files/site/a/index.html");
        std::fs::write(&stored, b"<p>changed").unwrap();
        assert_eq!(store.take("docs/site", &key.digest(), &other), None);
        std::fs::remove_file(&stored).unwrap();
        assert_eq!(store.take("docs/site", &key.digest(), &other), None);
    }

    #[test]
    fn only_passes_are_stored_and_an_artifact_that_is_missing_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path(), OffsetDateTime::UNIX_EPOCH);
        for verdict in [Verdict::Fail, Verdict::DidNotRun] {
            store.put(&report(verdict), &Key::default(), folder.path()).unwrap();
            assert_eq!(store.take("docs/site", &Key::default().digest(), folder.path()), None);
        }
        assert!(store.put(&report(Verdict::Pass), &Key::default(), folder.path()).is_err());
        assert_eq!(store.clear().unwrap(), 0);
    }
}
