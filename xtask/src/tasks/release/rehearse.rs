//! `deploy ENV --rehearse`: the real overlay and the real program in a namespace that is thrown away, with one fault after
//! the other, so that a team sees its way back work before it needs it.
//!
//! Each release is a process of its own, as a person would start it: its exit code, its report and its journal are the
//! evidence. Never in an environment's own namespace.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::observer::{Observer, Seen};
use super::stages::Stages;
use super::verify::arm;
use super::{DeployArgs, environment, gate};
use crate::config::{Environment, Release};
use crate::context::Ctx;
use crate::disk::write_atomically;
use crate::engine::gate::Gate;
use crate::engine::run::Options;
use crate::engine::session::Session;
use crate::event::Events;
use crate::exit::{Code, UsageError};
use crate::model::Report;
use crate::release::book::Book;
use crate::release::faults::{self, Fault, Subject};
use crate::release::journal::{Entry, Outcome as Became};
use crate::tasks::checks::{Checks, Done};
use crate::tools::cancel::Cancel;
use crate::tools::command::Command;
use crate::tools::proc::Exit;
use crate::verdict::{Evidence, Finding, NotRun, Outcome, Severity, Unproven, Verdict, Work};
use figures::{Row, detected, restored, rolled_out, table};
use overlay::write;
use stage::{Stage, first_of, repository, set};

mod figures;
mod live;
mod overlay;
mod stage;

/// Where the overlays and configurations of a rehearsal lie, relative to the repository.
const FOLDER: &str = "target/xtask/rehearsal";

/// Where reports go unless somebody says otherwise, relative to the store.
pub const OUT: &str = "rehearsal/out";

/// The figures of the last rehearsal, relative to the output folder.
const FIGURES: &str = "rehearsal.json";

/// The name of the load in a rehearsal's pipeline.toml.
const LOAD: &str = "rehearsal";

/// A variable that fills the Secret of a rehearsal, and what it holds.
const FILLED: (&str, &str) = ("FORGE_REHEARSAL", "nobody-has-to-keep-this-one");

/// The gates of a rehearsal. A fault that nobody knows would be planted nowhere, and be missed by nobody.
pub fn gates(ctx: &Ctx, args: &DeployArgs, environment: &Environment) -> Result<Vec<Gate>> {
    let again = again(args);
    let all = faults::all(&subject(ctx, environment, ""));
    if let Some(unknown) = args.faults.iter().find(|name| all.iter().all(|fault| fault.name != **name)) {
        let names: Vec<&str> = all.iter().map(|fault| fault.name).collect();
        return Err(UsageError(format!("no fault `{unknown}`; there are {}", names.join(", "))).into());
    }
    let faults = all.into_iter().filter(|fault| is_asked(args, environment, fault));
    let named = faults.map(|fault| gate(&format!("rehearse/{}", fault.name), "checks", "kubectl", &again));
    let mut gates = vec![
        gate("rehearse/cluster", "clusters", "kubectl", &again),
        gate("rehearse/good", "checks", "kubectl", &again),
    ];
    gates.extend(named);
    gates.push(gate("rehearse/first", "checks", "kubectl", &again));
    Ok(gates)
}

/// Those that are named; else the eight of every rehearsal, or all. Without a load nobody would see what only a load shows.
fn is_asked(args: &DeployArgs, environment: &Environment, fault: &Fault) -> bool {
    if !args.faults.is_empty() {
        return args.faults.iter().any(|name| name == fault.name);
    }
    (args.full || fault.is_common) && !(environment.rehearsal.load.is_zero() && fault.needs_load)
}

fn again(args: &DeployArgs) -> String {
    let full = if args.full { " --full" } else { "" };
    format!("cargo xtask deploy {} --rehearse{full}", args.environment)
}

fn subject(ctx: &Ctx, environment: &Environment, repository: &str) -> Subject {
    let path = |name: &String| ctx.config.requests.get(name).map(|request| request.path().to_owned());
    let service = ctx.config.service.as_ref();
    let release = environment.release.clone();
    Subject {
        workload: release.as_ref().map(|release| release.workload.clone()).unwrap_or_default(),
        container: release.as_ref().map(|release| release.container.clone()).unwrap_or_default(),
        secret: release.map(|release| release.secret).unwrap_or_default(),
        repository: repository.to_owned(),
        run: service.map(|service| service.run.clone()).unwrap_or_default(),
        spared: service
            .map(|service| [&service.alive, &service.ready].into_iter().filter_map(path).collect())
            .unwrap_or_default(),
    }
}

