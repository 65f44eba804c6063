//! The generators that are measured: how each is started for which work, and what it says of it afterwards.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Bench;
use xtask::tools::catalog::K6;
use xtask::tools::command::Command;
use xtask::tools::program;
use xtask::verdict::Unproven;

/// The version of oha, which cargo installs; nothing of the pipeline uses it.
pub const OHA: &str = "1.16.0";

/// What a generator is asked to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Work {
    /// As fast as it can, over kept connections, for so long.
    Unthrottled {
        /// How many connections.
        connections: u32,
        /// For how long.
        seconds: u32,
    },
    /// So many requests a second, for so long.
    Rate {
        /// Requests a second.
        rate: u32,
        /// For how long.
        seconds: u32,
        /// How many connections, or users, it may use at most.
        connections: u32,
        /// oha: counts from the intended start.
        corrected: bool,
    },
}

/// What a generator says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// Requests with a good answer.
    pub requests: u64,
    /// Those without one.
    pub failed: u64,
    /// Requests that were planned and never sent.
    #[serde(default)]
    pub dropped: u64,
    /// Requests a second, as it computes them.
    pub rate: f64,
    /// Percentiles of the time of an answer, in milliseconds.
    pub percentiles: Vec<(f64, f64)>,
}

impl Reading {
    /// The percentile, if it was told.
    pub fn percentile(&self, percent: f64) -> Option<Duration> {
        self.times().into_iter().find(|(of, _)| (of - percent).abs() < 1e-9).map(|(_, time)| time)
    }

    /// The percentiles as times.
    pub fn times(&self) -> Vec<(f64, Duration)> {
        self.percentiles.iter().map(|&(of, ms)| (of, Duration::from_secs_f64(ms.max(0.0) / 1000.0))).collect()
    }
}

/// A generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generator {
    /// The pipeline's own.
    Ours,
    /// <https://github.com/wg/wrk>, C.
    Wrk,
    /// <https://github.com/hatoo/oha>, Rust.
    Oha,
    /// <https://github.com/rakyll/hey>, Go.
    Hey,
    /// <https://github.com/grafana/k6>, Go with JavaScript.
    K6,
}

impl Generator {
    /// Ours first.
    pub const ALL: [Self; 5] = [Self::Ours, Self::Wrk, Self::Oha, Self::Hey, Self::K6];

