//! The other workloads of an overlay, such as a Redis beside the backend: a release that has changed them is whole when they
//! are rolled out as well. Their old pods serve on meanwhile, so nobody would notice one that is stuck.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::release::manifests::Prepared;
use crate::tools::kube::{Kube, Trouble, path_of};
use crate::verdict::{Finding, Severity};

/// Between two looks.
const PACE: Duration = Duration::from_millis(500);

/// Waits for `patience` until all of them are rolled out; those that are not are findings of this `weight`.
pub async fn rolled_out(
    kube: &Kube,
    prepared: &Prepared,
    patience: Duration,
    weight: Severity,
) -> Result<Vec<Finding>, Trouble> {
    let is_other = |object: &&Value| {
        ["Deployment", "StatefulSet"].iter().any(|kind| object["kind"] == *kind)
            && object["metadata"]["name"] != *prepared.workload
    };
    let begun = Instant::now();
    let mut findings = Vec::new();
    for object in prepared.objects.iter().filter(is_other) {
        let Some(path) = path_of(object) else { continue };
        loop {
            let found = kube.get(&path).await?;
            let why = found.as_ref().map_or_else(|| Some("it is gone".to_owned()), unfinished);
            let Some(why) = why else { break };
            if begun.elapsed() >= patience {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let name = format!("{} `{}`", text(&object["kind"]), text(&object["metadata"]["name"]));
                let message = format!("{name} is not rolled out after {} s: {why}", patience.as_secs());
                findings.push(Finding::new("other-workload", weight, message));
                break;
            }
            tokio::time::sleep(PACE).await;
        }
    }
    Ok(findings)
}

/// What a Deployment or a StatefulSet still waits for.
fn unfinished(object: &Value) -> Option<String> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let count = |name: &str| status[name].as_i64().unwrap_or(0);
    let wanted = spec["replicas"].as_i64().unwrap_or(1);
    if status["observedGeneration"].as_i64() < object["metadata"]["generation"].as_i64() {
        return Some("its change was not seen yet".to_owned());
    }
    // Whoever deletes the pods of such a StatefulSet is a person.
    let is_by_hand = spec["updateStrategy"]["type"] == "OnDelete";
    let updated = if is_by_hand { wanted } else { count("updatedReplicas") };
    let old = if object["kind"] == "StatefulSet" { 0 } else { count("replicas") - count("updatedReplicas") };
    let available = count("availableReplicas");
    (updated < wanted || available < wanted || old > 0)
        .then(|| format!("{updated} of {wanted} updated, {available} available, {} old", old.max(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_workload_is_rolled_out_when_all_its_pods_are_new_and_there() {
        let of = |kind: &str, spec: Value, status: Value| {
            unfinished(&json!({"kind": kind, "metadata": {"generation": 2}, "spec": spec, "status": status}))
        };
        let status = |generation: i64, replicas: i64, updated: i64, available: i64| json!({"observedGeneration": generation, "replicas": replicas, "updatedReplicas": updated, "availableReplicas": available});
        let two = || json!({"replicas": 2});
        for (found, expected) in [
            (of("Deployment", two(), status(2, 2, 2, 2)), None),
            (of("Deployment", json!({"replicas": 0}), status(2, 0, 0, 0)), None),
            (of("Deployment", two(), status(1, 2, 2, 2)), Some("not seen yet")),
            (of("Deployment", two(), json!({})), Some("not seen yet")),
            // The new one never becomes ready, and both old ones serve on.
            (of("Deployment", two(), status(2, 3, 1, 2)), Some("1 of 2 updated, 2 available, 2 old")),
            (of("Deployment", two(), status(2, 2, 2, 1)), Some("1 available")),
            (of("StatefulSet", two(), status(2, 2, 2, 2)), None),
            (of("StatefulSet", two(), status(2, 2, 1, 2)), Some("1 of 2 updated")),
            (
                of("StatefulSet", json!({"replicas": 2, "updateStrategy": {"type": "OnDelete"}}), status(2, 2, 0, 2)),
                None,
            ),
        ] {
            match expected {
                None => assert_eq!(found, None),
                Some(words) => assert!(found.as_ref().unwrap().contains(words), "{found:?} {words}"),
            }
        }
    }
}
