//! A canary release: a small share of the new version beside the old one, compared with as small and as fresh a share of
//! the old version under the same requests. The old version keeps its whole capacity all the time (R26).

use std::time::Duration;

use serde_json::{Value, json};

use super::image::Chosen;
use super::transaction::{Fate, Transaction};
use super::verify::arm;
use crate::config::{Canary, Environment, Release};
use crate::engine::session::Session;
use crate::load::Stop;
use crate::model::GateReport;
use crate::release::canary::analysis::{Assessment, Judgement, assess};
use crate::release::canary::arms::{Question, measure};
use crate::release::journal::{Entry, Journal, Step};
use crate::release::manifests::{Filling, Manifests, Prepared, TEMPLATE, TRACK, TRAFFIC};
use crate::release::track::Track;
use crate::tools::cancel::Urgency;
use crate::tools::kube::{Kube, path_of};
use crate::verdict::{Evidence, Finding, NotRun, Outcome, Severity, Unproven, Work};

/// The port of an arm's Service.
const ARM_PORT: u16 = 80;

/// How long pods of a comparison may take to be ending once they are not wanted.
const GONE: Duration = Duration::from_secs(30);

/// How often is looked.
const LOOKS: Duration = Duration::from_millis(250);

/// How long a Gateway may take to send requests by a route that it has taken.
const ACTED: Duration = Duration::from_secs(2);

/// Steps of one release send their requests in orders of their own.
const SEED: u64 = 1947;

impl Transaction {
    /// Compares, a step a share; [`Fate::Good`] promotes, and nothing else does.
    pub async fn compare(
        &mut self,
        manifests: &Manifests,
        chosen: &Chosen,
        journal: &Journal,
        prepared: &Prepared,
    ) -> Result<Fate, Unproven> {
        let Some(stable) = journal.last_verified().cloned() else {
            return Ok(Fate::Failed(
                "a canary needs a verified release beside it: release it once with --strategy rolling".to_owned(),
            ));
        };
        let secret = prepared.configs.iter().find(|name| name.starts_with(&format!("{}-", self.release.secret)));
        let secret = secret.cloned().unwrap_or_default();
        let replicas = self.replicas(Track::of(&stable.track)).await?;
        let route = prepared.objects.iter().find(|object| leads_to(object, &self.release.service)).cloned();
        // Both arms get users, and as many, or the one that has them would be the slower one. Where a Gateway shares the
        // traffic, the Service does not.
        let traffic = if route.is_some() { "none" } else { &stable.track };
        let kept = self.book.objects(&stable.id).await?;
        let Some(baseline) = kept.and_then(|objects| baseline(&objects, &self.release, &stable, traffic)) else {
            return Ok(Fate::Failed(format!("the objects of release {} are no longer kept: no baseline", stable.id)));
        };
        let shares = self.release.canary_steps.clone();
        for (step, share) in shares.iter().enumerate() {
            let size = size(replicas, *share);
            self.step(Step::Watching, &format!("{share} % to {size} of the new version, beside {replicas}")).await?;
            let filling = Filling {
                image: chosen.image.clone(),
                commit: chosen.commit.clone(),
                secret: secret.clone(),
                track: Track::Canary,
                traffic: traffic.to_owned(),
                replicas: Some(size),
            };
            let mut canary = manifests.fill(&self.release, &filling);
            let mut fresh = baseline.clone();
            sized(&mut fresh, size);
            for (prepared, track) in [(&mut canary, Track::Canary), (&mut fresh, Track::Baseline)] {
                prepared.objects.push(self.arm_service(prepared, track));
            }
            for (name, prepared) in [("baseline", &fresh), ("canary-pods", &canary)] {
                let report = self.roll_out(name, prepared, size, true).await;
                let fate = Fate::of(&report, self.stages.is_stopped());
                if fate != Fate::Good {
                    return Ok(fate);
                }
            }
            if let Some((route, path)) = route.as_ref().and_then(|route| Some((route, path_of(route)?))) {
                self.kube.apply(&path, &weighed(route, &self.release.service, *share), true).await?;
            }
            self.step(Step::Verifying, &format!("the canary beside its baseline, {share} %")).await?;
            let report = self.measured(step, shares.len()).await;
            let fate = Fate::of(&report, self.stages.is_stopped());
            if fate != Fate::Good {
                return Ok(fate);
            }
        }
        self.step(Step::Promoting, "the canary is as good as its baseline").await?;
        // The rest of the capacity comes before the arms go.
        Ok(Fate::Good)
    }

    /// The Deployment of a track, as it is now.
    pub async fn deployment(&self, track: Track) -> Result<Option<Value>, Unproven> {
        let workload = track.of_workload(&self.release.workload);
        let path = format!("/apis/apps/v1/namespaces/{}/deployments/{workload}", self.release.namespace);
        Ok(self.kube.get(&path).await?)
    }

