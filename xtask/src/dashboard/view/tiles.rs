//! The figures that are read first. `figures.js` writes them anew for a filter.

use maud::{Markup, html};

use super::super::figures::points::Fate;
use super::super::figures::{Counts, Figures};
use super::super::rows::{in_tenths, runs, tenths, time};
use crate::page::{NONE, grouped, minute, percent};

struct Tile {
    id: &'static str,
    name: &'static str,
    value: String,
    note: String,
    /// Whether somebody should look at it: said by a word and a line, and by a colour.
    is_bad: bool,
}

/// All of them.
pub fn all(figures: &Figures) -> Markup {
    let tiles = [incidents(figures), passed(&figures.counts), spent(figures), cached(&figures.counts)];
    let tiles = tiles.into_iter().chain([coverage(figures), findings(figures), flaky(figures), releases(figures)]);
    html! {
        dl.tiles {
            @for tile in tiles {
                div.tile.bad[tile.is_bad] id={ "tile-" (tile.id) } {
                    dt { (tile.name) }
                    dd.value { (tile.value) }
                    dd.note { (tile.note) }
                }
            }
        }
    }
}

fn tile(id: &'static str, name: &'static str, value: String, note: String) -> Tile {
    Tile { id, name, value, note, is_bad: false }
}

fn incidents(figures: &Figures) -> Tile {
    let name = "Open incidents";
    if figures.checks == 0 {
        return tile("incidents", name, NONE.to_owned(), "nothing is watched yet".to_owned());
    }
    let open = figures.incidents.len() as u64;
    let oldest = figures.incidents.iter().map(|incident| incident.since).min();
    let of = format!("of {} checks", grouped(figures.checks));
    let since = oldest.map_or(of.clone(), |at| format!("{of}, since {}", minute(at)));
    // That nothing is open says little where nobody has looked for long.
    let note = figures.looked.map_or(since.clone(), |at| format!("{since}; last looked at {}", minute(at)));
    Tile { is_bad: open > 0, ..tile("incidents", name, grouped(open), note) }
}

fn passed(counts: &Counts) -> Tile {
    let note =
        format!("{} of {}, {} without a verdict", grouped(counts.pass), runs(counts.runs), grouped(counts.did_not_run));
    tile("passed", "Runs that passed", percent(counts.pass, counts.runs), note)
}

fn spent(figures: &Figures) -> Tile {
    let weeks = ((figures.until - figures.from) as f64 / (7.0 * 86_400.0)).max(1.0);
    let per_week = (figures.counts.spent_ms as f64 / weeks).round() as u64;
    tile("spent", "Time of runs, a week", time(per_week), format!("{} in all", time(figures.counts.spent_ms)))
}

fn cached(counts: &Counts) -> Tile {
    let note = format!("{} of {} gates", grouped(counts.cached), grouped(counts.gates));
    tile("cached", "From the cache", percent(counts.cached, counts.gates), note)
}

fn coverage(figures: &Figures) -> Tile {
    let measured: Vec<i64> = figures.coverage.iter().filter_map(|point| point.combined.map(tenths)).collect();
    let [Some(first), Some(last)] = [measured.first(), measured.last()] else {
        return tile("coverage", "Coverage", NONE.to_owned(), "not measured".to_owned());
    };
    if measured.len() == 1 {
        return tile("coverage", "Coverage", in_tenths(*last), "measured once".to_owned());
    }
    let change = last - first;
    let sign = if change < 0 { "−" } else { "+" };
    let note = format!("{sign}{}.{} points in this time", change.abs() / 10, change.abs() % 10);
    tile("coverage", "Coverage", in_tenths(*last), note)
}

fn findings(figures: &Figures) -> Tile {
    let name = "Critical and high findings";
    // Another task looks at less.
    let whole = figures.findings.iter().rev().find(|point| point.of.task == "ci");
    let Some(last) = whole.or(figures.findings.last()) else {
        return tile("findings", name, NONE.to_owned(), "nothing was looked at".to_owned());
    };
    let note = format!("in the last {}; {} medium, {} low", last.of.task, grouped(last.medium), grouped(last.low));
    let grave = last.critical + last.high;
    Tile { is_bad: grave > 0, ..tile("findings", name, grouped(grave), note) }
}

fn flaky(figures: &Figures) -> Tile {
    let note = "tests and gates that passed and failed without a change".to_owned();
    tile("flaky", "Flaky", grouped(figures.flaky.len() as u64), note)
}

fn releases(figures: &Figures) -> Tile {
    let count = |fate| figures.releases.iter().filter(|release| release.fate == fate).count() as u64;
    let lost = count(Fate::NotRestored);
    let note = format!(
        "{} verified, {} restored, {} not restored",
        grouped(count(Fate::Verified)),
        grouped(count(Fate::Restored)),
        grouped(lost)
    );
    Tile { is_bad: lost > 0, ..tile("releases", "Releases", grouped(figures.releases.len() as u64), note) }
}
