//! A cluster by `kind`: a node in a container, where Docker and the image of a node can be had. Its registry is a
//! container beside it, which the node asks by the name that images have on this machine.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::state::{Phase, State};
use super::{api::Api, image, ready, supervisor};
use crate::tools::catalog::PAUSE;
use crate::tools::command::Command;
use crate::tools::containers::{self, Engine};
use crate::tools::machine::Machine;
use crate::tools::proc::Runner;
use crate::tools::program;
use crate::verdict::{NotRun, Unproven};

/// The image of a node, of the release of kind that came with it, in the minor version that our own parts have.
pub const NODE_IMAGE: &str =
    "kindest/node:v1.32.2@sha256:f226345927d7e348497136874b6d207e0b32cc52154ad8323129352923a3142f";

/// The version of Kubernetes in it.
const VERSION: &str = "v1.32.2";

/// The image of the registry.
const REGISTRY_IMAGE: &str = "registry:2.8.3";

/// The network that kind makes for its nodes.
const NETWORK: &str = "kind";

/// How long getting an image, or a cluster, may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// What the machine has of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Had {
    /// `kind` is on PATH.
    pub kind: bool,
    /// A docker answers.
    pub docker: bool,
    /// The images of node and registry are there, or could be pulled.
    pub images: bool,
}

impl Had {
    /// Whether `kind` is taken; what is missing otherwise.
    pub fn choice(self) -> Result<(), &'static str> {
        match self {
            Self { kind: false, .. } => Err("`kind` is not on PATH"),
            Self { docker: false, .. } => Err("no docker answers"),
            Self { images: false, .. } => Err("the image of a node is not here and cannot be pulled"),
            _ => Ok(()),
        }
    }
}

/// Looks; images are pulled only where the rest is there. The engine is that of a cluster by kind.
pub async fn look(machine: &Machine, runner: &Runner) -> Result<(Had, Option<Engine>)> {
    let mut had = Had { kind: machine.on_path("kind").is_some(), ..Had::default() };
    if !had.kind {
        return Ok((had, None));
    }
    let Ok(engine) = containers::find(machine, runner).await else { return Ok((had, None)) };
    had.docker = engine.name == "docker";
    had.images = had.docker;
    for image in [NODE_IMAGE, REGISTRY_IMAGE].into_iter().filter(|_| had.docker) {
        let inspect = engine.command(["image", "inspect", image]).timeout(PATIENCE);
        let pull = engine.command(["pull", image]).timeout(PATIENCE);
        had.images &= runner.run(&inspect).await?.is_success() || runner.run(&pull).await?.is_success();
    }
    Ok((had, Some(engine)))
}

/// The cluster's name for kind.
pub fn name(name: &str) -> String {
    if name.is_empty() { "xtask-cluster".to_owned() } else { format!("xtask-cluster-{name}") }
}

/// The container of its registry.
fn registry(kind: &str) -> String {
    format!("{kind}-registry")
}

/// The commands that make it, with `engine` building those of docker.
fn creates(folder: &Path, kind: &str, port: u16, engine: &dyn Fn(&[&str]) -> Command) -> Vec<Command> {
    let with = |args: &[&str]| Command::new("kind", folder).args(args.iter().copied()).timeout(PATIENCE);
    let (registry, node) = (registry(kind), format!("{kind}-control-plane"));
    let published = format!("127.0.0.1:{port}:5000");
    let hosts = format!("/etc/containerd/certs.d/localhost:{port}");
    let named = format!("[host.\"http://{registry}:5000\"]\n");
    vec![
        with(&["create", "cluster", "--name", kind, "--image", NODE_IMAGE, "--wait", "180s", "--kubeconfig"])
            .arg(folder.join("kubeconfig")),
        with(&["load", "image-archive", "--name", kind]).arg(folder.join("pause.tar")),
        engine(&["run", "--detach", "--name", &registry, "--publish", &published, "--network", NETWORK]).args([
            "--env",
            "REGISTRY_STORAGE_DELETE_ENABLED=true",
            REGISTRY_IMAGE,
        ]),
        engine(&["exec", &node, "mkdir", "-p", &hosts]),
        engine(&["exec", "--interactive", &node, "cp", "/dev/stdin", &format!("{hosts}/hosts.toml")]).stdin(named),
    ]
}

/// The commands that remove it.
fn deletes(folder: &Path, kind: &str, engine: &dyn Fn(&[&str]) -> Command) -> Vec<Command> {
    vec![
        engine(&["rm", "--force", "--volumes", &registry(kind)]),
        Command::new("kind", folder)
            .args(["delete", "cluster", "--name", kind, "--kubeconfig"])
            .arg(folder.join("kubeconfig")),
    ]
}

