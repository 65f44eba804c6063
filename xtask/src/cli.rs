//! The command line: parsed here, run by `tasks/`. Its help is the user's documentation.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};

use crate::context::{Ctx, Places, Profile};
use crate::engine::gate::Gate;
use crate::engine::run::Options;
use crate::event::Events;
use crate::exit::{Code, UsageError};
use crate::report::{self, Display};
use crate::tasks::checks::{self, Checks, Done};
use crate::tasks::{
    bench, cache, ci, cluster, container, dashboard, docs, doctor, evidence, generate, history, integration, late,
    logs, monitor, perf, policy, pre_commit, release, sbom, scan, self_test, signing, smoke, status, test_matrix,
    tools,
};
use crate::tools::cancel::Cancel;
use crate::tools::environment;
use crate::tools::machine::Machine;
use crate::verdict::{NotRun, Unproven};

/// Checks, packages, releases and watches the backend; the same commands on a laptop and in CI.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    task: Task,
}

const EXIT_CODES: &str = "Exit codes: 0 passed, 2 wrong usage or configuration, 10 a gate failed, 20 a required gate did not run, \
                          30 released, not verified, rolled back and healthy again, 31 a rollback failed, \
                          40 another release holds the lock, 70 a defect of the pipeline, 130 interrupted.";

#[derive(Debug, Args)]
struct Global {
    /// Print the report alone on standard output; everything for people goes to standard error
    #[arg(long, global = true)]
    json: bool,
    /// Where reports go [default: target/xtask/out; target/xtask/release for container push, sign, verify;
    /// target/xtask/rehearsal/out for deploy --rehearse; target/xtask/history/out for history;
    /// target/xtask/dashboard for dashboard]
    #[arg(long, global = true, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Where pipeline.toml is [default: xtask/config]
    #[arg(long, global = true, value_name = "DIR")]
    config: Option<PathBuf>,
    /// Which tools count and which gates are required [default: local]
    #[arg(long, global = true, value_enum)]
    profile: Option<Profile>,
    /// When to use colours; NO_COLOR turns them off
    #[arg(long, global = true, value_enum, default_value = "auto", value_name = "WHEN")]
    color: Color,
    /// Show every line that the gates print
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    verbose: bool,
    /// Show only what is not green
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Print the exact commands and change nothing
    #[arg(long, global = true)]
    dry_run: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Run every gate that the configuration declares
    Ci(ci::Args),
    /// Run the pre-commit hooks on every file
    PreCommit {
        /// Make git run the hooks before each commit
        #[arg(long)]
        install: bool,
    },
    /// Run the tests on every declared Python at the same time
    TestMatrix(test_matrix::Args),
    /// Look for secrets, dangerous source, vulnerable dependencies and weak configuration
    Scan(scan::Args),
    /// List what all is made of, and check the licences
    Sbom,
    /// Find what this branch lets pass that the branch it began at did not
    Policy,
    /// The programs that the gates use
    #[command(subcommand)]
    Tools(tools::Args),
    /// Build the documents strictly and check every internal link
    Docs {
        /// Show the site and build it anew at each change, until Ctrl-C
        #[arg(long)]
        serve: bool,
    },
    /// Build the image, hold it against what it has to be, scan it and list what is in it; push it, sign it, verify it
    Container(container::Args),
    /// Run the tests of the whole: the backend as it is shipped, a real Redis, an Ollama, and faults
    Integration(integration::Args),
    /// Ask a running backend whether it works, or one that is started for it
    Smoke(smoke::Args),
    /// Put the backend under load and hold it against thresholds
    Perf(perf::Args),
    /// Release a version to an environment: verified, or undone
    Deploy(release::DeployArgs),
    /// Go back to a verified release
    Rollback(release::RollbackArgs),
    /// A real Kubernetes of one node, for the tests of releases and for rehearsals
    Cluster(cluster::Args),
    /// Put the evidence of releases into one signed file, and verify such a file
    #[command(subcommand)]
    Evidence(evidence::Args),
    /// The runs that are remembered: to the data branch, back from it, and out to Prometheus
    #[command(subcommand)]
    History(history::Args),
    /// Make the files that other tools read (Backstage, Argo CD, Tekton) of the configuration
    Generate(generate::Args),
    /// Say what this machine has, what is missing, and the command that gets it; or whether GitHub's settings are right
    Doctor(doctor::Args),
    /// Say what runs in an environment, since when, by whom, verified or not, and what drifted
    Status(status::Args),
    /// Show what all pods of an environment say
    Logs(logs::Args),
    /// Show how the pipeline is doing, as one page: what passes, what it costs, what is found, what is released
    Dashboard(dashboard::Args),
    /// Look whether what runs in an environment is well, bears its load and is what was released
    Monitor(monitor::Args),
    /// Check the pipeline's own code: format, lints, tests
    SelfTest,
    /// Look after the stored results
    #[command(subcommand)]
    Cache(cache::Args),
    /// Measure the pipeline beside its peers and its lower bounds, and print the table
    #[command(disable_help_flag = true)]
    Bench {
        /// Options of the measuring program; `--help` lists them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTION")]
        args: Vec<String>,
    },
    /// Print the completions of a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

impl Task {
    /// The environment that the command line names.
    fn environment(&self) -> Option<&str> {
        match self {
            Self::Smoke(args) => args.environment.as_deref(),
            Self::Deploy(args) if !args.rehearse && !args.rehearsed => Some(&args.environment),
            Self::Rollback(args) => Some(&args.environment),
            Self::Monitor(args) => Some(&args.environment),
            _ => None,
        }
    }
}

/// What to do, once the command line is understood.
pub enum Request {
    /// Print this and be done.
    Print(String),
    /// Run a task in a context.
    Run(Box<Run>),
}

/// A task in its context.
pub struct Run {
    /// The context.
    pub ctx: Arc<Ctx>,
    /// How it is shown.
    pub display: Display,
    task: Task,
    dry_run: bool,
}

/// What the terminal is like.
#[derive(Clone, Copy, Debug)]
pub struct Terminal {
    /// Standard output and standard error are terminals.
    pub interactive: bool,
}

impl Cli {
    /// Reads configuration and surroundings; does nothing yet.
    pub fn request(self, terminal: Terminal) -> Result<Request> {
        if let Task::Completions { shell } = self.task {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Self::command(), "cargo-xtask", &mut script);
            return Ok(Request::Print(String::from_utf8_lossy(&script).into_owned()));
        }
        let (env, cwd, now) = crate::context::surroundings()?;
        let Global { json, out, config, profile, color, verbose, quiet, dry_run } = self.global;
        let is_release =
            matches!(&self.task, Task::Container(container::Args { command: Some(container::Command::Release(_)) }));
        let own_folder = match &self.task {
            _ if is_release => Some(signing::FOLDER),
            Task::Deploy(args) if args.rehearse => Some(release::rehearse::OUT),
            Task::History(_) => Some(history::OUT),
            Task::Dashboard(args) if !args.site => Some(dashboard::FOLDER),
            _ => None,
        };
        let own_folder = own_folder.filter(|_| out.is_none());
        let mut ctx = Ctx::load(Places { config, out, profile }, env, &cwd, now)?;
        if let Some(folder) = own_folder {
            // What the checks left is read, and a run clears the folder that it writes into.
            ctx.out = ctx.store.join(folder);
        }
        ctx.environment = self.task.environment().map(crate::config::Environment::full_name).map(str::to_owned);
        let actions = ctx.in_actions();
        let plain = actions || ctx.var("TERM") == Some("dumb") || ctx.var("CI").is_some();
        let no_color = ctx.var("NO_COLOR").is_some_and(|value| !value.is_empty());
        let color = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal.interactive && !no_color && !plain,
        };
        let display = Display { color, live: terminal.interactive && !plain, verbose, quiet, json, actions };
        Ok(Request::Run(Box::new(Run { ctx: Arc::new(ctx), display, task: self.task, dry_run })))
    }
}

