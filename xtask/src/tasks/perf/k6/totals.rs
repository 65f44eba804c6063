//! k6's own totals at the end of a run (`--summary-export`), held against the samples. Pure.
//!
//! k6's exit code says nothing that is used: 0 is also the end of a run without a request, and 99 says that a
//! threshold of its own was crossed, which we judge ourselves.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::samples::Samples;
use crate::tools::proc::Exit;

/// `ExitCode` of k6 for thresholds that were crossed
/// (<https://grafana.com/docs/k6/latest/using-k6/thresholds/>).
const CROSSED: i32 = 99;

/// What is read of the file.
#[derive(Debug, Deserialize)]
struct Export {
    metrics: BTreeMap<String, Metric>,
}

#[derive(Debug, Deserialize)]
struct Metric {
    #[serde(default)]
    thresholds: BTreeMap<String, bool>,
    /// Whatever else it has: `count`, `passes`, `p(95)`.
    #[serde(flatten)]
    values: BTreeMap<String, serde_json::Value>,
}

impl Metric {
    fn value(&self, name: &str) -> Option<f64> {
        self.values.get(name)?.as_f64()
    }

    /// k6 writes zeros for a metric that a threshold names and that never had a value. The zero of a counter or of a
    /// gauge is a value.
    fn has_no_samples(&self) -> bool {
        let has = |name: &str| self.values.contains_key(name);
        let is_level = has("count") && has("rate") || has("value") && has("min");
        !is_level && self.values.values().filter_map(serde_json::Value::as_f64).all(|value| value == 0.0)
    }
}

/// A threshold of a script that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crossed {
    /// `http_req_duration{name:health}`
    pub metric: String,
    /// `p(95)<1000`
    pub text: String,
    /// Whether there was nothing that it could be held against; k6 lets such a threshold pass.
    pub has_no_samples: bool,
}

/// How many requests and iterations k6 counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// `http_reqs`
    pub requests: u64,
    /// `iterations`
    pub iterations: u64,
    /// `dropped_iterations`
    pub dropped: u64,
}

/// The file → totals, and the thresholds of the script that do not hold.
pub fn read(text: &str) -> Result<(Totals, Vec<Crossed>), String> {
    let export: Export =
        serde_json::from_str(text).map_err(|error| format!("the totals of k6 cannot be read: {error}"))?;
    // A metric that never had a value is not in the file.
    let count =
        |name: &str| export.metrics.get(name).and_then(|metric| metric.value("count")).unwrap_or_default() as u64;
    let totals =
        Totals { requests: count("http_reqs"), iterations: count("iterations"), dropped: count("dropped_iterations") };
    let mut crossed = Vec::new();
    for (name, metric) in &export.metrics {
        // In this file a threshold's value is whether it was crossed.
        for (text, _) in metric.thresholds.iter().filter(|(_, crossed)| **crossed || metric.has_no_samples()) {
            let has_no_samples = metric.has_no_samples();
            crossed.push(Crossed { metric: name.clone(), text: text.clone(), has_no_samples });
        }
    }
    Ok((totals, crossed))
}

/// Why a run proves nothing; `None` where it does.
pub fn unproved(exit: &Exit, totals: Totals, samples: &Samples) -> Option<String> {
    let Totals { requests, iterations, dropped } = totals;
    let told = samples.requests.len() as u64;
    match exit {
        Exit::Code(0 | CROSSED) => {}
        other => return Some(format!("k6 ended by {other}")),
    }
    if requests == 0 {
        return Some(format!("k6 made {iterations} iterations and no request"));
    }
    if told != requests {
        return Some(format!("k6 counted {requests} requests, and wrote samples of {told}"));
    }
    if (samples.iterations, samples.count_dropped()) != (iterations, dropped) {
        let (ended, lost) = (samples.iterations, samples.count_dropped());
        return Some(format!(
            "k6 counted {iterations} iterations and {dropped} dropped ones, and wrote {ended} and {lost}"
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::perf::k6::samples::Sample;
    use std::time::Duration;

    fn samples(requests: usize, iterations: u64, dropped: u64) -> Samples {
        let one = Sample {
            ended: Duration::ZERO,
            scenario: "load".to_owned(),
            name: "health".to_owned(),
            status: 200,
            error_code: String::new(),
            has_failed: false,
            broken_check: None,
            service: Duration::ZERO,
            blocked: Duration::ZERO,
            waiting: Duration::ZERO,
        };
        Samples { requests: vec![one; requests], users: vec![], iterations, dropped: vec![(Duration::ZERO, dropped)] }
    }

    #[test]
    fn totals_are_read_from_what_is_there() {
        let text = r#"{"metrics": {"http_reqs": {"count": 82, "rate": 40.9}, "iterations": {"count": 41},
                       "http_req_duration": {"p(95)": 1.5, "thresholds": {"p(95)<1": true, "p(95)<2": false}},
                       "dropped_iterations": {"count": 0, "rate": 0, "thresholds": {"count<1": false}},
                       "http_req_failed": {"passes": 0, "fails": 82, "value": 0, "thresholds": {"rate<0.1": false}},
                       "http_req_duration{name:gone}": {"p(95)": 0, "thresholds": {"p(95)<1": false}}}}"#;
        let (totals, crossed) = read(text).unwrap();
        assert_eq!(totals, Totals { requests: 82, iterations: 41, dropped: 0 });
        let told: Vec<_> = crossed.iter().map(|c| (c.metric.as_str(), c.text.as_str(), c.has_no_samples)).collect();
        let expected = [("http_req_duration", "p(95)<1", false), ("http_req_duration{name:gone}", "p(95)<1", true)];
        assert_eq!(told, expected);
        assert_eq!(read(r#"{"metrics": {}}"#).unwrap().0, Totals { requests: 0, iterations: 0, dropped: 0 });
        assert!(read(&text[..40]).unwrap_err().contains("cannot be read"));
        assert!(read("{}").unwrap_err().contains("metrics"));
    }

    #[test]
    fn an_exit_code_alone_proves_nothing() {
        let code = Exit::Code;
        for (exit, counted, written, why) in [
            (code(0), (5, 5, 0), (5, 5, 0), None),
            (code(CROSSED), (5, 5, 0), (5, 5, 0), None),
            // 107: an exception in the script.
            (code(107), (5, 5, 0), (5, 5, 0), Some("k6 ended by exit code 107")),
            (Exit::Signal(9), (5, 5, 0), (5, 5, 0), Some("k6 ended by killed by signal 9")),
            (code(0), (0, 107_440, 0), (0, 107_440, 0), Some("k6 made 107440 iterations and no request")),
            (code(0), (0, 0, 0), (0, 0, 0), Some("k6 made 0 iterations and no request")),
            (code(0), (5, 5, 0), (4, 5, 0), Some("k6 counted 5 requests, and wrote samples of 4")),
            (code(0), (5, 5, 2), (5, 5, 2), None),
            (code(0), (5, 5, 2), (5, 5, 0), Some("k6 counted 5 iterations and 2 dropped ones, and wrote 5 and 0")),
        ] {
            let totals = Totals { requests: counted.0, iterations: counted.1, dropped: counted.2 };
            let found = unproved(&exit, totals, &samples(written.0, written.1, written.2));
            assert_eq!(found.as_deref(), why);
        }
    }
}
