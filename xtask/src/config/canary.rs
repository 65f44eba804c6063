//! `[canary]` of an environment's file: how much a canary is asked, and what difference to its baseline counts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::values::duration;

/// `[canary]`. Shares are of 1: 0.1 is a tenth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Canary {
    /// Requests a second that each of the two is sent.
    pub rate: u32,
    /// How long they are asked at each step.
    #[serde(with = "duration")]
    pub duration: Duration,
    /// The first part of that, which is sent and not measured: both are fresh, and so are their caches.
    #[serde(with = "duration")]
    pub warm_up: Duration,
    /// What is a difference.
    pub limits: Limits,
}

impl Default for Canary {
    fn default() -> Self {
        let (duration, warm_up) = (Duration::from_secs(65), Duration::from_secs(5));
        Self { rate: 100, duration, warm_up, limits: Limits::default() }
    }
}

/// `[canary.limits]`: a difference aborts that is beyond chance *and* as large as this.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Requests to either arm below which there is no verdict.
    pub least_requests: u64,
    /// How often a canary that is as good as its baseline may be aborted, over all steps and tests of a release.
    pub false_alarms: f64,
    /// By how much the typical latency has to be larger.
    pub latency: f64,
    /// By how much p95 has to be larger.
    pub p95: f64,
    /// Differences of latency below this are the clocks' and the scheduler's.
    #[serde(with = "duration")]
    pub measurable: Duration,
    /// By how much the share of failed requests has to be larger: 0.005 is half a request in a hundred.
    pub errors: f64,
    /// Above which share of the baseline's own requests that failed there is no verdict: whoever is as good as what does
    /// not work is not good.
    pub baseline_errors: f64,
}

/// Fewer requests than that have no verdict, whatever a file says (R25).
pub const FEWEST_REQUESTS: u64 = 1000;

impl Default for Limits {
    fn default() -> Self {
        Self {
            least_requests: FEWEST_REQUESTS,
            false_alarms: 0.005,
            latency: 0.10,
            p95: 0.10,
            measurable: Duration::from_millis(1),
            errors: 0.005,
            baseline_errors: 0.05,
        }
    }
}

impl Canary {
    /// What cannot be meant, as a sentence fragment.
    pub fn check(&self) -> Result<(), String> {
        let Limits { least_requests, false_alarms, latency, p95, errors, baseline_errors, .. } = self.limits;
        if self.rate == 0 || self.duration <= self.warm_up {
            return Err("`canary` asks nothing: it needs a `rate`, and a `duration` beyond its `warm_up`".to_owned());
        }
        if least_requests < FEWEST_REQUESTS {
            return Err(format!("`canary.limits.least_requests` has to be at least {FEWEST_REQUESTS}"));
        }
        let measured = (self.duration - self.warm_up).as_secs_f64() * f64::from(self.rate);
        if measured < least_requests as f64 {
            return Err(format!(
                "`canary` sends {measured:.0} requests after its `warm_up`, and {least_requests} are the fewest for a verdict"
            ));
        }
        if !(1e-6..=0.01).contains(&false_alarms) {
            return Err("`canary.limits.false_alarms` has to be above 0.000001 and at most 0.01".to_owned());
        }
        for (name, value) in
            [("latency", latency), ("p95", p95), ("errors", errors), ("baseline_errors", baseline_errors)]
        {
            if !(0.0..1.0).contains(&value) {
                return Err(format!("`canary.limits.{name}` is a share, from 0 to below 1"));
            }
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
            ("rate = 50\nduration = \"30s\"\n[limits]\nlatency = 0.2", None),
            ("rate = 0", Some("asks nothing")),
            ("duration = \"5s\"", Some("asks nothing")),
            ("duration = \"14s\"", Some("sends 900 requests after its `warm_up`, and 1000")),
            ("[limits]\nleast_requests = 500", Some("at least 1000")),
            ("[limits]\nfalse_alarms = 0.5", Some("at most 0.01")),
            ("[limits]\np95 = 10.0", Some("`canary.limits.p95` is a share")),
            ("[limits]\nerrors = nan", Some("`canary.limits.errors` is a share")),
        ] {
            let found = toml::from_str::<Canary>(text).unwrap().check();
            match wrong {
                None => assert_eq!(found, Ok(()), "{text}"),
                Some(part) => assert!(found.as_ref().is_err_and(|why| why.contains(part)), "{text}: {found:?}"),
            }
        }
        assert!(toml::from_str::<Canary>("limit = 1").is_err());
    }
}
