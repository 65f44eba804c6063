//! What a gate can end in, and how evidence becomes a verdict.
//!
//! Owns the words verdict, work, finding, severity and outcome, the pure function [`assess`] that is
//! the only way to a pass, and the verdict of a whole run. Leaves to others how the evidence was
//! gathered (`tasks/`) and how it is shown (`report/`).

use serde::{Deserialize, Serialize};

/// How a gate, or a whole run, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The tool ran to its end, did work, and found nothing that breaks the policy.
    Pass,
    /// The tool ran to its end, did work, and found something that breaks the policy.
    Fail,
    /// Nothing was proved: missing tool, crash, timeout, no report, or no work.
    DidNotRun,
}

/// How bad a finding is; the order is the order of the variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; never breaks a policy.
    Info,
    /// A weakness without a direct consequence.
    Low,
    /// A defect.
    Medium,
    /// A defect that has to be mended before anything is released.
    High,
    /// A defect that has to be mended before anything else is done.
    Critical,
}

/// One thing that a gate reports. Paths are relative to the repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// The tool's own name of what was broken: a rule id, a test's id, a hook's id.
    pub rule: String,
    /// How bad it is.
    pub severity: Severity,
    /// The file, relative to the repository, where there is one.
    pub path: Option<String>,
    /// The line, counted from 1, where there is one.
    pub line: Option<u32>,
    /// What is wrong, and the way out where the tool knows it.
    pub message: String,
    /// Why it does not break the policy all the same: an ignore's reason, no fix yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excused: Option<String>,
}

impl Finding {
    /// Without a place, and not excused.
    pub fn new(rule: impl Into<String>, severity: Severity, message: impl Into<String>) -> Self {
        Self { rule: rule.into(), severity, path: None, line: None, message: message.into(), excused: None }
    }

    /// In a file, which is relative to the repository; `None` where that is not known.
    #[must_use]
    pub fn at(self, path: impl Into<Option<String>>, line: impl Into<Option<u32>>) -> Self {
        Self { path: path.into(), line: line.into(), ..self }
    }

    /// Whether it breaks a policy whose lowest severity is `breaks_at`.
    pub fn breaks(&self, breaks_at: Severity) -> bool {
        self.excused.is_none() && self.severity >= breaks_at.max(Severity::Low)
    }

    /// `path:line: message`, as compilers print it, so that terminals make a link of it.
    pub fn one_line(&self) -> String {
        let first = self.message.lines().next().unwrap_or_default();
        match (&self.path, self.line) {
            (Some(path), Some(line)) => format!("{path}:{line}: {first}"),
            (Some(path), None) => format!("{path}: {first}"),
            _ => first.to_owned(),
        }
    }
}

/// How much a gate did, in the tool's own unit (`tests`, `hooks`, `pages`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Work {
    /// How many; 0 is never a pass.
    pub count: u64,
    /// The plural of what was counted.
    pub unit: String,
}

impl Work {
    /// `count` of `unit`.
    pub fn new(count: u64, unit: &str) -> Self {
        Self { count, unit: unit.to_owned() }
    }
}

/// `1 test`, `214 tests`.
impl std::fmt::Display for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let unit = if self.count == 1 { self.unit.strip_suffix('s').unwrap_or(&self.unit) } else { &self.unit };
        write!(f, "{} {unit}", self.count)
    }
}

/// The tool behind a gate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// Its name, as its authors write it.
    pub name: String,
    /// The pinned version, or what was found on PATH.
    pub version: String,
    /// BLAKE3 of the program where it came from PATH and not from a lock file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
}

/// What a gate saw when its tool ran to its end and its report was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// What was done.
    pub work: Work,
    /// How much was declared, where that is known beforehand.
    pub declared: Option<u64>,
    /// Everything found, whether or not it breaks the policy.
    pub findings: Vec<Finding>,
    /// Files that the gate made, relative to the output folder.
    pub artifacts: Vec<String>,
    /// The command that a person runs next when the gate is not green.
    pub fix: String,
}

/// Why nothing was proved.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NotRun {
    /// One sentence fragment.
    pub reason: String,
    /// The command that would make it run.
    pub fix: String,
    /// What was seen on the way, where it leads to a line.
    pub findings: Vec<Finding>,
    /// Files that were made all the same, relative to the output folder.
    pub artifacts: Vec<String>,
}

impl NotRun {
    /// Without findings or artifacts.
    pub fn new(reason: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { reason: reason.into(), fix: fix.into(), ..Self::default() }
    }
}

/// What a gate's action returns: evidence, or the reason why there is none.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The tool ran to its end.
    Ran(Evidence),
    /// It did not.
    DidNotRun(NotRun),
}

/// Why a gate's action came to no outcome: the world did not let it, or we are broken.
#[derive(Debug)]
pub enum Unproven {
    /// Something outside is missing or broken; the gate did not run.
    NotRun(NotRun),
    /// The pipeline itself could not do its work; exit code 70.
    Defect(anyhow::Error),
}

impl std::fmt::Display for Unproven {
    /// The reason.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotRun(why) => f.write_str(&why.reason),
            Self::Defect(error) => write!(f, "{error:#}"),
        }
    }
}

