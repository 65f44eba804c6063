//! `test-matrix`: the tests on every declared Python at the same time, and their combined coverage.
//!
//! Each leg has its own environment, its own Redis, its own JUnit and coverage files. What pytest's
//! exit code and report mean is decided in [`judge`]; what a failing test is tried again for, in
//! [`flaky`]; the floor is held by [`coverage`].

mod coverage;
mod flaky;
pub(super) mod judge;

use std::path::Path;

use super::{Subject, Task, UNLISTED};
use crate::config::Tests;
use crate::context::Ctx;
use crate::engine::gate::{Gate, Inputs, action};
use crate::engine::session::Session;
use crate::history::artifacts::leg_file;
use crate::report::junit_cases;
use crate::tools::command::Command;
use crate::tools::environment::Spec;
use crate::tools::proc::{Ended, Exit};
use crate::verdict::{Evidence, Outcome, Unproven, Work};

/// Part of `ci`.
pub const TASK: Task = Task {
    name: "test-matrix",
    subjects: &[
        Subject {
            table: "tests",
            declared: |config| config.tests.is_some(),
            markers: &["conftest.py"],
            within: &[],
            listed: UNLISTED,
        },
        Subject::new("redis", |config| config.redis.is_some()),
        Subject::new("coverage", |config| config.coverage.is_some()),
    ],
    plan: |ctx| plan(ctx, &Args::default()),
};

/// What the command line says.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Args {
    /// Run only these versions; without the combined coverage, which needs all of them
    #[arg(long = "python", value_name = "VERSION", value_delimiter = ',')]
    pub pythons: Vec<String>,
    /// Handed to pytest as they are; such a run is never taken from the cache
    #[arg(last = true, value_name = "PYTEST ARGS")]
    pub pytest: Vec<String>,
}

/// One gate a Python, and one for the combined coverage where it is declared and all legs run.
pub fn plan(ctx: &Ctx, args: &Args) -> Vec<Gate> {
    let Some(tests) = &ctx.config.tests else { return vec![] };
    let declared = &ctx.config.python.versions;
    let asked = if args.pythons.is_empty() { declared } else { &args.pythons };
    let mut gates: Vec<Gate> = asked.iter().map(|python| leg(ctx, tests, python, &args.pytest)).collect();
    if let (Some(floor), true, true) = (&ctx.config.coverage, asked == declared, args.pytest.is_empty()) {
        gates.push(coverage::gate(ctx, tests, floor));
    }
    gates
}

/// The tests on one Python.
#[derive(Clone, Debug)]
struct Leg {
    python: String,
    tests: Tests,
    spec: Spec,
    more: Vec<String>,
}

fn leg(ctx: &Ctx, tests: &Tests, python: &str, more: &[String]) -> Gate {
    let spec = Spec::tests(tests, python);
    let leg = Leg { python: python.to_owned(), tests: tests.clone(), spec: spec.clone(), more: more.to_vec() };
    let settings = settings_text(&(tests, &ctx.config.redis, &ctx.config.flaky));
    Gate {
        id: format!("test-matrix/{python}"),
        unit: "tests",
        tool: ("pytest", tests.lock.clone()),
        inputs: Inputs {
            files: tests.inputs.clone(),
            optional: looked_for(tests),
            ignored: true,
            settings,
            path_tools: if ctx.config.redis.is_some() {
                vec!["redis-server", "valkey-server", "uv"]
            } else {
                vec!["uv"]
            },
            dated: !ctx.config.flaky.is_empty(),
            ..Inputs::default()
        },
        environments: vec![spec],
        steps: vec![leg.pytest(ctx, &leg.junit(1), &leg.more)],
        again: leg.again(None),
        action: action(move |session| run(session, leg.clone())),
        ..Gate::default()
    }
}

/// Files that pytest and coverage look for by themselves, whether or not the configuration thought of them.
const LOOKED_FOR: &[&str] = &[
    "conftest.py",
    "pyproject.toml",
    "pytest.toml",
    ".pytest.toml",
    "pytest.ini",
    ".pytest.ini",
    "tox.ini",
    "setup.cfg",
    ".coveragerc",
    ".coveragerc.toml",
];

/// [`LOOKED_FOR`], relative to the repository.
fn looked_for(tests: &Tests) -> Vec<String> {
    let folder = tests.directory.trim_end_matches('/');
    let place = |name: &&str| if folder == "." { (*name).to_owned() } else { format!("{folder}/{name}") };
    LOOKED_FOR.iter().map(place).collect()
}

/// Debug text of settings: enough for a key, which only asks whether anything differs.
fn settings_text<T: std::fmt::Debug>(settings: &T) -> String {
    format!("{settings:?}")
}

