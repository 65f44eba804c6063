//! Rehearsals: each planted fault is undone, and a rehearsal in which one is not is red.

use serde_json::Value;
use xtask::verdict::Verdict;

use super::run::Ended;
use super::site::{Plan, Site};
use crate::support::Project;

/// What a machine bears on which much else is going on: no load, and time.
const SHORT: &str = "[rehearsal]\npull = \"5s\"\nunschedulable = \"60s\"\nlock = \"5s\"\nload = \"0s\"";

/// Rehearses some faults on the cluster that is up, which is one of another checkout here.
fn rehearse(site: &Site, faults: &[&str]) -> Ended {
    let (image, context) = (site.image(), site.kubectl(&["config", "current-context"]));
    let mut args = vec!["deploy", "staging", "--rehearse", "--image", &image, "--context", context.trim()];
    args.extend(faults.iter().flat_map(|fault| ["--fault", fault]));
    // Where the machine has no time even for a good version nothing was rehearsed, and the report says so.
    for _ in 0..2 {
        let ended = site.start(&args).ended();
        if ended.gate("rehearse/good").verdict == Verdict::Pass {
            return ended;
        }
        ended.assert_code(20);
    }
    site.start(&args).ended()
}

/// The namespaces of rehearsals that nobody has thrown away, of those that are named.
fn left(site: &Site, said: &str) -> Vec<String> {
    let all: Value = serde_json::from_str(&site.kubectl(&["get", "namespaces", "-o", "json"])).unwrap();
    let stays = |space: &&Value| space["metadata"].get("deletionTimestamp").is_none();
    let names = all["items"].as_array().unwrap().iter().filter(stays);
    let names = names.map(|space| space["metadata"]["name"].as_str().unwrap().to_owned());
    names.filter(|name| name.starts_with("rehearsal-") && said.contains(name.trim_end_matches("-first"))).collect()
}

#[test]
fn a_fault_that_nobody_knows_is_no_rehearsal() {
    let project = Project::ours();
    for more in [&["--dry-run"][..], &[]] {
        let ran = project.xtask(&[&["deploy", "staging", "--rehearse", "--fault", "crush"], more].concat());
        ran.assert_code(2);
        assert!(ran.stderr.contains("no fault `crush`") && ran.stderr.contains("crash"), "{}", ran.stderr);
    }
    project.xtask(&["deploy", "staging", "--rehearse", "--fault", "crash", "--dry-run"]).assert_code(0);
}

#[test]
fn a_rehearsal_shows_that_a_fault_is_undone_and_leaves_nothing() {
    let Some(site) = Site::open("rehearsal", Plan { more: SHORT, ..Plan::default() }) else { return };
    let ended = rehearse(&site, &["crash"]);
    ended.assert_code(0).assert_says("rehearsing staging in the namespace rehearsal-");
    for gate in ["cluster", "good", "crash", "first"] {
        let id = format!("rehearse/{gate}");
        assert!(ended.gate(&id).work.count > 0, "{}", ended.text);
    }
    let rows = std::fs::read_to_string(ended.out.join("rehearsal.json")).unwrap();
    let rows: Vec<Value> = serde_json::from_str(&rows).unwrap();
    let ends: Vec<(&str, i64)> =
        rows.iter().map(|row| (row["fault"].as_str().unwrap(), row["code"].as_i64().unwrap())).collect();
    assert_eq!(ends, [("good", 0), ("crash", 30), ("first", 10)]);
    assert!(rows[1]["detected_s"].is_number() && rows[1]["restored_s"].is_number(), "{rows:?}");
    assert_eq!(rows[1]["lost"], 0, "{rows:?}");
    assert!(rows[1]["asked"].as_u64().unwrap() > 0, "{rows:?}");
    assert_eq!(left(&site, &ended.text), Vec::<String>::new());
    assert!(site.journal().is_empty(), "the environment's own namespace was not touched");
    let remembered = std::fs::read_dir(site.path().join("target/xtask/history")).unwrap();
    let lines: String = remembered.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    assert!(lines.contains("rehearse/crash"), "{lines}");
    assert!(!lines.contains("deploy/rollout"), "a release of a rehearsal is none of the environment's: {lines}");
}

/// Whoever asks nothing but what a fault spares does not see it: that is what a rehearsal is for.
#[test]
fn a_rehearsal_of_an_environment_that_does_not_see_a_fault_is_red() {
    let Some(site) = Site::open("blind", Plan { more: SHORT, ..Plan::default() }) else { return };
    let requests =
        "requests = [\"health\", \"ready\", \"providers\", \"openapi\", \"chat\", \"chat-streamed\", \"chat-refused\"]";
    site.project.edit("ci/pipeline.toml", requests, "requests = [\"health\", \"ready\"]");
    site.project.commit();
    let ended = rehearse(&site, &["smoke"]);
    ended.assert_code(10);
    let rules: Vec<&str> = ended.gate("rehearse/smoke").findings.iter().map(|found| &*found.rule).collect();
    assert!(rules.contains(&"exit") && rules.contains(&"journal"), "{rules:?}\n{}", ended.text);
    assert_eq!(left(&site, &ended.text), Vec::<String>::new());
}
