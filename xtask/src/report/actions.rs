//! GitHub Actions' workflow commands: a group with the log of each gate, an annotation for each finding.

use std::fmt::Write as _;
use std::path::Path;

use crate::model::log_artifact;
use crate::model::{GateReport, Report};
use crate::text::{neutral, workflow_message, workflow_property};
use crate::verdict::{Severity, Verdict};

/// GitHub shows ten errors and ten warnings of a step; what comes after them is cut there anyway.
const SHOWN: usize = 10;

/// The newest lines of a log that a group shows; the whole log is an artifact.
const LOG_LINES: usize = 500;

/// The log of one gate, folded.
pub fn group(gate: &GateReport, out: &Path) -> String {
    let log = std::fs::read_to_string(out.join(log_artifact(&gate.id))).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    let mut text = format!("::group::{}\n", workflow_message(&format!("log of {}", gate.id)));
    for line in &lines[lines.len().saturating_sub(LOG_LINES)..] {
        let _infallible = writeln!(text, "{}", neutral(line));
    }
    text.push_str("::endgroup::\n");
    text
}

/// A sentence as an annotation.
pub fn warning(text: &str) -> String {
    format!("::warning::{}", workflow_message(text))
}

/// Findings as annotations, and one for each gate that did not run.
pub fn annotations(report: &Report) -> String {
    let mut text = String::new();
    for gate in report.gates.iter().filter(|gate| gate.verdict != Verdict::Pass) {
        let level = if gate.required || gate.verdict == Verdict::Fail { "error" } else { "warning" };
        let mut found: Vec<_> = gate.findings.iter().filter(|finding| finding.breaks(Severity::Low)).collect();
        found.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        for finding in found.into_iter().take(SHOWN) {
            let mut place = String::new();
            if let Some(path) = &finding.path {
                let _infallible = write!(place, "file={},", workflow_property(path));
            }
            if let Some(line) = finding.line {
                let _infallible = write!(place, "line={line},");
            }
            let title = workflow_property(&format!("{}: {}", gate.id, finding.rule));
            let message = workflow_message(&finding.message);
            let _infallible = writeln!(text, "::{level} {place}title={title}::{message}");
        }
        if gate.findings.is_empty() {
            let message = workflow_message(&format!("{}. Next: {}", gate.reason, gate.fix));
            let _infallible = writeln!(text, "::{level} title={}::{message}", workflow_property(&gate.id));
        }
    }
    text
}
