//! `perf/report.html`: a load run as one page, for people. No network, one file.
//!
//! Every figure of a picture stands in a table as well, for those who do not see pictures, use no script, or print. The
//! document around it, uPlot, and what keeps text from outside harmless are those of all pages (`page`).

mod charts;
mod tables;

use maud::{Markup, html};
use serde_json::Value;

use super::summary::Summary;
use crate::page::Page;
use crate::verdict::Verdict;

const CHARTS: &str = include_str!("charts.js");

/// What the page says beside the figures.
#[derive(Clone, Debug)]
pub struct About {
    /// How the run ended.
    pub verdict: Verdict,
    /// Why it is not green; empty for a pass.
    pub reason: String,
    /// Commit, image, machine and the like: names and values.
    pub facts: Vec<(&'static str, String)>,
}

/// The page.
pub fn render(summary: &Summary, about: &About) -> String {
    let title = format!("Load test: {}", summary.load);
    let charts = charts::of(summary);
    let all: serde_json::Map<String, Value> = charts.iter().map(|chart| (chart.id.to_owned(), chart.data())).collect();
    let body = html! {
        a.skip href="#main" { "To the figures" }
        header {
            h1 { (title) }
            (verdict(about))
            (facts(summary, about))
        }
        main #main tabindex="-1" {
            (tables::thresholds(summary))
            @for chart in &charts {
                section aria-labelledby=(chart.id) {
                    h2 id=(chart.id) { (chart.title) }
                    p { (chart.about) }
                    (picture(chart))
                }
            }
            (tables::routes(summary))
            (tables::llm(summary))
            (tables::faults(summary))
            (tables::generator(summary))
        }
        footer { p { "Figures are also in " code { "summary.json" } ". Pictures: uPlot, MIT licence." } }
    };
    Page { title: &title, style: "", scripts: &[CHARTS], data: &Value::from(all) }.around(&body)
}

fn verdict(about: &About) -> Markup {
    let (class, word) = match about.verdict {
        Verdict::Pass => ("pass", "passed"),
        Verdict::Fail => ("fail", "failed"),
        Verdict::DidNotRun => ("open", "no verdict"),
    };
    html! {
        p.verdict.(class) role="status" {
            span.word { (word) }
            @if !about.reason.is_empty() { ": " (about.reason) }
        }
    }
}

fn facts(summary: &Summary, about: &About) -> Markup {
    let tables = [
        ("target", summary.target.clone()),
        ("engine", summary.engine.clone()),
        ("model", summary.model.clone()),
        ("measured", format!("{:.1} s", summary.measured_ms / 1000.0)),
        ("requests", format!("{}, {:.1} a second", summary.requests, summary.rate)),
        ("failed", format!("{}, {:.2} %", summary.failed, summary.failed_rate * 100.0)),
    ];
    html! {
        dl {
            @for (name, value) in tables.iter().chain(&about.facts) {
                @if !value.is_empty() {
                    dt { (name) }
                    dd { (value) }
                }
            }
        }
    }
}

fn picture(chart: &charts::Chart) -> Markup {
    html! {
        @if chart.at.is_empty() {
            p { "There is nothing to draw: no request of this kind ended." }
        } @else {
            figure {
                figcaption { (chart.said()) }
                // What it shows stands in the caption and in the table.
                div.chart data-chart=(chart.id) role="img" aria-label=(chart.said()) {}
                noscript { p { "The picture needs a script; its figures are below." } }
            }
            details {
                summary { "The figures of this picture" }
                (tables::of_chart(chart))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::summary::{Fault, Judged, Llm, Point, Route, Second, Trend};
    use crate::page::testing::assert_closed;

    fn trend(value: f64) -> Option<Trend> {
        let (med, p95, p99) = (value, value * 2.0, value * 3.0);
        Some(Trend { count: 1000, avg: value, min: 0.5, med, p90: p95, p95, p99, p999: p99, max: p99 })
    }

    fn about(verdict: Verdict) -> About {
        About { verdict, reason: "p95 is <high>".to_owned(), facts: vec![("commit", "abc & def".to_owned())] }
    }

    fn summary(name: &str) -> Summary {
        let second = |at: u64| Second {
            at,
            requests: 100,
            p50: Some(10.0),
            p95: (at != 3).then_some(20.0),
            p99: Some(30.0),
            users: 50,
            ..Second::default()
        };
        let llm = Some(Llm { time_to_first_token: trend(80.0), ..Llm::default() });
        Summary {
            load: name.to_owned(),
            requests: 1000,
            rate: 100.0,
            duration: trend(10.0),
            service_time: trend(9.0),
            percentiles: [0.0, 50.0, 95.0, 100.0]
                .map(|percentile| Point { percentile, value: 1.0 + percentile })
                .to_vec(),
            routes: vec![
                Route { name: name.to_owned(), requests: 900, duration: trend(10.0), ..Route::default() },
                Route { name: "chat".to_owned(), requests: 100, llm, ..Route::default() },
            ],
            series: (1..=10).map(second).collect(),
            faults: vec![Fault { route: name.to_owned(), what: format!("status {name}"), count: 3 }],
            thresholds: vec![Judged {
                threshold: "http_req_duration: p(95)<15".to_owned(),
                value: Some(20.0),
                limit: 15.0,
                holds: Some(false),
            }],
            ..Summary::default()
        }
    }

    #[test]
    fn text_from_outside_stays_text() {
        let name = "</script><script>alert(1)</script>\"'&<!--";
        let page = render(&summary(name), &about(Verdict::Fail));
        assert_closed(&page, 3);
        assert!(!page.contains("<high>"));
        assert!(page.contains("&lt;/script&gt;&lt;script&gt;alert(1)") && page.contains("p95 is &lt;high&gt;"));
        assert!(page.contains("abc &amp; def"));
    }

    #[test]
    fn one_file_holds_everything() {
        let page = render(&summary("main"), &about(Verdict::Fail));
        assert_closed(&page, 3);
        for said in ["failed", "http_req_duration: p(95)&lt;15", "does not hold", "time to first token", "status main"]
        {
            assert!(page.contains(said), "{said}");
        }
    }

    #[test]
    fn a_run_that_measured_nothing_has_a_page_too() {
        let page = render(&Summary::default(), &about(Verdict::DidNotRun));
        assert!(page.contains("no verdict") && page.contains("There is nothing to draw"));
        assert!(!page.contains("data-chart=") && !page.contains("NaN"));
    }

    #[test]
    fn every_figure_of_a_picture_stands_in_a_table() {
        let page = render(&summary("main"), &about(Verdict::Pass));
        assert_eq!(page.matches("data-chart=").count(), page.matches("The figures of this picture").count());
        assert!(page.contains("<td>–</td>"), "a second without a figure is a gap and no zero");
    }
}
