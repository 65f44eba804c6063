//! Kubernetes manifests as they would be applied: rendered by Kustomize, held against Kubernetes' schemas and against
//! Pod Security "restricted", and looked through for weaknesses by kube-score. Annotations that would quiet kube-score
//! do not count.

mod lint;
mod pod_security;
mod pods;
mod render;
mod schema;

use crate::config::Manifests;
use crate::context::Ctx;
use crate::engine::gate::{Gate, Inputs};
use crate::tools::catalog::{KUSTOMIZE, Program};
use crate::tools::command::Command;

/// The schema, the standard and the linter, each a gate.
pub fn plan(ctx: &Ctx) -> Vec<Gate> {
    let Some(manifests) = &ctx.config.manifests else { return vec![] };
    vec![schema::plan(ctx, manifests), pod_security::plan(ctx, manifests), lint::plan(ctx, manifests)]
}

const FIX: &str = "mend the manifest, then `cargo xtask scan config`";

/// A gate that renders every overlay and then runs a step of a program, once a stream, or looks by itself; id, unit and
/// action are its own.
fn rendering(ctx: &Ctx, manifests: &Manifests, then: Option<(&'static Program, Command)>) -> Gate {
    let files = [&manifests.overlays[..], &manifests.files, &manifests.inputs].concat();
    let overlays = manifests.overlays.iter().map(|overlay| render::step(ctx, overlay));
    let (program, step) = then.unzip();
    Gate {
        programs: program.into_iter().chain([&KUSTOMIZE]).collect(),
        inputs: Inputs { files, settings: format!("{manifests:?}"), ..Inputs::default() },
        steps: overlays.chain(step).collect(),
        again: "cargo xtask scan config".to_owned(),
        ..Gate::default()
    }
}
