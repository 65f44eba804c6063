//! Takes the lock of an environment, keeps it alive beside whatever its holder does, and gives it back.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

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
    lost: Option<Holder>,
}

/// A lock that is ours.
pub struct Lock {
    kube: Kube,
    namespace: String,
    holder: Holder,
    ttl: Duration,
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
    let state = Arc::new(Mutex::new(State { lease, lost: None }));
    let beating = beat(kube.patient(Duration::ZERO), namespace.to_owned(), holder.clone(), ttl, state.clone());
    let heartbeat = tokio::spawn(beating);
    let (kube, namespace, holder) = (kube.clone(), namespace.to_owned(), holder.clone());
    let lock = Lock { kube, namespace, holder, ttl, state, heartbeat };
    Ok(Attempt::Taken { lock, from })
}

/// Says every third of its time that the holder is alive; ends when the lock is another's.
async fn beat(kube: Kube, namespace: String, holder: Holder, ttl: Duration, state: Arc<Mutex<State>>) {
    loop {
        tokio::time::sleep(ttl / 3).await;
        loop {
            match renew(&kube, &namespace, &holder, ttl, &state).await {
                Ok(None) => break,
                Ok(Some(_)) => return,
                Err(_) => tokio::time::sleep(AGAIN).await,
            }
        }
    }
}

/// Says once that the holder is alive; `Some` where the lock is another's by now, which it stays.
async fn renew(
    kube: &Kube,
    namespace: &str,
    holder: &Holder,
    ttl: Duration,
    state: &Mutex<State>,
) -> Result<Option<Holder>, Trouble> {
    let (known, lost) = {
        let state = state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.lease.clone(), state.lost.clone())
    };
    if lost.is_some() {
        return Ok(lost);
    }
    let path = path(namespace);
    let wanted = lease(Some(&known), namespace, holder, ttl, kube.now());
    let answered = match kube.replace(&path, &wanted).await {
        // A sign of life of ours may have been faster by a moment.
        Err(Trouble::Refused { .. }) => kube.get(&path).await?,
        answered => Some(answered?),
    };
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    state.lost = match (claim(answered.as_ref(), &holder.id, kube.now()), answered) {
        (Claim::Ours, Some(lease)) => {
            state.lease = lease;
            None
        }
        (Claim::Held { by, .. } | Claim::Expired(by), _) => Some(by),
        _ => Some(Holder::default()),
    };
    Ok(state.lost.clone())
}

impl Lock {
    /// Asks the API who has it, and lives on from now where it is ours; else who took it from us. What the heartbeat
    /// knows may be old: a machine that slept, or that did not reach the API, learns from it too late.
    pub async fn confirm(&self) -> Result<Option<Holder>, Trouble> {
        renew(&self.kube, &self.namespace, &self.holder, self.ttl, &self.state).await
    }

    /// Waits until the heartbeat finds that somebody took it from us; whoever lost it changes nothing more.
    pub fn taken(&self) -> impl Future<Output = Holder> + use<> {
        let state = self.state.clone();
        async move {
            loop {
                if let Some(by) = state.lock().unwrap_or_else(PoisonError::into_inner).lost.clone() {
                    return by;
                }
                tokio::time::sleep(AGAIN).await;
            }
        }
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