    /// As people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "`cargo xtask perf`",
            Self::Wrk => "wrk",
            Self::Oha => "oha",
            Self::Hey => "hey",
            Self::K6 => "k6",
        }
    }

    /// The program, installed where it is not there and can be.
    pub async fn program(self, bench: &Bench) -> Result<PathBuf> {
        let on_path = |name: &str| bench.machine.on_path(name).with_context(|| format!("`{name}` is not on PATH"));
        match self {
            Self::Ours => std::env::current_exe().context("cannot tell which program this is"),
            Self::Wrk => on_path("wrk"),
            Self::Hey => on_path("hey"),
            Self::Oha => oha(bench).await,
            Self::K6 => match program::ensure(&bench.machine, &bench.runner, &K6).await {
                Ok(installed) => Ok(installed.path),
                Err(Unproven::NotRun(why)) => bail!("{}", why.reason),
                Err(Unproven::Defect(error)) => Err(error),
            },
        }
    }

    /// How it is started; `None` where it cannot do such work.
    pub fn command(self, program: &Path, folder: &Path, url: &str, work: Work) -> Option<Command> {
        let command = Command::new(program, folder);
        let (seconds, connections) = match work {
            Work::Unthrottled { seconds, connections } | Work::Rate { seconds, connections, .. } => {
                (seconds, connections)
            }
        };
        let (time, connected) = (format!("{seconds}s"), connections.to_string());
        let command = match (self, work) {
            (Self::Ours, Work::Unthrottled { .. }) => {
                command.args(["--part", "unthrottled", "--", url, &connected, &seconds.to_string()])
            }
            (Self::Ours, Work::Rate { rate, .. }) => {
                command.args(["--part", "rate", "--", url, &rate.to_string(), &seconds.to_string()])
            }
            // It knows no rate.
            (Self::Wrk, _) => {
                command.args(["-t", "1", "-c", &connected, "-d", &time, "--timeout", "30s", "-s", PERCENTILES, url])
            }
            (Self::Oha, _) => {
                let args = ["--no-tui", "--output-format", "json", "-c", &connected, "-z", &time];
                let command = command.args(args);
                let command = match work {
                    Work::Rate { rate, .. } => command.args(["-q", &rate.to_string()]),
                    Work::Unthrottled { .. } => command,
                };
                let corrected = matches!(work, Work::Rate { corrected: true, .. });
                let command = if corrected { command.args(["--latency-correction"]) } else { command };
                command.args([url])
            }
            (Self::Hey, Work::Unthrottled { .. }) => command.args(["-c", &connected, "-z", &time, url]),
            // Its rate is one of each connection.
            (Self::Hey, Work::Rate { rate, .. }) => {
                let each = f64::from(rate) / f64::from(connections);
                command.args(["-c", &connected, "-q", &each.to_string(), "-z", &time, url])
            }
            (Self::K6, _) => command.args(["run", "--quiet", "--no-usage-report", "--address", "", SCRIPT]),
        };
        let corrected = matches!(work, Work::Rate { corrected: true, .. });
        let can = self == Self::Oha || self == Self::Ours || !corrected;
        can.then(|| command.timeout(Duration::from_secs(u64::from(seconds) + 60)))
    }

    /// Writes what it reads beside its command line.
    pub fn prepare(self, folder: &Path, url: &str, work: Work) -> Result<()> {
        if self == Self::Wrk {
            let done = "function done(_, latency)\n  for _, p in ipairs({50, 90, 95, 99}) do\n    \
                        print(string.format('%d%% %fus', p, latency:percentile(p)))\n  end\nend\n";
            return std::fs::write(folder.join(PERCENTILES), done).context("cannot write the script of wrk");
        }
        if self != Self::K6 {
            return Ok(());
        }
        let scenario = match work {
            Work::Unthrottled { connections, seconds } => {
                format!("{{ executor: 'constant-vus', vus: {connections}, duration: '{seconds}s' }}")
            }
            Work::Rate { rate, seconds, connections, .. } => format!(
                "{{ executor: 'constant-arrival-rate', rate: {rate}, duration: '{seconds}s', preAllocatedVUs: {connections}, \
                 maxVUs: {connections} }}"
            ),
        };
        let script = format!(
            "import http from 'k6/http';\n\nexport const options = {{\n  scenarios: {{ load: {scenario} }},\n  \
             discardResponseBodies: true,\n  summaryTrendStats: ['p(50)', 'p(90)', 'p(95)', 'p(99)'],\n}};\n\n\
             export default function () {{\n  http.get('{url}');\n}}\n\n\
             export function handleSummary(data) {{\n  return {{ stdout: JSON.stringify(data.metrics) }};\n}}\n"
        );
        std::fs::write(folder.join(SCRIPT), script).context("cannot write the script of k6")
    }

    /// What it printed → what it says.
    pub fn read(self, stdout: &str) -> Option<Reading> {
        match self {
            Self::Ours => serde_json::from_str(stdout).ok(),
            Self::Wrk => wrk(stdout),
            Self::Oha => oha_reading(&serde_json::from_str(stdout).ok()?),
            Self::Hey => hey(stdout),
            Self::K6 => k6(&serde_json::from_str(&stdout[stdout.find('{')?..]).ok()?),
        }
    }
}

/// Of k6.
const SCRIPT: &str = "load.js";

/// Of wrk: what it prints by itself leaves p95 out.
const PERCENTILES: &str = "percentiles.lua";

/// Installs oha by cargo, as its authors say, once.
async fn oha(bench: &Bench) -> Result<PathBuf> {
    let root = bench.places.folder.join(format!("oha-{OHA}"));
    let program = root.join("bin/oha");
    if !program.is_file() {
        let args = ["install", "oha", "--version", OHA, "--locked", "--quiet", "--root"];
        let install = bench.places.patient(Command::new("cargo", &bench.places.folder)).args(args).arg(&root);
        let ended = bench.runner.run(&install).await?;
        if !ended.is_success() {
            bail!("`{install}` {}", ended.failure());
        }
    }
    Ok(program)
}

