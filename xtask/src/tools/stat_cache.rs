//! Remembers what is expensive to learn of a file (a version, a hash) for as long as the file is the same.
//!
//! "The same" is what `stat` says: size, modification and change time, device and inode. Kept in one
//! file of the store; losing it costs time only.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::disk::write_atomically;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Known {
    stamp: String,
    value: String,
}

/// A file of facts about files.
#[derive(Debug)]
pub struct StatCache {
    path: PathBuf,
    known: Mutex<(BTreeMap<String, Known>, bool)>,
}

impl StatCache {
    /// Reads the cache; one that is missing or damaged is empty.
    pub fn open(path: &Path) -> Self {
        let known = std::fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Self { path: path.to_owned(), known: Mutex::new((known.unwrap_or_default(), false)) }
    }

    /// The fact `what` about the file at `path`, if it is known and the file is the same.
    pub fn get(&self, what: &str, path: &Path) -> Option<String> {
        let stamp = stamp(path)?;
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.0.get(&key(what, path)).filter(|k| k.stamp == stamp).map(|k| k.value.clone())
    }

    /// Learns a fact.
    pub fn put(&self, what: &str, path: &Path, value: &str) {
        if let Some(stamp) = stamp(path) {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.0.insert(key(what, path), Known { stamp, value: value.to_owned() });
            known.1 = true;
        }
    }

    /// Writes what was learned, if anything was.
    pub fn save(&self) -> Result<()> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.1 {
            write_atomically(&self.path, &serde_json::to_vec(&known.0)?)?;
            known.1 = false;
        }
        Ok(())
    }

    /// BLAKE3 of a file, in hexadecimal.
    pub fn hash(&self, path: &Path) -> Result<String> {
        if let Some(hash) = self.get("blake3", path) {
            return Ok(hash);
        }
        let bytes = std::fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))?;
        let hash = blake3::hash(&bytes).to_hex().to_string();
        self.put("blake3", path, &hash);
        Ok(hash)
    }
}

fn key(what: &str, path: &Path) -> String {
    format!("{what} {}", path.display())
}

fn stamp(path: &Path) -> Option<String> {
    let meta = path.metadata().ok()?;
    let (size, dev, ino) = (meta.size(), meta.dev(), meta.ino());
    Some(format!("{size} {}.{} {}.{} {dev} {ino}", meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_is_forgotten_when_its_file_changes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tool");
        std::fs::write(&file, "one").unwrap();
        let cache = StatCache::open(&folder.path().join("stat.json"));
        cache.put("version", &file, "1");
        cache.save().unwrap();
        let reopened = StatCache::open(&folder.path().join("stat.json"));
        assert_eq!(reopened.get("version", &file).as_deref(), Some("1"));
        let before = reopened.hash(&file).unwrap();
        std::fs::write(&file, "three").unwrap();
        assert_eq!(reopened.get("version", &file), None);
        assert_ne!(reopened.hash(&file).unwrap(), before);
    }
}
