//! One incident from its first failure to its end, and what is never touched.

use std::sync::Arc;

use serde_json::{Value, json};
use xtask::tools::cancel;
use xtask::verdict::{Finding, Severity, Verdict};

use super::super::hub::{Asked, Fault, Turns, message};
use super::site::{ALERTS, Site, did_not_run, fails, gate, names, passes, short};

#[test]
fn a_failure_is_told_once_to_more_after_a_day_and_when_it_is_over() {
    let site = Site::new();
    assert_eq!(site.run(0, &[passes()]), [""; 0]);
    assert!(site.hub.issues().is_empty());
    site.log("monitor/health/pods", "1\n2\n3\n4\n5\nsk-a-secret-of-the-backend and 7\n");
    assert_eq!(site.run(6, &[fails("`forge-1-a` is not ready: CrashLoopBackOff")]), ["health/pods failing: opened"]);
    let issue = site.hub.issue(1);
    let labels = ["incident", "on-the-dashboard", "environment/production", "kind/health", "severity/high"];
    assert_eq!(names(&issue, "labels", "name"), labels);
    assert_eq!(names(&issue, "assignees", "login"), ["dev"]);
    assert_eq!(issue["title"], "production: health/pods is failing");
    let body = issue["body"].as_str().unwrap();
    for part in [
        "| last good | 2026-11-23 18:00 UTC |",
        "| first bad | 2026-11-24 05:58 UTC |",
        "<https://github.example/forge/shop/actions/runs/7>",
        "CrashLoopBackOff",
        "\n2\n3\n4\n5\n*** and 7\n",
        "cargo xtask rollback production",
    ] {
        assert!(body.contains(part), "{part} is not in\n{body}");
    }
    assert_eq!(site.chat.lines(), [":red_circle: production: health/pods is failing (severity high)"]);

    // The same again, of another pod: the page is kept up to date, and nobody is told.
    assert_eq!(site.run(12, &[fails("`forge-1-b` is not ready: CrashLoopBackOff")]), [""; 0]);
    assert!(site.hub.comments(1).is_empty() && site.chat.heard().is_empty());
    assert!(site.hub.issue(1)["body"].as_str().unwrap().contains("| last looked at | 2026-11-24 12:00 UTC |"));

    assert_eq!(site.run(18, &[fails("`forge-1-b` is not ready: OOMKilled")]), ["health/pods failing: changed"]);
    assert!(site.hub.comments(1)[0].contains("OOMKilled") && site.chat.heard().is_empty());

    assert_eq!(
        site.run(30, &[fails("`forge-1-b` is not ready: OOMKilled")]),
        ["health/pods failing: escalated on-call"]
    );
    let issue = site.hub.issue(1);
    assert!(names(&issue, "labels", "name").contains(&"on-call".to_owned()));
    assert_eq!(names(&issue, "assignees", "login"), ["dev", "grace"]);
    assert_eq!(site.chat.lines(), [":rotating_light: production: health/pods is still open: escalated to on-call"]);
    assert!(site.hub.comments(1)[1].contains("Open for **1 d**"), "{}", site.hub.comments(1)[1]);
    assert_eq!(site.run(36, &[fails("`forge-1-b` is not ready: OOMKilled")]), [""; 0]);

    assert_eq!(site.run(42, &[passes()]), [""; 0]);
    let body = site.hub.issue(1)["body"].as_str().unwrap().to_owned();
    assert!(body.contains("| following runs that passed | 1 of 2 |") && body.contains("OOMKilled"), "{body}");
    assert_eq!(site.run(48, &[passes()]), ["health/pods failing: closed"]);
    let issue = site.hub.issue(1);
    assert_eq!((&issue["state"], &issue["state_reason"]), (&json!("closed"), &json!("completed")));
    let told = site.hub.comments(1);
    assert!(
        told[2].contains("It lasted **1 d 12 h**, from 2026-11-24 05:58 UTC to 2026-11-25 17:58 UTC."),
        "{}",
        told[2]
    );
    assert_eq!(site.chat.lines(), [":large_green_circle: production: health/pods is well again after 1 d 12 h"]);
    assert_eq!((told.len(), site.run(54, &[passes()]).len()), (3, 0));

    // The next failure is another incident.
    assert_eq!(site.run(60, &[fails("again")]), ["health/pods failing: opened"]);
    assert_eq!((site.open().len(), site.hub.issues().len()), (1, 2));
}

