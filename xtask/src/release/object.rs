//! What we read of Kubernetes' objects, and nothing else of them: every field may be missing, as it is in an object that
//! is a moment old. What they mean is decided in `rollout.rs`.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// `metadata`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Meta {
    /// Unlike every other of its kind in the namespace.
    pub name: String,
    /// Where it is.
    pub namespace: String,
    /// Unlike every other that ever was.
    pub uid: String,
    /// Goes up with each change of what is wanted.
    pub generation: i64,
    /// Differs after each change.
    pub resource_version: String,
    /// The labels.
    pub labels: BTreeMap<String, String>,
    /// The annotations.
    pub annotations: BTreeMap<String, String>,
    /// Whose it is.
    pub owner_references: Vec<Owner>,
    /// When it was made.
    #[serde(deserialize_with = "moment")]
    pub creation_timestamp: Option<OffsetDateTime>,
    /// When it was asked to go; it is terminating.
    #[serde(deserialize_with = "moment")]
    pub deletion_timestamp: Option<OffsetDateTime>,
}

impl Meta {
    /// Whether the object with this uid made it.
    pub fn is_owned_by(&self, uid: &str) -> bool {
        self.owner_references.iter().any(|owner| owner.uid == uid)
    }
}

/// One of `metadata.ownerReferences`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Owner {
    /// `ReplicaSet`, `Deployment`…
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// One of `status.conditions`, of any kind of object.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Condition {
    /// `Ready`, `Progressing`…
    pub r#type: String,
    /// `True`, `False`, `Unknown`.
    pub status: String,
    /// One word.
    pub reason: String,
    /// A sentence.
    pub message: String,
    /// When its status became another one.
    #[serde(deserialize_with = "moment")]
    pub last_transition_time: Option<OffsetDateTime>,
    /// When anything of it was written; Deployments have it.
    #[serde(deserialize_with = "moment")]
    pub last_update_time: Option<OffsetDateTime>,
}

impl Condition {
    /// Whether it holds.
    pub fn is_true(&self) -> bool {
        self.status == "True"
    }

    /// Whether it is known not to hold.
    pub fn is_false(&self) -> bool {
        self.status == "False"
    }
}

/// The condition of a type among others.
pub fn condition<'a>(conditions: &'a [Condition], r#type: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.r#type == r#type)
}

/// `apps/v1` Deployment.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Deployment {
    /// `metadata`
    pub metadata: Meta,
    /// What is wanted.
    pub spec: DeploymentSpec,
    /// What is there.
    pub status: DeploymentStatus,
}

/// `spec` of a Deployment, and of a ReplicaSet.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct DeploymentSpec {
    /// How many pods; the API server writes 1 where nobody said.
    pub replicas: Option<i64>,
    /// Whether somebody stopped its rollout.
    pub paused: bool,
    /// What its pods are made after.
    pub template: Template,
}

/// `spec.template`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Template {
    /// Labels and annotations of the pods.
    pub metadata: Meta,
    /// The pods' `spec`.
    pub spec: PodSpec,
}

/// `status` of a Deployment.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DeploymentStatus {
    /// Which generation the rest is of.
    pub observed_generation: i64,
    /// All pods that are not terminating, the older versions' too.
    pub replicas: i64,
    /// Those of the newest template.
    pub updated_replicas: i64,
    /// Those that are ready, of any version.
    pub ready_replicas: i64,
    /// Those that were ready long enough, of any version.
    pub available_replicas: i64,
    /// `Progressing`, `Available`, `ReplicaFailure`.
    pub conditions: Vec<Condition>,
}

/// `apps/v1` ReplicaSet.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ReplicaSet {
    /// `metadata`
    pub metadata: Meta,
    /// What is wanted.
    pub spec: DeploymentSpec,
    /// What is there.
    pub status: DeploymentStatus,
}

/// The annotation in which a Deployment counts its templates.
const REVISION: &str = "deployment.kubernetes.io/revision";

impl ReplicaSet {
    /// Which template of its Deployment it is of, counted from 1; one that is used again gets a new number.
    pub fn revision(&self) -> u64 {
        self.metadata.annotations.get(REVISION).and_then(|text| text.parse().ok()).unwrap_or_default()
    }
}

