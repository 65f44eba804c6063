//! Cancellation: one switch that everything which waits looks at.

use anyhow::{Context as _, Result};
use tokio::sync::watch;

/// How urgent it is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Go on.
    None,
    /// Stop within the grace period: SIGTERM first.
    Gently,
    /// Stop now: SIGKILL.
    Now,
}

/// The side that asks for a stop.
#[derive(Debug)]
pub struct Canceller(watch::Sender<Urgency>);

/// The side that obeys. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Cancel(watch::Receiver<Urgency>);

/// A connected pair.
pub fn pair() -> (Canceller, Cancel) {
    let (sender, receiver) = watch::channel(Urgency::None);
    (Canceller(sender), Cancel(receiver))
}

impl Canceller {
    /// Asks for a stop; a second call makes it urgent.
    pub fn cancel(&self) -> Urgency {
        let next = if *self.0.borrow() == Urgency::None { Urgency::Gently } else { Urgency::Now };
        self.0.send_replace(next);
        next
    }
}

/// The first SIGINT, SIGTERM or SIGHUP stops gently, a second one at once; `tell` is called for each. Never returns by itself.
pub async fn on_signals(canceller: Canceller, tell: impl Fn()) -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
    // The terminal was closed.
    let mut hangup = signal(SignalKind::hangup()).context("cannot watch for SIGHUP")?;
    loop {
        tokio::select! {
            _ = hangup.recv() => {}
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        canceller.cancel();
        tell();
    }
}

impl Cancel {
    /// Whether a stop was asked for.
    pub fn is_cancelled(&self) -> bool {
        *self.0.borrow() != Urgency::None
    }

    /// Waits until a stop of at least this urgency is asked for; for ever when nobody can ask any more.
    pub async fn reached(&mut self, urgency: Urgency) {
        if self.0.wait_for(|now| *now >= urgency).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
