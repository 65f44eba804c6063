//! `integration`: the tests of the whole. The backend as it is shipped, a real Redis, an Ollama, and faults.
//!
//! The services are `services::stack`'s; what pytest's exit code and report mean is decided where the test matrix
//! decides it. The report says how the backend was served, and which Ollama it was.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::test_matrix::judge::{self, Place};
use super::{Subject, Task, backend, container};
use crate::config::Integration;
use crate::context::{Ctx, Profile};
use crate::engine::gate::{Gate, Inputs, action};
use crate::engine::session::Session;
use crate::report::junit_cases::{self, Status};
use crate::services::backend::Served;
use crate::services::control::{self, Known};
use crate::services::ollama::{self, Choice};
use crate::services::stack::{self, Wanted};
use crate::tools::command::{Command, quoted};
use crate::tools::containers;
use crate::tools::environment::{Shelf, Spec};
use crate::tools::proc::Runner;
use crate::verdict::{Evidence, Finding, NotRun, Outcome, Severity, Unproven, Work};

/// Part of `ci`.
pub const TASK: Task = Task {
    name: "integration",
    subjects: &[Subject::new("integration", |config| config.integration.is_some())],
    plan: |ctx| plan(ctx, &Args::default()),
};

/// What the command line says.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Args {
    /// Which Ollama: `auto` (one that answers, one on PATH, its image, a stand-in), an address, or `stub`
    #[arg(long, value_name = "auto|URL|stub", default_value = "auto", value_parser = str::parse::<Choice>)]
    pub ollama: Choice,
    /// Handed to pytest as they are
    #[arg(last = true, value_name = "PYTEST ARGS")]
    pub pytest: Vec<String>,
}

/// One gate. On a laptop a stored result counts as long as the image and the files are the same; elsewhere it is run
/// each time, for what it proves lies in services as much as in files. An Ollama that was started since is asked with
/// `--no-cache`.
pub fn plan(ctx: &Ctx, args: &Args) -> Vec<Gate> {
    let Some(integration) = &ctx.config.integration else { return vec![] };
    let whole = Whole { integration: integration.clone(), choice: args.ollama.clone(), more: args.pytest.clone() };
    let spec = whole.spec();
    let environments = stack::environments(&ctx.config);
    let service = &ctx.config.service;
    let ready = service.as_ref().and_then(|service| ctx.config.requests.get(&service.ready));
    let ollama = ["OLLAMA_HOST", "OLLAMA_MODELS"].map(|name| ctx.var(name));
    vec![Gate {
        id: "integration".to_owned(),
        waits_for: vec![container::BUILD.to_owned()],
        fresh: ctx.profile != Profile::Local || whole.choice != Choice::Auto,
        unit: "tests",
        tool: ("pytest", integration.lock.clone()),
        inputs: Inputs {
            files: integration.inputs.clone(),
            ignored: true,
            settings: format!("{integration:?} {service:?} {ready:?} {ollama:?} {:?} {:?}", whole.choice, whole.more),
            path_tools: stack::PATH_TOOLS.into_iter().chain(["ollama"]).collect(),
            ..Inputs::default()
        },
        environments: std::iter::once(spec).chain(environments).collect(),
        steps: vec![whole.pytest(ctx, &whole.more)],
        again: whole.again(None),
        action: action(move |session| run(session, whole.clone())),
        ..Gate::default()
    }]
}

/// Everything that the gate does.
#[derive(Clone, Debug)]
struct Whole {
    integration: Integration,
    choice: Choice,
    more: Vec<String>,
}

/// The JUnit file, relative to the output folder.
const JUNIT: &str = "junit/integration.xml";

impl Whole {
    /// The environment of the tests.
    fn spec(&self) -> Spec {
        let Integration { python, lock, .. } = &self.integration;
        let name = format!("integration-{python}");
        Spec { name, python: python.clone(), lock: lock.clone(), shelf: Shelf::Environments }
    }

