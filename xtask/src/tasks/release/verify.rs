//! Whether what runs does what it is for: every new pod and the Service are asked, and where the environment says so the
//! Service is put under load. A verification that cannot run is tried again, and is no failure (R40).

use std::time::{Duration, Instant};

use serde_json::Value;
use time::OffsetDateTime;

use super::transaction::{Fate, Transaction, decides_nothing};
use crate::config::VerifyAt;
use crate::release::endpoints::{self, Way};
use crate::release::manifests::TEMPLATE;
use crate::release::rollout::{Limits, Seen, State, Target};
use crate::release::track::Track;
use crate::release::watch::{self, Watched};
use crate::tasks::{perf, smoke};
use crate::tools::cancel::Urgency;
use crate::tools::kube::{Forward, Kube, Trouble};
use crate::verdict::{NotRun, Unproven};

/// How long to wait before a verification that did not run is tried again.
const AGAIN: Duration = Duration::from_secs(3);

/// How long this machine may take to reach an address of the cluster.
const REACHED: Duration = Duration::from_millis(1500);

/// How long a Service may take until it leads to the new pods alone.
const SETTLES: Duration = Duration::from_secs(30);

/// How long the proxy of a node may take to hear of it: it writes its rules at most once a second.
const NODES: Duration = Duration::from_secs(2);

/// How often is looked.
const LOOKS: Duration = Duration::from_millis(300);

/// An address, and what keeps it open.
struct Address {
    url: String,
    _open: Option<Forward>,
}

/// What is verified.
pub struct Subject<'a> {
    /// Its Deployment.
    pub workload: &'a str,
    /// The hash of its pods' template.
    pub template: &'a str,
    /// Its image, `REPOSITORY@sha256:…`.
    pub image: &'a str,
    /// Whether the Service leads to it, so that users' way is asked too.
    pub serves: bool,
    /// Whether the Service has just been moved to it: the slices name the old pods no more, and a node may not know yet.
    pub moved: bool,
    /// Whether it is put under load.
    pub load: bool,
}

impl Transaction {
    /// Runs `smoke`, then the load; `suffix` tells its gates apart from those before.
    pub async fn verify(&mut self, subject: &Subject<'_>, suffix: &str) -> Fate {
        if subject.serves && self.settled(subject).await == Some(Fate::Stopped) {
            return Fate::Stopped;
        }
        let fate = self.patiently(subject, suffix, Part::Smoke).await;
        if fate != Fate::Good || !subject.load || self.release.load.is_empty() {
            return self.still_there(subject, fate).await;
        }
        let fate = self.patiently(subject, suffix, Part::Load).await;
        self.still_there(subject, fate).await
    }

