//! A release as it is remembered among the runs: what the figures of delivery (`docs/metrics.md`) are made of. Pure.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::release::journal::{self, Kind, Outcome, Step};

/// The version of the file that a release leaves in the output folder.
pub const SCHEMA: &str = "forge-release/1";

/// That file: the journal's entry, with what the journal does not hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// [`SCHEMA`].
    pub schema: String,
    /// Where to.
    pub environment: String,
    /// The digest that was verified there before; empty for the first release.
    pub from: String,
    /// When the commit was made, RFC 3339, where the checkout knows it.
    pub committed: Option<String>,
    /// The journal's entry.
    pub entry: journal::Entry,
}

/// One release. Times are RFC 3339 by the cluster's clock; what was not measured is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The journal's id of it. A release that was killed and went on in another run has one id and two runs.
    pub id: String,
    /// Where to.
    pub environment: String,
    /// A version that goes out, or a person who goes back.
    pub kind: Kind,
    /// `rolling`, `blue-green`, `canary`.
    pub strategy: String,
    /// The digest of the image.
    pub digest: String,
    /// The digest that was verified there before; empty for the first release.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// The commit that the image is of.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub commit: String,
    /// What became of it.
    pub outcome: Outcome,
    /// The id of the release that was brought back after it; empty where none was.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub restored: String,
    /// When the commit was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed: Option<String>,
    /// When it began.
    pub started: String,
    /// When something was first changed for it; absent where nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<String>,
    /// When it ended; empty while it goes on.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ended: String,
    /// From the moment at which the cluster reported a fault of the rollout until it was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detection_ms: Option<u64>,
    /// From the decision to go back until what was brought back was verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_ms: Option<u64>,
    /// From the commit until it was verified there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lead_time_ms: Option<u64>,
}

impl Release {
    /// The journal's entry as it is remembered. `detection_ms` is what the rollout's gate has told.
    pub fn of(written: &Written, detection_ms: Option<u64>) -> Self {
        let Written { environment, from, committed, entry, .. } = written;
        let first = |step| entry.steps.iter().find(|taken| taken.step == step).map(|taken| taken.at.as_str());
        let changed = entry.steps.iter().find(|taken| taken.step > Step::Begun && taken.step < Step::Ended);
        let is_delivered = entry.kind == Kind::Release && entry.outcome == Outcome::Verified;
        let is_restored = !entry.restored.is_empty() && !entry.ended.is_empty();
        Self {
            id: entry.id.clone(),
            environment: environment.clone(),
            kind: entry.kind,
            strategy: entry.strategy.clone(),
            digest: entry.digest().to_owned(),
            from: from.clone(),
            commit: entry.commit.clone(),
            outcome: entry.outcome,
            restored: entry.restored.clone(),
            committed: committed.clone(),
            started: entry.started.clone(),
            applied: changed.map(|taken| taken.at.clone()),
            ended: entry.ended.clone(),
            detection_ms,
            restore_ms: first(Step::Restoring).filter(|_| is_restored).and_then(|from| between(from, &entry.ended)),
            lead_time_ms: committed.as_deref().filter(|_| is_delivered).and_then(|from| between(from, &entry.ended)),
        }
    }
}

/// The milliseconds from one moment to a later one; `None` where either is no time, or the second comes first.
pub fn between(from: &str, to: &str) -> Option<u64> {
    u64::try_from((moment(to)? - moment(from)?).whole_milliseconds()).ok()
}

/// RFC 3339 → a moment.
pub fn moment(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::journal::StepTaken;

    fn taken(step: Step, second: u32) -> StepTaken {
        StepTaken { step, at: format!("2026-11-24T18:15:{second:02}Z"), note: String::new() }
    }

    fn written(outcome: Outcome, restored: &str, steps: Vec<StepTaken>, ended: &str) -> Written {
        let entry = journal::Entry {
            id: "r2".into(),
            image: "r.example/i@sha256:b".into(),
            outcome,
            restored: restored.into(),
            steps,
            started: "2026-11-24T18:15:00Z".into(),
            ended: ended.into(),
            ..journal::Entry::default()
        };
        Written {
            environment: "production".into(),
            from: "sha256:a".into(),
            committed: Some("2026-11-24T19:00:00+01:00".into()),
            entry,
            ..Written::default()
        }
    }

    #[test]
    fn times_are_told_only_where_they_were_measured() {
        use Step::{Applying, Begun, Ended, Restoring, VerifyingRestored, Watching};
        let (none, end) = (None::<&str>, "2026-11-24T18:15:50Z");
        let forth = vec![taken(Begun, 0), taken(Applying, 3), taken(Watching, 5), taken(Ended, 50)];
        let back = [forth[..3].to_vec(), vec![taken(Restoring, 20), taken(VerifyingRestored, 40)]].concat();
        for (outcome, restored, steps, ended, applied, lead, restore) in [
            (Outcome::Verified, "", forth, end, Some("2026-11-24T18:15:03Z"), Some(950_000), None),
            (Outcome::Failed, "r1", back.clone(), end, Some("2026-11-24T18:15:03Z"), None, Some(30_000)),
            // It was not brought back, or is still being so.
            (Outcome::Failed, "", back.clone(), end, Some("2026-11-24T18:15:03Z"), None, None),
            (Outcome::Running, "r1", back, "", Some("2026-11-24T18:15:03Z"), None, None),
            (Outcome::Failed, "", vec![taken(Begun, 0), taken(Ended, 1)], end, none, None, None),
        ] {
            let release = Release::of(&written(outcome, restored, steps, ended), None);
            let got = (release.applied.as_deref(), release.lead_time_ms, release.restore_ms);
            assert_eq!(got, (applied, lead, restore), "{outcome:?} {restored}");
            assert_eq!((release.digest.as_str(), release.from.as_str()), ("sha256:b", "sha256:a"));
        }
    }

    #[test]
    fn a_person_who_goes_back_delivers_nothing() {
        let mut written = written(Outcome::Verified, "", vec![], "2026-11-24T18:15:50Z");
        written.entry.kind = Kind::Rollback;
        assert_eq!(Release::of(&written, None).lead_time_ms, None);
        written.entry.kind = Kind::Release;
        written.committed = None;
        assert_eq!(Release::of(&written, None).lead_time_ms, None);
        // A clock that went backwards has measured nothing.
        assert_eq!(between("2026-11-24T18:15:50Z", "2026-11-24T18:15:49Z"), None);
        assert_eq!(between("soon", "2026-11-24T18:15:49Z"), None);
    }
}
