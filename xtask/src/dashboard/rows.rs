//! Figures as rows of tables. Those that depend on a filter are written by `figures.js` too, and a test holds both equal.

use std::collections::BTreeMap;
use std::time::Duration;

use super::figures::buckets::Bucket;
use super::figures::gates::{Cost, Flaky};
use super::figures::incidents::Incident;
use super::figures::points::{Coverage, Findings, Image, Load, Of, Release};
use crate::history::dora::{Dora, Times};
use crate::page::{NONE, digits, grouped, minute, percent, shown, span};
use crate::release::journal::{Kind, Outcome};

/// A row.
pub type Row = Vec<String>;

pub fn time(milliseconds: u64) -> String {
    span(Duration::from_millis(milliseconds))
}

fn maybe_time(milliseconds: Option<u64>) -> String {
    milliseconds.map_or(NONE.to_owned(), time)
}

/// `1 run`, `1 234 runs`
pub fn runs(count: u64) -> String {
    if count == 1 { "1 run".to_owned() } else { format!("{} runs", grouped(count)) }
}

pub const BUCKETS: &[&str] =
    &["from", "runs", "passed", "failed", "no verdict", "pass rate", "gates", "from the cache", "time"];

pub fn bucket(bucket: &Bucket) -> Row {
    let counts = &bucket.counts;
    vec![
        minute(bucket.start).chars().take(10).collect(),
        grouped(counts.runs),
        grouped(counts.pass),
        grouped(counts.fail),
        grouped(counts.did_not_run),
        percent(counts.pass, counts.runs),
        grouped(counts.gates),
        percent(counts.cached, counts.gates),
        time(counts.spent_ms),
    ]
}

pub const GATES: &[&str] = &[
    "gate",
    "a week",
    "share",
    "in all",
    "ran",
    "from the cache",
    "pass rate",
    "failed",
    "no verdict",
    "median",
    "95th percentile",
];

pub fn gate(cost: &Cost, all_ms: u64) -> Row {
    vec![
        cost.gate.clone(),
        time(cost.per_week_ms),
        percent(cost.total_ms, all_ms),
        time(cost.total_ms),
        grouped(cost.ran),
        grouped(cost.cached),
        percent(cost.pass, cost.ran),
        grouped(cost.fail),
        grouped(cost.did_not_run),
        maybe_time((cost.ran > 0).then_some(cost.median_ms)),
        maybe_time((cost.ran > 0).then_some(cost.p95_ms)),
    ]
}

pub const FLAKY: &[&str] = &["test", "gate", "times", "gate ran", "last seen"];

pub fn flaky(flaky: &Flaky) -> Row {
    let test = if flaky.test.is_empty() { "(the whole gate, on the same commit)" } else { &flaky.test };
    vec![test.to_owned(), flaky.gate.clone(), grouped(flaky.times), grouped(flaky.ran), minute(flaky.last)]
}

fn of(of: &Of) -> [String; 3] {
    let branch = if of.branch.is_empty() { NONE } else { &of.branch };
    [minute(of.at), branch.to_owned(), of.task.clone()]
}

pub const COVERAGE: &[&str] = &["when", "branch", "task", "all legs", "each leg"];

pub fn coverage(point: &Coverage) -> Row {
    let legs = point.legs.iter().map(|(leg, percent)| format!("{leg}: {}", in_tenths(tenths(*percent))));
    let combined = point.combined.map_or(NONE.to_owned(), |percent| in_tenths(tenths(percent)));
    of(&point.of).into_iter().chain([combined, legs.collect::<Vec<_>>().join(", ")]).collect()
}

/// Percent in tenths: a value that is shown and a difference of two are rounded once.
pub fn tenths(percent: f64) -> i64 {
    (percent * 10.0).round() as i64
}

/// `85.3 %`
pub fn in_tenths(tenths: i64) -> String {
    format!("{}.{} %", tenths / 10, tenths % 10)
}

pub const FINDINGS: &[&str] = &["when", "branch", "task", "critical", "high", "medium", "low", "info", "excused"];

pub fn findings(point: &Findings) -> Row {
    let counts = [point.critical, point.high, point.medium, point.low, point.info, point.excused];
    of(&point.of).into_iter().chain(counts.map(grouped)).collect()
}

pub const LOADS: &[&str] = &[
    "when",
    "branch",
    "task",
    "load",
    "environment",
    "engine",
    "requests",
    "failed",
    "p50",
    "p95",
    "p99",
    "first token p95",
];

pub fn load(point: &Load) -> Row {
    let latency = point.latency;
    let environment = if point.environment.is_empty() { NONE } else { &point.environment };
    let own = [
        point.profile.clone(),
        environment.to_owned(),
        point.engine.clone(),
        grouped(point.requests),
        format!("{:.2} %", point.failed_rate * 100.0),
        shown(latency.map(|latency| latency.p50)),
        shown(latency.map(|latency| latency.p95)),
        shown(latency.map(|latency| latency.p99)),
        shown(point.first_token.map(|first| first.p95)),
    ];
    of(&point.of).into_iter().chain(own).collect()
}

