//! What GitHub, the chat and other programs refuse: it is said, and never a pass.

use std::sync::Arc;

use serde_json::json;
use xtask::context::Ctx;
use xtask::engine::session::Session;
use xtask::event::Events;
use xtask::tasks::incidents;
use xtask::tools::cancel;
use xtask::tools::machine::Machine;
use xtask::verdict::{Outcome, Unproven};

use super::super::hub::{Fault, message};
use super::site::{ALERTS, Ear, Site, fails, names, passes, short};

#[test]
fn what_github_refuses_is_told_with_the_way_out() {
    let limited = || {
        let headers = vec![("x-ratelimit-remaining", "0".to_owned()), ("x-ratelimit-reset", "1795564800".to_owned())];
        Fault::Instead(403, headers, message("API rate limit exceeded"))
    };
    let forbidden = || Fault::Instead(403, vec![], message("Resource not accessible by integration"));
    let list = || Fault::Instead(200, vec![], json!([]));
    let good = || Fault::Instead(200, vec![], json!({"workflow_runs": []}));
    for (faults, reason, way_out) in [
        (vec![forbidden()], "the token may not `GET issues` (403)", "permission"),
        (vec![list(), good(), forbidden()], "the token may not `POST issues` (403)", "permission"),
        (vec![limited()], "GitHub's limit of requests is used up until 2026-11-25T00:00:00Z", "wait"),
        (vec![Fault::Instead(401, vec![], message("Bad credentials"))], "does not take the token", "new token"),
        (vec![Fault::Instead(404, vec![], message("Not Found"))], "finds nothing for `GET issues`", "permission"),
        (
            vec![list(), good(), Fault::Instead(422, vec![], message("Validation Failed"))],
            "(422): Validation Failed",
            "words",
        ),
        ((0..5).map(|_| Fault::Lost).collect(), "did not answer `GET issues`", "githubstatus"),
    ] {
        let site = Site::new();
        site.hub.fails(faults);
        let told = site.tells(&[fails("bad"), passes()]);
        let untold = told.untold().unwrap_or_else(|| panic!("{reason}"));
        assert!(untold.reason.contains(reason) && untold.fix.contains(way_out), "{untold:?}");
        assert!(site.open().is_empty() && site.chat.heard().is_empty());
        let (all, count) = told.count();
        assert!(all == 1 && count == 0, "{told:?}");
    }
    let site = Site::new();
    site.hub.disables_issues(true);
    assert_eq!(
        site.run(0, &[fails("bad")]),
        ["! GitHub refuses `GET issues` (410): Issues are disabled for this repo"]
    );
}

#[test]
fn a_token_that_may_not_label_makes_no_issue_that_nobody_would_find() {
    let site = Site::new();
    site.hub.takes_for_stranger(true);
    for hour in [0, 6] {
        let told = site.run(hour, &[fails("bad")]);
        assert!(told[0].contains("did not give it the label `incident`"), "{told:?}");
        assert!(site.open().is_empty());
    }
}

#[test]
fn somebody_who_cannot_be_assigned_is_named_and_the_issue_is_there() {
    let site = Site::with(&ALERTS.replace("\"dev\"", "\"nobody\", \"dev\""));
    let told = site.run(0, &[fails("bad")]);
    assert_eq!(told, ["health/pods failing: opened", "health/pods failing: ! GitHub did not assign `nobody`"]);
    assert_eq!(names(&site.hub.issue(1), "assignees", "login"), ["dev"]);
    assert_eq!(site.run(6, &[fails("bad")]), [""; 0]);
}

