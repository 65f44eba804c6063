//! `monitor/security/drift`: whether what runs is what was released, by the journal.

use std::sync::Arc;

use super::super::{Kind, Watched, gate};
use super::{Seen as Looked, journal, look};
use crate::config::Release;
use crate::context::Ctx;
use crate::engine::gate::{Gate, action};
use crate::engine::session::Session;
use crate::monitor::drift::{Seen, assess};
use crate::monitor::images::running;
use crate::monitor::leads;
use crate::tools::command::Command;
use crate::verdict::{Evidence, NotRun, Outcome, Unproven, Work};

/// One gate. No ignore excuses what it finds.
pub fn plan(ctx: &Ctx, watched: &Arc<Watched>, release: &Release) -> Gate {
    let namespace = &release.namespace;
    let core = format!("/api/v1/namespaces/{namespace}");
    let apps = format!("/apis/apps/v1/namespaces/{namespace}");
    let journal = format!("{core}/configmaps/forge-releases");
    let service = format!("{core}/services/{}", release.service);
    let paths = [journal, service, format!("{apps}/deployments"), format!("{core}/pods")];
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
    let (own, foreign) = (leads::reached(&release, &told, workload), leads::foreign(&release, &told));
    let (images, mut findings) = running(&own);
    let (strange, unknown) = running(&foreign);
    findings.extend(unknown);
    // What runs beside it is of the same template, or was put there by hand: its signature is looked at. Of a pod that is
    // nobody's each container may be the one that gets users.
    let released =
        images.iter().filter(|image| image.containers.contains(&release.container)).chain(&strange).collect();
    let seen = Seen { workload, wanted, running: released };
    let name = &watched.environment.name;
    let drifted = assess(&told.journal, &seen, name);
    findings.extend(drifted.map_err(|why| NotRun { findings: findings.clone(), ..why })?);
    let left = journal::leave(&session, name, &told.journal).await?;
    Ok(Outcome::Ran(Evidence {
        // The Deployment and each pod: that there is a journal is no work.
        work: Work::new((usize::from(!workload.is_empty()) + own.len() + foreign.len()) as u64, "objects"),
        declared: None,
        findings,
        artifacts: vec![left],
        fix: format!("cargo xtask status {name}; then `cargo xtask deploy {name}` or `cargo xtask rollback {name}`"),
    }))
}
