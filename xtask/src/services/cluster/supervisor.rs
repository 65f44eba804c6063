//! What a running cluster consists of: one process of ours, which starts the parts, starts them again when they end,
//! and says in the state how they are. When it ends, all of them do.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use reqwest::Method;

use super::api::{Api, is_true};
use super::node::{self, Node};
use super::parts::{self, Part, Programs, SOCKET};
use super::place::{NODE, Place};
use super::state::{PartState, Phase, Process, State};
use super::{CONTEXT, image, pki};
use crate::disk::write_atomically;
use crate::tools::cancel::Urgency;
use crate::tools::command::Command;
use crate::tools::machine::Machine;
use crate::tools::proc::{Runner, Server};

/// How long one step of the start may take.
const STEP_WITHIN: Duration = Duration::from_secs(90);

/// How often the parts are looked at.
const BEAT: Duration = Duration::from_millis(200);

/// What a pod asks for to show that names are answered.
const ASKED: &str = "kubernetes.default.svc.cluster.local";

/// The longest wait before a part is started again.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A part that was started.
struct Running {
    part: Part,
    server: Option<Server>,
    restarts: u32,
    ended: Option<String>,
    again_at: Instant,
}

struct Supervisor<'a> {
    runner: &'a Runner,
    place: Place,
    node: Node,
    running: Vec<Running>,
    state: State,
}

/// Brings a cluster up in `folder` and keeps it until the run is cancelled.
pub async fn serve(machine: &Machine, folder: &Path, programs: &Programs, version: &str) -> Result<()> {
    let runner = runner(machine);
    std::fs::create_dir_all(folder.join("logs")).context("cannot make the cluster's folder")?;
    let setup = Runner { log: Some(folder.join("logs/setup.log")), ..runner.clone() };
    let node = Node::begin(&setup, &programs.pause, folder).await?;
    let slot = node::link(&setup, &node, folder).await?;
    let place = Place { folder: folder.to_owned(), slot, registry: free_port()? };
    let us = i32::try_from(std::process::id()).ok().and_then(Process::of).context("this process has no beginning")?;
    let state = State {
        slot,
        phase: Phase::Starting("the node".to_owned()),
        kubeconfig: place.at("kubeconfig"),
        context: CONTEXT.to_owned(),
        api: place.api(),
        registry: format!("localhost:{}", place.registry),
        version: version.to_owned(),
        supervisor: us,
        node: Some(node.holder.clone()),
        parts: vec![],
        made: vec![],
    };
    let mut supervisor = Supervisor { runner: &runner, place, node, running: vec![], state };
    let mut cancel = machine.cancel.clone();
    let why = tokio::select! {
        ended = supervisor.live(&setup, programs) => ended.err().map_or_else(String::new, |why| format!("{why:#}")),
        () = cancel.reached(Urgency::Gently) => "it was taken down".to_owned(),
    };
    supervisor.state.phase = Phase::Ended(why.clone());
    supervisor.state.write(folder)?;
    if cancel.is_cancelled() { Ok(()) } else { bail!("{why}") }
}

/// What starts the parts: they find programs, and no proxy stands between them.
fn runner(machine: &Machine) -> Runner {
    let quiet = machine.quiet();
    let env = quiet.env.iter().filter(|(name, _)| ["PATH", "HOME", "TMPDIR"].contains(&name.as_str()));
    let mut env: BTreeMap<String, String> = env.map(|(name, value)| (name.clone(), value.clone())).collect();
    // Where Debian has runc and iptables, which the PATH of a service may lack.
    env.entry("PATH".to_owned()).or_default().push_str(":/usr/sbin:/sbin");
    Runner { env, ..quiet }
}

fn free_port() -> Result<u16> {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?;
    Ok(socket.local_addr().context("no port is free")?.port())
}

