//! Objects as an API server shows them, and what is made of them: one table a rule, and whole stories over time.

use serde_json::{Value, json};
use time::macros::datetime;

use super::*;

const TEMPLATE: &str = "t2";

/// The second of the rollout that a test is at.
fn at(second: i64) -> OffsetDateTime {
    datetime!(2026-03-01 10:00:00 UTC) + time::Duration::seconds(second)
}

fn stamp(second: i64) -> String {
    at(second).format(&time::format_description::well_known::Rfc3339).unwrap()
}

fn limits() -> Limits {
    let seconds = Duration::from_secs;
    Limits {
        started: at(0),
        pull: seconds(120),
        unschedulable: seconds(180),
        ready: seconds(120),
        deadline: seconds(900),
    }
}

fn target() -> Target {
    Target { deployment: "forge".to_owned(), template: TEMPLATE.to_owned() }
}

fn deployment(replicas: i64, status: Value) -> Value {
    json!({
        "metadata": {"name": "forge", "uid": "d", "generation": 2},
        "spec": {"replicas": replicas, "template": {"metadata": {"labels": {TEMPLATE_LABEL: TEMPLATE}, "creationTimestamp": null}}},
        "status": status,
    })
}

fn counts(observed: i64, replicas: i64, updated: i64, ready: i64) -> Value {
    json!({"observedGeneration": observed, "replicas": replicas, "updatedReplicas": updated, "readyReplicas": ready, "availableReplicas": ready})
}

fn replica_set(uid: &str, template: &str, revision: &str) -> Value {
    json!({"metadata": {
        "name": format!("forge-{uid}"), "uid": uid, "labels": {TEMPLATE_LABEL: template},
        "annotations": {"deployment.kubernetes.io/revision": revision},
        "ownerReferences": [{"kind": "Deployment", "name": "forge", "uid": "d"}],
    }})
}

/// A pod of the newest ReplicaSet on a node, made in the second 1, with one container in `state`.
fn pod(state: Value) -> Value {
    let is_ready = state["ready"] == true;
    json!({
        "metadata": {"name": "forge-2-a", "uid": "p", "creationTimestamp": stamp(1), "ownerReferences": [{"kind": "ReplicaSet", "uid": "2"}]},
        "spec": {"nodeName": "n1"},
        "status": {
            "phase": "Pending", "startTime": stamp(1),
            "conditions": [
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": stamp(1), "lastProbeTime": null},
                {"type": "Ready", "status": if is_ready { "True" } else { "False" }, "lastTransitionTime": stamp(1)},
            ],
            "containerStatuses": [state],
        },
    })
}

fn waiting(reason: &str, message: &str) -> Value {
    json!({"name": "api", "restartCount": 0, "ready": false, "lastState": {}, "state": {"waiting": {"reason": reason, "message": message}}})
}

fn running(since: i64, is_ready: bool, restarts: u64) -> Value {
    let last = if restarts > 0 { json!({"terminated": ended("Error", 1, since - 1)}) } else { json!({}) };
    json!({"name": "api", "restartCount": restarts, "ready": is_ready, "lastState": last, "state": {"running": {"startedAt": stamp(since)}}})
}

fn ended(reason: &str, code: i64, second: i64) -> Value {
    json!({"reason": reason, "exitCode": code, "finishedAt": stamp(second)})
}

/// Down after its last run, with or without the kubelet saying that it waits.
fn down(reason: &str, code: i64, second: i64, restarts: u64, is_backing_off: bool) -> Value {
    let ended = json!({"terminated": ended(reason, code, second)});
    let back_off =
        json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container=api"}});
    let (state, last) = if is_backing_off { (back_off, ended) } else { (ended, json!({})) };
    json!({"name": "api", "restartCount": restarts, "ready": false, "state": state, "lastState": last})
}

