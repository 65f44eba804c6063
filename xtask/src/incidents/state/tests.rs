//! The states by tables of runs, and by random histories.

use super::*;
use proptest::prelude::*;
use time::macros::datetime;

const START: OffsetDateTime = datetime!(2026-11-24 00:00:00 UTC);

fn hour(hour: i64) -> OffsetDateTime {
    START + time::Duration::hours(hour)
}

/// A run that begins at that hour, and ends two minutes later.
fn look(at: i64, verdict: Verdict, severity: Severity, cause: &str) -> Look {
    let began = hour(at);
    Look { verdict, severity, cause: cause.to_owned(), began, now: began + time::Duration::minutes(2), good: None }
}

fn level(label: &str, hours: u64, severity: Severity) -> Level {
    Level { label: label.to_owned(), after: Duration::from_secs(hours * 3600), severity, assignees: vec![] }
}

fn told(transitions: &[Transition]) -> String {
    let words = transitions.iter().map(|one| match one {
        Transition::Opened => "opened".to_owned(),
        Transition::Changed => "changed".to_owned(),
        Transition::Escalated(level) => format!("escalated {}", level.label),
        Transition::Closed(lasted) => format!("closed after {}h", lasted.as_secs() / 3600),
    });
    words.collect::<Vec<_>>().join(", ")
}

/// What is told run by run. A run is `HOUR:VERDICT`, with F for high, f for low, G for another failure, P, and - for one
/// that did not run; `!` is somebody who opens a closed issue again.
fn history(kind: Kind, runs: &str) -> Vec<String> {
    let levels = [level("day", 24, Severity::High), level("week", 168, Severity::Low)];
    let (mut state, mut all) = (State::None, Vec::new());
    for run in runs.split(' ') {
        if run == "!" {
            let State::Closed(incident) = state else { panic!("{runs}: it is not closed") };
            state = State::Open(incident);
            continue;
        }
        let (at, what) = run.split_once(':').unwrap();
        let (verdict, severity, cause) = match what {
            "F" => (Verdict::Fail, Severity::High, "a"),
            "f" => (Verdict::Fail, Severity::Low, "a"),
            "G" => (Verdict::Fail, Severity::High, "b"),
            "P" => (Verdict::Pass, Severity::Info, ""),
            _ => (Verdict::DidNotRun, Severity::Medium, "c"),
        };
        let next = next(kind, &state, &look(at.parse().unwrap(), verdict, severity, cause), &levels);
        all.push(told(&next.transitions));
        state = next.state;
    }
    all
}

#[test]
fn a_failure_opens_at_once_and_two_following_passes_close_it() {
    for (runs, expected) in [
        ("0:P 6:P", vec!["", ""]),
        ("0:F", vec!["opened"]),
        // The same failure again says nothing.
        ("0:F 6:F 12:F", vec!["opened", "", ""]),
        ("0:F 6:P", vec!["opened", ""]),
        // It lasted until the first of the two.
        ("0:F 6:P 12:P", vec!["opened", "", "closed after 6h"]),
        ("0:F 6:P 12:P 18:P", vec!["opened", "", "closed after 6h", ""]),
        // One in between begins the count anew.
        ("0:F 6:P 12:F 18:P", vec!["opened", "", "", ""]),
        ("0:F 6:P 12:F 18:P 23:P", vec!["opened", "", "", "", "closed after 18h"]),
        // One that did not run is neither.
        ("0:F 6:- 12:P 18:P", vec!["opened", "", "", "closed after 12h"]),
        ("0:F 6:P 12:- 18:P", vec!["opened", "", "", "closed after 6h"]),
        ("0:- 6:-", vec!["", ""]),
        // Another failure, or another severity, is a change.
        ("0:F 6:G 12:G 18:F", vec!["opened", "changed", "", "changed"]),
        ("0:f 6:F 12:f", vec!["opened", "changed", "changed"]),
        // A new one after the end of one is another one.
        ("0:F 6:P 12:P 18:F 20:P 22:P", vec!["opened", "", "closed after 6h", "opened", "", "closed after 2h"]),
        // A run beside one that counted counts for nothing.
        ("0:F 0:F 0:G", vec!["opened", "", ""]),
        ("0:F 6:P 6:P 6:P 12:P", vec!["opened", "", "", "", "closed after 6h"]),
        ("0:F 6:P 6:F 12:P", vec!["opened", "", "", ""]),
        // Opened again by a person: what closed it does not count any more.
        ("0:F 6:P 12:P ! 18:P", vec!["opened", "", "closed after 6h", ""]),
        ("0:F 6:P 12:P ! 18:P 24:P", vec!["opened", "", "closed after 6h", "", "closed after 18h"]),
        ("0:F 6:P 12:P ! 18:F", vec!["opened", "", "closed after 6h", ""]),
    ] {
        assert_eq!(history(Kind::Failing, runs), expected, "{runs}");
    }
}

