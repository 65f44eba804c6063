//! What a release could do harm by where the world is not as the last one left it: a way back to a Deployment that is gone,
//! a bad canary that gets requests while the way back is verified, a journal that is lost, a rollback that was killed.

use std::time::Duration;

use serde_json::{Value, json};
use xtask::release::journal::{Outcome, Step};
use xtask::verdict::Verdict;

use super::site::{Plan, Site, until};
use super::strategies::watching;
use super::traffic::Asking;

/// Something that no release before it had.
const WORKER: &str =
    "apiVersion: v1\nkind: Service\nmetadata: {name: worker}\nspec: {selector: {app: worker}, ports: [{port: 80}]}\n";

#[test]
fn nobody_is_moved_to_a_deployment_without_pods() {
    let Some(site) = Site::open("colour-gone", Plan { pods: 2, ..Plan::default() }) else { return };
    site.release("1");
    site.overlay("2", &[]);
    site.deploy(&["--strategy", "blue-green"]).ended().assert_code(0);
    site.assert_serves("2");
    site.within(&["delete", "deployment", "forge"]);
    let asking = Asking::begin(site.address());
    site.start(&["rollback", "staging", "--yes"]).ended().assert_code(0);
    asking.assert_none_lost();
    site.assert_serves("1");
}

#[test]
fn the_deployment_that_a_killed_release_has_moved_users_to_is_not_changed_under_them() {
    let plan = Plan { pods: 2, release: "unschedulable_patience = \"3s\"\n", ..Plan::default() };
    let Some(site) = Site::open("colour-used", plan) else { return };
    let green = ["--strategy", "blue-green"];
    let leads_to = || {
        let service = site.object(&["service", "forge"]);
        service["spec"]["selector"]["forge.xtask/traffic"].as_str().unwrap().to_owned()
    };
    site.release("1");
    site.overlay("2", &[]);
    let running = site.deploy(&green).at("[staging] promoting");
    until("the Service is moved", Duration::from_secs(60), || (leads_to() == "blue").then_some(()));
    running.kill();
    assert_ne!(site.journal().last().unwrap().outcome, Outcome::Verified);
    // Whatever comes next, users are on this Deployment until another one is verified.
    site.within(&["create", "service", "clusterip", "by-hand", "--tcp=80"]);
    // Somebody's own, which have the names of ours.
    site.within(&["create", "service", "clusterip", "forge-canary", "--tcp=80"]);
    site.within(&["create", "deployment", "forge-canary", "--image=none.invalid/none", "--replicas=0"]);
    site.faulty("3");
    site.adds(&format!("{WORKER}---\n{}", WORKER.replace("worker", "by-hand")));
    let asking = Asking::begin(site.address());
    site.deploy(&[&["--wait", "60s"], &green[..]].concat()).ended().assert_code(30);
    site.assert_serves("1");
    let version = |name: &str| {
        site.object(&["deployment", name])["spec"]["template"]["metadata"]["annotations"]["test/version"].clone()
    };
    assert_eq!((version("forge-blue"), version("forge-green")), (json!("2"), json!("3")));
    assert!(site.object(&["service", "worker"]).is_null(), "what the bad release has added is gone");
    assert!(site.object(&["service", "by-hand"]).is_object(), "what was there before it is somebody else's");
    for name in ["forge-blue", "forge-green"] {
        assert_eq!(site.object(&["deployment", name])["spec"]["replicas"], 0, "{name}: nobody has verified it");
    }

    // One of another strategy moves nobody to pods that are not there yet either.
    site.overlay("4", &[]);
    site.adds(WORKER);
    let running = site.deploy(&green).at("[staging] promoting");
    until("the Service is moved", Duration::from_secs(60), || (leads_to() != "stable").then_some(()));
    running.kill();
    assert!(site.object(&["service", "worker"]).is_object());
    // As by an autoscaler, which sees that nobody is there.
    site.within(&["scale", "deployment", "forge", "--replicas=0"]);
    until("the idle pods to go", Duration::from_secs(90), || {
        site.object(&["pods", "-l", "forge.xtask/track=stable"]).is_null().then_some(())
    });
    site.overlay("5", &[]);
    site.deploy(&["--wait", "60s"]).ended().assert_code(0);
    site.assert_serves("5");
    assert_eq!(leads_to(), "stable");
    assert!(site.object(&["service", "worker"]).is_null(), "nobody has verified it, and a verified release has it not");

    // A person goes back from where a killed release has left users: its pods go.
    site.overlay("6", &[]);
    let running = site.deploy(&green).at("[staging] promoting");
    until("the Service is moved", Duration::from_secs(60), || (leads_to() != "stable").then_some(()));
    running.kill();
    let left = leads_to();
    site.start(&["rollback", "staging", "--yes", "--wait", "60s"]).ended().assert_code(0);
    site.assert_serves("5");
    assert_eq!(site.object(&["deployment", &format!("forge-{left}")])["spec"]["replicas"], 0);
    let refused = site.deploy(&["--strategy", "canary"]).ended();
    refused.assert_code(10).assert_says("nothing was changed");
    for kind in ["Service", "Deployment"] {
        refused.assert_says(&format!("{kind} `forge-canary` is somebody else's"));
        assert!(site.object(&[kind, "forge-canary"]).is_object(), "{kind}");
    }

    // Without a journal nobody knows what is good: it is not left for something that failed.
    site.within(&["delete", "configmap", "forge-releases"]);
    site.overlay("7", &["spec: {template: {spec: {nodeSelector: {no: such}}}}"]);
    site.deploy(&green).ended().assert_code(10).assert_says("nothing is scaled down");
    asking.assert_none_lost();
}