fn event(reason: &str, message: &str, first: i64, last: i64) -> Value {
    json!({
        "involvedObject": {"kind": "Pod", "name": "forge-2-a", "uid": "p", "fieldPath": "spec.containers{api}"},
        "type": "Warning", "reason": reason, "message": message, "count": 2, "eventTime": null,
        "firstTimestamp": stamp(first), "lastTimestamp": stamp(last),
    })
}

fn seen(deployment: Value, pods: Vec<Value>, events: Vec<Value>) -> Seen {
    let sets = vec![replica_set("1", "t1", "1"), replica_set("2", TEMPLATE, "2")];
    Seen {
        deployment: serde_json::from_value(deployment).unwrap(),
        replica_sets: sets.into_iter().map(|set| serde_json::from_value(set).unwrap()).collect(),
        pods: pods.into_iter().map(|pod| serde_json::from_value(pod).unwrap()).collect(),
        events: events.into_iter().map(|event| serde_json::from_value(event).unwrap()).collect(),
    }
}

/// One pod in a rollout that goes on.
fn alone(pod: Value, events: Vec<Value>) -> Seen {
    seen(deployment(1, counts(2, 2, 1, 1)), vec![pod], events)
}

/// `PROGRESSING`, `complete`, or `kind reason since`.
fn word(state: &State) -> String {
    match state {
        State::Progressing(_) => "progressing".to_owned(),
        State::Complete(_) => "complete".to_owned(),
        State::Failed(cause) => {
            format!("{} {} since {}", cause.kind.name(), cause.reason, (cause.since - at(0)).whole_seconds())
        }
    }
}

fn judged(seen: &Seen, second: i64) -> String {
    word(&assess(&target(), seen, at(second), &limits()))
}

#[test]
fn complete_is_every_pod_of_the_newest_template_and_no_older_one() {
    let ready = || pod(running(5, true, 0));
    let second = || {
        let mut pod = ready();
        pod["metadata"]["uid"] = "q".into();
        pod
    };
    for (what, deployment, pods, expected) in [
        ("all there", deployment(2, counts(2, 2, 2, 2)), vec![ready(), second()], "complete"),
        ("nothing is wanted", deployment(0, counts(2, 0, 0, 0)), vec![], "progressing"),
        ("nothing is counted", deployment(1, json!({})), vec![ready()], "progressing"),
        (
            "the counts are of the generation before",
            deployment(2, counts(1, 2, 2, 2)),
            vec![ready(), second()],
            "progressing",
        ),
        ("an old pod is left", deployment(2, counts(2, 3, 2, 3)), vec![ready(), second()], "progressing"),
        ("one is not updated", deployment(2, counts(2, 2, 1, 2)), vec![ready(), second()], "progressing"),
        ("one is not ready", deployment(2, counts(2, 2, 2, 1)), vec![ready(), second()], "progressing"),
        ("the pods are not seen", deployment(2, counts(2, 2, 2, 2)), vec![ready()], "progressing"),
    ] {
        assert_eq!(judged(&seen(deployment, pods, vec![]), 60), expected, "{what}");
    }
    let mut other = deployment(1, counts(2, 1, 1, 1));
    other["spec"]["template"]["metadata"]["labels"] = json!({TEMPLATE_LABEL: "t1"});
    assert_eq!(judged(&seen(other, vec![ready()], vec![]), 60), "progressing");
    assert_eq!(judged(&Seen::default(), 60), "progressing");
    assert_eq!(judged(&Seen::default(), 900), "deadline DeadlineExceeded since 900");
}

