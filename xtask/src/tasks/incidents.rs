//! The gate `monitor/incidents`: what a run of the monitoring saw was told to those who have to know.
//!
//! It comes last in a run of `monitor`, over the report of all its other gates. Whatever GitHub, a chat or a program refused
//! is `did not run` with its reason: an alert that nobody got is no alert.

use anyhow::Context as _;

use crate::config::Environment;
use crate::context::Ctx;
use crate::disk::write_atomically;
use crate::engine::gate::Gate;
use crate::engine::session::Session;
use crate::history::artifacts;
use crate::history::entry::{About, Issue};
use crate::incidents::desk::{CheckTold, Seen, Told, tell};
use crate::incidents::look::TASK;
use crate::incidents::state::Kind;
use crate::model::Report;
use crate::tasks::monitor;
use crate::tools::github::Clock;
use crate::tools::webhook::Hook;
use crate::verdict::{Evidence, Finding, NotRun, Outcome, Severity, Unproven, Work};

/// Its id.
pub const GATE: &str = "monitor/incidents";

/// The gate as it is planned; `None` where the environment's file declares no `[alerts]`. Its work is done by [`run`].
pub fn gate(environment: &Environment) -> Option<Gate> {
    environment.alerts.as_ref()?;
    Some(Gate {
        id: GATE.to_owned(),
        unit: "checks",
        tool: ("GitHub", String::new()),
        fresh: true,
        again: again(environment),
        ..Gate::default()
    })
}

fn again(environment: &Environment) -> String {
    format!("cargo xtask monitor {}", environment.name)
}

/// Tells what `report` says of each check, then asks for the dead man's address: only after a run that told all it had to.
pub async fn run(session: Session, environment: &Environment, report: &Report) -> Result<Outcome, Unproven> {
    let machine = &session.machine;
    session.doing("tell what was seen");
    let planned = planned(&machine.ctx, environment);
    let told = tell(machine, environment, Seen { report, planned: planned.as_deref() }).await;
    for line in lines(&told) {
        session.note(&machine.ctx.redactor.clean(&line))?;
    }
    let mut outcome = outcome(&told, &again(environment));
    if let Outcome::Ran(evidence) = &mut outcome {
        let path = machine.ctx.out.join(artifacts::ISSUES);
        let issues = serde_json::to_string_pretty(&issues(&told)).context("issues are no JSON")?;
        write_atomically(&path, machine.ctx.redactor.redact(&issues).as_bytes())?;
        evidence.artifacts.push(artifacts::ISSUES.to_owned());
    }
    let alerts = environment.alerts.as_ref();
    if let (Outcome::Ran(_), Some(variable)) = (&outcome, alerts.and_then(|alerts| alerts.dead_man.as_ref())) {
        dead_man(&session, variable).await?;
    }
    Ok(outcome)
}

/// The gates of a run that looks at everything: this one may have looked at one kind alone.
fn planned(ctx: &Ctx, environment: &Environment) -> Option<Vec<String>> {
    let args =
        monitor::Args { environment: environment.name.clone(), kind: monitor::Kind::All, tell: monitor::Tell::Off };
    let gates = monitor::gates(ctx, &args).ok()?;
    Some(gates.into_iter().map(|gate| gate.id).collect())
}

async fn dead_man(session: &Session, variable: &str) -> Result<(), NotRun> {
    let machine = &session.machine;
    let not_run = |trouble: crate::tools::webhook::Trouble| NotRun::new(trouble.to_string(), trouble.way_out());
    let hook = Hook::of(&machine.ctx, variable, machine.cancel.clone(), std::sync::Arc::new(Clock)).map_err(not_run)?;
    match hook {
        Some(hook) => hook.ping().await.map_err(not_run),
        None => Ok(()),
    }
}

/// What was told → what the gate saw. Pure.
fn outcome(told: &Told, again: &str) -> Outcome {
    let (all, count) = told.count();
    let of = |one: &CheckTold| {
        let message = format!("{} ({}): {} {}", one.check, one.about.name(), one.told.join(", "), one.url);
        (!one.told.is_empty()).then(|| Finding::new("told", Severity::Info, message))
    };
    let findings: Vec<Finding> = told.checks.iter().filter_map(of).collect();
    if let Some(untold) = told.untold() {
        let reason = format!("{} of {all} checks were told: {}", count, untold.reason);
        return Outcome::DidNotRun(NotRun { findings, ..NotRun::new(reason, &untold.fix) });
    }
    Outcome::Ran(Evidence {
        work: Work::new(count, "checks"),
        declared: Some(all),
        findings,
        artifacts: vec![],
        fix: again.to_owned(),
    })
}

