//! What is not needed any more goes: what releases have added that were undone, second Deployments whose time is over, and the
//! pods of a first release that failed. What somebody may want to look at, and what holds data, stays.

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::transaction::{Transaction, scale};
use super::users::traffic;
use crate::config::Release;
use crate::release::journal::{Entry, Journal, Outcome, Step};
use crate::release::manifests::{TEMPLATE, TRAFFIC};
use crate::release::track::Track;
use crate::tools::kube::{MANAGER, Trouble, path_of};
use crate::verdict::Unproven;

/// The Deployments that may serve.
const DEPLOYMENTS: [Track; 3] = [Track::Stable, Track::Blue, Track::Green];

impl Transaction {
    /// All of it that the way back to a release leaves.
    pub async fn clear(&self, serving: &Entry) -> Result<(), Unproven> {
        self.undo_others(serving, Some(serving)).await?;
        self.tidy(&self.journal().await?).await?;
        Ok(())
    }

    /// What other releases than the serving one have left that runs: their pods, and what those since `since` have added.
    pub async fn undo_others(&self, serving: &Entry, since: Option<&Entry>) -> Result<(), Unproven> {
        let journal = self.journal().await?;
        self.put_aside(&journal, serving).await?;
        self.remove_added(&journal, serving, since).await
    }

    /// Scales every other Deployment to nothing whose pods are of a release that was never verified: of the one that failed,
    /// or of one that was killed before it. Its objects can be looked at, and a verified one beside it stays for a way back.
    async fn put_aside(&self, journal: &Journal, serving: &Entry) -> Result<(), Unproven> {
        self.hold().await?;
        for track in DEPLOYMENTS.into_iter().filter(|track| *track != Track::of(&serving.track)) {
            let Some(live) = self.deployment(track).await? else { continue };
            let template = live["spec"]["template"]["metadata"]["labels"][TEMPLATE].as_str().unwrap_or_default();
            if live["spec"]["replicas"] != 0 && was_never_verified(journal, template) {
                self.scale_down(&track.of_workload(&self.release.workload)).await?;
            }
        }
        Ok(())
    }

    /// Removes what no release that is kept needs, failed ones alone would fill the namespace; how many objects that were.
    pub async fn tidy(&self, journal: &Journal) -> Result<usize, Unproven> {
        self.hold().await?;
        Ok(self.book.tidy(&journal.kept(self.release.keep)).await?)
    }

