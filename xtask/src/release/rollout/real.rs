//! What an API server of Kubernetes 1.32 with containerd has shown of real faults, held against what is made of it. The
//! fields that nothing here reads are left out of `real.jsonl`; each line is one look at one Deployment.

use serde::Deserialize;
use serde_json::Value;
use time::format_description::well_known::Rfc3339;

use super::*;

/// One look.
#[derive(Deserialize)]
struct Look {
    what: String,
    expected: String,
    at: String,
    started: String,
    objects: Vec<Value>,
}

fn seen(objects: Vec<Value>) -> (Target, Seen) {
    let mut seen = Seen::default();
    for object in objects {
        match object["kind"].as_str().unwrap() {
            "Deployment" => seen.deployment = serde_json::from_value(object).unwrap(),
            "ReplicaSet" => seen.replica_sets.push(serde_json::from_value(object).unwrap()),
            "Pod" => seen.pods.push(serde_json::from_value(object).unwrap()),
            _ => seen.events.push(serde_json::from_value(object).unwrap()),
        }
    }
    let name = &seen.deployment.as_ref().unwrap().metadata.name;
    (Target { deployment: name.clone(), template: name.clone() }, seen)
}

#[test]
fn real_faults_are_told_apart_and_what_passes_is_none() {
    let seconds = Duration::from_secs;
    let mut count = 0;
    for line in include_str!("real.jsonl").lines() {
        let Look { what, expected, at, started, objects } = serde_json::from_str(line).unwrap();
        let moment = |text: &str| OffsetDateTime::parse(text, &Rfc3339).unwrap();
        let limits = Limits {
            started: moment(&started),
            pull: seconds(120),
            unschedulable: seconds(180),
            ready: seconds(120),
            deadline: seconds(900),
        };
        let (target, seen) = seen(objects);
        let state = assess(&target, &seen, moment(&at), &limits);
        let found = match &state {
            State::Progressing(_) => "progressing",
            State::Complete(_) => "complete",
            State::Failed(cause) => cause.kind.name(),
        };
        assert_eq!(found, expected, "{what}: {state:?}");
        if let State::Failed(cause) = &state {
            // The report that it is measured from is one of this rollout, and it says something.
            assert!(cause.since >= limits.started && cause.since <= moment(&at), "{what}: {cause:?}");
            assert!(!cause.reason.is_empty() && !cause.message.is_empty() && !cause.object.is_empty(), "{what}");
        }
        count += 1;
    }
    assert_eq!(count, 32);
}
