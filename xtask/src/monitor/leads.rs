//! Where users' Service leads: to the Deployment that it is meant for, to the arms of a canary, and to whatever else wears
//! the labels that it selects by. Pure.
//!
//! A Service takes every pod that wears those labels, whoever made it: a Deployment that is well says nothing of the others.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::pods;
use crate::config::Release;
use crate::release::object::{Deployment, Pod};
use crate::release::overview::{Told, workloads};
use crate::release::track::Track;
use crate::verdict::{Finding, Severity};

/// What is wrong with the Service that users come by, and with those that it leads to. `deployment` is the one that is taken
/// to serve.
pub fn assess(release: &Release, told: &Told, deployment: Option<&Deployment>) -> Vec<Finding> {
    let (name, namespace) = (&release.service, &release.namespace);
    let critical = |rule: &str, message: String| Finding::new(rule, Severity::Critical, message);
    let Some(service) = &told.service else {
        return vec![critical("no-service", format!("there is no Service `{name}` in `{namespace}`"))];
    };
    let mut findings = Vec::new();
    match deployment {
        None => {
            let message =
                format!("the Service `{name}` leads to no Deployment of `{}` in `{namespace}`", release.workload);
            findings.push(critical("nothing-serves", message));
        }
        Some(deployment) => {
            let elsewhere = elsewhere(service, deployment);
            findings.extend(
                elsewhere.map(|how| critical("service-leads-elsewhere", format!("the Service `{name}` {how}"))),
            );
        }
    }
    findings.extend(foreign(release, told).iter().map(|pod| {
        let (pod, workload) = (&pod.metadata.name, &release.workload);
        critical(
            "foreign-pod",
            format!("the Service `{name}` leads to the pod `{pod}`, which no Deployment of `{workload}` made"),
        )
    }));
    findings
}

/// The active pods that the Service leads to and that no Deployment of the workload made.
pub fn foreign(release: &Release, told: &Told) -> Vec<Pod> {
    let known = made_by(&workloads(release), told);
    led(told).filter(|pod| !known.contains(pod)).cloned().collect()
}

/// The pods of every Deployment that the workload may have, a canary's among them, and the foreign ones.
pub fn all(release: &Release, told: &Told) -> Vec<Pod> {
    let mut all = made_by(&workloads(release), told);
    all.extend(foreign(release, told));
    all
}

/// The active pods that users may be led to, the foreign ones apart: those of the Deployment that serves, of the arms of a
/// canary, to which a Gateway leads past the Service, and of any other one of the workload that the Service leads to.
pub fn reached(release: &Release, told: &Told, serving: &str) -> Vec<Pod> {
    let arms = [Track::Canary, Track::Baseline].map(|track| track.of_workload(&release.workload));
    let meant = made_by(&[arms.as_slice(), &[serving.to_owned()]].concat(), told);
    let known = made_by(&workloads(release), told);
    let led: Vec<&Pod> = led(told).collect();
    known.into_iter().filter(|pod| pod.is_active() && (meant.contains(pod) || led.contains(&pod))).collect()
}

/// The pods of the Deployments of these names.
fn made_by(names: &[String], told: &Told) -> Vec<Pod> {
    let deployments = told.deployments.iter().filter(|one| names.contains(&one.metadata.name));
    deployments.flat_map(|one| pods::of(one, &told.replica_sets, &told.pods)).collect()
}

/// The active pods that the Service leads to.
fn led(told: &Told) -> impl Iterator<Item = &Pod> {
    let selector = told.service.as_ref().and_then(selector);
    let is_led = move |pod: &&Pod| {
        pod.is_active()
            && selector.is_some_and(|selector| selector.iter().all(|label| wears(&pod.metadata.labels, label)))
    };
    told.pods.iter().filter(is_led)
}

/// The labels that a Service selects pods by. Without any, or under another name (`ExternalName`), it selects none:
/// somebody else says where it leads (<https://kubernetes.io/docs/concepts/services-networking/service/>).
fn selector(service: &Value) -> Option<&Map<String, Value>> {
    let spec = &service["spec"];
    spec["selector"].as_object().filter(|selector| !selector.is_empty() && spec["type"] != "ExternalName")
}

/// How a Service leads past the pods of a Deployment; `None` where it leads to them.
fn elsewhere(service: &Value, deployment: &Deployment) -> Option<String> {
    let Some(selector) = selector(service) else {
        return Some("selects no pods: somebody else says where it leads".to_owned());
    };
    let labels = &deployment.spec.template.metadata.labels;
    let others = selector.iter().filter(|label| !wears(labels, *label));
    let others: Vec<String> =
        others.map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default())).collect();
    let name = &deployment.metadata.name;
    (!others.is_empty()).then(|| format!("selects by {}, which no pod of `{name}` wears", others.join(", ")))
}

