//! `perf`: the backend under load, held against thresholds. The generator is `load/`; this is what becomes of its figures.
//!
//! Without `--url` it starts the backend itself. A generator that was not fit, a threshold without a sample, a target
//! that nobody answers at: each is `did_not_run`, and no pass. k6 can make the load instead (`k6/`); nothing else differs.

use std::sync::Arc;

use anyhow::Context as _;

use super::{Subject, Task, backend, container};
use crate::config::{Perf, Release};
use crate::context::{Ctx, Profile};
use crate::disk::write_atomically;
use crate::engine::gate::{Gate, Inputs, action};
use crate::engine::session::Session;
use crate::exit::UsageError;
use crate::load::summary::{Second, Summary};
use crate::load::target::Target;
use crate::load::{self, Measured, Plan, Stop, compare, fitness, judge};
use crate::services::backend::Served;
use crate::services::stack::{self, Stack, Wanted};
use crate::tools::cancel::Urgency;
use crate::tools::catalog::K6;
use crate::tools::command::quoted;
use crate::verdict::{Evidence, Finding, NotRun, Outcome, Tool, Unproven, Verdict, Work, assess};

mod baseline;
mod k6;
mod page;

use baseline::Key;

/// Part of `ci`.
pub const TASK: Task = Task {
    name: "perf",
    subjects: &[Subject::new("perf", |config| config.perf.is_some())],
    plan: |ctx| gates(ctx, &Args::default()).unwrap_or_default(),
};

/// Where the summary goes, relative to the output folder.
const SUMMARY: &str = "perf/summary.json";

/// Runs of one load send their requests in one order.
const SEED: u64 = 27;

/// Options of `perf`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Args {
    /// Which load profile of pipeline.toml [default: that of `ci`]
    #[arg(long, value_name = "NAME")]
    load: Option<String>,
    /// What is put under load; without it the backend is started here
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Who makes the load
    #[arg(long, value_enum, default_value = "builtin")]
    engine: Engine,
}

/// Who makes the load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Engine {
    /// The generator of this program
    #[default]
    Builtin,
    /// k6, by a script that is made of the load profile, or by the one of `[perf] k6`
    K6,
}

impl Engine {
    fn name(self) -> &'static str {
        match self {
            Self::Builtin => "builtin",
            Self::K6 => "k6",
        }
    }
}

/// One gate; a name that leads nowhere is a [`UsageError`].
pub fn gates(ctx: &Ctx, args: &Args) -> anyhow::Result<Vec<Gate>> {
    let Some(perf) = ctx.config.perf.clone() else { return Ok(vec![]) };
    let name = args.load.clone().unwrap_or_else(|| perf.ci.clone());
    if !perf.load.contains_key(&name) {
        let known: Vec<&str> = perf.load.keys().map(String::as_str).collect();
        let wrong = format!("pipeline.toml has no load named `{name}` (there are: {})", known.join(", "));
        return Err(UsageError(wrong).into());
    }
    let url = args.url.as_deref().map(Target::parse).transpose().map_err(UsageError)?;
    let named = args.load.iter().map(|name| format!(" --load {}", quoted(name)));
    let named = named.chain(args.url.iter().map(|url| format!(" --url {}", quoted(url))));
    let engine = args.engine;
    let again = named.chain((engine == Engine::K6).then(|| " --engine k6".to_owned())).collect::<String>();
    let own = ctx.config.service.as_ref().filter(|_| url.is_none());
    let files = own.map(|service| vec![format!("{}/{}", service.directory, service.source), service.lock.clone()]);
    let settings = format!("{perf:?} {name} {:?} {:?} {own:?}", args.engine, ctx.config.requests);
    let script = perf.k6.clone().filter(|_| engine == Engine::K6);
    let files = files.into_iter().flatten().chain(script.clone()).collect();
    let (tool, programs) = match engine {
        Engine::Builtin => ("xtask", vec![]),
        Engine::K6 => (K6.name, vec![&K6]),
    };
    let path_tools = if own.is_some() { stack::PATH_TOOLS.to_vec() } else { vec![] };
    Ok(vec![Gate {
        id: "perf".to_owned(),
        waits_for: own.iter().map(|_| container::BUILD.to_owned()).collect(),
        quiet: true,
        // What a place elsewhere answers is no file, and figures of a shared machine are of that moment.
        fresh: url.is_some() || ctx.profile != Profile::Local,
        unit: "requests",
        tool: (tool, String::new()),
        programs,
        inputs: Inputs { files, ignored: own.is_some(), settings, path_tools, ..Inputs::default() },
        environments: own.map(|_| stack::environments(&ctx.config)).unwrap_or_default(),
        breaks_at: crate::policy::breaks_at(&ctx.config.policy, "perf"),
        again: format!("cargo xtask perf{again}"),
        action: action(move |session| run(session, perf.clone(), name.clone(), url.clone(), engine)),
        ..Gate::default()
    }])
}

