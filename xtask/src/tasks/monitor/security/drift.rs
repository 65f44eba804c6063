//! `monitor/security/drift`: whether what runs is what was released, by the journal.

use std::sync::Arc;

use super::super::{Kind, Watched, gate};
use super::{Seen as Looked, look};
use crate::config::Release;
use crate::context::Ctx;
use crate::engine::gate::{Gate, action};
use crate::engine::session::Session;
use crate::monitor::drift::{Seen, assess};
use crate::monitor::images::running;
use crate::monitor::pods;
use crate::tools::command::Command;
use crate::verdict::{Evidence, Outcome, Unproven, Work};

/// One gate. No ignore excuses what it finds.
pub fn plan(ctx: &Ctx, watched: &Arc<Watched>, release: &Release) -> Gate {
    let namespace = &release.namespace;
    let core = format!("/api/v1/namespaces/{namespace}");
    let apps = format!("/apis/apps/v1/namespaces/{namespace}");
    let paths = [format!("{core}/configmaps/forge-releases"), format!("{apps}/deployments"), format!("{core}/pods")];
    let steps: Vec<Command> = paths.iter().filter_map(|path| watched.raw(ctx, path)).collect();
    let (one, release) = (watched.clone(), release.clone());
    Gate {
        steps,
        action: action(move |session| probe(session, one.clone(), release.clone())),
        ..gate("security/drift", "objects", "kubectl", watched.again(Kind::Security))
    }
}

async fn probe(session: Session, watched: Arc<Watched>, release: Release) -> Result<Outcome, Unproven> {
    let Looked { told, overview, .. } = look(&session, &watched, &release).await?;
    let (workload, wanted) = overview.serving.as_ref().map_or(("", ""), |one| (&one.workload, &one.digest));
    let deployment = told.deployments.iter().find(|one| one.metadata.name == *workload);
    let own = deployment.map(|one| pods::of(one, &told.replica_sets, &told.pods)).unwrap_or_default();
    let (images, mut findings) = running(&own);
    // What runs beside it is of the same template, and its signature is looked at.
    let released = images.iter().filter(|image| image.containers.contains(&release.container)).collect();
    let seen = Seen { workload, wanted, running: released };
    let name = &watched.environment.name;
    findings.extend(assess(&told.journal, &seen, name)?);
    Ok(Outcome::Ran(Evidence {
        // The journal, the Deployment, and each pod.
        work: Work::new(1 + u64::from(deployment.is_some()) + own.len() as u64, "objects"),
        declared: None,
        findings,
        artifacts: vec![],
        fix: format!("cargo xtask status {name}; then `cargo xtask deploy {name}` or `cargo xtask rollback {name}`"),
    }))
}
