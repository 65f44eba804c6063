//! What chats and other programs hear of an incident: its transitions, and nothing else. Pure.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::late::span;
use super::mark::Key;
use super::routing::word;
use super::state::{Incident, Kind};
use crate::text::Redactor;

/// The version of the JSON; a change that a reader could trip over makes it another one.
pub const SCHEMA: &str = "forge-alert/1";

/// The longest text that is sent, in characters.
const LONGEST: usize = 500;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// An incident began.
    Opened,
    /// It has been open for as long as this level says.
    Escalated(String),
    /// It is over.
    Closed(Duration),
    /// Nobody looks any more, after that time.
    Unplanned(Duration),
}

/// News of one incident.
#[derive(Clone, Debug)]
pub struct Alert<'a> {
    /// What happened.
    pub news: News,
    /// Which incident.
    pub key: &'a Key,
    /// Its state.
    pub incident: &'a Incident,
    /// Why, as the check says; empty where it is over.
    pub reason: &'a str,
    /// The number of its issue.
    pub issue: u64,
    /// The page of its issue.
    pub url: &'a str,
    /// The page of the run; empty where there is none.
    pub run: &'a str,
}

/// As other programs get it. `id` is the same however often the same is sent.
#[derive(Serialize)]
struct Payload<'a> {
    schema: &'static str,
    id: String,
    transition: &'static str,
    level: &'a str,
    environment: &'a str,
    check: &'a str,
    about: Kind,
    severity: &'static str,
    first_bad: String,
    lasted_seconds: Option<u64>,
    reason: String,
    issue: u64,
    url: &'a str,
    run: &'a str,
}

impl Alert<'_> {
    /// A message of a Slack incoming webhook, <https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks>.
    pub fn slack(&self, redactor: &Redactor) -> Value {
        let Key { environment, check, about } = self.key;
        let severity = word(self.incident.severity);
        let (sign, what) = match (&self.news, about) {
            (News::Opened, Kind::Failing) => (":red_circle:", format!("is failing (severity {severity})")),
            (News::Opened, Kind::Unwatched) => (":white_circle:", format!("is not watched (severity {severity})")),
            (News::Escalated(level), _) => (":rotating_light:", format!("is still open: escalated to {level}")),
            (News::Closed(lasted), Kind::Failing) => {
                (":large_green_circle:", format!("is well again after {}", span(*lasted)))
            }
            (News::Closed(lasted), Kind::Unwatched) => {
                (":large_green_circle:", format!("is watched again after {}", span(*lasted)))
            }
            (News::Unplanned(lasted), _) => {
                (":white_circle:", format!("is no longer checked: closed after {}", span(*lasted)))
            }
        };
        let mut lines = vec![format!("{sign} {}", escaped(&format!("{environment}: {check} {what}")))];
        let reason = self.reason(redactor);
        if !reason.is_empty() {
            lines.push(escaped(&reason));
        }
        lines.extend([self.url, self.run].into_iter().filter(|url| !url.is_empty()).map(escaped));
        // Nothing in it is markup, and no link is looked up by Slack.
        json!({"text": lines.join("\n"), "mrkdwn": false, "unfurl_links": false, "unfurl_media": false})
    }

    /// The same for programs.
    pub fn json(&self, redactor: &Redactor) -> Value {
        let (transition, level, lasted) = match &self.news {
            News::Opened => ("opened", "", None),
            News::Escalated(level) => ("escalated", level.as_str(), None),
            News::Closed(lasted) | News::Unplanned(lasted) => ("closed", "", Some(lasted.as_secs())),
        };
        let Key { environment, check, about } = self.key;
        let bad = self.incident.bad.format(&time::format_description::well_known::Rfc3339).unwrap_or_default();
        let id = [environment, check, about.name(), &bad, transition, level].join("|");
        let payload = Payload {
            schema: SCHEMA,
            id: blake3::hash(id.as_bytes()).to_hex()[..32].to_owned(),
            transition,
            level,
            environment,
            check,
            about: *about,
            severity: word(self.incident.severity),
            first_bad: bad,
            lasted_seconds: lasted,
            reason: self.reason(redactor),
            issue: self.issue,
            url: self.url,
            run: self.run,
        };
        serde_json::to_value(payload).unwrap_or_default()
    }

    fn reason(&self, redactor: &Redactor) -> String {
        let line = redactor.clean(self.reason).split_whitespace().collect::<Vec<_>>().join(" ");
        line.chars().take(LONGEST).collect()
    }
}

