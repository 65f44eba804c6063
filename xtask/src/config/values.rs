//! Values as people write them: durations, sizes and dates.

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

/// Sizes as people write them, in powers of ten: `900kB`, `250MB`, `1GB`.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: Option<u64> = text[..digits].parse().ok();
    let unit = match &text[digits..] {
        "kB" => Some(1_000),
        "MB" => Some(1_000_000),
        "GB" => Some(1_000_000_000),
        _ => None,
    };
    let size = number.zip(unit).and_then(|(number, unit): (u64, u64)| number.checked_mul(unit));
    size.ok_or_else(|| format!("`{text}` is not a size like 900kB, 250MB or 1GB"))
}

pub(super) mod bytes {
    use super::*;

    pub fn serialize<S: serde::Serializer>(value: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format!("{value} bytes"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        parse_bytes(&String::deserialize(from)?).map_err(serde::de::Error::custom)
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
