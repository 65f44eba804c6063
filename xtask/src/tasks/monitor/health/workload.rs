//! `monitor/health/pods` and `monitor/health/scaling`: what the cluster says of the Deployment that serves, and of whom else
//! users are led to.

use std::sync::Arc;

use super::super::{Kind, Watched, gate};
use super::ran;
use crate::config::Release;
use crate::context::Ctx;
use crate::engine::gate::{Gate, action};
use crate::engine::session::Session;
use crate::monitor::leads;
use crate::monitor::pods::{self, Bounds};
use crate::monitor::scaling;
use crate::release::overview::{Overview, Told, overview};
use crate::tasks::status::told;
use crate::tools::command::Command;
use crate::verdict::{NotRun, Outcome, Unproven};

/// Both, where the environment has a cluster.
pub fn plan(ctx: &Ctx, watched: &Arc<Watched>) -> Vec<Gate> {
    let Some(release) = watched.release().cloned() else { return vec![] };
    let again = watched.again(Kind::Health);
    let namespace = &release.namespace;
    let core = format!("/api/v1/namespaces/{namespace}");
    let apps = format!("/apis/apps/v1/namespaces/{namespace}");
    let scalers = format!("/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers");
    let shown = |paths: &[String]| -> Vec<Command> { paths.iter().filter_map(|path| watched.raw(ctx, path)).collect() };
    let service = format!("{core}/services/{}", release.service);
    let all = [service.clone(), format!("{apps}/deployments"), format!("{apps}/replicasets"), format!("{core}/pods")];
    let (one, other) = ((watched.clone(), release.clone()), (watched.clone(), release.clone()));
    let pods = Gate {
        steps: shown(&all),
        action: action(move |session| look_at_pods(session, one.0.clone(), one.1.clone())),
        ..gate("health/pods", "objects", "kubectl", again.clone())
    };
    let scaling = Gate {
        steps: shown(&[service, scalers]),
        action: action(move |session| look_at_scaling(session, other.0.clone(), other.1.clone())),
        ..gate("health/scaling", "autoscalers", "kubectl", again)
    };
    let wanted = watched.environment.monitor.autoscaler;
    std::iter::once(pods).chain(Some(scaling).filter(|_| wanted)).collect()
}

/// What the cluster says now, and what that means.
async fn look(session: &Session, watched: &Watched, release: &Release) -> Result<(Told, Overview), Unproven> {
    let kube = watched.door.kube(&session.machine, &watched.environment).await?;
    session.doing(format!("looks at the Deployment `{}` in `{}`", release.workload, release.namespace));
    let told = told(&kube, release).await?;
    let seen = overview(&watched.environment.name, release, &told, kube.now());
    Ok((told, seen))
}

async fn look_at_pods(session: Session, watched: Arc<Watched>, release: Release) -> Result<Outcome, Unproven> {
    let (told, seen) = look(&session, &watched, &release).await?;
    let now = watched.door.kube(&session.machine, &watched.environment).await?.now();
    let name = &watched.environment.name;
    let fix = format!("cargo xtask status {name}; cargo xtask logs {name}; cargo xtask rollback {name}");
    let serving = seen.serving.map(|serving| serving.workload);
    let deployment = told.deployments.iter().find(|one| Some(&one.metadata.name) == serving.as_ref());
    let mut findings = leads::assess(&release, &told, deployment);
    let beside = usize::from(told.service.is_some()) + leads::foreign(&release, &told).len();
    let Some(deployment) = deployment else {
        // What is missing was looked for.
        return Ok(ran(beside.max(1), "objects", findings, fix));
    };
    let own = pods::of(deployment, &told.replica_sets, &told.pods);
    for row in seen.pods.iter().filter(|row| row.workload == deployment.metadata.name) {
        let ready = if row.ready { "ready" } else { "not ready" };
        let line = format!("{}: {ready}, {}, {} restarts, {} s old", row.name, row.state, row.restarts, row.age_s);
        session.note(&line)?;
    }
    let monitor = &watched.environment.monitor;
    let bounds = Bounds { interval: monitor.interval, restarts: monitor.restarts, starting: release.ready_patience };
    findings.extend(pods::assess(deployment, &own, &bounds, now));
    // The Service where there is one, the Deployment, and each pod.
    Ok(ran(beside + 1 + own.len(), "objects", findings, fix))
}

async fn look_at_scaling(session: Session, watched: Arc<Watched>, release: Release) -> Result<Outcome, Unproven> {
    let (_, seen) = look(&session, &watched, &release).await?;
    let Some(scaler) = seen.autoscaler else {
        let reason = format!("nothing scales the Deployment that serves in `{}`", release.namespace);
        let fix = "release the overlay with its autoscaler, or set monitor.autoscaler = false where there is none";
        return Err(NotRun::new(reason, fix).into());
    };
    let (min, max) = (scaler.min, scaler.max);
    session.note(&format!("`{}`: {} of {min} to {max} pods, wants {}", scaler.name, scaler.current, scaler.desired))?;
    let fix = format!(
        "raise the upper bound of `{}` in {}, or find out what asks so much (cargo xtask status {})",
        scaler.name, release.overlay, watched.environment.name
    );
    Ok(ran(1, "autoscalers", scaling::assess(&scaler), fix))
}