#[test]
fn a_chat_that_stumbles_is_borne_and_one_that_is_gone_is_said_and_told_later() {
    for answers in
        [vec!["429 X\r\nretry-after: 7\r\n", "503 X\r\n"], vec!["500 X\r\n", "502 X\r\n", "503 X\r\n"], vec!["lost"]]
    {
        let site = Site::new();
        site.chat.answers(answers.clone());
        assert_eq!(site.run(0, &[fails("bad")]), ["health/pods failing: opened"], "{answers:?}");
        assert_eq!(site.chat.heard().len(), 1 + usize::from(answers == ["lost"]), "{answers:?}");
    }
    for (answers, why) in [
        (vec!["404 X\r\n"], "status 404: said: ***"),
        (vec!["302 X\r\nlocation: https://evil.example/\r\n"], "status 302: said: ***"),
        (vec!["429 X\r\nretry-after: 3600\r\n"], "status 429: said: ***"),
        (vec!["500 X\r\n"; 4], "status 500: said: ***"),
    ] {
        let site = Site::new();
        site.chat.answers(answers);
        let told = site.run(0, &[fails("bad")]);
        let expected = format!("health/pods failing: ! what CHAT leads to did not take it: {why}");
        assert_eq!(told, ["health/pods failing: opened".to_owned(), expected]);
        assert_eq!(site.open().len(), 1);
        // The next run tells it, and then it is told.
        assert_eq!(site.run(6, &[fails("bad")]), [""; 0]);
        assert_eq!(site.chat.lines(), [":red_circle: production: health/pods is failing (severity high)"]);
        site.run(12, &[fails("bad")]);
        assert!(site.chat.heard().is_empty());
    }
}

#[test]
fn a_chat_that_stays_away_makes_no_comment_and_hears_it_at_last() {
    let site = Site::new();
    for hour in [0, 6, 12] {
        site.chat.answers(["410 X\r\n"]);
        let told = site.run(hour, &[fails("bad")]);
        assert!(told.last().unwrap().contains("status 410"), "{hour}: {told:?}");
    }
    // One beside it, that begins when the last one has just tried, leaves it alone.
    site.run(12, &[fails("bad")]);
    assert!(site.chat.heard().is_empty() && site.hub.comments(1).is_empty());
    site.run(18, &[fails("bad")]);
    assert_eq!((site.chat.lines().len(), site.hub.comments(1).len()), (1, 0));
}

/// A check that is well again, of which nobody has heard.
fn unheard() -> Site {
    let site = Site::new();
    site.run(0, &[fails("bad")]);
    site.run(6, &[passes()]);
    site.chat.heard();
    site.chat.answers(["410 X\r\n"]);
    site.run(12, &[passes()]);
    site
}

