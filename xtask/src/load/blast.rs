//! As fast as it goes: for the benchmark beside other generators, and for nothing else. Closed model, no verdict.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;

use super::target::Target;
use super::{Measured, Plan, Stop};
use crate::config::{Executor, Load, Scenario, Stage, Thresholds};

/// `GET path` over so many connections, each asking again at once, through the same code as any run.
pub async fn blast(url: &str, path: &str, connections: u32, duration: Duration) -> Result<Measured> {
    let target = Target::parse(url).map_err(anyhow::Error::msg)?;
    let request = toml::from_str(&format!("send = \"GET {path}\""))?;
    let mix = BTreeMap::from([("blast".to_owned(), 1)]);
    let routes = target.routes(&mix, &BTreeMap::from([("blast".to_owned(), request)])).map_err(anyhow::Error::msg)?;
    let scenario = Scenario {
        executor: Executor::ConstantVus,
        start_time: Duration::ZERO,
        start: connections,
        stages: vec![Stage { duration, target: connections }],
        pace: Duration::ZERO,
        time_unit: Duration::from_secs(1),
    };
    let load = Load {
        scenarios: BTreeMap::from([("blast".to_owned(), scenario)]),
        warm_up: Duration::ZERO,
        graceful_stop: Duration::from_secs(5),
        max_vus: connections,
    };
    let thresholds = Thresholds(vec![]);
    let plan = Plan { name: "blast".to_owned(), load, target, routes, mix, thresholds, seed: 1 };
    super::run(plan, |_| {}, &Stop::default()).await
}
