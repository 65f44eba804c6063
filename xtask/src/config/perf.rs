//! `[perf]`: under which load the backend is put, and what it has to hold. Names are k6's, in TOML's spelling.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::thresholds::Thresholds;
use super::values::duration;

/// `[perf]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Perf {
    /// Names of `[requests]`, each with its weight: of a sum of 4, a weight of 1 is every fourth request.
    pub mix: BTreeMap<String, u32>,
    /// What has to hold, in k6's syntax.
    pub thresholds: Thresholds,
    /// The load profiles, by name.
    pub load: BTreeMap<String, Load>,
    /// The load profile of the gate in `ci`.
    #[serde(default = "smoke")]
    pub ci: String,
    /// By how much p95 has to be larger than in the accepted runs before a regression that is beyond the noise breaks
    /// the gate; 0.2 is a fifth. A smaller one is told and breaks nothing.
    #[serde(default = "a_fifth")]
    pub regression: f64,
    /// A script of k6, relative to the repository, that `--engine k6` runs in place of the load profile. It finds the
    /// backend in `__ENV.BASE_URL`.
    #[serde(default)]
    pub k6: Option<String>,
}

/// `[perf.load.NAME]`: one load profile.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// Its scenarios, which begin together unless one says otherwise.
    pub scenarios: BTreeMap<String, Scenario>,
    /// The first part of the run, which is sent and not measured.
    #[serde(default, with = "duration")]
    pub warm_up: Duration,
    /// How long what was begun may go on after the last scenario has ended; k6's default.
    #[serde(default = "thirty_seconds", with = "duration")]
    pub graceful_stop: Duration,
    /// How many iterations may be open at a time (k6: `maxVUs`); one more is dropped, and the run has no verdict.
    #[serde(default = "a_thousand")]
    pub max_vus: u32,
}

/// How a scenario makes its iterations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Executor {
    /// `vus` users for `duration`.
    ConstantVus,
    /// From `start_vus` users through `stages`.
    RampingVus,
    /// `rate` iterations each `time_unit`, for `duration`.
    ConstantArrivalRate,
    /// From `start_rate` iterations each `time_unit` through `stages`.
    RampingArrivalRate,
}

impl Executor {
    /// As the configuration names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ConstantVus => "constant-vus",
            Self::RampingVus => "ramping-vus",
            Self::ConstantArrivalRate => "constant-arrival-rate",
            Self::RampingArrivalRate => "ramping-arrival-rate",
        }
    }
}

/// `[perf.load.NAME.scenarios.NAME]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, try_from = "Written")]
pub struct Scenario {
    /// How it makes its iterations.
    pub executor: Executor,
    /// When it begins.
    #[serde(with = "duration")]
    pub start_time: Duration,
    /// Users or rate at the beginning.
    pub start: u32,
    /// How users or rate change; a constant executor has one stage that ends where it starts.
    pub stages: Vec<Stage>,
    /// A user starts an iteration this often, whether or not the last one ended. Zero is a closed model: the next one
    /// starts when the last one ended, and the run has no verdict.
    #[serde(with = "duration")]
    pub pace: Duration,
    /// What a rate is counted in.
    #[serde(with = "duration")]
    pub time_unit: Duration,
}

/// One stage of a ramp: a straight line from what was to `target`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// How long it takes.
    #[serde(with = "duration")]
    pub duration: Duration,
    /// Users or rate at its end.
    pub target: u32,
}

impl Scenario {
    /// When it ends, from the beginning of the run.
    pub fn end(&self) -> Duration {
        self.start_time + self.stages.iter().map(|stage| stage.duration).sum::<Duration>()
    }

    /// Whether its users wait for their answers before they go on.
    pub fn is_closed(&self) -> bool {
        self.pace.is_zero() && matches!(self.executor, Executor::ConstantVus | Executor::RampingVus)
    }
}

impl Load {
    /// When the last scenario ends, from the beginning of the run.
    pub fn end(&self) -> Duration {
        self.scenarios.values().map(Scenario::end).max().unwrap_or_default()
    }
}

/// A scenario as it stands in the file; which keys it has depends on its executor.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    executor: Executor,
    start_time: Option<Span>,
    vus: Option<u32>,
    start_vus: Option<u32>,
    rate: Option<u32>,
    start_rate: Option<u32>,
    duration: Option<Span>,
    stages: Option<Vec<Stage>>,
    pace: Option<Span>,
    time_unit: Option<Span>,
}

