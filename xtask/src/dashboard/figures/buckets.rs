//! Runs by day or by week, in UTC.

use serde::Serialize;

use super::{Counts, Run};

const DAY: i64 = 86_400;

/// From how long a time on weeks are shown in place of days.
const LONGEST_IN_DAYS: i64 = 35 * DAY;

/// How long a bucket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Size {
    /// From midnight to midnight.
    Day,
    /// From Monday to Sunday.
    Week,
}

impl Size {
    /// Days where there are few of them.
    pub fn of(from: i64, until: i64) -> Self {
        if until - from <= LONGEST_IN_DAYS { Self::Day } else { Self::Week }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
        }
    }

    /// When the bucket began that a moment lies in, in seconds since 1970.
    pub fn start(self, at: i64) -> i64 {
        let day = at.div_euclid(DAY);
        let start = match self {
            Self::Day => day,
            // The first of January 1970 was a Thursday.
            Self::Week => day - (day + 3).rem_euclid(7),
        };
        start * DAY
    }
}

/// The runs of a day or a week.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Bucket {
    /// When it began, in seconds since 1970.
    pub start: i64,
    /// Its runs.
    #[serde(flatten)]
    pub counts: Counts,
}

/// The buckets that have runs, the oldest first.
pub fn of(runs: &[Run<'_>], size: Size) -> Vec<Bucket> {
    let mut buckets: Vec<Bucket> = Vec::new();
    for run in runs {
        let start = size.start(run.at);
        if buckets.last().is_none_or(|last| last.start != start) {
            buckets.push(Bucket { start, counts: Counts::default() });
        }
        if let Some(last) = buckets.last_mut() {
            last.counts.add(run.entry);
        }
    }
    buckets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_begin_at_midnight_and_weeks_on_monday() {
        // Saturday, 28 November 2026, 00:41:12.
        let at = 1_795_826_472;
        assert_eq!(Size::Day.start(at), 1_795_824_000);
        assert_eq!(Size::Week.start(at), 1_795_392_000, "Monday the 23rd");
        assert_eq!(Size::Week.start(1_795_392_000), 1_795_392_000);
        assert_eq!(Size::Week.start(1_795_391_999), 1_794_787_200, "Sunday is of the week before");
        assert_eq!(Size::Week.start(0), -3 * DAY);
        assert_eq!([Size::of(0, 35 * DAY), Size::of(0, 35 * DAY + 1)], [Size::Day, Size::Week]);
    }
}
