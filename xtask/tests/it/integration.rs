//! The tests of the whole: green when all is well, and told apart by what is not.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::support::{Project, Ran};
use xtask::context::{Ctx, Places, Profile};
use xtask::services::serve::{Asked, json as answer, serve, whole};
use xtask::services::stack::{self, Wanted};
use xtask::tools::cancel;
use xtask::tools::containers::WAY_OUT;
use xtask::tools::machine::Machine;
use xtask::verdict::{Unproven, Verdict};

const STUB: [&str; 3] = ["integration", "--ollama", "stub"];

/// The stub, and only these tests.
fn only(test: &str) -> Vec<&str> {
    [&STUB[..], &["--", test]].concat()
}

/// A quick one that needs nothing but the backend.
const QUICK: &str = "tests/integration/test_endpoints.py::test_it_is_alive";

/// Our repository as one that ships no image: the backend is then a process, whatever engine this machine has.
pub fn without_image() -> Project {
    let project = Project::ours();
    let config = project.read("xtask/config/pipeline.toml");
    let mut inside = false;
    let kept = config.split_inclusive('\n').filter(|line| {
        if line.starts_with('[') {
            // What is generated names the image, too.
            inside = ["container", "generated"].iter().any(|table| line.trim_start_matches('[').starts_with(table));
        }
        !inside
    });
    project.write("xtask/config/pipeline.toml", &kept.collect::<String>());
    project.commit();
    project
}

fn not_run(ran: &Ran, reason: &str) {
    ran.assert_code(20);
    let gate = ran.gate("integration");
    assert_eq!(gate.verdict, Verdict::DidNotRun);
    assert!(gate.reason.contains(reason), "{}", gate.reason);
    assert!(!gate.fix.is_empty());
}

#[test]
fn everything_is_tested_and_the_report_says_with_what() {
    let project = without_image();
    let ran = project.xtask(&STUB);
    ran.assert_code(0);
    let gate = ran.gate("integration");
    assert!(gate.work.count >= 37, "{:?}", gate.work);
    let told =
        |rule: &str| gate.findings.iter().find(|finding| finding.rule == rule).map(|found| found.message.as_str());
    assert!(told("served-by").is_some_and(|words| words.starts_with("the backend was served by its ")));
    assert_eq!(told("ollama"), Some("Ollama was a stand-in of ours for Ollama 0.17.4, model `stand-in:latest`"));
    for artifact in ["integration.log", "integration.backend.log", "integration.redis.log"] {
        let path = format!("logs/{artifact}");
        assert!(gate.artifacts.contains(&path), "{:?}", gate.artifacts);
        let log = project.read(&format!("target/xtask/out/{path}"));
        let longest = log.split(|c: char| !c.is_ascii_hexdigit()).map(str::len).max();
        assert!(longest < Some(48), "{artifact} has what may be the password of Redis");
    }
    // Nothing is written down that is gone.
    assert_eq!(left(&project), 0);
}

#[test]
fn a_failing_test_is_told_with_its_line_and_how_to_repeat_it() {
    let project = without_image();
    project.write(
        "backend/tests/integration/test_planted.py",
        "import httpx\n\n\ndef test_planted(api: httpx.Client) -> None:\n    assert api.get(\"/health\").status_code == 418\n",
    );
    let ran = project.xtask(&only("tests/integration/test_planted.py"));
    ran.assert_code(10);
    let gate = ran.gate("integration");
    assert_eq!(gate.verdict, Verdict::Fail);
    assert!(gate.reason.starts_with("backend/tests/integration/test_planted.py:5: "), "{}", gate.reason);
    let again = "cargo xtask integration --ollama stub -- tests/integration/test_planted.py::test_planted";
    assert_eq!(gate.fix, again);
}

#[test]
fn no_test_is_no_pass() {
    let project = without_image();
    let ran = project.xtask(&[&STUB[..], &["--", "-k", "nothing_has_this_name"]].concat());
    not_run(&ran, "did no work: 0 tests");
    project.write("backend/tests/integration/test_broken.py", "import nothing_has_this_name\n");
    let ran = project.xtask(&only("tests/integration/test_broken.py"));
    not_run(&ran, "cannot be imported");
    let found = &ran.gate("integration").findings;
    assert!(found.iter().any(|f| f.path.as_deref() == Some("backend/tests/integration/test_broken.py")), "{found:?}");
}

#[test]
fn a_backend_that_does_not_get_ready_is_told_with_its_last_lines() {
    let project = without_image();
    let config = "xtask/config/pipeline.toml";
    project.edit(config, "starts_within = \"30s\"", "starts_within = \"20s\"");
    project.edit(config, "body = { status = \"=ready\"", "body = { status = \"=never\"");
    let ran = project.xtask(&only(QUICK));
    not_run(&ran, "the backend was not ready within 20 s: `GET /ready`: $.status: expected `never`");
    assert!(ran.gate("integration").reason.contains("; its last lines:\n"), "{}", ran.gate("integration").reason);
    project.edit(config, "run = [\"-m\", \"forge\"]", "run = [\"-c\", \"raise SystemExit('out of luck')\"]");
    let ran = project.xtask(&only(QUICK));
    not_run(&ran, "the backend ended before it was ready: exit code 1; its last lines:\nout of luck");
    assert!(ran.gate("integration").fix.contains("integration.backend.log"), "{}", ran.gate("integration").fix);
}

