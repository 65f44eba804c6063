//! The journal: every release of an environment, as it is remembered in the cluster. Pure; who keeps it is `book.rs`.

use serde::{Deserialize, Serialize};

use crate::config::MOST_KEPT;

/// How many releases are remembered.
pub const REMEMBERED: usize = 20;

/// The version of the format.
pub const SCHEMA: &str = "forge-journal/1";

/// What a release is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A version goes out.
    #[default]
    Release,
    /// A person goes back to an older one.
    Rollback,
}

/// How far a release has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// It is written down, and nothing is changed yet.
    #[default]
    Begun,
    /// Objects are being changed.
    Applying,
    /// The rollout is watched.
    Watching,
    /// What runs is verified.
    Verifying,
    /// The Service is being moved, or the rest is rolled out.
    Promoting,
    /// It is verified, and is being accepted.
    Accepting,
    /// The last verified release is being brought back.
    Restoring,
    /// What was brought back is verified.
    VerifyingRestored,
    /// Nothing more happens.
    Ended,
}

impl Step {
    /// For people and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Applying => "applying",
            Self::Watching => "watching",
            Self::Verifying => "verifying",
            Self::Promoting => "promoting",
            Self::Accepting => "accepting",
            Self::Restoring => "restoring",
            Self::VerifyingRestored => "verifying_restored",
            Self::Ended => "ended",
        }
    }
}

/// What became of a release.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It goes on, or whoever did it is gone.
    #[default]
    Running,
    /// It serves, and all that was asked of it was proved.
    Verified,
    /// It could not be verified; that is not the same as a failure.
    NotVerified,
    /// It failed.
    Failed,
    /// It was stopped by a person or a signal.
    Interrupted,
}

/// A step that was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StepTaken {
    /// Which.
    pub step: Step,
    /// When it began, RFC 3339, by the cluster's clock.
    pub at: String,
    /// What there is to say of it.
    pub note: String,
}

/// How a gate of a release ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Verdicted {
    /// Its id.
    pub gate: String,
    /// `pass`, `fail`, `did_not_run`.
    pub verdict: String,
    /// Why it is not green.
    pub reason: String,
}

/// A check that a person did without.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Waived {
    /// Which.
    pub check: String,
    /// Why.
    pub reason: String,
}

/// One release, as it is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// Unlike every other: `20261124T181500Z-3f2a`.
    pub id: String,
    /// What for.
    pub kind: Kind,
    /// `REPOSITORY@sha256:…`
    pub image: String,
    /// The commit that the image is of.
    pub commit: String,
    /// What was asked for: a tag or a commit; empty where the branch's head was.
    pub version: String,
    /// `name@host`, or who started the workflow.
    pub who: String,
    /// The address of the workflow's run; empty on a laptop.
    pub run: String,
    /// Who typed the environment's name, or reviewed in GitHub.
    pub approved_by: String,
    /// `rolling`, `blue-green`, `canary`.
    pub strategy: String,
    /// RFC 3339, by the cluster's clock.
    pub started: String,
    /// The same; empty while it runs.
    pub ended: String,
    /// What was done, in order.
    pub steps: Vec<StepTaken>,
    /// How its gates ended.
    pub verdicts: Vec<Verdicted>,
    /// What was done without.
    pub waived: Vec<Waived>,
    /// What became of it.
    pub outcome: Outcome,
    /// The id of the release that was brought back after it.
    pub restored: String,
    /// Who signed the image.
    pub signer: String,
    /// Why it did not go well.
    pub reason: String,
    /// The hash of its pods' template, by which its pods are known.
    pub template: String,
    /// Which Deployment serves it: `stable`, `blue`, `green`.
    pub track: String,
    /// The names of the ConfigMaps and Secrets that it needs.
    pub configs: Vec<String>,
}

impl Entry {
    /// The last step that was begun.
    pub fn step(&self) -> Step {
        self.steps.last().map_or(Step::Begun, |taken| taken.step)
    }

    /// Whether something was changed for it.
    pub fn has_applied(&self) -> bool {
        self.steps.iter().any(|taken| taken.step > Step::Begun && taken.step < Step::Ended)
    }

    /// The digest of its image.
    pub fn digest(&self) -> &str {
        self.image.split_once('@').map_or("", |(_, digest)| digest)
    }
}

/// All of them, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Journal {
    /// [`SCHEMA`].
    pub schema: String,
    /// The releases.
    pub entries: Vec<Entry>,
}

impl Journal {
    /// Writes a release down, in place of the one with its id, and forgets the oldest that nobody goes back to: the newest
    /// [`MOST_KEPT`] verified ones are not forgotten for any number of failed ones.
    pub fn put(&mut self, entry: Entry) {
        self.schema = SCHEMA.to_owned();
        match self.entries.iter_mut().find(|known| known.id == entry.id) {
            Some(known) => *known = entry,
            None => self.entries.push(entry),
        }
        while self.entries.len() > REMEMBERED {
            let kept: Vec<String> = self.kept(MOST_KEPT).into_iter().map(|entry| entry.id.clone()).collect();
            let oldest = self.entries.iter().position(|entry| !kept.contains(&entry.id));
            self.entries.remove(oldest.unwrap_or(0));
        }
    }

    /// The release that counts: the newest that was verified (R18).
    pub fn last_verified(&self) -> Option<&Entry> {
        self.verified().next()
    }

    /// The verified releases, the newest first. A way back is one of them.
    pub fn verified(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().rev().filter(|entry| entry.outcome == Outcome::Verified)
    }

