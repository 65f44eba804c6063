//! Runs the gates of a task and reports them: the part that all checking tasks share.

mod remember;

use std::sync::Arc;

use anyhow::Result;
use time::format_description::well_known::Rfc3339;

use crate::context::{Ctx, Profile};
use crate::disk::lock;
use crate::engine::gate::Gate;
use crate::engine::outcome::unfinished;
use crate::engine::run::{self, Options, Ran};
use crate::event::{Event, Events};
use crate::exit::{Code, Interrupted};
use crate::model::{GateReport, Report, SCHEMA};
use crate::report::files_of_last_run;
use crate::tools::cancel::{Cancel, Urgency};
use crate::tools::git::Snapshot;
use crate::tools::ledger;
use crate::tools::machine::Machine;
use crate::tools::program;
use crate::tools::requirements;
use crate::verdict::{Tool, Verdict, overall};

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Checks {
    /// The subcommand.
    pub task: &'static str,
    /// The gates, in order.
    pub gates: Vec<Gate>,
    /// Ids that `--only` and `--skip` left out.
    pub left_out: Vec<String>,
    /// How they are run.
    pub options: Options,
}

/// What the process ends with. The output folder is its own as long as this lives, which has to be until
/// the reporter has written its last file.
#[derive(Debug)]
pub struct Done {
    /// The exit code.
    pub code: Code,
    /// Why the history does not have this run, where it should.
    pub forgotten: Option<anyhow::Error>,
    _alone_here: Option<std::fs::File>,
}

impl From<Code> for Done {
    fn from(code: Code) -> Self {
        Self { code, forgotten: None, _alone_here: None }
    }
}

/// A run that has begun: the output folder is its own, and what a killed one left is gone.
pub struct Begun {
    /// This machine.
    pub machine: Arc<Machine>,
    /// The working tree.
    pub snapshot: Snapshot,
    /// Every gate, and none green.
    pub report: Report,
    /// Whether the run becomes a line of the history; a plan alone does not.
    pub is_remembered: bool,
    began: std::time::Instant,
    alone_here: std::fs::File,
}

/// Begins a run: `events` hear of every gate.
pub async fn open(ctx: &Arc<Ctx>, cancel: &Cancel, events: &Events, checks: &Checks) -> Result<Begun> {
    let began = std::time::Instant::now();
    let machine = Arc::new(Machine::new(ctx.clone(), cancel.clone()));
    // Two runs that write into one folder would read each other's reports.
    let alone_here = alone(ctx, cancel, events).await?;
    files_of_last_run::remove(&ctx.out);
    let snapshot = machine.snapshot().await?;
    // After the look at the tree: nothing below `target/` is believed that came with a commit.
    ledger::sweep(&ctx.store, &machine.quiet()).await.into_iter().for_each(|note| events.send(Event::Note(note)));
    let report = begin(ctx, &snapshot, checks);
    events.send(Event::Planned(Box::new(report.clone())));
    Ok(Begun { machine, snapshot, report, is_remembered: true, began, alone_here })
}

impl Begun {
    /// Runs these gates of the plan; the report has its verdict then, and is not told yet.
    pub async fn run(&mut self, ctx: &Ctx, cancel: &Cancel, events: &Events, checks: &Checks) -> Result<Code> {
        let of = |id: &String| self.report.gates.iter().find(|gate| gate.id == *id).cloned();
        let planned: Vec<GateReport> = checks.gates.iter().filter_map(|gate| of(&gate.id)).collect();
        let Ran { gates, defect } =
            run::run(&checks.gates, planned, &self.snapshot, &self.machine, &checks.options, events).await?;
        for gate in gates {
            if let Some(known) = self.report.gates.iter_mut().find(|known| known.id == gate.id) {
                *known = gate;
            }
        }
        let mut code = end(ctx, &mut self.report, &checks.gates);
        if defect || cancel.is_cancelled() {
            self.report.verdict = Verdict::DidNotRun;
            code = code.and(if defect { Code::Defect } else { Code::Interrupted });
        }
        Ok(code)
    }

