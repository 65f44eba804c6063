//! `junit.xml`: one suite a gate, and the tests of those gates whose tool wrote JUnit itself.

use std::path::Path;

use anyhow::{Context as _, Result};
use junit_report::{Duration, ReportBuilder, TestCase, TestCaseBuilder, TestSuiteBuilder};

use super::junit_cases::{self, Case, Status};
use crate::model::{GateReport, Report};
use crate::verdict::Verdict;

/// Report → XML. The gate itself is the first case of its suite, so that a gate without tests is seen too.
pub fn render(report: &Report, out: &Path) -> Result<String> {
    let mut builder = ReportBuilder::new();
    for gate in &report.gates {
        let mut suite = TestSuiteBuilder::new(&gate.id);
        suite.add_testcase(gate_case(gate));
        for case in cases(gate, out) {
            suite.add_testcase(test_case(&case));
        }
        builder.add_testsuite(suite.build());
    }
    let mut xml = Vec::new();
    builder.build().write_xml(&mut xml).context("cannot write JUnit")?;
    String::from_utf8(xml).context("JUnit is not Unicode")
}

/// The tests of a gate, from its first JUnit artifact. A file that cannot be read has been judged already.
fn cases(gate: &GateReport, out: &Path) -> Vec<Case> {
    let file = gate.artifacts.iter().find(|artifact| artifact.starts_with("junit/") && artifact.ends_with(".xml"));
    let text = file.and_then(|file| std::fs::read_to_string(out.join(file)).ok());
    text.and_then(|text| junit_cases::read(&text).ok()).unwrap_or_default()
}

fn gate_case(gate: &GateReport) -> TestCase {
    let time = Duration::milliseconds(i64::try_from(gate.duration_ms).unwrap_or(i64::MAX));
    let mut case = match gate.verdict {
        Verdict::Pass => TestCaseBuilder::success(&gate.id, time),
        Verdict::Fail => TestCaseBuilder::failure(&gate.id, time, "fail", &gate.reason),
        Verdict::DidNotRun if gate.required => TestCaseBuilder::error(&gate.id, time, "did_not_run", &gate.reason),
        Verdict::DidNotRun => TestCaseBuilder::skipped(&gate.id),
    };
    case.set_classname("gate");
    let findings: Vec<String> = gate.findings.iter().map(|finding| finding.one_line()).collect();
    case.set_system_out(&findings.join("\n"));
    case.build()
}

fn test_case(case: &Case) -> TestCase {
    let time = Duration::seconds_f64(case.time);
    let mut built = match case.status {
        Status::Passed => TestCaseBuilder::success(&case.name, time),
        Status::Failed => TestCaseBuilder::failure(&case.name, time, "failure", &case.message),
        Status::Error => TestCaseBuilder::error(&case.name, time, "error", &case.message),
        Status::Skipped => TestCaseBuilder::skipped(&case.name),
    };
    built.set_classname(&case.class);
    if let Some(file) = &case.file {
        built.set_filepath(file);
    }
    if !case.details.is_empty() {
        built.set_trace(&case.details);
    }
    built.build()
}
