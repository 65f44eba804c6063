//! A release that is going on: its lock, its journal, and what is done to the cluster under them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::others;
use super::plan::refused;
use super::stages::Stages;
use crate::config::{Environment, Release};
use crate::disk::write_atomically;
use crate::engine::session::Session;
use crate::exit::Code;
use crate::history::artifacts;
use crate::history::release::{self, Written};
use crate::model::GateReport;
use crate::release::book::Book;
use crate::release::diagnosis;
use crate::release::hold::{self, Attempt, Lock};
use crate::release::journal::{Entry, Journal, Outcome as Became, Step, StepTaken, Verdicted};
use crate::release::lock::Holder;
use crate::release::manifests::Prepared;
use crate::release::rollout::{Limits, State, Target};
use crate::release::secrets;
use crate::release::watch;
use crate::tools::cancel::Urgency;
use crate::tools::git;
use crate::tools::kube::{Kube, Trouble, path_of};
use crate::verdict::{Evidence, Finding, NotRun, Outcome, Severity, Unproven, Verdict, Work};

/// What became of a stage, as far as the release is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is proved.
    Good,
    /// It is proved that it is not.
    Failed(String),
    /// It could not be told.
    NotVerified(String),
    /// The API cannot be reached, or the lock is another's: nothing is decided.
    Lost(String),
    /// A signal asked for a stop.
    Stopped,
}

impl Fate {
    /// What a gate's report means. `is_lost` tells whether the API was the reason.
    pub fn of(report: &GateReport, is_stopped: bool) -> Self {
        match report.verdict {
            Verdict::Pass => Self::Good,
            _ if is_stopped => Self::Stopped,
            Verdict::Fail => Self::Failed(report.reason.clone()),
            Verdict::DidNotRun if decides_nothing(&report.reason) => Self::Lost(report.reason.clone()),
            Verdict::DidNotRun => Self::NotVerified(report.reason.clone()),
        }
    }
}

/// How a reason begins that is no answer of the API; held equal to [`Trouble`]'s words by a test.
pub const UNREACHABLE: &str = "the Kubernetes API cannot be reached";

/// How the reason begins where somebody else has our lock: what to do next is theirs to decide.
const TAKEN: &str = "the lock was taken from us";

/// Whether a reason leaves everything as it is, neither forward nor back.
pub fn decides_nothing(reason: &str) -> bool {
    [UNREACHABLE, TAKEN].iter().any(|words| reason.starts_with(words))
}

fn taken(by: &Holder, environment: &str) -> NotRun {
    NotRun::new(format!("{TAKEN} by {by}"), format!("cargo xtask status {environment}"))
}

/// A release that is going on.
pub struct Transaction {
    /// Where.
    pub environment: Environment,
    /// How, the `[release]` of the environment.
    pub release: Release,
    /// The cluster; asked again for as long as the lock lives.
    pub kube: Kube,
    /// The journal.
    pub book: Book,
    /// The gates.
    pub stages: Stages,
    /// What is remembered of this release.
    pub entry: Entry,
    /// `deploy` or `rollback`: the first part of its gates' ids.
    pub task: &'static str,
    /// The command that starts it again.
    pub again: String,
    /// When objects were applied last, by the cluster's clock.
    pub since: OffsetDateTime,
    /// How many pods served when it began; 0 before that is known.
    pub capacity: u64,
    lock: Option<Lock>,
}

/// Why a release does not begin.
pub enum Refusal {
    /// Somebody else releases.
    Held(String),
    /// A stop was asked for while it waited.
    Stopped,
    /// The API did not let us.
    Unproven(Unproven),
}

