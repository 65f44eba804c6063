//! `history push|pull|export`: the runs that are remembered, on their way to the data branch, back, and out to others.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::Serialize;
use time::format_description::well_known::Rfc3339;

use crate::context::Ctx;
use crate::disk::write_atomically;
use crate::engine::gate::{Gate, action};
use crate::engine::session::Session;
use crate::exit::UsageError;
use crate::history::entry::Entry;
use crate::history::store::{self, Runs};
use crate::history::{branch, dora, prometheus};
use crate::report;
use crate::tools::github::GitHub;
use crate::verdict::{Evidence, Finding, NotRun, Outcome, Severity, Unproven, Work};

/// The task. Its own runs are not remembered.
pub const TASK: &str = "history";

/// Where reports of these commands go, relative to the store: those of the checks stay as they are.
pub const OUT: &str = "history/out";

/// The version of the JSON of `export`.
const EXPORT: &str = "forge-history-export/1";

/// How many runs are pushed at once at most, the newest.
const MOST_PUSHED: usize = 50;

/// `cargo xtask history …`
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Args {
    /// Add runs to the data branch, with the figures of all that are there, through GitHub's API
    Push {
        /// A folder with reports of other jobs, as they were handed on [default: what ran in this checkout in Actions]
        #[arg(long, value_name = "DIR")]
        from: Option<PathBuf>,
    },
    /// Fetch the runs of all machines from the data branch
    Pull,
    /// Print the history of this checkout, with what was fetched, in a format of others
    Export(ExportArgs),
}

/// `history export`
#[derive(Clone, Debug, clap::Args)]
pub struct ExportArgs {
    /// Which
    #[arg(long, value_enum, default_value = "prometheus")]
    format: Format,
    /// The file to write in place of standard output
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

/// What others read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Prometheus' text format
    Prometheus,
    /// Every run, and the figures of delivery
    Json,
}

/// The gate of a command; none of `export`, which only prints.
pub fn plan(ctx: &Ctx, args: &Args) -> Result<Vec<Gate>> {
    let declared = ctx.config.history.as_ref().map(|history| history.branch.clone());
    let branch = || declared.clone().ok_or_else(|| UsageError("pipeline.toml declares no [history]".to_owned()));
    Ok(match args {
        Args::Push { from } => {
            let (branch, from) = (branch()?, from.clone());
            let again = from.as_ref().map(|from| format!(" --from {}", from.display())).unwrap_or_default();
            vec![gate("push", &again, move |session| push(session, branch.clone(), from.clone()))]
        }
        Args::Pull => {
            let branch = branch()?;
            vec![gate("pull", "", move |session| pull(session, branch.clone()))]
        }
        Args::Export(_) => vec![],
    })
}

fn gate<F, P>(name: &str, more: &str, act: F) -> Gate
where
    F: Fn(Session) -> P + Send + Sync + 'static,
    P: Future<Output = Result<Outcome, Unproven>> + Send + 'static,
{
    Gate {
        id: format!("history/{name}"),
        unit: "runs",
        tool: ("GitHub", String::new()),
        fresh: true,
        again: format!("cargo xtask history {name}{more}"),
        action: action(act),
        ..Gate::default()
    }
}

async fn push(session: Session, branch: String, from: Option<PathBuf>) -> Result<Outcome, Unproven> {
    let ctx = session.ctx();
    let runs = match &from {
        Some(folder) => store::read_folders(&folders_below(&ctx.root.join(folder)))?,
        // What ran on a person's machine is theirs.
        None => of_actions(store::read_folders(&[ctx.store.join(store::FOLDER)])?),
    };
    let notes = runs.notes();
    let surplus = runs.entries.len().saturating_sub(MOST_PUSHED);
    let line = |entry: &Entry| Ok((entry.run.clone(), ctx.redactor.redact(&serde_json::to_string(entry)?)));
    let lines: serde_json::Result<BTreeMap<String, String>> = runs.entries[surplus..].iter().map(line).collect();
    let lines = lines.map_err(anyhow::Error::from)?;
    if lines.is_empty() {
        let reason = "there is no run to add".to_owned();
        return Err(NotRun::new(reason, "name the folder of the reports by --from DIR, or run a check first").into());
    }
    let github = GitHub::open(&session.machine).await?;
    let pushed = branch::push(&github, &branch, &lines, ctx.started).await?;
    let figures = |entries: &[Entry]| prometheus::render(entries, ctx.started);
    branch::publish(&github, &branch, &ctx.store.join(store::FOLDER).join(store::BRANCH), figures).await?;
    let packed = if pushed.packed > 0 { format!(", {} older ones packed", pushed.packed) } else { String::new() };
    let told = format!("`{branch}`: {} new, {} there already{packed}", pushed.new, pushed.already);
    Ok(outcome(lines.len(), told, notes))
}

