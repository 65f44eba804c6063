//! The history of all machines: a branch of the repository that holds nothing else, read and written through GitHub's API.
//!
//! A run is a file of its own name, `runs/RUN.json`, so that two at once cannot overwrite each other. Files older than a day
//! are packed into one, `packs/RUN-HASH.jsonl`, by whoever finds many of them; the oldest packs go. Each commit stands on the one
//! before it, and a branch that has moved meanwhile is read again. Beside them lie the figures of all runs that are there,
//! `metrics.prom`, which stand on the very commit that they are of.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use time::OffsetDateTime;
use time::macros::format_description;

use super::entry::Entry;
use super::store::{self, LONGEST_LINE, Line, MOST_BYTES};
use crate::disk::write_atomically;
use crate::text::clean;
use crate::tools::github::{Change, File, GitHub, Tip, Trouble};
use crate::verdict::Unproven;

/// How often a branch that others move meanwhile is read again.
const TRIES: u32 = 40;

/// From how many files of single runs on those that are old enough are packed.
const PACK_AT: usize = 100;

/// How many are packed at once at most: each is read by a request of its own.
const PACKED: usize = 100;

/// How large a pack is at most, in bytes.
const PACK_BYTES: u64 = 2 << 20;

/// The largest pack that is read, in bytes.
const LARGEST_PACK: u64 = 4 << 20;

/// How young a run is not packed: whoever wrote it may still be looking whether it is there.
const YOUNG: time::Duration = time::Duration::days(1);

const RUNS: &str = "runs/";
const PACKS: &str = "packs/";

/// The figures, as Prometheus reads them.
pub const FIGURES: &str = "metrics.prom";

/// What a push came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    /// Runs that are there now and were not before.
    pub new: usize,
    /// Runs that were there already.
    pub already: usize,
    /// Runs of others that were packed on the way.
    pub packed: usize,
}

/// What a pull came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pulled {
    /// Files of the branch.
    pub files: usize,
    /// Those of them that were fetched now; the others were here.
    pub fetched: usize,
}

/// Adds runs to the branch: a run's id and its line.
pub async fn push(
    github: &GitHub,
    branch: &str,
    runs: &BTreeMap<String, String>,
    now: OffsetDateTime,
) -> Result<Pushed, Trouble> {
    let (mut blobs, mut read) = (BTreeMap::new(), BTreeMap::new());
    let mut sent = BTreeSet::new();
    for attempt in 0..TRIES {
        let tip = github.tip(branch).await?;
        let files = tip.iter().flat_map(|tip| &tip.files);
        let singles: Vec<&File> = files.clone().filter(|file| name_in(file, RUNS, ".json").is_some()).collect();
        let there: BTreeSet<&str> = singles.iter().filter_map(|file| name_in(file, RUNS, ".json")).collect();
        let missing: Vec<&String> = runs.keys().filter(|run| !there.contains(run.as_str())).collect();
        if missing.is_empty() {
            // Those that we sent and that are there now came by us, whatever became of the answer.
            let new = sent.len();
            return Ok(Pushed { new, already: runs.len() - new, packed: 0 });
        }
        let mut changes = Vec::new();
        for run in &missing {
            if !blobs.contains_key(*run) {
                let blob = github.create_blob(&format!("{}\n", runs[*run])).await?;
                blobs.insert((*run).clone(), blob);
            }
            changes.push(Change::Write { path: format!("{RUNS}{run}.json"), blob: blobs[*run].clone() });
        }
        let old = packable(&singles, now);
        if singles.len() + missing.len() > PACK_AT && !old.is_empty() {
            let packs: Vec<&File> = files.filter(|file| name_in(file, PACKS, ".jsonl").is_some()).collect();
            changes.extend(pack(github, &old, &packs, &mut read).await?);
        }
        let already = runs.len() - missing.len();
        sent.extend(missing.iter().map(|run| (*run).clone()));
        let message = match missing.as_slice() {
            [run] => format!("{run}\n"),
            several => format!("{} runs\n", several.len()),
        };
        if github.commit(branch, tip.as_ref(), &changes, &message).await? {
            let packed = changes.iter().filter(|change| is_run_removed(change)).count();
            return Ok(Pushed { new: runs.len() - already, already, packed });
        }
        github.pause(backoff(attempt)).await?;
    }
    Err(Trouble::Contended { branch: branch.to_owned(), tries: TRIES })
}

