//! `monitor/security/vulnerabilities`: what has become known of the packages in the images that run.
//!
//! Serious ones that a version mends are a failure; the others are told. What an ignore excuses of an image that is built
//! (`container/scan`) it excuses of one that runs.

use std::sync::Arc;

use super::super::{Kind, Watched, gate};
use super::{look, short};
use crate::config::Release;
use crate::context::Ctx;
use crate::engine::gate::{Gate, action};
use crate::engine::session::Session;
use crate::monitor::images::nothing_runs;
use crate::policy;
use crate::tasks::container::scan::{LookedUp, look_up, step};
use crate::tasks::scan::under_policy;
use crate::tools::catalog::{CRANE, TRIVY};
use crate::tools::registry::{Access, Registry};
use crate::verdict::{Evidence, Finding, Outcome, Severity, Unproven, Work};

/// The gate whose ignores count here, too.
const OF_THE_BUILD: &str = "container/scan";

/// One gate.
pub fn plan(ctx: &Ctx, watched: &Arc<Watched>, release: &Release) -> Option<Gate> {
    let (one, release) = (watched.clone(), release.clone());
    let gate = Gate {
        programs: vec![&TRIVY, &CRANE],
        steps: vec![step(ctx, "{running image}.tar".as_ref())],
        action: action(move |session| probe(session, one.clone(), release.clone())),
        ..gate("security/vulnerabilities", "packages", TRIVY.name, watched.again(Kind::Security))
    };
    let id = gate.id.clone();
    let breaks_at = ctx.config.policy.severity.get(&id).copied().unwrap_or(Severity::High);
    let as_built = under_policy(ctx, Gate { id: OF_THE_BUILD.to_owned(), ..gate });
    Some(Gate { breaks_at, ..under_policy(ctx, Gate { id, ..as_built }) })
}

async fn probe(session: Session, watched: Arc<Watched>, release: Release) -> Result<Outcome, Unproven> {
    let seen = look(&session, &watched, &release).await?;
    if seen.images.is_empty() {
        return Err(nothing_runs(&watched.environment.name).into());
    }
    session.program(&TRIVY).await?;
    // Archives of whole images go with the probe, and with the next run where this one is killed.
    let folder = session.runner().ledger.scratch("images", &session.machine.temporary())?;
    let (mut packages, mut findings) = (0, seen.findings);
    for (index, image) in seen.images.iter().enumerate() {
        let subject = &image.subject;
        session.say(&format!("looking {subject} up"))?;
        let access = Access::new(session.ctx(), &session.runner().ledger, &subject.repository)?;
        let registry = Registry::open(&session.machine, session.runner(), &access).await?;
        let layers = registry.layers(subject).await?;
        let archive = folder.path().join(format!("{index}.tar"));
        registry.pull(subject, &archive).await?;
        let found = look_up(&session, &archive, &layers).await?;
        packages += found.packages;
        findings.extend(told(session.ctx(), found).into_iter().map(|finding| {
            let message = format!("{} runs: {}", short(subject), finding.message);
            Finding { message, ..finding }
        }));
    }
    let name = &watched.environment.name;
    Ok(Outcome::Ran(Evidence {
        work: Work::new(packages, "packages"),
        declared: None,
        findings,
        artifacts: vec![],
        fix: format!("raise the versions, build, sign, and release: cargo xtask deploy {name}"),
    }))
}

fn told(ctx: &Ctx, found: LookedUp) -> Vec<Finding> {
    let today = ctx.started.date();
    let known = found.known.iter().map(|known| {
        let finding = policy::vulnerable(&ctx.config.policy, today, known);
        let nothing_to_do = known.fixed_in.is_empty().then(|| "no version mends it yet".to_owned());
        Finding { excused: finding.excused.clone().or(nothing_to_do), ..finding }
    });
    known.chain(found.end).collect()
}
