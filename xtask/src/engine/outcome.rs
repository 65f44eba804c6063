//! A gate's report: what it is before the gate has ended, and what its outcome makes of it.

use super::gate::Gate;
use crate::model::{GateReport, log_artifact};
use crate::text::clean;
use crate::verdict::{Assessment, Evidence, Finding, NotRun, Tool, Verdict, Work, assess};

/// The report of a gate that has not ended yet, which is what a crash leaves behind.
pub fn unfinished(gate: &Gate, tool: Tool) -> GateReport {
    GateReport {
        id: gate.id.clone(),
        verdict: Verdict::DidNotRun,
        required: true,
        cached: false,
        work: Work::new(0, gate.unit),
        tool,
        path_tools: Vec::new(),
        inputs: String::new(),
        duration_ms: 0,
        reason: "not finished".to_owned(),
        fix: gate.again.clone(),
        findings: Vec::new(),
        artifacts: Vec::new(),
    }
}

/// What evidence makes of a report.
pub fn proved(report: &mut GateReport, evidence: Evidence, gate: &Gate) {
    // Before they are judged, for the reason quotes one of them.
    let findings = evidence.findings.into_iter().map(harmless).collect();
    let evidence = Evidence { findings, ..evidence };
    let Assessment { verdict, reason } = assess(&evidence, gate.breaks_at);
    report.verdict = verdict;
    report.reason = reason;
    report.fix = match verdict {
        Verdict::Pass => String::new(),
        Verdict::Fail => evidence.fix,
        Verdict::DidNotRun => format!("look into `{}` in the output folder", log_artifact(&gate.id)),
    };
    report.work = evidence.work;
    report.findings = evidence.findings;
    report.artifacts = evidence.artifacts;
}

/// What a tool's report says is text from outside, once it is decoded; a path has one line (R38).
fn harmless(finding: Finding) -> Finding {
    let path = finding.path.map(|path| clean(&path).replace('\n', " "));
    Finding { path, rule: clean(&finding.rule), message: clean(&finding.message), ..finding }
}

/// What a reason why nothing was proved makes of it.
pub fn not_proved(report: &mut GateReport, why: NotRun) {
    report.reason = clean(&why.reason);
    report.fix = why.fix;
    report.findings = why.findings.into_iter().map(harmless).collect();
    report.artifacts = why.artifacts;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::gate::testing::planned;
    use crate::verdict::Severity;

    #[test]
    fn a_reason_says_nothing_to_the_terminal() {
        let gate = planned("a", &[]);
        let finding = Finding::new("r", Severity::High, "\u{1b}]0;title\u{7}wrong");
        let evidence = Evidence {
            work: Work::new(1, "things"),
            declared: None,
            findings: vec![finding],
            artifacts: vec![],
            fix: String::new(),
        };
        let mut failed = unfinished(&gate, Tool::default());
        proved(&mut failed, evidence, &gate);
        assert_eq!((failed.verdict, failed.reason.as_str()), (Verdict::Fail, "wrong"));
        let mut absent = unfinished(&gate, Tool::default());
        not_proved(&mut absent, NotRun::new("\u{1b}[31mred\u{1b}[0m", ""));
        assert_eq!((absent.verdict, absent.reason.as_str()), (Verdict::DidNotRun, "red"));
    }
}
