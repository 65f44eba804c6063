//! What two arms were measured to do → whether the canary is worse. Pure, and the same for the same figures.
//!
//! Three tests, each of which sees what the others do not: the ranks of all latencies, p95, and errors. A difference
//! aborts where it is beyond chance *and* large enough to matter; either alone would abort for noise, or for trifles.
//! The chance of a false alarm is shared by the tests and steps of a release (Bonferroni), whatever depends on what.
//! The canary may be aborted by the first step alone, and is promoted only by passing all.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use xtask_load::exact::fisher;
use xtask_load::random::Random;
use xtask_load::ranks::{mann_whitney, student, typical_ratio};
use xtask_load::resample::{Run, scatter};

use crate::config::Limits;
use crate::load::blocks::{class, milliseconds, ratio as multiple};

/// What one arm did at one step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Arm {
    /// Of requests that were answered as expected, and of those that were given up: in milliseconds, above 0, in the
    /// order in which they were sent. A wrong answer that comes fast makes nothing faster.
    pub latencies: Vec<f64>,
    /// Requests that ended.
    pub requests: u64,
    /// Those that failed.
    pub errors: u64,
}

/// What is to become of the canary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    /// It is not worse, as far as this step shows.
    Promote,
    /// It is worse.
    Abort {
        /// Sentence fragments, at least one.
        reasons: Vec<String>,
    },
    /// Nothing is known, which promotes nothing.
    NoVerdict {
        /// A sentence fragment.
        reason: String,
    },
}

/// A judgement with what it rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Assessment {
    /// What follows.
    pub judgement: Judgement,
    /// The figures; of latencies, there are none where there is no verdict on them.
    pub figures: Figures,
}

/// What was computed. Ratios and differences are the canary's by, or less, the baseline's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Requests of the canary and of the baseline.
    pub requests: (u64, u64),
    /// Shares that failed.
    pub errors: (f64, f64),
    /// Fisher's probability of such a difference by chance.
    pub errors_p: f64,
    /// Of the latencies.
    pub latency: Option<Latency>,
}

/// What was computed of the latencies.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Mann and Whitney's probability of such ranks by chance.
    pub p: f64,
    /// The typical ratio.
    pub ratio: f64,
    /// The median in milliseconds.
    pub median: (f64, f64),
    /// p95 in milliseconds.
    pub p95: (f64, f64),
    /// The ratio of p95.
    pub p95_ratio: f64,
    /// Below which the ratio of p95 lies only by chance; `None` where the ratio is too small to matter anyway.
    pub p95_low: Option<f64>,
}

/// How many tests a step has.
const TESTS: f64 = 3.0;

/// Draws: they make a standard deviation known to about two percent.
const DRAWS: u32 = 1000;

const P95: f64 = 0.95;

/// Judges one of `steps` steps of a release. `seed` is for what is drawn.
pub fn assess(canary: &Arm, baseline: &Arm, limits: &Limits, steps: usize, seed: u64) -> Assessment {
    let level = limits.false_alarms / (TESTS * steps.max(1) as f64);
    let rate = |arm: &Arm| if arm.requests > 0 { arm.errors as f64 / arm.requests as f64 } else { 0.0 };
    let errors_p = fisher((canary.errors, canary.requests), (baseline.errors, baseline.requests));
    let mut figures = Figures {
        requests: (canary.requests, baseline.requests),
        errors: (rate(canary), rate(baseline)),
        errors_p,
        latency: None,
    };
    let none = |reason: String, figures| Assessment { judgement: Judgement::NoVerdict { reason }, figures };
    let least = limits.least_requests;
    for (name, arm) in [("canary", canary), ("baseline", baseline)] {
        if arm.requests < least {
            return none(format!("{} requests to the {name} are fewer than {least}", arm.requests), figures);
        }
    }
    // Some requests may fail and leave no latency; where a tenth does, latencies are not what is to be looked at.
    let mut reasons: Vec<String> = errors(&figures, limits, level).into_iter().collect();
    for (name, arm) in [("canary", canary), ("baseline", baseline)] {
        let usable = arm.latencies.iter().filter(|ms| ms.is_finite() && **ms > 0.0).count();
        if usable == arm.latencies.len() && usable as u64 >= least / 10 * 9 {
            continue;
        }
        // A canary that fails is worse, whatever its latencies are.
        if !reasons.is_empty() {
            return Assessment { judgement: Judgement::Abort { reasons }, figures };
        }
        let reason = format!("{usable} usable latencies of the {name} are too few for {least} requests");
        return none(reason, figures);
    }
    if reasons.is_empty() && figures.errors.1 > limits.baseline_errors {
        let reason = format!(
            "{:.2} % of the baseline's requests failed: to be as good as that is nothing",
            figures.errors.1 * 100.0
        );
        return none(reason, figures);
    }
    figures.latency = latency(canary, baseline, limits, level, seed);
    let Some(found) = &figures.latency else { return none("there are no latencies".to_owned(), figures) };
    reasons.extend(typical(found, limits, level));
    reasons.extend(slowest(found, limits));
    let judgement = if reasons.is_empty() { Judgement::Promote } else { Judgement::Abort { reasons } };
    Assessment { judgement, figures }
}

