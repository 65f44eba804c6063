//! `monitor ENV health`: what users and the cluster say of it.

mod certificate;
mod endpoints;
mod workload;

use std::sync::Arc;

use anyhow::Result;

use super::Watched;
use super::probing::{Again, probed};
use crate::context::Ctx;
use crate::engine::gate::Gate;
use crate::tasks::scan::under_policy;
use crate::verdict::{Evidence, Finding, Outcome, Work};

/// Endpoints, pods, the autoscaler and the certificate, each as far as the environment has it.
pub fn plan(ctx: &Ctx, watched: &Arc<Watched>) -> Result<Vec<Gate>> {
    let mut gates = vec![endpoints::plan(ctx, watched)?];
    gates.extend(workload::plan(ctx, watched));
    gates.extend(certificate::plan(ctx, watched));
    let monitor = &watched.environment.monitor;
    Ok(gates.into_iter().map(|gate| probed(under_policy(ctx, gate), monitor, Again::Failures)).collect())
}

/// The usual end of a probe.
fn ran(count: usize, unit: &str, findings: Vec<Finding>, fix: String) -> Outcome {
    let work = Work::new(count as u64, unit);
    Outcome::Ran(Evidence { work, declared: None, findings, artifacts: vec![], fix })
}
