//! `[alerts]` of an environment's file: who hears of an incident, how loud, and what may be shown of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::values::duration;
use crate::verdict::Severity;

/// The most lines of a log that an issue shows.
const MOST_LINES: usize = 200;

/// The longest name of a label, in characters, as GitHub has it.
const LONGEST_LABEL: usize = 50;

/// `[alerts]`. A variable with a `?` at its end may be missing, as in `[secrets]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Alerts {
    /// On every issue, beside those of environment, kind and severity. The issues are found again by the first of them.
    pub labels: Vec<String>,
    /// Who is assigned, by severity; of a severity that is not listed, those of the nearest one below it.
    pub assignees: BTreeMap<Severity, Vec<String>>,
    /// How bad the failure of a check is, by `KIND/CHECK`; else what its worst finding says.
    pub severity: BTreeMap<String, Severity>,
    /// How bad it is that a required check did not run.
    pub unwatched: Severity,
    /// Who hears of what stays open.
    pub escalation: Vec<Level>,
    /// How many of the last lines of a check's log an issue shows. None unless somebody says so: who reads the issues may
    /// be others than those who read the logs.
    pub log_lines: usize,
    /// A person puts this label on an issue to have no more comments, escalations and webhooks of it.
    pub silence: String,
    /// The variable with the URL of a Slack incoming webhook.
    pub slack: Option<String>,
    /// The variable with a URL that gets the same as JSON.
    pub webhook: Option<String>,
    /// The variable with the URL that is asked for at the end of each run that told all it had to.
    pub dead_man: Option<String>,
}

/// `[[alerts.escalation]]`: what is open as long as this, and as bad, is told once more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Level {
    /// The label that the issue gets, by which the level is known.
    pub label: String,
    /// How long after the first failure.
    #[serde(with = "duration")]
    pub after: Duration,
    /// How bad it is at least.
    #[serde(default = "low")]
    pub severity: Severity,
    /// Who is assigned as well.
    #[serde(default)]
    pub assignees: Vec<String>,
}

/// `[github.monitoring]`: the workflow that is started by a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Monitoring {
    /// Its file's name below `.github/workflows`.
    pub workflow: String,
    /// How often it is meant to start. A last start longer ago than two of these is late.
    #[serde(with = "duration")]
    pub interval: Duration,
}

impl Default for Alerts {
    fn default() -> Self {
        Self {
            labels: vec!["incident".to_owned()],
            assignees: BTreeMap::new(),
            severity: BTreeMap::new(),
            unwatched: Severity::Medium,
            escalation: vec![],
            log_lines: 0,
            silence: "silenced".to_owned(),
            slack: None,
            webhook: None,
            dead_man: None,
        }
    }
}

impl Alerts {
    /// What cannot be meant, as a sentence fragment.
    pub fn check(&self) -> Result<(), String> {
        if self.labels.is_empty() {
            return Err("`alerts.labels` is empty, and the issues are found by the first of them".to_owned());
        }
        let levels = self.escalation.iter().map(|level| &level.label);
        let own = self.labels.iter().chain(std::iter::once(&self.silence));
        if let Some(label) = own.clone().chain(levels.clone()).find(|label| !is_label(label)) {
            return Err(format!("`alerts`: `{label}` is no label: at most {LONGEST_LABEL} characters, none a comma"));
        }
        let mut seen = BTreeSet::new();
        if let Some(label) = own.chain(levels).find(|label| !seen.insert(*label)) {
            return Err(format!("`alerts`: the label `{label}` stands twice"));
        }
        if let Some(level) = self.escalation.iter().find(|level| level.after.is_zero()) {
            return Err(format!("`alerts.escalation`: `{}` has no `after`; it would be told at once", level.label));
        }
        if self.log_lines > MOST_LINES {
            return Err(format!("`alerts.log_lines` is at most {MOST_LINES}"));
        }
        let named = |check: &&String| check.split('/').filter(|part| !part.is_empty()).count() == 2;
        if let Some(check) = self.severity.keys().find(|check| !named(check)) {
            return Err(format!("`alerts.severity`: `{check}` is not like health/endpoints"));
        }
        let people = self.assignees.values().flatten().chain(self.escalation.iter().flat_map(|level| &level.assignees));
        if let Some(person) = people.clone().find(|person| !is_login(person)) {
            return Err(format!("`alerts`: `{person}` is no login of GitHub; teams cannot be assigned"));
        }
        let variables = [("slack", &self.slack), ("webhook", &self.webhook), ("dead_man", &self.dead_man)];
        let written = variables.into_iter().find(|(_, name)| name.as_ref().is_some_and(|name| !is_variable(name)));
        match written {
            // Its value would stand in the message, and it may be the address itself.
            Some((key, _)) => Err(format!("`alerts.{key}` is the name of a variable, and never the address itself")),
            None => Ok(()),
        }
    }
}