/// `v1` Pod.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Pod {
    /// `metadata`
    pub metadata: Meta,
    /// What is wanted.
    pub spec: PodSpec,
    /// What is there.
    pub status: PodStatus,
}

impl Pod {
    /// Whether it is neither terminating nor over: its ReplicaSet counts no other.
    pub fn is_active(&self) -> bool {
        self.metadata.deletion_timestamp.is_none() && !matches!(self.status.phase.as_str(), "Succeeded" | "Failed")
    }

    /// Whether it may get requests.
    pub fn is_ready(&self) -> bool {
        condition(&self.status.conditions, "Ready").is_some_and(Condition::is_true)
    }

    /// How often its containers were started again.
    pub fn restarts(&self) -> u64 {
        let containers = self.status.init_container_statuses.iter().chain(&self.status.container_statuses);
        containers.map(|container| container.restart_count).sum()
    }
}

/// `spec` of a Pod.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodSpec {
    /// Where it was put; empty before.
    pub node_name: String,
    /// Its containers.
    pub containers: Vec<Container>,
    /// Those that run before them, or beside them all the time.
    pub init_containers: Vec<Container>,
    /// Those that somebody put into the running pod (`kubectl debug`).
    pub ephemeral_containers: Vec<Container>,
}

/// One of `spec.containers`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// As it was asked for.
    pub image: String,
}

/// `status` of a Pod.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodStatus {
    /// `Pending`, `Running`, `Succeeded`, `Failed`, `Unknown`.
    pub phase: String,
    /// Why, where the kubelet ended it: `Evicted`…
    pub reason: String,
    /// A sentence on it.
    pub message: String,
    /// `PodScheduled`, `Initialized`, `ContainersReady`, `Ready`…
    pub conditions: Vec<Condition>,
    /// When the kubelet took it.
    #[serde(deserialize_with = "moment")]
    pub start_time: Option<OffsetDateTime>,
    /// Its containers.
    pub container_statuses: Vec<ContainerStatus>,
    /// Those that run before them, or beside them all the time.
    pub init_container_statuses: Vec<ContainerStatus>,
    /// Those that somebody put into the running pod (`kubectl debug`).
    pub ephemeral_container_statuses: Vec<ContainerStatus>,
}

/// One of `status.containerStatuses`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerStatus {
    /// Its name.
    pub name: String,
    /// The image, as the runtime names it.
    pub image: String,
    /// `REPOSITORY@sha256:…`, once it is pulled.
    #[serde(rename = "imageID")]
    pub image_id: String,
    /// Whether its readiness probe holds.
    pub ready: bool,
    /// How often it was started again.
    pub restart_count: u64,
    /// What it does now.
    pub state: ContainerState,
    /// How it ended before.
    pub last_state: ContainerState,
}

/// `state` and `lastState`: one of the three is there, or none.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ContainerState {
    /// It is not started.
    pub waiting: Option<Waiting>,
    /// It runs.
    pub running: Option<Running>,
    /// It is over.
    pub terminated: Option<Terminated>,
}

/// `state.waiting`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Waiting {
    /// One word.
    pub reason: String,
    /// A sentence, where the kubelet has one.
    pub message: String,
}

/// `state.running`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Running {
    /// Since when.
    #[serde(deserialize_with = "moment")]
    pub started_at: Option<OffsetDateTime>,
}

/// `state.terminated`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Terminated {
    /// The process's; 128 and more for a signal, or where it could not be started.
    pub exit_code: i64,
    /// `Completed`, `Error`, `OOMKilled`, `StartError`…
    pub reason: String,
    /// What the container or the runtime said.
    pub message: String,
    /// When it ended.
    #[serde(deserialize_with = "moment")]
    pub finished_at: Option<OffsetDateTime>,
}

