//! Whether a schedule is late (R32). Pure: what is known of its last start in, a sentence out.

use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::config::Monitoring;

/// How many intervals a start may be away: schedules of GitHub begin late or are left out when it is busy.
const INTERVALS: u32 = 2;

/// What is wrong, as a sentence; `None` where the schedule is kept. `last` is the last start by the schedule, `since` is
/// when there was something to start: where it never did, it is late from then on.
pub fn late(
    monitoring: &Monitoring,
    last: Option<OffsetDateTime>,
    since: Option<OffsetDateTime>,
    now: OffsetDateTime,
) -> Option<String> {
    let Monitoring { workflow, interval } = monitoring;
    let from = last.or(since)?;
    let age: Duration = (now - from).try_into().unwrap_or_default();
    if age <= *interval * INTERVALS {
        return None;
    }
    let at = from.format(&Rfc3339).unwrap_or_default();
    let (every, age) = (span(*interval), span(age));
    Some(match last {
        Some(_) => format!("`{workflow}` is meant to start every {every}, and last did {age} ago, at {at}"),
        None => format!("`{workflow}` is meant to start every {every}, and never did since {at}"),
    })
}

/// A time as people say it: `45 min`, `6 h`, `1 d 6 h`.
pub fn span(time: Duration) -> String {
    let minutes = time.as_secs() / 60;
    let (days, hours, rest) = (minutes / 1440, minutes / 60 % 24, minutes % 60);
    match (days, hours, rest) {
        (0, 0, 0) => format!("{} s", time.as_secs()),
        (0, 0, rest) => format!("{rest} min"),
        (0, hours, 0) => format!("{hours} h"),
        (0, hours, rest) => format!("{hours} h {rest} min"),
        (days, 0, _) => format!("{days} d"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn more_than_two_intervals_is_late() {
        let monitoring = Monitoring { workflow: "watch.yml".to_owned(), interval: Duration::from_secs(6 * 3600) };
        let now = datetime!(2026-11-24 12:00:00 UTC);
        let ago = |minutes: i64| Some(now - time::Duration::minutes(minutes));
        let last = "`watch.yml` is meant to start every 6 h, and last did 12 h 1 min ago, at 2026-11-23T23:59:00Z";
        let never = "`watch.yml` is meant to start every 6 h, and never did since 2026-11-23T11:00:00Z";
        for (last, since, expected) in [
            (ago(0), None, None),
            (ago(-5), None, None),
            (ago(720), ago(9000), None),
            (ago(721), ago(9000), Some(last)),
            (None, ago(100), None),
            (None, ago(1500), Some(never)),
            (None, None, None),
        ] {
            assert_eq!(late(&monitoring, last, since, now).as_deref(), expected, "{last:?} {since:?}");
        }
    }

    #[test]
    fn times_are_said_as_people_say_them() {
        for (seconds, said) in
            [(30, "30 s"), (60, "1 min"), (3600, "1 h"), (5400, "1 h 30 min"), (86_400, "1 d"), (90_060, "1 d 1 h")]
        {
            assert_eq!(span(Duration::from_secs(seconds)), said);
        }
    }
}
