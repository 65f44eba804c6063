//! What a running gate may use: the machine, its own log, and a way to tell what it does.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};

use crate::context::Ctx;
use crate::disk::read_report;
use crate::event::{Event, Events};
use crate::model::log_artifact;
use crate::tools::catalog::Program;
use crate::tools::command::Command;
use crate::tools::environment::{self, Environment, Spec};
use crate::tools::machine::Machine;
use crate::tools::proc::{Ended, Runner};
use crate::tools::program::{self, Installed};
use crate::tools::redis::{self, Redis};
use crate::verdict::{NotRun, Tool, Unproven};

/// Handed to a gate's action.
#[derive(Clone)]
pub struct Session {
    /// The gate's id.
    pub gate: String,
    /// This machine.
    pub machine: Arc<Machine>,
    runner: Runner,
    events: Events,
    used: Arc<Mutex<Vec<Tool>>>,
}

impl Session {
    /// A session that writes `OUT/logs/GATE.log` and reports each line as an event.
    pub fn open(gate: &str, nice: i32, machine: &Arc<Machine>, events: &Events) -> Result<Self> {
        let log = machine.ctx.out.join(log_artifact(gate));
        let folder = log.parent().unwrap_or(&log);
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
        std::fs::write(&log, "").with_context(|| format!("cannot write `{}`", log.display()))?;
        let (to, id) = (events.clone(), gate.to_owned());
        let on_line = move |line: &str| to.send(Event::Line { gate: id.clone(), text: line.to_owned() });
        let ledger = machine.ledger.clone();
        let runner = Runner { log: Some(log), on_line: Some(Arc::new(on_line)), nice, ledger, ..machine.quiet() };
        let (machine, events) = (machine.clone(), events.clone());
        Ok(Self { gate: gate.to_owned(), machine, runner, events, used: Arc::default() })
    }

    /// The invocation.
    pub fn ctx(&self) -> &Ctx {
        &self.machine.ctx
    }

    /// Tells what the gate does now.
    pub fn doing(&self, what: impl Into<String>) {
        self.events.send(Event::Step { gate: self.gate.clone(), command: what.into() });
    }

    /// Runs one command of the gate.
    pub async fn step(&self, command: &Command) -> Result<Ended> {
        // Places of this checkout are told as a person in it would write them.
        let shown = command.to_string().replace(&format!("{}/", self.ctx().root.display()), "");
        self.doing(shown);
        self.runner.run(command).await
    }

    /// Makes an environment, or finds it made.
    pub async fn environment(&self, spec: &Spec) -> Result<Environment, Unproven> {
        self.doing(format!("environment {}", spec.name));
        let made = environment::ensure(&self.machine, &self.runner, spec).await;
        if let Some(uv) = self.machine.uv_from_path() {
            self.uses(uv);
        }
        made
    }

    /// A program of the catalogue, installed if it is not there yet.
    pub async fn program(&self, program: &'static Program) -> Result<Installed, Unproven> {
        self.doing(format!("program {}", program.name));
        let installed = program::ensure(&self.machine, &self.runner, program).await?;
        self.uses(installed.tool.clone());
        Ok(installed)
    }

    /// Runs one command of the gate with a program of the catalogue, which the plan names by its name alone.
    pub async fn tool(&self, program: &'static Program, step: &Command) -> Result<Ended, Unproven> {
        let installed = self.program(program).await?;
        let step = Command { program: installed.path.to_string_lossy().into_owned(), ..step.clone() };
        Ok(self.step(&step).await?)
    }

    /// What runs the gate's commands, for services that live beside it.
    pub fn runner(&self) -> &Runner {
        &self.runner
    }

    /// Remembers a program for the gate's report.
    pub fn uses(&self, tool: Tool) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if !used.contains(&tool) {
            used.push(tool);
        }
    }

    /// The programs that were used so far.
    pub fn used(&self) -> Vec<Tool> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Starts a Redis for this gate alone.
    pub async fn redis(&self, environment: &Environment) -> Result<Redis, Unproven> {
        let program = redis::find(&self.machine, environment)?;
        if !program.starts_with(&environment.folder) {
            let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let hash = Some(self.machine.facts.hash(&program)?);
            self.uses(Tool { name, version: "from PATH".to_owned(), hash });
        }
        // What a server says is for the log; the newest line on the terminal is the test's.
        let runner = Runner { on_line: None, ..self.runner.clone() };
        redis::start(&self.machine, &runner, &program).await
    }

    /// A path for an artifact, with its folder made and any older file of that name gone.
    pub fn artifact(&self, relative: &str) -> Result<PathBuf> {
        let path = self.ctx().out.join(relative);
        let folder = path.parent().unwrap_or(&path);
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
        let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        match removed {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(e).with_context(|| format!("cannot remove the older `{}`", path.display()))
            }
            _ => Ok(path),
        }
    }

    /// The report that a tool wrote, without the secrets that it may have quoted; they leave the file too.
    pub fn report(&self, path: &Path) -> Result<String, String> {
        let text = read_report(path)?;
        let safe = self.ctx().redactor.redact(&text);
        if safe != text {
            std::fs::write(path, &safe)
                .map_err(|e| format!("the report `{}` cannot be redacted: {e}", path.display()))?;
        }
        Ok(safe)
    }

    /// Writes a line of ours into the gate's log.
    pub fn note(&self, text: &str) -> Result<()> {
        use std::io::Write as _;
        let path = self.ctx().out.join(log_artifact(&self.gate));
        let cannot = || format!("cannot write `{}`", path.display());
        let mut log = std::fs::OpenOptions::new().append(true).create(true).open(&path).with_context(cannot)?;
        writeln!(log, "{}", self.ctx().redactor.clean(text)).with_context(cannot)
    }

    /// Says what the gate does now: the newest line on the terminal, and a line in its log.
    pub fn say(&self, text: &str) -> Result<()> {
        self.events.send(Event::Line { gate: self.gate.clone(), text: self.ctx().redactor.clean(text) });
        self.note(text)
    }

    /// A gate that did not run, with the log as the next place to look.
    pub fn not_run(&self, reason: impl Into<String>) -> NotRun {
        let log = self.machine.shown(&self.ctx().out.join(log_artifact(&self.gate)));
        NotRun::new(reason, format!("look into `{log}`"))
    }
}
