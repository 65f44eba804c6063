//! What is not well, as far as the remembered runs of the monitoring tell; the issues know more (`incidents/`).

use std::collections::BTreeMap;

use serde::Serialize;

use super::Run;
use crate::verdict::Verdict;

/// The task whose runs are looked at.
const MONITOR: &str = "monitor";

/// How many following runs have to pass before a failure is over (R31).
const PASSES: u64 = 2;

/// How a check stands that is not well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its last verdict is a failure.
    Failing,
    /// It failed, and has passed once since: one more, and it is over.
    Recovering,
    /// It has no verdict: nobody knows.
    Unwatched,
}

impl State {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Failing => "failing",
            Self::Recovering => "passed once since",
            Self::Unwatched => "no verdict",
        }
    }
}

/// A check of an environment that is not well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Incident {
    /// Where.
    pub environment: String,
    /// The gate.
    pub check: String,
    /// How it stands.
    pub state: State,
    /// When the first run began that saw it, in seconds since 1970.
    pub since: i64,
    /// When the last run began that looked.
    pub last: i64,
    /// When the last run before it began that saw the check pass.
    pub good: Option<i64>,
    /// In how many runs it was so.
    pub times: u64,
    /// Why, as the last bad run says.
    pub reason: String,
}

/// What is known of a check so far.
#[derive(Default)]
struct Check {
    open: Option<Incident>,
    passes: u64,
    good: Option<i64>,
}

/// How many checks are watched, and those that are not well: the failing ones first, and of these the oldest.
pub fn open(runs: &[Run<'_>]) -> (u64, Vec<Incident>) {
    let mut checks: BTreeMap<(&str, &str), Check> = BTreeMap::new();
    for run in runs.iter().filter(|run| run.entry.task == MONITOR) {
        let environment = run.entry.environment.as_deref().unwrap_or_default();
        for gate in &run.entry.gates {
            let check = checks.entry((environment, &gate.id)).or_default();
            check.look(run.at, gate.verdict, &gate.reason, environment, &gate.id);
        }
    }
    let watched = checks.len() as u64;
    let mut open: Vec<Incident> = checks.into_values().filter_map(|check| check.open).collect();
    open.sort_by_key(|incident| (incident.state == State::Unwatched, incident.since));
    (watched, open)
}

impl Check {
    fn look(&mut self, at: i64, verdict: Verdict, reason: &str, environment: &str, gate: &str) {
        let was_failing = self.open.as_ref().is_some_and(|open| open.state != State::Unwatched);
        let state = match verdict {
            Verdict::Pass => {
                self.passes += 1;
                match &mut self.open {
                    Some(open) if was_failing && self.passes < PASSES => {
                        open.state = State::Recovering;
                        open.last = at;
                    }
                    _ => {
                        self.open = None;
                        self.good = Some(at);
                    }
                }
                return;
            }
            // It says nothing about what failed before.
            Verdict::DidNotRun if was_failing => return,
            Verdict::DidNotRun => State::Unwatched,
            Verdict::Fail => State::Failing,
        };
        self.passes = 0;
        let goes_on = was_failing == (state == State::Failing);
        let before = self.open.take().filter(|_| goes_on);
        self.open = Some(Incident {
            environment: environment.to_owned(),
            check: gate.to_owned(),
            state,
            since: before.as_ref().map_or(at, |before| before.since),
            last: at,
            good: self.good,
            times: before.map_or(0, |before| before.times) + 1,
            reason: reason.to_owned(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::in_order;
    use super::super::testing::{entry, gate};
    use super::*;

    /// `P`ass, `F`ail, `N`o verdict, an hour apart.
    fn after(verdicts: &str) -> Vec<(State, u64, i64)> {
        let run = |(hour, verdict): (usize, char)| {
            let verdict = match verdict {
                'P' => Verdict::Pass,
                'F' => Verdict::Fail,
                _ => Verdict::DidNotRun,
            };
            let mut run = entry(&format!("1970-01-01T{hour:02}:00:00Z"), "monitor", vec![gate("health", verdict)]);
            run.environment = Some("production".to_owned());
            run
        };
        let entries: Vec<_> = verdicts.chars().enumerate().map(run).collect();
        open(&in_order(&entries).0).1.into_iter().map(|open| (open.state, open.times, open.since / 3600)).collect()
    }

    #[test]
    fn a_check_that_is_not_well_is_open_until_it_passed_twice() {
        for (verdicts, expected) in [
            ("", vec![]),
            ("PP", vec![]),
            ("PF", vec![(State::Failing, 1, 1)]),
            ("PFF", vec![(State::Failing, 2, 1)]),
            ("PFP", vec![(State::Recovering, 1, 1)]),
            ("PFPP", vec![]),
            ("PFPFP", vec![(State::Recovering, 2, 1)]),
            ("PFN", vec![(State::Failing, 1, 1)]),
            ("PFNPNP", vec![]),
            ("PN", vec![(State::Unwatched, 1, 1)]),
            ("PNNP", vec![]),
            ("PNF", vec![(State::Failing, 1, 2)]),
        ] {
            assert_eq!(after(verdicts), expected, "{verdicts}");
        }
    }

    #[test]
    fn another_task_opens_nothing() {
        let entries = [entry("2026-11-01T00:00:00Z", "ci", vec![gate("docs", Verdict::Fail)])];
        assert_eq!(open(&in_order(&entries).0), (0, vec![]));
    }
}
