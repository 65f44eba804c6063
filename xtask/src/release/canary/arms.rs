//! Asks a canary and its baseline the same at the same time, and makes two arms of it. Only what the mix names is sent;
//! what the mix names is the environment's file's to say.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;

use super::analysis::{Arm, Judgement};
use crate::config::{Canary, Executor, Load, Request, Scenario, Stage};
use crate::load::Stop;
use crate::load::pair::{self, Pair, Paired};
use crate::load::recorder::{Ending, Sample};
use crate::load::summary::Fault;
use crate::load::target::{Route, Target};
use crate::load::wire::Place;

/// What both were measured to do.
#[derive(Debug)]
pub struct Arms {
    /// The new version.
    pub canary: Arm,
    /// The old one, as fresh and as large.
    pub baseline: Arm,
    /// What went wrong with the canary, the most frequent first.
    pub faults: Vec<Fault>,
}

/// Whom is asked what.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The address of the canary's Service.
    pub canary: &'a str,
    /// That of the baseline's.
    pub baseline: &'a str,
    /// Names of requests with their weights.
    pub mix: &'a BTreeMap<String, u32>,
    /// All requests, by name.
    pub requests: &'a BTreeMap<String, Request>,
    /// How much is asked.
    pub settings: &'a Canary,
    /// For the order; another one at each step.
    pub seed: u64,
}

/// Measures both for the duration that the settings say, and for as long as the slowest answer may take after it. In
/// place of two arms there is [`Judgement::NoVerdict`] where nothing can be said; `Err` is a defect of the generator.
pub async fn measure(question: &Question<'_>, stop: &Stop) -> Result<Result<Arms, Judgement>> {
    let places = match (side(question, question.canary).await, side(question, question.baseline).await) {
        (Ok(canary), Ok(baseline)) => [canary, baseline],
        (Err(reason), _) | (_, Err(reason)) => return Ok(Err(Judgement::NoVerdict { reason })),
    };
    let load = load(question.settings, &places[0].1);
    let found = pair::run(Pair { load, places, mix: question.mix.clone(), seed: question.seed }, stop).await?;
    Ok(match found.unfit.clone() {
        Some(reason) => Err(Judgement::NoVerdict { reason }),
        None => Ok(arms(found)),
    })
}

async fn side(question: &Question<'_>, url: &str) -> Result<(Place, Vec<Route>), String> {
    let target = Target::parse(url)?;
    let routes = target.routes(question.mix, question.requests)?;
    if question.mix.values().all(|weight| *weight == 0) {
        return Err("the environment lists no request that may be sent".to_owned());
    }
    Ok((Place::find(&target.host, target.port, target.is_tls).await?, routes))
}

/// One constant rate for both. A side that hangs holds as many requests as fall into their timeout, and no more; room is
/// left for them, for otherwise they would count as the generator's fault.
fn load(settings: &Canary, routes: &[Route]) -> Load {
    let both = settings.rate.saturating_mul(2);
    let longest = routes.iter().map(|route| route.request.timeout).max().unwrap_or_default();
    let scenario = Scenario {
        executor: Executor::ConstantArrivalRate,
        start_time: Duration::ZERO,
        start: both,
        stages: vec![Stage { duration: settings.duration, target: both }],
        pace: Duration::ZERO,
        time_unit: Duration::from_secs(1),
    };
    Load {
        scenarios: BTreeMap::from([("canary".to_owned(), scenario)]),
        warm_up: settings.warm_up,
        graceful_stop: longest + Duration::from_secs(1),
        max_vus: ((f64::from(both) * longest.as_secs_f64() * 1.2) as u32).saturating_add(100).min(MOST_OPEN),
    }
}

/// Memory and connections are bounded whatever the file says.
const MOST_OPEN: u32 = 10_000;

fn arms(found: Paired) -> Arms {
    let [canary, baseline] = [0, 1].map(|side| arm(&found.samples[side], found.interrupted[side]));
    let [faults, _] = found.faults;
    Arms { canary, baseline, faults }
}

/// What was answered as expected has a latency; so has what was given up, for it has waited at least as long.
fn arm(samples: &[Sample], interrupted: u64) -> Arm {
    let has_failed = |sample: &Sample| sample.checks.iter().any(|(_, fault)| fault.is_some());
    let has_latency = |sample: &&Sample| !has_failed(sample) || sample.ending == Ending::Late;
    let latency = |sample: &Sample| sample.ended.saturating_sub(sample.intended).as_secs_f64() * 1000.0;
    Arm {
        latencies: samples.iter().filter(has_latency).map(latency).collect(),
        requests: samples.len() as u64 + interrupted,
        errors: samples.iter().filter(|sample| has_failed(sample)).count() as u64 + interrupted,
    }
}
