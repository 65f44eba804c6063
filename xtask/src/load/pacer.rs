//! Keeps to the schedule on a thread of its own: whatever the sender is busy with, it says when an iteration was due.
//!
//! The thread sleeps by the kernel's clock (50 µs on Linux) and not by the runtime's, whose timers are whole milliseconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::sync::mpsc::{Receiver, channel};

use super::Stop;
use super::schedule::{Arrival, Schedule};

/// Arrivals that the sender has not taken yet; one more is dropped, so that memory stays bounded.
const QUEUE: usize = 4096;

/// How soon a stop is seen.
const NAP: Duration = Duration::from_millis(50);

/// What became of the schedule so far.
#[derive(Debug, Default)]
pub struct Paced {
    /// Iterations that were due.
    pub scheduled: AtomicU64,
    /// Those that the sender could not even take.
    pub dropped: AtomicU64,
}

/// Starts at `origin`; the channel closes when the schedule has ended or a stop was asked for.
pub fn start(schedule: Schedule, origin: Instant, stop: &Stop) -> Result<(Receiver<Arrival>, Arc<Paced>)> {
    let (send, receive) = channel(QUEUE);
    let paced = Arc::new(Paced::default());
    let (counts, stop) = (paced.clone(), stop.clone());
    let work = move || {
        for arrival in schedule {
            let due = origin + arrival.at;
            loop {
                let left = due.saturating_duration_since(Instant::now());
                if stop.is_asked() {
                    return;
                }
                if left.is_zero() {
                    break;
                }
                std::thread::sleep(left.min(NAP));
            }
            counts.scheduled.fetch_add(1, Ordering::Relaxed);
            if send.try_send(arrival).is_err() {
                counts.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    let thread = std::thread::Builder::new().name("pacer".to_owned());
    thread.spawn(work).context("cannot start the thread that keeps to the schedule")?;
    Ok((receive, paced))
}
