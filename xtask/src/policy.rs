//! Which findings break a gate, and which are excused for a while. Pure.
//!
//! Everything found is reported; an excused finding keeps its severity and says why it does not count. An
//! ignore that has expired excuses nothing and is a finding itself.

use time::Date;

use crate::config::{Ignore, Policy};
use crate::verdict::{Finding, Severity};

/// A weakness of a dependency that a data base knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vulnerability {
    /// The data base's id, or the CVE's.
    pub id: String,
    /// The package and its version, as people write it (`idna 3.6`).
    pub package: String,
    /// How bad; `High` where the data base does not say.
    pub severity: Severity,
    /// The first versions that mend it; empty where none does.
    pub fixed_in: Vec<String>,
    /// When it became known, where the data base says it.
    pub published: Option<Date>,
    /// What it is.
    pub summary: String,
}

/// The lowest severity that breaks `gate`.
pub fn breaks_at(policy: &Policy, gate: &str) -> Severity {
    policy.severity.get(gate).copied().unwrap_or(policy.breaks_at)
}

/// A vulnerability as a finding, excused where the policy bears it for now.
pub fn vulnerable(policy: &Policy, today: Date, found: &Vulnerability) -> Finding {
    let way_out = match found.fixed_in.as_slice() {
        [] => "no version mends it yet".to_owned(),
        versions => format!("mended in {}", versions.join(", ")),
    };
    let summary = found.summary.lines().next().unwrap_or_default();
    let message = format!("{}: {summary} ({way_out})", found.package);
    let excused = excuse(policy, today, found);
    Finding { excused, ..Finding::new(&found.id, found.severity, message) }
}

fn excuse(policy: &Policy, today: Date, found: &Vulnerability) -> Option<String> {
    let terms = &policy.vulnerabilities;
    if found.fixed_in.is_empty() && found.severity < terms.without_fix {
        return Some("no version mends it yet".to_owned());
    }
    let age = today - found.published?;
    let young = age < time::Duration::try_from(terms.grace).unwrap_or_default();
    (young && found.severity < Severity::Critical).then(|| format!("known for {} days", age.whole_days().max(0)))
}

/// What a gate found, with the ignores of the configuration applied; `config` is its file, for lines in it.
pub fn judge(
    ignores: &[Ignore],
    config: (&str, &str),
    gate: &str,
    today: Date,
    mut findings: Vec<Finding>,
) -> Vec<Finding> {
    let mut expired = Vec::new();
    for (index, ignore) in ignores.iter().enumerate().filter(|(_, ignore)| ignore.is_about(gate)) {
        if ignore.expires < today {
            let (path, text) = config;
            let message = format!(
                "the ignore of `{}` ended on {}: mend it, or renew it ({})",
                ignore.rule, ignore.expires, ignore.reason
            );
            let finding = Finding::new("expired-ignore", Severity::High, message);
            expired.push(finding.at(path.to_owned(), line_of(text, index)));
            continue;
        }
        for finding in findings.iter_mut().filter(|finding| finding.excused.is_none() && covers(ignore, finding)) {
            finding.excused = Some(format!("ignored until {}: {}", ignore.expires, ignore.reason));
        }
    }
    findings.extend(expired);
    findings
}

fn covers(ignore: &Ignore, finding: &Finding) -> bool {
    let below = |folder: &String| {
        let rest = finding.path.as_deref().and_then(|path| path.strip_prefix(folder.trim_end_matches('/')));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    ignore.rule == finding.rule
        && ignore.path.as_ref().is_none_or(below)
        && ignore.words.as_ref().is_none_or(|words| finding.message.contains(words))
}

/// The line of the entry with this index, counted from 1.
fn line_of(text: &str, index: usize) -> Option<u32> {
    let headers = text.lines().enumerate().filter(|(_, line)| line.trim() == "[[ignore]]");
    headers.map(|(line, _)| u32::try_from(line + 1).ok()).nth(index)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use time::macros::date;

    const TODAY: Date = date!(2026 - 11 - 24);

    fn ignore(gate: &str, path: Option<&str>, words: Option<&str>, expires: Date) -> Ignore {
        Ignore {
            gate: gate.into(),
            rule: "B602".into(),
            path: path.map(Into::into),
            words: words.map(Into::into),
            reason: "no input of a user".into(),
            expires,
        }
    }

    #[test]
    fn an_ignore_excuses_what_it_names_until_its_day() {
        let finding = || Finding::new("B602", Severity::High, "shell of idna").at("src/a/b.py".to_owned(), 3);
        for (gate, path, words, expires, excused) in [
            ("scan/bandit", None, None, TODAY, true),
            ("scan", Some("src/a"), Some("idna"), TODAY, true),
            ("scan/ban", None, None, TODAY, false),
            ("scan/ruff", None, None, TODAY, false),
            ("scan/bandit", Some("src/a/b"), None, TODAY, false),
            ("scan/bandit", None, Some("other"), TODAY, false),
            ("scan/bandit", None, None, date!(2026 - 11 - 23), false),
        ] {
            let found = judge(&[ignore(gate, path, words, expires)], ("p", ""), "scan/bandit", TODAY, vec![finding()]);
            assert_eq!(found[0].excused.is_some(), excused, "{gate} {path:?} {words:?} {expires}");
            let ended = expires < TODAY;
            assert_eq!(found.iter().any(|finding| finding.rule == "expired-ignore"), ended, "{gate} {expires}");
        }
    }

    #[test]
    fn an_expired_ignore_leads_to_its_line_whether_or_not_it_is_needed() {
        let text = "[a]\n[[ignore]]\nx = 1\n\n[[ignore]]\n";
        let ignores = [ignore("scan/x", None, None, TODAY), ignore("scan/bandit", None, None, date!(2020 - 01 - 01))];
        let found = judge(&ignores, ("pipeline.toml", text), "scan/bandit", TODAY, vec![]);
        assert_eq!((found[0].path.as_deref(), found[0].line), (Some("pipeline.toml"), Some(5)));
        assert!(found[0].breaks(Severity::Critical) || found[0].severity == Severity::High);
    }

    #[test]
    fn a_vulnerability_is_excused_by_its_fix_and_its_age_only() {
        let policy = |without_fix, days: u64| {
            let mut policy = Policy::default();
            policy.vulnerabilities.without_fix = without_fix;
            policy.vulnerabilities.grace = Duration::from_secs(days * 86_400);
            policy
        };
        use Severity::{Critical, High, Low, Medium};
        for (without_fix, days, severity, fixed, published, excused) in [
            (Low, 0, Low, true, None, false),
            (Low, 0, Medium, false, None, false),
            (High, 0, Medium, false, None, true),
            (High, 0, High, false, None, false),
            (High, 0, Medium, true, None, false),
            (Low, 7, High, true, Some(date!(2026 - 11 - 20)), true),
            (Low, 7, Critical, true, Some(date!(2026 - 11 - 20)), false),
            (Low, 7, High, true, Some(date!(2026 - 11 - 17)), false),
            (Low, 7, High, true, None, false),
        ] {
            let fixed_in = if fixed { vec!["3.7".to_owned()] } else { vec![] };
            let found = Vulnerability {
                id: "X-1".into(),
                package: "idna 3.6".into(),
                severity,
                fixed_in,
                published,
                summary: "bad".into(),
            };
            let finding = vulnerable(&policy(without_fix, days), TODAY, &found);
            assert_eq!(finding.excused.is_some(), excused, "{without_fix:?} {days} {severity:?} {fixed} {published:?}");
            assert_eq!(finding.severity, severity);
        }
    }
}