    /// How many pods of a track there are now.
    pub async fn replicas(&self, track: Track) -> Result<u64, Unproven> {
        let found = self.deployment(track).await?;
        Ok(found.and_then(|object| object["spec"]["replicas"].as_u64()).unwrap_or(1).max(1))
    }

    /// A Service that leads to one arm alone, on the workload's first port; pods of an arm of before, which end for a while,
    /// are none of it.
    fn arm_service(&self, prepared: &Prepared, track: Track) -> Value {
        let workload = prepared.objects.iter().find(|object| object["kind"] == "Deployment");
        let containers = workload.and_then(|object| object["spec"]["template"]["spec"]["containers"].as_array());
        let container = containers.and_then(|all| all.iter().find(|one| one["name"] == *self.release.container));
        let port = container.and_then(|container| container["ports"][0]["containerPort"].as_u64()).unwrap_or(80);
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": track.of_workload(&self.release.service), "namespace": self.release.namespace},
            "spec": {"type": "ClusterIP", "selector": {TRACK: track.name(), TEMPLATE: prepared.template}, "ports": [{"name": "http", "port": ARM_PORT, "targetPort": port}]},
        })
    }

    async fn measured(&mut self, step: usize, steps: usize) -> GateReport {
        let id = self.id("canary");
        let (kube, release, environment) = (self.kube.clone(), self.release.clone(), self.environment.clone());
        self.stages.run(&id, |session| ask(session, kube, release, environment, (step, steps))).await
    }

    /// Removes what compared releases leave behind, and waits until none of it gets requests; what only has the name of an
    /// arm is somebody else's. A route that still sends
    /// a share there is the one among `objects` first, or that share would be lost.
    pub async fn remove_arms(&self, objects: &[Value]) -> Result<(), Unproven> {
        let namespace = &self.release.namespace;
        let canary = Track::Canary.of_workload(&self.release.service);
        for route in objects.iter().filter(|object| leads_to(object, &self.release.service)) {
            let Some(path) = path_of(route) else { continue };
            if self.kube.get(&path).await?.is_some_and(|live| leads_to(&live, &canary)) {
                self.kube.apply(&path, route, true).await?;
                self.taken(&path).await?;
            }
        }
        for track in [Track::Canary, Track::Baseline] {
            let workload = track.of_workload(&self.release.workload);
            if self.deployment(track).await?.is_some_and(|found| track.has_made(&found)) {
                self.kube.delete(&format!("/apis/apps/v1/namespaces/{namespace}/deployments/{workload}")).await?;
            }
        }
        let label = TRACK.replace('/', "%2F");
        let (canary, baseline) = (Track::Canary.name(), Track::Baseline.name());
        let arms = format!("/api/v1/namespaces/{namespace}/pods?labelSelector={label}+in+({canary},{baseline})");
        let begun = std::time::Instant::now();
        while self.kube.list(&arms).await?.items.iter().any(stays) {
            if begun.elapsed() > GONE || self.stages.steady().cancel.is_cancelled() {
                self.stages.say("pods of a comparison are still there; the cluster is slow to remove them");
                break;
            }
            tokio::time::sleep(LOOKS).await;
        }
        for track in [Track::Canary, Track::Baseline] {
            let service = track.of_workload(&self.release.service);
            let path = format!("/api/v1/namespaces/{namespace}/services/{service}");
            if self.kube.get(&path).await?.is_some_and(|found| track.has_made(&found)) {
                self.kube.delete(&path).await?;
            }
        }
        Ok(())
    }

    /// Waits until every Gateway that has taken a route has taken its newest state, and has had the time to act by it.
    async fn taken(&self, path: &str) -> Result<(), Unproven> {
        let begun = std::time::Instant::now();
        loop {
            let route = self.kube.get(path).await?.unwrap_or_default();
            match is_taken(&route) {
                None => return Ok(()),
                Some(true) => break,
                Some(false) if begun.elapsed() > GONE || self.stages.steady().cancel.is_cancelled() => {
                    self.stages.say("the Gateway has not taken the route back yet; it is slow");
                    break;
                }
                Some(false) => tokio::time::sleep(LOOKS).await,
            }
        }
        tokio::time::sleep(ACTED).await;
        Ok(())
    }
}

/// Whether every Gateway has seen the newest state of a route; `None` where it is none's
/// (Gateway API, `RouteParentStatus.conditions`).
fn is_taken(route: &Value) -> Option<bool> {
    let parents = route["status"]["parents"].as_array().filter(|parents| !parents.is_empty())?;
    let newest = route["metadata"]["generation"].as_i64();
    let mut conditions = parents.iter().flat_map(|parent| parent["conditions"].as_array().into_iter().flatten());
    Some(conditions.all(|condition| condition["observedGeneration"].as_i64() >= newest))
}