    /// Waits until the Service leads to these pods alone: a pod that goes is still asked for a moment after another one has
    /// taken its place, and would be taken for it. Whoever may not read this, or sees no end of it, asks all the same.
    async fn settled(&self, subject: &Subject<'_>) -> Option<Fate> {
        let begun = Instant::now();
        let mut switch = self.stages.switch();
        let mut has_moved = subject.moved;
        while begun.elapsed() < SETTLES {
            let way = match self.way(subject).await {
                Ok(way) => way,
                Err(trouble) => {
                    self.stages.say(format!("asked before it is known that the Service leads to it alone: {trouble}"));
                    return None;
                }
            };
            let wait = match way {
                Way::Settled if !has_moved => return None,
                Way::Settled | Way::Moving => NODES,
                Way::Mixed => LOOKS,
            };
            has_moved |= wait == LOOKS;
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = switch.reached(Urgency::Gently) => return Some(Fate::Stopped),
            }
            if wait == NODES {
                return None;
            }
        }
        self.stages.say(format!("after {} s the Service leads to other pods as well", SETTLES.as_secs()));
        None
    }

    async fn way(&self, subject: &Subject<'_>) -> Result<Way, Trouble> {
        let namespace = &self.release.namespace;
        let label = TEMPLATE.replace('/', "%2F");
        let pods = format!("/api/v1/namespaces/{namespace}/pods?labelSelector={label}%3D{}", subject.template);
        let name = |pod: &Value| pod["metadata"]["name"].as_str().map(str::to_owned);
        let pods = self.kube.list(&pods).await?.items.iter().filter_map(name).collect();
        let of = format!("labelSelector=kubernetes.io%2Fservice-name%3D{}", self.release.service);
        let slices = format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices?{of}");
        Ok(endpoints::way(&self.kube.list(&slices).await?.items, &pods))
    }

    /// Who answered well and ended since is not verified: what crashes under its first requests does so now. The rollout
    /// has to be complete once more, and of the image that was meant; an autoscaler may have added pods meanwhile.
    async fn still_there(&self, subject: &Subject<'_>, fate: Fate) -> Fate {
        if fate != Fate::Good {
            return fate;
        }
        let target = Target { deployment: subject.workload.to_owned(), template: subject.template.to_owned() };
        let limits = once_more(Limits::of(&self.release, self.since), self.kube.now());
        let mut switch = self.stages.switch();
        let mut silent = |_: &_, _: &_| {};
        let (namespace, patience) = (&self.release.namespace, self.release.lock);
        let watched = tokio::select! {
            watched = watch::rollout(&self.kube, namespace, &target, &limits, patience, &mut silent) => watched,
            () = switch.reached(Urgency::Gently) => return Fate::Stopped,
        };
        match watched {
            Err(trouble) => Unproven::from(trouble).into(),
            Ok(Watched { state: State::Failed(cause), .. }) => {
                Fate::Failed(format!("it was verified, and then: {cause}"))
            }
            Ok(Watched { seen, .. }) => match runs(&seen, &self.release.container) {
                image if image == subject.image => fate,
                image => Fate::Failed(format!("somebody has changed the image to `{image}` while it was verified")),
            },
        }
    }

    async fn patiently(&mut self, subject: &Subject<'_>, suffix: &str, part: Part) -> Fate {
        // From the first end without a verdict on: a load that takes longer than the patience is tried again, too.
        let mut first = None;
        loop {
            let fate = self.once(subject, suffix, part).await;
            let waited = first.get_or_insert_with(Instant::now).elapsed();
            if !matches!(fate, Fate::NotVerified(_)) || waited + AGAIN > self.release.verify_patience {
                return fate;
            }
            self.stages.say(format!("the verification did not run ({}); once more", reason(&fate)));
            let mut switch = self.stages.switch();
            tokio::select! {
                () = tokio::time::sleep(AGAIN) => {}
                () = switch.reached(Urgency::Gently) => return Fate::Stopped,
            }
        }
    }

    async fn once(&mut self, subject: &Subject<'_>, suffix: &str, part: Part) -> Fate {
        let id = self.id(&format!("{}{suffix}", part.name()));
        let addresses = match part {
            Part::Smoke => self.addresses(subject).await,
            Part::Load => self.service(subject).await.map(|address| vec![address]),
        };
        let addresses = match addresses {
            Ok(addresses) => addresses,
            Err(why) => {
                self.stages.add(super::gate(&id, "requests", "reqwest", &self.again));
                let report = self.stages.run(&id, |_| async { Err(why) }).await;
                return Fate::of(&report, self.stages.is_stopped());
            }
        };
        let urls: Vec<String> = addresses.iter().map(|address| address.url.clone()).collect();
        let ctx = self.stages.ctx();
        let gate = match part {
            Part::Smoke => smoke::plan(ctx, &urls).pop(),
            Part::Load => perf::on(ctx, &self.release, &urls[0]),
        };
        let Some(mut gate) = gate else {
            let missing = format!("pipeline.toml has no [{}]", part.name());
            self.stages.add(super::gate(&id, "requests", "reqwest", &self.again));
            let report = self.stages.run(&id, |_| async { Err(NotRun::new(missing, "declare it there").into()) }).await;
            return Fate::of(&report, self.stages.is_stopped());
        };
        gate.id.clone_from(&id);
        let report = self.stages.run_gate(gate).await;
        let fate = Fate::of(&report, self.stages.is_stopped());
        self.by_a_way_that_held(&addresses, fate).await
    }

    /// A forwarded port goes through the API: while that is gone no pod has failed, whatever did not answer (R40).
    async fn by_a_way_that_held(&self, addresses: &[Address], fate: Fate) -> Fate {
        let is_forwarded = addresses.iter().any(|address| address._open.is_some());
        if !matches!(fate, Fate::Failed(_)) || !is_forwarded {
            return fate;
        }
        let asked = self.kube.patient(Duration::ZERO).uid().await;
        if !asked.is_err_and(|trouble| trouble.is_unreachable()) {
            return fate;
        }
        match self.kube.uid().await {
            Ok(_) => Fate::NotVerified("the API was gone, and the ports of the pods with it".to_owned()),
            Err(trouble) => Unproven::from(trouble).into(),
        }
    }

    /// Every new pod by an address of its own, and the Service where it leads to them.
    async fn addresses(&self, subject: &Subject<'_>) -> Result<Vec<Address>, Unproven> {
        let namespace = &self.release.namespace;
        let label = TEMPLATE.replace('/', "%2F");
        let path = format!("/api/v1/namespaces/{namespace}/pods?labelSelector={label}%3D{}", subject.template);
        let pods = self.kube.list(&path).await?;
        let pods = to_ask(&pods.items).map_err(|why| NotRun::new(why, self.again.clone()))?;
        let ports: Vec<(&str, String)> = pods.iter().filter_map(|pod| self.port(pod)).collect();
        if ports.len() < pods.len() {
            let reason = format!("container `{}` of a pod names no port", self.release.container);
            return Err(NotRun::new(reason, "name its containerPort in the overlay").into());
        }
        let pods = ports;
        let mut addresses = Vec::new();
        for (name, port) in pods {
            let forward = Forward::open(&self.kube, namespace, &format!("pod/{name}"), &port).await?;
            addresses.push(Address { url: forward.url.clone(), _open: Some(forward) });
        }
        if subject.serves {
            addresses.push(self.service(subject).await?);
        }
        Ok(addresses)
    }

    /// The pod's name and the port that the Service sends to.
    fn port<'a>(&self, pod: &'a Value) -> Option<(&'a str, String)> {
        let containers = pod["spec"]["containers"].as_array()?;
        let container = containers.iter().find(|container| container["name"] == *self.release.container)?;
        let port = container["ports"].as_array()?.first()?["containerPort"].as_u64()?;
        Some((pod["metadata"]["name"].as_str()?, port.to_string()))
    }

    /// Where the Service is reached from here.
    async fn service(&self, subject: &Subject<'_>) -> Result<Address, Unproven> {
        if subject.serves && self.release.verify_at == VerifyAt::Url {
            return Ok(Address { url: self.environment.url.clone(), _open: None });
        }
        let name = if subject.serves {
            self.release.service.clone()
        } else {
            Track::of(&self.entry.track).preview_of(&self.release.service)
        };
        service(&self.kube, &self.release.namespace, &name).await
    }
}

