//! The backend itself: how it is served here, started, watched until it is ready, and stopped.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Deserialize;

use super::ground::Ground;
use crate::config::{Request, Service};
use crate::tools::command::Command;
use crate::tools::containers::{self, Container, Engine, Run};
use crate::tools::environment::{self, Environment, Shelf, Spec};
use crate::tools::http;
use crate::tools::machine::Machine;
use crate::tools::proc::{Exit, Runner, Server};
use crate::verdict::{NotRun, Unproven};

/// The pause between two questions whether it is ready.
const BETWEEN: Duration = Duration::from_millis(50);

/// How many of its last lines are told when it did not get ready.
const LAST_LINES: usize = 8;

/// What the gate that builds the image leaves, relative to the output folder.
pub const IMAGE: &str = "container/image.json";

/// As shipped: the file system is read-only, nothing is permitted, and `/tmp` alone can be written.
const HARDENED: [&str; 7] =
    ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--tmpfs", "/tmp"];

/// How the backend is served here.
#[derive(Clone, Debug)]
pub enum Served {
    /// Its image, by an engine.
    Image {
        /// The engine.
        engine: Engine,
        /// The image's id.
        id: String,
    },
    /// Its source, by a Python environment of its lock.
    Process(Box<Environment>),
}

impl fmt::Display for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image { engine, id } => write!(f, "its image {id} by {} {}", engine.name, engine.version),
            Self::Process(environment) => {
                write!(f, "its source on Python {}, in no container", environment.interpreter.version)
            }
        }
    }
}

impl Served {
    /// The image where one is expected and an engine answers. Without an engine its source, on a laptop only.
    pub async fn find(machine: &Machine, runner: &Runner, service: &Service, image: bool) -> Result<Self, Unproven> {
        if image {
            match containers::find(machine, runner).await {
                Ok(engine) => return built(machine, engine),
                Err(Unproven::NotRun(_)) if machine.ctx.profile.trusts_path() => {}
                Err(why) => return Err(why),
            }
        }
        let environment = environment::ensure(machine, runner, &spec(service)).await?;
        Ok(Self::Process(Box::new(environment)))
    }
}

/// The environment in which the source runs.
pub fn spec(service: &Service) -> Spec {
    Spec {
        name: "service".to_owned(),
        python: service.python.clone(),
        lock: service.lock.clone(),
        shelf: Shelf::Environments,
    }
}

fn built(machine: &Machine, engine: Engine) -> Result<Served, Unproven> {
    #[derive(Deserialize)]
    struct Image {
        id: String,
        engine: String,
    }
    let path = machine.ctx.out.join(IMAGE);
    let build = "cargo xtask container build";
    let text = std::fs::read_to_string(&path).map_err(|e| {
        NotRun::new(format!("no image of the backend was built: `{}`: {e}", machine.shown(&path)), build)
    })?;
    let image: Image = serde_json::from_str(&text)
        .map_err(|e| NotRun::new(format!("`{}` cannot be read: {e}", machine.shown(&path)), build))?;
    if image.engine != engine.name {
        let reason = format!("the image was built by {}, and {} is the engine now", image.engine, engine.name);
        return Err(NotRun::new(reason, build).into());
    }
    Ok(Served::Image { engine, id: image.id })
}

/// Everything that has to be known to start it, and to start it again.
#[derive(Clone)]
pub struct Recipe {
    /// The machine.
    pub machine: Arc<Machine>,
    /// Runs it; its log is the backend's own.
    pub runner: Runner,
    /// `[service]`
    pub service: Service,
    /// How.
    pub served: Served,
    /// Its environment, places not filled in.
    pub environment: BTreeMap<String, String>,
    /// What `{redis}`, `{ollama}` and further places stand for; a variable with a place that is unknown is not set.
    pub places: BTreeMap<&'static str, String>,
    /// The places whose values are secret.
    pub secret: Vec<&'static str>,
    /// The network of its container.
    pub network: Option<String>,
}

/// A backend that was started.
#[derive(Debug)]
pub struct Backend {
    /// Where it answers, without a slash at the end.
    pub url: String,
    running: Running,
}