/// The load that an environment is verified with, against `url`: only routes that its file lists, and of language models
/// only the provider that it names (R41). `None` where pipeline.toml declares no load.
pub fn on(ctx: &Ctx, release: &Release, url: &str) -> Option<Gate> {
    let mut ctx = ctx.clone();
    let asks = |name: &&String| {
        let request = ctx.config.requests.get(*name);
        let model = request.filter(|request| request.llm).and_then(|request| request.json.as_ref()?["model"].as_str());
        model.is_some_and(|model| model.split('/').next() != Some(&release.provider))
    };
    let refused = release.routes.keys().find(asks).cloned();
    ctx.config.perf.as_mut()?.mix.clone_from(&release.routes);
    let args = Args { load: Some(release.load.clone()), url: Some(url.to_owned()), ..Args::default() };
    let refusal = match (gates(&ctx, &args), refused) {
        (Ok(mut gates), None) => return gates.pop(),
        (Err(error), _) => error.to_string(),
        (_, Some(name)) => {
            format!("requests.{name} asks another provider than `{}` (release.provider)", release.provider)
        }
    };
    let refused = action(move |_| {
        let reason = refusal.clone();
        async move { Err(NotRun::new(reason, "mend [release] of the environment's file").into()) }
    });
    Some(Gate { id: "perf".to_owned(), unit: "requests", action: refused, ..Gate::default() })
}

async fn run(
    session: Session,
    perf: Perf,
    name: String,
    url: Option<Target>,
    engine: Engine,
) -> Result<Outcome, Unproven> {
    let load = perf.load.get(&name).cloned().context("the load was looked up when the gate was planned")?;
    let own = match &url {
        Some(_) => None,
        None => Some(backend::start(&session, &Wanted::default()).await?),
    };
    let target = match (&url, &own) {
        (Some(target), _) => target.clone(),
        (None, own) => own_target(&session, own.as_ref().map(|stack| stack.url.as_str()).unwrap_or_default())?,
    };
    let routes = target.routes(&perf.mix, &session.ctx().config.requests).map_err(|why| session.not_run(why))?;
    // As they are configured: what is sent names a port that is another one each time.
    let asked: Vec<_> = perf.mix.keys().map(|name| (name, session.ctx().config.requests.get(name))).collect();
    let is_image = own.as_ref().map(|stack| matches!(stack.served_by, Served::Image { .. }));
    // Another script is another load.
    let script = perf.k6.as_ref().filter(|_| engine == Engine::K6);
    let script = script.and_then(|script| std::fs::read_to_string(session.ctx().root.join(script)).ok());
    let key = Key {
        load: format!("{name}, {}", engine.name()),
        definition: format!(
            "{:?} {load:?} {asked:?} {:?} {is_image:?} {script:?}",
            perf.mix,
            url.as_ref().map(|target| &target.url)
        ),
    };
    let (mix, thresholds) = (perf.mix.clone(), perf.thresholds.clone());
    let plan = Plan { name, load, target, routes, mix, thresholds, seed: SEED };
    let Made { measured, findings, artifacts } = match engine {
        Engine::Builtin => builtin(&session, plan).await?,
        Engine::K6 => k6::run(&session, &plan, perf.k6.as_deref()).await?,
    };
    let text = serde_json::to_string_pretty(&measured.summary).context("the summary is no JSON")?;
    write_atomically(&session.artifact(SUMMARY)?, session.ctx().redactor.redact(&text).as_bytes())?;
    session.say(&headline(&measured.summary))?;
    let seen = Seen {
        findings: own.iter().flat_map(Stack::findings).chain(findings).collect(),
        artifacts: own
            .iter()
            .flat_map(|stack| stack.logs.clone())
            .chain([SUMMARY.to_owned(), page::PAGE.to_owned()])
            .chain(artifacts)
            .collect(),
    };
    let summary = measured.summary.clone();
    let outcome = outcome(&session, &perf, &key, measured, seen)?;
    page::write(&session, &summary, &outcome, own.as_ref()).await?;
    Ok(outcome)
}