/// `1.50ms`, `12.3us`, `2.01s`, `1.1m`, as wrk prints times.
fn milliseconds(text: &str) -> Option<f64> {
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let factor = match &text[at..] {
        "us" => 0.001,
        "ms" => 1.0,
        "s" => 1000.0,
        "m" => 60_000.0,
        _ => return None,
    };
    Some(text[..at].parse::<f64>().ok()? * factor)
}

/// wrk 4.1.
fn wrk(text: &str) -> Option<Reading> {
    let mut reading = Reading::default();
    for line in text.lines().map(str::trim) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [percent, time] if percent.ends_with('%') => {
                reading.percentiles.push((percent.trim_end_matches('%').parse().ok()?, milliseconds(time)?));
            }
            [count, "requests", "in", ..] => reading.requests = count.parse().ok()?,
            ["Requests/sec:", rate] => reading.rate = rate.parse().ok()?,
            ["Non-2xx", .., count] => reading.failed += count.parse::<u64>().ok()?,
            ["Socket", "errors:", rest @ ..] => {
                let counts = rest.iter().filter_map(|word| word.trim_end_matches(',').parse::<u64>().ok());
                reading.failed += counts.sum::<u64>();
            }
            _ => {}
        }
    }
    (reading.requests > 0).then_some(reading)
}

/// hey 0.1.
fn hey(text: &str) -> Option<Reading> {
    let mut reading = Reading::default();
    let mut errors = false;
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["Requests/sec:", rate] => reading.rate = rate.parse().ok()?,
            [percent, "in", seconds, "secs"] if percent.ends_with('%') => {
                let percent = percent.trim_end_matches('%').parse().ok()?;
                reading.percentiles.push((percent, seconds.parse::<f64>().ok()? * 1000.0));
            }
            [status, count, "responses"] if status.starts_with('[') => {
                let count: u64 = count.parse().ok()?;
                if status.starts_with("[2") { reading.requests += count } else { reading.failed += count }
            }
            ["Error", "distribution:"] => errors = true,
            [count, ..] if errors && count.starts_with('[') => {
                reading.failed += count.trim_matches(['[', ']']).parse::<u64>().ok()?;
            }
            _ => {}
        }
    }
    (reading.requests > 0).then_some(reading)
}

/// `--output-format json` of oha 1.16.
fn oha_reading(report: &Value) -> Option<Reading> {
    let counts = |of: &str, wanted: &dyn Fn(&str) -> bool| -> u64 {
        let counts = report[of].as_object().into_iter().flatten();
        counts.filter(|(name, _)| wanted(name)).filter_map(|(_, count)| count.as_u64()).sum()
    };
    let percentiles = report["latencyPercentiles"].as_object()?.iter();
    let percentiles = percentiles
        .filter_map(|(name, seconds)| Some((name.trim_start_matches('p').parse().ok()?, seconds.as_f64()? * 1000.0)));
    let good = |status: &str| status.starts_with('2');
    // Requests on the way when the time is over are no errors, but how oha ends.
    let ended = |why: &str| why != "aborted due to deadline";
    Some(Reading {
        requests: counts("statusCodeDistribution", &good),
        failed: counts("statusCodeDistribution", &|status| !good(status)) + counts("errorDistribution", &ended),
        dropped: 0,
        rate: report["summary"]["requestsPerSec"].as_f64()?,
        percentiles: percentiles.collect(),
    })
}

