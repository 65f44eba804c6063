//! Samples in Prometheus' text format, <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use std::collections::BTreeMap;
use std::fmt::Write as _;

type Labels = Vec<(&'static str, String)>;

/// The samples by metric, all of them gauges.
#[derive(Default)]
pub struct Samples(BTreeMap<&'static str, Vec<(Labels, f64)>>);

impl Samples {
    /// One more; a label without a value is none.
    pub fn add(&mut self, name: &'static str, labels: &[(&'static str, &str)], value: f64) {
        let labels = labels.iter().filter(|(_, value)| !value.is_empty());
        let labels = labels.map(|(name, value)| (*name, (*value).to_owned())).collect();
        self.0.entry(name).or_default().push((labels, value));
    }

    /// The text: the `families`, each with its help, in their order.
    pub fn text(&self, families: &[(&'static str, &str)]) -> String {
        let mut text = String::new();
        for (name, help) in families {
            let Some(samples) = self.0.get(name) else { continue };
            // Writing into a String cannot fail.
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
            for (labels, value) in samples {
                let labels: Vec<String> =
                    labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
                let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
                let _ = writeln!(text, "{name}{labels} {value}");
            }
        }
        text
    }
}

/// A label's value between its quotes.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
