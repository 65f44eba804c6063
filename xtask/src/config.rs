//! `xtask/config/pipeline.toml`: what is checked, and by which policy.
//!
//! Nothing about one project is in the code: another FastAPI backend adopts the pipeline by editing
//! this file. A table declares a subject; a gate is planned only for what is declared. Unknown keys
//! are errors that name file, line and the nearest valid key.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::exit::UsageError;

mod alerts;
mod canary;
mod container;
mod environment;
mod generated;
mod github;
mod history;
mod integration;
mod monitor;
mod perf;
mod policy;
mod release;
mod requests;
mod scan;
mod signing;
mod thresholds;
mod values;

pub use alerts::{Alerts, Level, Monitoring};
pub use canary::{Canary, FEWEST_REQUESTS, Limits};
pub use container::{Container, StandIn};
pub use environment::{Environment, is_http};
pub use generated::{Argocd, Backstage, Generated, Tekton};
pub use github::{Github, Guarded, Permissions};
pub use history::History;
pub use integration::Integration;
pub use monitor::Monitor;
pub use perf::{Executor, Load, Perf, Scenario, Stage};
pub use policy::{Ignore, Licences, Policy, Vulnerabilities};
pub use release::{BlueGreen, Cluster, Login, MOST_KEPT, Rehearsal, Release, Strategy, VerifyAt};
pub use requests::{Request, Service, Smoke};
pub use scan::{Dependencies, Dockerfile, Locks, Manifests, Sast, Sbom, Secrets, Shell, Tools, Workflows};
pub use signing::{Key, Registry, Signing};
pub use thresholds::{Aggregation, Comparison, Kind, METRICS, Metric, Threshold, Thresholds};
pub use values::parse_duration;
use values::{date, duration};

/// The whole file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Interpreters and the environment of the tools.
    pub python: Python,
    /// Declares the pre-commit hooks.
    pub hooks: Option<Hooks>,
    /// Declares the test matrix.
    pub tests: Option<Tests>,
    /// Gives every leg of the matrix a Redis of its own.
    pub redis: Option<Redis>,
    /// Declares the combined coverage and its floor.
    pub coverage: Option<Coverage>,
    /// Declares the documents.
    pub docs: Option<Docs>,
    /// Where the lock files of the tools lie.
    #[serde(default)]
    pub tools: Tools,
    /// Declares the search for secrets.
    pub secrets: Option<Secrets>,
    /// Declares the static analysis of the source.
    pub sast: Option<Sast>,
    /// Declares the look-up of dependencies in data bases of vulnerabilities.
    pub dependencies: Option<Dependencies>,
    /// Declares the lock files that have to fit what they are made from.
    pub locks: Option<Locks>,
    /// Declares Dockerfiles.
    pub dockerfile: Option<Dockerfile>,
    /// Declares the image of the backend.
    pub container: Option<Container>,
    /// Declares the workflows of GitHub Actions.
    pub workflows: Option<Workflows>,
    /// Declares Kubernetes manifests.
    pub manifests: Option<Manifests>,
    /// Declares shell scripts.
    pub shell: Option<Shell>,
    /// Declares the SBOM.
    pub sbom: Option<Sbom>,
    /// Which licences the packages of the SBOM may have.
    pub licences: Option<Licences>,
    /// What the backend is asked and has to answer, by name.
    #[serde(default)]
    pub requests: BTreeMap<String, Request>,
    /// How the backend is started where no image of it is at hand.
    pub service: Option<Service>,
    /// Declares the tests of the whole, over real services.
    pub integration: Option<Integration>,
    /// Declares the questions that tell whether a running backend works.
    pub smoke: Option<Smoke>,
    /// Declares the load that a running backend has to bear.
    pub perf: Option<Perf>,
    /// Declares where images are pushed to.
    pub registry: Option<Registry>,
    /// Whose signature of an image counts.
    pub signing: Option<Signing>,
    /// What the settings of the repository on GitHub have to be.
    pub github: Option<Github>,
    /// Where the runs of all machines are remembered.
    pub history: Option<History>,
    /// Declares files for other tools that are made of this configuration.
    pub generated: Option<Generated>,
    /// What breaks a gate that scans.
    #[serde(default)]
    pub policy: Policy,
    /// Findings that do not count for a while, each with a reason and an expiry date.
    #[serde(default)]
    pub ignore: Vec<Ignore>,
    /// Tests known to be flaky, each with a reason and an expiry date.
    #[serde(default)]
    pub flaky: Vec<Flaky>,
    /// What the cache does not have to look at, and the environment that it does.
    #[serde(default)]
    pub cache: Cache,
    /// Which gates may be unable to run, for each profile.
    #[serde(default)]
    pub profiles: Profiles,
    /// Runner labels of GitHub Actions, by task; `default` for the rest.
    #[serde(default)]
    pub runners: BTreeMap<String, String>,
}