#[test]
fn a_missing_or_refused_image_fails_at_once_and_a_stumbling_registry_is_borne() {
    let failed = |rest: &str, first, last| {
        event(
            "Failed",
            &format!("Failed to pull image \"r/a:1\": failed to resolve reference \"r/a:1\": {rest}"),
            first,
            last,
        )
    };
    let back_off = || waiting("ImagePullBackOff", "Back-off pulling image \"r/a:1\"");
    let newer = |rest: &str| {
        let start = "Back-off pulling image \"r/a:1\": ErrImagePull: failed to resolve reference \"r/a:1\": ";
        waiting("ImagePullBackOff", &format!("{start}{rest}"))
    };
    let refused = "dial tcp 10.0.0.9:443: connect: connection refused";
    for (what, state, events, second, expected) in [
        ("the state tells it", waiting("ErrImagePull", "r/a:1: not found"), vec![], 4, "image ErrImagePull since 1"),
        (
            "the event knows since when",
            waiting("ErrImagePull", "r/a:1: not found"),
            vec![failed("r/a:1: not found", 3, 3)],
            4,
            "image ErrImagePull since 3",
        ),
        (
            "the event alone tells it",
            back_off(),
            vec![failed("r/a:1: not found", 3, 3)],
            4,
            "image ImagePullBackOff since 3",
        ),
        (
            "the state tells it behind the back-off",
            newer("r/a:1: not found"),
            vec![],
            4,
            "image ImagePullBackOff since 1",
        ),
        (
            "401",
            back_off(),
            vec![failed("unexpected status: 401 Unauthorized", 3, 3)],
            4,
            "pull ImagePullBackOff since 3",
        ),
        (
            "the newest event counts",
            back_off(),
            vec![failed(refused, 3, 9), failed("r/a:1: not found", 12, 12)],
            13,
            "image ImagePullBackOff since 3",
        ),
        ("nobody knows why yet", back_off(), vec![], 60, "progressing"),
        ("borne", back_off(), vec![failed(refused, 3, 90)], 122, "progressing"),
        ("borne long enough", back_off(), vec![failed(refused, 3, 90)], 123, "pull ImagePullBackOff since 3"),
        (
            "another error in between",
            newer("unexpected EOF"),
            vec![failed(refused, 3, 90), failed("unexpected EOF", 95, 95)],
            123,
            "pull ImagePullBackOff since 3",
        ),
        (
            "a pull in between went well",
            newer(refused),
            vec![failed(refused, 3, 130), event("Pulled", "Successfully pulled image", 100, 100)],
            140,
            "progressing",
        ),
        (
            "no name",
            waiting("InvalidImageName", "couldn't parse image name"),
            vec![],
            4,
            "image InvalidImageName since 1",
        ),
        (
            "never pulled",
            waiting("ErrImageNeverPull", "Container image \"r/a:1\" is not present with pull policy of Never"),
            vec![],
            4,
            "image ErrImageNeverPull since 1",
        ),
        (
            "another pod's event",
            back_off(),
            vec![{
                let mut other = failed("r/a:1: not found", 3, 3);
                other["involvedObject"]["uid"] = "old".into();
                other
            }],
            4,
            "progressing",
        ),
    ] {
        assert_eq!(judged(&alone(pod(state), events), second), expected, "{what}");
    }
}

