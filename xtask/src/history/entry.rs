//! One run as it is remembered: the contract `forge-history/1`, one JSON object a line.
//!
//! It is what trends are made of, and not a second report: no finding's text, no log, no name of a person.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::release::Release;
use crate::context::Profile;
use crate::verdict::{Severity, Verdict, Work};

/// The version of the format. Readers of it keep lines of another one, and do not read them.
pub const SCHEMA: &str = "forge-history/1";

/// One run of one task. Every time is RFC 3339 in UTC; what was not measured is absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// [`SCHEMA`].
    pub schema: String,
    /// Unlike that of every other run: `20261128T004111Z-3e80d21a-ci-3f2a91`.
    pub run: String,
    /// When it began.
    pub started: String,
    /// Wall time in milliseconds.
    pub duration_ms: u64,
    /// The full id of HEAD; empty before the first commit.
    pub commit: String,
    /// The branch; empty where HEAD was detached.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub branch: String,
    /// Whether the working tree differed from the commit.
    pub dirty: bool,
    /// The subcommand.
    pub task: String,
    /// The profile.
    pub profile: Profile,
    /// The environment that the run was about, where it was about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// What kind of machine it ran on.
    pub host: Host,
    /// The address of the workflow's run; empty on a laptop.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// How it ended.
    pub verdict: Verdict,
    /// Its gates, in the order of the report.
    pub gates: Vec<Gate>,
    /// How much the tests covered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage: Option<Coverage>,
    /// The image that was built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Image>,
    /// What a load has measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<Load>,
    /// The release that the run made, or tried to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Release>,
    /// The issues about its gates that the run has opened or found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub issues: Vec<Issue>,
    /// The newest releases of the environment, as a run of the monitoring read them in its journal: those of a laptop, and
    /// those that were cut off, are in no other line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub journal: Vec<Release>,
}

/// An issue about a gate of the monitoring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issue {
    /// The gate.
    pub gate: String,
    /// What about it.
    pub about: About,
    /// The issue's page.
    pub url: String,
}

/// What an issue says of its gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum About {
    /// It found something bad.
    Failing,
    /// It did not run.
    Unwatched,
}

/// What kind of machine a run was on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Host {
    /// A person's.
    Laptop,
    /// A runner of GitHub Actions.
    Actions,
}

impl Host {
    /// Its name in labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Laptop => "laptop",
            Self::Actions => "actions",
        }
    }
}

/// One gate of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// `task` or `task/part`.
    pub id: String,
    /// How it ended.
    pub verdict: Verdict,
    /// Whether a run without it is red.
    pub required: bool,
    /// Whether it was taken from the cache: then its duration is that of the earlier run, and cost nothing now.
    pub cached: bool,
    /// Wall time in milliseconds.
    pub duration_ms: u64,
    /// What it did.
    pub work: Work,
    /// Why it is not green, cut to [`super::convert::LONGEST_REASON`] characters; empty for a pass. Of one that failed: how many
    /// findings, and which rules they break.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What it found.
    #[serde(default, skip_serializing_if = "Found::is_nothing")]
    pub findings: Found,
    /// The tests that failed and passed on the same inputs, by their ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flaky: Vec<String>,
}

/// How many findings there were of each severity. The excused ones are counted apart, whatever they were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Found {
    /// Worth knowing.
    #[serde(skip_serializing_if = "is_zero")]
    pub info: u64,
    /// Weaknesses.
    #[serde(skip_serializing_if = "is_zero")]
    pub low: u64,
    /// Defects.
    #[serde(skip_serializing_if = "is_zero")]
    pub medium: u64,
    /// Defects before a release.
    #[serde(skip_serializing_if = "is_zero")]
    pub high: u64,
    /// Defects before anything else.
    #[serde(skip_serializing_if = "is_zero")]
    pub critical: u64,
    /// Of any severity, with a reason why they do not count.
    #[serde(skip_serializing_if = "is_zero")]
    pub excused: u64,
}

impl Found {
    /// Whether there was none at all.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// How many there were of one severity.
    pub fn of(&self, severity: Severity) -> u64 {
        match severity {
            Severity::Info => self.info,
            Severity::Low => self.low,
            Severity::Medium => self.medium,
            Severity::High => self.high,
            Severity::Critical => self.critical,
        }
    }

    /// One more.
    pub(super) fn count(&mut self, severity: Severity, is_excused: bool) {
        let counter = match severity {
            _ if is_excused => &mut self.excused,
            Severity::Info => &mut self.info,
            Severity::Low => &mut self.low,
            Severity::Medium => &mut self.medium,
            Severity::High => &mut self.high,
            Severity::Critical => &mut self.critical,
        };
        *counter += 1;
    }
}

/// Coverage in percent of statements and branches together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Coverage {
    /// Of all legs together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub combined: Option<f64>,
    /// Of each leg by itself: `3.11` → percent.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub legs: BTreeMap<String, f64>,
}

/// The image that was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// In bytes, layers unpacked.
    pub size_bytes: u64,
}

/// What a load has measured. The figures of a generator that was unfit are not kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// The gate that measured it.
    pub gate: String,
    /// The name of the load profile.
    pub profile: String,
    /// `builtin` or `k6`.
    pub engine: String,
    /// Requests that came to an end.
    pub requests: u64,
    /// Requests a second.
    pub rate: f64,
    /// The share of requests that failed, from 0 to 1.
    pub failed_rate: f64,
    /// Latency from the intended start of the routes that ask no language model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest: Option<Percentiles>,
    /// The routes that ask one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub llm: Option<Llm>,
    /// Each route by its name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub routes: BTreeMap<String, Route>,
}

/// Of a distribution in milliseconds, unless the field says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
}

/// What a language model's answers took, of warm answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Llm {
    /// From the intended start to the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<Percentiles>,
    /// From the intended start to the first token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_to_first_token: Option<Percentiles>,
    /// From one token to the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_between_tokens: Option<Percentiles>,
    /// Tokens a second, not milliseconds; the median is what matters, for a high percentile is a fast answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_second: Option<Percentiles>,
}

/// One route under load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// Whether it asks a language model.
    pub llm: bool,
    /// Requests that came to an end.
    pub requests: u64,
    /// Those that failed.
    pub failed: u64,
    /// Latency from the intended start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<Percentiles>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}