impl Run {
    /// The answer, where the task only prints one; it changes nothing.
    pub fn answer(&self) -> Result<Option<String>> {
        let ctx = &self.ctx;
        match &self.task {
            Task::Ci(args) if self.dry_run || args.plan.is_some() => {
                let (gates, _) = ci::select(ci::all_gates(ctx), &args.only, &args.skip)?;
                let format = args.plan.unwrap_or(ci::Format::Text);
                let text = ci::render(ctx, &gates, format)?;
                if format == ci::Format::Github && !self.dry_run {
                    ci::write_github(ctx, &text)?;
                }
                Ok(Some(text))
            }
            Task::Cache(cache::Args::Clear) if !self.dry_run => {
                let entries = crate::engine::store::Store::new(&ctx.store, ctx.started).clear()?;
                Ok(Some(format!("{entries} stored results forgotten\n")))
            }
            Task::Cache(cache::Args::Clear) => Ok(Some(format!("$ rm -r {}/cache/gates\n", ctx.store.display()))),
            Task::PreCommit { install: true } if self.dry_run => {
                Ok(Some("writes the file that `git rev-parse --git-path hooks/pre-commit` names\n".to_owned()))
            }
            Task::Generate(generate::Args { check: false }) if self.dry_run => {
                let made = generate::all(ctx)?.into_iter().map(|made| format!("writes `{}`\n", made.path));
                Ok(Some(made.collect()))
            }
            Task::Docs { serve: true } if self.dry_run => {
                Ok(docs::serve(ctx).map(|(_, command)| format!("$ {command}\n")))
            }
            Task::Dashboard(args) if self.dry_run && !self.display.json => {
                Ok(Some(format!("writes `{}`\n", args.page(ctx).display())))
            }
            // Their plan asks the cluster.
            Task::Deploy(release::DeployArgs { rehearse: false, .. }) | Task::Rollback(_) => Ok(None),
            // Those who only ask change nothing.
            Task::Status(_) | Task::Logs(_) | Task::Dashboard(_) | Task::History(history::Args::Export(_)) => Ok(None),
            _ if self.dry_run && !matches!(self.task, Task::Bench { .. }) => {
                ci::render(ctx, &self.gates()?, ci::Format::Text).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The gates of a task that only checks.
    fn gates(&self) -> Result<Vec<Gate>> {
        let ctx = &self.ctx;
        Ok(match &self.task {
            Task::PreCommit { .. } => (pre_commit::TASK.plan)(ctx),
            Task::TestMatrix(args) => test_matrix::plan(ctx, args),
            Task::Scan(args) => scan::gates(ctx, args),
            Task::Sbom => (sbom::TASK.plan)(ctx),
            Task::Policy => (policy::TASK.plan)(ctx),
            Task::Tools(tools::Args::Install { names }) => tools::plan(names, &ci::all_gates(ctx))?,
            Task::Tools(tools::Args::List) => vec![],
            Task::Docs { .. } => (docs::TASK.plan)(ctx),
            Task::Container(args) => container::gates(ctx, args)?,
            Task::Integration(args) => container::with_build(ctx, integration::plan(ctx, args)),
            Task::Smoke(args) => container::with_build(ctx, smoke::plan(ctx, &args.addresses(ctx)?)),
            Task::Perf(args) => container::with_build(ctx, perf::gates(ctx, args)?),
            Task::Deploy(args) => {
                let environment = crate::config::Environment::load(&ctx.config_dir, &args.environment)?;
                match args.rehearse {
                    true => release::rehearse::gates(ctx, args, &environment)?,
                    false => release::deploy::gates(args, environment.releasable()?.1),
                }
            }
            Task::Rollback(args) => release::rollback::gates(args),
            Task::Cluster(args) => cluster::plan(ctx, args)?,
            Task::Evidence(args) => evidence::plan(ctx, args)?,
            Task::History(args) => history::plan(ctx, args)?,
            Task::Generate(_) => scan::generated(ctx),
            Task::Doctor(args) => doctor::plan(ctx, *args)?,
            Task::Monitor(args) => monitor::gates(ctx, args)?,
            Task::SelfTest => self_test::plan(ctx),
            Task::Ci(_) | Task::Cache(_) => ci::all_gates(ctx),
            Task::Status(_) | Task::Logs(_) | Task::Dashboard(_) | Task::Bench { .. } | Task::Completions { .. } => {
                vec![]
            }
        })
    }

    /// Does it.
    pub async fn run(&self, cancel: &Cancel, events: &Events) -> Result<Done> {
        let ctx = &self.ctx;
        let is_neighbour = match &self.task {
            // Of a run that is spread over machines, the one that joins it says so once.
            Task::Ci(args) => args.only.is_empty(),
            Task::Deploy(_) | Task::Rollback(_) | Task::Monitor(_) => true,
            _ => false,
        };
        if is_neighbour {
            late::notice(ctx, cancel, events).await;
        }
        let done = match &self.task {
            Task::Ci(args) => ci::run(ctx, cancel, events, args).await?,
            Task::Cache(cache::Args::Audit { sample }) => cache::audit(ctx, cancel, events, *sample).await?,
            Task::PreCommit { install: true } => {
                let path = pre_commit::install(ctx, cancel, events).await.map_err(proved)?;
                report::print(&format!("`{}` runs the hooks before each commit\n", path.display()));
                return Ok(Code::Passed.into());
            }
            Task::Docs { serve: true } => return self.serve(cancel).await.map(Done::from),
            Task::TestMatrix(args) => self.check("test-matrix", args.pytest.is_empty(), cancel, events).await?,
            Task::PreCommit { .. } => self.check("pre-commit", true, cancel, events).await?,
            Task::Scan(args) => self.check("scan", !args.staged, cancel, events).await?,
            Task::Sbom => self.check("sbom", true, cancel, events).await?,
            Task::Policy => self.check("policy", true, cancel, events).await?,
            Task::Tools(tools::Args::Install { .. }) => self.check("tools", false, cancel, events).await?,
            Task::Tools(tools::Args::List) => {
                report::print(&tools::list(ctx, cancel, &ci::all_gates(ctx), self.display.json)?);
                return Ok(Code::Passed.into());
            }
            Task::Docs { .. } => self.check("docs", true, cancel, events).await?,
            Task::Integration(_) => self.check("integration", false, cancel, events).await?,
            Task::Smoke(_) => self.check("smoke", true, cancel, events).await?,
            Task::Perf(_) => self.check("perf", false, cancel, events).await?,
            Task::Container(_) => self.check("container", true, cancel, events).await?,
            Task::Deploy(args) if args.rehearse => release::rehearse::run(ctx, cancel, events, args).await?,
            Task::Deploy(args) => release::deploy::run(ctx, cancel, events, args, self.dry_run).await?,
            Task::Rollback(args) => release::rollback::run(ctx, cancel, events, args, self.dry_run).await?,
            Task::Cluster(args @ cluster::Args { command: cluster::Action::Serve, .. }) => {
                cluster::serve(ctx, cancel, args).await?;
                return Ok(Code::Passed.into());
            }
            Task::Cluster(_) => self.check("cluster", false, cancel, events).await?,
            Task::Evidence(_) => self.check("evidence", false, cancel, events).await?,
            Task::History(history::Args::Export(args)) => {
                return Ok(answered(history::export(ctx, args, self.dry_run)?).into());
            }
            Task::History(_) => self.check(history::TASK, false, cancel, events).await?,
            Task::Generate(generate::Args { check: false }) => {
                report::print(&generate::said(&generate::write(ctx)?));
                return Ok(Code::Passed.into());
            }
            Task::Generate(_) => self.check("generate", true, cancel, events).await?,
            Task::Doctor(_) => self.check("doctor", false, cancel, events).await?,
            Task::Status(args) => {
                let answer = status::run(ctx, cancel, args, self.display.json).await?;
                return Ok(answered(answer.map(|text| report::print(&text))).into());
            }
            Task::Logs(args) => return Ok(answered(logs::run(ctx, cancel, events, args).await?).into()),
            Task::Dashboard(args) => {
                let said = dashboard::run(ctx, cancel, args, self.display.json).await?;
                return Ok(answered(said.map(|said| {
                    report::print_error(&said.aside);
                    report::print(&said.answer);
                }))
                .into());
            }
            Task::Monitor(args) => monitor::run(ctx, cancel, events, args).await?,
            Task::SelfTest => self.check("self-test", false, cancel, events).await?,
            Task::Bench { args } => {
                let flags = [("--json", self.display.json), ("--list", self.dry_run)];
                let flags = flags.into_iter().filter(|(_, given)| *given).map(|(flag, _)| flag.to_owned());
                let args: Vec<String> = flags.chain(args.iter().cloned()).collect();
                return bench::run(ctx, cancel, &args).await.map(Done::from);
            }
            Task::Cache(cache::Args::Clear) | Task::Completions { .. } => return Ok(Code::Passed.into()),
        };
        Ok(done)
    }

    async fn check(&self, task: &'static str, cache: bool, cancel: &Cancel, events: &Events) -> Result<Done> {
        let gates = self.gates()?;
        if gates.is_empty() {
            return Err(UsageError(format!("pipeline.toml declares nothing for `{task}`")).into());
        }
        let options = Options { cache, ..Options::default() };
        checks::run(&self.ctx, cancel, events, Checks { task, gates, left_out: vec![], options }).await
    }

    async fn serve(&self, cancel: &Cancel) -> Result<Code> {
        let Some((spec, command)) = docs::serve(&self.ctx) else {
            return Err(UsageError("pipeline.toml declares no [docs]".into()).into());
        };
        let machine = Machine::new(self.ctx.clone(), cancel.clone());
        environment::ensure(&machine, &machine.quiet(), &spec).await.map_err(proved)?;
        let status = machine.quiet().foreground(&command).await?;
        // Ctrl-C is how it is meant to end.
        Ok(if status.success() || cancel.is_cancelled() { Code::Passed } else { Code::Failed })
    }
}

/// The exit code of a command that asks a cluster, which may not have answered.
fn answered(answer: Result<(), NotRun>) -> Code {
    match answer {
        Ok(()) => Code::Passed,
        Err(NotRun { reason, fix, .. }) => {
            report::print_error(&format!("error: {reason}\nnext: {fix}\n"));
            Code::DidNotRun
        }
    }
}

/// What keeps a command that is no gate from its work.
fn proved(why: Unproven) -> anyhow::Error {
    match why {
        Unproven::NotRun(why) => UsageError(format!("{}\nnext: {}", why.reason, why.fix)).into(),
        Unproven::Defect(error) => error,
    }
}
