//! This project: what its scan has to look at, counted by git.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::work::Expected;
use super::{Expectations, OFFLINE, Project};
use crate::material::git;
use crate::{Bench, Places};
use xtask::tasks::ci;

/// The gates of its scan that are measured, and those that need something from outside.
pub fn gates(places: &Places) -> (Vec<String>, Vec<String>) {
    let gates = ci::all_gates(&places.ctx).into_iter().map(|gate| gate.id);
    gates.filter(|id| id.starts_with("scan/")).partition(|id| OFFLINE.contains(&id.as_str()))
}

/// The project as it lies there. It is green, or nothing of it is measured; how many findings do not break the policy
/// is its own affair.
pub async fn project(bench: &Bench, name: &'static str) -> Result<Project> {
    let places = &bench.places;
    let (root, config) = (&places.ctx.root, &places.ctx.config);
    let (measured, skipped) = gates(places);
    let list = ["-c", "core.quotePath=false", "ls-files", "--cached", "--others", "--exclude-standard"];
    let listed = git(bench, root, &list).await?;
    let is_there = |path: &&str| root.join(path).is_file() && !root.join(path).is_symlink();
    let files: Vec<&str> = listed.lines().filter(is_there).collect();
    let commits = git(bench, root, &["rev-list", "--count", "HEAD"]).await?;
    let commits: usize = commits.trim().parse().context("git counted no commits")?;
    let below = |folders: &[String], endings: &[&str]| {
        let is_one = |path: &&&str| {
            let is_below = folders.iter().any(|folder| Path::new(**path).starts_with(folder));
            is_below && endings.iter().any(|ending| path.ends_with(ending))
        };
        files.iter().filter(is_one).count()
    };
    let sources = config.sast.iter().flat_map(|sast| [&sast.files[..], &sast.tests].concat()).collect::<Vec<_>>();
    let workflows = config.workflows.iter().map(|workflows| workflows.directory.clone()).collect::<Vec<_>>();
    let workflows = below(&workflows, &[".yml", ".yaml"]);
    let expected = measured.into_iter().map(|id| {
        let (count, unit) = match id.as_str() {
            "scan/secrets" => (Some(files.len()), "files"),
            "scan/history" => (Some(commits), "commits"),
            "scan/bandit" => (Some(below(&sources, &[".py"])), "files"),
            "scan/ruff" => (Some(below(&sources, &[".py", ".pyi"])), "files"),
            "scan/dockerfile" => (config.dockerfile.as_ref().map(|dockerfile| dockerfile.files.len()), "files"),
            "scan/workflows" | "scan/actionlint" => (Some(workflows), "workflows"),
            "scan/shell" => (config.shell.as_ref().map(|shell| shell.files.len()), "scripts"),
            // What Kustomize makes of an overlay only Kustomize knows.
            "scan/manifests" => (None, "documents"),
            _ => (None, "objects"),
        };
        (id, Expected { count, unit, findings: None })
    });
    let expected: Expectations = expected.collect();
    Ok(Project { name, root: root.clone(), expected, skipped })
}
