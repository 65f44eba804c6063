//! The figures of a rehearsal: what each release of it came to, for people and for `rehearsal.json`. Pure.

use std::time::Duration;

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::model::Report;
use crate::release::journal::{Entry, Step};
use crate::verdict::Verdict;

/// What one release of the rehearsal came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Row {
    /// The fault's name.
    pub fault: String,
    /// The exit code; -1 for none.
    pub code: i32,
    /// Seconds from the cluster's report to the decision; `None` where the cluster reports nothing.
    pub detected_s: Option<f64>,
    /// Seconds from the decision until the old version served and was verified.
    pub restored_s: Option<f64>,
    /// Seconds of all of it.
    pub took_s: f64,
    /// How many pods of the release that has to serve did so at the end.
    pub serving: u64,
    /// Requests of the client; `None` where it could not ask.
    pub asked: Option<u64>,
    /// Those that were not answered as expected.
    pub lost: Option<u64>,
}

/// The figure of "detected 1.4 s after the cluster reported it".
pub fn detected(report: &Report) -> Option<f64> {
    let findings = report.gates.iter().flat_map(|gate| &gate.findings);
    let line = findings.filter(|finding| finding.rule == "detected").map(|finding| &finding.message).next()?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// From the decision to the end, by the journal.
pub fn restored(entry: &Entry) -> Option<f64> {
    let at = |step: Step| entry.steps.iter().find(|taken| taken.step == step).and_then(|taken| parsed(&taken.at));
    Some((at(Step::Ended)? - at(Step::Restoring)?).as_seconds_f64())
}

fn parsed(time: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(time, &Rfc3339).ok()
}

/// How long the pods of a release took until they were all ready.
pub fn rolled_out(report: &Report) -> Option<Duration> {
    let gate = report.gates.iter().find(|gate| gate.id == "deploy/rollout" && gate.verdict == Verdict::Pass)?;
    Some(Duration::from_millis(gate.duration_ms))
}

/// The rows for people.
pub fn table(rows: &[Row]) -> String {
    let mut text = String::from("fault          exit  detected  restored     all  asked  lost");
    let seconds = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1} s"));
    let number = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
    for row in rows {
        text += &format!(
            "\n{:<14} {:>4} {:>9} {:>9} {:>7} {:>6} {:>5}",
            row.fault,
            row.code,
            seconds(row.detected_s),
            seconds(row.restored_s),
            seconds(Some(row.took_s)),
            number(row.asked),
            number(row.lost)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::journal::StepTaken;

    #[test]
    fn the_time_of_a_way_back_is_that_of_the_journal() {
        let taken = |step, at: &str| StepTaken { step, at: at.into(), note: String::new() };
        let steps = vec![taken(Step::Restoring, "2026-11-24T10:00:00Z"), taken(Step::Ended, "2026-11-24T10:00:02.5Z")];
        assert_eq!(restored(&Entry { steps, ..Entry::default() }), Some(2.5));
        assert_eq!(restored(&Entry::default()), None);
    }
}
