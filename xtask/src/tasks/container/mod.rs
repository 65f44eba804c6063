//! `container`: the image of the backend is built, held against what it has to be, scanned and listed.
//!
//! One file a gate. `container/build` leaves [`image::FILE`] in the output folder; every other gate reads it and uses
//! that image and no other, by its id.

mod archive;
mod base;
mod build;
mod context;
mod image;
mod inventory;
mod running;
pub mod scan;
mod secrets;
mod structure;
mod test;
mod trivy;

use anyhow::Result;

use super::scan::under_policy;
use super::{Subject, Task, UNLISTED, signing};
use crate::context::Ctx;
use crate::engine::gate::Gate;

/// Part of `ci`.
pub const TASK: Task = Task {
    name: "container",
    subjects: &[Subject {
        table: "container",
        declared: |config| config.container.is_some(),
        markers: &["container-structure-test.yaml"],
        within: &[],
        listed: UNLISTED,
    }],
    plan: |ctx| plan(ctx, Part::All),
};

/// The id of the gate that the others come after.
pub const BUILD: &str = "container/build";

/// What the command line says.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Args {
    /// What is done with the image; it is built first [default: all]
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What is done with the image, or with the one that was pushed.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// What checks it.
    #[command(flatten)]
    Check(Part),
    /// What brings it to a registry.
    #[command(flatten)]
    Release(signing::Args),
}

/// What is done with the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Subcommand)]
pub enum Part {
    /// Build the image
    Build,
    /// Hold the image against its structure tests, and run it
    Test,
    /// Look up known vulnerabilities of what is in the image
    Scan,
    /// Look for secrets in every layer, and for weaknesses of its configuration
    Secrets,
    /// List what is in the image
    Sbom,
    /// Everything that checks
    All,
}

/// The gates of a command. `Err` where the command line asks for what cannot be.
pub fn gates(ctx: &Ctx, args: &Args) -> Result<Vec<Gate>> {
    match &args.command {
        None => Ok(plan(ctx, Part::All)),
        Some(Command::Check(part)) => Ok(plan(ctx, *part)),
        Some(Command::Release(args)) => signing::plan(ctx, args),
    }
}

/// The gates of another task, after the build of the image that they start, where there is one.
pub fn with_build(ctx: &Ctx, gates: Vec<Gate>) -> Vec<Gate> {
    let waits = gates.iter().any(|gate| gate.waits_for.iter().any(|id| id == BUILD));
    let build = if waits { plan(ctx, Part::Build) } else { vec![] };
    build.into_iter().map(|gate| Gate { brought: true, ..gate }).chain(gates).collect()
}

/// The gates of a part, and the build that they need.
pub fn plan(ctx: &Ctx, part: Part) -> Vec<Gate> {
    let Some(container) = &ctx.config.container else { return vec![] };
    let wanted = |one: Part| part == Part::All || part == one;
    let all = [
        (Part::Build, build::plan(ctx, container)),
        (Part::Test, test::plan(ctx, container)),
        (Part::Secrets, secrets::plan(ctx, container)),
        (Part::Scan, scan::plan(ctx, container)),
        (Part::Sbom, inventory::plan(ctx, container)),
    ];
    let gates = all.into_iter().filter(|(one, _)| wanted(*one) || *one == Part::Build).map(|(_, gate)| gate);
    gates.map(|gate| under_policy(ctx, gate)).collect()
}