/// The metrics of `handleSummary` of k6 1.8.
fn k6(metrics: &Value) -> Option<Reading> {
    let value = |metric: &str, of: &str| metrics[metric]["values"][of].as_f64();
    let percentiles = metrics["http_req_duration"]["values"]
        .as_object()?
        .iter()
        .filter_map(|(name, ms)| Some((name.strip_prefix("p(")?.strip_suffix(')')?.parse().ok()?, ms.as_f64()?)));
    let all = value("http_reqs", "count")?;
    // A rate's `passes` are the requests that failed.
    let failed = value("http_req_failed", "passes").unwrap_or_default();
    Some(Reading {
        requests: (all - failed) as u64,
        failed: failed as u64,
        dropped: value("dropped_iterations", "count").unwrap_or_default() as u64,
        rate: value("http_reqs", "rate")?,
        percentiles: percentiles.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_are_taken_from_what_each_prints() {
        // Recorded; cut to what is read.
        let wrk = "Running 2s test @ http://127.0.0.1:1/\n  10901 requests in 2.07s, 1.55MB read\n  Socket errors: connect 0, \
                   read 2, write 0, timeout 1\n  Non-2xx or 3xx responses: 4\nRequests/sec:   5258.48\nTransfer/sec:    765.15KB\n\
                   50% 10320.000000us\n99% 67080.000000us\n";
        let hey = "Summary:\n  Total:\t2.0364 secs\n  Requests/sec:\t7721.3560\n\nResponse time histogram:\n  0.000 [1]\t|\n\n\
                   Latency distribution:\n  50% in 0.0038 secs\n  99% in 0.0353 secs\n\nStatus code distribution:\n  \
                   [200]\t15724 responses\n  [503]\t3 responses\n\nError distribution:\n  [2]\tGet: EOF\n";
        let oha = r#"{"summary": {"requestsPerSec": 18000.5, "total": 2.0}, "latencyPercentiles": {"p50": 0.0025, "p99": 0.0071},
                   "statusCodeDistribution": {"200": 36000}, "errorDistribution": {"aborted due to deadline": 50, "refused": 1}}"#;
        let k6 = r#"time="now" level=warning
            {"http_reqs": {"values": {"count": 6346, "rate": 3171.2}}, "http_req_failed": {"values": {"passes": 6, "fails": 6340}},
             "dropped_iterations": {"values": {"count": 150}}, "http_req_duration": {"values": {"p(50)": 11.25, "p(99)": 42.5}}}"#;
        let ours = r#"{"requests": 7, "failed": 0, "rate": 3.5, "percentiles": [[50.0, 1.5], [99.0, 2.5]]}"#;
        for (generator, text, requests, failed, dropped, rate, half, most) in [
            (Generator::Wrk, wrk, 10_901, 7, 0, 5258.48, 10_320, 67_080),
            (Generator::Hey, hey, 15_724, 5, 0, 7721.356, 3_800, 35_300),
            (Generator::Oha, oha, 36_000, 1, 0, 18_000.5, 2_500, 7_100),
            (Generator::K6, k6, 6_340, 6, 150, 3171.2, 11_250, 42_500),
            (Generator::Ours, ours, 7, 0, 0, 3.5, 1_500, 2_500),
        ] {
            let reading = generator.read(text).unwrap();
            assert_eq!(
                (reading.requests, reading.failed, reading.dropped, reading.rate),
                (requests, failed, dropped, rate)
            );
            assert_eq!(reading.percentile(50.0), Some(Duration::from_micros(half)), "{generator:?}");
            assert_eq!(reading.percentile(99.0), Some(Duration::from_micros(most)), "{generator:?}");
            assert_eq!(generator.read("something else"), None, "{generator:?}");
        }
    }

    #[test]
    fn a_rate_is_asked_of_those_that_know_one() {
        let work = |corrected| Work::Rate { rate: 100, seconds: 20, connections: 10, corrected };
        let command = |generator: Generator, corrected| {
            let command = generator.command(Path::new("it"), Path::new("/"), "http://x/", work(corrected));
            command.map(|command| command.to_string())
        };
        assert_eq!(command(Generator::Hey, false).as_deref(), Some("it -c 10 -q 10 -z 20s http://x/"));
        assert!(command(Generator::Oha, true).is_some_and(|text| text.contains("-q 100 --latency-correction")));
        assert_eq!(command(Generator::K6, true), None);
    }
}
