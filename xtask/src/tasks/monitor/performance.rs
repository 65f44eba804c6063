//! `monitor ENV performance`: the load of `monitor.load` with its own thresholds, by the routes that the environment's file
//! lists and by no other (R41).

use std::sync::Arc;

use super::probing::{Again, probed};
use super::{Kind, Watched, gate};
use crate::config::{Release, VerifyAt};
use crate::context::Ctx;
use crate::engine::gate::{Gate, action};
use crate::engine::session::Session;
use crate::policy;
use crate::tasks::perf;
use crate::tasks::release::way_to_service;
use crate::tools::command::Command;
use crate::verdict::{Evidence, NotRun, Outcome, Unproven};

/// One gate, alone on the machine, where the environment names a load.
pub fn plan(ctx: &Ctx, watched: &Arc<Watched>) -> Option<Gate> {
    let monitor = &watched.environment.monitor;
    let release = watched.environment.release.clone().filter(|_| !monitor.load.is_empty())?;
    let release = Release { load: monitor.load.clone(), ..release };
    let url = &watched.environment.url;
    let shown = Command::new("cargo", &ctx.root).args(["xtask", "perf", "--load", &release.load, "--url", url]);
    let (again, watched) = (watched.again(Kind::Performance), watched.clone());
    let breaks_at = policy::breaks_at(&ctx.config.policy, "perf");
    let one = watched.clone();
    let gate = Gate {
        quiet: true,
        steps: vec![shown],
        breaks_at,
        action: action(move |session| probe(session, one.clone(), release.clone())),
        ..gate("performance/load", "requests", "xtask", again)
    };
    Some(probed(gate, &watched.environment.monitor, Again::Failures))
}

async fn probe(session: Session, watched: Arc<Watched>, release: Release) -> Result<Outcome, Unproven> {
    let environment = &watched.environment;
    if release.routes.values().all(|weight| *weight == 0) {
        let reason = format!("`{}.toml` lists no route that load may be sent to", environment.name);
        return Err(NotRun::new(reason, "list them in release.routes, each with its weight").into());
    }
    // Open as long as the load goes on.
    let (url, _open) = match release.verify_at {
        VerifyAt::Url => (environment.url.clone(), None),
        VerifyAt::Service => {
            let kube = watched.door.kube(&session.machine, environment).await?;
            way_to_service(&kube, &release.namespace, &release.service).await?
        }
    };
    let mut ctx = session.ctx().clone();
    if let (Some(perf), Some(thresholds)) = (&mut ctx.config.perf, &environment.monitor.thresholds) {
        perf.thresholds = thresholds.clone();
    }
    let Some(load) = perf::on(&ctx, &release, &url) else {
        return Err(NotRun::new("pipeline.toml has no [perf]", "declare it there").into());
    };
    let again = watched.again(Kind::Performance);
    Ok(match (load.action)(session).await? {
        Outcome::Ran(evidence) => {
            let fix = format!("{}; here by `{again}`", evidence.fix);
            Outcome::Ran(Evidence { fix, ..evidence })
        }
        not_run => not_run,
    })
}
