//! The page: what is well and what is not on top, then each figure as a picture with its table.
//!
//! All tables are in the file as it is written, so that it says everything without a script. With one, pictures are drawn
//! and a filter writes the tables anew.

mod sections;
mod tiles;

use maud::{Markup, html};

use super::figures::{Figures, Filter, Run};
use super::{data, rows};
use crate::page::{Page, minute};

const STYLE: &str = include_str!("../dashboard.css");
const FIGURES: &str = include_str!("../figures.js");
const CHARTS: &str = include_str!("../charts.js");
const FILTER: &str = include_str!("../filter.js");

/// What the page says beside the figures.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// The repository's name.
    pub project: String,
    /// What was not read of the history, in sentences.
    pub unread: Vec<String>,
}

/// The page. `all` are the runs that are known, in order of time, and `figures` those that `filter` made of them.
pub fn render(figures: &Figures, all: &[Run<'_>], filter: &Filter, about: &About) -> String {
    let title = format!("Pipeline of {}", about.project);
    let data = data::of(figures, all, filter);
    let body = html! {
        a.skip href="#main" { "To the figures" }
        header {
            h1 { (title) }
            p.quiet { (covered(figures, filter)) }
            @if !about.unread.is_empty() {
                div.warning role="note" {
                    strong { "These figures are not of everything." }
                    ul { @for line in &about.unread { li { (line) } } }
                }
            }
            (toolbar())
        }
        main #main tabindex="-1" {
            @if all.is_empty() { (nothing()) } @else {
                (tiles::all(figures))
                (sections::contents())
                (sections::all(figures))
            }
        }
        footer {
            p { "Times are in UTC. What each figure means: " code { "docs/dashboard.md" } ". The same figures as data: " code { "cargo xtask dashboard --json" } ". Pictures: uPlot, MIT licence." }
        }
    };
    let scripts: &[&str] = if all.is_empty() { &[FIGURES, FILTER] } else { &[FIGURES, CHARTS, FILTER] };
    Page { title: &title, style: STYLE, scripts, data: &data }.around(&body)
}

fn covered(figures: &Figures, filter: &Filter) -> String {
    let mut text = format!("Made on {} UTC", minute(figures.until));
    if figures.counts.runs > 0 {
        text += &format!(" of {} since {}", rows::runs(figures.counts.runs), minute(figures.from));
    }
    for (what, value) in [("branch", &filter.branch), ("task", &filter.task)] {
        if let Some(value) = value {
            text += &format!(", {what} {value}");
        }
    }
    text + "."
}

/// What only works with a script, which shows it.
fn toolbar() -> Markup {
    html! {
        form #filter hidden aria-label="What is shown" {
            label { "Branch" select #branch {} }
            label { "Task" select #task {} }
            label { "Time" select #range {} }
            label { "Colours" select #theme {
                option value="" { "As the system" }
                option value="light" { "Light" }
                option value="dark" { "Dark" }
            } }
            p #shown role="status" aria-live="polite" {}
        }
        noscript { p.quiet { "Without a script there are no pictures and no filter; every figure is in a table." } }
    }
}

fn nothing() -> Markup {
    html! {
        section.card {
            h2 { "No run is remembered yet" }
            p { "Every run of the pipeline adds a line to its history, and this page is made of them. To begin:" }
            ul {
                li { code { "cargo xtask ci" } " runs every gate: verdicts, durations, coverage, findings" }
                li { code { "cargo xtask perf" } " puts the backend under load: latency" }
                li { code { "cargo xtask deploy staging" } " releases: time line, delivery" }
                li { code { "cargo xtask monitor staging" } " looks at what runs: incidents" }
            }
            p { "Then " code { "cargo xtask dashboard" } " again." }
        }
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::super::figures::testing::{entry, gate};
    use super::super::figures::{self, in_order};
    use super::*;
    use crate::history::entry::Entry;
    use crate::page::testing::assert_closed;
    use crate::verdict::Verdict;

    fn page(entries: &[Entry], about: &About) -> String {
        let (runs, _) = in_order(entries);
        let filter = Filter::default();
        render(&figures::of(&runs, &filter, datetime!(2026-11-28 0:00 UTC)), &runs, &filter, about)
    }

    #[test]
    fn text_from_outside_stays_text() {
        let evil = "</script><script>alert(1)</script>\"'&<!--<b>";
        let mut run = entry("2026-11-27T00:00:00Z", "ci", vec![gate(evil, Verdict::Fail)]);
        (run.branch, run.task) = (evil.to_owned(), evil.to_owned());
        run.gates[0].flaky = vec![evil.to_owned()];
        let mut watched = entry("2026-11-27T01:00:00Z", "monitor", vec![gate(evil, Verdict::Fail)]);
        watched.gates[0].reason = evil.to_owned();
        watched.environment = Some(evil.to_owned());
        let about = About { project: evil.to_owned(), unread: vec![evil.to_owned()] };
        let page = page(&[run, watched], &about);
        assert_closed(&page, 5);
        assert!(!page.contains("<b>") && page.matches("&lt;/script&gt;&lt;script&gt;alert(1)").count() >= 8);
    }

    #[test]
    fn an_empty_history_says_what_to_run() {
        let page = page(&[], &About { project: "shop".to_owned(), unread: vec!["1 line is broken".to_owned()] });
        assert_closed(&page, 4);
        assert!(page.contains("cargo xtask ci") && page.contains("1 line is broken") && !page.contains("<table"));
    }

    #[test]
    fn that_nothing_is_open_says_when_somebody_looked() {
        let looked = |day: u8, verdict| {
            let gates = vec![gate("monitor/health/pods", verdict)];
            entry(&format!("2026-11-{day:02}T01:00:00Z"), "monitor", gates)
        };
        let later = entry("2026-11-27T00:00:00Z", "ci", vec![gate("docs", Verdict::Pass)]);
        let well = page(&[looked(3, Verdict::Pass), looked(4, Verdict::Pass), later.clone()], &About::default());
        assert!(well.contains("of 1 checks; last looked at 2026-11-04 01:00"), "{well}");
        assert!(well.contains("was well when it was last looked at, 2026-11-04 01:00."), "{well}");
        let bad = page(&[looked(3, Verdict::Fail), looked(4, Verdict::Fail), later.clone()], &About::default());
        assert!(bad.contains("of 1 checks, since 2026-11-03 01:00; last looked at 2026-11-04 01:00"), "{bad}");
        assert!(page(&[later], &About::default()).contains("Nothing is watched yet"));
    }

    #[test]
    fn every_picture_has_a_table_and_every_section_a_heading() {
        let page = page(&[entry("2026-11-27T00:00:00Z", "ci", vec![gate("docs", Verdict::Pass)])], &About::default());
        for section in page.split("<section").skip(1) {
            let section = section.split("</section>").next().unwrap();
            assert!(section.contains("<h2") && section.contains("<table"), "{section}");
        }
        assert!(page.matches("data-chart=").count() >= 8);
    }
}
