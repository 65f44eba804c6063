//! Asks up to so many times within one gate, and waits in between (R31). What the probes say together is decided by
//! `monitor/probes.rs`; the gate's log holds each with its time.

use std::time::Instant;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::config::Monitor;
use crate::engine::gate::{Gate, action};
use crate::engine::session::Session;
use crate::monitor::probes::{Probe, decide, is_decided};
use crate::tools::cancel::Urgency;
use crate::verdict::{NotRun, Outcome, Unproven};

/// Which end of a probe is asked for again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// A failure may be of a moment.
    Failures,
    /// What was found is there; only what could not be asked is asked again.
    Unanswered,
}

/// The gate, asked up to `monitor.probes` times.
pub fn probed(gate: Gate, monitor: &Monitor, again: Again) -> Gate {
    let (inner, breaks_at) = (gate.action.clone(), gate.breaks_at);
    let (most, spacing) = (monitor.probes as usize, monitor.retry_spacing);
    let probing = action(move |session: Session| {
        let inner = inner.clone();
        async move {
            let mut probes: Vec<Probe> = Vec::new();
            let failures_pass = again == Again::Failures;
            while !is_decided(&probes, most, failures_pass) {
                if !probes.is_empty() {
                    wait(&session, spacing).await?;
                }
                let number = probes.len() + 1;
                let at = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default();
                session.note(&format!("probe {number} of {most} at {at}"))?;
                let begun = Instant::now();
                let outcome = match inner(session.clone()).await {
                    Ok(outcome) => outcome,
                    Err(Unproven::NotRun(why)) => Outcome::DidNotRun(why),
                    Err(defect) => return Err(defect),
                };
                let probe = Probe::of(outcome, breaks_at);
                let took = begun.elapsed().as_millis();
                session.say(&format!("probe {number} of {most} {} ({took} ms)", probe.in_words()))?;
                probes.push(probe);
            }
            let decided = decide(probes, failures_pass, spacing);
            decided.ok_or_else(|| NotRun::new("nothing was asked", "set monitor.probes").into())
        }
    });
    Gate { action: probing, ..gate }
}

async fn wait(session: &Session, spacing: std::time::Duration) -> Result<(), Unproven> {
    session.doing(format!("waits {} s before it asks again", spacing.as_secs()));
    let mut cancel = session.machine.cancel.clone();
    tokio::select! {
        () = tokio::time::sleep(spacing) => Ok(()),
        () = cancel.reached(Urgency::Gently) => Err(NotRun::new("interrupted", "run it again").into()),
    }
}
