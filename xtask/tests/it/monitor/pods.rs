//! What the cluster says of a real release that somebody breaks.

use std::time::Duration;

use serde_json::{Value, json};
use xtask::verdict::{Severity, Verdict};

use crate::release::run::Ended;
use crate::release::site::{Plan, Site, until};

/// Probes that do not let a test wait.
pub const QUICK: &str = "[monitor]\nretry_spacing = \"500ms\"\n";

/// What there is to say of an autoscaler without a meter, which the cluster of the tests does not have.
pub const BLIND: &str = "\n[[ignore]]\ngate = \"monitor/health/scaling\"\nrule = \"cannot-scale\"\n\
                         reason = \"there is no meter here\"\nexpires = \"2099-12-31\"\n";

pub fn rules(ended: &Ended, gate: &str) -> Vec<String> {
    let breaks = |finding: &&xtask::verdict::Finding| finding.breaks(Severity::Low);
    ended.gate(gate).findings.iter().filter(breaks).map(|finding| finding.rule.clone()).collect()
}

/// A site with a release in it, that is monitored.
pub fn open(test: &str) -> Option<Site> {
    let site = Site::open(test, Plan { more: QUICK, ..Plan::default() })?;
    let text = site.project.read("ci/pipeline.toml");
    site.project.write("ci/pipeline.toml", &(text + BLIND));
    site.release("1");
    Some(site)
}

/// A pod that somebody made by hand, with the labels that the Service selects by: it does what the Deployment's pods do, from
/// another image where one is given.
pub fn stranger(site: &Site, image: Option<&str>) {
    let mut spec = site.object(&["deployment", "forge"])["spec"]["template"]["spec"].clone();
    spec["topologySpreadConstraints"] = json!([]);
    if let Some(image) = image {
        spec["containers"][0]["image"] = json!(image);
    }
    let labels = selector(site);
    let pod =
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "stranger", "labels": labels}, "spec": spec});
    site.project.write("target/stranger.json", &pod.to_string());
    site.within(&["create", "-f", &site.path().join("target/stranger.json").display().to_string()]);
    site.within(&["wait", "--for=condition=Ready", "pod/stranger", "--timeout=120s"]);
}

/// Whom the Service leads to.
fn selector(site: &Site) -> Value {
    site.object(&["service", "forge"])["spec"]["selector"].clone()
}

fn lead(site: &Site, selector: &Value) {
    let patch = json!([{"op": "replace", "path": "/spec/selector", "value": selector}]);
    site.within(&["patch", "service", "forge", "--type=json", "-p", &patch.to_string()]);
}

