//! What the scan costs: gate by gate and together on three projects, before a commit, and over a long history.
//!
//! Only gates that need nothing from outside. Two of the projects are generated, with weaknesses of which the number
//! is known; the third is this one.

mod moments;
mod own;
mod text;
mod tree;
mod work;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::material::{git, import, write};
use crate::measure::{Proof, Stats, Subject};
use crate::row::{Row, Value, times};
use crate::{Bench, Places, fixture};
use tree::{LARGE, SMALL, Size, Tree};
use work::{Before, Expected, Samples, Work};
use xtask::config::Config;

/// The gates that need nothing from outside.
const OFFLINE: [&str; 10] = [
    "scan/secrets",
    "scan/history",
    "scan/bandit",
    "scan/ruff",
    "scan/dockerfile",
    "scan/workflows",
    "scan/actionlint",
    "scan/manifests",
    "scan/kube-score",
    "scan/shell",
];

const HISTORY: &str = "scan/history";

/// What a project is measured with: one gate each, the history once more, and all of them.
type Expectations = BTreeMap<String, Expected>;

/// A project.
struct Project {
    name: &'static str,
    root: PathBuf,
    expected: Expectations,
    /// Gates of its scan that are left out.
    skipped: Vec<String>,
}

fn folder(places: &Places) -> PathBuf {
    places.folder.join("scan")
}

/// What can be listed before anything is made.
pub fn subjects(places: &Places) -> Vec<Subject> {
    let expected = |gates: &[&str]| {
        let any = Expected { count: None, unit: "", findings: None };
        gates.iter().map(|gate| ((*gate).to_owned(), any.clone())).collect::<Expectations>()
    };
    let generated = |name, root: PathBuf| Project { name, root, expected: expected(&OFFLINE), skipped: vec![] };
    let (ours, skipped) = own::gates(places);
    let ours: Vec<&str> = ours.iter().map(String::as_str).collect();
    let projects = [
        generated("small project", folder(places).join("small")),
        Project { name: "this project", root: places.ctx.root.clone(), expected: expected(&ours), skipped },
        generated("large project", folder(places).join("large")),
    ];
    let works = projects.iter().flat_map(|project| works(places, project)).chain(moments::works(places, [None, None]));
    works.map(|work| Subject::new(work.name, work.command, Proof::Says(""))).collect()
}

pub async fn rows(bench: &Bench) -> Result<Vec<Row>> {
    let places = &bench.places;
    let mut rows = Vec::new();
    let projects = [
        generated(bench, "small project", "small", SMALL).await?,
        own::project(bench, "this project").await?,
        generated(bench, "large project", "large", LARGE).await?,
    ];
    for project in &projects {
        let works = works(places, project);
        let samples = work::in_turns(bench, &works).await?;
        rows.extend(works.iter().zip(&samples).map(|(work, samples)| row(places, work, samples)));
        rows.push(sum(&works, &samples));
    }
    let works = moments::make(bench).await?;
    let samples = work::in_turns(bench, &works).await?;
    rows.extend(works.iter().zip(&samples).map(|(work, samples)| row(places, work, samples)));
    Ok(rows)
}

fn works(places: &Places, project: &Project) -> Vec<Work> {
    let Project { name, root, expected, skipped } = project;
    let out = places.folder.join("out/scan").join(name.replace(' ', "-"));
    let work = |what: &str, args: &[&str], before, expected| Work {
        name: format!("{what}, {name}"),
        command: places.ci(root, &out).arg("--no-cache").args(args.iter().copied()),
        out: out.clone(),
        before,
        expected,
        aim: None,
    };
    let forget = |gate: &str| Before { forget: gate == HISTORY, ..Before::default() };
    let known = Before { known: Some("HEAD"), ..Before::default() };
    let mut works = Vec::new();
    for gate in OFFLINE.iter().filter(|gate| expected.contains_key(**gate)) {
        let only = expected.iter().filter(|(id, _)| id == gate).map(|(id, wanted)| (id.clone(), wanted.clone()));
        let only: Expectations = only.collect();
        let first = if *gate == HISTORY { " for the first time" } else { "" };
        works.push(work(&format!("`{gate}`{first}"), &["--only", gate], forget(gate), only.clone()));
        if *gate == HISTORY {
            works.push(work(&format!("`{gate}`, nothing new"), &["--only", gate], known, only));
        }
    }
    let skip = skipped.join(",");
    let mut args = vec!["--only", "scan"];
    if !skip.is_empty() {
        args.extend(["--skip", &skip]);
    }
    works.push(work(ALL, &args, forget(HISTORY), expected.clone()));
    works
}