impl Transaction {
    /// Nothing is locked or written yet.
    pub fn new(
        environment: Environment,
        release: Release,
        kube: &Kube,
        stages: Stages,
        entry: Entry,
        (task, again): (&'static str, String),
    ) -> Self {
        let kube = kube.patient(release.lock);
        let book = Book::open(&kube, &release.namespace);
        let since = kube.now();
        Self { environment, release, kube, book, stages, entry, task, again, since, capacity: 0, lock: None }
    }

    /// The id of a gate of ours.
    pub fn id(&self, part: &str) -> String {
        format!("{}/{part}", self.task)
    }

    /// Takes the lock; waits for it for `wait`.
    pub async fn lock(&mut self, wait: Duration) -> Result<(), Refusal> {
        let holder = Holder { id: self.entry.id.clone(), who: self.entry.who.clone(), run: self.entry.run.clone() };
        let begun = tokio::time::Instant::now();
        let mut told = String::new();
        loop {
            let attempt = hold::take(&self.kube, &self.release.namespace, &holder, self.release.lock).await;
            let held = match attempt.map_err(|trouble| Refusal::Unproven(trouble.into()))? {
                Attempt::Taken { lock, from } => {
                    if let Some(from) = from {
                        self.stages.say(format!("the lock was that of {from}, who gave no sign of life"));
                    }
                    self.lock = Some(lock);
                    return Ok(());
                }
                Attempt::Held(held) => held,
            };
            let by = format!("another release holds the lock: {}", held.by);
            if begun.elapsed() >= wait {
                return Err(Refusal::Held(by));
            }
            if told != by {
                self.stages.say(format!("{by}; waiting"));
                told = by;
            }
            let rest = wait.saturating_sub(begun.elapsed());
            let pause = held.left.clamp(Duration::from_millis(500), Duration::from_secs(5)).min(rest);
            let mut switch = self.stages.switch();
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = switch.reached(Urgency::Gently) => return Err(Refusal::Stopped),
            }
        }
    }

    /// Whether the lock is still ours, asked of the API; without it nothing is changed any more.
    pub async fn hold(&self) -> Result<(), Unproven> {
        let Some(lock) = &self.lock else { return Err(anyhow::anyhow!("a release without a lock").into()) };
        lock.confirm().await?.map_or(Ok(()), |by| Err(taken(&by, &self.environment.name).into()))
    }

    /// What the journal of the environment says now.
    pub async fn journal(&self) -> Result<Journal, Unproven> {
        self.book.journal().await
    }

    /// Writes down that a step begins, before it does.
    pub async fn step(&mut self, step: Step, note: &str) -> Result<(), Unproven> {
        self.hold().await?;
        self.entry.steps.push(StepTaken { step, at: self.now(), note: note.to_owned() });
        let rest = if note.is_empty() { String::new() } else { format!(": {note}") };
        if let Err(why) = self.write().await {
            // A step that was refused is not taken; whether one is that was not answered, the next run finds out.
            self.entry.steps.pop();
            return Err(why);
        }
        self.stages.say(format!("[{}] {}{rest}", self.environment.name, step.name()));
        Ok(())
    }

    /// Writes down what is remembered so far.
    pub async fn write(&mut self) -> Result<Journal, Unproven> {
        let redactor = &self.stages.ctx().redactor;
        let gates = self.stages.reports().iter().filter(|gate| gate.reason != "not finished");
        let verdict = |gate: &GateReport| Verdicted {
            gate: gate.id.clone(),
            verdict: match gate.verdict {
                Verdict::Pass => "pass".to_owned(),
                Verdict::Fail => "fail".to_owned(),
                Verdict::DidNotRun => "did_not_run".to_owned(),
            },
            reason: redactor.clean(&gate.reason).chars().take(400).collect(),
        };
        self.entry.verdicts = gates.map(verdict).collect();
        self.book.put(&self.entry).await
    }

    /// The last word on this release.
    pub async fn conclude(&mut self, became: Became, reason: &str) -> Result<Journal, Unproven> {
        self.hold().await?;
        self.entry.outcome = became;
        // It lies in the cluster for everybody who may read there.
        self.entry.reason = self.stages.ctx().redactor.clean(reason).chars().take(1000).collect();
        self.entry.ended = self.now();
        self.entry.steps.push(StepTaken { step: Step::Ended, at: self.now(), note: String::new() });
        let journal = self.write().await?;
        self.leave_behind(&journal).await;
        Ok(journal)
    }

