//! When iterations begin: a load profile → intended starts, in order. Pure, and decided before anything is sent,
//! so that no server can slow it down (the open model).
//!
//! A paced user starts an iteration every `pace`. Users are spread over the pace by the golden ratio, whose multiples
//! leave no large gap for any number of users (Knuth, The Art of Computer Programming, vol. 3, 6.4, theorem S).

use std::iter::Peekable;
use std::time::Duration;

use crate::config::{Executor, Load, Scenario, Stage};

/// One intended start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When, from the beginning of the run.
    pub at: Duration,
    /// Whose connections it uses: a user, or all iterations of a rate.
    pub user: u32,
}

/// The starts of every open scenario, merged.
pub struct Schedule {
    scenarios: Vec<Peekable<Box<dyn Iterator<Item = Arrival> + Send>>>,
}

impl Schedule {
    /// Scenarios of the closed model are not in it.
    pub fn of(load: &Load) -> Self {
        let mut first_user = 0;
        let mut scenarios = Vec::new();
        for scenario in load.scenarios.values().filter(|scenario| !scenario.is_closed()) {
            let users = most(scenario);
            scenarios.push(arrivals(scenario.clone(), first_user).peekable());
            first_user += users;
        }
        Self { scenarios }
    }
}

impl Iterator for Schedule {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        let first = |scenario: &mut Peekable<_>| scenario.peek().map(|arrival: &Arrival| arrival.at);
        let heads = self.scenarios.iter_mut().enumerate().filter_map(|(index, s)| Some((first(s)?, index)));
        let (_, index) = heads.min()?;
        self.scenarios[index].next()
    }
}

/// How many users a scenario has at most; a rate counts as one.
fn most(scenario: &Scenario) -> u32 {
    match scenario.executor {
        Executor::ConstantVus | Executor::RampingVus => {
            scenario.stages.iter().map(|stage| stage.target).chain([scenario.start]).max().unwrap_or_default()
        }
        Executor::ConstantArrivalRate | Executor::RampingArrivalRate => 1,
    }
}

fn arrivals(scenario: Scenario, first_user: u32) -> Box<dyn Iterator<Item = Arrival> + Send> {
    match scenario.executor {
        Executor::ConstantVus | Executor::RampingVus => Box::new(paced(scenario, first_user)),
        Executor::ConstantArrivalRate | Executor::RampingArrivalRate => {
            let (begin, unit) = (scenario.start_time, scenario.time_unit);
            let at = move |seconds: f64| Arrival { at: begin + Duration::from_secs_f64(seconds), user: first_user };
            Box::new(at_rate(scenario.start, scenario.stages, unit).map(at))
        }
    }
}

/// Users or rate at a moment of a scenario, on the straight lines of its stages; nothing after the last one.
pub fn level(start: u32, stages: &[Stage], at: Duration) -> f64 {
    let (mut from, mut begin) = (f64::from(start), Duration::ZERO);
    for stage in stages {
        let to = f64::from(stage.target);
        if at < begin + stage.duration {
            return from + (to - from) * (at - begin).as_secs_f64() / stage.duration.as_secs_f64();
        }
        (from, begin) = (to, begin + stage.duration);
    }
    0.0
}

/// How many users a load has at a moment; scenarios by rate have none.
pub fn users(load: &Load, at: Duration) -> u32 {
    let by_users =
        load.scenarios.values().filter(|s| matches!(s.executor, Executor::ConstantVus | Executor::RampingVus));
    let active = by_users.map(|s| match at.checked_sub(s.start_time) {
        Some(at) => level(s.start, &s.stages, at).round(),
        None => 0.0,
    });
    active.sum::<f64>() as u32
}

fn paced(scenario: Scenario, first_user: u32) -> impl Iterator<Item = Arrival> + Send {
    const GOLDEN: f64 = 0.618_033_988_749_894_9;
    let mut users: Vec<(Duration, u32)> =
        (0..most(&scenario)).map(|user| (scenario.pace.mul_f64((f64::from(user) * GOLDEN).fract()), user)).collect();
    users.sort_unstable();
    let duration = scenario.end() - scenario.start_time;
    let rounds = duration.div_duration_f64(scenario.pace).ceil() as u32;
    (0..rounds).flat_map(move |round| {
        let begin = scenario.pace * round;
        let due = users.iter().map(|(phase, user)| (begin + *phase, *user));
        let due = due.filter(|&(at, user)| f64::from(user) < level(scenario.start, &scenario.stages, at).round());
        let due = due.map(|(at, user)| Arrival { at: scenario.start_time + at, user: first_user + user });
        due.collect::<Vec<_>>()
    })
}

