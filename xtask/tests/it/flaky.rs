//! R10: a test that failed and passed on the same inputs.

use super::support::Project;
use xtask::verdict::Verdict;

/// Fails at first, and passes once its file is there.
const TEST: &str = "from pathlib import Path\n\nMARK = Path('target/mark')\n\n\ndef test_sometimes():\n    seen = MARK.exists()\n    \
                    MARK.write_text('')\n    assert seen, 'not yet'\n";

fn flaky_project(listed: &str) -> Project {
    let project = Project::shop();
    project.write("checks/test_sometimes.py", TEST);
    let config = project.read("ci/pipeline.toml");
    project.write("ci/pipeline.toml", &format!("{config}{listed}"));
    project
}

fn entry(expires: &str) -> String {
    format!(
        "\n[[flaky]]\ntest = \"checks/test_sometimes.py::test_sometimes\"\nreason = \"slow disk\"\nexpires = \"{expires}\"\n"
    )
}

#[test]
fn a_flaky_test_fails_its_leg_and_keeps_every_traceback() {
    for listed in [String::new(), entry("2020-01-01")] {
        let project = flaky_project(&listed);
        let ran = project.xtask(&["ci", "--only", "test-matrix/3.12"]);
        ran.assert_code(10);
        let gate = ran.gate("test-matrix/3.12");
        assert_eq!(gate.work.count, 3);
        let message = &gate.findings[0].message;
        assert!(message.starts_with("flaky: failed, then passed in attempt 2"), "{message}");
        assert!(message.contains("attempt 1: AssertionError: not yet"), "{message}");
        assert_eq!(message.contains("expired on 2020-01-01"), !listed.is_empty(), "{message}");
        assert!(gate.artifacts.contains(&"junit/3.12-attempt-2.xml".to_owned()), "{:?}", gate.artifacts);
        assert!(project.path().join("target/xtask/out/junit/3.12-attempt-2.xml").is_file());
    }
}

#[test]
fn a_listed_one_is_excused_and_still_told() {
    let project = flaky_project(&entry("2999-12-31"));
    let ran = project.xtask(&["ci", "--only", "test-matrix/3.12"]);
    ran.assert_code(0);
    assert_eq!(ran.gate("test-matrix/3.12").verdict, Verdict::Pass);
    assert!(ran.stdout.contains("slow disk"), "{}", ran.stdout);
}

#[test]
fn a_test_that_always_fails_is_not_flaky() {
    let project = flaky_project(&entry("2999-12-31"));
    project.edit("checks/test_sometimes.py", "assert seen", "assert False");
    let ran = project.xtask(&["ci", "--only", "test-matrix/3.12"]);
    ran.assert_code(10);
    assert!(!ran.gate("test-matrix/3.12").findings[0].message.contains("flaky"));
}
