//! The load generator beside its peers: how fast, how exact, and what each says of a server that stalls (R27, R29).
//!
//! Server and client have a core each, where the machine lets us; all generators in turns against the same server.

mod exact;
mod generator;
mod part;
mod pin;
mod server;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::measure::{Proof, Subject, tell};
use crate::row::{Aim, Rates, Row, Value, times};
use crate::{Bench, Places};
use generator::{Generator, Reading, Work};
pub use part::{Part, be};
use pin::Core;
use server::{Behaviour, Target};
use xtask::verdict::Work as Done;

/// As fast as they can (R29).
const FAST: Work = Work::Unthrottled { connections: 50, seconds: 5 };

/// Against a server whose answers take a known time.
const EXACT: Work = Work::Unthrottled { connections: 100, seconds: 10 };

/// Against a server that stalls (R27).
const STEADY: u32 = 100;

/// The same for all of them.
const SECONDS: u32 = 20;

/// Enough to say what a stall looks like; each round takes three minutes.
const STALLS: u32 = 3;

/// What can be listed before a server is there.
pub fn subjects(places: &Places) -> Vec<Subject> {
    let folder = places.folder.join("load");
    let commands = Generator::ALL.into_iter().filter_map(|one| {
        let command =
            one.command(&PathBuf::from(one.name().trim_matches('`')), &folder, "http://127.0.0.1:PORT/", FAST)?;
        Some(Subject::new(one.name(), command, Proof::Says("")))
    });
    commands.collect()
}

/// A generator that can be started, or why it cannot.
type Ready = (Generator, Result<PathBuf, String>);

pub async fn rows(bench: &Bench) -> Result<Vec<Row>> {
    let mut ready: Vec<Ready> = Vec::new();
    for generator in Generator::ALL {
        ready.push((generator, generator.program(bench).await.map_err(|why| format!("{why:#}"))));
    }
    let pinned = pin::refused(bench).unwrap_or_else(|| "the server on core 0, the client on core 1".to_owned());
    let mut rows = vec![Row::new("where they run", Value::Said(pinned))];
    rows.extend(fast(bench, &ready).await?);
    rows.extend(exact(bench, &ready).await?);
    rows.extend(stalled(bench, &ready).await?);
    Ok(rows)
}

/// One run of a generator, or why it does not count.
async fn once(
    bench: &Bench,
    (generator, program): &Ready,
    target: &Target,
    work: Work,
) -> Result<Result<Reading, String>> {
    let program = match program {
        Ok(program) => program,
        Err(why) => return Ok(Err(why.clone())),
    };
    let folder = bench.places.folder.join("load");
    std::fs::create_dir_all(&folder).context("cannot make the folder of the load")?;
    let url = target.url();
    generator.prepare(&folder, &url, work)?;
    let Some(command) = generator.command(program, &folder, &url, work) else {
        return Ok(Err("it cannot do that".to_owned()));
    };
    let ended = bench.runner.run(&pin::to(bench, Core::Client, command)).await?;
    if !ended.is_success() {
        return Ok(Err(ended.failure()));
    }
    Ok(match generator.read(&ended.stdout) {
        None => Err("what it printed cannot be read".to_owned()),
        Some(reading) if reading.failed > 0 => Err(format!("{} of its requests failed", reading.failed)),
        Some(reading) => Ok(reading),
    })
}

/// Requests a second against nginx.
async fn fast(bench: &Bench, ready: &[Ready]) -> Result<Vec<Row>> {
    let named = |name: &str| format!("{name}, as fast as it can, 50 connections");
    let target = match server::nginx(bench).await {
        Ok(target) => target,
        Err(why) => return Ok(vec![Row::new(named(Generator::Ours.name()), Value::DidNotRun(format!("{why:#}")))]),
    };
    let mut readings: Vec<Result<Vec<Reading>, String>> = ready.iter().map(|_| Ok(Vec::new())).collect();
    for round in 0..=bench.runs {
        for (one, readings) in ready.iter().zip(&mut readings) {
            let Ok(kept) = readings else { continue };
            tell(bench, round, &named(one.0.name()));
            match once(bench, one, &target, FAST).await? {
                Ok(reading) if round > 0 => kept.push(reading),
                Ok(_not_counted) => {}
                Err(why) => *readings = Err(why),
            }
        }
    }
    let median = |wanted: Generator| {
        let (_, readings) = ready.iter().zip(&readings).find(|((generator, _), _)| *generator == wanted)?;
        exact::median(&readings.as_ref().ok()?.iter().map(|reading| reading.rate).collect::<Vec<_>>())
    };
    let mut rows = Vec::new();
    for ((generator, _), readings) in ready.iter().zip(&readings) {
        let row = match readings {
            Err(why) => Row::new(named(generator.name()), Value::DidNotRun(bench.places.shown(why))),
            Ok(readings) => {
                let done = readings.iter().map(|reading| reading.requests).sum();
                Row { work: Some(Done::new(done, "requests")), ..Row::new(named(generator.name()), rates(readings)) }
            }
        };
        rows.push(if *generator == Generator::Ours { row } else { beside(row, &named(Generator::Ours.name())) });
    }
    for (peer, least) in [(Generator::Oha, 1.0), (Generator::K6, 3.0)] {
        let ratio = median(Generator::Ours).zip(median(peer)).map(|(ours, theirs)| ours / theirs);
        let value = ratio.map_or(Value::DidNotRun("one of them did not run".to_owned()), Value::Ratio);
        rows.push(Row::new(format!("requests a second, ours ÷ {}", peer.name()), value).aim(Aim::AtLeast(least)));
    }
    Ok(rows)
}

