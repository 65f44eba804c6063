//! Thresholds in k6's syntax, `http_req_duration = ["p(95)<1000"]`, read strictly: what could never be judged is a mistake.
//!
//! After <https://grafana.com/docs/k6/latest/using-k6/thresholds/#threshold-syntax>. Times are in milliseconds, as there.

use std::fmt;

mod written;

/// What a metric is, which says how it can be aggregated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Values with percentiles.
    Trend,
    /// The share of what is true.
    Rate,
    /// A number of things.
    Counter,
}

/// Every metric. Those of k6 are as there, but that latency counts from the intended start.
///
/// `http_req_duration` is that latency, of the routes that ask no language model unless a route is named;
/// `http_req_service_time` counts from the moment of sending. `http_req_failed` is the share of requests without an answer
/// or with one that is not as expected, `checks` the share of expectations that were met. `llm_req_duration`,
/// `llm_time_to_first_token`, `llm_time_between_tokens` and `llm_tokens_per_second` are of warm answers that were as
/// expected. Times are in milliseconds.
pub const METRICS: &[(&str, Kind)] = &[
    ("http_req_duration", Kind::Trend),
    ("http_req_service_time", Kind::Trend),
    ("http_req_failed", Kind::Rate),
    ("http_reqs", Kind::Counter),
    ("checks", Kind::Rate),
    ("dropped_iterations", Kind::Counter),
    ("llm_req_duration", Kind::Trend),
    ("llm_time_to_first_token", Kind::Trend),
    ("llm_time_between_tokens", Kind::Trend),
    ("llm_tokens_per_second", Kind::Trend),
];

/// A metric, of all routes or of one: `checks`, `http_req_duration{route:health}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Metric {
    /// One of [`METRICS`].
    pub name: &'static str,
    /// The name of the request.
    pub route: Option<String>,
}

/// How values become one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Aggregation {
    /// `p(N)`, with N in percent.
    Percentile(f64),
    /// `avg`
    Avg,
    /// `min`
    Min,
    /// `med`, which is `p(50)`.
    Med,
    /// `max`
    Max,
    /// `rate`: a share of a rate, a number a second of a counter.
    Rate,
    /// `count`
    Count,
}

/// How the value stands to the limit where the threshold holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `==`, `===`
    Equal,
    /// `!=`
    NotEqual,
}

/// One threshold.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    /// What is looked at.
    pub metric: Metric,
    /// As it was written, `p(95)<1000`.
    pub text: String,
    /// How.
    pub aggregation: Aggregation,
    /// In which direction.
    pub comparison: Comparison,
    /// Against what.
    pub limit: f64,
}

/// `[perf.thresholds]`: in the order of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Thresholds(pub Vec<Threshold>);

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        self.route.iter().try_for_each(|route| write!(f, "{{route:{route}}}"))
    }
}

/// `http_req_duration: p(95)<1000`, as k6 prints it.
impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.metric, self.text)
    }
}

impl Metric {
    /// What it is.
    pub fn kind(&self) -> Kind {
        METRICS.iter().find(|(name, _)| *name == self.name).map_or(Kind::Trend, |(_, kind)| *kind)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let (name, tag) = match text.split_once('{') {
            Some((name, rest)) => (name, Some(rest.strip_suffix('}').ok_or_else(|| format!("`{text}` has no `}}`"))?)),
            None => (text, None),
        };
        let known = METRICS.iter().map(|(name, _)| *name);
        let Some(name) = known.clone().find(|known| *known == name) else {
            return Err(format!("no metric is named `{name}`; {}", nearest(name, known)));
        };
        let route = match tag.map(|tag| tag.split_once(':').map(|(key, value)| (key.trim(), value.trim()))) {
            None => None,
            Some(Some(("route", route))) if !route.is_empty() => Some(route.to_owned()),
            Some(_) => return Err(format!("`{text}`: the only tag is `route`, as in `{name}{{route:NAME}}`")),
        };
        if route.is_some() && name == "dropped_iterations" {
            return Err("`dropped_iterations` has no route: what was dropped was never sent".to_owned());
        }
        Ok(Self { name, route })
    }
}

