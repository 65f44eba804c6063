//! `ci`: the gates of every task, selected, printed as a plan, run, or joined from several machines.

mod jobs;
mod merge;
mod plan;
mod select;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;

use super::checks::{self, Checks, Done};
use crate::context::Ctx;
use crate::engine::gate::Gate;
use crate::engine::run::Options;
use crate::event::Events;
use crate::tools::cancel::Cancel;

pub use plan::{Format, render, write_github};
pub use select::select;

/// What the command line says.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Args {
    /// Only these gates or tasks, and the gates that they need
    #[arg(long, value_name = "GATE", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Without these gates or tasks
    #[arg(long, value_name = "GATE", value_delimiter = ',')]
    pub skip: Vec<String>,
    /// Start nothing more once a gate is red
    #[arg(long)]
    pub fail_fast: bool,
    /// Run every gate, whether or not its inputs have changed
    #[arg(long)]
    pub no_cache: bool,
    /// Tell for each gate that runs which component of its key differed
    #[arg(long)]
    pub explain: bool,
    /// Print the plan and run nothing; `github` writes GITHUB_OUTPUT
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub plan: Option<Format>,
    /// Join the reports of legs that ran on other machines, and exit on the joined verdict
    #[arg(long, value_name = "DIR", conflicts_with_all = ["only", "skip", "plan", "fail_fast"])]
    pub merge: Option<PathBuf>,
}

/// Every gate of every task, in pipeline order.
pub fn all_gates(ctx: &Ctx) -> Vec<Gate> {
    super::ALL.iter().flat_map(|task| (task.plan)(ctx)).collect()
}

/// Runs what `args` select, or joins what ran elsewhere.
pub async fn run(ctx: &Arc<Ctx>, cancel: &Cancel, events: &Events, args: &Args) -> Result<Done> {
    let gates = all_gates(ctx);
    let options =
        Options { cache: !args.no_cache, fail_fast: args.fail_fast, explain: args.explain, ..Options::default() };
    if let Some(folder) = &args.merge {
        return merge::run(ctx, cancel, events, gates, folder, options).await;
    }
    let (gates, left_out) = select(gates, &args.only, &args.skip)?;
    checks::run(ctx, cancel, events, Checks { task: "ci", gates, left_out, options }).await
}