#[test]
fn an_end_that_nobody_heard_is_told_by_a_later_run_which_closes_the_issue() {
    let site = Site::new();
    site.run(0, &[fails("bad")]);
    site.run(6, &[passes()]);
    site.chat.heard();
    for hour in [12, 18, 24, 30, 36] {
        site.chat.answers(["410 X\r\n"]);
        let told = site.run(hour, &[passes()]);
        assert!(told.len() == 1 && told[0].contains("! what CHAT leads to did not take it: status 410"), "{told:?}");
        assert_eq!((site.open().len(), site.hub.comments(1).len()), (1, 1), "{hour}");
    }
    // One beside it, that begins when the last one has just tried, leaves it alone.
    assert_eq!(site.run(36, &[passes()]), [""; 0]);
    assert!(site.chat.heard().is_empty());
    assert_eq!(site.run(42, &[passes()]), ["health/pods failing: closed"]);
    assert!(site.open().is_empty() && site.hub.comments(1).len() == 1);
    assert_eq!(site.chat.lines(), [":large_green_circle: production: health/pods is well again after 6 h"]);
    assert!(site.hub.issue(1)["body"].as_str().unwrap().contains("\"to_do\":[]"));

    // Whoever has heard it does not hear it again with each run in which somebody else does not.
    let mut site = Site::new();
    let program = Ear::start();
    site.ctx.env.insert("PROGRAM".to_owned(), program.url.clone());
    for hour in [0, 6] {
        let gate = if hour == 0 { fails("bad") } else { passes() };
        site.run(hour, &[gate]);
    }
    site.chat.heard();
    for hour in [12, 18, 24] {
        program.answers(["410 X\r\n"]);
        assert_eq!(site.run(hour, &[passes()]).len(), 1);
    }
    assert_eq!(site.run(30, &[passes()]), ["health/pods failing: closed"]);
    assert_eq!(site.chat.lines().len(), 1);
    let ends = program.heard().into_iter().filter(|heard| heard["transition"] == "closed");
    assert_eq!(ends.count(), 1);

    // What fails again after some have heard that it is over is another incident, which they hear of.
    let mut site = Site::new();
    let program = Ear::start();
    site.ctx.env.insert("PROGRAM".to_owned(), program.url.clone());
    program.answers(vec!["410 X\r\n"; 9]);
    let gates = [fails("bad"), passes(), passes(), fails("bad"), passes(), passes()];
    for (hour, gate) in (0..).step_by(6).zip(gates) {
        site.run(hour, &[gate]);
    }
    let heard = [
        ":red_circle: production: health/pods is failing (severity high)",
        ":large_green_circle: production: health/pods is well again after 6 h",
    ];
    assert_eq!(site.chat.lines(), [heard, heard].concat());
    let state = |number: u64| site.hub.issue(number)["state"].clone();
    assert_eq!((state(1), state(2)), (json!("closed"), json!("open")), "the second waits for the program");

    // Whoever has missed that end hears it before the next one begins.
    let mut site = Site::new();
    let program = Ear::start();
    site.ctx.env.insert("PROGRAM".to_owned(), program.url.clone());
    for (hour, gate) in (0..).step_by(6).zip([fails("bad"), passes(), passes()]) {
        program.answers(vec!["410 X\r\n"; usize::from(hour == 12)]);
        site.run(hour, &[gate]);
    }
    let heard = || -> Vec<_> {
        program.heard().into_iter().map(|heard| (heard["transition"].clone(), heard["issue"].clone())).collect()
    };
    assert_eq!(heard(), [(json!("opened"), json!(1))]);
    // One beside it that began before has seen the failure that is over.
    assert_eq!(site.run(12, &[fails("bad")]), [""; 0]);
    assert!(heard().is_empty() && site.open().len() == 1);
    site.run(18, &[fails("bad")]);
    assert_eq!(heard(), [(json!("closed"), json!(1)), (json!("opened"), json!(2))]);

    // It fails again before anybody has heard: it was not over, and nobody hears that it was.
    let site = unheard();
    assert_eq!(site.run(18, &[fails("bad")]), [""; 0]);
    assert_eq!(site.run(20, &[passes()]), [""; 0]);
    assert!(site.chat.heard().is_empty());
    assert_eq!(site.run(22, &[passes()]), ["health/pods failing: closed"]);
    assert_eq!(site.chat.lines(), [":large_green_circle: production: health/pods is well again after 20 h"]);

    // One verdict ends that nobody watched, and it has lasted until that one.
    let site = Site::new();
    site.run(0, &[super::site::did_not_run()]);
    site.chat.heard();
    site.chat.answers(["410 X\r\n"]);
    site.run(6, &[passes()]);
    assert_eq!(site.run(12, &[passes()]), ["health/pods unwatched: closed"]);
    assert_eq!(site.chat.lines(), [":large_green_circle: production: health/pods is watched again after 6 h"]);

    // Whoever silences it closes it without a word to the chat.
    let site = unheard();
    site.hub.edits(1, |issue| issue["labels"].as_array_mut().unwrap().push(json!({"name": "silenced"})));
    assert_eq!(site.run(18, &[passes()]), ["health/pods failing: closed"]);
    assert!(site.open().is_empty() && site.chat.heard().is_empty());
}

#[test]
fn a_variable_that_is_not_set_is_said_unless_it_may_be_missing() {
    let mut site = Site::new();
    site.ctx.env.remove("CHAT");
    let told = site.run(0, &[fails("bad")]);
    assert_eq!(told, ["health/pods failing: opened", "health/pods failing: ! CHAT is not set"]);
    let mut site = Site::with(&ALERTS.replace("\"CHAT\"", "\"CHAT?\""));
    site.ctx.env.remove("CHAT");
    assert_eq!(site.run(0, &[fails("bad")]), ["health/pods failing: opened"]);
}

#[test]
fn another_program_hears_the_same_as_json() {
    let mut site = Site::new();
    let program = Ear::start();
    site.ctx.env.insert("PROGRAM".to_owned(), program.url.clone());
    site.run(0, &[fails("sk-a-secret-of-the-backend is in a ConfigMap")]);
    site.run(6, &[passes()]);
    site.run(12, &[passes()]);
    let heard = program.heard();
    assert_eq!(heard.len(), 2);
    let expected = [
        ("transition", json!("opened"), json!("closed")),
        ("schema", json!("forge-alert/1"), json!("forge-alert/1")),
        ("reason", json!("*** is in a ConfigMap"), json!("")),
        ("issue", json!(1), json!(1)),
        ("lasted_seconds", json!(null), json!(21_600)),
    ];
    for (name, first, second) in expected {
        assert_eq!((&heard[0][name], &heard[1][name]), (&first, &second), "{name}");
    }
    assert!(!site.hub.issue(1)["body"].as_str().unwrap().contains("sk-a-secret"));
}

