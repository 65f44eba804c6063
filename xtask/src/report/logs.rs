//! Lines of logs from elsewhere: whose they are, then what they say; as JSON one object a line.

use super::Display;
use super::paint::Paint;
use crate::text::neutral;

/// One line, with its end.
pub fn row(paint: Paint, display: Display, source: &str, text: &str) -> String {
    if display.json {
        return serde_json::json!({"source": source, "text": text}).to_string() + "\n";
    }
    let row = format!("{} {text}\n", paint.one_of_many(source));
    if display.actions { neutral(&row) } else { row }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_whose_it_is_and_is_no_command() {
        let row = |display: Display| row(Paint::new(display), display, "forge-1", "::error::x");
        let plain = Display::default();
        assert_eq!(row(plain), "forge-1 ::error::x\n");
        assert!(!row(Display { actions: true, ..plain }).contains("::"));
        assert_eq!(row(Display { json: true, ..plain }), "{\"source\":\"forge-1\",\"text\":\"::error::x\"}\n");
        let colored = row(Display { color: true, ..plain });
        assert!(colored.starts_with('\u{1b}') && colored.ends_with("m ::error::x\n"), "{colored:?}");
    }
}
