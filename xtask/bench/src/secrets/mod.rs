//! Scanners for secrets: what each finds, what it takes for one, and how long it takes.
//!
//! Over a corpus of which every line is known, a large tree, a long history, and a few changed files. A scanner
//! that is not on this machine is named in a row of its own and left out.

mod benign;
mod corpus;
mod engine;
mod made;
mod planted;
mod stage;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::material::{history, long_history_folder};
use crate::measure::{Proof, Subject, tell};
use crate::row::{Aim, Row, Value, times};
use crate::{Bench, Places};
use corpus::{Corpus, Found};
use engine::Engine;
use made::{Made, make};
use work::{Target, Work};

/// The one that reads much in little time.
const OURS: Engine = Engine::Gitleaks;

/// How we would go through a history.
const BLOBS: &str = "all blobs, staged";

const STAGED: &str = ", `--staged`";

fn folder(places: &Places) -> PathBuf {
    places.folder.join("secrets")
}

/// What can be listed before anything is made: each scanner over the tree, and the ways through a history.
pub fn subjects(places: &Places) -> Vec<Subject> {
    let root = folder(places);
    let works = |(engine, target): (Engine, Target)| {
        let rules = engine.is_gitleaks().then(|| root.join("rules.toml"));
        Work { name: String::new(), beside: None, engine, program: engine.program().into(), rules, target }
    };
    let trees = Engine::ALL.map(|engine| (engine, Target::Folder(root.join("tree"))));
    let ways = ways(&long_history_folder(places)).map(|(_, target)| (OURS, target));
    let subject = |work: Work| {
        let command = work.commands(&root).pop()?;
        Some(Subject::new(command.args.join(" "), command, Proof::Says("")))
    };
    trees.into_iter().chain(ways).map(works).filter_map(subject).collect()
}

