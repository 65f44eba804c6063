//! What runs, held against what was released by the journal. Pure.

use super::images::{Running, nothing_runs};
use crate::release::journal::Journal;
use crate::verdict::{Finding, NotRun, Severity};

/// What runs in the container that is released, and in every container of a pod that is nobody's and gets users all the same.
#[derive(Clone, Debug)]
pub struct Seen<'a> {
    /// The Deployment that serves; empty where none does.
    pub workload: &'a str,
    /// The digest that it wants.
    pub wanted: &'a str,
    /// What the pods run that users reach.
    pub running: Vec<&'a Running>,
}

/// What runs and was not released: neither the last verified digest nor, while a release goes on, its own. Where no Deployment
/// serves and nothing runs there is nothing that a journal could be held against.
pub fn assess(journal: &Journal, seen: &Seen<'_>, environment: &str) -> Result<Vec<Finding>, NotRun> {
    if seen.workload.is_empty() && seen.running.is_empty() {
        return Err(nothing_runs(environment));
    }
    if journal.entries.is_empty() {
        let fix = format!("cargo xtask deploy {environment}");
        return Err(NotRun::new("the journal knows no release: there is nothing to hold what runs against", fix));
    }
    let verified = journal.last_verified().map(|entry| entry.digest());
    let current = journal.unfinished().map(|entry| entry.digest());
    let released: Vec<&str> = [verified, current].into_iter().flatten().filter(|digest| !digest.is_empty()).collect();
    let expected = match released.as_slice() {
        [] => "no release was verified".to_owned(),
        known => format!("the journal says {}", known.join(" or ")),
    };
    let mut findings = Vec::new();
    let mut found = |what: String| findings.push(Finding::new("drifted", Severity::Critical, what));
    if !seen.workload.is_empty() && !released.contains(&seen.wanted) {
        found(format!("the Deployment `{}` wants {}, and {expected}", seen.workload, digest_or_none(seen.wanted)));
    }
    for Running { subject, pods, .. } in seen.running.iter().filter(|one| !released.contains(&&*one.subject.digest)) {
        found(format!("{subject} runs in {}, and {expected}", pods.join(", ")));
    }
    Ok(findings)
}

fn digest_or_none(digest: &str) -> &str {
    if digest.is_empty() { "an image without a digest" } else { digest }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::journal::{Entry, Outcome};
    use crate::tools::reference::Subject;

    #[test]
    fn what_runs_is_what_was_verified_or_what_is_being_released() {
        use Outcome::{Failed, Interrupted, NotVerified, Running as GoesOn, Verified};
        for (entries, wanted, running, expected) in [
            (vec![(1, Verified)], 1, vec![1], 0),
            (vec![(1, Verified)], 1, vec![1, 9], 1),
            (vec![(1, Verified)], 9, vec![9], 2),
            // A rollout goes on: both run.
            (vec![(1, Verified), (2, GoesOn)], 2, vec![1, 2], 0),
            (vec![(1, Verified), (2, GoesOn)], 2, vec![1, 2, 3], 1),
            // What failed was taken back.
            (vec![(1, Verified), (2, Failed)], 1, vec![1], 0),
            (vec![(1, Verified), (2, Failed)], 2, vec![2], 2),
            (vec![(1, Verified), (2, NotVerified)], 1, vec![1, 2], 1),
            (vec![(1, Verified), (2, Verified)], 1, vec![1], 2),
            (vec![(1, Interrupted)], 1, vec![1], 2),
        ] {
            let digest = |number: i32| format!("sha256:{number}");
            let entry = |(number, outcome): &(i32, Outcome)| Entry {
                id: number.to_string(),
                image: format!("r/i@{}", digest(*number)),
                outcome: *outcome,
                ..Entry::default()
            };
            let journal = Journal { entries: entries.iter().map(entry).collect(), ..Journal::default() };
            let all: Vec<Running> = running
                .iter()
                .map(|number| Running {
                    subject: Subject { repository: "r/i".into(), digest: digest(*number) },
                    containers: vec!["app".into()],
                    pods: vec!["p".into()],
                })
                .collect();
            let wanted = digest(wanted);
            let seen = Seen { workload: "forge", wanted: &wanted, running: all.iter().collect() };
            let found = assess(&journal, &seen, "staging").unwrap();
            assert_eq!(found.len(), expected, "{entries:?} {wanted} {running:?}: {found:?}");
        }
        let seen = Seen { workload: "forge", wanted: "", running: vec![] };
        assert!(assess(&Journal::default(), &seen, "staging").unwrap_err().reason.contains("knows no release"));
    }

    #[test]
    fn a_journal_alone_proves_nothing_of_what_runs() {
        let entry = Entry { image: "r/i@sha256:1".into(), outcome: Outcome::Verified, ..Entry::default() };
        let journal = Journal { entries: vec![entry], ..Journal::default() };
        let mut seen = Seen { workload: "", wanted: "", running: vec![] };
        let why = assess(&journal, &seen, "staging").unwrap_err();
        assert_eq!(
            (why.reason.as_str(), why.fix.as_str()),
            ("no container of the workload runs an image", "cargo xtask monitor staging health")
        );
        // Without a Deployment somebody's own pod gets users: that is looked at.
        let subject = Subject { repository: "r/evil".into(), digest: "sha256:9".into() };
        let strange = Running { subject, containers: vec!["x".into()], pods: vec!["p".into()] };
        seen.running.push(&strange);
        assert_eq!(assess(&journal, &seen, "staging").unwrap().len(), 1);
    }
}