    /// The last event of the run, and what the process ends with.
    pub fn close(mut self, events: &Events, code: Code) -> Done {
        self.report.duration_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        events.send(Event::Ended(Box::new(self.report.clone())));
        // The reporter writes its files meanwhile. The verdict is the report's: a history that cannot be written changes
        // nothing of it.
        let is_remembered = self.is_remembered && self.report.task != super::history::TASK;
        let remember = || remember::remember(&self.machine.ctx, &self.report, &self.snapshot.branch);
        let forgotten = is_remembered.then(remember).and_then(Result::err);
        Done { code, forgotten, _alone_here: Some(self.alone_here) }
    }
}

/// Runs the gates. Everything that happens goes to `events`, the last of them being the report.
pub async fn run(ctx: &Arc<Ctx>, cancel: &Cancel, events: &Events, checks: Checks) -> Result<Done> {
    let mut begun = open(ctx, cancel, events, &checks).await?;
    let code = begun.run(ctx, cancel, events, &checks).await?;
    Ok(begun.close(events, code))
}

/// Waits until no other run writes into the output folder; gives up when the run is cancelled.
async fn alone(ctx: &Ctx, cancel: &Cancel, events: &Events) -> Result<std::fs::File> {
    let path = ctx.out.join(".lock");
    let mut cancel = cancel.clone();
    let patience = std::time::Duration::from_millis(300);
    if let Ok(locked) = tokio::time::timeout(patience, lock(&path)).await {
        return locked;
    }
    let out = ctx.out.display();
    events
        .send(Event::Note(format!("another run writes into `{out}`; waiting for it (--out DIR takes another folder)")));
    tokio::select! {
        locked = lock(&path) => locked,
        () = cancel.reached(Urgency::Gently) => Err(Interrupted.into()),
    }
}

/// The report before anything has run: every gate is there, and none is green.
pub fn begin(ctx: &Ctx, snapshot: &Snapshot, checks: &Checks) -> Report {
    let required = |gate: &GateReport| is_required(ctx, &gate.id) && !brought(&checks.gates, &gate.id);
    let unfinished = checks.gates.iter().map(|gate| unfinished(gate, pinned_tool(ctx, gate)));
    Report {
        schema: SCHEMA.to_owned(),
        commit: snapshot.commit.clone(),
        dirty: snapshot.dirty,
        task: checks.task.to_owned(),
        profile: ctx.profile,
        verdict: Verdict::DidNotRun,
        started: ctx.started.format(&Rfc3339).unwrap_or_default(),
        duration_ms: 0,
        not_configured: super::not_configured(ctx),
        left_out: checks.left_out.clone(),
        gates: unfinished.map(|gate| GateReport { required: required(&gate), ..gate }).collect(),
    }
}

/// Gives the run its verdict, and the exit code of it.
pub fn end(ctx: &Ctx, report: &mut Report, planned: &[Gate]) -> Code {
    for gate in &mut report.gates {
        if is_excused(ctx, gate) {
            gate.required = false;
        }
    }
    report.verdict = overall(&report.gates);
    // What was only brought along proves nothing of what was asked.
    let is_proof = |gate: &GateReport| gate.verdict == Verdict::Pass && !brought(planned, &gate.id);
    if report.verdict == Verdict::Pass && !report.gates.iter().any(is_proof) {
        report.verdict = Verdict::DidNotRun;
    }
    Code::from(report.verdict)
}

/// Whether nobody asked for a gate.
fn brought(planned: &[Gate], id: &str) -> bool {
    planned.iter().any(|gate| gate.id == id && gate.brought)
}

/// Whether a run without this gate is red, as far as its id tells.
fn is_required(ctx: &Ctx, id: &str) -> bool {
    let task = id.split('/').next().unwrap_or(id);
    let optional = &ctx.config.profiles.local.optional;
    ctx.profile != Profile::Local || !optional.iter().any(|name| name == id || name == task)
}

/// `offline` excuses a gate of its list that did not run for exactly the listed reason, and nothing else.
fn is_excused(ctx: &Ctx, gate: &GateReport) -> bool {
    let listed = &ctx.config.profiles.offline.unreachable;
    ctx.profile == Profile::Offline
        && gate.verdict == Verdict::DidNotRun
        && listed.iter().any(|entry| entry.gate == gate.id && entry.reason == gate.reason)
}

