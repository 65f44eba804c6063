//! Every scanner, held against one bad input that it has to find and one good one in which it finds nothing.
//!
//! A scanner that cannot be had on this machine is named in the output; one that is there and finds nothing in the
//! bad input is a failure, and so is a gate that has no canary.

use std::collections::BTreeSet;
use std::io::Write as _;

use xtask::verdict::{Severity, Verdict};

use super::guarded::{GUARDS, Guarded, aws_key, private_key};
use super::support::{Project, Ran};

/// What one scanner has to find.
struct Canary {
    gate: &'static str,
    rules: &'static [&'static str],
    plant: fn(&Guarded),
}

const CANARIES: [Canary; 13] = [
    Canary {
        gate: "scan/secrets",
        rules: &["aws-access-token", "private-key", "forge-address-password", "forge-password"],
        plant: |guarded| guarded.project.write("secrets.txt", &secrets()),
    },
    Canary {
        gate: "scan/history",
        rules: &["aws-access-token", "private-key", "forge-address-password", "forge-password"],
        plant: |guarded| {
            guarded.project.write("since-deleted.txt", &format!("# old\n{}", secrets()));
            guarded.project.commit();
            std::fs::remove_file(guarded.project.path().join("since-deleted.txt")).unwrap();
            guarded.project.commit();
        },
    },
    Canary {
        gate: "scan/bandit",
        rules: &["B301", "B307", "B324", "B506", "B602", "B608"],
        plant: |guarded| guarded.project.write("shop/bad.py", BAD_PYTHON),
    },
    // The same file.
    Canary { gate: "scan/ruff", rules: &["S301", "S307", "S324", "S506", "S602", "S608"], plant: |_| () },
    Canary {
        gate: "scan/deps-3.12",
        rules: &["PYSEC-2026-1"],
        plant: |guarded| guarded.osv.knows("idna", "PYSEC-2026-1", "HIGH", Some("99.0")),
    },
    Canary {
        gate: "scan/rustsec",
        rules: &["RUSTSEC-2026-0002"],
        plant: |guarded| guarded.advise("RUSTSEC-2026-0002", "itoa"),
    },
    Canary {
        gate: "scan/dockerfile",
        rules: &["DL3002", "DL3004", "DL3020", "DL4000"],
        plant: |guarded| guarded.project.write("Dockerfile", BAD_DOCKERFILE),
    },
    Canary {
        gate: "scan/workflows",
        rules: &["unpinned-uses", "template-injection", "excessive-permissions", "dangerous-triggers"],
        plant: |guarded| guarded.project.write(".github/workflows/bad.yml", BAD_WORKFLOW),
    },
    // The same file.
    Canary { gate: "scan/actionlint", rules: &["expression", "shellcheck", "runner-label"], plant: |_| () },
    Canary {
        gate: "scan/manifests",
        rules: &["schema", "no-schema"],
        plant: |guarded| bad_manifests(&guarded.project),
    },
    // The same file.
    Canary {
        gate: "scan/pod-security",
        rules: &["privileged", "capabilities", "seccomp", "privilege-escalation", "run-as-non-root"],
        plant: |_| (),
    },
    // The same file.
    Canary {
        gate: "scan/kube-score",
        rules: &[
            "container-security-context-privileged",
            "container-image-tag",
            "container-resources",
            "container-seccomp-profile",
        ],
        plant: |_| (),
    },
    Canary {
        gate: "scan/shell",
        rules: &["SC2086", "SC2164", "SC2115"],
        plant: |guarded| guarded.project.write("run.sh", "#!/bin/sh\ncd $1\nrm -rf \"$2/\"*\n"),
    },
];

/// Gates that no test can hold against an input here, and why.
const ELSEWHERE: [(&str, &str); 2] = [
    ("scan/trivy", "its data base of vulnerabilities has to be downloaded"),
    ("scan/ggshield", "it needs a key of GitGuardian's service"),
];

