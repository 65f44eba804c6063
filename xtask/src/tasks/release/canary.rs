//! A canary release: a small share of the new version beside the old one, compared with as small and as fresh a share of
//! the old version under the same requests. The old version keeps its whole capacity all the time (R26).

use super::image::Chosen;
use super::transaction::{Fate, Transaction};
use crate::release::journal::Journal;
use crate::release::manifests::{Manifests, Prepared, Track};
use crate::verdict::Unproven;

impl Transaction {
    /// Compares, a step a share; [`Fate::Good`] promotes, and nothing else does.
    pub async fn compare(
        &mut self,
        _manifests: &Manifests,
        _chosen: &Chosen,
        _journal: &Journal,
        _prepared: &Prepared,
    ) -> Result<Fate, Unproven> {
        Ok(Fate::NotVerified("a canary release cannot be compared yet".to_owned()))
    }

    /// Removes what compared releases leave behind.
    pub async fn remove_arms(&self) -> Result<(), Unproven> {
        let namespace = &self.release.namespace;
        for track in [Track::Canary, Track::Baseline] {
            let workload = track.of_workload(&self.release.workload);
            let service = track.of_workload(&self.release.service);
            self.kube.delete(&format!("/apis/apps/v1/namespaces/{namespace}/deployments/{workload}")).await?;
            self.kube.delete(&format!("/api/v1/namespaces/{namespace}/services/{service}")).await?;
        }
        Ok(())
    }
}
