//! Flaky tests: those that failed and passed on the same inputs.
//!
//! What failed is tried again, alone. A test that passes then is flaky; it fails its leg all the same,
//! unless the configuration lists it with a reason and an expiry date that is not over.

use super::{Leg, judge, read_cases};
use crate::config::Flaky;
use crate::context::Ctx;
use crate::engine::session::Session;
use crate::model::FLAKY;
use crate::report::junit_cases::{Case, Status};
use crate::tools::command::Command;
use crate::verdict::{Finding, Severity, Unproven};

/// More failures than this have one cause, and it is not chance.
const MOST: usize = 30;

/// The further attempts, each with the cases that it ran.
pub async fn try_again(
    session: &Session,
    leg: &Leg,
    first: &[Case],
    with_redis: &(impl Fn(Command) -> Command + Sync),
) -> Result<Vec<Vec<Case>>, Unproven> {
    let mut attempts = Vec::new();
    let mut failing: Vec<String> = first.iter().filter(|case| judge::is_bad(case)).map(Case::id).collect();
    for attempt in 2..=leg.tests.attempts {
        if failing.is_empty() || failing.len() > MOST || session.machine.cancel.is_cancelled() {
            break;
        }
        let junit = session.artifact(&leg.junit(attempt))?;
        let mut more = leg.more.clone();
        more.push("--no-cov".to_owned());
        more.extend(failing.iter().cloned());
        let ended = session.step(&with_redis(leg.pytest(session.ctx(), &leg.junit(attempt), &more))).await?;
        // An attempt that proves nothing changes nothing: the first failure stands.
        let Ok(cases) = judge::attempt(&ended, read_cases(session, &junit)) else { break };
        failing.retain(|id| !cases.iter().any(|case| &case.id() == id && case.status == Status::Passed));
        attempts.push(cases);
    }
    Ok(attempts)
}

/// Marks the findings of tests that passed in a further attempt, and excuses those that are listed.
pub fn apply(findings: &mut [Finding], first: &[Case], attempts: &[Vec<Case>], ctx: &Ctx, leg: &Leg) {
    for finding in findings {
        let passed_in = attempts
            .iter()
            .position(|cases| cases.iter().any(|case| case.id() == finding.rule && case.status == Status::Passed));
        let Some(passed_in) = passed_in else { continue };
        let listed = ctx.config.flaky.iter().find(|entry| is_listed(&finding.rule, entry));
        let (severity, note) = verdict(listed, ctx.started.date());
        finding.severity = severity;
        let again = leg.again(Some(&finding.rule));
        finding.message = format!(
            "{FLAKY}failed, then passed in attempt {} on the same inputs{note}\n{}\nagain: {again}",
            passed_in + 2,
            tracebacks(&finding.rule, first, attempts)
        );
    }
}

/// A listed test excuses itself with or without its parameters.
fn is_listed(test: &str, entry: &Flaky) -> bool {
    test == entry.test || test.split('[').next() == Some(entry.test.as_str())
}

fn verdict(listed: Option<&Flaky>, today: time::Date) -> (Severity, String) {
    match listed {
        Some(entry) if entry.expires >= today => {
            (Severity::Info, format!(" (listed until {}: {})", entry.expires, entry.reason))
        }
        Some(entry) => (Severity::High, format!("; its entry in [[flaky]] expired on {}", entry.expires)),
        None => (Severity::High, "; mend it, or list it in [[flaky]] with a reason and an expiry date".to_owned()),
    }
}

/// The traceback of every attempt that failed.
fn tracebacks(test: &str, first: &[Case], attempts: &[Vec<Case>]) -> String {
    let all = std::iter::once(first).chain(attempts.iter().map(Vec::as_slice)).enumerate();
    let failed = all.flat_map(|(index, cases)| {
        cases
            .iter()
            .filter(|case| case.id() == test && judge::is_bad(case))
            .map(move |case| format!("attempt {}: {}\n{}", index + 1, case.message, case.details))
    });
    failed.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::date;

    #[test]
    fn a_listed_test_is_excused_until_its_day() {
        let entry = Flaky { test: "t.py::test_a".into(), reason: "slow disk".into(), expires: date!(2027 - 01 - 31) };
        for (listed, today, severity, words) in [
            (Some(&entry), date!(2027 - 01 - 31), Severity::Info, "slow disk"),
            (Some(&entry), date!(2027 - 02 - 01), Severity::High, "expired on 2027-01-31"),
            (None, date!(2027 - 01 - 31), Severity::High, "list it in [[flaky]]"),
        ] {
            let (got, note) = verdict(listed, today);
            assert_eq!(got, severity);
            assert!(note.contains(words), "{note}");
        }
        assert!(is_listed("t.py::test_a[1]", &entry) && is_listed("t.py::test_a", &entry));
        assert!(!is_listed("t.py::test_ab", &entry));
    }
}