fn is_run_removed(change: &Change) -> bool {
    matches!(change, Change::Remove { path } if path.starts_with(RUNS))
}

/// Longer each time, and not the same for two who began at the same moment.
fn backoff(attempt: u32) -> Duration {
    let mut random = [0; 2];
    // Without chance they are apart by their speed alone.
    let _without = getrandom::fill(&mut random);
    let most = (100 * u64::from(attempt + 1)).min(2000);
    Duration::from_millis(u64::from(u16::from_le_bytes(random)) * most / u64::from(u16::MAX))
}

/// The part of a file's path that is its name, where it lies in `folder` and could be ours.
fn name_in<'a>(file: &'a File, folder: &str, ending: &str) -> Option<&'a str> {
    let name = file.path.strip_prefix(folder)?.strip_suffix(ending)?;
    store::is_name(name).then_some(name)
}

/// The oldest files of single runs that may be packed together.
fn packable<'a>(singles: &[&'a File], now: OffsetDateTime) -> Vec<&'a File> {
    let format = format_description!("[year][month][day]T[hour][minute][second]");
    let youngest = (now - YOUNG).to_offset(time::UtcOffset::UTC).format(format).unwrap_or_default();
    // One that no reader takes would stand in the way of all after it.
    let is_read = |file: &&File| file.size <= LONGEST_LINE as u64;
    let is_old = |file: &&File| name_in(file, RUNS, ".json").is_some_and(|run| run < youngest.as_str());
    let mut old: Vec<&File> = singles.iter().copied().filter(is_old).filter(is_read).collect();
    old.sort_by(|one, other| one.path.cmp(&other.path));
    let mut bytes = 0;
    old.into_iter()
        .take(PACKED)
        .take_while(|file| {
            bytes += file.size;
            bytes <= PACK_BYTES
        })
        .collect()
}

/// One file in place of many, and room for it.
async fn pack(
    github: &GitHub,
    old: &[&File],
    packs: &[&File],
    read: &mut BTreeMap<String, String>,
) -> Result<Vec<Change>, Trouble> {
    let mut text = String::new();
    for file in old {
        if !read.contains_key(&file.sha) {
            let bytes = github.blob(&file.sha).await?;
            read.insert(file.sha.clone(), String::from_utf8_lossy(&bytes).into_owned());
        }
        read[&file.sha].lines().filter(|line| !line.is_empty()).for_each(|line| {
            text.push_str(line);
            text.push('\n');
        });
    }
    let mut changes = vec![Change::Write { path: pack_path(old, &text), blob: github.create_blob(&text).await? }];
    changes.extend(old.iter().map(|file| Change::Remove { path: file.path.clone() }));
    changes.extend(surplus(packs, text.len() as u64).into_iter().map(|path| Change::Remove { path }));
    Ok(changes)
}

/// By the oldest run, so that the oldest pack is the first one; and by what is in it, for a run that was packed may be pushed
/// and packed again, and must not take the place of those that it was packed with.
fn pack_path(old: &[&File], text: &str) -> String {
    let first = old.first().and_then(|file| name_in(file, RUNS, ".json")).unwrap_or_default();
    format!("{PACKS}{first}-{}.jsonl", &blake3::hash(text.as_bytes()).to_hex()[..8])
}

/// The oldest packs, as many as have to go for one more.
fn surplus(packs: &[&File], more: u64) -> Vec<String> {
    let mut packs: Vec<&File> = packs.to_vec();
    packs.sort_by(|one, other| one.path.cmp(&other.path));
    let mut bytes = more + packs.iter().map(|file| file.size).sum::<u64>();
    let goes = |file: &&&File| {
        let is_too_much = bytes > MOST_BYTES;
        bytes = bytes.saturating_sub(file.size);
        is_too_much
    };
    packs.iter().take_while(goes).map(|file| file.path.clone()).collect()
}

