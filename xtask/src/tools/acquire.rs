//! Gets the tools that get all other tools: uv, at the version and with the hashes that our lock pins.
//!
//! Nothing is installed into the machine's own Python: pip writes into a folder of the store.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::command::Command;
use super::machine::Machine;
use super::proc::Runner;
use super::python;
use super::requirements;
use crate::context::Ctx;
use crate::disk::write_atomically;
use crate::verdict::{NotRun, Tool, Unproven};

/// A uv that works.
#[derive(Clone, Debug)]
pub struct Uv {
    /// Absolute path.
    pub program: PathBuf,
    /// Name, version, and the hash where it came from PATH.
    pub tool: Tool,
}

/// uv from PATH where the profile trusts it, else ours, which is installed when it is missing.
pub async fn uv(machine: &Machine, runner: &Runner) -> Result<Uv, Unproven> {
    if machine.ctx.profile.trusts_path()
        && let Some(program) = machine.on_path("uv")
        && let Some(version) = version(machine, runner, &program).await?
    {
        let hash = Some(machine.facts.hash(&program)?);
        return Ok(Uv { program, tool: Tool { name: "uv".into(), version, hash } });
    }
    let program = match installed_uv(&machine.ctx) {
        Some(program) => program,
        None => install(machine, runner).await?,
    };
    let version = pinned(&machine.ctx)?.0;
    Ok(Uv { program, tool: Tool { name: "uv".into(), version, hash: None } })
}

/// Our own uv, if it is installed at the pinned version.
pub fn installed_uv(ctx: &Ctx) -> Option<PathBuf> {
    let (version, _) = pinned(ctx).ok()?;
    Some(ctx.tools.join(format!("uv-{version}/bin/uv"))).filter(|program| program.is_file())
}

/// The pinned version, and its lines of the lock.
fn pinned(ctx: &Ctx) -> Result<(String, String), NotRun> {
    let path = &ctx.config.python.tools_lock;
    let fix = format!("pin uv in `{path}`, or put uv on PATH");
    let lock = std::fs::read_to_string(ctx.root.join(path))
        .map_err(|e| NotRun::new(format!("the lock `{path}` cannot be read: {e}"), fix.clone()))?;
    let pins = requirements::pinned(&lock, "uv", &ctx.config.python.tools).zip(requirements::entry(&lock, "uv"));
    pins.ok_or_else(|| NotRun::new(format!("`{path}` pins no uv"), fix))
}

async fn version(machine: &Machine, runner: &Runner, program: &std::path::Path) -> Result<Option<String>> {
    if let Some(version) = machine.facts.get("uv", program) {
        return Ok(Some(version));
    }
    let ask = Command::new(program, &machine.ctx.root).arg("--version").timeout(Duration::from_secs(20));
    let ended = runner.run(&ask).await?;
    let version = ended.stdout.split_whitespace().nth(1).map(str::to_owned).filter(|_| ended.is_success());
    if let Some(version) = &version {
        machine.facts.put("uv", program, version);
    }
    Ok(version)
}

async fn install(machine: &Machine, runner: &Runner) -> Result<PathBuf, Unproven> {
    let ctx = &machine.ctx;
    let (version, entry) = pinned(ctx)?;
    let target = ctx.tools.join(format!("uv-{version}"));
    let tools = ctx.tools.clone();
    std::fs::create_dir_all(&tools).with_context(|| format!("cannot make `{}`", tools.display()))?;
    let list = tools.join("uv.txt");
    write_atomically(&list, entry.as_bytes())?;
    let fix = "put uv on PATH (`pipx install uv`, or your system's package), then run again";
    let mut why = "no Python with pip was found to install it".to_owned();
    for interpreter in python::any(machine).await? {
        let scratch = tempfile::tempdir_in(&tools).context("cannot make a folder for uv")?;
        let pip = Command::new(&interpreter.executable, &ctx.root)
            .args(["-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps", "--require-hashes"])
            .args(["--only-binary=:all:", "--target"])
            .arg(scratch.path())
            .args(["-r"])
            .arg(&list)
            .timeout(Duration::from_secs(300));
        let ended = runner.run(&pip).await?;
        if ended.is_success() && scratch.path().join("bin/uv").is_file() {
            // Another run may have been faster; its uv has the same hash.
            if std::fs::rename(scratch.path(), &target).is_ok() {
                let _kept = scratch.keep();
            }
            return Ok(target.join("bin/uv"));
        }
        why = format!("`{pip}` ended with {}", ended.failure());
    }
    Err(NotRun::new(format!("uv {version} could not be installed: {why}"), fix).into())
}
