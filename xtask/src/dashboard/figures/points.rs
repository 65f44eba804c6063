//! What single runs have measured, in order of time.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Run;
use crate::history::entry::{Found, Percentiles};
use crate::history::release;
use crate::release::journal::{Kind, Outcome};

/// The run that a figure is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Of {
    /// When it began, in seconds since 1970.
    pub at: i64,
    /// Its name.
    pub run: String,
    /// The branch.
    pub branch: String,
    /// The task.
    pub task: String,
}

impl Of {
    fn new(run: &Run<'_>) -> Self {
        let entry = run.entry;
        Self { at: run.at, run: entry.run.clone(), branch: entry.branch.clone(), task: entry.task.clone() }
    }
}

/// How much the tests covered, in percent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Coverage {
    /// By which run.
    #[serde(flatten)]
    pub of: Of,
    /// All legs together.
    pub combined: Option<f64>,
    /// Each leg.
    pub legs: BTreeMap<String, f64>,
}

/// What all gates of a run have found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// By which run.
    #[serde(flatten)]
    pub of: Of,
    /// 0 where there were none: that is a figure as well.
    pub critical: u64,
    /// The next severity.
    pub high: u64,
    /// The next one.
    pub medium: u64,
    /// The next one.
    pub low: u64,
    /// The last one.
    pub info: u64,
    /// Of any severity, with a reason.
    pub excused: u64,
}

/// What a load has measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Load {
    /// By which run.
    #[serde(flatten)]
    pub of: Of,
    /// The environment, or empty where the backend was started for it.
    pub environment: String,
    /// The load profile.
    pub profile: String,
    /// `builtin` or `k6`.
    pub engine: String,
    /// Requests.
    pub requests: u64,
    /// The share that failed, from 0 to 1.
    pub failed_rate: f64,
    /// In milliseconds.
    pub latency: Option<Percentiles>,
    /// Of language models, in milliseconds.
    pub first_token: Option<Percentiles>,
}

/// How large an image was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Image {
    /// By which run.
    #[serde(flatten)]
    pub of: Of,
    /// In bytes, layers unpacked.
    pub size_bytes: u64,
}

/// What became of a release in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It serves.
    Verified,
    /// It did not, and the last one that was verified serves again.
    Restored,
    /// It did not, and nothing was changed for it.
    Refused,
    /// It did not, and what was there before was not brought back.
    NotRestored,
    /// It goes on, or whoever did it is gone.
    Running,
}

impl Fate {
    /// All, in the order of the page.
    pub const ALL: [Self; 5] = [Self::Verified, Self::Restored, Self::Refused, Self::NotRestored, Self::Running];

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Restored => "restored",
            Self::Refused => "nothing was changed",
            Self::NotRestored => "not restored",
            Self::Running => "not ended",
        }
    }

    fn of(release: &release::Release) -> Self {
        match release.outcome {
            Outcome::Verified => Self::Verified,
            Outcome::Running => Self::Running,
            _ if !release.restored.is_empty() => Self::Restored,
            _ if release.applied.is_none() => Self::Refused,
            _ => Self::NotRestored,
        }
    }
}

/// What went to an environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Release {
    /// When it began, in seconds since 1970.
    pub at: i64,
    /// The journal's id.
    pub id: String,
    /// Where to.
    pub environment: String,
    /// A version that goes out, or a person who goes back.
    pub kind: Kind,
    /// How.
    pub strategy: String,
    /// What.
    pub digest: String,
    /// Of which commit.
    pub commit: String,
    /// What the journal says.
    pub outcome: Outcome,
    /// What became of it in the end.
    pub fate: Fate,
    /// From its beginning to its end, where both are known.
    pub duration_ms: Option<u64>,
    /// From the commit until it was verified.
    pub lead_time_ms: Option<u64>,
    /// From the decision to go back until that was verified.
    pub restore_ms: Option<u64>,
}