    /// What is remembered of this release beside its journal, for the history: a file in the output folder.
    async fn leave_behind(&self, journal: &Journal) {
        let machine = self.stages.steady();
        let mut before = journal.verified().filter(|entry| entry.id != self.entry.id);
        let written = Written {
            schema: release::SCHEMA.to_owned(),
            environment: self.environment.name.clone(),
            from: before.next().map(|entry| entry.digest().to_owned()).unwrap_or_default(),
            committed: git::committed(&machine.ctx.root, &machine.quiet(), &self.entry.commit).await,
            entry: self.entry.clone(),
        };
        let written = serde_json::to_string_pretty(&written).map_err(anyhow::Error::from);
        let path = machine.ctx.out.join(artifacts::RELEASE);
        let written = written.and_then(|text| write_atomically(&path, machine.ctx.redactor.redact(&text).as_bytes()));
        if let Err(error) = written {
            self.stages.say(format!("the history will lack this release: {error:#}"));
        }
    }

    /// Gives the lock back and ends the run.
    pub async fn close(mut self, code: Code) -> super::super::checks::Done {
        if let Some(lock) = self.lock.take()
            && let Err(trouble) = lock.give_back().await
        {
            self.stages.say(format!("the lock was not given back ({trouble}); it ends by itself"));
        }
        let again = self.again.clone();
        self.stages.leave("not reached", &again);
        self.stages.close(code)
    }

    /// Ends the run without a word to the cluster: it goes on where the journal stands, from any machine.
    pub fn abandon(mut self, code: Code, why: &str) -> super::super::checks::Done {
        let again = self.again.clone();
        self.stages.say(format!("nothing is decided: {why}. Journal and lock stay as they are; go on with `{again}`"));
        self.stages.leave("not reached", &again);
        self.stages.close_as(code)
    }

    /// The cluster's time, as the journal has it.
    pub fn now(&self) -> String {
        self.kube.now().format(&Rfc3339).unwrap_or_default()
    }

    /// Makes the Secret, where there is none of its name.
    pub async fn make_secret(&self, name: &str, values: &BTreeMap<String, String>) -> Result<(), Trouble> {
        let namespace = &self.release.namespace;
        let secret = secrets::object(namespace, name, values);
        match self.kube.create(&format!("/api/v1/namespaces/{namespace}/secrets"), &secret).await {
            // It cannot be changed, and its name says what is in it.
            Err(trouble) if trouble.is_conflict() => Ok(()),
            made => made.map(|_| ()),
        }
    }

    /// Applies the objects and watches the rollout, as one gate: the pods that serve are its work.
    pub async fn roll_out(&mut self, part: &str, prepared: &Prepared, least: u64, force: bool) -> GateReport {
        let id = self.id(part);
        let (kube, release) = (self.kube.clone(), self.release.clone());
        self.stages.add(super::gate(&id, "pods", "kubectl", &self.again));
        self.since = self.kube.now();
        let (lost, name) = (self.lock.as_ref().map(Lock::taken), self.environment.name.clone());
        let lost = async move {
            match lost {
                Some(lost) => taken(&lost.await, &name),
                None => std::future::pending().await,
            }
        };
        // What stands beside it keeps nobody from going back to what served.
        let weight = if self.stages.is_going_back() { Severity::Info } else { Severity::High };
        let act = async |session| {
            tokio::select! {
                outcome = roll_out(session, kube, release, prepared, least, force, weight) => outcome,
                // Half of what is applied is whole again with whoever has the lock.
                why = lost => Err(why.into()),
            }
        };
        self.stages.run(&id, act).await
    }
}

/// Changes the objects; the error is a finding where the API refuses, and unproven where it cannot be reached.
async fn apply(
    session: &Session,
    kube: &Kube,
    prepared: &Prepared,
    least: u64,
    force: bool,
) -> Result<Vec<Finding>, Unproven> {
    for object in &prepared.objects {
        let Some(path) = path_of(object) else { continue };
        let name = format!(
            "{} {}",
            object["kind"].as_str().unwrap_or_default(),
            object["metadata"]["name"].as_str().unwrap_or_default()
        );
        session.doing(format!("apply {name}"));
        session.note(&format!("apply {name}"))?;
        let applied = match kube.apply(&path, object, force).await {
            Ok(applied) => applied,
            Err(Trouble::Refused { code, reason, message }) => {
                return Ok(vec![refused(object, code, &reason, &message)]);
            }
            Err(trouble) => return Err(trouble.into()),
        };
        // One that was scaled to nothing stays there by itself, for an autoscaler leaves it alone; a new one would begin
        // with a single pod.
        let is_ours = object["kind"] == "Deployment" && object["metadata"]["name"] == *prepared.workload;
        let has_fewer = applied["spec"]["replicas"].as_u64().is_some_and(|replicas| replicas < least);
        if is_ours && has_fewer && object["spec"].get("replicas").is_none() {
            scale(kube, &path, least).await?;
        }
    }
    Ok(vec![])
}

