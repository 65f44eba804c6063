//! The statistics of routes that ask a language model, apart from those of others: cold and warm told apart.

use std::time::Duration;

use super::histogram::Values;
use super::recorder::Sample;
use super::summary::Llm;

/// What a language model's answers took.
#[derive(Default)]
pub struct LlmStats {
    pub(super) first_token: Values,
    pub(super) between: Values,
    pub(super) per_second: Values,
    pub(super) cold_duration: Values,
    cold_first_token: Values,
    /// When the route had answered once.
    warm_since: Option<Duration>,
}

impl LlmStats {
    /// A request is cold when it began before its route had answered once: whatever is loaded lazily was loaded for it.
    pub(super) fn is_cold(&mut self, sample: &Sample, is_right: bool) -> bool {
        let is_cold = self.warm_since.is_none_or(|since| sample.began < since);
        if is_right {
            self.warm_since.get_or_insert(sample.ended);
        }
        is_cold
    }

    pub(super) fn cold(&mut self, sample: &Sample, latency: Duration) {
        self.cold_duration.record(latency);
        if let Some(first) = sample.tokens.as_ref().and_then(|tokens| tokens.first) {
            self.cold_first_token.record(first.saturating_sub(sample.intended));
        }
    }

    pub(super) fn warm(&mut self, sample: &Sample) {
        let Some(tokens) = &sample.tokens else { return };
        if let Some(first) = tokens.first {
            self.first_token.record(first.saturating_sub(sample.intended));
        }
        tokens.gaps.iter().for_each(|gap| self.between.record(*gap));
        let took = sample.ended.saturating_sub(sample.began).as_secs_f64();
        if tokens.count > 0 && took > 0.0 {
            // Output tokens by the answer's whole time, as LLMPerf counts a request's throughput.
            self.per_second.record_thousandths((tokens.count as f64 / took * 1000.0) as u64);
        }
    }

    /// As plain data; `duration` is that of the warm answers.
    pub fn summary(&self, duration: &Values) -> Llm {
        Llm {
            time_to_first_token: self.first_token.trend(),
            time_between_tokens: self.between.trend(),
            tokens_per_second: self.per_second.trend(),
            duration: duration.trend(),
            cold_duration: self.cold_duration.trend(),
            cold_time_to_first_token: self.cold_first_token.trend(),
        }
    }

    /// All of another route's.
    pub fn add(&mut self, other: &Self) {
        self.first_token.add(&other.first_token);
        self.between.add(&other.between);
        self.per_second.add(&other.per_second);
        self.cold_duration.add(&other.cold_duration);
        self.cold_first_token.add(&other.cold_first_token);
    }
}
