//! `deploy ENV --rehearse`: the real overlay and the real program in a namespace that is thrown away, with one fault after
//! the other, so that a team sees its way back work before it needs it.
//!
//! Each release is a process of its own, as a person would start it: its exit code, its report and its journal are the
//! evidence. Never in an environment's own namespace.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::observer::{Observer, Seen};
use super::stages::Stages;
use super::verify::arm;
use super::{DeployArgs, environment, gate, new_id};
use crate::config::{Cluster as ClusterConfig, Config, Environment, Release, Strategy, VerifyAt};
use crate::context::Ctx;
use crate::disk::{lock, write_atomically};
use crate::engine::gate::Gate;
use crate::engine::run::Options;
use crate::engine::session::Session;
use crate::event::Events;
use crate::exit::{Code, UsageError};
use crate::model::Report;
use crate::release::book::Book;
use crate::release::faults::{self, Fault, Subject};
use crate::release::journal::{Entry, Outcome as Became, Step};
use crate::services::cluster::{Cluster, image};
use crate::tasks::checks::{Checks, Done};
use crate::tools::cancel::Cancel;
use crate::tools::catalog::CRANE;
use crate::tools::command::Command;
use crate::tools::kube::{Access, Kube, Place};
use crate::tools::proc::{Exit, Runner, Undo};
use crate::verdict::{Evidence, Finding, NotRun, Outcome, Severity, Unproven, Verdict, Work};

mod live;

/// Where the overlays and configurations of a rehearsal lie, relative to the repository.
const FOLDER: &str = "target/xtask/rehearsal";

/// Where reports go unless somebody says otherwise, relative to the store.
pub const OUT: &str = "rehearsal/out";

/// The figures of the last rehearsal, relative to the output folder.
const FIGURES: &str = "rehearsal.json";

/// The name of the load in a rehearsal's pipeline.toml.
const LOAD: &str = "rehearsal";

/// A variable that fills the Secret of a rehearsal, and what it holds.
const FILLED: (&str, &str) = ("FORGE_REHEARSAL", "rehearsal");

/// What one release of the rehearsal came to.
#[derive(Clone, Debug, Default, Serialize)]
struct Row {
    fault: String,
    code: i32,
    /// Seconds from the cluster's report to the decision; `None` where the cluster reports nothing.
    detected_s: Option<f64>,
    /// Seconds from the decision until the old version served and was verified.
    restored_s: Option<f64>,
    /// Seconds of all of it.
    took_s: f64,
    /// How many pods of the release that has to serve did so at the end.
    serving: u64,
    /// Requests of the client; `None` where it could not ask.
    asked: Option<u64>,
    /// Those that were not answered as expected.
    lost: Option<u64>,
}

/// The gates of a rehearsal.
pub fn gates(ctx: &Ctx, args: &DeployArgs, environment: &Environment) -> Vec<Gate> {
    let again = again(args);
    let faults = faults::all(&subject(ctx, environment, "")).into_iter().filter(|fault| is_asked(args, fault));
    let named = faults.map(|fault| gate(&format!("rehearse/{}", fault.name), "checks", "kubectl", &again));
    let mut gates = vec![
        gate("rehearse/cluster", "clusters", "kubectl", &again),
        gate("rehearse/good", "checks", "kubectl", &again),
    ];
    gates.extend(named);
    gates.push(gate("rehearse/first", "checks", "kubectl", &again));
    gates
}

