//! Thresholds and measured values → what holds. Pure. A metric without a sample holds nothing: k6 lets such a threshold pass.

use super::summary::{Judged, Summary};
use crate::config::{Aggregation, Metric, Threshold, Thresholds};
use crate::verdict::{Finding, Severity};

/// Every threshold with its value, as `value` measures it.
pub fn judge(thresholds: &Thresholds, value: impl Fn(&Metric, Aggregation) -> Option<f64>) -> Vec<Judged> {
    let judged = |threshold: &Threshold| {
        let value = value(&threshold.metric, threshold.aggregation);
        Judged {
            threshold: threshold.to_string(),
            value,
            limit: threshold.limit,
            holds: value.map(|value| threshold.holds(value)),
        }
    };
    thresholds.0.iter().map(judged).collect()
}

/// The first threshold that could not be judged, as a sentence fragment.
pub fn unjudged(summary: &Summary) -> Option<String> {
    let without = summary.thresholds.iter().find(|judged| judged.holds.is_none())?;
    Some(format!("the threshold `{}` has no sample", without.threshold))
}

/// One finding for each threshold that does not hold, and what went wrong most often where requests failed.
pub fn findings(summary: &Summary) -> Vec<Finding> {
    let broken = summary.thresholds.iter().filter(|judged| judged.holds == Some(false));
    let broken = broken.map(|judged| {
        let value = judged.value.unwrap_or_default();
        let message = format!("{} is broken: {}, and the limit is {}", judged.threshold, shown(value), judged.limit);
        Finding::new(judged.threshold.clone(), Severity::High, message)
    });
    let faults = summary.faults.iter().take(5).map(|fault| {
        let message = format!("{}: {} of {} requests: {}", fault.route, fault.count, summary.requests, fault.what);
        Finding::new("http_req_failed", Severity::Info, message)
    });
    broken.chain(faults).collect()
}

/// As many digits as tell something.
fn shown(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 1.0 => format!("{value:.1}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_holds_is_broken_or_has_no_sample() {
        let thresholds: Thresholds = toml::from_str(
            "http_req_duration = [\"p(95)<1000\", \"p(99)<2000\"]\nhttp_req_failed = [\"rate<0.05\"]\nllm_time_to_first_token = [\"p(95)<500\"]",
        )
        .unwrap();
        let value = |metric: &Metric, aggregation| match (metric.name, aggregation) {
            ("http_req_duration", Aggregation::Percentile(95.0)) => Some(1200.04),
            ("http_req_duration", _) => Some(1300.0),
            ("http_req_failed", _) => Some(0.0),
            _ => None,
        };
        let summary = Summary { thresholds: judge(&thresholds, value), ..Summary::default() };
        let holds: Vec<_> = summary.thresholds.iter().map(|judged| judged.holds).collect();
        assert_eq!(holds.iter().filter(|holds| holds.is_none()).count(), 1);
        assert_eq!(unjudged(&summary).unwrap(), "the threshold `llm_time_to_first_token: p(95)<500` has no sample");
        let findings = findings(&summary);
        let shown: Vec<_> = findings.iter().map(|finding| (finding.rule.as_str(), finding.message.as_str())).collect();
        assert_eq!(
            shown,
            [("http_req_duration: p(95)<1000", "http_req_duration: p(95)<1000 is broken: 1200, and the limit is 1000")]
        );
    }
}
