//! What is drawn: a summary → axes and series. Pure.

use serde_json::{Value, json};

use crate::load::summary::{Point, Second, Summary};
use crate::page::digits;

/// One picture.
#[derive(Clone, Debug)]
pub struct Chart {
    /// Its name in the page.
    pub id: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// What it shows, and what not.
    pub about: &'static str,
    /// What its values are counted in.
    pub unit: &'static str,
    /// Along which axis.
    pub along: Along,
    /// The places on that axis: seconds, or 1 / (1 − percentile).
    pub at: Vec<f64>,
    /// What is drawn over them.
    pub series: Vec<Series>,
    /// The second at which the warm-up ends, where there is one.
    pub warm_up: Option<u64>,
}

/// The axis from left to right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Along {
    /// Seconds since the start.
    Time,
    /// Percentiles on the logarithmic scale of HDR histograms, on which each nine takes the same room.
    Percentile,
}

/// One line.
#[derive(Clone, Debug)]
pub struct Series {
    /// Its name.
    pub label: &'static str,
    /// A value for each place; a gap where there was none.
    pub values: Vec<Option<f64>>,
}

impl Chart {
    /// As the script reads it.
    pub fn data(&self) -> Value {
        let series: Vec<Value> =
            self.series.iter().map(|series| json!({ "label": series.label, "values": series.values })).collect();
        let along = match self.along {
            Along::Time => "time",
            Along::Percentile => "percentile",
        };
        json!({ "x": along, "unit": self.unit, "at": self.at, "series": series, "warmUp": self.warm_up })
    }

    /// What is seen, in a sentence.
    pub fn said(&self) -> String {
        let range = |series: &Series| {
            let values = || series.values.iter().flatten().copied();
            match (values().reduce(f64::min), values().reduce(f64::max)) {
                (Some(low), Some(high)) => format!("{} {} to {}", series.label, digits(low), digits(high)),
                _ => format!("{} without any value", series.label),
            }
        };
        let all: Vec<String> = self.series.iter().map(range).collect();
        format!("In {}: {}.", self.unit, all.join(", "))
    }
}

/// The pictures of a run, in the order of the page.
pub fn of(summary: &Summary) -> Vec<Chart> {
    let mut charts = vec![latency(summary), rate(summary), users(summary), spectrum(summary)];
    if summary.series.iter().any(|second| second.llm_p95.is_some()) {
        charts.push(first_token(summary));
    }
    charts
}

fn warm_up(summary: &Summary) -> Option<u64> {
    summary.series.iter().filter(|second| second.is_warm_up).map(|second| second.at).max()
}

fn over_time(summary: &Summary, series: Vec<Series>) -> (Vec<f64>, Vec<Series>) {
    (summary.series.iter().map(|second| second.at as f64).collect(), series)
}

fn each(summary: &Summary, label: &'static str, of: impl Fn(&Second) -> Option<f64>) -> Series {
    Series { label, values: summary.series.iter().map(of).collect() }
}

fn latency(summary: &Summary) -> Chart {
    let series = vec![
        each(summary, "p50", |second| second.p50),
        each(summary, "p95", |second| second.p95),
        each(summary, "p99", |second| second.p99),
    ];
    let (at, series) = over_time(summary, series);
    Chart {
        id: "latency",
        title: "Latency over time",
        about: "From the moment at which a request was due, by the second in which its answer was there. Routes that ask a \
                language model are not in it, and requests without a whole answer have no latency. The warm-up is drawn on another ground, and counts nowhere else.",
        unit: "milliseconds",
        along: Along::Time,
        at,
        series,
        warm_up: warm_up(summary),
    }
}

fn rate(summary: &Summary) -> Chart {
    let series = vec![
        each(summary, "requests", |second| Some(second.requests as f64)),
        each(summary, "failed", |second| Some(second.failed as f64)),
        each(summary, "dropped", |second| Some(second.dropped as f64)),
    ];
    let (at, series) = over_time(summary, series);
    Chart {
        id: "rate",
        title: "Rate and errors",
        about: "Requests that ended in each second, those of them that failed, and iterations that could not begin.",
        unit: "requests a second",
        along: Along::Time,
        at,
        series,
        warm_up: warm_up(summary),
    }
}