/// Whether a pod is not ending yet: it may get requests.
fn stays(pod: &Value) -> bool {
    pod["metadata"].get("deletionTimestamp").is_none()
}

async fn ask(
    session: Session,
    kube: Kube,
    release: Release,
    environment: Environment,
    (step, steps): (usize, usize),
) -> Result<Outcome, Unproven> {
    let namespace = &release.namespace;
    let (canary, _one) = arm(&kube, namespace, &Track::Canary.of_workload(&release.service)).await?;
    let (baseline, _other) = arm(&kube, namespace, &Track::Baseline.of_workload(&release.service)).await?;
    let settings: &Canary = &environment.canary;
    session.say(&format!("{} requests/s to each of both for {} s", settings.rate, settings.duration.as_secs()))?;
    let stop = Stop::default();
    let mut cancel = session.machine.cancel.clone();
    let question = Question {
        canary: &canary,
        baseline: &baseline,
        mix: &release.routes,
        requests: &session.ctx().config.requests,
        settings,
        seed: SEED + step as u64,
    };
    let measured = tokio::select! {
        measured = measure(&question, &stop) => measured?,
        () = cancel.reached(Urgency::Gently) => {
            stop.now();
            return Err(NotRun::new("interrupted", "").into());
        }
    };
    let fix = "look at what differs between both versions".to_owned();
    let arms = match measured {
        Ok(arms) => arms,
        Err(judgement) => return Err(no_verdict(&judgement).into()),
    };
    let seed = SEED + step as u64;
    let Assessment { judgement, figures } = assess(&arms.canary, &arms.baseline, &settings.limits, steps, seed);
    let words = serde_json::to_string(&figures).unwrap_or_default();
    session.say(&format!("step {} of {steps}: {words}", step + 1))?;
    let reasons = match &judgement {
        Judgement::NoVerdict { .. } => return Err(no_verdict(&judgement).into()),
        Judgement::Promote => vec![],
        Judgement::Abort { reasons } => reasons.clone(),
    };
    let finding = |reason: &String| Finding::new("canary", Severity::High, reason.clone());
    let figures = Finding::new("figures", Severity::Info, words);
    Ok(Outcome::Ran(Evidence {
        work: Work::new(arms.canary.requests + arms.baseline.requests, "requests"),
        declared: None,
        findings: reasons.iter().map(finding).chain([figures]).collect(),
        artifacts: vec![],
        fix,
    }))
}

fn no_verdict(judgement: &Judgement) -> NotRun {
    let reason = match judgement {
        Judgement::NoVerdict { reason } => reason.clone(),
        Judgement::Promote | Judgement::Abort { .. } => String::new(),
    };
    NotRun::new(format!("the canary has no verdict: {reason}"), "see whether this machine can send so many requests")
}

/// Whether an object is a route of a Gateway to the Service.
fn leads_to(object: &Value, service: &str) -> bool {
    let rules = object["spec"]["rules"].as_array().into_iter().flatten();
    let mut backends = rules.flat_map(|rule| rule["backendRefs"].as_array().into_iter().flatten());
    object["kind"] == "HTTPRoute" && backends.any(|backend| backend["name"] == service)
}

/// The route by which the canary gets `share` percent of what the Service and it get, and the baseline as much as the canary
/// (Gateway API, `HTTPBackendRef.weight`). What a rule sends elsewhere stays the same part of the whole.
fn weighed(route: &Value, service: &str, share: u8) -> Value {
    let share = u64::from(share.min(100));
    let mut route = route.clone();
    for rule in route["spec"]["rules"].as_array_mut().into_iter().flatten() {
        let Some(backends) = rule["backendRefs"].as_array_mut() else { continue };
        let Some(stable) = backends.iter().find(|backend| backend["name"] == service).cloned() else { continue };
        let weight = |backend: &Value| backend["weight"].as_u64().unwrap_or(1);
        for backend in backends.iter_mut() {
            let part = if backend["name"] == service { 100 - share } else { 100 + share };
            backend["weight"] = json!(weight(backend) * part);
        }
        for track in [Track::Canary, Track::Baseline] {
            let mut arm = stable.clone();
            arm["name"] = json!(track.of_workload(service));
            arm["port"] = json!(ARM_PORT);
            arm["weight"] = json!(weight(&stable) * share);
            backends.push(arm);
        }
    }
    route
}

/// How many pods get `share` percent of the traffic beside `replicas` of the old version.
fn size(replicas: u64, share: u8) -> u64 {
    let share = u64::from(share.clamp(1, 99));
    (replicas * share).div_ceil(100 - share).max(1)
}

