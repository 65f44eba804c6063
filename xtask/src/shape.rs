//! The shape of an answer: what a body has to look like, written as TOML. Pure.
//!
//! A table names the fields that have to be there; others may be. A list of one shape is a list of at least one
//! such value. A text is the name of a type (`string`, `number`, `integer`, `boolean`, `null`, `list`, `object`,
//! `any`), several joined by `|`, or `=TEXT` for exactly that text. A number or a boolean is exactly itself.

use serde_json::Value;

/// What does not fit, as `PLACE: what is wrong`; `None` where all fits.
pub fn mismatch(shape: &toml::Value, found: &Value) -> Option<String> {
    at("$", shape, found)
}

/// What is wrong with a shape itself; `None` where it can be used.
pub fn defect(shape: &toml::Value) -> Option<String> {
    match shape {
        toml::Value::String(name) if name.starts_with('=') => None,
        toml::Value::String(names) => names
            .split('|')
            .find(|name| !TYPES.contains(name))
            .map(|name| format!("`{name}` is no type ({}); `={name}` is that text", TYPES.join(", "))),
        toml::Value::Table(fields) => fields.values().find_map(defect),
        toml::Value::Array(one) if one.len() == 1 => one.iter().find_map(defect),
        toml::Value::Array(_) => Some("a list in a shape holds one shape, which is that of every element".to_owned()),
        toml::Value::Datetime(_) => Some("a date is no shape; write it as text".to_owned()),
        toml::Value::Integer(_) | toml::Value::Float(_) | toml::Value::Boolean(_) => None,
    }
}

const TYPES: &[&str] = &["string", "number", "integer", "boolean", "null", "list", "object", "any"];

fn at(place: &str, shape: &toml::Value, found: &Value) -> Option<String> {
    let wrong = |expected: String| Some(format!("{place}: expected {expected}, found {}", shown(found)));
    match shape {
        toml::Value::String(text) => match text.strip_prefix('=') {
            Some(exactly) if found.as_str() == Some(exactly) => None,
            Some(exactly) => wrong(format!("`{exactly}`")),
            None if text.split('|').any(|name| is(name, found)) => None,
            None => wrong(text.replace('|', " or ")),
        },
        toml::Value::Table(fields) => {
            let Some(object) = found.as_object() else { return wrong("an object".to_owned()) };
            fields.iter().find_map(|(name, shape)| match object.get(name) {
                Some(value) => at(&format!("{place}.{name}"), shape, value),
                None => Some(format!("{place}: the field `{name}` is missing")),
            })
        }
        toml::Value::Array(shapes) => match (shapes.first(), found.as_array()) {
            (_, None) => wrong("a list".to_owned()),
            (_, Some(list)) if list.is_empty() => wrong("a list of at least one".to_owned()),
            (Some(shape), Some(list)) => {
                list.iter().enumerate().find_map(|(index, value)| at(&format!("{place}[{index}]"), shape, value))
            }
            (None, Some(_)) => None,
        },
        toml::Value::Integer(number) if found.as_i64() == Some(*number) => None,
        toml::Value::Float(number) if found.as_f64() == Some(*number) => None,
        toml::Value::Boolean(value) if found.as_bool() == Some(*value) => None,
        other => wrong(format!("`{other}`")),
    }
}

fn is(name: &str, value: &Value) -> bool {
    match name {
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "list" => value.is_array(),
        "object" => value.is_object(),
        "any" => true,
        _ => false,
    }
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(80) {
        Some((cut, _)) => format!("`{}…`", &text[..cut]),
        None => format!("`{text}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(text: &str) -> toml::Value {
        toml::from_str::<toml::Table>(&format!("s = {text}")).unwrap()["s"].clone()
    }

    #[test]
    fn what_does_not_fit_is_named_with_its_place() {
        for (shape_text, found, expected) in [
            (r#"{ status = "=ok", version = "string" }"#, r#"{"status": "ok", "version": "1", "more": 1}"#, None),
            (
                r#"{ status = "=ok" }"#,
                r#"{"status": "degraded"}"#,
                Some("$.status: expected `ok`, found `\"degraded\"`"),
            ),
            (r#"{ version = "string" }"#, "{}", Some("$: the field `version` is missing")),
            (r#"{ version = "string" }"#, "[]", Some("$: expected an object, found `[]`")),
            (r#"{ data = [{ id = "string" }] }"#, r#"{"data": [{"id": "a"}, {"id": "b"}]}"#, None),
            (
                r#"{ data = [{ id = "string" }] }"#,
                r#"{"data": [{"id": "a"}, {"id": 3}]}"#,
                Some("$.data[1].id: expected string, found `3`"),
            ),
            (r#"{ data = ["any"] }"#, r#"{"data": []}"#, Some("$.data: expected a list of at least one, found `[]`")),
            (r#""string|null""#, "null", None),
            (r#""string|null""#, "1", Some("$: expected string or null, found `1`")),
            ("3", "3", None),
            ("3", "4", Some("$: expected `3`, found `4`")),
            ("true", "false", Some("$: expected `true`, found `false`")),
            (r#""integer""#, "1.5", Some("$: expected integer, found `1.5`")),
            (r#""number""#, "1.5", None),
        ] {
            let found: Value = serde_json::from_str(found).unwrap();
            assert_eq!(mismatch(&shape(shape_text), &found).as_deref(), expected, "{shape_text} {found}");
        }
    }

    #[test]
    fn a_shape_that_could_fit_nothing_is_a_mistake() {
        for (text, wrong) in [
            (r#"{ a = "string" }"#, false),
            (r#"{ a = "sting" }"#, true),
            (r#"{ a = "ok" }"#, true),
            (r#"{ a = "=ok" }"#, false),
            ("[]", true),
            (r#"["string", "number"]"#, true),
            ("2026-01-01", true),
        ] {
            assert_eq!(defect(&shape(text)).is_some(), wrong, "{text}");
        }
    }
}
