//! What a run costs in which nothing has changed, beside peers that have nothing to do (R7).

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::measure::{self, Proof, Subject, in_turns, once};
use crate::row::{Aim, Row, Value};
use crate::{Bench, Places, fixture, peers};
use xtask::model::Report;
use xtask::report::print_error;
use xtask::tools::command::quoted;

const OWN: &str = "`ci` on the project";
const LARGE: &str = "`ci` on a project of 5,000 files";
const GIT: &str = "questions to git in one run of `ci`";

/// What is measured in turns.
pub fn subjects(places: &Places) -> Vec<Subject> {
    let (own, large) = (&places.ctx.root, &fixture::folder(places));
    let mut cargo = places.ci(own, &out(places, "own"));
    let mut args = vec!["xtask".to_owned()];
    args.append(&mut cargo.args);
    let cargo = places.cargo(own).args(args);
    let hook = |runner: &str, root: &Path, at: &str, ours: &str| peers::hook_runner(places, runner, root, at, ours);
    vec![
        ours(places, OWN, own, "own").aim(Aim::Within(60)),
        Subject::new("`cargo xtask ci` on the project", cargo, all_cached(places, "own")),
        hook("prek", own, "on the project", OWN),
        hook("pre-commit", own, "on the project", OWN),
        peers::nox(places, OWN),
        ours(places, LARGE, large, "large").aim(Aim::Within(300)),
        hook("prek", large, "on 5,000 files", LARGE),
        hook("pre-commit", large, "on 5,000 files", LARGE),
        peers::turbo(places, LARGE),
    ]
}

fn out(places: &Places, name: &str) -> PathBuf {
    places.folder.join("out").join(name)
}

fn all_cached(places: &Places, name: &str) -> Proof {
    Proof::Gates { out: out(places, name), cached: Some(true) }
}

fn ours(places: &Places, row: &str, root: &Path, name: &str) -> Subject {
    Subject::new(row, places.ci(root, &out(places, name)), all_cached(places, name))
}

pub async fn rows(bench: &Bench) -> Result<Vec<Row>> {
    let places = &bench.places;
    peers::write(places)?;
    for made in [fixture::make(bench).await, peers::install_turbo(bench).await] {
        if let Err(why) = made {
            print_error(&format!("cannot be measured: {why:#}\n"));
        }
    }
    let mut subjects = subjects(places);
    let never = never_cached(bench, &subjects).await?;
    if !never.is_empty() {
        with_and_without(&mut subjects, &never, places);
    }
    let samples = in_turns(bench, &subjects).await?;
    let row = |(subject, samples)| Row::of(subject, samples, places);
    let mut rows: Vec<Row> = subjects.iter().zip(&samples).map(row).collect();
    let names = if never.is_empty() { "none".to_owned() } else { never.join(", ") };
    rows.push(Row::new("gates of the project that are never taken from the cache", Value::Said(names)));
    rows.push(Row::new(GIT, questions_to_git(bench, &subjects).await?).aim(Aim::Exactly(1)));
    Ok(rows)
}

/// Fills the cache of both projects, and names the gates of ours that were not taken from it the second time.
async fn never_cached(bench: &Bench, subjects: &[Subject]) -> Result<Vec<String>> {
    let mut reports: Vec<Report> = Vec::new();
    for subject in [LARGE, OWN, OWN].iter().filter_map(|name| subjects.iter().find(|subject| subject.name == *name)) {
        let Proof::Gates { out, .. } = &subject.proof else { continue };
        let filling = Subject { proof: Proof::Gates { out: out.clone(), cached: None }, ..subject.clone() };
        measure::tell(bench, 0, &format!("{}, with the cache as it is", subject.name));
        if let Err(why) = once(bench, &filling).await? {
            print_error(&format!("{}: {}\n", subject.name, bench.places.shown(&why)));
        } else if subject.name == OWN {
            reports.extend(measure::report_of(out));
        }
    }
    Ok(match reports.as_slice() {
        [_filled, second] => uncached(second),
        _ => vec![],
    })
}

fn uncached(report: &Report) -> Vec<String> {
    let gates = report.gates.iter().filter(|gate| !gate.cached);
    gates.map(|gate| gate.id.clone()).collect()
}

/// The aim is one for what can be taken from the cache; the rest stands beside it in a row that names it.
fn with_and_without(subjects: &mut Vec<Subject>, never: &[String], places: &Places) {
    for subject in subjects.iter_mut().filter(|subject| subject.proof == all_cached(places, "own")) {
        let command = subject.command.clone();
        subject.command = command.args(["--skip".to_owned(), never.join(",")]);
    }
    let mut whole = ours(places, &format!("{OWN}, with {}", never.join(", ")), &places.ctx.root, "own");
    whole.proof = Proof::Gates { out: out(places, "own"), cached: None };
    subjects.insert(1, whole);
}

/// Counts by a `git` of our own that stands first on PATH and starts the real one.
async fn questions_to_git(bench: &Bench, subjects: &[Subject]) -> Result<Value> {
    let (places, folder) = (&bench.places, bench.places.folder.join("git"));
    let Some(git) = bench.machine.on_path("git") else { return Ok(Value::DidNotRun("`git` is not on PATH".into())) };
    let Some(own) = subjects.iter().find(|subject| subject.name == OWN) else {
        return Ok(Value::DidNotRun(format!("there is no row {OWN}")));
    };
    let log = write_git(&folder, &git)?;
    let path = format!("{}:{}", folder.display(), places.ctx.var("PATH").unwrap_or_default());
    let counted = Subject { command: own.command.clone().env("PATH", path), ..own.clone() };
    // Another PATH may be another key: the first run fills the cache, the second one is counted.
    let filling = Subject { proof: Proof::Gates { out: out(places, "own"), cached: None }, ..counted.clone() };
    let mut last = once(bench, &filling).await?;
    if last.is_ok() {
        std::fs::write(&log, "").context("cannot clear the log of our git")?;
        last = once(bench, &counted).await?;
    }
    Ok(match last {
        Ok(_) => Value::Count(std::fs::read_to_string(&log).unwrap_or_default().lines().count() as u64),
        Err(why) => Value::DidNotRun(places.shown(&why)),
    })
}

/// A `git` that logs how it was asked; gives where.
fn write_git(folder: &Path, real: &Path) -> Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    let (program, log) = (folder.join("git"), folder.join("questions"));
    let (to, real) = (quoted(&log.to_string_lossy()), quoted(&real.to_string_lossy()));
    let script = format!("#!/bin/sh\nprintf '%s\\n' \"$*\" >> {to}\nexec {real} \"$@\"\n");
    std::fs::create_dir_all(folder).context("cannot make the folder of our git")?;
    std::fs::write(&program, script).context("cannot write our git")?;
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))
        .context("cannot make our git a program")?;
    Ok(log)
}