fn of_actions(runs: Runs) -> Runs {
    let entries = runs.entries.into_iter().filter(|entry| entry.host == crate::history::entry::Host::Actions);
    Runs { entries: entries.collect(), ..runs }
}

/// The folder and those below it, a few deep, as artifacts are unpacked.
fn folders_below(folder: &Path) -> Vec<PathBuf> {
    let mut all = vec![folder.to_owned()];
    for depth in 0..3 {
        let below = all.iter().filter(|one| one.components().count() == folder.components().count() + depth);
        let below: Vec<PathBuf> = below
            .flat_map(|one| std::fs::read_dir(one).into_iter().flatten().flatten())
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.path())
            .collect();
        all.extend(below);
    }
    all
}

async fn pull(session: Session, branch: String) -> Result<Outcome, Unproven> {
    let ctx = session.ctx();
    let github = GitHub::open(&session.machine).await?;
    let pulled = branch::pull(&github, &branch, &ctx.store.join(store::FOLDER).join(store::BRANCH)).await?;
    let runs = store::read(&ctx.store)?;
    let told = format!("`{branch}`: {} files, {} of them new here", pulled.files, pulled.fetched);
    // What ran here was not fetched.
    let count = if pulled.files == 0 { 0 } else { runs.entries.len() };
    Ok(outcome(count, told, runs.notes()))
}

fn outcome(count: usize, told: String, notes: Vec<String>) -> Outcome {
    let info = |rule: &str, text: String| Finding::new(rule, Severity::Info, text);
    let findings = std::iter::once(info("history", told)).chain(notes.into_iter().map(|note| info("skipped", note)));
    Outcome::Ran(Evidence {
        work: Work::new(count as u64, "runs"),
        declared: None,
        findings: findings.collect(),
        artifacts: vec![],
        fix: "push a run first: `cargo xtask history push`".to_owned(),
    })
}

#[derive(Serialize)]
struct Exported<'a> {
    schema: &'a str,
    made: String,
    /// Over the last 30 days, by environment.
    dora: BTreeMap<String, dora::Dora>,
    runs: &'a [Entry],
}

/// Prints the history; an empty one is no export.
pub fn export(ctx: &Ctx, args: &ExportArgs, dry_run: bool) -> Result<Result<(), NotRun>> {
    let runs = store::read(&ctx.store)?;
    runs.notes().iter().for_each(|note| report::print_error(&format!("{note}\n")));
    if runs.entries.is_empty() {
        let fix = "run a check, or `cargo xtask history pull`";
        return Ok(Err(NotRun::new("the history holds no run", fix)));
    }
    let text = match args.format {
        Format::Prometheus => prometheus::render(&runs.entries, ctx.started),
        Format::Json => {
            let dora = dora::releases(&runs.entries).into_iter();
            let dora = dora.map(|(name, all)| (name, dora::dora(&all, prometheus::WINDOW, ctx.started))).collect();
            let made = ctx.started.format(&Rfc3339)?;
            serde_json::to_string_pretty(&Exported { schema: EXPORT, made, dora, runs: &runs.entries })? + "\n"
        }
    };
    match &args.to {
        Some(file) if dry_run => report::print(&format!("writes `{}`\n", file.display())),
        Some(file) => write_atomically(&ctx.root.join(file), text.as_bytes())?,
        None => report::print(&text),
    }
    Ok(Ok(()))
}