#[test]
fn a_container_that_cannot_be_made_fails_at_once() {
    let secret = "secret \"forge-env\" not found";
    let mount = |message: &str| {
        let mut told = event("FailedMount", &format!("MountVolume.SetUp failed for volume \"v\" : {message}"), 2, 5);
        told["involvedObject"]["fieldPath"] = Value::Null;
        told["involvedObject"].as_object_mut().unwrap().remove("fieldPath");
        told
    };
    let creating = || waiting("ContainerCreating", "");
    let start_error = |words: &str, restarts| {
        let mut state = down("StartError", 128, 6, restarts, true);
        state["lastState"]["terminated"]["message"] = format!("failed to create containerd task: {words}").into();
        state
    };
    for (what, state, events, expected) in [
        (
            "no Secret",
            waiting("CreateContainerConfigError", secret),
            vec![event("Failed", &format!("Error: {secret}"), 3, 9)],
            "configuration CreateContainerConfigError since 3",
        ),
        (
            "no key",
            waiting("CreateContainerConfigError", "couldn't find key A in Secret ns/forge-env"),
            vec![],
            "configuration CreateContainerConfigError since 1",
        ),
        (
            "the kubelet has not read it yet",
            waiting("CreateContainerConfigError", "failed to sync secret cache: timed out waiting for the condition"),
            vec![],
            "progressing",
        ),
        (
            "no such program",
            waiting("RunContainerError", "exec: \"nope\": executable file not found in $PATH"),
            vec![],
            "configuration RunContainerError since 1",
        ),
        ("the runtime stumbles", waiting("CreateContainerError", "context deadline exceeded"), vec![], "progressing"),
        (
            "it could not be started",
            start_error("exec: \"nope\": executable file not found in $PATH", 0),
            vec![],
            "configuration StartError since 6",
        ),
        ("it could not be started for once", start_error("cannot allocate memory", 0), vec![], "progressing"),
        (
            "it could not be started twice",
            start_error("cannot allocate memory", 1),
            vec![],
            "configuration StartError since 6",
        ),
        (
            "no Secret for a volume",
            creating(),
            vec![mount("secret \"tls\" not found")],
            "configuration FailedMount since 2",
        ),
        (
            "no key for a volume",
            creating(),
            vec![mount("references non-existent secret key: a")],
            "configuration FailedMount since 2",
        ),
        (
            "a Secret that came",
            creating(),
            vec![mount("secret \"tls\" not found"), event("Pulling", "Pulling image", 8, 8)],
            "progressing",
        ),
        ("a new namespace", creating(), vec![mount("configmap \"kube-root-ca.crt\" not found")], "progressing"),
        ("a volume that is slow", creating(), vec![mount("timed out waiting for the condition")], "progressing"),
    ] {
        assert_eq!(judged(&alone(pod(state), events), 10), expected, "{what}");
    }
}

#[test]
fn the_second_crash_of_one_container_fails_and_the_first_does_not() {
    let init = |state: Value| {
        let mut pod = pod(waiting("PodInitializing", ""));
        pod["status"]["initContainerStatuses"] = json!([state]);
        pod
    };
    let named = |mut state: Value| {
        state["name"] = "migrate".into();
        state
    };
    let older = |state: Value| {
        let mut pod = pod(state);
        pod["metadata"]["creationTimestamp"] = stamp(-100_000).into();
        pod
    };
    for (what, pod, expected) in [
        ("the first", pod(down("Error", 1, 6, 0, false)), "progressing"),
        ("the first, waiting", pod(down("Error", 1, 6, 0, true)), "progressing"),
        ("recovered", pod(running(8, false, 1)), "progressing"),
        ("the second", pod(down("Error", 1, 9, 1, false)), "crash Error since 9"),
        ("the second, waiting", pod(down("Error", 1, 9, 1, true)), "crash Error since 9"),
        ("the second, and up again", pod(running(10, true, 2)), "crash Error since 9"),
        ("a server that ends well", pod(down("Completed", 0, 9, 1, true)), "crash Completed since 9"),
        ("memory, once", pod(down("OOMKilled", 137, 6, 0, false)), "progressing"),
        ("memory, twice", pod(down("OOMKilled", 137, 9, 1, true)), "out-of-memory OOMKilled since 9"),
        ("an init container that is done", init(named(down("Completed", 0, 6, 1, false))), "progressing"),
        ("an init container that failed once", init(named(down("Error", 1, 6, 0, false))), "progressing"),
        ("an init container that failed twice", init(named(down("Error", 1, 6, 1, true))), "crash Error since 6"),
        ("a pod of other days that was started again then", older(running(-500, true, 7)), "progressing"),
        ("a pod of other days that ends once", older(down("Error", 1, 9, 7, false)), "progressing"),
        ("a pod of other days that loops", older(down("Error", 1, 9, 7, true)), "crash Error since 9"),
    ] {
        assert_eq!(judged(&alone(pod, vec![]), 12), expected, "{what}");
    }
    let failed = assess(&target(), &alone(pod(down("Error", 3, 9, 1, true)), vec![]), at(12), &limits());
    let State::Failed(cause) = failed else { panic!("{failed:?}") };
    assert_eq!(cause.to_string(), "`forge-2-a`, container `api`: Error: ended 2 times, last with exit code 3");
    assert!(cause.previous);
}

