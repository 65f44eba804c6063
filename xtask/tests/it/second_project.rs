//! Another project, by configuration alone: the pipeline tells the truth about it.

use super::guarded::Guarded;
use super::support::Project;
use xtask::verdict::Verdict;

#[test]
fn another_project_is_checked_by_configuration_alone() {
    let project = Project::shop();
    project.edit("manual/docs/index.md", "prices.md", "price-list.md");
    project.commit();
    let ran = project.xtask(&["ci"]);
    ran.assert_code(10);
    let ids: Vec<&str> = ran.report().gates.iter().map(|gate| gate.id.as_str()).collect();
    assert_eq!(ids, ["subjects", "policy", "test-matrix/3.12", "test-matrix/coverage", "docs"]);
    assert_eq!(ran.red(), ["docs"], "{}", ran.stdout);
    let finding = &ran.gate("docs").findings[0];
    assert_eq!((finding.path.as_deref(), finding.line), (Some("manual/docs/index.md"), Some(3)));
    assert_eq!(ran.gate("test-matrix/3.12").work.count, 2);
    let undeclared =
        ["secrets", "sast", "dependencies", "locks", "dockerfile", "workflows", "manifests", "shell", "generated"];
    let undeclared = ["hooks", "redis"].into_iter().chain(undeclared).chain(["sbom", "licences"]);
    let undeclared = undeclared.chain(["container", "integration", "smoke", "perf"]);
    assert_eq!(ran.report().not_configured, undeclared.collect::<Vec<_>>());
    assert!(!ran.report().dirty);

    project.edit("manual/docs/index.md", "price-list.md", "prices.md");
    let mended = project.xtask(&["ci"]);
    mended.assert_code(0);
    assert_eq!(mended.ran(), ["subjects", "docs"]);
    assert!(mended.report().dirty);

    let unchanged = project.xtask(&["ci"]);
    unchanged.assert_code(0);
    assert_eq!(unchanged.ran(), Vec::<&str>::new());
    assert!(unchanged.stdout.contains("nothing ran: no input has changed"), "{}", unchanged.stdout);
    assert_eq!(unchanged.report().without_times(), mended.report().without_times());

    // R4: whether or not the cache was used, the same inputs give the same report.
    let again = project.xtask(&["ci", "--no-cache"]);
    again.assert_code(0);
    assert_eq!(again.ran().len(), 5);
    assert_eq!(again.report().without_times(), mended.report().without_times());
}

#[test]
fn what_lies_in_the_tree_undeclared_is_a_finding() {
    let project = Project::shop();
    project.write(".pre-commit-config.yaml", "repos: []\n");
    let ran = project.xtask(&["ci", "--only", "subjects"]);
    ran.assert_code(10);
    assert_eq!(ran.gate("subjects").findings[0].path.as_deref(), Some(".pre-commit-config.yaml"));
}

#[test]
fn tests_that_nobody_declared_are_a_finding() {
    let project = Project::shop();
    let config = project.read("ci/pipeline.toml");
    let (python, rest) = config.split_once("[tests]").unwrap();
    let (_, docs) = rest.split_once("[docs]").unwrap();
    project.write("ci/pipeline.toml", &format!("{python}[docs]{docs}"));
    std::fs::rename(project.path().join("checks"), project.path().join("tests")).unwrap();
    let ran = project.xtask(&["ci", "--only", "subjects"]);
    ran.assert_code(10);
    assert_eq!(ran.gate("subjects").findings[0].path.as_deref(), Some("tests/conftest.py"));
}

#[test]
fn a_declared_subject_that_is_absent_did_not_run() {
    let project = Project::shop();
    std::fs::remove_file(project.path().join("manual/mkdocs.yml")).unwrap();
    let ran = project.xtask(&["docs"]);
    ran.assert_code(20);
    assert_eq!(ran.gate("docs").verdict, Verdict::DidNotRun);
    assert!(ran.gate("docs").reason.contains("manual/mkdocs.yml"), "{}", ran.gate("docs").reason);
}

#[test]
fn an_empty_folder_of_documents_is_no_pass() {
    let project = Project::shop();
    std::fs::remove_dir_all(project.path().join("manual/docs")).unwrap();
    std::fs::create_dir(project.path().join("manual/docs")).unwrap();
    project.xtask(&["docs"]).assert_code(20);
}

#[test]
fn what_a_declared_subject_does_not_list_is_a_finding() {
    let guarded = Guarded::new();
    let project = &guarded.project;
    for stray in ["stray.py", "shop/inner/fine.py", "bin/stray.sh", "Dockerfile.dev"] {
        project.write(stray, "");
    }
    let ran = project.xtask(&["ci", "--only", "subjects"]);
    ran.assert_code(10);
    let found = &ran.gate("subjects").findings;
    let unlisted =
        found.iter().filter(|finding| finding.rule == "not-listed").filter_map(|found| found.path.as_deref());
    let unlisted: Vec<&str> = unlisted.filter(|path| !path.starts_with("tools/")).collect();
    assert_eq!(unlisted, ["stray.py", "Dockerfile.dev", "bin/stray.sh"]);
}