#[test]
fn a_check_that_did_not_run_is_not_watched_and_says_nothing_of_the_service() {
    let site = Site::new();
    let optional =
        |verdict| xtask::model::GateReport { required: false, ..gate("security/image", verdict, "no scanner") };
    assert_eq!(site.run(0, &[did_not_run(), optional(Verdict::DidNotRun)]), ["health/pods unwatched: opened"]);
    let issue = site.hub.issue(1);
    assert!(names(&issue, "labels", "name").ends_with(&["severity/medium".to_owned(), "unwatched".to_owned()]));
    assert_eq!(site.run(6, &[did_not_run()]), [""; 0]);
    // It fails: it is watched again, and another incident begins.
    let told = site.run(12, &[fails("bad")]);
    assert_eq!(told, ["health/pods failing: opened", "health/pods unwatched: closed"]);
    assert_eq!(site.run(18, &[passes()]), [""; 0]);
    // Not run between two passes: the count stays, and it is told that nobody looked.
    assert_eq!(site.run(24, &[did_not_run()]), ["health/pods unwatched: opened"]);
    assert_eq!(site.run(30, &[passes()]), ["health/pods failing: closed", "health/pods unwatched: closed"]);
    assert_eq!((site.open().len(), site.hub.issues().len()), (0, 3));
    let lines = site.chat.lines();
    assert_eq!(lines[0], ":white_circle: production: health/pods is not watched (severity medium)");
    assert_eq!(lines.last().unwrap(), ":large_green_circle: production: health/pods is watched again after 6 h");
    assert_eq!(lines.len(), 6);
}

#[test]
fn each_check_has_an_issue_of_its_own_and_a_severity_that_changes_is_told() {
    let site = Site::new();
    let endpoints = gate("health/endpoints", Verdict::Fail, "GET /health: status 500");
    let mut image = gate("security/image", Verdict::Fail, "CVE-1");
    image.findings = vec![Finding::new("CVE-1", Severity::Low, "openssl")];
    let told = site.run(0, &[endpoints.clone(), image.clone(), passes()]);
    assert_eq!(told, ["health/endpoints failing: opened", "security/image failing: opened"]);
    let severities: Vec<String> =
        site.hub.issues().iter().map(|issue| names(issue, "labels", "name")[4].clone()).collect();
    assert_eq!(severities, ["severity/critical", "severity/low"]);
    assert_eq!(names(&site.hub.issue(1), "assignees", "login"), ["ada", "bert"]);
    image.findings.push(Finding::new("CVE-2", Severity::Critical, "zlib"));
    assert_eq!(site.run(6, &[endpoints, image]), ["security/image failing: changed"]);
    assert!(names(&site.hub.issue(2), "labels", "name").contains(&"severity/critical".to_owned()));
    assert!(!names(&site.hub.issue(2), "labels", "name").contains(&"severity/low".to_owned()));
    assert!(site.hub.comments(2)[0].contains("Its severity is **critical** now, and was low."));
    // Those who answer for what is critical are assigned now; of what became less bad nobody is.
    assert_eq!(names(&site.hub.issue(2), "assignees", "login"), ["dev", "ada", "bert"]);
    let mut other = gate("security/image", Verdict::Fail, "CVE-1");
    other.findings = vec![Finding::new("CVE-1", Severity::Low, "openssl")];
    site.hub.edits(2, |issue| issue["assignees"] = json!([]));
    assert_eq!(site.run(12, &[other]), ["security/image failing: changed"]);
    assert!(names(&site.hub.issue(2), "assignees", "login").is_empty());
}

/// Refuses whatever assigns somebody.
struct NoAssignees;

impl Turns for NoAssignees {
    fn before(&self, asked: &Asked) -> Option<Fault> {
        let is_it = asked.path.ends_with("/assignees");
        is_it.then(|| Fault::Instead(403, vec![], message("Resource not accessible by integration")))
    }

    fn after(&self, _: &Asked) {}
}

#[test]
fn who_could_not_be_assigned_when_it_got_worse_is_assigned_by_the_next_run() {
    let site = Site::new();
    let image = |severity| xtask::model::GateReport {
        findings: vec![Finding::new("CVE-1", severity, "openssl")],
        ..gate("security/image", Verdict::Fail, "CVE-1")
    };
    site.run(0, &[image(Severity::Low)]);
    site.hub.takes_turns(Some(Arc::new(NoAssignees)));
    site.at(6);
    let (_canceller, cancel) = cancel::pair();
    let told = short(&site.tells_at(&format!("{}/m0", site.hub.url()), &[image(Severity::Critical)], &cancel));
    site.hub.takes_turns(None);
    assert!(told.len() == 2 && told[0].ends_with(": changed") && told[1].contains('!'), "{told:?}");
    assert_eq!(site.run(12, &[image(Severity::Critical)]), [""; 0]);
    assert_eq!(names(&site.hub.issue(1), "assignees", "login"), ["dev", "ada", "bert"]);
}