/// What came of a load, whoever made it.
#[derive(Debug)]
pub struct Made {
    /// The figures, thresholds judged.
    pub measured: Measured,
    /// What the engine itself has to say.
    pub findings: Vec<Finding>,
    /// Files that are left, relative to the output folder.
    pub artifacts: Vec<String>,
}

async fn builtin(session: &Session, plan: Plan) -> Result<Made, Unproven> {
    session.uses(Tool { name: "xtask".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned(), hash: None });
    Ok(Made { measured: measure(session, plan).await?, findings: vec![], artifacts: vec![] })
}

/// Load goes to this machine, unless somebody names another place.
fn own_target(session: &Session, url: &str) -> Result<Target, NotRun> {
    let target = Target::parse(url).map_err(|why| session.not_run(why))?;
    if target.is_loopback() {
        return Ok(target);
    }
    Err(session.not_run(format!("`{url}` is not this machine: load on another place needs its name, by --url")))
}

/// Runs the load, telling each second; a cancelled run is none.
async fn measure(session: &Session, plan: Plan) -> Result<Measured, Unproven> {
    let stop = Stop::default();
    let teller = Arc::new(session.clone());
    // A line that cannot be written is missed by nobody's verdict.
    let on_second = move |second: &Second| drop(teller.say(&progress(second)));
    let mut cancel = session.machine.cancel.clone();
    tokio::select! {
        measured = load::run(plan, on_second, &stop) => {
            measured.map_err(|why| session.not_run(format!("{why:#}")).into())
        }
        () = cancel.reached(Urgency::Gently) => {
            stop.now();
            Err(NotRun::new("interrupted", "run it again").into())
        }
    }
}

/// What is to be said beside the figures.
struct Seen {
    findings: Vec<Finding>,
    artifacts: Vec<String>,
}

/// Figures → evidence, or the reason why there is none. A run that passes is one of the accepted ones.
fn outcome(session: &Session, perf: &Perf, key: &Key, measured: Measured, seen: Seen) -> Result<Outcome, Unproven> {
    let (ctx, Measured { summary, blocks }) = (session.ctx(), measured);
    let Seen { findings, artifacts } = seen;
    let mut findings: Vec<Finding> = judge::findings(&summary).into_iter().chain(findings).collect();
    let why = nobody(&summary).or_else(|| fitness::unfit(&summary)).or_else(|| judge::unjudged(&summary));
    if let Some(reason) = why {
        let mut not_run = session.not_run(reason);
        if summary.engine == Engine::K6.name() && judge::unjudged(&summary).is_some() {
            let way = "k6 sees a stream only when it has ended: tokens are judged by the built-in generator, `cargo xtask perf`";
            not_run.fix = format!("{way}; {}", not_run.fix);
        }
        // What was seen all the same is worth a look and decides nothing.
        return Ok(Outcome::DidNotRun(NotRun { findings, artifacts, ..not_run }));
    }
    let lag = summary.generator.lag.map(|lag| lag.p95).unwrap_or_default();
    let comparison = compare::compare(&baseline::accepted(ctx, key), &blocks, lag, SEED);
    findings.extend(comparison.and_then(|comparison| comparison.finding(perf.regression)));
    let work = Work::new(summary.requests, "requests");
    let fix = format!(
        "look at `{SUMMARY}` in the output folder and mend what is slow or wrong, then `cargo xtask perf`; \
         a slower p95 is accepted by removing `{}`",
        session.machine.shown(&baseline::path(ctx))
    );
    let evidence = Evidence { work, declared: None, findings, artifacts, fix };
    let passes = assess(&evidence, crate::policy::breaks_at(&ctx.config.policy, "perf")).verdict == Verdict::Pass;
    if passes && comparison.is_none_or(|comparison| comparison.is_acceptable()) {
        baseline::accept(ctx, key, blocks)?;
    }
    Ok(Outcome::Ran(evidence))
}

