//! Python environments: one folder for each use and interpreter, made by uv from a hash-pinned lock.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use super::cancel::Urgency;
use super::command::{Command, quoted};
use super::machine::Machine;
use super::proc::Runner;
use super::python::Interpreter;
use crate::config::{Config, Docs, Sbom, Tests};
use crate::context::Ctx;
use crate::disk::{lock, write_atomically};
use crate::verdict::{NotRun, Unproven};

/// What an environment is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The folder's name, such as `test-3.10`.
    pub name: String,
    /// `MAJOR.MINOR`
    pub python: String,
    /// The requirement file, relative to the repository.
    pub lock: String,
    /// Where its folder stands.
    pub shelf: Shelf,
}

/// Where environments stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shelf {
    /// `target/xtask/env`: what is tested, and the hooks.
    #[default]
    Environments,
    /// `target/xtask/tools`: programs of the catalogue.
    Tools,
}

/// An environment that is complete.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Its folder.
    pub folder: PathBuf,
    /// What it was made with.
    pub interpreter: Interpreter,
}

impl Spec {
    /// The environment of the tools, shared by the gates that use them.
    pub fn tools(config: &Config) -> Self {
        let python = &config.python;
        Self {
            name: "tools".into(),
            python: python.tools.clone(),
            lock: python.tools_lock.clone(),
            shelf: Shelf::Environments,
        }
    }

    /// The environment of one leg of the matrix.
    pub fn tests(tests: &Tests, python: &str) -> Self {
        Self {
            name: format!("test-{python}"),
            python: python.to_owned(),
            lock: tests.lock.clone(),
            shelf: Shelf::Environments,
        }
    }

    /// The environment of the documents.
    pub fn docs(config: &Config, docs: &Docs) -> Self {
        let python = config.python.tools.clone();
        Self { name: "docs".into(), python, lock: docs.lock.clone(), shelf: Shelf::Environments }
    }

    /// The environment of what runs, without tests and tools.
    pub fn runtime(config: &Config, sbom: &Sbom) -> Self {
        let python = config.python.tools.clone();
        Self { name: "runtime".into(), python, lock: sbom.lock.clone(), shelf: Shelf::Environments }
    }

    /// Programs of the catalogue: `LOCKS/python/NAME.txt`.
    pub fn programs(config: &Config, name: &str) -> Self {
        let lock = format!("{}/python/{name}.txt", config.tools.locks);
        Self { name: name.to_owned(), python: config.python.tools.clone(), lock, shelf: Shelf::Tools }
    }

    /// Where it lies, made or not.
    pub fn folder(&self, ctx: &Ctx) -> PathBuf {
        match self.shelf {
            Shelf::Environments => ctx.environments.join(&self.name),
            Shelf::Tools => ctx.tools.join(&self.name),
        }
    }

    /// Its interpreter, made or not.
    pub fn python(&self, ctx: &Ctx) -> PathBuf {
        self.folder(ctx).join("bin/python")
    }

    /// The two commands that make it.
    pub fn commands(&self, ctx: &Ctx, uv: &Path, interpreter: &Path) -> [Command; 2] {
        let uv = || {
            let uv = Command::new(uv, &ctx.root).env("UV_PYTHON_DOWNLOADS", "never").env("UV_NO_PROGRESS", "1");
            uv.timeout(Duration::from_secs(600))
        };
        [
            uv().args(["venv", "--quiet", "--clear", "--no-project", "--python"])
                .arg(interpreter)
                .arg(self.folder(ctx)),
            uv().args(["pip", "sync", "--require-hashes", "--python"])
                .arg(self.python(ctx))
                .arg(ctx.root.join(&self.lock)),
        ]
    }
}

impl Environment {
    /// A program of this environment.
    pub fn bin(&self, name: &str) -> PathBuf {
        self.folder.join("bin").join(name)
    }

    /// How many packages it has.
    pub fn installed(&self) -> usize {
        let entries = std::fs::read_dir(self.packages()).into_iter().flatten().flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().ends_with(".dist-info")).count()
    }

    /// Where its packages lie.
    pub fn packages(&self) -> PathBuf {
        let minor: Vec<&str> = self.interpreter.version.splitn(3, '.').take(2).collect();
        self.folder.join(format!("lib/python{}/site-packages", minor.join(".")))
    }
}

/// The file in an environment that says what it was made of.
const STAMP: &str = ".forge-stamp";

/// Whether the environment is there, was made in this place, and of the lock as it is now. Nothing is asked or made.
pub fn is_complete(ctx: &Ctx, spec: &Spec) -> bool {
    let made_of = std::fs::read_to_string(spec.folder(ctx).join(STAMP)).unwrap_or_default();
    let lock = std::fs::read(ctx.root.join(&spec.lock)).map(|bytes| blake3::hash(&bytes).to_hex().to_string());
    let is_here = made_of.lines().next() == Some(&*spec.folder(ctx).to_string_lossy());
    let version = format!(" {}.", spec.python);
    let has = |wanted: &dyn Fn(&str) -> bool| made_of.lines().any(wanted);
    lock.is_ok_and(|lock| is_here && has(&|line| line == lock)) && has(&|line| line.contains(&version))
}

/// Makes the environment, unless it is there and made of the same interpreter and lock.
///
/// Safe against other gates of this run and against other runs on the same checkout.
pub async fn ensure(machine: &Machine, runner: &Runner, spec: &Spec) -> Result<Environment, Unproven> {
    let ctx = &machine.ctx;
    let interpreter = machine.interpreter(&spec.python).await?;
    let environment = Environment { folder: spec.folder(ctx), interpreter };
    let wanted = stamp(ctx, spec, &environment.interpreter)?;
    let guard = machine.environment_guard(&spec.name).await;
    let _one_of_this_run = guard.lock().await;
    let mut cancel = machine.cancel.clone();
    let lock_file = environment.folder.with_file_name(format!("{}.lock", spec.name));
    let _one_of_all_runs = tokio::select! {
        locked = lock(&lock_file) => locked?,
        () = cancel.reached(Urgency::Gently) => return Err(NotRun::new("interrupted", "run it again").into()),
    };
    let stamp_file = environment.folder.join(STAMP);
    if std::fs::read_to_string(&stamp_file).is_ok_and(|stamp| stamp == wanted) {
        return Ok(environment);
    }
    let uv = machine.uv(runner).await?;
    for command in spec.commands(ctx, &uv.program, &environment.interpreter.executable) {
        let ended = runner.run(&command).await?;
        if !ended.is_success() {
            let reason = format!("the environment `{}` cannot be built: {}", spec.name, ended.failure());
            return Err(NotRun::new(reason, fix(spec)).into());
        }
    }
    write_atomically(&stamp_file, wanted.as_bytes())?;
    Ok(environment)
}

fn fix(spec: &Spec) -> String {
    format!("mend `{}` (its pins, its hashes, the way to the package index), then run again", quoted(&spec.lock))
}

/// What the environment depends on, as text.
fn stamp(ctx: &Ctx, spec: &Spec, interpreter: &Interpreter) -> Result<String, NotRun> {
    let lock = std::fs::read(ctx.root.join(&spec.lock))
        .map_err(|e| NotRun::new(format!("the lock `{}` cannot be read: {e}", spec.lock), fix(spec)))?;
    let lock = blake3::hash(&lock).to_hex();
    // Its scripts name its own place: an environment that was moved has to be made anew.
    let places = [&spec.folder(ctx), &interpreter.executable].map(|path| path.display().to_string());
    Ok(format!("{}\n{}\n{lock}\n", places.join("\n"), interpreter.build))
}