#[test]
fn a_check_that_is_planned_no_more_is_told_and_its_issue_closed() {
    let mut site = Site::new();
    site.planned = Some(["health/pods", "health/scaling"].map(|check| format!("monitor/{check}")).to_vec());
    let pods = || gate("health/pods", Verdict::Fail, "bad");
    let scaling = || gate("health/scaling", Verdict::DidNotRun, "no cluster");
    site.run(0, &[pods(), scaling()]);
    site.chat.heard();
    // A run of one kind leaves out what the others look at.
    assert_eq!(site.run(6, &[gate("performance/load", Verdict::Pass, "")]), [""; 0]);
    assert_eq!(site.open().len(), 2);
    site.planned = Some(vec!["monitor/health/pods".to_owned(), "monitor/incidents".to_owned()]);
    // The chat does not take it: the issue stays open, without a second comment, until it does.
    for hour in [12, 18] {
        site.chat.answers(["410 X\r\n"]);
        let told = site.run(hour, &[pods()]);
        assert!(told.len() == 1 && told[0].contains("health/scaling unwatched: !"), "{told:?}");
        assert_eq!((site.open().len(), site.hub.comments(2).len()), (2, 1), "{hour}");
    }
    assert_eq!(site.run(24, &[gate("security/image", Verdict::Pass, "")]), ["health/scaling unwatched: closed"]);
    let issue = site.hub.issue(2);
    assert_eq!((&issue["state"], &issue["state_reason"]), (&json!("closed"), &json!("not_planned")));
    let comments = site.hub.comments(2);
    assert!(comments.len() == 1 && comments[0].contains("It is no longer checked"), "{comments:?}");
    let heard = [":white_circle: production: health/scaling is no longer checked: closed after 1 d"];
    assert_eq!(site.chat.lines(), heard);
    // Those of other environments, of strangers and of people are theirs.
    site.hub.edits(1, |issue| {
        let body =
            issue["body"].as_str().unwrap().replace("\"environment\":\"production\"", "\"environment\":\"staging\"");
        issue["body"] = json!(body);
    });
    site.planned = Some(vec![]);
    assert_eq!(site.run(30, &[gate("security/image", Verdict::Pass, "")]), [""; 0]);
    assert_eq!(site.open().len(), 1);
}

#[test]
fn what_people_do_with_an_issue_is_respected() {
    let site = Site::new();
    site.run(0, &[fails("bad")]);
    let add = |name: &'static str| {
        move |issue: &mut Value| issue["labels"].as_array_mut().unwrap().push(json!({"name": name}))
    };
    site.hub.edits(1, |issue| {
        let body = issue["body"].as_str().unwrap().replace('\n', "\r\n");
        issue["body"] = json!(format!("Ada looks at it.\r\n\r\n{body}\r\n\r\nSee the other one."));
        issue["title"] = json!("The pods again");
    });
    // Silenced: no comment, no escalation, nothing in the chat; the page and the count go on.
    site.hub.edits(1, add("silenced"));
    site.chat.heard();
    assert_eq!(site.run(6, &[fails("bad in another way")]), ["health/pods failing: changed"]);
    assert_eq!(site.run(40, &[fails("bad in another way")]), [""; 0]);
    assert!(site.hub.comments(1).is_empty() && site.chat.heard().is_empty());
    let issue = site.hub.issue(1);
    let body = issue["body"].as_str().unwrap();
    assert!(body.starts_with("Ada looks at it.\n\n<!-- ") && body.ends_with("-->\n\nSee the other one."), "{body}");
    assert!(body.contains("bad in another way") && issue["title"] == "The pods again", "{body}");
    // Heard again, it is as late as it is.
    site.hub.edits(1, |issue| issue["labels"].as_array_mut().unwrap().retain(|one| one["name"] != "silenced"));
    assert_eq!(site.run(46, &[fails("bad in another way")]), ["health/pods failing: escalated on-call"]);
    // Closed by hand while it is bad: that is another incident. Opened again by hand: the passes begin anew.
    site.hub.edits(1, |issue| issue["state"] = json!("closed"));
    assert_eq!(site.run(52, &[fails("bad")]), ["health/pods failing: opened"]);
    site.run(58, &[passes()]);
    assert_eq!(site.run(64, &[passes()]), ["health/pods failing: closed"]);
    site.hub.edits(2, |issue| issue["state"] = json!("open"));
    assert_eq!(site.run(70, &[passes()]), [""; 0]);
    assert_eq!(site.run(76, &[passes()]), ["health/pods failing: closed"]);
}

