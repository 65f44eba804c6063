//! Who hears of a transition beside those who read issues.

use super::super::hooks::Alert;
pub(super) use super::super::hooks::News;
use super::super::state::Incident;
use super::{CheckTold, Desk, Ours, Untold};

/// How news stands in a mark as long as nobody has heard it.
pub(super) fn to_do(news: &News) -> String {
    match news {
        News::Opened => "hear opened".to_owned(),
        News::Escalated(level) => format!("hear escalated {level}"),
        News::Closed(_) | News::Unplanned(_) => OVER.to_owned(),
    }
}

/// How it stands in a mark that nobody has heard that it is over: its issue is open until somebody has.
pub(super) const OVER: &str = "hear closed";

/// The way back. How long it lasted is known by the incident alone, so that what is over has none.
pub(super) fn of(item: &str) -> Option<News> {
    match item.strip_prefix("hear ")? {
        "opened" => Some(News::Opened),
        other => other.strip_prefix("escalated ").map(|level| News::Escalated(level.to_owned())),
    }
}

impl Desk<'_> {
    /// Whether anybody hears of anything. A variable that should be set and is not is somebody, who will be missed.
    pub(super) fn is_heard(&self) -> bool {
        [&self.slack, &self.json].into_iter().any(|hook| !matches!(hook, Ok(None)))
    }

    /// Tells everybody who hears; whether all of them did.
    pub(super) async fn hear(
        &self,
        news: &News,
        ours: &Ours,
        incident: &Incident,
        reason: &str,
        told: &mut CheckTold,
    ) -> bool {
        let alert = Alert {
            news: news.clone(),
            key: &ours.body.mark.key,
            incident,
            reason,
            issue: ours.issue.number,
            url: &ours.issue.url,
            run: self.writer.run,
        };
        let messages = [(&self.slack, alert.slack(self.redactor)), (&self.json, alert.json(self.redactor))];
        let mut all = true;
        for (hook, message) in messages {
            let heard = match hook {
                Ok(None) => continue,
                Ok(Some(hook)) => hook.post(&message).await.map_err(|trouble| Untold::from(&trouble)),
                Err(trouble) => Err(Untold::from(trouble)),
            };
            if let Err(untold) = heard {
                all = false;
                if !told.trouble.contains(&untold) {
                    told.trouble.push(untold);
                }
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_still_to_be_heard_is_known_again() {
        for news in [News::Opened, News::Escalated("on-call, late".to_owned())] {
            assert_eq!(of(&to_do(&news)), Some(news));
        }
        assert_eq!(of("hear closed"), None);
        assert_eq!(of("assign"), None);
    }
}