/// Does it.
pub async fn run(ctx: &Arc<Ctx>, cancel: &Cancel, events: &Events, args: &DeployArgs) -> Result<Done> {
    let real = environment(ctx, &args.environment)?;
    let all = Environment::all(&ctx.config_dir)?;
    let checks =
        Checks { task: "deploy", gates: gates(ctx, args, &real)?, left_out: vec![], options: Options::default() };
    let mut stages = Stages::open(ctx, cancel, events, &checks).await?;
    let mut stage = None;
    let report = stages
        .run("rehearse/cluster", async |session| {
            stage = Some(set(&session, &real, &all, args).await?);
            Ok(passed(1, "clusters", vec![]))
        })
        .await;
    let Some(mut stage) = stage.filter(|_| report.verdict == Verdict::Pass) else {
        stages.leave("there is nowhere to rehearse", &report.fix);
        return Ok(stages.close(Code::Passed));
    };
    stages.say(format!("rehearsing {} in the namespace {} with {}", real.name, stage.namespace, stage.image));
    let mut rows: Vec<Row> = Vec::new();
    let good = Planted { name: "good", patch: None, change: &|_| {}, code: 0, tells: "" };
    let ran = release(&mut stages, &real, args, &stage, &good, &mut rows).await;
    if ran != Verdict::Pass {
        stages.leave("the version without a fault was not released", "look into the log of rehearse/good");
        return Ok(stages.close(Code::Passed));
    }
    // What a good version needs on this machine is no fault of another one.
    let good = report_of(&stages.ctx().out.join("rehearsal/good"));
    stage.ready = good.as_ref().and_then(rolled_out).unwrap_or_default() * 2;
    for fault in faults::all(&subject(ctx, &real, repository(&stage.image))) {
        if stages.is_stopped() || !is_asked(args, &real, &fault) {
            continue;
        }
        let Fault { name, what, patch, change, code, tells, .. } = fault;
        stages.say(format!("{name}: {what}"));
        let planted = Planted { name, patch, change: &change, code: i32::from(code), tells };
        release(&mut stages, &real, args, &stage, &planted, &mut rows).await;
    }
    if !stages.is_stopped() {
        first(&mut stages, &real, args, &stage, &mut rows).await;
    }
    stages.say(table(&rows));
    let text = serde_json::to_string_pretty(&rows).context("the figures are no JSON")?;
    write_atomically(&stages.ctx().out.join(FIGURES), text.as_bytes())?;
    stages.leave("interrupted", &again(args));
    let code = if stages.is_stopped() { Code::Interrupted } else { Code::Passed };
    Ok(stages.close(code))
}

fn passed(count: u64, unit: &str, findings: Vec<Finding>) -> Outcome {
    let fix = "look into the log and the folder of this release below the output folder".to_owned();
    Outcome::Ran(Evidence { work: Work::new(count, unit), declared: None, findings, artifacts: vec![], fix })
}

/// A release of the rehearsal, with what is planted into it.
struct Planted<'a> {
    name: &'a str,
    patch: Option<Value>,
    change: &'a dyn Fn(&mut Environment),
    code: i32,
    tells: &'a str,
}

/// Releases once, watched by a client, as one gate.
async fn release(
    stages: &mut Stages,
    real: &Environment,
    args: &DeployArgs,
    stage: &Stage,
    planted: &Planted<'_>,
    rows: &mut Vec<Row>,
) -> Verdict {
    let id = format!("rehearse/{}", planted.name);
    let mut row = None;
    let report = stages
        .run(&id, async |session| {
            let (outcome, found) = released(&session, real, args, stage, planted).await?;
            row = Some(found);
            Ok(outcome)
        })
        .await;
    rows.extend(row);
    report.verdict
}

