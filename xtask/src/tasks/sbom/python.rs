//! The Python environment that runs, without tests and tools, by cyclonedx-py.

use super::Document;
use crate::config::Sbom;
use crate::context::Ctx;
use crate::engine::gate::{Gate, Inputs, action};
use crate::engine::session::Session;
use crate::tools::catalog::CYCLONEDX_PY;
use crate::tools::command::Command;
use crate::tools::environment::Spec;
use crate::verdict::{Evidence, Outcome, Unproven, Work};

/// The artifact, relative to the output folder.
pub const ARTIFACT: &str = "sbom/python.cdx.json";

/// One gate.
pub fn plan(ctx: &Ctx, sbom: &Sbom) -> Gate {
    let spec = Spec::runtime(&ctx.config, sbom);
    let step = Command::new(CYCLONEDX_PY.name, &ctx.root)
        .args(["environment", "--pyproject"])
        .arg(ctx.root.join(&sbom.project))
        .args(["--spec-version", "1.6", "--output-format", "JSON", "--output-reproducible", "--output-file"])
        .arg(ctx.out.join(ARTIFACT))
        .arg(spec.python(ctx));
    Gate {
        id: "sbom/python".to_owned(),
        unit: "packages",
        programs: vec![&CYCLONEDX_PY],
        inputs: Inputs {
            files: vec![sbom.project.clone(), sbom.lock.clone()],
            path_tools: vec!["uv"],
            settings: format!("{sbom:?}"),
            ..Inputs::default()
        },
        environments: vec![spec.clone()],
        steps: vec![step.clone()],
        again: "cargo xtask sbom".to_owned(),
        action: action(move |session| run(session, spec.clone(), step.clone())),
        ..Gate::default()
    }
}

async fn run(session: Session, spec: Spec, step: Command) -> Result<Outcome, Unproven> {
    let environment = session.environment(&spec).await?;
    let path = session.artifact(ARTIFACT)?;
    // It validates what it writes.
    let ended = session.tool(&CYCLONEDX_PY, &step).await?;
    if !ended.is_success() {
        return Err(session.not_run(format!("cyclonedx-py {}", ended.failure())).into());
    }
    let text = session.report(&path).map_err(|why| session.not_run(why))?;
    let document: Document =
        serde_json::from_str(&text).map_err(|e| session.not_run(format!("the SBOM cannot be read: {e}")))?;
    Ok(Outcome::Ran(Evidence {
        work: Work::new(document.components.len() as u64, "packages"),
        declared: Some(environment.installed() as u64),
        findings: vec![],
        artifacts: vec![ARTIFACT.to_owned()],
        fix: "cargo xtask sbom".to_owned(),
    }))
}
