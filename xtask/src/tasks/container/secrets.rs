//! `container/secrets`: secrets in any layer, also those that a later layer deletes, and weaknesses of the image's
//! configuration. It needs no data base. A planted image proves in each run that both are still found.

use super::{BUILD, image, trivy};
use crate::config::Container;
use crate::context::Ctx;
use crate::engine::gate::{Gate, action};
use crate::engine::session::Session;
use crate::tasks::scan::{own_config, parse, severity};
use crate::tools::catalog::TRIVY;
use crate::verdict::{Evidence, Finding, Outcome, Unproven, Work};

/// What Trivy is asked for.
const SCANNERS: [&str; 6] = ["--scanners", "secret", "--image-config-scanners", "misconfig,secret", "--format", "json"];

/// The planted image.
const CANARY: &str = "canary-image.tar";

/// The rule of an image that runs as root.
const ROOT: &str = "DS-0002";

/// The gate.
pub fn plan(ctx: &Ctx, container: &Container) -> Gate {
    let dockerfile = container.dockerfile.clone();
    Gate {
        id: "container/secrets".to_owned(),
        after: vec![BUILD.to_owned()],
        unit: "layers",
        tool: (TRIVY.name, String::new()),
        programs: vec![&TRIVY],
        steps: vec![
            trivy::step(ctx, "IMAGE.tar".as_ref(), &SCANNERS),
            trivy::step(ctx, &own_config(ctx, CANARY), &SCANNERS),
        ],
        again: "cargo xtask container secrets".to_owned(),
        action: action(move |session| run(session, dockerfile.clone())),
        ..Gate::default()
    }
}

async fn run(session: Session, dockerfile: String) -> Result<Outcome, Unproven> {
    let ctx = session.ctx();
    let (image, engine, _) = image::built(&session).await?;
    trivy::settle(ctx)?;
    let planted = own_config(ctx, CANARY);
    trivy::canary(&planted)?;
    let canary = look(&session, &planted).await?;
    let (place, rule) = trivy::PLANTED;
    let finds_secret = canary.results.iter().any(|t| t.target == place && t.secrets.iter().any(|s| s.rule == rule));
    let finds_root = canary.results.iter().any(|t| t.misconfigurations.iter().any(|found| found.id == ROOT));
    if !finds_secret || !finds_root {
        let reason = "its report lacks the weaknesses of the image that was planted for it: it looked at nothing";
        return Err(session.not_run(reason).into());
    }
    let saved = image::saved(&session, &engine, &image).await?;
    let prepared = trivy::prepare(&saved).await.map_err(|e| session.not_run(format!("{e:#}")))?;
    let report = look(&session, &prepared).await?;
    let checks: u64 = report.results.iter().filter_map(|t| t.misconf_summary).map(|s| s.successes + s.failures).sum();
    if checks == 0 {
        return Err(session.not_run("trivy made no check of the image's configuration").into());
    }
    if report.metadata.layers != image.layers {
        return Err(session.not_run("trivy looked at other layers than those of the image").into());
    }
    Ok(Outcome::Ran(Evidence {
        work: Work::new(report.metadata.layers.len() as u64, "layers"),
        declared: Some(image.layers.len() as u64),
        findings: findings(&report, &image, &dockerfile),
        artifacts: vec![],
        fix: "change the secret, for whoever has the image has it; then keep it out of the build".to_owned(),
    }))
}

async fn look(session: &Session, input: &std::path::Path) -> Result<trivy::Report, Unproven> {
    let ended = session.tool(&TRIVY, &trivy::step(session.ctx(), input, &SCANNERS)).await?;
    if !ended.is_success() {
        return Err(session.not_run(format!("trivy {}", ended.failure())).into());
    }
    parse(session, &ended, &ended.stdout)
}

fn findings(report: &trivy::Report, image: &image::Image, dockerfile: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for target in &report.results {
        for secret in &target.secrets {
            let layer = image.layers.iter().position(|layer| *layer == secret.layer.diff_id);
            let place = match layer {
                Some(index) => format!(
                    "`{}`, line {}, layer {} of {}",
                    target.target,
                    secret.start_line,
                    index + 1,
                    image.layers.len()
                ),
                None => "the image's configuration".to_owned(),
            };
            let message = format!("{} in {place}", secret.title);
            findings
                .push(Finding::new(&secret.rule, severity(&secret.severity), message).at(dockerfile.to_owned(), None));
        }
        findings.extend(target.misconfigurations.iter().map(|found| {
            Finding::new(&found.id, severity(&found.severity), &*found.message).at(dockerfile.to_owned(), None)
        }));
    }
    findings
}
