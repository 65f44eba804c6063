//! Finds a program of the catalogue, or installs it: by lock file, by release archive, from PATH, repackaged.
//!
//! Each lies in a folder of its own below `target/xtask/tools` and appears there by one rename, so that
//! versions lie side by side and an interrupted installation leaves nothing. Its bytes are checked
//! each time against those that were installed.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::cancel::Urgency;
use super::catalog::{Lock, Program, REPACKAGED, Source};
use super::command::Command;
use super::environment::{self, Environment, Spec};
use super::machine::Machine;
use super::proc::Runner;
use super::{archive, golang, requirements};
use crate::context::{Ctx, Profile};
use crate::disk::lock;
use crate::verdict::{NotRun, Tool, Unproven};

/// The file in a program's folder that holds the hash of what was installed.
const HASH: &str = ".blake3";

/// A program that can be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// Absolute path.
    pub path: PathBuf,
    /// Name, version, and the hash where it came from PATH.
    pub tool: Tool,
    /// Where it came from, in a few words.
    pub origin: String,
}

/// The environment of a requirement file of the tools.
pub fn spec(ctx: &Ctx, which: Lock) -> Spec {
    match which {
        Lock::Hooks => Spec::tools(&ctx.config),
        Lock::Named(name) => Spec::programs(&ctx.config, name),
    }
}

/// The version that a source pins; `None` where its lock does not have the program.
pub fn pinned(ctx: &Ctx, program: &Program, source: Source) -> Option<String> {
    let locked = |lock: Lock, package: &str| {
        let text = std::fs::read_to_string(ctx.root.join(spec(ctx, lock).lock)).ok()?;
        requirements::pinned(&text, package, &ctx.config.python.tools)
    };
    match source {
        Source::Python { lock, package } => locked(lock, package),
        Source::Repackaged { package } => locked(Lock::Named(REPACKAGED), package),
        Source::Go { module, package, .. } => golang::pinned(ctx, module, package),
        Source::Ours { module, of, .. } => golang::pinned(ctx, module, of),
        Source::Archive => archive::pinned(ctx, program.name).map(|archive| archive.version),
    }
}

/// The version of the best source that pins one.
pub fn version(ctx: &Ctx, program: &Program) -> Option<String> {
    allowed(ctx, program).find_map(|source| pinned(ctx, program, source))
}

/// The files that pin the program, relative to the repository: a change of one changes what is run.
pub fn locks(ctx: &Ctx, program: &Program) -> Vec<String> {
    let file = |source: &Source| match source {
        Source::Python { lock, .. } => vec![spec(ctx, *lock).lock],
        Source::Repackaged { .. } => vec![spec(ctx, Lock::Named(REPACKAGED)).lock],
        Source::Go { module, .. } => golang::files(ctx, module),
        Source::Ours { module, .. } => golang::files_of_ours(ctx, module, program.name),
        Source::Archive => vec![archive::file(ctx)],
    };
    program.sources.iter().flat_map(file).collect()
}

/// The Python environments that a program may run in.
pub fn environments(ctx: &Ctx, program: &Program) -> Vec<Spec> {
    let of = |source: Source| match source {
        Source::Python { lock, .. } => Some(spec(ctx, lock)),
        _ => None,
    };
    allowed(ctx, program).filter_map(of).collect()
}

/// The sources that count in this profile, the best first.
pub fn allowed(ctx: &Ctx, program: &Program) -> impl Iterator<Item = Source> {
    let profile = ctx.profile;
    let counts = move |source: &Source| profile != Profile::Actions || !matches!(source, Source::Repackaged { .. });
    program.sources.iter().copied().filter(counts)
}

