//! Whether the generator was fit to measure (R28). An unfit one has no verdict, good or bad. Pure.

use super::summary::Summary;

/// The share of the schedule that has to be begun.
pub const ACHIEVED: f64 = 0.99;

/// The share of the core that the generator may use.
pub const CPU: f64 = 0.8;

/// Over how many seconds the busiest stretch is averaged: shorter peaks (a collection, a new connection) are no overload.
pub const BUSY: usize = 5;

/// The fewest latencies that percentiles are taken of: those of routes that ask no language model, where there are any.
pub const SAMPLES: u64 = 500;

/// Why a run can have no verdict, as a sentence fragment; `None` where it can.
pub fn unfit(summary: &Summary) -> Option<String> {
    let schedule = &summary.schedule;
    if summary.model != "open" {
        return Some(
            "closed model: users that wait for their answers hide what others would have waited for; give them a pace"
                .to_owned(),
        );
    }
    if schedule.dropped > 0 {
        let Summary { generator, .. } = summary;
        return Some(format!(
            "the generator dropped {} of {} iterations: {} were open at a time (max_vus)",
            schedule.dropped, schedule.scheduled, generator.most_open
        ));
    }
    let share = schedule.started as f64 / schedule.scheduled.max(1) as f64;
    if share < ACHIEVED {
        let (started, scheduled) = (schedule.started, schedule.scheduled);
        return Some(format!(
            "the generator began {started} of {scheduled} iterations, less than {:.0} %",
            ACHIEVED * 100.0
        ));
    }
    if summary.generator.cpu_peak > CPU {
        let busy = summary.generator.cpu_peak * 100.0;
        return Some(format!("the generator used {busy:.0} % of its core, more than {:.0} %", CPU * 100.0));
    }
    let samples = summary.duration.as_ref().map_or(summary.requests, |trend| trend.count);
    if samples < SAMPLES {
        return Some(format!("{samples} samples are fewer than {SAMPLES}"));
    }
    None
}

/// The busiest stretch of [`BUSY`] seconds, of shares of a core by the second.
pub fn busiest(cpu: &[f64]) -> f64 {
    let length = BUSY.min(cpu.len()).max(1);
    cpu.windows(length).map(|stretch| stretch.iter().sum::<f64>() / length as f64).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::super::summary::{Generator, Schedule};
    use super::*;

    fn summary(scheduled: u64, started: u64, dropped: u64, cpu_peak: f64, requests: u64) -> Summary {
        Summary {
            model: "open".into(),
            requests,
            schedule: Schedule { scheduled, started, dropped, ..Schedule::default() },
            generator: Generator { cpu_peak, most_open: 7, ..Generator::default() },
            ..Summary::default()
        }
    }

    #[test]
    fn a_verdict_needs_a_fit_generator() {
        for (found, why) in [
            (summary(1000, 1000, 0, 0.3, 1000), None),
            (summary(1000, 990, 0, 0.8, 500), None),
            (summary(1000, 989, 0, 0.3, 989), Some("the generator began 989 of 1000 iterations, less than 99 %")),
            (
                summary(1000, 999, 1, 0.3, 999),
                Some("the generator dropped 1 of 1000 iterations: 7 were open at a time (max_vus)"),
            ),
            (summary(1000, 1000, 0, 0.81, 1000), Some("the generator used 81 % of its core, more than 80 %")),
            (summary(499, 499, 0, 0.3, 499), Some("499 samples are fewer than 500")),
            (summary(0, 0, 0, 0.0, 0), Some("the generator began 0 of 0 iterations, less than 99 %")),
        ] {
            assert_eq!(unfit(&found).as_deref(), why);
        }
        let closed = Summary { model: "closed".into(), ..summary(1000, 1000, 0, 0.3, 1000) };
        assert!(unfit(&closed).unwrap().starts_with("closed model"));
    }

    #[test]
    fn a_short_peak_is_no_overload_and_a_long_one_is() {
        assert!((busiest(&[0.1, 0.1, 0.1, 1.0, 0.1, 0.1, 0.1]) - 0.28).abs() < 1e-9);
        assert_eq!(busiest(&[0.9, 0.9]), 0.9);
        assert_eq!(busiest(&[]), 0.0);
    }
}
