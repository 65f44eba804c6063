//! The scheduler: starts each gate when what it comes after is done and there is room, and ends with a report of each.
//!
//! Room is bounded by cores. A quiet gate runs alone. What was not started when the run was cancelled
//! is reported as not run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use tokio::task::JoinSet;

use super::gate::Gate;
use super::key::Key;
use super::outcome::{not_proved, proved};
use super::session::Session;
use super::store::Store;
use super::urgency;
use crate::context::Profile;
use crate::event::{Event, Events};
use crate::model::GateReport;
use crate::model::log_artifact;
use crate::tools::git::Snapshot;
use crate::tools::machine::Machine;
use crate::verdict::{NotRun, Outcome, Tool, Unproven, Verdict};

/// How a list of gates is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Look results up, and store them.
    pub cache: bool,
    /// Start nothing more once a gate is red.
    pub fail_fast: bool,
    /// Tell why a gate was not taken from the cache.
    pub explain: bool,
    /// How many gates run at the same time.
    pub jobs: usize,
}

impl Default for Options {
    fn default() -> Self {
        // A gate mostly waits for its own processes; twice the cores keeps them busy.
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self { cache: true, fail_fast: false, explain: false, jobs: (2 * cores).max(4) }
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Ran {
    /// One report a gate, in the order of the plan.
    pub gates: Vec<GateReport>,
    /// The pipeline itself was broken; what it said is in the gate's reason.
    pub defect: bool,
}

/// Runs `gates`, whose unfinished reports are `planned`.
pub async fn run(
    gates: &[Gate],
    planned: Vec<GateReport>,
    snapshot: &Snapshot,
    machine: &Arc<Machine>,
    options: &Options,
    events: &Events,
) -> Result<Ran> {
    let mut run = Run {
        snapshot,
        machine,
        options,
        events,
        store: Store::new(&machine.ctx.store, machine.ctx.started),
        done: BTreeMap::new(),
        defect: false,
        red: false,
    };
    run.all(gates, &planned).await?;
    let gates = planned.into_iter().map(|unfinished| run.done.remove(&unfinished.id).unwrap_or(unfinished)).collect();
    machine.facts.save()?;
    Ok(Ran { gates, defect: run.defect })
}

struct Run<'a> {
    snapshot: &'a Snapshot,
    machine: &'a Arc<Machine>,
    options: &'a Options,
    events: &'a Events,
    store: Store,
    done: BTreeMap<String, GateReport>,
    defect: bool,
    red: bool,
}

/// A gate whose action has ended.
struct Ended {
    index: usize,
    key: Option<Key>,
    started: Instant,
    outcome: Result<Outcome, Unproven>,
    used: Vec<Tool>,
}

impl Run<'_> {
    async fn all(&mut self, gates: &[Gate], planned: &[GateReport]) -> Result<()> {
        let (mut waiting, nice) = urgency::rank(gates);
        let mut running: JoinSet<Ended> = JoinSet::new();
        let mut places: BTreeMap<tokio::task::Id, usize> = BTreeMap::new();
        loop {
            while let Some(next) = self.next(gates, &waiting, &running, &places) {
                waiting.retain(|&index| index != next);
                let gate = &gates[next];
                if let Some(report) = self.without_running(gate, &planned[next]) {
                    self.finish(report);
                    continue;
                }
                let key = match self.key(gate).await {
                    Ok(key) => key,
                    Err(error) => {
                        let reason = format!("its inputs cannot be read: {error:#}");
                        self.finish(GateReport { reason, ..planned[next].clone() });
                        continue;
                    }
                };
                if let Some(report) = self.cached(gate, &planned[next], key.as_ref()) {
                    self.finish(report);
                    continue;
                }
                self.events.send(Event::Started { gate: gate.id.clone() });
                let handle =
                    running.spawn(act(next, nice[next], gate.clone(), key, self.machine.clone(), self.events.clone()));
                places.insert(handle.id(), next);
            }
            let (index, report) = match running.join_next_with_id().await {
                None => return Ok(()),
                Some(Ok((_, ended))) => {
                    let index = ended.index;
                    (index, self.judge(&gates[index], &planned[index], ended).await?)
                }
                Some(Err(panicked)) => {
                    self.defect = true;
                    let Some(&index) = places.get(&panicked.id()) else { continue };
                    let reason = format!("a defect of the pipeline: {panicked}");
                    (index, GateReport { reason, fix: "report it".into(), ..planned[index].clone() })
                }
            };
            debug_assert_eq!(report.id, gates[index].id);
            places.retain(|_, running| *running != index);
            self.finish(report);
        }
    }