fn low() -> Severity {
    Severity::Low
}

/// What GitHub takes as a label and a list of labels can name.
fn is_label(label: &str) -> bool {
    let length = label.chars().count();
    (1..=LONGEST_LABEL).contains(&length) && label.trim() == label && !label.contains([',', '\n', '\t'])
}

/// What GitHub takes as a login.
fn is_login(person: &str) -> bool {
    (1..=39).contains(&person.len()) && person.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// `NAME`, or `NAME?` where it may be missing.
fn is_variable(name: &str) -> bool {
    let name = name.strip_suffix('?').unwrap_or(name);
    let is_letter = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    !name.is_empty() && !name.as_bytes()[0].is_ascii_digit() && name.bytes().all(is_letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let long = format!("labels = [\"{}\"]", "x".repeat(51));
        for (text, wrong) in [
            ("", None),
            ("slack = \"HOOK?\"\nwebhook = \"HOOK_2\"\n[severity]\n\"health/pods\" = \"critical\"", None),
            ("[assignees]\nhigh = [\"ada\"]\n[[escalation]]\nlabel = \"l\"\nafter = \"1h\"", None),
            ("labels = []", Some("is empty")),
            ("labels = [\"a,b\"]", Some("`a,b` is no label")),
            (long.as_str(), Some("is no label")),
            ("labels = [\"a\", \"a\"]", Some("`a` stands twice")),
            ("[[escalation]]\nlabel = \"silenced\"\nafter = \"1h\"", Some("`silenced` stands twice")),
            ("[[escalation]]\nlabel = \"l\"\nafter = \"0s\"", Some("`l` has no `after`")),
            ("log_lines = 201", Some("at most 200")),
            ("[severity]\npods = \"low\"", Some("`pods` is not like")),
            ("[assignees]\nhigh = [\"forge/team\"]", Some("`forge/team` is no login")),
            ("[[escalation]]\nlabel = \"l\"\nafter = \"1h\"\nassignees = [\"@ada\"]", Some("`@ada` is no login")),
            ("slack = \"https://hooks.example/s/T/B/x\"", Some("`alerts.slack` is the name of a variable")),
            ("dead_man = \"1X\"", Some("`alerts.dead_man` is the name")),
        ] {
            let found = toml::from_str::<Alerts>(text).unwrap().check();
            match wrong {
                None => assert_eq!(found, Ok(()), "{text}"),
                Some(part) => assert!(found.as_ref().is_err_and(|why| why.contains(part)), "{text}: {found:?}"),
            }
            assert!(!format!("{found:?}").contains("hooks.example"), "{found:?}");
        }
        for unknown in ["label = 1", "[[escalation]]\nlabel = \"l\"\nafter = \"1h\"\nwho = []", "unwatched = \"bad\""] {
            assert!(toml::from_str::<Alerts>(unknown).is_err(), "{unknown}");
        }
    }
}