impl Leg {
    /// The JUnit file of one attempt, relative to the output folder.
    fn junit(&self, attempt: u32) -> String {
        match attempt {
            1 => format!("junit/{}.xml", self.python),
            _ => format!("junit/{}-attempt-{attempt}.xml", self.python),
        }
    }

    fn coverage_file(&self) -> String {
        coverage::data_file(&self.python)
    }

    /// pytest as this leg runs it; nothing of it is written into the source tree.
    fn pytest(&self, ctx: &Ctx, junit: &str, more: &[String]) -> Command {
        let cache = ctx.store.join("pytest").join(&self.python);
        Command::new(self.spec.python(ctx), &ctx.root.join(&self.tests.directory))
            .args(["-m", "pytest", "--verbose", "--color=no", "-o", "junit_family=xunit1"])
            .args(["-o".to_owned(), format!("junit_suite_name={}", self.python)])
            .args(["-o".to_owned(), format!("cache_dir={}", cache.display())])
            .args([format!("--junitxml={}", ctx.out.join(junit).display())])
            .args([format!("--cov={}", self.tests.package)])
            .args([format!("--cov-report=xml:{}", ctx.out.join(leg_file(&self.python)).display())])
            .args(more.iter().cloned())
            .env("COVERAGE_FILE", ctx.out.join(self.coverage_file()))
            .env("PYTHONPYCACHEPREFIX", ctx.store.join("pycache").join(&self.python))
            .timeout(self.tests.timeout)
    }

    /// The command that repeats this leg, or just one test of it.
    fn again(&self, test: Option<&str>) -> String {
        let leg = format!("cargo xtask test-matrix --python {}", self.python);
        match test {
            Some(test) => format!("{leg} -- {}", crate::tools::command::quoted(test)),
            None => leg,
        }
    }
}

async fn run(session: Session, leg: Leg) -> Result<Outcome, Unproven> {
    let environment = session.environment(&leg.spec).await?;
    let redis = match &session.ctx().config.redis {
        Some(redis) => Some((redis.variable.clone(), session.redis(&environment).await?)),
        None => None,
    };
    let with_redis = |command: Command| match &redis {
        Some((variable, server)) => command.env(variable, &server.url),
        None => command,
    };
    let junit = session.artifact(&leg.junit(1))?;
    session.artifact(&leg.coverage_file())?;
    let own = leg_file(&leg.python);
    let own_path = session.artifact(&own)?;
    let command = with_redis(leg.pytest(session.ctx(), &leg.junit(1), &leg.more));
    let ended = session.step(&command).await?;
    let place = judge::Place { ctx: session.ctx(), directory: &leg.tests.directory };
    let first = match judge::attempt(&ended, read_cases(&session, &junit)) {
        Ok(cases) => cases,
        Err(why) => {
            let fix = leg.again(None);
            let mut not_run = session.not_run(why.reason);
            not_run.findings = why.broken.iter().map(|case| judge::finding(case, &place, None)).collect();
            not_run.fix = if not_run.findings.is_empty() { not_run.fix } else { fix };
            not_run.artifacts = vec![leg.junit(1)];
            return Ok(Outcome::DidNotRun(not_run));
        }
    };
    let attempts = flaky::try_again(&session, &leg, &first, &with_redis).await?;
    let mut findings = judge::findings(&first, &place, &leg);
    flaky::apply(&mut findings, &first, &attempts, session.ctx(), &leg);
    let mut artifacts = vec![leg.junit(1), leg.coverage_file()];
    // Without a line to cover there is none, and the combined coverage is what judges.
    artifacts.extend(own_path.is_file().then_some(own));
    artifacts.extend((2..).take(attempts.len()).map(|attempt| leg.junit(attempt)));
    let failed = first.iter().filter(|case| judge::is_bad(case)).collect::<Vec<_>>();
    let fix = match failed.as_slice() {
        [only] => leg.again(Some(&only.id())),
        _ => leg.again(None),
    };
    let ran = first.iter().filter(|case| case.status != junit_cases::Status::Skipped).count();
    Ok(Outcome::Ran(Evidence { work: Work::new(ran as u64, "tests"), declared: None, findings, artifacts, fix }))
}

fn read_cases(session: &Session, junit: &Path) -> Result<Vec<junit_cases::Case>, String> {
    junit_cases::read(&session.report(junit)?)
        .map_err(|why| format!("the report `{}` cannot be used: {why}", name(junit)))
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Whether pytest came to its end: 0 all passed, 1 some failed (pytest's documented exit codes).
fn came_to_its_end(ended: &Ended) -> bool {
    matches!(ended.exit, Exit::Code(0 | 1))
}