    /// pytest; nothing of it is written into the source tree.
    fn pytest(&self, ctx: &Ctx, more: &[String]) -> Command {
        let Integration { directory, tests, timeout, .. } = &self.integration;
        let command = Command::new(self.spec().python(ctx), &ctx.root.join(directory))
            .args(["-m", "pytest", "--verbose", "--color=no", "-o", "junit_family=xunit1"])
            .args(["-o", "junit_suite_name=integration", "-p", "no:cov"])
            .args(["-o".to_owned(), format!("cache_dir={}", ctx.store.join("pytest/integration").display())])
            // The unit tests above have a conftest of their own, which wants another surrounding.
            .args([format!("--confcutdir={tests}"), format!("--junitxml={}", ctx.out.join(JUNIT).display())])
            .env("PYTHONPYCACHEPREFIX", ctx.store.join("pycache/integration"))
            .timeout(*timeout);
        // A test that is named is run alone; options go with the whole folder.
        let is_named = more.iter().any(|arg| arg.starts_with(tests.as_str()));
        let command = if is_named { command } else { command.args([tests.clone()]) };
        command.args(more.iter().cloned())
    }

    /// The command that repeats it, or just one test of it.
    fn again(&self, test: Option<&str>) -> String {
        let ollama = match &self.choice {
            Choice::Auto => String::new(),
            Choice::Url(url) => format!(" --ollama {}", quoted(url)),
            Choice::Stub => " --ollama stub".to_owned(),
        };
        let test = test.map(|test| format!(" -- {}", quoted(test))).unwrap_or_default();
        format!("cargo xtask integration{ollama}{test}")
    }
}

async fn run(session: Session, whole: Whole) -> Result<Outcome, Unproven> {
    let ctx = session.ctx();
    session.environment(&whole.spec()).await?;
    let runner = Runner { on_line: None, ..session.runner().clone() };
    let engine = match containers::find(&session.machine, &runner).await {
        Ok(engine) => Some(engine),
        // Whether that matters is for what needs one to say.
        Err(Unproven::NotRun(_)) => None,
        Err(defect) => return Err(defect),
    };
    let ollama = ollama::find(&session.machine, &runner, &whole.choice, engine.as_ref()).await?;
    let wanted = Wanted { ollama: Some(ollama.url.clone()), environment: whole.integration.environment.clone() };
    let stack = backend::start(&session, &wanted).await?;
    ollama.used.iter().for_each(|tool| session.uses(tool.clone()));
    let mut seen = stack.findings();
    seen.push(Finding::new("ollama", Severity::Info, format!("Ollama was {ollama}")));
    let mut artifacts = stack.logs.clone();
    if matches!(stack.served_by, Served::Process(_)) {
        session.note("the backend is a process, for no engine serves an image of it")?;
    }
    let stack = Arc::new(Mutex::new(stack));
    let known = Known { model: ollama.model.clone(), is_real: ollama.is_real };
    let control = control::start(&stack, known).await?;

    let junit = session.artifact(JUNIT)?;
    artifacts.push(JUNIT.to_owned());
    let command = whole.pytest(ctx, &whole.more);
    let command = command.env(&whole.integration.variable, format!("http://{}", control.address));
    let ended = session.step(&command).await?;
    drop(control);
    let report = session.report(&junit).and_then(|text| junit_cases::read(&text));
    let place = Place { ctx, directory: &whole.integration.directory };
    let cases = match judge::attempt(&ended, report) {
        Ok(cases) => cases,
        Err(why) => {
            let broken = why.broken.iter().map(|case| judge::finding(case, &place, None));
            let not_run =
                NotRun { findings: seen.into_iter().chain(broken).collect(), artifacts, ..session.not_run(why.reason) };
            return Ok(Outcome::DidNotRun(not_run));
        }
    };
    let failed: Vec<_> = cases.iter().filter(|case| judge::is_bad(case)).collect();
    seen.extend(failed.iter().map(|case| judge::finding(case, &place, Some(&whole.again(Some(&case.id()))))));
    let fix = match failed.as_slice() {
        [only] => whole.again(Some(&only.id())),
        _ => whole.again(None),
    };
    let ran = cases.iter().filter(|case| case.status != Status::Skipped).count() as u64;
    Ok(Outcome::Ran(Evidence { work: Work::new(ran, "tests"), declared: None, findings: seen, artifacts, fix }))
}
