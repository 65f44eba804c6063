//! What the scripts of the page choose from: runs in few bytes, and single figures with their rows as they are shown.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::figures::{self, Figures, Filter, Run};
use super::rows::{self, Row};
use crate::verdict::Verdict;

/// The times that can be chosen: how many days, and their name.
const RANGES: &[(&str, i64, &str)] = &[
    ("all", 0, "The whole history"),
    ("365d", 365, "The last 365 days"),
    ("90d", 90, "The last 90 days"),
    ("30d", 30, "The last 30 days"),
    ("7d", 7, "The last 7 days"),
];

/// Names by their numbers, so that each stands in the page once.
#[derive(Default)]
struct Names<'a> {
    numbers: BTreeMap<&'a str, usize>,
    names: Vec<&'a str>,
}

impl<'a> Names<'a> {
    fn number(&mut self, name: &'a str) -> usize {
        *self.numbers.entry(name).or_insert_with(|| {
            self.names.push(name);
            self.names.len() - 1
        })
    }
}

/// The data of a page that shows `figures` at first. `runs` are those of the filter, `all` those of the history.
pub fn of(figures: &Figures, all: &[Run<'_>], filter: &Filter) -> Value {
    let (mut branches, mut tasks, mut gates, mut tests, mut commits) =
        (Names::default(), Names::default(), Names::default(), Names::default(), Names::default());
    let is = |wanted: &Option<String>, value: &str| wanted.as_deref().is_none_or(|wanted| wanted == value);
    let chosen = |run: &&Run<'_>| {
        run.at >= figures.from && is(&filter.branch, &run.entry.branch) && is(&filter.task, &run.entry.task)
    };
    let mut runs = Vec::new();
    for run in all.iter().filter(chosen) {
        let entry = run.entry;
        let is_whole = !entry.dirty && entry.environment.is_none() && !entry.commit.is_empty();
        let commit = if is_whole { commits.number(&entry.commit) as i64 } else { -1 };
        let of = entry.gates.iter().map(|gate| {
            let flaky: Vec<usize> = gate.flaky.iter().map(|test| tests.number(test)).collect();
            let id = gates.number(&gate.id);
            match flaky.is_empty() {
                true => json!([id, number(gate.verdict), u8::from(gate.cached), gate.duration_ms]),
                false => json!([id, number(gate.verdict), u8::from(gate.cached), gate.duration_ms, flaky]),
            }
        });
        let of: Vec<Value> = of.collect();
        let (branch, task) = (branches.number(&entry.branch), tasks.number(&entry.task));
        runs.push(json!([run.at, entry.duration_ms, branch, task, number(entry.verdict), commit, of]));
    }
    let mut environments: Vec<&str> = figures.releases.iter().map(|release| release.environment.as_str()).collect();
    environments.sort_unstable();
    environments.dedup();
    let fates: Vec<&str> = figures::points::Fate::ALL.iter().map(|fate| fate.name()).collect();
    json!({
        "from": figures.from,
        "until": figures.until,
        "ranges": ranges(figures, all),
        "branches": branches.names,
        "tasks": tasks.names,
        "gates": gates.names,
        "tests": tests.names,
        "environments": environments,
        "fates": fates,
        "runs": runs,
        "points": points(figures, &environments),
    })
}

fn number(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Pass => 0,
        Verdict::Fail => 1,
        Verdict::DidNotRun => 2,
    }
}

/// Each time that can be chosen, with the figures of delivery in it: those are made by `history::dora` alone.
fn ranges(figures: &Figures, all: &[Run<'_>]) -> Vec<Value> {
    let range = |&(id, days, name): &(&str, i64, &str)| {
        let from = if days == 0 { figures.from } else { (figures.until - days * 86_400).max(figures.from) };
        let delivery = rows::delivery(&figures::delivery(all, from, figures.until));
        json!({ "id": id, "name": name, "from": from, "delivery": delivery })
    };
    RANGES.iter().map(range).collect()
}

/// `[when, branch, task, row, values…]`; branch and task by name, for only few runs have such a figure.
fn points(figures: &Figures, environments: &[&str]) -> Value {
    let point = |of: &figures::points::Of, row: Row, values: Value| json!([of.at, of.branch, of.task, row, values]);
    let coverage = figures
        .coverage
        .iter()
        .map(|one| point(&one.of, rows::coverage(one), json!([one.combined, one.combined.map(rows::tenths)])));
    let findings = figures
        .findings
        .iter()
        .map(|one| point(&one.of, rows::findings(one), json!([one.critical, one.high, one.medium, one.low])));
    let loads = figures.loads.iter().map(|one| {
        let latency = one.latency;
        let values = [latency.map(|l| l.p50), latency.map(|l| l.p95), latency.map(|l| l.p99)];
        point(&one.of, rows::load(one), json!([rows::load_name(one), values, one.first_token.map(|first| first.p95)]))
    });
    let images =
        figures.images.iter().map(|one| point(&one.of, rows::image(one), json!([rows::megabytes(one.size_bytes)])));
    let releases = figures.releases.iter().map(|one| {
        let lane = environments.iter().position(|name| *name == one.environment);
        let fate = figures::points::Fate::ALL.iter().position(|fate| *fate == one.fate);
        json!([one.at, "", "", rows::release(one), [lane, fate]])
    });
    json!({
        "coverage": coverage.collect::<Vec<_>>(),
        "findings": findings.collect::<Vec<_>>(),
        "loads": loads.collect::<Vec<_>>(),
        "images": images.collect::<Vec<_>>(),
        "releases": releases.collect::<Vec<_>>(),
    })
}
