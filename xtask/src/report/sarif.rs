//! `results.sarif`: every finding of every scanner, one run a tool, for GitHub's code scanning.
//!
//! A tool that did not run and found nothing has no run here: an empty one would say "clean", and GitHub would
//! close what was found before. Severities: critical and high are `error`, medium is `warning`, low and info are
//! `note`; GitHub's own scale is in each rule's `security-severity`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::model::{GateReport, Report};
use crate::text::percent_encoded;
use crate::verdict::{Finding, Severity, Verdict};

/// What GitHub takes of one upload:
/// <https://docs.github.com/en/code-security/code-scanning/integrating-with-code-scanning/sarif-support-for-code-scanning>.
const MOST_RUNS: usize = 20;
const MOST_RESULTS: usize = 25_000;

/// Tasks whose gates are scanners.
const SCANNERS: [&str; 4] = ["scan", "policy", "sbom", "container"];

/// The report's findings as SARIF 2.1.0.
pub fn render(report: &Report) -> String {
    let mut tools: BTreeMap<&str, Vec<&GateReport>> = BTreeMap::new();
    for gate in report.gates.iter().filter(|gate| SCANNERS.contains(&gate.task())) {
        tools.entry(&gate.tool.name).or_default().push(gate);
    }
    let said = |gates: &Vec<&GateReport>| {
        gates.iter().all(|gate| gate.verdict != Verdict::DidNotRun)
            || gates.iter().any(|gate| !gate.findings.is_empty())
    };
    let runs: Vec<Value> = tools
        .into_iter()
        .filter(|(_, gates)| said(gates))
        .take(MOST_RUNS)
        .map(|(name, gates)| run(name, &gates))
        .collect();
    let log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": runs,
    });
    format!("{log:#}\n")
}

fn run(name: &str, gates: &[&GateReport]) -> Value {
    let mut findings: Vec<(&GateReport, &Finding)> =
        gates.iter().flat_map(|gate| gate.findings.iter().map(|finding| (*gate, finding))).collect();
    // What GitHub would cut off is the least bad.
    findings.sort_by_key(|(_, finding)| std::cmp::Reverse(finding.severity));
    let cut = findings.len().saturating_sub(MOST_RESULTS);
    findings.truncate(MOST_RESULTS);
    let mut worst: BTreeMap<&str, Severity> = BTreeMap::new();
    for (_, finding) in &findings {
        let known = worst.entry(&finding.rule).or_insert(finding.severity);
        *known = (*known).max(finding.severity);
    }
    let rules: Vec<Value> = worst.iter().map(|(id, severity)| rule(name, id, *severity)).collect();
    let index = |id: &str| worst.keys().position(|known| *known == id).unwrap_or_default();
    let results: Vec<Value> =
        findings.iter().map(|(gate, finding)| result(gate, finding, index(&finding.rule))).collect();
    let unproved = gates.iter().filter(|gate| gate.verdict == Verdict::DidNotRun);
    let mut notes: Vec<Value> = unproved
        .map(|gate| json!({"level": "error", "message": {"text": format!("{} did not run: {}", gate.id, gate.reason)}}))
        .collect();
    if cut > 0 {
        let text = format!("{cut} findings are left out: GitHub takes {MOST_RESULTS}; report.json has all of them");
        notes.push(json!({"level": "warning", "message": {"text": text}}));
    }
    let version = gates.first().map_or("", |gate| gate.tool.version.as_str());
    json!({
        "tool": {"driver": {"name": name, "version": version, "rules": rules}},
        "automationDetails": {"id": format!("{name}/")},
        "invocations": [{
            "executionSuccessful": gates.iter().all(|gate| gate.verdict != Verdict::DidNotRun),
            "toolExecutionNotifications": notes,
        }],
        "columnKind": "unicodeCodePoints",
        "results": results,
    })
}

fn rule(tool: &str, id: &str, severity: Severity) -> Value {
    json!({
        "id": id,
        "name": id,
        "shortDescription": {"text": format!("{tool}: {id}")},
        "defaultConfiguration": {"level": level(severity)},
        "properties": {"security-severity": score(severity), "tags": ["security"]},
    })
}

fn result(gate: &GateReport, finding: &Finding, rule: usize) -> Value {
    // GitHub refuses a result without a place; one that has none is about the repository.
    let uri = finding.path.as_deref().map_or_else(|| ".".to_owned(), |path| percent_encoded(path, "/"));
    let mut place = json!({"artifactLocation": {"uri": uri, "uriBaseId": "%SRCROOT%"}});
    if let Some(line) = finding.line.filter(|line| *line > 0) {
        place["region"] = json!({"startLine": line});
    }
    let mut result = json!({
        "ruleId": finding.rule,
        "ruleIndex": rule,
        "level": level(finding.severity),
        "message": {"text": finding.message},
        "locations": [{"physicalLocation": place}],
        "properties": {"gate": gate.id},
    });
    if let Some(why) = &finding.excused {
        result["suppressions"] = json!([{"kind": "external", "status": "accepted", "justification": why}]);
    }
    result
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical | Severity::High => "error",
        Severity::Medium => "warning",
        Severity::Low | Severity::Info => "note",
    }
}

