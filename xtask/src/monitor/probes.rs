//! Several probes of one check → one outcome: a pass at any probe passes, and a failure is one that every probe saw.
//! Pure; who waits in between is `tasks/monitor/probing.rs`.

use std::time::Duration;

use crate::verdict::{Assessment, Evidence, Finding, NotRun, Outcome, Severity, Verdict, assess};

/// One probe that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// What came of it.
    pub outcome: Outcome,
    /// Its verdict.
    pub verdict: Verdict,
    /// Why it is not a pass.
    pub reason: String,
}

impl Probe {
    /// Judges an outcome. `breaks_at` is the lowest severity that breaks the policy.
    pub fn of(outcome: Outcome, breaks_at: Severity) -> Self {
        let (verdict, reason) = match &outcome {
            Outcome::DidNotRun(why) => (Verdict::DidNotRun, why.reason.clone()),
            Outcome::Ran(evidence) => {
                let Assessment { verdict, reason } = assess(evidence, breaks_at);
                (verdict, reason)
            }
        };
        Self { outcome, verdict, reason }
    }

    /// For people: `passed`, `failed: …`.
    pub fn in_words(&self) -> String {
        let word = match self.verdict {
            Verdict::Pass => return "passed".to_owned(),
            Verdict::Fail => "failed",
            Verdict::DidNotRun => "did not run",
        };
        format!("{word}: {}", self.reason)
    }
}

/// Whether another probe can change anything. What was found once is there; only a failure of a moment passes by itself.
pub fn is_decided(probes: &[Probe], most: usize, failures_pass: bool) -> bool {
    let ended = |probe: &Probe| match probe.verdict {
        Verdict::Pass => true,
        Verdict::Fail => !failures_pass,
        Verdict::DidNotRun => false,
    };
    probes.len() >= most || probes.last().is_some_and(ended)
}

/// What all probes of a run say together; `None` of none. `failures_pass` as in [`is_decided`], `spacing` is for people.
pub fn decide(mut probes: Vec<Probe>, failures_pass: bool, spacing: Duration) -> Option<Outcome> {
    let last = probes.pop()?;
    if probes.is_empty() {
        return Some(last.outcome);
    }
    let all = probes.len() + 1;
    let failed = probes.iter().filter(|probe| probe.verdict == Verdict::Fail).count();
    let every = failed == probes.len();
    Some(match (last.verdict, last.outcome) {
        (Verdict::Pass, Outcome::Ran(evidence)) => {
            let before: Vec<String> = probes.iter().map(Probe::in_words).collect();
            let message = format!("passed at probe {all}; before that it {}", before.join(", then it "));
            told(evidence, "recovered", message)
        }
        (Verdict::Fail, Outcome::Ran(evidence)) if every => {
            let message = format!("each of {all} probes failed, {} s apart", spacing.as_secs());
            told(evidence, "probes", message)
        }
        (Verdict::Fail, Outcome::Ran(evidence)) if !failures_pass => {
            let before: Vec<String> = probes.iter().map(Probe::in_words).collect();
            told(evidence, "probes", format!("found at probe {all}; before that it {}", before.join(", then it ")))
        }
        // Some failed and some could not ask: that is no row of failures.
        (_, outcome) => {
            let (why, own) = match outcome {
                Outcome::DidNotRun(why) => (why, false),
                Outcome::Ran(Evidence { findings, artifacts, fix, .. }) => {
                    // What was found stands in the findings alone: reasons are for everybody.
                    let did_not_run = probes.iter().rfind(|probe| probe.verdict == Verdict::DidNotRun);
                    let reason = did_not_run.map_or(last.reason, |probe| probe.reason.clone());
                    (NotRun { reason, fix, findings, artifacts }, last.verdict == Verdict::Fail)
                }
            };
            let failed = failed + usize::from(own);
            if failed == 0 {
                return Some(Outcome::DidNotRun(why));
            }
            let reason = format!("of {all} probes {failed} failed and {} did not run: {}", all - failed, why.reason);
            let seen = probes.into_iter().rev().find_map(|probe| match probe.outcome {
                Outcome::Ran(evidence) if why.findings.is_empty() => Some(evidence.findings),
                _ => None,
            });
            Outcome::DidNotRun(NotRun { reason, findings: seen.unwrap_or(why.findings.clone()), ..why })
        }
    })
}

