//! What is refused before anything is changed, what could not be verified, and a first release that fails (R22, R40, R41).

use xtask::release::journal::Outcome;
use xtask::verdict::Verdict;

use super::site::{Plan, Site};

#[test]
fn another_cluster_under_the_same_context_is_no_place_to_release_to() {
    let Some(site) = Site::open("other", Plan::default()) else { return };
    let context = site.kubectl(&["config", "current-context"]);
    site.environment(context.trim(), "00000000-0000-4000-8000-000000000000");
    let refused = site.deploy(&[]).ended();
    refused.assert_code(2).assert_says("leads to the cluster").assert_says("nothing was done");
    assert_eq!(site.kubectl(&["get", "namespace", "--ignore-not-found", "-o", "name", &site.namespace]), "");
}

#[test]
fn a_first_release_that_fails_is_scaled_to_nothing_and_says_why() {
    let Some(site) = Site::open("first", Plan::default()) else { return };
    site.overlay(
        "1",
        &["spec: {template: {spec: {containers: [{name: forge, command: [python, -c, 'raise OSError(77)']}]}}}"],
    );
    let failed = site.deploy(&[]).ended();
    failed.assert_code(10).assert_says("scaled to 0");
    let gate = failed.gate("deploy/rollout");
    let told: String = gate.findings.iter().map(|found| found.message.clone()).collect();
    assert!(told.contains("OSError: 77"), "the last lines of its log: {told}");
    let deployment = site.object(&["deployment", "forge"]);
    assert_eq!(deployment["spec"]["replicas"], 0, "its objects stay to be looked at");
    let last = site.journal().pop().unwrap();
    assert_eq!((last.outcome, last.restored.as_str()), (Outcome::Failed, ""));
    assert_eq!(site.holder(), None);
    let told = site.remembered().pop().unwrap();
    assert_eq!((told.id.as_str(), told.outcome, told.from.as_str()), (last.id.as_str(), Outcome::Failed, ""));
    assert!(told.applied.is_some() && told.detection_ms.is_some(), "{told:?}");
    assert_eq!((told.restore_ms, told.lead_time_ms), (None, None), "{told:?}");
    // Its end is not the last word.
    site.release("2");
    let told = site.remembered().pop().unwrap();
    assert_eq!(
        (told.outcome, told.environment.as_str(), told.digest.as_str()),
        (Outcome::Verified, "staging", last.digest())
    );
}

/// A load that has figures of no answer of a language model, for which pipeline.toml has thresholds.
const LOAD: &str = "\n[perf.load.short]\nwarm_up = \"1s\"\n[perf.load.short.scenarios.users]\nexecutor = \"constant-vus\"\n\
                    vus = 1\nduration = \"3s\"\n";

#[test]
fn a_verification_that_cannot_run_is_no_failure_and_no_success() {
    let plan = Plan { release: "verify_patience = \"4s\"\n", ..Plan::default() };
    let Some(site) = Site::open("unverified", plan) else { return };
    site.release("1");
    let text = site.project.read("ci/pipeline.toml");
    site.project.write("ci/pipeline.toml", &(text + LOAD));
    site.project.edit(
        "ci/staging.toml",
        "verify_patience",
        "load = \"short\"\nroutes = { health = 1 }\nverify_patience",
    );
    site.overlay("2", &[]);
    let ended = site.deploy(&[]).ended();
    ended
        .assert_code(30)
        .assert_says("could not be verified, which is no proof that it fails")
        .assert_says("once more");
    assert_eq!(ended.gate("deploy/perf").verdict, Verdict::DidNotRun);
    let last = site.journal().pop().unwrap();
    assert_eq!(last.outcome, Outcome::NotVerified);
    assert!(!last.restored.is_empty());
    let told = site.remembered().pop().unwrap();
    assert_eq!(
        (told.outcome, &told.restored, told.from.as_str()),
        (Outcome::NotVerified, &last.restored, last.digest())
    );
    assert!(told.restore_ms.is_some_and(|took| took > 0), "{told:?}");
    site.assert_serves("1");
}
