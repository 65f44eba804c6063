//! `cargo xtask bench`: what the pipeline costs, beside its peers and its lower bounds, in one run.
//!
//! Owns what is measured and in which order. How a sample is taken is in [`measure`], what a figure
//! means is in [`row`], how it is shown in [`table`]. Nothing here is a test: a figure depends on the
//! machine, and only its ratio to what was measured beside it can be compared. A program of its own, so
//! that nobody has to build it who does not measure.

mod build;
mod fixture;
mod full;
mod host;
mod load;
mod material;
mod matrix;
mod measure;
mod peers;
mod releases;
mod row;
mod scan;
mod secrets;
mod table;
mod unchanged;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use clap::Parser;
use serde::Serialize;
use xtask::context::{Ctx, Places as Folders, surroundings};
use xtask::exit::{Code, UsageError};
use xtask::report::{print, print_error};
use xtask::tools::cancel::{self, Cancel};
use xtask::tools::command::Command;
use xtask::tools::environment::{self, Spec};
use xtask::tools::machine::Machine;
use xtask::tools::proc::Runner;
use xtask::verdict::Unproven;

use measure::Subject;
use row::Row;

/// Measures the pipeline beside prek, pre-commit, nox and turbo, and beside its lower bounds, in one run
#[derive(Clone, Debug, Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
struct Args {
    /// How often each command is measured, after one time that is not counted
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Only these groups
    #[arg(long, value_enum, value_name = "GROUP", value_delimiter = ',')]
    only: Vec<Group>,
    /// Print what would be measured, and measure nothing
    #[arg(long, alias = "dry-run")]
    list: bool,
    /// Print the figures as JSON instead of Markdown
    #[arg(long)]
    json: bool,
    /// Where pipeline.toml is [default: xtask/config]
    #[arg(long, value_name = "DIR")]
    config: Option<PathBuf>,
    /// Be one of the processes that are measured
    #[arg(long, value_enum, value_name = "PART", hide = true)]
    part: Option<load::Part>,
    /// What that process is told
    #[arg(last = true, hide = true)]
    told: Vec<String>,
}

fn main() -> ExitCode {
    let code = execute().unwrap_or_else(|error| {
        print_error(&format!("error: {error:#}\n"));
        if error.is::<UsageError>() { Code::Usage } else { Code::Defect }
    });
    code.into()
}

fn execute() -> Result<Code> {
    let args = Args::parse();
    if let Some(part) = args.part {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
        return runtime.block_on(load::be(part, &args.told)).map(|()| Code::Passed);
    }
    let (env, cwd, now) = surroundings()?;
    let folders = Folders { config: args.config.clone(), ..Folders::default() };
    let ctx = Arc::new(Ctx::load(folders, env, &cwd, now)?);
    if args.list {
        print(&list(&ctx, &args)?);
        return Ok(Code::Passed);
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    runtime.block_on(async {
        let (canceller, cancel) = cancel::pair();
        let watching = tokio::spawn(cancel::on_signals(canceller, || print_error("interrupted\n")));
        let code = run(&ctx, &cancel, &args, args.json).await;
        watching.abort();
        code
    })
}

/// Figures that are measured together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Group {
    /// A run in which nothing has changed, beside peers that do nothing (R7)
    Unchanged,
    /// A run without the cache, beside its lower bound (R8)
    Full,
    /// The test matrix beside nox, which runs the same commands
    Matrix,
    /// Building the pipeline itself, and its help
    Build,
    /// The load generator beside its peers (R27, R29)
    Load,
    /// A bad version, beside kubectl and Helm, on the cluster that is up
    Releases,
    /// Scanners for secrets: what each finds, and how fast
    Secrets,
    /// The scan, gate by gate and together, on three trees
    Scan,
}

impl Group {
    const ALL: [Self; 8] =
        [Self::Unchanged, Self::Full, Self::Matrix, Self::Build, Self::Secrets, Self::Scan, Self::Load, Self::Releases];

    fn title(self) -> &'static str {
        match self {
            Self::Unchanged => "Nothing has changed",
            Self::Full => "Everything runs",
            Self::Matrix => "The test matrix",
            Self::Build => "The pipeline itself",
            Self::Secrets => "Scanners for secrets",
            Self::Scan => "The scan",
            Self::Load => "The load generator",
            Self::Releases => "A bad version",
        }
    }

    /// What is measured with a fixed command line, in the order of a round.
    fn subjects(self, places: &Places) -> Vec<Subject> {
        match self {
            Self::Unchanged => unchanged::subjects(places),
            Self::Full => full::subjects(places),
            Self::Matrix => matrix::subjects(places),
            Self::Build => build::subjects(places),
            Self::Secrets => secrets::subjects(places),
            Self::Scan => scan::subjects(places),
            Self::Load => load::subjects(places),
            Self::Releases => releases::subjects(places),
        }
    }

    async fn rows(self, bench: &Bench) -> Result<Vec<Row>> {
        match self {
            Self::Unchanged => unchanged::rows(bench).await,
            Self::Full => full::rows(bench).await,
            Self::Matrix => matrix::rows(bench).await,
            Self::Build => build::rows(bench).await,
            Self::Secrets => secrets::rows(bench).await,
            Self::Scan => scan::rows(bench).await,
            Self::Load => load::rows(bench).await,
            Self::Releases => releases::rows(bench).await,
        }
    }
}

