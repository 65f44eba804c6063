//! Pods of the Deployment that serves → what is wrong with them: not ready, not live, waiting, started again. Pure.
//!
//! No pod at all is the worst of it, and never "0 of 0 are ready".

use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::release::object::{Condition, ContainerStatus, Deployment, Pod, ReplicaSet};
use crate::verdict::{Finding, Severity};

/// What is borne.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How often it is looked at: restarts count that lie within [`LOOK_BACK`] of it.
    pub interval: Duration,
    /// So many of them of one pod.
    pub restarts: u64,
    /// How long a new pod may take until it is ready.
    pub starting: Duration,
}

/// How many intervals a restart is seen for. A schedule begins late, leaves a run out, and a load of ours at the end of one
/// run may end a container that only the next run can see; what is seen twice makes no second incident.
const LOOK_BACK: u32 = 2;

/// Reasons for which every container waits at first.
const AT_FIRST: [&str; 3] = ["", "ContainerCreating", "PodInitializing"];

/// Conditions of a pod, the one that the others come from first.
const CONDITIONS: [&str; 4] = ["PodScheduled", "Initialized", "ContainersReady", "Ready"];

/// The pods of a Deployment, of all its templates; of others that bear the same labels none.
pub fn of(deployment: &Deployment, sets: &[ReplicaSet], pods: &[Pod]) -> Vec<Pod> {
    let sets = sets.iter().filter(|set| set.metadata.is_owned_by(&deployment.metadata.uid));
    let own = sets.flat_map(|set| pods.iter().filter(|pod| pod.metadata.is_owned_by(&set.metadata.uid)));
    own.cloned().collect()
}

/// Everything that is wrong with a Deployment and its pods, which may be of any age and may be terminating.
pub fn assess(deployment: &Deployment, pods: &[Pod], bounds: &Bounds, now: OffsetDateTime) -> Vec<Finding> {
    let name = &deployment.metadata.name;
    let wanted = deployment.spec.replicas.unwrap_or(1);
    let active: Vec<&Pod> = pods.iter().filter(|pod| pod.is_active()).collect();
    let ready = active.iter().filter(|pod| pod.is_ready()).count();
    let starting = active.iter().filter(|pod| !pod.is_ready() && is_young(pod, bounds, now)).count();
    let mut findings = Vec::new();
    if wanted == 0 {
        let message = format!("`{name}` is scaled to 0 pods, and the Service leads to it");
        findings.push(Finding::new("scaled-to-zero", Severity::Critical, message));
    } else if active.is_empty() {
        let message = format!("`{name}` wants {wanted} pods and has none");
        findings.push(Finding::new("no-pod", Severity::Critical, message));
    } else if ready == 0 {
        let message = format!("none of the {} pods of `{name}` is ready", active.len());
        findings.push(Finding::new("no-ready-pod", Severity::Critical, message));
    } else if ready + starting < usize::try_from(wanted).unwrap_or_default() {
        let message = format!("{ready} of {wanted} wanted pods of `{name}` are ready");
        findings.push(Finding::new("too-few-pods", Severity::High, message));
    }
    for pod in active {
        findings.extend(of_pod(pod, bounds, now));
    }
    findings
}

fn of_pod(pod: &Pod, bounds: &Bounds, now: OffsetDateTime) -> Vec<Finding> {
    let name = &pod.metadata.name;
    let mut findings: Vec<Finding> = statuses(pod).filter_map(|status| halted(name, status)).collect();
    if findings.is_empty() && !pod.is_ready() && !is_young(pod, bounds, now) {
        let message = format!("the pod `{name}` is not ready{}", why(pod));
        findings.push(Finding::new("not-ready", Severity::High, message));
    }
    let since = now - bounds.interval * LOOK_BACK;
    let recent: Vec<(&ContainerStatus, OffsetDateTime)> =
        statuses(pod).filter_map(|status| Some((status, last_end(status).filter(|end| *end > since)?))).collect();
    // Kubernetes keeps the last end of a container and a count. Of an older pod only that last one is known to lie within.
    let is_within = pod.metadata.creation_timestamp.is_some_and(|at| at > since);
    let restarts: u64 = recent.iter().map(|(status, _)| if is_within { status.restart_count } else { 1 }).sum();
    if restarts > bounds.restarts {
        findings.extend(recent.iter().map(|(status, end)| restarted(name, status, *end, bounds)));
    }
    findings
}