#[test]
fn what_stays_open_is_told_to_more_once_a_level() {
    for (runs, expected) in [
        ("0:F 23:F 24:F 30:F", vec!["opened", "", "escalated day", ""]),
        ("0:f 24:f 168:f", vec!["opened", "", "escalated week"]),
        ("0:F 200:F", vec!["opened", "escalated day, escalated week"]),
        ("0:f 24:f 30:F", vec!["opened", "", "changed, escalated day"]),
        // It is as old when nobody could look, and getting well when it passed.
        ("0:F 24:-", vec!["opened", "escalated day"]),
        ("0:F 24:P", vec!["opened", ""]),
        ("0:F 24:P 30:F", vec!["opened", "", "escalated day"]),
        ("0:F 24:F 30:P 36:P 40:F", vec!["opened", "escalated day", "", "closed after 30h", "opened"]),
    ] {
        assert_eq!(history(Kind::Failing, runs), expected, "{runs}");
    }
}

#[test]
fn a_check_that_did_not_run_is_unwatched_until_its_next_verdict() {
    for (runs, expected) in [
        ("0:F 6:P", vec!["", ""]),
        ("0:- 6:-", vec!["opened", ""]),
        ("0:- 6:P", vec!["opened", "closed after 6h"]),
        ("0:- 6:F", vec!["opened", "closed after 6h"]),
        ("0:- 6:F 12:-", vec!["opened", "closed after 6h", "opened"]),
        ("0:- 170:-", vec!["opened", "escalated week"]),
    ] {
        assert_eq!(history(Kind::Unwatched, runs), expected, "{runs}");
    }
}

#[test]
fn the_last_good_run_is_the_one_before_the_failure_that_is_open() {
    let mut first = look(6, Verdict::Fail, Severity::High, "a");
    first.good = Some(hour(0));
    let good = |state: &State| match state {
        State::Open(incident) => incident.good,
        other => panic!("{other:?}"),
    };
    let opened = next(Kind::Failing, &State::None, &first, &[]);
    assert_eq!(good(&opened.state), Some(hour(0)));
    let passed = next(Kind::Failing, &opened.state, &look(12, Verdict::Pass, Severity::Info, ""), &[]);
    assert_eq!(good(&passed.state), Some(hour(0)));
    let again = next(Kind::Failing, &passed.state, &first_at(18), &[]);
    assert_eq!(good(&again.state), Some(hour(12)));
}

fn first_at(hour: i64) -> Look {
    look(hour, Verdict::Fail, Severity::High, "a")
}

#[test]
fn a_wrong_clock_of_another_machine_holds_up_nothing() {
    let State::Open(mut incident) = next(Kind::Failing, &State::None, &first_at(0), &[]).state else { panic!() };
    incident.seen = hour(1000);
    let passed = next(Kind::Failing, &State::Open(incident), &look(6, Verdict::Pass, Severity::Info, ""), &[]);
    let closed = next(Kind::Failing, &passed.state, &look(12, Verdict::Pass, Severity::Info, ""), &[]);
    assert_eq!(told(&closed.transitions), "closed after 6h");
}

