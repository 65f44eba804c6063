//! `deploy ENV`: brings a version to an environment, verified, or brings the last verified one back.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use super::aside;
use super::image::{self, Chosen, Question};
use super::plan;
use super::planned::{self, Intent, Planned};
use super::reach::reach;
use super::stages::Stages;
use super::transaction::{Fate, Refusal, Transaction};
use super::users;
use super::verify::Subject;
use super::{DeployArgs, environment, gate, identity, new_id};
use crate::config::{Environment, Release, Strategy};
use crate::context::Ctx;
use crate::engine::gate::Gate;
use crate::engine::run::Options;
use crate::event::Events;
use crate::exit::Code;
use crate::release::journal::{Entry, Journal, Outcome as Became, Step};
use crate::release::manifests::{Manifests, Prepared};
use crate::release::secrets::{self, Named};
use crate::release::track::Track;
use crate::tasks::checks::{Checks, Done};
use crate::tools::cancel::Cancel;
use crate::tools::github::State;
use crate::tools::kube::{Kube, Trouble};
use crate::verdict::{NotRun, Unproven, Verdict};

/// The task's name.
const TASK: &str = "deploy";

/// The gates that are known before anything is asked.
pub fn gates(args: &DeployArgs, release: &Release) -> Vec<Gate> {
    let again = again(args);
    let mut gates = vec![
        gate("deploy/image", "checks", "cosign", &again),
        gate("deploy/plan", "objects", "kubectl", &again),
        gate("deploy/rollout", "pods", "kubectl", &again),
        gate("deploy/smoke", "requests", "reqwest", &again),
    ];
    if args.strategy.unwrap_or(release.strategy) == Strategy::Canary {
        gates.insert(2, gate("deploy/canary", "requests", "xtask", &again));
    }
    if !release.load.is_empty() {
        gates.push(gate("deploy/perf", "requests", "xtask", &again));
    }
    gates
}

/// The command that does it once more.
fn again(args: &DeployArgs) -> String {
    let quoted = crate::tools::command::quoted;
    let mut command = format!("cargo xtask deploy {}", quoted(&args.environment));
    let options = [("--image", &args.image), ("--version", &args.version)];
    for (flag, value) in options {
        if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
            command += &format!(" {flag} {}", quoted(value));
        }
    }
    if let Some(strategy) = args.strategy {
        command += &format!(" --strategy {}", strategy.name());
    }
    command
}

/// Does it; with `dry_run` only the plan.
pub async fn run(ctx: &Arc<Ctx>, cancel: &Cancel, events: &Events, args: &DeployArgs, dry_run: bool) -> Result<Done> {
    let environment = environment(ctx, &args.environment)?;
    let (_, release) = environment.releasable()?;
    let release = release.clone();
    args.asked()?;
    let checks = Checks { task: TASK, gates: gates(args, &release), left_out: vec![], options: Options::default() };
    let mut stages = Stages::open(ctx, cancel, events, &checks).await?;
    if args.rehearsed {
        stages.forget();
    }
    let kube = match reach(stages.steady(), &environment).await? {
        Ok(kube) => kube,
        Err(why) => return Ok(refuse(stages, &why)),
    };
    begin(stages, kube, environment, release, args, dry_run).await
}

/// Nothing was done, and every gate says why.
pub fn refuse(mut stages: Stages, why: &NotRun) -> Done {
    stages.say(&why.reason);
    stages.leave(&why.reason, &why.fix);
    stages.close(Code::DidNotRun)
}