fn latency(canary: &Arm, baseline: &Arm, limits: &Limits, level: f64, seed: u64) -> Option<Latency> {
    let tolerated: Vec<f64> = canary.latencies.iter().map(|ms| ms / tolerance(limits.latency)).collect();
    let p = mann_whitney(&tolerated, &baseline.latencies)?;
    let ratio = typical_ratio(&canary.latencies, &baseline.latencies)?;
    // As many blocks as there are latencies in each: a burst is shorter than a block, and there are blocks enough to draw.
    let blocks = (canary.latencies.len().min(baseline.latencies.len()) as f64).sqrt() as usize;
    let cut = |arm: &Arm| {
        let classes = arm.latencies.iter().map(|ms| class(Duration::from_secs_f64((ms / 1000.0).min(MOST_SECONDS))));
        Run::cut(&classes.collect::<Vec<_>>(), blocks.max(1))
    };
    let (one, other) = (cut(canary), cut(baseline));
    let median = (milliseconds(one.quantile(0.5)?), milliseconds(other.quantile(0.5)?));
    let p95 = (milliseconds(one.quantile(P95)?), milliseconds(other.quantile(P95)?));
    let p95_ratio = p95.0 / p95.1;
    let matters = p95_ratio >= 1.0 + limits.p95 && p95.0 - p95.1 >= milliseconds_of(limits.measurable);
    let p95_low = if matters {
        let scatter = scatter(&one, &other, P95, DRAWS, &mut Random(seed))?;
        Some(p95_ratio / multiple(student(level, blocks as f64 - 1.0) * scatter))
    } else {
        None
    };
    Some(Latency { p, ratio, median, p95, p95_ratio, p95_low })
}

/// What is beyond an hour is as slow as an hour.
const MOST_SECONDS: f64 = 3600.0;

