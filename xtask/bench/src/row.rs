//! A figure, what stands beside it, and whether it is as wanted. Pure.

use serde::Serialize;
use std::time::Duration;

use crate::Places;
use crate::measure::{Samples, Stats, Subject};
use xtask::exit::Code;
use xtask::verdict::Work;

/// One line of a table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// What was measured.
    pub name: String,
    /// The command, where it is one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub command: String,
    /// What was done in that time, where the command tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub work: Option<Work>,
    /// How many findings came of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub findings: Option<usize>,
    /// The figure.
    pub value: Value,
    /// Beside which row of ours it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beside: Option<String>,
    /// The median of that row, divided by the median of this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// What was wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aim: Option<Aim>,
    /// Whether it is so; nothing where a figure is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub met: Option<bool>,
}

/// A figure, or why there is none.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// Measured times.
    Times(Stats),
    /// A time that follows from others, in milliseconds.
    #[serde(rename = "computed_ms")]
    Computed(f64),
    /// Something counted.
    Count(u64),
    /// So many a second.
    Rates(Rates),
    /// One figure divided by another.
    Ratio(f64),
    /// A share, in percent.
    Percent(f64),
    /// Something said.
    Said(String),
    /// Nothing was measured, for this reason.
    DidNotRun(String),
}

/// Several samples of a rate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rates {
    /// The middle one, or the mean of the middle two.
    pub median: f64,
    /// The lowest.
    pub min: f64,
    /// The highest.
    pub max: f64,
    /// How many.
    pub runs: usize,
}

/// What is wanted of a figure.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Aim {
    /// At most so many milliseconds.
    #[serde(rename = "within_ms")]
    Within(u64),
    /// At most so many times the figure of the row of that name.
    TimesOf(f64, String),
    /// Exactly so many.
    Exactly(u64),
    /// At least so much.
    AtLeast(f64),
    /// At most so much.
    AtMost(f64),
    /// Between so many milliseconds and so many.
    #[serde(rename = "between_ms")]
    Between(u64, u64),
}

impl Row {
    /// A row that is not the time of one command.
    pub fn new(name: impl Into<String>, value: Value) -> Self {
        let (name, command) = (name.into(), String::new());
        Self { name, command, work: None, findings: None, value, beside: None, ratio: None, aim: None, met: None }
    }

    /// With an aim.
    #[must_use]
    pub fn aim(self, aim: Aim) -> Self {
        Self { aim: Some(aim), ..self }
    }

    /// What came of a subject.
    pub(super) fn of(subject: &Subject, samples: &Samples, places: &Places) -> Self {
        let value = match samples {
            Err(why) => Value::DidNotRun(places.shown(why)),
            Ok(samples) => times(&samples.iter().map(|sample| sample.wall).collect::<Vec<_>>()),
        };
        Self {
            command: places.command(&subject.command),
            beside: subject.beside.clone(),
            aim: subject.aim.clone(),
            ..Self::new(subject.name.clone(), value)
        }
    }

    /// The one number that is compared.
    fn number(&self) -> Option<f64> {
        match &self.value {
            Value::Times(stats) => Some(stats.median_ms),
            Value::Computed(ms) => Some(*ms),
            Value::Count(count) => Some(*count as f64),
            Value::Rates(rates) => Some(rates.median),
            Value::Ratio(number) | Value::Percent(number) => Some(*number),
            Value::Said(_) | Value::DidNotRun(_) => None,
        }
    }

    /// What this row means for the whole run. A peer that is missing breaks nothing; a row of ours without a figure does.
    pub fn code(&self) -> Code {
        let ours_is_missing = self.beside.is_none() && matches!(self.value, Value::DidNotRun(_));
        match (&self.aim, self.met) {
            (_, Some(false)) => Code::Failed,
            (Some(_), None) => Code::DidNotRun,
            _ if ours_is_missing => Code::DidNotRun,
            _ => Code::Passed,
        }
    }
}