async fn begin(
    mut stages: Stages,
    kube: Kube,
    environment: Environment,
    release: Release,
    args: &DeployArgs,
    dry_run: bool,
) -> Result<Done> {
    let mut chosen = Chosen::default();
    let question =
        Question { release: &release, asked: args.asked()?, waivers: &args.waivers, is_dirty: stages.is_dirty() };
    let report =
        stages.run("deploy/image", async |session| image::choose(&session, &question, &mut chosen).await).await;
    if report.verdict != Verdict::Pass {
        return Ok(stop(stages, "the image was refused", Code::Passed));
    }
    let mut made = None;
    let strategy = args.strategy.unwrap_or(release.strategy);
    let to_come: Vec<String> = gates(args, &release).into_iter().map(|gate| gate.id).collect();
    let intent = Intent {
        environment: &environment,
        release: &release,
        chosen: &chosen,
        strategy,
        take_over: args.take_over,
        to_come: &to_come,
    };
    let report = stages
        .run("deploy/plan", async |session| {
            let (outcome, found) = planned::look(&session, &kube, &intent).await?;
            made = Some(found);
            Ok(outcome)
        })
        .await;
    let Some(planned) = made else { return Ok(stop(stages, "there is no plan", Code::Passed)) };
    stages.say(&planned.shown);
    if report.verdict != Verdict::Pass {
        return Ok(stop(stages, "the plan was refused", Code::Passed));
    }
    if dry_run {
        stages.leave("--dry-run ends with the plan", &again(args));
        stages.optional_unless_run();
        return Ok(stages.close(Code::Passed));
    }
    let name = &environment.name;
    let (who, run) = identity(&stages.ctx().env);
    let mut approved_by = String::new();
    if release.confirm && !args.yes {
        let typed = stages.ask(format!("type `{name}` to release to it: ")).await?;
        if typed.as_deref() != Some(name) {
            let why = format!("not confirmed: `{name}` was not typed (--yes does not ask)");
            let code = if stages.is_stopped() { Code::Interrupted } else { Code::Failed };
            return Ok(stop(stages, &why, code));
        }
        approved_by.clone_from(&who);
    }
    let entry = Entry {
        id: new_id(kube.now())?,
        image: planned.chosen.image.clone(),
        commit: planned.chosen.commit.clone(),
        version: planned.chosen.version.clone(),
        signer: planned.chosen.signer.clone(),
        waived: planned.chosen.waived.clone(),
        who,
        run,
        approved_by,
        strategy: strategy.name().to_owned(),
        track: planned.track.name().to_owned(),
        ..Entry::default()
    };
    let transaction = Transaction::new(environment, release, &kube, stages, entry, (TASK, again(args)));
    transact(transaction, planned, args).await
}

/// Ends before anything was changed.
fn stop(mut stages: Stages, why: &str, code: Code) -> Done {
    stages.say(format!("{why}; nothing was changed"));
    stages.leave(why, "see the gates above");
    stages.close(code)
}

/// Under the lock.
async fn transact(mut transaction: Transaction, planned: Planned, args: &DeployArgs) -> Result<Done> {
    if let Err(trouble) = make_namespace(&transaction, &planned.manifests).await {
        let Unproven::NotRun(why) = Unproven::from(trouble) else {
            return Ok(transaction.close(Code::DidNotRun).await);
        };
        return Ok(refuse(transaction.stages, &why));
    }
    match transaction.lock(args.wait.unwrap_or(Duration::ZERO)).await {
        Ok(()) => {}
        Err(Refusal::Held(by)) => return Ok(stop(transaction.stages, &by, Code::Held)),
        Err(Refusal::Stopped) => return Ok(stop(transaction.stages, "interrupted", Code::Interrupted)),
        Err(Refusal::Unproven(Unproven::NotRun(why))) => return Ok(refuse(transaction.stages, &why)),
        Err(Refusal::Unproven(Unproven::Defect(error))) => return Err(error),
    }
    let journal = match still(&transaction, &planned).await {
        Ok(Some(journal)) => journal,
        Ok(None) => {
            let why = "somebody else has released, or changed the Service, since the plan was made; look at it again";
            transaction.stages.say(why);
            return Ok(transaction.close(Code::Failed).await);
        }
        Err(Unproven::NotRun(why)) => {
            transaction.stages.say(&why.reason);
            return Ok(transaction.close(Code::DidNotRun).await);
        }
        Err(Unproven::Defect(error)) => return Err(error),
    };
    let back_to = journal.last_verified().cloned();
    let is_unfinished = journal.is_half_done();
    match go(&mut transaction, &planned, &journal).await {
        Ok(Fate::Good) => accept(transaction, back_to).await,
        Ok(Fate::Lost(why)) => Ok(transaction.abandon(Code::DidNotRun, &why)),
        // Before anything was applied nothing is restored (R40), by this one or by one that was killed.
        Ok(cause) if !transaction.entry.has_applied() && !is_unfinished => {
            let (became, why, code) = match cause {
                Fate::Stopped => (Became::Interrupted, "stopped by a signal".to_owned(), Code::Interrupted),
                Fate::Failed(why) => (Became::Failed, why, Code::Failed),
                Fate::NotVerified(why) | Fate::Lost(why) => (Became::NotVerified, why, Code::DidNotRun),
                Fate::Good => (Became::Failed, String::new(), Code::Failed),
            };
            transaction.stages.say(format!("{why}; nothing was changed"));
            transaction.stages.go_back();
            if let Err(Unproven::NotRun(why)) = transaction.conclude(became, &why).await {
                return Ok(transaction.abandon(code, &why.reason));
            }
            transaction.tell_ended(State::Error, &why).await;
            Ok(transaction.close(code).await)
        }
        Ok(cause) => match transaction.restore(&cause, back_to).await {
            Ok(code) => {
                let why = transaction.entry.reason.clone();
                let state = if transaction.entry.outcome == Became::Failed { State::Failure } else { State::Error };
                transaction.tell_ended(state, &why).await;
                Ok(transaction.close(code).await)
            }
            Err(Fate::Stopped) => Ok(transaction.abandon(Code::Interrupted, "a second signal")),
            Err(Fate::Lost(why)) => Ok(transaction.abandon(Code::DidNotRun, &why)),
            Err(Fate::Failed(why) | Fate::NotVerified(why)) => Ok(transaction.abandon(Code::RollbackFailed, &why)),
            Err(Fate::Good) => Ok(transaction.close(Code::RollbackFailed).await),
        },
        Err(error) => Err(error),
    }
}