impl Supervisor<'_> {
    /// The whole life: up, and then the watch. It only ends by what went wrong.
    async fn live(&mut self, setup: &Runner, programs: &Programs) -> Result<()> {
        self.say("the node")?;
        self.prepare(programs)?;
        node::furnish(setup, &self.node, &self.place).await?;
        for part in parts::parts(&self.place, programs) {
            // The others end by themselves where nobody answers them.
            let waits = ["kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "coredns"];
            if part.name == "containerd" {
                self.start(part)?;
                self.bring_image(setup).await?;
                continue;
            }
            if waits.contains(&part.name) && !self.running.iter().any(|other| waits.contains(&other.part.name)) {
                self.api_answers().await?;
            }
            self.start(part)?;
        }
        self.is_ready().await?;
        self.state.phase = Phase::Ready;
        self.tell()?;
        loop {
            tokio::time::sleep(BEAT).await;
            self.beat()?;
        }
    }

    /// Writes certificates, files and folders.
    fn prepare(&mut self, programs: &Programs) -> Result<()> {
        let place = &self.place;
        self.state.made = node::folders(place)?;
        node::make_cgroups(place)?;
        pki::write(place, &place.at("pki"), time::OffsetDateTime::now_utc())?;
        let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").context("cannot tell what is mounted")?;
        let snapshotter = parts::snapshotter(parts::filesystem(&mountinfo, &place.folder.display().to_string()));
        for folder in ["etcd", "containerd", "registry", "config/hosts", "tmp", "kubelet-plugins"] {
            std::fs::create_dir_all(place.at(folder)).with_context(|| format!("cannot make `{folder}`"))?;
        }
        for (file, text) in parts::files(place, programs, snapshotter) {
            write_atomically(&place.at(&file), text.as_bytes())?;
        }
        std::fs::write(place.at("pause.tar"), image::archive(&programs.pause)?).context("cannot write an image")?;
        let read = |name: &str| -> Result<String> {
            let pem = std::fs::read(place.at(&format!("pki/{name}"))).context("cannot read a certificate")?;
            Ok(base64::engine::general_purpose::STANDARD.encode(pem))
        };
        // Whoever uses it may copy it: it needs no other file.
        let server = parts::Server {
            address: place.api(),
            ca: ("certificate-authority-data", read("ca.crt")?),
            certificate: ("client-certificate-data", read("admin.crt")?),
            key: ("client-key-data", read("admin.key")?),
        };
        let text = format!("{:#}\n", parts::kubeconfig(CONTEXT, &server));
        write_private(&self.state.kubeconfig, &text)?;
        self.tell()
    }

    fn start(&mut self, part: Part) -> Result<()> {
        let server = Some(self.spawn(&part)?);
        self.say(part.name)?;
        self.running.push(Running { part, server, restarts: 0, ended: None, again_at: Instant::now() });
        self.tell()
    }

    fn spawn(&self, part: &Part) -> Result<Server> {
        let folder = &self.place.folder;
        let command = if part.inside {
            self.node.inside(&part.program, folder)
        } else {
            Command::new("setpriv", folder).args(["--pdeathsig", "KILL"]).arg(&part.program)
        };
        let log = Some(self.place.at(&format!("logs/{}.log", part.name)));
        Runner { log, ..self.runner.clone() }.serve(&command.args(part.args.iter().cloned()))
    }

    /// Starts again what has ended, and writes down what has changed.
    fn beat(&mut self) -> Result<()> {
        if self.node.has_ended() {
            bail!("the node has ended, and everything within");
        }
        for at in 0..self.running.len() {
            let one = &mut self.running[at];
            if let Some(exit) = one.server.as_mut().and_then(Server::ended) {
                one.ended = Some(exit.to_string());
                one.server = None;
                one.again_at = Instant::now() + Duration::from_secs(one.restarts.into()).min(LONGEST_PAUSE);
            } else if one.server.is_none() && one.again_at <= Instant::now() {
                let server = self.spawn(&self.running[at].part)?;
                let one = &mut self.running[at];
                one.restarts += 1;
                one.server = Some(server);
            }
        }
        self.tell()
    }

    fn say(&mut self, what: &str) -> Result<()> {
        self.state.phase = Phase::Starting(what.to_owned());
        self.tell()
    }

    /// Writes the state where it has changed.
    fn tell(&mut self) -> Result<()> {
        let parts = self.running.iter().map(|one| {
            let outer = one.server.as_ref().and_then(Server::pid);
            // The program within is a child of what entered the namespaces.
            let pid = if one.part.inside { outer.and_then(node::child_of) } else { outer };
            PartState {
                name: one.part.name.to_owned(),
                process: pid.and_then(Process::of),
                restarts: one.restarts,
                ended: one.ended.clone(),
            }
        });
        let parts: Vec<PartState> = parts.collect();
        let now = State { parts, ..self.state.clone() };
        if now != self.state || State::read(&self.place.folder).is_none_or(|written| written != now) {
            now.write(&self.place.folder)?;
            self.state = now;
        }
        Ok(())
    }

    /// Waits for one step; a part that ends meanwhile is the reason why it does not come.
    async fn until<F, P, T>(&mut self, what: &str, holds: F) -> Result<T>
    where
        F: Fn() -> P,
        P: Future<Output = Result<T, String>>,
    {
        self.say(what)?;
        let begun = Instant::now();
        loop {
            let why = match holds().await {
                Ok(seen) => return Ok(seen),
                Err(why) => why,
            };
            for one in &mut self.running {
                if let Some(exit) = one.server.as_mut().and_then(Server::ended) {
                    let name = one.part.name;
                    bail!("{name} ended with {exit} before {what}: look into `logs/{name}.log` of the cluster");
                }
            }
            if begun.elapsed() > STEP_WITHIN {
                bail!("{what} did not come within {} s: {why}", STEP_WITHIN.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            self.tell()?;
        }
    }

    /// Gives containerd the image that every pod begins with.
    async fn bring_image(&mut self, setup: &Runner) -> Result<()> {
        let import = self
            .node
            .inside("ctr", &self.place.folder)
            .args(["--address", SOCKET, "--namespace", "k8s.io", "images", "import"])
            .arg(self.place.at("pause.tar"))
            .timeout(Duration::from_secs(30));
        let socket = self.place.at("run/containerd.sock");
        self.until("containerd takes the image of pods", || async {
            if !socket.exists() {
                return Err("it does not listen yet".to_owned());
            }
            let ended = setup.run(&import).await.map_err(|error| format!("{error:#}"))?;
            if ended.is_success() { Ok(()) } else { Err(ended.failure()) }
        })
        .await
    }

    async fn api_answers(&mut self) -> Result<()> {
        let api = Api::new(&self.place)?;
        self.until("the API server answers", || api.get("/readyz")).await?;
        for (path, object) in parts::objects(&self.place) {
            let takes = || api.send(Method::POST, path, Some(&object));
            self.until("the API server takes what the DNS needs", takes).await?;
        }
        Ok(())
    }

    /// The node is ready, and a pod on it was answered a name.
    async fn is_ready(&mut self) -> Result<()> {
        let api = Api::new(&self.place)?;
        self.until("the node is ready", || node_ready(&api)).await?;
        let account = "/api/v1/namespaces/default/serviceaccounts/default";
        self.until("pods have an account", || api.get(account)).await?;
        let (pods, asks) = ("/api/v1/namespaces/default/pods", parts::asks_for(ASKED));
        // One that asks before the rules of kube-proxy are there is not answered; another one asks then.
        for _ in 0..5 {
            let pod = api.send(Method::POST, pods, Some(&asks)).await.map_err(anyhow::Error::msg)?;
            let path = format!("{pods}/{}", pod["metadata"]["name"].as_str().unwrap_or_default());
            let phase = self.until("a pod is answered a name", || phase_at_end(&api, &path)).await?;
            let _gone = api.send(Method::DELETE, &path, None).await;
            if phase == "Succeeded" {
                return Ok(());
            }
        }
        bail!("a pod of the cluster asked for `{ASKED}` and got no answer: look into `logs/coredns.log` of the cluster")
    }
}

/// How a pod ended, once it has.
async fn phase_at_end(api: &Api, pod: &str) -> Result<String, String> {
    let status = api.get(pod).await?["status"].take();
    match status["phase"].as_str() {
        Some(phase @ ("Succeeded" | "Failed")) => Ok(phase.to_owned()),
        _ => Err(status.to_string()),
    }
}

/// The node, if it is ready.
pub async fn node_ready(api: &Api) -> Result<serde_json::Value, String> {
    let node = api.get(&format!("/api/v1/nodes/{NODE}")).await?;
    if is_true(&node, "Ready") { Ok(node) } else { Err(format!("it is not ready: {}", node["status"]["conditions"])) }
}

/// Only its owner may read who the administrator is.
fn write_private(path: &Path, text: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    write_atomically(path, b"")?;
    let cannot = || format!("cannot write `{}`", path.display());
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).with_context(cannot)?;
    std::fs::write(path, text).with_context(cannot)
}