/// Where the commands are and where they work.
#[derive(Clone, Debug)]
struct Places {
    ctx: Arc<Ctx>,
    /// The program that `cargo xtask` runs, which lies beside this one.
    program: PathBuf,
    /// Everything that is made to be measured: `target/xtask/bench`.
    folder: PathBuf,
    /// The programs of the pinned tools.
    tools: PathBuf,
}

impl Places {
    fn of(ctx: &Arc<Ctx>) -> Result<Self> {
        let me = std::env::current_exe().context("cannot tell which program this is")?;
        let program = me.with_file_name("xtask");
        let profile = program.parent().and_then(Path::file_name);
        if profile.is_none_or(|name| name != "debug") {
            let way = "only figures of the program that `cargo xtask` runs count: start it by `cargo xtask bench`";
            return Err(UsageError(format!("`{}` is not that program; {way}", program.display())).into());
        }
        let tools = Spec::tools(&ctx.config).folder(ctx).join("bin");
        Ok(Self { ctx: ctx.clone(), program, folder: ctx.store.join("bench"), tools })
    }

    /// `ci` in `root`, with a report of its own, so that the last report of the user stays.
    fn ci(&self, root: &Path, out: &Path) -> Command {
        self.patient(Command::new(&self.program, root)).arg("ci").arg("--out").arg(out)
    }

    /// cargo as the user of this run would start it, with the variables that steer a build.
    fn cargo(&self, folder: &Path) -> Command {
        let mut command = self.patient(Command::new("cargo", folder)).env("CARGO_NET_OFFLINE", "true");
        let steers = |name: &str| {
            ["RUST", "CARGO_BUILD_", "CARGO_PROFILE_", "CARGO_TARGET_", "CARGO_ENCODED"]
                .iter()
                .any(|prefix| name.starts_with(prefix))
        };
        for (name, value) in self.ctx.env.iter().filter(|(name, _)| steers(name)) {
            command = command.env(name, value);
        }
        command
    }

    /// A run of everything may take longer than a single command usually may.
    fn patient(&self, command: Command) -> Command {
        command.timeout(std::time::Duration::from_secs(3600))
    }

    /// A command as a person would type it at the top of the checkout.
    fn command(&self, command: &Command) -> String {
        let root = &self.ctx.root;
        let cd = if command.cwd == *root { String::new() } else { format!("cd {} && ", command.cwd.display()) };
        self.shown(&format!("{cd}{command}"))
    }

    /// A text without the place of this checkout, which is nobody's business in a document.
    fn shown(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.ctx.root.display()), "").replace(&*self.ctx.root.to_string_lossy(), ".")
    }
}

/// One invocation of `bench`.
struct Bench {
    places: Places,
    machine: Machine,
    runner: Runner,
    runs: u32,
}

/// A group with its figures.
#[derive(Debug, Serialize)]
struct Measured {
    group: Group,
    #[serde(skip)]
    title: &'static str,
    rows: Vec<Row>,
}

/// Everything that one run says.
#[derive(Debug, Serialize)]
struct Results {
    host: Vec<host::Fact>,
    groups: Vec<Measured>,
}

/// The commands that would be measured, one a line, by group.
fn list(ctx: &Arc<Ctx>, args: &Args) -> Result<String> {
    let places = Places::of(ctx)?;
    let mut text = String::new();
    for group in chosen(args) {
        text.push_str(&format!("{}: {}\n", name(group), group.title()));
        for subject in group.subjects(&places) {
            let command = places.command(&subject.command);
            text.push_str(&format!("  {}\n    $ {command}\n", subject.name));
        }
    }
    Ok(text)
}

/// Measures, and prints Markdown, or JSON where `json` is asked for.
///
/// A missed aim counts as a gate that failed, and an aim without a figure as one that did not run.
async fn run(ctx: &Arc<Ctx>, cancel: &Cancel, args: &Args, json: bool) -> Result<Code> {
    let places = Places::of(ctx)?;
    let machine = Machine::new(ctx.clone(), cancel.clone());
    let bench = Bench { places, runner: machine.quiet(), machine, runs: args.runs };
    std::fs::create_dir_all(&bench.places.folder).context("cannot make the folder of the benchmarks")?;
    match environment::ensure(&bench.machine, &bench.runner, &Spec::tools(&ctx.config)).await {
        Ok(_) => {}
        Err(Unproven::NotRun(why)) => print_error(&format!("peers are missing: {}\n", why.reason)),
        Err(Unproven::Defect(error)) => return Err(error),
    }
    let mut results = Results { host: host::describe(&bench).await?, groups: vec![] };
    for group in chosen(args) {
        let rows = row::judged(group.rows(&bench).await?);
        results.groups.push(Measured { group, title: group.title(), rows });
    }
    print(&if json { serde_json::to_string_pretty(&results)? + "\n" } else { table::markdown(&results) });
    let rows = results.groups.iter().flat_map(|measured| &measured.rows);
    let code = rows.map(Row::code).fold(Code::Passed, Code::and);
    Ok(if cancel.is_cancelled() { Code::Interrupted } else { code })
}

fn chosen(args: &Args) -> Vec<Group> {
    Group::ALL.into_iter().filter(|group| args.only.is_empty() || args.only.contains(group)).collect()
}

fn name(group: Group) -> String {
    format!("{group:?}").to_lowercase()
}
