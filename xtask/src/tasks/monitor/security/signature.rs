//! `monitor/security/signature`: every image that runs, held against the exact identity that may sign.

use std::sync::Arc;

use super::super::{Kind, Watched, gate};
use super::{look, short};
use crate::config::{Release, Signing};
use crate::context::Ctx;
use crate::engine::gate::{Gate, action};
use crate::engine::session::Session;
use crate::monitor::images::nothing_runs;
use crate::tools::attested::KINDS;
use crate::tools::catalog::{COSIGN, CRANE};
use crate::tools::command::Command;
use crate::tools::cosign;
use crate::tools::registry::{Access, Registry};
use crate::tools::signatures::{self, Demand};
use crate::verdict::{Evidence, Finding, Outcome, Severity, Unproven, Work};

/// One gate, where pipeline.toml says who may sign and the environment's releases are checked. No ignore excuses what it
/// finds.
pub fn plan(ctx: &Ctx, watched: &Arc<Watched>, release: &Release) -> Option<Gate> {
    let signing = ctx.config.signing.clone().filter(|_| release.checked)?;
    let demand = Demand::of(ctx, &signing).ok();
    let steps = demand.iter().flat_map(|demand| {
        let root = demand.root.clone().unwrap_or_else(|| "{trusted root}".into());
        let calls = demand.signers.iter().flat_map(move |signer| {
            let root = root.clone();
            KINDS.map(|kind| {
                cosign::verify(signer, Some(&root), &kind.predicate_type(&demand.source), "{running image}")
            })
        });
        calls.map(|args| Command::new(COSIGN.name, &ctx.root).args(args))
    });
    let (one, release) = (watched.clone(), release.clone());
    Some(Gate {
        programs: vec![&COSIGN, &CRANE],
        steps: steps.collect(),
        action: action(move |session| probe(session, one.clone(), release.clone(), signing.clone())),
        ..gate("security/signature", "signatures", COSIGN.name, watched.again(Kind::Security))
    })
}

async fn probe(
    session: Session,
    watched: Arc<Watched>,
    release: Release,
    signing: Signing,
) -> Result<Outcome, Unproven> {
    let ctx = session.ctx();
    let demand = Demand::of(ctx, &signing)?;
    let seen = look(&session, &watched, &release).await?;
    if seen.images.is_empty() && seen.findings.is_empty() {
        return Err(nothing_runs(&watched.environment.name).into());
    }
    let ours = ctx.config.registry.as_ref().map(|registry| registry.repository.as_str());
    let others = &watched.environment.monitor.others;
    let (mut asked, mut findings) = (seen.findings.len() as u64, seen.findings);
    for program in [&COSIGN, &CRANE] {
        session.program(program).await?;
    }
    for image in &seen.images {
        let subject = &image.subject;
        if others.contains(&subject.repository) {
            session.note(&format!("{subject} is signed by others (monitor.others)"))?;
            continue;
        }
        if ours.is_some_and(|ours| ours != subject.repository) {
            asked += 1;
            let (containers, pods) = (image.containers.join(", "), image.pods.join(", "));
            let message = format!("{subject} runs in {containers} of {pods}, and is of a repository that nobody names");
            findings.push(Finding::new("foreign-image", Severity::Critical, message));
            continue;
        }
        session.say(&format!("verifying {subject}"))?;
        let access = Access::new(ctx, &session.runner().ledger, &subject.repository)?;
        let registry = Registry::open(&session.machine, session.runner(), &access).await?;
        let checked = signatures::verify(&registry, subject, &demand).await?;
        checked.calls.iter().try_for_each(|call| session.note(call))?;
        asked += checked.asked;
        findings.extend(checked.findings.into_iter().map(|finding| {
            let message = format!("{} runs: {}", short(subject), finding.message);
            Finding { message, severity: Severity::Critical, ..finding }
        }));
    }
    let name = &watched.environment.name;
    Ok(Outcome::Ran(Evidence {
        work: Work::new(asked, "signatures"),
        declared: None,
        findings,
        artifacts: vec![],
        fix: format!("cargo xtask rollback {name}; find out who released it (cargo xtask status {name})"),
    }))
}
