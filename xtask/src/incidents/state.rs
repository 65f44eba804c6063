//! What a check has come to: nothing, an open incident, a closed one. Pure: one look at it in, what is to be told out.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::config::Level;
use crate::verdict::{Severity, Verdict};

/// How many following runs have to pass before a failure is over (R31).
pub const PASSES: u32 = 2;

/// How long a run may take to tell what it saw. What was begun longer ago than that and is not whole was left by a run
/// that is gone. It also is by how much clocks of two machines may differ.
pub const GRACE: time::Duration = time::Duration::minutes(30);

/// What an incident is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The check found something bad.
    Failing,
    /// The check did not run, so that nobody knows. It says nothing about what is checked.
    Unwatched,
}

impl Kind {
    /// Whether a verdict is what an incident of this kind is about.
    pub fn is_about(self, verdict: Verdict) -> bool {
        self.is_bad(verdict) == Some(true)
    }

    /// Both, in the order in which they are told.
    pub const ALL: [Self; 2] = [Self::Failing, Self::Unwatched];

    /// As it stands in marks and payloads.
    pub fn name(self) -> &'static str {
        match self {
            Self::Failing => "failing",
            Self::Unwatched => "unwatched",
        }
    }

    /// What a verdict means for an incident of this kind; `None` where it means neither.
    fn is_bad(self, verdict: Verdict) -> Option<bool> {
        match (self, verdict) {
            (Self::Failing, Verdict::Fail) | (Self::Unwatched, Verdict::DidNotRun) => Some(true),
            (Self::Failing, Verdict::DidNotRun) => None,
            (_, Verdict::Pass) | (Self::Unwatched, Verdict::Fail) => Some(false),
        }
    }

    /// How many following runs end it: one verdict shows that a check is watched again.
    fn passes(self) -> u32 {
        match self {
            Self::Failing => PASSES,
            Self::Unwatched => 1,
        }
    }
}

/// One incident. Times are whole seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Incident {
    /// How bad it is.
    pub severity: Severity,
    /// By which the same failure is known again, see `cause`.
    pub cause: String,
    /// When the first run began that saw it.
    #[serde(with = "rfc3339")]
    pub bad: OffsetDateTime,
    /// When the last run began that saw the check pass, where that is known.
    #[serde(with = "rfc3339::option")]
    pub good: Option<OffsetDateTime>,
    /// When the last run ended whose verdict counted.
    #[serde(with = "rfc3339")]
    pub seen: OffsetDateTime,
    /// How many following runs have passed.
    pub passes: u32,
    /// When the first of these began.
    #[serde(with = "rfc3339::option")]
    pub passed: Option<OffsetDateTime>,
    /// The levels that were told, by their labels.
    pub levels: BTreeSet<String>,
    /// When it was closed. An open issue that has this was opened again by a person.
    #[serde(with = "rfc3339::option")]
    pub closed: Option<OffsetDateTime>,
}

/// How a check stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// There never was an incident, or nobody knows of it any more.
    None,
    /// There is one.
    Open(Incident),
    /// There was one.
    Closed(Incident),
}

/// What one run saw of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// How the check ended.
    pub verdict: Verdict,
    /// How bad that is, where it is bad.
    pub severity: Severity,
    /// The failure, to be known again.
    pub cause: String,
    /// When the run began.
    pub began: OffsetDateTime,
    /// Now.
    pub now: OffsetDateTime,
    /// When the check was last seen to pass before, where that is known.
    pub good: Option<OffsetDateTime>,
}

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transition {
    /// It is bad, and was not before.
    Opened,
    /// It is bad in another way, or worse, or less so.
    Changed,
    /// It has been bad for as long as this level says.
    Escalated(Level),
    /// It is over, and lasted that long: from the first bad run to the first good one of those that ended it.
    Closed(Duration),
}

/// What comes of a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Next {
    /// How the check stands now.
    pub state: State,
    /// What is told, in this order; empty where nothing is.
    pub transitions: Vec<Transition>,
}

/// Whether a run began after the last one that was seen had ended. A time in the future is another machine's wrong clock, and
/// holds up nothing.
pub fn follows(look: &Look, incident: &Incident) -> bool {
    look.began > incident.seen || incident.seen > look.now + GRACE
}