/// `[python]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Python {
    /// The versions of the matrix, `MAJOR.MINOR`.
    pub versions: Vec<String>,
    /// The version that the tools (hooks, coverage) run on.
    pub tools: String,
    /// The hash-pinned requirement file of the tools.
    pub tools_lock: String,
}

/// `[hooks]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hooks {
    /// The configuration that both pre-commit and prek accept.
    pub config: String,
    /// Ids of hooks that may have no file to look at; any other one that has none was not run.
    #[serde(default)]
    pub may_be_idle: Vec<String>,
    /// When the hooks are stopped.
    #[serde(default = "ten_minutes", with = "duration")]
    pub timeout: Duration,
}

/// `[tests]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tests {
    /// Where pytest starts, and where its configuration is.
    pub directory: String,
    /// The package whose coverage is measured.
    pub package: String,
    /// The hash-pinned requirement file of a leg.
    pub lock: String,
    /// Files and folders that the tests can see.
    pub inputs: Vec<String>,
    /// When a leg is stopped.
    #[serde(default = "ten_minutes", with = "duration")]
    pub timeout: Duration,
    /// How often a failing test is tried; 1 turns the search for flaky tests off.
    #[serde(default = "two")]
    pub attempts: u32,
}

/// `[redis]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    /// The variable in which the tests find the URL of their Redis.
    pub variable: String,
}

/// `[coverage]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Coverage {
    /// Percent of the combined coverage, branches included where they are measured.
    pub floor: f64,
}

/// `[docs]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Docs {
    /// Where MkDocs starts.
    pub directory: String,
    /// Its configuration, relative to that folder.
    pub config: String,
    /// The hash-pinned requirement file.
    pub lock: String,
    /// Files and folders that the site is made of.
    pub inputs: Vec<String>,
    /// When the build is stopped.
    #[serde(default = "ten_minutes", with = "duration")]
    pub timeout: Duration,
}

/// `[[flaky]]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flaky {
    /// The test's id as pytest prints it, without parameters or with them.
    pub test: String,
    /// Why it may stay flaky for a while.
    pub reason: String,
    /// The last day on which the entry counts, `YYYY-MM-DD`.
    #[serde(with = "date")]
    pub expires: time::Date,
}

/// `[cache]`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cache {
    /// Names of files and folders that tools make for themselves: the only ignored ones that no key covers.
    #[serde(default)]
    pub generated: Vec<String>,
    /// Variables that reach the gates and are part of their key.
    #[serde(default)]
    pub environment: Vec<String>,
}

/// `[profiles]`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profiles {
    /// On a laptop: gates that may be unable to run.
    #[serde(default)]
    pub local: LocalProfile,
    /// `actions`, less the gates that need data from outside.
    #[serde(default)]
    pub offline: OfflineProfile,
}

/// `[profiles.local]`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalProfile {
    /// Gate ids, or task names for all gates of a task.
    #[serde(default)]
    pub optional: Vec<String>,
}

