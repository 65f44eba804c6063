//! Two releases at once, from a laptop and from a workflow: one lock for both (R20).

use std::time::Duration;

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
