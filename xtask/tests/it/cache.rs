//! R5 and R6 from outside: what is run again, what is not, and what is never stored.

use super::support::Project;

#[test]
fn a_gate_runs_again_when_what_it_depends_on_changes_and_no_other_does() {
    let mut project = Project::shop();
    project.xtask(&["ci"]).assert_code(0);
    let matrix = ["test-matrix/3.12", "test-matrix/coverage"];
    let with_subjects = ["subjects", "test-matrix/3.12", "test-matrix/coverage"];

    // A tracked file, and back again: the older result is still there.
    let source = project.read("shop/api.py");
    project.write("shop/api.py", &format!("{source}# a comment\n"));
    assert_eq!(project.xtask(&["ci"]).ran(), with_subjects);
    project.write("shop/api.py", &source);
    assert_eq!(project.xtask(&["ci"]).ran(), Vec::<&str>::new());

    // An untracked file, and one that git ignores but the tests can see.
    project.write("checks/data.txt", "1");
    assert_eq!(project.xtask(&["ci"]).ran(), with_subjects);
    project.write("checks/secret.local", "1");
    assert_eq!(project.xtask(&["ci"]).ran(), ["test-matrix/3.12", "test-matrix/coverage"]);
    // What Python writes for itself is no input.
    project.write("checks/__pycache__/x.pyc", "1");
    assert_eq!(project.xtask(&["ci"]).ran(), Vec::<&str>::new());

    // A file that pytest looks for by itself, though no input names it.
    project.write("conftest.py", "");
    assert_eq!(project.xtask(&["ci"]).ran(), with_subjects);

    // Committing changes nothing that a gate can see, but for the one that asks where the branch began.
    project.commit();
    assert_eq!(project.xtask(&["ci"]).ran(), ["policy"]);

    // The keyed environment; a variable that is not keyed is neither passed on nor part of a key.
    project.set("TZ", "Europe/Berlin");
    let ran = project.xtask(&["ci", "--explain"]);
    assert_eq!(ran.ran().len(), 5);
    assert!(ran.stdout.contains("docs runs: environment: TZ"), "{}", ran.stdout);
    project.set("PYTEST_ADDOPTS", "--collect-only");
    assert_eq!(project.xtask(&["ci"]).ran(), Vec::<&str>::new());

    // A setting of one gate.
    project.edit("ci/pipeline.toml", "floor = 80.0", "floor = 81.0");
    assert_eq!(project.xtask(&["ci"]).ran(), ["subjects", "policy", "test-matrix/coverage"]);

    // How often a failing test is tried decides what a listed flaky one may do.
    project.edit("ci/pipeline.toml", "package = \"shop\"", "package = \"shop\"\nattempts = 1");
    assert_eq!(project.xtask(&["ci"]).ran(), ["subjects", "policy", "test-matrix/3.12", "test-matrix/coverage"]);

    // A lock, though it installs the same.
    project.own_environments();
    let lock = project.read("locks/tests.txt");
    project.write("locks/tests.txt", &format!("{lock}# a comment\n"));
    let ran = project.xtask(&["ci", "--explain"]);
    assert_eq!(ran.ran(), with_subjects);
    assert!(ran.stdout.contains("test-matrix/3.12 runs: lock: locks/tests.txt"), "{}", ran.stdout);

    // --no-cache runs all of them, and `cache clear` forgets all of them.
    assert_eq!(project.xtask(&["ci", "--no-cache"]).ran().len(), 5);
    project.xtask(&["cache", "clear"]).assert_code(0);
    assert_eq!(project.xtask(&["ci", "--only", "test-matrix"]).ran(), matrix);
}

#[test]
fn failures_are_never_taken_from_the_cache() {
    let project = Project::shop();
    project.edit("checks/test_api.py", "\"price\": 3", "\"price\": 4");
    for _ in 0..2 {
        let ran = project.xtask(&["ci", "--only", "test-matrix/3.12"]);
        ran.assert_code(10);
        assert_eq!(ran.ran(), ["test-matrix/3.12"]);
    }
}

#[test]
fn what_changed_while_the_gate_ran_is_not_stored() {
    let project = Project::shop();
    let test = "from pathlib import Path\n\n\ndef test_writes():\n    with Path('shop/__init__.py').open('a') as file:\n        file.write('# more\\n')\n";
    project.write("checks/test_writes.py", test);
    for _ in 0..2 {
        let ran = project.xtask(&["ci", "--only", "test-matrix/3.12"]);
        ran.assert_code(0);
        assert_eq!(ran.ran(), ["test-matrix/3.12"]);
        assert!(
            ran.stdout.contains("not stored, for its inputs changed while it ran (files: shop/__init__.py)"),
            "{}",
            ran.stdout
        );
    }
}

#[test]
fn an_entry_without_its_artifact_is_not_taken() {
    let project = Project::shop();
    project.xtask(&["docs"]).assert_code(0);
    let gate = project.path().join("target/xtask/cache/gates/docs");
    let entry = std::fs::read_dir(&gate).unwrap().map(|e| e.unwrap().path()).find(|path| path.is_dir()).unwrap();
    std::fs::remove_file(entry.join("files/site/index.html")).unwrap();
    assert_eq!(project.xtask(&["docs"]).ran(), ["docs"]);
    assert_eq!(project.xtask(&["docs"]).ran(), Vec::<&str>::new());
}

#[test]
fn an_audit_finds_a_stored_result_that_is_not_true_any_more() {
    let project = Project::shop();
    project.xtask(&["docs"]).assert_code(0);
    project.xtask(&["cache", "audit", "--sample", "100%"]).assert_code(0);
    let gate = project.path().join("target/xtask/cache/gates/docs");
    let entry = std::fs::read_dir(&gate).unwrap().map(|e| e.unwrap().path()).find(|path| path.is_dir()).unwrap();
    let path = entry.join("entry.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("\"count\":2", "\"count\":7")).unwrap();
    let ran = project.xtask(&["cache", "audit", "--sample", "100%"]);
    ran.assert_code(10);
    assert_eq!(ran.gate("docs").findings[0].rule, "cache-differs");
}

#[test]
fn nothing_below_target_is_taken_from_a_commit() {
    let project = Project::shop();
    project.xtask(&["docs"]).assert_code(0);
    project.git(&["add", "--force", "target/xtask/cache"]);
    project.commit();
    let ran = project.xtask(&["docs"]);
    ran.assert_code(2);
    assert!(ran.stderr.contains("is tracked by git; `git rm -r --cached target`"), "{}", ran.stderr);
}

#[test]
fn a_link_counts_by_what_it_leads_to() {
    let project = Project::shop();
    std::os::unix::fs::symlink("../prices.txt", project.path().join("checks/prices")).unwrap();
    project.write("prices.txt", "1");
    project.commit();
    let leg = ["ci", "--only", "test-matrix/3.12"];
    project.xtask(&leg).assert_code(0);
    assert_eq!(project.xtask(&leg).ran(), Vec::<&str>::new());
    project.write("prices.txt", "2");
    assert_eq!(project.xtask(&leg).ran(), ["test-matrix/3.12"]);
}