/// The gate's tool, with the version that its lock pins.
fn pinned_tool(ctx: &Ctx, gate: &Gate) -> Tool {
    if let Some(program) = gate.programs.first() {
        let version = program::version(ctx, program).unwrap_or_else(|| "unknown".to_owned());
        return Tool { name: program.name.to_owned(), version, hash: None };
    }
    let (name, lock) = &gate.tool;
    let python = gate.environments.first().map_or(&ctx.config.python.tools, |spec| &spec.python);
    let text = std::fs::read_to_string(ctx.root.join(lock)).unwrap_or_default();
    let pinned = requirements::pinned(&text, name, python).or_else(|| of_cargo(&text, name));
    let version = pinned.unwrap_or_else(|| "unknown".to_owned());
    Tool { name: (*name).to_owned(), version, hash: None }
}

/// The version of a crate that is part of this program, by Cargo's lock file.
fn of_cargo(lock: &str, name: &str) -> Option<String> {
    let entry =
        lock.split("[[package]]").find(|entry| entry.trim_start().starts_with(&format!("name = \"{name}\"\n")))?;
    Some(entry.split("version = \"").nth(1)?.split('"').next()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Unreachable;
    use crate::context::testing;
    use crate::engine::gate::testing::planned;
    use crate::verdict::Work;

    fn gate(id: &str, verdict: Verdict, reason: &str) -> GateReport {
        GateReport {
            id: id.into(),
            verdict,
            required: true,
            cached: false,
            work: Work::new(0, "packages"),
            tool: Tool::default(),
            path_tools: vec![],
            inputs: String::new(),
            duration_ms: 0,
            reason: reason.into(),
            fix: String::new(),
            findings: vec![],
            artifacts: vec![],
        }
    }

    #[test]
    fn offline_excuses_the_listed_reason_and_nothing_else() {
        use Profile::{Actions, Local, Offline};
        use Verdict::{DidNotRun, Fail, Pass};
        let mut ctx = testing::ctx(std::path::Path::new("/repo"));
        let listed = Unreachable { gate: "deps".into(), reason: "no data base".into() };
        ctx.config.profiles.offline.unreachable = vec![listed];
        for (profile, id, verdict, reason, excused) in [
            (Offline, "deps", DidNotRun, "no data base", true),
            (Offline, "deps", DidNotRun, "no data base at all", false),
            (Offline, "deps", Fail, "no data base", false),
            (Offline, "docs", DidNotRun, "no data base", false),
            (Offline, "deps", Pass, "no data base", false),
            (Actions, "deps", DidNotRun, "no data base", false),
            (Local, "deps", DidNotRun, "no data base", false),
        ] {
            ctx.profile = profile;
            assert_eq!(is_excused(&ctx, &gate(id, verdict, reason)), excused, "{profile:?} {id} {verdict:?} {reason}");
        }
    }

    #[test]
    fn what_was_brought_along_proves_nothing_of_what_was_asked() {
        let mut ctx = testing::ctx(std::path::Path::new("/repo"));
        ctx.config.profiles.local.optional = vec!["smoke".into()];
        for (brought, smoke, expected) in [
            (true, Verdict::DidNotRun, Verdict::DidNotRun),
            (true, Verdict::Pass, Verdict::Pass),
            (false, Verdict::DidNotRun, Verdict::Pass),
        ] {
            let planned = [Gate { brought, ..planned("build", &[]) }, planned("smoke", &[])];
            let build = gate("build", Verdict::Pass, "");
            let asked = GateReport { required: false, ..gate("smoke", smoke, "no redis") };
            let mut report = Report {
                schema: SCHEMA.into(),
                commit: String::new(),
                dirty: false,
                task: "smoke".into(),
                profile: Profile::Local,
                verdict: Verdict::DidNotRun,
                started: String::new(),
                duration_ms: 0,
                not_configured: vec![],
                left_out: vec![],
                gates: vec![build, asked],
            };
            end(&ctx, &mut report, &planned);
            assert_eq!(report.verdict, expected, "{brought} {smoke:?}");
        }
    }

    #[test]
    fn offline_is_actions_but_for_its_list() {
        let mut ctx = testing::ctx(std::path::Path::new("/repo"));
        ctx.config.profiles.local.optional = vec!["docs".into()];
        for (profile, required) in [(Profile::Local, false), (Profile::Actions, true), (Profile::Offline, true)] {
            ctx.profile = profile;
            assert_eq!(is_required(&ctx, "docs/site"), required);
        }
        assert_eq!(Profile::Actions.trusts_path(), Profile::Offline.trusts_path());
    }
}