#[derive(Debug, Deserialize)]
struct Span(#[serde(with = "duration")] Duration);

/// Nobody's laptop has as many users, and each costs a place in the schedule.
const MOST_USERS: u32 = 10_000;

impl TryFrom<Written> for Scenario {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let executor = written.executor;
        let given = [
            ("vus", written.vus.is_some()),
            ("start_vus", written.start_vus.is_some()),
            ("rate", written.rate.is_some()),
            ("start_rate", written.start_rate.is_some()),
            ("duration", written.duration.is_some()),
            ("stages", written.stages.is_some()),
            ("pace", written.pace.is_some()),
            ("time_unit", written.time_unit.is_some()),
        ];
        let (needed, optional): (&[&str], &[&str]) = match executor {
            Executor::ConstantVus => (&["vus", "duration"], &["pace"]),
            Executor::RampingVus => (&["stages"], &["start_vus", "pace"]),
            Executor::ConstantArrivalRate => (&["rate", "duration"], &["time_unit"]),
            Executor::RampingArrivalRate => (&["stages"], &["start_rate", "time_unit"]),
        };
        for (key, is_given) in given {
            if needed.contains(&key) && !is_given {
                return Err(format!("`{}` needs `{key}`", executor.name()));
            }
            if is_given && !needed.contains(&key) && !optional.contains(&key) {
                let keys = needed.iter().chain(optional).copied().collect::<Vec<_>>().join(", ");
                return Err(format!("`{}` has no `{key}` (it has: {keys})", executor.name()));
            }
        }
        let level = written.vus.or(written.rate);
        let start = level.or(written.start_vus).or(written.start_rate).unwrap_or_default();
        let constant = written.duration.map(|span| vec![Stage { duration: span.0, target: start }]);
        let stages = written.stages.or(constant).unwrap_or_default();
        let second = Duration::from_secs(1);
        let scenario = Self {
            executor,
            start_time: written.start_time.map(|span| span.0).unwrap_or_default(),
            start,
            stages,
            pace: written.pace.map_or(second, |span| span.0),
            time_unit: written.time_unit.map_or(second, |span| span.0),
        };
        let most = scenario.stages.iter().map(|stage| stage.target).chain([start]).max().unwrap_or_default();
        if most == 0 || scenario.end() == scenario.start_time {
            return Err(format!("`{}` makes no iteration: nobody for any time", executor.name()));
        }
        if most > MOST_USERS && matches!(executor, Executor::ConstantVus | Executor::RampingVus) {
            return Err(format!("{most} users are more than {MOST_USERS}"));
        }
        if scenario.time_unit.is_zero() {
            return Err("`time_unit` is zero".to_owned());
        }
        Ok(scenario)
    }
}

impl Perf {
    /// Names lead somewhere, and each load makes some request.
    pub(super) fn check(&self, requests: &BTreeSet<&str>) -> Result<(), String> {
        let named = self.mix.keys().map(|name| (name.as_str(), "perf.mix"));
        let tagged = self
            .thresholds
            .0
            .iter()
            .filter_map(|threshold| Some((threshold.metric.route.as_deref()?, "perf.thresholds")));
        for (name, place) in named.chain(tagged) {
            let known =
                if place == "perf.mix" { requests.clone() } else { self.mix.keys().map(String::as_str).collect() };
            if !known.contains(name) {
                let known: Vec<&str> = known.into_iter().collect();
                return Err(format!("{place}: no request is named `{name}` (there are: {})", known.join(", ")));
            }
        }
        if self.mix.values().map(|&weight| u64::from(weight)).sum::<u64>() == 0 {
            return Err("perf.mix has no request with a weight".to_owned());
        }
        if self.mix.values().any(|&weight| weight > 10_000) {
            return Err("perf.mix: a weight is at most 10000".to_owned());
        }
        if self.thresholds.0.is_empty() {
            return Err("perf.thresholds is empty: nothing could break it".to_owned());
        }
        if !self.load.contains_key(&self.ci) {
            let known: Vec<&str> = self.load.keys().map(String::as_str).collect();
            return Err(format!("perf.ci: no load is named `{}` (there are: {})", self.ci, known.join(", ")));
        }
        for (name, load) in &self.load {
            if load.scenarios.is_empty() {
                return Err(format!("perf.load.{name} has no scenario"));
            }
            if load.warm_up >= load.end() {
                return Err(format!(
                    "perf.load.{name}: nothing is left to measure after a warm_up of {:?}",
                    load.warm_up
                ));
            }
            if load.max_vus == 0 {
                return Err(format!("perf.load.{name}.max_vus is 0"));
            }
        }
        if let Some(script) = self.k6.as_ref().filter(|script| !crate::disk::is_inside(script)) {
            return Err(format!("perf.k6: `{script}` is no path below the repository"));
        }
        if self.regression.is_finite() && self.regression > 0.0 {
            Ok(())
        } else {
            Err("perf.regression is a share above 0".into())
        }
    }
}

