//! The Rust workspace: every package of its lock file that the build for some platform uses.

use std::collections::BTreeMap;

use cargo_metadata::{Metadata, Package, PackageId};
use serde_json::{Value, json};

use super::validate;
use crate::config::Sbom;
use crate::context::Ctx;
use crate::disk::write_atomically;
use crate::engine::gate::{Gate, Inputs, action};
use crate::engine::session::Session;
use crate::tools::command::Command;
use crate::verdict::{Evidence, Outcome, Unproven, Work};

/// The artifact, relative to the output folder.
pub const ARTIFACT: &str = "sbom/rust.cdx.json";

/// One gate, where the configuration names a manifest.
pub fn plan(ctx: &Ctx, sbom: &Sbom) -> Option<Gate> {
    let manifest = sbom.cargo.clone()?;
    let step = Command::new("cargo", &ctx.root).args([
        "metadata",
        "--format-version",
        "1",
        "--locked",
        "--manifest-path",
        &manifest,
    ]);
    let steps = vec![step.clone(), validate::step(ctx)];
    let lock = lock(ctx, &manifest);
    Some(Gate {
        id: "sbom/rust".to_owned(),
        unit: "packages",
        tool: ("cargo", String::new()),
        // The manifests of all members count, wherever they lie.
        inputs: Inputs { files: vec![".".to_owned()], settings: format!("{sbom:?}"), ..Inputs::default() },
        environments: vec![validate::spec(ctx)],
        steps,
        again: "cargo xtask sbom".to_owned(),
        action: action(move |session| run(session, step.clone(), lock.clone())),
        ..Gate::default()
    })
}

/// The lock file beside a manifest.
pub fn lock(ctx: &Ctx, manifest: &str) -> String {
    let lock = ctx.root.join(manifest).with_file_name("Cargo.lock");
    ctx.relative(&lock).unwrap_or_else(|| "Cargo.lock".to_owned())
}

async fn run(session: Session, step: Command, lock: String) -> Result<Outcome, Unproven> {
    let ended = session.step(&step).await?;
    if !ended.is_success() {
        return Err(session.not_run(format!("cargo metadata {}", ended.failure())).into());
    }
    let metadata: Metadata = serde_json::from_str(&ended.stdout)
        .map_err(|e| session.not_run(format!("cargo's answer cannot be read: {e}")))?;
    let lock = std::fs::read_to_string(session.ctx().root.join(&lock))
        .map_err(|e| session.not_run(format!("`{lock}` cannot be read: {e}")))?;
    let lock: Lock = toml::from_str(&lock).map_err(|e| session.not_run(format!("the lock cannot be read: {e}")))?;
    let document = document(&metadata, &lock);
    let declared = lock.package.iter().filter(|package| package.source.is_some()).count();
    let count = document["components"].as_array().map_or(0, Vec::len);
    let text = format!("{document:#}\n");
    validate::check(&session, &text).await?;
    write_atomically(&session.artifact(ARTIFACT)?, text.as_bytes())?;
    Ok(Outcome::Ran(Evidence {
        work: Work::new(count as u64, "packages"),
        declared: Some(declared as u64),
        findings: vec![],
        artifacts: vec![ARTIFACT.to_owned()],
        fix: "cargo xtask sbom".to_owned(),
    }))
}

/// Cargo's lock file, for the hashes that `cargo metadata` leaves out.
#[derive(Debug, serde::Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Debug, serde::Deserialize)]
struct Locked {
    name: String,
    version: String,
    source: Option<String>,
    checksum: Option<String>,
}

fn purl(package: &Package) -> String {
    format!("pkg:cargo/{}@{}", package.name, package.version.to_string().replace('+', "%2B"))
}

/// CycloneDX 1.6, without serial number and time, so that the same lock file gives the same bytes.
fn document(metadata: &Metadata, lock: &Lock) -> Value {
    let packages: BTreeMap<&PackageId, &Package> = metadata.packages.iter().map(|p| (&p.id, p)).collect();
    let members = &metadata.workspace_members;
    let checksum = |package: &Package| {
        let version = package.version.to_string();
        let locked = lock.package.iter().find(|l| l.name == package.name.as_str() && l.version == version)?;
        locked.checksum.clone()
    };
    let component = |package: &Package| {
        let purl = purl(package);
        let mut component = json!({"type": "library", "bom-ref": purl, "purl": purl, "name": package.name.as_str(),
            "version": package.version.to_string()});
        if let Some(license) = &package.license {
            // Older manifests write `MIT/Apache-2.0`.
            component["licenses"] = json!([{"expression": license.replace('/', " OR ")}]);
        }
        if let Some(checksum) = checksum(package) {
            component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
        }
        component
    };
    let mut components: Vec<(String, Value)> =
        metadata.packages.iter().filter(|p| !members.contains(&p.id)).map(|p| (purl(p), component(p))).collect();
    components.sort_by(|a, b| a.0.cmp(&b.0));
    let mut dependencies: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for node in metadata.resolve.iter().flat_map(|resolve| &resolve.nodes) {
        let Some(package) = packages.get(&node.id) else { continue };
        let mut on: Vec<String> = node.dependencies.iter().filter_map(|id| packages.get(id)).map(|p| purl(p)).collect();
        on.sort();
        on.dedup();
        dependencies.insert(purl(package), on);
    }
    let roots: Vec<&Package> = members.iter().filter_map(|id| packages.get(id).copied()).collect();
    let mut top: Vec<String> = roots.iter().map(|package| purl(package)).collect();
    top.sort();
    let mut own: Vec<(String, Value)> = roots.iter().map(|package| (purl(package), component(package))).collect();
    own.sort_by(|a, b| a.0.cmp(&b.0));
    let inner: Vec<Value> = own.into_iter().map(|(_, component)| component).collect();
    dependencies.insert("workspace".to_owned(), top);
    let dependencies: Vec<Value> =
        dependencies.into_iter().map(|(package, on)| json!({"ref": package, "dependsOn": on})).collect();
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "application", "bom-ref": "workspace", "name": "workspace", "components": inner}},
        "components": components.into_iter().map(|(_, component)| component).collect::<Vec<_>>(),
        "dependencies": dependencies,
    })
}