#[test]
fn other_issues_are_never_touched() {
    let site = Site::new();
    // A real one, from which the others are forged.
    site.run(0, &[fails("bad")]);
    let real = site.hub.issue(1);
    let body = real["body"].as_str().unwrap().to_owned();
    site.hub.edits(1, |issue| issue["state"] = json!("closed"));
    let labels = real["labels"].clone();
    let with = |fields: Value| {
        let mut issue = json!({"labels": labels, "title": "production: health/pods is failing"});
        issue.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        site.hub.has_issue(issue)
    };
    let stranger = json!({"login": "mallory", "type": "User"});
    with(json!({"body": "The pods are down!"}));
    with(json!({"body": null}));
    with(json!({"body": body.replace("forge-incident/1", "forge-incident/2")}));
    with(json!({"body": body.replace("\"passes\":0", "\"passes\":\"0\"")}));
    with(json!({"body": body[..body.len() - 8]}));
    with(json!({"body": format!("{body}\n{body}")}));
    with(json!({"body": body.replace("\"environment\":\"production\"", "\"environment\":\"staging\"")}));
    with(json!({"body": body, "pull_request": {"url": "https://github.example/pulls/1"}}));
    with(json!({"body": body, "labels": [{"name": "other"}]}));
    let copied = with(json!({"body": body, "user": stranger, "author_association": "CONTRIBUTOR"}));
    with(json!({"body": body, "user": stranger, "author_association": "NONE", "state": "open"}));
    site.hub.has_comment(copied, "me too");
    let before: Vec<String> = site.hub.issues().iter().map(Value::to_string).collect();
    let others: Vec<u64> = site.open().iter().map(|issue| issue["number"].as_u64().unwrap()).collect();
    assert_eq!(others.len(), 11);
    site.hub.asked();
    for (hour, gate) in [(6, fails("bad")), (12, fails("worse")), (40, fails("worse")), (46, passes()), (52, passes())]
    {
        let told = site.run(hour, &[gate]);
        assert!(told.iter().all(|line| !line.contains('!')), "{told:?}");
    }
    let after: Vec<String> = site.hub.issues().iter().take(before.len()).map(Value::to_string).collect();
    assert_eq!(after, before);
    assert_eq!(site.hub.comments(copied), ["me too"]);
    // Not even asked about one by one.
    let of = |asked: &String| asked.split("issues/").nth(1)?.split('/').next()?.parse::<u64>().ok();
    let about: Vec<u64> = site.hub.asked().iter().filter_map(of).collect();
    assert!(!about.is_empty() && about.iter().all(|number| *number == 13), "{about:?} {others:?}");
}

#[test]
fn a_claim_of_a_stranger_claims_nothing() {
    // What the closing comment claims can be told beforehand by whoever reads the page.
    let closing = |site: &Site| {
        site.run(0, &[fails("bad")]);
        site.run(6, &[passes()]);
        site.chat.heard();
    };
    let other = Site::new();
    closing(&other);
    other.run(12, &[passes()]);
    let claim = other.hub.comments(1).remove(0);
    let site = Site::new();
    closing(&site);
    site.hub.has_comment(1, &claim);
    assert_eq!(site.run(12, &[passes()]), ["health/pods failing: closed"]);
    assert_eq!((site.chat.lines().len(), site.hub.comments(1).len()), (1, 2));
}

#[test]
fn no_log_line_is_shown_unless_the_file_says_so() {
    let site = Site::with(&ALERTS.replace("log_lines = 5\n", ""));
    site.log("monitor/health/pods", "a line of the log\n");
    site.run(0, &[fails("bad")]);
    assert!(!site.hub.issue(1)["body"].as_str().unwrap().contains("a line of the log"));
}

#[test]
fn an_environment_without_alerts_tells_nobody() {
    let site = Site::with("url = \"https://forge.example\"\n");
    assert!(site.tells(&[fails("bad")]).checks.is_empty());
    assert!(site.hub.asked().is_empty());
}
