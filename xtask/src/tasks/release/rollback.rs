//! `rollback ENV`: goes back to a verified release by hand. It is a release like any other, but for where it comes from.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use super::deploy::refuse;
use super::reach::reach;
use super::restore::refusal;
use super::stages::Stages;
use super::transaction::{Fate, Refusal, Transaction};
use super::{RollbackArgs, environment, gate, identity, new_id};
use crate::config::Release;
use crate::context::Ctx;
use crate::engine::gate::Gate;
use crate::engine::run::Options;
use crate::engine::session::Session;
use crate::event::Events;
use crate::exit::{Code, UsageError};
use crate::release::book::Book;
use crate::release::journal::{Entry, Journal, Kind, Outcome as Became, Step, Waived};
use crate::tasks::checks::{Checks, Done};
use crate::tools::cancel::Cancel;
use crate::tools::kube::Kube;
use crate::tools::reference::{Reference, Subject};
use crate::tools::registry::{Access, Registry};
use crate::tools::signatures::{self, Demand};
use crate::verdict::{Evidence, Finding, NotRun, Outcome, Severity, Unproven, Verdict, Work};

/// The task's name.
const TASK: &str = "rollback";

/// The gates that are known before anything is asked.
pub fn gates(args: &RollbackArgs) -> Vec<Gate> {
    let again = again(args);
    vec![
        gate("rollback/target", "checks", "cosign", &again),
        gate("rollback/rollout", "pods", "kubectl", &again),
        gate("rollback/smoke", "requests", "reqwest", &again),
    ]
}

fn again(args: &RollbackArgs) -> String {
    let quoted = crate::tools::command::quoted;
    let to = args.to.as_ref().map(|to| format!(" --to {}", quoted(to))).unwrap_or_default();
    format!("cargo xtask rollback {}{to}", quoted(&args.environment))
}

/// Which release is gone back to: the newest verified one of the digest, or the newest that does not run now.
///
/// What runs now is the last entry that changed something; if it is not verified, the last verified one is the target.
pub fn target<'a>(journal: &'a Journal, to: Option<&str>) -> Result<&'a Entry, String> {
    if let Some(digest) = to {
        let named = journal.verified().find(|entry| entry.digest() == digest);
        return named.ok_or_else(|| format!("the journal has no verified release of `{digest}`"));
    }
    let Some(last) = journal.last_verified() else {
        return Err("the journal has no verified release: there is nothing to go back to".to_owned());
    };
    let changed = journal.entries.iter().rev().find(|entry| entry.has_applied());
    // A way back that was cut off goes on to where it was going: what it came from is verified as well, and is the last
    // thing to go to.
    let is_cut_off =
        |entry: &&Entry| entry.kind == Kind::Rollback && matches!(entry.outcome, Became::Running | Became::Interrupted);
    if let Some(cut_off) = changed.filter(is_cut_off) {
        let is_it = |entry: &&Entry| entry.template == cut_off.template && entry.image == cut_off.image;
        let found = journal.verified().find(is_it);
        return found
            .ok_or_else(|| format!("what the release {} went back to is not in the journal any more", cut_off.id));
    }
    // One that was undone left the last verified one in its place.
    let runs_last = changed.is_none_or(|entry| entry.id == last.id || !entry.restored.is_empty());
    if !runs_last {
        return Ok(last);
    }
    let differs = |entry: &&Entry| entry.template != last.template;
    journal
        .verified()
        .find(differs)
        .ok_or_else(|| "there is no other verified release than the one that runs".to_owned())
}

