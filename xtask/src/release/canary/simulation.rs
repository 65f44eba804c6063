//! Simulated releases: how often a canary that is as good as its baseline is aborted, and how often a worse one is caught.
//! Only tests: what they count stands in `docs/canary.md`. Every figure comes from a seed.

#[cfg(test)]
mod tests {
    use xtask_load::random::Random;

    use super::super::analysis::{Arm, Judgement, assess};
    use crate::config::Limits;

    /// Steps of a release; a canary that is worse is so from the first one on, until one of them aborts.
    const STEPS: usize = 4;

    /// Releases of each kind.
    const RELEASES: u64 = 500;

    /// How latencies are distributed, in milliseconds.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum World {
        /// Lognormal, median 20, σ = 0.4.
        Narrow,
        /// Lognormal, median 20, σ = 0.8: p95 is 75 and p99 129.
        Wide,
        /// 5 and an exponential time of 15 in the mean.
        Exponential,
        /// As `Narrow`, under a drift of ±30 % that both arms see, on pods whose speeds differ (σ = 2 % each).
        Drift,
        /// Three routes: 60 % at 3 (σ = 0.3), 30 % at 20 (σ = 0.4), 10 % at 80 (σ = 0.5).
        Routes,
        /// As `Narrow`, and each arm has pauses of its own: in 4 % of all requests, ten in a row take three times as long.
        Bursts,
    }

    const WORLDS: [World; 6] =
        [World::Narrow, World::Wide, World::Exponential, World::Drift, World::Routes, World::Bursts];

    /// What is wrong with the canary.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Fault {
        /// Nothing.
        Equal,
        /// Every latency is 30 % longer, and so is p95.
        Shift,
        /// Only those of the slowest tenth are; p95 is one of them.
        Tail,
        /// 4 % of its requests fail, and 1 % of the baseline's.
        Errors,
    }

    const FAULTS: [Fault; 4] = [Fault::Equal, Fault::Shift, Fault::Tail, Fault::Errors];

    /// One latency after the other.
    struct Clock {
        world: World,
        random: Random,
        paused: u32,
    }

    impl Clock {
        /// `at` is the share of the step that is over.
        fn latency(&mut self, at: f64) -> f64 {
            let random = &mut self.random;
            let mut lognormal = |median: f64, sigma: f64| median * (sigma * random.normal()).exp();
            match self.world {
                World::Narrow => lognormal(20.0, 0.4),
                World::Wide => lognormal(20.0, 0.8),
                World::Exponential => 5.0 - 15.0 * random.unit().ln(),
                World::Drift => lognormal(20.0, 0.4) * (1.0 + 0.3 * (at * 20.0).sin()),
                World::Routes => match random.below(10) {
                    0 => 80.0 * (0.5 * random.normal()).exp(),
                    1..=3 => 20.0 * (0.4 * random.normal()).exp(),
                    _ => 3.0 * (0.3 * random.normal()).exp(),
                },
                World::Bursts => {
                    let latency = lognormal(20.0, 0.4);
                    if self.paused == 0 && random.unit() < 0.004 {
                        self.paused = 10;
                    }
                    let factor = if self.paused > 0 { 3.0 } else { 1.0 };
                    self.paused = self.paused.saturating_sub(1);
                    latency * factor
                }
            }
        }

        fn arm(&mut self, fault: Fault, requests: u64, slowest_tenth: f64) -> Arm {
            let spread = if self.world == World::Drift { 0.02 } else { 0.0 };
            let pod = (spread * self.random.normal()).exp();
            let share = if fault == Fault::Errors { 0.04 } else { 0.01 };
            let mut arm = Arm { requests, ..Arm::default() };
            self.paused = 0;
            for number in 0..requests {
                let latency = self.latency(number as f64 / requests as f64);
                let is_slower = fault == Fault::Shift || fault == Fault::Tail && latency > slowest_tenth;
                if self.random.unit() < share {
                    arm.errors += 1;
                } else {
                    arm.latencies.push(latency * pod * if is_slower { 1.3 } else { 1.0 });
                }
            }
            arm
        }
    }

    /// Where the slowest tenth begins, by a large sample.
    fn slowest_tenth(world: World) -> f64 {
        let mut clock = Clock { world, random: Random(77), paused: 0 };
        let mut all: Vec<f64> = (0..200_000).map(|number| clock.latency(f64::from(number) / 2e5)).collect();
        all.sort_by(f64::total_cmp);
        all[180_000]
    }

    /// Whether a release is aborted.
    fn is_aborted(world: World, fault: Fault, requests: u64, slowest_tenth: f64, seed: u64) -> bool {
        let mut clock = Clock { world, random: Random(seed * 1_000_003 + 17), paused: 0 };
        (0..STEPS).any(|step| {
            let canary = clock.arm(fault, requests, slowest_tenth);
            let baseline = clock.arm(Fault::Equal, requests, slowest_tenth);
            let found = assess(&canary, &baseline, &Limits::default(), STEPS, seed + step as u64);
            assert!(!matches!(found.judgement, Judgement::NoVerdict { .. }), "{found:?}");
            found.judgement != Judgement::Promote
        })
    }

    /// How many of so many releases are aborted, with so many requests an arm and step.
    fn aborted(world: World, fault: Fault, requests: u64) -> usize {
        let slowest_tenth = slowest_tenth(world);
        let count = |seeds: std::ops::Range<u64>| {
            seeds.filter(|seed| is_aborted(world, fault, requests, slowest_tenth, *seed)).count()
        };
        std::thread::scope(|scope| {
            let half = scope.spawn(|| count(0..RELEASES / 2));
            count(RELEASES / 2..RELEASES) + half.join().unwrap()
        })
    }

    #[test]
    fn an_equal_canary_is_promoted_and_a_worse_one_is_caught() {
        for (world, fault, fewest, most) in [
            (World::Wide, Fault::Equal, 0, 5),
            (World::Drift, Fault::Equal, 0, 5),
            (World::Wide, Fault::Shift, 475, 500),
            (World::Wide, Fault::Tail, 475, 500),
            (World::Wide, Fault::Errors, 475, 500),
        ] {
            let found = aborted(world, fault, 2000);
            assert!((fewest..=most).contains(&found), "{world:?}, {fault:?}: {found} of {RELEASES} were aborted");
        }
    }

    /// `cargo test -p xtask --lib canary::simulation -- --ignored --nocapture`
    #[test]
    #[expect(clippy::print_stdout, reason = "the table is what it is for")]
    #[ignore = "takes minutes: it prints the table of docs/canary.md"]
    fn table() {
        println!("| latencies | requests | equal | shift | tail | errors |");
        for world in WORLDS {
            for requests in [1000, 2000, 3000, 6000, 12_000] {
                let found = FAULTS.map(|fault| aborted(world, fault, requests).to_string());
                println!("| {world:?} | {requests} | {} |", found.join(" | "));
            }
        }
    }
}
