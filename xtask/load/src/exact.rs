//! Whether one share is larger than another by more than chance: Fisher's exact test, which holds for the smallest counts,
//! too, where an approximation would not.

/// How probable it is that of `first` (failed of all) so many failed, or more, if both fail equally often, given how many
/// failed together; one-sided. R. A. Fisher, "The logic of inductive inference", Journal of the Royal Statistical Society
/// 98, 1935. Logarithms of the gamma function keep factorials of large counts within range.
pub fn fisher(first: (u64, u64), second: (u64, u64)) -> f64 {
    let (failed, all) = (first.0.min(first.1), first.1);
    let (other_all, failures) = (second.1, failed + second.0.min(second.1));
    let least = failures.saturating_sub(other_all);
    let most = failures.min(all);
    // From the side on which terms fall from the first one on: no sum begins with a term that is too small for a number.
    let is_above = failed as f64 * (all + other_all) as f64 >= failures as f64 * all as f64;
    let found = if is_above {
        let grow = |x: u64| {
            (all - x) as f64 * (failures - x) as f64 / ((x + 1) as f64 * (other_all + x + 1 - failures) as f64)
        };
        sum(term(failed, all, other_all, failures), (failed..most).map(grow))
    } else if failed == least {
        1.0
    } else {
        let shrink =
            |x: u64| x as f64 * (other_all + x - failures) as f64 / ((all + 1 - x) as f64 * (failures + 1 - x) as f64);
        1.0 - sum(term(failed - 1, all, other_all, failures), (least + 1..failed).rev().map(shrink))
    };
    found.clamp(0.0, 1.0)
}

/// A first term and all that follow, each the last one times a factor; ends where nothing is added any more.
fn sum(first: f64, factors: impl Iterator<Item = f64>) -> f64 {
    let (mut term, mut sum) = (first, first);
    for factor in factors {
        term *= factor;
        if term <= sum * f64::EPSILON / 4.0 {
            break;
        }
        sum += term;
    }
    sum
}

/// The hypergeometric probability that exactly `x` of the failures are the first one's.
fn term(x: u64, all: u64, other_all: u64, failures: u64) -> f64 {
    let rest = failures - x;
    (choose(all, x) + choose(other_all, rest) - choose(all + other_all, failures)).exp()
}

/// The logarithm of a binomial coefficient.
fn choose(all: u64, some: u64) -> f64 {
    let factorial = |number: u64| libm::lgamma(number as f64 + 1.0);
    factorial(all) - factorial(some) - factorial(all - some)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected values are those of SciPy 1.x, `fisher_exact(table, alternative="greater")`. The first one is Fisher's
    /// own: a lady tells four cups of eight by their taste, and three of them rightly, which is 17 of 70.
    #[test]
    fn probabilities_are_those_of_another_implementation() {
        for (first, second, expected) in [
            ((3, 4), (1, 4), 17.0 / 70.0),
            ((40, 1000), (10, 1000), 9.504_737_471_649_534e-6),
            ((80, 2000), (20, 2000), 3.527_805_338_964_215_4e-10),
            ((2, 1000), (5, 1000), 0.937_828_288_733_564_4),
            ((0, 1000), (0, 1000), 1.0),
            ((300, 200_000), (200, 200_000), 4.412_999_518_515_159e-6),
        ] {
            let found = fisher(first, second);
            assert!((found / expected - 1.0).abs() < 1e-7, "{first:?} {second:?}: {found:e}, expected {expected:e}");
        }
        assert!(fisher((1000, 1000), (0, 1000)) < 1e-300);
        assert!((fisher((1, 1000), (500, 1000)) - 1.0).abs() < 1e-12);
        assert_eq!(fisher((0, 0), (0, 0)), 1.0);
        assert!(fisher((7, 10), (10, 10)) > 0.99, "more failures than the second one has successes");
    }
}
