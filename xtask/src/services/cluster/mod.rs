//! A real Kubernetes of one node for tests: up, down, and how it is.
//!
//! | file | what it owns |
//! | --- | --- |
//! | `place` | where it is: names and addresses by its number |
//! | `parts`, `files`, `pki`, `image`, `objects` | what it consists of: arguments, settings, certificates, the image of pods, its first objects |
//! | `node` | namespaces, links, mounts and cgroups, and their end |
//! | `supervisor` | the process that owns all parts |
//! | `state` | what it says of itself |
//! | `api`, `ready` | asking it, and when it counts as ready |
//! | `start`, `end` | bringing it up from outside, and taking it down |
//! | `kind` | the same by `kind` |

use std::path::{Path, PathBuf};

use crate::context::Ctx;
use crate::tools::machine::Machine;
use crate::tools::proc::Runner;
use crate::verdict::Unproven;

pub mod api;
pub mod end;
pub mod files;
pub mod image;
pub mod kind;
pub mod node;
pub mod objects;
pub mod parts;
pub mod pki;
pub mod place;
pub mod ready;
pub mod start;
pub mod state;
pub mod supervisor;

pub use place::{NODE, PAUSE_IMAGE, folder};
pub use state::{Phase, State};

/// The context in the cluster's kubeconfig.
pub const CONTEXT: &str = "xtask-cluster";

/// A cluster that is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Its folder.
    pub folder: PathBuf,
    /// For `kubectl --kubeconfig`; only its owner may read it.
    pub kubeconfig: PathBuf,
    /// The context in it.
    pub context: String,
    /// Where the API server answers.
    pub api: String,
    /// What the names of images in its registry begin with, on this machine and within: `localhost:PORT`. Plain HTTP.
    pub registry: String,
    /// The version of Kubernetes.
    pub version: String,
}

impl Cluster {
    /// The cluster of this checkout, if it is up and whole. No question is sent to it.
    pub fn running(ctx: &Ctx) -> Option<Self> {
        Self::at(&folder(&ctx.store, ""))
    }

    /// The cluster in `folder`, if it is up and whole.
    pub fn at(folder: &Path) -> Option<Self> {
        let state = State::read(folder)?;
        (state.phase == Phase::Ready && state.troubles().is_empty()).then(|| Self::of(folder, state))
    }

    fn of(folder: &Path, state: State) -> Self {
        let State { kubeconfig, context, api, registry, version, .. } = state;
        Self { folder: folder.to_owned(), kubeconfig, context, api, registry, version }
    }

    /// The cluster of this checkout, brought up if it is not up.
    pub async fn ensure(machine: &Machine, runner: &Runner) -> Result<Self, Unproven> {
        start::up(machine, runner, "", &|_| {}).await
    }
}