#[test]
fn without_redis_nothing_is_proved() {
    let project = without_image();
    // A lock that has no server, in a profile in which none from PATH counts.
    project.edit(
        "xtask/config/pipeline.toml",
        "lock = \"backend/requirements/tests.txt\"\n# The doc",
        "lock = \"backend/requirements/runtime.txt\"\n# The doc",
    );
    project.own_environments();
    let ran = project.xtask(&["integration", "--profile", "offline", "--ollama", "stub", "--", QUICK]);
    not_run(&ran, "no redis-server");
}

#[test]
fn an_ollama_that_does_not_answer_is_no_reason_to_take_another() {
    let project = without_image();
    let ran = project.xtask(&["integration", "--ollama", "http://127.0.0.1:9", "--", QUICK]);
    not_run(&ran, "`http://127.0.0.1:9` cannot be used");
    let refused = project.xtask(&["integration", "--ollama", "https://ollama.invalid"]);
    refused.assert_code(2);
}

#[test]
fn an_ollama_that_answers_wrong_is_seen_by_the_tests() {
    // No last line, and a field under another name.
    let wrong = async |asked: Asked| match asked.path.as_str() {
        "/api/version" => answer(StatusCode::OK, &json!({ "version": "9" })),
        "/api/tags" => answer(StatusCode::OK, &json!({ "models": [{ "name": "wrong:latest" }] })),
        _ => {
            whole(StatusCode::OK, "application/x-ndjson", "{\"message\": {\"content\": \"a \"}, \"finished\": true}\n")
        }
    };
    let (tell, told) = std::sync::mpsc::channel();
    // It ends with the tests.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listening = serve(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), wrong).await.unwrap();
            tell.send(format!("http://{}", listening.address)).unwrap();
            std::future::pending::<()>().await;
        });
    });
    let url = told.recv().unwrap();
    let project = without_image();
    let ran = project.xtask(&["integration", "--ollama", &url, "--", "tests/integration/test_chat.py"]);
    ran.assert_code(10);
    let gate = ran.gate("integration");
    let failed: Vec<&str> = gate.findings.iter().filter(|f| f.path.is_some()).map(|f| f.rule.as_str()).collect();
    assert!(failed.iter().any(|rule| rule.contains("test_a_plain_answer[ollama]")), "{failed:?}");
    assert!(!failed.iter().any(|rule| rule.contains("[echo]")), "{failed:?}");
}

#[test]
fn ctrl_c_leaves_no_service_behind() {
    let project = without_image();
    project.write("backend/tests/integration/test_slow.py", SLOW);
    let command = only("tests/integration/test_slow.py");
    let mut child = quiet(&project, &command).spawn().unwrap();
    let ports = ports_once_started(&project);
    assert!(ports.into_iter().all(answers));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    for port in ports {
        wait_until("the services are gone", || !answers(port));
    }
    assert_eq!(left(&project), 0);
}

#[test]
fn the_image_is_served_where_an_engine_answers_and_never_replaced_in_silence() {
    let project = Project::ours();
    let try_to = |profile: Profile, path: Option<&str>| {
        let mut env: std::collections::BTreeMap<String, String> = std::env::vars().collect();
        env.extend(path.map(|path| ("PATH".to_owned(), path.to_owned())));
        let places = Places { profile: Some(profile), ..Places::default() };
        let ctx = Arc::new(Ctx::load(places, env, project.path(), time::OffsetDateTime::now_utc()).unwrap());
        let (_canceller, cancel) = cancel::pair();
        let machine = Arc::new(Machine::new(ctx, cancel));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let wanted = Wanted::default();
        match runtime.block_on(stack::start(&machine, &machine.quiet(), &wanted)) {
            Err(Unproven::NotRun(why)) => (why.reason, why.fix),
            Err(Unproven::Defect(error)) => panic!("{error:#}"),
            Ok(stack) => panic!("served by {}", stack.served_by),
        }
    };
    for profile in [Profile::Actions, Profile::Offline] {
        let (reason, fix) = try_to(profile, Some("/nowhere"));
        assert!(reason.starts_with("no container engine"), "{reason}");
        assert_eq!(fix, WAY_OUT);
    }
    let (reason, fix) = try_to(Profile::Local, None);
    if !reason.starts_with("no image of the backend was built") {
        panic!("an engine is wanted for this test: {reason}");
    }
    assert_eq!(fix, "cargo xtask container build");
}

/// Says that it has begun, and then takes longer than anybody waits.
pub const SLOW: &str = "\
import time
from pathlib import Path

import httpx


def test_slow(api: httpx.Client) -> None:
    Path(\"../target/started\").write_text(str(api.base_url.port))
    time.sleep(300)
";

/// The program, whose output nobody reads.
pub fn quiet(project: &Project, args: &[&str]) -> std::process::Command {
    let mut command = project.command(args);
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    command
}

/// The ports of the backend and of Redis, once the slow test has begun.
pub fn ports_once_started(project: &Project) -> [u16; 2] {
    let started = project.path().join("target/started");
    wait_until("the slow test has begun", || std::fs::read_to_string(&started).is_ok_and(|text| !text.is_empty()));
    let log = project.read("target/xtask/out/logs/integration.redis.log");
    let redis = log.split("port=").nth(1).unwrap().split(|c: char| !c.is_ascii_digit()).next().unwrap();
    [project.read("target/started").parse().unwrap(), redis.parse().unwrap()]
}

/// How many runs have left something, or are going on.
pub fn left(project: &Project) -> usize {
    std::fs::read_dir(project.path().join("target/xtask/left")).map_or(0, Iterator::count)
}

/// Whether somebody listens there.
pub fn answers(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// The limit only keeps a broken test from hanging.
#[track_caller]
pub fn wait_until(what: &str, mut reached: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !reached() {
        assert!(begun.elapsed() < Duration::from_secs(120), "it never happened: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
