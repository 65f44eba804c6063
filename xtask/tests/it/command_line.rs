//! The command line: what is printed where, with which exit code.

use super::support::{Project, repository};

#[test]
fn usage_errors_are_code_2_and_do_nothing() {
    let project = Project::shop();
    for (args, words) in [
        (vec!["no-such-task"], "unrecognized subcommand"),
        (vec!["ci", "--no-such-flag"], "unexpected argument"),
        (vec!["ci", "--only", "dosc"], "the nearest is `docs`"),
        (vec!["ci", "--merge", "x", "--only", "docs"], "cannot be used with"),
        (vec!["pre-commit"], "pipeline.toml declares nothing for `pre-commit`"),
        (vec!["ci", "--plan", "github"], "GITHUB_OUTPUT"),
    ] {
        let ran = project.xtask(&args);
        ran.assert_code(2);
        assert!(ran.stderr.contains(words), "{args:?}: {}", ran.stderr);
        assert!(ran.report.is_none(), "{args:?}");
    }
    project.edit("ci/pipeline.toml", "floor = 80.0", "flor = 80.0");
    let ran = project.xtask(&["ci"]);
    ran.assert_code(2);
    assert!(
        ran.stderr.contains("pipeline.toml:14: unknown key `flor`; the nearest valid key is `floor`"),
        "{}",
        ran.stderr
    );
}

#[test]
fn json_is_alone_on_standard_output() {
    let project = Project::shop();
    let ran = project.xtask(&["ci", "--only", "subjects", "--json"]);
    ran.assert_code(0);
    let printed: xtask::model::Report = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(&printed, ran.report());
    assert!(ran.stderr.contains("pass: 1 passed"), "{}", ran.stderr);
}

#[test]
fn colours_come_only_when_asked_for() {
    let project = Project::shop();
    let plain = project.xtask(&["ci", "--only", "subjects"]);
    assert!(!plain.stdout.contains('\u{1b}'));
    let painted = project.xtask(&["ci", "--only", "subjects", "--color", "always"]);
    assert!(painted.stdout.contains('\u{1b}'));
}

#[test]
fn the_plan_is_printed_and_nothing_is_changed() {
    let mut project = Project::shop();
    let text = project.xtask(&["ci", "--plan", "text"]);
    text.assert_code(0);
    let root = project.path().display().to_string();
    let shared = repository().join("target/xtask-tests").display().to_string();
    let placeless = |text: &str| text.replace(&root, "ROOT").replace(&shared, "ROOT/target/xtask");
    insta::assert_snapshot!("plan", placeless(&text.stdout));
    assert_eq!(project.xtask(&["ci", "--dry-run"]).stdout, text.stdout);
    for (name, args) in [
        ("plan-leg", &["test-matrix", "--dry-run", "--python", "3.12", "--", "-k", "two words"][..]),
        ("plan-docs", &["docs", "--dry-run"]),
        ("plan-json", &["ci", "--plan", "json", "--skip", "test-matrix"]),
    ] {
        let ran = project.xtask(args);
        ran.assert_code(0);
        insta::assert_snapshot!(name, placeless(&ran.stdout));
    }
    let output = project.path().join("target/output");
    project.set("GITHUB_OUTPUT", &output);
    project.xtask(&["ci", "--plan", "github"]).assert_code(0);
    insta::assert_snapshot!("matrix", std::fs::read_to_string(output).unwrap());
    assert!(!project.path().join("target/xtask/out").exists());
}

#[test]
fn completions_need_no_project() {
    let folder = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["completions", "bash"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8(output.stdout).unwrap().contains("test-matrix"));
}

#[test]
fn a_failing_test_is_repeated_alone_by_the_printed_command() {
    let project = Project::shop();
    project.edit("checks/test_api.py", "\"price\": 3", "\"price\": 4");
    let ran = project.xtask(&["ci", "--only", "test-matrix/3.12"]);
    let fix = ran.gate("test-matrix/3.12").fix.clone();
    let words: Vec<&str> = fix.strip_prefix("cargo xtask ").unwrap().split(' ').collect();
    assert_eq!(words, ["test-matrix", "--python", "3.12", "--", "checks/test_api.py::test_apple"]);
    let again = project.xtask(&words);
    again.assert_code(10);
    assert_eq!(again.gate("test-matrix/3.12").work.count, 1);
}

#[test]
fn without_git_nothing_is_green() {
    let mut project = Project::shop();
    project.only_programs(&["sh"]);
    let ran = project.xtask(&["ci"]);
    ran.assert_code(2);
    assert!(ran.stderr.contains("is git installed"), "{}", ran.stderr);
    assert!(ran.report.is_none());
}

#[test]
fn gits_own_hook_refuses_a_bad_commit_and_takes_a_good_one() {
    let project = Project::ours();
    let ran = project.xtask(&["pre-commit", "--install"]);
    ran.assert_code(0);
    // The program that `cargo xtask` would build, as everybody has it after the first run.
    std::fs::create_dir_all(project.path().join("target/debug")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_xtask"), project.path().join("target/debug/xtask")).unwrap();
    let commit = || {
        project.git(&["add", "-A"]);
        let args = ["-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "x"];
        project.git_output(&args)
    };
    project.write("backend/src/forge/planted.py", "import os\n");
    let refused = commit();
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned() + &String::from_utf8_lossy(&refused.stdout);
    assert!(said.contains("backend/src/forge/planted.py:1:8: F401"), "{said}");
    std::fs::remove_file(project.path().join("backend/src/forge/planted.py")).unwrap();
    // A secret, in no file of ours as a whole.
    project.write("NOTES.md", &format!("# Notes\n\nKey: AKIA{}\n", "Q7XZ2MNB5VCL4KJH"));
    let refused = commit();
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned() + &String::from_utf8_lossy(&refused.stdout);
    assert!(said.contains("NOTES.md:3: ") && said.contains("aws-access-token"), "{said}");
    assert!(!said.contains("Q7XZ2MNB5VCL4KJH"), "{said}");
    project.write("NOTES.md", "# Notes\n");
    assert!(commit().status.success());
    // A hook of somebody else is not replaced.
    project.write(".git/hooks/pre-commit", "#!/bin/sh\n");
    let ran = project.xtask(&["pre-commit", "--install"]);
    ran.assert_code(2);
    assert_eq!(project.read(".git/hooks/pre-commit"), "#!/bin/sh\n");
}

#[test]
fn two_runs_that_write_into_one_folder_do_so_one_after_the_other() {
    let project = Project::shop();
    let start = || project.command(&["ci", "--no-cache"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let both = [start(), start()].map(|child| child.wait_with_output().unwrap());
    let said = both.each_ref().map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    assert!(both.iter().all(|output| output.status.success()), "{said:?}");
    let waited = said.iter().filter(|text| text.contains("another run writes into")).count();
    assert_eq!(waited, 1, "{said:?}");
}