/// Those that are named; else the eight of every rehearsal, or all.
fn is_asked(args: &DeployArgs, fault: &Fault) -> bool {
    if args.faults.is_empty() {
        args.full || fault.is_common
    } else {
        args.faults.iter().any(|name| name == fault.name)
    }
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

/// Where a rehearsal takes place.
struct Stage {
    kube: Kube,
    kubeconfig: Option<PathBuf>,
    cluster: ClusterConfig,
    namespace: String,
    image: String,
    /// Lines of Kustomize's `images:`.
    images: Vec<Value>,
    _gone: Vec<Undo>,
    _alone: std::fs::File,
}

/// Does it.
pub async fn run(ctx: &Arc<Ctx>, cancel: &Cancel, events: &Events, args: &DeployArgs) -> Result<Done> {
    let real = environment(ctx, &args.environment)?;
    let all = Environment::all(&ctx.config_dir)?;
    let checks =
        Checks { task: "deploy", gates: gates(ctx, args, &real), left_out: vec![], options: Options::default() };
    let mut stages = Stages::open(ctx, cancel, events, &checks).await?;
    let mut stage = None;
    let report = stages
        .run("rehearse/cluster", async |session| {
            stage = Some(set(&session, &real, &all, args).await?);
            Ok(passed(1, "clusters", vec![]))
        })
        .await;
    let Some(stage) = stage.filter(|_| report.verdict == Verdict::Pass) else {
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
    for fault in faults::all(&subject(ctx, &real, repository(&stage.image))) {
        if stages.is_stopped() || !is_asked(args, &fault) {
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

/// Finds the cluster, and brings there what cannot be pulled.
async fn set(session: &Session, real: &Environment, all: &[Environment], args: &DeployArgs) -> Result<Stage, Unproven> {
    let machine = &session.machine;
    let alone = alone(session).await?;
    let runner = Runner { ledger: machine.ledger.clone(), ..machine.quiet() };
    let (place, registry) = match &args.context {
        Some(context) => (Place { kubeconfig: None, context: context.clone() }, args.registry.clone()),
        None => {
            session.say("bringing a cluster up, if none is up")?;
            let cluster = Cluster::ensure(machine, session.runner()).await?;
            (Place { kubeconfig: Some(cluster.kubeconfig), context: cluster.context }, Some(cluster.registry))
        }
    };
    let access = Access::by_context(machine, &runner, place.clone()).await?;
    let kube = Kube::open(machine, &runner, access).await?;
    let cluster = ClusterConfig {
        context: place.context.clone(),
        uid: kube.uid().await?,
        kubeconfig: String::new(),
        login: None,
    };
    let namespace = format!("rehearsal-{}", new_id(kube.now())?);
    let namespaces = [namespace.clone(), first_of(&namespace)];
    for namespace in &namespaces {
        let there = kube.get(&format!("/api/v1/namespaces/{namespace}")).await?.is_some();
        if let Some(why) = somebodys(namespace, there, all) {
            return Err(NotRun::new(why, again(args)).into());
        }
    }
    let undo =
        namespaces.iter().map(|namespace| Undo::new(&runner, removal(&kube, &place, session, namespace))).collect();
    let image = match (&args.image, &registry) {
        (Some(image), _) => image.clone(),
        (None, Some(registry)) => bring_built(session, registry).await?,
        (None, None) => {
            let fix = format!("name one by --image, and the registry of the cluster by --registry: {}", again(args));
            return Err(NotRun::new("another cluster pulls no image that only this machine has", fix).into());
        }
    };
    let mut images = Vec::new();
    for (name, programs) in real.rehearsal.stand_ins.iter().filter(|_| registry.is_some()) {
        let registry = registry.as_deref().unwrap_or_default();
        images.push(stand_in(session, registry, name, programs).await?);
    }
    Ok(Stage { kube, kubeconfig: place.kubeconfig, cluster, namespace, image, images, _gone: undo, _alone: alone })
}

/// The namespace of the first release that fails.
fn first_of(namespace: &str) -> String {
    format!("{namespace}-first")
}

/// Its overlays and configurations lie in one folder, so one rehearsal at a time goes on in a checkout.
async fn alone(session: &Session) -> Result<std::fs::File, Unproven> {
    let path = session.ctx().root.join(FOLDER).join(".lock");
    match tokio::time::timeout(Duration::from_millis(300), lock(&path)).await {
        Ok(locked) => Ok(locked?),
        Err(_) => Err(NotRun::new("another rehearsal goes on in this checkout", "wait for its end").into()),
    }
}

/// Why a namespace is not thrown away: it is an environment's own, or nobody knows whose.
fn somebodys(namespace: &str, is_there: bool, environments: &[Environment]) -> Option<String> {
    let is_its =
        |environment: &&Environment| environment.release.as_ref().is_some_and(|release| release.namespace == namespace);
    match environments.iter().find(is_its) {
        Some(environment) => Some(format!("`{namespace}` is the namespace of {}", environment.name)),
        None => is_there.then(|| format!("there is a namespace `{namespace}` already")),
    }
}

/// Removes a namespace, also from the ledger of a run that was killed: that one keeps no variables. A cluster whose
/// kubeconfig is gone is gone itself, for it is ours.
fn removal(kube: &Kube, place: &Place, session: &Session, namespace: &str) -> Command {
    let delete = kube.kubectl(["delete", "namespace", namespace, "--ignore-not-found", "--wait=false"]);
    let (script, file) = match (&place.kubeconfig, session.ctx().var("KUBECONFIG")) {
        (Some(file), _) => ("[ ! -e \"$0\" ] || KUBECONFIG=$0 exec \"$@\"", file.display().to_string()),
        (None, Some(files)) => ("KUBECONFIG=$0 exec \"$@\"", files.to_owned()),
        (None, None) => return delete,
    };
    let args = [vec!["-c".to_owned(), script.to_owned(), file, delete.program.clone()], delete.args.clone()].concat();
    Command { program: "sh".to_owned(), args, ..delete }
}

/// The image that `container build` left, in the registry of the cluster.
async fn bring_built(session: &Session, registry: &str) -> Result<String, Unproven> {
    let fix = "cargo xtask container build, or name an image by --image";
    let ctx = session.ctx();
    let built = [ctx.store.join("out/container/image.json"), ctx.out.join("container/image.json")];
    let text = built.iter().find_map(|path| std::fs::read_to_string(path).ok());
    let built: Value = text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let (Some(engine), Some(id)) = (built["engine"].as_str(), built["id"].as_str()) else {
        return Err(NotRun::new("there is no image that was built here", fix).into());
    };
    let engine =
        session.machine.on_path(engine).ok_or_else(|| NotRun::new(format!("`{engine}` is not on PATH"), fix))?;
    let name = format!("{registry}/rehearsal:built");
    for args in [vec!["tag", id, &name], vec!["push", &name]] {
        let ended = session.step(&Command::new(&engine, &ctx.root).args(args)).await?;
        if !ended.is_success() {
            return Err(
                NotRun::new(format!("the image cannot be brought to the cluster: {}", ended.failure()), fix).into()
            );
        }
    }
    by_digest(session, &name).await
}

async fn by_digest(session: &Session, name: &str) -> Result<String, Unproven> {
    let ended = session.tool(&CRANE, &Command::new(CRANE.name, &session.ctx().root).args(["digest", name])).await?;
    let digest = ended.stdout.trim();
    if !ended.is_success() || !crate::tools::reference::is_digest(digest) {
        return Err(NotRun::new(format!("`{name}` has no digest: {}", ended.failure()), "run it again").into());
    }
    let repository = name.rsplit_once(':').map_or(name, |(repository, _)| repository);
    Ok(format!("{repository}@{digest}"))
}

/// An image made of programs of this machine and of the libraries that they need: a line of Kustomize's `images:`.
async fn stand_in(session: &Session, registry: &str, name: &str, programs: &[String]) -> Result<Value, Unproven> {
    let mut files: Vec<PathBuf> = Vec::new();
    for program in programs {
        let fix = format!("install `{program}`, or take an image out of [rehearsal.stand_ins]");
        let found = session
            .machine
            .on_path(program)
            .ok_or_else(|| NotRun::new(format!("`{program}` is not on PATH"), fix.clone()))?;
        let ended = session.step(&Command::new("ldd", &session.ctx().root).arg(&found)).await?;
        if !ended.is_success() {
            return Err(NotRun::new(format!("what `{program}` needs is not known: {}", ended.failure()), fix).into());
        }
        files.push(found);
        files.extend(ended.stdout.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from));
    }
    files.sort();
    files.dedup();
    let short = name.rsplit('/').next().unwrap_or(name);
    let target = format!("{registry}/{short}:stand-in");
    let archive = session.artifact(&format!("rehearsal/{short}.tar"))?;
    std::fs::write(&archive, image::archive_of(&files, &target)?).context("cannot write an image")?;
    let push = Command::new(CRANE.name, &session.ctx().root).arg("push").arg(&archive).args([target.clone()]);
    let ended = session.tool(&CRANE, &push).await?;
    if !ended.is_success() {
        return Err(NotRun::new(format!("`{target}` cannot be pushed: {}", ended.failure()), "run it again").into());
    }
    let _gone = std::fs::remove_file(&archive);
    let by_digest = by_digest(session, &target).await?;
    let (repository, digest) = by_digest.split_once('@').unwrap_or_default();
    Ok(json!({"name": name, "newName": repository, "digest": digest}))
}

fn repository(image: &str) -> &str {
    image.split_once('@').map_or(image, |(repository, _)| repository)
}

/// Writes the overlay and the configuration of one release; gives the folder of the configuration.
fn write(
    ctx: &Ctx,
    real: &Environment,
    args: &DeployArgs,
    stage: &Stage,
    planted: &Planted<'_>,
    namespace: &str,
) -> Result<PathBuf> {
    let folder = format!("{FOLDER}/{}", planted.name);
    let mut rehearsed = real.clone();
    let release = rehearsed.release.as_mut().context("the environment was read as one that is released to")?;
    let up = "../".repeat(folder.split('/').count());
    let mut kustomization = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": namespace,
        "resources": [format!("{up}{}", release.overlay)],
        "images": stage.images,
    });
    if let Some(patch) = &planted.patch {
        let mut patch = patch.clone();
        patch["apiVersion"] = json!("apps/v1");
        patch["kind"] = json!("Deployment");
        patch["metadata"] = json!({"name": release.workload});
        kustomization["patches"] = json!([{"patch": patch.to_string()}]);
    }
    changed(release, args, real, namespace, &folder);
    if release.routes.is_empty() {
        release.routes = ctx.config.perf.as_ref().map(|perf| perf.mix.clone()).unwrap_or_default();
    }
    rehearsed.cluster = Some(stage.cluster.clone());
    rehearsed.secrets = [(FILLED.0.to_owned(), FILLED.0.to_owned())].into();
    (planted.change)(&mut rehearsed);
    let path = ctx.root.join(&folder);
    std::fs::create_dir_all(path.join("config")).with_context(|| format!("cannot make `{folder}`"))?;
    write_atomically(&path.join("kustomization.yaml"), kustomization.to_string().as_bytes())?;
    let entries = std::fs::read_dir(&ctx.config_dir).context("cannot read the configuration")?;
    for entry in entries.flatten().filter(|entry| entry.path().is_file()) {
        std::fs::copy(entry.path(), path.join("config").join(entry.file_name()))
            .context("cannot copy the configuration")?;
    }
    let pipeline =
        std::fs::read_to_string(ctx.config_dir.join("pipeline.toml")).context("cannot read pipeline.toml")?;
    let seconds = if args.full { real.rehearsal.load * 3 } else { real.rehearsal.load }.as_secs();
    let pipeline = format!(
        "{pipeline}\n[perf.load.{LOAD}]\nwarm_up = \"2s\"\n\n[perf.load.{LOAD}.scenarios.users]\n\
         executor = \"constant-vus\"\nvus = 50\nduration = \"{seconds}s\"\n"
    );
    Config::parse(&pipeline).map_err(UsageError)?;
    write_atomically(&path.join("config/pipeline.toml"), pipeline.as_bytes())?;
    let text = toml::to_string(&rehearsed).context("the environment is no TOML")?;
    write_atomically(&path.join(format!("config/{}.toml", real.name)), text.as_bytes())?;
    Ok(path.join("config"))
}

/// `[release]` of a rehearsal: another namespace, and waiting times of its own unless all of it is asked for.
fn changed(release: &mut Release, args: &DeployArgs, real: &Environment, namespace: &str, folder: &str) {
    namespace.clone_into(&mut release.namespace);
    folder.clone_into(&mut release.overlay);
    release.checked = false;
    release.confirm = false;
    release.after.clear();
    release.strategy = args.strategy.unwrap_or(Strategy::Rolling);
    release.verify_at = VerifyAt::Service;
    LOAD.clone_into(&mut release.load);
    if !args.full {
        let shorter = &real.rehearsal;
        release.pull_patience = shorter.pull;
        release.unschedulable_patience = shorter.unschedulable;
        release.ready_patience = shorter.unschedulable;
        release.lock = shorter.lock;
    }
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
    // Pods that serve, and requests of the client: each was looked at.
    let count = live.serving + seen.map_or(0, |seen| seen.asked);
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
        .args(["deploy", &args.environment, "--yes", "--image", image, "--config"])
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

/// The figure of "detected 1.4 s after the cluster reported it".
fn detected(report: &Report) -> Option<f64> {
    let findings = report.gates.iter().flat_map(|gate| &gate.findings);
    let line = findings.filter(|finding| finding.rule == "detected").map(|finding| &finding.message).next()?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// From the decision to the end, by the journal.
fn restored(entry: &Entry) -> Option<f64> {
    let at = |step: Step| entry.steps.iter().find(|taken| taken.step == step).and_then(|taken| parsed(&taken.at));
    Some((at(Step::Ended)? - at(Step::Restoring)?).as_seconds_f64())
}

fn parsed(time: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(time, &Rfc3339).ok()
}

/// The rows for people.
fn table(rows: &[Row]) -> String {
    let mut text = String::from("fault          exit  detected  restored     all  asked  lost");
    let seconds = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1} s"));
    let number = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
    for row in rows {
        text += &format!(
            "\n{:<14} {:>4} {:>9} {:>9} {:>7} {:>6} {:>5}",
            row.fault,
            row.code,
            seconds(row.detected_s),
            seconds(row.restored_s),
            seconds(Some(row.took_s)),
            number(row.asked),
            number(row.lost)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::observer::Loss;
    use super::*;
    use crate::release::journal::StepTaken;

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

    #[test]
    fn no_namespace_is_thrown_away_that_is_somebodys() {
        let mut staging: Environment = toml::from_str("url = \"https://a.example\"\n").unwrap();
        staging.name = "staging".to_owned();
        staging.release =
            Some(Release { namespace: "rehearsal-1".into(), ..crate::release::manifests::testing::release() });
        let all = [staging];
        for (namespace, is_there, whose) in [
            ("rehearsal-1", false, Some("the namespace of staging")),
            ("rehearsal-2", true, Some("there is a namespace")),
            ("rehearsal-2", false, None),
        ] {
            let found = somebodys(namespace, is_there, &all);
            assert_eq!(found.is_some(), whose.is_some(), "{namespace}: {found:?}");
            assert!(found.unwrap_or_default().contains(whose.unwrap_or_default()));
        }
    }

    #[test]
    fn the_time_of_a_way_back_is_that_of_the_journal() {
        let taken = |step, at: &str| StepTaken { step, at: at.into(), note: String::new() };
        let steps = vec![taken(Step::Restoring, "2026-11-24T10:00:00Z"), taken(Step::Ended, "2026-11-24T10:00:02.5Z")];
        assert_eq!(restored(&Entry { steps, ..Entry::default() }), Some(2.5));
        assert_eq!(restored(&Entry::default()), None);
    }
}
