//! The gates of a release, one after the other, each reported as the engine reports its own.
//!
//! The first signal stops what goes forward. What goes back runs on a machine that only the second one stops.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;

use crate::context::Ctx;
use crate::engine::gate::Gate;
use crate::engine::outcome::{not_proved, proved, unfinished};
use crate::engine::session::Session;
use crate::event::{Event, Events};
use crate::exit::Code;
use crate::model::{GateReport, log_artifact};
use crate::report;
use crate::tasks::checks::{self, Begun, Checks, Done};
use crate::tools::cancel::{self, Cancel, Urgency};
use crate::tools::machine::Machine;
use crate::verdict::{NotRun, Outcome, Tool, Unproven, Verdict, overall};

/// The run of a release.
pub struct Stages {
    begun: Begun,
    gates: Vec<Gate>,
    cancel: Cancel,
    steady: Arc<Machine>,
    goes_back: bool,
    events: Events,
    defect: bool,
}

impl Stages {
    /// Begins with the gates that are known now.
    pub async fn open(ctx: &Arc<Ctx>, cancel: &Cancel, events: &Events, checks: &Checks) -> Result<Self> {
        let begun = checks::open(ctx, cancel, events, checks).await?;
        let (canceller, later) = cancel::pair();
        let mut urgent = cancel.clone();
        tokio::spawn(async move {
            urgent.reached(Urgency::Now).await;
            canceller.cancel();
            canceller.cancel();
        });
        let steady = Arc::new(Machine::new(ctx.clone(), later));
        let (cancel, events) = (cancel.clone(), events.clone());
        Ok(Self { begun, gates: checks.gates.clone(), cancel, steady, goes_back: false, events, defect: false })
    }

    /// The invocation.
    pub fn ctx(&self) -> &Ctx {
        &self.begun.machine.ctx
    }

    /// Whether the working tree differs from its commit.
    pub fn is_dirty(&self) -> bool {
        self.begun.snapshot.dirty
    }

    /// The machine that goes on until the second signal.
    pub fn steady(&self) -> &Arc<Machine> {
        &self.steady
    }

    /// From here on only a second signal stops anything.
    pub fn go_back(&mut self) {
        self.goes_back = true;
    }

    /// Whether that is so.
    pub fn is_going_back(&self) -> bool {
        self.goes_back
    }

    /// A switch for what is waited for now.
    pub fn switch(&self) -> Cancel {
        if self.goes_back { self.steady.cancel.clone() } else { self.cancel.clone() }
    }

    /// Whether a signal asked for a stop of what is done now.
    pub fn is_stopped(&self) -> bool {
        self.switch().is_cancelled()
    }

    /// Tells a sentence.
    pub fn say(&self, text: impl AsRef<str>) {
        self.events.send(Event::Note(self.ctx().redactor.clean(text.as_ref())));
    }

    /// Asks a person, on a thread of its own: whoever thinks it over may still press Ctrl-C, and then nothing was typed.
    pub async fn ask(&self, question: String) -> Result<Option<String>> {
        let mut switch = self.switch();
        tokio::select! {
            typed = tokio::task::spawn_blocking(move || report::ask(&question)) => Ok(typed?),
            () = switch.reached(Urgency::Gently) => Ok(None),
        }
    }

    /// A gate that turned out to be needed.
    pub fn add(&mut self, gate: Gate) {
        if self.gates.iter().any(|known| known.id == gate.id) {
            return;
        }
        self.begun.report.gates.push(unfinished(&gate, Tool { name: gate.tool.0.to_owned(), ..Tool::default() }));
        self.gates.push(gate);
        self.events.send(Event::Planned(Box::new(self.begun.report.clone())));
    }

