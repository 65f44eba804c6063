//! The generator's thread: takes what is due, sends it, ticks once a second, and sums up. One thread, one core.

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::task::LocalSet;
use tokio::time::MissedTickBehavior;

use super::mix::Mix;
use super::pacer::{self, Paced};
use super::schedule::{self, Schedule};
use super::summary::{Checks, Generator, Llm, Route, SCHEMA, Second, Summary};
use super::users::{Shared, iterate};
use super::wire::Place;
use super::{Measured, Plan, Stop, cpu, fitness, judge};
use crate::config::{Aggregation, Metric, Scenario};

/// Runs a plan to its end on this thread.
pub fn run(plan: &Plan, on_second: &dyn Fn(&Second), stop: &Stop) -> Result<Measured> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the runtime of the load generator")?;
    let local = LocalSet::new();
    let measured = runtime.block_on(local.run_until(drive(plan, on_second, stop)));
    // What is still open is given up.
    drop(local);
    runtime.shutdown_background();
    measured
}

/// What the engine itself counts.
struct Counts {
    started: u64,
    dropped: u64,
    most_open: u64,
    series: Vec<Second>,
    cpu: Meter,
    dropped_before: u64,
}

/// Shares of a core, from tick to tick.
struct Meter {
    begun: (Instant, Duration),
    last: (Instant, Duration),
}

impl Meter {
    fn start() -> Self {
        let now = (Instant::now(), cpu::of_this_thread());
        Self { begun: now, last: now }
    }

    fn share(since: (Instant, Duration), now: (Instant, Duration)) -> f64 {
        let (wall, spent) = (now.0.duration_since(since.0), now.1.saturating_sub(since.1));
        if wall.is_zero() { 0.0 } else { spent.div_duration_f64(wall) }
    }

    /// The share since the last tick; of a stretch too short to tell anything, that of the whole run.
    fn tick(&mut self) -> f64 {
        let now = (Instant::now(), cpu::of_this_thread());
        let since = std::mem::replace(&mut self.last, now);
        let is_short = now.0.duration_since(since.0) < SECOND / 2;
        Self::share(if is_short { self.begun } else { since }, now)
    }

    fn whole(&self) -> f64 {
        Self::share(self.begun, (Instant::now(), cpu::of_this_thread()))
    }
}

async fn drive(plan: &Plan, on_second: &dyn Fn(&Second), stop: &Stop) -> Result<Measured> {
    let place = Place::find(&plan.target).await.map_err(anyhow::Error::msg)?;
    let mix = Mix::new(&plan.mix, plan.seed);
    let origin = Instant::now();
    let shared = Rc::new(Shared::new(origin, plan.routes.clone(), place, mix, plan.load.warm_up));
    let (mut due, paced) = pacer::start(Schedule::of(&plan.load), origin, stop)?;
    let closed = Rc::new(std::cell::Cell::new(0));
    let mut users = tokio::task::JoinSet::new();
    for scenario in plan.load.scenarios.values().filter(|scenario| scenario.is_closed()) {
        let most = scenario.stages.iter().map(|stage| stage.target).chain([scenario.start]).max().unwrap_or_default();
        for user in 0..most {
            users.spawn_local(in_turn(shared.clone(), scenario.clone(), user, stop.clone(), closed.clone()));
        }
    }
    let (cpu, series) = (Meter::start(), Vec::new());
    let mut counts = Counts { started: 0, dropped: 0, most_open: 0, series, cpu, dropped_before: 0 };
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + SECOND, SECOND);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut is_scheduled, mut deadline) = (true, None);
    while !stop.is_asked() {
        let is_over = !is_scheduled && users.is_empty();
        if is_over && shared.count_open() == 0 {
            break;
        }
        let end = *deadline
            .get_or_insert_with(|| tokio::time::Instant::from_std(origin + plan.load.end() + plan.load.graceful_stop));
        tokio::select! {
            arrival = due.recv(), if is_scheduled => match arrival {
                None => is_scheduled = false,
                Some(_) if shared.count_open() >= u64::from(plan.load.max_vus) => counts.dropped += 1,
                Some(arrival) => {
                    counts.started += 1;
                    counts.most_open = counts.most_open.max(shared.count_open() + 1);
                    tokio::task::spawn_local(iterate(shared.clone(), arrival.user, arrival.at));
                    // Begins at once, so that the next arrival sees it as open.
                    tokio::task::yield_now().await;
                }
            },
            _ = users.join_next(), if !users.is_empty() => {}
            _ = ticks.tick() => second(plan, &shared, &paced, &mut counts, on_second),
            () = shared.idle.notified() => {}
            () = tokio::time::sleep_until(end) => break,
        }
    }
    // The last one is seldom whole.
    second(plan, &shared, &paced, &mut counts, on_second);
    counts.started += closed.get();
    Ok(sum_up(plan, &shared, &paced, counts))
}

const SECOND: Duration = Duration::from_secs(1);