/// The journal, where it is still the one that the plan was made by: whoever had the lock before us may have released, or
/// have been killed after the Service was moved to the Deployment that this release would change.
async fn still(transaction: &Transaction, planned: &Planned) -> Result<Option<Journal>, Unproven> {
    let journal = transaction.journal().await?;
    let known = |journal: &Journal| journal.last_verified().map(|entry| entry.id.clone());
    let is_beside = journal.last_verified().is_some_and(|entry| Track::of(&entry.track) != planned.track);
    let service = users::service(&transaction.kube, &transaction.release).await?;
    let is_used = is_beside && service.as_ref().and_then(users::leads_to) == Some(planned.track);
    let is_shared = plan::shared(planned.strategy, service.as_ref()).is_some();
    Ok((known(&journal) == known(&planned.journal) && !is_used && !is_shared).then_some(journal))
}

/// The namespace comes first: lock and journal lie in it.
async fn make_namespace(transaction: &Transaction, manifests: &Manifests) -> Result<(), Trouble> {
    let path = format!("/api/v1/namespaces/{}", transaction.release.namespace);
    if transaction.kube.get(&path).await?.is_none() {
        let bare =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": transaction.release.namespace}});
        transaction.kube.apply(&path, manifests.namespace().unwrap_or(&bare), false).await?;
    }
    Ok(())
}

/// Everything forward. What is no [`Fate::Good`] is undone by the caller.
async fn go(transaction: &mut Transaction, planned: &Planned, journal: &Journal) -> Result<Fate> {
    match forward(transaction, planned, journal).await {
        Ok(fate) => Ok(fate),
        Err(Unproven::NotRun(why)) if transaction.stages.is_stopped() => {
            drop(why);
            Ok(Fate::Stopped)
        }
        Err(why @ Unproven::NotRun(_)) => Ok(why.into()),
        Err(Unproven::Defect(error)) => Ok(Fate::Failed(format!("a defect of the pipeline: {error:#}"))),
    }
}

