//! The four figures of delivery, from releases: lead time, frequency, failures, recovery. Pure.
//!
//! They are DORA's (<https://dora.dev/guides/dora-metrics/>), as far as a journal of releases can tell them; what counts as
//! what stands at each figure below and in `docs/metrics.md`. What was not measured is no figure, and never 0.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use time::OffsetDateTime;

use super::entry::Entry;
use super::release::{Release, moment};
use crate::release::journal::{Kind, Outcome};

/// The figures of one environment.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Dora {
    /// How many days they are of: the window, or the time since the first release that is known, where that is shorter;
    /// at least one day.
    pub days: f64,
    /// *Deployments*: releases of a version that were verified. A person who goes back deploys nothing.
    pub deployments: u64,
    /// *Deployment frequency*; `None` where no release is known at all.
    pub per_day: Option<f64>,
    /// *Change lead time*: from the time of the commit that the image is of until that release was verified. Commits
    /// before it that went out with it are not looked at, so that a release of many is told by its newest.
    pub lead_time: Option<Times>,
    /// *Changes*: releases of a version that changed something and of which it is known whether they were good. Those
    /// that could not be verified, or were interrupted, are neither.
    pub changes: u64,
    /// Those of them that failed, or that a person went back from before the next version was out.
    pub failures: u64,
    /// *Change fail rate*, from 0 to 1; `None` without a change.
    pub failure_rate: Option<f64>,
    /// *Failed deployment recovery time*: from the first object that a failed release changed until something verified
    /// served again; of a release that a person went back from, from the moment at which they began to, for the journal
    /// knows of no earlier one.
    pub restore: Option<Times>,
    /// Failures after which nothing verified serves yet.
    pub unrestored: u64,
}

/// A few durations, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Times {
    /// How many.
    pub count: u64,
    /// The middle one; of an even number the mean of the two in the middle.
    pub median_ms: u64,
    /// The longest.
    pub longest_ms: u64,
}

impl Times {
    /// `None` of none.
    pub fn of(mut all: Vec<u64>) -> Option<Self> {
        all.sort_unstable();
        let (middle, longest) = (all.len() / 2, *all.last()?);
        let median = if all.len() % 2 == 1 { all[middle] } else { all[middle - 1].midpoint(all[middle]) };
        Some(Self { count: all.len() as u64, median_ms: median, longest_ms: longest })
    }
}

/// The releases of a history by environment, each once, the oldest first. A release that went on in a second run is as the
/// later run tells it; one of which no run tells is as the journal was read last.
pub fn releases(entries: &[Entry]) -> BTreeMap<String, Vec<Release>> {
    let mut all: BTreeMap<String, BTreeMap<String, Release>> = BTreeMap::new();
    let read = entries.iter().flat_map(|entry| &entry.journal);
    for release in read.chain(entries.iter().filter_map(|entry| entry.release.as_ref())) {
        all.entry(release.environment.clone()).or_default().insert(release.id.clone(), release.clone());
    }
    let sorted = |by_id: BTreeMap<String, Release>| {
        let mut releases: Vec<Release> = by_id.into_values().filter(|one| moment(&one.started).is_some()).collect();
        releases.sort_by_key(|one| moment(&one.started));
        releases
    };
    all.into_iter().map(|(environment, by_id)| (environment, sorted(by_id))).collect()
}

/// A failure, and when it was over.
struct Failure {
    began: Option<OffsetDateTime>,
    restored: Option<OffsetDateTime>,
}

