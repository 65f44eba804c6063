//! Endpoints: three probes that fail are a failure, and one that passes is none (R31).

use std::net::TcpListener;

use xtask::verdict::Verdict;

use super::server::{Said, Server};
use crate::support::{Project, Ran};

const GATE: &str = "monitor/health/endpoints";

const CONFIG: &str = "[python]\nversions = []\ntools = \"3.12\"\ntools_lock = \"t\"\n[requests.health]\nsend = \"GET /health\"\n\
                      body = { status = \"=ok\" }\n[requests.other]\nsend = \"GET /other\"\n[smoke]\nrequests = [\"health\"]\n";

/// A project with one environment that has no cluster.
pub fn project(url: &str, monitor: &str) -> Project {
    let project = Project::bare();
    project.write("xtask/config/pipeline.toml", CONFIG);
    let table = format!("url = \"{url}\"\n[monitor]\nretry_spacing = \"100ms\"\n{monitor}");
    project.write("xtask/config/production.toml", &table);
    project.write(".gitignore", "/target/\n");
    project.commit();
    project
}

/// The program's end, and the log of the gate.
fn monitor(server: &Server, more: &str) -> (Ran, String) {
    let project = project(&server.url, more);
    let ran = project.xtask(&["monitor", "prod", "health"]);
    let log = project.read(&format!("target/xtask/out/logs/{GATE}.log"));
    (ran, log)
}

#[test]
fn a_failure_is_one_of_three_probes_and_the_log_has_each() {
    use Said::{Body, Late, Status, Well};
    for (answers, more, code, asked, words) in [
        (&[Well] as &'static [Said], "", 0, 1, ""),
        (&[Status(500)], "", 10, 3, "status 500, expected 200"),
        (&[Body("{\"status\":\"down\"}")], "", 10, 3, "expected `ok`"),
        (&[Status(500), Well], "", 0, 2, "passed at probe 2; before that it failed"),
        (&[Status(500), Status(503), Well], "", 0, 3, "passed at probe 3"),
        (&[Late(300)], "endpoints = { health = \"100ms\" }\n", 10, 3, "and has 100 ms"),
        (&[Late(300), Well], "endpoints = { health = \"100ms\" }\n", 0, 2, "passed at probe 2"),
        (&[Status(500)], "probes = 1\n", 10, 1, "status 500"),
    ] {
        let server = Server::start(answers);
        let (ran, log) = monitor(&server, more);
        let gate = ran.assert_code(code).gate(GATE);
        assert_eq!(server.asked(), asked, "{answers:?}: {log}");
        assert_eq!(gate.verdict, if code == 0 { Verdict::Pass } else { Verdict::Fail });
        let told: String = gate.findings.iter().map(|finding| format!("{}\n", finding.message)).collect();
        assert!(told.contains(words), "{answers:?}: {told}");
        assert_eq!(log.matches(" at 20").count(), asked, "each probe with its time: {log}");
        assert_eq!(log.matches(" ms: ").count(), asked, "each answer with its latency: {log}");
        if code == 10 {
            assert!(gate.fix.contains("cargo xtask monitor production health"), "{}", gate.fix);
            assert!(!gate.reason.is_empty() && gate.work.count == 1, "{gate:?}");
        }
    }
}

#[test]
fn nobody_who_listens_has_failed_and_a_place_that_cannot_be_reached_proves_nothing() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let down = project(&format!("http://{nobody}"), "").xtask(&["monitor", "production"]);
    let gate = down.assert_code(10).gate(GATE);
    assert!(gate.reason.contains("cannot be reached"), "{}", gate.reason);
    let lost = project("http://nowhere.invalid", "").xtask(&["monitor", "production"]);
    let gate = lost.assert_code(20).gate(GATE);
    assert_eq!(gate.verdict, Verdict::DidNotRun);
    assert!(gate.reason.contains("nothing of the environment can be reached"), "{}", gate.reason);
}

#[test]
fn what_cannot_be_meant_is_refused_and_a_dry_run_asks_nobody() {
    let server = Server::start(&[Said::Well]);
    for (more, words) in [
        ("endpoints = { helth = \"1s\" }\n", "no request is named `helth` (there are: health, other)"),
        ("probs = 3\n", "unknown key `probs`; the nearest valid key is `probes`"),
        ("probes = 0\n", "monitor.probes: 1 to 10"),
    ] {
        let ran = project(&server.url, more).xtask(&["monitor", "production"]);
        assert_eq!(ran.code, 2, "{more}");
        assert!(ran.stderr.contains(words), "{}", ran.stderr);
    }
    let plan = project(&server.url, "").xtask(&["monitor", "prod", "--dry-run"]);
    plan.assert_code(0);
    let asks = format!("$ curl --max-time 10 --request GET {}/health", server.url);
    assert!(plan.stdout.contains(GATE) && plan.stdout.contains(&asks), "{}", plan.stdout);
    assert_eq!((server.asked(), plan.report.is_none()), (0, true));
    assert_eq!(project(&server.url, "").xtask(&["monitor", "staging"]).code, 2);
}
