//! Who hears of a transition beside those who read issues.

use std::collections::BTreeSet;

use super::super::hooks::Alert;
pub(super) use super::super::hooks::News;
use super::super::state::Incident;
use super::{CheckTold, Desk, Ours, Untold};
use crate::tools::webhook::{self, Hook};

/// Where news goes beside the issue, by the field of `[alerts]` that names its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Channel {
    Slack,
    Webhook,
}

impl Channel {
    pub(super) const ALL: [Self; 2] = [Self::Slack, Self::Webhook];

    fn name(self) -> &'static str {
        match self {
            Self::Slack => "slack",
            Self::Webhook => "webhook",
        }
    }

    /// What is to be heard there of what stands in a mark.
    fn of(self, item: &str) -> Option<&str> {
        item.strip_prefix("hear ")?.strip_prefix(self.name())?.strip_prefix(' ')
    }
}

/// The word for an end, in whatever way it came.
const OVER: &str = "closed";

/// How news stands in a mark as long as a channel has not heard it.
pub(super) fn to_do(channel: Channel, news: &News) -> String {
    let what = match news {
        News::Opened => "opened".to_owned(),
        News::Escalated(level) => format!("escalated {level}"),
        News::Closed(_) | News::Unplanned(_) => OVER.to_owned(),
    };
    format!("hear {} {what}", channel.name())
}

/// The way back. How long it lasted is known by the incident alone, so that what is over has none.
pub(super) fn of(item: &str) -> Option<(Channel, News)> {
    Channel::ALL.into_iter().find_map(|channel| match channel.of(item)? {
        "opened" => Some((channel, News::Opened)),
        other => Some((channel, News::Escalated(other.strip_prefix("escalated ")?.to_owned()))),
    })
}

/// Whether it stands in a mark that a channel has not heard that it is over: its issue is open until it has.
pub(super) fn is_over(item: &str) -> bool {
    Channel::ALL.into_iter().any(|channel| channel.of(item) == Some(OVER))
}

/// The channels that have not heard that it is over: those of an end that was told already, else all.
pub(super) fn to_hear_the_end(to_do: &BTreeSet<String>) -> Vec<Channel> {
    let waits = |channel: &Channel| to_do.iter().any(|item| channel.of(item) == Some(OVER));
    let waiting: Vec<Channel> = Channel::ALL.into_iter().filter(waits).collect();
    if waiting.is_empty() { Channel::ALL.to_vec() } else { waiting }
}

impl Desk<'_> {
    /// The channels that hear of anything. A variable that should be set and is not is one, which will be missed.
    pub(super) fn channels(&self) -> impl Iterator<Item = Channel> {
        Channel::ALL.into_iter().filter(|channel| !matches!(self.hook(*channel), Ok(None)))
    }

    fn hook(&self, channel: Channel) -> &Result<Option<Hook>, webhook::Trouble> {
        match channel {
            Channel::Slack => &self.slack,
            Channel::Webhook => &self.json,
        }
    }

    /// Tells these channels, and gives back those that did not hear it. No other one hears it again.
    pub(super) async fn hear(
        &self,
        channels: &[Channel],
        news: &News,
        ours: &Ours,
        incident: &Incident,
        reason: &str,
        told: &mut CheckTold,
    ) -> Vec<Channel> {
        let alert = Alert {
            news: news.clone(),
            key: &ours.body.mark.key,
            incident,
            reason,
            issue: ours.issue.number,
            url: &ours.issue.url,
            run: self.writer.run,
        };
        let mut left = Vec::new();
        for channel in channels {
            let message = match channel {
                Channel::Slack => alert.slack(self.redactor),
                Channel::Webhook => alert.json(self.redactor),
            };
            let heard = match self.hook(*channel) {
                Ok(None) => continue,
                Ok(Some(hook)) => hook.post(&message).await.map_err(|trouble| Untold::from(&trouble)),
                Err(trouble) => Err(Untold::from(trouble)),
            };
            if let Err(untold) = heard {
                left.push(*channel);
                if !told.trouble.contains(&untold) {
                    told.trouble.push(untold);
                }
            }
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_still_to_be_heard_is_known_again() {
        for channel in Channel::ALL {
            for news in [News::Opened, News::Escalated("on-call, late".to_owned())] {
                assert_eq!(of(&to_do(channel, &news)), Some((channel, news.clone())));
                assert!(!is_over(&to_do(channel, &news)));
            }
            let over = to_do(channel, &News::Closed(std::time::Duration::ZERO));
            assert!(is_over(&over) && of(&over).is_none());
            assert_eq!(to_hear_the_end(&BTreeSet::from([over])), [channel]);
        }
        assert!(of("assign").is_none() && !is_over("assign") && of("hear slackopened").is_none());
        assert_eq!(to_hear_the_end(&BTreeSet::from(["assign".to_owned()])), Channel::ALL);
    }
}