/// In the middle of GitHub's ranges: over 9.0, from 7.0, from 4.0, above 0.
fn score(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "9.5",
        Severity::High => "8.0",
        Severity::Medium => "5.5",
        Severity::Low => "2.0",
        Severity::Info => "0.0",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Profile;
    use crate::verdict::{Tool, Work};

    fn gate(id: &str, tool: &str, verdict: Verdict, findings: Vec<Finding>) -> GateReport {
        GateReport {
            id: id.into(),
            verdict,
            required: true,
            cached: false,
            work: Work::new(1, "files"),
            tool: Tool { name: tool.into(), version: "1.0".into(), hash: None },
            path_tools: vec![],
            inputs: String::new(),
            duration_ms: 0,
            reason: "no way".into(),
            fix: String::new(),
            findings,
            artifacts: vec![],
        }
    }

    fn report(gates: Vec<GateReport>) -> Report {
        Report {
            schema: crate::model::SCHEMA.into(),
            commit: String::new(),
            dirty: false,
            task: "ci".into(),
            profile: Profile::Local,
            verdict: Verdict::Fail,
            started: String::new(),
            duration_ms: 0,
            not_configured: vec![],
            left_out: vec![],
            gates,
        }
    }

    fn rendered(gates: Vec<GateReport>) -> Value {
        let text = render(&report(gates));
        let log: Value = serde_json::from_str(&text).unwrap();
        let schema = include_str!("../../tests/schemas/sarif-2.1.0.json");
        let schema: Value = serde_json::from_str(schema).unwrap();
        let errors: Vec<String> =
            jsonschema::validator_for(&schema).unwrap().iter_errors(&log).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{errors:#?}");
        log
    }

    #[test]
    fn each_tool_is_a_run_and_the_log_is_valid() {
        let found = |severity| Finding::new("R1", severity, "bad").at("a b/ü.py".to_owned(), 3);
        let excused = Finding { excused: Some("for a while".into()), ..Finding::new("R2", Severity::Low, "so so") };
        let log = rendered(vec![
            gate("scan/deps-3.10", "pip-audit", Verdict::Fail, vec![found(Severity::Medium)]),
            gate("scan/deps-3.11", "pip-audit", Verdict::Fail, vec![found(Severity::Critical), excused]),
            gate("scan/bandit", "bandit", Verdict::Pass, vec![]),
            gate("scan/trivy", "trivy", Verdict::DidNotRun, vec![]),
            gate("docs", "mkdocs", Verdict::Fail, vec![found(Severity::High)]),
        ]);
        let runs = log["runs"].as_array().unwrap();
        let names: Vec<&str> = runs.iter().map(|run| run["tool"]["driver"]["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["bandit", "pip-audit"]);
        let results = runs[1]["results"].as_array().unwrap();
        let levels: Vec<&str> = results.iter().map(|result| result["level"].as_str().unwrap()).collect();
        assert_eq!(levels, ["error", "warning", "note"]);
        let place = &results[0]["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "a%20b/%C3%BC.py");
        assert_eq!(place["region"]["startLine"], 3);
        assert_eq!(results[2]["suppressions"][0]["justification"], "for a while");
        assert_eq!(runs[1]["tool"]["driver"]["rules"][0]["properties"]["security-severity"], "9.5");
    }

    #[test]
    fn what_was_found_before_a_scanner_broke_is_kept_and_the_run_says_that_it_broke() {
        let found = vec![Finding::new("R1", Severity::High, "bad")];
        let log = rendered(vec![gate("scan/trivy", "trivy", Verdict::DidNotRun, found)]);
        assert_eq!(log["runs"][0]["invocations"][0]["executionSuccessful"], false);
        assert_eq!(log["runs"][0]["results"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn the_limits_of_github_are_kept_and_the_worst_stay() {
        let mut many: Vec<Finding> =
            (0..MOST_RESULTS + 5).map(|i| Finding::new("R1", Severity::Low, i.to_string())).collect();
        many.push(Finding::new("R2", Severity::Critical, "the worst"));
        let log = rendered(vec![gate("scan/x", "x", Verdict::Fail, many)]);
        let results = log["runs"][0]["results"].as_array().unwrap();
        assert_eq!(results.len(), MOST_RESULTS);
        assert_eq!(results[0]["message"]["text"], "the worst");
        let note = &log["runs"][0]["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"];
        assert!(note.as_str().unwrap().starts_with("6 findings are left out"), "{note}");
        let gates = (0..30).map(|i| gate(&format!("scan/{i}"), &format!("t{i:02}"), Verdict::Pass, vec![])).collect();
        assert_eq!(rendered(gates)["runs"].as_array().unwrap().len(), MOST_RUNS);
    }
}
