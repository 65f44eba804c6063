//! The time, as far as a limit of GitHub's makes us wait; tests bring their own.

use std::pin::Pin;
use std::time::Duration;

use time::OffsetDateTime;

/// Tells the time, and waits.
pub trait Wait: Send + Sync {
    /// Now.
    fn now(&self) -> OffsetDateTime;
    /// Ends after `time`.
    fn sleep(&self, time: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// The real one.
#[derive(Clone, Copy, Debug)]
pub struct Clock;

impl Wait for Clock {
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }

    fn sleep(&self, time: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(tokio::time::sleep(time))
    }
}