impl From<NotRun> for Unproven {
    fn from(why: NotRun) -> Self {
        Self::NotRun(why)
    }
}

impl From<anyhow::Error> for Unproven {
    fn from(error: anyhow::Error) -> Self {
        Self::Defect(error)
    }
}

/// A verdict with what has to be said about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Assessment {
    /// The verdict.
    pub verdict: Verdict,
    /// Empty for a pass.
    pub reason: String,
}

/// Evidence → verdict. `breaks_at` is the lowest severity that breaks the policy.
///
/// No work, or less than was declared, is never a pass, whatever the tool's exit code was.
pub fn assess(evidence: &Evidence, breaks_at: Severity) -> Assessment {
    let Work { count, unit } = &evidence.work;
    if *count == 0 {
        return Assessment { verdict: Verdict::DidNotRun, reason: format!("did no work: 0 {unit}") };
    }
    if let Some(declared) = evidence.declared
        && *count < declared
    {
        let reason = format!("did {count} of the {declared} declared {unit}");
        return Assessment { verdict: Verdict::DidNotRun, reason };
    }
    let breaking: Vec<&Finding> = evidence.findings.iter().filter(|f| f.breaks(breaks_at)).collect();
    match breaking.as_slice() {
        [] => Assessment { verdict: Verdict::Pass, reason: String::new() },
        [only] => Assessment { verdict: Verdict::Fail, reason: only.one_line() },
        [first, rest @ ..] => {
            Assessment { verdict: Verdict::Fail, reason: format!("{} (and {} more)", first.one_line(), rest.len()) }
        }
    }
}

/// What the verdict of a run is made of.
pub trait Judged {
    /// How it ended.
    fn verdict(&self) -> Verdict;
    /// Whether a run without it is red.
    fn required(&self) -> bool;
}

/// The verdict of a run: red if any gate failed, not run if a required one did not run or none was planned.
///
/// "Optional" relaxes one thing only, that a gate may be unable to run; what it finds counts as ever.
pub fn overall<J: Judged>(gates: &[J]) -> Verdict {
    if gates.iter().any(|g| g.verdict() == Verdict::Fail) {
        return Verdict::Fail;
    }
    let missing = gates.iter().any(|g| g.required() && g.verdict() == Verdict::DidNotRun);
    let proved = gates.iter().any(|g| g.verdict() == Verdict::Pass);
    if missing || !proved { Verdict::DidNotRun } else { Verdict::Pass }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(count: u64, declared: Option<u64>, severities: &[Severity]) -> Evidence {
        let findings = severities
            .iter()
            .map(|&severity| Finding {
                rule: "R".into(),
                severity,
                path: Some("a.py".into()),
                line: Some(3),
                message: "bad".into(),
                excused: None,
            })
            .collect();
        Evidence { work: Work::new(count, "tests"), declared, findings, artifacts: vec![], fix: String::new() }
    }

    #[test]
    fn only_work_without_breaking_findings_passes() {
        use Severity::{High, Info, Low, Medium};
        use Verdict::{DidNotRun, Fail, Pass};
        for (count, declared, found, breaks_at, verdict, reason) in [
            (5, None, vec![], Low, Pass, ""),
            (5, Some(5), vec![], Low, Pass, ""),
            (5, None, vec![Info], Info, Pass, ""),
            (5, None, vec![Low], Medium, Pass, ""),
            (5, None, vec![Medium], Medium, Fail, "a.py:3: bad"),
            (5, None, vec![High, High, Info], Low, Fail, "a.py:3: bad (and 1 more)"),
            (0, None, vec![], Low, DidNotRun, "did no work: 0 tests"),
            (0, None, vec![High], Low, DidNotRun, "did no work: 0 tests"),
            (4, Some(5), vec![], Low, DidNotRun, "did 4 of the 5 declared tests"),
            (4, Some(5), vec![High], Low, DidNotRun, "did 4 of the 5 declared tests"),
        ] {
            let got = assess(&evidence(count, declared, &found), breaks_at);
            assert_eq!(got, Assessment { verdict, reason: reason.into() }, "{count} {declared:?} {found:?}");
        }
    }

    struct Seen(Verdict, bool);
    impl Judged for Seen {
        fn verdict(&self) -> Verdict {
            self.0
        }
        fn required(&self) -> bool {
            self.1
        }
    }

    #[test]
    fn a_run_is_green_only_when_something_was_proved_and_nothing_required_is_missing() {
        use Verdict::{DidNotRun, Fail, Pass};
        for (gates, verdict) in [
            (vec![], DidNotRun),
            (vec![Seen(Pass, true)], Pass),
            (vec![Seen(Pass, true), Seen(DidNotRun, true)], DidNotRun),
            (vec![Seen(Pass, true), Seen(DidNotRun, false)], Pass),
            (vec![Seen(DidNotRun, false)], DidNotRun),
            (vec![Seen(Fail, true), Seen(DidNotRun, true)], Fail),
            (vec![Seen(Pass, true), Seen(Fail, false)], Fail),
        ] {
            assert_eq!(overall(&gates), verdict);
        }
    }
}