    /// A release whose holder is gone: it is not ended, and nobody holds the lock any more.
    pub fn unfinished(&self) -> Option<&Entry> {
        self.entries.iter().rev().find(|entry| entry.outcome == Outcome::Running)
    }

    /// Whether the newest release that changed something was neither verified nor undone: what serves may be half of it. One
    /// that failed where nothing was verified before has been scaled to nothing, or left on purpose.
    pub fn is_half_done(&self) -> bool {
        let newest = self.entries.iter().rev().find(|entry| entry.has_applied());
        newest.is_some_and(|entry| match entry.outcome {
            Outcome::Running => true,
            Outcome::Verified => false,
            // Noticed by a later one, which has changed nothing either.
            Outcome::Interrupted if entry.step() != Step::Ended => true,
            _ => entry.restored.is_empty() && self.last_verified().is_some(),
        })
    }

    /// The last `keep` verified releases: their configuration stays (R18).
    pub fn kept(&self, keep: usize) -> Vec<&Entry> {
        let mut kept: Vec<&Entry> = Vec::new();
        for entry in self.verified() {
            if kept.len() == keep {
                break;
            }
            // The same twice is one way back.
            if !kept.iter().any(|known| known.template == entry.template && known.digest() == entry.digest()) {
                kept.push(entry);
            }
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: usize, outcome: Outcome) -> Entry {
        Entry { id: id.to_string(), template: format!("t{id}"), outcome, ..Entry::default() }
    }

    #[test]
    fn the_last_verified_release_is_the_way_back_and_is_never_forgotten() {
        let mut journal = Journal::default();
        journal.put(entry(0, Outcome::Verified));
        for id in 1..=30 {
            journal.put(entry(id, Outcome::Failed));
        }
        assert_eq!(journal.entries.len(), REMEMBERED);
        assert_eq!(journal.last_verified().map(|entry| entry.id.as_str()), Some("0"));
        assert_eq!(journal.entries.last().map(|entry| entry.id.as_str()), Some("30"));
        // Nor are the others that one can go back to.
        for id in 31..=35 {
            journal.put(entry(id, Outcome::Verified));
        }
        for id in 36..=60 {
            journal.put(entry(id, Outcome::Failed));
        }
        let ids: Vec<&str> = journal.kept(5).into_iter().map(|entry| entry.id.as_str()).collect();
        assert_eq!((journal.entries.len(), ids), (REMEMBERED, vec!["35", "34", "33", "32", "31"]));
        for id in 61..=90 {
            journal.put(entry(id, Outcome::Verified));
        }
        assert_eq!(journal.entries.first().map(|entry| entry.id.as_str()), Some("71"));
    }

    #[test]
    fn a_release_is_written_down_once() {
        let mut journal = Journal::default();
        journal.put(entry(1, Outcome::Running));
        assert!(journal.unfinished().is_some() && journal.last_verified().is_none());
        journal.put(entry(1, Outcome::Verified));
        assert_eq!((journal.entries.len(), journal.unfinished()), (1, None));
    }

    #[test]
    fn half_of_a_release_stays_half_until_one_is_verified_or_it_is_undone() {
        use Outcome::{Failed, Interrupted, Running, Verified};
        let applied = |id, outcome, restored: &str| {
            let steps = vec![StepTaken { step: Step::Applying, ..StepTaken::default() }];
            Entry { steps, restored: restored.into(), ..entry(id, outcome) }
        };
        let good = || applied(0, Verified, "");
        for (entries, expected) in [
            (vec![], false),
            (vec![good()], false),
            (vec![applied(1, Running, "")], true),
            (vec![applied(1, Failed, "")], false),
            (vec![good(), applied(1, Running, "")], true),
            // The next run has noticed it and was cut off itself before it changed anything.
            (vec![good(), applied(1, Interrupted, ""), entry(2, Running)], true),
            (vec![applied(1, Interrupted, ""), entry(2, Running)], true),
            (vec![good(), applied(1, Failed, "")], true),
            (vec![good(), applied(1, Failed, "0"), entry(2, Interrupted)], false),
            (vec![good(), applied(1, Interrupted, ""), applied(2, Verified, "")], false),
        ] {
            let journal = Journal { entries, ..Journal::default() };
            assert_eq!(journal.is_half_done(), expected, "{:?}", journal.entries);
        }
    }

    #[test]
    fn what_is_kept_is_the_last_verified_ones_each_once() {
        let mut journal = Journal::default();
        for (id, outcome) in [
            (1, Outcome::Verified),
            (2, Outcome::Failed),
            (3, Outcome::Verified),
            (4, Outcome::NotVerified),
            (5, Outcome::Verified),
        ] {
            journal.put(entry(id, outcome));
        }
        journal.put(Entry { template: "t5".into(), ..entry(6, Outcome::Verified) });
        let ids: Vec<&str> = journal.kept(2).into_iter().map(|entry| entry.id.as_str()).collect();
        assert_eq!(ids, ["6", "3"]);
    }

    #[test]
    fn what_was_applied_is_told_from_what_was_only_begun() {
        let taken = |step| StepTaken { step, ..StepTaken::default() };
        for (steps, applied, last) in [
            (vec![], false, Step::Begun),
            (vec![Step::Begun], false, Step::Begun),
            (vec![Step::Begun, Step::Ended], false, Step::Ended),
            (vec![Step::Begun, Step::Applying], true, Step::Applying),
            (vec![Step::Begun, Step::Applying, Step::Watching, Step::Ended], true, Step::Ended),
        ] {
            let entry = Entry { steps: steps.into_iter().map(taken).collect(), ..Entry::default() };
            assert_eq!((entry.has_applied(), entry.step()), (applied, last));
        }
    }
}
