//! The way into the cluster of an environment: found once, and shared by all gates of a run.

use anyhow::Result;
use tokio::sync::Mutex;

use crate::config::Environment;
use crate::tasks::release::reach::reach;
use crate::tools::kube::Kube;
use crate::tools::machine::Machine;
use crate::verdict::{NotRun, Unproven};

/// A way that may not be found yet.
#[derive(Default)]
pub struct Door(Mutex<Option<Kube>>);

impl Door {
    /// Looks for it where the environment has a cluster. One that does not answer is the gates' matter; the error is
    /// another cluster than the environment's, to which no gate gets either.
    pub async fn find(&self, machine: &Machine, environment: &Environment) -> Result<()> {
        if has_one(environment) {
            *self.0.lock().await = reach(machine, environment).await?.ok();
        }
        Ok(())
    }

    /// The cluster; asked for again where it did not answer before.
    pub async fn kube(&self, machine: &Machine, environment: &Environment) -> Result<Kube, Unproven> {
        let mut known = self.0.lock().await;
        if let Some(kube) = &*known {
            return Ok(kube.clone());
        }
        let found = match reach(machine, environment).await {
            Ok(found) => found?,
            // It answers, and it is another one.
            Err(error) => {
                return Err(NotRun::new(format!("{error:#}"), "mend [cluster] of the environment's file").into());
            }
        };
        *known = Some(found.clone());
        Ok(found)
    }

    /// Whether the cluster answers now.
    pub async fn answers(&self, machine: &Machine, environment: &Environment) -> bool {
        if !has_one(environment) {
            return false;
        }
        match self.kube(machine, environment).await {
            Ok(kube) => kube.uid().await.is_ok(),
            Err(_) => false,
        }
    }
}

fn has_one(environment: &Environment) -> bool {
    environment.cluster.is_some() && environment.release.is_some()
}