/// A program that is there already, without getting anything.
pub fn installed(machine: &Machine, program: &Program) -> Result<Option<Installed>> {
    for source in allowed(&machine.ctx, program) {
        // One from PATH comes before one that others packaged.
        let on_path = machine.ctx.profile.trusts_path() && machine.on_path(program.name).is_some();
        if on_path && matches!(source, Source::Repackaged { .. }) {
            continue;
        }
        if let Some(found) = at_source(machine, program, source)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The program, installed from the best source that can be had.
pub async fn ensure(machine: &Machine, runner: &Runner, program: &Program) -> Result<Installed, Unproven> {
    // An environment may have the name of its program, and is made while this is held.
    let guard = machine.environment_guard(&format!("program {}", program.name)).await;
    let _one_of_this_run = guard.lock().await;
    if let Some(found) = installed(machine, program)? {
        return Ok(found);
    }
    let mut cancel = machine.cancel.clone();
    let lock_file = machine.ctx.tools.join(format!("{}.program.lock", program.name));
    let _one_of_all_runs = tokio::select! {
        locked = lock(&lock_file) => locked?,
        () = cancel.reached(Urgency::Gently) => return Err(NotRun::new("interrupted", "run it again").into()),
    };
    if let Some(found) = installed(machine, program)? {
        return Ok(found);
    }
    let mut refused: Vec<NotRun> = Vec::new();
    for source in allowed(&machine.ctx, program) {
        if matches!(source, Source::Repackaged { .. })
            && let Some(found) = from_path(machine, runner, program).await?
        {
            return Ok(found);
        }
        match install(machine, runner, program, source).await {
            Ok(()) => {}
            Err(Unproven::NotRun(why)) => {
                refused.push(why);
                continue;
            }
            Err(defect) => return Err(defect),
        }
        match at_source(machine, program, source)? {
            Some(found) => return Ok(found),
            None => refused.push(NotRun::new(format!("{} has no `{}`", label(source), program.name), "report it")),
        }
    }
    if let Some(found) = from_path(machine, runner, program).await? {
        return Ok(found);
    }
    Err(missing(program, &refused).into())
}

fn missing(program: &Program, refused: &[NotRun]) -> NotRun {
    let why: Vec<&str> = refused.iter().map(|why| why.reason.as_str()).collect();
    let why = if why.is_empty() { "no source of it counts in this profile".to_owned() } else { why.join("; ") };
    let fix = refused.first().map_or("cargo xtask tools list", |why| why.fix.as_str());
    NotRun::new(format!("`{}` cannot be had: {why}", program.name), fix)
}

/// Where a program came from, for people.
pub fn label(source: Source) -> &'static str {
    match source {
        Source::Python { .. } => "requirement file",
        Source::Go { .. } | Source::Ours { .. } => "go.mod",
        Source::Archive => "release archive",
        Source::Repackaged { .. } => "repackaged",
    }
}

/// The folder of what a source installs; `None` for Python packages, which share an environment.
fn folder(ctx: &Ctx, program: &Program, source: Source) -> Option<PathBuf> {
    let pinned_by = match source {
        Source::Go { module, .. } => golang::fingerprint(ctx, &golang::files(ctx, module))?,
        Source::Ours { module, .. } => golang::fingerprint(ctx, &golang::files_of_ours(ctx, module, program.name))?,
        Source::Archive => archive::pinned(ctx, program.name)?.sha256[..8].to_owned(),
        Source::Python { .. } | Source::Repackaged { .. } => return None,
    };
    let version = pinned(ctx, program, source)?;
    Some(ctx.tools.join(format!("{}-{version}-{pinned_by}", program.name)))
}

fn at_source(machine: &Machine, program: &Program, source: Source) -> Result<Option<Installed>> {
    let ctx = &machine.ctx;
    let Some(version) = pinned(ctx, program, source) else { return Ok(None) };
    let path = match source {
        Source::Python { lock, .. } => in_environment(ctx, &spec(ctx, lock), program),
        Source::Repackaged { .. } => in_environment(ctx, &spec(ctx, Lock::Named(REPACKAGED)), program),
        Source::Go { .. } | Source::Ours { .. } | Source::Archive => {
            let Some(folder) = folder(ctx, program, source) else { return Ok(None) };
            unchanged(machine, &folder, program)?
        }
    };
    let tool = Tool { name: program.name.to_owned(), version, hash: None };
    Ok(path.map(|path| Installed { path, tool, origin: label(source).to_owned() }))
}

fn in_environment(ctx: &Ctx, spec: &Spec, program: &Program) -> Option<PathBuf> {
    let path = spec.folder(ctx).join("bin").join(program.name);
    (environment::is_complete(ctx, spec) && path.is_file()).then_some(path)
}

/// The program in `folder`, if it has the bytes that were installed.
fn unchanged(machine: &Machine, folder: &Path, program: &Program) -> Result<Option<PathBuf>> {
    let path = folder.join("bin").join(program.name);
    let Ok(expected) = std::fs::read_to_string(folder.join(HASH)) else { return Ok(None) };
    Ok((path.is_file() && machine.facts.hash(&path)? == expected.trim()).then_some(path))
}

async fn install(machine: &Machine, runner: &Runner, program: &Program, source: Source) -> Result<(), Unproven> {
    let ctx = &machine.ctx;
    let Some(version) = pinned(ctx, program, source) else {
        let files = locks(ctx, program).join("`, `");
        let fix = format!("pin `{}` in one of `{files}`", program.name);
        return Err(NotRun::new(format!("no {} pins it", label(source)), fix).into());
    };
    let named = match source {
        Source::Python { lock, .. } => Some(lock),
        Source::Repackaged { .. } => Some(Lock::Named(REPACKAGED)),
        Source::Go { .. } | Source::Ours { .. } | Source::Archive => None,
    };
    if let Some(lock) = named {
        let _made: Environment = environment::ensure(machine, runner, &spec(ctx, lock)).await?;
        return Ok(());
    }
    let Some(target) = folder(ctx, program, source) else { return Ok(()) };
    let tools = ctx.tools.clone();
    std::fs::create_dir_all(&tools).with_context(|| format!("cannot make `{}`", tools.display()))?;
    let scratch = tempfile::tempdir_in(&tools).context("cannot make a folder for a program")?;
    let bin = scratch.path().join("bin");
    std::fs::create_dir(&bin).context("cannot make a folder for a program")?;
    match source {
        Source::Go { module, package, tags } => {
            let program = bin.join(program.name);
            let target = golang::Target { module, package, tags, stamp: None, program: &program };
            golang::build(machine, runner, &target).await?;
        }
        Source::Ours { module, stamp, .. } => {
            let stamp = (!stamp.is_empty()).then(|| format!("{stamp}=v{version}"));
            let (package, program) = (format!("./{}", program.name), bin.join(program.name));
            let target = golang::Target { module, package: &package, tags: "", stamp, program: &program };
            golang::build(machine, runner, &target).await?;
        }
        _ => archive::fetch(machine, runner, program.name, scratch.path()).await?,
    }
    let made = bin.join(program.name);
    if !made.is_file() {
        let reason = format!("{} {version} has no `{}`", label(source), program.name);
        return Err(NotRun::new(reason, "report it").into());
    }
    let bytes = std::fs::read(&made).context("cannot read what was installed")?;
    std::fs::write(scratch.path().join(HASH), blake3::hash(&bytes).to_hex().as_str())
        .context("cannot write what was installed")?;
    // What lies there was found damaged, or is of an older installation that stopped.
    let _gone = std::fs::remove_dir_all(&target);
    let kept = scratch.keep();
    std::fs::rename(&kept, &target).with_context(|| format!("cannot make `{}`", target.display()))?;
    Ok(())
}

/// A program from PATH counts in `local` only, and the report says by its hash which one it was (R15).
async fn from_path(machine: &Machine, runner: &Runner, program: &Program) -> Result<Option<Installed>> {
    let Some(path) = machine.on_path(program.name).filter(|_| machine.ctx.profile.trusts_path()) else {
        return Ok(None);
    };
    let ask = Command::new(&path, &machine.ctx.root)
        .args(program.version.iter().copied())
        .timeout(std::time::Duration::from_secs(20));
    let ended = runner.run(&ask).await?;
    let words = format!("{}\n{}", ended.stdout, ended.stderr);
    let numbered = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.');
    let version = words.split([' ', '\n', ',', 'v', '"']).find(numbered).unwrap_or("unknown").to_owned();
    let hash = Some(machine.facts.hash(&path)?);
    let tool = Tool { name: program.name.to_owned(), version, hash };
    Ok(Some(Installed { path, tool, origin: "PATH".to_owned() }))
}
