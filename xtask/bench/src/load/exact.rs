//! What a percentile is, taken from all values, and how far a reading is from it. Pure.

use std::time::Duration;

/// The percentiles that every generator tells.
pub const TOLD: [f64; 3] = [50.0, 90.0, 99.0];

/// The nearest-rank percentile (Hyndman and Fan's first definition): the smallest value that at least
/// `percent` of all values do not exceed. `values` are sorted; `None` of nothing.
pub fn percentile(values: &[Duration], percent: f64) -> Option<Duration> {
    let rank = (percent / 100.0 * values.len() as f64).ceil() as usize;
    values.get(rank.clamp(1, values.len().max(1)) - 1).copied()
}

/// The largest of the relative errors of `readings`, in percent; `None` where one of them is missing.
pub fn error(values: &[Duration], readings: &[(f64, Duration)]) -> Option<f64> {
    let mut largest: f64 = 0.0;
    for percent in TOLD {
        let exact = percentile(values, percent)?.as_secs_f64();
        let (_, read) = readings.iter().find(|(of, _)| (of - percent).abs() < 1e-9)?;
        largest = largest.max((read.as_secs_f64() - exact).abs() / exact * 100.0);
    }
    Some(largest)
}

/// The middle one, or the mean of the middle two; `None` of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    Some((sorted[last / 2] + sorted[sorted.len() / 2]) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(values: &[u64]) -> Vec<Duration> {
        values.iter().copied().map(Duration::from_millis).collect()
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let hundred: Vec<u64> = (1..=100).collect();
        for (values, percent, expected) in [
            (&hundred[..], 50.0, Some(50)),
            (&hundred, 99.0, Some(99)),
            (&hundred, 99.5, Some(100)),
            (&hundred, 0.0, Some(1)),
            (&hundred, 100.0, Some(100)),
            (&[7], 95.0, Some(7)),
            (&[], 50.0, None),
        ] {
            assert_eq!(percentile(&ms(values), percent), expected.map(Duration::from_millis), "{percent}");
        }
    }

    #[test]
    fn the_error_is_that_of_the_worst_percentile() {
        let values = ms(&(1..=100).map(|n| n * 10).collect::<Vec<_>>());
        let read = |half, most, all| {
            [(50.0, half), (90.0, most), (99.0, all)].map(|(of, ms)| (of, Duration::from_millis(ms))).to_vec()
        };
        for (read, percent) in [(read(500, 900, 990), 0.0), (read(510, 900, 990), 2.0), (read(500, 855, 990), 5.0)] {
            assert!((error(&values, &read).unwrap() - percent).abs() < 1e-9, "{percent}");
        }
        assert_eq!(error(&values, &read(500, 900, 990)[..2]), None);
        assert_eq!(error(&[], &read(1, 1, 1)), None);
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }
}
