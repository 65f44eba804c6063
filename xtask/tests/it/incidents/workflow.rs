//! A schedule that is late: seen by `doctor --github`, and by whatever else runs in Actions.

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::super::hub::{Hub, REPOSITORY, TOKEN, message};
use super::super::support::Project;

const GATE: &str = "doctor/github-monitoring";

fn world() -> (Project, Hub) {
    let (mut project, hub) = (Project::bare(), Hub::start());
    let config = "[python]\nversions = []\ntools = \"3.12\"\ntools_lock = \"tools.txt\"\n
[github]\ncheck = \"required\"\nbranches = [\"main\"]\n
[github.monitoring]\nworkflow = \"watch.yml\"\ninterval = \"6h\"\n";
    project.write("xtask/config/pipeline.toml", config);
    project.write(".gitignore", "/target/\n");
    project.commit();
    let variables =
        [("GITHUB_API_URL", hub.url()), ("GITHUB_REPOSITORY", REPOSITORY.into()), ("GITHUB_TOKEN", TOKEN.into())];
    for (name, value) in variables {
        project.set(name, value);
    }
    (project, hub)
}

fn hours_ago(hours: i64) -> String {
    (OffsetDateTime::now_utc() - time::Duration::hours(hours)).format(&Rfc3339).unwrap()
}

fn is(hub: &Hub, state: &str, created: i64, last: Option<i64>) {
    hub.sets("actions/workflows/watch.yml", 200, json!({"id": 1, "state": state, "created_at": hours_ago(created)}));
    let run = |hours| json!({"created_at": hours_ago(hours), "html_url": "https://github.example/runs/1", "status": "completed"});
    let runs: Vec<Value> = last.map(run).into_iter().collect();
    hub.sets("actions/workflows/watch.yml/runs", 200, json!({"total_count": runs.len(), "workflow_runs": runs}));
}

#[test]
fn doctor_names_a_schedule_that_is_late_or_stopped() {
    let (project, hub) = world();
    for (state, created, last, rules) in [
        ("active", 9000, Some(11), vec![]),
        ("active", 9000, Some(13), vec!["monitoring-late"]),
        ("active", 5, None, vec![]),
        ("active", 13, None, vec!["monitoring-late"]),
        ("disabled_inactivity", 9000, Some(2), vec!["monitoring-disabled"]),
    ] {
        is(&hub, state, created, last);
        let ran = project.xtask(&["doctor", "--github"]);
        let found: Vec<&str> = ran.gate(GATE).findings.iter().map(|finding| finding.rule.as_str()).collect();
        assert_eq!(found, rules, "{state} {created} {last:?}");
        let verdict = if rules.is_empty() { xtask::verdict::Verdict::Pass } else { xtask::verdict::Verdict::Fail };
        assert_eq!(ran.gate(GATE).verdict, verdict);
    }
    let asked = hub.requests().into_iter().find(|one| one.path.ends_with("watch.yml/runs")).unwrap();
    assert_eq!((asked.query["event"].as_str(), asked.query["per_page"].as_str()), ("schedule", "1"));
    hub.sets("actions/workflows/watch.yml", 404, message("Not Found"));
    let ran = project.xtask(&["doctor", "--github"]);
    assert!(ran.gate(GATE).reason.contains("(404)") && ran.red().contains(&GATE), "{}", ran.gate(GATE).reason);
}

#[test]
fn any_run_of_ci_in_actions_looks_over_the_fence_by_one_request() {
    let (mut project, hub) = world();
    is(&hub, "active", 9000, Some(30));
    // On a laptop nobody asks.
    assert!(!project.xtask(&["ci"]).stdout.contains("late"));
    assert!(hub.asked().is_empty());
    project.set("GITHUB_ACTIONS", "true");
    // Nor does a leg of a run that is spread over machines.
    project.xtask(&["ci", "--only", "subjects"]);
    assert!(hub.asked().is_empty());
    let ran = project.xtask(&["ci"]);
    let warning =
        ran.stdout.lines().find(|line| line.starts_with("::warning::")).unwrap_or_else(|| panic!("{}", ran.stdout));
    assert!(warning.contains("`watch.yml` is meant to start every 6 h, and last did 1 d 6 h ago"), "{warning}");
    assert_eq!(hub.asked(), ["GET actions/workflows/watch.yml/runs"]);
    let code = ran.code;
    // Kept, refused or without an answer: not a word, and the same verdict.
    is(&hub, "active", 9000, Some(3));
    assert!(!project.xtask(&["ci"]).stdout.contains("::warning::the monitoring"));
    hub.sets("actions/workflows/watch.yml/runs", 403, message("Resource not accessible by integration"));
    let ran = project.xtask(&["ci"]);
    assert!(ran.code == code && !ran.stdout.contains("::warning::the monitoring"), "{}", ran.stdout);
}

#[test]
fn whoever_releases_or_looks_in_actions_notices_too() {
    let (mut project, hub) = world();
    is(&hub, "active", 9000, Some(30));
    project.set("GITHUB_ACTIONS", "true");
    for command in
        [&["monitor", "production"][..], &["deploy", "production", "--yes"], &["rollback", "production", "--yes"]]
    {
        let ran = project.xtask(command);
        assert!(
            ran.stdout.contains("::warning::the monitoring is late: `watch.yml`"),
            "{command:?}: {}\n{}",
            ran.stdout,
            ran.stderr
        );
    }
}
