//! `container/sbom`: what is in the image, as CycloneDX, held against the lock that it was installed from.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{BUILD, image, trivy};
use crate::config::Container;
use crate::context::Ctx;
use crate::disk::write_atomically;
use crate::engine::gate::{Gate, Inputs, action};
use crate::engine::session::Session;
use crate::tasks::sbom::{Component, Document, validate};
use crate::tools::catalog::TRIVY;
use crate::tools::requirements;
use crate::verdict::{Evidence, Finding, Outcome, Severity, Unproven, Work};

/// The artifact, relative to the output folder.
pub const ARTIFACT: &str = "sbom/image.cdx.json";

/// The gate.
pub fn plan(ctx: &Ctx, container: &Container) -> Gate {
    let wanted = container.clone();
    Gate {
        id: "container/sbom".to_owned(),
        after: vec![BUILD.to_owned()],
        unit: "packages",
        tool: (TRIVY.name, String::new()),
        programs: vec![&TRIVY],
        inputs: Inputs {
            files: container.lock.iter().cloned().collect(),
            settings: format!("{:?} {:?}", container.lock, ctx.config.service.as_ref().map(|service| &service.python)),
            ..Inputs::default()
        },
        environments: vec![validate::spec(ctx)],
        steps: vec![trivy::step(ctx, "IMAGE.tar".as_ref(), &["--format", "cyclonedx"]), validate::step(ctx)],
        again: "cargo xtask container sbom".to_owned(),
        action: action(move |session| run(session, wanted.clone())),
        ..Gate::default()
    }
}

async fn run(session: Session, container: Container) -> Result<Outcome, Unproven> {
    let ctx = session.ctx();
    let (image, engine, _) = image::built(&session).await?;
    trivy::settle(ctx)?;
    let saved = image::saved(&session, &engine, &image).await?;
    let path = session.artifact(ARTIFACT)?;
    let step = trivy::step(ctx, &saved, &["--format", "cyclonedx"]).arg("--output").arg(&path);
    let ended = session.tool(&TRIVY, &step).await?;
    if !ended.is_success() {
        return Err(session.not_run(format!("trivy {}", ended.failure())).into());
    }
    let text = session.report(&path).map_err(|why| session.not_run(why))?;
    let whole: Value =
        serde_json::from_str(&text).map_err(|e| session.not_run(format!("the SBOM cannot be read: {e}")))?;
    if !whole["components"].is_array() || !whole["metadata"]["component"].is_object() {
        return Err(session.not_run("the SBOM names no image and no component").into());
    }
    let text = format!("{:#}\n", settled(whole, &image));
    write_atomically(&path, text.as_bytes())?;
    validate::check(&session, &text).await?;
    let document: Document =
        serde_json::from_str(&text).map_err(|e| session.not_run(format!("the SBOM cannot be read: {e}")))?;
    let packages: Vec<&Component> = document.components.iter().filter(|one| !one.purl.is_empty()).collect();
    let mut findings = Vec::new();
    if let Some(lock) = &container.lock {
        let python = ctx.config.service.as_ref().map_or(&ctx.config.python.tools, |service| &service.python);
        let pins = std::fs::read_to_string(ctx.root.join(lock))
            .map_err(|e| session.not_run(format!("the lock `{lock}` cannot be read: {e}")))?;
        findings = missing(&pins, python, &packages, lock);
    }
    Ok(Outcome::Ran(Evidence {
        work: Work::new(packages.len() as u64, "packages"),
        declared: None,
        findings,
        artifacts: vec![ARTIFACT.to_owned()],
        fix: "cargo xtask container sbom".to_owned(),
    }))
}

