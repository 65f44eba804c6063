//! Values with three significant digits in bounded memory: HDR histograms (<http://hdrhistogram.org>).

use std::time::Duration;

use xtask_load::histogram::{Histogram, LARGEST};

use super::summary::{Point, Trend};
use crate::config::Aggregation;

/// Thousandths of the unit in which values are shown: microseconds of milliseconds.
#[derive(Clone, Debug)]
pub struct Values(Histogram);

impl Values {
    /// Empty; about 80 KB, however much is recorded.
    pub fn new() -> Self {
        Self(Histogram::new())
    }

    /// One more.
    pub fn record(&mut self, value: Duration) {
        self.record_thousandths(u64::try_from(value.as_micros()).unwrap_or(LARGEST));
    }

    /// One more, in thousandths.
    pub fn record_thousandths(&mut self, value: u64) {
        self.0.record(value);
    }

    /// All of another one.
    pub fn add(&mut self, other: &Self) {
        self.0.add(&other.0);
    }

    /// None any more.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.0.count()
    }

    /// `None` while there is no value.
    pub fn percentile(&self, percent: f64) -> Option<f64> {
        self.0.percentile(percent).map(shown)
    }

    /// `None` while there is no value, and for what is no aggregation of values.
    pub fn aggregate(&self, aggregation: Aggregation) -> Option<f64> {
        match aggregation {
            Aggregation::Percentile(percent) => self.percentile(percent),
            Aggregation::Med => self.percentile(50.0),
            Aggregation::Avg => self.0.mean().map(|mean| mean / 1000.0),
            Aggregation::Min => self.0.min().map(shown),
            Aggregation::Max => self.0.max().map(shown),
            Aggregation::Rate | Aggregation::Count => None,
        }
    }

    /// `None` while there is no value.
    pub fn trend(&self) -> Option<Trend> {
        Some(Trend {
            count: self.count(),
            avg: self.aggregate(Aggregation::Avg)?,
            min: self.aggregate(Aggregation::Min)?,
            med: self.percentile(50.0)?,
            p90: self.percentile(90.0)?,
            p95: self.percentile(95.0)?,
            p99: self.percentile(99.0)?,
            p999: self.percentile(99.9)?,
            max: self.aggregate(Aggregation::Max)?,
        })
    }

    /// The percentile picture, denser towards the end as HDR's own plots are.
    pub fn points(&self) -> Vec<Point> {
        self.0.points().into_iter().map(|(percentile, value)| Point { percentile, value: shown(value) }).collect()
    }
}

impl Default for Values {
    fn default() -> Self {
        Self::new()
    }
}

fn shown(thousandths: u64) -> f64 {
    thousandths as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::mix::Random;

    #[test]
    fn percentiles_are_within_one_percent_of_exact() {
        // Lognormal-like: products of uniform numbers, from 20 µs to seconds.
        let mut random = Random(7);
        let mut draw = || (0..4).map(|_| 1 + random.below(37) as u64).product::<u64>() * 20;
        let mut exact: Vec<u64> = (0..50_000).map(|_| draw()).collect();
        let mut values = Values::new();
        exact.iter().for_each(|&value| values.record(Duration::from_micros(value)));
        exact.sort_unstable();
        for percent in [1.0, 25.0, 50.0, 90.0, 95.0, 99.0, 99.9, 100.0] {
            let rank = ((percent / 100.0 * exact.len() as f64).ceil() as usize).clamp(1, exact.len());
            let (found, truth) = (values.percentile(percent).unwrap(), exact[rank - 1] as f64 / 1000.0);
            assert!((found / truth - 1.0).abs() < 0.01, "p({percent}): {found} and not {truth}");
        }
        let points = values.points();
        assert!(points.is_sorted_by_key(|point| point.value) && points.len() > 20, "{points:?}");
        assert_eq!(points.last().unwrap().value, values.percentile(100.0).unwrap());
    }

    #[test]
    fn nothing_recorded_is_no_value_and_what_is_too_long_is_the_longest() {
        let mut values = Values::new();
        assert_eq!((values.percentile(95.0), values.trend(), values.aggregate(Aggregation::Avg)), (None, None, None));
        assert!(values.points().is_empty());
        values.record(Duration::from_secs(7200));
        assert!(values.percentile(95.0).unwrap() >= 599_000.0);
    }
}