#[test]
fn only_pods_of_the_newest_replica_set_that_are_not_terminating_count() {
    let bad = || pod(waiting("ErrImagePull", "r/a:1: not found"));
    let changed = |path: &[&str], value: Value| {
        let mut pod = bad();
        let place = path.iter().fold(&mut pod, |place, name| &mut place[*name]);
        *place = value;
        pod
    };
    for (what, pod, expected) in [
        ("its own", bad(), "image ErrImagePull since 1"),
        ("terminating", changed(&["metadata", "deletionTimestamp"], stamp(5).into()), "progressing"),
        ("evicted", changed(&["status", "phase"], "Failed".into()), "progressing"),
        (
            "of the release before",
            changed(&["metadata", "ownerReferences"], json!([{"kind": "ReplicaSet", "uid": "1"}])),
            "progressing",
        ),
        (
            "of another Deployment",
            changed(&["metadata", "ownerReferences"], json!([{"kind": "ReplicaSet", "uid": "9"}])),
            "progressing",
        ),
    ] {
        assert_eq!(judged(&alone(pod, vec![]), 10), expected, "{what}");
    }
    // Changed by hand without its label: the same template, a later revision.
    let mut edited = alone(bad(), vec![]);
    edited.replica_sets.push(serde_json::from_value(replica_set("3", TEMPLATE, "3")).unwrap());
    assert_eq!(judged(&edited, 10), "progressing");
    // Used again: the oldest of all is the newest revision.
    let mut again = alone(bad(), vec![]);
    again.replica_sets[1].metadata.creation_timestamp = Some(at(-900_000));
    assert_eq!(judged(&again, 10), "image ErrImagePull since 1");
}

#[test]
fn a_pod_may_find_no_node_for_a_while() {
    let unscheduled = |reason: &str| {
        let mut pod = pod(json!({}));
        pod["spec"] = json!({});
        pod["status"] = json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": reason, "message": "0/1 nodes are available: 1 Insufficient memory.", "lastTransitionTime": stamp(2)},
        ]});
        pod
    };
    for (reason, second, expected) in [
        ("Unschedulable", 181, "progressing"),
        ("Unschedulable", 182, "unschedulable Unschedulable since 2"),
        ("SchedulerError", 182, "unschedulable SchedulerError since 2"),
        ("SchedulingGated", 600, "progressing"),
    ] {
        assert_eq!(judged(&alone(unscheduled(reason), vec![]), second), expected, "{reason} {second}");
    }
    // One that waited already when an older release was brought back has its time from then on.
    let mut pod = unscheduled("Unschedulable");
    pod["status"]["conditions"][0]["lastTransitionTime"] = stamp(-5000).into();
    assert_eq!(judged(&alone(pod.clone(), vec![]), 179), "progressing");
    assert_eq!(judged(&alone(pod, vec![]), 180), "unschedulable Unschedulable since -5000");
}

#[test]
fn a_pod_that_runs_has_to_become_ready() {
    let probe = || event("Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503", 15, 100);
    let fell = |second: i64| {
        let mut pod = pod(running(10, false, 0));
        pod["status"]["conditions"][1]["lastTransitionTime"] = stamp(second).into();
        pod
    };
    for (what, pod, second, expected) in [
        ("a while", pod(running(10, false, 0)), 129, "progressing"),
        ("too long", pod(running(10, false, 0)), 130, "not-ready NotReady since 10"),
        ("started again", pod(running(40, false, 1)), 130, "progressing"),
        ("it was ready before", fell(300), 310, "progressing"),
        ("it was ready too long before", fell(300), 420, "not-ready NotReady since 300"),
    ] {
        assert_eq!(judged(&alone(pod, vec![probe()]), second), expected, "{what}");
    }
    let State::Failed(cause) = assess(&target(), &alone(pod(running(10, false, 0)), vec![probe()]), at(130), &limits())
    else {
        panic!()
    };
    assert_eq!((cause.container.as_str(), cause.message.contains("statuscode: 503")), ("api", true));
}