/// `[profiles.offline]`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfflineProfile {
    /// Each with the one reason for which it may not run.
    #[serde(default)]
    pub unreachable: Vec<Unreachable>,
}

/// One entry of `profiles.offline.unreachable`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unreachable {
    /// A gate id.
    pub gate: String,
    /// The reason that the gate's report must give, to the letter.
    pub reason: String,
}

impl Config {
    /// Reads `FOLDER/pipeline.toml`; a mistake in it is a [`UsageError`].
    pub fn load(folder: &Path) -> Result<Self> {
        let path = folder.join("pipeline.toml");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read `{}`; name its folder with --config DIR", path.display()))
            .map_err(|e| UsageError(format!("{e:#}")))?;
        let config = Self::parse(&text).map_err(|e| UsageError(format!("{}:{e}", path.display())))?;
        Ok(config)
    }

    /// Text → configuration. The error is `LINE: what is wrong; the way out`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let config: Self = toml::from_str(text).map_err(|e| {
            let line = e.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            format!("{line}: {}", with_nearest_key(e.message()))
        })?;
        config.check().map_err(|e| format!("1: {e}"))?;
        Ok(config)
    }

    /// Every request can be sent, its shape can be met, and every name that is used is that of a request.
    fn check_requests(&self) -> Result<(), String> {
        for (name, request) in &self.requests {
            let is_sendable = request.path().starts_with('/') && request.send.split(' ').count() == 2;
            if !is_sendable || !request.method().bytes().all(|byte| byte.is_ascii_uppercase()) {
                return Err(format!("requests.{name}.send: `{}` is not like `GET /health`", request.send));
            }
            if request.json.is_some() && request.text.is_some() {
                return Err(format!("requests.{name} has both `json` and `text`"));
            }
            if let Some(defect) = request.body.as_ref().and_then(crate::shape::defect) {
                return Err(format!("requests.{name}.body: {defect}"));
            }
        }
        let service = self.service.iter().flat_map(|service| [&service.alive, &service.ready]);
        let service = service.chain(self.container.iter().flat_map(|container| &container.requests));
        let smoke = self.smoke.iter().flat_map(|smoke| &smoke.requests);
        match smoke.chain(service).find(|name| !self.requests.contains_key(*name)) {
            Some(unknown) => {
                let known: Vec<&str> = self.requests.keys().map(String::as_str).collect();
                Err(format!("no request is named `{unknown}` (there are: {})", known.join(", ")))
            }
            None => Ok(()),
        }
    }

    fn check(&self) -> Result<(), String> {
        let mut seen = std::collections::BTreeSet::new();
        for version in &self.python.versions {
            let well_formed = version.split_once('.').is_some_and(|(major, minor)| {
                [major, minor].iter().all(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))
            });
            if !well_formed {
                return Err(format!("python.versions: `{version}` is not MAJOR.MINOR"));
            }
            if !seen.insert(version) {
                return Err(format!("python.versions: `{version}` stands twice"));
            }
        }
        if self.tests.is_some() && self.python.versions.is_empty() {
            return Err("python.versions is empty, but [tests] is declared".into());
        }
        if self.coverage.is_some() && self.tests.is_none() {
            return Err("[coverage] needs [tests]".into());
        }
        if self.licences.is_some() && self.sbom.is_none() {
            return Err("[licences] needs [sbom]".into());
        }
        self.check_requests()?;
        if self.integration.is_some() && (self.service.is_none() || self.tests.is_none()) {
            return Err("[integration] needs [service] and [tests], whose lock has Redis".into());
        }
        let requests = self.requests.keys().map(String::as_str).collect();
        self.perf.iter().try_for_each(|perf| perf.check(&requests))?;
        self.registry.as_ref().map_or(Ok(()), Registry::check)?;
        self.signing.as_ref().map_or(Ok(()), Signing::check)?;
        self.github.as_ref().map_or(Ok(()), Github::check)?;
        self.history.as_ref().map_or(Ok(()), |history| history.check(self.github.as_ref()))?;
        self.container.as_ref().map_or(Ok(()), Container::check)?;
        self.generated.as_ref().map_or(Ok(()), |generated| generated.check(self))?;
        if self.container.is_some() && self.service.is_none() {
            return Err("[container] needs [service]".into());
        }
        if let Some(ignore) = self.ignore.iter().find(|ignore| ignore.reason.trim().is_empty()) {
            return Err(format!("the ignore of `{}` in `{}` has no reason", ignore.rule, ignore.gate));
        }
        match &self.coverage {
            Some(c) if !(0.0..=100.0).contains(&c.floor) => Err("coverage.floor is a percentage".into()),
            _ => Ok(()),
        }
    }
}