    /// The first waiting gate that may start now.
    fn next(
        &self,
        gates: &[Gate],
        waiting: &[usize],
        running: &JoinSet<Ended>,
        places: &BTreeMap<tokio::task::Id, usize>,
    ) -> Option<usize> {
        let busy = running.len();
        let quiet_runs = places.values().any(|&index| gates[index].quiet);
        waiting.iter().copied().find(|&index| {
            let gate = &gates[index];
            let is_planned = |id: &String| gates.iter().any(|gate| gate.id == *id);
            let done = |id: &String| self.done.contains_key(id);
            let ready = gate.after.iter().all(done) && gate.waits_for.iter().all(|id| done(id) || !is_planned(id));
            let room = if gate.quiet { busy == 0 } else { busy < self.options.jobs && !quiet_runs };
            ready && room
        })
    }

    /// The report of a gate that cannot be started any more, or has nothing to start with.
    fn without_running(&self, gate: &Gate, unfinished: &GateReport) -> Option<GateReport> {
        let not_run = |reason: String, fix: String| Some(GateReport { reason, fix, ..unfinished.clone() });
        if self.machine.cancel.is_cancelled() {
            return not_run("interrupted before it started".into(), gate.again.clone());
        }
        if self.options.fail_fast && self.red {
            return not_run("not started: another gate was red first (--fail-fast)".into(), gate.again.clone());
        }
        if let Some(input) = self.absent_input(gate) {
            let fix = format!("mend the inputs of `{}` in pipeline.toml", gate.id);
            return not_run(format!("the input `{input}` matches no file"), fix);
        }
        let missing = gate.after.iter().filter_map(|id| self.done.get(id)).find(|r| r.verdict == Verdict::DidNotRun)?;
        not_run(format!("needs `{}`, which did not run", missing.id), missing.fix.clone())
    }

    /// An input that names nothing would never change, and a pass would be taken from the cache for ever.
    fn absent_input<'a>(&self, gate: &'a Gate) -> Option<&'a String> {
        gate.inputs.files.iter().find(|&input| !self.snapshot.has(input))
    }

    async fn key(&self, gate: &Gate) -> Result<Option<Key>> {
        let before: Vec<&GateReport> = gate.earlier().filter_map(|id| self.done.get(id)).collect();
        Key::of(gate, self.machine, self.snapshot, &before).await
    }

    fn cached(&self, gate: &Gate, unfinished: &GateReport, key: Option<&Key>) -> Option<GateReport> {
        let key = key.filter(|_| self.options.cache && !gate.fresh);
        let young = key.filter(|key| self.is_young(gate, &key.digest()));
        let taken = young.and_then(|key| self.store.take(&gate.id, &key.digest(), &self.machine.ctx.out));
        if self.options.explain && taken.is_none() {
            let because = match (key, self.store.newest_key(&gate.id)) {
                _ if gate.fresh => "it is run each time: what it makes does not lie in files alone".to_owned(),
                (None, _) => "there is no key (the cache is off, or an interpreter is missing)".to_owned(),
                (Some(_), None) => "no result is stored".to_owned(),
                (Some(_), _) if key.is_some() && young.is_none() => {
                    "what a remote data base said is too old (policy.max_age)".to_owned()
                }
                (Some(key), Some(older)) => {
                    key.difference(&older).unwrap_or_else(|| "the stored result is not complete".to_owned())
                }
            };
            self.events.send(Event::Explained { gate: gate.id.clone(), because });
        }
        taken.map(|report| GateReport { required: unfinished.required, ..report })
    }

    /// What a remote data base said counts for `policy.max_age` on a laptop, and not at all elsewhere.
    fn is_young(&self, gate: &Gate, digest: &str) -> bool {
        let ctx = &self.machine.ctx;
        let fresh = || self.store.age(&gate.id, digest).is_some_and(|age| age <= ctx.config.policy.max_age);
        !gate.inputs.remote || ctx.profile == Profile::Local && fresh()
    }

    async fn judge(&mut self, gate: &Gate, unfinished: &GateReport, ended: Ended) -> Result<GateReport> {
        let mut report = unfinished.clone();
        report.duration_ms = u64::try_from(ended.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        report.inputs = ended.key.as_ref().map(|key| format!("blake3:{}", key.digest())).unwrap_or_default();
        for tool in ended.used {
            if tool.name == report.tool.name {
                report.tool = tool;
            } else if tool.hash.is_some() {
                report.path_tools.push(tool);
            }
        }
        match ended.outcome {
            Ok(Outcome::Ran(evidence)) => proved(&mut report, evidence, gate),
            Ok(Outcome::DidNotRun(why)) | Err(Unproven::NotRun(why)) => not_proved(&mut report, why),
            Err(Unproven::Defect(error)) => {
                self.defect = true;
                not_proved(&mut report, NotRun::new(format!("a defect of the pipeline: {error:#}"), "report it"));
            }
        }
        if self.machine.cancel.is_cancelled() && report.verdict != Verdict::Pass {
            report.verdict = Verdict::DidNotRun;
            report.reason = "interrupted".to_owned();
            report.fix = gate.again.clone();
        }
        if let Some(elsewhere) = &gate.elsewhere {
            report.duration_ms = elsewhere.duration_ms;
            report.cached = elsewhere.cached;
            report.inputs.clone_from(&elsewhere.inputs);
            report.tool.clone_from(&elsewhere.tool);
            report.path_tools.clone_from(&elsewhere.path_tools);
        }
        report.artifacts.push(log_artifact(&gate.id));
        report.artifacts.dedup();
        report.artifacts.retain(|artifact| self.machine.ctx.out.join(artifact).exists());
        if let Some(key) = ended.key
            && self.options.cache
            && !gate.fresh
            && report.verdict == Verdict::Pass
        {
            // A result that cannot be stored is a slower next run and no worse answer.
            if let Err(error) = self.store_if_unchanged(gate, &report, &key).await {
                self.events.send(Event::Note(format!("{}: not stored: {error:#}", gate.id)));
            }
        }
        Ok(report)
    }

    /// Stores a pass, unless what it depends on changed while it ran.
    async fn store_if_unchanged(&self, gate: &Gate, report: &GateReport, key: &Key) -> Result<()> {
        let now = self.machine.snapshot().await?;
        let before: Vec<&GateReport> = gate.earlier().filter_map(|id| self.done.get(id)).collect();
        match Key::of(gate, self.machine, &now, &before).await? {
            Some(after) if after == *key => self.store.put(report, key, &self.machine.ctx.out),
            changed => {
                let what = changed.and_then(|after| after.difference(key)).unwrap_or_else(|| "an interpreter".into());
                let note = format!("{}: not stored, for its inputs changed while it ran ({what})", gate.id);
                self.events.send(Event::Note(note));
                Ok(())
            }
        }
    }

    fn finish(&mut self, report: GateReport) {
        let optional = !report.required && report.verdict == Verdict::DidNotRun;
        self.red |= report.verdict != Verdict::Pass && !optional;
        self.events.send(Event::Finished(Box::new(report.clone())));
        self.done.insert(report.id.clone(), report);
    }
}

