//! `subjects`: what lies in the repository and could be checked, but is not declared in the configuration.
//!
//! Otherwise a Dockerfile or a folder of documents that nobody declared would be green by silence.

use super::{ALL, Task};
use crate::context::Ctx;
use crate::engine::gate::{Gate, Inputs, action};
use crate::engine::session::Session;
use crate::verdict::{Evidence, Finding, Outcome, Severity, Unproven, Work};

/// Part of `ci`.
pub const TASK: Task = Task { name: "subjects", subjects: &[], plan };

/// One gate, always.
fn plan(ctx: &Ctx) -> Vec<Gate> {
    let declared: Vec<&str> = super::ALL
        .iter()
        .flat_map(|task| task.subjects)
        .filter(|subject| (subject.declared)(&ctx.config))
        .map(|subject| subject.table)
        .collect();
    vec![Gate {
        id: "subjects".to_owned(),
        unit: "subjects",
        tool: ("git", String::new()),
        inputs: Inputs { files: vec![".".to_owned()], settings: declared.join(" "), ..Inputs::default() },
        again: "cargo xtask ci --only subjects".to_owned(),
        action: action(look),
        ..Gate::default()
    }]
}

async fn look(session: Session) -> Result<Outcome, Unproven> {
    let ctx = session.ctx();
    let snapshot = session.machine.snapshot().await?;
    let subjects = ALL.iter().flat_map(|task| task.subjects).filter(|subject| !subject.markers.is_empty());
    let (mut looked_for, mut findings) = (0, Vec::new());
    for subject in subjects {
        looked_for += 1;
        if !(subject.declared)(&ctx.config) {
            let lies = snapshot.paths().find(|path| is_marked(path, subject.markers) && ctx.root.join(path).exists());
            findings.extend(lies.map(|path| undeclared(subject.table, path)));
        }
    }
    Ok(Outcome::Ran(Evidence {
        work: Work::new(looked_for, "subjects"),
        declared: None,
        findings,
        artifacts: vec![],
        fix: "declare the subject in pipeline.toml, or remove it".to_owned(),
    }))
}

fn undeclared(table: &str, path: &str) -> Finding {
    let message = format!("no gate checks this: pipeline.toml has no table [{table}]");
    Finding::new("undeclared-subject", Severity::Medium, message).at(path.to_owned(), None)
}

/// Fixtures of tests are no subjects of the project.
fn is_marked(path: &str, markers: &[&str]) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    markers.contains(&name) && !path.split('/').any(|part| part == "fixtures")
}