fn verdicts() -> impl Strategy<Value = Verdict> {
    prop_oneof![Just(Verdict::Pass), Just(Verdict::Fail), Just(Verdict::DidNotRun)]
}

fn severities() -> impl Strategy<Value = Severity> {
    prop_oneof![Just(Severity::Low), Just(Severity::High), Just(Severity::Critical)]
}

/// Runs with what they saw; the gap before one is in minutes, and may be so short that it ran beside the last one.
fn runs() -> impl Strategy<Value = Vec<(i64, Verdict, Severity, u8)>> {
    prop::collection::vec((0i64..900, verdicts(), severities(), 0u8..3), 1..60)
}

proptest! {
    #[test]
    fn whatever_happens_it_is_opened_closed_and_told_in_order(runs in runs(), unwatched in any::<bool>()) {
        let kind = if unwatched { Kind::Unwatched } else { Kind::Failing };
        let levels = [level("day", 24, Severity::High), level("late", 3, Severity::Low)];
        let (mut state, mut at) = (State::None, START);
        let (mut is_open, mut in_row, mut first_bad, mut levels_told) = (false, 0, START, BTreeSet::new());
        let (mut last_end, mut passed_since) = (START - time::Duration::days(1), START);
        for (gap, verdict, severity, cause) in runs {
            at += time::Duration::minutes(gap);
            let look = Look {
                verdict, severity, cause: cause.to_string(), began: at, now: at + time::Duration::minutes(2), good: None,
            };
            let before = state.clone();
            let Next { state: after, transitions } = next(kind, &state, &look, &levels);
            let follows = at > last_end;
            let bad = kind.is_bad(verdict);
            for transition in &transitions {
                match transition {
                    Transition::Opened => {
                        prop_assert!(!is_open && bad == Some(true));
                        (is_open, in_row, first_bad) = (true, 0, at);
                        levels_told.clear();
                    }
                    Transition::Changed => {
                        prop_assert!(is_open && follows && bad == Some(true));
                        let State::Open(known) = &before else { return Err(TestCaseError::fail("changed what is not open")) };
                        prop_assert!(known.cause != look.cause || known.severity != look.severity);
                    }
                    Transition::Escalated(level) => {
                        prop_assert!(is_open && bad != Some(false));
                        prop_assert!(levels_told.insert(level.label.clone()), "twice {}", level.label);
                        prop_assert!(look.now - first_bad >= level.after);
                    }
                    Transition::Closed(lasted) => {
                        prop_assert!(is_open && bad == Some(false) && follows);
                        prop_assert_eq!(in_row + 1, kind.passes());
                        let from = if in_row == 0 { at } else { passed_since };
                        prop_assert_eq!(time::Duration::try_from(*lasted).unwrap(), from - first_bad);
                        is_open = false;
                    }
                }
            }
            // The model: passes in a row since the last failure, of runs that follow each other.
            if is_open {
                match bad {
                    Some(true) => in_row = 0,
                    Some(false) if follows => {
                        if in_row == 0 { passed_since = at; }
                        in_row += 1;
                    }
                    _ => {}
                }
                prop_assert!(in_row < kind.passes(), "it should be closed");
            }
            let counts = match (&before, bad) {
                (State::Open(_), Some(_)) => follows,
                (_, Some(true)) => true,
                _ => false,
            };
            if counts { last_end = look.now; }
            prop_assert_eq!(matches!(after, State::Open(_)), is_open);
            // The same once more says nothing more: a run that is repeated after a kill, or one beside it.
            if let State::Open(_) = after {
                let again = next(kind, &after, &look, &levels);
                prop_assert!(again.transitions.is_empty(), "{:?}", again.transitions);
                prop_assert_eq!(&again.state, &after);
            }
            state = after;
        }
    }
}
