//! Files under neutral names in a folder of their own, for a scanner that must not know where they come from.
//!
//! How files lie together is in `pack`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context as _;
use regex_lite::Regex;
use serde::Deserialize;

use super::super::{parse, scratch};
use super::pack::{self, Pack};
use crate::config::Secrets;
use crate::context::Ctx;
use crate::engine::session::Session;
use crate::tools::catalog::Program;
use crate::tools::command::Command;
use crate::tools::proc::Exit;
use crate::verdict::Unproven;

/// The exit code that can only mean findings.
const FOUND: i32 = 9;

/// Where the report goes, relative to the folder that is scanned from.
const REPORT: &str = "report.json";

/// The folder of the copies, beside the report.
const COPIES: &str = "files";

/// gitleaks on a folder, run where [`Staged`] put it. Secrets are in none of its output.
pub fn command(ctx: &Ctx, program: &Program, secrets: &Secrets) -> Command {
    let rules = ctx.root.join(&secrets.rules);
    let command = Command::new(program.name, &ctx.root)
        .args(["dir", COPIES, "--redact=100", "--no-banner", "--no-color", "--ignore-gitleaks-allow"])
        .args(["--gitleaks-ignore-path", "/dev/null", "--max-target-megabytes", "0"])
        .args(["--report-format", "json", "--report-path", REPORT])
        .args(["--exit-code".to_owned(), FOUND.to_string(), "--config".to_owned()])
        .arg(rules);
    command.timeout(secrets.timeout)
}

/// Copies of files, each with the name that people know it by.
#[derive(Debug)]
pub struct Staged {
    folder: tempfile::TempDir,
    count: usize,
    bytes: u64,
    packs: Vec<Pack>,
    open: BTreeMap<&'static str, usize>,
}

/// A secret that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leak {
    /// The name that the file was added by.
    pub origin: String,
    /// The rule.
    pub rule: String,
    /// What was found, and never the secret itself.
    pub description: String,
    /// Counted from 1.
    pub line: u32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    #[serde(rename = "RuleID")]
    rule: String,
    description: String,
    start_line: u32,
    file: String,
}

impl Staged {
    /// An empty folder, which is gone with this value.
    pub fn new(ctx: &Ctx) -> anyhow::Result<Self> {
        Self::of(scratch(ctx)?)
    }

    /// The same below a folder that somebody else looks after.
    pub fn within(parent: &Path) -> anyhow::Result<Self> {
        let cannot = || format!("cannot make a folder in `{}`", parent.display());
        Self::of(tempfile::tempdir_in(parent).with_context(cannot)?)
    }

    fn of(folder: tempfile::TempDir) -> anyhow::Result<Self> {
        std::fs::create_dir(folder.path().join(COPIES)).context("cannot make a folder for copies")?;
        Ok(Self { folder, count: 0, bytes: 0, packs: Vec::new(), open: BTreeMap::new() })
    }

    /// Copies a file of that name. Empty ones hold nothing and are only counted.
    pub fn add(&mut self, origin: &str, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        self.count += 1;
        if bytes.is_empty() {
            return Ok(());
        }
        let ending = pack::ending(name);
        let text = pack::decoded(bytes);
        for (line, piece) in pack::pieces(&text) {
            let index = self.room(ending, piece.len())?;
            self.packs[index].add(origin, line, piece);
        }
        Ok(())
    }

    /// The pack that still takes so many bytes of a file with this ending.
    fn room(&mut self, ending: &'static str, bytes: usize) -> anyhow::Result<usize> {
        if let Some(&index) = self.open.get(ending) {
            if self.packs[index].has_room(bytes) {
                return Ok(index);
            }
            self.write(index)?;
        }
        self.packs.push(Pack::new(ending));
        let index = self.packs.len() - 1;
        self.open.insert(ending, index);
        Ok(index)
    }

    /// How many files were added.
    pub fn count(&self) -> usize {
        self.count
    }

