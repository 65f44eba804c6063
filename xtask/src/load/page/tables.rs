//! The tables of the page: what the pictures show, and what no picture does.

use maud::{Markup, html};

use super::charts::{Along, Chart};
use crate::load::summary::{Judged, Llm, Summary, Trend};
use crate::page::{digits, shown, table};

/// Each threshold with what was measured.
pub fn thresholds(summary: &Summary) -> Markup {
    let word = |judged: &Judged| match judged.holds {
        Some(true) => ("pass", "✓ holds"),
        Some(false) => ("fail", "✗ does not hold"),
        None => ("open", "? no samples"),
    };
    html! {
        section aria-labelledby="thresholds" {
            h2 #thresholds { "Thresholds" }
            @if summary.thresholds.is_empty() {
                p { "None was judged." }
            } @else {
                div.wide tabindex="0" role="region" aria-label="Thresholds" {
                    table {
                        thead { tr { th scope="col" { "threshold" } th scope="col" { "measured" } th.text scope="col" { "verdict" } } }
                        tbody {
                            @for judged in &summary.thresholds {
                                @let (class, said) = word(judged);
                                tr {
                                    th scope="row" { (judged.threshold) }
                                    td { (shown(judged.value)) }
                                    td.text.(class) { span.word { (said) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Each route that asks no language model, and all of them.
pub fn routes(summary: &Summary) -> Markup {
    let row = |name: &str, send: &str, counts: [u64; 2], duration: &Option<Trend>, service: &Option<Trend>| {
        let of = |part: fn(&Trend) -> f64| shown(duration.as_ref().map(part));
        let name = if send.is_empty() || send == name { name.to_owned() } else { format!("{name} ({send})") };
        let counts = [counts[0].to_string(), counts[1].to_string()];
        let times = [of(|t| t.avg), of(|t| t.med), of(|t| t.p95), of(|t| t.p99), of(|t| t.max)];
        let service = shown(service.as_ref().map(|t| t.p95));
        std::iter::once(name).chain(counts).chain(times).chain([service]).collect::<Vec<_>>()
    };
    let rest = || summary.routes.iter().filter(|route| route.llm.is_none());
    let mut rows: Vec<Vec<String>> = rest()
        .map(|route| {
            row(&route.name, &route.send, [route.requests, route.failed], &route.duration, &route.service_time)
        })
        .collect();
    if rows.len() > 1 {
        let sum = [rest().map(|route| route.requests).sum(), rest().map(|route| route.failed).sum()];
        rows.push(row("all of them", "", sum, &summary.duration, &summary.service_time));
    }
    let head = ["route", "requests", "failed", "mean", "p50", "p95", "p99", "slowest", "service time p95"];
    html! {
        section aria-labelledby="routes" {
            h2 #routes { "Routes" }
            @if rows.is_empty() { p { "No route was asked." } } @else {
                (table("Latency of each route, in milliseconds, from the intended start", &head, &rows))
            }
        }
    }
}

/// The routes that ask a language model, apart (R30).
pub fn llm(summary: &Summary) -> Markup {
    let named = |name: &str, llm: &Llm, counts: [String; 2]| {
        let of = |trend: &Option<Trend>, part: fn(&Trend) -> f64| shown(trend.as_ref().map(part));
        let (first, between) = (&llm.time_to_first_token, &llm.time_between_tokens);
        let [requests, failed] = counts;
        vec![
            name.to_owned(),
            requests,
            failed,
            of(first, |t| t.med),
            of(first, |t| t.p95),
            of(first, |t| t.p99),
            of(between, |t| t.med),
            of(between, |t| t.p95),
            of(&llm.tokens_per_second, |t| t.med),
            of(&llm.duration, |t| t.p95),
            of(&llm.cold_time_to_first_token, |t| t.max),
            of(&llm.cold_duration, |t| t.max),
        ]
    };
    let routes = summary.routes.iter().filter_map(|route| {
        let counts = [route.requests.to_string(), route.failed.to_string()];
        Some(named(&route.name, route.llm.as_ref()?, counts))
    });
    let rows: Vec<Vec<String>> = routes.collect();
    let head = [
        "route",
        "requests",
        "failed",
        "time to first token p50",
        "p95",
        "p99",
        "between tokens p50",
        "p95",
        "tokens/s p50",
        "whole answer p95",
        "cold: first token",
        "cold: whole answer",
    ];
    html! {
        @if !rows.is_empty() {
            section aria-labelledby="llm" {
                h2 #llm { "Language models" }
                p { "Of answers that were as expected. A cold answer began before its route had answered once, and is in no other column." }
                (table("Answers of language models, in milliseconds", &head, &rows))
            }
        }
    }
}

/// What went wrong.
pub fn faults(summary: &Summary) -> Markup {
    let rows: Vec<Vec<String>> = summary
        .faults
        .iter()
        .map(|fault| vec![fault.route.clone(), fault.what.clone(), fault.count.to_string()])
        .collect();
    html! {
        section aria-labelledby="faults" {
            h2 #faults { "Errors" }
            @if rows.is_empty() { p { "None." } } @else {
                (table("What went wrong, the most frequent first", &["route", "what", "times"], &rows))
            }
        }
    }
}

/// Whether the generator itself was up to it (R28).
pub fn generator(summary: &Summary) -> Markup {
    let (schedule, generator) = (&summary.schedule, &summary.generator);
    let lag = |part: fn(&Trend) -> f64| shown(generator.lag.as_ref().map(part));
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let rows = [
        row("iterations that were due", schedule.scheduled.to_string()),
        row("begun", schedule.started.to_string()),
        row("of these in the warm-up", schedule.warm_up.to_string()),
        row("dropped, because too many were open", schedule.dropped.to_string()),
        row("given up at the end", schedule.interrupted.to_string()),
        row("most open at a time", generator.most_open.to_string()),
        row("sent later than due, p50 in milliseconds", lag(|t| t.med)),
        row("sent later than due, p99 in milliseconds", lag(|t| t.p99)),
        row("its own CPU, in percent of a core", digits(generator.cpu * 100.0)),
        row("the same in its busiest seconds", digits(generator.cpu_peak * 100.0)),
    ];
    html! {
        section aria-labelledby="generator" {
            h2 #generator { "The generator" }
            p { "A generator that did not keep its own schedule measures itself: such a run has no verdict." }
            (table("What was planned, and what became of it", &["what", "how much"], &rows))
        }
    }
}

/// The figures of a picture.
pub fn of_chart(chart: &Chart) -> Markup {
    let mut head = vec![match chart.along {
        Along::Time => "second",
        Along::Percentile => "percentile",
    }];
    head.extend(chart.series.iter().map(|series| series.label));
    let place = |at: f64| match chart.along {
        Along::Time => at.to_string(),
        Along::Percentile => {
            let text = format!("{:.4}", 100.0 * (1.0 - 1.0 / at));
            format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
        }
    };
    let row = |(index, &at): (usize, &f64)| {
        let values = chart.series.iter().map(|series| shown(series.values.get(index).copied().flatten()));
        std::iter::once(place(at)).chain(values).collect::<Vec<_>>()
    };
    let rows: Vec<Vec<String>> = chart.at.iter().enumerate().map(row).collect();
    table(&format!("{}, in {}", chart.title, chart.unit), &head, &rows)
}