/// Writes the figures of all runs of the branch beside them; `folder` is where [`pull`] puts these. Whether they were others
/// than those that were there.
pub async fn publish(
    github: &GitHub,
    branch: &str,
    folder: &Path,
    render: impl Fn(&[Entry]) -> String,
) -> Result<bool, Unproven> {
    for attempt in 0..TRIES {
        let tip = github.tip(branch).await?.unwrap_or_default();
        fetch(github, &tip, folder).await?;
        let blob = github.create_blob(&render(&store::read_folders(&[folder.to_owned()])?.entries)).await?;
        // Also where ours came by an answer that was lost.
        if tip.files.iter().any(|file| file.path == FIGURES && file.sha == blob) {
            return Ok(attempt > 0);
        }
        let change = Change::Write { path: FIGURES.to_owned(), blob };
        if github.commit(branch, Some(&tip), &[change], "figures\n").await? {
            return Ok(true);
        }
        // Whoever was faster has added a run, or knew less: these are figures of another commit now.
        github.pause(backoff(attempt)).await?;
    }
    Err(Trouble::Contended { branch: branch.to_owned(), tries: TRIES }.into())
}

/// Fetches what the branch has and `folder` has not, a file a blob, and removes what the branch has no more.
pub async fn pull(github: &GitHub, branch: &str, folder: &Path) -> Result<Pulled, Unproven> {
    let tip = github.tip(branch).await?.unwrap_or_default();
    fetch(github, &tip, folder).await
}

async fn fetch(github: &GitHub, tip: &Tip, folder: &Path) -> Result<Pulled, Unproven> {
    let is_ours = |file: &&File| {
        let is_single = name_in(file, RUNS, ".json").is_some() && file.size <= LONGEST_LINE as u64;
        is_single || name_in(file, PACKS, ".jsonl").is_some() && file.size <= LARGEST_PACK
    };
    let files: Vec<&File> = tip.files.iter().filter(is_ours).collect();
    let mut pulled = Pulled { files: files.len(), fetched: 0 };
    std::fs::create_dir_all(folder).context("cannot make the folder of the history")?;
    let mut names = BTreeSet::new();
    for file in files {
        let is_id = !file.sha.is_empty() && file.sha.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let name = format!("{}.jsonl", file.sha);
        if is_id && names.insert(name.clone()) && !folder.join(&name).is_file() {
            let bytes = github.blob(&file.sha).await?;
            write_atomically(&folder.join(&name), harmless(&String::from_utf8_lossy(&bytes)).as_bytes())?;
            pulled.fetched += 1;
        }
    }
    let list = std::fs::read_dir(folder).context("cannot list the folder of the history")?;
    for entry in list.flatten() {
        if !names.contains(entry.file_name().to_string_lossy().as_ref()) {
            std::fs::remove_file(entry.path()).context("cannot remove an old file of the history")?;
        }
    }
    Ok(pulled)
}

/// Lines from outside: each entry with its texts cleaned; a line that is none stays, for the reader to tell.
fn harmless(text: &str) -> String {
    let line = |line: &str| match store::parse(line) {
        Line::Run(..) => {
            let mut value: Value = serde_json::from_str(line).unwrap_or_default();
            clean_texts(&mut value);
            value.to_string()
        }
        _ => clean(line),
    };
    text.lines().map(|text| line(text) + "\n").collect()
}

fn clean_texts(value: &mut Value) {
    match value {
        Value::String(text) => *text = clean(text),
        Value::Array(all) => all.iter_mut().for_each(clean_texts),
        Value::Object(all) => all.values_mut().for_each(clean_texts),
        _ => {}
    }
}

#[cfg(test)]
#[path = "branch_tests.rs"]
mod tests;
