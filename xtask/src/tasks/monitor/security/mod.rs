//! `monitor ENV security`: whether what runs is what was signed and released, and whether it is still safe to run.
//!
//! What was found is there, and asking again changes nothing; what could not be asked is asked again.

mod drift;
mod journal;
mod secrets;
mod signature;
mod vulnerabilities;

use std::sync::Arc;

use super::Watched;
use super::probing::{Again, probed};
use crate::config::Release;
use crate::context::Ctx;
use crate::engine::gate::Gate;
use crate::engine::session::Session;
use crate::monitor::images::{Running, running};
use crate::monitor::leads;
use crate::release::book::Book;
use crate::release::overview::{Overview, Told, overview};
use crate::tasks::status::told;
use crate::tools::reference::Subject;
use crate::verdict::{Finding, Unproven};

/// Of an environment with a cluster. They begin when health was looked at: what they do to this machine must not be taken
/// for what is wrong with the other one.
pub fn plan(ctx: &Ctx, watched: &Arc<Watched>) -> Vec<Gate> {
    let Some(release) = watched.release().cloned() else { return vec![] };
    let gates = [
        signature::plan(ctx, watched, &release),
        vulnerabilities::plan(ctx, watched, &release),
        secrets::plan(ctx, watched, &release),
        Some(drift::plan(ctx, watched, &release)),
    ];
    let after = ["monitor/health/endpoints", "monitor/health/certificate"].map(str::to_owned);
    let gates = gates.into_iter().flatten().map(|gate| Gate { waits_for: after.to_vec(), ..gate });
    gates.map(|gate| probed(gate, &watched.environment.monitor, Again::Unanswered)).collect()
}

/// What the cluster says of the workload, and every image that its pods run, of all its Deployments, and that pods run to
/// which its Service leads although they are none of these.
struct Seen {
    told: Told,
    overview: Overview,
    images: Vec<Running>,
    findings: Vec<Finding>,
}

async fn look(session: &Session, watched: &Watched, release: &Release) -> Result<Seen, Unproven> {
    let kube = watched.door.kube(&session.machine, &watched.environment).await?;
    session.doing(format!("looks at the pods of `{}` in `{}`", release.workload, release.namespace));
    let mut told = told(&kube, release).await?;
    told.journal = Book::open(&kube, &release.namespace).journal().await?;
    let overview = overview(&watched.environment.name, release, &told, kube.now());
    let (images, findings) = running(&leads::all(release, &told));
    images.iter().try_for_each(|image| session.note(&in_words(image)))?;
    Ok(Seen { told, overview, images, findings })
}

fn in_words(image: &Running) -> String {
    format!("{} in the containers {} of {}", image.subject, image.containers.join(", "), image.pods.join(", "))
}

/// The repository and as much of the digest as tells images apart.
fn short(subject: &Subject) -> String {
    let digest = subject.digest.get(..19).unwrap_or(&subject.digest);
    format!("{}@{digest}", subject.repository)
}