/// The same bytes for the same image: Trivy gives each document and each of its parts a number of their own, a time, and
/// the name of the file that it read.
fn settled(mut document: Value, image: &image::Image) -> Value {
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    let components = document["components"].as_array().cloned().unwrap_or_default();
    let is_random = |reference: &str| reference.len() == 36 && reference.matches('-').count() == 4;
    for part in components.iter().chain([&document["metadata"]["component"]]) {
        let reference = part["bom-ref"].as_str().unwrap_or_default();
        if is_random(reference) {
            let kind = part["type"].as_str().unwrap_or_default();
            let name = part["name"].as_str().unwrap_or_default();
            let version = part["version"].as_str().unwrap_or_default();
            names.insert(reference.to_owned(), format!("{kind}:{name}@{version}#{}", names.len()));
        }
    }
    let whole = document["metadata"]["component"]["bom-ref"].as_str().unwrap_or_default().to_owned();
    names.entry(whole).and_modify(|name| name.clone_from(&image.id));
    rename(&mut document, &names);
    document["metadata"]["component"]["name"] =
        Value::from(image.labels.get("org.opencontainers.image.title").map_or("image", String::as_str));
    document["metadata"]["component"]["version"] = Value::from(image.id.as_str());
    if let Some(metadata) = document["metadata"].as_object_mut() {
        match image.labels.get("org.opencontainers.image.created") {
            Some(created) => metadata.insert("timestamp".to_owned(), Value::from(created.as_str())),
            None => metadata.remove("timestamp"),
        };
    }
    if let Some(whole) = document.as_object_mut() {
        whole.remove("serialNumber");
        // The version that every other SBOM of ours has; nothing that Trivy writes is newer, and it is validated as such.
        whole.insert("specVersion".to_owned(), Value::from("1.6"));
        whole.insert("$schema".to_owned(), Value::from("http://cyclonedx.org/schema/bom-1.6.schema.json"));
    }
    document
}

fn rename(value: &mut Value, names: &BTreeMap<String, String>) {
    match value {
        Value::String(text) => {
            if let Some(name) = names.get(text) {
                text.clone_from(name);
            }
        }
        Value::Array(all) => all.iter_mut().for_each(|one| rename(one, names)),
        Value::Object(fields) => fields.values_mut().for_each(|one| rename(one, names)),
        _ => {}
    }
}

/// Packages that the lock pins for this Python and the image does not have in that version.
fn missing(lock: &str, python: &str, packages: &[&Component], path: &str) -> Vec<Finding> {
    let normal = |name: &str| name.to_ascii_lowercase().replace(['_', '.'], "-");
    let has = |name: &str, version: &str| {
        let is_it = |one: &&&Component| one.purl.starts_with("pkg:pypi/") && normal(&one.name) == normal(name);
        packages.iter().find(is_it).is_some_and(|one| one.version == version)
    };
    let mut findings = Vec::new();
    let mut seen = Vec::new();
    for (line, number) in lock.lines().zip(1u32..) {
        let Some((name, _)) = line.split_once("==").filter(|(name, _)| !name.starts_with([' ', '#'])) else { continue };
        let name = name.split('[').next().unwrap_or_default();
        let Some(version) = requirements::pinned(lock, name, python) else { continue };
        if !seen.contains(&name) && !has(name, &version) {
            let message = format!("{name} {version} is pinned, and the image does not have it");
            findings.push(Finding::new("not-in-image", Severity::High, message).at(path.to_owned(), number));
        }
        seen.push(name);
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pinned_has_to_be_there() {
        let lock = "a-b==1 \\\n    --hash=sha256:0\nold==1 ; python_full_version < '3.11' \\\nnew==1 \\\n";
        let part = |name: &str, version: &str| Component {
            name: name.into(),
            version: version.into(),
            purl: format!("pkg:pypi/{name}@{version}"),
            ..Component::default()
        };
        let found = |parts: &[Component]| -> Vec<String> {
            let parts: Vec<&Component> = parts.iter().collect();
            missing(lock, "3.12", &parts, "lock.txt").into_iter().map(|found| found.message).collect()
        };
        assert!(found(&[part("A_B", "1"), part("new", "1")]).is_empty());
        assert_eq!(found(&[part("a-b", "2"), part("new", "1")]), ["a-b 1 is pinned, and the image does not have it"]);
        assert_eq!(found(&[]).len(), 2);
    }
}