/// A user of the closed model: the next iteration begins when the last one has ended.
async fn in_turn(shared: Rc<Shared>, scenario: Scenario, user: u32, stop: Stop, started: Rc<std::cell::Cell<u64>>) {
    // Beside the users of the open model, which are numbered from 0.
    let connections = u32::MAX - user;
    while !stop.is_asked() {
        let now = shared.origin.elapsed();
        if now >= scenario.end() {
            return;
        }
        let active =
            now.checked_sub(scenario.start_time).map(|at| schedule::level(scenario.start, &scenario.stages, at));
        if active.is_some_and(|active| f64::from(user) < active.round()) {
            started.set(started.get() + 1);
            iterate(shared.clone(), connections, now).await;
        } else {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn second(plan: &Plan, shared: &Shared, paced: &Paced, counts: &mut Counts, on_second: &dyn Fn(&Second)) {
    // A tick comes a little late, the end of the run at any time.
    let at = (shared.origin.elapsed().as_secs_f64() - 0.1).ceil().max(1.0) as u64;
    let dropped = counts.dropped + paced.dropped.load(Ordering::Relaxed);
    let second = Second {
        users: schedule::users(&plan.load, SECOND * u32::try_from(at.saturating_sub(1)).unwrap_or(u32::MAX)),
        open: shared.count_open(),
        dropped: dropped - counts.dropped_before,
        cpu: counts.cpu.tick(),
        ..shared.recorder.borrow_mut().second(at)
    };
    counts.dropped_before = dropped;
    on_second(&second);
    // A run of a day is 86,400 of these.
    counts.series.push(second);
}

fn sum_up(plan: &Plan, shared: &Shared, paced: &Paced, counts: Counts) -> Measured {
    let mut recorder = shared.recorder.borrow_mut();
    let open = shared.open.borrow().clone();
    open.iter().enumerate().for_each(|(route, count)| recorder.interrupt(route, *count));
    let recorder = &*recorder;
    let scenarios = &plan.load.scenarios;
    let is_closed = scenarios.values().any(Scenario::is_closed);
    let dropped = counts.dropped + paced.dropped.load(Ordering::Relaxed);
    let due = paced.scheduled.load(Ordering::Relaxed);
    let scheduled = if is_closed { due + counts.started.saturating_sub(due.saturating_sub(dropped)) } else { due };
    let ended = recorder.last.max(plan.load.end());
    let measured = ended.saturating_sub(plan.load.warm_up).as_secs_f64();
    let (requests, failed) = recorder.routes.iter().fold((0, 0), |(r, f), s| (r + s.requests, f + s.failed));
    let checks = recorder.routes.iter().fold(Checks::default(), |all, stats| Checks {
        passed: all.passed + stats.checks.passed,
        failed: all.failed + stats.checks.failed,
    });
    let duration = recorder.merged(false, |stats| Some(&stats.duration));
    let value = |metric: &Metric, aggregation: Aggregation| {
        let route = metric.route.as_ref().map(|name| plan.routes.iter().position(|route| route.name == *name));
        match (metric.name, aggregation) {
            ("dropped_iterations", Aggregation::Count) => (scheduled > 0).then_some(dropped as f64),
            ("dropped_iterations", _) => (scheduled > 0 && measured > 0.0).then(|| dropped as f64 / measured),
            _ => match route {
                Some(None) => None,
                route => recorder.value(metric, route.flatten(), aggregation, measured),
            },
        }
    };
    let cpu: Vec<f64> = counts.series.iter().map(|second| second.cpu).collect();
    let summary = Summary {
        schema: SCHEMA.to_owned(),
        engine: "builtin".to_owned(),
        load: plan.name.clone(),
        target: plan.target.url.clone(),
        model: if is_closed { "closed" } else { "open" }.to_owned(),
        measured_ms: measured * 1000.0,
        requests,
        rate: if measured > 0.0 { requests as f64 / measured } else { 0.0 },
        failed,
        failed_rate: if requests > 0 { failed as f64 / requests as f64 } else { 0.0 },
        checks,
        schedule: super::summary::Schedule {
            scheduled,
            started: counts.started,
            dropped,
            interrupted: open.iter().sum(),
            warm_up: recorder.in_warm_up,
        },
        generator: Generator {
            cpu: counts.cpu.whole(),
            cpu_peak: if cpu.is_empty() { counts.cpu.whole() } else { fitness::busiest(&cpu) },
            lag: recorder.lag.trend(),
            resent: shared.resent.get(),
            most_open: counts.most_open,
        },
        duration: duration.trend(),
        service_time: recorder.merged(false, |stats| Some(&stats.service)).trend(),
        llm: llm(recorder),
        percentiles: duration.points(),
        routes: plan.routes.iter().zip(&recorder.routes).map(route).collect(),
        series: counts.series,
        faults: recorder.faults(|route| plan.routes.get(route).map(|route| route.name.clone()).unwrap_or_default()),
        thresholds: judge::judge(&plan.thresholds, value),
    };
    Measured { summary, blocks: recorder.blocks.clone() }
}

fn route((planned, stats): (&super::target::Route, &super::recorder::Stats)) -> Route {
    Route {
        name: planned.name.clone(),
        send: planned.request.send.clone(),
        requests: stats.requests,
        failed: stats.failed,
        checks: stats.checks,
        duration: stats.duration.trend(),
        service_time: stats.service.trend(),
        llm: stats.llm.as_ref().map(|llm| llm.summary(&stats.duration)),
    }
}

/// All routes that ask a language model together; `None` without any.
fn llm(recorder: &super::recorder::Recorder) -> Option<Llm> {
    let mut all = super::recorder::LlmStats::default();
    let mut routes = recorder.routes.iter().filter_map(|stats| stats.llm.as_ref()).peekable();
    routes.peek()?;
    routes.for_each(|llm| all.add(llm));
    Some(all.summary(&recorder.merged(true, |stats| Some(&stats.duration))))
}
