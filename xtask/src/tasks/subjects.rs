//! `subjects`: what lies in the repository and could be checked, but is not declared in the configuration.
//!
//! Otherwise a Dockerfile or a folder of documents that nobody declared would be green by silence.

use std::path::Path;

use super::{ALL, Subject, Task};
use crate::context::Ctx;
use crate::engine::gate::{Gate, Inputs, action};
use crate::engine::session::Session;
use crate::verdict::{Evidence, Finding, Outcome, Severity, Unproven, Work};

/// Part of `ci`.
pub const TASK: Task = Task { name: "subjects", subjects: &[], plan };

/// One gate, always.
fn plan(ctx: &Ctx) -> Vec<Gate> {
    let declared: Vec<String> = super::ALL
        .iter()
        .flat_map(|task| task.subjects)
        .filter(|subject| (subject.declared)(&ctx.config))
        .map(|subject| format!("{} {:?}", subject.table, (subject.listed)(&ctx.config)))
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
    let marked = |subject: &&Subject| !subject.markers.is_empty() || !subject.within.is_empty();
    let subjects = ALL.iter().flat_map(|task| task.subjects).filter(marked);
    let (mut looked_for, mut findings) = (0, Vec::new());
    for subject in subjects {
        looked_for += 1;
        let lying = |markers: &'static [&'static str]| {
            snapshot.paths().filter(|path| is_marked(path, markers) && ctx.root.join(path).exists())
        };
        if !(subject.declared)(&ctx.config) {
            findings.extend(lying(subject.markers).next().map(|path| undeclared(subject.table, path)));
        } else if let Some(listed) = (subject.listed)(&ctx.config) {
            let covered = |path: &&str| listed.iter().any(|entry| Path::new(path).starts_with(entry));
            let unlisted = lying(subject.markers).chain(lying(subject.within)).filter(|path| !covered(path));
            findings.extend(unlisted.map(|path| not_listed(subject.table, path)));
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

fn not_listed(table: &str, path: &str) -> Finding {
    let message = format!("no gate checks this: it is not among the files of [{table}] in pipeline.toml");
    Finding::new("not-listed", Severity::Medium, message).at(path.to_owned(), None)
}

/// Fixtures of tests are no subjects of the project.
fn is_marked(path: &str, markers: &[&str]) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let fits = |marker: &&str| match (marker.strip_prefix('*'), marker.strip_suffix('*')) {
        (Some(ending), _) => name.ends_with(ending),
        (_, Some(start)) => name.starts_with(start),
        _ if marker.ends_with('/') => path.starts_with(*marker),
        _ => name == *marker,
    };
    markers.iter().any(fits) && !path.split('/').any(|part| part == "fixtures")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_a_name_an_ending_a_start_or_a_folder() {
        let markers = ["Dockerfile", "Dockerfile.*", "*.sh", ".github/workflows/"];
        for (path, marked) in [
            ("backend/Dockerfile", true),
            ("Dockerfile.dev", true),
            ("scripts/a.sh", true),
            (".github/workflows/ci.yml", true),
            ("tests/fixtures/Dockerfile", false),
            ("docs/Dockerfiles", false),
            ("a/.github/workflows/ci.yml", false),
        ] {
            assert_eq!(is_marked(path, &markers), marked, "{path}");
        }
    }
}
