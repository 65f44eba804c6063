//! Watches a rollout on the cluster until it has succeeded or cannot. What is seen is judged by `rollout.rs`.
//!
//! While the API server cannot be reached nothing is decided, and an end is believed only when a fresh look shows it too.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use time::OffsetDateTime;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::follow::{Follower, News};
use super::object::{Deployment, Event, Meta, Pod, ReplicaSet};
use super::rollout::{Limits, Seen, State, Target, assess};
use crate::tools::kube::{Kube, Trouble};

/// How often patience is looked at where nothing happens.
const PACE: Duration = Duration::from_secs(1);

/// How many paths are followed.
const PATHS: usize = 4;

/// Where a fresh look that failed is remembered, after the paths.
const LOOK: usize = PATHS;

/// How a rollout ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Watched {
    /// Complete or failed.
    pub state: State,
    /// What was seen at the end.
    pub seen: Seen,
    /// When that was known, by the cluster's clock.
    pub at: OffsetDateTime,
}

/// Who is told how it stands: at each change, and once a second.
pub type OnProgress<'a> = dyn FnMut(&State, &Seen) + Send + 'a;

/// Watches until it ends. An API server that cannot be reached is borne for `patience`; then it is the [`Trouble`].
///
/// May be dropped at any moment: nothing goes on, and nothing on the cluster was changed.
pub async fn rollout(
    kube: &Kube,
    namespace: &str,
    target: &Target,
    limits: &Limits,
    patience: Duration,
    on_progress: &mut OnProgress<'_>,
) -> Result<Watched, Trouble> {
    // Patience is counted here, and over all that is followed.
    let kube = &kube.patient(Duration::ZERO);
    let paths = paths(namespace, target);
    let mut follower = Follower::of(kube, paths.to_vec());
    let mut known = Known::default();
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            (path, news) = follower.next() => known.hear(path, news, Instant::now())?,
            _ = pace.tick() => {}
        }
        // What comes in a burst is judged once.
        while let Some((path, news)) = follower.at_once() {
            known.hear(path, news, Instant::now())?;
        }
        known.still_borne(patience, Instant::now())?;
        if !known.is_whole() {
            continue;
        }
        let state = assess(target, &known.seen, kube.now(), limits);
        on_progress(&state, &known.seen);
        if matches!(state, State::Progressing(_)) {
            known.lost[LOOK] = None;
            continue;
        }
        match look(kube, &paths).await {
            Ok(seen) => {
                known.lost[LOOK] = None;
                let at = kube.now();
                let state = assess(target, &seen, at, limits);
                if !matches!(state, State::Progressing(_)) {
                    return Ok(Watched { state, seen, at });
                }
            }
            // The watches may be alive all the same: the next moment tries again.
            Err(trouble) => known.lose(LOOK, trouble, Instant::now())?,
        }
    }
}

/// One look at everything that a rollout is judged by.
pub async fn once(kube: &Kube, namespace: &str, target: &Target) -> Result<Seen, Trouble> {
    look(kube, &paths(namespace, target)).await
}

/// What is followed: the Deployment, the ReplicaSets, the pods, the events.
fn paths(namespace: &str, target: &Target) -> [String; PATHS] {
    let (apps, core) = (format!("/apis/apps/v1/namespaces/{namespace}"), format!("/api/v1/namespaces/{namespace}"));
    let deployment = format!("{apps}/deployments?fieldSelector=metadata.name%3D{}", target.deployment);
    [deployment, format!("{apps}/replicasets"), format!("{core}/pods"), format!("{core}/events")]
}

async fn look(kube: &Kube, paths: &[String; PATHS]) -> Result<Seen, Trouble> {
    let [deployment, sets, pods, events] = paths;
    let all = tokio::try_join!(kube.list(deployment), kube.list(sets), kube.list(pods), kube.list(events))?;
    let mut seen = Seen::default();
    for (path, list) in [all.0, all.1, all.2, all.3].into_iter().enumerate() {
        put(&mut seen, path, News::Listed(list.items))?;
    }
    Ok(seen)
}

/// What is known of the followed paths.
#[derive(Debug, Default)]
struct Known {
    seen: Seen,
    listed: [bool; PATHS],
    lost: [Option<(Instant, Trouble)>; PATHS + 1],
}

impl Known {
    fn hear(&mut self, path: usize, news: News, now: Instant) -> Result<(), Trouble> {
        match news {
            News::Lost(trouble) => self.lose(path, trouble, now),
            News::Answers => {
                self.lost[path] = None;
                Ok(())
            }
            news => {
                self.lost[path] = None;
                self.listed[path] |= matches!(news, News::Listed(_));
                put(&mut self.seen, path, news)
            }
        }
    }

    /// A refusal counts at once only where nothing was ever shown: an API server that has just come up again refuses
    /// for a moment what it knows no rule of yet.
    fn lose(&mut self, path: usize, trouble: Trouble, now: Instant) -> Result<(), Trouble> {
        if !trouble.is_unreachable() && self.listed.get(path) == Some(&false) {
            return Err(trouble);
        }
        let since = self.lost[path].take().map_or(now, |(since, _)| since);
        self.lost[path] = Some((since, trouble));
        Ok(())
    }

    fn still_borne(&self, patience: Duration, now: Instant) -> Result<(), Trouble> {
        let oldest = self.lost.iter().flatten().min_by_key(|(since, _)| *since);
        match oldest {
            Some((since, trouble)) if now.duration_since(*since) >= patience => Err(trouble.clone()),
            _ => Ok(()),
        }
    }