    /// Runs one stage: `act` gets a session that only the right signal stops.
    pub async fn run<F, P>(&mut self, id: &str, act: F) -> GateReport
    where
        F: FnOnce(Session) -> P,
        P: Future<Output = Result<Outcome, Unproven>>,
    {
        let machine = if self.goes_back { self.steady.clone() } else { self.begun.machine.clone() };
        let started = Instant::now();
        self.events.send(Event::Started { gate: id.to_owned() });
        let (outcome, used) = match Session::open(id, 0, &machine, &self.events) {
            Err(error) => (Err(Unproven::Defect(error)), vec![]),
            Ok(session) => (act(session.clone()).await, session.used()),
        };
        let gate = self.gates.iter().find(|gate| gate.id == id).cloned().unwrap_or_default();
        let mut report = unfinished(&gate, Tool { name: gate.tool.0.to_owned(), ..Tool::default() });
        report.id = id.to_owned();
        report.duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        for tool in used {
            if tool.name == report.tool.name {
                report.tool = tool;
            } else if tool.hash.is_some() {
                report.path_tools.push(tool);
            }
        }
        match outcome {
            Ok(Outcome::Ran(evidence)) => proved(&mut report, evidence, &gate),
            Ok(Outcome::DidNotRun(why)) | Err(Unproven::NotRun(why)) => not_proved(&mut report, why),
            Err(Unproven::Defect(error)) => {
                self.defect = true;
                not_proved(&mut report, NotRun::new(format!("a defect of the pipeline: {error:#}"), "report it"));
            }
        }
        if machine.cancel.is_cancelled() && report.verdict != Verdict::Pass {
            report.verdict = Verdict::DidNotRun;
            report.reason = "interrupted".to_owned();
        }
        report.artifacts.push(log_artifact(id));
        report.artifacts.retain(|artifact| machine.ctx.out.join(artifact).exists());
        report.artifacts.dedup();
        self.keep(report.clone());
        report
    }

    /// Runs a gate of another task as a stage of ours.
    pub async fn run_gate(&mut self, gate: Gate) -> GateReport {
        let (id, action) = (gate.id.clone(), gate.action.clone());
        self.add(gate);
        self.run(&id, |session| action(session)).await
    }

    fn keep(&mut self, report: GateReport) {
        self.events.send(Event::Finished(Box::new(report.clone())));
        if let Some(known) = self.begun.report.gates.iter_mut().find(|known| known.id == report.id) {
            *known = report;
        }
    }

    /// Every stage that has not run says why.
    pub fn leave(&mut self, why: &str, fix: &str) {
        let open = self.begun.report.gates.iter().filter(|gate| gate.reason == "not finished");
        let open: Vec<GateReport> = open.cloned().collect();
        for gate in open {
            self.keep(GateReport { reason: why.to_owned(), fix: fix.to_owned(), ..gate });
        }
    }

    /// The run is none that anybody wants to remember.
    pub fn forget(&mut self) {
        self.begun.is_remembered = false;
    }

    /// A plan alone is complete without the gates after it, and is no run that anybody wants to remember.
    pub fn optional_unless_run(&mut self) {
        self.forget();
        let ids: Vec<GateReport> =
            self.begun.report.gates.iter().filter(|gate| gate.verdict == Verdict::DidNotRun).cloned().collect();
        for gate in ids {
            self.keep(GateReport { required: false, ..gate });
        }
    }

    /// The gates so far.
    pub fn reports(&self) -> &[GateReport] {
        &self.begun.report.gates
    }

    /// The last event, and the exit code: that of the gates, and `also`.
    pub fn close(self, also: Code) -> Done {
        let code = Code::from(overall(&self.begun.report.gates)).and(also);
        self.close_as(code)
    }

    /// The last event where the gates do not say how it ended: one that failed decides nothing while nobody acts on it.
    pub fn close_as(mut self, mut code: Code) -> Done {
        self.begun.report.verdict = overall(&self.begun.report.gates);
        if self.defect || code != Code::Passed && self.begun.report.verdict == Verdict::Pass {
            self.begun.report.verdict = Verdict::DidNotRun;
        }
        // A second signal stops what goes back; what had ended well by then has.
        if self.steady.cancel.is_cancelled() && code != Code::Passed {
            code = code.and(Code::Interrupted);
        }
        if self.defect {
            code = code.and(Code::Defect);
        }
        self.begun.close(&self.events, code)
    }
}