/// The three characters by which Slack begins mentions and links,
/// <https://docs.slack.dev/messaging/formatting-message-text#escaping>; and no word that it could take for a mention.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('@', "@\u{200b}")
}

#[cfg(test)]
mod tests {
    use super::super::mark::testing::mark;
    use super::*;

    #[test]
    fn each_transition_is_one_message_and_nothing_in_it_is_markup() {
        let (key, incident) = (mark().key, mark().incident);
        let unwatched = Key { about: Kind::Unwatched, ..key.clone() };
        let hour = Duration::from_secs(3600);
        let redactor = Redactor::new(["sk-a-very-secret-key"]);
        for (news, key, first) in [
            (News::Opened, &key, ":red_circle: production: health/pods is failing (severity high)"),
            (News::Opened, &unwatched, ":white_circle: production: health/pods is not watched (severity high)"),
            (
                News::Escalated("on-call".into()),
                &key,
                ":rotating_light: production: health/pods is still open: escalated to on-call",
            ),
            (News::Closed(hour), &key, ":large_green_circle: production: health/pods is well again after 1 h"),
            (News::Closed(hour), &unwatched, ":large_green_circle: production: health/pods is watched again after 1 h"),
            (
                News::Unplanned(hour),
                &key,
                ":white_circle: production: health/pods is no longer checked: closed after 1 h",
            ),
        ] {
            let reason = "<!channel> @here & sk-a-very-secret-key\n\u{1b}[31mred";
            let alert = Alert { news, key, incident: &incident, reason, issue: 7, url: "https://i/7", run: "" };
            let text = alert.slack(&redactor)["text"].as_str().unwrap().to_owned();
            let lines: Vec<&str> = text.lines().collect();
            assert_eq!(lines, [first, "&lt;!channel&gt; @\u{200b}here &amp; *** red", "https://i/7"]);
        }
    }

    #[test]
    fn programs_know_a_message_again() {
        let mark = mark();
        let alert = |news| Alert {
            news,
            key: &mark.key,
            incident: &mark.incident,
            reason: "why",
            issue: 7,
            url: "https://i/7",
            run: "https://r/1",
        };
        let redactor = Redactor::default();
        let opened = alert(News::Opened).json(&redactor);
        let expected = json!({
            "schema": "forge-alert/1", "id": opened["id"], "transition": "opened", "level": "", "environment": "production",
            "check": "health/pods", "about": "failing", "severity": "high", "first_bad": "2026-11-24T06:00:00Z",
            "lasted_seconds": null, "reason": "why", "issue": 7, "url": "https://i/7", "run": "https://r/1",
        });
        assert_eq!(opened, expected);
        assert_eq!(alert(News::Opened).json(&redactor)["id"], opened["id"]);
        let others = [News::Escalated("a".into()), News::Escalated("b".into()), News::Closed(Duration::from_secs(60))];
        let mut ids: Vec<Value> = others.into_iter().map(|news| alert(news).json(&redactor)["id"].clone()).collect();
        ids.push(opened["id"].clone());
        ids.sort_by_key(Value::to_string);
        ids.dedup();
        assert_eq!(ids.len(), 4);
        // Whatever ends it closes what was opened.
        let ended = alert(News::Unplanned(Duration::from_secs(90))).json(&redactor);
        assert_eq!((&ended["transition"], &ended["lasted_seconds"]), (&json!("closed"), &json!(90)));
        assert_eq!(ended["id"], alert(News::Closed(Duration::ZERO)).json(&redactor)["id"]);
    }
}
