//! What OSV knows of one vulnerability beside its id: how bad it is, and since when it is known.
//!
//! pip-audit leaves both out of its report.

use serde::Deserialize;
use time::Date;
use time::macros::format_description;

use super::super::severity;
use crate::engine::session::Session;
use crate::tools::cancel::Urgency;
use crate::tools::download;
use crate::verdict::Severity;

/// Severity and date; high and unknown where OSV does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Details {
    /// How bad it is.
    pub severity: Severity,
    /// When it was published.
    pub published: Option<Date>,
}

#[derive(Debug, Default, Deserialize)]
struct Advisory {
    published: Option<String>,
    #[serde(default)]
    database_specific: Specific,
}

#[derive(Debug, Default, Deserialize)]
struct Specific {
    severity: Option<String>,
}

/// Asks `GET BASE/v1/vulns/ID`. Not knowing more is no reason to say less than pip-audit did.
pub async fn details(session: &Session, base: &str, id: &str) -> Details {
    let mut cancel = session.machine.cancel.clone();
    let asked = async {
        let answer = download::client()?.get(format!("{base}/v1/vulns/{id}")).send().await?;
        anyhow::Ok(answer.error_for_status()?.json::<Advisory>().await?)
    };
    let advisory = tokio::select! {
        advisory = asked => advisory.unwrap_or_default(),
        () = cancel.reached(Urgency::Gently) => Advisory::default(),
    };
    read(&advisory)
}

fn read(advisory: &Advisory) -> Details {
    let day = advisory.published.as_deref().and_then(|text| text.get(..10));
    let published = day.and_then(|day| Date::parse(day, format_description!("[year]-[month]-[day]")).ok());
    Details { severity: advisory.database_specific.severity.as_deref().map_or(Severity::High, severity), published }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::date;

    #[test]
    fn what_is_not_said_is_high_and_of_no_age() {
        for (json, expected) in [
            ("{}", (Severity::High, None)),
            (
                r#"{"id": "X", "published": "2026-01-02T03:04:05Z", "database_specific": {"severity": "MODERATE"}}"#,
                (Severity::Medium, Some(date!(2026 - 01 - 02))),
            ),
            (r#"{"published": "soon", "database_specific": {"severity": "CRITICAL"}}"#, (Severity::Critical, None)),
        ] {
            let found = read(&serde_json::from_str(json).unwrap());
            assert_eq!((found.severity, found.published), expected, "{json}");
        }
    }
}