#[test]
fn what_the_controllers_say_counts_when_it_is_of_this_rollout() {
    let late = |observed: i64, written: i64| {
        let mut status = counts(observed, 2, 1, 1);
        status["conditions"] = json!([{
            "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded",
            "message": "ReplicaSet \"forge-2\" has timed out progressing.",
            "lastUpdateTime": stamp(written), "lastTransitionTime": stamp(written),
        }]);
        seen(deployment(1, status), vec![], vec![])
    };
    assert_eq!(judged(&late(2, 600), 601), "deadline ProgressDeadlineExceeded since 600");
    // Of the rollout before: not observed yet, or left standing where a ReplicaSet is used again.
    assert_eq!(judged(&late(1, 600), 601), "progressing");
    assert_eq!(judged(&late(2, -600), 5), "progressing");
    for (message, second, expected) in [
        (
            "pods \"forge-2-\" is forbidden: violates PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false",
            4,
            "create FailedCreate since 3",
        ),
        (
            "Pod \"forge-2-x\" is invalid: spec.containers[0].resources.requests: Invalid value",
            4,
            "create FailedCreate since 3",
        ),
        (
            "pods \"forge-2-x\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2",
            182,
            "progressing",
        ),
        (
            "pods \"forge-2-x\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2",
            183,
            "create FailedCreate since 3",
        ),
        (
            "pods \"forge-2-x\" is forbidden: error looking up service account n/forge: serviceaccount \"forge\" not found",
            60,
            "progressing",
        ),
        ("Internal error occurred: failed calling webhook \"v.example\": connection refused", 60, "progressing"),
    ] {
        let mut seen = seen(deployment(1, counts(2, 1, 0, 1)), vec![], vec![]);
        let failure = json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message, "lastTransitionTime": stamp(3)}]);
        seen.replica_sets[1].status.conditions = serde_json::from_value(failure.clone()).unwrap();
        assert_eq!(judged(&seen, second), expected, "{message}");
        // The same of the ReplicaSet before means nothing.
        seen.replica_sets[1].status.conditions.clear();
        seen.replica_sets[0].status.conditions = serde_json::from_value(failure).unwrap();
        assert_eq!(judged(&seen, second), "progressing");
    }
}

#[test]
fn of_several_causes_the_most_telling_comes_first() {
    let of = |uid: &str, state: Value| {
        let mut pod = pod(state);
        pod["metadata"]["uid"] = uid.into();
        pod
    };
    let pods = vec![
        of("a", running(2, false, 0)),
        of("b", down("Error", 1, 9, 1, true)),
        of("c", waiting("CreateContainerConfigError", "secret \"s\" not found")),
        of("d", waiting("ErrImagePull", "r/a:1: not found")),
    ];
    let mut seen = seen(deployment(4, counts(2, 4, 4, 0)), pods, vec![]);
    let mut told = Vec::new();
    while let State::Failed(cause) = assess(&target(), &seen, at(300), &limits()) {
        told.push(cause.kind.name());
        seen.pods.pop();
    }
    assert_eq!(told, ["image", "configuration", "crash", "not-ready"]);
}

#[test]
fn progress_is_one_line() {
    let of = |uid: &str, state: Value| {
        let mut pod = pod(state);
        pod["metadata"]["uid"] = uid.into();
        pod
    };
    let pods = vec![
        of("a", waiting("ContainerCreating", "")),
        of("b", waiting("ContainerCreating", "")),
        of("c", running(4, false, 0)),
        of("d", running(4, true, 0)),
    ];
    let State::Progressing(progress) =
        assess(&target(), &seen(deployment(4, counts(2, 5, 4, 2)), pods, vec![]), at(21), &limits())
    else {
        panic!()
    };
    assert_eq!(
        progress.to_string(),
        "4 of 4 updated, 1 ready, 2 available, 1 old; 2 × ContainerCreating for 20 s, NotReady for 17 s"
    );
    let State::Progressing(none) = assess(&target(), &Seen::default(), at(3), &limits()) else { panic!() };
    assert_eq!(none.to_string(), "0 of 0 updated, 0 ready, 0 available; no Deployment for 3 s");
}