/// The figures of the last `window` before `now`, of the releases of one environment, the oldest first.
///
/// A release belongs to the window by the time at which it ended.
pub fn dora(releases: &[Release], window: Duration, now: OffsetDateTime) -> Dora {
    let since = now - window;
    let is_within = |at: Option<OffsetDateTime>| at.is_some_and(|at| at > since && at <= now);
    let ended = |release: &Release| moment(&release.ended);
    let known = releases.first().and_then(|release| moment(&release.started)).filter(|at| *at <= now);
    let days = known.map_or(0.0, |first| ((now - first.max(since)).as_seconds_f64() / 86_400.0).max(1.0));

    let failures = failures(releases);
    let delivered = |release: &&Release| release.kind == Kind::Release && release.outcome == Outcome::Verified;
    let delivered: Vec<&Release> = releases.iter().filter(delivered).filter(|one| is_within(ended(one))).collect();
    let is_told = |release: &&Release| {
        let failed = release.outcome == Outcome::Failed && release.applied.is_some();
        release.kind == Kind::Release && (failed || release.outcome == Outcome::Verified) && is_within(ended(release))
    };
    let changes: Vec<&Release> = releases.iter().filter(is_told).collect();
    let failed = changes.iter().filter(|release| failures.contains_key(&release.id)).count() as u64;
    let restored = failures.values().filter(|failure| is_within(failure.restored));
    let took =
        restored.filter_map(|failure| u64::try_from((failure.restored? - failure.began?).whole_milliseconds()).ok());
    let lead_times = delivered.iter().filter_map(|release| release.lead_time_ms).collect();
    let deployments = delivered.len() as u64;
    Dora {
        days,
        deployments,
        per_day: known.map(|_| deployments as f64 / days),
        lead_time: Times::of(lead_times),
        changes: changes.len() as u64,
        failures: failed,
        failure_rate: (!changes.is_empty()).then(|| failed as f64 / changes.len() as f64),
        restore: Times::of(took.collect()),
        unrestored: failures.values().filter(|failure| failure.restored.is_none()).count() as u64,
    }
}

