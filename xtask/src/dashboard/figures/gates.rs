//! What gates cost, how often they pass, and which of them answer differently to the same question.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::Run;
use crate::verdict::Verdict;

const WEEK: i64 = 7 * 86_400;

/// One gate over many runs. What was taken from the cache is counted, and is in no other figure: it cost nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Cost {
    /// Its id.
    pub gate: String,
    /// How often it ran.
    pub ran: u64,
    /// How often its stored report was taken.
    pub cached: u64,
    /// How often it passed when it ran.
    pub pass: u64,
    /// How often it failed.
    pub fail: u64,
    /// How often it had no verdict.
    pub did_not_run: u64,
    /// The median of its durations, in milliseconds.
    pub median_ms: u64,
    /// The 95th percentile of its durations.
    pub p95_ms: u64,
    /// Its durations together.
    pub total_ms: u64,
    /// The same in a week; of less than a week all of it.
    pub per_week_ms: u64,
}

/// Every gate, the most expensive first.
pub fn costs(runs: &[Run<'_>], from: i64, until: i64) -> Vec<Cost> {
    let weeks = ((until - from) as f64 / WEEK as f64).max(1.0);
    let mut gates: BTreeMap<&str, (Cost, Vec<u64>)> = BTreeMap::new();
    for gate in runs.iter().flat_map(|run| &run.entry.gates) {
        let (cost, durations) = gates.entry(&gate.id).or_default();
        if gate.cached {
            cost.cached += 1;
            continue;
        }
        cost.ran += 1;
        cost.total_ms += gate.duration_ms;
        durations.push(gate.duration_ms);
        match gate.verdict {
            Verdict::Pass => cost.pass += 1,
            Verdict::Fail => cost.fail += 1,
            Verdict::DidNotRun => cost.did_not_run += 1,
        }
    }
    let whole = |(gate, (cost, mut durations)): (&str, (Cost, Vec<u64>))| {
        durations.sort_unstable();
        let per_week_ms = (cost.total_ms as f64 / weeks).round() as u64;
        let [median_ms, p95_ms] = [50, 95].map(|percent| percentile(&durations, percent));
        Cost { gate: gate.to_owned(), median_ms, p95_ms, per_week_ms, ..cost }
    };
    let mut costs: Vec<Cost> = gates.into_iter().map(whole).collect();
    costs.sort_by(|a, b| b.total_ms.cmp(&a.total_ms).then_with(|| a.gate.cmp(&b.gate)));
    costs
}

/// The smallest value that so many percent do not exceed (nearest rank); 0 of none.
fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (percent * sorted.len()).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// A test, or a whole gate, that passed and failed without a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Flaky {
    /// The gate.
    pub gate: String,
    /// The test; empty where the whole gate passed and failed on the same commit.
    pub test: String,
    /// In how many runs, or of a whole gate on how many commits.
    pub times: u64,
    /// How often the gate ran.
    pub ran: u64,
    /// When it was last seen, in seconds since 1970.
    pub last: i64,
}

