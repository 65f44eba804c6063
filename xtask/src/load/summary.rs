//! What a load run has measured, as plain data: `perf/summary.json`, from which reports and comparisons are made.
//!
//! Every time is in milliseconds. Another engine fills in what it knows; what it does not measure is `null`.

use serde::{Deserialize, Serialize};

/// Which format it is.
pub const SCHEMA: &str = "forge-load/1";

/// One run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// [`SCHEMA`]
    pub schema: String,
    /// `builtin` or `k6`.
    pub engine: String,
    /// The load profile.
    pub load: String,
    /// Where it went.
    pub target: String,
    /// `open`, or `closed` where users wait for their answers: such figures decide no gate.
    pub model: String,
    /// Of the part that was measured: from the end of the warm-up to the last answer.
    pub measured_ms: f64,
    /// Requests in that part that came to an end, failed ones included.
    pub requests: u64,
    /// Requests a second.
    pub rate: f64,
    /// Requests whose answer did not come, or was not as expected.
    pub failed: u64,
    /// Their share; 0 where there was no request.
    pub failed_rate: f64,
    /// Checks of answers.
    pub checks: Checks,
    /// What was scheduled, and what became of it.
    pub schedule: Schedule,
    /// The generator itself.
    pub generator: Generator,
    /// Latency of the routes that ask no language model, from the intended start.
    pub duration: Option<Trend>,
    /// The same from the moment at which the request was really sent.
    pub service_time: Option<Trend>,
    /// The routes that ask a language model.
    pub llm: Option<Llm>,
    /// Percentiles of `duration`, as many as a picture needs.
    pub percentiles: Vec<Point>,
    /// The same of `service_time`.
    pub service_percentiles: Vec<Point>,
    /// Each route by itself.
    pub routes: Vec<Route>,
    /// Each second by itself, in order.
    pub series: Vec<Second>,
    /// What went wrong, the most frequent first.
    pub faults: Vec<Fault>,
    /// The thresholds, judged; empty until they are.
    pub thresholds: Vec<Judged>,
}

/// Passed and failed checks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checks {
    /// As expected.
    pub passed: u64,
    /// Not so.
    pub failed: u64,
}

/// What was scheduled, and what became of it. Warm-up included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Iterations that were due.
    pub scheduled: u64,
    /// Those that began.
    pub started: u64,
    /// Those that did not, because too many were open.
    pub dropped: u64,
    /// Those that were given up at the end of the graceful stop; they count as failed.
    pub interrupted: u64,
    /// Those of the warm-up, which are measured nowhere.
    pub warm_up: u64,
}

/// How the generator itself fared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Generator {
    /// CPU time of its thread as a share of one core, over the whole run.
    pub cpu: f64,
    /// The same in the busiest [`super::fitness::BUSY`] seconds.
    pub cpu_peak: f64,
    /// How much later than intended requests were sent.
    pub lag: Option<Trend>,
    /// Requests that were sent again because their kept connection had been closed meanwhile.
    pub resent: u64,
    /// The most iterations that were open at a time.
    pub most_open: u64,
}

/// A distribution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trend {
    /// How many values.
    pub count: u64,
    /// Mean.
    pub avg: f64,
    /// Smallest.
    pub min: f64,
    /// Median.
    pub med: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p999: f64,
    /// Largest.
    pub max: f64,
}

/// One point of a percentile picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// In percent.
    pub percentile: f64,
    /// In milliseconds.
    pub value: f64,
}

/// What a language model's answers took; only those that were as expected.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Llm {
    /// From the intended start to the first token, of warm answers.
    pub time_to_first_token: Option<Trend>,
    /// From one token to the next, of warm answers.
    pub time_between_tokens: Option<Trend>,
    /// Tokens of an answer by the time from its sending to its end, of warm answers (not milliseconds).
    pub tokens_per_second: Option<Trend>,
    /// From the intended start to the end, of warm answers.
    pub duration: Option<Trend>,
    /// The same of cold answers: those that began before their route had answered once.
    pub cold_duration: Option<Trend>,
    /// Time to first token of cold answers.
    pub cold_time_to_first_token: Option<Trend>,
}

/// One route.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// Its name.
    pub name: String,
    /// `GET /health`
    pub send: String,
    /// Requests that came to an end.
    pub requests: u64,
    /// Those that failed.
    pub failed: u64,
    /// Checks of its answers.
    pub checks: Checks,
    /// Latency from the intended start.
    pub duration: Option<Trend>,
    /// From the moment of sending.
    pub service_time: Option<Trend>,
    /// Where it asks a language model.
    pub llm: Option<Llm>,
}

/// One second of the run, by the time at which requests ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// Its end, in whole seconds since the beginning of the run.
    pub at: u64,
    /// Whether it lies in the warm-up.
    pub is_warm_up: bool,
    /// Users that the schedule has at that moment; 0 for scenarios by rate.
    pub users: u32,
    /// Iterations that are open.
    pub open: u64,
    /// Requests that ended.
    pub requests: u64,
    /// Those that failed.
    pub failed: u64,
    /// Iterations that were dropped.
    pub dropped: u64,
    /// Median of latencies, of all routes that ask no language model.
    pub p50: Option<f64>,
    /// 95th percentile.
    pub p95: Option<f64>,
    /// 99th percentile.
    pub p99: Option<f64>,
    /// 95th percentile of the time to first token.
    pub llm_p95: Option<f64>,
    /// The generator's share of a core.
    pub cpu: f64,
}

/// What went wrong, and how often.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The route.
    pub route: String,
    /// A sentence fragment, cleaned.
    pub what: String,
    /// How often.
    pub count: u64,
}

/// A threshold with its value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// `http_req_duration: p(95)<1000`
    pub threshold: String,
    /// What was measured; `None` without any sample.
    pub value: Option<f64>,
    /// The limit.
    pub limit: f64,
    /// `None` without any sample, which is no pass.
    pub holds: Option<bool>,
}
