//! Whether one sample tends to be larger than another, and by what factor: Mann–Whitney's test and the estimate that
//! goes with it. Neither asks what the distribution is.

/// How probable it is that the first sample's ranks are as high as they are, or higher, if both samples come from one
/// distribution; one-sided. Mann & Whitney, "On a test of whether one of two random variables is stochastically larger than the other", Annals of
/// Mathematical Statistics 18, 1947; the normal approximation with the corrections for ties and for continuity, which
/// Lehmann gives ("Nonparametrics", 1975, 1.4). It is good from a few dozen values on. `None` without values.
pub fn mann_whitney(first: &[f64], second: &[f64]) -> Option<f64> {
    if first.is_empty() || second.is_empty() {
        return None;
    }
    let mut all: Vec<(f64, bool)> =
        first.iter().map(|value| (*value, true)).chain(second.iter().map(|value| (*value, false))).collect();
    all.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let (mut rank_sum, mut ties, mut begin) = (0.0, 0.0, 0);
    while begin < all.len() {
        let same = all[begin..].iter().take_while(|(value, _)| *value == all[begin].0).count();
        let firsts = all[begin..begin + same].iter().filter(|(_, is_first)| *is_first).count();
        // The ranks from begin + 1 to begin + same, shared evenly.
        rank_sum += firsts as f64 * (begin as f64 + (same as f64 + 1.0) / 2.0);
        ties += (same as f64).powi(3) - same as f64;
        begin += same;
    }
    let (m, n, all) = (first.len() as f64, second.len() as f64, all.len() as f64);
    let u = rank_sum - m * (m + 1.0) / 2.0;
    let variance = m * n / 12.0 * (all + 1.0 - ties / (all * (all - 1.0)));
    let z = (u - m * n / 2.0 - 0.5) / variance.sqrt();
    // All values alike: nothing is larger.
    Some(if variance > 0.0 { upper_tail(z) } else { 1.0 })
}

/// The median of all ratios of a value of the first sample to one of the second, which have to be above 0: the factor
/// between two distributions of one shape (Hodges & Lehmann, "Estimates of location based on rank tests", Annals of
/// Mathematical Statistics 34, 1963, of logarithms). `None` without values. Found by halving, without making all pairs.
pub fn typical_ratio(first: &[f64], second: &[f64]) -> Option<f64> {
    let sorted = |values: &[f64]| {
        let mut logs: Vec<f64> = values.iter().map(|value| value.ln()).collect();
        logs.sort_unstable_by(f64::total_cmp);
        logs
    };
    let (first, second) = (sorted(first), sorted(second));
    let (mut low, mut high) = (first.first()? - second.last()?, first.last()? - second.first()?);
    let half = (first.len() * second.len()) as u64 / 2;
    // Thirty halvings of what latencies can differ by leave less than a millionth.
    for _ in 0..30 {
        let middle = f64::midpoint(low, high);
        if pairs_up_to(&first, &second, middle) <= half {
            low = middle;
        } else {
            high = middle;
        }
    }
    Some(f64::midpoint(low, high).exp())
}

/// How many pairs differ by at most that much, of two samples in order.
fn pairs_up_to(first: &[f64], second: &[f64], most: f64) -> u64 {
    let (mut count, mut below) = (0, 0);
    for value in second {
        while below < first.len() && first[below] - value <= most {
            below += 1;
        }
        count += below as u64;
    }
    count
}

/// How much of the standard normal distribution lies above `z`.
fn upper_tail(z: f64) -> f64 {
    libm::erfc(z / std::f64::consts::SQRT_2) / 2.0
}

/// Above which value `p` of Student's distribution lies, for `p` below a half: the normal one's, found by halving, with
/// the expansion for few degrees of freedom (Abramowitz & Stegun, "Handbook of Mathematical Functions", 1964, 26.7.5).
pub fn student(p: f64, degrees: f64) -> f64 {
    let (mut low, mut high) = (0.0, 40.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if upper_tail(middle) > p {
            low = middle;
        } else {
            high = middle;
        }
    }
    let z: f64 = low;
    let first = (z.powi(3) + z) / 4.0;
    let second = (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0;
    let third = (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / 384.0;
    z + first / degrees + second / degrees.powi(2) + third / degrees.powi(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected values are those of SciPy 1.x, `mannwhitneyu(x, y, alternative="greater", method="asymptotic")`.
    #[test]
    fn ranks_with_ties_are_those_of_another_implementation() {
        let (x, y) = ([1.1, 2.2, 2.2, 3.5, 4.0, 5.5, 7.1, 7.1, 9.0], [0.9, 1.1, 2.0, 2.2, 3.0, 3.1, 4.0]);
        let found = mann_whitney(&x, &y).unwrap();
        assert!((found - 0.035_240_656_998_778_96).abs() < 1e-12, "{found}");
        assert_eq!(mann_whitney(&[5.0; 9], &[5.0; 7]), Some(1.0));
        assert_eq!(mann_whitney(&[], &[1.0]), None);
        let certain = mann_whitney(&[2.0; 900], &[1.0; 900]).unwrap();
        assert!(certain < 1e-300, "{certain}");
    }

    /// The expected values are those of SciPy 1.x, `t.isf(p, degrees)`.
    #[test]
    fn quantiles_of_students_distribution_are_those_of_another_implementation() {
        for (p, degrees, expected) in [
            (0.025, 30.0, 2.0423),
            (0.0004, 30.0, 3.7288),
            (0.0004, 54.0, 3.5530),
            (1e-05, 30.0, 5.0540),
            (0.1, 1000.0, 1.2824),
        ] {
            let found = student(p, degrees);
            assert!((found / expected - 1.0).abs() < 0.002, "{p} {degrees}: {found}, expected {expected}");
        }
    }

    #[test]
    fn the_typical_ratio_is_the_median_of_all_of_them() {
        let (x, y) = ([1.0, 2.0, 8.0, 16.0, 3.0], [1.5, 4.0, 0.7]);
        let mut all: Vec<f64> = x.iter().flat_map(|x| y.iter().map(move |y| x / y)).collect();
        all.sort_by(f64::total_cmp);
        let found = typical_ratio(&x, &y).unwrap();
        assert!((found / all[7] - 1.0).abs() < 1e-6, "{found} of {all:?}");
        assert!((typical_ratio(&[13.0; 40], &[10.0; 50]).unwrap() - 1.3).abs() < 1e-6);
        assert_eq!(typical_ratio(&[], &[1.0]), None);
    }
}
