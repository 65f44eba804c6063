//! The way back: to the last release that was verified, never to "the one before"; and where there is none, to nothing.

use serde_json::Value;

use super::aside;
use super::clear::is_same;
use super::transaction::{Fate, Transaction, scale};
use super::users;
use super::verify::Subject;
use crate::config::Release;
use crate::exit::Code;
use crate::release::journal::{Entry, Outcome, Step};
use crate::release::manifests::{Prepared, TEMPLATE};
use crate::release::track::Track;
use crate::verdict::{NotRun, Unproven};

/// How a way back ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Restored {
    /// The last verified release serves again, and is verified.
    Healthy(String),
    /// There is none: the new workload is scaled to nothing.
    Scaled,
    /// There is none, and something serves that was there before: it is left as it is.
    Left(String),
    /// It did not work.
    Failed(String),
    /// The API cannot be reached.
    Lost(String),
    /// A second signal.
    Stopped,
}

impl Transaction {
    /// Undoes what was applied, says what became of it in the journal, and tells the exit code.
    ///
    /// `cause` is why. Nothing but a second signal stops it.
    pub async fn restore(&mut self, cause: &Fate, back_to: Option<Entry>) -> Result<Code, Fate> {
        self.stages.go_back();
        let (became, reason) = match cause {
            Fate::Failed(why) => (Outcome::Failed, why.clone()),
            Fate::NotVerified(why) => (Outcome::NotVerified, why.clone()),
            Fate::Stopped => (Outcome::Interrupted, "stopped by a signal".to_owned()),
            Fate::Lost(why) => return Err(Fate::Lost(why.clone())),
            Fate::Good => (Outcome::Failed, String::new()),
        };
        let first_line = reason.lines().next().unwrap_or_default().to_owned();
        self.stages.say(format!("[{}] {}: {first_line}", self.environment.name, in_words(became)));
        let begun = std::time::Instant::now();
        let restored = match back_to {
            Some(entry) => self.bring_back(&entry).await,
            None => self.scale_to_nothing().await,
        };
        let took = begun.elapsed().as_secs_f64();
        let (code, words) = match &restored {
            Restored::Healthy(id) => {
                self.entry.restored.clone_from(id);
                (Code::RolledBack, format!("release {id} serves again and is verified, {took:.1} s after the decision"))
            }
            Restored::Scaled => {
                (Code::Failed, "there is no verified release to go back to: the new workload is scaled to 0".to_owned())
            }
            Restored::Left(why) => {
                (Code::Failed, format!("there is no verified release to go back to, and nothing is scaled down: {why}"))
            }
            Restored::Failed(why) => (Code::RollbackFailed, format!("the way back failed: {why}")),
            Restored::Lost(why) => return Err(Fate::Lost(why.clone())),
            Restored::Stopped => return Err(Fate::Stopped),
        };
        self.stages.say(format!("[{}] {words}", self.environment.name));
        let told = if code == Code::RollbackFailed { format!("{reason}; {words}") } else { reason };
        if let Err(why) = self.conclude(became, &told).await {
            return Err(why.into());
        }
        let code = if *cause == Fate::Stopped { code.and(Code::Interrupted) } else { code };
        Ok(code)
    }

    async fn bring_back(&mut self, entry: &Entry) -> Restored {
        match self.reapply(entry, Step::Restoring, Step::VerifyingRestored, "restore").await {
            Ok(Fate::Good) => {
                if let Err(why) = self.clear(entry).await {
                    self.stages.say(format!("what is left of the release was not cleared away: {why}"));
                }
                Restored::Healthy(entry.id.clone())
            }
            Ok(Fate::Stopped) | Err(Fate::Stopped) => Restored::Stopped,
            Ok(Fate::Lost(why)) | Err(Fate::Lost(why)) => Restored::Lost(why),
            Ok(Fate::Failed(why) | Fate::NotVerified(why)) | Err(Fate::Failed(why) | Fate::NotVerified(why)) => {
                Restored::Failed(why)
            }
            Err(Fate::Good) => Restored::Failed(String::new()),
        }
    }

