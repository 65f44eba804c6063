//! `kill -9` of the pipeline in the middle: what it left is still there, and the next run removes it.

use std::io::Write as _;
use std::process::Command;

use super::integration::{SLOW, answers, left, ports_once_started, quiet, wait_until, without_image};
use super::support::Project;

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
    if !can_build() {
        return;
    }
    let project = Project::ours();
    let tests = project.path().join("backend/tests/integration");
    for entry in std::fs::read_dir(&tests).unwrap().map(|entry| entry.unwrap()) {
        if entry.file_name().to_string_lossy().starts_with("test_") {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    project.write("backend/tests/integration/test_slow.py", SLOW);
    let mut child = quiet(&project, &["ci", "--only", "container/build,integration"]).spawn().unwrap();
    // Redis listens on the network's gateway, and not on loopback.
    let [backend, _redis] = ports_once_started(&project);
    let log = project.read("target/xtask/out/logs/integration.backend.log");
    let named = |option: &str| log.split(&format!("{option} ")).nth(1).unwrap().split(' ').next().unwrap().to_owned();
    let (container, network) = (named("--name"), named("--network"));
    child.kill().unwrap();
    child.wait().unwrap();
    let image: serde_json::Value =
        serde_json::from_str(&project.read("target/xtask/out/container/image.json")).unwrap();
    let _image = Image(image["reference"].as_str().unwrap().to_owned());
    assert!(
        answers(backend) && has_container(&container) && has_network(&network),
        "they are gone already, and this test shows nothing"
    );
    let next = project.xtask(&NEXT);
    let said = format!("{}{}", next.stdout, next.stderr);
    assert!(!has_container(&container) && !has_network(&network), "they are still there: {said}");
    for what in [container.as_str(), &network, "`redis-server`"] {
        assert!(said.contains(what), "{what} is not told: {said}");
    }
    assert!(!answers(backend));
    assert_eq!(left(&project), 0);
}

/// An image of a project that will be gone; it goes with this value, whatever ends the test.
struct Image(String);

impl Drop for Image {
    fn drop(&mut self) {
        docker(&["image", "rm", "--force", &self.0]);
    }
}

fn has_container(name: &str) -> bool {
    docker(&["container", "inspect", name])
}

fn has_network(name: &str) -> bool {
    docker(&["network", "inspect", name])
}

fn docker(args: &[&str]) -> bool {
    Command::new("docker").args(args).output().is_ok_and(|ended| ended.status.success())
}

/// Whether docker is there with a base for the backend's image; otherwise it is said.
fn can_build() -> bool {
    let base = "localhost/forge-base-stand-in:3.12";
    let can = docker(&["image", "inspect", base]);
    if !can {
        // Past the capture of tests, which shows nothing of one that passes.
        let line = format!("leftovers: no docker with the image {base}; containers and networks were not tried\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
    can
}
