//! Secrets in the history of HEAD: every content that a commit ever had, also of merges and of files since deleted.
//!
//! Contents are looked at once: what was scanned with the same rules and the same gitleaks is remembered with
//! what was found in it, and only new contents are scanned.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::staging::{self, Leak, Staged};
use super::{FIX, ran};
use crate::config::Secrets;
use crate::context::Ctx;
use crate::disk::write_atomically;
use crate::engine::gate::{Gate, Inputs, action};
use crate::engine::session::Session;
use crate::tools::catalog::GITLEAKS;
use crate::tools::command::Command;
use crate::verdict::{Finding, Outcome, Severity, Unproven};

/// How much is read from git at once.
const CHUNK: u64 = 32 << 20;

/// What was scanned, and what was found.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Scanned {
    /// Of the rules and of gitleaks: others may find more.
    rules: String,
    /// Everything reachable from this commit was scanned.
    tip: String,
    leaks: Vec<Remembered>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Remembered {
    oid: String,
    path: String,
    rule: String,
    description: String,
    line: u32,
}

/// One gate.
pub fn plan(ctx: &Ctx, secrets: &Secrets) -> Gate {
    let step = staging::command(ctx, &GITLEAKS, secrets);
    let secrets = secrets.clone();
    Gate {
        id: "scan/history".to_owned(),
        unit: "commits",
        programs: vec![&GITLEAKS],
        inputs: Inputs {
            // What lies in the working tree is left to `scan/secrets`, so that it counts here too.
            files: vec![".".to_owned()],
            history: true,
            settings: format!("{secrets:?}"),
            ..Inputs::default()
        },
        steps: vec![rev_list(ctx, ""), step.clone()],
        again: "cargo xtask scan secrets".to_owned(),
        action: action(move |session: Session| {
            let (secrets, step) = (secrets.clone(), step.clone());
            async move {
                // What git cannot tell is no defect of ours.
                match run(session.clone(), secrets, step).await {
                    Err(Unproven::Defect(error)) => Err(session.not_run(format!("{error:#}")).into()),
                    ended => ended,
                }
            }
        }),
        ..Gate::default()
    }
}

fn git(ctx: &Ctx, args: &[&str]) -> Command {
    Command::new("git", &ctx.root).args(args.iter().copied())
}

/// Every commit and every content of HEAD that is not one of `tip`, a content with a path that it had.
fn rev_list(ctx: &Ctx, tip: &str) -> Command {
    let list = git(ctx, &["rev-list", "--objects", "HEAD"]);
    if tip.is_empty() { list } else { list.args(["--not", tip]) }
}

async fn ask(session: &Session, command: &Command) -> Result<String> {
    Ok(String::from_utf8_lossy(&session.machine.quiet().read_bytes(command).await?).into_owned())
}

async fn run(session: Session, secrets: Secrets, step: Command) -> Result<Outcome, Unproven> {
    let ctx = session.ctx();
    if ask(&session, &git(ctx, &["rev-parse", "--is-shallow-repository"])).await?.trim() == "true" {
        let mut why = session.not_run("this clone is shallow: most of the history is not here");
        "git fetch --unshallow (in GitHub Actions: `fetch-depth: 0` for actions/checkout)".clone_into(&mut why.fix);
        return Err(why.into());
    }
    let Ok(head) = ask(&session, &git(ctx, &["rev-parse", "--verify", "HEAD^{commit}"])).await else {
        return Err(session.not_run("did no work: there is no commit yet").into());
    };
    let gitleaks = session.program(&GITLEAKS).await?;
    let rules = std::fs::read(ctx.root.join(&secrets.rules))
        .map_err(|e| session.not_run(format!("`{}` cannot be read: {e}", secrets.rules)))?;
    let gitleaks = session.machine.facts.hash(&gitleaks.path)?;
    let rules = format!("{} {gitleaks} {}", blake3::hash(&rules).to_hex(), env!("XTASK_SOURCE"));
    let mut known = remembered(ctx).filter(|known| known.rules == rules).unwrap_or_default();
    if !known.tip.is_empty() && ask(&session, &git(ctx, &["cat-file", "-e", &known.tip])).await.is_err() {
        known = Scanned::default();
    }
    let objects = ask(&session, &rev_list(ctx, &known.tip)).await?;
    known.leaks.extend(scan(&session, &step, &objects).await?);
    known.rules = rules;
    head.trim().clone_into(&mut known.tip);
    write_atomically(&store(ctx), &serde_json::to_vec(&known).context("cannot write what was scanned")?)?;
    let commits = ask(&session, &git(ctx, &["rev-list", "--count", "HEAD"])).await?;
    let commits: usize = commits.trim().parse().context("git counted no commits")?;
    let findings = findings(&session, known.leaks).await?;
    Ok(ran(commits, "commits", commits, findings, FIX))
}

