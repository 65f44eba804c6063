//! Secrets, by gitleaks with our rules: in the working tree, in what is staged, and in the history.
//!
//! What is looked at is copied under neutral names first. gitleaks leaves files out by their path, and reads
//! settings and attributes from the folder that it scans; a branch could hide a secret by either.

mod ggshield;
mod history;
mod pack;
pub mod staging;

use super::{files, ran};
use crate::config::Secrets;
use crate::context::Ctx;
use crate::engine::gate::{Gate, Inputs, action};
use crate::engine::session::Session;
use crate::tools::catalog::{GITLEAKS, GITLEAKS_QUICK};
use crate::tools::command::Command;
use crate::verdict::{Finding, Outcome, Severity, Unproven};
pub use ggshield::KEY as GITGUARDIAN_KEY;
use staging::{Leak, Staged};

const FIX: &str = "take the secret out, and make the old one worthless; then `cargo xtask scan secrets`";

/// Working tree, history, and GitGuardian's service where its key is set.
pub fn plan(ctx: &Ctx) -> Vec<Gate> {
    let Some(secrets) = &ctx.config.secrets else { return vec![] };
    let mut gates = vec![tree(ctx, secrets)];
    if secrets.history {
        gates.push(history::plan(ctx, secrets));
    }
    gates.extend(ggshield::plan(ctx, secrets));
    gates
}

fn tree(ctx: &Ctx, secrets: &Secrets) -> Gate {
    let step = staging::command(ctx, &GITLEAKS, secrets);
    Gate {
        id: "scan/secrets".to_owned(),
        unit: "files",
        programs: vec![&GITLEAKS],
        inputs: Inputs { files: vec![".".to_owned()], settings: format!("{secrets:?}"), ..Inputs::default() },
        steps: vec![step.clone()],
        again: "cargo xtask scan secrets".to_owned(),
        action: action(move |session| look_at_tree(session, step.clone())),
        ..Gate::default()
    }
}

async fn look_at_tree(session: Session, step: Command) -> Result<Outcome, Unproven> {
    let paths = files(&session, &[".".to_owned()], |_| true).await?;
    let root = session.ctx().root.clone();
    let mut staged = Staged::new(session.ctx())?;
    for path in &paths {
        // A link's target is looked at where it lies.
        if !root.join(path).is_symlink() {
            staged.add(path, path, &read(&session, path)?)?;
        }
    }
    let leaks = staged.scan(&session, &GITLEAKS, &step).await?;
    let findings = leaks.into_iter().map(|leak| finding(&leak, &leak.origin)).collect();
    Ok(ran(staged.count(), "files", staged.count(), findings, FIX))
}

fn read(session: &Session, path: &str) -> Result<Vec<u8>, Unproven> {
    std::fs::read(session.ctx().root.join(path))
        .map_err(|e| session.not_run(format!("`{path}` cannot be read: {e}")).into())
}

fn finding(leak: &Leak, path: &str) -> Finding {
    Finding::new(&leak.rule, Severity::High, &leak.description).at(path.to_owned(), leak.line)
}

/// The gate of `--staged`: what the next commit would add, in the time that a person waits for a commit.
pub fn staged(ctx: &Ctx) -> Vec<Gate> {
    let Some(secrets) = &ctx.config.secrets else { return vec![] };
    let list = Command::new("git", &ctx.root).args([
        "diff",
        "--cached",
        "--no-renames",
        "--diff-filter=AMT",
        "--raw",
        "--no-abbrev",
        "-z",
    ]);
    // `git commit -a` and `git commit FILE` have an index of their own.
    let list = ctx.var("GIT_INDEX_FILE").map_or(list.clone(), |index| list.env("GIT_INDEX_FILE", index));
    let step = staging::command(ctx, &GITLEAKS_QUICK, secrets);
    vec![Gate {
        id: "scan/staged".to_owned(),
        unit: "files",
        programs: vec![&GITLEAKS_QUICK],
        steps: vec![list.clone(), step.clone()],
        again: "cargo xtask scan secrets --staged".to_owned(),
        action: action(move |session| look_at_staged(session, list.clone(), step.clone())),
        ..Gate::default()
    }]
}

async fn look_at_staged(session: Session, list: Command, step: Command) -> Result<Outcome, Unproven> {
    let answer = session.machine.quiet().read_bytes(&list).await?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let entries = staged_files(&answer);
    let Some(_) = entries.first() else {
        return Err(session.not_run("did no work: nothing is staged").into());
    };
    let mut staged = Staged::new(session.ctx())?;
    let oids: Vec<&str> = entries.iter().map(|(oid, _)| *oid).collect();
    for (index, bytes) in history::contents(&session, &oids).await?.into_iter().enumerate() {
        let path = entries[index].1;
        staged.add(path, path, &bytes)?;
    }
    let leaks = staged.scan(&session, &GITLEAKS_QUICK, &step).await?;
    let findings = leaks.into_iter().map(|leak| finding(&leak, &leak.origin)).collect();
    Ok(ran(staged.count(), "files", entries.len(), findings, FIX))
}

/// `:MODE MODE OID OID STATUS NUL PATH NUL`: the new object and the path of each file; links and modules apart.
fn staged_files(raw: &str) -> Vec<(&str, &str)> {
    let mut fields = raw.split('\0');
    let mut found = Vec::new();
    while let (Some(head), Some(path)) = (fields.next(), fields.next()) {
        let mut words = head.split(' ').skip(1);
        if let (Some(mode), Some(_), Some(oid)) = (words.next(), words.next(), words.next())
            && mode.starts_with("100")
        {
            found.push((oid, path));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn staged_files_are_read_from_raw_differences() {
        let raw =
            ":000000 100644 0000 aaaa A\0a b.py\0:100644 120000 bbbb cccc M\0link\0:100755 100755 dddd eeee M\0run\0";
        assert_eq!(staged_files(raw), [("aaaa", "a b.py"), ("eeee", "run")]);
        assert!(staged_files("").is_empty());
    }
}
