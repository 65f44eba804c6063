//! The accepted runs of each load on this machine: `target/xtask/perf/baseline.json`. Removing it begins anew.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::context::Ctx;
use crate::disk::write_atomically;
use crate::load::blocks::Blocks;
use crate::load::compare::KEPT;

/// Relative to the folder of the pipeline's own things.
const FILE: &str = "perf/baseline.json";

/// Which format it is; another one is as good as none.
const SCHEMA: &str = "forge-load-baseline/1";

/// What makes two runs comparable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Load profile and engine.
    pub load: String,
    /// Everything else that the figures depend on but for the code of the backend: what is sent, how often, where to.
    pub definition: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct File {
    schema: String,
    loads: BTreeMap<String, Entry>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Entry {
    host: String,
    definition: String,
    /// The newest last.
    runs: Vec<Blocks>,
}

/// The runs that were accepted; none of another machine or another definition. An unreadable file is none.
pub fn accepted(ctx: &Ctx, key: &Key) -> Vec<Blocks> {
    let entry = read(ctx).loads.remove(&key.load);
    let same = entry.filter(|entry| entry.host == host() && entry.definition == hashed(&key.definition));
    same.map(|entry| entry.runs).unwrap_or_default()
}

/// One more accepted run.
pub fn accept(ctx: &Ctx, key: &Key, run: Blocks) -> Result<()> {
    let mut runs = accepted(ctx, key);
    runs.push(run);
    runs.drain(..runs.len().saturating_sub(KEPT));
    let mut file = File { schema: SCHEMA.to_owned(), ..read(ctx) };
    let entry = Entry { host: host(), definition: hashed(&key.definition), runs };
    file.loads.insert(key.load.clone(), entry);
    write_atomically(&path(ctx), serde_json::to_string(&file).context("the baseline is no JSON")?.as_bytes())
}

/// Where it lies.
pub fn path(ctx: &Ctx) -> PathBuf {
    ctx.store.join(FILE)
}

fn read(ctx: &Ctx) -> File {
    let text = std::fs::read_to_string(path(ctx)).unwrap_or_default();
    serde_json::from_str(&text).ok().filter(|file: &File| file.schema == SCHEMA).unwrap_or_default()
}

/// A machine: its name and its cores. A store that was copied to another one compares nothing.
fn host() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{name}, {cores} cores, {}", std::env::consts::ARCH)
}

fn hashed(definition: &str) -> String {
    blake3::hash(definition.as_bytes()).to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::testing;
    use std::time::Duration;

    #[test]
    fn runs_of_one_definition_are_kept_and_no_more_than_ten() {
        let folder = tempfile::tempdir().unwrap();
        let ctx = testing::ctx(folder.path());
        let key = |load: &str, definition: &str| Key { load: load.into(), definition: definition.into() };
        for run in 1..=12_u64 {
            let mut blocks = Blocks::default();
            (0..run).for_each(|at| blocks.record(Duration::from_secs(at), Duration::from_millis(5)));
            accept(&ctx, &key("smoke", "a"), blocks).unwrap();
        }
        let found = accepted(&ctx, &key("smoke", "a"));
        assert_eq!(found.iter().map(|blocks| blocks.all.len()).collect::<Vec<_>>(), (3..=12).collect::<Vec<_>>());
        assert!(accepted(&ctx, &key("smoke", "b")).is_empty());
        assert!(accepted(&ctx, &key("release", "a")).is_empty());
        accept(&ctx, &key("release", "a"), Blocks::default()).unwrap();
        assert_eq!(accepted(&ctx, &key("smoke", "a")).len(), 10, "the other load stays");
        std::fs::write(path(&ctx), "{\"schema\": \"half").unwrap();
        assert!(accepted(&ctx, &key("smoke", "a")).is_empty());
    }
}
