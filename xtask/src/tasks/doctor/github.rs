//! `doctor --github`: the settings of the repository, held against what `[github]` expects.
//!
//! One gate a branch, one an environment, one for the workflows, one for the schedule of the monitoring. What the token may not read is not proved.

mod compare;

use anyhow::Result;

use crate::config::{Github as Expected, Guarded, Monitoring};
use crate::context::Ctx;
use crate::engine::gate::{Gate, action};
use crate::engine::session::Session;
use crate::exit::UsageError;
use crate::incidents::late::late;
use crate::tools::github::{Classic, GitHub, Trouble};
use crate::verdict::{Evidence, Finding, NotRun, Outcome, Severity, Unproven, Work};
use compare::Setting;

/// The gates.
pub fn plan(ctx: &Ctx) -> Result<Vec<Gate>> {
    let Some(expected) = &ctx.config.github else {
        return Err(UsageError("pipeline.toml declares no [github]".to_owned()).into());
    };
    let mut gates = Vec::new();
    for name in &expected.branches {
        let (expected, branch) = (expected.clone(), name.clone());
        gates
            .push(gate(&format!("branch-{name}"), move |session| of_branch(session, expected.clone(), branch.clone())));
    }
    for (name, guarded) in &expected.environments {
        let (guarded, environment) = (guarded.clone(), name.clone());
        gates.push(gate(&format!("environment-{name}"), move |session| {
            of_environment(session, guarded.clone(), environment.clone())
        }));
    }
    if let Some(monitoring) = &expected.monitoring {
        let monitoring = monitoring.clone();
        gates.push(gate("monitoring", move |session| of_monitoring(session, monitoring.clone())));
    }
    let expected = expected.clone();
    gates.push(gate("workflows", move |session| of_workflows(session, expected.clone())));
    Ok(gates)
}

fn gate<F, P>(name: &str, look: F) -> Gate
where
    F: Fn(Session) -> P + Send + Sync + 'static,
    P: Future<Output = Result<Outcome, Unproven>> + Send + 'static,
{
    Gate {
        id: format!("doctor/github-{}", name.replace('/', "-")),
        unit: "settings",
        tool: ("GitHub", String::new()),
        fresh: true,
        again: "cargo xtask doctor --github".to_owned(),
        action: action(look),
        ..Gate::default()
    }
}

async fn of_branch(session: Session, expected: Expected, branch: String) -> Result<Outcome, Unproven> {
    let github = GitHub::open(&session.machine).await?;
    let page = github.settings_page("branches");
    let found = match github.branch_protection(&branch).await {
        Ok(found) => found,
        Err(Trouble::NotFound { why, .. }) if why.starts_with("Branch not found") => {
            let settings = compare::branch(&expected, &Default::default());
            return Ok(missing(settings.len(), format!("there is no branch `{branch}`; push it")));
        }
        Err(trouble) => return Err(trouble.into()),
    };
    let mut settings = compare::branch(&expected, &found.guard());
    // Rulesets are seen by everybody; what they leave open the classic protection may still close.
    if let (Classic::Hidden(why), Some(open)) = (&found.classic, settings.iter().find(|one| !one.fits)) {
        let reason =
            format!("the classic protection of `{branch}` cannot be read, and no ruleset sets {}: {why}", open.name);
        return Err(NotRun::new(reason, ADMINISTRATION).into());
    }
    if expected.code_owners {
        settings.push(compare::code_owners(github.codeowners_errors(&branch).await?.as_deref()));
    }
    Ok(compared(&session, settings, &format!("`{branch}`"), &page)?)
}

async fn of_environment(session: Session, expected: Guarded, name: String) -> Result<Outcome, Unproven> {
    let github = GitHub::open(&session.machine).await?;
    let page = github.settings_page("environments");
    let all = github.environments().await?;
    let Some(found) = all.into_iter().find(|one| one.name == name) else {
        let settings = compare::environment(&expected, &Default::default());
        return Ok(missing(settings.len(), format!("there is no environment `{name}`; make it at {page}")));
    };
    Ok(compared(&session, compare::environment(&expected, &found), &format!("the environment `{name}`"), &page)?)
}

async fn of_workflows(session: Session, expected: Expected) -> Result<Outcome, Unproven> {
    let github = GitHub::open(&session.machine).await?;
    let found = match github.workflow_permissions().await {
        Err(why @ (Trouble::Forbidden { .. } | Trouble::NotFound { .. })) => {
            return Err(NotRun::new(why.to_string(), ADMINISTRATION).into());
        }
        found => found?,
    };
    Ok(compared(&session, compare::workflows(&expected, &found), "workflows", &github.settings_page("actions"))?)
}

/// A schedule that is late, or that GitHub has stopped: it does so without a word where nobody commits for 60 days.
async fn of_monitoring(session: Session, monitoring: Monitoring) -> Result<Outcome, Unproven> {
    let github = GitHub::open(&session.machine).await?;
    let name = &monitoring.workflow;
    let workflow = github.workflow(name).await?;
    let last = github.last_start(name, "event=schedule").await?;
    session.note(&format!(
        "`{name}` is {}, and last started at {:?}",
        workflow.state,
        last.as_ref().map(|one| one.at)
    ))?;
    let mut findings = Vec::new();
    if workflow.state != "active" {
        let message = format!("`{name}` does not start: it is {}; enable it under Actions", workflow.state);
        findings.push(Finding::new("monitoring-disabled", Severity::High, message));
    }
    let now = time::OffsetDateTime::now_utc();
    if let Some(message) = late(&monitoring, last.map(|one| one.at), workflow.created, now) {
        findings.push(Finding::new("monitoring-late", Severity::High, message));
    }
    let fix = "look at the workflow's runs under Actions, start it by hand, then `cargo xtask doctor --github`";
    Ok(Outcome::Ran(Evidence { fix: fix.to_owned(), ..evidence(2, findings) }))
}

/// Who may read these settings.
const ADMINISTRATION: &str =
    "set GITHUB_TOKEN to a token with `Administration: read` on this repository; a job's own token cannot have it";

/// The thing itself is not there, so that all its settings differ.
fn missing(settings: usize, message: String) -> Outcome {
    outcome(settings, vec![Finding::new("missing", Severity::High, message)])
}

/// Each setting that differs is a finding; each that was looked at is in the log.
fn compared(session: &Session, settings: Vec<Setting>, of: &str, page: &str) -> Result<Outcome> {
    let mut findings = Vec::new();
    for Setting { name, expected, found, fits } in &settings {
        let line = format!("{of}: {name}: expected {expected}, found {found}");
        session.note(&line)?;
        if !fits {
            findings.push(Finding::new(*name, Severity::High, format!("{line}; change it at {page}")));
        }
    }
    Ok(outcome(settings.len(), findings))
}

fn outcome(settings: usize, findings: Vec<Finding>) -> Outcome {
    Outcome::Ran(evidence(settings, findings))
}

fn evidence(settings: usize, findings: Vec<Finding>) -> Evidence {
    Evidence {
        work: Work::new(settings as u64, "settings"),
        declared: None,
        findings,
        artifacts: vec![],
        fix: "change the settings, or `[github]` in pipeline.toml; then `cargo xtask doctor --github`".to_owned(),
    }
}
