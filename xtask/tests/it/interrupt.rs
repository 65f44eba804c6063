//! Ctrl-C: everything stops, nothing is left, and the report says what was interrupted.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::support::Project;
use rustix::process::{Pid, Signal, kill_process};
use xtask::model::Report;
use xtask::verdict::Verdict;

/// Two programs deep, one of them deaf to SIGTERM.
fn slow_test(mark: &str) -> String {
    format!(
        "import subprocess\nimport time\n\n\ndef test_slow():\n    subprocess.Popen(['sh', '-c', 'trap \"\" TERM; sleep {mark}; sleep {mark}'])\n    \
         print('started', flush=True)\n    time.sleep({mark})\n"
    )
}

fn interrupted_by(signal: Signal, mark: &str) {
    let project = Project::shop();
    project.write("checks/test_slow.py", &slow_test(mark));
    let mut child = project
        .command(&["ci", "--only", "test-matrix,docs"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_until(|| processes_with(mark) >= 2);
    kill_process(Pid::from_child(&child), signal).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(130));
    wait_until(|| processes_with(mark) == 0);
    let report: Report = serde_json::from_str(&project.read("target/xtask/out/report.json")).unwrap();
    assert_eq!(report.verdict, Verdict::DidNotRun);
    let leg = report.gates.iter().find(|gate| gate.id == "test-matrix/3.12").unwrap();
    assert_eq!((leg.verdict, leg.reason.as_str()), (Verdict::DidNotRun, "interrupted"));
    let coverage = report.gates.iter().find(|gate| gate.id == "test-matrix/coverage").unwrap();
    assert_eq!(coverage.reason, "interrupted before it started");
}

#[test]
fn ctrl_c_leaves_no_process_behind() {
    interrupted_by(Signal::INT, "98711");
}

#[test]
fn so_does_sigterm() {
    interrupted_by(Signal::TERM, "98712");
}

#[test]
fn a_killed_pipeline_leaves_a_report_in_which_nothing_is_green_that_was_not_proved() {
    let mark = "7.98713";
    let project = Project::shop();
    project.write("checks/test_slow.py", &slow_test(mark));
    let mut child = project.command(&["ci"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_until(|| processes_with(mark) >= 2);
    child.kill().unwrap();
    child.wait().unwrap();
    let report: Report = serde_json::from_str(&project.read("target/xtask/out/report.json")).unwrap();
    assert_eq!(report.verdict, Verdict::DidNotRun);
    assert_eq!(report.gates.len(), 5);
    let leg = report.gates.iter().find(|gate| gate.id == "test-matrix/3.12").unwrap();
    assert_eq!((leg.verdict, leg.reason.as_str()), (Verdict::DidNotRun, "not finished"));
    // What it started ends by itself; the next run is not disturbed by it.
    std::fs::remove_file(project.path().join("checks/test_slow.py")).unwrap();
    project.xtask(&["ci"]).assert_code(0);
    wait_until(|| processes_with(mark) == 0);
}

/// Waits for a state of the machine; the limit only keeps a broken test from hanging.
#[track_caller]
fn wait_until(reached: impl Fn() -> bool) {
    let begun = Instant::now();
    while !reached() {
        assert!(begun.elapsed() < Duration::from_secs(120), "it never happened");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// How many processes have `sleep MARK` in their command line.
fn processes_with(mark: &str) -> usize {
    assert!(Path::new("/bin/ps").exists() || Path::new("/usr/bin/ps").exists(), "this test needs `ps`");
    let list = std::process::Command::new("ps").args(["-axo", "stat=,command="]).output().unwrap();
    let text = String::from_utf8_lossy(&list.stdout).into_owned();
    text.lines().filter(|line| !line.starts_with('Z') && line.contains(&format!("sleep {mark}"))).count()
}
