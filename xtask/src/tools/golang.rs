//! Programs that are built from a `go.mod` and `go.sum` of ours: every module's bytes are in the lock.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::command::Command;
use super::machine::Machine;
use super::proc::Runner;
use crate::context::Ctx;
use crate::verdict::{NotRun, Unproven};

/// How Go is had.
pub const INSTALL: &str = "install Go from your system's packages (`apt-get install golang`, `brew install go`)";

fn folder(ctx: &Ctx, module: &str) -> PathBuf {
    ctx.root.join(&ctx.config.tools.locks).join("go").join(module)
}

/// The two files of the lock, relative to the repository.
pub fn files(ctx: &Ctx, module: &str) -> Vec<String> {
    ["go.mod", "go.sum"].iter().map(|file| format!("{}/go/{module}/{file}", ctx.config.tools.locks)).collect()
}

/// The lock, and the source of a program of ours beside it.
pub fn files_of_ours(ctx: &Ctx, module: &str, program: &str) -> Vec<String> {
    let source = format!("{}/go/{module}/{program}/main.go", ctx.config.tools.locks);
    files(ctx, module).into_iter().chain([source]).collect()
}

/// The version of the module that `package` lies in.
pub fn pinned(ctx: &Ctx, module: &str, package: &str) -> Option<String> {
    required(&std::fs::read_to_string(folder(ctx, module).join("go.mod")).ok()?, package)
}

/// The version in a `require` line of a `go.mod`; the longest module path that `package` begins with counts.
fn required(go_mod: &str, package: &str) -> Option<String> {
    let lines = go_mod.lines().map(|line| line.trim().trim_start_matches("require "));
    let pairs = lines.filter_map(|line| line.split_once(' ').filter(|(_, version)| version.starts_with('v')));
    let fits = |path: &str| package.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let (_, version) = pairs.filter(|(path, _)| fits(path)).max_by_key(|(path, _)| path.len())?;
    Some(version.split(' ').next()?.trim_start_matches('v').to_owned())
}

/// A short name of what the files of a program hold.
pub fn fingerprint(ctx: &Ctx, files: &[String]) -> Option<String> {
    let mut hash = blake3::Hasher::new();
    for file in files {
        hash.update(&std::fs::read(ctx.root.join(file)).ok()?);
    }
    Some(hash.finalize().to_hex()[..8].to_owned())
}

/// What is built.
#[derive(Debug)]
pub struct Target<'a> {
    /// The folder of the lock.
    pub module: &'a str,
    /// The package.
    pub package: &'a str,
    /// Build constraints, separated by commas.
    pub tags: &'a str,
    /// `VARIABLE=VALUE` for the linker; such a program goes without its symbols, too.
    pub stamp: Option<String>,
    /// The file that comes of it.
    pub program: &'a Path,
}

/// Builds a program. Modules that are not in `go.sum`, or differ from it, are refused by Go itself.
pub async fn build(machine: &Machine, runner: &Runner, target: &Target<'_>) -> Result<(), Unproven> {
    let ctx = &machine.ctx;
    let Some(go) = machine.on_path("go") else {
        return Err(NotRun::new("Go, which builds it, is not on PATH", INSTALL).into());
    };
    let linked = target.stamp.as_ref().map(|stamp| ["-ldflags".to_owned(), format!("-s -w -X {stamp}")]);
    let command = Command::new(go, &folder(ctx, target.module))
        .args(["build", "-trimpath", "-mod=readonly", "-tags", target.tags])
        .args(linked.into_iter().flatten())
        .arg("-o")
        .arg(target.program)
        .args([target.package])
        // A newer compiler that go.mod asks for comes from the module proxy, checked like every module.
        .env("GOTOOLCHAIN", "auto")
        .env("GOWORK", "off")
        .env("GOFLAGS", "-buildvcs=false")
        .env("CGO_ENABLED", "0")
        .timeout(Duration::from_secs(1800));
    let ended = runner.run(&command).await?;
    if ended.is_success() {
        return Ok(());
    }
    let fix = format!("look at `{}/go/{}`: `go mod download`, `go version`", ctx.config.tools.locks, target.module);
    Err(NotRun::new(format!("`go build` of `{}` ended with {}", target.package, ended.failure()), fix).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_that_of_the_longest_module() {
        let go_mod = "module x\n\ngo 1.24\n\ntool example.org/a/v2/cmd/a\n\nrequire example.org/a v1.0.0\n\n\
                      require (\n\texample.org/a/v2 v2.3.4 // indirect\n\texample.org/b v0.1.0\n)\n";
        assert_eq!(required(go_mod, "example.org/a/v2/cmd/a").as_deref(), Some("2.3.4"));
        assert_eq!(required(go_mod, "example.org/b").as_deref(), Some("0.1.0"));
        assert_eq!(required(go_mod, "example.org/bb"), None);
    }
}