async fn forward(transaction: &mut Transaction, planned: &Planned, journal: &Journal) -> Result<Fate, Unproven> {
    transaction.entry.started = transaction.now();
    // Whoever did these is gone, for the lock is ours.
    for gone in journal.entries.iter().filter(|entry| entry.outcome == Became::Running) {
        let mut entry = gone.clone();
        entry.outcome = Became::Interrupted;
        entry.reason = "its process was gone; this release goes on from there".to_owned();
        entry.ended = transaction.now();
        transaction.stages.say(format!("release {} was never ended: its process is gone", entry.id));
        transaction.book.put(&entry).await?;
    }
    transaction.step(Step::Begun, "").await?;
    transaction.tell_begun().await;
    let prepared = prepare(transaction, planned).await?;
    transaction.entry.template.clone_from(&prepared.template);
    transaction.entry.configs.clone_from(&prepared.configs);
    if transaction.stages.is_stopped() {
        return Ok(Fate::Stopped);
    }
    // Objects that are too many to be kept are no way back, and that is known before any of them is applied.
    let kept: Vec<Value> = prepared.objects.iter().filter(|object| object["kind"] != "Secret").cloned().collect();
    let id = transaction.entry.id.clone();
    transaction.book.keep_objects(&id, &kept).await?;
    transaction.step(Step::Applying, &prepared.workload).await?;
    transaction.remove_arms(&prepared.objects).await?;
    transaction.retire(journal).await?;
    // Users are moved to what is verified alone: by a blue-green release, and back from where a killed one has left them.
    let service = users::service(&transaction.kube, &transaction.release).await?;
    let on = users::on(service.as_ref(), journal);
    let live = transaction.deployment(planned.track).await?;
    let is_second = users::is_beside(on, planned.track, service.as_ref(), live.as_ref());
    transaction.capacity = transaction.replicas(on.unwrap_or(planned.track)).await?;
    if planned.strategy == Strategy::Canary {
        match transaction.compare(&planned.manifests, &planned.chosen, journal, &prepared).await? {
            Fate::Good => {}
            fate => return Ok(fate),
        }
    }
    // All the traffic comes at once, from another Deployment or from the arms of a canary, under which the autoscaler may have
    // taken pods away.
    let least = planned.manifests.least_replicas(&transaction.release).max(transaction.capacity);
    let service = transaction.release.service.clone();
    let first = if is_second { aside::with_preview(&prepared, &service, planned.track) } else { prepared.clone() };
    transaction.step(Step::Watching, &prepared.workload).await?;
    let report = transaction.roll_out("rollout", &first, least, planned.take_over).await;
    let fate = Fate::of(&report, transaction.stages.is_stopped());
    if fate != Fate::Good {
        return Ok(fate);
    }
    if planned.strategy == Strategy::Canary {
        // The whole capacity is of the new version now.
        transaction.remove_arms(&prepared.objects).await?;
    }
    transaction.step(Step::Verifying, "").await?;
    let subject = Subject {
        workload: &prepared.workload,
        template: &prepared.template,
        image: &planned.chosen.image,
        serves: !is_second,
        moved: false,
        load: true,
    };
    let fate = transaction.verify(&subject, "").await;
    if fate != Fate::Good || !is_second {
        return Ok(fate);
    }
    transaction.step(Step::Promoting, "the Service is moved").await?;
    let report = transaction.roll_out("promote", &prepared, least, planned.take_over).await;
    let fate = Fate::of(&report, transaction.stages.is_stopped());
    if fate != Fate::Good {
        return Ok(fate);
    }
    let subject = Subject { serves: true, moved: true, load: false, ..subject };
    Ok(transaction.verify(&subject, "-promoted").await)
}

/// Makes the Secret and fills the objects with its name.
async fn prepare(transaction: &mut Transaction, planned: &Planned) -> Result<Prepared, Unproven> {
    let (kube, release) = (transaction.kube.clone(), transaction.release.clone());
    let mut named = Named::default();
    if !release.secret.is_empty() {
        let mut made = [0; 32];
        getrandom::fill(&mut made).map_err(|e| anyhow::anyhow!("no random numbers: {e}"))?;
        let key = secrets::key(&kube, &release.namespace, made).await?;
        named = plan::secret(&kube, &release, &planned.values, None, key).await?;
        transaction.make_secret(&named.name, &planned.values).await?;
    }
    Ok(planned.fill(&release, &named.name))
}

/// The journal first; what cannot be told to others is a warning from then on.
async fn accept(mut transaction: Transaction, before: Option<Entry>) -> Result<Done> {
    transaction.stages.go_back();
    let mut is_undone = false;
    let accepted = match transaction.step(Step::Accepting, "").await {
        Ok(()) => {
            let serving = transaction.entry.clone();
            match transaction.undo_others(&serving, before.as_ref()).await {
                Ok(()) => is_undone = true,
                Err(why) => transaction.stages.say(format!("what killed releases have left was not undone: {why}")),
            }
            transaction.conclude(Became::Verified, "").await
        }
        Err(why) => Err(why),
    };
    let journal = match accepted {
        Ok(journal) => journal,
        Err(Unproven::NotRun(why)) => return Ok(transaction.abandon(Code::DidNotRun, &why.reason)),
        Err(Unproven::Defect(error)) => return Err(error),
    };
    // What runs on needs its settings.
    let tidied = if is_undone { transaction.tidy(&journal).await } else { Ok(0) };
    match tidied {
        Ok(0) => {}
        Ok(removed) => transaction.stages.say(format!("{removed} objects of older releases were removed")),
        Err(Unproven::NotRun(why)) => {
            transaction.stages.say(format!("older releases were not tidied: {}", why.reason));
        }
        Err(Unproven::Defect(error)) => return Err(error),
    }
    transaction.tell_ended(State::Success, "").await;
    let (name, image) = (&transaction.environment.name, &transaction.entry.image);
    transaction.stages.say(format!("[{name}] {image} serves and is verified (release {})", transaction.entry.id));
    Ok(transaction.close(Code::Passed).await)
}
