//! Two releases at once, from a laptop and from a workflow: one lock for both (R20), and whoever loses it stops.

use std::time::Duration;

use xtask::release::journal::{Outcome, Step};

use super::site::{Plan, Site};

/// As GitHub Actions sets them.
const WORKFLOW: [(&str, &str); 5] = [
    ("GITHUB_ACTIONS", "true"),
    ("GITHUB_ACTOR", "bert"),
    ("GITHUB_SERVER_URL", "https://github.example"),
    ("GITHUB_REPOSITORY", "shop/forge"),
    ("GITHUB_RUN_ID", "7"),
];

#[test]
fn of_two_releases_the_second_is_told_who_is_at_it_and_can_wait() {
    let Some(site) = Site::open("locks", Plan::default()) else { return };
    let image = site.image();
    let deploy = ["deploy", "staging", "--image", &image];
    let first = site.deploy(&[]).at("[staging] applying");
    let second = site.start_with(&deploy, &WORKFLOW).ended();
    second.assert_code(40).assert_says("another release holds the lock: anna@").assert_says("nothing was changed");
    assert!(second.took < Duration::from_secs(20), "{:?}", second.took);
    first.ended().assert_code(0);
    assert_eq!(site.journal().len(), 1, "whoever did not get the lock writes nothing");

    site.overlay("2", &[]);
    let workflow = site.start_with(&deploy, &WORKFLOW).at("[staging] applying");
    let laptop = site.deploy(&[]).ended();
    laptop
        .assert_code(40)
        .assert_says("another release holds the lock: bert (GitHub Actions)")
        .assert_says("https://github.example/shop/forge/actions/runs/7");
    workflow.ended().assert_code(0);
    site.assert_serves("2");

    // What differs is shown before the lock is there, so one that waits has to look at it once more where the other one
    // has changed what serves; a faulty one has not.
    site.faulty("3");
    let faulty = site.start_with(&deploy, &WORKFLOW).at("[staging] applying");
    site.overlay("4", &[]);
    let waited = site.deploy(&["--wait", "90s"]).at("waiting");
    faulty.ended().assert_code(30);
    waited.ended().assert_code(0);
    site.assert_serves("4");
    let who: Vec<String> = site.journal().into_iter().map(|entry| entry.who).collect();
    assert_eq!(who.iter().filter(|who| *who == "bert (GitHub Actions)").count(), 2, "{who:?}");
}

#[test]
fn whoever_has_lost_the_lock_goes_neither_forward_nor_back() {
    // Its heartbeat comes long after the next step.
    let Some(site) = Site::open("lost-lock", Plan { lock: 120, ..Plan::default() }) else { return };
    site.release("1");
    site.faulty("2");
    let running = site.deploy(&[]).at("[staging] verifying");
    // As for a machine that slept: somebody else is at it by now.
    let theirs =
        "{\"spec\":{\"holderIdentity\":\"berts\"},\"metadata\":{\"annotations\":{\"forge.xtask/who\":\"bert\"}}}";
    site.within(&["patch", "lease", "forge-release", "--type=merge", "-p", theirs]);
    let ended = running.ended();
    ended.assert_code(20).assert_says("the lock was taken from us by bert").assert_says("nothing is decided");
    let entry = site.journal().pop().unwrap();
    assert_eq!(entry.outcome, Outcome::Running, "the last word is not ours");
    assert!(!entry.steps.iter().any(|taken| taken.step == Step::Restoring), "{:?}", entry.steps);
    assert_eq!(site.holder().as_deref(), Some("berts"));
}

#[test]
fn whoever_has_lost_the_lock_on_the_way_back_clears_nothing_away() {
    let Some(site) = Site::open("lost-back", Plan { lock: 120, ..Plan::default() }) else { return };
    site.release("1");
    site.faulty("2");
    site.adds("apiVersion: v1\nkind: Service\nmetadata: {name: worker}\nspec: {selector: {app: worker}, ports: [{port: 80}]}\n");
    let running = site.deploy(&["--strategy", "blue-green"]).at("[staging] verifying_restored");
    let theirs = r#"{"spec":{"holderIdentity":"berts"},"metadata":{"annotations":{"forge.xtask/who":"bert"}}}"#;
    site.within(&["patch", "lease", "forge-release", "--type=merge", "-p", theirs]);
    let ended = running.ended();
    ended.assert_code(20).assert_says("the lock was taken from us by bert").assert_says("nothing is decided");
    assert_eq!(site.journal().pop().unwrap().outcome, Outcome::Running, "the last word is not ours");
    // By now these may be what the other one has made.
    assert!(site.object(&["service", "worker"]).is_object());
    assert_ne!(site.object(&["deployment", "forge-blue"])["spec"]["replicas"], 0);
    assert_eq!(site.holder().as_deref(), Some("berts"));
}