/// A way to a Service: its load balancer, its own address where this machine reaches it, else a forwarded port.
async fn service(kube: &Kube, namespace: &str, name: &str) -> Result<Address, Unproven> {
    let found = kube.get(&format!("/api/v1/namespaces/{namespace}/services/{name}")).await?;
    let found = found.ok_or_else(|| NotRun::new(format!("there is no Service `{name}`"), "look at the overlay"))?;
    for url in candidates(&found) {
        if reaches(&url).await {
            return Ok(Address { url, _open: None });
        }
    }
    let port = found["spec"]["ports"][0]["port"].as_u64().unwrap_or(80);
    let forward = Forward::open(kube, namespace, &format!("service/{name}"), &port.to_string()).await?;
    Ok(Address { url: forward.url.clone(), _open: Some(forward) })
}

/// An arm of a canary release, and what keeps its address open.
pub async fn arm(kube: &Kube, namespace: &str, name: &str) -> Result<(String, Option<Forward>), Unproven> {
    let Address { url, _open: open } = service(kube, namespace, name).await?;
    Ok((url, open))
}

/// The addresses that a Service may be reached at, the public ones first.
fn candidates(service: &Value) -> Vec<String> {
    let port = service["spec"]["ports"][0]["port"].as_u64().unwrap_or(80);
    let scheme = if port == 443 { "https" } else { "http" };
    let ingress = service["status"]["loadBalancer"]["ingress"].as_array().cloned().unwrap_or_default();
    let public =
        ingress.iter().filter_map(|place| place["hostname"].as_str().or(place["ip"].as_str()).map(str::to_owned));
    let own = service["spec"]["clusterIP"].as_str().filter(|ip| !ip.is_empty() && *ip != "None").map(str::to_owned);
    public.chain(own).map(|host| format!("{scheme}://{}:{port}", bracketed(&host))).collect()
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

async fn reaches(url: &str) -> bool {
    let authority = url.split("://").nth(1).unwrap_or_default();
    let connected = tokio::time::timeout(REACHED, tokio::net::TcpStream::connect(authority)).await;
    matches!(connected, Ok(Ok(_)))
}

/// The pods that are asked, which is each of them that stays: one that is not ready hides behind those that are.
fn to_ask(pods: &[Value]) -> Result<Vec<&Value>, String> {
    let is_over = |pod: &&Value| {
        pod["metadata"].get("deletionTimestamp").is_some()
            || ["Succeeded", "Failed"].iter().any(|phase| pod["status"]["phase"] == *phase)
    };
    let pods: Vec<&Value> = pods.iter().filter(|pod| !is_over(pod)).collect();
    let ready = pods.iter().filter(|pod| is_ready(pod)).count();
    match pods.len() {
        0 => Err("no pod of the release is there".to_owned()),
        all if ready < all => Err(format!("{ready} of {all} pods of the release are ready")),
        _ => Ok(pods),
    }
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
}

/// The image that a Deployment gives a container.
fn runs<'a>(seen: &'a Seen, container: &str) -> &'a str {
    let containers = seen.deployment.as_ref().map(|deployment| deployment.spec.template.spec.containers.as_slice());
    let found = containers.unwrap_or_default().iter().find(|one| one.name == container);
    found.map_or("", |one| one.image.as_str())
}

