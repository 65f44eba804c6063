//! By what a failure is known again. Pure.
//!
//! A failure is the same as long as the same rules are broken, as badly; where a check names none, as long as its reason
//! is the same but for what differs from run to run: times, counts, names of pods, digests. A comment for each new number
//! would be the alert that repeats.

use crate::verdict::{Finding, Severity};

/// Words after which a number says what happened, and not how much of it.
const MEANINGFUL: &[&str] = &["status", "http", "code"];

/// The hash of what makes a failure this one.
pub fn cause(reason: &str, findings: &[Finding]) -> String {
    let mut rules: Vec<String> = findings
        .iter()
        .filter(|finding| finding.breaks(Severity::Low))
        .map(|finding| format!("{:?} {} {}", finding.severity, finding.rule, steady(&finding.message)))
        .collect();
    rules.sort();
    rules.dedup();
    let text = if rules.is_empty() { steady(reason) } else { rules.join("\n") };
    blake3::hash(text.as_bytes()).to_hex()[..16].to_owned()
}

/// The first line of a text without what differs from run to run: words with a digit, except statuses.
fn steady(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default().to_lowercase();
    let words = line.split(|c: char| !c.is_alphanumeric() && !"-._".contains(c)).filter(|word| !word.is_empty());
    let mut steady: Vec<&str> = Vec::new();
    for word in words.map(|word| word.trim_matches(['-', '.', '_'])) {
        let is_status = word.len() == 3 && word.bytes().all(|byte| byte.is_ascii_digit());
        let is_meant = is_status && steady.last().is_some_and(|last| MEANINGFUL.contains(last));
        steady.push(if is_meant || !word.bytes().any(|byte| byte.is_ascii_digit()) { word } else { "#" });
    }
    steady.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_the_same_but_for_what_differs_from_run_to_run() {
        for (one, other, same) in [
            ("p95 1034.2 ms is over 1000 ms", "p95 2001 ms is over 1000 ms", true),
            ("3 of 4 pods are ready", "2 of 4 pods are ready", true),
            (
                "`forge-5d8f9c-x2k9q` is not ready: CrashLoopBackOff",
                "`forge-5d8f9c-b7m4n` is not ready: CrashLoopBackOff",
                true,
            ),
            (
                "`forge-5d8f9c-x2k9q` is not ready: CrashLoopBackOff",
                "`forge-5d8f9c-x2k9q` is not ready: OOMKilled",
                false,
            ),
            ("GET /health: status 500", "GET /health: status 503", false),
            ("GET /health: HTTP 500", "GET /health: HTTP 500 (and 2 more)", false),
            ("GET /health: status 500", "GET /ready: status 500", false),
            ("it cannot be reached: connection refused", "it did not answer: it took too long", false),
            ("", "", true),
        ] {
            assert_eq!(
                cause(one, &[]) == cause(other, &[]),
                same,
                "{one} / {other}: {} / {}",
                steady(one),
                steady(other)
            );
        }
    }

    #[test]
    fn findings_count_as_a_set_and_only_those_that_break_something() {
        let finding = |rule: &str, severity, message: &str| Finding::new(rule, severity, message);
        let (a, b) = (finding("CVE-1", Severity::High, "openssl"), finding("CVE-2", Severity::Critical, "zlib"));
        let info = finding("note", Severity::Info, "looked");
        let excused = Finding { excused: Some("known".to_owned()), ..b.clone() };
        let of = |findings: &[Finding]| cause("changes from run to run", findings);
        assert_eq!(of(&[a.clone(), b.clone()]), of(&[b.clone(), a.clone(), a.clone(), info]));
        assert_eq!(of(std::slice::from_ref(&a)), of(&[a.clone(), excused]));
        assert_ne!(of(std::slice::from_ref(&a)), of(&[a.clone(), b]));
        assert_ne!(of(std::slice::from_ref(&a)), of(&[Finding { severity: Severity::Low, ..a.clone() }]));
        assert_eq!(cause("x", &[]).len(), 16);
    }
}
