//! How far a rollout is, and whether it can still succeed. Pure: who asks the cluster is `watch.rs`.
//!
//! Every reason why a container does not serve is a [`Fault`] with its own patience: none for what no waiting mends (an
//! image that is not there), some for what often passes (a registry that stumbles), the whole deadline for the rest.

use std::time::Duration;

use time::OffsetDateTime;

use super::object::{Condition, Deployment, Event, Pod, ReplicaSet, condition};
use crate::config::Release;
use crate::text::clean;

mod containers;
mod pods;
pub mod pull;
#[cfg(test)]
mod real;
#[cfg(test)]
mod tests;

/// The label by which the pods of a release are known: a hash of their template, on the template itself as well.
pub use super::manifests::TEMPLATE as TEMPLATE_LABEL;

/// The longest message that is told of one fault, in characters.
const LONGEST: usize = 1000;

/// What is being rolled out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The Deployment's name.
    pub deployment: String,
    /// The value of [`TEMPLATE_LABEL`].
    pub template: String,
}

/// How long what is borne.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// When the Deployment was changed, by the cluster's clock. What is older than that is not held against it.
    pub started: OffsetDateTime,
    /// A registry that stumbles, since its first report.
    pub pull: Duration,
    /// A pod that finds no node, since the scheduler said so.
    pub unschedulable: Duration,
    /// A pod that runs and is not ready, since its newest start.
    pub ready: Duration,
    /// All of it.
    pub deadline: Duration,
}

impl Limits {
    /// As the environment has them.
    pub fn of(release: &Release, started: OffsetDateTime) -> Self {
        Self {
            started,
            pull: release.pull_patience,
            unschedulable: release.unschedulable_patience,
            ready: release.ready_patience,
            deadline: release.deadline,
        }
    }
}

/// What was seen of the namespace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// The Deployment, if it is there.
    pub deployment: Option<Deployment>,
    /// All ReplicaSets.
    pub replica_sets: Vec<ReplicaSet>,
    /// All pods.
    pub pods: Vec<Pod>,
    /// All events that are not forgotten yet.
    pub events: Vec<Event>,
}

/// How it stands.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// It goes on.
    Progressing(Progress),
    /// Every pod is of the new template and serves, and no other is left.
    Complete(Progress),
    /// It will not succeed, or not in time.
    Failed(Cause),
}

/// What kind of cause it is; the order is that of telling: the first explains the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// There is no such image.
    Image,
    /// The registry refuses, or stumbles for too long.
    Pull,
    /// The container cannot be made as it is configured.
    Config,
    /// The container used more memory than it may.
    OutOfMemory,
    /// The container ends.
    Crash,
    /// The pod is not let in.
    Create,
    /// The pod finds no node.
    Unschedulable,
    /// The container runs and is not ready.
    NotReady,
    /// It is on its way.
    Starting,
    /// It takes too long in all.
    Deadline,
}

impl Kind {
    /// For people, logs and rules of findings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Pull => "pull",
            Self::Config => "configuration",
            Self::OutOfMemory => "out-of-memory",
            Self::Crash => "crash",
            Self::Create => "create",
            Self::Unschedulable => "unschedulable",
            Self::NotReady => "not-ready",
            Self::Starting => "starting",
            Self::Deadline => "deadline",
        }
    }
}

/// Why it does not go on. The texts are the cluster's, cleaned.
#[derive(Clone, Debug, PartialEq)]
pub struct Cause {
    /// What kind.
    pub kind: Kind,
    /// The pod, or the object that makes it.
    pub object: String,
    /// The container; empty where it is about the whole object.
    pub container: String,
    /// One word, as Kubernetes has it: `ErrImagePull`, `OOMKilled`, `Unschedulable`.
    pub reason: String,
    /// A sentence.
    pub message: String,
    /// When the kubelet, the scheduler or a controller reported it first.
    pub since: OffsetDateTime,
    /// Whether the container's last words are those of its last run, and not of this one.
    pub previous: bool,
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let container =
            if self.container.is_empty() { String::new() } else { format!(", container `{}`", self.container) };
        write!(f, "`{}`{container}: {}", self.object, self.reason)?;
        let message = self.message.lines().next().unwrap_or_default();
        if message.is_empty() { Ok(()) } else { write!(f, ": {message}") }
    }
}