/// Does it; with `dry_run` only says what would be done.
pub async fn run(ctx: &Arc<Ctx>, cancel: &Cancel, events: &Events, args: &RollbackArgs, dry_run: bool) -> Result<Done> {
    if args.waive_signature.as_ref().is_some_and(|reason| reason.trim().is_empty()) {
        return Err(UsageError("--waive-signature needs a reason".to_owned()).into());
    }
    let environment = environment(ctx, &args.environment)?;
    let (_, release) = environment.releasable()?;
    let release = release.clone();
    let checks = Checks { task: TASK, gates: gates(args), left_out: vec![], options: Options::default() };
    let mut stages = Stages::open(ctx, cancel, events, &checks).await?;
    let kube = match reach(stages.steady(), &environment).await? {
        Ok(kube) => kube,
        Err(why) => return Ok(refuse(stages, &why)),
    };
    let mut found = None;
    let report = stages
        .run("rollback/target", async |session| {
            let (outcome, target, waived) = check(&session, &kube, &release, args).await?;
            found = Some((target, waived));
            Ok(outcome)
        })
        .await;
    let Some((target, waived)) = found.filter(|_| report.verdict == Verdict::Pass) else {
        stages.say("nothing was changed");
        stages.leave("there is no target to go back to", &report.fix);
        return Ok(stages.close(Code::Passed));
    };
    stages.say(format!(
        "{} goes back to release {} ({}, commit {})",
        environment.name, target.id, target.image, target.commit
    ));
    if dry_run {
        stages.leave("--dry-run ends with the plan", &again(args));
        stages.optional_unless_run();
        return Ok(stages.close(Code::Passed));
    }
    let name = environment.name.clone();
    if release.confirm && !args.yes {
        let typed = stages.ask(format!("type `{name}` to roll it back: ")).await?;
        if typed.as_deref() != Some(&*name) {
            stages.say(format!("not confirmed: `{name}` was not typed (--yes does not ask); nothing was changed"));
            stages.leave("not confirmed", &again(args));
            let code = if stages.is_stopped() { Code::Interrupted } else { Code::Failed };
            return Ok(stages.close(code));
        }
    }
    let (who, run) = identity(&stages.ctx().env);
    let entry = Entry {
        id: new_id(kube.now())?,
        kind: Kind::Rollback,
        approved_by: if release.confirm && !args.yes { who.clone() } else { String::new() },
        who,
        run,
        waived,
        started: String::new(),
        image: target.image.clone(),
        commit: target.commit.clone(),
        version: target.version.clone(),
        strategy: target.strategy.clone(),
        signer: target.signer.clone(),
        template: target.template.clone(),
        track: target.track.clone(),
        configs: target.configs.clone(),
        ..Entry::default()
    };
    let transaction = Transaction::new(environment, release, &kube, stages, entry, (TASK, again(args)));
    transact(transaction, &target, args).await
}

/// Whether the target can be gone back to: its objects and configuration are kept, its image is there and is signed.
async fn check(
    session: &Session,
    kube: &Kube,
    release: &Release,
    args: &RollbackArgs,
) -> Result<(Outcome, Entry, Vec<Waived>), Unproven> {
    let book = Book::open(kube, &release.namespace);
    let journal = book.journal().await?;
    let status = format!("cargo xtask status {}", args.environment);
    let target = target(&journal, args.to.as_deref()).map_err(|why| NotRun::new(why, status))?.clone();
    session.say(&format!("the target is release {} ({})", target.id, target.image))?;
    kept(&book, &target, release).await?;
    let reference = Reference::parse(&target.image).map_err(|why| NotRun::new(why, "mend the journal"))?;
    let digest = reference.digest.clone().unwrap_or_default();
    let subject = Subject { repository: reference.repository.clone(), digest };
    let access = Access::new(session.ctx(), &session.runner().ledger, &subject.repository)?;
    let registry = Registry::open(&session.machine, session.runner(), &access).await?;
    let exact = Reference { tag: None, ..reference };
    if registry.resolve(&exact).await?.is_none() {
        let reason = format!("the image of release {}, `{subject}`, is not in the registry any more", target.id);
        return Err(NotRun::new(reason, "push it again, or name another release by --to DIGEST").into());
    }
    let (mut count, mut findings, mut waived) = (2, Vec::new(), Vec::new());
    match (&args.waive_signature, release.checked) {
        (_, false) => findings.push(Finding::new("unchecked", Severity::Info, "release.checked = false")),
        (Some(reason), true) => waived.push(Waived { check: "signature".to_owned(), reason: reason.clone() }),
        (None, true) => {
            let Some(signing) = session.ctx().config.signing.clone() else {
                return Err(NotRun::new("pipeline.toml has no [signing]", "say there who may sign").into());
            };
            // A journal can be edited: what it says of an image is no proof.
            let checked = signatures::verify(&registry, &subject, &Demand::of(session.ctx(), &signing)?).await?;
            count += checked.asked;
            findings.extend(checked.findings);
        }
    }
    let outcome = Outcome::Ran(Evidence {
        work: Work::new(count, "checks"),
        declared: None,
        findings,
        artifacts: vec![],
        fix: "name another release by --to DIGEST".to_owned(),
    });
    Ok((outcome, target, waived))
}

