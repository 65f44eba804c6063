//! One thing that is measured here: a scanner and what it looks at.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::corpus::Found;
use super::engine::{Engine, gitleaks};
use super::stage::{self, Stage};
use crate::Bench;
use xtask::tools::command::Command;

/// What git is asked for, so that nothing of a branch can hide a line and a merge is looked at.
const LOG: &str = "--all --full-history --text --no-textconv --no-ext-diff --remerge-diff";

/// What a scanner looks at.
#[derive(Clone, Debug)]
pub enum Target {
    /// A folder as it lies there.
    Folder(PathBuf),
    /// A folder whose files have names that mean nothing.
    Staged(Stage),
    /// A history, by the command `git` of gitleaks as it comes.
    Git(PathBuf),
    /// The same, told what to ask git for.
    Log(PathBuf),
    /// The same by two processes, each with one half.
    Halves(PathBuf),
    /// The text of `git log`, by a pipe.
    Pipe(PathBuf),
    /// Every blob of a history, staged and scanned; staging counts.
    Blobs(PathBuf),
    /// What git would commit.
    Index(PathBuf),
}

/// A scanner, with the rules or without, and what it looks at.
#[derive(Clone, Debug)]
pub struct Work {
    /// The name of its row.
    pub name: String,
    /// The row of ours that it stands beside.
    pub beside: Option<String>,
    /// The scanner.
    pub engine: Engine,
    /// Its program.
    pub program: PathBuf,
    /// Our rules, where they count.
    pub rules: Option<PathBuf>,
    /// What it looks at.
    pub target: Target,
}

impl Work {
    /// The commands of it, the one that scans last.
    pub fn commands(&self, out: &Path) -> Vec<Command> {
        let report = out.join("report.json");
        let program = |folder: &Path| Command::new(&self.program, folder);
        let rules = self.rules.as_deref();
        let git = |repository: &Path, options: &str, report: &Path| {
            let command = program(out).arg("git").arg(repository.join(".git"));
            gitleaks(command.args([format!("--log-opts={options}")]), rules, report)
        };
        match &self.target {
            Target::Folder(folder) => vec![self.engine.scan(&self.program, folder, rules, &report)],
            Target::Staged(stage) => vec![self.engine.scan(&self.program, &stage.folder, rules, &report)],
            Target::Git(repository) => vec![gitleaks(program(out).arg("git").arg(repository), rules, &report)],
            Target::Log(repository) => vec![git(repository, LOG, &report)],
            Target::Halves(repository) => {
                let early = LOG.replace("--all", "main~5000");
                vec![
                    git(repository, &early, &out.join("early.json")),
                    git(repository, &format!("{LOG} --not main~5000"), &report),
                ]
            }
            Target::Pipe(repository) => {
                let scan = gitleaks(program(repository).arg("stdin"), rules, &report);
                let pipe = format!("git log -p -U0 {LOG} | {scan}");
                vec![Command::new("sh", repository).args(["-c".to_owned(), pipe])]
            }
            Target::Blobs(_) => vec![self.engine.scan(&self.program, &out.join("blobs"), rules, &report)],
            Target::Index(repository) => {
                vec![gitleaks(
                    program(out).arg("git").arg(repository).args(["--pre-commit", "--staged"]),
                    rules,
                    &report,
                )]
            }
        }
    }

    /// One time: how long it took, and what was found, or why neither counts.
    pub async fn once(&self, bench: &Bench, out: &Path) -> Result<Result<(Duration, BTreeSet<Found>), String>> {
        for report in ["report.json", "early.json"] {
            let _absent = std::fs::remove_file(out.join(report));
        }
        let clock = Instant::now();
        let mut staged = None;
        if let Target::Blobs(repository) = &self.target {
            staged = Some(stage::history(&bench.runner, repository, out.join("blobs")).await?);
        }
        let commands = self.commands(out);
        let ended = match commands.as_slice() {
            [one, other] => {
                let (one, other) = tokio::join!(bench.runner.run(one), bench.runner.run(other));
                vec![one?, other?]
            }
            commands => vec![bench.runner.run(&commands[0]).await?],
        };
        let wall = clock.elapsed();
        let reports = [out.join("early.json"), out.join("report.json")];
        let mut all = BTreeSet::new();
        for (ended, report) in ended.iter().zip(&reports[reports.len() - ended.len()..]) {
            // "no leaks found" is also what gitleaks says of a history that git could not show.
            if matches!(self.target, Target::Git(_) | Target::Log(_) | Target::Halves(_))
                && (ended.stderr.contains(" 0 commits scanned") || ended.stderr.contains("ERR"))
            {
                return Ok(Err(format!("it scanned nothing: {}", ended.failure())));
            }
            match self.engine.found(ended, report) {
                Ok(found) => all.extend(found),
                Err(why) => return Ok(Err(why)),
            }
        }
        let stage = match &self.target {
            Target::Staged(stage) => Some(stage),
            _ => staged.as_ref(),
        };
        Ok(Ok((wall, all.into_iter().map(|one| stage.map_or(one.clone(), |stage| stage.origin(one))).collect())))
    }
}
