//! Gets to the cluster of an environment, and only to that one.

use anyhow::Result;

use crate::config::{Cluster, Environment};
use crate::exit::UsageError;
use crate::tools::kube::{Access, Kube};
use crate::tools::machine::Machine;
use crate::tools::proc::Runner;
use crate::verdict::{NotRun, Unproven};

/// The cluster of an environment. The inner error is what stands in the way (no login, no answer); the outer one is
/// another cluster under the same context's name, which is a mistake of the configuration (R41).
pub async fn reach(machine: &Machine, environment: &Environment) -> Result<Result<Kube, NotRun>> {
    let (cluster, _) = environment.releasable()?;
    let runner = Runner { ledger: machine.ledger.clone(), ..machine.quiet() };
    let opened = match Access::of(machine, &runner, cluster).await {
        Ok(access) => Kube::open(machine, &runner, access).await,
        Err(why) => Err(why),
    };
    let kube = match opened {
        Ok(kube) => kube,
        Err(Unproven::NotRun(why)) => return Ok(Err(why)),
        Err(Unproven::Defect(error)) => return Err(error),
    };
    match kube.uid().await {
        Ok(uid) if uid == cluster.uid => Ok(Ok(kube)),
        Ok(uid) => Err(other(environment, cluster, &uid).into()),
        Err(trouble) => match trouble.into() {
            Unproven::NotRun(why) => Ok(Err(why)),
            Unproven::Defect(error) => Err(error),
        },
    }
}

fn other(environment: &Environment, cluster: &Cluster, uid: &str) -> UsageError {
    UsageError(format!(
        "the context `{}` leads to the cluster {uid}, and `{}.toml` names {} (cluster.uid): nothing was done",
        cluster.context, environment.name, cluster.uid
    ))
}