/// The moments at which the integral of the rate is a whole number, in seconds.
fn at_rate(start: u32, stages: Vec<Stage>, unit: Duration) -> impl Iterator<Item = f64> + Send {
    let (mut stage, mut begin, mut from, mut done) = (0, 0.0, f64::from(start) / unit.as_secs_f64(), 0.0_f64);
    let mut number = 0.0_f64;
    std::iter::from_fn(move || {
        loop {
            let Stage { duration, target } = *stages.get(stage)?;
            let (length, to) = (duration.as_secs_f64(), f64::from(target) / unit.as_secs_f64());
            let slope = if length > 0.0 { (to - from) / length } else { 0.0 };
            // need = from·t + slope·t²/2, solved in the form that holds for a flat stage, too.
            let need = number - done;
            let root = from.mul_add(from, 2.0 * slope * need);
            let divisor = from + root.max(0.0).sqrt();
            let t = if need <= 0.0 { 0.0 } else { 2.0 * need / divisor };
            // The last moment belongs to the next stage; rounding must not make one iteration more of a flat one.
            if root >= 0.0 && t < length - 1e-9 {
                number += 1.0;
                return Some(begin + t);
            }
            done += (from + to) / 2.0 * length;
            // A sum of fractions is whole but for its last bits.
            done = (done * 1e6).round() / 1e6;
            begin += length;
            from = to;
            stage += 1;
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Load {
        toml::from_str(text).unwrap()
    }

    fn starts(text: &str) -> Vec<(u64, u32)> {
        Schedule::of(&load(text)).map(|a| (a.at.as_millis() as u64, a.user)).collect()
    }

    #[test]
    fn a_constant_rate_is_even() {
        let found = starts("[scenarios.a]\nexecutor = \"constant-arrival-rate\"\nrate = 4\nduration = \"1s\"");
        assert_eq!(found, [(0, 0), (250, 0), (500, 0), (750, 0)]);
        for (rate, seconds) in [(100, 20), (7, 3), (333, 2), (1, 5)] {
            let text = format!(
                "[scenarios.a]\nexecutor = \"constant-arrival-rate\"\nrate = {rate}\nduration = \"{seconds}s\""
            );
            assert_eq!(starts(&text).len(), rate * seconds, "{rate}/s for {seconds} s");
        }
        let slow = starts(
            "[scenarios.a]\nexecutor = \"constant-arrival-rate\"\nrate = 6\nduration = \"20s\"\ntime_unit = \"1m\"",
        );
        assert_eq!(slow, [(0, 0), (10_000, 0)]);
    }

    #[test]
    fn a_ramp_has_the_integral_of_its_rate() {
        let text = "[scenarios.a]\nexecutor = \"ramping-arrival-rate\"\nstages = [{ duration = \"10s\", target = 20 }, { duration = \"5s\", target = 20 }, { duration = \"10s\", target = 0 }]";
        let found = starts(text);
        assert_eq!(found.len(), 300);
        assert!(found.is_sorted());
        // A quarter of a triangle's surface lies in its first half.
        assert_eq!(found.iter().filter(|(at, _)| *at < 5_000).count(), 25);
        assert_eq!(found.iter().filter(|(at, _)| (10_000..15_000).contains(at)).count(), 100);
    }

    #[test]
    fn a_user_starts_one_iteration_each_pace_and_users_are_spread() {
        let found = starts("[scenarios.a]\nexecutor = \"constant-vus\"\nvus = 50\nduration = \"4s\"");
        assert_eq!(found.len(), 200);
        assert!(found.is_sorted_by_key(|(at, _)| *at));
        let of_one: Vec<u64> = found.iter().filter(|(_, user)| *user == 7).map(|(at, _)| *at).collect();
        assert_eq!(of_one.windows(2).map(|pair| pair[1] - pair[0]).collect::<Vec<_>>(), [1000; 3]);
        let gap = found.windows(2).map(|pair| pair[1].0 - pair[0].0).max().unwrap();
        assert!(gap <= 40, "50 users a second are 20 ms apart, none {gap} ms");
    }

    #[test]
    fn users_come_and_go_along_the_stages() {
        let text = "[scenarios.a]\nexecutor = \"ramping-vus\"\nstages = [{ duration = \"10s\", target = 100 }, { duration = \"10s\", target = 100 }, { duration = \"10s\", target = 0 }]";
        let found = starts(text);
        let within = |from, to| found.iter().filter(|(at, _)| (from..to).contains(at)).count();
        assert_eq!(within(10_000, 20_000), 1000);
        assert!((450..=550).contains(&within(0, 10_000)), "{}", within(0, 10_000));
        assert!((450..=550).contains(&within(20_000, 30_000)));
        for (second, expected) in [(0, 0), (5, 50), (15, 100), (25, 50), (30, 0)] {
            assert_eq!(users(&load(text), Duration::from_secs(second)), expected, "at {second} s");
        }
    }

    #[test]
    fn scenarios_are_merged_and_have_users_of_their_own() {
        let text = "[scenarios.a]\nexecutor = \"constant-vus\"\nvus = 2\nduration = \"2s\"\n[scenarios.b]\nexecutor = \"constant-arrival-rate\"\nrate = 1\nduration = \"1s\"\nstart_time = \"1s\"\n[scenarios.c]\nexecutor = \"constant-vus\"\nvus = 2\nduration = \"2s\"\npace = \"0s\"";
        assert_eq!(starts(text), [(0, 0), (618, 1), (1000, 0), (1000, 2), (1618, 1)]);
    }
}