/// R17: each ends well, and at no second on the way is it taken for a failure.
#[test]
fn what_passes_by_itself_is_no_failure() {
    let refused = "Failed to pull image \"r/a:1\": Head \"https://r/v2/a\": dial tcp: connect: connection refused";
    let unscheduled = || {
        let mut pod = pod(json!({}));
        pod["spec"] = json!({});
        pod["status"] = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available: 1 node(s) were unschedulable.", "lastTransitionTime": stamp(1)}]});
        pod
    };
    let done = |second: i64, restarts: u64| {
        let mut pod = pod(running(second, true, restarts));
        pod["status"]["conditions"][1]["lastTransitionTime"] = stamp(second + 5).into();
        pod
    };
    type Steps = Vec<(i64, Value, Vec<Value>)>;
    let stories: Vec<(&str, Steps)> = vec![
        (
            "one crash, then recovery",
            vec![
                (2, pod(waiting("ContainerCreating", "")), vec![]),
                (4, pod(running(4, false, 0)), vec![]),
                (7, pod(down("Error", 1, 6, 0, false)), vec![]),
                (
                    8,
                    pod(down("Error", 1, 6, 0, true)),
                    vec![event("BackOff", "Back-off restarting failed container", 7, 7)],
                ),
                (9, pod(running(8, false, 1)), vec![event("BackOff", "Back-off restarting failed container", 7, 7)]),
                (16, done(8, 1), vec![event("BackOff", "Back-off restarting failed container", 7, 7)]),
            ],
        ),
        (
            "a registry that fails for 60 s",
            vec![
                (
                    3,
                    pod(waiting("ErrImagePull", "dial tcp: connect: connection refused")),
                    vec![event("Failed", refused, 3, 3)],
                ),
                (
                    5,
                    pod(waiting("ImagePullBackOff", "Back-off pulling image \"r/a:1\"")),
                    vec![event("Failed", refused, 3, 3)],
                ),
                (
                    58,
                    pod(waiting("ErrImagePull", "dial tcp: connect: connection refused")),
                    vec![event("Failed", refused, 3, 58)],
                ),
                (
                    100,
                    pod(waiting("ImagePullBackOff", "Back-off pulling image \"r/a:1\"")),
                    vec![event("Failed", refused, 3, 58)],
                ),
                (106, pod(waiting("ContainerCreating", "")), vec![event("Failed", refused, 3, 58)]),
                (108, pod(running(107, false, 0)), vec![event("Failed", refused, 3, 58)]),
                (118, done(107, 0), vec![event("Failed", refused, 3, 58)]),
            ],
        ),
        (
            "a slow new node",
            vec![
                (1, unscheduled(), vec![]),
                (62, unscheduled(), vec![]),
                (63, pod(waiting("ContainerCreating", "")), vec![]),
                (240, pod(waiting("ContainerCreating", "")), vec![]),
                (242, pod(running(241, false, 0)), vec![]),
                (250, done(241, 0), vec![]),
            ],
        ),
    ];
    for (what, steps) in stories {
        let (last, before) = steps.split_last().unwrap();
        for (index, (second, pod, events)) in before.iter().enumerate() {
            let until = steps[index + 1].0;
            let seen = seen(deployment(1, counts(2, 2, 1, 1)), vec![pod.clone()], events.clone());
            for second in *second..until {
                assert_eq!(judged(&seen, second), "progressing", "{what}, second {second}");
            }
        }
        let seen = seen(deployment(1, counts(2, 1, 1, 1)), vec![last.1.clone()], last.2.clone());
        assert_eq!(judged(&seen, last.0), "complete", "{what}");
    }
}