/// Statistics of what may be nothing.
pub fn times(samples: &[Duration]) -> Value {
    Stats::of(samples).map_or_else(|| Value::DidNotRun("no sample".to_owned()), Value::Times)
}

/// The rows with their ratios, and with what became of their aims.
pub fn judged(rows: Vec<Row>) -> Vec<Row> {
    let number = |name: &str| rows.iter().find(|row| row.name == name).and_then(Row::number);
    let judge = |row: &Row| {
        let figure = row.number()?;
        Some(match row.aim.as_ref()? {
            Aim::Within(ms) => figure <= *ms as f64,
            Aim::TimesOf(factor, other) => figure <= factor * number(other)?,
            Aim::Exactly(count) => figure == *count as f64,
            Aim::AtLeast(least) => figure >= *least,
            Aim::AtMost(most) => figure <= *most,
            Aim::Between(from, to) => (*from as f64..=*to as f64).contains(&figure),
        })
    };
    let ratio = |row: &Row| Some(number(row.beside.as_ref()?)? / row.number()?);
    rows.iter().map(|row| Row { met: judge(row), ratio: ratio(row), ..row.clone() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, ms: Option<f64>) -> Row {
        Row::new(name, ms.map_or(Value::DidNotRun("missing".into()), Value::Computed))
    }

    #[test]
    fn an_aim_is_met_missed_or_open() {
        let times_of = |factor| Aim::TimesOf(factor, "peer".to_owned());
        for (figure, aim, peer, met, code) in [
            (Some(60.0), Aim::Within(60), None, Some(true), Code::Passed),
            (Some(60.1), Aim::Within(60), None, Some(false), Code::Failed),
            (None, Aim::Within(60), None, None, Code::DidNotRun),
            (Some(11.0), times_of(1.1), Some(10.0), Some(true), Code::Passed),
            (Some(11.1), times_of(1.1), Some(10.0), Some(false), Code::Failed),
            (Some(11.0), times_of(1.1), None, None, Code::DidNotRun),
            (Some(1.0), Aim::Exactly(1), None, Some(true), Code::Passed),
            (Some(2.0), Aim::Exactly(1), None, Some(false), Code::Failed),
            (Some(3.0), Aim::AtLeast(3.0), None, Some(true), Code::Passed),
            (Some(2.9), Aim::AtLeast(3.0), None, Some(false), Code::Failed),
            (Some(1.0), Aim::AtMost(1.0), None, Some(true), Code::Passed),
            (Some(1.1), Aim::AtMost(1.0), None, Some(false), Code::Failed),
            (Some(950.0), Aim::Between(950, 1050), None, Some(true), Code::Passed),
            (Some(1051.0), Aim::Between(950, 1050), None, Some(false), Code::Failed),
        ] {
            let beside = Row { beside: Some("ours".to_owned()), ..row("peer", peer) };
            let rows = judged(vec![row("ours", figure).aim(aim.clone()), beside]);
            assert_eq!((rows[0].met, rows[0].code()), (met, code), "{figure:?} {aim:?} {peer:?}");
            assert_eq!(rows[1].code(), Code::Passed);
        }
    }

    #[test]
    fn a_row_of_ours_without_a_figure_is_no_pass() {
        assert_eq!(row("ours", None).code(), Code::DidNotRun);
        assert_eq!(row("ours", Some(1.0)).code(), Code::Passed);
    }

    #[test]
    fn a_peer_shows_our_share_of_its_time() {
        let peer = |ms| Row { beside: Some("ours".to_owned()), ..row("peer", ms) };
        assert_eq!(judged(vec![row("ours", Some(5.0)), peer(Some(20.0))])[1].ratio, Some(0.25));
        assert_eq!(judged(vec![row("ours", None), peer(Some(20.0))])[1].ratio, None);
        assert_eq!(judged(vec![row("ours", Some(5.0)), peer(None)])[1].ratio, None);
    }
}
