//! Where output goes: a log file, and as much of it in memory as is kept.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long output may still arrive after the program itself is gone.
const DRAIN: Duration = Duration::from_millis(500);

/// The log of a gate; several streams write whole lines into it.
#[derive(Clone, Default)]
pub struct Log(pub Arc<Mutex<Option<std::fs::File>>>);

impl Log {
    /// One more line.
    pub fn write(&self, line: &str) {
        use std::io::Write as _;
        if let Some(file) = self.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            // A full disk must not stop the gate; its report tells that the log is short.
            let _lost = writeln!(file, "{line}");
        }
    }
}

/// Reads one stream to its end.
pub struct Collector {
    /// What was kept so far.
    pub kept: Arc<Mutex<String>>,
    /// What reads.
    pub task: tokio::task::JoinHandle<()>,
}

impl Collector {
    /// Everything up to the end of the stream, or to [`DRAIN`] after the program is gone.
    pub async fn finish(mut self) -> String {
        if tokio::time::timeout(DRAIN, &mut self.task).await.is_err() {
            self.task.abort();
        }
        std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