    /// Whether everything was listed and the API server answers: nothing is decided by half.
    fn is_whole(&self) -> bool {
        self.listed.iter().all(|listed| *listed) && self.lost[..PATHS].iter().all(Option::is_none)
    }
}

fn put(seen: &mut Seen, path: usize, news: News) -> Result<(), Trouble> {
    match path {
        0 => {
            let mut deployments = seen.deployment.take().into_iter().collect();
            merge(&mut deployments, news, |deployment: &Deployment| &deployment.metadata)?;
            seen.deployment = deployments.pop();
            Ok(())
        }
        1 => merge(&mut seen.replica_sets, news, |set: &ReplicaSet| &set.metadata),
        2 => merge(&mut seen.pods, news, |pod: &Pod| &pod.metadata),
        _ => merge(&mut seen.events, news, |event: &Event| &event.metadata),
    }
}

fn merge<T: DeserializeOwned>(known: &mut Vec<T>, news: News, meta: fn(&T) -> &Meta) -> Result<(), Trouble> {
    let same = |a: &T, b: &T| meta(a).uid == meta(b).uid;
    match news {
        News::Listed(objects) => *known = objects.into_iter().map(read).collect::<Result<_, _>>()?,
        News::Seen(object) => {
            let object = read(object)?;
            match known.iter_mut().find(|other| same(other, &object)) {
                Some(other) => *other = object,
                None => known.push(object),
            }
        }
        News::Gone(object) => {
            let object = read(object)?;
            known.retain(|other| !same(other, &object));
        }
        News::Answers | News::Lost(_) => {}
    }
    Ok(())
}

fn read<T: DeserializeOwned>(object: Value) -> Result<T, Trouble> {
    serde_json::from_value(object).map_err(|e| Trouble::Unreachable(format!("an object of it cannot be read: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(uid: &str, phase: &str) -> Value {
        json!({"metadata": {"uid": uid, "name": uid}, "status": {"phase": phase}})
    }

    fn gone() -> News {
        News::Lost(Trouble::Unreachable("connection refused".to_owned()))
    }

    fn forbidden() -> News {
        News::Lost(Trouble::Refused { code: 403, reason: "Forbidden".to_owned(), message: "no".to_owned() })
    }

    #[test]
    fn what_is_known_is_what_the_last_news_made_of_it() {
        let mut known = Known::default();
        let now = Instant::now();
        let mut hear = |path: usize, news: News| {
            known.hear(path, news, now).unwrap();
            let pods: Vec<String> =
                known.seen.pods.iter().map(|pod| format!("{} {}", pod.metadata.uid, pod.status.phase)).collect();
            pods.join(", ")
        };
        assert_eq!(hear(2, News::Listed(vec![pod("a", "Pending"), pod("b", "Pending")])), "a Pending, b Pending");
        assert_eq!(hear(2, News::Seen(pod("a", "Running"))), "a Running, b Pending");
        assert_eq!(hear(2, News::Seen(pod("c", "Pending"))), "a Running, b Pending, c Pending");
        assert_eq!(hear(2, News::Gone(pod("a", "Running"))), "b Pending, c Pending");
        // Listed again after the server forgot: what happened in between is in it.
        assert_eq!(hear(2, News::Listed(vec![pod("d", "Running")])), "d Running");
        hear(0, News::Listed(vec![json!({"metadata": {"uid": "x"}})]));
        hear(0, News::Seen(json!({"metadata": {"uid": "x", "generation": 2}})));
        assert_eq!(known.seen.deployment.as_ref().map(|deployment| deployment.metadata.generation), Some(2));
        known.hear(0, News::Gone(json!({"metadata": {"uid": "x"}})), now).unwrap();
        assert_eq!(known.seen.deployment, None);
    }

    #[test]
    fn nothing_is_decided_while_the_api_is_gone_and_its_patience_begins_with_the_first_failure() {
        let begun = Instant::now();
        let at = |second: u64| begun + Duration::from_secs(second);
        let patience = Duration::from_secs(90);
        let mut known = Known::default();
        known.hear(0, News::Listed(vec![]), at(0)).unwrap();
        assert!(!known.is_whole(), "the pods were not listed");
        for path in 1..4 {
            known.hear(path, News::Listed(vec![]), at(0)).unwrap();
        }
        assert!(known.is_whole());
        known.hear(2, gone(), at(10)).unwrap();
        known.hear(2, gone(), at(60)).unwrap();
        assert!(!known.is_whole() && known.still_borne(patience, at(99)).is_ok());
        assert!(known.still_borne(patience, at(100)).unwrap_err().is_unreachable());
        known.hear(2, News::Answers, at(61)).unwrap();
        assert!(known.is_whole() && known.still_borne(patience, at(1000)).is_ok());
        // A look that failed is tried again while the watches live, and has the same patience.
        let News::Lost(trouble) = gone() else { panic!() };
        known.lose(LOOK, trouble, at(1000)).unwrap();
        assert!(known.is_whole() && known.still_borne(patience, at(1089)).is_ok());
        assert!(known.still_borne(patience, at(1090)).is_err());
    }

    #[test]
    fn a_refusal_counts_at_once_only_where_nothing_was_ever_shown() {
        let mut known = Known::default();
        assert!(known.hear(3, forbidden(), Instant::now()).is_err());
        known.hear(3, News::Listed(vec![]), Instant::now()).unwrap();
        known.hear(3, forbidden(), Instant::now()).unwrap();
        assert!(!known.is_whole());
    }
}
