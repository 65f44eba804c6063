//! actionlint: mistakes in workflows, and shellcheck on the scripts in them. `actionlint.yaml` of the tree does
//! not count.

use serde::Deserialize;

use super::workflows::is_workflow;
use super::{files, own_config, parse, place, ran, scratch, shell, write_own_config};
use crate::context::Ctx;
use crate::engine::gate::{Gate, Inputs, action};
use crate::engine::session::Session;
use crate::tools::catalog::{ACTIONLINT, SHELLCHECK};
use crate::tools::command::Command;
use crate::tools::proc::Exit;
use crate::verdict::{Finding, Outcome, Severity, Unproven};

const SETTINGS: &str = "actionlint.yaml";

#[derive(Debug, Deserialize)]
struct Mistake {
    message: String,
    filepath: String,
    line: u32,
    kind: String,
}

/// One gate.
pub fn plan(ctx: &Ctx) -> Vec<Gate> {
    let Some(workflows) = &ctx.config.workflows else { return vec![] };
    let folder = workflows.directory.clone();
    let step = step(ctx);
    vec![Gate {
        id: "scan/actionlint".to_owned(),
        unit: "workflows",
        programs: vec![&ACTIONLINT, &SHELLCHECK],
        inputs: Inputs { files: vec![folder.clone()], settings: folder.clone(), ..Inputs::default() },
        steps: vec![step.clone()],
        again: "cargo xtask scan config".to_owned(),
        action: action(move |session| run(session, folder.clone(), step.clone())),
        ..Gate::default()
    }]
}

/// Without the files, which only the working tree knows.
fn step(ctx: &Ctx) -> Command {
    Command::new(ACTIONLINT.name, &ctx.root)
        .args(["-no-color", "-verbose", "-format", "{{json .}}", "-pyflakes=", "-config-file"])
        .arg(own_config(ctx, SETTINGS))
}

async fn run(session: Session, folder: String, step: Command) -> Result<Outcome, Unproven> {
    let ctx = session.ctx();
    write_own_config(ctx, SETTINGS, "")?;
    let shellcheck = session.program(&SHELLCHECK).await?;
    let scratch = scratch(ctx)?;
    let wrapper = shell::wrapper(scratch.path(), &shellcheck.path)?;
    let declared = files(&session, std::slice::from_ref(&folder), is_workflow).await?;
    if declared.is_empty() {
        return Err(session.not_run(format!("did no work: `{folder}` holds no workflow")).into());
    }
    let step = step.args([format!("-shellcheck={}", wrapper.display())]).args(declared.iter().cloned());
    let ended = session.tool(&ACTIONLINT, &step).await?;
    if !matches!(ended.exit, Exit::Code(0 | 1)) {
        return Err(session.not_run(format!("actionlint {}", ended.failure())).into());
    }
    // Without the program it only says so, and goes on.
    if ended.stderr.contains("Rule \"shellcheck\" was disabled") {
        return Err(session.not_run("actionlint ran without shellcheck").into());
    }
    let mistakes: Vec<Mistake> = parse(&session, &ended, &ended.stdout)?;
    if mistakes.is_empty() != ended.is_success() {
        return Err(session.not_run(format!("actionlint {}, which its report contradicts", ended.exit)).into());
    }
    let looked_at = counted(&ended.stderr);
    let mistakes = mistakes.into_iter().filter(|found| !is_of_this_repository(found, &declared));
    let findings = mistakes.map(|found| {
        Finding::new(found.kind, Severity::Medium, found.message).at(place(ctx, &found.filepath), found.line)
    });
    let fix = "mend the workflow, then `cargo xtask scan config`";
    Ok(ran(looked_at, "workflows", declared.len(), findings.collect(), fix))
}

/// Whether it complains of `uses: $/FILE`, a workflow of the same repository at the same commit. GitHub knows the form since
/// July 2026, zizmor asks for it, and actionlint does not read it yet (rhysd/actionlint#711). The file has to be there.
fn is_of_this_repository(found: &Mistake, declared: &[String]) -> bool {
    let called = found.message.strip_prefix("reusable workflow call \"$/").and_then(|rest| rest.split('"').next());
    found.kind == "workflow-call" && called.is_some_and(|file| declared.iter().any(|declared| declared == file))
}

/// A line `verbose: Found total 4 errors in 1 ms for FILE` for each file.
fn counted(stderr: &str) -> usize {
    stderr.lines().filter(|line| line.starts_with("verbose: Found total ")).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workflow_of_this_repository_may_be_called_if_it_is_there() {
        // Recorded from actionlint 1.7.12.
        let said = |called: &str| {
            format!(
                "reusable workflow call \"{called}\" at \"uses\" is not following the format \"owner/repo/path/to/workflow.yml@ref\" nor \"./path/to/workflow.yml\"."
            )
        };
        let there = [".github/workflows/a.yml".to_owned()];
        for (kind, called, is_fine) in [
            ("workflow-call", "$/.github/workflows/a.yml", true),
            ("workflow-call", "$/.github/workflows/b.yml", false),
            ("workflow-call", "$/.github/workflows/a.yml@main", false),
            ("workflow-call", ".github/workflows/a.yml", false),
            ("expression", "$/.github/workflows/a.yml", false),
        ] {
            let (kind, message) = (kind.to_owned(), said(called));
            let found = Mistake { message, filepath: String::new(), line: 1, kind };
            assert_eq!(is_of_this_repository(&found, &there), is_fine, "{called}");
        }
    }

    #[test]
    fn each_file_has_a_line() {
        // Recorded from actionlint 1.7.12.
        let stderr = "verbose: Linting 2 files\nverbose: Found 0 parse errors in 0 ms for a.yml\n\
                      verbose: Found total 4 errors in 0 ms for a.yml\nverbose: Found total 0 errors in 0 ms for b.yml\n\
                      verbose: Found 4 errors in 2 files\n";
        assert_eq!(counted(stderr), 2);
        assert_eq!(counted(""), 0);
    }
}