#[derive(Debug)]
enum Running {
    Container { container: Box<Container>, logs: Server },
    Process(Server),
}

impl Recipe {
    /// Starts it; it is not ready yet.
    pub async fn start(&self) -> Result<Backend, Unproven> {
        match &self.served {
            Served::Image { engine, id } => self.start_image(engine, id).await,
            Served::Process(environment) => self.start_process(environment),
        }
    }

    async fn start_image(&self, engine: &Engine, id: &str) -> Result<Backend, Unproven> {
        let port = self.service.port;
        let (plain, secret) = self.variables("0.0.0.0", port);
        let mut options: Vec<String> = HARDENED.map(str::to_owned).to_vec();
        options.extend(self.network.iter().flat_map(|network| ["--network".to_owned(), network.clone()]));
        // By name alone, so that the value is in no process list: the engine takes it from its own environment.
        options.extend(secret.keys().flat_map(|name| ["--env".to_owned(), name.clone()]));
        let mut runner = self.runner.clone();
        runner.env.extend(secret);
        let run = Run { image: id.to_owned(), env: plain, port: Some(port), options, command: vec![] };
        let container = engine.start(&runner, "backend", &run).await?;
        let url = match container.address(&self.runner, port).await {
            Ok(address) => format!("http://{address}"),
            Err(why) => {
                // One that has ended publishes nothing, and its own words say more than that.
                let said = container.logs(&self.runner).await?;
                let Unproven::NotRun(why) = why else { return Err(why) };
                return Err(NotRun::new(format!("{}{}", why.reason, last_words(&said)), why.fix).into());
            }
        };
        let logs = self.runner.serve(&engine.command(["logs", "--follow", &container.name]))?;
        Ok(Backend { url, running: Running::Container { container: Box::new(container), logs } })
    }

    fn start_process(&self, environment: &Environment) -> Result<Backend, Unproven> {
        let address = Ground::loopback().address()?;
        let (plain, secret) = self.variables(&address.ip().to_string(), address.port());
        let ctx = &self.machine.ctx;
        let directory = ctx.root.join(&self.service.directory);
        let mut command = Command::new(environment.bin("python"), &directory)
            .args(self.service.run.clone())
            .env("PYTHONPATH", directory.join(&self.service.source))
            .env("PYTHONUNBUFFERED", "1")
            .env("PYTHONPYCACHEPREFIX", ctx.store.join("pycache/service"));
        command.env.extend(plain);
        command.env.extend(secret);
        let server = self.runner.serve(&command)?;
        Ok(Backend { url: format!("http://{address}"), running: Running::Process(server) })
    }

    /// Its variables: those that may be shown, and those that may not.
    fn variables(&self, host: &str, port: u16) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
        let mut places: BTreeMap<&str, &str> =
            self.places.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let port = port.to_string();
        places.extend([("host", host), ("port", port.as_str())]);
        let filled = self.environment.iter().filter_map(|(name, value)| {
            let is_secret = self.secret.iter().any(|place| value.contains(&format!("{{{place}}}")));
            Some((name.clone(), (is_secret, fill(value, &places)?)))
        });
        let (secret, plain): (BTreeMap<_, _>, BTreeMap<_, _>) = filled.partition(|(_, (is_secret, _))| *is_secret);
        let values = |map: BTreeMap<String, (bool, String)>| map.into_iter().map(|(name, (_, value))| (name, value));
        (values(plain).collect(), values(secret).collect())
    }

    /// Asks until it answers as `ready` says; its early end and the end of `starts_within` are told with its last lines.
    pub async fn ready(&self, backend: &mut Backend, ready: &Request) -> Result<(), Unproven> {
        let client = http::local_client()?;
        let begun = Instant::now();
        let limit = self.service.starts_within;
        let ready = Request { timeout: ready.timeout.min(limit), ..ready.clone() };
        loop {
            let Err(wrong) = http::expect(&client, &backend.url, &ready).await else { return Ok(()) };
            if self.machine.cancel.is_cancelled() {
                return Err(NotRun::new("interrupted", "run it again").into());
            }
            let why = match backend.ended(&self.runner).await? {
                Some(exit) => format!("the backend ended before it was ready: {exit}"),
                None if begun.elapsed() > limit => {
                    format!("the backend was not ready within {} s: {wrong}", limit.as_secs_f32())
                }
                None => {
                    tokio::time::sleep(BETWEEN).await;
                    continue;
                }
            };
            let words = last_words(&self.said(backend).await?);
            return Err(NotRun::new(format!("{why}{words}"), self.look()).into());
        }
    }

    /// What it has printed, as far as that is known.
    async fn said(&self, backend: &Backend) -> Result<String, Unproven> {
        if let Running::Container { container, .. } = &backend.running {
            return container.logs(&Runner { log: None, ..self.runner.clone() }).await;
        }
        let Some(log) = &self.runner.log else { return Ok(String::new()) };
        // The last lines of a process that has just ended are still on their way.
        tokio::time::sleep(BETWEEN).await;
        Ok(std::fs::read_to_string(log).with_context(|| format!("cannot read `{}`", log.display()))?)
    }

    fn look(&self) -> String {
        let log = self.runner.log.clone().unwrap_or_else(|| PathBuf::from("the gate's log"));
        format!("look into `{}`", self.machine.shown(&log))
    }
}

