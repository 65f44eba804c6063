//! The history of this checkout: `target/xtask/history/*.jsonl`, a line a run, appended under a lock and bounded.
//!
//! A line that a killed run left unfinished is skipped, and said; a line of another version is kept, and not read.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::entry::{Entry, SCHEMA};
use super::release::moment;
use crate::disk::read_report;

/// The folder, within the checkout's store.
pub const FOLDER: &str = "history";

/// What was fetched from the data branch, within [`FOLDER`].
pub const BRANCH: &str = "branch";

/// What new lines go into.
const CURRENT: &str = "runs.jsonl";

/// How many runs are read, the newest.
pub const MOST_RUNS: usize = 2_000;

/// How large all older files may be together, in bytes.
pub const MOST_BYTES: u64 = 16 << 20;

/// When a new file is begun, in bytes.
const SEGMENT: u64 = 1 << 20;

/// The longest line, in bytes.
pub const LONGEST_LINE: usize = 256 << 10;

/// How long the lock is waited for: it is held for as long as one line takes.
const PATIENCE: Duration = Duration::from_secs(2);

/// What was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Runs {
    /// Each run once, the oldest first; at most [`MOST_RUNS`], the newest.
    pub entries: Vec<Entry>,
    /// Lines that are no whole entry.
    pub broken: usize,
    /// Lines of another version of the format.
    pub others: usize,
}

impl Runs {
    /// What a person is told of what was not read.
    pub fn notes(&self) -> Vec<String> {
        let lines = |count: usize| if count == 1 { "1 line".to_owned() } else { format!("{count} lines") };
        let broken =
            (self.broken > 0).then(|| format!("{} of the history cannot be read: skipped", lines(self.broken)));
        let others = (self.others > 0).then(|| format!("{} of the history of another version", lines(self.others)));
        broken.into_iter().chain(others).collect()
    }
}

/// Adds one line to the history in `folder`. `text` is the entry as JSON, redacted.
pub fn append(folder: &Path, run: &str, text: &str) -> Result<()> {
    if text.len() > LONGEST_LINE || text.contains('\n') {
        bail!("its line has {} bytes; {LONGEST_LINE} in one line are the most", text.len());
    }
    let cannot = || format!("cannot write to `{}`", folder.display());
    std::fs::create_dir_all(folder).with_context(cannot)?;
    let _alone = alone(folder)?;
    let path = folder.join(CURRENT);
    let mut file = File::options().read(true).append(true).create(true).open(&path).with_context(cannot)?;
    let mut length = file.metadata().with_context(cannot)?.len();
    if length >= SEGMENT {
        std::fs::rename(&path, folder.join(format!("runs-{run}.jsonl"))).with_context(cannot)?;
        thin(folder).with_context(cannot)?;
        file = File::options().read(true).append(true).create(true).open(&path).with_context(cannot)?;
        length = 0;
    }
    // A run that was killed in the middle of its line has not ended it.
    let start = if length > 0 && last_byte(&mut file).with_context(cannot)? != b'\n' { "\n" } else { "" };
    file.write_all(format!("{start}{text}\n").as_bytes()).with_context(cannot)
}

/// The lock of the folder; it ends with the file, also after a crash.
fn alone(folder: &Path) -> Result<File> {
    let path = folder.join(".lock");
    let cannot = || format!("cannot lock `{}`", path.display());
    let (file, begun) = (File::create(&path).with_context(cannot)?, Instant::now());
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(std::fs::TryLockError::WouldBlock) if begun.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(e) => return Err(e).with_context(cannot),
        }
    }
}

fn last_byte(file: &mut File) -> std::io::Result<u8> {
    let mut byte = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut byte)?;
    Ok(byte[0])
}