/// Whether everything that the target needs is still there, and is what the journal says.
async fn kept(book: &Book, target: &Entry, release: &Release) -> Result<(), Unproven> {
    let objects = book.objects(&target.id).await?;
    let gone = book.gone(target).await?;
    refusal(target, &gone, objects.as_deref(), release).map_or(Ok(()), |why| Err(why.into()))
}

/// What was chosen before the lock was ours is still what is to be gone back to, and is still kept: whoever had the lock
/// may have released, and tidied, in between.
async fn still(transaction: &Transaction, chosen: &Entry, to: Option<&str>) -> Result<(), Unproven> {
    let status = format!("cargo xtask status {}", transaction.environment.name);
    let journal = transaction.journal().await?;
    let found = target(&journal, to).map_err(|why| NotRun::new(why, status.clone()))?;
    if found.image != chosen.image || found.template != chosen.template {
        let reason = "somebody else has released since the target was chosen; look at it again";
        return Err(NotRun::new(reason, status).into());
    }
    kept(&transaction.book, chosen, &transaction.release).await
}

async fn transact(mut transaction: Transaction, target: &Entry, args: &RollbackArgs) -> Result<Done> {
    let wait = args.wait.unwrap_or(Duration::ZERO);
    match transaction.lock(wait).await {
        Ok(()) => {}
        Err(Refusal::Held(by)) => {
            transaction.stages.say(format!("{by}; nothing was changed"));
            transaction.stages.leave(&by, &transaction.again.clone());
            return Ok(transaction.stages.close(Code::Held));
        }
        Err(Refusal::Stopped) => {
            transaction.stages.leave("interrupted", &transaction.again.clone());
            return Ok(transaction.stages.close(Code::Interrupted));
        }
        Err(Refusal::Unproven(Unproven::NotRun(why))) => return Ok(refuse(transaction.stages, &why)),
        Err(Refusal::Unproven(Unproven::Defect(error))) => return Err(error),
    }
    if let Err(why) = still(&transaction, target, args.to.as_deref()).await {
        transaction.stages.say(format!("{why}; nothing was changed"));
        return Ok(transaction.close(Code::DidNotRun).await);
    }
    match back(&mut transaction, target).await {
        Ok(Fate::Good) => {
            transaction.entry.restored.clone_from(&target.id);
            transaction.stages.go_back();
            if let Err(why) = transaction.undo_others(target, Some(target)).await {
                transaction.stages.say(format!("what later releases have left was not undone: {why}"));
            }
            if let Err(why) = transaction.conclude(Became::Verified, "").await {
                return Ok(transaction.abandon(Code::DidNotRun, &why.to_string()));
            }
            let (name, image) = (transaction.environment.name.clone(), target.image.clone());
            transaction.stages.say(format!("[{name}] {image} serves again and is verified"));
            Ok(transaction.close(Code::Passed).await)
        }
        Ok(Fate::Lost(why)) | Err(Fate::Lost(why)) => Ok(transaction.abandon(Code::DidNotRun, &why)),
        // Another way back is a person's decision (R23).
        Ok(Fate::Stopped) | Err(Fate::Stopped) => Ok(transaction.abandon(Code::Interrupted, "stopped by a signal")),
        Ok(Fate::Failed(why) | Fate::NotVerified(why)) | Err(Fate::Failed(why) | Fate::NotVerified(why)) => {
            transaction.stages.go_back();
            let concluded = transaction.conclude(Became::Failed, &why).await;
            transaction.stages.say(format!("the way back failed: {why}"));
            match concluded {
                Ok(_) => Ok(transaction.close(Code::RollbackFailed).await),
                Err(why) => Ok(transaction.abandon(Code::RollbackFailed, &why.to_string())),
            }
        }
        Err(Fate::Good) => Ok(transaction.close(Code::RollbackFailed).await),
    }
}