#[test]
fn a_service_that_tells_no_deployments_apart_moves_nobody() {
    let Some(site) = Site::open("shared", Plan::default()) else { return };
    let green = ["--strategy", "blue-green"];
    let label = || site.object(&["service", "forge"])["spec"]["selector"]["forge.xtask/traffic"].clone();
    site.release("1");
    // As somebody leaves it who applies the overlay without us.
    let plain = r#"[{"op": "remove", "path": "/spec/selector/forge.xtask~1traffic"}]"#;
    site.within(&["patch", "service", "forge", "--type=json", "-p", plain]);
    site.overlay("2", &[]);
    let refused = site.deploy(&green).ended();
    refused.assert_code(10).assert_says("release once with --strategy rolling").assert_says("nothing was changed");
    assert!(label().is_null() && site.object(&["deployment", "forge-blue"]).is_null());
    site.deploy(&["--take-over"]).ended().assert_code(0);
    assert_eq!(label(), "stable");
    // Where it is gone, it comes with a version that was verified before.
    site.within(&["delete", "service", "forge"]);
    site.overlay("3", &[]);
    site.deploy(&green).ended().assert_code(0);
    site.assert_serves("3");
    let steps = site.journal().pop().unwrap().steps;
    assert!(steps.iter().any(|taken| taken.step == Step::Promoting), "{steps:?}");

    // A person goes back to a Deployment that is gone: the journal says where users are until it is there again.
    site.within(&["patch", "service", "forge", "--type=json", "-p", plain]);
    site.within(&["delete", "deployment", "forge"]);
    let asking = Asking::begin(site.address());
    site.start(&["rollback", "staging", "--yes"]).ended().assert_code(0);
    asking.assert_none_lost();
    site.assert_serves("2");
}

