//! The generator's thread: takes what is due, sends it, ticks once a second, and sums up. One thread, one core.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::task::LocalSet;
use tokio::time::MissedTickBehavior;
use xtask_load::exchange::{Exchange, Turn};

use super::mix::Mix;
use super::pacer::{self, Paced};
use super::schedule::{self, Schedule};
use super::sum::{Run, sum_up};
use super::summary::Second;
use super::users::Book;
use super::wire::Place;
use super::{Measured, Plan, Stop, cpu, fitness};
use crate::config::Scenario;

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
    cpu: cpu::Meter,
    dropped_before: u64,
}

async fn drive(plan: &Plan, on_second: &dyn Fn(&Second), stop: &Stop) -> Result<Measured> {
    let place =
        Place::find(&plan.target.host, plan.target.port, plan.target.is_tls).await.map_err(anyhow::Error::msg)?;
    let mix = Mix::new(&plan.mix, plan.seed);
    let origin = Instant::now();
    let book = Rc::new(Book::new(plan.routes.clone(), mix, plan.load.warm_up));
    let exchange = Rc::new(Exchange::new(origin, book.questions(), place, book.clone()));
    let work = Work { book, exchange };
    let (mut due, paced) = pacer::start(Schedule::of(&plan.load), origin, stop)?;
    let closed = Rc::new(Cell::new(0));
    let mut users = tokio::task::JoinSet::new();
    for scenario in plan.load.scenarios.values().filter(|scenario| scenario.is_closed()) {
        let most = scenario.stages.iter().map(|stage| stage.target).chain([scenario.start]).max().unwrap_or_default();
        for user in 0..most {
            let turn = turn(scenario.clone(), user, stop.clone(), closed.clone());
            // Beside the users of the open model, which are numbered from 0.
            work.exchange.in_turn(&mut users, u32::MAX - user, turn);
        }
    }
    let (cpu, series) = (cpu::Meter::start(), Vec::new());
    let mut counts = Counts { started: 0, dropped: 0, most_open: 0, series, cpu, dropped_before: 0 };
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + SECOND, SECOND);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut is_scheduled, mut deadline) = (true, None);
    while !stop.is_asked() {
        let is_over = !is_scheduled && users.is_empty();
        if is_over && work.exchange.count_open() == 0 {
            break;
        }
        let end = *deadline
            .get_or_insert_with(|| tokio::time::Instant::from_std(origin + plan.load.end() + plan.load.graceful_stop));
        tokio::select! {
            arrival = due.recv(), if is_scheduled => match arrival {
                None => is_scheduled = false,
                Some(_) if work.exchange.count_open() >= u64::from(plan.load.max_vus) => counts.dropped += 1,
                Some(arrival) => {
                    counts.started += 1;
                    counts.most_open = counts.most_open.max(work.exchange.count_open() + 1);
                    work.exchange.begin(arrival.user, arrival.at);
                    // Begins at once, so that the next arrival sees it as open.
                    tokio::task::yield_now().await;
                }
            },
            _ = users.join_next(), if !users.is_empty() => {}
            _ = ticks.tick() => second(plan, &work, &paced, &mut counts, on_second),
            () = work.exchange.idle.notified() => {}
            () = tokio::time::sleep_until(end) => break,
        }
    }
    // The last one is seldom whole.
    second(plan, &work, &paced, &mut counts, on_second);
    counts.started += closed.get();
    Ok(summed(plan, &work, &paced, counts))
}

const SECOND: Duration = Duration::from_secs(1);

/// Lets a user of the closed model go on while its scenario has as many users as that.
fn turn(scenario: Scenario, user: u32, stop: Stop, started: Rc<Cell<u64>>) -> Box<dyn Fn(Duration) -> Turn> {
    Box::new(move |now| {
        if stop.is_asked() || now >= scenario.end() {
            return Turn::Over;
        }
        let active =
            now.checked_sub(scenario.start_time).map(|at| schedule::level(scenario.start, &scenario.stages, at));
        if active.is_none_or(|active| f64::from(user) >= active.round()) {
            return Turn::Wait(Duration::from_millis(50));
        }
        started.set(started.get() + 1);
        Turn::Now
    })
}

/// What all of the thread's work is done with.
struct Work {
    book: Rc<Book>,
    exchange: Rc<Exchange>,
}

fn second(plan: &Plan, work: &Work, paced: &Paced, counts: &mut Counts, on_second: &dyn Fn(&Second)) {
    // A tick comes a little late, the end of the run at any time.
    let at = (work.exchange.origin.elapsed().as_secs_f64() - 0.1).ceil().max(1.0) as u64;
    let dropped = counts.dropped + paced.dropped.load(Ordering::Relaxed);
    let second = Second {
        users: schedule::users(&plan.load, SECOND * u32::try_from(at.saturating_sub(1)).unwrap_or(u32::MAX)),
        open: work.exchange.count_open(),
        dropped: dropped - counts.dropped_before,
        cpu: counts.cpu.tick(),
        ..work.book.recorder.borrow_mut().second(at)
    };
    counts.dropped_before = dropped;
    on_second(&second);
    // A run of a day is 86,400 of these.
    counts.series.push(second);
}

/// What was open when the graceful stop ended is counted, and everything goes to [`sum_up`].
fn summed(plan: &Plan, work: &Work, paced: &Paced, counts: Counts) -> Measured {
    let mut recorder = work.book.recorder.borrow_mut();
    let open = work.exchange.open();
    open.iter().enumerate().for_each(|(route, count)| recorder.interrupt(route, *count));
    let is_closed = plan.load.scenarios.values().any(Scenario::is_closed);
    let dropped = counts.dropped + paced.dropped.load(Ordering::Relaxed);
    let due = paced.scheduled.load(Ordering::Relaxed);
    let scheduled = if is_closed { due + counts.started.saturating_sub(due.saturating_sub(dropped)) } else { due };
    let shares: Vec<f64> = counts.series.iter().map(|second| second.cpu).collect();
    let cpu = counts.cpu.whole();
    let run = Run {
        engine: "builtin",
        is_closed,
        scheduled,
        started: counts.started,
        dropped,
        interrupted: open.iter().sum(),
        most_open: counts.most_open,
        resent: work.exchange.resent(),
        cpu,
        cpu_peak: if shares.is_empty() { cpu } else { fitness::busiest(&shares) },
        series: counts.series,
    };
    sum_up(plan, &recorder, run)
}
