//! The report as data: the contract `forge-report/1`, and nothing about how it is shown.

use serde::{Deserialize, Serialize};

use crate::context::Profile;
use crate::verdict::{Finding, Judged, Tool, Verdict, Work};

/// The version of the format; a change that a reader could trip over makes it another one.
pub const SCHEMA: &str = "forge-report/1";

/// How the message of a finding begins that is about a test which failed and passed on the same inputs.
pub const FLAKY: &str = "flaky: ";

/// One run of one task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: String,
    /// The full id of HEAD; empty before the first commit.
    pub commit: String,
    /// Whether the working tree differed from the commit.
    pub dirty: bool,
    /// The subcommand.
    pub task: String,
    /// The profile.
    pub profile: Profile,
    /// The verdict of the run; `pass` only in the last write.
    pub verdict: Verdict,
    /// RFC 3339, UTC.
    pub started: String,
    /// Wall time in milliseconds.
    pub duration_ms: u64,
    /// Subjects that the configuration does not declare, so that no gate was planned for them.
    pub not_configured: Vec<String>,
    /// Planned gates that `--only` or `--skip` left out of this run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// Every planned gate, in the order of the plan.
    pub gates: Vec<GateReport>,
}

/// One gate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct GateReport {
    /// `task` or `task/part`.
    pub id: String,
    /// How it ended.
    pub verdict: Verdict,
    /// Whether a run without it is red.
    pub required: bool,
    /// Whether this is the stored report of an earlier run with the same inputs.
    pub cached: bool,
    /// What it did.
    pub work: Work,
    /// With what.
    pub tool: Tool,
    /// Programs from PATH that it used beside its tool; only the profile `local` has any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub path_tools: Vec<Tool>,
    /// `blake3:…` over everything that can change the answer; empty where that could not be told.
    pub inputs: String,
    /// Wall time in milliseconds; of the earlier run where cached.
    pub duration_ms: u64,
    /// Why it is not green; empty for a pass.
    pub reason: String,
    /// The command that a person runs next; empty for a pass.
    pub fix: String,
    /// Everything it found.
    pub findings: Vec<Finding>,
    /// Files beside the report, relative to its folder; a slash at the end means a folder.
    pub artifacts: Vec<String>,
}

/// Where the log of a gate lies, relative to the output folder.
pub fn log_artifact(gate: &str) -> String {
    format!("logs/{gate}.log")
}

impl Judged for GateReport {
    fn verdict(&self) -> Verdict {
        self.verdict
    }

    fn required(&self) -> bool {
        self.required
    }
}

impl GateReport {
    /// The task that the gate belongs to.
    pub fn task(&self) -> &str {
        self.id.split('/').next().unwrap_or(&self.id)
    }
}

impl Report {
    /// The report without what R4 lets differ: times and `cached`.
    #[must_use]
    pub fn without_times(&self) -> Self {
        let mut report = self.clone();
        report.started.clear();
        report.duration_ms = 0;
        for gate in &mut report.gates {
            gate.duration_ms = 0;
            gate.cached = false;
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `UPDATE_SCHEMA=1 cargo test` writes the file anew.
    #[test]
    fn the_published_schema_is_the_one_of_the_types() {
        let generated = serde_json::to_string_pretty(&schemars::schema_for!(Report)).unwrap() + "\n";
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/report.schema.json");
        if crate::context::surroundings().unwrap().0.contains_key("UPDATE_SCHEMA") {
            std::fs::write(path, &generated).unwrap();
        }
        let published = std::fs::read_to_string(path).unwrap();
        assert_eq!(published, generated, "run `UPDATE_SCHEMA=1 cargo test the_published_schema`");
    }
}
