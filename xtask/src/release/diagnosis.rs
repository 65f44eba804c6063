//! What there is to show of a failed rollout: the cause, the events of its pod, and the last words of its container.

use std::time::Duration;

use time::OffsetDateTime;

use super::object::Event;
use super::rollout::{Cause, Seen};
use crate::text::Redactor;
use crate::tools::kube::{Kube, Trouble};
use crate::verdict::{Finding, Severity};

/// How many events are shown.
const EVENTS: usize = 10;

/// How long the event about a state may come after it.
const LATE: Duration = Duration::from_secs(1);

/// How many lines of a log are shown.
const LINES: usize = 50;

/// The longest line that is shown, in characters.
const LONGEST: usize = 500;

/// All that is shown; cleaned and redacted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// The kind of the cause.
    pub kind: &'static str,
    /// The cause in one sentence.
    pub cause: String,
    /// The events of its pod, the newest first.
    pub events: Vec<String>,
    /// What the log is of, or why there is none.
    pub log_of: String,
    /// The last lines.
    pub log: Vec<String>,
}

impl Diagnosis {
    /// As a gate reports it.
    pub fn finding(&self) -> Finding {
        Finding::new(format!("rollout/{}", self.kind), Severity::High, self.to_string())
    }
}

impl std::fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.cause)?;
        if !self.events.is_empty() {
            write!(f, "\nevents, the newest first:")?;
            self.events.iter().try_for_each(|line| write!(f, "\n  {line}"))?;
        }
        write!(f, "\n{}", self.log_of)?;
        self.log.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

/// The rule of [`detected`].
const DETECTED: &str = "detected";

/// How long after the cluster's report a fault was seen, in seconds, as a gate tells it.
pub fn detected(after: f64) -> Finding {
    Finding::new(DETECTED, Severity::Info, format!("detected {after:.1} s after the cluster reported it"))
}

/// The same read again, in milliseconds; `None` of any other finding.
pub fn detection_ms(finding: &Finding) -> Option<u64> {
    let seconds = finding.message.strip_prefix("detected ").filter(|_| finding.rule == DETECTED)?;
    let seconds: f64 = seconds.split(' ').next()?.parse().ok()?;
    (seconds >= 0.0).then(|| (seconds * 1000.0).round() as u64)
}

/// Asks the cluster for what it still has.
pub async fn of(kube: &Kube, namespace: &str, cause: &Cause, seen: &Seen, redactor: &Redactor) -> Diagnosis {
    let (log_of, log) = match last_words(kube, namespace, cause).await {
        Ok((what, text)) => {
            let lines = lines(&redactor.clean(&text));
            if lines.is_empty() { (format!("{what} is empty"), lines) } else { (format!("{what}, its end:"), lines) }
        }
        Err(why) => (redactor.clean(&why), vec![]),
    };
    let seen = newest(kube, namespace, cause).await.unwrap_or_else(|| seen.events.clone());
    let events = events(cause, &seen, kube.now()).into_iter().map(|line| redactor.clean(&line)).collect();
    let told = redactor.clean(&full(cause));
    Diagnosis { kind: cause.kind.name(), cause: told, events, log_of, log }
}

/// With the whole message, where the cause's own sentence has its first line.
fn full(cause: &Cause) -> String {
    match cause.message.split_once('\n') {
        Some((_, rest)) => format!("{cause}\n{rest}"),
        None => cause.to_string(),
    }
}

