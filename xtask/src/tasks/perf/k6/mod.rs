//! `perf --engine k6`: the same load and the same verdict, made by k6.
//!
//! k6 only sends and writes down what it saw. Its samples go through the statistics of the built-in generator, and
//! its own thresholds and exit code decide nothing by themselves (see [`totals`]).

mod figures;
mod samples;
mod script;
mod totals;
mod usage;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Deserialize;

use super::Made;
use crate::engine::session::Session;
use crate::load::Plan;
use crate::tools::catalog::K6;
use crate::tools::command::Command;
use crate::verdict::{Finding, Severity, Unproven};
use figures::Ran;
use totals::Crossed;

/// Beyond the load itself: users that are made, and samples that are written.
const ASIDE: Duration = Duration::from_secs(60);

/// Where k6 reads and writes, below the output folder.
const FOLDER: &str = "perf/k6";

/// Runs k6 to its end, and reads what it left. `own` is a script of the project, relative to the repository, in place
/// of the load of the plan; it finds the backend in `__ENV.BASE_URL`.
pub async fn run(session: &Session, plan: &Plan, own: Option<&str>) -> Result<Made, Unproven> {
    let ctx = session.ctx();
    let folder = session.artifact(FOLDER)?;
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write `{}`", path.display())).map(|()| path)
    };
    let script = match own {
        Some(path) if !ctx.root.join(path).is_file() => {
            return Err(session.not_run(format!("`{path}`, the script of k6, is not there")).into());
        }
        Some(path) => ctx.root.join(path),
        None => write("load.js", &script::render(plan)?)?,
    };
    // Settings of the user of this machine do not count.
    let config = write("config.json", "{}")?;
    let url = &plan.target.url;
    let announced = inspect(session, &config, &script, url).await?;
    let (export, csv) = (folder.join("summary.json"), folder.join("samples.csv"));
    let limit = announced.total()? + ASIDE;
    let k6 = session.program(&K6).await?;
    let command = Command::new(k6.path, &ctx.root).args(["run", "--quiet", "--no-color", "--no-usage-report"]);
    let command = settings(command, &config, url).args(["--address", "", "--system-tags", samples::TAGS]);
    let command = command.arg("--summary-export").arg(&export).arg("--out").arg(format!("csv={}", csv.display()));
    let command = command.arg(&script).env("K6_CSV_TIME_FORMAT", samples::TIME_FORMAT).timeout(limit);
    let times = folder.join("times");
    let begun = Instant::now();
    let ended = session.step(&usage::counted(command, &times)).await?;
    let wall = begun.elapsed();
    let text = session.report(&export).map_err(|why| session.not_run(format!("k6 {}: {why}", ended.failure())))?;
    let (counted, crossed) = totals::read(&text).map_err(|why| session.not_run(why))?;
    if let Some(empty) = crossed.iter().find(|threshold| threshold.has_no_samples) {
        let reason = format!("the threshold `{}: {}` of the script has no samples", empty.metric, empty.text);
        return Err(session.not_run(reason).into());
    }
    let text = session.report(&csv).map_err(|why| session.not_run(why))?;
    let samples = samples::read(&text).map_err(|why| session.not_run(why))?;
    if let Some(why) = totals::unproved(&ended.exit, counted, &samples) {
        return Err(session.not_run(why).into());
    }
    // The samples are large, and the report says what is in them.
    let _gone = std::fs::remove_file(&csv);
    let closed = announced.closed();
    // A shell that does not tell it says nothing against k6.
    let cpu = usage::share(&times, wall).unwrap_or_default();
    let ran = Ran { is_own_script: own.is_some(), closed: &closed, cpu };
    let measured = figures::measured(plan, &samples, ran).map_err(|why| session.not_run(why))?;
    let artifacts = ["load.js", "summary.json"].map(|name| format!("{FOLDER}/{name}"));
    let artifacts = artifacts.into_iter().filter(|path| ctx.out.join(path).is_file()).collect();
    Ok(Made { measured, findings: crossed.iter().map(finding).collect(), artifacts })
}

