//! Samples → statistics, in memory that does not grow with their number. No clock of its own: times come with samples.
//!
//! A sample's latency counts from the *intended* start, so that a server that stalls is charged for everybody who had to
//! wait, and not for the few whose requests it held ("coordinated omission", G. Tene, "How NOT to measure latency").
//! What is measured is what was due after the warm-up.

use std::collections::BTreeMap;
use std::time::Duration;

use super::blocks::Blocks;
use super::histogram::Values;
use super::llm::LlmStats;
use super::summary::{Checks, Fault, Second};
use super::tokens::Tokens;
use crate::config::{Aggregation, Kind, Metric};
use crate::expect::Check;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// An answer came whole, right or wrong.
    Answered,
    /// It was given up after its timeout. It has waited at least as long, which is its latency, as k6 has it.
    Late,
    /// No answer, or half of one: an error, and no latency.
    Broken,
}

/// One request that has ended. Times count from the beginning of the run.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Its route's number.
    pub route: usize,
    /// When it was due.
    pub intended: Duration,
    /// When it was sent.
    pub began: Duration,
    /// When it ended.
    pub ended: Duration,
    /// How.
    pub ending: Ending,
    /// What was expected of it, with the faults.
    pub checks: Vec<(Check, Option<String>)>,
    /// Of routes that ask a language model.
    pub tokens: Option<Tokens>,
}

impl Sample {
    fn fault(&self) -> Option<&str> {
        self.checks.iter().find_map(|(_, fault)| fault.as_deref())
    }
}

/// Distinct faults that are told apart; the rest is counted together.
const MOST_FAULTS: usize = 20;

/// Everything that is known of a run.
pub struct Recorder {
    warm_up: Duration,
    /// By number.
    pub routes: Vec<Stats>,
    /// How much later than intended requests were sent.
    pub lag: Values,
    /// Requests of the warm-up.
    pub in_warm_up: u64,
    /// When the last measured request ended.
    pub last: Duration,
    /// For comparisons.
    pub blocks: Blocks,
    faults: BTreeMap<(usize, String), u64>,
    second: Interval,
}

/// One route.
#[derive(Default)]
pub struct Stats {
    is_llm: bool,
    /// Requests that ended.
    pub requests: u64,
    /// Those that failed.
    pub failed: u64,
    /// Of its answers.
    pub checks: Checks,
    /// From the intended start.
    pub duration: Values,
    /// From the moment of sending.
    pub service: Values,
    /// Where it asks a language model.
    pub llm: Option<Box<LlmStats>>,
}

#[derive(Default)]
struct Interval {
    requests: u64,
    failed: u64,
    latencies: Values,
    first_tokens: Values,
}

impl Recorder {
    /// Routes by whether they ask a language model.
    pub fn new(is_llm: impl IntoIterator<Item = bool>, warm_up: Duration) -> Self {
        let stats = |is_llm: bool| Stats { is_llm, llm: is_llm.then(Box::default), ..Stats::default() };
        Self {
            warm_up,
            routes: is_llm.into_iter().map(stats).collect(),
            lag: Values::new(),
            in_warm_up: 0,
            last: warm_up,
            blocks: Blocks::default(),
            faults: BTreeMap::new(),
            second: Interval::default(),
        }
    }

