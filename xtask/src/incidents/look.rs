//! What a report of the monitoring says of each check. Pure but for the logs, which are files beside the report.

use std::path::Path;

use crate::config::Alerts;
use crate::incidents::cause::cause;
use crate::incidents::state::Kind;
use crate::model::{GateReport, Report, log_artifact};
use crate::verdict::{Finding, Severity, Verdict};

/// The task whose gates are looked at.
pub const TASK: &str = "monitor";

/// The kinds of checks; a gate of the task that is of none of them is no check of the service.
pub const KINDS: [&str; 3] = ["health", "performance", "security"];

/// One check as one run saw it. All texts are as they came.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// `KIND/CHECK`, as the environment's file names it.
    pub name: String,
    /// How it ended.
    pub verdict: Verdict,
    /// Whether somebody relies on it: one that is optional and did not run is nobody's business.
    pub required: bool,
    /// Why it is not green.
    pub reason: String,
    /// What the check itself says to do next.
    pub fix: String,
    /// What it found.
    pub findings: Vec<Finding>,
    /// The last lines of its log, where they may be shown.
    pub log: Vec<String>,
}

impl Check {
    /// The first part of its name.
    pub fn kind(&self) -> &str {
        self.name.split('/').next().unwrap_or_default()
    }

    /// How bad an incident of this kind is: what the environment's file says, else the worst finding, else as what such a
    /// check guards is.
    pub fn severity(&self, kind: Kind, alerts: &Alerts) -> Severity {
        if kind == Kind::Unwatched {
            return alerts.unwatched;
        }
        let breaking = self.findings.iter().filter(|finding| finding.breaks(Severity::Low));
        let worst = breaking.map(|finding| finding.severity).max();
        let default = if self.kind() == "performance" { Severity::Medium } else { Severity::High };
        alerts.severity.get(&self.name).copied().or(worst).unwrap_or(default)
    }

    /// By what its failure is known again. Why one did not run is told and makes no other incident.
    pub fn cause(&self) -> String {
        let findings: &[Finding] = if self.verdict == Verdict::Fail { &self.findings } else { &[] };
        cause(&self.reason, findings)
    }
}

/// Every check of the service in a report, in its order; `out` is where the logs lie.
pub fn checks(report: &Report, out: &Path, alerts: &Alerts) -> Vec<Check> {
    report.gates.iter().filter_map(|gate| check(gate, out, alerts)).collect()
}

fn check(gate: &GateReport, out: &Path, alerts: &Alerts) -> Option<Check> {
    let name = name_of(&gate.id)?;
    let log = match alerts.log_lines {
        0 => vec![],
        _ if gate.verdict == Verdict::Pass => vec![],
        most => last_lines(&std::fs::read(out.join(log_artifact(&gate.id))).unwrap_or_default(), most),
    };
    Some(Check {
        name: name.to_owned(),
        verdict: gate.verdict,
        required: gate.required,
        reason: gate.reason.clone(),
        fix: gate.fix.clone(),
        findings: gate.findings.clone(),
        log,
    })
}

/// The name of the check that a gate is; `None` where it is no check of the service.
pub fn name_of(gate: &str) -> Option<&str> {
    let name = gate.strip_prefix(TASK)?.strip_prefix('/')?;
    let (kind, check) = name.split_once('/')?;
    (KINDS.contains(&kind) && !check.is_empty()).then_some(name)
}

fn last_lines(log: &[u8], most: usize) -> Vec<String> {
    let text = String::from_utf8_lossy(log);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(most)..].iter().map(|line| (*line).to_owned()).collect()
}

#[cfg(test)]
pub mod testing {
    //! Reports for unit tests.
    use super::*;
    use crate::context::Profile;
    use crate::verdict::{Tool, Work};

    /// A gate that ended.
    pub fn gate(id: &str, verdict: Verdict, reason: &str) -> GateReport {
        GateReport {
            id: id.to_owned(),
            verdict,
            required: true,
            cached: false,
            work: Work::new(1, "requests"),
            tool: Tool::default(),
            path_tools: vec![],
            inputs: String::new(),
            duration_ms: 1,
            reason: reason.to_owned(),
            fix: "look at it".to_owned(),
            findings: vec![],
            artifacts: vec![],
        }
    }

    /// A report of these gates.
    pub fn report(started: &str, gates: Vec<GateReport>) -> Report {
        Report {
            schema: crate::model::SCHEMA.to_owned(),
            commit: "c0ffee".to_owned(),
            dirty: false,
            task: TASK.to_owned(),
            profile: Profile::Local,
            verdict: Verdict::Fail,
            started: started.to_owned(),
            duration_ms: 1,
            not_configured: vec![],
            left_out: vec![],
            gates,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{gate, report};
    use super::*;

    #[test]
    fn checks_are_the_gates_of_the_three_kinds() {
        let ids = [
            "monitor/health/pods",
            "monitor/incidents",
            "monitor/odd/x",
            "monitor/security/",
            "health/pods",
            "monitor",
        ];
        let gates = ids.iter().map(|id| gate(id, Verdict::Pass, "")).collect();
        let found = checks(&report("", gates), Path::new("/nowhere"), &Alerts::default());
        assert_eq!(found.iter().map(|check| check.name.as_str()).collect::<Vec<_>>(), ["health/pods"]);
        assert_eq!(found[0].kind(), "health");
    }

    #[test]
    fn log_lines_are_taken_where_they_may_be_shown_and_only_the_last() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("logs/monitor/health/pods.log");
        std::fs::create_dir_all(log.parent().unwrap()).unwrap();
        std::fs::write(&log, b"one\ntwo\n\xffthree\n").unwrap();
        let of = |verdict, log_lines| {
            let alerts = Alerts { log_lines, ..Alerts::default() };
            let report = report("", vec![gate("monitor/health/pods", verdict, "bad")]);
            checks(&report, folder.path(), &alerts).remove(0).log
        };
        assert_eq!(of(Verdict::Fail, 2), ["two", "\u{fffd}three"]);
        assert_eq!(of(Verdict::DidNotRun, 9).len(), 3);
        assert!(of(Verdict::Fail, 0).is_empty() && of(Verdict::Pass, 2).is_empty());
    }

    #[test]
    fn how_bad_it_is_says_the_file_then_the_finding_then_the_kind() {
        use Severity::{Critical, High, Info, Low, Medium};
        for (name, findings, written, kind, expected) in [
            ("health/pods", vec![], None, Kind::Failing, High),
            ("security/signature", vec![], None, Kind::Failing, High),
            ("performance/load", vec![], None, Kind::Failing, Medium),
            ("health/pods", vec![Info], None, Kind::Failing, High),
            ("health/pods", vec![Low, Medium], None, Kind::Failing, Medium),
            ("health/pods", vec![Low], Some(Critical), Kind::Failing, Critical),
            ("health/pods", vec![Low], Some(Critical), Kind::Unwatched, Medium),
        ] {
            let findings = findings.into_iter().map(|severity| Finding::new("r", severity, "m")).collect();
            let severity = written.map(|severity| (name.to_owned(), severity)).into_iter().collect();
            let alerts = Alerts { severity, ..Alerts::default() };
            let gate = GateReport { findings, ..gate(&format!("monitor/{name}"), Verdict::Fail, "bad") };
            let check = checks(&report("", vec![gate]), Path::new("/nowhere"), &alerts).remove(0);
            assert_eq!(check.severity(kind, &alerts), expected, "{name} {written:?} {kind:?}");
        }
    }
}