fn store(ctx: &Ctx) -> std::path::PathBuf {
    ctx.store.join("cache/secrets-history.json")
}

fn remembered(ctx: &Ctx) -> Option<Scanned> {
    serde_json::from_slice(&std::fs::read(store(ctx)).ok()?).ok()
}

/// `OID PATH` lines → what gitleaks finds in those contents, and in the messages of those commits.
async fn scan(session: &Session, step: &Command, objects: &str) -> Result<Vec<Remembered>, Unproven> {
    let mut paths: BTreeMap<&str, &str> = BTreeMap::new();
    // In git's order, in which objects lie close to each other in a pack.
    let mut oids = Vec::new();
    for line in objects.lines() {
        let (oid, path) = line.split_once(' ').unwrap_or((line, ""));
        if paths.insert(oid, path).is_none() {
            oids.push(oid);
        }
    }
    if oids.is_empty() {
        return Ok(vec![]);
    }
    let mut staged = Staged::new(session.ctx())?;
    for chunk in chunks(session, &oids).await? {
        for (oid, bytes) in chunk.iter().zip(contents(session, &chunk).await?) {
            let path = paths.get(oid).copied().unwrap_or_default();
            staged.add(oid, path, if path.is_empty() { message(&bytes) } else { &bytes })?;
        }
    }
    let leaks = staged.scan(session, &GITLEAKS, step).await?;
    let remember = |leak: Leak| {
        let path = paths.get(leak.origin.as_str()).copied().unwrap_or_default().to_owned();
        Remembered { oid: leak.origin, path, rule: leak.rule, description: leak.description, line: leak.line }
    };
    Ok(leaks.into_iter().map(remember).collect())
}

/// The message of a commit, without the ids and names in its head: they look like secrets, and are none.
fn message(commit: &[u8]) -> &[u8] {
    let head = commit.windows(2).position(|pair| pair == b"\n\n");
    head.map_or(commit, |end| &commit[end + 2..])
}

/// Commits and contents, without the folders, in portions that fit into memory.
async fn chunks<'a>(session: &Session, oids: &[&'a str]) -> Result<Vec<Vec<&'a str>>> {
    let check = git(session.ctx(), &["cat-file", "--batch-check=%(objecttype) %(objectsize)", "--buffer"]);
    let answer = ask(session, &check.stdin(oids.join("\n") + "\n")).await?;
    let (mut all, mut chunk, mut bytes) = (Vec::new(), Vec::new(), 0);
    for (oid, line) in oids.iter().zip(answer.lines()) {
        let (kind, size) = line.split_once(' ').with_context(|| format!("git does not know {oid}"))?;
        if kind == "tree" {
            continue;
        }
        bytes += size.parse::<u64>().with_context(|| format!("git does not know the size of {oid}"))?;
        chunk.push(*oid);
        if bytes > CHUNK {
            all.push(std::mem::take(&mut chunk));
            bytes = 0;
        }
    }
    all.push(chunk);
    Ok(all)
}

/// The contents of objects, in the order asked for.
pub async fn contents(session: &Session, oids: &[&str]) -> Result<Vec<Vec<u8>>> {
    if oids.is_empty() {
        return Ok(vec![]);
    }
    let batch = git(session.ctx(), &["cat-file", "--batch", "--buffer"]).stdin(oids.join("\n") + "\n");
    let answer = session.machine.quiet().read_bytes(&batch).await?;
    let found = split_batch(&answer).context("git's answer cannot be read")?;
    anyhow::ensure!(found.len() == oids.len(), "git gave {} of {} contents", found.len(), oids.len());
    Ok(found)
}

/// `OID TYPE SIZE LF CONTENT LF`, see git-cat-file(1).
fn split_batch(mut answer: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut found = Vec::new();
    while !answer.is_empty() {
        let end = answer.iter().position(|&byte| byte == b'\n')?;
        let size: usize = std::str::from_utf8(&answer[..end]).ok()?.rsplit(' ').next()?.parse().ok()?;
        let rest = answer.get(end + 1..)?;
        found.push(rest.get(..size)?.to_vec());
        answer = rest.get(size + 1..)?;
    }
    Some(found)
}

