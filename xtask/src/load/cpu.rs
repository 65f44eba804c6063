//! How much of a core this thread has used: the generator runs on one, so that one core is what it may use.

use std::time::Duration;

/// CPU time of the calling thread (`CLOCK_THREAD_CPUTIME_ID`, which Linux and macOS have).
pub fn of_this_thread() -> Duration {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(spent).unwrap_or_default()
}

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