async fn act(index: usize, nice: i32, gate: Gate, key: Option<Key>, machine: Arc<Machine>, events: Events) -> Ended {
    let started = Instant::now();
    let (outcome, used) = match Session::open(&gate.id, nice, &machine, &events) {
        Ok(session) => ((gate.action)(session.clone()).await, session.used()),
        Err(error) => (Err(Unproven::Defect(error)), vec![]),
    };
    Ended { index, key, started, outcome, used }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::gate::testing::{gate, planned as not_running};
    use crate::engine::gate::{Action, action};
    use crate::engine::outcome::unfinished;
    use crate::tools::cancel::{self, Canceller};
    use crate::verdict::{Evidence, Work};
    use std::sync::Mutex;
    use std::time::Duration;

    /// What ran when: `+id` at its start, `-id` at its end.
    type Diary = Arc<Mutex<Vec<String>>>;

    fn passing(diary: &Diary) -> Action {
        let diary = diary.clone();
        action(move |session: Session| {
            let diary = diary.clone();
            async move {
                diary.lock().unwrap().push(format!("+{}", session.gate));
                tokio::time::sleep(Duration::from_millis(5)).await;
                diary.lock().unwrap().push(format!("-{}", session.gate));
                Ok(Outcome::Ran(Evidence {
                    work: Work::new(1, "things"),
                    declared: None,
                    findings: vec![],
                    artifacts: vec![],
                    fix: String::new(),
                }))
            }
        })
    }

    async fn ran(gates: Vec<Gate>, options: Options, with: impl FnOnce(&Canceller)) -> (Ran, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let ctx = Arc::new(crate::context::testing::ctx(folder.path()));
        let (canceller, cancel) = cancel::pair();
        with(&canceller);
        let machine = Arc::new(Machine::new(ctx, cancel));
        let events = Events::new(std::sync::mpsc::channel().0);
        let planned = gates.iter().map(|gate| unfinished(gate, Tool::default())).collect();
        let options = Options { cache: false, ..options };
        let ran = run(&gates, planned, &Snapshot::default(), &machine, &options, &events).await.unwrap();
        (ran, folder)
    }

    fn verdicts(ran: &Ran) -> Vec<(&str, Verdict, &str)> {
        ran.gates.iter().map(|gate| (gate.id.as_str(), gate.verdict, gate.reason.as_str())).collect()
    }

    #[tokio::test]
    async fn gates_run_after_what_they_need_and_no_more_than_allowed_at_once() {
        let diary = Diary::default();
        let names = ["a", "b", "c", "quiet", "d"];
        let mut gates: Vec<Gate> = names.iter().map(|id| gate(id, &[], passing(&diary))).collect();
        gates.push(gate("last", &["a", "quiet"], passing(&diary)));
        let (ran, _folder) = ran(gates, Options { jobs: 2, ..Options::default() }, |_| {}).await;
        assert!(ran.gates.iter().all(|gate| gate.verdict == Verdict::Pass));
        let diary = diary.lock().unwrap().clone();
        let at = |entry: &str| diary.iter().position(|e| e == entry).unwrap();
        assert!(at("+last") > at("-a") && at("+last") > at("-quiet"), "{diary:?}");
        let mut running = std::collections::BTreeSet::new();
        for entry in &diary {
            let (started, id) = entry.split_at(1);
            if started == "+" {
                running.insert(id)
            } else {
                running.remove(id)
            };
            assert!(running.len() <= 2, "{diary:?}");
            assert!(!running.contains("quiet") || running.len() == 1, "{diary:?}");
        }
    }

    #[tokio::test]
    async fn what_needs_a_gate_that_did_not_run_does_not_run_and_the_others_do() {
        let diary = Diary::default();
        let gates = vec![not_running("a", &[]), gate("b", &["a"], passing(&diary)), gate("c", &[], passing(&diary))];
        let (ran, _folder) = ran(gates, Options::default(), |_| {}).await;
        assert_eq!(
            verdicts(&ran),
            [
                ("a", Verdict::DidNotRun, "no tool"),
                ("b", Verdict::DidNotRun, "needs `a`, which did not run"),
                ("c", Verdict::Pass, "")
            ]
        );
        assert_eq!(ran.gates[1].fix, "get it");
        assert!(!ran.defect);
    }

    #[tokio::test]
    async fn what_only_waits_for_a_gate_runs_after_it_and_without_it() {
        let diary = Diary::default();
        let waiting = |id: &str, passes: Action| Gate { waits_for: vec!["late".to_owned()], ..gate(id, &[], passes) };
        let gates = vec![waiting("b", passing(&diary)), gate("late", &[], passing(&diary))];
        let (ran_late, _folder) = ran(gates, Options::default(), |_| {}).await;
        assert!(ran_late.gates.iter().all(|gate| gate.verdict == Verdict::Pass));
        assert_eq!(*diary.lock().unwrap(), ["+late", "-late", "+b", "-b"]);
        let gates = vec![waiting("b", passing(&diary)), not_running("late", &[]), waiting("c", passing(&diary))];
        let (ran_without, _folder) = ran(gates, Options::default(), |_| {}).await;
        let expected = [("b", Verdict::Pass, ""), ("late", Verdict::DidNotRun, "no tool"), ("c", Verdict::Pass, "")];
        assert_eq!(verdicts(&ran_without), expected);
    }

    #[tokio::test]
    async fn fail_fast_starts_nothing_more() {
        let diary = Diary::default();
        let gates = vec![not_running("a", &[]), gate("b", &[], passing(&diary))];
        let options = Options { fail_fast: true, jobs: 1, ..Options::default() };
        let (ran, _folder) = ran(gates, options, |_| {}).await;
        assert_eq!(ran.gates[1].reason, "not started: another gate was red first (--fail-fast)");
        assert!(diary.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_cancelled_run_starts_nothing() {
        let diary = Diary::default();
        let gates = vec![gate("a", &[], passing(&diary))];
        let (ran, _folder) =
            ran(gates, Options::default(), |canceller| assert_eq!(canceller.cancel(), cancel::Urgency::Gently)).await;
        assert_eq!(verdicts(&ran), [("a", Verdict::DidNotRun, "interrupted before it started")]);
    }

    #[tokio::test]
    async fn an_error_and_a_panic_are_defects_and_never_a_pass() {
        let broken = action(|_| async { Err(anyhow::anyhow!("the disk is full").into()) });
        let panicking = action(|_| async { panic!("a bug") });
        let gates = vec![gate("a", &[], broken), gate("b", &[], panicking)];
        let (ran, _folder) = ran(gates, Options::default(), |_| {}).await;
        assert!(ran.defect);
        assert_eq!(ran.gates[0].reason, "a defect of the pipeline: the disk is full");
        assert!(ran.gates[1].reason.starts_with("a defect of the pipeline: "), "{}", ran.gates[1].reason);
        assert!(ran.gates.iter().all(|gate| gate.verdict == Verdict::DidNotRun));
    }
}
