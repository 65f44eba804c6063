//! The lock of an environment: a Lease that laptops and CI see alike. Pure; who keeps it alive is `hold.rs`.

use std::time::Duration;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The Lease's name in the environment's namespace.
pub const LEASE: &str = "forge-release";

/// Where a holder says who it is for people.
const WHO: &str = "forge.xtask/who";
/// Where a holder says which run it is.
const RUN: &str = "forge.xtask/run";

/// Who wants the lock, or has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    /// The release's id: no other process has it.
    pub id: String,
    /// `name@host`, or who started the workflow.
    pub who: String,
    /// The workflow's run; empty on a laptop.
    pub run: String,
}

/// What a Lease means for somebody who wants the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Nobody has it.
    Free,
    /// It is ours.
    Ours,
    /// Whoever had it gave no sign of life in time: it may be taken from them.
    Expired(Holder),
    /// Somebody has it.
    Held {
        /// Who.
        by: Holder,
        /// After which time without a sign of life it may be taken.
        left: Duration,
    },
}

/// What `lease` means for the release `id` at the time `now`, by the cluster's clock.
pub fn claim(lease: Option<&Value>, id: &str, now: OffsetDateTime) -> Claim {
    let Some(lease) = lease else { return Claim::Free };
    let holder = holder(lease);
    if holder.id.is_empty() {
        return Claim::Free;
    }
    if holder.id == id {
        return Claim::Ours;
    }
    let spec = &lease["spec"];
    let renewed = spec["renewTime"].as_str().and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
    let ttl = Duration::from_secs(spec["leaseDurationSeconds"].as_u64().unwrap_or(0));
    // One that never said when it was alive is dead.
    let Some(renewed) = renewed else { return Claim::Expired(holder) };
    match (renewed + ttl - now).try_into() {
        Ok(left) if left > Duration::ZERO => Claim::Held { by: holder, left },
        _ => Claim::Expired(holder),
    }
}

fn holder(lease: &Value) -> Holder {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let annotations = &lease["metadata"]["annotations"];
    Holder { id: text(&lease["spec"]["holderIdentity"]), who: text(&annotations[WHO]), run: text(&annotations[RUN]) }
}

/// The Lease that says that `holder` is alive at `now`. `known` is the one that it replaces: if somebody else was faster,
/// the API refuses it.
pub fn lease(known: Option<&Value>, namespace: &str, holder: &Holder, ttl: Duration, now: OffsetDateTime) -> Value {
    let now = micro(now);
    let ours = known.filter(|lease| lease["spec"]["holderIdentity"] == *holder.id);
    let acquired = ours.map_or_else(|| json!(now), |lease| lease["spec"]["acquireTime"].clone());
    let before = known.map_or(0, |lease| lease["spec"]["leaseTransitions"].as_u64().unwrap_or(0));
    let transitions = before + u64::from(known.is_some() && ours.is_none());
    let mut lease = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": LEASE, "namespace": namespace, "annotations": {WHO: holder.who, RUN: holder.run}},
        "spec": {
            "holderIdentity": holder.id,
            "leaseDurationSeconds": ttl.as_secs().max(1),
            "acquireTime": acquired,
            "renewTime": now,
            "leaseTransitions": transitions,
        },
    });
    keep_version(&mut lease, known);
    lease
}

/// The Lease that nobody holds.
pub fn given_back(known: &Value, namespace: &str) -> Value {
    let mut lease = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": LEASE, "namespace": namespace},
        "spec": {"leaseTransitions": known["spec"]["leaseTransitions"]},
    });
    keep_version(&mut lease, Some(known));
    lease
}

fn keep_version(lease: &mut Value, known: Option<&Value>) {
    if let Some(known) = known {
        lease["metadata"]["resourceVersion"] = known["metadata"]["resourceVersion"].clone();
    }
}

/// A time with six digits behind the point, which the API asks of a Lease.
fn micro(at: OffsetDateTime) -> String {
    let format =
        time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
    at.to_offset(time::UtcOffset::UTC).format(format).unwrap_or_default()
}

/// `anna@laptop, release 2026…, …` for people.
impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (release {}", if self.who.is_empty() { "somebody" } else { &self.who }, self.id)?;
        if !self.run.is_empty() {
            write!(f, ", {}", self.run)?;
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-24 12:00:00 UTC);

    fn anna() -> Holder {
        Holder { id: "1".into(), who: "anna@laptop".into(), run: String::new() }
    }

    #[test]
    fn a_lock_is_free_ours_held_or_expired() {
        let ttl = Duration::from_secs(60);
        let held = lease(None, "n", &anna(), ttl, NOW);
        let seconds = |seconds: i64| NOW + time::Duration::seconds(seconds);
        for (lease, id, at, expected) in [
            (None, "1", 0, Claim::Free),
            (Some(held.clone()), "1", 10, Claim::Ours),
            (Some(held.clone()), "1", 1000, Claim::Ours),
            (Some(held.clone()), "2", 10, Claim::Held { by: anna(), left: Duration::from_secs(50) }),
            (Some(held.clone()), "2", 59, Claim::Held { by: anna(), left: Duration::from_secs(1) }),
            (Some(held.clone()), "2", 60, Claim::Expired(anna())),
            (Some(given_back(&held, "n")), "2", 0, Claim::Free),
            (
                Some(json!({"spec": {"holderIdentity": "x"}})),
                "2",
                0,
                Claim::Expired(Holder { id: "x".into(), ..Holder::default() }),
            ),
        ] {
            assert_eq!(claim(lease.as_ref(), id, seconds(at)), expected, "{lease:?} {id} {at}");
        }
    }

    #[test]
    fn a_sign_of_life_keeps_when_it_was_taken_and_replaces_only_what_was_seen() {
        let ttl = Duration::from_secs(60);
        let mut first = lease(None, "n", &anna(), ttl, NOW);
        assert_eq!(first["spec"]["renewTime"], "2026-11-24T12:00:00.000000Z");
        assert!(first["metadata"].get("resourceVersion").is_none());
        first["metadata"]["resourceVersion"] = json!("7");
        let renewed = lease(Some(&first), "n", &anna(), ttl, NOW + time::Duration::seconds(20));
        assert_eq!(renewed["spec"]["acquireTime"], first["spec"]["acquireTime"]);
        assert_eq!(
            (&renewed["metadata"]["resourceVersion"], &renewed["spec"]["leaseTransitions"]),
            (&json!("7"), &json!(0))
        );
        let bert = Holder { id: "2".into(), ..anna() };
        let taken = lease(Some(&first), "n", &bert, ttl, NOW + time::Duration::seconds(99));
        assert_eq!(taken["spec"]["leaseTransitions"], 1);
        assert_ne!(taken["spec"]["acquireTime"], first["spec"]["acquireTime"]);
    }
}
