//! bandit: dangerous calls in Python. `# nosec`, `.bandit` and `pyproject.toml` of the tree do not count.

use serde::Deserialize;

use super::{files, own_config, parse, place, ran, severity, write_own_config};
use crate::config::Sast;
use crate::context::Ctx;
use crate::engine::gate::{Gate, Inputs, action};
use crate::engine::session::Session;
use crate::tools::catalog::BANDIT;
use crate::tools::command::Command;
use crate::tools::proc::Exit;
use crate::verdict::{Finding, Outcome, Unproven};

/// Without any setting; bandit looks for a `.bandit` in the tree unless it is given one.
const INI: (&str, &str) = ("bandit.ini", "[bandit]\n");

#[derive(Debug, Deserialize)]
struct Report {
    errors: Vec<Broken>,
    results: Vec<Issue>,
    metrics: std::collections::BTreeMap<String, serde_json::Value>,
}

#[derive(Debug, Deserialize)]
struct Broken {
    filename: String,
    reason: String,
}

#[derive(Debug, Deserialize)]
struct Issue {
    filename: String,
    issue_severity: String,
    issue_confidence: String,
    issue_text: String,
    line_number: u32,
    test_id: String,
}

/// One gate.
pub fn plan(ctx: &Ctx) -> Vec<Gate> {
    let Some(sast) = &ctx.config.sast else { return vec![] };
    let steps = steps(ctx, sast);
    let sast = sast.clone();
    vec![Gate {
        id: "scan/bandit".to_owned(),
        unit: "files",
        programs: vec![&BANDIT],
        inputs: Inputs { files: all(&sast), ignored: true, settings: format!("{sast:?}"), ..Inputs::default() },
        steps: steps.clone(),
        again: "cargo xtask scan sast".to_owned(),
        action: action(move |session| run(session, sast.clone(), steps.clone())),
        ..Gate::default()
    }]
}

/// Every folder that is looked into.
pub fn all(sast: &Sast) -> Vec<String> {
    [&sast.files[..], &sast.tests].concat()
}

/// Source, then tests, which may assert.
fn steps(ctx: &Ctx, sast: &Sast) -> Vec<Command> {
    let bandit = |skipped: &[&str], folders: &[String]| {
        Command::new(BANDIT.name, &ctx.root)
            .args(["--quiet", "--recursive", "--ignore-nosec", "--ini"])
            .arg(own_config(ctx, INI.0))
            .args(["--format", "json"])
            .args(skipped.iter().copied())
            .args(folders.iter().cloned())
    };
    let mut steps = vec![bandit(&[], &sast.files)];
    if !sast.tests.is_empty() {
        steps.push(bandit(&["--skip", "B101"], &sast.tests));
    }
    steps
}

async fn run(session: Session, sast: Sast, steps: Vec<Command>) -> Result<Outcome, Unproven> {
    let ctx = session.ctx();
    write_own_config(ctx, INI.0, INI.1)?;
    let declared = files(&session, &all(&sast), |path| path.ends_with(".py")).await?;
    let (mut looked_at, mut findings) = (0, Vec::new());
    for step in &steps {
        let ended = session.tool(&BANDIT, step).await?;
        if !matches!(ended.exit, Exit::Code(0 | 1)) {
            return Err(session.not_run(format!("bandit {}", ended.failure())).into());
        }
        let report: Report = parse(&session, &ended, &ended.stdout)?;
        if let Some(broken) = report.errors.first() {
            return Err(session
                .not_run(format!("bandit could not read `{}`: {}", broken.filename, broken.reason))
                .into());
        }
        if report.results.is_empty() != ended.is_success() {
            return Err(session.not_run(format!("bandit {}, which its report contradicts", ended.exit)).into());
        }
        looked_at += report.metrics.keys().filter(|name| *name != "_totals").count();
        findings.extend(report.results.into_iter().map(|issue| finding(ctx, issue)));
    }
    Ok(ran(looked_at, "files", declared.len(), findings, "mend the source, then `cargo xtask scan sast`"))
}

fn finding(ctx: &Ctx, issue: Issue) -> Finding {
    let message = format!("{} (confidence: {})", issue.issue_text, issue.issue_confidence.to_lowercase());
    Finding::new(issue.test_id, severity(&issue.issue_severity), message)
        .at(place(ctx, &issue.filename), issue.line_number)
}