fn told(mut evidence: Evidence, rule: &str, message: String) -> Outcome {
    evidence.findings.push(Finding::new(rule, Severity::Info, message));
    Outcome::Ran(evidence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Work;

    fn probe(letter: char) -> Probe {
        let ran = |findings: Vec<Finding>| {
            let work = Work::new(3, "requests");
            Outcome::Ran(Evidence { work, declared: None, findings, artifacts: vec![], fix: "mend it".into() })
        };
        let outcome = match letter {
            'p' => ran(vec![]),
            'f' => ran(vec![Finding::new("health", Severity::High, "status 500")]),
            _ => Outcome::DidNotRun(NotRun::new("no way", "find one")),
        };
        Probe::of(outcome, Severity::Low)
    }

    #[test]
    fn a_failure_is_one_that_every_probe_saw() {
        for (letters, verdict, words) in [
            ("p", Verdict::Pass, ""),
            ("fp", Verdict::Pass, "passed at probe 2; before that it failed: status 500"),
            ("fnp", Verdict::Pass, "passed at probe 3; before that it failed: status 500, then it did not run: no way"),
            ("f", Verdict::Fail, ""),
            ("fff", Verdict::Fail, "each of 3 probes failed, 20 s apart"),
            ("nnn", Verdict::DidNotRun, "no way"),
            ("nff", Verdict::DidNotRun, "of 3 probes 2 failed and 1 did not run: no way"),
            ("ffn", Verdict::DidNotRun, "of 3 probes 2 failed and 1 did not run: no way"),
        ] {
            let probes: Vec<Probe> = letters.chars().map(probe).collect();
            let decided = decide(probes, true, Duration::from_secs(20)).unwrap();
            let found = Probe::of(decided.clone(), Severity::Low);
            assert_eq!(found.verdict, verdict, "{letters}: {decided:?}");
            let told = match &decided {
                Outcome::Ran(evidence) => {
                    evidence.findings.iter().find(|f| f.severity == Severity::Info).map(|f| f.message.clone())
                }
                Outcome::DidNotRun(why) => Some(why.reason.clone()),
            };
            assert_eq!(told.unwrap_or_default(), words, "{letters}");
            if let (Outcome::DidNotRun(why), true) = (&decided, letters.contains('f')) {
                assert_eq!(why.findings[0].message, "status 500", "{letters}");
            }
        }
        assert_eq!(decide(vec![], true, Duration::ZERO), None);
    }

    #[test]
    fn what_is_found_is_there_however_often_nobody_could_ask_before() {
        for (letters, words) in [
            ("f", ""),
            ("nf", "found at probe 2; before that it did not run: no way"),
            ("nnf", "found at probe 3; before that it did not run: no way, then it did not run: no way"),
        ] {
            let decided = decide(letters.chars().map(probe).collect(), false, Duration::ZERO).unwrap();
            assert_eq!(Probe::of(decided.clone(), Severity::Low).verdict, Verdict::Fail, "{letters}");
            let Outcome::Ran(evidence) = decided else { panic!("{letters}: {decided:?}") };
            let told = evidence.findings.iter().find(|finding| finding.severity == Severity::Info);
            assert_eq!(told.map_or("", |finding| &finding.message), words, "{letters}");
        }
        let nobody = decide("nnn".chars().map(probe).collect(), false, Duration::ZERO).unwrap();
        assert_eq!(Probe::of(nobody, Severity::Low).verdict, Verdict::DidNotRun);
    }

    #[test]
    fn what_was_found_is_asked_again_only_where_it_may_pass() {
        for (letters, failures_pass, decided) in [
            ("", true, false),
            ("f", true, false),
            ("f", false, true),
            ("n", true, false),
            ("n", false, false),
            ("fp", true, true),
            ("fff", true, true),
            ("nnn", false, true),
        ] {
            let probes: Vec<Probe> = letters.chars().map(probe).collect();
            assert_eq!(is_decided(&probes, 3, failures_pass), decided, "{letters} {failures_pass}");
        }
    }
}