/// The picture that a load belongs to: what is put on what.
pub fn load_name(point: &Load) -> String {
    let environment = if point.environment.is_empty() { "own backend" } else { &point.environment };
    format!("{} on {environment}", point.profile)
}

pub const IMAGES: &[&str] = &["when", "branch", "task", "size"];

pub fn image(point: &Image) -> Row {
    of(&point.of).into_iter().chain([format!("{} MB", digits(megabytes(point.size_bytes)))]).collect()
}

pub fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

pub const RELEASES: &[&str] = &[
    "when",
    "environment",
    "what",
    "what became of it",
    "strategy",
    "commit",
    "image",
    "took",
    "lead time",
    "restored within",
];

pub fn release(release: &Release) -> Row {
    let short = |text: &str| text.trim_start_matches("sha256:").chars().take(12).collect::<String>();
    let kind = match release.kind {
        Kind::Release => "release",
        Kind::Rollback => "rollback",
    };
    vec![
        minute(release.at),
        release.environment.clone(),
        kind.to_owned(),
        fate(release),
        release.strategy.clone(),
        short(&release.commit),
        short(&release.digest),
        maybe_time(release.duration_ms),
        maybe_time(release.lead_time_ms),
        maybe_time(release.restore_ms),
    ]
}

/// What became of it, and what serves after it: one that could not be verified has not failed.
fn fate(release: &Release) -> String {
    let became = match release.outcome {
        Outcome::Failed => "failed, ",
        Outcome::NotVerified => "not verified, ",
        Outcome::Interrupted => "interrupted, ",
        Outcome::Running | Outcome::Verified => "",
    };
    format!("{} {became}{}", mark(release.fate), release.fate.name())
}

/// As it is drawn in the picture: nobody has to tell colours apart.
fn mark(fate: super::figures::points::Fate) -> &'static str {
    use super::figures::points::Fate;
    match fate {
        Fate::Verified => "●",
        Fate::Restored => "▲",
        Fate::Refused => "■",
        Fate::NotRestored => "✕",
        Fate::Running => "○",
    }
}

pub const DELIVERY: &[&str] = &[
    "environment",
    "deployments",
    "a week",
    "lead time, median",
    "longest",
    "changes that failed",
    "share",
    "recovery, median",
    "longest",
    "not recovered",
];

pub fn delivery(delivery: &BTreeMap<String, Dora>) -> Vec<Row> {
    let times = |times: Option<Times>, part: fn(&Times) -> u64| maybe_time(times.as_ref().map(part));
    let row = |(environment, dora): (&String, &Dora)| {
        vec![
            environment.clone(),
            grouped(dora.deployments),
            shown(dora.per_day.map(|per_day| per_day * 7.0)),
            times(dora.lead_time, |times| times.median_ms),
            times(dora.lead_time, |times| times.longest_ms),
            format!("{} of {}", grouped(dora.failures), grouped(dora.changes)),
            percent(dora.failures, dora.changes),
            times(dora.restore, |times| times.median_ms),
            times(dora.restore, |times| times.longest_ms),
            grouped(dora.unrestored),
        ]
    };
    delivery.iter().map(row).collect()
}

pub const INCIDENTS: &[&str] =
    &["check", "environment", "how it stands", "since", "last seen well", "bad runs", "issue", "reason"];

pub fn incident(incident: &Incident) -> Row {
    vec![
        incident.check.clone(),
        incident.environment.clone(),
        incident.state.name().to_owned(),
        minute(incident.since),
        incident.good.map_or(NONE.to_owned(), minute),
        grouped(incident.times),
        if incident.issue.is_empty() { NONE.to_owned() } else { incident.issue.clone() },
        incident.reason.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::figures::points::Fate;
    use super::*;

    #[test]
    fn what_could_not_be_verified_has_not_failed() {
        for (outcome, what, words) in [
            (Outcome::Verified, Fate::Verified, "● verified"),
            (Outcome::Failed, Fate::Restored, "▲ failed, restored"),
            (Outcome::NotVerified, Fate::Restored, "▲ not verified, restored"),
            (Outcome::Interrupted, Fate::Refused, "■ interrupted, nothing was changed"),
            (Outcome::Failed, Fate::NotRestored, "✕ failed, not restored"),
            (Outcome::Running, Fate::Running, "○ not ended"),
        ] {
            let release = Release {
                at: 0,
                id: String::new(),
                environment: String::new(),
                kind: Kind::Release,
                strategy: String::new(),
                digest: String::new(),
                commit: String::new(),
                outcome,
                fate: what,
                duration_ms: None,
                lead_time_ms: None,
                restore_ms: None,
            };
            assert_eq!(fate(&release), words);
        }
    }
}