fn milliseconds_of(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn errors(figures: &Figures, limits: &Limits, level: f64) -> Option<String> {
    let (canary, baseline) = figures.errors;
    let is_worse = figures.errors_p < level && canary - baseline >= limits.errors;
    let p = figures.errors_p;
    is_worse.then(|| {
        format!(
            "{:.2} % of its requests failed, and {:.2} % of the baseline's (p = {p:.1e})",
            canary * 100.0,
            baseline * 100.0
        )
    })
}

fn typical(found: &Latency, limits: &Limits, level: f64) -> Option<String> {
    let Latency { p, ratio, median: (_, median), .. } = found;
    let is_measurable = median * (ratio - 1.0) >= milliseconds_of(limits.measurable);
    let is_worse = *p < level && *ratio >= 1.0 + limits.latency && is_measurable;
    is_worse.then(|| format!("its latency is typically {ratio:.2} times the baseline's (p = {p:.1e})"))
}

fn slowest(found: &Latency, limits: &Limits) -> Option<String> {
    let (Latency { p95: (canary, baseline), p95_ratio, .. }, low) = (found, found.p95_low?);
    (low > tolerance(limits.p95)).then(|| {
        format!(
            "its p95 is {canary:.1} ms and the baseline's {baseline:.1} ms: {p95_ratio:.2} times as long, and at least {low:.2} times"
        )
    })
}

/// What two equal pods on two nodes may differ by: half of the limit, as a factor. Beyond chance is what is beyond this.
fn tolerance(limit: f64) -> f64 {
    (1.0 + limit).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Twenty to forty milliseconds, spread evenly and in no order.
    fn arm(requests: u64, errors: u64, factor: f64) -> Arm {
        let latency = |number: u64| (20.0 + (number * 7919 % 2000) as f64 / 100.0) * factor;
        Arm { latencies: (errors..requests).map(latency).collect(), requests, errors }
    }

    /// The slowest tenth takes longer.
    fn slow_tail(factor: f64) -> Arm {
        let mut arm = arm(2000, 0, 1.0);
        arm.latencies.iter_mut().filter(|ms| **ms > 38.0).for_each(|ms| *ms *= factor);
        arm
    }

    fn judged(canary: &Arm, baseline: &Arm) -> Judgement {
        let found = assess(canary, baseline, &Limits::default(), 4, 1);
        assert_eq!(found, assess(canary, baseline, &Limits::default(), 4, 1), "the same figures, the same answer");
        found.judgement
    }

    #[test]
    fn one_test_that_fails_aborts_and_says_why() {
        let equal = arm(2000, 0, 1.0);
        for (canary, beginnings) in [
            (arm(2000, 0, 1.0), &[][..]),
            (arm(2000, 0, 1.07), &[]),
            (arm(2000, 0, 0.5), &[]),
            (arm(2000, 5, 1.0), &[]),
            (arm(1000, 4, 1.0), &[]),
            (slow_tail(1.3), &["its p95 is"]),
            (arm(2000, 60, 1.0), &["3.00 % of its requests failed, and 0.00 %"]),
            (
                arm(2000, 60, 1.3),
                &["3.00 % of its requests failed", "its latency is typically 1.30 times", "its p95 is 50.8 ms"],
            ),
        ] {
            match judged(&canary, &equal) {
                Judgement::Promote => assert!(beginnings.is_empty(), "{beginnings:?}"),
                Judgement::Abort { reasons } => {
                    assert_eq!(reasons.len(), beginnings.len(), "{reasons:?}");
                    reasons.iter().zip(beginnings).for_each(|(r, b)| assert!(r.starts_with(b), "{reasons:?}"));
                }
                Judgement::NoVerdict { reason } => panic!("{reason}"),
            }
        }
    }

    #[test]
    fn too_little_is_no_verdict_unless_the_canary_fails() {
        let equal = arm(2000, 0, 1.0);
        let without = |reason: &str| Judgement::NoVerdict { reason: reason.to_owned() };
        for (canary, baseline, expected) in [
            (arm(999, 0, 1.0), equal.clone(), without("999 requests to the canary are fewer than 1000")),
            (equal.clone(), arm(999, 0, 9.0), without("999 requests to the baseline are fewer than 1000")),
            (Arm::default(), Arm::default(), without("0 requests to the canary are fewer than 1000")),
            (arm(999, 999, 1.0), equal.clone(), without("999 requests to the canary are fewer than 1000")),
            (
                arm(2000, 2000, 1.0),
                arm(2000, 2000, 1.0),
                without("0 usable latencies of the canary are too few for 1000 requests"),
            ),
            (
                equal.clone(),
                arm(2000, 1500, 1.0),
                without("500 usable latencies of the baseline are too few for 1000 requests"),
            ),
            (
                arm(2000, 120, 1.0),
                arm(2000, 120, 1.0),
                without("6.00 % of the baseline's requests failed: to be as good as that is nothing"),
            ),
        ] {
            assert_eq!(judged(&canary, &baseline), expected);
        }
        // Every request was given up by both: each has a latency, and none was answered.
        let hung = Arm { latencies: vec![10_000.0; 2000], requests: 2000, errors: 2000 };
        assert_eq!(
            judged(&hung, &hung),
            without("100.00 % of the baseline's requests failed: to be as good as that is nothing")
        );
        assert!(matches!(judged(&arm(2000, 2000, 1.0), &equal), Judgement::Abort { .. }));
        let broken = Arm { latencies: vec![f64::NAN; 2000], ..arm(2000, 0, 1.0) };
        assert!(matches!(judged(&broken, &equal), Judgement::NoVerdict { .. }));
    }

    #[test]
    fn what_cannot_be_measured_is_no_difference() {
        // 0.2 to 0.4 ms, and half as much again.
        assert_eq!(judged(&arm(2000, 0, 0.015), &arm(2000, 0, 0.01)), Judgement::Promote);
        // Every latency alike, and one microsecond beside it.
        let alike = |ms: f64| Arm { latencies: vec![ms; 2000], ..arm(2000, 0, 1.0) };
        assert_eq!(judged(&alike(20.001), &alike(20.0)), Judgement::Promote);
        assert!(matches!(judged(&alike(26.0), &alike(20.0)), Judgement::Abort { .. }));
    }

    #[test]
    fn more_steps_need_a_clearer_difference() {
        let (canary, baseline) = (arm(2000, 14, 1.0), arm(2000, 1, 1.0));
        let judged = |steps| assess(&canary, &baseline, &Limits::default(), steps, 1).judgement;
        assert!(matches!(judged(1), Judgement::Abort { .. }), "{:?}", judged(1));
        assert_eq!(judged(10), Judgement::Promote);
    }
}
