//! Weaknesses planted in a project that is green, one after the other: each turns exactly the right gates red, and
//! leads to the line.
//!
//! No secret stands here whole: the parts are put together while the test runs, for our own scan reads this file.

mod branch;
mod dependencies;
mod secrets;

use std::collections::BTreeSet;

use xtask::verdict::{Severity, Verdict};

use super::guarded::{GUARDS, Guarded};
use super::support::{Project, Ran};

/// A finding that has to be there: its gate, its rule, `path:line`, and words of its message.
type Expected<'a> = (&'a str, &'a str, &'a str, &'a str);

const CONFIG: &str = "ci/pipeline.toml";
const WORKFLOW: &str = ".github/workflows/ci.yml";
const MANIFEST: &str = "k8s/base/shop.yaml";

/// Exactly the gates of these findings are red, each finding is there, and nothing is found in another file.
#[track_caller]
fn assert_exactly(ran: &Ran, expected: &[Expected<'_>]) {
    ran.assert_code(10);
    let gates: BTreeSet<&str> = expected.iter().map(|(gate, ..)| *gate).collect();
    assert_eq!(ran.red().into_iter().collect::<BTreeSet<_>>(), gates, "{}", ran.stdout);
    for gate in gates {
        assert_eq!(ran.gate(gate).verdict, Verdict::Fail, "{}", ran.gate(gate).reason);
        let places: Vec<&str> = expected.iter().filter(|(of, ..)| *of == gate).map(|(_, _, place, _)| *place).collect();
        let found = ran.gate(gate).findings.iter().filter(|finding| finding.severity > Severity::Info);
        for finding in found.filter(|finding| finding.excused.is_none()) {
            let path = finding.path.as_deref().unwrap_or("nowhere");
            let is_expected = places.iter().any(|place| place.split(':').next() == Some(path));
            assert!(is_expected, "{gate} found something elsewhere: {finding:?}");
        }
    }
    for (gate, rule, place, words) in expected {
        assert_leads_to(ran, gate, rule, place, words);
    }
}

#[track_caller]
fn assert_leads_to(ran: &Ran, gate: &str, rule: &str, place: &str, words: &str) {
    let findings = &ran.gate(gate).findings;
    let start = format!("{place}: ");
    let is_it = findings.iter().any(|finding| {
        finding.rule == rule && finding.one_line().starts_with(&start) && finding.message.contains(words)
    });
    assert!(is_it, "{gate}: no {rule} at {place} with `{words}`: {findings:#?}");
    assert!(ran.stdout.contains(&start), "{}", ran.stdout);
}

/// `path:line` of the last line that has these words.
#[track_caller]
fn place(project: &Project, path: &str, words: &str) -> String {
    let text = project.read(path);
    let line = text.lines().collect::<Vec<_>>().into_iter().rposition(|line| line.contains(words));
    format!("{path}:{}", line.unwrap_or_else(|| panic!("`{words}` is not in {path}:\n{text}")) + 1)
}

fn append(project: &Project, path: &str, text: &str) {
    let before = if project.path().join(path).exists() { project.read(path) } else { String::new() };
    project.write(path, &format!("{before}{text}"));
}

/// The results of `results.sarif`.
fn sarif(project: &Project) -> Vec<serde_json::Value> {
    let log: serde_json::Value = serde_json::from_str(&project.read("target/xtask/out/results.sarif")).unwrap();
    let runs = log["runs"].as_array().unwrap().iter();
    runs.flat_map(|run| run["results"].as_array().unwrap().clone()).collect()
}

/// No piece of the secret is in what the program printed or left behind.
#[track_caller]
fn assert_nowhere(ran: &Ran, project: &Project, secret: &str) {
    let pieces: Vec<&str> = (8..=secret.len()).map(|end| &secret[end - 8..end]).collect();
    let holds = |text: &str| pieces.iter().any(|piece| text.contains(piece));
    assert!(!holds(&ran.stdout) && !holds(&ran.stderr));
    let (mut files, mut folders) = (0, vec![project.path().join("target/xtask")]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            // Links lead to the programs that all tests share.
            if path.is_dir() && !path.is_symlink() && !path.ends_with("target/xtask/env") {
                folders.push(path);
            } else if path.is_file() {
                files += 1;
                let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
                assert!(!holds(&text), "{} holds a piece of the secret", path.display());
            }
        }
    }
    assert!(files > 10, "only {files} files below target/xtask");
}

