//! `[monitor]` of an environment's file: what the monitoring of a running environment asks, and what it bears.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::thresholds::Thresholds;
use super::values::duration;

/// `[monitor]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Monitor {
    /// How often the environment is looked at; restarts count that lie within two of it.
    #[serde(with = "duration")]
    pub interval: Duration,
    /// How often one run asks before a failure counts (R31).
    pub probes: u32,
    /// How long it waits in between.
    #[serde(with = "duration")]
    pub retry_spacing: Duration,
    /// The requests of pipeline.toml that are asked, each with the time in which its whole answer has to be there; those
    /// of `[smoke]` where none is named.
    pub endpoints: BTreeMap<String, Span>,
    /// The time for an answer of `[smoke]` where `endpoints` names none.
    #[serde(with = "duration")]
    pub latency: Duration,
    /// How often the containers of one pod may be started again within two intervals.
    pub restarts: u64,
    /// Whether an autoscaler owns the number of pods, which is looked at then.
    pub autoscaler: bool,
    /// How long a certificate has to be good for yet.
    #[serde(with = "duration")]
    pub certificate: Duration,
    /// The load of pipeline.toml that it is put under; empty for none. Where load may go stands in `[release]`.
    pub load: String,
    /// What that load has to hold, in place of `[perf.thresholds]`.
    pub thresholds: Option<Thresholds>,
    /// Repositories of images that others sign and that may run beside ours in the pods of the workload.
    pub others: Vec<String>,
}

/// A duration as a value of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Span(#[serde(with = "duration")] pub Duration);

/// More probes than that are no answer within one run.
const MOST_PROBES: u32 = 10;

impl Default for Monitor {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(6 * 3600),
            probes: 3,
            retry_spacing: Duration::from_secs(20),
            endpoints: BTreeMap::new(),
            latency: Duration::from_secs(1),
            restarts: 0,
            autoscaler: true,
            certificate: Duration::from_secs(21 * 86_400),
            load: String::new(),
            thresholds: None,
            others: Vec::new(),
        }
    }
}

impl Monitor {
    /// What cannot be meant, as a sentence fragment.
    pub(super) fn check(&self) -> Result<(), String> {
        if !(1..=MOST_PROBES).contains(&self.probes) {
            return Err(format!("monitor.probes: 1 to {MOST_PROBES} of them are one run"));
        }
        if self.interval.is_zero() {
            return Err("monitor.interval is zero: nothing lies within it".to_owned());
        }
        let mut budgets = self.endpoints.values().map(|span| span.0).chain([self.latency]);
        if budgets.any(|budget| budget.is_zero()) {
            return Err("[monitor]: no answer is there in no time".to_owned());
        }
        if let Some(wrong) = self.others.iter().find(|name| name.is_empty() || name.contains(['@', '*', ' '])) {
            return Err(format!("monitor.others: `{wrong}` is no repository of images, to the letter"));
        }
        if self.thresholds.as_ref().is_some_and(|thresholds| thresholds.0.is_empty()) {
            return Err("monitor.thresholds is empty: nothing could break it".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (text, wrong) in [
            ("", None),
            ("endpoints = { health = \"300ms\" }\nrestarts = 2\nothers = [\"docker.io/library/redis\"]", None),
            ("probes = 0", Some("monitor.probes: 1 to 10")),
            ("probes = 11", Some("monitor.probes: 1 to 10")),
            ("interval = \"0s\"", Some("nothing lies within it")),
            ("endpoints = { health = \"0s\" }", Some("in no time")),
            ("latency = \"0s\"", Some("in no time")),
            ("others = [\"ghcr.io/*\"]", Some("no repository of images")),
            ("thresholds = {}", Some("nothing could break it")),
        ] {
            let found = toml::from_str::<Monitor>(text).unwrap().check().err().unwrap_or_default();
            assert_eq!(found.is_empty(), wrong.is_none(), "{text}: {found}");
            assert!(found.contains(wrong.unwrap_or_default()), "{text}: {found}");
        }
        let unknown = toml::from_str::<Monitor>("probe = 3").unwrap_err().to_string();
        assert!(unknown.contains("unknown field `probe`"), "{unknown}");
    }
}
