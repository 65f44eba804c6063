//! How a command ended, and what it printed.

use std::fmt;
use std::process::ExitStatus;
use std::time::Duration;

/// How many characters of a program's last line are told as the reason why it failed.
const LAST_WORDS: usize = 400;

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself.
    Code(i32),
    /// By a signal that was not ours.
    Signal(i32),
    /// Stopped by us after its time was over.
    TimedOut(Duration),
    /// Stopped by us because the run was cancelled.
    Cancelled,
    /// The program could not be started: it is not there, or not executable.
    NotStarted(String),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "killed by signal {signal}"),
            Self::TimedOut(limit) => write!(f, "timed out after {} s", limit.as_secs_f32()),
            Self::Cancelled => f.write_str("interrupted"),
            Self::NotStarted(why) => write!(f, "could not be started: {why}"),
        }
    }
}

/// A command that has ended, with what it printed.
#[derive(Clone, Debug)]
pub struct Ended {
    /// How.
    pub exit: Exit,
    /// Standard output, cleaned and redacted.
    pub stdout: String,
    /// Standard error, cleaned and redacted.
    pub stderr: String,
}

impl Ended {
    /// Whether it ended by itself with code 0. That alone never makes a pass.
    pub fn is_success(&self) -> bool {
        self.exit == Exit::Code(0)
    }

    /// How it ended, with its last words, which may be a whole report on one line: their beginning is enough.
    pub fn failure(&self) -> String {
        let words = |text: &str| {
            let last = text.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
            Some(last.chars().take(LAST_WORDS).collect::<String>())
        };
        match words(&self.stderr).or_else(|| words(&self.stdout)) {
            Some(words) => format!("{}: {words}", self.exit),
            None => self.exit.to_string(),
        }
    }
}

/// What the system says of a process that is gone.
pub fn exit_of(status: ExitStatus) -> Exit {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, signal) => Exit::Signal(signal.unwrap_or_default()),
    }
}
