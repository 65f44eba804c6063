//! Whether what runs does what it is for: every new pod and the Service are asked, and where the environment says so the
//! Service is put under load. A verification that cannot run is tried again, and is no failure (R40).

use std::time::{Duration, Instant};

use serde_json::Value;
use time::OffsetDateTime;

use super::transaction::{Fate, Transaction, decides_nothing};
use crate::config::VerifyAt;
use crate::release::manifests::{TEMPLATE, Track};
use crate::release::rollout::{Limits, State, Target, assess};
use crate::release::watch;
use crate::tasks::{perf, smoke};
use crate::tools::cancel::Urgency;
use crate::tools::kube::{Forward, Kube, Trouble};
use crate::verdict::{NotRun, Unproven};

/// How long to wait before a verification that did not run is tried again.
const AGAIN: Duration = Duration::from_secs(3);

/// How long this machine may take to reach an address of the cluster.
const REACHED: Duration = Duration::from_millis(1500);

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
    /// Whether the Service leads to it, so that users' way is asked too.
    pub serves: bool,
    /// Whether it is put under load.
    pub load: bool,
}

impl Transaction {
    /// Runs `smoke`, then the load; `suffix` tells its gates apart from those before.
    pub async fn verify(&mut self, subject: &Subject<'_>, suffix: &str) -> Fate {
        let started = self.kube.now();
        let fate = self.patiently(subject, suffix, Part::Smoke).await;
        if fate != Fate::Good || !subject.load || self.release.load.is_empty() {
            return self.still_there(subject, started, fate).await;
        }
        let fate = self.patiently(subject, suffix, Part::Load).await;
        self.still_there(subject, started, fate).await
    }

    /// Who answered well and ended since is not verified: what crashes under its first requests does so now.
    async fn still_there(&self, subject: &Subject<'_>, started: OffsetDateTime, fate: Fate) -> Fate {
        if fate != Fate::Good {
            return fate;
        }
        let target = Target { deployment: subject.workload.to_owned(), template: subject.template.to_owned() };
        match watch::once(&self.kube, &self.release.namespace, &target).await {
            Err(trouble) => trouble.into(),
            Ok(seen) => match assess(&target, &seen, self.kube.now(), &Limits::of(&self.release, started)) {
                State::Failed(cause) => Fate::Failed(format!("it was verified, and then: {cause}")),
                State::Complete(_) | State::Progressing(_) => fate,
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
        Fate::of(&report, self.stages.is_stopped())
    }

    /// Every new pod that serves by an address of its own, and the Service where it leads to them.
    async fn addresses(&self, subject: &Subject<'_>) -> Result<Vec<Address>, Unproven> {
        let namespace = &self.release.namespace;
        let label = TEMPLATE.replace('/', "%2F");
        let path = format!("/api/v1/namespaces/{namespace}/pods?labelSelector={label}%3D{}", subject.template);
        let pods = self.kube.list(&path).await?;
        let pods: Vec<(&str, String)> =
            pods.items.iter().filter(|pod| is_ready(pod)).filter_map(|pod| self.port(pod)).collect();
        if pods.is_empty() {
            return Err(NotRun::new("no pod of the release is ready", self.again.clone()).into());
        }
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
        let name = if subject.serves { self.release.service.clone() } else { self.preview() };
        service(&self.kube, &self.release.namespace, &name).await
    }

    /// The Service that leads to a Deployment which does not serve yet.
    pub fn preview(&self) -> String {
        format!("{}-{}", self.release.service, Track::of(&self.entry.track).name())
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

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    let ready = conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"));
    ready && pod["metadata"].get("deletionTimestamp").is_none()
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

impl From<Trouble> for Fate {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Unreachable(_) => Self::Lost(trouble.to_string()),
            Trouble::Refused { .. } => Self::Failed(trouble.to_string()),
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
    fn only_a_pod_that_serves_and_stays_is_asked() {
        let pod =
            |status: &str| json!({"metadata": {}, "status": {"conditions": [{"type": "Ready", "status": status}]}});
        assert!(is_ready(&pod("True")) && !is_ready(&pod("False")) && !is_ready(&json!({"metadata": {}})));
        let mut going = pod("True");
        going["metadata"]["deletionTimestamp"] = json!("2026-11-24T00:00:00Z");
        assert!(!is_ready(&going));
    }
}
