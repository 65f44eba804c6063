//! Text from outside (tools, branches' names, services) is data. This file makes it harmless.
//!
//! Owns cleaning of control characters, the escapes of Markdown and of GitHub workflow commands, and
//! the redaction of known secret values. Every text goes through [`Redactor::clean`] once, where it
//! enters (`tools/proc.rs`), and through the escape of its format where it leaves (`report/`).

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};

/// Values shorter than this are not taken for secrets: redacting them would hide ordinary words.
const SHORTEST_SECRET: usize = 6;

/// Removes escape sequences, control characters, and the characters that change the reading order.
///
/// Line feeds and tabs stay; a carriage return starts the line anew, as on a terminal.
pub fn clean(text: &str) -> String {
    let unix = text.replace("\r\n", "\n");
    let mut out = String::with_capacity(unix.len());
    for line in unix.split_inclusive('\n') {
        let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
        let shown = line.trim_end_matches('\r').rsplit('\r').next().unwrap_or(line);
        // The library takes a tab for a control character, and text for people keeps it.
        let pieces: Vec<String> = shown.split('\t').map(strip_ansi_escapes::strip_str).collect();
        out.extend(pieces.join("\t").chars().filter(|&c| c == '\t' || !is_hidden(c)));
        out.push_str(end);
    }
    out
}

/// Control characters, and Unicode's invisible and direction-changing ones (UAX #9, "Trojan Source").
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Escapes text for a Markdown cell or paragraph of GitHub: no markup, no HTML, no mention, no issue link.
pub fn markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push(' '),
            '&' | '<' | '>' | '@' | '#' | '|' | '`' | '*' | '_' | '[' | ']' | '(' | ')' | '!' | '~' | '\\' | '{'
            | '}' | '$' => {
                out.push_str(&format!("&#{};", c as u32));
            }
            _ => out.push(c),
        }
    }
    out.replace("://", "&#58;//")
}

/// Escapes the message of a workflow command (`::error::MESSAGE`), after GitHub's toolkit.
///
/// The older syntax is looked for anywhere in a line, so it is broken up as well.
pub fn workflow_message(text: &str) -> String {
    text.replace("##[", "#\u{200b}#[").replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Escapes a property of a workflow command (`::error file=PROPERTY::`), after GitHub's toolkit.
pub fn workflow_property(text: &str) -> String {
    workflow_message(text).replace(':', "%3A").replace(',', "%2C")
}

/// Makes a log line that GitHub Actions cannot take for a command, in either of its two syntaxes.
pub fn neutral(line: &str) -> String {
    // Twice: of three colons the first pass leaves two together.
    let apart = |line: String| line.replace("::", ":\u{200b}:");
    apart(apart(line.to_owned())).replace("##[", "#\u{200b}#[")
}

/// Known secret values, in every encoding in which they might leak.
#[derive(Clone, Default)]
pub struct Redactor {
    needles: Vec<String>,
}

impl Redactor {
    /// Learns `secrets`, plain and encoded (base64 four ways, percent, JSON string, XML).
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let mut needles = Vec::new();
        for secret in secrets.into_iter().filter(|s| s.len() >= SHORTEST_SECRET) {
            needles.push(secret.to_owned());
            for engine in [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD] {
                needles.push(engine.encode(secret));
            }
            needles.push(percent_encoded(secret, ""));
            needles.push(serde_json::Value::from(secret).to_string().trim_matches('"').to_owned());
            needles.push(xml_escaped(secret));
        }
        // Longest first: the padded form has to go before the one that is its prefix.
        needles.sort_by_key(|n| std::cmp::Reverse(n.len()));
        needles.dedup();
        Self { needles }
    }

    /// The same, which knows one more secret: one that was made while the run went on.
    #[must_use]
    pub fn and(&self, secret: &str) -> Self {
        let mut needles = [self.needles.clone(), Self::new([secret]).needles].concat();
        needles.sort_by_key(|n| std::cmp::Reverse(n.len()));
        Self { needles }
    }

    /// [`clean`], with every known secret value replaced.
    pub fn clean(&self, text: &str) -> String {
        self.redact(&clean(text))
    }

    /// Every known secret value replaced, and nothing else changed.
    pub fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for needle in &self.needles {
            if text.contains(needle.as_str()) {
                text = text.replace(needle.as_str(), "***");
            }
        }
        text
    }
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redactor({} needles)", self.needles.len())
    }
}

/// As it stands in an attribute of a JUnit file.
fn xml_escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// RFC 3986: everything but the unreserved characters and those of `kept`.
pub fn percent_encoded(text: &str, kept: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || kept.as_bytes().contains(&byte) {
            out.push(byte as char);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_and_control_characters_are_removed() {
        for (raw, cleaned) in [
            ("plain\ttext\n", "plain\ttext\n"),
            ("\u{1b}[31mred\u{1b}[0m", "red"),
            ("\u{1b}]8;;http://x\u{7}link\u{1b}]8;;\u{7}", "link"),
            ("10 %\r20 %\r30 %\n", "30 %\n"),
            ("dos\r\nline\r\n", "dos\nline\n"),
            ("a\u{0}b\u{8}c", "abc"),
            ("safe\u{202e}evil", "safeevil"),
        ] {
            assert_eq!(clean(raw), cleaned, "{raw:?}");
        }
    }

    #[test]
    fn workflow_commands_and_markup_are_neutralised() {
        assert!(!neutral("::set-output name=x::y").contains("::"));
        assert!(!neutral(":::error::::").contains("::"));
        assert!(!neutral("##[error]x").contains("##["));
        let escaped = markdown("<img src=x> @team #1 [a](http://b) `c` | d");
        for forbidden in ['<', '>', '@', '[', ']', '(', '`', '|'] {
            assert!(!escaped.contains(forbidden), "{forbidden} in {escaped}");
        }
        assert_eq!(workflow_property("a:b,c\n%"), "a%3Ab%2Cc%0A%25");
    }

    #[test]
    fn secrets_are_redacted_plain_and_encoded() {
        let secret = "s3cr3t/with?chars\"";
        let redactor = Redactor::new([secret, "short"]);
        let encoded = [
            secret.to_owned(),
            STANDARD.encode(secret),
            URL_SAFE_NO_PAD.encode(secret),
            percent_encoded(secret, ""),
            serde_json::to_string(secret).unwrap(),
        ];
        for text in encoded {
            let cleaned = redactor.clean(&format!("token={text};"));
            assert!(cleaned.contains("***") && !cleaned.contains(&text), "{cleaned}");
        }
        assert_eq!(redactor.clean("a short word"), "a short word");
    }
    proptest::proptest! {
        #[test]
        fn whatever_comes_in_nothing_hidden_comes_out(text in "\\PC*|(\\x1b\\[[0-9;]*m|[\\x00-\\x1f]|\\PC){0,40}") {
            let cleaned = clean(&text);
            proptest::prop_assert!(cleaned.chars().all(|c| c == '\n' || c == '\t' || !is_hidden(c)), "{cleaned:?}");
            proptest::prop_assert_eq!(clean(&cleaned), cleaned.clone());
            proptest::prop_assert!(!neutral(&cleaned).contains("::"));
            proptest::prop_assert!(!markdown(&cleaned).contains(['<', '>', '@', '|', '`', '\n']));
        }
    }
}
