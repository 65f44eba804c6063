//! `ci --merge DIR`: the one required check. Legs that ran on other machines become one report.
//!
//! What is expected comes from the plan of this commit and profile, never from what arrived: a gate
//! that nobody reported, or that two reported, did not run, and a report of another commit counts for
//! nothing. Gates that read the others' artifacts run here.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};

use super::super::checks::{self, Checks, Done};
use super::jobs;
use super::plan::leg;
use crate::context::Ctx;
use crate::disk::{is_inside, read_report};
use crate::engine::gate::{Action, Gate, action};
use crate::engine::run::Options;
use crate::engine::session::Session;
use crate::engine::store::files_of;
use crate::event::{Event, Events};
use crate::model::{GateReport, Report, SCHEMA};
use crate::tools::cancel::Cancel;
use crate::tools::machine::Machine;
use crate::verdict::{Evidence, NotRun, Outcome, Severity, Unproven, Verdict, assess};

/// A report that arrived, and the folder that its artifacts are relative to.
struct Arrived {
    folder: PathBuf,
    report: Report,
}

/// Joins the reports below `folder`.
pub async fn run(
    ctx: &Arc<Ctx>,
    cancel: &Cancel,
    events: &Events,
    gates: Vec<Gate>,
    folder: &Path,
    options: Options,
) -> Result<Done> {
    let machine = Machine::new(ctx.clone(), cancel.clone());
    let commit = machine.snapshot().await?.commit;
    let mut arrived = Vec::new();
    for path in reports_below(folder)? {
        match read(&path).and_then(|report| fits(report, &commit, ctx)) {
            Ok(report) => arrived.push(Arrived { folder: path.parent().unwrap_or(folder).to_owned(), report }),
            Err(why) => events.send(Event::Note(format!("`{}` does not count: {why}", path.display()))),
        }
    }
    let is_leg: Vec<bool> = gates.iter().map(|gate| leg(gate, &gates).is_some()).collect();
    let join = |(gate, is_leg): (Gate, bool)| if is_leg { joined(gate, &arrived) } else { gate };
    let gates = jobs::gate(ctx).into_iter().chain(gates.into_iter().zip(is_leg).map(join)).collect();
    let options = Options { cache: false, ..options };
    checks::run(ctx, cancel, events, Checks { task: "ci", gates, left_out: vec![], options }).await
}

fn reports_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let list = match std::fs::read_dir(folder) {
        // Nobody uploaded anything: then no gate was reported.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
        list => list.with_context(|| format!("cannot list `{}`", folder.display()))?,
    };
    let mut found = Vec::new();
    for entry in list {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(reports_below(&path)?);
        } else if path.file_name().is_some_and(|name| name == "report.json") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn read(path: &Path) -> Result<Report, String> {
    serde_json::from_str(&read_report(path)?).map_err(|e| format!("it is not a report: {e}"))
}

/// Only a report of the same commit, of a clean tree, and of the same profile counts.
fn fits(report: Report, commit: &str, ctx: &Ctx) -> Result<Report, String> {
    match () {
        () if report.schema != SCHEMA => Err(format!("its format is `{}`", report.schema)),
        () if report.task != "ci" => Err(format!("it is of the task `{}`", report.task)),
        () if report.commit != commit || commit.is_empty() => {
            Err(format!("it is of commit {}, not of {commit}", report.commit))
        }
        () if report.dirty => Err("its working tree differed from its commit".to_owned()),
        () if report.profile != ctx.profile => {
            Err(format!("its profile is {}, not {}", report.profile.name(), ctx.profile.name()))
        }
        () => Ok(report),
    }
}

/// The gate, with an action that gives what its leg reported.
fn joined(gate: Gate, arrived: &[Arrived]) -> Gate {
    let mut reported: Vec<(PathBuf, GateReport)> = Vec::new();
    for leg in arrived {
        let of_this_gate = leg.report.gates.iter().filter(|report| report.id == gate.id);
        reported.extend(of_this_gate.map(|report| (leg.folder.clone(), report.clone())));
    }
    let (again, breaks_at) = (gate.again.clone(), gate.breaks_at);
    let elsewhere = reported.first().map(|(_, report)| report.clone());
    let action: Action = match <[_; 1]>::try_from(reported) {
        Ok([(folder, report)]) => action(move |session| take(session, folder.clone(), report.clone(), breaks_at)),
        Err(several) => {
            let reason = match several.len() {
                0 => "no leg reported this gate".to_owned(),
                n => format!("{n} legs reported this gate"),
            };
            action(move |_| {
                let not_run = NotRun::new(reason.clone(), again.clone());
                async move { Err(Unproven::NotRun(not_run)) }
            })
        }
    };
    Gate { elsewhere, action, ..gate }
}

/// A leg's report as an outcome of this run. Its evidence is judged here again; its word is not taken for a pass.
async fn take(session: Session, folder: PathBuf, report: GateReport, breaks_at: Severity) -> Result<Outcome, Unproven> {
    let mut artifacts = Vec::new();
    for artifact in &report.artifacts {
        if !is_inside(artifact) {
            return Err(session
                .not_run(format!("the artifact `{artifact}` lies outside of the report's folder"))
                .into());
        }
        let files = files_of(&folder, artifact);
        if files.is_empty() {
            return Err(session.not_run(format!("the artifact `{artifact}` did not arrive")).into());
        }
        for file in files {
            let target = session.artifact(&file)?;
            if std::fs::copy(folder.join(&file), target).is_err() {
                return Err(session.not_run(format!("the artifact `{file}` did not arrive")).into());
            }
        }
        artifacts.push(artifact.clone());
    }
    let reason = report.reason.clone();
    let not_run =
        NotRun { reason, fix: report.fix.clone(), findings: report.findings.clone(), artifacts: artifacts.clone() };
    if report.verdict == Verdict::DidNotRun {
        return Ok(Outcome::DidNotRun(not_run));
    }
    let evidence =
        Evidence { work: report.work, declared: None, findings: report.findings, artifacts, fix: report.fix };
    let judged = assess(&evidence, breaks_at);
    if judged.verdict != report.verdict {
        let reason = format!("the leg's verdict does not follow from its evidence: {}", judged.reason);
        return Ok(Outcome::DidNotRun(NotRun { reason, ..not_run }));
    }
    Ok(Outcome::Ran(evidence))
}
