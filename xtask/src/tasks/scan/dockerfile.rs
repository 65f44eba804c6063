//! hadolint: weaknesses of Dockerfiles. `.hadolint.yaml` and ignore comments of the tree do not count.
//!
//! hadolint says nothing of an image that runs as root because nobody named a user; that is looked for here.

use regex_lite::Regex;
use serde::Deserialize;

use super::{own_config, parse, place, ran, severity, without_canary, write_own_config};
use crate::config::Dockerfile;
use crate::context::Ctx;
use crate::engine::gate::{Gate, Inputs, action};
use crate::engine::session::Session;
use crate::tools::catalog::HADOLINT;
use crate::tools::command::Command;
use crate::verdict::{Finding, Outcome, Severity, Unproven};

const SETTINGS: (&str, &str) = ("hadolint.yaml", "failure-threshold: style\n");

/// An image without a version, which is a finding in each report.
const CANARY: (&str, &str) = ("canary.Dockerfile", "FROM debian\n");

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

/// One call a file, with the canary: the report does not name a file without findings.
fn step(ctx: &Ctx, file: &str) -> Command {
    Command::new(HADOLINT.name, &ctx.root)
        .args(["--no-fail", "--no-color", "--format", "json", "--disable-ignore-pragma", "--config"])
        .arg(own_config(ctx, SETTINGS.0))
        .args([file])
        .arg(own_config(ctx, CANARY.0))
}

async fn run(session: Session, dockerfile: Dockerfile, steps: Vec<Command>) -> Result<Outcome, Unproven> {
    let ctx = session.ctx();
    write_own_config(ctx, SETTINGS.0, SETTINGS.1)?;
    write_own_config(ctx, CANARY.0, CANARY.1)?;
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
        let issues = without_canary(&session, CANARY.0, issues, |issue| &issue.file)?;
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
    for Instruction { line, text, is_certain } in instructions(text) {
        let mut words = text.split_whitespace();
        let (name, argument) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if name.eq_ignore_ascii_case("FROM") {
            found = Some(Root::From(line));
        } else if name.eq_ignore_ascii_case("USER") && found.is_some() {
            let is_root = may_be_root(argument);
            // What may be the text of a script clears nobody.
            if is_root || is_certain {
                found = Some(if is_root { Root::From(line) } else { Root::No });
            }
        }
    }
    found
}

/// Variables, quotes and everything else that is no plain name or number hide who it is.
fn may_be_root(user: &str) -> bool {
    let name = user.split(':').next().unwrap_or_default();
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    !is_plain || name == "root" || name.bytes().all(|byte| byte == b'0')
}

/// One instruction, or one line of a here-document.
struct Instruction {
    /// Where it begins, counted from 1.
    line: u32,
    text: String,
    /// Whether it cannot be a line of a here-document.
    is_certain: bool,
}

/// Continued lines are joined, and comments are left out, as Docker's reference of the format has it:
/// <https://docs.docker.com/reference/dockerfile/#format>.
fn instructions(text: &str) -> Vec<Instruction> {
    // The first other line ends the directives, be it a comment.
    let directives = text.lines().map_while(|line| line.strip_prefix('#')?.trim().split_once('='));
    let escaped = |(name, value): (&str, &str)| name.trim().eq_ignore_ascii_case("escape") && value.trim() == "`";
    let escape = if directives.into_iter().any(escaped) { '`' } else { '\\' };
    let (mut all, mut goes_on, mut document) = (Vec::<Instruction>::new(), false, None::<HereDocument>);
    for (line, number) in text.lines().map(str::trim_end).zip(1..) {
        let instruction = |text: &str, is_certain| Instruction { line: number, text: text.to_owned(), is_certain };
        if let Some(end) = &document {
            let line = if end.tabs { line.trim_start_matches('\t') } else { line };
            if line == end.word {
                document = None;
            } else {
                all.push(instruction(line, false));
            }
            continue;
        }
        if line.is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        let text = line.strip_suffix(escape).unwrap_or(line);
        match all.last_mut().filter(|_| goes_on) {
            Some(before) => before.text.push_str(text),
            None => all.push(instruction(text, true)),
        }
        goes_on = text.len() < line.len();
        document = all.last().filter(|_| !goes_on).and_then(|instruction| here_document(&instruction.text));
    }
    all
}

/// How a document ends that an instruction begins (`RUN <<EOF`).
struct HereDocument {
    word: String,
    /// `<<-`: tabs before the word are left out.
    tabs: bool,
}

fn here_document(instruction: &str) -> Option<HereDocument> {
    let begins = Regex::new(r#"^\s*(?i:RUN|COPY|ADD)\s.*<<(-?)["']?([^\s"'<>|&;]+)"#).ok()?;
    let found = begins.captures(instruction)?;
    Some(HereDocument { word: found[2].to_owned(), tabs: !found[1].is_empty() })
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
            // The document goes on after an end that is indented, or that is only its beginning.
            ("FROM a\nRUN <<EOF\n  EOF\nUSER 10001\nEOF\n", Some(Root::From(1))),
            ("FROM a\nRUN <<E-F\nE\nUSER 10001\nE-F\n", Some(Root::From(1))),
            ("FROM a\nRUN <<-EOF\n\tEOF\nUSER 10001\n", Some(Root::No)),
            // A directive after a comment is none.
            ("# x\n# escape=`\nFROM a\nRUN echo \\\nUSER 10001\n", Some(Root::From(3))),
            ("FROM a\nUSER \"root\"\n", Some(Root::From(2))),
            ("FROM a\nUSER \\\n# why\n  10001\n", Some(Root::No)),
            ("FROM a\nUSER \\\n  ${WHO}\n", Some(Root::From(2))),
            ("FROM a\nRUN b \\ \nUSER 10001\n", Some(Root::From(1))),
            ("# escape=`\nFROM a\nRUN b `\nUSER 10001\n", Some(Root::From(2))),
            ("FROM a\nRUN <<EOF\nUSER 10001\nEOF\n", Some(Root::From(1))),
            ("FROM a\nRUN <<-'EOF'\nb\nEOF\nUSER 10001\n", Some(Root::No)),
            ("FROM a\nUSER 10001\nRUN b '<<EOF'\nUSER 0\n", Some(Root::From(4))),
        ] {
            assert_eq!(runs_as_root(text), expected, "{text:?}");
        }
    }
}