    /// One request has ended.
    pub fn record(&mut self, sample: &Sample) {
        let Some(stats) = self.routes.get_mut(sample.route) else { return };
        let fault = sample.fault();
        let latency = sample.ended.saturating_sub(sample.intended);
        let is_warm_up = sample.intended < self.warm_up;
        let is_cold = stats.llm.as_mut().is_some_and(|llm| llm.is_cold(sample, fault.is_none()));
        self.second.requests += 1;
        self.second.failed += u64::from(fault.is_some());
        // The right half of a stream is no latency of a language model.
        let has_latency = if stats.is_llm { fault.is_none() } else { sample.ending != Ending::Broken };
        if has_latency && !stats.is_llm {
            self.second.latencies.record(latency);
        }
        if let (true, Some(first)) = (has_latency, sample.tokens.as_ref().and_then(|tokens| tokens.first)) {
            self.second.first_tokens.record(first.saturating_sub(sample.intended));
        }
        if is_warm_up {
            self.in_warm_up += 1;
        } else {
            self.lag.record(sample.began.saturating_sub(sample.intended));
            self.last = self.last.max(sample.ended);
            stats.requests += 1;
            stats.failed += u64::from(fault.is_some());
            let failed = sample.checks.iter().filter(|(_, fault)| fault.is_some()).count() as u64;
            stats.checks.failed += failed;
            stats.checks.passed += sample.checks.len() as u64 - failed;
            if let Some(what) = fault {
                let key = (sample.route, what.to_owned());
                let is_known = self.faults.contains_key(&key) || self.faults.len() < MOST_FAULTS;
                let key = if is_known { key } else { (sample.route, "other faults".to_owned()) };
                *self.faults.entry(key).or_default() += 1;
            }
        }
        match &mut stats.llm {
            Some(llm) if has_latency && is_cold => llm.cold(sample, latency),
            Some(llm) if has_latency && !is_warm_up => {
                llm.warm(sample);
                stats.duration.record(latency);
                stats.service.record(sample.ended.saturating_sub(sample.began));
            }
            None if has_latency && !is_warm_up => {
                stats.duration.record(latency);
                stats.service.record(sample.ended.saturating_sub(sample.began));
                self.blocks.record(sample.ended.saturating_sub(self.warm_up), latency);
            }
            _ => {}
        }
    }

    /// What was open when the graceful stop ended: errors without a latency.
    pub fn interrupt(&mut self, route: usize, count: u64) {
        let Some(stats) = self.routes.get_mut(route).filter(|_| count > 0) else { return };
        stats.requests += count;
        stats.failed += count;
        stats.checks.failed += count;
        *self.faults.entry((route, "no answer before the graceful stop ended".to_owned())).or_default() += count;
    }

    /// The second that ends now; the next one begins empty. The caller fills in what it alone knows.
    pub fn second(&mut self, at: u64) -> Second {
        let Interval { requests, failed, latencies, first_tokens } = &mut self.second;
        let second = Second {
            at,
            is_warm_up: Duration::from_secs(at) <= self.warm_up,
            requests: std::mem::take(requests),
            failed: std::mem::take(failed),
            p50: latencies.percentile(50.0),
            p95: latencies.percentile(95.0),
            p99: latencies.percentile(99.0),
            llm_p95: first_tokens.percentile(95.0),
            ..Second::default()
        };
        latencies.clear();
        first_tokens.clear();
        second
    }

    /// Faults by their route's number, the most frequent first.
    pub fn faults(&self, name: impl Fn(usize) -> String) -> Vec<Fault> {
        let fault = |((route, what), count): (&(usize, String), &u64)| Fault {
            route: name(*route),
            what: crate::text::clean(what),
            count: *count,
        };
        let mut faults: Vec<Fault> = self.faults.iter().map(fault).collect();
        faults.sort_by_key(|fault| std::cmp::Reverse(fault.count));
        faults
    }

    /// All routes that ask a language model, or all that do not.
    pub fn merged(&self, is_llm: bool, of: impl Fn(&Stats) -> Option<&Values>) -> Values {
        let mut all = Values::new();
        self.routes.iter().filter(|stats| stats.is_llm == is_llm).filter_map(of).for_each(|values| all.add(values));
        all
    }