/// The gate as the task runs it, with GitHub where the environment's variables say.
fn gate(site: &Site, ctx: Ctx, gates: &[xtask::model::GateReport]) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (_canceller, cancel) = cancel::pair();
    let machine = Arc::new(Machine::new(Arc::new(ctx), cancel));
    let (sender, _events) = std::sync::mpsc::channel();
    let session = Session::open(incidents::GATE, 0, &machine, &Events::new(sender)).unwrap();
    match runtime.block_on(incidents::run(session, &site.environment, &site.report(gates))) {
        Ok(outcome) => outcome,
        Err(Unproven::NotRun(why)) => Outcome::DidNotRun(why),
        Err(Unproven::Defect(error)) => panic!("{error:#}"),
    }
}

#[test]
fn the_gate_counts_what_was_told_and_the_dead_man_hears_of_whole_runs_alone() {
    let mut site = Site::with(&ALERTS.replace("webhook = \"PROGRAM?\"", "dead_man = \"DEAD_MAN\""));
    let dead_man = Ear::start();
    site.ctx.env.insert("DEAD_MAN".to_owned(), dead_man.url.clone());
    assert!(
        incidents::gate(&site.environment).is_some_and(|gate| gate.id == "monitor/incidents" && gate.unit == "checks")
    );
    let Outcome::Ran(evidence) = gate(&site, site.ctx.clone(), &[fails("bad")]) else { panic!() };
    assert_eq!((evidence.work.count, evidence.declared), (1, Some(1)));
    assert!(evidence.findings[0].message.contains("health/pods (failing): opened https://github.example/"));
    assert_eq!(dead_man.heard(), ["asked for"]);
    let log = std::fs::read_to_string(site.ctx.out.join("logs/monitor/incidents.log")).unwrap();
    assert!(log.contains("health/pods (failing): opened, #1 https://"), "{log}");

    let mut refused = site.ctx.clone();
    refused.env.insert("GITHUB_TOKEN".to_owned(), "ghp_wrong-one".to_owned());
    let Outcome::DidNotRun(why) = gate(&site, refused, &[fails("bad")]) else { panic!() };
    assert!(why.reason.starts_with("0 of 1 checks were told: GitHub does not take the token (401)"), "{}", why.reason);
    assert!(dead_man.heard().is_empty());
    let mut unset = site.ctx.clone();
    unset.env.remove("DEAD_MAN");
    let Outcome::DidNotRun(why) = gate(&site, unset, &[fails("bad")]) else { panic!() };
    assert_eq!(why.reason, "DEAD_MAN is not set");
}

#[test]
fn the_gate_ends_what_the_files_ask_for_no_more() {
    use xtask::verdict::Verdict;
    let site = Site::new();
    // The environment's file declares an address and no cluster, so that no pod is looked at.
    let endpoints = super::site::gate("health/endpoints", Verdict::Fail, "GET /health: status 500");
    site.run(0, &[fails("bad"), endpoints]);
    assert_eq!(site.open().len(), 2);
    let load = super::site::gate("performance/load", Verdict::Pass, "");
    let Outcome::Ran(evidence) = gate(&site, site.ctx.clone(), &[load]) else { panic!() };
    let told: Vec<&str> = evidence.findings.iter().map(|finding| finding.message.as_str()).collect();
    assert!(told.len() == 1 && told[0].starts_with("health/pods (failing): closed https://"), "{told:?}");
    let open = site.open();
    assert_eq!(open.len(), 1);
    assert_eq!(open[0]["title"], "production: health/endpoints is failing");
}

#[test]
fn a_limit_is_not_asked_against_again_for_each_check() {
    let site = Site::new();
    let headers = vec![("x-ratelimit-remaining", "0".to_owned()), ("x-ratelimit-reset", "1795564800".to_owned())];
    let limited = Fault::Instead(403, headers, message("API rate limit exceeded"));
    let list = Fault::Instead(200, vec![], json!([]));
    site.hub.fails([list, Fault::Instead(200, vec![], json!({"workflow_runs": []})), limited]);
    let gates = ["health/a", "health/b", "health/c"]
        .map(|check| super::site::gate(check, xtask::verdict::Verdict::Fail, "bad"));
    let told = site.tells(&gates);
    assert_eq!(told.count(), (3, 0), "{:?}", short(&told));
    assert_eq!(site.hub.asked().len(), 3);
}