/// Of the runs that measured it.
pub fn coverage(runs: &[Run<'_>]) -> Vec<Coverage> {
    let measured = runs.iter().filter_map(|run| Some((run, run.entry.coverage.as_ref()?)));
    measured
        .map(|(run, coverage)| Coverage { of: Of::new(run), combined: coverage.combined, legs: coverage.legs.clone() })
        .collect()
}

/// Of every run that has a gate.
pub fn findings(runs: &[Run<'_>]) -> Vec<Findings> {
    let of = |run: &Run<'_>| {
        let sum = |part: fn(&Found) -> u64| run.entry.gates.iter().map(|gate| part(&gate.findings)).sum();
        Findings {
            of: Of::new(run),
            critical: sum(|found| found.critical),
            high: sum(|found| found.high),
            medium: sum(|found| found.medium),
            low: sum(|found| found.low),
            info: sum(|found| found.info),
            excused: sum(|found| found.excused),
        }
    };
    runs.iter().filter(|run| !run.entry.gates.is_empty()).map(of).collect()
}

/// Of the runs whose load really ran: a stored figure is of an earlier run, where it stands already.
pub fn loads(runs: &[Run<'_>]) -> Vec<Load> {
    let measured = runs.iter().filter_map(|run| {
        let load = run.entry.load.as_ref()?;
        let cached = run.entry.gates.iter().any(|gate| gate.id == load.gate && gate.cached);
        (!cached).then_some((run, load))
    });
    let of = |(run, load): (&Run<'_>, &crate::history::entry::Load)| Load {
        of: Of::new(run),
        environment: run.entry.environment.clone().unwrap_or_default(),
        profile: load.profile.clone(),
        engine: load.engine.clone(),
        requests: load.requests,
        failed_rate: load.failed_rate,
        latency: load.rest,
        first_token: load.llm.and_then(|llm| llm.time_to_first_token),
    };
    measured.map(of).collect()
}

/// Of the runs that built or took one.
pub fn images(runs: &[Run<'_>]) -> Vec<Image> {
    let of = |run: &Run<'_>| Some(Image { of: Of::new(run), size_bytes: run.entry.image?.size_bytes });
    runs.iter().filter_map(of).collect()
}

/// One of each id: a release that went on in another run is told as that run left it, and one of which no run tells as the
/// journal was read last.
pub fn releases(runs: &[Run<'_>]) -> Vec<Release> {
    let mut releases: Vec<Release> = Vec::new();
    let read = runs.iter().flat_map(|run| run.entry.journal.iter().map(move |release| (run, release)));
    let made = runs.iter().filter_map(|run| Some((run, run.entry.release.as_ref()?)));
    for (run, release) in read.chain(made) {
        let told = Release {
            at: release::moment(&release.started).map_or(run.at, |at| at.unix_timestamp()),
            id: release.id.clone(),
            environment: release.environment.clone(),
            kind: release.kind,
            strategy: release.strategy.clone(),
            digest: release.digest.clone(),
            commit: release.commit.clone(),
            outcome: release.outcome,
            fate: Fate::of(release),
            duration_ms: release::between(&release.started, &release.ended),
            lead_time_ms: release.lead_time_ms,
            restore_ms: release.restore_ms,
        };
        let same = |known: &&mut Release| known.id == told.id && known.environment == told.environment;
        match releases.iter_mut().find(same) {
            Some(known) => *known = told,
            None => releases.push(told),
        }
    }
    releases.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
    releases
}

#[cfg(test)]
mod tests {
    use super::super::in_order;
    use super::super::testing::{entry, gate};
    use super::*;
    use crate::history::entry;
    use crate::verdict::Verdict;

    #[test]
    fn the_fate_of_a_release_is_what_serves_after_it() {
        let release = |outcome, restored: &str, applied: Option<&str>| release::Release {
            outcome,
            restored: restored.to_owned(),
            applied: applied.map(str::to_owned),
            ..release::Release::default()
        };
        for (release, fate) in [
            (release(Outcome::Verified, "", Some("t")), Fate::Verified),
            (release(Outcome::Failed, "r1", Some("t")), Fate::Restored),
            (release(Outcome::NotVerified, "r1", Some("t")), Fate::Restored),
            (release(Outcome::Failed, "", Some("t")), Fate::NotRestored),
            (release(Outcome::Interrupted, "", None), Fate::Refused),
            (release(Outcome::Running, "", Some("t")), Fate::Running),
        ] {
            assert_eq!(Fate::of(&release), fate, "{release:?}");
        }
    }

    #[test]
    fn a_release_that_went_on_in_another_run_is_one() {
        let with = |started: &str, outcome, ended: &str| {
            let mut run = entry(started, "deploy", vec![]);
            let (id, environment) = ("r1".to_owned(), "staging".to_owned());
            let (started, ended) = ("2026-11-01T00:00:05Z".to_owned(), ended.to_owned());
            run.release = Some(release::Release { id, environment, outcome, started, ended, ..Default::default() });
            run
        };
        let entries = [
            with("2026-11-01T00:00:00Z", Outcome::Running, ""),
            with("2026-11-01T00:10:00Z", Outcome::Verified, "2026-11-01T00:12:05Z"),
        ];
        let told = releases(&in_order(&entries).0);
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].fate, told[0].duration_ms), (Fate::Verified, Some(720_000)));
    }

    #[test]
    fn a_load_from_the_cache_is_no_second_point() {
        let with = |started: &str, cached| {
            let mut run = entry(started, "ci", vec![entry::Gate { cached, ..gate("perf/smoke", Verdict::Pass) }]);
            run.load = Some(entry::Load {
                gate: "perf/smoke".to_owned(),
                profile: "smoke".to_owned(),
                engine: "builtin".to_owned(),
                requests: 1000,
                rate: 100.0,
                failed_rate: 0.0,
                rest: None,
                llm: None,
                routes: BTreeMap::new(),
            });
            run
        };
        let entries = [with("2026-11-01T00:00:00Z", false), with("2026-11-02T00:00:00Z", true)];
        assert_eq!(loads(&in_order(&entries).0).len(), 1);
    }
}