/// `v1` Event. The kubelet and the controllers count the same event up, the scheduler keeps a series of it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Event {
    /// `metadata`
    pub metadata: Meta,
    /// What it is about.
    pub involved_object: Involved,
    /// `Normal`, `Warning`.
    pub r#type: String,
    /// One word.
    pub reason: String,
    /// A sentence.
    pub message: String,
    /// How often, where it is counted up.
    pub count: u64,
    /// The first time, where it is counted up.
    #[serde(deserialize_with = "moment")]
    pub first_timestamp: Option<OffsetDateTime>,
    /// The last time, where it is counted up.
    #[serde(deserialize_with = "moment")]
    pub last_timestamp: Option<OffsetDateTime>,
    /// The first time, where it is a series.
    #[serde(deserialize_with = "moment")]
    pub event_time: Option<OffsetDateTime>,
    /// How it went on.
    pub series: Option<Series>,
}

/// `series` of an Event.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Series {
    /// How often.
    pub count: u64,
    /// The last time.
    #[serde(deserialize_with = "moment")]
    pub last_observed_time: Option<OffsetDateTime>,
}

/// `involvedObject` of an Event.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Involved {
    /// `Pod`, `ReplicaSet`…
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// `spec.containers{NAME}`, where it is about a container.
    pub field_path: String,
}

impl Involved {
    /// The container that it is about; empty where it is about the whole.
    pub fn container(&self) -> &str {
        self.field_path.split_once('{').map_or("", |(_, rest)| rest.trim_end_matches('}'))
    }
}

impl Event {
    /// When it happened first.
    pub fn first(&self) -> Option<OffsetDateTime> {
        self.first_timestamp.or(self.event_time).or(self.metadata.creation_timestamp)
    }

    /// When it happened last.
    pub fn last(&self) -> Option<OffsetDateTime> {
        let observed = self.series.as_ref().and_then(|series| series.last_observed_time);
        observed.or(self.last_timestamp).or(self.event_time).or(self.metadata.creation_timestamp)
    }

    /// How often it happened.
    pub fn times(&self) -> u64 {
        self.series.as_ref().map_or(self.count, |series| series.count).max(1)
    }
}

/// A time as the API writes it, with `null` where there is none yet.
fn moment<'de, D: Deserializer<'de>>(from: D) -> Result<Option<OffsetDateTime>, D::Error> {
    let text = Option::<String>::deserialize(from)?;
    Ok(text.and_then(|text| OffsetDateTime::parse(&text, &Rfc3339).ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use time::macros::datetime;

    #[test]
    fn what_an_object_lacks_is_nothing() {
        let pod: Pod =
            serde_json::from_value(json!({"metadata": {"name": "a", "creationTimestamp": null}, "status": {}}))
                .unwrap();
        assert!(pod.is_active() && !pod.is_ready() && pod.restarts() == 0);
        let gone: Pod =
            serde_json::from_value(json!({"metadata": {"deletionTimestamp": "2026-03-01T10:00:00Z"}})).unwrap();
        assert!(!gone.is_active());
        assert!(!serde_json::from_value::<Pod>(json!({"status": {"phase": "Failed"}})).unwrap().is_active());
    }

    #[test]
    fn an_event_is_counted_up_or_a_series() {
        let at = |second: u8| datetime!(2026-03-01 10:00:00 UTC) + time::Duration::seconds(i64::from(second));
        for (event, first, last, times, container) in [
            (
                json!({"count": 3, "firstTimestamp": "2026-03-01T10:00:01Z", "lastTimestamp": "2026-03-01T10:00:09Z",
                       "eventTime": null, "involvedObject": {"fieldPath": "spec.initContainers{migrate}"}}),
                at(1),
                at(9),
                3,
                "migrate",
            ),
            (
                json!({"eventTime": "2026-03-01T10:00:02.000000Z", "firstTimestamp": null, "lastTimestamp": null,
                       "series": {"count": 4, "lastObservedTime": "2026-03-01T10:00:08.000000Z"}}),
                at(2),
                at(8),
                4,
                "",
            ),
            (json!({"eventTime": "2026-03-01T10:00:02.000000Z", "firstTimestamp": null}), at(2), at(2), 1, ""),
        ] {
            let read: Event = serde_json::from_value(event.clone()).unwrap();
            assert_eq!((read.first(), read.last(), read.times()), (Some(first), Some(last), times), "{event}");
            assert_eq!(read.involved_object.container(), container);
        }
    }
}
