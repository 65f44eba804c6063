//! hadolint: weaknesses of Dockerfiles. `.hadolint.yaml` and ignore comments of the tree do not count.
//!
//! hadolint says nothing of an image that runs as root because nobody named a user; that is looked for here.

use serde::Deserialize;

use super::{own_config, parse, place, ran, severity, write_own_config};
use crate::config::Dockerfile;
use crate::context::Ctx;
use crate::engine::gate::{Gate, Inputs, action};
use crate::engine::session::Session;
use crate::tools::catalog::HADOLINT;
use crate::tools::command::Command;
use crate::verdict::{Finding, Outcome, Severity, Unproven};

const SETTINGS: (&str, &str) = ("hadolint.yaml", "failure-threshold: style\n");

/// The rule of a file that hadolint could not read as a Dockerfile.
const UNREADABLE: &str = "DL1000";

#[derive(Debug, Deserialize)]
struct Issue {
    code: String,
    file: String,
    level: String,
    line: u32,
    message: String,
}

/// One gate.
pub fn plan(ctx: &Ctx) -> Vec<Gate> {
    let Some(dockerfile) = &ctx.config.dockerfile else { return vec![] };
    let steps: Vec<Command> = dockerfile.files.iter().map(|file| step(ctx, file)).collect();
    let dockerfile = dockerfile.clone();
    vec![Gate {
        id: "scan/dockerfile".to_owned(),
        unit: "files",
        programs: vec![&HADOLINT],
        inputs: Inputs { files: dockerfile.files.clone(), settings: format!("{dockerfile:?}"), ..Inputs::default() },
        steps: steps.clone(),
        again: "cargo xtask scan config".to_owned(),
        action: action(move |session| run(session, dockerfile.clone(), steps.clone())),
        ..Gate::default()
    }]
}

/// One call a file: the report does not name a file without findings.
fn step(ctx: &Ctx, file: &str) -> Command {
    Command::new(HADOLINT.name, &ctx.root)
        .args(["--no-fail", "--no-color", "--format", "json", "--disable-ignore-pragma", "--config"])
        .arg(own_config(ctx, SETTINGS.0))
        .args([file])
}

async fn run(session: Session, dockerfile: Dockerfile, steps: Vec<Command>) -> Result<Outcome, Unproven> {
    let ctx = session.ctx();
    write_own_config(ctx, SETTINGS.0, SETTINGS.1)?;
    let (mut looked_at, mut findings) = (0, Vec::new());
    for (file, step) in dockerfile.files.iter().zip(&steps) {
        let text = std::fs::read_to_string(ctx.root.join(file))
            .map_err(|e| session.not_run(format!("`{file}` cannot be read: {e}")))?;
        let Some(root) = runs_as_root(&text) else {
            return Err(session.not_run(format!("`{file}` has no FROM: there is nothing to look at")).into());
        };
        let ended = session.tool(&HADOLINT, step).await?;
        if !ended.is_success() {
            return Err(session.not_run(format!("hadolint {}", ended.failure())).into());
        }
        let issues: Vec<Issue> = parse(&session, &ended, &ended.stdout)?;
        if let Some(issue) = issues.iter().find(|issue| issue.code == UNREADABLE) {
            let reason = format!("`{file}` cannot be read as a Dockerfile: line {}: {}", issue.line, issue.message);
            return Err(session.not_run(reason).into());
        }
        looked_at += 1;
        let message = |issue: &Issue| issue.message.clone();
        findings.extend(issues.iter().map(|issue| {
            let found = Finding::new(&issue.code, severity(&issue.level), message(issue));
            found.at(place(ctx, &issue.file), issue.line)
        }));
        // DL3002 says the same of a user that is root by name.
        if let Root::From(line) = root
            && !issues.iter().any(|issue| issue.code == "DL3002")
        {
            let message = "the image runs as root: its last stage names no other user (USER 10001)";
            findings.push(Finding::new("root-user", Severity::High, message).at(file.clone(), line));
        }
    }
    let fix = "mend the Dockerfile, then `cargo xtask scan config`";
    Ok(ran(looked_at, "files", dockerfile.files.len(), findings, fix))
}

/// What the image runs as, as far as its last stage says.
#[derive(Debug, PartialEq, Eq)]
enum Root {
    /// A user that is written out and is not root.
    No,
    /// Root, or somebody that only the build knows; the line that says so.
    From(u32),
}

/// `None` without any FROM.
fn runs_as_root(text: &str) -> Option<Root> {
    let mut found = None;
    for (index, line) in text.lines().enumerate() {
        let mut words = line.split_whitespace();
        let (instruction, argument) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let line = u32::try_from(index + 1).ok()?;
        if instruction.eq_ignore_ascii_case("FROM") {
            found = Some(Root::From(line));
        } else if instruction.eq_ignore_ascii_case("USER") && found.is_some() {
            let user = argument.split(':').next().unwrap_or_default();
            let hidden = user.contains('$') || user.is_empty();
            let root = user == "root" || user.bytes().all(|byte| byte == b'0');
            found = Some(if root || hidden { Root::From(line) } else { Root::No });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_user_of_the_last_stage_counts() {
        for (text, expected) in [
            ("", None),
            ("# only words\n", None),
            ("FROM a\n", Some(Root::From(1))),
            ("FROM a\nUSER 10001\n", Some(Root::No)),
            ("FROM a\nUSER 10001:10001\n", Some(Root::No)),
            ("FROM a\nuser root\n", Some(Root::From(2))),
            ("FROM a\nUSER 0:0\n", Some(Root::From(2))),
            ("FROM a\nUSER 10001\nUSER ${WHO}\n", Some(Root::From(3))),
            ("FROM a AS build\nUSER 10001\nFROM b\n", Some(Root::From(3))),
            ("FROM a AS build\nUSER root\nFROM b\nUSER app\n", Some(Root::No)),
        ] {
            assert_eq!(runs_as_root(text), expected, "{text:?}");
        }
    }
}
