//! Takes samples: whole processes, one after the other, and what makes a sample worthless.
//!
//! A command that ends otherwise than expected has no figure: a benchmark must not time a failure.
//! What is compared is measured in turns, so that a machine that gets slower does so for all.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::Bench;
use crate::row::Aim;
use xtask::disk::read_report;
use xtask::model::Report;
use xtask::report::print_error;
use xtask::tools::command::Command;
use xtask::tools::proc::Ended;
use xtask::verdict::Verdict;

/// A command that is measured.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The name of its row.
    pub name: String,
    /// What is started.
    pub command: Command,
    /// What is done before each sample, outside of the measured time.
    pub before: Before,
    /// What proves that it did what it is measured for.
    pub proof: Proof,
    /// The row of ours that a peer stands beside.
    pub beside: Option<String>,
    /// What is wanted of it.
    pub aim: Option<Aim>,
}

/// What is done before a sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Before {
    /// Nothing.
    Nothing,
    /// This folder is removed.
    Remove(PathBuf),
    /// This source file gets one more line.
    Change(PathBuf),
}

/// What proves, beside exit code 0, that a command did its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// It printed this.
    Says(&'static str),
    /// Its report in this folder: every gate passed, and every one was, or none was, taken from the cache.
    Gates {
        /// The folder of the report.
        out: PathBuf,
        /// Which of the two; `None` where it may be either.
        cached: Option<bool>,
    },
    /// It made this file anew.
    Made(PathBuf),
}

impl Subject {
    /// A command without an aim of its own.
    pub fn new(name: impl Into<String>, command: Command, proof: Proof) -> Self {
        Self { name: name.into(), command, before: Before::Nothing, proof, beside: None, aim: None }
    }

    /// With something to do before each sample.
    #[must_use]
    pub fn before(mut self, before: Before) -> Self {
        self.before = before;
        self
    }

    /// As a peer of one of our rows.
    #[must_use]
    pub fn beside(mut self, ours: &str) -> Self {
        self.beside = Some(ours.to_owned());
        self
    }

    /// With an aim.
    #[must_use]
    pub fn aim(mut self, aim: Aim) -> Self {
        self.aim = Some(aim);
        self
    }
}

/// One sample that counts.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Wall time of the whole process.
    pub wall: Duration,
    /// What it printed.
    pub ended: Ended,
}

/// Several samples of one thing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stats {
    /// The middle one, or the mean of the middle two.
    pub median_ms: f64,
    /// The fastest.
    pub min_ms: f64,
    /// The slowest.
    pub max_ms: f64,
    /// How many.
    pub runs: usize,
}

impl Stats {
    /// `None` of nothing.
    pub fn of(samples: &[Duration]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort();
        let (min, max) = (sorted.first()?, sorted.last()?);
        let middle = (sorted[(sorted.len() - 1) / 2] + sorted[sorted.len() / 2]) / 2;
        let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
        Some(Self { median_ms: ms(middle), min_ms: ms(*min), max_ms: ms(*max), runs: sorted.len() })
    }

    /// The median as a time.
    pub fn median(&self) -> Duration {
        Duration::from_secs_f64(self.median_ms / 1000.0)
    }
}

/// The samples of one subject, or why there are none.
pub type Samples = Result<Vec<Sample>, String>;

/// Each subject once without counting, then `bench.runs` times, all of them in turns.
pub async fn in_turns(bench: &Bench, subjects: &[Subject]) -> Result<Vec<Samples>> {
    let mut all: Vec<Samples> = subjects.iter().map(|_| Ok(Vec::new())).collect();
    for round in 0..=bench.runs {
        for (subject, samples) in subjects.iter().zip(&mut all) {
            let Ok(kept) = samples else { continue };
            tell(bench, round, &subject.name);
            match once(bench, subject).await? {
                Ok(sample) if round > 0 => kept.push(sample),
                Ok(_not_counted) => {}
                Err(why) => *samples = Err(why),
            }
        }
    }
    Ok(all)
}

/// Tells people how far it is.
pub fn tell(bench: &Bench, round: u32, name: &str) {
    let round = if round == 0 { "not counted".to_owned() } else { format!("{round} of {}", bench.runs) };
    print_error(&format!("measuring, {round}: {name}\n"));
}

/// One sample, or why it does not count.
pub async fn once(bench: &Bench, subject: &Subject) -> Result<Result<Sample, String>> {
    if let Err(why) = prepare(&subject.before) {
        return Ok(Err(format!("{why:#}")));
    }
    let (begun, clock) = (SystemTime::now(), Instant::now());
    let ended = bench.runner.run(&subject.command).await?;
    let wall = clock.elapsed();
    if !ended.is_success() {
        return Ok(Err(failure(&subject.proof, &ended)));
    }
    Ok(proved(&subject.proof, &ended, begun).map(|()| Sample { wall, ended }))
}

/// Why a command ended badly; what its report says is worth more than its last words.
fn failure(proof: &Proof, ended: &Ended) -> String {
    let said = match proof {
        Proof::Gates { out, .. } => report_of(out).ok().and_then(|report| unlike(&report, None)),
        _ => None,
    };
    said.map_or_else(|| ended.failure(), |said| format!("{}: {said}", ended.exit))
}

