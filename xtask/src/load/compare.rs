//! Whether a run is slower than the accepted ones by more than the noise. Pure, and the same for the same figures.
//!
//! How it is decided. The figure is the ratio of p95, new by old, and its noise is on two levels: within a run, where
//! latencies of one second are alike, and between runs, which differ by more than one run can show of itself. So both
//! are resampled, as Kalibera & Jones have it ("Rigorous benchmarking in reasonable time", ISMM 2013, section 6): the old
//! side draws one of the accepted runs and then blocks of time of that run with replacement (a block bootstrap: Künsch,
//! "The jackknife and the bootstrap for general stationary observations", Annals of Statistics 17, 1989), the new side
//! draws blocks of its own. The ratios between the 2.5th and the 97.5th percentile are the interval. A regression is an
//! interval that lies above 1 as a whole, and above `1 + regression` if it is to break the gate. With fewer than
//! [`ENOUGH_RUNS`] accepted runs the noise between runs is not known, and nothing breaks. Neither does it on a machine
//! that is busy with other things, which no accepted run needs to have seen: there the generator itself is late, and a
//! difference of no more than [`WAITS`] times its lateness is taken for the machine's.

use super::blocks::{Block, Blocks, milliseconds};
use super::mix::Random;
use crate::verdict::{Finding, Severity};
use xtask_load::resample::Run;

/// Accepted runs that are kept, the newest.
pub const KEPT: usize = 10;

/// From so many accepted runs on their noise is taken to be known.
pub const ENOUGH_RUNS: usize = 3;

/// Fewer blocks of time cannot be resampled.
const ENOUGH_BLOCKS: usize = 5;

/// Differences below this are the clocks' and the scheduler's, in milliseconds.
const MEASURABLE: f64 = 1.0;

/// How often a request waits for a core where the generator waits once: in the server, in what the server asks, and in
/// the generator when the answer comes.
const WAITS: f64 = 3.0;

/// Ratios that are drawn: their 2.5th percentile is then known to about half a percent.
const RESAMPLES: usize = 1000;

/// The share of the latencies that the compared percentile leaves below it.
const P95: f64 = 0.95;

/// A run beside the accepted ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// p95 of the new run, in milliseconds.
    pub new: f64,
    /// p95 of the accepted ones, together.
    pub old: f64,
    /// The interval of the ratio, new by old.
    pub low: f64,
    /// Its other end.
    pub high: f64,
    /// How many accepted runs there were.
    pub runs: usize,
    /// A difference up to this is the machine's, in milliseconds.
    pub noise: f64,
}

/// `None` without an accepted run, or with too little in either. `lag` is the 95th percentile of how late the generator
/// of the new run was, in milliseconds.
pub fn compare(accepted: &[Blocks], new: &Blocks, lag: f64, seed: u64) -> Option<Comparison> {
    let noise = MEASURABLE.max(WAITS * lag);
    resampled(accepted, new, seed, RESAMPLES).map(|found| Comparison { noise, ..found })
}

fn resampled(accepted: &[Blocks], new: &Blocks, seed: u64, resamples: usize) -> Option<Comparison> {
    let usable = |blocks: &&Blocks| blocks.all.len() >= ENOUGH_BLOCKS;
    let old: Vec<Run> = accepted.iter().filter(usable).map(in_blocks).collect();
    let fresh = Some(new).filter(usable).map(in_blocks)?;
    let (old_p95, new_p95) = (Run::together(&old).quantile(P95)?, fresh.quantile(P95)?);
    let (old_p95, new_p95) = (milliseconds(old_p95), milliseconds(new_p95));
    let mut random = Random(seed);
    let mut ratios = Vec::with_capacity(resamples);
    for _ in 0..resamples {
        let accepted = &old[random.below(old.len())];
        let (before, after) = (accepted.resample(P95, &mut random), fresh.resample(P95, &mut random));
        ratios.extend(after.zip(before).map(|(after, before)| milliseconds(after) / milliseconds(before)));
    }
    ratios.sort_by(f64::total_cmp);
    let at = |share: f64| ratios.get(((ratios.len() - 1) as f64 * share) as usize).copied();
    Some(Comparison {
        new: new_p95,
        old: old_p95,
        low: at(0.025)?,
        high: at(0.975)?,
        runs: old.len(),
        noise: MEASURABLE,
    })
}

/// A run as it is resampled.
fn in_blocks(blocks: &Blocks) -> Run {
    let list = |block: &Block| block.0.iter().map(|(class, count)| (*class, *count)).collect();
    Run::new(blocks.all.iter().map(list).collect())
}

