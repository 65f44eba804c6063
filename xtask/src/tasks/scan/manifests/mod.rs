//! Kubernetes manifests as they would be applied: rendered by Kustomize, held against Kubernetes' schemas, and
//! looked through for weaknesses by kube-score. Annotations that would quiet kube-score do not count.

mod lint;
mod render;
mod schema;

use crate::config::Manifests;
use crate::context::Ctx;
use crate::engine::gate::{Gate, Inputs};

/// The schema and the linter, each a gate.
pub fn plan(ctx: &Ctx) -> Vec<Gate> {
    let Some(manifests) = &ctx.config.manifests else { return vec![] };
    vec![schema::plan(ctx, manifests), lint::plan(ctx, manifests)]
}

const FIX: &str = "mend the manifest, then `cargo xtask scan config`";

fn inputs(manifests: &Manifests) -> Inputs {
    let files = [&manifests.overlays[..], &manifests.files, &manifests.inputs].concat();
    Inputs { files, settings: format!("{manifests:?}"), ..Inputs::default() }
}
