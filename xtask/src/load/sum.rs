//! What was recorded, and what the engine counted → a summary. Pure, and the same for every engine.

use super::llm::LlmStats;
use super::recorder::{Recorder, Stats};
use super::summary::{Checks, Generator, Llm, Route, SCHEMA, Schedule, Second, Summary};
use super::{Measured, Plan, judge, target};
use crate::config::{Aggregation, Metric};

/// What only the engine knows of a run.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// Its name.
    pub engine: &'static str,
    /// Whether any user waited for its answers.
    pub is_closed: bool,
    /// Iterations that were due.
    pub scheduled: u64,
    /// Those that began.
    pub started: u64,
    /// Those that did not.
    pub dropped: u64,
    /// Those that were given up.
    pub interrupted: u64,
    /// The most that were open at a time.
    pub most_open: u64,
    /// Requests that were sent a second time.
    pub resent: u64,
    /// The engine's share of a core, over the whole run.
    pub cpu: f64,
    /// The same in its busiest seconds.
    pub cpu_peak: f64,
    /// Each second.
    pub series: Vec<Second>,
}

/// The summary, thresholds judged.
pub fn sum_up(plan: &Plan, recorder: &Recorder, run: Run) -> Measured {
    let ended = recorder.last.max(plan.load.end());
    let measured = ended.saturating_sub(plan.load.warm_up).as_secs_f64();
    let (requests, failed) = recorder.routes.iter().fold((0, 0), |(r, f), s| (r + s.requests, f + s.failed));
    let checks = recorder.routes.iter().fold(Checks::default(), |all, stats| Checks {
        passed: all.passed + stats.checks.passed,
        failed: all.failed + stats.checks.failed,
    });
    let duration = recorder.merged(false, |stats| Some(&stats.duration));
    let service = recorder.merged(false, |stats| Some(&stats.service));
    let value = |metric: &Metric, aggregation: Aggregation| {
        let route = metric.route.as_ref().map(|name| plan.routes.iter().position(|route| route.name == *name));
        match (metric.name, aggregation) {
            ("dropped_iterations", Aggregation::Count) => (run.scheduled > 0).then_some(run.dropped as f64),
            ("dropped_iterations", _) => (run.scheduled > 0 && measured > 0.0).then(|| run.dropped as f64 / measured),
            _ => match route {
                Some(None) => None,
                route => recorder.value(metric, route.flatten(), aggregation, measured),
            },
        }
    };
    let summary = Summary {
        schema: SCHEMA.to_owned(),
        engine: run.engine.to_owned(),
        load: plan.name.clone(),
        target: plan.target.url.clone(),
        model: if run.is_closed { "closed" } else { "open" }.to_owned(),
        measured_ms: measured * 1000.0,
        requests,
        rate: if measured > 0.0 { requests as f64 / measured } else { 0.0 },
        failed,
        failed_rate: if requests > 0 { failed as f64 / requests as f64 } else { 0.0 },
        checks,
        schedule: Schedule {
            scheduled: run.scheduled,
            started: run.started,
            dropped: run.dropped,
            interrupted: run.interrupted,
            warm_up: recorder.in_warm_up,
        },
        generator: Generator {
            cpu: run.cpu,
            cpu_peak: run.cpu_peak,
            lag: recorder.lag.trend(),
            resent: run.resent,
            most_open: run.most_open,
        },
        duration: duration.trend(),
        service_time: service.trend(),
        llm: llm(recorder),
        percentiles: duration.points(),
        service_percentiles: service.points(),
        routes: plan.routes.iter().zip(&recorder.routes).map(route).collect(),
        faults: recorder.faults(|route| plan.routes.get(route).map(|route| route.name.clone()).unwrap_or_default()),
        thresholds: judge::judge(&plan.thresholds, value),
        series: run.series,
    };
    Measured { summary, blocks: recorder.blocks.clone() }
}

fn route((planned, stats): (&target::Route, &Stats)) -> Route {
    Route {
        name: planned.name.clone(),
        send: planned.request.send.clone(),
        requests: stats.requests,
        failed: stats.failed,
        checks: stats.checks,
        duration: stats.duration.trend(),
        service_time: stats.service.trend(),
        llm: stats.llm.as_ref().map(|llm| llm.summary(&stats.duration)),
    }
}

/// All routes that ask a language model together; `None` without any.
fn llm(recorder: &Recorder) -> Option<Llm> {
    let mut all = LlmStats::default();
    let mut routes = recorder.routes.iter().filter_map(|stats| stats.llm.as_ref()).peekable();
    routes.peek()?;
    routes.for_each(|llm| all.add(llm));
    Some(all.summary(&recorder.merged(true, |stats| Some(&stats.duration))))
}