async fn released(
    session: &Session,
    real: &Environment,
    args: &DeployArgs,
    stage: &Stage,
    planted: &Planted<'_>,
) -> Result<(Outcome, Row), Unproven> {
    let ctx = session.ctx();
    let config = write(ctx, real, args, stage, planted, &stage.namespace)?;
    let (_, real_release) = real.releasable().map_err(anyhow::Error::from)?;
    let book = Book::open(&stage.kube, &stage.namespace);
    let journal = book.journal().await?;
    let known: Vec<String> = journal.entries.iter().map(|entry| entry.id.clone()).collect();
    let before = journal.last_verified().cloned();
    let ready = ctx.config.service.as_ref().and_then(|service| ctx.config.requests.get(&service.ready)).cloned();
    // The client is there before the release begins; before the first one there is nothing to ask.
    let way = match &before {
        Some(_) => Some(arm(&stage.kube, &stage.namespace, &real_release.service).await?),
        None => None,
    };
    // A forwarded port leads to one pod and ends with it: what it loses is not the Service's.
    let observer = match (&way, ready) {
        (Some((url, None)), Some(request)) => Some(Observer::start(url, &request)?),
        _ => None,
    };
    let begun = std::time::Instant::now();
    let exit = child(session, args, stage, planted.name, &config, &stage.image).await?;
    let took = begun.elapsed().as_secs_f64();
    let seen = match observer {
        Some(observer) => Some(observer.end().await),
        None => None,
    };
    let journal = book.journal().await?;
    let entry = journal.entries.last().cloned();
    let report = report_of(&ctx.out.join("rehearsal").join(planted.name));
    let entry = entry.filter(|entry| !known.contains(&entry.id)).unwrap_or_default();
    let mut findings = judged(planted, &exit, before.as_ref(), &entry, seen.as_ref());
    let serves = before.as_ref().filter(|_| planted.code != 0).unwrap_or(&entry);
    let rehearsed = Release { namespace: stage.namespace.clone(), ..real_release.clone() };
    let live = live::look(&stage.kube, &rehearsed, serves).await?;
    findings.extend(live.findings);
    if planted.code != 0 && !told(report.as_ref(), planted.tells) {
        let why = format!(
            "the release does not say what was wrong: `{}` is in none of its findings and reasons",
            planted.tells
        );
        findings.push(Finding::new("untold", Severity::High, why));
    }
    let code = if let Exit::Code(code) = exit { code } else { -1 };
    let row = Row {
        fault: planted.name.to_owned(),
        code,
        detected_s: report.as_ref().and_then(detected),
        restored_s: restored(&entry),
        took_s: took,
        serving: live.serving,
        asked: seen.as_ref().map(|seen| seen.asked),
        lost: seen.as_ref().map(|seen| seen.lost),
    };
    session.say(&table(std::slice::from_ref(&row)))?;
    if seen.as_ref().is_some_and(|seen| seen.asked == 0) {
        return Err(NotRun::new("the client asked nothing while the release went on", "run it again").into());
    }
    if before.is_some() && seen.is_none() {
        let why = "this machine does not reach the Service's own address, so nobody counted lost requests";
        findings.push(Finding::new("unobserved", Severity::Info, why));
    }
    // The exit code, the journal, pods that serve and requests of the client: each was looked at.
    let count = 2 + live.serving + seen.map_or(0, |seen| seen.asked);
    Ok((passed(count, "checks", findings), row))
}

/// What is wrong with how the release ended.
fn judged(
    planted: &Planted<'_>,
    exit: &Exit,
    before: Option<&Entry>,
    entry: &Entry,
    seen: Option<&Seen>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut wrong = |rule: &str, message: String| findings.push(Finding::new(rule, Severity::High, message));
    if *exit != Exit::Code(planted.code) {
        wrong("exit", format!("it ended with {exit}, not with exit code {}", planted.code));
    }
    if planted.code == 0 {
        if entry.outcome != Became::Verified {
            wrong("journal", format!("the journal says {:?}", entry.outcome));
        }
    } else if let Some(before) = before {
        if entry.restored != before.id {
            wrong(
                "journal",
                format!("the journal says that `{}` was brought back, not `{}`", entry.restored, before.id),
            );
        }
        if !matches!(entry.outcome, Became::Failed | Became::NotVerified) {
            wrong("journal", format!("the journal says {:?}", entry.outcome));
        }
    }
    if let Some(seen) = seen.filter(|seen| seen.lost > 0) {
        let losses: Vec<String> = seen.losses.iter().map(|loss| format!("{} {}", loss.at, loss.why)).collect();
        wrong("lost", format!("{} of {} requests were lost: {}", seen.lost, seen.asked, losses.join("; ")));
    }
    findings
}

