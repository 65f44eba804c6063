//! The committed lock files have to be what their script makes of `pyproject.toml` as it is now.
//!
//! The script runs on a copy below `target/`. uv keeps versions that are locked already, so that a newer release
//! changes nothing; a requirement that was added, dropped or tightened does. The index is asked for what the locked
//! versions need, which does not change, so that the answer is no older for being stored.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use super::super::{ran, scratch};
use crate::config::Locks;
use crate::context::Ctx;
use crate::engine::gate::{Gate, Inputs, action};
use crate::engine::session::Session;
use crate::engine::store::files_of;
use crate::tools::command::Command;
use crate::verdict::{Finding, Outcome, Severity, Unproven};

/// One gate.
pub fn plan(ctx: &Ctx) -> Vec<Gate> {
    let Some(locks) = &ctx.config.locks else { return vec![] };
    let below = |file: &String| format!("{}/{file}", locks.directory);
    let step = Command::new("sh", &ctx.root).args([locks.script.clone()]).timeout(Duration::from_secs(600));
    let inputs = locks.files.iter().map(below).collect();
    let locks = locks.clone();
    vec![Gate {
        id: "scan/locks".to_owned(),
        unit: "locks",
        tool: ("uv", ctx.config.python.tools_lock.clone()),
        inputs: Inputs { files: inputs, path_tools: vec!["uv"], settings: format!("{locks:?}"), ..Inputs::default() },
        steps: vec![step.clone()],
        again: "cargo xtask scan deps".to_owned(),
        action: action(move |session| run(session, locks.clone(), step.clone())),
        ..Gate::default()
    }]
}

async fn run(session: Session, locks: Locks, step: Command) -> Result<Outcome, Unproven> {
    let ctx = session.ctx();
    let scratch = scratch(ctx)?;
    let source = ctx.root.join(&locks.directory);
    let mut copied = Vec::new();
    for entry in &locks.files {
        let listed = if source.join(entry).is_dir() { format!("{entry}/") } else { entry.clone() };
        copied.extend(files_of(&source, &listed));
    }
    for file in &copied {
        let copied = scratch.path().join(file);
        copy(&source.join(file), &copied).map_err(|e| session.not_run(format!("{e:#}")))?;
        if file.ends_with(".txt") {
            mark(&copied).map_err(|e| session.not_run(format!("{e:#}")))?;
        }
    }
    let uv = session.machine.uv(&session.machine.quiet()).await?;
    let step = Command { cwd: scratch.path().to_owned(), ..step }.env("UV", &uv.program);
    let ended = session.step(&step).await?;
    if !ended.is_success() {
        return Err(session.not_run(format!("`{}` ended with {}", locks.script, ended.failure())).into());
    }
    let (mut compared, mut findings) = (0, Vec::new());
    for file in copied.iter().filter(|file| file.ends_with(".txt")) {
        compared += 1;
        let read =
            |folder: &Path| std::fs::read_to_string(folder.join(file)).with_context(|| format!("cannot read `{file}`"));
        let (committed, made) = (read(&source)?, read(scratch.path())?);
        if made.contains(MARK) {
            return Err(session.not_run(format!("`{}` does not make `{file}`", locks.script)).into());
        }
        if let Some((line, words)) = difference(&committed, &made) {
            let message = format!("this lock does not fit what it is made from: {words}");
            let path = format!("{}/{file}", locks.directory);
            findings.push(Finding::new("stale-lock", Severity::High, message).at(path, line));
        }
    }
    let fix = format!("sh {}/{}", locks.directory, locks.script);
    Ok(ran(compared, "locks", compared, findings, &fix))
}

/// A line that uv does not write: where it is still there, the script has left the file as it was.
const MARK: &str = "# not made anew";

fn mark(path: &Path) -> anyhow::Result<()> {
    let cannot = || format!("cannot write `{}`", path.display());
    let text = std::fs::read_to_string(path).with_context(cannot)?;
    std::fs::write(path, format!("{text}{MARK}\n")).with_context(cannot)
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let cannot = || format!("cannot copy `{}`", from.display());
    std::fs::create_dir_all(to.parent().with_context(cannot)?).with_context(cannot)?;
    std::fs::copy(from, to).map(drop).with_context(cannot)
}

/// The first line in which two texts differ, and what it is in the second.
fn difference(committed: &str, made: &str) -> Option<(u32, String)> {
    let (mut old, mut new) = (committed.lines(), made.lines());
    for line in 1.. {
        let words = match (old.next(), new.next()) {
            (None, None) => return None,
            (before, after) if before == after => continue,
            (before, after) => {
                let shown = |line: Option<&str>| line.map_or("nothing", str::trim).trim_end_matches(" \\").to_owned();
                format!("`{}` would be `{}`", shown(before), shown(after))
            }
        };
        return Some((line, words));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_named() {
        for (committed, made, expected) in [
            ("a\nb\n", "a\nb\n", None),
            ("a\nb==1 \\\n", "a\nb==2 \\\n", Some((2, "`b==1` would be `b==2`"))),
            ("a\n", "a\nb\n", Some((2, "`nothing` would be `b`"))),
        ] {
            let found = difference(committed, made);
            assert_eq!(found.as_ref().map(|(line, words)| (*line, words.as_str())), expected);
        }
    }
}