/// Removes the oldest full files: as long as the rest holds [`MOST_RUNS`], or all are more than [`MOST_BYTES`].
fn thin(folder: &Path) -> Result<()> {
    let full = files(folder)?.into_iter().filter(|path| path.file_name().is_some_and(|name| name != CURRENT));
    let counted = full.map(|path| {
        let bytes = std::fs::read(&path)?;
        Ok((path, bytes.len() as u64, bytes.iter().filter(|byte| **byte == b'\n').count()))
    });
    let counted: Vec<(PathBuf, u64, usize)> = counted.collect::<std::io::Result<_>>()?;
    let mut bytes: u64 = counted.iter().map(|(_, size, _)| size).sum();
    let mut runs: usize = counted.iter().map(|(_, _, lines)| lines).sum();
    for (path, size, lines) in counted {
        if bytes <= MOST_BYTES && runs - lines < MOST_RUNS {
            break;
        }
        std::fs::remove_file(path)?;
        (bytes, runs) = (bytes - size, runs - lines);
    }
    Ok(())
}

/// The files of a history, the oldest first: their names begin with the time.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let list = match std::fs::read_dir(folder) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
        list => list.with_context(|| format!("cannot list `{}`", folder.display()))?,
    };
    let mut found = list.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    found.retain(|path| path.extension().is_some_and(|ending| ending == "jsonl"));
    // `runs-2026…` comes before `runs.jsonl`, which is the newest.
    found.sort();
    Ok(found)
}

/// The history of a checkout: what ran here, and what was fetched from the data branch. `store` is `target/xtask`.
pub fn read(store: &Path) -> Result<Runs> {
    let folder = store.join(FOLDER);
    read_folders(&[folder.join(BRANCH), folder])
}

/// The history in some folders; each run once.
pub fn read_folders(folders: &[PathBuf]) -> Result<Runs> {
    let (mut runs, mut entries) = (Runs::default(), BTreeMap::new());
    for folder in folders {
        for path in files(folder)? {
            // An empty file is a history of no run.
            let Ok(text) = read_report(&path) else { continue };
            for line in text.lines().filter(|line| !line.trim().is_empty()) {
                match parse(line) {
                    Line::Run(at, entry) => drop(entries.insert((at, entry.run.clone()), *entry)),
                    Line::Other => runs.others += 1,
                    Line::Broken => runs.broken += 1,
                }
            }
        }
    }
    let surplus = entries.len().saturating_sub(MOST_RUNS);
    runs.entries = entries.into_values().skip(surplus).collect();
    Ok(runs)
}

/// One line of a history.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// A run, with the moment at which it began.
    Run(time::OffsetDateTime, Box<Entry>),
    /// Of another version of the format.
    Other,
    /// No whole entry.
    Broken,
}

/// Reads one line.
pub fn parse(line: &str) -> Line {
    #[derive(Deserialize)]
    struct Versioned {
        schema: String,
    }
    if line.len() > LONGEST_LINE {
        return Line::Broken;
    }
    match serde_json::from_str::<Entry>(line) {
        Ok(entry) if entry.schema == SCHEMA && is_name(&entry.run) => match moment(&entry.started) {
            Some(at) => Line::Run(at, Box::new(entry)),
            None => Line::Broken,
        },
        _ => match serde_json::from_str::<Versioned>(line) {
            Ok(Versioned { schema }) if schema != SCHEMA => Line::Other,
            _ => Line::Broken,
        },
    }
}