/// A target at which nobody answers was not measured; what it said instead is told.
fn nobody(summary: &Summary) -> Option<String> {
    let answered = summary.failed < summary.requests || summary.checks.passed > 0;
    let fault = summary.faults.first().map_or("no request came to an end", |fault| fault.what.as_str());
    (!answered).then(|| format!("nobody answers at {}: {fault}", summary.target))
}

/// One second for people: `12 s, 50 users: 49 requests/s, p95 8 ms, 0 failed`.
fn progress(second: &Second) -> String {
    let users = if second.users > 0 { format!(", {} users", second.users) } else { String::new() };
    let p95 = second.p95.map(|p95| format!(", p95 {p95:.0} ms")).unwrap_or_default();
    let llm = second.llm_p95.map(|p95| format!(", first token p95 {p95:.0} ms")).unwrap_or_default();
    let warm_up = if second.is_warm_up { " (warm-up)" } else { "" };
    let Second { at, requests, failed, .. } = second;
    format!("{at} s{warm_up}{users}: {requests} requests/s{p95}{llm}, {failed} failed")
}

/// The whole run for people.
fn headline(summary: &Summary) -> String {
    let Summary { requests, rate, measured_ms, failed_rate, generator, .. } = summary;
    let mut parts = vec![format!("{requests} requests in {:.0} s ({rate:.1}/s)", measured_ms / 1000.0)];
    parts.extend(summary.duration.map(|trend| {
        let service = summary.service_time.map(|service| format!(", service time {:.1} ms", service.p95));
        format!("p95 {:.1} ms{}, p99 {:.1} ms", trend.p95, service.unwrap_or_default(), trend.p99)
    }));
    let first = summary.llm.as_ref().and_then(|llm| llm.time_to_first_token);
    parts.extend(first.map(|first| format!("first token p95 {:.1} ms", first.p95)));
    parts.push(format!("{:.2} % failed", failed_rate * 100.0));
    parts.push(format!("the generator used {:.0} % of its core", generator.cpu_peak * 100.0));
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::summary::{Checks, Fault, Generator, Llm, Trend};

    #[test]
    fn a_target_answers_where_anything_was_as_expected() {
        let fault = |what: &str| Fault { route: "health".into(), what: what.into(), count: 1 };
        for (requests, failed, passed, faults, why) in [
            (600, 0, 1200, vec![], None),
            (600, 600, 600, vec![fault("status 500, expected 200")], None),
            (600, 600, 0, vec![fault("no connection: connection refused")], Some("no connection: connection refused")),
            (0, 0, 0, vec![], Some("no request came to an end")),
        ] {
            let checks = Checks { passed, failed };
            let summary = Summary { requests, failed, checks, faults, target: "http://a".into(), ..Summary::default() };
            assert_eq!(nobody(&summary), why.map(|why| format!("nobody answers at http://a: {why}")));
        }
    }

    #[test]
    fn what_is_said_leaves_out_what_was_not_measured() {
        let trend = |p95| Some(Trend { p95, p99: p95 + 1.0, ..Trend::default() });
        let rest = Summary {
            requests: 600,
            rate: 40.0,
            measured_ms: 15_000.0,
            generator: Generator { cpu_peak: 0.034, ..Generator::default() },
            duration: trend(9.44),
            service_time: trend(8.0),
            ..Summary::default()
        };
        assert_eq!(
            headline(&rest),
            "600 requests in 15 s (40.0/s); p95 9.4 ms, service time 8.0 ms, p99 10.4 ms; 0.00 % failed; the generator used 3 % of its core"
        );
        let llm = Some(Llm { time_to_first_token: trend(3.0), ..Llm::default() });
        let llm = Summary { llm, duration: None, ..rest };
        assert!(headline(&llm).contains("(40.0/s); first token p95 3.0 ms; 0.00 % failed"), "{}", headline(&llm));
        let second = Second { at: 3, users: 5, requests: 7, p95: Some(8.2), is_warm_up: true, ..Second::default() };
        assert_eq!(progress(&second), "3 s (warm-up), 5 users: 7 requests/s, p95 8 ms, 0 failed");
    }
}