impl Backend {
    /// How it ended, if it has.
    pub async fn ended(&mut self, runner: &Runner) -> Result<Option<Exit>, Unproven> {
        match &mut self.running {
            Running::Process(server) => Ok(server.ended()),
            Running::Container { container, logs } => {
                // What follows its log ends with it, and costs nothing to look at.
                if logs.ended().is_none() {
                    return Ok(None);
                }
                // The engine's answer to the same question over and over is no news for the log.
                let state = container.state(&Runner { log: None, ..runner.clone() }).await?;
                let alive = ["created", "running", "restarting", "paused"].contains(&state.status.as_str());
                Ok((!alive).then_some(Exit::Code(state.exit_code)))
            }
        }
    }

    /// Asks it to end, as an orchestrator does.
    pub async fn terminate(&self, runner: &Runner) -> Result<(), Unproven> {
        match &self.running {
            Running::Process(server) => {
                server.terminate();
                Ok(())
            }
            Running::Container { container, .. } => container.signal(runner, "TERM").await,
        }
    }
}

/// `{place}` replaced by what it stands for; `None` where that is not known.
fn fill(template: &str, places: &BTreeMap<&str, &str>) -> Option<String> {
    let (mut filled, mut rest) = (String::new(), template);
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let named =
            after.split_once('}').filter(|(name, _)| !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase()));
        match named {
            Some((name, after)) => {
                filled.push_str(places.get(name)?);
                rest = after;
            }
            // A brace of JSON.
            None => {
                filled.push('{');
                rest = after;
            }
        }
    }
    Some(filled + rest)
}

/// The last lines of a log, for a reason; empty where there are none.
fn last_words(log: &str) -> String {
    let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty() && !line.starts_with("$ ")).collect();
    let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
    if last.is_empty() { "; it printed nothing".to_owned() } else { format!("; its last lines:\n{}", last.join("\n")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled_in_and_a_variable_without_its_place_is_not_set() {
        let places = BTreeMap::from([("host", "127.0.0.1"), ("port", "8000")]);
        for (template, filled) in [
            ("{host}:{port}", Some("127.0.0.1:8000")),
            ("plain", Some("plain")),
            ("{redis}", None),
            (r#"[{"name": "vllm"}]"#, Some(r#"[{"name": "vllm"}]"#)),
            ("{", Some("{")),
        ] {
            assert_eq!(fill(template, &places).as_deref(), filled, "{template}");
        }
    }

    #[test]
    fn the_last_lines_are_told_and_commands_are_not_among_them() {
        assert_eq!(last_words("$ python -m forge\n\n"), "; it printed nothing");
        assert_eq!(last_words("$ python\none\n\ntwo\n"), "; its last lines:\none\ntwo");
    }
}