async fn back(transaction: &mut Transaction, target: &Entry) -> Result<Fate, Fate> {
    transaction.entry.started = transaction.now();
    let journal = transaction.journal().await?;
    for gone in journal.entries.iter().filter(|entry| entry.outcome == Became::Running) {
        let ended = transaction.now();
        let reason = "its process was gone; a rollback went on from there".to_owned();
        transaction.book.put(&Entry { outcome: Became::Interrupted, reason, ended, ..gone.clone() }).await?;
    }
    transaction.step(Step::Begun, "").await?;
    // Under its own id, so that it can be gone back to like every other verified release.
    if let Some(objects) = transaction.book.objects(&target.id).await? {
        let id = transaction.entry.id.clone();
        transaction.book.keep_objects(&id, &objects).await?;
    }
    // Half of a way back is no state to stay in: the first signal lets it end, the second stops it.
    transaction.stages.go_back();
    transaction.reapply(target, Step::Applying, Step::Verifying, "rollout").await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::journal::StepTaken;

    fn entry(id: &str, outcome: Became, restored: &str) -> Entry {
        Entry {
            id: id.into(),
            image: format!("r@sha256:{id}"),
            template: format!("t{id}"),
            outcome,
            restored: restored.into(),
            steps: vec![StepTaken { step: Step::Applying, ..StepTaken::default() }],
            ..Entry::default()
        }
    }

    #[test]
    fn a_way_back_that_was_cut_off_goes_on_to_where_it_was_going() {
        use Became::{Failed, Interrupted, Running, Verified};
        let back = |outcome| Entry {
            kind: Kind::Rollback,
            image: "r@sha256:1".into(),
            template: "t1".into(),
            ..entry("3", outcome, "")
        };
        for (outcome, expected) in [
            (Running, "1"),
            (Interrupted, "1"),
            // It went back, and comes from 2 now.
            (Verified, "2"),
            // It was shown not to serve: 2 is the last that did.
            (Failed, "2"),
        ] {
            let entries = vec![entry("1", Verified, ""), entry("2", Verified, ""), back(outcome)];
            let journal = Journal { entries, ..Journal::default() };
            assert_eq!(target(&journal, None).unwrap().id, expected, "{outcome:?}");
        }
        let journal = Journal { entries: vec![entry("2", Verified, ""), back(Running)], ..Journal::default() };
        assert!(target(&journal, None).unwrap_err().contains("is not in the journal"));
    }

    #[test]
    fn the_target_is_a_verified_release_that_does_not_run_now() {
        use Became::{Failed, Interrupted, Verified};
        for (entries, to, expected) in [
            (vec![], None, Err("nothing to go back to")),
            (vec![entry("1", Verified, "")], None, Err("no other verified release")),
            (vec![entry("1", Verified, ""), entry("2", Verified, "")], None, Ok("1")),
            // What failed was undone already: 1 runs.
            (vec![entry("0", Verified, ""), entry("1", Verified, ""), entry("2", Failed, "1")], None, Ok("0")),
            // It was not undone: the last verified one is the way back.
            (vec![entry("0", Verified, ""), entry("1", Verified, ""), entry("2", Interrupted, "")], None, Ok("1")),
            (vec![entry("1", Verified, ""), entry("2", Verified, "")], Some("sha256:2"), Ok("2")),
            (vec![entry("1", Failed, ""), entry("2", Verified, "")], Some("sha256:1"), Err("no verified release of")),
        ] {
            let journal = Journal { entries, ..Journal::default() };
            match (target(&journal, to), expected) {
                (Ok(found), Ok(id)) => assert_eq!(found.id, id),
                (Err(found), Err(words)) => assert!(found.contains(words), "{found}"),
                (found, expected) => panic!("{found:?} {expected:?}"),
            }
        }
    }
}
