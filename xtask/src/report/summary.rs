//! `summary.md`, which is also the summary of a step in GitHub Actions.

use std::fmt::Write as _;

use super::paint::{label, seconds, verdict_line};
use crate::model::Report;
use crate::text::markdown;
use crate::verdict::{Severity, Verdict};

/// GitHub refuses step summaries over 1 MiB; far below that nobody reads any further.
const SHOWN_FINDINGS: usize = 50;

/// A table of gates, then what is not green.
pub fn render(report: &Report) -> String {
    let mut text = format!("### {}: {}\n\n", markdown(&report.task), markdown(&verdict_line(report)));
    text.push_str("| gate | verdict | work | time |\n|---|---|---:|---:|\n");
    for gate in &report.gates {
        let time = if gate.cached { "cached".to_owned() } else { seconds(gate.duration_ms) };
        let optional = if gate.required { "" } else { " (optional)" };
        let (id, work) = (markdown(&gate.id), markdown(&gate.work.to_string()));
        let verdict = label(gate.verdict);
        let _infallible = writeln!(text, "| {id} | {verdict}{optional} | {work} | {time} |");
    }
    for gate in report.gates.iter().filter(|gate| gate.verdict != Verdict::Pass) {
        let _infallible = write!(text, "\n**{}** {}\n\n", markdown(&gate.id), markdown(&gate.reason));
        for finding in gate.findings.iter().filter(|f| f.breaks(Severity::Low)).take(SHOWN_FINDINGS) {
            let _infallible = writeln!(text, "- {} ({})", markdown(&finding.one_line()), markdown(&finding.rule));
        }
        if !gate.fix.is_empty() {
            let _infallible = write!(text, "\nNext: {}\n", markdown(&gate.fix));
        }
    }
    if !report.not_configured.is_empty() {
        let list: Vec<String> = report.not_configured.iter().map(|subject| markdown(subject)).collect();
        let _infallible = write!(text, "\nNot configured: {}\n", list.join(", "));
    }
    text.push('\n');
    text
}