/// The failed releases by their ids.
fn failures(releases: &[Release]) -> BTreeMap<String, Failure> {
    let mut failures: BTreeMap<String, Failure> = BTreeMap::new();
    let mut serving: Option<&Release> = None;
    for release in releases {
        let (ended, applied) = (moment(&release.ended), release.applied.as_deref().and_then(moment));
        match (release.kind, release.outcome) {
            (Kind::Release, Outcome::Failed) if applied.is_some() => {
                let restored = ended.filter(|_| !release.restored.is_empty());
                failures.insert(release.id.clone(), Failure { began: applied, restored });
            }
            // Whoever goes back says that what serves is no good, whatever comes of it.
            (Kind::Rollback, Outcome::Verified | Outcome::Failed) if applied.is_some() => {
                if let Some(bad) = serving.take() {
                    let began = moment(&release.started);
                    failures.insert(bad.id.clone(), Failure { began, restored: None });
                }
            }
            _ => {}
        }
        if release.outcome == Outcome::Verified {
            failures.values_mut().filter(|failure| failure.restored.is_none()).for_each(|one| one.restored = ended);
            serving = Some(release).filter(|one| one.kind == Kind::Release);
        }
    }
    failures
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    /// `Verified`, `Failed`… on a day of November, begun at 10:00, first applied two minutes later, ended after `minutes`.
    fn release(day: u32, outcome: Outcome, minutes: u32) -> Release {
        Release {
            id: format!("r{day}"),
            environment: "production".into(),
            outcome,
            started: format!("2026-11-{day:02}T10:00:00Z"),
            applied: Some(format!("2026-11-{day:02}T10:02:00Z")),
            ended: format!("2026-11-{day:02}T10:{minutes:02}:00Z"),
            lead_time_ms: (outcome == Outcome::Verified).then_some(u64::from(day) * 60_000),
            ..Release::default()
        }
    }

    fn back(day: u32, outcome: Outcome, minutes: u32) -> Release {
        Release { kind: Kind::Rollback, lead_time_ms: None, ..release(day, outcome, minutes) }
    }

    fn restored(day: u32, minutes: u32) -> Release {
        Release { restored: "r1".into(), ..release(day, Outcome::Failed, minutes) }
    }

    const NOW: OffsetDateTime = datetime!(2026-11-21 10:00 UTC);
    const MONTH: Duration = Duration::from_secs(30 * 86_400);

    fn times(count: u64, median: u64, longest: u64) -> Option<Times> {
        let minutes = |count| count * 60_000;
        Some(Times { count, median_ms: minutes(median), longest_ms: minutes(longest) })
    }

    #[test]
    fn a_scripted_history_gives_the_exact_figures() {
        use Outcome::{Failed, Interrupted, NotVerified, Verified};
        let script = [
            release(1, Verified, 10),
            restored(3, 22),
            release(4, Verified, 10),
            // A person goes back from it: 15 minutes.
            back(5, Verified, 15),
            release(8, NotVerified, 30),
            release(9, Interrupted, 30),
            release(11, Verified, 10),
            // Nothing was brought back; the next version is what makes it good, a day and 8 minutes later.
            release(15, Failed, 40),
            release(16, Verified, 10),
            // Refused before anything was changed.
            Release { applied: None, ..release(17, Failed, 1) },
        ];
        assert_eq!(
            dora(&script, MONTH, NOW),
            Dora {
                days: 20.0,
                deployments: 4,
                per_day: Some(0.2),
                lead_time: times(4, 7, 16).map(|times| Times { median_ms: 450_000, ..times }),
                // 1, 3, 4, 11, 15 and 16, of which 3 and 15 failed and 4 was gone back from.
                changes: 6,
                failures: 3,
                failure_rate: Some(0.5),
                restore: times(3, 20, 24 * 60 + 8),
                unrestored: 0,
            }
        );
        // The last five days: one deployment, and the failure before them was over within them.
        let five = dora(&script, Duration::from_secs(5 * 86_400 + 1), NOW);
        assert_eq!((five.deployments, five.changes, five.failures), (1, 1, 0));
        assert_eq!((five.per_day.unwrap() * 5.0).round(), 1.0);
        assert_eq!((five.lead_time, five.restore), (times(1, 16, 16), times(1, 24 * 60 + 8, 24 * 60 + 8)));
    }

    #[test]
    fn what_was_not_measured_is_no_figure() {
        assert_eq!(dora(&[], MONTH, NOW), Dora::default());
        // A known history without a deployment in the window has a frequency, which is 0.
        let quiet = dora(&[release(1, Outcome::Verified, 10)], Duration::from_secs(86_400), NOW);
        assert_eq!((quiet.per_day, quiet.lead_time, quiet.failure_rate, quiet.restore), (Some(0.0), None, None, None));
        let unknown = Release { lead_time_ms: None, ..release(20, Outcome::Verified, 10) };
        let found = dora(&[unknown], MONTH, NOW);
        assert_eq!((found.deployments, found.lead_time, found.failure_rate), (1, None, Some(0.0)));
        assert_eq!(found.days, 1.0);
    }

    #[test]
    fn each_failure_is_counted_once_and_ends_once() {
        use Outcome::{Failed, Verified};
        for (script, failures, restore, unrestored) in [
            (vec![release(1, Verified, 10), back(2, Verified, 15), back(3, Verified, 15)], 1, times(1, 15, 15), 0),
            // The way back fails as well, and a second one ends it.
            (vec![release(1, Verified, 10), back(2, Failed, 15), back(3, Verified, 15)], 1, times(1, 1455, 1455), 0),
            (vec![release(1, Verified, 10), back(2, Failed, 15)], 1, None, 1),
            (vec![release(1, Failed, 10)], 1, None, 1),
            // One that changed nothing brings nothing back.
            (vec![release(1, Verified, 10), Release { applied: None, ..back(2, Failed, 15) }], 0, None, 0),
            (vec![release(1, Verified, 10), restored(2, 12), restored(3, 12)], 2, times(2, 10, 10), 0),
        ] {
            let found = dora(&script, MONTH, NOW);
            assert_eq!(
                (found.failures, found.restore, found.unrestored),
                (failures, restore, unrestored),
                "{script:#?}"
            );
        }
    }

    #[test]
    fn a_release_in_two_runs_is_one() {
        let of = |outcome| Entry { release: Some(release(3, outcome, 10)), ..super::super::testing::entry(1) };
        let entries = [of(Outcome::Interrupted), super::super::testing::entry(2), of(Outcome::Verified)];
        let found = releases(&entries);
        assert_eq!(found["production"].len(), 1);
        assert_eq!(found["production"][0].outcome, Outcome::Verified);
    }

    #[test]
    fn a_release_of_which_no_run_tells_counts_as_the_journal_has_it() {
        use Outcome::{Failed, Running, Verified};
        let run = |release: Option<Release>, journal: Vec<Release>| {
            let mut entry = crate::history::testing::entry(0);
            (entry.release, entry.journal) = (release, journal);
            entry
        };
        // In Actions one failed, and nothing was brought back; a person went back on a laptop, and released from there.
        let seen = vec![release(17, Failed, 10), back(18, Verified, 5), release(19, Verified, 8)];
        let own = Release { detection_ms: Some(1300), ..release(17, Failed, 10) };
        let alone = releases(&[run(Some(own.clone()), vec![])]);
        assert_eq!(dora(&alone["production"], MONTH, NOW).unrestored, 1);
        let entries = [run(None, vec![release(17, Running, 0)]), run(Some(own.clone()), vec![]), run(None, seen)];
        let all = releases(&entries);
        let found = dora(&all["production"], MONTH, NOW);
        assert_eq!((all["production"].len(), found.unrestored, found.deployments), (3, 0, 1));
        assert_eq!(all["production"][0], own, "a run knows more of its own release than a journal");
    }
}