fn users(summary: &Summary) -> Chart {
    let series = vec![
        each(summary, "users", |second| Some(f64::from(second.users))),
        each(summary, "open requests", |second| Some(second.open as f64)),
    ];
    let (at, series) = over_time(summary, series);
    Chart {
        id: "users",
        title: "Active users",
        about: "Users that the schedule has (none where it is a rate), and requests that wait for their answers: where \
                these pile up, the server does not keep up.",
        unit: "users and requests",
        along: Along::Time,
        at,
        series,
        warm_up: warm_up(summary),
    }
}

/// After <http://hdrhistogram.org>: from left to right 1 / (1 − percentile).
fn spectrum(summary: &Summary) -> Chart {
    let place = |point: &Point| (point.percentile < 100.0).then(|| 1.0 / (1.0 - point.percentile / 100.0));
    let mut at: Vec<f64> = summary.percentiles.iter().chain(&summary.service_percentiles).filter_map(place).collect();
    at.sort_by(f64::total_cmp);
    at.dedup();
    // A percentile is that of the next point: it is the smallest value that so many do not exceed.
    let line = |label, points: &[Point]| {
        let value = |&at: &f64| {
            points.iter().find(|point| place(point).is_none_or(|there| there >= at)).map(|point| point.value)
        };
        Series { label, values: at.iter().map(value).collect() }
    };
    let mut series = vec![line("latency from the intended start", &summary.percentiles)];
    if !summary.service_percentiles.is_empty() {
        series.push(line("service time", &summary.service_percentiles));
    }
    Chart {
        id: "spectrum",
        title: "Percentiles",
        about: "How long the slowest requests took: each further nine has the same room. Latency counts from the moment at \
                which a request was due, service time from when it was really sent; where the two part, requests had to \
                wait before they were sent.",
        unit: "milliseconds",
        along: Along::Percentile,
        at,
        series,
        warm_up: None,
    }
}

fn first_token(summary: &Summary) -> Chart {
    let (at, series) = over_time(summary, vec![each(summary, "p95", |second| second.llm_p95)]);
    Chart {
        id: "first-token",
        title: "Time to first token over time",
        about: "Of the routes that ask a language model, from the moment at which a request was due.",
        unit: "milliseconds",
        along: Along::Time,
        at,
        series,
        warm_up: warm_up(summary),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lines_of_the_percentiles_share_their_places() {
        let points =
            |values: &[(f64, f64)]| values.iter().map(|&(percentile, value)| Point { percentile, value }).collect();
        let summary = Summary {
            percentiles: points(&[(0.0, 1.0), (50.0, 2.0), (90.0, 9.0), (100.0, 10.0)]),
            service_percentiles: points(&[(0.0, 1.0), (75.0, 3.0), (100.0, 4.0)]),
            ..Summary::default()
        };
        let chart = spectrum(&summary);
        let rounded: Vec<f64> = chart.at.iter().map(|at| at.round()).collect();
        assert_eq!(rounded, [1.0, 2.0, 4.0, 10.0]);
        assert_eq!(chart.series[0].values, [Some(1.0), Some(2.0), Some(9.0), Some(9.0)]);
        assert_eq!(chart.series[1].values, [Some(1.0), Some(3.0), Some(3.0), Some(4.0)]);
    }

    #[test]
    fn a_gap_is_said_and_drawn_as_one() {
        let second = |at, p50| Second { at, p50, ..Second::default() };
        let summary = Summary { series: vec![second(1, Some(4.0)), second(2, None)], ..Summary::default() };
        let chart = latency(&summary);
        assert_eq!(chart.data()["series"][0]["values"], json!([4.0, null]));
        assert_eq!(chart.said(), "In milliseconds: p50 4 to 4, p95 without any value, p99 without any value.");
    }
}
