//! R3: `ci --merge` is green only when every gate of this commit's plan was reported once, and passed.

use super::support::{Project, Ran};
use xtask::verdict::Verdict;

/// What each machine of the matrix would run, by the names that the plan gives them.
const LEGS: [&str; 4] = ["subjects", "test-matrix/3.12", "docs", "policy"];

fn legs(project: &Project) {
    for (index, gate) in LEGS.iter().enumerate() {
        project
            .xtask(&["ci", "--only", gate, "--profile", "actions", "--out", &format!("target/legs/{index}")])
            .assert_code(0);
    }
}

fn merge(project: &Project) -> Ran {
    project.xtask(&["ci", "--merge", "target/legs", "--profile", "actions"])
}

#[test]
fn legs_from_several_machines_become_one_verdict() {
    let project = Project::shop();
    legs(&project);
    let merged = merge(&project);
    merged.assert_code(0);
    let ids: Vec<&str> = merged.report().gates.iter().map(|gate| gate.id.as_str()).collect();
    assert_eq!(ids, ["subjects", "policy", "test-matrix/3.12", "test-matrix/coverage", "docs"]);
    assert_eq!(merged.gate("test-matrix/3.12").work.count, 2);
    for file in ["coverage.xml", "junit.xml", "summary.md", "site/index.html", "junit/3.12.xml"] {
        assert!(project.path().join("target/xtask/out").join(file).is_file(), "{file}");
    }
    assert!(project.read("target/xtask/out/junit.xml").contains("test_apple"));
}

#[test]
fn what_is_missing_doubled_foreign_or_untrue_did_not_run() {
    let project = Project::shop();
    legs(&project);
    let leg = |index: usize| project.path().join(format!("target/legs/{index}/report.json"));
    let docs = std::fs::read_to_string(leg(2)).unwrap();
    let refused = |words: &str| {
        let ran = merge(&project);
        ran.assert_code(20);
        assert_eq!(ran.gate("docs").verdict, Verdict::DidNotRun);
        assert!(ran.stdout.contains(words), "{words}: {}", ran.stdout);
    };
    // Missing.
    std::fs::remove_file(leg(2)).unwrap();
    refused("no leg reported this gate");
    // Of another commit, another profile, another format, of a changed tree, or cut short.
    let commit = docs.lines().find(|line| line.contains("\"commit\"")).unwrap();
    for (from, to, words) in [
        (commit, "  \"commit\": \"0000\",", "it is of commit 0000"),
        ("\"profile\": \"actions\"", "\"profile\": \"local\"", "its profile is local, not actions"),
        ("forge-report/1", "forge-report/9", "its format is `forge-report/9`"),
        ("\"dirty\": false", "\"dirty\": true", "its working tree differed"),
        ("\"gates\"", "\"grates\"", "it is not a report"),
    ] {
        assert!(docs.contains(from), "{from}");
        std::fs::write(leg(2), docs.replace(from, to)).unwrap();
        refused(words);
    }
    std::fs::write(leg(2), &docs[..docs.len() / 2]).unwrap();
    refused("it is not a report");
    // A pass without work.
    std::fs::write(leg(2), docs.replace("\"count\": 2", "\"count\": 0")).unwrap();
    refused("did no work: 0 pages");
    // An artifact outside of the folder, or one that did not arrive.
    std::fs::write(leg(2), docs.replace("\"site/\"", "\"../../../pyproject.toml\"")).unwrap();
    refused("lies outside");
    // A folder of artifacts that did not arrive.
    std::fs::write(leg(2), &docs).unwrap();
    std::fs::rename(project.path().join("target/legs/2/site"), project.path().join("target/site")).unwrap();
    refused("the artifact `site/` did not arrive");
    std::fs::rename(project.path().join("target/site"), project.path().join("target/legs/2/site")).unwrap();
    // Part of a leg, by another command.
    std::fs::write(leg(2), docs.replace("\"task\": \"ci\"", "\"task\": \"docs\"")).unwrap();
    refused("it is of the task `docs`");
    // Doubled.
    std::fs::write(leg(2), &docs).unwrap();
    std::fs::create_dir_all(project.path().join("target/legs/again")).unwrap();
    std::fs::write(project.path().join("target/legs/again/report.json"), &docs).unwrap();
    refused("2 legs reported this gate");
}

#[test]
fn a_red_leg_makes_the_whole_red() {
    let project = Project::shop();
    project.edit("manual/docs/index.md", "prices.md", "nowhere.md");
    project.commit();
    for (index, gate) in LEGS.iter().enumerate() {
        project.xtask(&["ci", "--only", gate, "--profile", "actions", "--out", &format!("target/legs/{index}")]);
    }
    let merged = merge(&project);
    merged.assert_code(10);
    assert_eq!(merged.red(), ["docs"]);
    assert_eq!(merged.gate("docs").findings[0].line, Some(3));
}

#[test]
fn where_nothing_arrived_no_gate_was_reported() {
    let project = Project::shop();
    let merged = merge(&project);
    merged.assert_code(20);
    assert_eq!(merged.red().len(), 5);
    assert_eq!(merged.gate("docs").reason, "no leg reported this gate");
}

#[test]
fn a_job_that_was_skipped_makes_the_whole_red() {
    let mut project = Project::shop();
    legs(&project);
    project.set("NEEDS", r#"{"plan": {"result": "success"}, "gate": {"result": "success"}}"#);
    let merged = merge(&project);
    merged.assert_code(0);
    assert_eq!(merged.gate("jobs").work.count, 2);
    project.set("NEEDS", r#"{"plan": {"result": "success"}, "gate": {"result": "skipped"}}"#);
    let merged = merge(&project);
    merged.assert_code(10);
    assert_eq!(merged.red(), ["jobs"]);
    // In Actions it is never left out.
    let mut in_actions = Project::shop();
    legs(&in_actions);
    in_actions.set("GITHUB_ACTIONS", "true");
    let merged = merge(&in_actions);
    merged.assert_code(20);
    assert_eq!(merged.red(), ["jobs"]);
}