/// A cause with how long it is borne.
#[derive(Clone, Debug, PartialEq)]
struct Fault {
    cause: Cause,
    /// `None`: as long as there is time at all.
    patience: Option<Duration>,
}

impl Fault {
    /// Not borne at all.
    fn at_once(cause: Cause) -> Self {
        Self { cause, patience: Some(Duration::ZERO) }
    }

    /// Borne for so long.
    fn borne(cause: Cause, patience: Duration) -> Self {
        Self { cause, patience: Some(patience) }
    }

    /// Borne until the deadline.
    fn waiting(cause: Cause) -> Self {
        Self { cause, patience: None }
    }

    /// Patience begins with the rollout: a pod of an older release that is brought back may have waited for days.
    fn is_over(&self, now: OffsetDateTime, limits: &Limits) -> bool {
        self.patience.is_some_and(|patience| {
            patience.is_zero() || elapsed(self.cause.since.max(limits.started), now) >= patience
        })
    }
}

/// How far it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// How many pods are wanted.
    pub wanted: i64,
    /// How many are of the new template.
    pub updated: i64,
    /// How many of those are ready.
    pub ready: i64,
    /// How many of any template are available.
    pub available: i64,
    /// How many of older templates are left.
    pub old: i64,
    /// What it waits for, the oldest first.
    pub waiting: Vec<Cause>,
    /// When this was seen.
    pub at: OffsetDateTime,
}

impl std::fmt::Display for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { wanted, updated, ready, available, old, .. } = self;
        write!(f, "{updated} of {wanted} updated, {ready} ready, {available} available")?;
        if *old > 0 {
            write!(f, ", {old} old")?;
        }
        let mut told: Vec<&str> = Vec::new();
        for cause in &self.waiting {
            if told.contains(&cause.reason.as_str()) {
                continue;
            }
            let count = self.waiting.iter().filter(|other| other.reason == cause.reason).count();
            let times = if count > 1 { format!("{count} × ") } else { String::new() };
            let joint = if told.is_empty() { "; " } else { ", " };
            write!(f, "{joint}{times}{} for {} s", cause.reason, elapsed(cause.since, self.at).as_secs())?;
            told.push(&cause.reason);
        }
        Ok(())
    }
}

/// Nothing of a rollout was seen yet.
impl Default for Progress {
    fn default() -> Self {
        let at = OffsetDateTime::UNIX_EPOCH;
        Self { wanted: 0, updated: 0, ready: 0, available: 0, old: 0, waiting: vec![], at }
    }
}

/// What is known of one rollout at one moment.
struct View<'a> {
    target: &'a Target,
    seen: &'a Seen,
    limits: &'a Limits,
    now: OffsetDateTime,
}

/// What was seen → how it stands.
pub fn assess(target: &Target, seen: &Seen, now: OffsetDateTime, limits: &Limits) -> State {
    let view = View { target, seen, limits, now };
    let mut faults = view.faults();
    faults.sort_by_key(|fault| (fault.cause.kind, fault.cause.since));
    if let Some(fault) = faults.iter().find(|fault| fault.is_over(now, limits)) {
        return State::Failed(fault.cause.clone());
    }
    let progress = view.progress(faults);
    match () {
        () if view.is_complete(&progress) => State::Complete(progress),
        () if elapsed(limits.started, now) >= limits.deadline => State::Failed(view.too_late(&progress)),
        () => State::Progressing(progress),
    }
}

