//! The licence of every component against the list of the configuration.

use spdx::{Expression, ParseMode};

use super::{Component, Document, cargo, python};
use crate::config::{Licences, Sbom};
use crate::context::Ctx;
use crate::engine::gate::{Gate, Inputs, action};
use crate::engine::session::Session;
use crate::tasks::scan::deps::line_of;
use crate::verdict::{Evidence, Finding, Outcome, Severity, Unproven, Work};

/// One gate, after those that list the components.
pub fn plan(ctx: &Ctx, sbom: &Sbom, wanted: &Licences, after: Vec<String>) -> Gate {
    let (wanted, lists) = (wanted.clone(), lists(ctx, sbom));
    Gate {
        id: "sbom/licences".to_owned(),
        after,
        unit: "packages",
        tool: ("spdx", "Cargo.lock".to_owned()),
        inputs: Inputs {
            files: lists.iter().map(|(_, lock)| lock.clone()).collect(),
            settings: format!("{wanted:?}"),
            ..Inputs::default()
        },
        again: "cargo xtask sbom".to_owned(),
        action: action(move |session| run(session, wanted.clone(), lists.clone())),
        ..Gate::default()
    }
}

/// The lists of components, each with the lock file that it was made of.
fn lists(ctx: &Ctx, sbom: &Sbom) -> Vec<(&'static str, String)> {
    let rust = sbom.cargo.iter().map(|manifest| (cargo::ARTIFACT, cargo::lock(ctx, manifest)));
    [(python::ARTIFACT, sbom.lock.clone())].into_iter().chain(rust).collect()
}

async fn run(session: Session, wanted: Licences, lists: Vec<(&'static str, String)>) -> Result<Outcome, Unproven> {
    let ctx = session.ctx();
    let (mut looked_at, mut findings) = (0, Vec::new());
    for (artifact, lock) in lists {
        let path = ctx.out.join(artifact);
        let document: Document = session
            .report(&path)
            .and_then(|text| serde_json::from_str(&text).map_err(|e| format!("`{artifact}` cannot be read: {e}")))
            .map_err(|why| session.not_run(why))?;
        let text = std::fs::read_to_string(ctx.root.join(&lock)).unwrap_or_default();
        looked_at += document.components.len();
        let found = document
            .components
            .iter()
            .filter_map(|component| Some(judge(&wanted, component)?.at(lock.clone(), line_of(&text, &component.name))));
        findings.extend(found);
    }
    Ok(Outcome::Ran(Evidence {
        work: Work::new(looked_at as u64, "packages"),
        declared: None,
        findings,
        artifacts: vec![],
        fix: "take another package, or have the licence allowed in pipeline.toml ([licences])".to_owned(),
    }))
}

/// A finding where the licence is not allowed, or where nobody can say what it is.
fn judge(wanted: &Licences, component: &Component) -> Option<Finding> {
    let package = format!("{} {}", component.name, component.version);
    let finding = |rule: &str, severity, message: String| Some(Finding::new(rule, severity, message));
    let clarified = wanted.clarify.get(&component.name).map(|expression| vec![expression.clone()]);
    let said = clarified.unwrap_or_else(|| expressions(component));
    if said.is_empty() {
        return finding(
            "no-licence",
            Severity::High,
            format!("{package} names no licence that can be read (licences.clarify)"),
        );
    }
    for text in said {
        let Ok(expression) = Expression::parse_mode(&text, ParseMode::LAX) else {
            let message = format!("{package} is under `{text}`, which is no SPDX expression (licences.clarify)");
            return finding("unknown-licence", Severity::High, message);
        };
        if !expression.evaluate(|requirement| wanted.allow.contains(&requirement.to_string())) {
            return finding("licence", Severity::High, format!("{package} is under {text}, which is not allowed"));
        }
    }
    None
}

/// What a component says of its licence: expressions and ids; names only where there is nothing better.
///
/// A list holds what applies together. Python's classifiers beside an id say the same in other words.
fn expressions(component: &Component) -> Vec<String> {
    let text = |value: Option<&serde_json::Value>| value.and_then(|value| value.as_str()).map(str::to_owned);
    let exact = component.licenses.iter().filter_map(|entry| {
        text(entry.get("expression")).or_else(|| text(entry.get("license").and_then(|license| license.get("id"))))
    });
    let exact: Vec<String> = exact.collect();
    if !exact.is_empty() {
        return exact;
    }
    component.licenses.iter().filter_map(|entry| text(entry.get("license").and_then(|l| l.get("name")))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_allowed_licences_pass() {
        let wanted = Licences {
            allow: ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned).to_vec(),
            clarify: [("odd".to_owned(), "MIT".to_owned())].into(),
        };
        let component = |name: &str, licenses: &str| Component {
            name: name.into(),
            version: "1".into(),
            licenses: serde_json::from_str(licenses).unwrap(),
            ..Component::default()
        };
        for (name, licenses, rule) in [
            ("a", r#"[{"license": {"id": "MIT"}}]"#, None),
            ("a", r#"[{"expression": "MIT OR GPL-3.0-only"}]"#, None),
            ("a", r#"[{"expression": "MIT AND GPL-3.0-only"}]"#, Some("licence")),
            ("a", r#"[{"license": {"id": "AGPL-3.0-only"}}]"#, Some("licence")),
            ("a", r#"[{"license": {"id": "MIT"}}, {"license": {"id": "GPL-2.0-only"}}]"#, Some("licence")),
            (
                "a",
                r#"[{"license": {"id": "MIT"}}, {"license": {"name": "License :: OSI Approved :: MIT License"}}]"#,
                None,
            ),
            ("a", r#"[{"license": {"name": "License :: OSI Approved :: BSD License"}}]"#, Some("unknown-licence")),
            ("a", r#"[{"expression": "Apache-2.0 WITH LLVM-exception"}]"#, None),
            ("a", "[]", Some("no-licence")),
            ("odd", "[]", None),
        ] {
            let found = judge(&wanted, &component(name, licenses));
            assert_eq!(found.as_ref().map(|found| found.rule.as_str()), rule, "{licenses}");
        }
    }
}