    /// Applies the objects of an older release, waits for its own pods, and verifies them.
    pub async fn reapply(&mut self, entry: &Entry, applying: Step, verifying: Step, part: &str) -> Result<Fate, Fate> {
        self.step(applying, &format!("release {} ({})", entry.id, entry.image)).await?;
        let objects = self.book.objects(&entry.id).await?;
        let objects =
            objects.ok_or_else(|| Fate::Failed(format!("the objects of release {} are no longer kept", entry.id)))?;
        if let Some(why) = mismatch(entry, &objects, &self.release) {
            return Err(Fate::Failed(why));
        }
        let workload = Track::of(&entry.track).of_workload(&self.release.workload);
        let mut least = least_replicas(&objects, &workload).max(self.capacity);
        // What the arms of a canary have carried comes back to it at once; its autoscaler may have taken pods away.
        self.refill(&objects, &workload).await?;
        // A canary has a share of the traffic, which is none of what is brought back.
        let added = self.book.objects(&self.entry.id).await?.unwrap_or_default();
        let routes = added.into_iter().filter(|object| objects.iter().all(|kept| !is_same(kept, object)));
        self.remove_arms(&objects.iter().cloned().chain(routes).collect::<Vec<_>>()).await?;
        let prepared = Prepared { objects, template: entry.template.clone(), workload, configs: entry.configs.clone() };
        let service = users::service(&self.kube, &self.release).await.map_err(Unproven::from)?;
        let on = users::on(service.as_ref(), &self.journal().await?);
        let moves = on.filter(|track| *track != Track::of(&entry.track));
        if let Some(serving) = moves {
            // All the traffic comes at once, and none before there are pods for it: this Deployment may be gone, or have
            // been scaled to nothing.
            least = least.max(self.replicas(serving).await?);
            let pods = aside::without_users(&prepared, &self.release.service);
            let report = self.roll_out(part, &pods, least, true).await;
            let fate = Fate::of(&report, self.stages.is_stopped());
            if fate != Fate::Good {
                return Ok(fate);
            }
        }
        let part_of_all = match part {
            _ if moves.is_none() => part.to_owned(),
            "rollout" => "promote".to_owned(),
            part => format!("{part}-promote"),
        };
        // Somebody's hand in between does not stop a way back.
        let report = self.roll_out(&part_of_all, &prepared, least, true).await;
        let fate = Fate::of(&report, self.stages.is_stopped());
        if fate != Fate::Good {
            return Ok(fate);
        }
        self.step(verifying, "").await?;
        let (workload, template) = (prepared.workload, entry.template.clone());
        let (moved, image) = (moves.is_some(), &entry.image);
        let subject = Subject { workload: &workload, template: &template, image, serves: true, moved, load: false };
        let suffix = if part == "rollout" { String::new() } else { format!("-{part}d") };
        Ok(self.verify(&subject, &suffix).await)
    }

    /// As many pods as served when this release began, where an autoscaler moves their number and has taken some away.
    async fn refill(&self, objects: &[Value], workload: &str) -> Result<(), Unproven> {
        let is_it = |object: &&Value| object["kind"] == "Deployment" && object["metadata"]["name"] == workload;
        let is_fixed = objects.iter().find(is_it).is_none_or(|object| object["spec"].get("replicas").is_some());
        let path = format!("/apis/apps/v1/namespaces/{}/deployments/{workload}", self.release.namespace);
        let Some(live) = self.kube.get(&path).await?.filter(|_| !is_fixed) else { return Ok(()) };
        if live["spec"]["replicas"].as_u64().is_some_and(|replicas| replicas > 0 && replicas < self.capacity) {
            scale(&self.kube, &path, self.capacity).await?;
        }
        Ok(())
    }

    /// R22: a first release that fails is scaled to 0, and its objects stay to be looked at.
    async fn scale_to_nothing(&mut self) -> Restored {
        if let Err(why) = self.step(Step::Restoring, "there is no verified release: scaling to 0").await {
            return restored(why.into());
        }
        match self.scale_away().await {
            Ok(None) => Restored::Scaled,
            Ok(Some(why)) => Restored::Left(why),
            Err(why) => restored(why.into()),
        }
    }
}

fn restored(fate: Fate) -> Restored {
    match fate {
        Fate::Stopped => Restored::Stopped,
        Fate::Lost(why) => Restored::Lost(why),
        Fate::Failed(why) | Fate::NotVerified(why) => Restored::Failed(why),
        Fate::Good => Restored::Failed(String::new()),
    }
}

/// How few pods of a workload there may be, by its autoscaler among the objects.
fn least_replicas(objects: &[Value], workload: &str) -> u64 {
    let autoscaler = objects.iter().find(|object| {
        object["kind"] == "HorizontalPodAutoscaler" && object["spec"]["scaleTargetRef"]["name"] == workload
    });
    autoscaler.and_then(|object| object["spec"]["minReplicas"].as_u64()).unwrap_or(1)
}

fn in_words(became: Outcome) -> &'static str {
    match became {
        Outcome::Failed => "the release failed",
        Outcome::NotVerified => "the release could not be verified, which is no proof that it fails",
        Outcome::Interrupted => "the release was stopped",
        Outcome::Running | Outcome::Verified => "the release ended",
    }
}

