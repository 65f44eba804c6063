//! R1: whatever happens to a gate's tool, configuration, network or report, the gate does not pass.

use super::support::{Project, Ran};
use xtask::verdict::Verdict;

#[track_caller]
fn assert_did_not_run(ran: &Ran, gate: &str, words: &str) {
    let report = ran.gate(gate);
    assert_eq!(report.verdict, Verdict::DidNotRun, "{}", ran.stdout);
    assert!(report.reason.contains(words), "{}", report.reason);
    assert!(!report.fix.is_empty());
    ran.assert_code(20);
}

#[test]
fn a_tool_that_is_gone() {
    let project = Project::shop();
    project.own_environments();
    project.xtask(&["ci", "--no-cache"]).assert_code(0);
    let packages = |env: &str| project.path().join(format!("target/xtask/env/{env}/lib/python3.12/site-packages"));
    std::fs::remove_dir_all(packages("docs").join("mkdocs")).unwrap();
    assert_did_not_run(&project.xtask(&["ci", "--no-cache", "--only", "docs"]), "docs", "mkdocs");
    // The data of the leg is there, but nothing can read it.
    std::fs::rename(packages("test-3.12").join("coverage/cmdline.py"), packages("docs").join("away.py")).unwrap();
    assert_did_not_run(&project.xtask(&["test-matrix"]), "test-matrix/coverage", "0 of 1 legs");
    std::fs::remove_dir_all(packages("test-3.12").join("_pytest")).unwrap();
    assert_did_not_run(
        &project.xtask(&["ci", "--no-cache", "--only", "test-matrix/3.12"]),
        "test-matrix/3.12",
        "wrote no report",
    );
}

#[test]
fn a_configuration_that_is_broken() {
    let project = Project::shop();
    project.write("manual/mkdocs.yml", "site_name: [\n");
    assert_did_not_run(&project.xtask(&["docs"]), "docs", "mkdocs exit code 1");
    project.edit("pyproject.toml", "[tool.pytest.ini_options]", "[tool.pytest.ini_options\n");
    let ran = project.xtask(&["test-matrix"]);
    assert_did_not_run(&ran, "test-matrix/3.12", "pytest");
    assert_did_not_run(&ran, "test-matrix/coverage", "needs `test-matrix/3.12`, which did not run");
}

#[test]
fn a_network_that_is_cut() {
    let mut project = Project::shop();
    // uv itself is there already; without it the reason would be that it cannot be had.
    project.xtask(&["doctor"]).assert_code(0);
    project.own_environments();
    project.set("UV_CACHE_DIR", "target/empty-cache");
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
        project.set(name, "http://127.0.0.1:9");
    }
    let ran = project.xtask(&["ci"]);
    assert_did_not_run(&ran, "docs", "the environment `docs` cannot be built");
    assert_did_not_run(&ran, "test-matrix/3.12", "the environment `test-3.12` cannot be built");
    assert_did_not_run(&ran, "test-matrix/coverage", "needs `test-matrix/3.12`");
}

#[test]
fn a_process_that_ends_before_its_tests() {
    let project = Project::shop();
    project.write("checks/test_exit.py", "import os\n\n\ndef test_exit():\n    os._exit(0)\n");
    assert_did_not_run(&project.xtask(&["test-matrix"]), "test-matrix/3.12", "wrote no report");
    let early = "import pytest\n\n\ndef test_exit():\n    pytest.exit('enough', returncode=0)\n\n\ndef test_later():\n    assert False\n";
    project.write("checks/test_exit.py", early);
    assert_did_not_run(&project.xtask(&["test-matrix"]), "test-matrix/3.12", "pytest was stopped before its end");
    project.write("checks/test_exit.py", "import os\n\n\ndef test_exit():\n    os.kill(os.getpid(), 9)\n");
    assert_did_not_run(&project.xtask(&["test-matrix"]), "test-matrix/3.12", "killed by signal 9");
}

#[test]
fn a_tool_that_hangs() {
    let project = Project::shop();
    project.edit("ci/pipeline.toml", "[coverage]", "timeout = \"3s\"\n\n[coverage]");
    project.edit("ci/pipeline.toml", "directory = \"manual\"", "directory = \"manual\"\ntimeout = \"1ms\"");
    project.write("checks/test_hang.py", "import time\n\n\ndef test_hang():\n    time.sleep(1000)\n");
    let ran = project.xtask(&["ci"]);
    assert_did_not_run(&ran, "test-matrix/3.12", "timed out after 3 s");
    assert_did_not_run(&ran, "docs", "timed out after 0.001 s");
}