/// The workload of the verified release under another name; `traffic` is whose requests of users its pods get.
fn baseline(objects: &[Value], release: &Release, stable: &Entry, traffic: &str) -> Option<Prepared> {
    let workload = Track::of(&stable.track).of_workload(&release.workload);
    let is_it = |object: &&Value| object["kind"] == "Deployment" && object["metadata"]["name"] == *workload;
    let mut object = objects.iter().find(is_it)?.clone();
    let name = Track::Baseline.of_workload(&release.workload);
    object["metadata"]["name"] = json!(name);
    object["spec"]["selector"]["matchLabels"][TRACK] = json!(Track::Baseline.name());
    let labels = &mut object["spec"]["template"]["metadata"]["labels"];
    labels[TRACK] = json!(Track::Baseline.name());
    labels[TRAFFIC] = json!(traffic);
    // Its pods are not those that serve.
    let template = format!("baseline-{}", stable.template);
    labels[TEMPLATE] = json!(template);
    Some(Prepared { objects: vec![object], template, workload: name, configs: vec![] })
}

fn sized(prepared: &mut Prepared, replicas: u64) {
    if let Some(object) = prepared.objects.first_mut() {
        object["spec"]["replicas"] = json!(replicas);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_traffic_is_a_number_of_pods_and_never_none() {
        for (replicas, share, expected) in
            [(3, 10, 1), (3, 25, 1), (3, 50, 3), (10, 10, 2), (10, 50, 10), (1, 1, 1), (0, 10, 1)]
        {
            assert_eq!(size(replicas, share), expected, "{replicas} {share}");
        }
    }

    #[test]
    fn a_gateway_shares_by_weights_and_only_what_goes_to_the_service() {
        let rules = json!([
            {"backendRefs": [{"name": "forge", "port": 8080}]},
            {"backendRefs": [{"name": "docs", "port": 80}]},
            {"backendRefs": [{"name": "old", "weight": 3}, {"name": "forge", "port": 8080, "weight": 7}]},
        ]);
        let route = json!({"kind": "HTTPRoute", "spec": {"rules": rules}});
        assert!(
            leads_to(&route, "forge") && !leads_to(&route, "redis") && !leads_to(&json!({"kind": "Service"}), "forge")
        );
        let weights = |shared: &Value, rule: usize| {
            let backends = shared["spec"]["rules"][rule]["backendRefs"].as_array().unwrap();
            let weight = |one: &Value| format!("{}:{} {}", one["name"].as_str().unwrap(), one["port"], one["weight"]);
            backends.iter().map(weight).collect::<Vec<_>>()
        };
        let shared = weighed(&route, "forge", 10);
        assert_eq!(weights(&shared, 0), ["forge:8080 90", "forge-canary:80 10", "forge-baseline:80 10"]);
        assert_eq!(shared["spec"]["rules"][1], route["spec"]["rules"][1]);
        let rest = ["old:null 330", "forge:8080 630", "forge-canary:80 70", "forge-baseline:80 70"];
        assert_eq!(weights(&shared, 2), rest);
    }

    #[test]
    fn a_route_is_back_when_every_gateway_has_seen_it() {
        let parent = |seen: i64| json!({"conditions": [{"type": "Accepted", "observedGeneration": seen}]});
        let route = |parents: Value| json!({"metadata": {"generation": 3}, "status": {"parents": parents}});
        for (route, expected) in [
            (json!({"metadata": {"generation": 3}}), None),
            (route(json!([])), None),
            (route(json!([parent(3), parent(2)])), Some(false)),
            (route(json!([parent(3), parent(3)])), Some(true)),
            (route(json!([{"conditions": [{"type": "Accepted"}]}])), Some(false)),
        ] {
            assert_eq!(is_taken(&route), expected, "{route}");
        }
    }

    #[test]
    fn the_baseline_is_the_old_version_with_a_name_of_its_own_and_as_many_users() {
        let release = crate::release::manifests::testing::release();
        let manifests = Manifests::new(crate::release::manifests::testing::objects(), &release).unwrap();
        let filling = Filling { image: "old".into(), traffic: "stable".into(), ..Filling::default() };
        let objects = manifests.fill(&release, &filling).objects;
        let stable = Entry { template: "t".into(), track: "stable".into(), ..Entry::default() };
        let mut found = baseline(&objects, &release, &stable, "stable").unwrap();
        sized(&mut found, 2);
        let object = &found.objects[0];
        assert_eq!((&object["metadata"]["name"], &object["spec"]["replicas"]), (&json!("forge-baseline"), &json!(2)));
        assert_eq!(object["spec"]["template"]["spec"]["containers"][0]["image"], "old");
        assert_eq!(object["spec"]["template"]["metadata"]["labels"][TRAFFIC], "stable");
        assert_eq!(object["spec"]["selector"]["matchLabels"][TRACK], "baseline");
        assert!(baseline(&[], &release, &stable, "stable").is_none());
    }
}
