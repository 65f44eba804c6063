//! What runs in an environment, since when and by whom, and whether that was verified. Pure; who asks is `tasks/status.rs`.

use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::autoscaler::{Autoscaler, autoscaler, scales};
use super::journal::{Entry, Journal, Outcome};
use super::manifests::{TEMPLATE, TRAFFIC};
use super::object::{Deployment, Pod, ReplicaSet};
use super::quantity;
use super::track::Track;
use crate::config::Release;

/// The version of the format.
pub const SCHEMA: &str = "forge-status/1";

/// What the cluster told.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// The releases.
    pub journal: Journal,
    /// The Service in front of the workload.
    pub service: Option<Value>,
    /// All Deployments.
    pub deployments: Vec<Deployment>,
    /// All ReplicaSets.
    pub replica_sets: Vec<ReplicaSet>,
    /// All pods.
    pub pods: Vec<Pod>,
    /// All autoscalers.
    pub autoscalers: Vec<Value>,
    /// What each pod uses.
    pub usage: Vec<Value>,
    /// Why that is not known; empty where it is.
    pub usage_missing: String,
}

/// What runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Overview {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The environment's name.
    pub environment: String,
    /// Where it lies.
    pub namespace: String,
    /// What the Service leads to; absent where that is nothing.
    pub serving: Option<Serving>,
    /// The newest release, where it is not the one that serves.
    pub newest: Option<Newest>,
    /// The pods of the workload, of every track and template.
    pub pods: Vec<Row>,
    /// Why CPU and memory are not known; empty where they are.
    pub usage_missing: String,
    /// What moves the number of pods.
    pub autoscaler: Option<Autoscaler>,
    /// How it differs from the objects of its release.
    pub drift: Drift,
}

/// The version that gets the requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Serving {
    /// The Deployment.
    pub workload: String,
    /// Which of the Deployments of the workload it is.
    pub track: String,
    /// How it got there; empty where the journal does not know it.
    pub strategy: String,
    /// As the container has it.
    pub image: String,
    /// Its digest.
    pub digest: String,
    /// The commit that it is of.
    pub commit: String,
    /// The hash of its pods' template.
    pub template: String,
    /// The id of its release; empty where the journal does not know it.
    pub release: String,
    /// Since when, RFC 3339.
    pub since: String,
    /// Who released it.
    pub by: String,
    /// Who approved it.
    pub approved_by: String,
    /// The address of the workflow's run.
    pub run: String,
    /// The failed release after which it was brought back.
    pub brought_back_after: String,
    /// `verified`, `not_verified`, `failed`, `running`, `interrupted`, `unknown`; `shared` where users reach a canary as well,
    /// which nobody has verified.
    pub verification: String,
    /// How many pods are wanted, and how many are of this template, ready and available.
    pub replicas: [i64; 4],
}

/// A release that does not serve.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Newest {
    /// Its id.
    pub release: String,
    /// What was to be released.
    pub image: String,
    /// What became of it.
    pub outcome: String,
    /// Where it stands, or stood.
    pub step: String,
    /// Why.
    pub reason: String,
}

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Its Deployment.
    pub workload: String,
    /// Whether it is of the Deployment's newest template.
    pub newest: bool,
    /// Whether it gets requests.
    pub ready: bool,
    /// What it does, or waits for.
    pub state: String,
    /// How often its containers were started again.
    pub restarts: u64,
    /// How old it is.
    pub age_s: i64,
    /// Where it is.
    pub node: String,
    /// Cores in use.
    pub cpu: Option<f64>,
    /// Bytes in use.
    pub memory: Option<f64>,
}

/// How what runs differs from the objects of its release.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Drift {
    /// Why it is not known; empty where it is.
    pub unknown: String,
    /// The lines that differ; none where nothing does.
    pub lines: Vec<String>,
}

/// What was told → what runs, drift apart.
pub fn overview(environment: &str, release: &Release, told: &Told, now: OffsetDateTime) -> Overview {
    let serving = serving(release, told);
    let workload = serving.as_ref().map_or(release.workload.as_str(), |serving| serving.workload.as_str());
    Overview {
        schema: SCHEMA,
        environment: environment.to_owned(),
        namespace: release.namespace.clone(),
        newest: told.journal.entries.last().and_then(|entry| newest(entry, serving.as_ref())),
        pods: rows(release, told, now),
        usage_missing: told.usage_missing.clone(),
        autoscaler: told.autoscalers.iter().find(|scaler| scales(scaler, workload)).map(autoscaler),
        drift: Drift::default(),
        serving,
    }
}