/// Replaces serde's list of all keys by the one that was probably meant.
fn with_nearest_key(message: &str) -> String {
    let names: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let kinds = [("unknown field", "key"), ("unknown variant", "value")];
    let kind = kinds.into_iter().find(|(start, _)| message.starts_with(start));
    let ([unknown, valid @ ..], Some((_, kind))) = (names.as_slice(), kind) else {
        return message.trim_end().to_owned();
    };
    let near = |name: &&&str| (strsim::jaro_winkler(unknown, name) * 1000.0) as u32;
    match valid.iter().max_by_key(near) {
        Some(nearest) => {
            format!("unknown {kind} `{unknown}`; the nearest valid {kind} is `{nearest}` (all: {})", valid.join(", "))
        }
        None => format!("unknown key `{unknown}`; this table has no keys"),
    }
}

fn ten_minutes() -> Duration {
    Duration::from_secs(600)
}

fn two() -> u32 {
    2
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALLEST: &str = "[python]\nversions = [\"3.12\"]\ntools = \"3.12\"\ntools_lock = \"tools.txt\"\n";

    #[test]
    fn the_smallest_file_declares_nothing() {
        let config = Config::parse(SMALLEST).unwrap();
        assert!(config.hooks.is_none() && config.tests.is_none() && config.docs.is_none());
    }

    #[test]
    fn mistakes_name_the_line_and_the_way_out() {
        for (more, message) in [
            ("[coverage]\nflor = 90.0\n", "6: unknown key `flor`; the nearest valid key is `floor` (all: floor)"),
            ("[coverage]\nfloor = 90.0\n", "1: [coverage] needs [tests]"),
            ("[hooks]\nconfig = 3\n", "6: invalid type: integer `3`, expected a string"),
            (
                "[hooks]\nconfig = \"x\"\ntimeout = \"10 minutes\"\n",
                "7: `10 minutes` is not a duration like 90s, 10m or 1h",
            ),
            (
                "[[flaky]]\ntest = \"t\"\nreason = \"r\"\nexpires = \"soon\"\n",
                "8: `soon` is not a date like 2027-01-31",
            ),
        ] {
            assert_eq!(Config::parse(&format!("{SMALLEST}{more}")).unwrap_err(), message);
        }
        let unknown = Config::parse(&format!("{SMALLEST}[pyton]\n")).unwrap_err();
        assert!(unknown.starts_with("5: unknown key `pyton`; the nearest valid key is `python`"), "{unknown}");
    }

    #[test]
    fn versions_are_checked() {
        for bad in ["3", "3.x", "", "3.12.1"] {
            let text = SMALLEST.replace("[\"3.12\"]", &format!("[\"{bad}\"]"));
            assert!(Config::parse(&text).unwrap_err().contains("is not MAJOR.MINOR"), "{bad}");
        }
        let twice = SMALLEST.replace("[\"3.12\"]", "[\"3.12\", \"3.12\"]");
        assert!(Config::parse(&twice).unwrap_err().contains("stands twice"));
    }
}
