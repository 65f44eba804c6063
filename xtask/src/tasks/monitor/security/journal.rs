//! What the journal says of the newest releases, for the history: what was released from a laptop, or was cut off, leaves no
//! run on the data branch, and counts all the same (R33).

use std::time::Duration;

use anyhow::Context as _;
use time::OffsetDateTime;

use crate::disk::write_atomically;
use crate::engine::session::Session;
use crate::history::artifacts;
use crate::history::release::{Release, SCHEMA, Written, moment};
use crate::release::journal::{Journal, Outcome};
use crate::tools::git;

/// How old an end may be. What monitoring has not seen for so long is not found any more.
const NEWEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// Leaves the newest releases in the output folder; the file's path, relative to it.
pub async fn leave(session: &Session, environment: &str, journal: &Journal) -> anyhow::Result<String> {
    let ctx = session.ctx();
    let mut releases = Vec::new();
    for mut written in newest(journal, environment, ctx.started) {
        written.committed = git::committed(&ctx.root, &session.machine.quiet(), &written.entry.commit).await;
        releases.push(Release::of(&written, None));
    }
    let text = serde_json::to_string_pretty(&releases).context("releases are no JSON")?;
    write_atomically(&ctx.out.join(artifacts::JOURNAL), ctx.redactor.redact(&text).as_bytes())?;
    Ok(artifacts::JOURNAL.to_owned())
}

/// The releases that have ended within [`NEWEST`], each with what was verified before it.
fn newest(journal: &Journal, environment: &str, now: OffsetDateTime) -> Vec<Written> {
    let mut verified = "";
    let mut all = Vec::new();
    for entry in &journal.entries {
        let from = verified.to_owned();
        if entry.outcome == Outcome::Verified {
            verified = entry.digest();
        }
        if moment(&entry.ended).is_some_and(|ended| now - ended < NEWEST) {
            let (schema, environment) = (SCHEMA.to_owned(), environment.to_owned());
            all.push(Written { schema, environment, from, committed: None, entry: entry.clone() });
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::journal::Entry;
    use time::macros::datetime;

    #[test]
    fn what_has_ended_lately_is_told_with_what_was_verified_before_it() {
        let entry = |id: &str, outcome, ended: &str| Entry {
            id: id.into(),
            image: format!("r@sha256:{id}"),
            outcome,
            ended: ended.into(),
            ..Entry::default()
        };
        let entries = vec![
            entry("1", Outcome::Verified, "2026-03-01T10:00:00Z"),
            entry("2", Outcome::Failed, "2026-03-09T10:00:00Z"),
            entry("3", Outcome::Verified, "2026-03-10T10:00:00Z"),
            entry("4", Outcome::Running, ""),
        ];
        let journal = Journal { entries, ..Journal::default() };
        let found = newest(&journal, "staging", datetime!(2026-03-10 12:00:00 UTC));
        let told: Vec<(&str, &str)> = found.iter().map(|one| (one.entry.id.as_str(), one.from.as_str())).collect();
        assert_eq!(told, [("2", "sha256:1"), ("3", "sha256:1")]);
        assert!(found.iter().all(|one| one.environment == "staging"));
    }
}
