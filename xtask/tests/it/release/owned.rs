//! What others own stays theirs: an autoscaler its number of pods, a person a field that they changed by hand (R19).

use serde_json::Value;
use std::time::Duration;
use xtask::tools::kube::MANAGER;

use super::site::{Plan, Site, until};

fn replicas(site: &Site) -> u64 {
    site.object(&["deployment", "forge"])["spec"]["replicas"].as_u64().unwrap()
}

/// Whether a release ever said how many pods there are; the subresource `scale` is the way of autoscalers.
fn writes_replicas(site: &Site) -> bool {
    let deployment = site.within(&["get", "deployment", "forge", "-o", "json", "--show-managed-fields"]);
    let deployment: Value = serde_json::from_str(&deployment).unwrap();
    let fields = deployment["metadata"]["managedFields"].as_array().unwrap();
    let ours: Vec<&Value> =
        fields.iter().filter(|one| one["manager"] == MANAGER && one["operation"] == "Apply").collect();
    assert!(!ours.is_empty(), "{fields:?}");
    ours.iter().any(|one| one["fieldsV1"]["f:spec"].get("f:replicas").is_some())
}

#[test]
fn what_an_autoscaler_has_scaled_stays_scaled() {
    let Some(site) = Site::open("scaled", Plan::default()) else { return };
    site.release("1");
    let least = |pods: u32| format!("{{\"spec\":{{\"minReplicas\":{pods}}}}}");
    // There is no meter here, so it is moved by its lower bound; without figures it never goes back down.
    site.within(&["patch", "hpa", "forge", "-p", &least(3)]);
    until("three pods", Duration::from_secs(60), || (replicas(&site) == 3).then_some(()));
    site.within(&["patch", "hpa", "forge", "-p", &least(1)]);
    site.release("2");
    assert_eq!(replicas(&site), 3);
    assert!(!writes_replicas(&site));
    // On the way back, too.
    site.faulty("3");
    site.deploy(&[]).ended().assert_code(30);
    site.assert_serves("2");
    assert_eq!(replicas(&site), 3);
    assert!(!writes_replicas(&site));
}

#[test]
fn a_field_that_somebody_changed_by_hand_is_theirs_until_it_is_taken() {
    let Some(site) = Site::open("hand", Plan::default()) else { return };
    site.release("1");
    let other = site.images.another("forge", &site.digest, "by-hand");
    let theirs = format!("forge={}/forge@{other}", site.images.name);
    let hand = ["set", "image", "deployment/forge", &theirs, "--field-manager=berta"];
    site.within(&hand);
    let image = || {
        let found = site.object(&["deployment", "forge"]);
        found["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap().to_owned()
    };
    assert!(image().ends_with(&other));
    site.overlay("2", &[]);
    let refused = site.deploy(&[]).ended();
    refused.assert_code(10).assert_says("nothing was changed");
    let finding = refused.gate("deploy/plan").findings.iter().find(|found| found.rule == "conflict").unwrap();
    for words in ["berta", ".image", "Deployment `forge`"] {
        assert!(finding.message.contains(words), "{}", finding.message);
    }
    assert!(image().ends_with(&other));
    assert_eq!(site.journal().len(), 1);
    site.deploy(&["--take-over"]).ended().assert_code(0);
    assert!(image().ends_with(&site.digest));
    site.assert_serves("2");

    // Somebody's hand in between does not stop a way back.
    site.faulty("3");
    let running = site.deploy(&[]).at("[staging] watching");
    site.within(&hand);
    running.ended().assert_code(30);
    assert!(image().ends_with(&site.digest));
    site.assert_serves("2");
}
