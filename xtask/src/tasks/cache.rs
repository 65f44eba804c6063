//! `cache audit|clear`: is what the cache says still true, and how to be rid of it.

use std::sync::Arc;

use anyhow::Result;

use super::checks::{self, Checks, Done};
use super::ci;
use crate::context::Ctx;
use crate::engine::gate::{Gate, action};
use crate::engine::key::Key;
use crate::engine::run::Options;
use crate::engine::session::Session;
use crate::engine::store::Store;
use crate::event::{Event, Events};
use crate::model::GateReport;
use crate::tools::cancel::Cancel;
use crate::tools::machine::Machine;
use crate::verdict::{Finding, NotRun, Outcome, Severity, Unproven};

/// What the command line says.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Args {
    /// Run a sample of the stored results again, and fail where the answer differs
    Audit {
        /// How many of them, in percent; at least one
        #[arg(long, default_value = "5%", value_parser = percent, value_name = "PERCENT")]
        sample: u32,
    },
    /// Forget every stored result
    Clear,
}

fn percent(text: &str) -> Result<u32, String> {
    let number = text.trim_end_matches('%').parse().ok().filter(|n| (1..=100).contains(n));
    number.ok_or_else(|| format!("`{text}` is not a percentage from 1% to 100%"))
}

/// Runs again what is stored for the inputs as they are now; no two runs take the same sample.
pub async fn audit(ctx: &Arc<Ctx>, cancel: &Cancel, events: &Events, sample: u32) -> Result<Done> {
    let machine = Machine::new(ctx.clone(), cancel.clone());
    let snapshot = machine.snapshot().await?;
    let reads_others = |gate: &Gate| gate.earlier().next().is_some();
    let later = ci::all_gates(ctx).into_iter().filter(reads_others).map(|gate| gate.id).collect::<Vec<_>>();
    if !later.is_empty() {
        events.send(Event::Note(format!("not audited, for they read what others leave: {}", later.join(", "))));
    }
    let scratch = ctx.store.join("audit");
    let store = Store::new(&ctx.store, ctx.started);
    let mut hits: Vec<(Gate, GateReport)> = Vec::new();
    for gate in ci::all_gates(ctx).into_iter().filter(|gate| !reads_others(gate)) {
        let key = Key::of(&gate, &machine, &snapshot, &[]).await?;
        if let Some(report) = key.and_then(|key| store.take(&gate.id, &key.digest(), &scratch)) {
            hits.push((gate, report));
        }
    }
    // What was only looked at is not kept; a folder that is not there is as good as removed.
    let _gone = std::fs::remove_dir_all(&scratch);
    let wanted = (hits.len() * sample as usize).div_ceil(100);
    let start = usize::try_from(ctx.started.unix_timestamp()).unwrap_or_default();
    let chosen = (0..wanted).map(|i| (start + i) % hits.len().max(1)).collect::<std::collections::BTreeSet<_>>();
    let gates =
        hits.into_iter().enumerate().filter(|(i, _)| chosen.contains(i)).map(|(_, (gate, stored))| again(gate, stored));
    let options = Options { cache: false, ..Options::default() };
    checks::run(ctx, cancel, events, Checks { task: "cache-audit", gates: gates.collect(), left_out: vec![], options })
        .await
}

/// The gate, failing where it does not answer what is stored.
fn again(gate: Gate, stored: GateReport) -> Gate {
    let act = gate.action.clone();
    let compared = action(move |session: Session| {
        let (act, stored) = (act.clone(), stored.clone());
        async move { compare(act(session).await, &stored) }
    });
    Gate { action: compared, ..gate }
}

fn compare(outcome: Result<Outcome, Unproven>, stored: &GateReport) -> Result<Outcome, Unproven> {
    let differs = |now: String| {
        let message =
            format!("the cache says: pass, {} {}; run again it is: {now}", stored.work.count, stored.work.unit);
        Finding::new("cache-differs", Severity::High, message)
    };
    match outcome {
        Ok(Outcome::Ran(mut evidence)) => {
            if evidence.work != stored.work || evidence.findings != stored.findings {
                let now =
                    format!("{} {}, {} findings", evidence.work.count, evidence.work.unit, evidence.findings.len());
                evidence.findings.insert(0, differs(now));
                evidence.fix = "`cargo xtask cache clear`, and find the input that no key covers".to_owned();
            }
            Ok(Outcome::Ran(evidence))
        }
        Ok(Outcome::DidNotRun(why)) | Err(Unproven::NotRun(why)) => {
            let reason = format!("stored as a pass, and now it does not run: {}", why.reason);
            Ok(Outcome::DidNotRun(NotRun { reason, ..why }))
        }
        Err(defect) => Err(defect),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Evidence, Tool, Verdict, Work};

    #[test]
    fn an_answer_that_differs_from_the_stored_one_is_a_finding() {
        let stored = GateReport {
            path_tools: vec![],
            id: "docs".into(),
            verdict: Verdict::Pass,
            required: true,
            cached: true,
            work: Work::new(9, "pages"),
            tool: Tool::default(),
            inputs: String::new(),
            duration_ms: 1,
            reason: String::new(),
            fix: String::new(),
            findings: vec![],
            artifacts: vec![],
        };
        for (count, findings) in [(9, 0), (8, 1)] {
            let evidence = Evidence {
                work: Work::new(count, "pages"),
                declared: None,
                findings: vec![],
                artifacts: vec![],
                fix: String::new(),
            };
            let Ok(Outcome::Ran(got)) = compare(Ok(Outcome::Ran(evidence)), &stored) else { panic!("it ran") };
            assert_eq!(got.findings.len(), findings);
        }
        let gone = compare(Err(NotRun::new("no tool", "").into()), &stored);
        assert!(matches!(gone, Ok(Outcome::DidNotRun(why)) if why.reason.contains("no tool")));
    }

    #[test]
    fn a_sample_is_a_percentage() {
        assert_eq!(percent("5%"), Ok(5));
        assert_eq!(percent("100"), Ok(100));
        assert!(percent("0%").is_err() && percent("101").is_err() && percent("some").is_err());
    }
}
