//! A report, with what its artifacts tell, as the line that is remembered of it. Pure.

use std::collections::BTreeMap;

use super::artifacts::Artifacts;
use super::entry::{Coverage, Entry, Found, Gate, Host, Image, Llm, Load, Percentiles, Route, SCHEMA};
use super::release::{Release, Written};
use crate::load::summary::{Summary, Trend};
use crate::model::{FLAKY, GateReport, Report};
use crate::release::diagnosis;

/// How many characters of a reason are remembered.
pub const LONGEST_REASON: usize = 200;

/// How many flaky tests of one gate are remembered by name: with more of them the names say nothing any more.
const MOST_FLAKY: usize = 50;

/// How many routes of a load are remembered.
const MOST_ROUTES: usize = 100;

/// What the report does not say of its run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// The branch; empty where HEAD was detached.
    pub branch: String,
    /// The environment that the run was about.
    pub environment: Option<String>,
    /// What kind of machine it ran on.
    pub host: Host,
    /// The address of the workflow's run; empty on a laptop.
    pub url: String,
    /// What tells two runs apart that began in the same second.
    pub random: [u8; 3],
}

/// The line of a run.
pub fn entry(report: &Report, artifacts: &Artifacts, about: &About) -> Entry {
    let Artifacts { coverage, legs, image, load, release } = artifacts;
    let measured = coverage.is_some() || !legs.is_empty();
    Entry {
        schema: SCHEMA.to_owned(),
        run: id(report, about.random),
        started: report.started.clone(),
        duration_ms: report.duration_ms,
        commit: report.commit.clone(),
        branch: about.branch.clone(),
        dirty: report.dirty,
        task: report.task.clone(),
        profile: report.profile,
        environment: release.as_ref().map(|release| release.environment.clone()).or(about.environment.clone()),
        host: about.host,
        url: about.url.clone(),
        verdict: report.verdict,
        gates: report.gates.iter().map(gate).collect(),
        coverage: measured.then(|| Coverage { combined: *coverage, legs: legs.clone() }),
        image: image.map(|size_bytes| Image { size_bytes }),
        load: load.as_ref().map(|(gate, summary)| of_load(gate, summary)),
        release: release.as_ref().map(|written| of_release(written, report)),
    }
}

/// `20261128T004111Z-3e80d21a-ci-3f2a91`: a name of a file as well, whatever the task is called.
fn id(report: &Report, random: [u8; 3]) -> String {
    let digits = |c: &char| c.is_ascii_digit() || *c == 'T';
    let seconds: String = report.started.chars().take(19).filter(digits).collect();
    let commit = report.commit.get(..8).unwrap_or("none");
    let task: String = report.task.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    let [a, b, c] = random;
    format!("{seconds}Z-{commit}-{task}-{a:02x}{b:02x}{c:02x}")
}

fn gate(report: &GateReport) -> Gate {
    let mut findings = Found::default();
    report.findings.iter().for_each(|finding| findings.count(finding.severity, finding.excused.is_some()));
    let flaky = report.findings.iter().filter(|finding| finding.message.starts_with(FLAKY));
    Gate {
        id: report.id.clone(),
        verdict: report.verdict,
        required: report.required,
        cached: report.cached,
        duration_ms: report.duration_ms,
        work: report.work.clone(),
        reason: report.reason.chars().take(LONGEST_REASON).collect(),
        findings,
        flaky: flaky.map(|finding| finding.rule.clone()).take(MOST_FLAKY).collect(),
    }
}

fn of_release(written: &Written, report: &Report) -> Release {
    let findings = report.gates.iter().flat_map(|gate| &gate.findings);
    Release::of(written, findings.filter_map(diagnosis::detection_ms).next())
}

fn of_load(gate: &str, summary: &Summary) -> Load {
    let llm = summary.llm.as_ref().map(|llm| Llm {
        duration: llm.duration.map(percentiles),
        time_to_first_token: llm.time_to_first_token.map(percentiles),
        time_between_tokens: llm.time_between_tokens.map(percentiles),
        tokens_per_second: llm.tokens_per_second.map(percentiles),
    });
    let routes: BTreeMap<String, Route> = summary.routes.iter().take(MOST_ROUTES).map(of_route).collect();
    Load {
        gate: gate.to_owned(),
        profile: summary.load.clone(),
        engine: summary.engine.clone(),
        requests: summary.requests,
        rate: summary.rate,
        failed_rate: summary.failed_rate,
        rest: summary.duration.map(percentiles),
        llm,
        routes,
    }
}

fn of_route(route: &crate::load::summary::Route) -> (String, Route) {
    let whole = route.llm.as_ref().map_or(route.duration, |llm| llm.duration.or(route.duration));
    let figures = Route {
        llm: route.llm.is_some(),
        requests: route.requests,
        failed: route.failed,
        duration: whole.map(percentiles),
    };
    (route.name.clone(), figures)
}

fn percentiles(trend: Trend) -> Percentiles {
    Percentiles { p50: trend.med, p95: trend.p95, p99: trend.p99 }
}
