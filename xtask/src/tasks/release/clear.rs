//! What is not needed any more goes: what releases have added that were undone, second Deployments whose time is over, and the
//! pods of a first release that failed. What somebody may want to look at, and what holds data, stays.

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::restore::traffic;
use super::transaction::{Transaction, scale};
use crate::config::Release;
use crate::release::journal::{Entry, Journal};
use crate::release::manifests::{TEMPLATE, TRAFFIC};
use crate::release::track::Track;
use crate::tools::kube::path_of;
use crate::verdict::Unproven;

impl Transaction {
    /// What a failed release has left beside the one that serves: a second Deployment is scaled to nothing, so that its
    /// objects can be looked at.
    pub async fn put_aside(&mut self, serving: &Entry) -> Result<(), Unproven> {
        if self.entry.track == serving.track || self.entry.track.is_empty() {
            return Ok(());
        }
        let workload = Track::of(&self.entry.track).of_workload(&self.release.workload);
        self.scale_down(&workload).await?;
        Ok(())
    }

    /// Removes what no release that is kept needs: failed ones alone would fill the namespace.
    pub async fn tidy(&self) -> Result<(), Unproven> {
        let journal = self.journal().await?;
        self.book.tidy(&journal.kept(self.release.keep)).await?;
        Ok(())
    }

    /// Removes the objects that releases since then, failed and killed ones too, have made and that what is brought back does
    /// not have: a second workload of the bad version would go on with its work.
    pub async fn remove_added(&self, restored: &Entry) -> Result<(), Unproven> {
        let Some(kept) = self.book.objects(&restored.id).await? else { return Ok(()) };
        let journal = self.journal().await?;
        let later = journal.entries.iter().rev().take_while(|entry| entry.id != restored.id);
        let ids: Vec<&str> = later.map(|entry| entry.id.as_str()).collect();
        let mut gone: Vec<String> = Vec::new();
        for id in ids {
            for object in self.book.objects(id).await?.unwrap_or_default() {
                let Some(path) = path_of(&object).filter(|path| !gone.contains(path)) else { continue };
                if kept.iter().any(|known| is_same(known, &object)) || stays_to_be_looked_at(&object, &self.release) {
                    continue;
                }
                let Some(live) = self.kube.get(&path).await? else { continue };
                if was_made_since(&live, &restored.ended) {
                    self.kube.delete(&path).await?;
                    let (kind, name) = (&object["kind"], &object["metadata"]["name"]);
                    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                    self.stages.say(format!(
                        "{} `{}`, which release {id} had added, is removed",
                        text(kind),
                        text(name)
                    ));
                }
                gone.push(path);
            }
        }
        Ok(())
    }

    /// Removes second Deployments that were kept for an instant way back and whose time is over.
    pub async fn retire(&mut self, journal: &Journal) -> Result<(), Unproven> {
        let Some(serving) = journal.last_verified() else { return Ok(()) };
        let since = OffsetDateTime::parse(&serving.ended, &Rfc3339).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        if self.kube.now() - since < self.release.blue_green.keep {
            return Ok(());
        }
        let namespace = self.release.namespace.clone();
        // Where a release was killed after it had moved the Service, users are not where the journal has them.
        let used = [
            Some(Track::of(&serving.track)),
            Some(Track::of(&self.entry.track)),
            traffic(&self.kube, &self.release).await?,
        ];
        for track in [Track::Stable, Track::Blue, Track::Green] {
            if used.contains(&Some(track)) {
                continue;
            }
            let workload = track.of_workload(&self.release.workload);
            let deployment = format!("/apis/apps/v1/namespaces/{namespace}/deployments/{workload}");
            if self.kube.get(&deployment).await?.is_none() {
                continue;
            }
            let preview = track.preview_of(&self.release.service);
            let preview = format!("/api/v1/namespaces/{namespace}/services/{preview}");
            let scaler = format!("/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers/{workload}");
            self.kube.delete(&scaler).await?;
            // Of its name there may be one that is somebody else's.
            if self.kube.get(&preview).await?.is_some_and(|found| found["spec"]["selector"][TRAFFIC] == track.name()) {
                self.kube.delete(&preview).await?;
            }
            self.kube.delete(&deployment).await?;
            self.stages.say(format!("{workload}, which was kept for a way back, is removed"));
        }
        Ok(())
    }

    /// Scales a Deployment to nothing; its autoscaler leaves it alone from then on.
    async fn scale_down(&self, workload: &str) -> Result<(), Unproven> {
        let path = format!("/apis/apps/v1/namespaces/{}/deployments/{workload}", self.release.namespace);
        if self.kube.get(&path).await?.is_some() {
            scale(&self.kube, &path, 0).await?;
        }
        Ok(())
    }

    /// Whose pods the journal does not know, they were not made by a release that failed: they serve as before.
    pub async fn scale_away(&mut self) -> Result<Option<String>, Unproven> {
        self.remove_arms(&[]).await?;
        let workload = Track::of(&self.entry.track).of_workload(&self.release.workload);
        let sets = self.kube.list(&format!("/apis/apps/v1/namespaces/{}/replicasets", self.release.namespace)).await?;
        let journal = self.journal().await?;
        let known = journal.entries.iter().chain([&self.entry]).map(|entry| entry.template.as_str());
        if let Some(set) = stranger(&sets.items, &workload, &known.collect::<Vec<_>>()) {
            return Ok(Some(format!("pods of `{set}`, which no release of the journal made, serve")));
        }
        self.scale_down(&workload).await?;
        Ok(None)
    }
}