/// Writes a number of replicas by the subresource, which is how autoscalers do it: the field stays nobody's.
pub async fn scale(kube: &Kube, path: &str, replicas: u64) -> Result<Value, Trouble> {
    kube.merge(&format!("{path}/scale"), &json!({"spec": {"replicas": replicas}})).await
}

async fn roll_out(
    session: Session,
    kube: Kube,
    release: Release,
    prepared: &Prepared,
    least: u64,
    force: bool,
    weight: Severity,
) -> Result<Outcome, Unproven> {
    let mut cancel = session.machine.cancel.clone();
    let started = kube.now();
    let patience = release.lock;
    let refused = tokio::select! {
        applied = apply(&session, &kube, prepared, least, force) => applied?,
        () = cancel.reached(Urgency::Gently) => return Err(NotRun::new("interrupted", "").into()),
    };
    let fix = format!("cargo xtask logs, and `kubectl -n {} get pods`", release.namespace);
    if !refused.is_empty() {
        let work = Work::new(1, "pods");
        return Ok(Outcome::Ran(Evidence { work, declared: None, findings: refused, artifacts: vec![], fix }));
    }
    let target = Target { deployment: prepared.workload.clone(), template: prepared.template.clone() };
    let limits = Limits::of(&release, started);
    let mut last = String::new();
    let mut tell = |state: &State, _: &_| {
        if let State::Progressing(progress) | State::Complete(progress) = state {
            let line = progress.to_string();
            if line != last {
                // A line that cannot be kept is no reason to stop a release.
                let _kept = session.say(&line);
                last = line;
            }
        }
    };
    let watched = tokio::select! {
        watched = watch::rollout(&kube, &release.namespace, &target, &limits, patience, &mut tell) => watched?,
        () = cancel.reached(Urgency::Gently) => return Err(NotRun::new("interrupted", "").into()),
    };
    match watched.state {
        State::Complete(progress) => {
            let ready = u64::try_from(progress.ready).unwrap_or(0);
            let work = Work::new(ready, "pods");
            let declared = u64::try_from(progress.wanted).ok();
            let findings = tokio::select! {
                findings = others::rolled_out(&kube, prepared, release.ready_patience, weight) => findings?,
                () = cancel.reached(Urgency::Gently) => return Err(NotRun::new("interrupted", "").into()),
            };
            Ok(Outcome::Ran(Evidence { work, declared, findings, artifacts: vec![], fix }))
        }
        State::Failed(cause) => {
            let seconds = |from: OffsetDateTime, to: OffsetDateTime| (to - from).as_seconds_f64().max(0.0);
            let after = seconds(cause.since, watched.at);
            session.say(&format!("detected {after:.1} s after it was reported: {cause}"))?;
            let details =
                diagnosis::of(&kube, &release.namespace, &cause, &watched.seen, &session.ctx().redactor).await;
            details.events.iter().chain(&details.log).try_for_each(|line| session.note(line))?;
            let finding = details.finding();
            let time = diagnosis::detected(after);
            let work = Work::new(1, "pods");
            Ok(Outcome::Ran(Evidence { work, declared: None, findings: vec![finding, time], artifacts: vec![], fix }))
        }
        State::Progressing(_) => Err(anyhow::anyhow!("a watch ended while the rollout went on").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_that_cannot_be_reached_decides_nothing() {
        let words = Trouble::Unreachable("x".into()).to_string();
        assert!(words.starts_with(UNREACHABLE) && decides_nothing(&words), "{words}");
    }

    #[test]
    fn whoever_has_lost_the_lock_goes_neither_forward_nor_back() {
        let bert = Holder { id: "2".into(), who: "bert@laptop".into(), run: String::new() };
        let why = taken(&bert, "production");
        assert!(why.reason.contains("bert@laptop") && why.fix.contains("status production"), "{why:?}");
        assert_eq!(Fate::from(Unproven::from(why.clone())), Fate::Lost(why.reason));
    }
}