/// A call of a shell with what a request brings, with a comment behind it.
fn plant_shell_call(project: &Project, comment: &str) {
    project.edit("shop/api.py", "from typing import Any\n", "import subprocess\nfrom typing import Any\n");
    let call = "\n\ndef ask(request: Any) -> None:\n    subprocess.run(f\"ask {request.args}\", shell=True)";
    append(project, "shop/api.py", &format!("{call}{comment}\n"));
}

#[test]
fn dangerous_source_and_weak_configuration() {
    let guarded = Guarded::green();
    let project = &guarded.project;

    // One weakness for each of six gates.
    plant_shell_call(project, "");
    project.edit("Dockerfile", "USER 10001", "USER root");
    project.edit(WORKFLOW, "@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1", "@v7");
    project.edit(MANIFEST, "  replicas: 2", "  replicsa: 2");
    project.edit("run.sh", "exec python", "cd $1\nexec python");
    let ran = project.xtask(&GUARDS);
    let call = place(project, "shop/api.py", "shell=True");
    assert_exactly(
        &ran,
        &[
            ("scan/bandit", "B602", &call, "shell=True"),
            ("scan/ruff", "S602", &call, "shell=True"),
            ("scan/dockerfile", "DL3002", &place(project, "Dockerfile", "USER root"), "should not be root"),
            ("scan/workflows", "unpinned-uses", &place(project, WORKFLOW, "@v7"), "not pinned to a hash"),
            ("scan/manifests", "schema", &place(project, MANIFEST, "replicsa"), "'replicsa' was unexpected"),
            ("scan/shell", "SC2086", &place(project, "run.sh", "cd $1"), "Double quote"),
        ],
    );
    guarded.revert();

    // No user at all. What a stranger writes is run, which both scanners of workflows know. A privileged container.
    project.edit("Dockerfile", "USER 10001\n", "");
    let injected = "run: echo \"${{ github.event.pull_request.title }}\"";
    project.edit(WORKFLOW, "run: cargo xtask ci", injected);
    project.edit(MANIFEST, "          runAsUser: 10001", "          privileged: true\n          runAsUser: 10001");
    let ran = project.xtask(&GUARDS);
    let injection = place(project, WORKFLOW, "pull_request.title");
    let privileged = place(project, MANIFEST, "privileged");
    assert_exactly(
        &ran,
        &[
            ("scan/dockerfile", "root-user", "Dockerfile:1", "names no other user"),
            ("scan/workflows", "template-injection", &injection, "code injection"),
            ("scan/actionlint", "expression", &injection, "potentially untrusted"),
            ("scan/pod-security", "privileged", &privileged, "Deployment/shop: container `shop` has privileged: true"),
            ("scan/kube-score", "container-security-context-privileged", &privileged, "is privileged"),
        ],
    );
    guarded.revert();

    // A user that only the build knows. Every permission there is.
    project.edit("Dockerfile", "USER 10001\n", "ARG WHO\nUSER ${WHO}\n");
    project.edit(WORKFLOW, "permissions: {}", "permissions: write-all");
    let ran = project.xtask(&GUARDS);
    assert_exactly(
        &ran,
        &[
            ("scan/dockerfile", "root-user", &place(project, "Dockerfile", "USER"), "names no other user"),
            ("scan/workflows", "excessive-permissions", &place(project, WORKFLOW, "write-all"), "write-all"),
        ],
    );
    guarded.revert();

    // A line that only looks as if it named a user, and one that names root in quotes.
    for (user, line) in [("RUN prepare \\\nUSER 10001\n", 1), ("USER \\\n${WHO}\n", 3), ("USER \"root\"\n", 3)] {
        project.edit("Dockerfile", "USER 10001\n", user);
        let ran = project.xtask(&["ci", "--only", "scan/dockerfile"]);
        assert_exactly(&ran, &[("scan/dockerfile", "root-user", &format!("Dockerfile:{line}"), "names no other user")]);
        guarded.revert();
    }
}