/// The open issues, for the history: one that was closed now is none of them.
fn issues(told: &Told) -> Vec<Issue> {
    let is_open = |one: &&CheckTold| one.issue.is_some() && one.told.iter().all(|word| word != "closed");
    let issue = |one: &CheckTold| Issue {
        gate: format!("{TASK}/{}", one.check),
        about: match one.about {
            Kind::Failing => About::Failing,
            Kind::Unwatched => About::Unwatched,
        },
        url: one.url.clone(),
    };
    told.checks.iter().filter(is_open).map(issue).collect()
}

/// For the gate's log.
fn lines(told: &Told) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for one in &told.checks {
        let what = if one.told.is_empty() { "nothing to tell".to_owned() } else { one.told.join(", ") };
        let issue = one.issue.map(|number| format!(", #{number} {}", one.url)).unwrap_or_default();
        lines.push(format!("{} ({}): {what}{issue}", one.check, one.about.name()));
        lines.extend(one.trouble.iter().map(|untold| format!("  not told: {}", untold.reason)));
    }
    lines.extend(told.trouble.iter().map(|untold| format!("not told: {}", untold.reason)));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incidents::desk::Untold;

    fn one(check: &str, about: Kind, told: &[&str], trouble: &[&str]) -> CheckTold {
        let untold = |reason: &&str| Untold { reason: (*reason).to_owned(), fix: "mend it".to_owned() };
        CheckTold {
            check: check.to_owned(),
            about,
            told: told.iter().map(|&word| word.to_owned()).collect(),
            issue: (!told.is_empty()).then_some(7),
            url: "https://i/7".to_owned(),
            trouble: trouble.iter().map(untold).collect(),
        }
    }

    #[test]
    fn open_issues_are_remembered_and_closed_ones_are_not() {
        let checks = vec![
            one("health/pods", Kind::Failing, &[], &[]),
            one("health/endpoints", Kind::Failing, &["changed"], &[]),
            one("health/endpoints", Kind::Unwatched, &["closed"], &[]),
        ];
        let url = "https://i/7".to_owned();
        let expected = [Issue { gate: "monitor/health/endpoints".to_owned(), about: About::Failing, url }];
        assert_eq!(issues(&Told { checks, trouble: None }), expected);
    }

    #[test]
    fn all_told_is_evidence_and_anything_untold_is_not_run() {
        let quiet = one("health/pods", Kind::Failing, &[], &[]);
        let opened = one("health/endpoints", Kind::Failing, &["opened"], &[]);
        let refused = one("health/pods", Kind::Unwatched, &[], &["the token may not"]);
        let told =
            |checks: &[&CheckTold]| Told { checks: checks.iter().map(|&one| one.clone()).collect(), trouble: None };
        let Outcome::Ran(evidence) = outcome(&told(&[&quiet, &opened]), "again") else { panic!() };
        assert_eq!((evidence.work.count, evidence.declared, evidence.findings.len()), (2, Some(2), 1));
        assert_eq!(evidence.findings[0].message, "health/endpoints (failing): opened https://i/7");
        let Outcome::DidNotRun(why) = outcome(&told(&[&quiet, &opened, &refused]), "again") else { panic!() };
        assert_eq!((why.reason.as_str(), why.fix.as_str()), ("1 of 2 checks were told: the token may not", "mend it"));
        let trouble = Some(Untold { reason: "no token".to_owned(), fix: "set it".to_owned() });
        let Outcome::DidNotRun(why) = outcome(&Told { trouble, ..told(&[&quiet]) }, "again") else { panic!() };
        assert_eq!(why.reason, "0 of 1 checks were told: no token");
        // A report without a check proves nothing: no work is no pass.
        let Outcome::Ran(nothing) = outcome(&told(&[]), "again") else { panic!() };
        assert_eq!(crate::verdict::assess(&nothing, Severity::Low).verdict, crate::verdict::Verdict::DidNotRun);
    }
}