    /// A metric's value over the routes that it is asked of; `None` without any sample. `measured` is in seconds.
    pub fn value(&self, metric: &Metric, route: Option<usize>, aggregation: Aggregation, measured: f64) -> Option<f64> {
        let routes = || self.routes.iter().enumerate().filter(|(index, _)| route.is_none_or(|route| route == *index));
        let sum = |count: fn(&Stats) -> u64| routes().map(|(_, stats)| count(stats)).sum::<u64>() as f64;
        let values = |is_llm: Option<bool>, of: fn(&Stats) -> Option<&Values>| {
            let mut all = Values::new();
            let chosen = routes().filter(|(_, stats)| is_llm.is_none_or(|is_llm| stats.is_llm == is_llm));
            chosen.filter_map(|(_, stats)| of(stats)).for_each(|values| all.add(values));
            all.aggregate(aggregation)
        };
        // Without a route, what asks a language model stands apart; a route is what it is.
        let rest = route.is_none().then_some(false);
        let share = |part: f64, all: f64| (all > 0.0).then(|| part / all);
        match metric.name {
            "http_req_duration" => values(rest, |stats| Some(&stats.duration)),
            "http_req_service_time" => values(rest, |stats| Some(&stats.service)),
            "llm_req_duration" => values(Some(true), |stats| Some(&stats.duration)),
            "llm_time_to_first_token" => values(Some(true), |stats| Some(&stats.llm.as_ref()?.first_token)),
            "llm_time_between_tokens" => values(Some(true), |stats| Some(&stats.llm.as_ref()?.between)),
            "llm_tokens_per_second" => values(Some(true), |stats| Some(&stats.llm.as_ref()?.per_second)),
            "http_req_failed" => share(sum(|stats| stats.failed), sum(|stats| stats.requests)),
            "checks" => share(sum(|stats| stats.checks.passed), sum(|stats| stats.checks.passed + stats.checks.failed)),
            "http_reqs" => {
                let count = sum(|stats| stats.requests);
                let rate = (measured > 0.0).then(|| count / measured);
                if count == 0.0 || metric.kind() != Kind::Counter {
                    None
                } else if aggregation == Aggregation::Rate {
                    rate
                } else {
                    Some(count)
                }
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::schedule::Schedule;
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn sample(intended: u64, ended: u64, ending: Ending, fault: Option<&str>) -> Sample {
        let checks = vec![(Check::Status, fault.map(str::to_owned)), (Check::Body, None)];
        let (intended, ended) = (ms(intended), ms(ended));
        Sample { route: 0, intended, began: intended, ended, ending, checks, tokens: None }
    }

    fn metric(name: &'static str) -> Metric {
        Metric { name, route: None }
    }

    fn p95(recorder: &Recorder, name: &'static str) -> Option<f64> {
        recorder.value(&metric(name), None, Aggregation::Percentile(95.0), 1.0).map(f64::round)
    }

    /// R27 on a clock of its own: a server that answers in 1 ms and holds everything from 9.0 to 11.0 s.
    #[test]
    fn a_stall_of_two_seconds_in_twenty_is_a_p95_of_one_second() {
        let text = "[scenarios.a]\nexecutor = \"constant-arrival-rate\"\nrate = 100\nduration = \"20s\"";
        let mut recorder = Recorder::new([false], Duration::ZERO);
        for arrival in Schedule::of(&toml::from_str(text).unwrap()) {
            let held = arrival.at >= ms(9_000) && arrival.at < ms(11_000);
            // A sender that is stalled as well sends late, and what it then sends is fast.
            let began = if held { ms(11_000) } else { arrival.at };
            let intended = arrival.at.as_millis() as u64;
            recorder.record(&Sample { began, ended: began + ms(1), ..sample(intended, 0, Ending::Answered, None) });
        }
        let found = p95(&recorder, "http_req_duration").unwrap();
        assert!((950.0..=1050.0).contains(&found), "p95 = {found} ms");
        assert_eq!(recorder.routes[0].requests, 2000);
        assert_eq!(p95(&recorder, "http_req_service_time"), Some(1.0), "which is why it is not the latency");
    }

    #[test]
    fn what_a_request_ended_in_says_whether_it_has_a_latency() {
        for (ending, fault, latencies, failed) in [
            (Ending::Answered, None, 1, 0),
            (Ending::Answered, Some("status 500"), 1, 1),
            (Ending::Late, Some("no answer within 10 s"), 1, 1),
            (Ending::Broken, Some("no connection"), 0, 1),
        ] {
            let mut recorder = Recorder::new([false], Duration::ZERO);
            recorder.record(&sample(0, 50, ending, fault));
            let stats = &recorder.routes[0];
            assert_eq!((stats.duration.count(), stats.failed), (latencies, failed), "{ending:?} {fault:?}");
            assert_eq!((stats.checks.passed, stats.checks.failed), (2 - failed, failed));
        }
    }

    #[test]
    fn a_failed_stream_is_an_error_and_no_latency() {
        let mut recorder = Recorder::new([true], Duration::ZERO);
        recorder.record(&sample(0, 10, Ending::Answered, None));
        let tokens = Some(Tokens { count: 3, first: Some(ms(30)), gaps: vec![ms(5)] });
        recorder.record(&Sample { tokens: tokens.clone(), ..sample(20, 900, Ending::Answered, Some("cut")) });
        assert_eq!(p95(&recorder, "llm_req_duration"), None, "the first one was cold, the second one failed");
        assert_eq!(p95(&recorder, "llm_time_to_first_token"), None);
        recorder.record(&Sample { tokens, ..sample(20, 40, Ending::Answered, None) });
        assert_eq!(p95(&recorder, "llm_req_duration"), Some(20.0));
        assert_eq!(p95(&recorder, "llm_time_to_first_token"), Some(10.0));
        assert_eq!(p95(&recorder, "llm_tokens_per_second"), Some(150.0));
        assert_eq!(p95(&recorder, "http_req_duration"), None, "it is no REST route");
        assert_eq!(recorder.routes[0].failed, 1);
        assert_eq!(recorder.routes[0].llm.as_ref().unwrap().cold_duration.count(), 1);
    }

    #[test]
    fn the_warm_up_is_sent_and_not_measured() {
        let mut recorder = Recorder::new([false], ms(1000));
        recorder.record(&sample(999, 1500, Ending::Answered, Some("status 500")));
        recorder.record(&sample(1000, 1010, Ending::Answered, None));
        assert_eq!((recorder.in_warm_up, recorder.routes[0].requests, recorder.routes[0].failed), (1, 1, 0));
        assert_eq!(p95(&recorder, "http_req_duration"), Some(10.0));
        let second = recorder.second(2);
        assert_eq!((second.requests, second.failed, second.p50.map(f64::round)), (2, 1, Some(10.0)));
        assert_eq!(recorder.second(3).requests, 0);
    }

    #[test]
    fn a_metric_without_samples_has_no_value() {
        let recorder = Recorder::new([false, true], Duration::ZERO);
        for (name, kind) in crate::config::METRICS {
            let aggregation = match kind {
                Kind::Trend => Aggregation::Percentile(95.0),
                Kind::Rate => Aggregation::Rate,
                Kind::Counter => Aggregation::Count,
            };
            assert_eq!(recorder.value(&metric(name), None, aggregation, 10.0), None, "{name}");
        }
    }

    #[test]
    fn faults_are_counted_and_their_kinds_are_bounded() {
        let mut recorder = Recorder::new([false], Duration::ZERO);
        for number in 0..100 {
            recorder.record(&sample(0, 1, Ending::Broken, Some(&format!("fault\u{1b}[31m {number}"))));
            recorder.record(&sample(0, 1, Ending::Broken, Some("often")));
        }
        recorder.interrupt(0, 3);
        let faults = recorder.faults(|route| route.to_string());
        assert_eq!((faults[0].what.as_str(), faults[0].count), ("often", 100));
        assert!(faults.len() <= MOST_FAULTS + 2, "{}", faults.len());
        assert_eq!(faults.iter().map(|fault| fault.count).sum::<u64>(), 203);
        assert!(faults.iter().all(|fault| !fault.what.contains('\u{1b}')));
    }
}