fn ways(history: &Path) -> [(&'static str, Target); 5] {
    let history = history.to_owned();
    [
        ("`git`, as it comes", Target::Git(history.clone())),
        ("`git` with `--log-opts`", Target::Log(history.clone())),
        ("two `git` side by side", Target::Halves(history.clone())),
        ("`git log` into `stdin`", Target::Pipe(history.clone())),
        (BLOBS, Target::Blobs(history)),
    ]
}

pub async fn rows(bench: &Bench) -> Result<Vec<Row>> {
    let places = &bench.places;
    let root = folder(places);
    std::fs::create_dir_all(&root).context("cannot make the folder of the scanners")?;
    let rules = engine::write_rules(places)?;
    let corpus = Corpus::new();
    let made = make(bench, &root, &corpus).await?;
    let (mut rows, mut works) = (Vec::new(), Vec::new());
    for engine in Engine::ALL {
        match engine.find(bench)? {
            Some(program) => works.extend(planned(engine, &program, &rules, &made)),
            None => {
                let why = format!("`{}` is not there: `cargo xtask tools install` gets what we use", engine.program());
                // Without the one that we would use there is no figure of ours; the others are peers.
                let beside = (engine != OURS).then(|| engine.program().to_owned());
                rows.push(Row { beside, ..Row::new(engine.program(), Value::DidNotRun(why)) });
            }
        }
    }
    let samples = in_turns(bench, &works, &root).await?;
    rows.extend(works.iter().zip(&samples).flat_map(|(work, samples)| told(work, samples, &corpus, places, &root)));
    rows.extend(union(&works, &samples, &corpus));
    Ok(rows)
}

/// All that one scanner is asked to do.
fn planned(engine: Engine, program: &Path, rules: &Path, made: &Made) -> Vec<Work> {
    let name = |engine: Engine, own: bool, what: &str| {
        format!("{}{}, {what}", engine.program(), if own { " with our rules" } else { "" })
    };
    let work = |what: String, own: bool, target: &Target| {
        let ours = match target {
            Target::Git(_) | Target::Log(_) | Target::Halves(_) | Target::Pipe(_) => format!("history, {BLOBS}"),
            Target::Index(_) => what.replace(STAGED, ""),
            _ => what.replace("as it lies", "staged"),
        };
        Work {
            name: name(engine, own, &what),
            beside: (engine != OURS || !own || ours != what).then(|| name(OURS, true, &ours)),
            engine,
            program: program.to_owned(),
            rules: own.then(|| rules.to_owned()),
            target: target.clone(),
        }
    };
    let tree = Target::Folder(made.tree.clone());
    let staged = Target::Staged(made.staged.clone());
    let mut works = vec![
        work("corpus as it lies".to_owned(), false, &Target::Folder(made.corpus.clone())),
        work("corpus, staged".to_owned(), false, &staged),
        work("tree".to_owned(), false, &tree),
    ];
    if engine.is_gitleaks() {
        works.push(work("corpus, staged".to_owned(), true, &staged));
        works.push(work("tree".to_owned(), true, &tree));
        for (count, changed) in &made.changed {
            works.push(work(format!("changed files, {count}"), true, &Target::Folder(changed.clone())));
            works.push(work(format!("changed files, {count}{STAGED}"), true, &Target::Index(changed.clone())));
        }
        // The other build takes a minute for what this one does in seconds.
        let few = if engine == OURS { 5 } else { 2 };
        works.extend(
            ways(&made.history)
                .iter()
                .take(few)
                .map(|(what, way)| work(format!("history, {what}"), !matches!(way, Target::Git(_)), way)),
        );
    } else {
        works.extend(
            made.changed.iter().map(|(count, changed)| {
                work(format!("changed files, {count}"), false, &Target::Folder(changed.clone()))
            }),
        );
    }
    works
}

type Samples = Result<(Vec<Duration>, BTreeSet<Found>), String>;

/// As the other groups do it: once without counting, then all of them in turns.
async fn in_turns(bench: &Bench, works: &[Work], out: &Path) -> Result<Vec<Samples>> {
    let mut all: Vec<Samples> = works.iter().map(|_| Ok(Default::default())).collect();
    for round in 0..=bench.runs {
        for (work, samples) in works.iter().zip(&mut all) {
            let Ok((kept, last)) = samples else { continue };
            tell(bench, round, &work.name);
            match work.once(bench, out).await? {
                Ok((wall, found)) => {
                    *last = found;
                    kept.extend((round > 0).then_some(wall));
                }
                Err(why) => *samples = Err(why),
            }
        }
    }
    Ok(all)
}

/// The time of a work, and what it found.
fn told(work: &Work, samples: &Samples, corpus: &Corpus, places: &Places, out: &Path) -> Vec<Row> {
    let command = work.commands(out).pop().map(|command| places.command(&command)).unwrap_or_default();
    let row = |value: Value| Row { beside: work.beside.clone(), command, ..Row::new(work.name.clone(), value) };
    let (walls, found) = match samples {
        Ok((walls, found)) => (walls, found),
        Err(why) => return vec![row(Value::DidNotRun(places.shown(why)))],
    };
    let ours = work.rules.is_some() && work.engine == OURS;
    let mut time = row(times(walls));
    time.aim = match &work.target {
        Target::Blobs(_) if ours => Some(Aim::Within(10_000)),
        Target::Folder(folder) if work.engine == Engine::GitleaksQuick && folder.ends_with("changed-10") => {
            Some(Aim::Within(300))
        }
        _ => None,
    };
    let (of, named, wrong) = match &work.target {
        Target::Folder(folder) if !folder.ends_with("corpus") => return vec![time],
        // A pipe has neither path nor commit.
        Target::Pipe(_) | Target::Index(_) => return vec![time],
        Target::Folder(_) | Target::Staged(_) => {
            let score = corpus.score(found);
            (score.secrets, score.named(), score.wrong.len())
        }
        _ => in_history(found),
    };
    let aimed = matches!(work.target, Target::Staged(_) | Target::Blobs(_)) && ours;
    let count = |what: String, count: usize, wanted: usize| {
        let row = Row::new(format!("{}: {what}", work.name), Value::Count(count as u64));
        if aimed { row.aim(Aim::Exactly(wanted as u64)) } else { row }
    };
    vec![time, count(format!("named of {of}"), named, of), count("false alarms".to_owned(), wrong, 0)]
}

/// How many secrets a history has, how many files of them are named, and how many others.
fn in_history(found: &BTreeSet<Found>) -> (usize, usize, usize) {
    let first_name = |path: &str| if path == history::MOVED.1 { history::MOVED.0 } else { path }.to_owned();
    let paths: BTreeSet<String> = found.iter().map(|(path, ..)| first_name(path)).collect();
    let is_planted = |path: &&String| history::PLANTED.iter().any(|(planted, _)| planted == path);
    let named = paths.iter().filter(is_planted).count();
    let wrong = paths.len() - named;
    (history::PLANTED.len(), named, wrong)
}

/// What gitleaks and ripsecrets find together, by their own rules.
fn union(works: &[Work], samples: &[Samples], corpus: &Corpus) -> Vec<Row> {
    let mut both: BTreeMap<&str, &BTreeSet<Found>> = BTreeMap::new();
    for (work, samples) in works.iter().zip(samples) {
        let as_it_lies = matches!(&work.target, Target::Folder(folder) if folder.ends_with("corpus"));
        if let (true, Ok((_, found)), Engine::Gitleaks | Engine::Ripsecrets) = (as_it_lies, samples, work.engine) {
            both.insert(work.engine.program(), found);
        }
    }
    if both.len() < 2 {
        return vec![];
    }
    let score = corpus.score(&both.into_values().flatten().cloned().collect());
    let row = |what: String, count: usize| {
        Row::new(format!("gitleaks and ripsecrets, corpus as it lies: {what}"), Value::Count(count as u64))
    };
    vec![row(format!("named of {}", score.secrets), score.named()), row("false alarms".to_owned(), score.wrong.len())]
}