fn statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    pod.status.init_container_statuses.iter().chain(&pod.status.container_statuses)
}

/// A container that waits for what does not come by itself, or that has ended.
fn halted(pod: &str, status: &ContainerStatus) -> Option<Finding> {
    let container = &status.name;
    if let Some(waiting) = status.state.waiting.as_ref().filter(|waiting| !AT_FIRST.contains(&&*waiting.reason)) {
        let more = waiting.message.lines().next().map(|line| format!(": {line}")).unwrap_or_default();
        let message = format!("the container `{container}` of the pod `{pod}` waits: {}{more}", waiting.reason);
        return Some(Finding::new(&waiting.reason, Severity::High, message));
    }
    let ended = status.state.terminated.as_ref().filter(|ended| ended.exit_code != 0)?;
    let message = format!(
        "the container `{container}` of the pod `{pod}` does not live: {} (exit code {})",
        ended.reason, ended.exit_code
    );
    Some(Finding::new("not-live", Severity::High, message))
}

/// When the container ended last; one that was started again only.
fn last_end(status: &ContainerStatus) -> Option<OffsetDateTime> {
    let ended = status.last_state.terminated.as_ref().or(status.state.terminated.as_ref())?;
    (status.restart_count > 0).then_some(ended.finished_at?)
}

fn restarted(pod: &str, status: &ContainerStatus, end: OffsetDateTime, bounds: &Bounds) -> Finding {
    let ended = status.last_state.terminated.as_ref().or(status.state.terminated.as_ref());
    let how = ended.map(|ended| format!(" by {} (exit code {})", ended.reason, ended.exit_code)).unwrap_or_default();
    let message = format!(
        "the container `{}` of the pod `{pod}` was started again within {} min: it ended at {}{how}; {} restarts in all",
        status.name,
        (bounds.interval * LOOK_BACK).as_secs() / 60,
        end.format(&Rfc3339).unwrap_or_default(),
        status.restart_count
    );
    Finding::new("restarted", Severity::High, message)
}

fn is_young(pod: &Pod, bounds: &Bounds, now: OffsetDateTime) -> bool {
    pod.metadata.creation_timestamp.is_some_and(|at| now - at < bounds.starting)
}