fn rates(readings: &[Reading]) -> Value {
    let rates: Vec<f64> = readings.iter().map(|reading| reading.rate).collect();
    let bound = |better: fn(f64, f64) -> f64| rates.iter().copied().reduce(better).unwrap_or_default();
    match exact::median(&rates) {
        Some(median) => Value::Rates(Rates { median, min: bound(f64::min), max: bound(f64::max), runs: rates.len() }),
        None => Value::DidNotRun("no sample".to_owned()),
    }
}

fn beside(row: Row, ours: &str) -> Row {
    Row { beside: Some(ours.to_owned()), ..row }
}

/// The largest error of p50, p90 and p99, against the times that the server itself took for each request.
async fn exact(bench: &Bench, ready: &[Ready]) -> Result<Vec<Row>> {
    let ours = named_error(Generator::Ours.name());
    let mut errors: Vec<Result<Vec<f64>, String>> = ready.iter().map(|_| Ok(Vec::new())).collect();
    let mut requests = vec![0; ready.len()];
    for round in 1..=bench.runs {
        for (index, one) in ready.iter().enumerate() {
            let Ok(kept) = &mut errors[index] else { continue };
            tell(bench, round, &named_error(one.0.name()));
            // A new one each time: its list is of this run alone.
            let target = server::ours(bench, Behaviour::Known).await?;
            match once(bench, one, &target, EXACT).await? {
                Ok(reading) => {
                    requests[index] += reading.requests;
                    let times = target.times().await?;
                    match exact::error(&times, &reading.times()) {
                        Some(error) => kept.push(error),
                        None => errors[index] = Err("it does not tell these percentiles".to_owned()),
                    }
                }
                Err(why) => errors[index] = Err(why),
            }
        }
    }
    let row = |((generator, _), (errors, requests)): (&Ready, (&Result<Vec<f64>, String>, &u64))| {
        let value = match errors {
            Err(why) => Value::DidNotRun(bench.places.shown(why)),
            Ok(errors) => exact::median(errors).map_or(Value::DidNotRun("no sample".to_owned()), Value::Percent),
        };
        let row =
            Row { work: Some(Done::new(*requests, "requests")), ..Row::new(named_error(generator.name()), value) };
        if *generator == Generator::Ours { row.aim(Aim::AtMost(1.0)) } else { beside(row, &ours) }
    };
    Ok(ready.iter().zip(errors.iter().zip(&requests)).map(row).collect())
}

fn named_error(name: &str) -> String {
    format!("{name}, largest error of p50, p90 and p99 in percent")
}

/// What is asked of whom at a server that stalls.
struct Case {
    generator: Generator,
    how: &'static str,
    work: Work,
}

fn cases() -> Vec<Case> {
    let rate = |connections, corrected| Work::Rate { rate: STEADY, seconds: SECONDS, connections, corrected };
    let case = |generator, how, work| Case { generator, how, work };
    vec![
        case(Generator::Ours, "100 a second", rate(50, false)),
        case(
            Generator::Wrk,
            "10 connections, it knows no rate",
            Work::Unthrottled { connections: 10, seconds: SECONDS },
        ),
        case(Generator::Oha, "100 a second, 10 connections", rate(10, false)),
        case(Generator::Oha, "the same with --latency-correction", rate(10, true)),
        case(Generator::Hey, "100 a second, 10 connections", rate(10, false)),
        case(Generator::K6, "100 a second, up to 50 users", rate(50, false)),
        case(Generator::K6, "100 a second, up to 300 users", rate(300, false)),
    ]
}

/// p95 of 20 seconds of which the server slept two: a tenth of all requests wait up to 2 s, so that it is 1.0 s.
async fn stalled(bench: &Bench, ready: &[Ready]) -> Result<Vec<Row>> {
    let cases = cases();
    let named =
        |case: &Case| format!("{}, p95 over a stall of 2 s in {SECONDS} s, {}", case.generator.name(), case.how);
    let mut seen: Vec<Result<Vec<Reading>, String>> = cases.iter().map(|_| Ok(Vec::new())).collect();
    for round in 1..=bench.runs.min(STALLS) {
        for (case, readings) in cases.iter().zip(&mut seen) {
            let Ok(kept) = readings else { continue };
            let Some(one) = ready.iter().find(|(generator, _)| *generator == case.generator) else { continue };
            tell(bench, round, &named(case));
            let target = server::ours(bench, Behaviour::Stall).await?;
            match once(bench, one, &target, case.work).await? {
                Ok(reading) => kept.push(reading),
                Err(why) => *readings = Err(why),
            }
        }
    }
    let ours = cases.first().map(&named).unwrap_or_default();
    let row = |(case, seen): (&Case, &Result<Vec<Reading>, String>)| {
        let (value, done, dropped) = match seen {
            Err(why) => (Value::DidNotRun(bench.places.shown(why)), 0, 0),
            Ok(readings) => {
                let p95: Vec<Duration> = readings.iter().filter_map(|reading| reading.percentile(95.0)).collect();
                let sum = |of: fn(&Reading) -> u64| readings.iter().map(of).sum::<u64>();
                (times(&p95), sum(|reading| reading.requests), sum(|reading| reading.dropped))
            }
        };
        let lost = if dropped > 0 { format!(", {dropped} never sent") } else { String::new() };
        let row = Row { work: Some(Done::new(done, "requests")), ..Row::new(named(case) + &lost, value) };
        if case.generator == Generator::Ours { row.aim(Aim::Between(950, 1050)) } else { beside(row, &ours) }
    };
    Ok(cases.iter().zip(&seen).map(row).collect())
}