#[test]
fn users_of_somebody_elses_pods_are_taken_over_once_ours_are_verified() {
    let Some(site) = Site::open("adopted", Plan::default()) else { return };
    site.release("0");
    // The same by somebody who has never heard of us.
    let old = json!({"app": "old"});
    let mut theirs = site.object(&["deployment", "forge"]);
    theirs["metadata"] = json!({"name": "old"});
    theirs["spec"]["selector"] = json!({"matchLabels": old});
    theirs["spec"]["template"]["metadata"] = json!({"labels": old});
    site.project.write("old.json", &theirs.to_string());
    site.within(&["create", "-f", &site.path().join("old.json").display().to_string()]);
    site.within(&["rollout", "status", "deployment/old", "--timeout=60s"]);
    let plain = json!([{"op": "replace", "path": "/spec/selector", "value": old}]).to_string();
    site.within(&["patch", "service", "forge", "--type=json", "-p", &plain]);
    site.within(&["delete", "deployment/forge", "configmap/forge-releases", "hpa/forge"]);
    until("our own pods to go", Duration::from_secs(90), || {
        site.object(&["pods", "-l", "forge.xtask/track=stable"]).is_null().then_some(())
    });
    let leads_to = || site.object(&["service", "forge"])["spec"]["selector"].clone();
    let asking = Asking::begin(site.address());
    let refused = site.deploy(&["--take-over", "--strategy", "blue-green"]).ended();
    refused.assert_code(10).assert_says("release once with --strategy rolling").assert_says("nothing was changed");
    // What fails has never had users, and takes nobody's place.
    site.faulty("1");
    site.deploy(&["--take-over"]).ended().assert_code(10).assert_says("scaled to 0");
    assert_eq!(leads_to(), old);
    // Once they are here nobody knows where they were, whoever moved them: nothing is scaled to nothing under them.
    site.overlay("2", &[]);
    let running = site.deploy(&["--take-over"]).at("[staging] promoting");
    until("the Service is moved", Duration::from_secs(60), || (leads_to() != old).then_some(()));
    running.kill();
    site.faulty("3");
    let failed = site.deploy(&["--take-over", "--wait", "60s"]).ended();
    failed.assert_code(10).assert_says("nothing is scaled down");
    site.overlay("4", &[]);
    site.deploy(&["--take-over"]).ended().assert_code(0);
    asking.assert_none_lost();
    site.assert_serves("4");
    assert_eq!(site.object(&["deployment", "old"])["spec"]["replicas"], 1, "it is somebody else's");
}

#[test]
fn what_a_killed_release_has_left_is_undone_also_by_one_that_cannot_begin() {
    let Some(site) = Site::open("inherited", Plan::default()) else { return };
    site.release("1");
    site.faulty("2");
    site.deploy(&[]).at("[staging] verifying").kill();
    // Together they are more than can be kept, so that this one ends before it changes anything.
    let much = "x".repeat(600 << 10);
    let map = |name: &str| {
        format!(
            "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\nimmutable: true\ndata: {{much: {much}}}\n"
        )
    };
    site.overlay("3", &[]);
    site.adds(&(map("one") + &map("other")));
    let ended = site.deploy(&["--wait", "60s"]).ended();
    ended.assert_code(30);
    site.assert_serves("1");
}

#[test]
fn a_bad_canary_is_gone_before_the_way_back_is_verified() {
    let plan = Plan {
        release: "routes = { chat = 1 }\ncanary_steps = [50]\n",
        more: "[canary]\nrate = 50\nduration = \"24s\"\nwarm_up = \"1s\"\n",
        ..Plan::default()
    };
    Site::open_alone("canary-bad", plan, a_canary_that_answers_nothing);
}

/// What a route sends where, with its weights.
fn weights(site: &Site) -> Vec<String> {
    let route = site.object(&["httproute", "forge"]);
    let backends = route["spec"]["rules"][0]["backendRefs"].as_array().unwrap();
    let backend = |one: &Value| {
        let weight = one["weight"].as_u64().map(|weight| format!(" {weight}")).unwrap_or_default();
        format!("{}{weight}", one["name"].as_str().unwrap())
    };
    backends.iter().map(backend).collect()
}