#[test]
fn no_tests_and_only_skipped_tests() {
    let project = Project::shop();
    project.write("checks/test_api.py", "import pytest\n\n\n@pytest.mark.skip\ndef test_later():\n    pass\n");
    assert_did_not_run(&project.xtask(&["test-matrix"]), "test-matrix/3.12", "did no work: 0 tests");
    project.write("checks/test_api.py", "");
    assert_did_not_run(&project.xtask(&["test-matrix"]), "test-matrix/3.12", "did no work: 0 tests");
}

#[test]
fn coverage_data_that_is_cut_short() {
    let project = Project::shop();
    let cutter = "import os\n\n\ndef pytest_unconfigure(config):\n    data = os.environ['COVERAGE_FILE']\n    \
                  os.truncate(data, os.path.getsize(data) // 2)\n";
    project.write("checks/conftest.py", cutter);
    assert_did_not_run(&project.xtask(&["test-matrix"]), "test-matrix/coverage", "of 1 legs were combined");
}

#[test]
fn hooks_that_cannot_run() {
    let project = Project::ours();
    let config = project.read(".pre-commit-config.yaml");
    for (text, words) in [
        ("repos: [", "`.pre-commit-config.yaml` cannot be read"),
        ("repos: []\n", "did no work: `.pre-commit-config.yaml` declares no hook"),
        (&config.replace("entry: check-toml", "entry: no-such-program"), "our lock does not install `no-such-program`"),
        (&config.replace("language: pygrep", "language: no-such-language"), "prek"),
    ] {
        project.write(".pre-commit-config.yaml", text);
        assert_did_not_run(&project.xtask(&["pre-commit"]), "pre-commit", words);
    }
    // A hook that finds nothing to look at is missed, unless the configuration says that it may.
    project.write(".pre-commit-config.yaml", &config.replace("files: ^backend/", "files: ^backedn/"));
    assert_did_not_run(&project.xtask(&["pre-commit"]), "pre-commit", "hook `mypy-3.10` had no file to look at");
    let idle = "[hooks]\nmay_be_idle = [\"mypy-3.10\", \"mypy-3.11\", \"mypy-3.12\"]";
    project.edit("xtask/config/pipeline.toml", "[hooks]", idle);
    project.xtask(&["pre-commit"]).assert_code(0);
    // The program that runs the hooks is gone, breaks down, or hangs.
    project.own_environments();
    project.xtask(&["ci", "--no-cache", "--only", "pre-commit"]).assert_code(0);
    let prek = project.path().join("target/xtask/env/tools/bin/prek");
    for (script, words) in [
        ("#!/bin/sh\nexit 0\n", "0 of the 14 declared hooks were reported"),
        ("#!/bin/sh\necho 'ruff check......Passed'\n", "1 of the 14 declared hooks were reported"),
        ("#!/bin/sh\nexit 3\n", "prek exit code 3"),
        ("#!/bin/sh\nkill -9 $$\n", "prek killed by signal 9"),
    ] {
        std::fs::remove_file(&prek).unwrap();
        std::fs::write(&prek, script).unwrap();
        std::fs::set_permissions(&prek, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        assert_did_not_run(&project.xtask(&["ci", "--no-cache", "--only", "pre-commit"]), "pre-commit", words);
    }
    std::fs::remove_file(&prek).unwrap();
    std::fs::remove_file(project.path().join("target/xtask/env/tools/bin/pre-commit")).unwrap();
    let ran = project.xtask(&["ci", "--no-cache", "--only", "pre-commit"]);
    assert_did_not_run(&ran, "pre-commit", "installs neither prek nor pre-commit");
    std::fs::remove_file(project.path().join(".pre-commit-config.yaml")).unwrap();
    assert_did_not_run(&project.xtask(&["pre-commit"]), "pre-commit", "cannot be read");
}

#[test]
fn an_input_that_names_nothing() {
    let project = Project::shop();
    project.edit("ci/pipeline.toml", "inputs = [\"shop\"", "inputs = [\"shopp\"");
    let ran = project.xtask(&["ci", "--only", "test-matrix"]);
    assert_did_not_run(&ran, "test-matrix/3.12", "the input `shopp` matches no file");
}