impl View<'_> {
    /// The Deployment, once it is the target's.
    fn deployment(&self) -> Option<&Deployment> {
        self.seen.deployment.as_ref().filter(|deployment| {
            deployment.spec.template.metadata.labels.get(TEMPLATE_LABEL) == Some(&self.target.template)
        })
    }

    /// The same, once its status is of what it says now.
    fn observed(&self) -> Option<&Deployment> {
        self.deployment().filter(|deployment| deployment.status.observed_generation >= deployment.metadata.generation)
    }

    /// The ReplicaSet of the target's template. Its age says nothing: an older one is used again. Where somebody
    /// changed the template by hand and left the label, the last revision is the one that is rolled out.
    fn replica_set(&self) -> Option<&ReplicaSet> {
        let deployment = self.deployment()?;
        let ours = self.seen.replica_sets.iter().filter(|set| {
            set.metadata.is_owned_by(&deployment.metadata.uid)
                && set.metadata.labels.get(TEMPLATE_LABEL) == Some(&self.target.template)
        });
        ours.max_by_key(|set| set.revision())
    }

    /// Its pods that count.
    fn pods(&self) -> impl Iterator<Item = &Pod> {
        let set = self.replica_set().map(|set| set.metadata.uid.as_str());
        self.seen.pods.iter().filter(move |pod| {
            set.is_some_and(|uid| !uid.is_empty() && pod.metadata.is_owned_by(uid)) && pod.is_active()
        })
    }

    fn faults(&self) -> Vec<Fault> {
        let Some(deployment) = self.deployment() else { return vec![] };
        let mut faults: Vec<Fault> = self.pods().flat_map(|pod| pods::faults(self, pod)).collect();
        faults.extend(self.not_created(deployment));
        faults.extend(self.timed_out());
        if deployment.spec.paused {
            let cause =
                self.cause(Kind::Starting, deployment_name(deployment), "Paused", "somebody paused the rollout");
            faults.push(Fault::waiting(cause));
        }
        faults
    }

    /// A pod that is not let in: what the ReplicaSet's controller was told, or the Deployment's of the ReplicaSet.
    fn not_created(&self, deployment: &Deployment) -> Option<Fault> {
        let of_set = || {
            let set = self.replica_set()?;
            let failure = condition(&set.status.conditions, "ReplicaFailure").filter(|failure| failure.is_true())?;
            Some((format!("replicaset/{}", set.metadata.name), failure))
        };
        let of_deployment = || {
            let progressing = condition(&self.observed()?.status.conditions, "Progressing")?;
            let failed = progressing.reason == "ReplicaSetCreateError" && self.is_fresh(progressing);
            failed.then(|| (deployment_name(deployment), progressing))
        };
        let (object, failure) = of_set().or_else(of_deployment)?;
        let since = failure.last_transition_time.unwrap_or(self.now);
        let reason = if failure.reason.is_empty() { "FailedCreate" } else { &failure.reason };
        let cause = Cause { since, ..self.cause(Kind::Create, object, reason, &failure.message) };
        Some(if is_refused(&failure.message) {
            Fault::at_once(cause)
        } else {
            Fault::borne(cause, self.limits.unschedulable)
        })
    }

    /// What the Deployment's controller waited for too long, by the Deployment's own patience.
    fn timed_out(&self) -> Option<Fault> {
        let deployment = self.observed()?;
        let progressing = condition(&deployment.status.conditions, "Progressing")?;
        let is_late =
            progressing.is_false() && progressing.reason == "ProgressDeadlineExceeded" && self.is_fresh(progressing);
        is_late.then(|| {
            let since = progressing.last_transition_time.unwrap_or(self.now);
            let object = deployment_name(deployment);
            let cause = self.cause(Kind::Deadline, object, &progressing.reason, &progressing.message);
            Fault::at_once(Cause { since, ..cause })
        })
    }

    /// Whether a condition was written since this rollout began: one of the last rollout stays where a ReplicaSet is
    /// used again, until there is progress.
    fn is_fresh(&self, condition: &Condition) -> bool {
        condition.last_update_time.or(condition.last_transition_time).is_some_and(|at| self.is_ours(at))
    }

    /// Whether a time that the cluster wrote is of this rollout; it writes whole seconds.
    fn is_ours(&self, at: OffsetDateTime) -> bool {
        at + Duration::from_secs(2) >= self.limits.started
    }

    fn progress(&self, faults: Vec<Fault>) -> Progress {
        let mut waiting: Vec<Cause> = faults.into_iter().map(|fault| fault.cause).collect();
        waiting.sort_by_key(|cause| cause.since);
        let at = self.now;
        let Some(deployment) = self.deployment() else {
            let reason = if self.seen.deployment.is_some() { "not changed yet" } else { "no Deployment" };
            let object = format!("deployment/{}", self.target.deployment);
            let since = self.limits.started;
            let cause = Cause { since, ..self.cause(Kind::Starting, object, reason, "") };
            return Progress { waiting: vec![cause], at, ..Progress::default() };
        };
        let wanted = wanted(deployment);
        let pods = count(self.pods());
        let ready = count(self.pods().filter(|pod| pod.is_ready()));
        let status = self.observed().map(|deployment| &deployment.status);
        Progress {
            wanted,
            // What the pods say is newer than what the controller has counted of them.
            updated: status.map_or(pods, |status| status.updated_replicas),
            ready,
            available: status.map_or(0, |status| status.available_replicas),
            old: status.map_or(0, |status| (status.replicas - status.updated_replicas).max(0)),
            waiting,
            at,
        }
    }

    /// As `kubectl rollout status` has it, and the pods themselves have to agree; of no pod nothing is complete.
    fn is_complete(&self, progress: &Progress) -> bool {
        let Some(status) = self.observed().map(|deployment| &deployment.status) else { return false };
        let wanted = progress.wanted;
        wanted > 0
            && status.updated_replicas == wanted
            && status.replicas == wanted
            && status.ready_replicas >= wanted
            && status.available_replicas >= wanted
            && progress.ready >= wanted
    }

    fn too_late(&self, progress: &Progress) -> Cause {
        let object = format!("deployment/{}", self.target.deployment);
        let message = format!("not complete after {} s: {progress}", self.limits.deadline.as_secs());
        Cause { since: self.now, ..self.cause(Kind::Deadline, object, "DeadlineExceeded", &message) }
    }

    /// Of now, and of no container.
    fn cause(&self, kind: Kind, object: String, reason: &str, message: &str) -> Cause {
        let message = clean(message.trim()).chars().take(LONGEST).collect();
        let container = String::new();
        Cause { kind, object, container, reason: clean(reason), message, since: self.now, previous: false }
    }

    /// The events of a pod; a pod of the same name may have been there before it.
    fn events<'a>(&'a self, pod: &'a Pod) -> impl Iterator<Item = &'a Event> {
        let is_of =
            |event: &Event| event.involved_object.kind == "Pod" && event.involved_object.uid == pod.metadata.uid;
        self.seen.events.iter().filter(move |event| is_of(event))
    }
}

/// How many pods are wanted.
fn wanted(deployment: &Deployment) -> i64 {
    deployment.spec.replicas.unwrap_or(1)
}

fn deployment_name(deployment: &Deployment) -> String {
    format!("deployment/{}", deployment.metadata.name)
}

fn count<'a>(pods: impl Iterator<Item = &'a Pod>) -> i64 {
    i64::try_from(pods.count()).unwrap_or(i64::MAX)
}

/// Whether a pod is refused for what it is. A quota may have room later, a ServiceAccount or a webhook come up.
fn is_refused(message: &str) -> bool {
    let passes = ["exceeded quota", "failed quota", "looking up service account", "failed calling webhook", "timeout"];
    let stays = ["is forbidden", "violates PodSecurity", "is invalid", "Invalid value", "denied the request"];
    stays.iter().any(|word| message.contains(word)) && !passes.iter().any(|word| message.contains(word))
}

/// None where `since` lies ahead: two clocks never agree to the millisecond.
fn elapsed(since: OffsetDateTime, now: OffsetDateTime) -> Duration {
    Duration::try_from(now - since).unwrap_or_default()
}