/// Brings it up in `folder`, which is empty.
pub async fn up(
    machine: &Machine,
    runner: &Runner,
    engine: &Engine,
    (folder, name): (&Path, &str),
    say: &(dyn Fn(&str) + Send + Sync),
) -> Result<(), Unproven> {
    let pause = program::ensure(machine, runner, &PAUSE).await?;
    std::fs::write(folder.join("pause.tar"), image::archive(&pause.path)?).context("cannot write an image")?;
    let port = supervisor::free_port()?;
    let mut state = State {
        slot: 0,
        phase: Phase::Starting("kind".to_owned()),
        kubeconfig: folder.join("kubeconfig"),
        context: format!("kind-{name}"),
        api: String::new(),
        registry: format!("localhost:{port}"),
        version: VERSION.to_owned(),
        supervisor: None,
        kind: Some(name.to_owned()),
        node: None,
        parts: vec![],
        made: vec![],
    };
    // Before anything is there: what is stopped in between is found and removed.
    state.write(folder)?;
    let docker = |args: &[&str]| engine.command(args.iter().copied()).timeout(PATIENCE);
    for command in creates(folder, name, port, &docker) {
        say(&command.to_string());
        let ended = runner.run(&command).await?;
        if !ended.is_success() {
            let reason = format!("`{command}` ended with {}", ended.failure());
            return Err(NotRun::new(reason, "look into the gate's log").into());
        }
    }
    let api = Api::new(&state.kubeconfig)?;
    let mut between = |what: &str| {
        say(what);
        Ok(())
    };
    ready::is_shown(&api, &mut between)
        .await
        .map_err(|why| NotRun::new(format!("{why:#}"), "look into the gate's log"))?;
    (state.phase, state.api) = (Phase::Ready, api.base().to_owned());
    Ok(state.write(folder)?)
}

/// Takes it down, and tells what could not be removed.
pub async fn down(machine: &Machine, runner: &Runner, folder: &Path, kind: &str) -> Result<Vec<String>> {
    let Ok(engine) = containers::find(machine, runner).await else {
        return Ok(vec![format!("kind's cluster `{kind}` cannot be removed: no docker answers")]);
    };
    let docker = |args: &[&str]| engine.command(args.iter().copied()).timeout(PATIENCE);
    let mut left = Vec::new();
    for command in deletes(folder, kind, &docker) {
        let ended = runner.run(&command).await?;
        if !ended.is_success() {
            left.push(format!("`{command}` ended with {}", ended.failure()));
        }
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_is_taken_only_where_all_of_it_is_there() {
        let had = |kind, docker, images| Had { kind, docker, images };
        for (had, expected) in [
            (had(true, true, true), Ok(())),
            (had(false, true, true), Err("`kind` is not on PATH")),
            (had(true, false, false), Err("no docker answers")),
            (had(true, true, false), Err("the image of a node is not here and cannot be pulled")),
        ] {
            assert_eq!(had.choice(), expected, "{had:?}");
        }
    }

    #[test]
    fn a_cluster_of_kind_has_names_and_a_kubeconfig_of_its_own() {
        let folder = Path::new("/c");
        let docker = |args: &[&str]| Command::new("docker", folder).args(args.iter().copied());
        let kind = name("two");
        let made: Vec<String> = creates(folder, &kind, 5001, &docker).iter().map(ToString::to_string).collect();
        for expected in [
            format!(
                "kind create cluster --name xtask-cluster-two --image {NODE_IMAGE} --wait 180s --kubeconfig /c/kubeconfig"
            ),
            "kind load image-archive --name xtask-cluster-two /c/pause.tar".to_owned(),
            "docker exec xtask-cluster-two-control-plane mkdir -p /etc/containerd/certs.d/localhost:5001".to_owned(),
        ] {
            assert!(made.contains(&expected), "{expected} is not in {made:#?}");
        }
        assert!(made[2].contains("--publish 127.0.0.1:5001:5000"), "{}", made[2]);
        let removed: Vec<String> = deletes(folder, &kind, &docker).iter().map(ToString::to_string).collect();
        assert_eq!(
            removed,
            [
                "docker rm --force --volumes xtask-cluster-two-registry",
                "kind delete cluster --name xtask-cluster-two --kubeconfig /c/kubeconfig"
            ]
        );
    }
}
