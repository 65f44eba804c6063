//! What is not well, as far as the remembered runs of the monitoring tell; the issues know more (`incidents/`).

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::Run;
use crate::history::entry::{About, Issue};
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
    /// The page of its issue; empty where no run has told one.
    pub issue: String,
}

/// What is known of a check so far.
#[derive(Default)]
struct Check {
    open: Option<Incident>,
    passes: u64,
    good: Option<i64>,
}

/// What is watched, and how it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    /// How many checks there are.
    pub checks: u64,
    /// When the newest run began that looked at one, in seconds since 1970.
    pub looked: Option<i64>,
    /// Those that are not well: the failing ones first, and of these the oldest.
    pub open: Vec<Incident>,
}

/// The checks of all runs. One that the newest run of its kind did not plan is none any more; a run of another kind says
/// nothing of it.
pub fn open(runs: &[Run<'_>]) -> Watched {
    let mut checks: BTreeMap<(&str, &str), Check> = BTreeMap::new();
    let (mut planned, mut looked) = (BTreeMap::new(), None);
    for run in runs.iter().filter(|run| run.entry.task == MONITOR) {
        let environment = run.entry.environment.as_deref().unwrap_or_default();
        looked = looked.max(Some(run.at));
        let mut kinds: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for gate in &run.entry.gates {
            kinds.entry(kind(&gate.id)).or_default().insert(&gate.id);
            let check = checks.entry((environment, &gate.id)).or_default();
            check.look(run.at, gate.verdict, &gate.reason, environment, &gate.id);
            check.issue(&run.entry.issues, &gate.id);
        }
        planned.extend(kinds.into_iter().map(|(kind, ids)| ((environment, kind), ids)));
    }
    checks.retain(|(environment, id), _| planned[&(*environment, kind(id))].contains(id));
    let count = checks.len() as u64;
    let mut open: Vec<Incident> = checks.into_values().filter_map(|check| check.open).collect();
    open.sort_by_key(|incident| (incident.state == State::Unwatched, incident.since));
    Watched { checks: count, looked, open }
}

/// `health` of `monitor/health/pods`: what a run looks at wholly, or not at all.
fn kind(gate: &str) -> &str {
    let check = gate.strip_prefix(MONITOR).and_then(|rest| rest.strip_prefix('/')).unwrap_or(gate);
    check.split('/').next().unwrap_or_default()
}

impl Check {
    /// Takes the issue that a run has told of what is open.
    fn issue(&mut self, told: &[Issue], gate: &str) {
        let Some(open) = &mut self.open else { return };
        let about = if open.state == State::Unwatched { About::Unwatched } else { About::Failing };
        if let Some(issue) = told.iter().find(|issue| issue.gate == gate && issue.about == about) {
            open.issue.clone_from(&issue.url);
        }
    }

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
            times: before.as_ref().map_or(0, |before| before.times) + 1,
            reason: reason.to_owned(),
            issue: before.map(|before| before.issue).unwrap_or_default(),
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
        open(&in_order(&entries).0).open.into_iter().map(|open| (open.state, open.times, open.since / 3600)).collect()
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
    fn an_incident_leads_to_the_issue_that_was_told_last_of_it() {
        let told = |about, number: u8| Issue { gate: "health".to_owned(), about, url: format!("https://i/{number}") };
        let run = |hour: usize, verdict, issues: Vec<Issue>| {
            let run = entry(&format!("1970-01-01T{hour:02}:00:00Z"), "monitor", vec![gate("health", verdict)]);
            crate::history::entry::Entry { issues, ..run }
        };
        let (failing, unwatched) = (About::Failing, About::Unwatched);
        for (entries, expected) in [
            (vec![run(1, Verdict::Fail, vec![])], ""),
            (vec![run(1, Verdict::Fail, vec![told(unwatched, 1), told(failing, 2)])], "https://i/2"),
            // GitHub could not be asked, and then the check passed once.
            (
                vec![
                    run(1, Verdict::Fail, vec![told(failing, 2)]),
                    run(2, Verdict::Fail, vec![]),
                    run(3, Verdict::Pass, vec![]),
                ],
                "https://i/2",
            ),
            // Another incident is not that of before.
            (vec![run(1, Verdict::DidNotRun, vec![told(unwatched, 1)]), run(2, Verdict::Fail, vec![])], ""),
        ] {
            assert_eq!(open(&in_order(&entries).0).open[0].issue, expected, "{entries:?}");
        }
    }

    #[test]
    fn another_task_opens_nothing() {
        let entries = [entry("2026-11-01T00:00:00Z", "ci", vec![gate("docs", Verdict::Fail)])];
        assert_eq!(open(&in_order(&entries).0), Watched::default());
    }

    #[test]
    fn a_check_that_the_newest_run_of_its_kind_did_not_plan_is_none() {
        let run = |hour: usize, environment: &str, checks: &[&str]| {
            let gates = checks.iter().map(|check| gate(&format!("monitor/{check}"), Verdict::Fail)).collect();
            let run = entry(&format!("1970-01-01T{hour:02}:00:00Z"), "monitor", gates);
            crate::history::entry::Entry { environment: Some(environment.to_owned()), ..run }
        };
        let all = ["health/pods", "health/scaling", "performance/load", "security/drift"];
        let whole = run(1, "production", &all);
        for (later, expected) in [
            (vec![], &all[..]),
            // Other kinds say nothing, another environment neither.
            (vec![run(2, "production", &["performance/load", "incidents"])], &all[..]),
            (vec![run(2, "staging", &[])], &all[..]),
            (vec![run(2, "production", &["health/pods"])], &["health/pods", "performance/load", "security/drift"][..]),
            // It is planned again.
            (vec![run(2, "production", &["health/pods"]), run(3, "production", &["health/scaling"])], &all[1..]),
        ] {
            let entries: Vec<_> = [vec![whole.clone()], later].concat();
            let found = open(&in_order(&entries).0);
            let names: BTreeSet<&str> = found.open.iter().map(|one| &one.check["monitor/".len()..]).collect();
            let known: BTreeSet<&str> = names.iter().copied().filter(|name| all.contains(name)).collect();
            assert_eq!(known, expected.iter().copied().collect(), "{entries:?}");
            assert_eq!((found.checks, found.looked), (names.len() as u64, Some(entries.len() as i64 * 3600)));
        }
    }
}