/// The events as they are now. The kubelet writes a pod's state before the event about it, and we were fast.
async fn newest(kube: &Kube, namespace: &str, cause: &Cause) -> Option<Vec<Event>> {
    let path = format!("/api/v1/namespaces/{namespace}/events?fieldSelector=involvedObject.name%3D{}", name(cause));
    let mut newest = None;
    for attempt in 0..2 {
        if attempt > 0 {
            tokio::time::sleep(LATE).await;
        }
        let Ok(list) = kube.list(&path).await else { break };
        let events: Vec<Event> =
            list.items.into_iter().filter_map(|event| serde_json::from_value(event).ok()).collect();
        let has_warned = events.iter().any(|event| event.r#type == "Warning");
        newest = Some(events);
        if has_warned {
            break;
        }
    }
    newest
}

/// The name of the object that the cause is about.
fn name(cause: &Cause) -> &str {
    cause.object.split_once('/').map_or(cause.object.as_str(), |(_, name)| name)
}

/// Of the run that ended, where it did; a container that never ran has no words.
async fn last_words(kube: &Kube, namespace: &str, cause: &Cause) -> Result<(String, String), String> {
    let Cause { object, container, .. } = cause;
    if container.is_empty() {
        return Err("no container of it has begun, so there is no log".to_owned());
    }
    let path = format!("/api/v1/namespaces/{namespace}/pods/{object}/log?container={container}&tailLines={LINES}");
    let mut why = String::new();
    for (previous, run) in [(true, "the last run"), (false, "this run")] {
        if previous && !cause.previous {
            continue;
        }
        match kube.text(&format!("{path}&previous={previous}")).await {
            Ok(text) => return Ok((format!("log of {run} of `{container}`"), text)),
            // What the runtime has thrown away may be told by the run after it.
            Err(Trouble::Refused { message, .. }) => why = message,
            Err(trouble) => why = trouble.to_string(),
        }
    }
    Err(format!("no log of `{container}`: {why}"))
}

fn lines(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let cut = |line: &&str| line.trim_end().chars().take(LONGEST).collect();
    lines[lines.len().saturating_sub(LINES)..].iter().map(cut).collect()
}

/// One line an event.
fn events(cause: &Cause, seen: &[Event], now: OffsetDateTime) -> Vec<String> {
    let mut events: Vec<&Event> = seen.iter().filter(|event| event.involved_object.name == name(cause)).collect();
    events.sort_by_key(|event| std::cmp::Reverse(event.last()));
    events.into_iter().take(EVENTS).map(|event| line(event, now)).collect()
}

fn line(event: &Event, now: OffsetDateTime) -> String {
    let age = event.last().map_or(0, |at| (now - at).whole_seconds().max(0));
    let times = if event.times() > 1 { format!(" ×{}", event.times()) } else { String::new() };
    let container = event.involved_object.container();
    let container = if container.is_empty() { String::new() } else { format!(" `{container}`") };
    let message: String = event.message.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = format!("{age} s ago{times} {}{container}: {message}", event.reason);
    text.chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::rollout::Kind;
    use serde_json::json;
    use time::macros::datetime;

    fn cause() -> Cause {
        Cause {
            kind: Kind::Crash,
            object: "forge-2-a".to_owned(),
            container: "api".to_owned(),
            reason: "Error".to_owned(),
            message: "ended 2 times, last with exit code 3".to_owned(),
            since: datetime!(2026-03-01 10:00:09 UTC),
            previous: true,
        }
    }

    #[test]
    fn the_newest_events_of_the_pod_come_first() {
        let now = datetime!(2026-03-01 10:01:00 UTC);
        let event = |name: &str, reason: &str, second: u8, count: u64| {
            json!({
                "involvedObject": {"kind": "Pod", "name": name, "fieldPath": "spec.containers{api}"}, "reason": reason,
                "message": "Back-off\n restarting", "count": count, "lastTimestamp": format!("2026-03-01T10:00:{second:02}Z"),
            })
        };
        let mut all = vec![event("forge-2-a", "Created", 5, 1), event("forge-2-a", "BackOff", 40, 3)];
        all.push(event("other", "BackOff", 50, 1));
        all.extend((6..20).map(|second| event("forge-2-a", "Pulled", second, 1)));
        let seen: Vec<Event> = all.into_iter().map(|event| serde_json::from_value(event).unwrap()).collect();
        let lines = events(&cause(), &seen, now);
        assert_eq!(lines.len(), EVENTS);
        assert_eq!(lines[0], "20 s ago ×3 BackOff `api`: Back-off restarting");
        assert_eq!(lines[1], "41 s ago Pulled `api`: Back-off restarting");
    }

    #[test]
    fn of_a_log_the_end_is_shown_and_of_all_of_it_a_text_is_made() {
        let text: String = (1..=60).map(|line| format!("line {line}\n")).collect();
        let log = lines(&text);
        assert_eq!((log.len(), log[0].as_str(), log[49].as_str()), (50, "line 11", "line 60"));
        let diagnosis = Diagnosis {
            kind: "crash",
            cause: cause().to_string(),
            events: vec!["1 s ago BackOff: x".to_owned()],
            log_of: "log of the last run of `api`, its end:".to_owned(),
            log: vec!["Traceback".to_owned()],
        };
        assert_eq!(
            diagnosis.finding().message,
            "`forge-2-a`, container `api`: Error: ended 2 times, last with exit code 3\nevents, the newest first:\n  \
             1 s ago BackOff: x\nlog of the last run of `api`, its end:\n  Traceback"
        );
        assert_eq!(diagnosis.finding().rule, "rollout/crash");
    }
}
