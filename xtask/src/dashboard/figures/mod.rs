//! Runs as they are remembered → the figures of the dashboard. Pure: no clock, no file.
//!
//! One rule for each figure, so that it can be computed again by somebody else (`docs/dashboard.md` has them in words, and
//! a test holds this code against another one). `dashboard/figures.js` has those that depend on a filter once more.

pub mod buckets;
pub mod gates;
pub mod incidents;
pub mod points;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use time::OffsetDateTime;

use crate::history::dora::{self, Dora};
use crate::history::entry::Entry;
use crate::history::release::moment;
use crate::verdict::Verdict;

/// The version of what `dashboard --json` prints.
pub const SCHEMA: &str = "forge-dashboard/1";

/// Which runs count. Releases, delivery and incidents are of environments: of the filter they know the time alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only of this branch.
    pub branch: Option<String>,
    /// Only of this task.
    pub task: Option<String>,
    /// Only those that began then or later.
    pub since: Option<OffsetDateTime>,
}

/// A run with the moment at which it began.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// Seconds since 1970.
    pub at: i64,
    /// What is remembered of it.
    pub entry: &'a Entry,
}

/// What is counted of runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// All.
    pub runs: u64,
    /// Those that passed.
    pub pass: u64,
    /// Those that failed.
    pub fail: u64,
    /// Those without a verdict: never counted as passed.
    pub did_not_run: u64,
    /// Their gates.
    pub gates: u64,
    /// Those of their gates that were taken from the cache.
    pub cached: u64,
    /// Their wall time together, in milliseconds.
    pub spent_ms: u64,
}

impl Counts {
    /// One more run.
    pub fn add(&mut self, entry: &Entry) {
        self.runs += 1;
        match entry.verdict {
            Verdict::Pass => self.pass += 1,
            Verdict::Fail => self.fail += 1,
            Verdict::DidNotRun => self.did_not_run += 1,
        }
        self.gates += entry.gates.len() as u64;
        self.cached += entry.gates.iter().filter(|gate| gate.cached).count() as u64;
        self.spent_ms += entry.duration_ms;
    }

    /// Of many runs.
    pub fn of(runs: &[Run<'_>]) -> Self {
        runs.iter().fold(Self::default(), |mut counts, run| {
            counts.add(run.entry);
            counts
        })
    }
}

/// Everything that the dashboard shows.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// From when on is looked, seconds since 1970: the filter's moment, or the first run.
    pub from: i64,
    /// Until when: the moment at which the figures were made.
    pub until: i64,
    /// The runs together.
    pub counts: Counts,
    /// Days or weeks.
    pub bucket: buckets::Size,
    /// The runs by day or by week, those without any left out.
    pub buckets: Vec<buckets::Bucket>,
    /// The gates, the most expensive first.
    pub gates: Vec<gates::Cost>,
    /// What passed and failed without a change.
    pub flaky: Vec<gates::Flaky>,
    /// How much the tests covered, in order of time, as all that follow.
    pub coverage: Vec<points::Coverage>,
    /// What was found.
    pub findings: Vec<points::Findings>,
    /// What loads have measured.
    pub loads: Vec<points::Load>,
    /// How large images were.
    pub images: Vec<points::Image>,
    /// What went to environments.
    pub releases: Vec<points::Release>,
    /// How delivery goes, by environment.
    pub delivery: BTreeMap<String, Dora>,
    /// How many checks of environments are watched.
    pub checks: u64,
    /// When the newest run began that looked at one, in seconds since 1970.
    pub looked: Option<i64>,
    /// What is not well right now.
    pub incidents: Vec<incidents::Incident>,
}

/// The runs in order of time; a second list of those whose time cannot be read.
pub fn in_order(entries: &[Entry]) -> (Vec<Run<'_>>, Vec<&Entry>) {
    let mut runs = Vec::with_capacity(entries.len());
    let mut timeless = Vec::new();
    for entry in entries {
        match moment(&entry.started) {
            Some(at) => runs.push(Run { at: at.unix_timestamp(), entry }),
            None => timeless.push(entry),
        }
    }
    // Two that began in one second stand in the order of their names, whichever was read first.
    runs.sort_by(|a, b| (a.at, &a.entry.run).cmp(&(b.at, &b.entry.run)));
    (runs, timeless)
}

