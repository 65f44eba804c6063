//! The history from outside: every run leaves a line, and push, pull and export carry it on, against a GitHub on loopback.

use serde_json::Value;
use xtask::history::entry::{Entry, Host};
use xtask::model::{GateReport, Report};

use super::hub::{Fault, Hub, REPOSITORY, TOKEN, message};
use super::support::{Project, Ran};

const CONFIG: &str = "[python]\nversions = []\ntools = \"3.12\"\ntools_lock = \"tools.txt\"\n";
const BRANCH: &str = "pipeline-history";

fn project(more: &str) -> Project {
    let project = Project::bare();
    project.write("xtask/config/pipeline.toml", &format!("{CONFIG}{more}"));
    project.write(".gitignore", "/target/\n");
    project.commit();
    project
}

fn declared() -> Project {
    project(&format!("[history]\nbranch = \"{BRANCH}\"\n"))
}

/// As a job of a workflow, with a token.
fn in_actions(project: &mut Project, hub: &Hub) {
    for (name, value) in [
        ("GITHUB_ACTIONS", "true"),
        ("GITHUB_API_URL", hub.url().as_str()),
        ("GITHUB_SERVER_URL", "https://github.com"),
        ("GITHUB_REPOSITORY", REPOSITORY),
        ("GITHUB_RUN_ID", "7"),
        ("GITHUB_REF_NAME", "main"),
        ("GITHUB_TOKEN", TOKEN),
    ] {
        project.set(name, value);
    }
}

/// Runs a command of the history, whose reports lie apart from those of the checks.
#[track_caller]
fn history(project: &Project, args: &[&str], code: i32) -> GateReport {
    project.xtask(&[&["history"], args].concat()).assert_code(code);
    let report = std::fs::read(project.path().join("target/xtask/history/out/report.json")).unwrap();
    serde_json::from_slice::<Report>(&report).unwrap().gates.remove(0)
}

fn check(project: &Project) -> Ran {
    project.xtask(&["ci", "--only", "subjects"])
}

fn remembered(project: &Project) -> Vec<Entry> {
    let text = std::fs::read_to_string(project.path().join("target/xtask/history/runs.jsonl")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_run_leaves_one_line_that_agrees_with_its_report() {
    let mut project = declared();
    project.set("SHOP_TOKEN", "correct-horse-battery");
    project.git(&["checkout", "-q", "-b", "topic-correct-horse-battery"]);
    let ran = check(&project);
    assert_eq!(remembered(&project).len(), 1, "{}", ran.stderr);
    let entry = remembered(&project).remove(0);
    let report = ran.report();
    assert_eq!((entry.verdict, &entry.commit, entry.host), (report.verdict, &report.commit, Host::Laptop));
    assert_eq!((entry.duration_ms, &entry.started), (report.duration_ms, &report.started));
    let ids: Vec<&String> = entry.gates.iter().map(|gate| &gate.id).collect();
    assert_eq!(ids, report.gates.iter().map(|gate| &gate.id).collect::<Vec<_>>());
    // A secret that a branch is named by is in no line.
    assert_eq!(entry.branch, "topic-***");
    let beside = std::fs::read_to_string(project.path().join("target/xtask/out/history.jsonl")).unwrap();
    assert_eq!(serde_json::from_str::<Entry>(&beside).unwrap(), entry);
    // What changes nothing is no run, and neither is what looks after the history itself.
    project.xtask(&["ci", "--only", "subjects", "--dry-run"]);
    project.xtask(&["history", "pull"]);
    assert_eq!(remembered(&project).len(), 1);
    check(&project);
    assert_eq!(remembered(&project).len(), 2);
    assert_ne!(remembered(&project)[0].run, remembered(&project)[1].run);
}

#[test]
fn a_history_that_cannot_be_written_changes_no_verdict() {
    let project = declared();
    let before = check(&project).code;
    std::fs::remove_dir_all(project.path().join("target/xtask/history")).unwrap();
    project.write("target/xtask/history", "a file");
    let ran = check(&project);
    assert_eq!(ran.code, before);
    let said = format!("{}{}", ran.stdout, ran.stderr);
    assert!(said.contains("the history does not have this run"), "{said}");
}

#[test]
fn runs_go_to_the_data_branch_once_and_come_back_elsewhere() {
    let (mut there, hub) = (declared(), Hub::start());
    in_actions(&mut there, &hub);
    check(&there);
    let pushed = history(&there, &["push"], 0);
    assert_eq!((pushed.id.as_str(), pushed.work.count), ("history/push", 1));
    assert_eq!(pushed.findings[0].message, "`pipeline-history`: 1 new, 0 there already");
    history(&there, &["push"], 0);
    let mut files = hub.files(BRANCH);
    // The run, and then the figures of all that are there.
    assert_eq!((files.len(), hub.commits(BRANCH)), (2, 2), "{files:?}");
    let figures = files.remove("metrics.prom").unwrap();
    assert!(figures.contains("forge_gate_runs{gate=\"subjects\"") && figures.contains("host=\"actions\""), "{figures}");
    let entry: Entry = serde_json::from_str(files.values().next().unwrap()).unwrap();
    assert_eq!((entry.host, entry.branch.as_str()), (Host::Actions, "main"));
    assert_eq!(entry.url, format!("https://github.com/{REPOSITORY}/actions/runs/7"));
    // What the checks left is still there for whoever takes it on.
    assert!(there.path().join("target/xtask/out/history.jsonl").is_file());

    let mut here = declared();
    in_actions(&mut here, &hub);
    here.xtask(&["history", "export"]).assert_code(20);
    assert_eq!(history(&here, &["pull"], 0).work.count, 1);
    let exported = here.xtask(&["history", "export", "--format", "json"]);
    exported.assert_code(0);
    let exported: Value = serde_json::from_str(&exported.stdout).unwrap();
    assert_eq!(exported["runs"][0]["run"], entry.run);
    here.xtask(&["history", "export", "--to", "site/metrics.prom"]).assert_code(0);
    let text = std::fs::read_to_string(here.path().join("site/metrics.prom")).unwrap();
    assert!(text.contains("forge_gate_runs{gate=\"subjects\""), "{text}");
    // Reports that other jobs have handed on, each in a folder of its own.
    let folder = here.path().join("target/reports/leg");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::copy(there.path().join("target/xtask/out/history.jsonl"), folder.join("history.jsonl")).unwrap();
    let again = history(&here, &["push", "--from", "target/reports"], 0);
    assert_eq!(hub.commits(BRANCH), 2, "nothing is new");
    assert!(again.findings[0].message.contains("0 new, 1 there already"), "{again:?}");
}

#[test]
fn what_cannot_be_carried_is_no_pass() {
    let (mut project, hub) = (declared(), Hub::start());
    history(&project, &["push"], 20);
    // What ran on a person's machine is theirs.
    check(&project);
    in_actions(&mut project, &hub);
    assert_eq!(history(&project, &["push"], 20).reason, "there is no run to add");
    check(&project);
    // A branch that is not there holds no run.
    history(&project, &["pull"], 20);
    hub.fails([Fault::Instead(403, vec![], message("Resource not accessible by integration"))]);
    assert!(history(&project, &["push"], 20).reason.contains("(403)"));
    project.set("GITHUB_TOKEN", "");
    history(&project, &["push"], 20);
    let undeclared = self::project("").xtask(&["history", "push"]);
    undeclared.assert_code(2);
    assert!(undeclared.stderr.contains("declares no [history]"), "{}", undeclared.stderr);
}