fn wears(labels: &BTreeMap<String, String>, (name, value): (&String, &Value)) -> bool {
    labels.get(name).is_some_and(|worn| value == worn.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::manifests::TRAFFIC;
    use crate::release::manifests::testing::release;
    use serde_json::json;

    /// A Deployment and its ReplicaSet, whose pods get the requests for `traffic`.
    fn deployment(told: &mut Told, name: &str, traffic: &str) {
        let labels = json!({"app": "f", TRAFFIC: traffic});
        let deployment =
            json!({"metadata": {"name": name, "uid": name}, "spec": {"template": {"metadata": {"labels": labels}}}});
        told.deployments.push(serde_json::from_value(deployment).unwrap());
        let set = json!({"metadata": {"name": name, "uid": format!("set-{name}"), "ownerReferences": [{"uid": name}]}});
        told.replica_sets.push(serde_json::from_value(set).unwrap());
        pod(told, &format!("{name}-1"), &format!("set-{name}"), traffic);
    }

    fn pod(told: &mut Told, name: &str, owner: &str, traffic: &str) {
        let owners = if owner.is_empty() { json!([]) } else { json!([{"uid": owner}]) };
        let labels = json!({"app": "f", "more": "m", TRAFFIC: traffic});
        let meta = json!({"name": name, "labels": labels, "ownerReferences": owners});
        told.pods.push(serde_json::from_value(json!({"metadata": meta, "status": {"phase": "Running"}})).unwrap());
    }

    /// A release that is well: a Deployment that serves, and the one before it.
    fn well() -> Told {
        let mut told = Told { service: Some(service(&json!({"app": "f", TRAFFIC: "green"}))), ..Told::default() };
        deployment(&mut told, "forge-green", "green");
        deployment(&mut told, "forge-blue", "blue");
        told
    }

    fn service(selector: &Value) -> Value {
        json!({"spec": {"type": "ClusterIP", "selector": selector}})
    }

    fn rules(told: &Told) -> Vec<String> {
        let serving = told.deployments.iter().find(|one| one.metadata.name == "forge-green");
        assess(&release(), told, serving).into_iter().map(|finding| finding.rule).collect()
    }

    fn names(pods: &[Pod]) -> Vec<&str> {
        pods.iter().map(|pod| pod.metadata.name.as_str()).collect()
    }

    #[test]
    fn a_service_leads_to_the_deployment_that_serves_and_to_nobody_else() {
        assert_eq!(rules(&well()), [""; 0]);
        // Before the first release nobody knows of the label for traffic.
        let plain = Told { service: Some(service(&json!({"app": "f"}))), ..well() };
        assert_eq!(rules(&plain), [""; 0]);
        assert_eq!(rules(&Told { service: None, ..well() }), ["no-service"]);
        for (selector, how) in [
            (json!({"app": "other"}), "selects by app=other, which no pod of `forge-green` wears"),
            // It leads to nobody then.
            (json!({"app": "f", TRAFFIC: "green", "nobody": "x"}), "selects by nobody=x,"),
            (json!({}), "selects no pods: somebody else says where it leads"),
            (json!(null), "selects no pods: somebody else says where it leads"),
        ] {
            let told = Told { service: Some(service(&selector)), ..well() };
            let found = assess(&release(), &told, told.deployments.first());
            assert_eq!(found.len(), 1, "{selector}: {found:?}");
            assert_eq!(found[0].rule, "service-leads-elsewhere");
            assert!(found[0].message.contains(how), "{selector}: {found:?}");
        }
        let by_name = json!({"spec": {"type": "ExternalName", "externalName": "e.example", "selector": {"app": "f"}}});
        assert_eq!(rules(&Told { service: Some(by_name), ..well() }), ["service-leads-elsewhere"]);
        let mut gone = well();
        gone.deployments.remove(0);
        gone.pods.remove(0);
        assert_eq!(rules(&gone), ["nothing-serves"]);
    }

    #[test]
    fn a_pod_that_wears_the_services_labels_gets_users_whoever_made_it() {
        let mut told = well();
        pod(&mut told, "bare", "", "green");
        deployment(&mut told, "rogue", "green");
        // Those that get no requests: of another track, of other labels, over, and about to go.
        pod(&mut told, "beside", "", "blue");
        for (name, field) in [("over", "/status/phase"), ("going", "/metadata/deletionTimestamp")] {
            let value = if name == "over" { json!("Failed") } else { json!("2026-03-01T10:00:00Z") };
            let mut ended = json!({"metadata": {"name": name, "labels": {"app": "f", TRAFFIC: "green"}, "deletionTimestamp": null},
                                   "status": {"phase": "Running"}});
            *ended.pointer_mut(field).unwrap() = value;
            told.pods.push(serde_json::from_value(ended).unwrap());
        }
        assert_eq!(rules(&told), ["foreign-pod", "foreign-pod"]);
        assert_eq!(names(&foreign(&release(), &told)), ["bare", "rogue-1"]);
        // What they run is looked at beside what the workload runs.
        assert_eq!(names(&all(&release(), &told)), ["forge-green-1", "forge-blue-1", "bare", "rogue-1"]);
        assert_eq!(names(&reached(&release(), &told, "forge-green")), ["forge-green-1"]);
        // A Service that selects less leads to the one before it as well.
        told.service = Some(service(&json!({"app": "f"})));
        assert_eq!(names(&reached(&release(), &told, "forge-green")), ["forge-green-1", "forge-blue-1"]);
        assert_eq!(names(&foreign(&release(), &told)), ["bare", "rogue-1", "beside"]);
    }

    #[test]
    fn the_arms_of_a_canary_are_known_and_users_reach_them() {
        // A Gateway shares the traffic in the second case, and the Service does not lead there.
        for traffic in ["green", "none"] {
            let mut told = well();
            for name in ["forge-canary", "forge-baseline"] {
                deployment(&mut told, name, traffic);
            }
            assert_eq!(rules(&told), [""; 0], "{traffic}");
            let found = reached(&release(), &told, "forge-green");
            assert_eq!(names(&found), ["forge-green-1", "forge-canary-1", "forge-baseline-1"], "{traffic}");
        }
    }
}
