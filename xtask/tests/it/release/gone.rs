//! The API server is gone in the middle of a release: nothing is decided while it is, and any machine goes on afterwards
//! (R40). It is gone behind a proxy of ours, so that nobody else misses it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use xtask::release::journal::Outcome;

use super::door::Door;
use super::run::Running;
use super::site::{Plan, Site};

/// Puts a door before the API, and makes it the way that the program takes.
fn before_api(site: &mut Site) -> Door {
    let config = site.kubectl(&["config", "view", "--raw", "--minify", "--flatten", "-o", "json"]);
    let mut config: Value = serde_json::from_str(&config).unwrap();
    let cluster = &mut config["clusters"][0]["cluster"];
    let door = Door::before(cluster["server"].as_str().unwrap().trim_start_matches("https://").parse().unwrap());
    cluster["server"] = json!(format!("https://{}", door.address()));
    cluster["tls-server-name"] = json!("kubernetes");
    site.project.write("target/kubeconfig", &config.to_string());
    let path = site.path().join("target/kubeconfig");
    site.project.set("KUBECONFIG", path);
    door
}

/// Nothing ends and nothing is said to be decided while the API is away for so long.
fn away(door: &Door, running: Running, time: Duration) -> Running {
    door.close();
    let begun = Instant::now();
    let mut running = running;
    while begun.elapsed() < time {
        let line = running.next_within(Duration::from_millis(200)).unwrap_or_default();
        let decided = ["restoring", "serves and is verified", "the release failed"];
        assert!(!decided.iter().any(|words| line.contains(words)), "{line}");
    }
    door.open();
    running
}

fn borne(site: &Site, door: &Door, step: &str, time: Duration) {
    site.overlay(step, &[]);
    let running = site.deploy(&[]).at(&format!("[staging] {step}"));
    let ended = away(door, running, time).ended();
    ended.assert_code(0);
    site.assert_serves(step);
    eprintln!("FIGURE | API gone for {} s while {step} | verified | {:.1} s", time.as_secs(), ended.took.as_secs_f64());
}

/// Gone for longer than the lock lives.
fn too_long(site: &Site, door: &Door, step: &str) {
    site.overlay(&format!("long-{step}"), &[]);
    let running = site.deploy(&[]).at(&format!("[staging] {step}"));
    door.close();
    let begun = Instant::now();
    let ended = running.ended();
    ended.assert_code(20).assert_says("nothing is decided").assert_says("go on with `cargo xtask deploy staging");
    let took = begun.elapsed();
    door.open();
    let killed = site.journal().last().unwrap().clone();
    assert_eq!(killed.outcome, Outcome::Running, "{}", ended.text);
    site.deploy(&["--wait", "120s"]).ended().assert_code(0);
    site.assert_serves(&format!("long-{step}"));
    let told = site.journal().into_iter().find(|entry| entry.id == killed.id).unwrap();
    assert_eq!(told.outcome, Outcome::Interrupted);
    eprintln!("FIGURE | API gone for good while {step} | exit 20 | {:.1} s", took.as_secs_f64());
}

#[test]
fn while_the_api_is_gone_nothing_is_decided_and_a_later_run_goes_on() {
    let Some(mut site) = Site::open("gone", Plan { lock: 10, ..Plan::default() }) else { return };
    let door = before_api(&mut site);
    site.release("0");
    borne(&site, &door, "watching", Duration::from_secs(6));
    borne(&site, &door, "verifying", Duration::from_secs(6));
    too_long(&site, &door, "watching");
}

#[test]
#[ignore = "`cargo xtask cluster test` runs it: each outage is a minute"]
fn an_api_that_is_gone_for_a_minute() {
    let Some(mut site) = Site::open("gone-long", Plan { lock: 90, ..Plan::default() }) else { return };
    let door = before_api(&mut site);
    site.release("0");
    for step in ["applying", "watching", "verifying"] {
        borne(&site, &door, step, Duration::from_secs(60));
    }
    too_long(&site, &door, "verifying");
}
