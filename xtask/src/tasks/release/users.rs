//! Where users are: the Deployment that their Service leads to.

use serde_json::Value;

use crate::config::Release;
use crate::release::journal::Journal;
use crate::release::manifests::TRAFFIC;
use crate::release::track::Track;
use crate::tools::kube::{Kube, Trouble};

/// The Service that users reach.
pub async fn service(kube: &Kube, release: &Release) -> Result<Option<Value>, Trouble> {
    kube.get(&format!("/api/v1/namespaces/{}/services/{}", release.namespace, release.service)).await
}

/// Which Deployment a Service leads to; `None` where it does not say so, and takes pods of all of them.
pub fn leads_to(service: &Value) -> Option<Track> {
    service["spec"]["selector"][TRAFFIC].as_str().map(Track::of)
}

/// Which Deployment the Service leads to now; `None` where there is no Service, or one that does not say so.
pub async fn traffic(kube: &Kube, release: &Release) -> Result<Option<Track>, Trouble> {
    Ok(service(kube, release).await?.as_ref().and_then(leads_to))
}

/// On which Deployment users are. Where the Service does not say so, the journal does; `None` where that does not either.
pub fn on(service: Option<&Value>, journal: &Journal) -> Option<Track> {
    let verified = journal.last_verified().map(|entry| Track::of(&entry.track));
    service.and_then(leads_to).or(verified)
}

/// Whether a release changes a Deployment beside the one that users are on, and moves them once it is verified. `live` is
/// that Deployment as it is before.
pub fn is_beside(on: Option<Track>, track: Track, service: Option<&Value>, live: Option<&Value>) -> bool {
    match (on, service) {
        (Some(on), _) => on != track,
        // Nobody knows anything of it: users are elsewhere unless it leads to pods of this Deployment.
        (None, Some(service)) => !live.is_some_and(|live| has_pods_of(service, live)),
        (None, None) => false,
    }
}

/// Whether a Service takes the pods of a Deployment that has some.
fn has_pods_of(service: &Value, deployment: &Value) -> bool {
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    let selector = service["spec"]["selector"].as_object();
    deployment["spec"]["replicas"] != 0
        && selector.is_some_and(|all| all.iter().all(|(name, value)| labels.get(name) == Some(value)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::journal::{Entry, Outcome};
    use serde_json::json;

    #[test]
    fn the_journal_says_where_users_are_where_the_service_does_not() {
        let service = |selector: Value| json!({"spec": {"selector": selector}});
        let (plain, blue) = (service(json!({"app": "f"})), service(json!({"app": "f", TRAFFIC: "blue"})));
        let empty = Journal::default();
        let mut journal = Journal::default();
        let track = "green".to_owned();
        journal.put(Entry { id: "1".into(), outcome: Outcome::Verified, track, ..Entry::default() });
        for (service, journal, expected) in [
            (None, &empty, None),
            (Some(&plain), &empty, None),
            (Some(&blue), &empty, Some(Track::Blue)),
            (None, &journal, Some(Track::Green)),
            (Some(&plain), &journal, Some(Track::Green)),
            (Some(&blue), &journal, Some(Track::Blue)),
        ] {
            assert_eq!(on(service, journal), expected, "{service:?}");
        }
    }

    #[test]
    fn users_of_others_pods_are_moved_once_ours_are_verified() {
        let (blue, stable) = (Track::Blue, Track::Stable);
        let service = |selector: Value| json!({"spec": {"selector": selector}});
        let (ours, theirs) = (service(json!({"app": "f"})), service(json!({"app": "old"})));
        let deployment = |replicas: u64| {
            let labels = json!({"app": "f", TRAFFIC: "blue"});
            json!({"spec": {"replicas": replicas, "template": {"metadata": {"labels": labels}}}})
        };
        let (some, none) = (deployment(1), deployment(0));
        for (on, service, live, expected) in [
            (Some(blue), Some(&ours), Some(&some), false),
            (Some(stable), Some(&ours), Some(&some), true),
            (Some(stable), None, None, true),
            (None, None, None, false),
            (None, Some(&ours), Some(&some), false),
            // A Service of somebody who has never heard of us, before pods of their own.
            (None, Some(&theirs), None, true),
            (None, Some(&theirs), Some(&some), true),
            (None, Some(&ours), Some(&none), true),
        ] {
            assert_eq!(is_beside(on, blue, service, live), expected, "{on:?} {service:?} {live:?}");
        }
    }
}
