//! A HorizontalPodAutoscaler that can do no more, or nothing. Pure.

use crate::release::autoscaler::Autoscaler;
use crate::verdict::{Finding, Severity};

/// What is wrong with it.
pub fn assess(scaler: &Autoscaler) -> Vec<Finding> {
    let Autoscaler { name, min, max, current, desired, metrics, stuck } = scaler;
    let mut findings = Vec::new();
    // With equal bounds nobody meant it to scale.
    if max > min && current >= max && desired >= max {
        let by = if metrics.is_empty() { String::new() } else { format!(" ({})", metrics.join(", ")) };
        let message =
            format!("the autoscaler `{name}` is at its limit of {max} pods{by}: more load finds no more pods");
        findings.push(Finding::new("at-limit", Severity::Medium, message));
    }
    if !stuck.is_empty() {
        let message = format!("the autoscaler `{name}` cannot scale: {stuck}");
        findings.push(Finding::new("cannot-scale", Severity::Medium, message));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_autoscaler_is_well_while_it_has_room() {
        for (min, max, current, desired, stuck, expected) in [
            (2, 6, 2, 2, "", vec![]),
            (2, 6, 5, 6, "", vec![]),
            (2, 6, 6, 5, "", vec![]),
            (2, 6, 6, 6, "", vec!["at-limit"]),
            (2, 6, 7, 9, "", vec!["at-limit"]),
            (3, 3, 3, 3, "", vec![]),
            (2, 6, 2, 2, "FailedGetResourceMetric: no metrics", vec!["cannot-scale"]),
            (2, 6, 6, 6, "FailedGetScale: gone", vec!["at-limit", "cannot-scale"]),
        ] {
            let (name, metrics, stuck) = ("forge".to_owned(), vec!["cpu 90 % of 70 %".to_owned()], stuck.to_owned());
            let found = assess(&Autoscaler { name, min, max, current, desired, metrics, stuck });
            let rules: Vec<&str> = found.iter().map(|finding| finding.rule.as_str()).collect();
            assert_eq!(rules, expected, "{min} {max} {current} {desired}");
        }
    }
}
