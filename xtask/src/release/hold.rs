//! Takes the lock of an environment, keeps it alive beside whatever its holder does, and gives it back.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::lock::{Claim, Holder, LEASE, claim, given_back, lease};
use crate::tools::kube::{Kube, Trouble};

/// How long to wait before an API that could not be reached is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// Somebody else has the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Who.
    pub by: Holder,
    /// After which time without a sign of life it may be taken.
    pub left: Duration,
}

/// How an attempt ended.
pub enum Attempt {
    /// The lock is ours as long as this lives.
    Taken {
        /// The lock.
        lock: Lock,
        /// Whose it was until they gave no sign of life.
        from: Option<Holder>,
    },
    /// It is somebody else's.
    Held(Held),
}

/// What the heartbeat knows.
#[derive(Debug)]
struct State {
    lease: Value,
    alive: Instant,
    lost: Option<Holder>,
}

/// A lock that is ours.
pub struct Lock {
    kube: Kube,
    namespace: String,
    holder: Holder,
    state: Arc<Mutex<State>>,
    heartbeat: tokio::task::JoinHandle<()>,
}

/// Tries once to take the lock.
pub async fn take(kube: &Kube, namespace: &str, holder: &Holder, ttl: Duration) -> Result<Attempt, Trouble> {
    let path = path(namespace);
    let known = kube.get(&path).await?;
    let now = kube.now();
    let from = match claim(known.as_ref(), &holder.id, now) {
        Claim::Free | Claim::Ours => None,
        Claim::Expired(from) => Some(from),
        Claim::Held { by, left } => return Ok(Attempt::Held(Held { by, left })),
    };
    let wanted = lease(known.as_ref(), namespace, holder, ttl, now);
    let made = match &known {
        None => kube.create(&collection(namespace), &wanted).await,
        Some(_) => kube.replace(&path, &wanted).await,
    };
    let lease = match made {
        Ok(lease) => lease,
        // Somebody was faster by a moment.
        Err(trouble) if trouble.is_conflict() => {
            let lease = kube.get(&path).await?;
            match (claim(lease.as_ref(), &holder.id, kube.now()), lease) {
                // It was us, and the answer was lost.
                (Claim::Ours, Some(lease)) => lease,
                (Claim::Held { by, left }, _) => return Ok(Attempt::Held(Held { by, left })),
                _ => return Err(trouble),
            }
        }
        Err(trouble) => return Err(trouble),
    };
    let state = Arc::new(Mutex::new(State { lease, alive: Instant::now(), lost: None }));
    let beating = beat(kube.patient(Duration::ZERO), namespace.to_owned(), holder.clone(), ttl, state.clone());
    let heartbeat = tokio::spawn(beating);
    let lock = Lock { kube: kube.clone(), namespace: namespace.to_owned(), holder: holder.clone(), state, heartbeat };
    Ok(Attempt::Taken { lock, from })
}

/// Says every third of its time that the holder is alive; ends when the lock is another's.
async fn beat(kube: Kube, namespace: String, holder: Holder, ttl: Duration, state: Arc<Mutex<State>>) {
    let path = path(&namespace);
    loop {
        tokio::time::sleep(ttl / 3).await;
        loop {
            let known = state.lock().unwrap_or_else(PoisonError::into_inner).lease.clone();
            let wanted = lease(Some(&known), &namespace, &holder, ttl, kube.now());
            let answered = match kube.replace(&path, &wanted).await {
                Err(Trouble::Refused { .. }) => kube.get(&path).await,
                answered => answered.map(Some),
            };
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            match answered {
                Ok(Some(lease)) => match claim(Some(&lease), &holder.id, kube.now()) {
                    Claim::Ours => {
                        state.lease = lease;
                        state.alive = Instant::now();
                        break;
                    }
                    Claim::Held { by, .. } | Claim::Expired(by) => {
                        state.lost = Some(by);
                        return;
                    }
                    Claim::Free => {
                        state.lost = Some(Holder::default());
                        return;
                    }
                },
                Ok(None) => {
                    state.lost = Some(Holder::default());
                    return;
                }
                Err(_) => {}
            }
            drop(state);
            tokio::time::sleep(AGAIN).await;
        }
    }
}

impl Lock {
    /// Who took it from us; whoever lost it changes nothing more.
    pub fn lost(&self) -> Option<Holder> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).lost.clone()
    }

    /// How long ago the API heard of us for the last time.
    pub fn silent_for(&self) -> Duration {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).alive.elapsed()
    }

    /// Gives it back, so that the next one need not wait.
    pub async fn give_back(self) -> Result<(), Trouble> {
        self.heartbeat.abort();
        let path = path(&self.namespace);
        for _ in 0..3 {
            let Some(known) = self.kube.get(&path).await? else { return Ok(()) };
            if claim(Some(&known), &self.holder.id, self.kube.now()) != Claim::Ours {
                return Ok(());
            }
            // The last sign of life may have been on its way.
            match self.kube.replace(&path, &given_back(&known, &self.namespace)).await {
                Err(trouble) if trouble.is_conflict() => {}
                answered => return answered.map(|_| ()),
            }
        }
        Ok(())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.heartbeat.abort();
    }
}

fn collection(namespace: &str) -> String {
    format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases")
}

fn path(namespace: &str) -> String {
    format!("{}/{LEASE}", collection(namespace))
}
