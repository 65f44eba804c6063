//! What is wrong with one pod: no node, no volume, one of its containers, or that it is not ready.

use time::OffsetDateTime;

use super::{Cause, Fault, Kind, View, containers};
use crate::release::object::{Condition, Pod, condition};

/// Everything that keeps a pod from serving.
pub(super) fn faults(view: &View<'_>, pod: &Pod) -> Vec<Fault> {
    if let Some(fault) = not_scheduled(view, pod) {
        return vec![fault];
    }
    let status = &pod.status;
    let inits = status.init_container_statuses.iter().map(|status| (status, true));
    let all = inits.chain(status.container_statuses.iter().map(|status| (status, false)));
    let mut faults: Vec<Fault> =
        all.filter_map(|(status, is_init)| containers::fault(view, pod, status, is_init)).collect();
    faults.extend(not_mounted(view, pod));
    if faults.is_empty() {
        faults.extend(not_ready(view, pod).or_else(|| not_started(view, pod)));
    }
    faults
}

fn not_scheduled(view: &View<'_>, pod: &Pod) -> Option<Fault> {
    if !pod.spec.node_name.is_empty() {
        return None;
    }
    let Some(scheduled) = condition(&pod.status.conditions, "PodScheduled").filter(|scheduled| scheduled.is_false())
    else {
        return Some(Fault::waiting(of_pod(view, pod, Kind::Starting, "Pending", "", pod.metadata.creation_timestamp)));
    };
    let Condition { reason, message, last_transition_time, .. } = scheduled;
    let cause = of_pod(view, pod, Kind::Unschedulable, reason, message, *last_transition_time);
    // A gate is somebody's wish; all else is the scheduler's finding.
    let is_gated = reason == "SchedulingGated";
    Some(if is_gated { Fault::waiting(cause) } else { Fault::borne(cause, view.limits.unschedulable) })
}

/// A ConfigMap, a Secret or a key of one that a volume wants and that is not there. The kubelet tells it by events alone.
fn not_mounted(view: &View<'_>, pod: &Pod) -> Option<Fault> {
    let statuses = &pod.status.container_statuses;
    let has_begun = statuses.iter().chain(&pod.status.init_container_statuses).any(|status| {
        status.state.waiting.is_none() || status.restart_count > 0 || status.last_state.terminated.is_some()
    });
    if has_begun {
        return None;
    }
    let newest = view.events(pod).filter(|event| event.reason == "FailedMount").max_by_key(|event| event.last())?;
    let is_mounted = view.events(pod).any(|event| {
        matches!(event.reason.as_str(), "Pulling" | "Pulled" | "Created") && event.last() >= newest.last()
    });
    let message = &newest.message;
    let names = ["secret \"", "configmap \"", "non-existent secret key", "non-existent config key"];
    let is_missing = names.iter().any(|name| message.contains(name))
        && (message.contains("not found") || message.contains("non-existent"))
        // Made by a controller a moment after the namespace.
        && !message.contains("kube-root-ca.crt");
    if is_mounted || !is_missing {
        return None;
    }
    Some(Fault::at_once(of_pod(view, pod, Kind::Config, "FailedMount", message, newest.first())))
}

/// All containers run, and the pod gets no requests.
fn not_ready(view: &View<'_>, pod: &Pod) -> Option<Fault> {
    let statuses = &pod.status.container_statuses;
    let runs = !statuses.is_empty() && statuses.iter().all(|status| status.state.running.is_some());
    if !runs || pod.is_ready() {
        return None;
    }
    let started = statuses.iter().filter_map(|status| status.state.running.as_ref()?.started_at).max();
    let ready = condition(&pod.status.conditions, "Ready");
    // One that was ready and is not any more gets the same time again.
    let since = started.max(ready.and_then(|ready| ready.last_transition_time));
    let container = statuses.iter().find(|status| !status.ready).map(|status| status.name.clone()).unwrap_or_default();
    let probe = view.events(pod).filter(|event| event.reason == "Unhealthy").max_by_key(|event| event.last());
    let told = probe.map(|event| event.message.as_str());
    let message = told.or(ready.map(|ready| ready.message.as_str())).unwrap_or_default();
    let cause = Cause { container, ..of_pod(view, pod, Kind::NotReady, "NotReady", message, since) };
    Some(Fault::borne(cause, view.limits.ready))
}

/// Something is on its way: a volume, a sandbox, an image.
fn not_started(view: &View<'_>, pod: &Pod) -> Option<Fault> {
    if pod.is_ready() {
        return None;
    }
    let statuses = pod.status.init_container_statuses.iter().chain(&pod.status.container_statuses);
    let unfinished =
        statuses.filter(|status| status.state.terminated.as_ref().is_none_or(|terminated| terminated.exit_code != 0));
    let first = unfinished.into_iter().next();
    let waiting = first.and_then(|status| status.state.waiting.as_ref()).map(|waiting| waiting.reason.as_str());
    let runs = first.is_some_and(|status| status.state.running.is_some());
    let reason = match waiting {
        _ if runs => "Initializing",
        Some(reason) if !reason.is_empty() => reason,
        _ => "ContainerCreating",
    };
    let since = pod.status.start_time.or(pod.metadata.creation_timestamp);
    let container = first.map(|status| status.name.clone()).unwrap_or_default();
    Some(Fault::waiting(Cause { container, ..of_pod(view, pod, Kind::Starting, reason, "", since) }))
}

/// A cause that is about a pod.
pub(super) fn of_pod(
    view: &View<'_>,
    pod: &Pod,
    kind: Kind,
    reason: &str,
    message: &str,
    since: Option<OffsetDateTime>,
) -> Cause {
    let cause = view.cause(kind, pod.metadata.name.clone(), reason, message);
    Cause { since: since.unwrap_or(view.now), ..cause }
}