/// The release whose template serves, if the journal knows it.
fn entry<'a>(journal: &'a Journal, template: &str, digest: &str) -> Option<&'a Entry> {
    let is_it = |entry: &&Entry| !template.is_empty() && entry.template == template && entry.digest() == digest;
    journal.entries.iter().rev().find(is_it)
}

fn serving(release: &Release, told: &Told) -> Option<Serving> {
    let traffic = told.service.as_ref().and_then(|service| service["spec"]["selector"][TRAFFIC].as_str());
    let track = Track::of(traffic.unwrap_or_default());
    let workload = track.of_workload(&release.workload);
    let deployment = told.deployments.iter().find(|deployment| deployment.metadata.name == workload)?;
    let template = &deployment.spec.template;
    let containers = &template.spec.containers;
    let container = containers.iter().find(|container| container.name == release.container);
    let image = container.map(|container| container.image.clone()).unwrap_or_default();
    let digest = image.split_once('@').map_or("", |(_, digest)| digest).to_owned();
    let template = template.metadata.labels.get(TEMPLATE).cloned().unwrap_or_default();
    let entry = entry(&told.journal, &template, &digest);
    let restored = entry.and_then(|entry| {
        let after = |later: &&Entry| !later.ended.is_empty() && later.restored == entry.id;
        told.journal.entries.iter().rev().find(after)
    });
    let created = deployment.metadata.creation_timestamp.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default();
    let of_entry = |field: fn(&Entry) -> &String| entry.map(|entry| field(entry).clone()).unwrap_or_default();
    let since = restored.map(|later| later.ended.clone()).or(entry.map(|entry| entry.started.clone()));
    let verification = entry.map_or("unknown", |entry| word(entry.outcome));
    let status = &deployment.status;
    Some(Serving {
        workload,
        track: track.name().to_owned(),
        strategy: of_entry(|entry| &entry.strategy),
        commit: of_entry(|entry| &entry.commit),
        release: of_entry(|entry| &entry.id),
        since: since.unwrap_or(created),
        by: of_entry(|entry| &entry.who),
        approved_by: of_entry(|entry| &entry.approved_by),
        run: of_entry(|entry| &entry.run),
        brought_back_after: restored.map(|later| later.id.clone()).unwrap_or_default(),
        verification: if has_canary(release, told) { "shared" } else { verification }.to_owned(),
        replicas: [
            deployment.spec.replicas.unwrap_or(1),
            status.updated_replicas,
            status.ready_replicas,
            status.available_replicas,
        ],
        image,
        digest,
        template,
    })
}

/// Whether pods of a canary are ready: they get a share of the users.
fn has_canary(release: &Release, told: &Told) -> bool {
    let name = Track::Canary.of_workload(&release.workload);
    told.deployments.iter().any(|one| one.metadata.name == name && one.status.ready_replicas > 0)
}

fn newest(entry: &Entry, serving: Option<&Serving>) -> Option<Newest> {
    let serves = serving.is_some_and(|serving| serving.release == entry.id);
    (!serves).then(|| Newest {
        release: entry.id.clone(),
        image: entry.image.clone(),
        outcome: word(entry.outcome).to_owned(),
        step: entry.step().name().to_owned(),
        reason: entry.reason.clone(),
    })
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Running => "running",
        Outcome::Verified => "verified",
        Outcome::NotVerified => "not_verified",
        Outcome::Failed => "failed",
        Outcome::Interrupted => "interrupted",
    }
}

/// The names of all Deployments that the workload may be.
pub fn workloads(release: &Release) -> Vec<String> {
    let tracks = [Track::Stable, Track::Blue, Track::Green, Track::Canary, Track::Baseline];
    tracks.into_iter().map(|track| track.of_workload(&release.workload)).collect()
}

