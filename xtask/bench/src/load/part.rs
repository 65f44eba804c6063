//! What this program is when it is started as one of the processes that are measured.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use super::generator::Reading;
use super::server::{self, Behaviour};
use xtask::config::Thresholds;
use xtask::load::blast::blast;
use xtask::load::summary::{Summary, Trend};
use xtask::load::target::Target;
use xtask::load::{self, Plan, Stop};
use xtask::report::print;

/// Which process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// A server of ours: BEHAVIOUR FILE
    Serve,
    /// Our generator, as fast as it can: URL CONNECTIONS SECONDS
    Unthrottled,
    /// Our generator at a rate: URL RATE SECONDS
    Rate,
}

/// Is that process, until it ends or is killed.
pub async fn be(part: Part, told: &[String]) -> Result<()> {
    let number = |text: &String| text.parse::<u32>().with_context(|| format!("`{text}` is no number"));
    match (part, told) {
        (Part::Serve, [behaviour, file]) => {
            let behaviour = Behaviour::named(behaviour).with_context(|| format!("no server is named `{behaviour}`"))?;
            server::serve(behaviour, Path::new(file)).await
        }
        (Part::Unthrottled, [url, connections, seconds]) => {
            let time = Duration::from_secs(number(seconds)?.into());
            let measured = blast(url, "/", number(connections)?, time).await?;
            // In a closed model nobody is ever late: an answer's time is that from its sending.
            tell(&measured.summary, measured.summary.service_time.as_ref())
        }
        (Part::Rate, [url, rate, seconds]) => {
            let time = Duration::from_secs(number(seconds)?.into());
            let summary = load::run(plan(url, number(rate)?, time)?, |_| {}, &Stop::default()).await?.summary;
            tell(&summary, summary.duration.as_ref())
        }
        _ => bail!("it was told {told:?}"),
    }
}

/// `GET /` at a constant rate: the open model, as `cargo xtask perf` runs it.
fn plan(url: &str, rate: u32, duration: Duration) -> Result<Plan> {
    let target = Target::parse(url).map_err(anyhow::Error::msg)?;
    let mix = BTreeMap::from([("all".to_owned(), 1)]);
    let request = serde_json::from_value(json!({ "send": "GET /", "timeout": "30s" })).context("no request")?;
    let routes = target.routes(&mix, &BTreeMap::from([("all".to_owned(), request)])).map_err(anyhow::Error::msg)?;
    let scenario =
        json!({ "executor": "constant-arrival-rate", "rate": rate, "duration": format!("{}s", duration.as_secs()) });
    let load = serde_json::from_value(json!({ "scenarios": { "all": scenario } })).context("no load")?;
    Ok(Plan { name: "rate".to_owned(), load, target, routes, mix, thresholds: Thresholds(vec![]), seed: 1 })
}

fn tell(summary: &Summary, times: Option<&Trend>) -> Result<()> {
    let trend = times.context("no request has a time")?;
    let reading = Reading {
        requests: summary.requests - summary.failed,
        failed: summary.failed,
        dropped: summary.schedule.dropped,
        rate: summary.rate,
        percentiles: vec![(50.0, trend.med), (90.0, trend.p90), (95.0, trend.p95), (99.0, trend.p99)],
    };
    print(&(serde_json::to_string(&reading).context("cannot write the reading")? + "\n"));
    Ok(())
}