fn prepare(before: &Before) -> Result<()> {
    match before {
        Before::Nothing => Ok(()),
        Before::Remove(folder) if !folder.exists() => Ok(()),
        Before::Remove(folder) => {
            std::fs::remove_dir_all(folder).with_context(|| format!("cannot remove `{}`", folder.display()))
        }
        Before::Change(file) => {
            let cannot = || format!("cannot change `{}`", file.display());
            let text = std::fs::read_to_string(file).with_context(cannot)?;
            std::fs::write(file, with_one_more_line(&text)).with_context(cannot)
        }
    }
}

/// A line before the first that is no inner documentation: all that follows moves, so all of it is compiled again.
fn with_one_more_line(source: &str) -> String {
    let inner: usize = source.split_inclusive('\n').take_while(|line| line.starts_with("//!")).map(str::len).sum();
    let (documentation, rest) = source.split_at(inner);
    format!("{documentation}// One more line.\n{rest}")
}

fn proved(proof: &Proof, ended: &Ended, begun: SystemTime) -> Result<(), String> {
    match proof {
        Proof::Says(words) if ended.stdout.contains(words) || ended.stderr.contains(words) => Ok(()),
        Proof::Says(words) => Err(format!("it did not say `{words}`")),
        Proof::Made(file) => match file.metadata().and_then(|meta| meta.modified()) {
            Ok(made) if made >= begun => Ok(()),
            Ok(_) => Err("it made nothing anew".to_owned()),
            Err(why) => Err(format!("it made nothing: {why}")),
        },
        Proof::Gates { out, cached } => unlike(&report_of(out)?, *cached).map_or(Ok(()), Err),
    }
}

/// The report that `ci` left in `out`.
pub fn report_of(out: &Path) -> Result<Report, String> {
    serde_json::from_str(&read_report(&out.join("report.json"))?).map_err(|why| format!("the report is broken: {why}"))
}

/// In which way a report is not one of gates that all passed, all or none of them `cached`.
fn unlike(report: &Report, cached: Option<bool>) -> Option<String> {
    let ids = |wrong: &dyn Fn(&xtask::model::GateReport) -> bool| {
        let ids: Vec<&str> = report.gates.iter().filter(|gate| wrong(gate)).map(|gate| gate.id.as_str()).collect();
        (!ids.is_empty()).then(|| ids.join(", "))
    };
    if report.gates.is_empty() {
        return Some("it ran no gate".to_owned());
    }
    if let Some(ids) = ids(&|gate| gate.verdict != Verdict::Pass) {
        return Some(format!("not passed: {ids}"));
    }
    let wanted = cached?;
    let ids = ids(&|gate| gate.cached != wanted)?;
    Some(format!("{}taken from the cache: {ids}", if wanted { "not " } else { "" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        let stats = |ms: &[u64]| Stats::of(&ms.iter().copied().map(Duration::from_millis).collect::<Vec<_>>());
        for (samples, median, min, max) in [
            (&[7][..], 7.0, 7.0, 7.0),
            (&[9, 1], 5.0, 1.0, 9.0),
            (&[5, 1, 3], 3.0, 1.0, 5.0),
            (&[4, 100, 2, 8], 6.0, 2.0, 100.0),
        ] {
            let expected = Stats { median_ms: median, min_ms: min, max_ms: max, runs: samples.len() };
            assert_eq!(stats(samples), Some(expected));
        }
        assert_eq!(stats(&[]), None);
    }

    #[test]
    fn one_more_line_moves_all_code_and_no_documentation() {
        for (source, changed) in [
            ("//! A.\n//! B.\n\nuse x;\n", "//! A.\n//! B.\n// One more line.\n\nuse x;\n"),
            ("use x;\n", "// One more line.\nuse x;\n"),
            ("//! A.", "//! A.// One more line.\n"),
        ] {
            assert_eq!(with_one_more_line(source), changed);
        }
    }

    fn report(gates: &[(&str, &str, bool)]) -> Report {
        let gates: Vec<String> = gates
            .iter()
            .map(|(id, verdict, cached)| {
                format!(
                    r#"{{"id":"{id}","verdict":"{verdict}","required":true,"cached":{cached},"work":{{"count":1,"unit":"tests"}},
                       "tool":{{"name":"t","version":"1"}},"inputs":"","duration_ms":1,"reason":"","fix":"","findings":[],"artifacts":[]}}"#
                )
            })
            .collect();
        let text = format!(
            r#"{{"schema":"forge-report/1","commit":"","dirty":false,"task":"ci","profile":"local","verdict":"pass",
               "started":"","duration_ms":1,"not_configured":[],"gates":[{}]}}"#,
            gates.join(",")
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn only_what_it_is_measured_for_counts() {
        let mixed = report(&[("a", "pass", true), ("b", "pass", false)]);
        for (report, cached, wrong) in [
            (report(&[("a", "pass", true)]), Some(true), None),
            (report(&[("a", "pass", false)]), Some(false), None),
            (mixed.clone(), None, None),
            (mixed.clone(), Some(true), Some("not taken from the cache: b")),
            (mixed, Some(false), Some("taken from the cache: a")),
            (report(&[("a", "fail", false), ("b", "did_not_run", false)]), None, Some("not passed: a, b")),
            (report(&[]), Some(true), Some("it ran no gate")),
        ] {
            assert_eq!(unlike(&report, cached).as_deref(), wrong);
        }
    }
}
