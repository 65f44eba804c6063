//! Who hears of an incident: labels, and who is assigned. Pure.

use super::mark::Key;
use super::state::Kind;
use crate::config::Alerts;
use crate::verdict::Severity;

/// How a severity stands in labels and texts.
pub fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Low => "low",
        Severity::Medium => "medium",
        Severity::High => "high",
        Severity::Critical => "critical",
    }
}

/// The label of a severity.
pub fn severity_label(severity: Severity) -> String {
    format!("severity/{}", word(severity))
}

/// All labels of a new issue: those of the file, environment, kind, severity, and `unwatched` where it is that.
pub fn labels(alerts: &Alerts, key: &Key, severity: Severity) -> Vec<String> {
    let kind = key.check.split('/').next().unwrap_or_default();
    let mut labels = alerts.labels.clone();
    // GitHub takes no longer ones, and refuses the issue for it.
    let environment: String = format!("environment/{}", key.environment).chars().take(50).collect();
    labels.extend([environment, format!("kind/{kind}"), severity_label(severity)]);
    if key.about == Kind::Unwatched {
        labels.push("unwatched".to_owned());
    }
    labels
}

/// Who is assigned to an incident of this severity: those listed for it, else for the nearest one below it.
pub fn assignees(alerts: &Alerts, severity: Severity) -> Vec<String> {
    alerts.assignees.range(..=severity).next_back().map(|(_, people)| people.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::mark::testing::mark;
    use super::*;

    #[test]
    fn an_issue_is_labelled_by_environment_kind_and_severity() {
        let alerts = Alerts::default();
        let key = mark().key;
        let expected = ["incident", "environment/production", "kind/health", "severity/high"];
        assert_eq!(labels(&alerts, &key, Severity::High), expected);
        let unwatched = Key { about: Kind::Unwatched, environment: "x".repeat(60), ..key };
        let labels = labels(&alerts, &unwatched, Severity::Low);
        assert_eq!((labels[1].chars().count(), labels[4].as_str()), (50, "unwatched"));
    }

    #[test]
    fn the_nearest_listed_severity_below_names_who_is_assigned() {
        let people = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let assigned = [(Severity::Low, people(&["dev"])), (Severity::High, people(&["ada", "bert"]))];
        let alerts = Alerts { assignees: assigned.into_iter().collect(), ..Alerts::default() };
        for (severity, expected) in [
            (Severity::Info, &[][..]),
            (Severity::Low, &["dev"]),
            (Severity::Medium, &["dev"]),
            (Severity::High, &["ada", "bert"]),
            (Severity::Critical, &["ada", "bert"]),
        ] {
            assert_eq!(assignees(&alerts, severity), expected, "{severity:?}");
        }
    }
}
