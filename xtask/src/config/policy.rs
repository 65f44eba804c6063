//! The part of the configuration that says what breaks a gate, and what does not for a while.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::values::{date, duration};
use crate::verdict::Severity;

/// `[policy]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// The lowest severity that breaks a gate that scans.
    pub breaks_at: Severity,
    /// The same for single gates, by id.
    pub severity: BTreeMap<String, Severity>,
    /// How old a stored result from a remote data base may be; in `actions` and `offline` none is taken.
    #[serde(with = "duration")]
    pub max_age: Duration,
    /// How old a data base of vulnerabilities may be.
    #[serde(with = "duration")]
    pub database_max_age: Duration,
    /// What a branch is compared with: the first of these that git knows.
    pub base: Vec<String>,
    /// Vulnerabilities of dependencies.
    pub vulnerabilities: Vulnerabilities,
}

/// `[policy.vulnerabilities]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Vulnerabilities {
    /// The lowest severity that breaks a gate although no version mends it.
    pub without_fix: Severity,
    /// For how long after it was published one below `critical` does not break a gate yet.
    #[serde(with = "duration")]
    pub grace: Duration,
}

/// `[licences]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Licences {
    /// SPDX ids, exceptions included (`GPL-2.0-only WITH Classpath-exception-2.0`), that are allowed.
    pub allow: Vec<String>,
    /// SPDX expressions of packages that do not say their own in a way that can be read.
    #[serde(default)]
    pub clarify: BTreeMap<String, String>,
}

/// `[[ignore]]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ignore {
    /// A gate's id, or a task or part of one for all gates below it (`scan/deps` for every leg).
    pub gate: String,
    /// The rule, as the finding has it.
    pub rule: String,
    /// The file or folder, where only findings there are meant.
    pub path: Option<String>,
    /// Words of the message, where only findings with them are meant: a package, a commit.
    pub words: Option<String>,
    /// Why it does not count.
    pub reason: String,
    /// The last day on which it does not, `YYYY-MM-DD`.
    #[serde(with = "date")]
    pub expires: time::Date,
}

impl Ignore {
    /// Whether it is about that gate.
    pub fn is_about(&self, gate: &str) -> bool {
        gate.strip_prefix(&self.gate).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '-']))
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            breaks_at: Severity::Low,
            severity: BTreeMap::new(),
            max_age: Duration::from_secs(3600),
            database_max_age: Duration::from_secs(7 * 86_400),
            base: vec!["origin/main".to_owned(), "main".to_owned()],
            vulnerabilities: Vulnerabilities::default(),
        }
    }
}

impl Default for Vulnerabilities {
    fn default() -> Self {
        Self { without_fix: Severity::Low, grace: Duration::ZERO }
    }
}
