//! What a running cluster consists of: one process of ours, which starts the parts, starts them again when they end,
//! and says in the state how they are. When it ends, all of them do.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use reqwest::Method;

use super::api::Api;
use super::node::{self, Node};
use super::parts::{self, CONTAINERD, Part, Programs, SOCKET};
use super::place::Place;
use super::state::{PartState, Phase, Process, State};
use super::{CONTEXT, files, image, objects, pki, ready};
use crate::disk::write_atomically;
use crate::tools::cancel::Urgency;
use crate::tools::command::Command;
use crate::tools::machine::Machine;
use crate::tools::proc::{Runner, Server};

/// How often the parts are looked at.
const BEAT: Duration = Duration::from_millis(200);

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
        supervisor: Some(us),
        kind: None,
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

/// A port of loopback that nobody uses now.
pub fn free_port() -> Result<u16> {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?;
    Ok(socket.local_addr().context("no port is free")?.port())
}

impl Supervisor<'_> {
    /// The whole life: up, and then the watch. It only ends by what went wrong.
    async fn live(&mut self, setup: &Runner, programs: &Programs) -> Result<()> {
        self.say("the node")?;
        self.prepare(programs)?;
        node::furnish(setup, &self.node, &self.place).await?;
        let mut api_answers = false;
        for part in parts::parts(&self.place, programs) {
            if part.asks_api && !api_answers {
                self.bring_objects().await?;
                api_answers = true;
            }
            let runs_containers = part.name == CONTAINERD;
            self.start(part)?;
            if runs_containers {
                self.bring_image(setup).await?;
            }
        }
        let api = Api::new(&self.state.kubeconfig)?;
        ready::is_shown(&api, &mut |what| self.still_whole(what)).await?;
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
        let snapshotter = files::snapshotter(files::filesystem(&mountinfo, &place.folder.display().to_string()));
        for folder in ["etcd", "containerd", "registry", "config/hosts", "tmp", "kubelet-plugins"] {
            std::fs::create_dir_all(place.at(folder)).with_context(|| format!("cannot make `{folder}`"))?;
        }
        for (file, text) in files::files(place, programs, snapshotter) {
            write_atomically(&place.at(&file), text.as_bytes())?;
        }
        std::fs::write(place.at("pause.tar"), image::archive(&programs.pause)?).context("cannot write an image")?;
        let read = |name: &str| -> Result<String> {
            let pem = std::fs::read(place.at(&format!("pki/{name}"))).context("cannot read a certificate")?;
            Ok(base64::engine::general_purpose::STANDARD.encode(pem))
        };
        // Whoever uses it may copy it: it needs no other file.
        let server = files::Server {
            address: place.api(),
            ca: ("certificate-authority-data", read("ca.crt")?),
            certificate: ("client-certificate-data", read("admin.crt")?),
            key: ("client-key-data", read("admin.key")?),
        };
        let text = format!("{:#}\n", files::kubeconfig(CONTEXT, &server));
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

    /// While something is waited for: a part that ends meanwhile is the reason why it does not come.
    fn still_whole(&mut self, what: &str) -> Result<()> {
        for one in &mut self.running {
            if let Some(exit) = one.server.as_mut().and_then(Server::ended) {
                let name = one.part.name;
                bail!("{name} ended with {exit} before this: {what}; look into `logs/{name}.log` of the cluster");
            }
        }
        self.say(what)
    }

    /// Waits for one step.
    async fn until<T, P>(&mut self, what: &str, holds: impl Fn() -> P) -> Result<T>
    where
        P: Future<Output = Result<T, String>>,
    {
        ready::until(what, &mut |what| self.still_whole(what), holds).await
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

    /// Tells the API server what the DNS needs, once it answers.
    async fn bring_objects(&mut self) -> Result<()> {
        let api = Api::new(&self.state.kubeconfig)?;
        self.until("the API server answers", || api.get("/readyz")).await?;
        for (path, object) in objects::of_dns(&self.place) {
            let takes = || api.send(Method::POST, path, Some(&object));
            self.until("the API server takes what the DNS needs", takes).await?;
        }
        Ok(())
    }
}

/// Only its owner may read who the administrator is.
fn write_private(path: &Path, text: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    write_atomically(path, b"")?;
    let cannot = || format!("cannot write `{}`", path.display());
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).with_context(cannot)?;
    std::fs::write(path, text).with_context(cannot)
}