fn rows(release: &Release, told: &Told, now: OffsetDateTime) -> Vec<Row> {
    let names = workloads(release);
    let mut rows = Vec::new();
    for deployment in told.deployments.iter().filter(|deployment| names.contains(&deployment.metadata.name)) {
        let newest = deployment.spec.template.metadata.labels.get(TEMPLATE);
        for set in told.replica_sets.iter().filter(|set| set.metadata.is_owned_by(&deployment.metadata.uid)) {
            let is_newest = newest.is_some() && set.metadata.labels.get(TEMPLATE) == newest;
            let pods = told.pods.iter().filter(|pod| pod.metadata.is_owned_by(&set.metadata.uid));
            rows.extend(pods.map(|pod| row(deployment, is_newest, pod, &told.usage, now)));
        }
    }
    rows.sort_by(|a: &Row, b: &Row| (&a.workload, &a.name).cmp(&(&b.workload, &b.name)));
    rows
}

fn row(deployment: &Deployment, newest: bool, pod: &Pod, usage: &[Value], now: OffsetDateTime) -> Row {
    let name = pod.metadata.name.clone();
    let containers = usage.iter().find(|used| used["metadata"]["name"] == *name);
    let containers = containers.and_then(|used| used["containers"].as_array());
    let sum = |resource: &str| {
        let used = containers?.iter().filter_map(|container| quantity::parse(container["usage"][resource].as_str()?));
        Some(used.sum())
    };
    let age_s = pod.metadata.creation_timestamp.map_or(0, |at| (now - at).whole_seconds().max(0));
    Row {
        workload: deployment.metadata.name.clone(),
        newest,
        ready: pod.is_ready(),
        state: state(pod),
        restarts: pod.restarts(),
        age_s,
        node: pod.spec.node_name.clone(),
        cpu: sum("cpu"),
        memory: sum("memory"),
        name,
    }
}

/// In one word, as `kubectl get pods` has it.
fn state(pod: &Pod) -> String {
    if pod.metadata.deletion_timestamp.is_some() {
        return "Terminating".to_owned();
    }
    let statuses = pod.status.init_container_statuses.iter().chain(&pod.status.container_statuses);
    let reasons = statuses.filter_map(|status| {
        let waiting = status.state.waiting.as_ref().map(|waiting| waiting.reason.clone());
        let ended = status.state.terminated.as_ref().filter(|ended| ended.exit_code != 0);
        waiting.or(ended.map(|ended| ended.reason.clone()))
    });
    // `PodInitializing` waits for the container that says what is wrong.
    let reason = reasons.filter(|reason| !reason.is_empty()).min_by_key(|reason| reason == "PodInitializing");
    let pod_reason = Some(pod.status.reason.clone()).filter(|reason| !reason.is_empty());
    crate::text::clean(&reason.or(pod_reason).unwrap_or_else(|| pod.status.phase.clone()))
}

#[cfg(test)]
mod tests {
    use super::super::manifests::testing::release;
    use super::*;
    use serde_json::json;
    use time::macros::datetime;

    fn entry(id: &str, template: &str, outcome: Outcome) -> Entry {
        Entry {
            id: id.to_owned(),
            template: template.to_owned(),
            image: format!("r/i@sha256:{template}"),
            who: "kim@host".to_owned(),
            started: format!("started {id}"),
            ended: format!("ended {id}"),
            outcome,
            ..Entry::default()
        }
    }

    fn deployment(name: &str, uid: &str, template: &str) -> Value {
        json!({
            "metadata": {"name": name, "uid": uid, "creationTimestamp": "2026-03-01T09:00:00Z"},
            "spec": {"replicas": 2, "template": {
                "metadata": {"labels": {TEMPLATE: template}},
                "spec": {"containers": [{"name": "side", "image": "x"}, {"name": "app", "image": format!("r/i@sha256:{template}")}]},
            }},
            "status": {"updatedReplicas": 2, "readyReplicas": 1, "availableReplicas": 1},
        })
    }

    fn told(entries: Vec<Entry>, traffic: &str, deployments: Vec<Value>) -> Told {
        let mut journal = Journal::default();
        entries.into_iter().for_each(|entry| journal.put(entry));
        Told {
            journal,
            service: Some(json!({"spec": {"selector": {TRAFFIC: traffic}}})),
            deployments: deployments.into_iter().map(|one| serde_json::from_value(one).unwrap()).collect(),
            usage_missing: "no metrics-server".to_owned(),
            ..Told::default()
        }
    }

