//! shellcheck: mistakes in shell scripts. `.shellcheckrc` and directives in the scripts do not count.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use regex_lite::Regex;
use serde::Deserialize;

use super::{own_config, parse, ran, severity, without_canary, write_own_config};
use crate::config::Shell;
use crate::context::Ctx;
use crate::engine::gate::{Gate, Inputs, action};
use crate::engine::session::Session;
use crate::tools::catalog::SHELLCHECK;
use crate::tools::command::{Command, quoted};
use crate::tools::proc::Exit;
use crate::verdict::{Finding, Outcome, Unproven};

/// A script with a word that is not quoted, which is a comment in each report.
const CANARY: (&str, &str) = ("canary.sh", "#!/bin/sh\necho $1\n");

#[derive(Debug, Deserialize)]
struct Report {
    comments: Vec<Comment>,
}

#[derive(Debug, Deserialize)]
struct Comment {
    file: String,
    line: u32,
    level: String,
    code: u32,
    message: String,
}

/// One gate.
pub fn plan(ctx: &Ctx) -> Vec<Gate> {
    let Some(shell) = &ctx.config.shell else { return vec![] };
    let step = Command::new(SHELLCHECK.name, &ctx.root)
        .args(["--norc", "--format", "json1", "-"])
        .arg(own_config(ctx, CANARY.0));
    let shell = shell.clone();
    vec![Gate {
        id: "scan/shell".to_owned(),
        unit: "scripts",
        programs: vec![&SHELLCHECK],
        inputs: Inputs { files: shell.files.clone(), settings: format!("{shell:?}"), ..Inputs::default() },
        steps: vec![step.clone()],
        again: "cargo xtask scan config".to_owned(),
        action: action(move |session| run(session, shell.clone(), step.clone())),
        ..Gate::default()
    }]
}

/// One call a script, which it reads from standard input: no option turns directives off.
async fn run(session: Session, shell: Shell, step: Command) -> Result<Outcome, Unproven> {
    let ctx = session.ctx();
    write_own_config(ctx, CANARY.0, CANARY.1)?;
    let (mut looked_at, mut findings) = (0, Vec::new());
    for file in &shell.files {
        let text = std::fs::read_to_string(ctx.root.join(file))
            .map_err(|e| session.not_run(format!("`{file}` cannot be read: {e}")))?;
        if text.trim().is_empty() {
            return Err(session.not_run(format!("`{file}` is empty: there is nothing to look at")).into());
        }
        let ended = session.tool(&SHELLCHECK, &step.clone().stdin(without_directives(&text))).await?;
        if !matches!(ended.exit, Exit::Code(0 | 1)) {
            return Err(session.not_run(format!("shellcheck {}", ended.failure())).into());
        }
        let report: Report = parse(&session, &ended, &ended.stdout)?;
        if report.comments.is_empty() != ended.is_success() {
            return Err(session.not_run(format!("shellcheck {}, which its report contradicts", ended.exit)).into());
        }
        let comments = without_canary(&session, CANARY.0, report.comments, |comment| &comment.file)?;
        looked_at += 1;
        findings.extend(comments.into_iter().map(|found| {
            let rule = format!("SC{}", found.code);
            Finding::new(rule, severity(&found.level), found.message).at(file.clone(), found.line)
        }));
    }
    let fix = "mend the script, then `cargo xtask scan config`";
    Ok(ran(looked_at, "scripts", shell.files.len(), findings, fix))
}

/// What shellcheck takes for a blank beside space and tab: a no-break space, and one without width.
const ODD_BLANKS: [char; 2] = ['\u{a0}', '\u{200b}'];

/// The script with every directive made a plain comment of the same length, so that lines and columns stay.
fn without_directives(text: &str) -> String {
    let [no_break, no_width] = ODD_BLANKS;
    let directive = Regex::new(&format!("(#[ \t{no_break}{no_width}]*)shellcheck"));
    directive.map_or_else(|_| text.to_owned(), |directive| directive.replace_all(text, "${1}Shellcheck").into_owned())
}

/// A program that does the same to its input and becomes shellcheck, for those who start shellcheck themselves.
pub fn wrapper(folder: &Path, shellcheck: &Path) -> anyhow::Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    let [no_break, no_width] = ODD_BLANKS;
    let script = format!(
        "#!/bin/sh\nsed -E 's/(#([[:blank:]]|{no_break}|{no_width})*)shellcheck/\\1Shellcheck/g' | {} \"$@\"\n",
        quoted(&shellcheck.to_string_lossy())
    );
    let path = folder.join("shellcheck");
    std::fs::write(&path, script).with_context(|| format!("cannot write `{}`", path.display()))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot make `{}` executable", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_become_comments_of_the_same_length() {
        for (script, harmless) in [
            ("# shellcheck disable=SC2086\n", "# Shellcheck disable=SC2086\n"),
            ("echo $a #shellcheck disable=all\n", "echo $a #Shellcheck disable=all\n"),
            ("#\u{a0}\u{200b}shellcheck disable=all\n", "#\u{a0}\u{200b}Shellcheck disable=all\n"),
            ("shellcheck \"$file\"\n", "shellcheck \"$file\"\n"),
        ] {
            assert_eq!(without_directives(script), harmless);
            assert_eq!(script.len(), harmless.len());
        }
    }
}