/// The limits of a rollout that was complete: what is held against it counts from its own beginning, so that crashes
/// before and after are crashes of one release, and it has its whole time once more.
fn once_more(limits: Limits, now: OffsetDateTime) -> Limits {
    let gone = Duration::try_from(now - limits.started).unwrap_or_default();
    Limits { deadline: limits.deadline + gone, ..limits }
}

fn reason(fate: &Fate) -> &str {
    match fate {
        Fate::Failed(why) | Fate::NotVerified(why) | Fate::Lost(why) => why,
        Fate::Good | Fate::Stopped => "",
    }
}

/// A part of a verification.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Smoke,
    Load,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Smoke => "smoke",
            Self::Load => "perf",
        }
    }
}

impl From<Unproven> for Fate {
    fn from(why: Unproven) -> Self {
        match why {
            Unproven::NotRun(why) if decides_nothing(&why.reason) => Self::Lost(why.reason),
            Unproven::NotRun(why) => Self::NotVerified(why.reason),
            Unproven::Defect(error) => Self::Failed(format!("a defect of the pipeline: {error:#}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_service_is_reached_by_its_public_address_before_its_own() {
        for (service, expected) in [
            (json!({"spec": {"clusterIP": "10.0.0.1", "ports": [{"port": 80}]}}), vec!["http://10.0.0.1:80"]),
            (json!({"spec": {"clusterIP": "None", "ports": [{"port": 80}]}}), vec![]),
            (
                json!({"spec": {"clusterIP": "fd00::1", "ports": [{"port": 443}]},
                       "status": {"loadBalancer": {"ingress": [{"hostname": "lb.example"}, {"ip": "1.2.3.4"}]}}}),
                vec!["https://lb.example:443", "https://1.2.3.4:443", "https://[fd00::1]:443"],
            ),
        ] {
            assert_eq!(candidates(&service), expected);
        }
    }

    #[test]
    fn every_pod_that_stays_is_asked_or_nothing_is_proved() {
        let pod =
            |status: &str| json!({"metadata": {}, "status": {"conditions": [{"type": "Ready", "status": status}]}});
        let mut going = pod("False");
        going["metadata"]["deletionTimestamp"] = json!("2026-11-24T00:00:00Z");
        let mut evicted = pod("False");
        evicted["status"]["phase"] = json!("Failed");
        for (pods, expected) in [
            (vec![pod("True"), pod("True")], Ok(2)),
            (vec![pod("True"), going.clone(), evicted], Ok(1)),
            (vec![pod("True"), pod("False")], Err("1 of 2 pods of the release are ready")),
            (vec![json!({"metadata": {}})], Err("0 of 1 pods of the release are ready")),
            (vec![going], Err("no pod of the release is there")),
            (vec![], Err("no pod of the release is there")),
        ] {
            let found = to_ask(&pods).map(|pods| pods.len());
            assert_eq!(found, expected.map_err(str::to_owned), "{pods:?}");
        }
    }

    #[test]
    fn the_image_that_runs_is_that_of_the_one_container_and_the_time_of_a_rollout_begins_anew() {
        let deployment = json!({"spec": {"template": {"spec": {"containers": [
            {"name": "side", "image": "s"}, {"name": "app", "image": "r@sha256:1"},
        ]}}}});
        let seen = Seen { deployment: serde_json::from_value(deployment).unwrap(), ..Seen::default() };
        assert_eq!((runs(&seen, "app"), runs(&seen, "other"), runs(&Seen::default(), "app")), ("r@sha256:1", "", ""));
        let started = time::macros::datetime!(2026-11-24 12:00:00 UTC);
        let minute = Duration::from_secs(60);
        let limits =
            Limits { started, pull: minute, unschedulable: minute, ready: minute, deadline: Duration::from_secs(900) };
        let later = once_more(limits, started + Duration::from_secs(600));
        assert_eq!((later.started, later.deadline), (started, Duration::from_secs(1500)));
    }
}