/// The most frequent first. A run against an environment is never counted: what it looks at changes without a commit.
pub fn flaky(runs: &[Run<'_>]) -> Vec<Flaky> {
    let mut ran: BTreeMap<&str, u64> = BTreeMap::new();
    let mut tests: BTreeMap<(&str, &str), (u64, i64)> = BTreeMap::new();
    let mut commits: BTreeMap<(&str, &str), (BTreeSet<bool>, i64)> = BTreeMap::new();
    for run in runs {
        let is_whole = !run.entry.dirty && run.entry.environment.is_none() && !run.entry.commit.is_empty();
        for gate in run.entry.gates.iter().filter(|gate| !gate.cached) {
            *ran.entry(&gate.id).or_default() += 1;
            for test in gate.flaky.iter().collect::<BTreeSet<_>>() {
                let (times, last) = tests.entry((&gate.id, test)).or_default();
                *times += 1;
                *last = run.at;
            }
            if is_whole && gate.verdict != Verdict::DidNotRun {
                let (seen, last) = commits.entry((&gate.id, &run.entry.commit)).or_default();
                seen.insert(gate.verdict == Verdict::Pass);
                *last = run.at;
            }
        }
    }
    let mut whole: BTreeMap<&str, (u64, i64)> = BTreeMap::new();
    for ((gate, _), (_, last)) in commits.iter().filter(|(_, (seen, _))| seen.len() == 2) {
        let (times, newest) = whole.entry(gate).or_default();
        *times += 1;
        *newest = (*newest).max(*last);
    }
    let whole = whole.into_iter().map(|(gate, seen)| ((gate, ""), seen));
    let told = |((gate, test), (times, last)): ((&str, &str), (u64, i64))| {
        let ran = ran.get(gate).copied().unwrap_or_default();
        Flaky { gate: gate.to_owned(), test: test.to_owned(), times, ran, last }
    };
    let mut flaky: Vec<Flaky> = tests.into_iter().chain(whole).map(told).collect();
    flaky.sort_by(|a, b| b.times.cmp(&a.times).then_with(|| (&a.gate, &a.test).cmp(&(&b.gate, &b.test))));
    flaky
}

#[cfg(test)]
mod tests {
    use super::super::in_order;
    use super::super::testing::{entry, gate};
    use super::*;
    use crate::history::entry::Gate;

    #[test]
    fn what_was_cached_cost_nothing() {
        let took = |duration_ms, cached| Gate { duration_ms, cached, ..gate("docs", Verdict::Pass) };
        let entries = [
            entry("2026-11-01T00:00:00Z", "ci", vec![took(4000, false), gate("scan/sast", Verdict::DidNotRun)]),
            entry("2026-11-02T00:00:00Z", "ci", vec![took(4000, true)]),
            entry("2026-11-03T00:00:00Z", "ci", vec![took(2000, false)]),
            entry("2026-11-04T00:00:00Z", "ci", vec![Gate { verdict: Verdict::Fail, ..took(9000, false) }]),
        ];
        let (runs, _) = in_order(&entries);
        let from = runs[0].at;
        let costs_after = |weeks: i64| costs(&runs, from, from + weeks * WEEK);
        let [docs, sast] = &costs_after(2)[..] else { panic!() };
        let expected = Cost {
            gate: "docs".to_owned(),
            ran: 3,
            cached: 1,
            pass: 2,
            fail: 1,
            median_ms: 4000,
            p95_ms: 9000,
            total_ms: 15_000,
            per_week_ms: 7500,
            ..Cost::default()
        };
        assert_eq!(docs, &expected);
        assert_eq!((sast.gate.as_str(), sast.did_not_run, sast.pass), ("scan/sast", 1, 0));
        assert_eq!(costs_after(0)[0].per_week_ms, 15_000, "less than a week has cost what it has cost");
    }

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values: Vec<u64> = (1..=100).collect();
        for (values, percent, value) in [
            (&values[..], 50, 50),
            (&values, 95, 95),
            (&values[..1], 95, 1),
            (&values[..2], 50, 1),
            (&values[..0], 50, 0),
        ] {
            assert_eq!(percentile(values, percent), value);
        }
    }

    #[test]
    fn flaky_is_what_answered_differently_without_a_change() {
        let mut named = gate("tests/3.12", Verdict::Fail);
        named.flaky = vec!["test_a".to_owned(), "test_a".to_owned()];
        let cached = Gate { cached: true, verdict: Verdict::Pass, ..named.clone() };
        let mut dirty = entry("2026-11-05T00:00:00Z", "ci", vec![gate("docs", Verdict::Fail)]);
        dirty.dirty = true;
        let mut elsewhere = entry("2026-11-06T00:00:00Z", "smoke", vec![gate("docs", Verdict::Fail)]);
        elsewhere.environment = Some("staging".to_owned());
        let mut entries = vec![
            entry("2026-11-01T00:00:00Z", "ci", vec![named, gate("docs", Verdict::Pass)]),
            entry("2026-11-02T00:00:00Z", "ci", vec![cached]),
            entry("2026-11-03T00:00:00Z", "ci", vec![gate("docs", Verdict::DidNotRun)]),
            dirty,
            elsewhere,
        ];
        let found = |entries: &[Entry]| {
            let told = flaky(&in_order(entries).0);
            told.into_iter().map(|f| (f.gate, f.test, f.times, f.ran)).collect::<Vec<_>>()
        };
        let test = ("tests/3.12".to_owned(), "test_a".to_owned(), 1, 1);
        assert_eq!(found(&entries), vec![test.clone()]);
        entries.push(entry("2026-11-07T00:00:00Z", "ci", vec![gate("docs", Verdict::Fail)]));
        assert_eq!(found(&entries), [("docs".to_owned(), String::new(), 1, 5), test]);
    }

    use crate::history::entry::Entry;
}