const ALL: &str = "all of them together";

fn row(places: &Places, work: &Work, samples: &Samples) -> Row {
    let row = Row { command: places.command(&work.command), aim: work.aim.clone(), ..named(&work.name) };
    match samples {
        Ok(sampled) => {
            Row { value: times(&sampled.walls), work: sampled.work.clone(), findings: Some(sampled.findings), ..row }
        }
        Err(why) => Row { value: Value::DidNotRun(places.shown(why)), ..row },
    }
}

fn named(name: &str) -> Row {
    Row::new(name, Value::Said(String::new()))
}

/// The medians of the single gates, beside the one of all together; the history counts as it does the first time.
fn sum(works: &[Work], samples: &[Samples]) -> Row {
    let together = works.last().map(|work| work.name.clone()).unwrap_or_default();
    let name = together.replace(ALL, "the sum of the single times");
    let single = works.iter().zip(samples).filter(|(work, _)| work.name != together && work.before.known.is_none());
    let median = |samples: &Samples| samples.as_ref().ok().and_then(|one| Stats::of(&one.walls)).map(|s| s.median());
    let sum: Option<Duration> = single.map(|(_, samples)| median(samples)).sum();
    let value = match sum {
        Some(sum) => Value::Computed(sum.as_secs_f64() * 1000.0),
        None => Value::DidNotRun("one of them did not run".to_owned()),
    };
    Row { beside: Some(together), ..Row::new(name, value) }
}

/// Makes a project, unless it is there and the same.
async fn generated(bench: &Bench, name: &'static str, short: &str, size: Size) -> Result<Project> {
    let places = &bench.places;
    let root = folder(places).join(short);
    let config = &places.ctx.config;
    let tree = Tree::new(size, &config.python.tools, locks(&places.ctx.root, config)?, &rules()?);
    let history = tree.history();
    let (stamp_file, stamp) =
        (folder(places).join(format!("{short}.stamp")), blake3::hash(history.as_bytes()).to_hex());
    if std::fs::read_to_string(&stamp_file).map_or(true, |old| old != stamp.as_str()) {
        let _absent = std::fs::remove_dir_all(&root);
        std::fs::create_dir_all(&root).with_context(|| format!("cannot make `{}`", root.display()))?;
        git(bench, &root, &["init", "--quiet", "--initial-branch", "main"]).await?;
        import(bench, &root, history).await?;
        git(bench, &root, &["reset", "--quiet", "--hard"]).await?;
        fixture::share_environments(places, &root)?;
        write(&stamp_file, stamp.as_bytes())?;
    }
    Ok(Project { name, root, expected: tree.expected(), skipped: vec![] })
}

/// Our rules for secrets.
fn rules() -> Result<String> {
    let rules = include_bytes!("../../../config/gitleaks.toml");
    String::from_utf8(rules.to_vec()).context("our rules are no text")
}

/// The lock files of the tools, where the configuration of a generated project has them.
fn locks(root: &Path, config: &Config) -> Result<BTreeMap<String, String>> {
    let mut locks = BTreeMap::new();
    let mut add = |to: String, from: &Path| -> Result<()> {
        let text = std::fs::read_to_string(from).with_context(|| format!("cannot read `{}`", from.display()))?;
        locks.insert(to, text);
        Ok(())
    };
    add("locks/tools.txt".to_owned(), &root.join(&config.python.tools_lock))?;
    let top = root.join(&config.tools.locks);
    let mut folders = vec![top.clone()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).with_context(|| format!("cannot read `{}`", folder.display()))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            match path.strip_prefix(&top) {
                Ok(_) if path.is_dir() => folders.push(path),
                // What makes the locks is none; it would be one more script.
                Ok(relative) if path.extension().is_none_or(|ending| ending != "sh") => {
                    add(format!("locks/{}", relative.display()), &path)?;
                }
                _ => {}
            }
        }
    }
    Ok(locks)
}