fn smoke() -> String {
    "smoke".to_owned()
}

fn a_fifth() -> f64 {
    0.2
}

fn a_thousand() -> u32 {
    1000
}

fn thirty_seconds() -> Duration {
    Duration::from_secs(30)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(text: &str) -> Result<Scenario, String> {
        toml::from_str(text).map_err(|e| e.message().to_owned())
    }

    #[test]
    fn an_executor_takes_its_own_keys_and_no_other() {
        for (text, wrong) in [
            ("executor = \"constant-vus\"\nvus = 3\nduration = \"5s\"", None),
            ("executor = \"constant-vus\"\nvus = 3\nduration = \"5s\"\npace = \"0s\"", None),
            ("executor = \"constant-vus\"\nvus = 3", Some("`constant-vus` needs `duration`")),
            (
                "executor = \"constant-vus\"\nvus = 3\nduration = \"5s\"\nrate = 3",
                Some("`constant-vus` has no `rate` (it has: vus, duration, pace)"),
            ),
            ("executor = \"ramping-vus\"\nstages = []", Some("`ramping-vus` makes no iteration: nobody for any time")),
            (
                "executor = \"ramping-vus\"\nstages = [{ duration = \"5s\", target = 0 }]",
                Some("`ramping-vus` makes no iteration: nobody for any time"),
            ),
            ("executor = \"constant-vus\"\nvus = 10001\nduration = \"5s\"", Some("10001 users are more than 10000")),
            (
                "executor = \"constant-arrival-rate\"\nrate = 1\nduration = \"5s\"\ntime_unit = \"0s\"",
                Some("`time_unit` is zero"),
            ),
        ] {
            assert_eq!(scenario(text).err().as_deref(), wrong, "{text}");
        }
        assert!(scenario("executor = \"constant-users\"").unwrap_err().contains("unknown variant `constant-users`"));
    }

    #[test]
    fn a_constant_executor_is_one_flat_stage() {
        let found = scenario("executor = \"constant-arrival-rate\"\nrate = 7\nduration = \"5s\"").unwrap();
        assert_eq!((found.start, found.end()), (7, Duration::from_secs(5)));
        assert_eq!(found.stages, [Stage { duration: Duration::from_secs(5), target: 7 }]);
        assert!(!found.is_closed());
    }

    #[test]
    fn names_lead_somewhere_and_mistakes_lead_to_their_line() {
        const TEXT: &str = "[python]\nversions = []\ntools = \"3.12\"\ntools_lock = \"t\"\n[requests.item]\nsend = \"GET /item\"\n[perf]\nmix = { item = 1 }\n[perf.thresholds]\nchecks = [\"rate>0.99\"]\n[perf.load.smoke.scenarios.a]\nexecutor = \"constant-vus\"\nvus = 3\nduration = \"5s\"\n";
        assert!(crate::config::Config::parse(TEXT).is_ok());
        for (from, to, wrong) in [
            ("{ item = 1 }", "{ itme = 1 }", "1: perf.mix: no request is named `itme` (there are: item)"),
            ("{ item = 1 }", "{ item = 0 }", "1: perf.mix has no request with a weight"),
            (
                "checks =",
                "\"checks{route:itme}\" =",
                "1: perf.thresholds: no request is named `itme` (there are: item)",
            ),
            ("checks =", "check =", "10: no metric is named `check`; the nearest valid one is `checks`"),
            (
                "rate>",
                "rat>",
                "10: the threshold `rat>0.99` of `checks`: `rat` cannot be taken of it; the nearest valid one is `rate`",
            ),
            ("checks = [\"rate>0.99\"]\n", "", "1: perf.thresholds is empty: nothing could break it"),
            ("load.smoke", "load.smok", "1: perf.ci: no load is named `smoke` (there are: smok)"),
            (
                "constant-vus",
                "constant-vsu",
                "12: unknown value `constant-vsu`; the nearest valid value is `constant-vus`",
            ),
            ("vus = 3", "vsu = 3", "13: unknown key `vsu`; the nearest valid key is `vus`"),
            ("duration = \"5s\"", "", "11: `constant-vus` needs `duration`"),
        ] {
            let found = crate::config::Config::parse(&TEXT.replacen(from, to, 1)).unwrap_err();
            assert!(found.starts_with(wrong), "{found}\n{wrong}");
        }
    }
}