/// Leaks but for those that `scan/secrets` sees where they are now, each with the commit that brought it.
async fn findings(session: &Session, leaks: Vec<Remembered>) -> Result<Vec<Finding>> {
    if leaks.is_empty() {
        return Ok(vec![]);
    }
    let ctx = session.ctx();
    let tree = ask(session, &git(ctx, &["ls-tree", "-r", "-z", "HEAD"])).await?;
    let mut findings = Vec::new();
    for leak in &leaks {
        // Only a commit has no path: the secret is in its message.
        let found = if leak.path.is_empty() {
            in_message(session, leak).await?
        } else if is_checked_out(session, &tree, &leak.oid).await? {
            None
        } else {
            in_content(session, leak).await?
        };
        findings.extend(found);
    }
    Ok(findings)
}

/// `None` where HEAD no longer comes from that commit: what was there cannot be reached any more.
async fn in_message(session: &Session, leak: &Remembered) -> Result<Option<Finding>> {
    let is_reached = git(session.ctx(), &["merge-base", "--is-ancestor", &leak.oid, "HEAD"]);
    if ask(session, &is_reached).await.is_err() {
        return Ok(None);
    }
    let commit = short(&leak.oid);
    let message = format!("{} (the message of commit {commit}; `git show {commit}`)", leak.description);
    Ok(Some(Finding::new(&leak.rule, Severity::High, message)))
}

/// `None` where HEAD no longer comes from any commit with it.
async fn in_content(session: &Session, leak: &Remembered) -> Result<Option<Finding>> {
    let log = ask(session, &commits_with(session.ctx(), &leak.oid)).await?;
    let Some(commit) = log.lines().rfind(|line| is_id(line)).map(short) else { return Ok(None) };
    let message = format!("{} (commit {commit}; `git show {commit}:{}`)", leak.description, leak.path);
    Ok(Some(Finding::new(&leak.rule, Severity::High, message).at(leak.path.clone(), leak.line)))
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// Whether a file of the working tree holds exactly this content. One that HEAD has may not: attributes can have git
/// write it in another encoding, in which `scan/secrets` would not know it.
async fn is_checked_out(session: &Session, tree: &str, oid: &str) -> Result<bool> {
    let root = &session.ctx().root;
    // `MODE TYPE OID TAB PATH`
    let paths = tree.split('\0').filter_map(|entry| entry.split_once('\t').filter(|(head, _)| head.ends_with(oid)));
    let paths = paths.map(|(_, path)| path);
    let files: Vec<Vec<u8>> = paths.filter_map(|path| std::fs::read(root.join(path)).ok()).collect();
    Ok(!files.is_empty() && contents(session, &[oid]).await?.iter().any(|content| files.contains(content)))
}

/// Commits that brought or took a content, each before the ones that it comes from.
///
/// `--diff-merges` asks for patches too, which would hold the secret. With renames git would call a file that was
/// moved and changed neither added nor modified.
fn commits_with(ctx: &Ctx, oid: &str) -> Command {
    let log = ["log", "--diff-merges=separate", "--no-patch", "--no-renames", "--diff-filter=AMT", "--topo-order"];
    git(ctx, &log).args(["--format=%H".to_owned(), format!("--find-object={oid}"), "HEAD".to_owned()])
}

fn is_id(line: &str) -> bool {
    line.len() >= 40 && line.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_a_commit_is_left_out() {
        let commit = b"tree 0123\nparent 4567\nauthor a <a@b.c> 1 +0000\n\nA subject\n\nA body\n";
        assert_eq!(message(commit), b"A subject\n\nA body\n");
        assert_eq!(message(b"no head"), b"no head");
    }

    #[test]
    fn a_batch_is_split_by_its_sizes() {
        let answer = b"aa blob 3\na\nb\nbb blob 0\n\ncc blob 2\n\xff\n\n";
        assert_eq!(split_batch(answer).unwrap(), [b"a\nb".to_vec(), vec![], b"\xff\n".to_vec()]);
        for broken in [&b"aa missing\n"[..], b"aa blob 9\nshort\n", b"aa blob 3"] {
            assert_eq!(split_batch(broken), None);
        }
    }
}