/// A first release that fails, in a namespace of its own: it is scaled to nothing (R22).
async fn first(stages: &mut Stages, real: &Environment, args: &DeployArgs, stage: &Stage, rows: &mut Vec<Row>) {
    let mut row = None;
    stages
        .run("rehearse/first", async |session| {
            let ctx = session.ctx();
            let faults = faults::all(&subject(ctx, real, repository(&stage.image)));
            let patch = faults.into_iter().find(|fault| fault.name == "crash").and_then(|fault| fault.patch);
            let planted = Planted { name: "first", patch, change: &|_| {}, code: 10, tells: "rollout/crash" };
            let namespace = first_of(&stage.namespace);
            let config = write(ctx, real, args, stage, &planted, &namespace)?;
            let begun = std::time::Instant::now();
            let exit = child(&session, args, stage, "first", &config, &stage.image).await?;
            let (_, release) = real.releasable().map_err(anyhow::Error::from)?;
            let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments/{}", release.workload);
            let replicas = stage.kube.get(&path).await?.and_then(|object| object["spec"]["replicas"].as_u64());
            let mut findings = judged(&planted, &exit, None, &Entry::default(), None);
            if replicas != Some(0) {
                let message = format!("the workload has {replicas:?} replicas, and not 0");
                findings.push(Finding::new("not-scaled", Severity::High, message));
            }
            let report = report_of(&ctx.out.join("rehearsal/first"));
            row = Some(Row {
                fault: "first".to_owned(),
                code: if let Exit::Code(code) = exit { code } else { -1 },
                detected_s: report.as_ref().and_then(detected),
                took_s: begun.elapsed().as_secs_f64(),
                ..Row::default()
            });
            Ok(passed(2, "checks", findings))
        })
        .await;
    rows.extend(row);
}

/// Runs the program as a person would.
async fn child(
    session: &Session,
    args: &DeployArgs,
    stage: &Stage,
    name: &str,
    config: &Path,
    image: &str,
) -> Result<Exit, Unproven> {
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let out = session.ctx().out.join("rehearsal").join(name);
    let mut command = Command::new(program, &session.ctx().root)
        .args(["deploy", &args.environment, "--rehearsed", "--yes", "--image", image, "--config"])
        .arg(config)
        .arg("--out")
        .arg(&out)
        .env(FILLED.0, FILLED.1)
        .env("CI", "true")
        .timeout(Duration::from_secs(1800));
    let kubeconfig = stage.kubeconfig.as_ref().map(|path| path.display().to_string());
    if let Some(kubeconfig) = kubeconfig.or_else(|| session.ctx().var("KUBECONFIG").map(str::to_owned)) {
        command = command.env("KUBECONFIG", kubeconfig);
    }
    let ended = session.step(&command).await?;
    if let Exit::Cancelled = ended.exit {
        return Err(NotRun::new("interrupted", "run it again").into());
    }
    Ok(ended.exit)
}

fn report_of(folder: &Path) -> Option<Report> {
    serde_json::from_str(&std::fs::read_to_string(folder.join("report.json")).ok()?).ok()
}

/// Whether a report says so: by the rule of a finding, by a reason, or by the gate that is red.
fn told(report: Option<&Report>, words: &str) -> bool {
    let red = report.into_iter().flat_map(|report| &report.gates).filter(|gate| gate.verdict != Verdict::Pass);
    red.into_iter().any(|gate| {
        gate.reason.contains(words)
            || gate.verdict == Verdict::Fail && gate.id.ends_with(words)
            || gate.findings.iter().any(|finding| finding.rule == words)
    })
}

#[cfg(test)]
mod tests {
    use super::super::observer::Loss;
    use super::*;

    fn planted(code: i32) -> Planted<'static> {
        Planted { name: "crash", patch: None, change: &|_| {}, code, tells: "rollout/crash" }
    }

    #[test]
    fn a_fault_is_undone_only_if_exit_code_journal_and_client_say_so() {
        let before = Entry { id: "1".into(), ..Entry::default() };
        let undone = Entry { id: "2".into(), restored: "1".into(), outcome: Became::Failed, ..Entry::default() };
        let quiet = Seen { asked: 100, ..Seen::default() };
        let loss = Loss { at: "2026-11-24T10:00:00Z".into(), why: "refused".into() };
        let lossy = Seen { asked: 100, lost: 1, losses: vec![loss] };
        let rules = |exit: Exit, entry: &Entry, seen: &Seen| {
            let found = judged(&planted(30), &exit, Some(&before), entry, Some(seen));
            found.into_iter().map(|finding| finding.rule).collect::<Vec<_>>()
        };
        assert_eq!(rules(Exit::Code(30), &undone, &quiet), [""; 0]);
        assert_eq!(rules(Exit::Code(0), &undone, &quiet), ["exit"]);
        assert_eq!(rules(Exit::Code(30), &Entry { restored: "0".into(), ..undone.clone() }, &quiet), ["journal"]);
        assert_eq!(rules(Exit::Code(30), &Entry { outcome: Became::Verified, ..undone.clone() }, &quiet), ["journal"]);
        assert_eq!(rules(Exit::Code(30), &undone, &lossy), ["lost"]);
        // A release that was never written down has undone nothing.
        assert_eq!(rules(Exit::Code(30), &Entry::default(), &quiet), ["journal", "journal"]);
    }
}
