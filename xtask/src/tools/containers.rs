//! The container engine of this machine: docker or podman, whichever answers. An engine belongs to the machine as git
//! does, so it comes from PATH in every profile; the report says which it was.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;

use super::command::Command;
use super::machine::Machine;
use super::proc::{Ended, Runner, Undo};
use crate::verdict::{NotRun, Unproven};

/// How long an engine may take for a question.
const PATIENCE: Duration = Duration::from_secs(60);

/// What marks every container, image and network of ours; its value is the name that the run gave it.
pub const LABEL: &str = "forge.xtask";

/// The way out where there is no engine.
pub const WAY_OUT: &str = "install one and start it: `apt-get install docker.io` and `dockerd`, or `apt-get install podman`, \
                           or Docker Desktop on macOS";

/// What builds images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Builder {
    /// `docker buildx build`.
    BuildKit,
    /// `docker build` without it: no mounts, not reproducible.
    Legacy,
    /// podman's own.
    Buildah,
}

impl Builder {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::BuildKit => "BuildKit",
            Self::Legacy => "docker's legacy builder",
            Self::Buildah => "buildah",
        }
    }
}

/// An engine that answers.
#[derive(Clone, Debug)]
pub struct Engine {
    /// `docker` or `podman`.
    pub name: &'static str,
    /// Its command line.
    pub program: PathBuf,
    /// The server's version.
    pub version: String,
    /// What builds images with it.
    pub builder: Builder,
    root: PathBuf,
}

/// The first engine that answers, docker before podman.
pub async fn find(machine: &Machine, runner: &Runner) -> Result<Engine, Unproven> {
    let mut silent = Vec::new();
    for name in ["docker", "podman"] {
        let Some(program) = machine.on_path(name) else { continue };
        let root = machine.ctx.root.clone();
        let mut engine = Engine { name, program, version: String::new(), builder: Builder::Buildah, root };
        // podman has no server to ask for.
        let format = if name == "docker" { "{{.Server.Version}}" } else { "{{.Client.Version}}" };
        let asked = runner.run(&engine.command(["version", "--format", format]).timeout(PATIENCE)).await?;
        if !asked.is_success() || asked.stdout.trim().is_empty() {
            silent.push(format!("{name} does not answer: {}", asked.failure()));
            continue;
        }
        asked.stdout.trim().clone_into(&mut engine.version);
        if name == "docker" {
            let buildx = runner.run(&engine.command(["buildx", "version"]).timeout(PATIENCE)).await?;
            engine.builder = if buildx.is_success() { Builder::BuildKit } else { Builder::Legacy };
        }
        return Ok(engine);
    }
    let why = if silent.is_empty() { "neither docker nor podman is on PATH".to_owned() } else { silent.join("; ") };
    Err(NotRun::new(format!("no container engine: {why}"), WAY_OUT).into())
}

/// A container, before it is started.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// The image, by its id or its digest.
    pub image: String,
    /// Its environment; nothing secret.
    pub env: BTreeMap<String, String>,
    /// The port within that is published on a free one of loopback.
    pub port: Option<u16>,
    /// Further options of `run`, such as `--read-only`.
    pub options: Vec<String>,
    /// What replaces the image's command.
    pub command: Vec<String>,
}

/// What an engine knows of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// `running`, `exited`, …
    pub status: String,
    /// `starting`, `healthy`, `unhealthy`; empty without a health check.
    pub health: String,
    /// Its exit code, once it has ended.
    pub exit_code: i32,
}

/// A container that was started; it is removed, with its volumes, when this is dropped.
#[derive(Debug)]
pub struct Container {
    /// Its name, which no other run uses.
    pub name: String,
    engine: Engine,
    _undo: Undo,
}

impl Engine {
    /// One call of it.
    pub fn command<S: Into<String>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        Command::new(&self.program, &self.root).args(args)
    }

    /// Starts a container of a name that nobody else uses.
    pub async fn start(&self, runner: &Runner, purpose: &str, run: &Run) -> Result<Container, Unproven> {
        let name = unique(purpose);
        // Before it is there: a run that is stopped in between leaves nothing either.
        let undo = Undo::new(runner, self.command(["rm", "--force", "--volumes", &name]));
        let mut command = self.command(["run", "--detach", "--name", &name, "--label", &format!("{LABEL}={name}")]);
        for (variable, value) in &run.env {
            command = command.args(["--env".to_owned(), format!("{variable}={value}")]);
        }
        if let Some(port) = run.port {
            command = command.args(["--publish".to_owned(), format!("127.0.0.1::{port}")]);
        }
        let command = command.args(run.options.clone()).args([run.image.clone()]).args(run.command.clone());
        let started = runner.run(&command.timeout(PATIENCE)).await?;
        if !started.is_success() {
            let reason = format!("{} cannot start a container of `{}`: {}", self.name, run.image, started.failure());
            return Err(NotRun::new(reason, "look into the gate's log").into());
        }
        Ok(Container { name, engine: self.clone(), _undo: undo })
    }
}

impl Container {
    /// What the engine says of it now.
    pub async fn state(&self, runner: &Runner) -> Result<State, Unproven> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Health {
            #[serde(default)]
            status: String,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Known {
            status: String,
            exit_code: i32,
            #[serde(alias = "Healthcheck")]
            health: Option<Health>,
        }
        let asked = self.ask(runner, ["inspect", "--format", "{{json .State}}", &self.name]).await?;
        let known: Known = serde_json::from_str(asked.stdout.trim())
            .map_err(|e| NotRun::new(format!("what {} says cannot be read: {e}", self.engine.name), "report it"))?;
        let health = known.health.map(|health| health.status).unwrap_or_default();
        Ok(State { status: known.status, health, exit_code: known.exit_code })
    }

    /// Where a published port answers.
    pub async fn address(&self, runner: &Runner, port: u16) -> Result<SocketAddr, Unproven> {
        let asked = self.ask(runner, ["port", &self.name, &port.to_string()]).await?;
        let address = asked.stdout.lines().find_map(|line| line.trim().parse::<SocketAddr>().ok());
        let address = address.map(|found| SocketAddr::from((Ipv4Addr::LOCALHOST, found.port())));
        Ok(address.ok_or_else(|| {
            let words = asked.stdout.trim();
            NotRun::new(format!("port {port} of the container is not published: `{words}`"), "look into the gate's log")
        })?)
    }

    /// Sends a signal, such as `TERM`.
    pub async fn signal(&self, runner: &Runner, signal: &str) -> Result<(), Unproven> {
        self.ask(runner, ["kill", "--signal", signal, &self.name]).await.map(|_| ())
    }

    /// What it printed so far, both streams; it is appended to the runner's log as well.
    pub async fn logs(&self, runner: &Runner) -> Result<String, Unproven> {
        let ended = self.ask(runner, ["logs", &self.name]).await?;
        Ok(ended.stdout + &ended.stderr)
    }

    /// One question about it that has to be answered.
    async fn ask<const N: usize>(&self, runner: &Runner, args: [&str; N]) -> Result<Ended, Unproven> {
        let command = self.engine.command(args).timeout(PATIENCE);
        let ended = runner.run(&command).await?;
        if ended.is_success() {
            return Ok(ended);
        }
        let reason = format!("`{command}` failed: {}", ended.failure());
        Err(NotRun::new(reason, "look into the gate's log").into())
    }
}

/// A name of ours that no other run gives, now or later.
pub fn unique(purpose: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("forge-xtask-{purpose}-{:x}-{}-{count}", now.as_micros(), std::process::id())
}