impl Comparison {
    /// Slower than the accepted runs by more than the noise, and by something that can be measured.
    pub fn is_slower(&self) -> bool {
        self.low > 1.0 && self.new - self.old > self.noise
    }

    /// Whether the run may be one of the accepted ones: a slower one would let the next be slower still.
    pub fn is_acceptable(&self) -> bool {
        self.runs < ENOUGH_RUNS || !self.is_slower()
    }

    /// What is to be said of it; it breaks the gate beyond `floor`, a share.
    pub fn finding(&self, floor: f64) -> Option<Finding> {
        let Self { new, old, low, high, runs, .. } = self;
        let is_known = *runs >= ENOUGH_RUNS;
        let severity = if is_known && *low > 1.0 + floor { Severity::High } else { Severity::Info };
        let known = if is_known { "" } else { "; too few runs to know their noise" };
        let message = format!(
            "p95 is {new:.1} ms and was {old:.1} ms in {runs} accepted runs: {low:.2} to {high:.2} times as long (95 %){known}"
        );
        self.is_slower().then(|| Finding::new("regression", severity, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Twenty seconds at 40 requests a second, lognormal around 20 ms (σ = 0.4), times `factor`. Normal numbers are sums
    /// of twelve uniform ones.
    fn run(random: &mut Random, factor: f64) -> Blocks {
        let mut blocks = Blocks::default();
        for number in 0..800 {
            let normal = normal(random);
            let latency = Duration::from_secs_f64(0.020 * factor * (0.4 * normal).exp());
            blocks.record(Duration::from_millis(number * 25), latency);
        }
        blocks
    }

    fn normal(random: &mut Random) -> f64 {
        (0..12).map(|_| random.below(1 << 20) as f64 / f64::from(1 << 20)).sum::<f64>() - 6.0
    }

    /// A run on a machine whose speed differs from run to run by 8 %.
    fn noisy(random: &mut Random, factor: f64) -> Blocks {
        let machine = (0.08 * normal(random)).exp();
        run(random, factor * machine)
    }

    #[test]
    fn noise_is_no_regression_and_twice_as_slow_is_one() {
        let mut random = Random(4);
        let (mut alarms, mut caught) = (0, 0);
        const SIMULATED: u32 = 100;
        for seed in 0..SIMULATED {
            let accepted: Vec<Blocks> = (0..6).map(|_| noisy(&mut random, 1.0)).collect();
            let breaks = |new: &Blocks| {
                let found = resampled(&accepted, new, u64::from(seed), 100).unwrap().finding(0.2);
                found.is_some_and(|finding| finding.severity == Severity::High)
            };
            alarms += u32::from(breaks(&noisy(&mut random, 1.0)));
            caught += u32::from(breaks(&noisy(&mut random, 2.0)));
        }
        assert!(alarms <= 1, "{alarms} false alarms of {SIMULATED}");
        assert!(caught >= 95, "{caught} of {SIMULATED} caught");
    }

    #[test]
    fn few_runs_break_nothing_and_a_slower_run_is_not_accepted_once_the_noise_is_known() {
        let mut random = Random(9);
        let old: Vec<Blocks> = (0..3).map(|_| run(&mut random, 1.0)).collect();
        let slow = run(&mut random, 2.0);
        for (runs, severity, acceptable) in [(1, Severity::Info, true), (3, Severity::High, false)] {
            let found = compare(&old[..runs], &slow, 0.2, 1).unwrap();
            assert_eq!(found.finding(0.2).unwrap().severity, severity, "{found:?}");
            assert_eq!(found.is_acceptable(), acceptable);
        }
        let slight = compare(&old, &run(&mut random, 1.15), 0.2, 1).unwrap();
        assert!(slight.finding(0.2).is_none_or(|finding| finding.severity == Severity::Info), "{slight:?}");
        assert_eq!(compare(&old, &slow, 0.2, 1), compare(&old, &slow, 0.2, 1), "the same figures, the same answer");
        assert_eq!(compare(&[], &slow, 0.2, 1), None);
        assert_eq!(compare(&old, &Blocks::default(), 0.2, 1), None);
        let busy = compare(&old, &slow, 30.0, 1).unwrap();
        assert!(busy.finding(0.2).is_none() && busy.is_acceptable(), "the generator itself was late: {busy:?}");
    }

    #[test]
    fn what_is_below_a_millisecond_is_nothing() {
        let found = Comparison { new: 1.9, old: 1.0, low: 1.5, high: 2.0, runs: 5, noise: MEASURABLE };
        assert!(found.finding(0.2).is_none() && found.is_acceptable());
    }
}