#[test]
fn every_scanner_finds_its_canary_and_nothing_in_what_is_good() {
    let guarded = Guarded::new();
    ELSEWHERE.iter().for_each(|(gate, why)| say(gate, why));

    let good = guarded.project.xtask(&GUARDS);
    let there: BTreeSet<&str> = scanners(&good).into_iter().filter(|gate| is_there(&good, gate)).collect();
    for gate in &there {
        let report = good.gate(gate);
        assert_eq!(report.verdict, Verdict::Pass, "{gate}: {}", report.reason);
        assert!(report.work.count > 0, "{gate}: {}", report.work);
    }

    CANARIES.iter().for_each(|canary| (canary.plant)(&guarded));
    let bad = guarded.project.xtask(&["ci", "--only", "scan", "--no-cache"]);
    let known: BTreeSet<&str> = CANARIES.iter().map(|canary| canary.gate).collect();
    assert_eq!(scanners(&bad).into_iter().collect::<BTreeSet<_>>(), known, "a gate without a canary");
    for canary in CANARIES.iter().filter(|canary| there.contains(canary.gate)) {
        let report = bad.gate(canary.gate);
        assert_eq!(report.verdict, Verdict::Fail, "{}: {}", canary.gate, report.reason);
        let found = report.findings.iter().filter(|found| found.severity > Severity::Info);
        let found: BTreeSet<&str> = found.map(|finding| finding.rule.as_str()).collect();
        let missed: Vec<_> = canary.rules.iter().filter(|rule| !found.contains(*rule)).collect();
        assert!(missed.is_empty(), "{} missed {missed:?} and found {found:?}", canary.gate);
    }
}

fn scanners(ran: &Ran) -> Vec<&str> {
    ran.report().gates.iter().map(|gate| gate.id.as_str()).filter(|id| id.starts_with("scan/")).collect()
}

/// Whether the scanner is on this machine; otherwise it is said.
fn is_there(ran: &Ran, gate: &str) -> bool {
    let report = ran.gate(gate);
    let is_missing = report.verdict == Verdict::DidNotRun && report.reason.contains(" cannot be had: ");
    if is_missing {
        say(gate, &report.reason);
    }
    !is_missing
}

/// Past the capture of tests, which shows nothing of one that passes.
fn say(gate: &str, why: &str) {
    let line = format!("canary: {gate} was not held against anything: {why}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

/// One secret for each rule, in no source file as a whole.
fn secrets() -> String {
    let password = ["tr0ub4d", "or-Qz81"].concat();
    let address = format!("postgres:{}shop:{password}@db.internal/shop", "//");
    format!("id = {}\n{}url = {address}\n{}word = \"{password}\"\n", aws_key(), private_key(), "pass")
}

/// Both look for the same weaknesses under their own numbers.
const BAD_PYTHON: &str = r#"import hashlib
import pickle
import subprocess

import yaml


def ask(request, cursor):
    subprocess.run(f"ask {request.args}", shell=True)
    cursor.execute(f"SELECT * FROM prices WHERE item = '{request.args}'")
    yaml.load(request.body, Loader=yaml.Loader)
    pickle.loads(request.body)
    hashlib.md5(request.body)
    return eval(request.args)
"#;

const BAD_DOCKERFILE: &str =
    "FROM debian:12.1\nMAINTAINER nobody\nADD shop /shop\nRUN sudo true\nUSER root\nENTRYPOINT [\"/shop/run\"]\n";

const BAD_WORKFLOW: &str = r#"name: Bad
on: pull_request_target
permissions: write-all
jobs:
  bad:
    runs-on: ubuntu-0.0
    steps:
      - uses: actions/checkout@v7
      - run: |
          echo "${{ github.event.pull_request.title }}"
          cd $HOME
"#;

/// A field that nobody knows, a kind that nobody knows, and a container that may do everything.
fn bad_manifests(project: &Project) {
    let manifest = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: bad\nspec:\n  replicsa: 2\n  selector:\n    \
                    matchLabels: {app: bad}\n  template:\n    metadata:\n      labels: {app: bad}\n    spec:\n      \
                    containers:\n      - name: bad\n        image: registry.invalid/bad:latest\n        \
                    securityContext: {privileged: true}\n---\napiVersion: shop.invalid/v1\nkind: Price\nmetadata:\n  \
                    name: bad\n";
    project.write("k8s/base/bad.yaml", manifest);
    project.edit("k8s/base/kustomization.yaml", "- shop.yaml\n", "- shop.yaml\n- bad.yaml\n");
}