    /// Removes the objects that other releases since then, failed and killed ones too, have made and that the serving one does
    /// not have: a second workload of the bad version would go on with its work. What somebody else had made before the
    /// first of them is theirs, and so is what none of them has come to.
    async fn remove_added(&self, journal: &Journal, serving: &Entry, since: Option<&Entry>) -> Result<(), Unproven> {
        let Some(kept) = self.book.objects(&serving.id).await? else { return Ok(()) };
        let is_before = |entry: &&Entry| since.is_some_and(|since| entry.id != since.id);
        let later = journal.entries.iter().skip_while(is_before).skip(usize::from(since.is_some()));
        let later: Vec<&Entry> = later.filter(|entry| entry.id != serving.id && entry.has_applied()).collect();
        let mut seen: Vec<String> = Vec::new();
        let mut refused = None;
        for entry in later {
            for object in self.book.objects(&entry.id).await?.unwrap_or_default() {
                let Some(path) = path_of(&object).filter(|path| !seen.contains(path)) else { continue };
                if kept.iter().any(|known| is_same(known, &object)) || stays_to_be_looked_at(&object, &self.release) {
                    continue;
                }
                let live = self.kube.get(&path).await?;
                if live.is_some_and(|live| is_managed(&live) && was_made_since(&live, &entry.started)) {
                    // Whoever has the lock by now may have made it.
                    self.hold().await?;
                    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                    let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
                    let became = match self.kube.delete(&path).await {
                        Ok(()) => "is removed".to_owned(),
                        // One that stays keeps the others from nothing.
                        Err(why @ Trouble::Refused { .. }) => format!("stays: {}", refused.insert(why)),
                        Err(why) => return Err(why.into()),
                    };
                    self.stages.say(format!("{kind} `{name}`, which release {} had added, {became}", entry.id));
                }
                seen.push(path);
            }
        }
        refused.map_or(Ok(()), |why| Err(why.into()))
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
        for track in DEPLOYMENTS {
            if used.contains(&Some(track)) {
                continue;
            }
            let workload = track.of_workload(&self.release.workload);
            let deployment = format!("/apis/apps/v1/namespaces/{namespace}/deployments/{workload}");
            // Of these names there may be some that are somebody else's.
            if !self.deployment(track).await?.is_some_and(|found| track.has_made(&found)) {
                continue;
            }
            let preview = track.preview_of(&self.release.service);
            let preview = format!("/api/v1/namespaces/{namespace}/services/{preview}");
            let scaler = format!("/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers/{workload}");
            self.kube.delete(&scaler).await?;
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
        scale(&self.kube, &path, 0).await?;
        Ok(())
    }

    /// Whose pods the journal does not know, they were not made by a release that failed: they serve as before.
    pub async fn scale_away(&mut self) -> Result<Option<String>, Unproven> {
        self.remove_arms(&[]).await?;
        let journal = self.journal().await?;
        // By this release or by one before it: nothing was ever verified.
        let mut steps = journal.entries.iter().chain([&self.entry]).flat_map(|entry| &entry.steps);
        if steps.any(|taken| taken.step == Step::Promoting) {
            return Ok(Some("users have been moved here, and nobody knows where they were before".to_owned()));
        }
        let track = Track::of(&self.entry.track);
        let workload = track.of_workload(&self.release.workload);
        let sets = self.kube.list(&format!("/apis/apps/v1/namespaces/{}/replicasets", self.release.namespace)).await?;
        let known = journal.entries.iter().chain([&self.entry]).map(|entry| entry.template.as_str());
        if let Some(set) = stranger(&sets.items, &workload, &known.collect::<Vec<_>>()) {
            return Ok(Some(format!("pods of `{set}`, which no release of the journal made, serve")));
        }
        if self.deployment(track).await?.is_some() {
            self.scale_down(&workload).await?;
        }
        self.put_aside(&journal, &self.entry).await?;
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
    let is_workload = DEPLOYMENTS.iter().any(|track| track.of_workload(&release.workload) == name);
    match object["kind"].as_str() {
        Some("Deployment" | "HorizontalPodAutoscaler") => is_workload,
        Some("Service") => name == release.service,
        Some("Namespace" | "PersistentVolumeClaim" | "ConfigMap" | "Secret") | None => true,
        Some(_) => false,
    }
}

/// Whether a release has ever applied an object.
fn is_managed(live: &Value) -> bool {
    let managers = live["metadata"]["managedFields"].as_array();
    managers.is_some_and(|all| all.iter().any(|one| one["manager"] == MANAGER && one["operation"] == "Apply"))
}

/// Whether an object was made since a time, in the whole seconds of the API; where that cannot be told it was not.
fn was_made_since(live: &Value, time: &str) -> bool {
    let at = |text: &str| OffsetDateTime::parse(text, &Rfc3339).ok().map(OffsetDateTime::unix_timestamp);
    let made = live["metadata"]["creationTimestamp"].as_str().and_then(at);
    made.zip(at(time)).is_some_and(|(made, time)| made >= time)
}

/// Whether a template is of releases that the journal knows, none of which was verified.
fn was_never_verified(journal: &Journal, template: &str) -> bool {
    let mut of_it = journal.entries.iter().filter(|entry| entry.template == template).peekable();
    of_it.peek().is_some() && of_it.all(|entry| entry.outcome != Outcome::Verified)
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
    fn only_pods_of_releases_that_were_never_verified_are_put_aside() {
        let mut journal = Journal::default();
        for (id, template, outcome) in [
            ("1", "good", Outcome::Verified),
            ("2", "killed", Outcome::Interrupted),
            // Verified once, and failed when it came again.
            ("3", "good", Outcome::Failed),
            ("4", "bad", Outcome::Running),
        ] {
            journal.put(Entry { id: id.into(), template: template.into(), outcome, ..Entry::default() });
        }
        for (template, expected) in [("good", false), ("killed", true), ("bad", true), ("by hand", false), ("", false)]
        {
            assert_eq!(was_never_verified(&journal, template), expected, "{template}");
        }
    }

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
        let live = |manager: &str, operation: &str| {
            let other = json!({"manager": "kubectl-create", "operation": "Update"});
            json!({"metadata": {"managedFields": [other, {"manager": manager, "operation": operation}]}})
        };
        assert!(is_managed(&live(MANAGER, "Apply")));
        assert!(
            !is_managed(&live("kubectl", "Apply")) && !is_managed(&live(MANAGER, "Update")) && !is_managed(&json!({}))
        );
        let live = |at: &str| json!({"metadata": {"creationTimestamp": at}});
        for (made, ended, expected) in [
            ("2026-03-01T10:00:01Z", "2026-03-01T10:00:00Z", true),
            ("2026-03-01T10:00:00Z", "2026-03-01T10:00:00.7Z", true),
            // Somebody's own, which the release has only changed.
            ("2026-03-01T09:59:59Z", "2026-03-01T10:00:00Z", false),
            ("2026-03-01T10:00:01Z", "", false),
        ] {
            assert_eq!(was_made_since(&live(made), ended), expected, "{made} {ended}");
        }
    }
}