/// The first condition that does not hold, in its own words.
fn why(pod: &Pod) -> String {
    let fails = |name: &&str| pod.status.conditions.iter().find(|one| one.r#type == **name && !one.is_true());
    let first: Option<&Condition> = CONDITIONS.iter().find_map(fails);
    first.map(|one| format!(": {}: {} {}", one.r#type, one.reason, one.message)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-03-01 12:00:00 UTC);
    const BOUNDS: Bounds =
        Bounds { interval: Duration::from_secs(6 * 3600), restarts: 0, starting: Duration::from_secs(120) };

    fn pod(created: &str, ready: bool, container: Value) -> Value {
        let status = if ready { "True" } else { "False" };
        let mut container = container;
        container["name"] = json!("app");
        json!({
            "metadata": {"name": "p", "creationTimestamp": created},
            "status": {
                "phase": "Running",
                "conditions": [{"type": "PodScheduled", "status": "True"},
                               {"type": "Ready", "status": status, "reason": "ContainersNotReady", "message": "app"}],
                "containerStatuses": [container],
            },
        })
    }

    fn rules(wanted: i64, pods: &[Value], bounds: &Bounds) -> Vec<String> {
        let deployment = json!({"metadata": {"name": "forge"}, "spec": {"replicas": wanted}});
        let pods: Vec<Pod> = pods.iter().map(|pod| serde_json::from_value(pod.clone()).unwrap()).collect();
        let found = assess(&serde_json::from_value(deployment).unwrap(), &pods, bounds, NOW);
        found.into_iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn pods_are_well_by_what_they_do_and_not_by_a_share() {
        let runs = json!({"state": {"running": {}}});
        let well = || pod("2026-03-01T09:00:00Z", true, runs.clone());
        let old = || pod("2026-03-01T09:00:00Z", false, runs.clone());
        let new = |state: Value| pod("2026-03-01T11:59:00Z", false, json!({"state": state}));
        let waits = |reason: &str| json!({"waiting": {"reason": reason, "message": "why"}});
        let mut going = old();
        going["metadata"]["deletionTimestamp"] = json!("2026-03-01T11:59:30Z");
        let mut evicted = old();
        evicted["status"]["phase"] = json!("Failed");
        for (wanted, pods, expected) in [
            (2, vec![well(), well()], vec![]),
            // Nothing is never "0 of 0".
            (0, vec![], vec!["scaled-to-zero"]),
            (2, vec![], vec!["no-pod"]),
            (1, vec![going.clone()], vec!["no-pod"]),
            (1, vec![well(), going, evicted], vec![]),
            (2, vec![well()], vec!["too-few-pods"]),
            (2, vec![well(), old()], vec!["too-few-pods", "not-ready"]),
            (1, vec![old()], vec!["no-ready-pod", "not-ready"]),
            // A pod of a rollout, or of an autoscaler, that comes up.
            (2, vec![well(), new(waits("ContainerCreating"))], vec![]),
            (1, vec![new(waits("ContainerCreating"))], vec!["no-ready-pod"]),
            (2, vec![well(), new(waits("ImagePullBackOff"))], vec!["ImagePullBackOff"]),
            (2, vec![well(), new(json!({"terminated": {"exitCode": 1, "reason": "Error"}}))], vec!["not-live"]),
            (2, vec![well(), new(json!({"terminated": {"exitCode": 0, "reason": "Completed"}}))], vec![]),
        ] {
            assert_eq!(rules(wanted, &pods, &BOUNDS), expected, "{wanted} {pods:?}");
        }
    }

    #[test]
    fn a_restart_counts_while_it_is_of_the_last_two_intervals() {
        let again = |count: u64, at: &str, reason: &str| {
            let last = json!({"terminated": {"exitCode": 137, "reason": reason, "finishedAt": at}});
            json!({"state": {"running": {}}, "restartCount": count, "lastState": last})
        };
        for (created, container, borne, expected) in [
            // A count alone says nothing of today.
            ("2026-02-01T00:00:00Z", again(40, "2026-02-28T00:00:00Z", "Error"), 0, vec![]),
            ("2026-02-01T00:00:00Z", again(40, "2026-03-01T06:00:01Z", "OOMKilled"), 0, vec!["restarted"]),
            // The load of the last run came after its look at the pods, and this run began late.
            ("2026-02-01T00:00:00Z", again(40, "2026-03-01T05:37:00Z", "OOMKilled"), 0, vec!["restarted"]),
            ("2026-02-01T00:00:00Z", again(40, "2026-03-01T00:00:01Z", "OOMKilled"), 0, vec!["restarted"]),
            ("2026-02-01T00:00:00Z", again(40, "2026-03-01T00:00:00Z", "OOMKilled"), 0, vec![]),
            ("2026-02-01T00:00:00Z", again(40, "2026-03-01T11:00:00Z", "OOMKilled"), 1, vec![]),
            ("2026-03-01T09:00:00Z", again(2, "2026-03-01T11:00:00Z", "Error"), 1, vec!["restarted"]),
            ("2026-03-01T01:00:00Z", again(2, "2026-03-01T02:00:00Z", "Error"), 1, vec!["restarted"]),
            ("2026-03-01T09:00:00Z", again(2, "2026-03-01T11:00:00Z", "Error"), 2, vec![]),
        ] {
            let bounds = Bounds { restarts: borne, ..BOUNDS };
            let found = rules(1, &[pod(created, true, container.clone())], &bounds);
            assert_eq!(found, expected, "{created} {container} {borne}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_in_the_clusters_words() {
        let crashed = json!({
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s\nmore"}}, "restartCount": 3,
            "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled", "finishedAt": "2026-03-01T11:00:00Z"}},
        });
        let pods = [serde_json::from_value(pod("2026-03-01T09:00:00Z", false, crashed)).unwrap()];
        let deployment = json!({"metadata": {"name": "forge"}, "spec": {"replicas": 1}});
        let found = assess(&serde_json::from_value(deployment).unwrap(), &pods, &BOUNDS, NOW);
        let messages: Vec<&str> = found.iter().map(|finding| finding.message.as_str()).collect();
        assert_eq!(
            messages,
            [
                "none of the 1 pods of `forge` is ready",
                "the container `app` of the pod `p` waits: CrashLoopBackOff: back-off 5m0s",
                "the container `app` of the pod `p` was started again within 720 min: it ended at 2026-03-01T11:00:00Z by \
                 OOMKilled (exit code 137); 3 restarts in all",
            ]
        );
    }
}