/// What stands in the way of a release that is gone back to.
pub fn refusal(entry: &Entry, gone: &[String], objects: Option<&[Value]>, release: &Release) -> Option<NotRun> {
    let other = "name another one by --to DIGEST; `cargo xtask status` lists them";
    let Some(objects) = objects else {
        return Some(NotRun::new(format!("the objects of release {} are no longer kept", entry.id), other));
    };
    if let Some(why) = mismatch(entry, objects, release) {
        return Some(NotRun::new(why, other));
    }
    if !gone.is_empty() {
        let gone = gone.join("`, `");
        return Some(NotRun::new(
            format!("the configuration of release {} is no longer kept: `{gone}`", entry.id),
            other,
        ));
    }
    None
}

/// How the kept objects differ from what the journal says of a release. Both can be edited, and what was verified, and
/// whose signature is looked at, is the image that the journal names: no other one is brought back under its name.
fn mismatch(entry: &Entry, objects: &[Value], release: &Release) -> Option<String> {
    let wrong =
        |what: String| Some(format!("the kept objects of release {} are not those of the journal: {what}", entry.id));
    let workload = Track::of(&entry.track).of_workload(&release.workload);
    let is_it = |object: &&Value| object["kind"] == "Deployment" && object["metadata"]["name"] == *workload;
    let Some(found) = objects.iter().find(is_it) else { return wrong(format!("there is no Deployment `{workload}`")) };
    let elsewhere = objects.iter().find(|object| {
        let meta = &object["metadata"];
        let home = if object["kind"] == "Namespace" { &meta["name"] } else { &meta["namespace"] };
        *home != *release.namespace
    });
    if let Some(object) = elsewhere {
        return wrong(format!("{} {} lies elsewhere", object["kind"], object["metadata"]["name"]));
    }
    let template = &found["spec"]["template"];
    let containers = template["spec"]["containers"].as_array().into_iter().flatten();
    let image = containers.filter(|one| one["name"] == *release.container).map(|one| &one["image"]).next();
    if image.is_none_or(|image| *image != *entry.image) {
        return wrong(format!("its image is not `{}`", entry.image));
    }
    if template["metadata"]["labels"][TEMPLATE] != *entry.template {
        return wrong(format!("its pods are not of the template `{}`", entry.template));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::manifests::{Filling, Manifests, testing};
    use serde_json::json;

    fn kept() -> (Entry, Vec<Value>) {
        let manifests = Manifests::new(testing::objects(), &testing::release()).unwrap();
        let filling = Filling { image: "r@sha256:1".into(), traffic: "stable".into(), ..Filling::default() };
        let prepared = manifests.fill(&testing::release(), &filling);
        let entry = Entry {
            id: "1".into(),
            image: "r@sha256:1".into(),
            template: prepared.template.clone(),
            track: "stable".into(),
            ..Entry::default()
        };
        (entry, prepared.objects)
    }

    #[test]
    fn what_is_no_longer_kept_is_no_way_back() {
        let (entry, objects) = kept();
        let refusal = |gone: &[String], objects| refusal(&entry, gone, objects, &testing::release());
        assert_eq!(refusal(&[], Some(&objects)), None);
        assert!(refusal(&["s-1".into()], Some(&objects)).unwrap().reason.contains("`s-1`"));
        assert!(refusal(&[], None).unwrap().reason.contains("objects of release 1"));
    }

    #[test]
    fn objects_of_another_image_are_never_brought_back_under_a_verified_name() {
        let (entry, objects) = kept();
        let deployment =
            objects.iter().position(|one| one["metadata"]["name"] == "forge" && one["kind"] == "Deployment");
        let deployment = deployment.unwrap();
        let with = |pointer: &str, value: &str| {
            let mut objects = objects.clone();
            *objects[deployment].pointer_mut(pointer).unwrap() = json!(value);
            mismatch(&entry, &objects, &testing::release()).unwrap()
        };
        assert_eq!(mismatch(&entry, &objects, &testing::release()), None);
        for (found, words) in [
            (with("/spec/template/spec/containers/0/image", "r@sha256:2"), "its image is not `r@sha256:1`"),
            (with("/spec/template/metadata/labels/forge.xtask~1template", "x"), "not of the template"),
            (with("/metadata/namespace", "kube-system"), "lies elsewhere"),
            (with("/metadata/name", "other"), "no Deployment `forge`"),
        ] {
            assert!(found.contains(words), "{found}");
        }
        let edited = Entry { image: "r@sha256:2".into(), ..entry };
        assert!(mismatch(&edited, &objects, &testing::release()).is_some());
    }

    #[test]
    fn the_fewest_pods_are_those_of_the_workloads_own_autoscaler() {
        let (_, mut objects) = kept();
        objects.insert(
            0,
            json!({"kind": "HorizontalPodAutoscaler", "spec": {"minReplicas": 7, "scaleTargetRef": {"name": "redis"}}}),
        );
        assert_eq!((least_replicas(&objects, "forge"), least_replicas(&objects, "other")), (3, 1));
    }
}
