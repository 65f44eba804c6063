//! `container/scan`: known vulnerabilities of what is in the image, of its system and of its Python packages.

use super::{BUILD, image, trivy};
use crate::config::Container;
use crate::context::Ctx;
use crate::engine::gate::{Gate, Inputs, action};
use crate::engine::session::Session;
use crate::policy;
use crate::tasks::scan::deps::trivy::{NO_DATA_BASE, Report, check_age};
use crate::tasks::scan::parse;
use crate::tools::catalog::TRIVY;
use crate::verdict::{Evidence, NotRun, Outcome, Unproven, Work};

const SCANNERS: [&str; 6] = ["--scanners", "vuln", "--list-all-pkgs", "--format", "json", "--exit-code=0"];

/// The gate.
pub fn plan(ctx: &Ctx, container: &Container) -> Gate {
    let dockerfile = container.dockerfile.clone();
    Gate {
        id: "container/scan".to_owned(),
        after: vec![BUILD.to_owned()],
        unit: "packages",
        tool: (TRIVY.name, String::new()),
        programs: vec![&TRIVY],
        inputs: Inputs { remote: true, ..Inputs::default() },
        steps: vec![trivy::step(ctx, "IMAGE.tar".as_ref(), &SCANNERS)],
        again: "cargo xtask container scan".to_owned(),
        action: action(move |session| run(session, dockerfile.clone())),
        ..Gate::default()
    }
}

async fn run(session: Session, dockerfile: String) -> Result<Outcome, Unproven> {
    let ctx = session.ctx();
    let (image, engine, _) = image::built(&session).await?;
    trivy::settle(ctx)?;
    let saved = image::saved(&session, &engine, &image).await?;
    let ended = session.tool(&TRIVY, &trivy::step(ctx, &saved, &SCANNERS)).await?;
    if !ended.is_success() {
        if ended.stderr.contains("failed to download vulnerability DB") {
            return Err(NotRun::new(NO_DATA_BASE, "look at the way to its registry, then run again").into());
        }
        return Err(session.not_run(format!("trivy {}", ended.failure())).into());
    }
    let report: Report = parse(&session, &ended, &ended.stdout)?;
    check_age(&session).await?;
    let packages: usize = report.results.iter().map(|target| target.packages.len()).sum();
    let found = report.results.iter().flat_map(|target| &target.vulnerabilities);
    let findings = found.map(|found| {
        policy::vulnerable(&ctx.config.policy, ctx.started.date(), &found.known()).at(dockerfile.clone(), None)
    });
    Ok(Outcome::Ran(Evidence {
        work: Work::new(packages as u64, "packages"),
        declared: None,
        findings: findings.collect(),
        artifacts: vec![],
        fix: "take a newer base (container.base), or raise the version in the lock of the image".to_owned(),
    }))
}
