//! Numbers as people read them. `dashboard/figures.js` writes them by the same rules.

use std::time::Duration;

use time::OffsetDateTime;

/// Three digits that mean something, and all of a large number.
pub fn digits(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size < 10.0 => trimmed(format!("{value:.2}")),
        size if size < 100.0 => trimmed(format!("{value:.1}")),
        _ => format!("{value:.0}"),
    }
}

fn trimmed(text: String) -> String {
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The thousands apart, by a narrow space that breaks no line: `12 345`.
pub fn grouped(value: u64) -> String {
    let text = value.to_string();
    let mut out = String::new();
    for (index, digit) in text.chars().enumerate() {
        if index > 0 && (text.len() - index).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// `250 ms`, `4.2 s`, `3 min 5 s`, `2 h 4 min`, `3 d 4 h`: the two largest units, nothing of the smaller ones.
pub fn span(time: Duration) -> String {
    let milliseconds = time.as_millis();
    // A minute is one from where it would be rounded to one.
    let seconds = (milliseconds + 500) / 1000;
    let two = |large: u128, unit: &str, small: u128, next: &str| match small {
        0 => format!("{large} {unit}"),
        _ => format!("{large} {unit} {small} {next}"),
    };
    match () {
        () if milliseconds < 1000 => format!("{milliseconds} ms"),
        () if seconds < 60 => format!("{}.{} s", (milliseconds + 50) / 1000, (milliseconds + 50) / 100 % 10),
        () if seconds < 3600 => two(seconds / 60, "min", seconds % 60, "s"),
        () if seconds < 86400 => two(seconds / 3600, "h", seconds / 60 % 60, "min"),
        () => two(seconds / 86400, "d", seconds / 3600 % 24, "h"),
    }
}

/// `87.5 %`. What is not all is never 100.0 %, and what is something never 0.0 %.
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return super::NONE.to_owned();
    }
    let tenths = (2000 * part + whole) / (2 * whole);
    let tenths = match tenths {
        1000.. if part < whole => 999,
        0 if part > 0 => 1,
        tenths => tenths,
    };
    format!("{}.{} %", tenths / 10, tenths % 10)
}

/// `2026-11-28 00:41`, of seconds since 1970, in UTC.
pub fn minute(at: i64) -> String {
    let Ok(at) = OffsetDateTime::from_unix_timestamp(at) else { return super::NONE.to_owned() };
    format!("{} {:02}:{:02}", at.date(), at.hour(), at.minute())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_few() {
        for (value, text) in
            [(0.0, "0"), (0.123, "0.12"), (9.5, "9.5"), (12.34, "12.3"), (1000.4, "1000"), (100.0, "100")]
        {
            assert_eq!(digits(value), text);
        }
    }

    #[test]
    fn thousands_stand_apart() {
        for (value, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1\u{202f}000"),
            (12_345, "12\u{202f}345"),
            (1_234_567, "1\u{202f}234\u{202f}567"),
        ] {
            assert_eq!(grouped(value), text);
        }
    }

    #[test]
    fn shares_are_honest_at_their_ends() {
        for (part, whole, text) in [
            (0, 0, "–"),
            (0, 7, "0.0 %"),
            (1, 3000, "0.1 %"),
            (7, 8, "87.5 %"),
            (49, 400, "12.3 %"),
            (2999, 3000, "99.9 %"),
            (3, 3, "100.0 %"),
        ] {
            assert_eq!(percent(part, whole), text);
        }
        assert_eq!(minute(1_795_826_472), "2026-11-28 00:41");
    }

    #[test]
    fn spans_have_two_units() {
        for (milliseconds, text) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1000, "1.0 s"),
            (1949, "1.9 s"),
            (1950, "2.0 s"),
            (59_449, "59.4 s"),
            (59_500, "1 min"),
            (185_000, "3 min 5 s"),
            (3_599_600, "1 h"),
            (7_440_000, "2 h 4 min"),
            (273_600_000, "3 d 4 h"),
        ] {
            assert_eq!(span(Duration::from_millis(milliseconds)), text, "{milliseconds}");
        }
    }
}
