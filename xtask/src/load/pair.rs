//! The same requests to two places at the same time, one thread for both: what differs is then the places' and not the
//! hour's or the generator's. Whether the difference is more than chance is somebody else's question.
//!
//! Arrivals come in pairs. The route of both is the same, and a coin says which place gets the first of them: whoever
//! is always first would always find the warmer cache behind the two. It is an open model, like any load here.

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::task::LocalSet;
use tokio::time::MissedTickBehavior;
use xtask_load::exchange::Exchange;

use super::mix::{Mix, Random};
use super::recorder::Sample;
use super::schedule::Schedule;
use super::summary::{self, Fault, Generator, Summary};
use super::target::Route;
use super::users::Book;
use super::wire::Place;
use super::{Stop, cpu, fitness, pacer};
use crate::config::Load;

/// What is to be done.
pub struct Pair {
    /// When requests are due, for both places together.
    pub load: Load,
    /// Where they go, each with its routes: the same ones, in the order of the names.
    pub places: [(Place, Vec<Route>); 2],
    /// How often each route is asked, by name.
    pub mix: std::collections::BTreeMap<String, u32>,
    /// For the order of requests, and for the coin.
    pub seed: u64,
}

/// What was measured.
#[derive(Debug, Default)]
pub struct Paired {
    /// Of the part after the warm-up, by place, in the order in which they were due.
    pub samples: [Vec<Sample>; 2],
    /// Requests that were given up at the end of the graceful stop, by place.
    pub interrupted: [u64; 2],
    /// What went wrong, by place, the most frequent first.
    pub faults: [Vec<Fault>; 2],
    /// Why nothing follows from it: the generator was not fit to measure (R28), or was interrupted.
    pub unfit: Option<String>,
}

/// Connections of a place that are used in turns: behind a place are instances, and a connection stays with one of them.
const CONNECTIONS: u64 = 20;

/// Runs a pair on threads of its own.
pub async fn run(pair: Pair, stop: &Stop) -> Result<Paired> {
    super::on_thread(stop, move |stop| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("cannot start the runtime of the load generator")?;
        let local = LocalSet::new();
        let found = runtime.block_on(local.run_until(drive(pair, stop)));
        // What is still open is given up.
        drop(local);
        runtime.shutdown_background();
        found
    })
    .await
}

/// One of the two.
struct Side {
    book: Rc<Book>,
    exchange: Rc<Exchange>,
    names: Vec<String>,
}

impl Side {
    fn new(pair: &Pair, (place, routes): &(Place, Vec<Route>), origin: Instant) -> Self {
        let mut book = Book::new(routes.clone(), Mix::new(&pair.mix, pair.seed), pair.load.warm_up);
        book.kept = Some(Default::default());
        let book = Rc::new(book);
        let exchange = Rc::new(Exchange::new(origin, book.questions(), place.clone(), book.clone()));
        Self { book, exchange, names: routes.iter().map(|route| route.name.clone()).collect() }
    }
}

async fn drive(pair: Pair, stop: &Stop) -> Result<Paired> {
    let origin = Instant::now();
    let sides = [Side::new(&pair, &pair.places[0], origin), Side::new(&pair, &pair.places[1], origin)];
    let open = || sides.iter().map(|side| side.exchange.count_open()).sum::<u64>();
    let (mut due, paced) = pacer::start(Schedule::of(&pair.load), origin, stop)?;
    let (mut meter, mut shares) = (cpu::Meter::start(), Vec::new());
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + SECOND, SECOND);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut coin = Random(pair.seed ^ COIN);
    let (mut number, mut first, mut dropped, mut most_open) = (0_u64, 0, 0, 0);
    let end = tokio::time::Instant::from_std(origin + pair.load.end() + pair.load.graceful_stop);
    let mut is_scheduled = true;
    while !stop.is_asked() && (is_scheduled || open() > 0) {
        tokio::select! {
            arrival = due.recv(), if is_scheduled => match arrival {
                None => is_scheduled = false,
                Some(_) if open() >= u64::from(pair.load.max_vus) => dropped += 1,
                Some(arrival) => {
                    if number % 2 == 0 {
                        first = coin.below(2);
                    }
                    let side = &sides[if number % 2 == 0 { first } else { 1 - first }];
                    side.exchange.begin((number / 2 % CONNECTIONS) as u32, arrival.at);
                    number += 1;
                    // Begins at once, so that the next arrival sees it as open, and routes keep their order.
                    tokio::task::yield_now().await;
                    most_open = most_open.max(open());
                }
            },
            _ = ticks.tick() => shares.push(meter.tick()),
            () = sides[0].exchange.idle.notified() => {}
            () = sides[1].exchange.idle.notified() => {}
            () = tokio::time::sleep_until(end) => break,
        }
    }
    shares.push(meter.tick());
    let generator =
        Generator { cpu: meter.whole(), cpu_peak: fitness::busiest(&shares), most_open, ..Generator::default() };
    let (scheduled, late) = (paced.scheduled.load(Ordering::Relaxed), paced.dropped.load(Ordering::Relaxed));
    let schedule =
        summary::Schedule { scheduled, started: number, dropped: dropped + late, ..summary::Schedule::default() };
    let mut paired = summed(&pair, &sides, schedule, generator);
    if stop.is_asked() {
        paired.unfit = Some("it was interrupted".to_owned());
    }
    Ok(paired)
}

const SECOND: Duration = Duration::from_secs(1);

/// The coin and the order of requests come from one seed, and are not the same numbers.
const COIN: u64 = 0xC015;

fn summed(pair: &Pair, sides: &[Side; 2], schedule: summary::Schedule, generator: Generator) -> Paired {
    let mut paired = Paired::default();
    for (index, side) in sides.iter().enumerate() {
        let kept = side.book.kept.as_ref().map(std::cell::RefCell::take).unwrap_or_default();
        let mut kept: Vec<Sample> = kept.into_iter().filter(|sample| sample.intended >= pair.load.warm_up).collect();
        kept.sort_by_key(|sample| sample.intended);
        paired.samples[index] = kept;
        paired.interrupted[index] = side.exchange.open().iter().sum();
        let name = |route: usize| side.names.get(route).cloned().unwrap_or_default();
        paired.faults[index] = side.book.recorder.borrow().faults(name);
    }
    let requests = paired.samples.iter().map(|samples| samples.len() as u64).sum::<u64>();
    let requests = requests + paired.interrupted.iter().sum::<u64>();
    let summary = Summary { model: "open".to_owned(), requests, schedule, generator, ..Summary::default() };
    paired.unfit = fitness::unfit(&summary);
    paired
}
