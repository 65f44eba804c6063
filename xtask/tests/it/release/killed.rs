//! SIGKILL at every step: whoever runs the same command again needs no hand work (R20).

use std::time::Duration;

use super::site::{Plan, Site};
use xtask::release::journal::Outcome;

/// The same command after the one at `step` was killed; the killed one is told in the journal.
#[track_caller]
fn again(site: &Site, step: &str, arguments: &[&str], code: i32) {
    let killed = site.journal().last().unwrap().clone();
    let ended = site.deploy(&[&["--wait", "60s"], arguments].concat()).ended();
    ended.assert_code(code);
    assert!(ended.took < Duration::from_secs(5 + 60), "{step}: {:?}", ended.took);
    let journal = site.journal();
    let told = journal.iter().find(|entry| entry.id == killed.id).unwrap();
    // Between its last words and its end a release is verified already.
    let became = if killed.outcome == Outcome::Verified { Outcome::Verified } else { Outcome::Interrupted };
    assert_eq!(told.outcome, became, "{step}");
    eprintln!(
        "killed at {step} ({}): {} after {:.1} s",
        killed.step().name(),
        if code == 0 { "verified" } else { "restored" },
        ended.took.as_secs_f64()
    );
}

#[test]
fn a_release_that_is_killed_at_any_step_forward_is_made_good_by_the_same_command() {
    let Some(site) = Site::open("killed", Plan::default()) else { return };
    site.release("0");
    for (version, step) in ["begun", "applying", "watching", "verifying", "accepting"].iter().enumerate() {
        let version = (version + 1).to_string();
        site.overlay(&version, &[]);
        site.deploy(&[]).at(&format!("[staging] {step}")).kill();
        again(&site, step, &[], 0);
        site.assert_serves(&version);
        assert_eq!(site.journal().last().unwrap().outcome, Outcome::Verified);
    }
}

#[test]
fn one_that_is_killed_while_it_goes_back_or_while_the_service_is_moved_is_too() {
    let Some(site) = Site::open("killed-back", Plan::default()) else { return };
    site.release("0");
    for step in ["restoring", "verifying_restored"] {
        site.faulty(step);
        site.deploy(&[]).at(&format!("[staging] {step}")).kill();
        again(&site, step, &[], 30);
        site.assert_serves("0");
    }
    site.overlay("1", &[]);
    let green = ["--strategy", "blue-green"];
    site.deploy(&green).at("[staging] promoting").kill();
    again(&site, "promoting", &green, 0);
    site.assert_serves("1");
}