/// Whether two objects are states of the same one.
pub fn is_same(one: &Value, other: &Value) -> bool {
    let meta = |object: &Value, field: &str| object["metadata"][field].clone();
    one["kind"] == other["kind"] && ["namespace", "name"].iter().all(|field| meta(one, field) == meta(other, field))
}

/// What a way back leaves though a failed release has made it: the Deployment itself, which is scaled to nothing, what holds
/// data, and settings, which go when nobody names them.
fn stays_to_be_looked_at(object: &Value, release: &Release) -> bool {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let tracks = [Track::Stable, Track::Blue, Track::Green];
    let is_workload = tracks.iter().any(|track| track.of_workload(&release.workload) == name);
    match object["kind"].as_str() {
        Some("Deployment" | "HorizontalPodAutoscaler") => is_workload,
        Some("Service") => name == release.service,
        Some("Namespace" | "PersistentVolumeClaim" | "ConfigMap" | "Secret") | None => true,
        Some(_) => false,
    }
}

/// Whether an object was made after a time; where that cannot be told it was not.
fn was_made_since(live: &Value, time: &str) -> bool {
    let at = |text: &str| OffsetDateTime::parse(text, &Rfc3339).ok();
    let made = live["metadata"]["creationTimestamp"].as_str().and_then(at);
    made.zip(at(time)).is_some_and(|(made, time)| made > time)
}

/// The ReplicaSet of the workload with ready pods of a template that is not among the `known`.
fn stranger(sets: &[Value], workload: &str, known: &[&str]) -> Option<String> {
    let is_ours = |set: &&Value| {
        let owners = set["metadata"]["ownerReferences"].as_array();
        owners.is_some_and(|all| all.iter().any(|owner| owner["kind"] == "Deployment" && owner["name"] == workload))
    };
    let is_known =
        |set: &&Value| set["metadata"]["labels"][TEMPLATE].as_str().is_some_and(|label| known.contains(&label));
    let serves = |set: &&Value| set["status"]["readyReplicas"].as_u64().unwrap_or(0) > 0;
    let found = sets.iter().find(|set| is_ours(set) && serves(set) && !is_known(set))?;
    Some(found["metadata"]["name"].as_str().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::manifests::testing;
    use serde_json::json;

    #[test]
    fn only_what_the_journal_does_not_know_is_left_to_serve() {
        let set = |name: &str, owner: &str, template: &str, ready: u64| {
            json!({
                "metadata": {"name": name, "labels": {TEMPLATE: template},
                             "ownerReferences": [{"kind": "Deployment", "name": owner}]},
                "status": {"readyReplicas": ready},
            })
        };
        for (sets, expected) in [
            (vec![], None),
            // The release that failed, and one that failed before it.
            (vec![set("a", "forge", "t1", 2), set("b", "forge", "t2", 1)], None),
            (vec![set("a", "forge", "lost", 2), set("b", "forge", "t2", 0)], Some("a")),
            (vec![set("a", "forge", "lost", 0)], None),
            (vec![set("a", "redis", "lost", 2)], None),
        ] {
            assert_eq!(stranger(&sets, "forge", &["t1", "t2"]).as_deref(), expected, "{sets:?}");
        }
    }

    #[test]
    fn a_way_back_removes_what_was_added_and_leaves_what_holds_data_or_is_to_be_looked_at() {
        let object = |kind: &str, name: &str| json!({"kind": kind, "metadata": {"name": name, "namespace": "n"}});
        let release = testing::release();
        for (kind, name, stays) in [
            ("Deployment", "forge-blue", true),
            ("HorizontalPodAutoscaler", "forge-blue", true),
            ("Deployment", "worker", false),
            ("HorizontalPodAutoscaler", "worker", false),
            ("Service", "forge", true),
            ("Service", "worker", false),
            ("CronJob", "nightly", false),
            ("NetworkPolicy", "forge", false),
            ("PersistentVolumeClaim", "data", true),
            ("ConfigMap", "settings-1", true),
        ] {
            assert_eq!(stays_to_be_looked_at(&object(kind, name), &release), stays, "{kind} {name}");
        }
        assert!(
            is_same(&object("Job", "a"), &object("Job", "a")) && !is_same(&object("Job", "a"), &object("Job", "b"))
        );
        let live = |at: &str| json!({"metadata": {"creationTimestamp": at}});
        for (made, ended, expected) in [
            ("2026-03-01T10:00:01Z", "2026-03-01T10:00:00Z", true),
            // Somebody's own, which the release has only changed.
            ("2026-03-01T09:59:59Z", "2026-03-01T10:00:00Z", false),
            ("2026-03-01T10:00:01Z", "", false),
        ] {
            assert_eq!(was_made_since(&live(made), ended), expected, "{made} {ended}");
        }
    }
}