#[test]
fn what_was_released_is_well_until_somebody_breaks_it_and_again_afterwards() {
    let Some(site) = open("watched") else { return };
    let health = || site.start(&["monitor", "staging", "health"]).ended();
    let well = health();
    well.assert_code(0);
    for (gate, unit, count) in [("endpoints", "requests", 7), ("pods", "objects", 3), ("scaling", "autoscalers", 1)] {
        let work = &well.gate(&format!("monitor/health/{gate}")).work;
        assert_eq!((work.count, work.unit.as_str()), (count, unit));
    }
    eprintln!("FIGURE | monitor health of a release that is well | {:.1} s", well.took.as_secs_f64());

    // A pod of somebody's own gets a share of the users.
    stranger(&site, None);
    let shared = health();
    shared.assert_code(10);
    assert_eq!(rules(&shared, "monitor/health/pods"), ["foreign-pod"]);
    let found = &shared.gate("monitor/health/pods").findings;
    assert!(
        found.iter().any(|one| one.rule == "foreign-pod" && one.message.contains("the pod `stranger`")),
        "{found:?}"
    );
    assert_eq!(shared.gate("monitor/health/pods").work.count, 4);
    site.within(&["delete", "pod", "stranger", "--now"]);
    // The Deployment is as well as before, and users are led to others.
    let ours = selector(&site);
    lead(&site, &json!({"app.kubernetes.io/name": "redis"}));
    let led = health();
    led.assert_code(10);
    assert_eq!(rules(&led, "monitor/health/pods"), ["foreign-pod", "service-leads-elsewhere"]);
    lead(&site, &ours);
    until("the way back", Duration::from_secs(60), || {
        (health().gate("monitor/health/endpoints").verdict == Verdict::Pass).then_some(())
    });
    health().assert_code(0);

    // Its pods end as soon as they begin.
    let broken = r#"{"spec":{"strategy":{"type":"Recreate","rollingUpdate":null},"template":{"spec":{"containers":[{"name":"forge","command":["python","-c","raise SystemExit(3)"]}]}}}}"#;
    site.within(&["patch", "deployment", "forge", "-p", broken]);
    until("a crash loop", Duration::from_secs(90), || {
        let pods = site.object(&["pods", "-l", "app.kubernetes.io/name=forge"]).to_string();
        pods.contains("CrashLoopBackOff").then_some(())
    });
    let bad = health();
    bad.assert_code(10);
    let found = rules(&bad, "monitor/health/pods");
    for rule in ["no-ready-pod", "CrashLoopBackOff", "restarted"] {
        assert!(found.iter().any(|one| one == rule), "{rule}: {found:?}");
    }
    assert!(!rules(&bad, "monitor/health/endpoints").is_empty());
    let probes = bad.gate("monitor/health/endpoints").findings.iter().find(|finding| finding.rule == "probes");
    assert!(probes.unwrap().message.contains("each of 3 probes failed"));

    // No pod at all is not "0 of 0 are ready".
    site.within(&["scale", "deployment", "forge", "--replicas=0"]);
    until("no pod", Duration::from_secs(60), || {
        let pods = site.object(&["pods", "-l", "app.kubernetes.io/name=forge"]);
        pods["items"].as_array().is_none_or(Vec::is_empty).then_some(())
    });
    let none = health();
    none.assert_code(10);
    assert_eq!(rules(&none, "monitor/health/pods"), ["scaled-to-zero"]);
    assert_eq!(none.gate("monitor/health/pods").verdict, Verdict::Fail);

    // The Service leads to nothing of ours.
    site.within(&["delete", "deployment", "forge"]);
    assert_eq!(rules(&health(), "monitor/health/pods"), ["nothing-serves"]);
    site.overlay("2", &[]);
    site.deploy(&[]).ended().assert_code(0);
    health().assert_code(0);

    // Pods that are well are nothing to users without a Service.
    site.within(&["delete", "service", "forge"]);
    let unreachable = health();
    unreachable.assert_code(10);
    assert_eq!(rules(&unreachable, "monitor/health/pods"), ["no-service"]);
    assert_eq!(unreachable.gate("monitor/health/pods").work.count, 2, "the Deployment and its pod");
}

#[test]
fn an_autoscaler_at_its_limit_is_found_and_one_that_is_missing_proves_nothing() {
    let Some(site) = open("limit") else { return };
    let health = || site.start(&["monitor", "staging", "health"]).ended();
    let bounds = |least: u32, most: u32| {
        let patch = format!("{{\"spec\":{{\"minReplicas\":{least},\"maxReplicas\":{most}}}}}");
        site.within(&["patch", "hpa", "forge", "-p", &patch]);
    };
    let current = || site.object(&["hpa", "forge"])["status"]["currentReplicas"].as_u64();
    // There is no meter here, so it is moved by its lower bound; without figures it never goes back down.
    bounds(2, 3);
    until("two pods", Duration::from_secs(60), || (current() == Some(2)).then_some(()));
    health().assert_code(0);
    bounds(1, 2);
    let limit = health();
    limit.assert_code(10);
    assert_eq!(rules(&limit, "monitor/health/scaling"), ["at-limit"]);
    assert_eq!(rules(&limit, "monitor/health/pods"), [""; 0]);
    site.within(&["delete", "hpa", "forge"]);
    let gone = health();
    gone.assert_code(20);
    assert_eq!(gone.gate("monitor/health/scaling").verdict, Verdict::DidNotRun);
    assert!(gone.gate("monitor/health/scaling").fix.contains("monitor.autoscaler = false"));
    site.project.edit("ci/staging.toml", "[monitor]\n", "[monitor]\nautoscaler = false\n");
    health().assert_code(0);
}

#[test]
fn another_cluster_is_not_asked() {
    let Some(site) = Site::open("elsewhere", Plan { more: QUICK, ..Plan::default() }) else { return };
    let context = site.kubectl(&["config", "current-context"]);
    site.environment(context.trim(), "00000000-0000-4000-8000-000000000000");
    let refused = site.start(&["monitor", "staging"]).ended();
    refused.assert_code(2).assert_says("leads to the cluster").assert_says("nothing was done");
    for gate in ["health/endpoints", "health/pods", "security/drift"] {
        let gate = refused.gate(&format!("monitor/{gate}"));
        assert_eq!(gate.verdict, Verdict::DidNotRun, "{gate:?}");
        assert!(gate.reason.contains("leads to the cluster"), "{gate:?}");
    }
}
