//! Latencies cut into blocks of time, in a form that is small enough to be kept: what two runs are compared by.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Most blocks that are kept; then two become one.
const MOST: usize = 120;

/// Ratio of one class of latencies to the next.
const STEP: f64 = 1.01;

/// Latencies of one stretch of time: class → number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block(pub BTreeMap<u16, u32>);

/// The blocks of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Blocks {
    /// How long each is.
    pub seconds: u32,
    /// In order of time.
    pub all: Vec<Block>,
}

impl Default for Blocks {
    fn default() -> Self {
        Self { seconds: 1, all: Vec::new() }
    }
}

impl Blocks {
    /// One latency of a request that ended at `at`, counted from the end of the warm-up.
    pub fn record(&mut self, at: Duration, latency: Duration) {
        while at.as_secs() / u64::from(self.seconds) >= MOST as u64 {
            self.halve();
        }
        let index = (at.as_secs() / u64::from(self.seconds)) as usize;
        if self.all.len() <= index {
            self.all.resize_with(index + 1, Block::default);
        }
        *self.all[index].0.entry(class(latency)).or_default() += 1;
    }

    fn halve(&mut self) {
        self.seconds *= 2;
        let pairs = std::mem::take(&mut self.all);
        for pair in pairs.chunks(2) {
            let mut joined = Block::default();
            for (class, count) in pair.iter().flat_map(|block| &block.0) {
                *joined.0.entry(*class).or_default() += count;
            }
            self.all.push(joined);
        }
    }

    /// How many latencies there are.
    pub fn count(&self) -> u64 {
        self.all.iter().flat_map(|block| block.0.values()).map(|&count| u64::from(count)).sum()
    }
}

/// The class of a latency; each is one percent wide.
pub fn class(latency: Duration) -> u16 {
    let microseconds = latency.as_micros().max(1) as f64;
    (microseconds.ln() / STEP.ln()).round().min(f64::from(u16::MAX)) as u16
}

/// The latency in the middle of a class, in milliseconds.
pub fn milliseconds(class: u16) -> f64 {
    STEP.powi(i32::from(class)) / 1000.0
}

/// What lies so many classes higher, as a multiple.
pub fn ratio(classes: f64) -> f64 {
    STEP.powf(classes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_one_percent_wide() {
        for ms in [1_u64, 7, 100, 2_000, 60_000] {
            let found = milliseconds(class(Duration::from_millis(ms)));
            assert!((found / ms as f64 - 1.0).abs() < 0.006, "{ms}: {found}");
        }
    }

    #[test]
    fn a_long_run_has_longer_blocks_and_no_more_of_them() {
        let mut blocks = Blocks::default();
        for second in 0..1000 {
            blocks.record(Duration::from_secs(second), Duration::from_millis(5));
        }
        assert_eq!((blocks.seconds, blocks.count()), (16, 1000));
        assert!(blocks.all.len() <= MOST);
    }
}