impl Threshold {
    /// `p(95)<1000` of a metric. The error is a sentence fragment that names the nearest valid word.
    pub fn parse(metric: &Metric, text: &str) -> Result<Self, String> {
        let wrong = |why: String| format!("the threshold `{text}` of `{metric}`: {why}");
        let at =
            text.find(['<', '>', '=', '!']).ok_or_else(|| wrong("it compares nothing, as `p(95)<1000` does".into()))?;
        let (left, rest) = text.split_at(at);
        let operators: [(&str, Comparison); 7] = [
            ("===", Comparison::Equal),
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        let found = operators.into_iter().find_map(|(sign, comparison)| Some((comparison, rest.strip_prefix(sign)?)));
        let (comparison, right) =
            found.ok_or_else(|| wrong("its comparison is none of <, <=, >, >=, ==, !=".into()))?;
        let limit: f64 = right.trim().parse().map_err(|_| wrong(format!("`{}` is no number", right.trim())))?;
        if !limit.is_finite() {
            return Err(wrong(format!("`{}` is no number", right.trim())));
        }
        let aggregation = aggregation(metric.kind(), left.trim()).map_err(wrong)?;
        if metric.kind() == Kind::Rate && !(0.0..=1.0).contains(&limit) {
            return Err(wrong("a rate is between 0 and 1".into()));
        }
        Ok(Self { metric: metric.clone(), text: text.to_owned(), aggregation, comparison, limit })
    }

    /// Whether a measured value is as it has to be.
    pub fn holds(&self, value: f64) -> bool {
        match self.comparison {
            Comparison::Less => value < self.limit,
            Comparison::LessOrEqual => value <= self.limit,
            Comparison::Greater => value > self.limit,
            Comparison::GreaterOrEqual => value >= self.limit,
            Comparison::Equal => value == self.limit,
            Comparison::NotEqual => value != self.limit,
        }
    }
}

fn aggregation(kind: Kind, text: &str) -> Result<Aggregation, String> {
    if let (Kind::Trend, Some(inner)) = (kind, text.strip_prefix("p(").and_then(|rest| rest.strip_suffix(')'))) {
        let percent = inner.trim().parse().ok().filter(|percent| (0.0..=100.0).contains(percent));
        return percent
            .map(Aggregation::Percentile)
            .ok_or_else(|| format!("`{text}` is no percentile between 0 and 100"));
    }
    let known: &[(&str, Aggregation)] = match kind {
        Kind::Trend => &[
            ("p(95)", Aggregation::Percentile(95.0)),
            ("avg", Aggregation::Avg),
            ("min", Aggregation::Min),
            ("med", Aggregation::Med),
            ("max", Aggregation::Max),
        ],
        Kind::Rate => &[("rate", Aggregation::Rate)],
        Kind::Counter => &[("count", Aggregation::Count), ("rate", Aggregation::Rate)],
    };
    let found = known.iter().find(|(name, _)| *name == text).map(|(_, aggregation)| *aggregation);
    found.ok_or_else(|| {
        format!("`{text}` cannot be taken of it; {}", nearest(text, known.iter().map(|(name, _)| *name)))
    })
}

fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let near = |name: &&str| (strsim::jaro_winkler(word, name) * 1000.0) as u32;
    let all = known.clone().collect::<Vec<_>>().join(", ");
    known
        .max_by_key(near)
        .map_or_else(String::new, |nearest| format!("the nearest valid one is `{nearest}` (all: {all})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Thresholds, String> {
        toml::from_str(text).map_err(|e| {
            let line = e.span().map_or(0, |span| text[..span.start].matches('\n').count() + 1);
            format!("{line}: {}", e.message())
        })
    }

    #[test]
    fn k6s_own_examples_are_understood() {
        let text = "http_req_duration = [\"p(95)<1000\", \"p(99.9) < 2000\", \"avg<200\", \"max<=9000\"]\nhttp_req_failed = \"rate<0.05\"\n\"http_req_duration{route:health}\" = [\"med<50\"]\nhttp_reqs = [\"count>=500\", \"rate>9.5\"]\n";
        let found = read(text).unwrap();
        let shown: Vec<String> = found.0.iter().map(|t| format!("{t} {:?} {}", t.aggregation, t.limit)).collect();
        assert!(shown.contains(&"http_req_duration: p(95)<1000 Percentile(95.0) 1000".to_owned()), "{shown:?}");
        assert!(shown.contains(&"http_req_duration: p(99.9) < 2000 Percentile(99.9) 2000".to_owned()), "{shown:?}");
        assert!(shown.contains(&"http_req_duration{route:health}: med<50 Med 50".to_owned()), "{shown:?}");
        assert!(shown.contains(&"http_reqs: rate>9.5 Rate 9.5".to_owned()), "{shown:?}");
        assert_eq!(shown.len(), 8);
        let written = toml::Value::try_from(&found).unwrap().to_string();
        assert!(written.contains("p(95)<1000"), "{written}");
    }

    #[test]
    fn a_mistake_names_its_line_and_the_nearest_valid_word() {
        for (text, wrong) in [
            (
                "\nhttp_req_duratoin = [\"p(95)<1\"]",
                "2: no metric is named `http_req_duratoin`; the nearest valid one is `http_req_duration`",
            ),
            (
                "checks = [\"rate>0.9\"]\nhttp_req_failed = [\"p(95)<1\"]",
                "2: the threshold `p(95)<1` of `http_req_failed`: `p(95)` cannot be taken of it; the nearest valid one is `rate`",
            ),
            (
                "http_req_duration = [\n\"p(95)<1\",\n\"p95<1\",\n]",
                "3: the threshold `p95<1` of `http_req_duration`: `p95` cannot be taken of it; the nearest valid one is `p(95)`",
            ),
            (
                "http_req_duration = [\"avgg<1\"]",
                "1: the threshold `avgg<1` of `http_req_duration`: `avgg` cannot be taken of it; the nearest valid one is `avg`",
            ),
            (
                "http_req_duration = [\"p(950)<1\"]",
                "1: the threshold `p(950)<1` of `http_req_duration`: `p(950)` is no percentile",
            ),
            ("http_req_duration = [\"p(95)\"]", "1: the threshold `p(95)` of `http_req_duration`: it compares nothing"),
            (
                "http_req_duration = [\"p(95)<1s\"]",
                "1: the threshold `p(95)<1s` of `http_req_duration`: `1s` is no number",
            ),
            (
                "http_req_duration = [\"p(95)=1\"]",
                "1: the threshold `p(95)=1` of `http_req_duration`: its comparison is none of",
            ),
            (
                "http_req_failed = [\"rate<5\"]",
                "1: the threshold `rate<5` of `http_req_failed`: a rate is between 0 and 1",
            ),
            (
                "http_req_failed = [\"rate<nan\"]",
                "1: the threshold `rate<nan` of `http_req_failed`: `nan` is no number",
            ),
            ("http_req_failed = []", "1: `http_req_failed` has no threshold"),
            ("\"checks{status:200}\" = [\"rate>0.9\"]", "1: `checks{status:200}`: the only tag is `route`"),
            ("\"checks{route:a\" = [\"rate>0.9\"]", "1: `checks{route:a` has no `}`"),
        ] {
            let found = read(text).unwrap_err();
            assert!(found.starts_with(wrong), "{text}\n{found}\n{wrong}");
        }
    }

    #[test]
    fn a_threshold_holds_on_its_side_of_the_limit() {
        let metric = Metric { name: "http_req_duration", route: None };
        for (text, value, holds) in [
            ("p(95)<1000", 999.9, true),
            ("p(95)<1000", 1000.0, false),
            ("p(95)<=1000", 1000.0, true),
            ("p(95)>1000", 1000.0, false),
            ("p(95)>=1000", 1000.0, true),
            ("p(95)==1000", 1000.0, true),
            ("p(95)===1000", 1000.1, false),
            ("p(95)!=1000", 1000.1, true),
            ("p(95)<1000", f64::NAN, false),
        ] {
            assert_eq!(Threshold::parse(&metric, text).unwrap().holds(value), holds, "{text} {value}");
        }
    }
}
