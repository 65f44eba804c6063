//! Whole numbers with three significant digits in bounded memory: HDR histograms (<http://hdrhistogram.org>).

use hdrhistogram::Histogram as Hdr;

/// Largest value: ten minutes in microseconds. What is larger counts as that.
pub const LARGEST: u64 = 600_000_000;

/// About 80 KB, however much is recorded.
#[derive(Clone, Debug)]
pub struct Histogram(Hdr<u32>);

impl Histogram {
    /// Empty.
    pub fn new() -> Self {
        // The bounds are constants that the library takes, which a test holds; its default would grow without bound.
        let made = Hdr::new_with_bounds(1, LARGEST, 3);
        Self(made.unwrap_or_else(|_| Hdr::new_from(&Hdr::<u32>::new(3).unwrap_or_else(|_| unreachable!()))))
    }

    /// One more.
    pub fn record(&mut self, value: u64) {
        self.0.saturating_record(value.clamp(1, LARGEST));
    }

    /// All of another one.
    pub fn add(&mut self, other: &Self) {
        let _same_bounds = self.0.add(&other.0);
    }

    /// None any more.
    pub fn clear(&mut self) {
        self.0.reset();
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// In percent; `None` while there is no value.
    pub fn percentile(&self, percent: f64) -> Option<u64> {
        (!self.0.is_empty()).then(|| self.0.value_at_quantile(percent / 100.0).min(self.0.max()))
    }

    /// `None` while there is no value.
    pub fn mean(&self) -> Option<f64> {
        (!self.0.is_empty()).then(|| self.0.mean())
    }

    /// The smallest; `None` while there is no value.
    pub fn min(&self) -> Option<u64> {
        (!self.0.is_empty()).then(|| self.0.min())
    }

    /// The largest; `None` while there is no value.
    pub fn max(&self) -> Option<u64> {
        (!self.0.is_empty()).then(|| self.0.max())
    }

    /// Percentiles and their values, denser towards the end as HDR's own plots are.
    pub fn points(&self) -> Vec<(f64, u64)> {
        if self.0.is_empty() {
            return vec![];
        }
        let steps = self.0.iter_quantiles(5);
        steps.map(|step| (step.quantile_iterated_to() * 100.0, step.value_iterated_to().min(self.0.max()))).collect()
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_are_taken_and_hold() {
        assert!(Hdr::<u32>::new_with_bounds(1, LARGEST, 3).is_ok());
        let mut values = Histogram::new();
        assert_eq!((values.percentile(50.0), values.mean(), values.max()), (None, None, None));
        for value in [0, 7, LARGEST * 9] {
            values.record(value);
        }
        assert_eq!((values.count(), values.min(), values.percentile(50.0)), (3, Some(1), Some(7)));
        assert!(values.max().unwrap() >= LARGEST - LARGEST / 1000);
    }
}
