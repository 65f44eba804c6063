//! Files for other tools: the gate finds one that is not what the configuration makes, and what they say of the
//! backend is so.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::support::{Project, Ran, repository};
use xtask::verdict::Verdict;

const GATE: &str = "scan/generated";

fn check(project: &Project) -> Ran {
    project.xtask(&["generate", "--check"])
}

/// The rule, path and line of every finding.
fn found(ran: &Ran) -> Vec<(String, String, Option<u32>)> {
    let findings = ran.gate(GATE).findings.iter();
    findings.map(|found| (found.rule.clone(), found.path.clone().unwrap_or_default(), found.line)).collect()
}

#[test]
fn a_file_that_is_not_what_the_configuration_makes_is_found_and_made_anew() {
    let project = Project::ours();
    let ran = check(&project);
    ran.assert_code(0);
    assert_eq!((ran.gate(GATE).work.count, ran.gate(GATE).work.unit.as_str()), (4, "files"));
    assert!(check(&project).gate(GATE).cached, "nothing has changed");

    // By hand, by the configuration, by an environment's file; a file that is gone, and one that nothing makes.
    project.edit("catalog-info.yaml", "title: Forge", "title: Smith");
    project.edit("xtask/config/staging.toml", "context = \"forge-staging\"", "context = \"elsewhere\"");
    project.edit("xtask/config/pipeline.toml", "options = [\"--skip\", \"container\"]", "options = []");
    std::fs::remove_file(project.path().join("k8s/argocd/production.yaml")).unwrap();
    project.write("k8s/argocd/old.yaml", "a: 1\n");
    let ran = check(&project);
    ran.assert_code(10);
    let mut rules = found(&ran);
    rules.sort();
    let line = |path: &str, words: &str| {
        let text = project.read(path);
        let at = text.lines().collect::<Vec<_>>().into_iter().rposition(|line| line.contains(words)).unwrap();
        Some(u32::try_from(at + 1).unwrap())
    };
    let expected = [
        ("left-over", "k8s/argocd/old.yaml", None),
        ("missing", "k8s/argocd/production.yaml", None),
        ("stale", "catalog-info.yaml", line("catalog-info.yaml", "title: Smith")),
        ("stale", "k8s/argocd/staging.yaml", line("k8s/argocd/staging.yaml", " name: forge-staging")),
        ("stale", "k8s/tekton/task.yaml", line("k8s/tekton/task.yaml", "- default:")),
    ];
    let expected: Vec<_> =
        expected.into_iter().map(|(rule, path, line)| (rule.to_owned(), path.to_owned(), line)).collect();
    assert_eq!(rules, expected, "{}", ran.stdout);
    assert_eq!(ran.gate(GATE).fix, "cargo xtask generate");
    // The same gate is one of `ci`.
    project.xtask(&["ci", "--only", GATE]).assert_code(10);

    let dry = project.xtask(&["generate", "--dry-run"]);
    dry.assert_code(0);
    assert!(!project.path().join("k8s/argocd/production.yaml").exists(), "{}", dry.stdout);
    let made = project.xtask(&["generate"]);
    made.assert_code(0);
    assert!(made.stdout.contains("`k8s/argocd/production.yaml` was written"), "{}", made.stdout);
    std::fs::remove_file(project.path().join("k8s/argocd/old.yaml")).unwrap();
    check(&project).assert_code(0);
    assert!(project.read("k8s/argocd/staging.yaml").contains("name: elsewhere"));
}

#[test]
fn without_a_configuration_that_can_be_read_nothing_is_green() {
    let project = Project::ours();
    project.edit("xtask/config/staging.toml", "[release]", "[relaese]");
    let ran = check(&project);
    ran.assert_code(20);
    assert_eq!(ran.gate(GATE).verdict, Verdict::DidNotRun);
    assert!(ran.gate(GATE).reason.contains("staging.toml"), "{}", ran.gate(GATE).reason);
    project.xtask(&["generate"]).assert_code(2);

    let shop = Project::shop();
    check(&shop).assert_code(2);
    // One that nobody declared is found by who looks for such.
    shop.write("catalog-info.yaml", "kind: Component\n");
    let ran = shop.xtask(&["ci", "--only", "subjects"]);
    ran.assert_code(10);
    assert_eq!(ran.gate("subjects").findings[0].path.as_deref(), Some("catalog-info.yaml"));
}

fn not_run(why: &str) {
    std::io::stderr().write_all(format!("NOT RUN: {why}\n").as_bytes()).unwrap();
}

/// The labels by which Backstage finds the pods are those of the pods, and what Argo CD leaves out of its comparison is what
/// a release puts in.
#[test]
fn what_the_files_say_of_the_objects_is_so() {
    let Ok(output) = Command::new("kubectl").arg("kustomize").arg(repository().join("k8s/overlays/staging")).output()
    else {
        return not_run("a test of generated files needs kubectl, which this machine lacks");
    };
    let objects: Vec<Value> = serde_saphyr::from_multiple(&String::from_utf8(output.stdout).unwrap()).unwrap();
    let is_ours = |object: &&Value| object["kind"] == "Deployment" && object["metadata"]["name"] == "forge";
    let deployment = objects.iter().find(is_ours).unwrap();
    let read = |path: &str| -> Vec<Value> {
        serde_saphyr::from_multiple(&std::fs::read_to_string(repository().join(path)).unwrap()).unwrap()
    };
    let catalog = read("catalog-info.yaml");
    let selector = catalog[1]["metadata"]["annotations"]["backstage.io/kubernetes-label-selector"].as_str().unwrap();
    for label in selector.split(',') {
        let (name, value) = label.split_once('=').unwrap();
        assert_eq!(deployment["spec"]["template"]["metadata"]["labels"][name], value, "{label}");
    }
    let application = &read("k8s/argocd/staging.yaml")[0]["spec"];
    assert!(repository().join(application["source"]["path"].as_str().unwrap()).is_dir());
    assert_eq!(application["syncPolicy"]["automated"], Value::Null, "a release owns the digest");
    let paths = application["ignoreDifferences"][0]["jqPathExpressions"].as_array().unwrap();
    for (path, value) in paths.iter().zip(["forge", "forge-secrets"]) {
        let jq = Command::new("jq")
            .args(["-c", "-e", &format!("[{}] | map(select(. != null))", path.as_str().unwrap())])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut jq) = jq else { return not_run("a test of generated files needs jq, which this machine lacks") };
        jq.stdin.take().unwrap().write_all(deployment.to_string().as_bytes()).unwrap();
        let output = jq.wait_with_output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), format!("[\"{value}\"]"), "{path}");
    }
}
