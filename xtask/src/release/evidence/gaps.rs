//! What an auditor asks of a release and nobody wrote down.

use super::{Entry, Files, Missing, Outcome};

/// Of every release, in its order.
pub(super) fn all(entries: &[Entry], reports: &Files) -> Vec<Missing> {
    entries.iter().enumerate().flat_map(|(at, entry)| of(entry, &entries[..at], entries, reports)).collect()
}

fn of(entry: &Entry, earlier: &[Entry], all: &[Entry], reports: &Files) -> Vec<Missing> {
    let mut missing = Vec::new();
    let mut add = |what: &str, why: String| {
        missing.push(Missing { release: entry.id.clone(), what: what.to_owned(), why });
    };
    let digest = entry.image.rsplit_once("@sha256:").map_or("", |(_, digest)| digest);
    let is_hex = |text: &str, length: usize| text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    for (what, is_there, why) in [
        ("digest", is_hex(digest, 64), "the image is not named by a digest"),
        ("commit", is_hex(&entry.commit, 40), "no whole id of a commit is recorded"),
        ("releaser", !entry.who.is_empty(), "nobody is recorded who released it"),
        ("approver", !entry.approved_by.is_empty(), "nobody is recorded who approved it"),
        ("times", !entry.started.is_empty() && !entry.ended.is_empty(), "its beginning or its end is not recorded"),
        ("verdicts", !entry.verdicts.is_empty(), "no verdict of a gate is recorded"),
        ("signature", !entry.signer.is_empty(), "nobody is recorded who signed the image"),
        (
            "outcome",
            !matches!(entry.outcome, Outcome::Running | Outcome::Interrupted),
            "it is not recorded as verified, not verified or failed",
        ),
        ("reports", reports.keys().any(|path| path.starts_with(&format!("{}/", entry.id))), "none was given"),
    ] {
        if !is_there {
            add(what, why.to_owned());
        }
    }
    for waived in &entry.waived {
        add(&waived.check, format!("waived: {}", waived.reason));
    }
    let fell = matches!(entry.outcome, Outcome::Failed | Outcome::NotVerified);
    let had_one = earlier.iter().any(|one| one.outcome == Outcome::Verified);
    // A first release that fails has nothing to go back to.
    if fell && had_one && entry.restored.is_empty() {
        add("rollback", "it is not recorded which release was restored after it".to_owned());
    }
    if !entry.restored.is_empty() && !all.iter().any(|one| one.id == entry.restored) {
        add(
            "rollback",
            format!("the release `{}`, which was restored after it, is not in the journal", entry.restored),
        );
    }
    missing
}
