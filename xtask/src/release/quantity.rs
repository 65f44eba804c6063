//! Quantities as Kubernetes writes them: `250m`, `12345678n`, `128Mi`.

/// What a suffix multiplies by (kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity).
const SUFFIXES: &[(&str, f64)] = &[
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("n", 1e-9),
    ("u", 1e-6),
    ("m", 1e-3),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
];

/// A quantity in its own unit: cores, bytes.
pub fn parse(text: &str) -> Option<f64> {
    let suffix = SUFFIXES.iter().find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, *factor)));
    let (number, factor) = suffix.unwrap_or((text, 1.0));
    number.parse::<f64>().ok().filter(|number| number.is_finite()).map(|number| number * factor)
}

/// Bytes for people.
pub fn mebibytes(bytes: f64) -> String {
    format!("{:.0} MiB", bytes / 1_048_576.0)
}

/// Cores for people: thousandths of one, as Kubernetes has them.
pub fn millicores(cores: f64) -> String {
    format!("{:.0}m", cores * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suffix_is_a_factor() {
        for (text, shown) in [
            ("250m", Some("250m")),
            ("12345678n", Some("12m")),
            ("2", Some("2000m")),
            ("1e-1", Some("100m")),
            ("x", None),
            ("", None),
            ("inf", None),
        ] {
            assert_eq!(parse(text).map(millicores).as_deref(), shown, "{text}");
        }
        assert_eq!(parse("131072Ki").map(mebibytes).as_deref(), Some("128 MiB"));
        assert_eq!(parse("128M").map(mebibytes).as_deref(), Some("122 MiB"));
    }
}
