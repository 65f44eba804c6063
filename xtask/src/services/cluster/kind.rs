//! A cluster by `kind`: nodes in containers, where Docker and the image of a node can be had.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::tools::command::Command;
use crate::tools::containers;
use crate::tools::machine::Machine;
use crate::tools::proc::Runner;

/// The image of a node, in the version that our own parts have.
pub const NODE_IMAGE: &str = "kindest/node:v1.32.11";

/// How long getting the image, or a cluster, may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// What the machine has of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Had {
    /// `kind` is on PATH.
    pub kind: bool,
    /// A docker answers.
    pub docker: bool,
    /// The image of a node is there, or could be pulled.
    pub image: bool,
}

impl Had {
    /// Whether `kind` is taken; what is missing otherwise.
    pub fn choice(self) -> Result<(), &'static str> {
        match self {
            Self { kind: false, .. } => Err("`kind` is not on PATH"),
            Self { docker: false, .. } => Err("no docker answers"),
            Self { image: false, .. } => Err("the image of a node is not here and cannot be pulled"),
            _ => Ok(()),
        }
    }
}

/// Looks; the image is pulled only where the rest is there.
pub async fn look(machine: &Machine, runner: &Runner) -> Result<Had> {
    let mut had = Had { kind: machine.on_path("kind").is_some(), ..Had::default() };
    if !had.kind {
        return Ok(had);
    }
    let Ok(engine) = containers::find(machine, runner).await else { return Ok(had) };
    had.docker = engine.name == "docker";
    if had.docker {
        let inspect = engine.command(["image", "inspect", NODE_IMAGE]).timeout(PATIENCE);
        let pull = engine.command(["pull", NODE_IMAGE]).timeout(PATIENCE);
        had.image = runner.run(&inspect).await?.is_success() || runner.run(&pull).await?.is_success();
    }
    Ok(had)
}

/// The cluster's name for kind; the context in its kubeconfig is `kind-` and that.
pub fn name(name: &str) -> String {
    if name.is_empty() { "xtask-cluster".to_owned() } else { format!("xtask-cluster-{name}") }
}

/// Makes it, and waits until its node is ready.
pub fn create(folder: &Path, cluster: &str) -> Command {
    Command::new("kind", folder)
        .args(["create", "cluster", "--name", &name(cluster), "--image", NODE_IMAGE, "--wait", "180s", "--kubeconfig"])
        .arg(folder.join("kubeconfig"))
        .timeout(PATIENCE)
}

/// Removes it.
pub fn delete(folder: &Path, cluster: &str) -> Command {
    Command::new("kind", folder)
        .args(["delete", "cluster", "--name", &name(cluster), "--kubeconfig"])
        .arg(folder.join("kubeconfig"))
        .timeout(PATIENCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_is_taken_only_where_all_of_it_is_there() {
        let had = |kind, docker, image| Had { kind, docker, image };
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
    fn a_cluster_of_kind_has_a_name_and_a_kubeconfig_of_its_own() {
        let folder = Path::new("/c");
        for (command, expected) in [
            (
                create(folder, ""),
                format!(
                    "kind create cluster --name xtask-cluster --image {NODE_IMAGE} --wait 180s --kubeconfig /c/kubeconfig"
                ),
            ),
            (
                delete(folder, "two"),
                "kind delete cluster --name xtask-cluster-two --kubeconfig /c/kubeconfig".to_owned(),
            ),
        ] {
            assert_eq!(command.to_string(), expected);
        }
    }
}
