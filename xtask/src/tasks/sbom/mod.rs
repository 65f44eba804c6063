//! `sbom`: what the backend and the pipeline are made of, under which licences, and how far behind.
//!
//! CycloneDX 1.6, validated against its schema, with the same bytes for the same inputs.

mod cargo;
mod licences;
mod outdated;
mod python;
pub mod validate;

use serde::Deserialize;

use super::scan::under_policy;
use super::{Subject, Task};
use crate::context::Ctx;
use crate::engine::gate::Gate;

/// Part of `ci`.
pub const TASK: Task = Task {
    name: "sbom",
    subjects: &[
        Subject::new("sbom", |config| config.sbom.is_some()),
        Subject::new("licences", |config| config.licences.is_some()),
    ],
    plan,
};

/// Python, Rust, licences, outdated packages.
pub fn plan(ctx: &Ctx) -> Vec<Gate> {
    let Some(sbom) = &ctx.config.sbom else { return vec![] };
    let made = [Some(python::plan(ctx, sbom)), cargo::plan(ctx, sbom)].into_iter().flatten().collect::<Vec<_>>();
    let before: Vec<String> = made.iter().map(|gate| gate.id.clone()).collect();
    let licences = ctx.config.licences.as_ref().map(|wanted| licences::plan(ctx, sbom, wanted, before));
    let gates = made.into_iter().chain(licences).chain([outdated::plan(ctx, sbom)]);
    gates.map(|gate| under_policy(ctx, gate)).collect()
}

/// As much of a CycloneDX document as is read here.
#[derive(Debug, Deserialize)]
pub struct Document {
    /// What it is made of.
    #[serde(default)]
    pub components: Vec<Component>,
}

/// `components[]`
#[derive(Debug, Default, Deserialize)]
pub struct Component {
    /// Its name.
    pub name: String,
    /// Its version.
    #[serde(default)]
    pub version: String,
    /// Its package URL, where it is a package.
    #[serde(default)]
    pub purl: String,
    /// As the format has them.
    #[serde(default)]
    pub licenses: Vec<serde_json::Value>,
}
