//! How much of a core this thread has used: the generator runs on one, so that one core is what it may use.

use std::time::{Duration, Instant};

/// CPU time of the calling thread (`CLOCK_THREAD_CPUTIME_ID`, which Linux and macOS have).
pub fn of_this_thread() -> Duration {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(spent).unwrap_or_default()
}

/// Shares of a core, from tick to tick.
pub struct Meter {
    begun: (Instant, Duration),
    last: (Instant, Duration),
}

impl Meter {
    /// From now on.
    pub fn start() -> Self {
        let now = (Instant::now(), of_this_thread());
        Self { begun: now, last: now }
    }

    fn share(since: (Instant, Duration), now: (Instant, Duration)) -> f64 {
        let (wall, spent) = (now.0.duration_since(since.0), now.1.saturating_sub(since.1));
        if wall.is_zero() { 0.0 } else { spent.div_duration_f64(wall) }
    }

    /// The share since the last tick; of a stretch too short to tell anything, that of the whole run.
    pub fn tick(&mut self) -> f64 {
        let now = (Instant::now(), of_this_thread());
        let since = std::mem::replace(&mut self.last, now);
        let is_short = now.0.duration_since(since.0) < HALF_A_SECOND;
        Self::share(if is_short { self.begun } else { since }, now)
    }

    /// The share of all the time.
    pub fn whole(&self) -> f64 {
        Self::share(self.begun, (Instant::now(), of_this_thread()))
    }
}

const HALF_A_SECOND: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_with_work_of_this_thread_and_not_with_sleep() {
        let begun = std::time::Instant::now();
        let before = of_this_thread();
        let mut sum = 0_u64;
        while of_this_thread() - before < Duration::from_millis(5) {
            assert!(begun.elapsed() < Duration::from_secs(60), "no CPU time after a minute of work");
            sum = std::hint::black_box(sum + 1);
        }
        let worked = of_this_thread();
        std::thread::sleep(Duration::from_millis(50));
        assert!(of_this_thread() - worked < Duration::from_millis(25));
    }
}