fn a_canary_that_answers_nothing(site: &Site) {
    site.faulty("0");
    let alone = site.deploy(&["--strategy", "canary"]).ended();
    alone.assert_code(10).assert_says("a canary needs a verified release").assert_says("nothing was changed");
    site.overlay("1", &[]);
    site.route();
    site.deploy(&[]).ended().assert_code(0);
    site.assert_serves("1");
    site.faulty("2");
    site.route();
    let seen = watching(
        || weights(site),
        || {
            let ended = site.deploy(&["--strategy", "canary"]).ended();
            ended.assert_code(30);
            assert_eq!(ended.gate("deploy/canary").verdict, Verdict::Fail, "{}", ended.text);
        },
    );
    let (alone, shared) = (vec!["forge"], vec!["forge 50", "forge-canary 50", "forge-baseline 50"]);
    assert_eq!(seen, [alone.clone(), shared, alone], "by a Gateway users are shared, and are back before the arms go");
    site.assert_serves("1");
    let arms = site.object(&["pods", "-l", "forge.xtask/track in (canary,baseline)"]);
    let stay = arms["items"].as_array().unwrap().iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    assert_eq!(stay.count(), 0);
}

#[test]
fn what_no_journal_knows_is_neither_scaled_to_nothing_nor_paused_in_vain() {
    let plan = Plan { release: "unschedulable_patience = \"3s\"\n", ..Plan::default() };
    let Some(site) = Site::open("journal-lost", plan) else { return };
    site.release("1");
    site.within(&["delete", "configmap", "forge-releases"]);
    site.overlay("2", &["spec: {template: {spec: {nodeSelector: {no: such}}}}"]);
    let ended = site.deploy(&[]).ended();
    ended.assert_code(10).assert_says("nothing is scaled down");
    site.assert_serves("1");
    // One that goes nowhere is refused before it begins.
    site.overlay("1", &[]);
    site.deploy(&[]).ended().assert_code(0);
    site.within(&["rollout", "pause", "deployment/forge"]);
    site.overlay("3", &[]);
    let refused = site.deploy(&[]).ended();
    refused.assert_code(10).assert_says("rollout resume").assert_says("nothing was changed");
    site.assert_serves("1");
}

#[test]
fn a_rollback_that_is_killed_goes_on_to_where_it_was_going() {
    let Some(site) = Site::open("back-killed", Plan::default()) else { return };
    site.release("1");
    site.release("2");
    for step in ["applying", "verifying"] {
        site.start(&["rollback", "staging", "--yes"]).at(&format!("[staging] {step}")).kill();
        site.start(&["rollback", "staging", "--yes", "--wait", "60s"]).ended().assert_code(0);
        site.assert_serves("1");
        // And from there to the other one, by which 2 serves again.
        site.start(&["rollback", "staging", "--yes"]).ended().assert_code(0);
        site.assert_serves("2");
    }
}

#[test]
fn kubectl_proxy_is_started_again_in_the_middle_of_a_release() {
    let Some(site) = Site::open("proxy", Plan::default()) else { return };
    site.release("1");
    site.overlay("2", &[]);
    let running = site.deploy(&[]).at("[staging] watching");
    assert_eq!(running.kill_child("proxy"), 1);
    let running = running.at("[staging] verifying");
    assert_eq!(running.kill_child("proxy"), 1);
    running.ended().assert_code(0);
    site.assert_serves("2");
}

#[test]
fn a_workload_beside_it_that_is_stuck_is_no_release() {
    let Some(site) = Site::open("beside", Plan::default()) else { return };
    site.release("1");
    // Its old pod serves on, and the backend with it.
    site.overlay("2", &[]);
    site.beside("redis", "spec: {template: {spec: {nodeSelector: {no: such}}}}");
    let ended = site.deploy(&[]).ended();
    ended.assert_code(30).assert_says("is not rolled out");
    site.assert_serves("1");
    let redis = site.object(&["deployment", "redis"]);
    assert!(redis["spec"]["template"]["spec"]["nodeSelector"].is_null(), "{redis}");
}
