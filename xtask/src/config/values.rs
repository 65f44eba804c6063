//! Values as people write them: durations and dates.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

/// Durations as people write them: `90s`, `10m`, `1h`, `7d`, `250ms`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().map_err(|_| format!("`{text}` is not a duration like 90s, 10m or 1h"))?;
    match &text[digits..] {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number * 60)),
        "h" => Ok(Duration::from_secs(number * 3600)),
        "d" => Ok(Duration::from_secs(number * 86_400)),
        _ => Err(format!("`{text}` is not a duration like 90s, 10m or 1h")),
    }
}

pub(super) mod duration {
    use super::*;

    pub fn serialize<S: serde::Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format!("{}ms", value.as_millis()))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        parse_duration(&String::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

pub(super) mod date {
    use super::*;
    use time::macros::format_description;

    pub fn serialize<S: serde::Serializer>(value: &time::Date, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&value.to_string())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<time::Date, D::Error> {
        let text = String::deserialize(from)?;
        time::Date::parse(&text, format_description!("[year]-[month]-[day]"))
            .map_err(|_| serde::de::Error::custom(format!("`{text}` is not a date like 2027-01-31")))
    }
}