/// The figures of those runs of `all`, which are in order of time, that the filter lets through.
pub fn of(all: &[Run<'_>], filter: &Filter, until: OffsetDateTime) -> Figures {
    let until = until.unix_timestamp();
    let first = all.first().map_or(until, |run| run.at);
    // Where the history is younger than what was asked for, nothing was spent before it.
    let from = filter.since.map_or(first, |since| since.unix_timestamp().max(first)).min(until);
    let in_time: Vec<Run<'_>> = all.iter().copied().filter(|run| run.at >= from).collect();
    let is = |wanted: &Option<String>, value: &str| wanted.as_deref().is_none_or(|wanted| wanted == value);
    let chosen = |run: &Run<'_>| is(&filter.branch, &run.entry.branch) && is(&filter.task, &run.entry.task);
    let runs: Vec<Run<'_>> = in_time.iter().copied().filter(chosen).collect();
    // What is not well now is so whatever is looked at.
    let incidents::Watched { checks, looked, open: incidents } = incidents::open(all);
    let bucket = buckets::Size::of(from, until);
    Figures {
        schema: SCHEMA,
        from,
        until,
        counts: Counts::of(&runs),
        bucket,
        buckets: buckets::of(&runs, bucket),
        gates: gates::costs(&runs, from, until),
        flaky: gates::flaky(&runs),
        coverage: points::coverage(&runs),
        findings: points::findings(&runs),
        loads: points::loads(&runs),
        images: points::images(&runs),
        releases: points::releases(&in_time),
        delivery: delivery(all, from, until),
        checks,
        looked,
        incidents,
    }
}

/// The figures of delivery between two moments. All releases are looked at: whether one was good is known after it.
pub fn delivery(all: &[Run<'_>], from: i64, until: i64) -> BTreeMap<String, Dora> {
    let with_release = all.iter().filter(|run| run.entry.release.is_some() || !run.entry.journal.is_empty());
    let entries: Vec<Entry> = with_release.map(|run| run.entry.clone()).collect();
    let now = OffsetDateTime::from_unix_timestamp(until).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    // The window of `dora` is open at its beginning, and ours is not.
    let window = Duration::from_secs(u64::try_from(until - from).unwrap_or_default() + 1);
    let figures = |(environment, releases): (String, Vec<_>)| (environment, dora::dora(&releases, window, now));
    dora::releases(&entries).into_iter().map(figures).collect()
}

#[cfg(test)]
pub mod testing {
    //! Runs for tests.
    use crate::history::entry::{Entry, Gate};
    use crate::history::testing;
    use crate::verdict::Verdict;

    /// A gate that took a second.
    pub fn gate(id: &str, verdict: Verdict) -> Gate {
        Gate { verdict, duration_ms: 1000, ..testing::gate(id) }
    }

    /// A run of a task on `main`.
    pub fn entry(started: &str, task: &str, gates: Vec<Gate>) -> Entry {
        let verdict = gates.iter().map(|gate| gate.verdict).find(|verdict| *verdict != Verdict::Pass);
        Entry {
            run: format!("{started}-{task}"),
            started: started.to_owned(),
            task: task.to_owned(),
            verdict: verdict.unwrap_or(Verdict::Pass),
            gates,
            ..testing::entry(0)
        }
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::testing::{entry, gate};
    use super::*;

    #[test]
    fn a_filter_chooses_runs_and_the_history_says_how_far_it_goes() {
        let mut other = entry("2026-11-20T10:00:00Z", "ci", vec![gate("docs", Verdict::Fail)]);
        other.branch = "topic".to_owned();
        let entries = [
            entry("2026-11-22T10:00:00Z", "scan", vec![gate("scan/sast", Verdict::DidNotRun)]),
            entry("2026-11-21T10:00:00Z", "ci", vec![gate("docs", Verdict::Pass)]),
            other,
            entry("soon", "ci", vec![]),
        ];
        let (runs, timeless) = in_order(&entries);
        assert_eq!(timeless.len(), 1, "a run without a time is told apart");
        let until = datetime!(2026-11-23 10:00 UTC);
        let counts = |filter: &Filter| {
            let Counts { runs, pass, fail, did_not_run, .. } = of(&runs, filter, until).counts;
            [runs, pass, fail, did_not_run]
        };
        assert_eq!(counts(&Filter::default()), [3, 1, 1, 1]);
        assert_eq!(counts(&Filter { branch: Some("main".into()), ..Filter::default() }), [2, 1, 0, 1]);
        assert_eq!(counts(&Filter { task: Some("ci".into()), ..Filter::default() }), [2, 1, 1, 0]);
        let since = |at| Filter { since: Some(at), ..Filter::default() };
        assert_eq!(counts(&since(datetime!(2026-11-21 10:00 UTC))), [2, 1, 0, 1]);
        assert_eq!(of(&runs, &since(datetime!(2026-01-01 0:00 UTC)), until).from, runs[0].at);
        assert_eq!(counts(&since(datetime!(2027-01-01 0:00 UTC))), [0, 0, 0, 0]);
    }

    #[test]
    fn an_empty_history_has_figures_too() {
        let figures = of(&[], &Filter::default(), datetime!(2026-11-23 10:00 UTC));
        assert_eq!(figures.counts, Counts::default());
        assert!(figures.buckets.is_empty() && figures.gates.is_empty() && figures.from == figures.until);
    }
}