    const NOW: OffsetDateTime = datetime!(2026-03-01 10:00:00 UTC);

    #[test]
    fn what_serves_is_what_the_service_leads_to_and_the_journal_says_whose_it_is() {
        let both = || vec![deployment("forge-blue", "b", "t1"), deployment("forge-green", "g", "t2")];
        let two = || vec![entry("1", "t1", Outcome::Verified), entry("2", "t2", Outcome::Verified)];
        let failed = Entry { restored: "1".to_owned(), ..entry("2", "t2", Outcome::Failed) };
        for (what, told, expected) in [
            ("green", told(two(), "green", both()), Some(("forge-green", "2", "verified", "started 2", false))),
            ("the older one", told(two(), "blue", both()), Some(("forge-blue", "1", "verified", "started 1", true))),
            (
                "brought back",
                told(vec![entry("1", "t1", Outcome::Verified), failed], "blue", both()),
                Some(("forge-blue", "1", "verified", "ended 2", true)),
            ),
            (
                "by another hand",
                told(vec![], "", vec![deployment("forge", "s", "t9")]),
                Some(("forge", "", "unknown", "2026-03-01T09:00:00Z", false)),
            ),
            ("nothing", told(two(), "", both()), None),
            (
                "beside a canary",
                told(two(), "green", [both(), vec![deployment("forge-canary", "c", "t3")]].concat()),
                Some(("forge-green", "2", "shared", "started 2", false)),
            ),
        ] {
            let found = overview("production", &release(), &told, NOW);
            let serving = found.serving.as_ref().map(|serving| {
                let Serving { workload, release, verification, since, .. } = serving;
                (workload.as_str(), release.as_str(), verification.as_str(), since.as_str(), found.newest.is_some())
            });
            assert_eq!(serving, expected, "{what}");
        }
        let found = overview("production", &release(), &told(two(), "green", both()), NOW).serving.unwrap();
        assert_eq!((found.digest.as_str(), found.replicas), ("sha256:t2", [2, 2, 1, 1]));
    }

    #[test]
    fn a_pod_shows_what_it_waits_for_and_what_it_uses() {
        let mut told = told(vec![], "", vec![deployment("forge", "d", "t2"), deployment("other", "o", "t2")]);
        let set = |uid: &str, owner: &str, template: &str| json!({"metadata": {"uid": uid, "labels": {TEMPLATE: template}, "ownerReferences": [{"uid": owner}]}});
        let sets = json!([set("1", "d", "t1"), set("2", "d", "t2"), set("3", "o", "t2")]);
        told.replica_sets = serde_json::from_value(sets).unwrap();
        let pod = |name: &str, owner: &str, status: Value| {
            json!({"metadata": {"name": name, "creationTimestamp": "2026-03-01T09:59:00Z", "ownerReferences": [{"uid": owner}]},
                   "spec": {"nodeName": "n1"}, "status": status})
        };
        let waiting = json!({"phase": "Pending",
            "initContainerStatuses": [{"restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}],
            "containerStatuses": [{"state": {"waiting": {"reason": "PodInitializing"}}}]});
        let ready = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"restartCount": 1, "state": {"running": {}}}]});
        told.pods =
            serde_json::from_value(json!([pod("a", "2", waiting), pod("b", "1", ready), pod("c", "3", json!({}))]))
                .unwrap();
        told.usage = vec![json!({"metadata": {"name": "b"}, "containers": [
            {"usage": {"cpu": "250m", "memory": "64Mi"}}, {"usage": {"cpu": "1000000n", "memory": "1024Ki"}}]})];
        let rows = overview("production", &release(), &told, NOW).pods;
        let shown: Vec<String> = rows
            .iter()
            .map(|row| {
                format!("{} {} {} {} {} {}", row.name, row.newest, row.ready, row.state, row.restarts, row.age_s)
            })
            .collect();
        assert_eq!(shown, ["a true false CrashLoopBackOff 2 60", "b false true Running 1 60"]);
        assert_eq!(rows[0].cpu, None);
        assert_eq!(rows[1].cpu.map(quantity::millicores).as_deref(), Some("251m"));
        assert_eq!(rows[1].memory.map(quantity::mebibytes).as_deref(), Some("65 MiB"));
    }
}