fn finding(crossed: &Crossed) -> Finding {
    let Crossed { metric, text, .. } = crossed;
    Finding::new(metric.clone(), Severity::High, format!("{metric}: {text}, a threshold of the script, does not hold"))
}

fn settings(command: Command, config: &Path, url: &str) -> Command {
    let command = command.arg("--config").arg(config);
    // Neither the surroundings nor the network may change what a script does.
    command
        .args(["--include-system-env-vars=false", "--env", &format!("BASE_URL={url}")])
        .env("K6_AUTO_EXTENSION_RESOLUTION", "false")
}

/// What a script will do, as k6 itself reads it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Announced {
    #[serde(default)]
    scenarios: BTreeMap<String, Planned>,
    total_duration: String,
}

#[derive(Debug, Deserialize)]
struct Planned {
    executor: String,
}

impl Announced {
    fn total(&self) -> Result<Duration, Unproven> {
        let text = &self.total_duration;
        Ok(go_duration(text).with_context(|| format!("k6 says that its run takes `{text}`, which is no time"))?)
    }

    /// <https://grafana.com/docs/k6/latest/using-k6/scenarios/concepts/open-vs-closed/>
    fn closed(&self) -> Vec<String> {
        let open = ["constant-arrival-rate", "ramping-arrival-rate"];
        let closed = self.scenarios.iter().filter(|(_, planned)| !open.contains(&planned.executor.as_str()));
        closed.map(|(name, _)| name.clone()).collect()
    }
}

async fn inspect(session: &Session, config: &Path, script: &PathBuf, url: &str) -> Result<Announced, Unproven> {
    let command = Command::new(K6.name, &session.ctx().root).args(["inspect", "--execution-requirements"]);
    let command = settings(command, config, url).arg(script).timeout(ASIDE);
    let ended = session.tool(&K6, &command).await?;
    if !ended.is_success() {
        return Err(session.not_run(format!("k6 cannot read the script: {}", ended.failure())).into());
    }
    let plan = serde_json::from_str(&ended.stdout);
    plan.map_err(|error| session.not_run(format!("k6 did not tell what the script does: {error}")).into())
}

/// `1h2m3.5s`, `500ms`: <https://pkg.go.dev/time#Duration.String>.
fn go_duration(text: &str) -> Option<Duration> {
    let (mut rest, mut seconds) = (text, 0.0);
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && c != '.')?);
        let (unit, after) = after.split_at(after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len()));
        let factor = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * factor;
        rest = after;
    }
    (!text.is_empty()).then(|| Duration::try_from_secs_f64(seconds).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_go_are_read() {
        for (text, ms) in
            [("32s", Some(32_000)), ("1m30s", Some(90_000)), ("1h0m0.5s", Some(3_600_500)), ("150ms", Some(150))]
        {
            assert_eq!(go_duration(text), ms.map(Duration::from_millis), "{text}");
        }
        for text in ["", "s", "3", "3 s", "-3s", "3d"] {
            assert_eq!(go_duration(text), None, "{text}");
        }
    }

    #[test]
    fn users_that_wait_for_answers_are_a_closed_model() {
        let plan = |text: &str| serde_json::from_str::<Announced>(text).unwrap();
        let open = r#"{"scenarios": {"a": {"executor": "ramping-arrival-rate", "maxVUs": 5}}, "totalDuration": "32s"}"#;
        let closed = r#"{"scenarios": {"a": {"executor": "constant-arrival-rate"}, "b": {"executor": "shared-iterations"}}, "totalDuration": "1m"}"#;
        assert_eq!(plan(open).closed(), [""; 0]);
        assert_eq!(plan(closed).closed(), ["b"]);
        assert!(plan(r#"{"totalDuration": "soon"}"#).total().is_err());
    }
}