    fn write(&mut self, index: usize) -> anyhow::Result<()> {
        let Some((name, bytes)) = self.packs[index].take(index) else { return Ok(()) };
        let path = self.folder.path().join(COPIES).join(name);
        std::fs::write(&path, &bytes).with_context(|| format!("cannot write `{}`", path.display()))?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Scans all of them.
    ///
    /// A word of one file can make a rule look at its neighbours: what was found in a pack has to be found in its
    /// file by itself too.
    pub async fn scan(
        &mut self,
        session: &Session,
        program: &'static Program,
        step: &Command,
    ) -> Result<Vec<Leak>, Unproven> {
        let found = self.look(session, program, step).await?;
        let places: BTreeSet<(usize, usize)> = found.iter().map(|(place, _)| *place).collect();
        if !places.iter().any(|(pack, _)| self.packs[*pack].is_shared()) {
            return Ok(found.into_iter().map(|(_, leak)| leak).collect());
        }
        let mut alone = Self::within(self.folder.path().parent().unwrap_or(Path::new(".")))?;
        for (pack, place) in places {
            let path = self.folder.path().join(COPIES).join(self.packs[pack].file(pack));
            let bytes = std::fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
            let file = self.packs[pack].alone(place, &bytes);
            alone.packs.push(file.ok_or_else(|| session.not_run("a file that gitleaks named is not there any more"))?);
        }
        let found = alone.look(session, program, step).await?;
        Ok(found.into_iter().map(|(_, leak)| leak).collect())
    }

    /// One run of gitleaks. That it looked at everything is proved by the number of bytes that it counts.
    async fn look(
        &mut self,
        session: &Session,
        program: &'static Program,
        step: &Command,
    ) -> Result<Vec<((usize, usize), Leak)>, Unproven> {
        for index in 0..self.packs.len() {
            self.write(index)?;
        }
        if self.bytes == 0 {
            // Nothing but empty files: there is nothing to find in them.
            return Ok(vec![]);
        }
        let step = Command { cwd: self.folder.path().to_owned(), ..step.clone() };
        let ended = session.tool(program, &step).await?;
        if !matches!(ended.exit, Exit::Code(0 | FOUND)) {
            return Err(session.not_run(format!("gitleaks {}", ended.failure())).into());
        }
        let report = session.report(&self.folder.path().join(REPORT)).map_err(|why| session.not_run(why))?;
        let entries: Vec<Entry> = parse(session, &ended, &report)?;
        if entries.is_empty() != ended.is_success() {
            return Err(session.not_run(format!("gitleaks {}, which its report contradicts", ended.exit)).into());
        }
        let scanned = scanned(&ended.stderr);
        if scanned != Some(self.bytes) {
            let scanned = scanned.map_or_else(|| "an unknown number".to_owned(), |n| n.to_string());
            return Err(session.not_run(format!("gitleaks looked at {scanned} of {} bytes", self.bytes)).into());
        }
        let all = entries.len();
        let leaks: Vec<_> = entries.into_iter().filter_map(|entry| self.leak(entry)).collect();
        if leaks.len() < all {
            return Err(session.not_run("gitleaks reported a file that it was not given").into());
        }
        Ok(leaks)
    }

    /// What was found, with its pack and its place there.
    fn leak(&self, entry: Entry) -> Option<((usize, usize), Leak)> {
        let name = Path::new(&entry.file).file_name()?.to_str()?;
        let index: usize = name.split('.').next()?.parse().ok()?;
        let pack = self.packs.get(index)?;
        let place = pack.place(entry.start_line)?;
        let (origin, line) = pack.origin(place, entry.start_line)?;
        Some(((index, place), Leak { origin, rule: entry.rule, description: entry.description, line }))
    }
}

/// `11:38AM INF scanned ~1039 bytes (1.04 KB) in 5.12ms`; the number is exact, but for a unit as short as itself.
fn scanned(stderr: &str) -> Option<u64> {
    let said = Regex::new(r"scanned ~(\d+) bytes").ok()?;
    said.captures(stderr)?[1].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_of_bytes_is_read() {
        // Recorded from gitleaks 8.30.1.
        assert_eq!(
            scanned("11:38AM INF scanned ~1039 bytes (1.04 KB) in 5.12ms\n11:38AM WRN leaks found: 1"),
            Some(1039)
        );
        assert_eq!(scanned("11:38AM INF no leaks found"), None);
    }
}