/// Whether a run's id can be the name of a file.
pub fn is_name(run: &str) -> bool {
    (1..=120).contains(&run.len()) && run.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::super::testing::entry;
    use super::*;

    fn line(run: usize) -> String {
        serde_json::to_string(&entry(run)).unwrap()
    }

    fn add(folder: &Path, run: usize) {
        append(folder, &entry(run).run, &line(run)).unwrap();
    }

    #[test]
    fn a_half_line_is_skipped_and_said_and_the_next_run_begins_its_own() {
        let store = tempfile::tempdir().unwrap();
        let folder = store.path().join(FOLDER);
        assert_eq!(read(store.path()).unwrap(), Runs::default());
        add(&folder, 1);
        for cut in [1, 20, line(2).len() - 1] {
            let mut file = File::options().append(true).open(folder.join(CURRENT)).unwrap();
            file.write_all(&line(2).as_bytes()[..cut]).unwrap();
            add(&folder, 3 + cut);
        }
        let other = line(9).replace("forge-history/1", "forge-history/2").replace("\"gates\"", "\"doors\"");
        append(&folder, "x", &other).unwrap();
        let runs = read(store.path()).unwrap();
        assert_eq!((runs.entries.len(), runs.broken, runs.others), (4, 3, 1));
        assert_eq!(
            runs.notes(),
            ["3 lines of the history cannot be read: skipped", "1 line of the history of another version"]
        );
        // It stays on the disk.
        assert!(std::fs::read_to_string(folder.join(CURRENT)).unwrap().contains("forge-history/2"));
    }

    #[test]
    fn ten_runs_at_once_leave_ten_whole_lines() {
        let store = tempfile::tempdir().unwrap();
        let folder = store.path().join(FOLDER);
        std::thread::scope(|scope| {
            for run in 0..10 {
                let folder = &folder;
                scope.spawn(move || (0..20).for_each(|more| add(folder, run * 20 + more)));
            }
        });
        let runs = read(store.path()).unwrap();
        assert_eq!((runs.entries.len(), runs.broken), (200, 0));
        assert!(runs.entries.is_sorted_by_key(|entry| moment(&entry.started)));
    }

    #[test]
    fn it_is_bounded_and_the_newest_are_kept() {
        let store = tempfile::tempdir().unwrap();
        let folder = store.path().join(FOLDER);
        std::fs::create_dir_all(&folder).unwrap();
        // Two full files with a thousand small lines each, and one that is filled by the next run.
        for file in 0..3 {
            let lines: Vec<String> = (file * 1000..(file + 1) * 1000).map(line).collect();
            let name = if file == 2 { CURRENT.to_owned() } else { format!("runs-2026-{file}.jsonl") };
            std::fs::write(folder.join(name), lines.join("\n") + "\n").unwrap();
        }
        assert_eq!(read(store.path()).unwrap().entries.len(), MOST_RUNS);
        let filler = File::options().append(true).open(folder.join(CURRENT)).unwrap();
        filler.set_len(SEGMENT).unwrap();
        add(&folder, 5000);
        let runs = read(store.path()).unwrap();
        // The oldest file is gone, for the rest holds two thousand.
        assert!(!folder.join("runs-2026-0.jsonl").exists() && folder.join("runs-2026-1.jsonl").exists());
        assert_eq!(runs.entries.len(), MOST_RUNS);
        assert_eq!(runs.entries.last().unwrap().run, entry(5000).run);
        // Files that are too large go, however few runs they hold.
        File::create(folder.join("runs-2026-1.jsonl")).unwrap().set_len(MOST_BYTES).unwrap();
        thin(&folder).unwrap();
        assert!(!folder.join("runs-2026-1.jsonl").exists());
    }

    #[test]
    fn what_is_no_line_of_ours_is_told_apart() {
        for (text, expected) in [
            ("{}", "broken"),
            ("{\"schema\":\"forge-history/9\"}", "other"),
            ("{\"schema\":\"forge-history/1\"}", "broken"),
            ("[1]", "broken"),
            (&line(1).replace("2026-11-", "soon"), "broken"),
            (&line(1).replace("-ci-", "-../ci-"), "broken"),
            (&line(1), "run"),
            (&format!("{}{}", line(1), " ".repeat(LONGEST_LINE)), "broken"),
        ] {
            let found = match parse(text) {
                Line::Run(..) => "run",
                Line::Other => "other",
                Line::Broken => "broken",
            };
            assert_eq!(found, expected, "{}", &text[..text.len().min(80)]);
        }
    }
}
