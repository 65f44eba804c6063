//! Each figure with its heading, its picture and its table.

use std::borrow::Cow;

use maud::{Markup, html};

use super::super::figures::Figures;
use super::super::rows::{self, Row};
use crate::page::{grouped, minute};

/// How many rows of a table are in the page, the first ones; the pictures and `--json` have all.
const MOST_ROWS: usize = 500;

/// A part of the page.
struct Section {
    id: &'static str,
    title: &'static str,
    about: &'static str,
    /// What is said where there is no figure.
    none: Cow<'static, str>,
    /// The pictures, each a name and what its values are counted in.
    charts: &'static [(&'static str, &'static str)],
    /// Its table: what it is of, its head and its rows.
    table: (&'static str, &'static [&'static str], Vec<Row>),
    /// Whether the table is what matters, or the picture.
    is_table_shown: bool,
}

/// Where to go, from the keyboard as well.
const CONTENTS: &[(&str, &str)] = &[
    ("incidents", "Incidents"),
    ("runs", "Runs"),
    ("gates", "Gates"),
    ("flaky", "Flaky"),
    ("coverage", "Coverage"),
    ("findings", "Findings"),
    ("images", "Image size"),
    ("loads", "Latency"),
    ("releases", "Releases"),
    ("delivery", "Delivery"),
];

/// The links to all sections.
pub fn contents() -> Markup {
    html! {
        nav aria-label="Sections" { ul { @for (id, name) in CONTENTS { li { a href={ "#" (id) } { (name) } } } } }
    }
}

/// All of them, in the order of [`CONTENTS`].
pub fn all(figures: &Figures) -> Markup {
    html! {
        div.sections { @for section in sections(figures) { (one(&section)) } }
    }
}

fn one(section: &Section) -> Markup {
    let (caption, head, rows) = &section.table;
    let is_wide = section.is_table_shown || section.charts.len() > 1;
    html! {
        section.card.wide-card[is_wide] aria-labelledby=(section.id) {
            h2 id=(section.id) { (section.title) }
            p.about { (section.about) }
            p.none id={ "none-" (section.id) } hidden[!rows.is_empty()] { (with_commands(&section.none)) }
            @if !section.charts.is_empty() {
                div.charts {
                    @for (chart, unit) in section.charts {
                        figure {
                            figcaption { (unit) }
                            div.chart data-chart=(chart) role="img" aria-label={ (section.title) ", " (unit) ". The table below has its figures." } {}
                        }
                    }
                }
            }
            @if section.is_table_shown { (table(section.id, caption, head, rows)) } @else {
                details hidden[rows.is_empty()] {
                    summary { "Table: " (caption) }
                    (table(section.id, caption, head, rows))
                }
            }
        }
    }
}

/// What stands between backticks is a command.
fn with_commands(text: &str) -> Markup {
    html! {
        @for (index, part) in text.split('`').enumerate() {
            @if index % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

fn table(id: &str, caption: &str, head: &[&str], rows: &[Row]) -> Markup {
    html! {
        div.wide tabindex="0" role="region" aria-label=(caption) hidden[rows.is_empty()] {
            table id={ "table-" (id) } {
                caption {
                    (caption)
                    span.cut { @if rows.len() > MOST_ROWS { ", the first " (grouped(MOST_ROWS as u64)) " of " (grouped(rows.len() as u64)) } }
                }
                thead { tr { @for cell in head { th scope="col" { (cell) } } } }
                tbody {
                    @for row in rows.iter().take(MOST_ROWS) {
                        tr {
                            @for (index, cell) in row.iter().enumerate() {
                                @if index == 0 { th scope="row" { (cell) } } @else { td { (linked(cell)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A cell, as a link where it is the address of a page: short, for its end is what tells it from others.
fn linked(cell: &str) -> Markup {
    let is_page = ["https://", "http://"].iter().any(|scheme| cell.starts_with(scheme)) && !cell.contains(' ');
    let end = cell.rsplit('/').next().unwrap_or_default();
    let shown = if end.parse::<u64>().is_ok() { format!("#{end}") } else { cell.to_owned() };
    html! { @if is_page { a href=(cell) { (shown) } } @else { (cell) } }
}

/// The newest first.
fn newest<T>(points: &[T], row: impl Fn(&T) -> Row) -> Vec<Row> {
    points.iter().rev().map(row).collect()
}

fn sections(figures: &Figures) -> Vec<Section> {
    let all_ms = figures.gates.iter().map(|gate| gate.total_ms).sum();
    vec![
        Section {
            id: "incidents",
            title: "Open incidents",
            about: "Checks of environments that failed and have not passed twice since, and checks without a verdict. They do not depend on the filter.",
            none: match figures.looked {
                Some(at) => {
                    format!("None: whatever is watched was well when it was last looked at, {}.", minute(at)).into()
                }
                None => "Nothing is watched yet: `cargo xtask monitor` does.".into(),
            },
            charts: &[],
            table: (
                "open incidents, the oldest first",
                rows::INCIDENTS,
                figures.incidents.iter().map(rows::incident).collect(),
            ),
            is_table_shown: true,
        },
        Section {
            id: "runs",
            title: "Runs",
            about: "A run passes when all that is required of it passed. What has no verdict has not passed.",
            none: "No run in this selection.".into(),
            charts: &[("verdicts", "runs by their verdict"), ("shares", "shares of runs and of gates, percent")],
            table: ("runs by their time", rows::BUCKETS, newest(&figures.buckets, rows::bucket)),
            is_table_shown: false,
        },
        Section {
            id: "gates",
            title: "What gates cost",
            about: "The most expensive first. A gate that was taken from the cache cost nothing and is in no other figure of its row.",
            none: "No gate ran in this selection.".into(),
            charts: &[("costs", "minutes of the five most expensive gates, and of all others")],
            table: (
                "gates by what they cost",
                rows::GATES,
                figures.gates.iter().map(|gate| rows::gate(gate, all_ms)).collect(),
            ),
            is_table_shown: true,
        },
        Section {
            id: "flaky",
            title: "Flaky",
            about: "Tests that failed and passed on the same inputs within a run, and gates that passed and failed on the same commit. Checks of environments do not count: what they look at changes without a commit.",
            none: "None in this selection.".into(),
            charts: &[],
            table: ("flaky tests and gates", rows::FLAKY, figures.flaky.iter().map(rows::flaky).collect()),
            is_table_shown: true,
        },
        Section {
            id: "coverage",
            title: "Coverage",
            about: "Statements and branches together, of all legs; the branches with the most runs each have a line.",
            none: "Not measured in this selection: `cargo xtask test-matrix` does.".into(),
            charts: &[("coverage", "percent")],
            table: ("coverage, the newest first", rows::COVERAGE, newest(&figures.coverage, rows::coverage)),
            is_table_shown: false,
        },
        Section {
            id: "findings",
            title: "Findings",
            about: "By severity, without the excused ones. The picture is of the runs of ci, where there are any and no other task is chosen: another task looks at less.",
            none: "Nothing was looked at in this selection: `cargo xtask scan` does.".into(),
            charts: &[("findings", "findings in a run")],
            table: ("findings, the newest first", rows::FINDINGS, newest(&figures.findings, rows::findings)),
            is_table_shown: false,
        },
        Section {
            id: "images",
            title: "Image size",
            about: "Layers unpacked; a line for each of the branches with the most runs.",
            none: "No image was built in this selection: `cargo xtask container build` does.".into(),
            charts: &[("images", "megabytes")],
            table: ("sizes, the newest first", rows::IMAGES, newest(&figures.images, rows::image)),
            is_table_shown: false,
        },
        Section {
            id: "loads",
            title: "Latency under load",
            about: "From the moment at which a request was due. A load on a backend of its own is measured on the machine of its run: compare only what was measured alike.",
            none: "Not measured in this selection: `cargo xtask perf` does.".into(),
            charts: &[("load-0", ""), ("load-1", ""), ("load-2", ""), ("load-3", "")],
            table: ("loads, times in milliseconds, the newest first", rows::LOADS, newest(&figures.loads, rows::load)),
            is_table_shown: false,
        },
        Section {
            id: "releases",
            title: "Releases",
            about: "When each began, and what became of it. Of the filter only the time counts.",
            none: "No release in this selection: `cargo xtask deploy` makes one.".into(),
            charts: &[("releases", "releases by environment")],
            table: ("releases, the newest first", rows::RELEASES, newest(&figures.releases, rows::release)),
            is_table_shown: true,
        },
        Section {
            id: "delivery",
            title: "Delivery",
            about: "After DORA: how often a version goes out, how long a commit waits for it, how many changes fail, and how long that lasts. Of the filter only the time counts.",
            none: "No release is known: `cargo xtask deploy` makes one.".into(),
            charts: &[],
            table: ("delivery by environment", rows::DELIVERY, rows::delivery(&figures.delivery)),
            is_table_shown: true,
        },
    ]
}