/// One look at a check → how it stands, and what is told. `levels` are those that count for it.
///
/// A run that began before the last one had ended does not follow it: it counts as no second pass, and what it saw
/// bad is the same failure. That a passing run is held against a failing one beside it costs one run more, and no alert.
pub fn next(kind: Kind, state: &State, look: &Look, levels: &[Level]) -> Next {
    let stays = || Next { state: state.clone(), transitions: vec![] };
    let bad = kind.is_bad(look.verdict);
    let known = match state {
        State::Open(incident) => incident,
        State::None | State::Closed(_) if bad == Some(true) => return open(look),
        State::None | State::Closed(_) => return stays(),
    };
    let mut incident = known.clone();
    if incident.closed.take().is_some() {
        // Whoever opened it again does not believe the passes that closed it.
        (incident.passes, incident.passed) = (0, None);
    }
    let follows = follows(look, &incident);
    let mut transitions = Vec::new();
    match bad {
        Some(true) => {
            if let Some(passed) = incident.passed.take() {
                (incident.passes, incident.good) = (0, Some(passed));
            }
            if follows {
                if incident.cause != look.cause || incident.severity != look.severity {
                    transitions.push(Transition::Changed);
                }
                incident.cause = look.cause.clone();
                (incident.severity, incident.seen) = (look.severity, look.now);
            }
        }
        Some(false) if follows => {
            incident.passes += 1;
            incident.seen = look.now;
            let passed = *incident.passed.get_or_insert(look.began);
            if incident.passes >= kind.passes() {
                incident.closed = Some(look.now);
                let lasted = (passed - incident.bad).try_into().unwrap_or_default();
                return Next { state: State::Closed(incident), transitions: vec![Transition::Closed(lasted)] };
            }
            return Next { state: State::Open(incident), transitions };
        }
        Some(false) => return Next { state: State::Open(incident), transitions },
        None => {}
    }
    transitions.extend(escalate(&mut incident, look.now, levels));
    Next { state: State::Open(incident), transitions }
}

fn open(look: &Look) -> Next {
    let incident = Incident {
        severity: look.severity,
        cause: look.cause.clone(),
        bad: look.began,
        good: look.good,
        seen: look.now,
        passes: 0,
        passed: None,
        levels: BTreeSet::new(),
        closed: None,
    };
    Next { state: State::Open(incident), transitions: vec![Transition::Opened] }
}

/// The levels that are due and were not told; they count as told.
fn escalate(incident: &mut Incident, now: OffsetDateTime, levels: &[Level]) -> Vec<Transition> {
    let age: Duration = (now - incident.bad).try_into().unwrap_or_default();
    let severity = incident.severity;
    let due = levels.iter().filter(|level| age >= level.after && severity >= level.severity);
    let new: Vec<&Level> = due.filter(|level| !incident.levels.contains(&level.label)).collect();
    incident.levels.extend(new.iter().map(|level| level.label.clone()));
    new.into_iter().cloned().map(Transition::Escalated).collect()
}

/// Times in marks, by RFC 3339.
pub(super) mod rfc3339 {
    use serde::{Deserialize, Deserializer, Serializer};
    use time::OffsetDateTime;
    use time::format_description::well_known::Rfc3339;

    pub fn serialize<S: Serializer>(at: &OffsetDateTime, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&at.format(&Rfc3339).map_err(serde::ser::Error::custom)?)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<OffsetDateTime, D::Error> {
        let text = String::deserialize(from)?;
        OffsetDateTime::parse(&text, &Rfc3339).map_err(serde::de::Error::custom)
    }

    pub mod option {
        use super::*;

        pub fn serialize<S: Serializer>(at: &Option<OffsetDateTime>, to: S) -> Result<S::Ok, S::Error> {
            match at {
                Some(at) => super::serialize(at, to),
                None => to.serialize_none(),
            }
        }

        pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<OffsetDateTime>, D::Error> {
            let text = Option::<String>::deserialize(from)?;
            let read = |text: String| OffsetDateTime::parse(&text, &Rfc3339).map_err(serde::de::Error::custom);
            text.map(read).transpose()
        }
    }
}

#[cfg(test)]
mod tests;
