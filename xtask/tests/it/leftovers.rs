//! `kill -9` of the pipeline in the middle: what it left is still there, and the next run removes it.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;

use super::integration::{SLOW, answers, left, ports_once_started, quiet, wait_until, without_image};
use super::support::repository;
use xtask::context::{Ctx, Places};
use xtask::services::stack::{self, Wanted};
use xtask::tools::cancel;
use xtask::tools::machine::Machine;
use xtask::tools::proc::Runner;

/// The cheapest task that runs gates.
const NEXT: [&str; 1] = ["policy"];

#[test]
fn servers_and_tests_of_a_killed_run_are_stopped_by_the_next_one() {
    let project = without_image();
    project.write("backend/tests/integration/test_slow.py", SLOW);
    let args = ["integration", "--ollama", "stub", "--", "tests/integration/test_slow.py"];
    let mut child = quiet(&project, &args).spawn().unwrap();
    let ports = ports_once_started(&project);
    // SIGKILL, by the id of the process that this test started.
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(ports.into_iter().all(answers), "they ended by themselves, and this test shows nothing");
    assert_eq!(left(&project), 1);
    let next = project.xtask(&NEXT);
    let said = format!("{}{}", next.stdout, next.stderr);
    for what in ["`redis-server`", "`python`"] {
        assert!(said.contains(&format!("removed what a killed run left: {what}")), "{what} is not in: {said}");
    }
    for port in ports {
        wait_until("the services are gone", || !answers(port));
    }
    assert_eq!(left(&project), 0);
    let after = project.xtask(&NEXT);
    assert!(!format!("{}{}", after.stdout, after.stderr).contains("killed run"));
}

#[test]
fn a_run_that_is_still_going_loses_nothing_to_another() {
    let project = without_image();
    project.write("backend/tests/integration/test_slow.py", SLOW);
    let args = ["integration", "--ollama", "stub", "--", "tests/integration/test_slow.py"];
    let mut child = quiet(&project, &args).spawn().unwrap();
    let ports = ports_once_started(&project);
    let next = project.xtask(&["policy", "--out", "target/other"]);
    assert!(!format!("{}{}", next.stdout, next.stderr).contains("killed run"));
    assert!(ports.into_iter().all(answers));
    child.kill().unwrap();
    child.wait().unwrap();
    project.xtask(&NEXT);
    for port in ports {
        wait_until("the services are gone", || !answers(port));
    }
}

#[test]
fn containers_and_networks_of_a_killed_run_are_removed_by_the_next_one() {
    let Some(image) = image() else { return };
    let project = without_image();
    project.write("target/xtask/out/container/image.json", &format!("{{\"id\": \"{image}\", \"engine\": \"docker\"}}"));
    // The stack is held by a process that can be killed: this very program, as the one below.
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "leftovers::holds_a_stack", "--ignored"])
        .env("HOLD_IN", project.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let ready = project.path().join("target/ready");
    wait_until("the stack is ready", || ready.is_file() || holder.try_wait().unwrap().is_some());
    let named = project.read("target/ready");
    let names: Vec<&str> = named.lines().collect();
    holder.kill().unwrap();
    holder.wait().unwrap();
    for name in &names {
        assert!(is_there(name), "{name} is gone already, and this test shows nothing");
    }
    let next = project.xtask(&NEXT);
    let said = format!("{}{}", next.stdout, next.stderr);
    for name in &names {
        assert!(!is_there(name), "{name} is still there: {said}");
        assert!(said.contains(name), "{name} is not told: {said}");
    }
    assert!(said.contains("`redis-server`"), "{said}");
    let _image_is_gone = docker(&["rmi", "--force", &image]);
}

#[test]
#[ignore = "is started and killed by the test above"]
fn holds_a_stack() {
    let folder = std::path::PathBuf::from(std::env::var("HOLD_IN").unwrap());
    let env = std::env::vars().collect();
    let ctx = Arc::new(Ctx::load(Places::default(), env, &folder, time::OffsetDateTime::now_utc()).unwrap());
    let (_canceller, cancel) = cancel::pair();
    let machine = Arc::new(Machine::new(ctx, cancel));
    let runner = Runner { ledger: machine.ledger.clone(), ..machine.quiet() };
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let before = names();
        let _stack = stack::start(&machine, &runner, &Wanted { image: true, ..Wanted::default() }).await.unwrap();
        let made: Vec<String> = names().into_iter().filter(|name| !before.contains(name)).collect();
        assert_eq!(made.len(), 2, "{made:?}");
        std::fs::write(folder.join("target/ready.part"), made.join("\n")).unwrap();
        std::fs::rename(folder.join("target/ready.part"), folder.join("target/ready")).unwrap();
        std::future::pending::<()>().await;
    });
}

/// Every container and network of ours.
fn names() -> Vec<String> {
    let containers = docker(&["ps", "--all", "--filter", "label=forge.xtask", "--format", "{{.Names}}"]);
    let networks = docker(&["network", "ls", "--filter", "label=forge.xtask", "--format", "{{.Name}}"]);
    [containers, networks].concat().lines().map(str::to_owned).collect()
}

fn is_there(name: &str) -> bool {
    names().iter().any(|found| found == name)
}

fn docker(args: &[&str]) -> String {
    String::from_utf8(Command::new("docker").args(args).output().unwrap().stdout).unwrap()
}

/// An image of the backend on the stand-in for its base, with what is installed here; `None` where there is no docker or
/// no such base, which is said.
fn image() -> Option<String> {
    let base = "localhost/forge-base-stand-in:3.12";
    let found = Command::new("docker").args(["image", "inspect", base]).output();
    if !found.is_ok_and(|ended| ended.status.success()) {
        // Past the capture of tests, which shows nothing of one that passes.
        let line = format!("leftovers: no docker with the image {base}; containers and networks were not tried\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let packages = repository().join("target/xtask-tests/env/service/lib/python3.12/site-packages");
    for (from, to) in [(packages, "packages"), (repository().join("backend/src"), "src")] {
        let copied = Command::new("cp").arg("-r").arg(from).arg(folder.path().join(to)).status().unwrap();
        assert!(copied.success());
    }
    let dockerfile = format!(
        "FROM {base}\nCOPY packages /opt/packages\nCOPY src /opt/src\nENV PYTHONPATH=/opt/src:/opt/packages\n\
         USER 10001:10001\nENTRYPOINT [\"python3\", \"-m\", \"forge\"]\n"
    );
    std::fs::write(folder.path().join("Dockerfile"), dockerfile).unwrap();
    let built = Command::new("docker").args(["build", "--quiet", "."]).current_dir(folder.path()).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    Some(String::from_utf8(built.stdout).unwrap().trim().to_owned())
}