/// What a namespace with the label `enforce: restricted` would refuse, and no linter of ours had seen. Each in the place
/// of words of the manifest: the gate that sees it, with the rule and the words that it leads to.
#[test]
fn what_the_api_server_would_refuse() {
    let guarded = Guarded::green();
    let project = &guarded.project;
    let spec = "    spec:\n      securityContext:\n";
    let host = |field: &str| spec.replace("    spec:\n", &format!("    spec:\n      {field}: true\n"));
    let volume = spec.replace("spec:\n", "spec:\n      volumes:\n      - name: host\n        hostPath: {path: /}\n");
    let capabilities = "capabilities: {drop: [ALL]}";
    for (words, planted, rule, leads_to) in [
        (spec, host("hostNetwork"), "host-namespaces", "hostNetwork: true"),
        (spec, host("hostPID"), "host-namespaces", "hostPID: true"),
        (spec, volume, "volume-types", "hostPath:"),
        (capabilities, "capabilities: {drop: [ALL], add: [NET_RAW]}".to_owned(), "capabilities", "NET_RAW"),
        (capabilities, String::new(), "capabilities", "name: shop"),
        ("        runAsNonRoot: true\n", String::new(), "run-as-non-root", "name: shop"),
        ("        seccompProfile: {type: RuntimeDefault}\n", String::new(), "seccomp", "name: shop"),
        (
            "allowPrivilegeEscalation: false",
            "allowPrivilegeEscalation: true".to_owned(),
            "privilege-escalation",
            "allowPrivilegeEscalation: true",
        ),
        ("          allowPrivilegeEscalation: false\n", String::new(), "privilege-escalation", "name: shop"),
        ("containerPort: 8080", "containerPort: 8080, hostPort: 80".to_owned(), "host-ports", "hostPort: 80"),
    ] {
        project.edit(MANIFEST, words, &planted);
        let ran = project.xtask(&["ci", "--only", "scan/manifests,scan/pod-security"]);
        let text = project.read(MANIFEST);
        let line = text.lines().position(|line| line.contains(leads_to)).unwrap() + 1;
        assert_exactly(&ran, &[("scan/pod-security", rule, &format!("{MANIFEST}:{line}"), "Deployment/shop")]);
        guarded.revert();
    }
}

#[test]
fn an_ignore_counts_until_its_day() {
    let guarded = Guarded::green();
    let project = &guarded.project;
    let ignore = |gate: &str, rule: &str, expires: &str| {
        format!(
            "\n[[ignore]]\ngate = \"{gate}\"\nrule = \"{rule}\"\npath = \"shop\"\nreason = \"for a test\"\nexpires = \"{expires}\"\n"
        )
    };

    // On main, so that it is no new ignore.
    append(project, CONFIG, &ignore("scan/ruff", "S602", "2999-12-31"));
    append(project, CONFIG, &ignore("scan/bandit", "B602", "2020-01-01"));
    project.commit();
    let ran = project.xtask(&GUARDS);
    let line = place(project, CONFIG, "[[ignore]]");
    assert_exactly(&ran, &[("scan/bandit", "expired-ignore", &line, "ended on 2020-01-01")]);

    // It excuses nothing any more, and the other one does.
    plant_shell_call(project, "");
    let call = place(project, "shop/api.py", "shell=True");
    let ran = project.xtask(&GUARDS);
    let expected = [
        ("scan/bandit", "expired-ignore", line.as_str(), "ended on 2020-01-01"),
        ("scan/bandit", "B602", &call, "shell=True"),
    ];
    assert_exactly(&ran, &expected);
    project.edit(CONFIG, "2020-01-01", "2999-12-31");
    project.commit();
    let ran = project.xtask(&GUARDS);
    ran.assert_code(0);
    for (gate, rule) in [("scan/bandit", "B602"), ("scan/ruff", "S602")] {
        let found = ran.gate(gate).findings.iter().find(|finding| finding.rule == rule).unwrap();
        assert_eq!(found.excused.as_deref(), Some("ignored until 2999-12-31: for a test"));
        let results = sarif(project);
        let result = results.iter().find(|result| result["ruleId"] == rule).unwrap();
        assert_eq!(result["suppressions"][0]["status"], "accepted", "{result:#}");
        assert_eq!(result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"], "shop/api.py");
    }
}
