//! How long a certificate is good for yet. Pure; the handshake is in `tasks/monitor/health/certificate.rs`.

use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::verdict::{Finding, Severity};

/// What a handshake showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Until when the certificate of the server is good.
    pub until: OffsetDateTime,
    /// Until when the first of those that vouch for it is good, where that is sooner.
    pub chain: Option<OffsetDateTime>,
    /// Why it does not count now; empty where it does.
    pub refused: String,
}

/// What is wrong with the certificate that `address` showed at the time `now`.
pub fn assess(address: &str, shown: &Shown, wanted: Duration, now: OffsetDateTime) -> Vec<Finding> {
    let Shown { until, chain, refused } = shown;
    let left = |end: OffsetDateTime| {
        let days = (end - now).whole_days();
        format!("{} ({days} days)", end.format(&Rfc3339).unwrap_or_default())
    };
    let mut findings = Vec::new();
    if *until <= now {
        let ended = until.format(&Rfc3339).unwrap_or_default();
        let message = format!("the certificate of {address} ended at {ended}");
        findings.push(Finding::new("certificate-ended", Severity::Critical, message));
    } else if !refused.is_empty() {
        let message = format!("the certificate of {address} is refused: {refused}");
        findings.push(Finding::new("certificate-refused", Severity::Critical, message));
    }
    let soon = |end: OffsetDateTime| end > now && end - now < wanted;
    let days = wanted.as_secs() / 86_400;
    if soon(*until) {
        let message = format!("the certificate of {address} ends at {}, and {days} days are wanted", left(*until));
        findings.push(Finding::new("certificate-ends", Severity::High, message));
    }
    if let Some(end) = chain.filter(|end| end < until && soon(*end)) {
        let message =
            format!("a certificate that vouches for {address} ends at {}, and {days} days are wanted", left(end));
        findings.push(Finding::new("issuer-ends", Severity::High, message));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn a_certificate_is_well_while_it_has_days_left() {
        let now = datetime!(2026-03-01 12:00:00 UTC);
        let in_days = |days: i64| now + time::Duration::days(days);
        for (until, chain, refused, expected) in [
            (90, None, "", vec![]),
            (21, None, "", vec![]),
            (20, None, "", vec!["certificate-ends"]),
            (-1, None, "expired", vec!["certificate-ended"]),
            (90, Some(5), "", vec!["issuer-ends"]),
            (4, Some(5), "", vec!["certificate-ends"]),
            (90, None, "unknown issuer", vec!["certificate-refused"]),
            (3, None, "not for this name", vec!["certificate-refused", "certificate-ends"]),
        ] {
            let shown = Shown { until: in_days(until), chain: chain.map(in_days), refused: refused.to_owned() };
            let found = assess("a.example", &shown, Duration::from_secs(21 * 86_400), now);
            let rules: Vec<&str> = found.iter().map(|finding| finding.rule.as_str()).collect();
            assert_eq!(rules, expected, "{until} {chain:?} {refused}");
        }
        let shown = Shown { until: in_days(20), chain: None, refused: String::new() };
        assert_eq!(
            assess("a.example", &shown, Duration::from_secs(21 * 86_400), now)[0].message,
            "the certificate of a.example ends at 2026-03-21T12:00:00Z (20 days), and 21 days are wanted"
        );
    }
}
