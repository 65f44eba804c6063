//! The exit codes, the one table that others call our commands by.

use crate::verdict::Verdict;

/// What the process tells its caller. The discriminants are the codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// Everything asked for passed.
    Passed = 0,
    /// Wrong usage or configuration.
    Usage = 2,
    /// A gate failed, or a plan was refused or not confirmed.
    Failed = 10,
    /// A required gate did not run.
    DidNotRun = 20,
    /// Released, not verified, brought back to the last verified release, which is healthy.
    RolledBack = 30,
    /// Bringing a release back failed.
    RollbackFailed = 31,
    /// Another release holds the lock.
    Held = 40,
    /// A defect of ours.
    Defect = 70,
    /// Interrupted; everything is left in a stated condition.
    Interrupted = 130,
}

impl Code {
    /// The place in the order of precedence; of several causes the lowest counts.
    fn rank(self) -> u8 {
        match self {
            Self::Defect => 0,
            Self::Interrupted => 1,
            Self::RollbackFailed => 2,
            Self::RolledBack => 3,
            Self::Held => 4,
            Self::Failed => 5,
            Self::DidNotRun => 6,
            Self::Usage => 7,
            Self::Passed => 8,
        }
    }

    /// The one that counts of two.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        if other.rank() < self.rank() { other } else { self }
    }
}

impl From<Verdict> for Code {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Pass => Self::Passed,
            Verdict::Fail => Self::Failed,
            Verdict::DidNotRun => Self::DidNotRun,
        }
    }
}

impl From<Code> for std::process::ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// A mistake in a command line or in a configuration file: exit code 2, and nothing was done.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// The run was stopped before it had anything to report: exit code 130.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

#[cfg(test)]
mod tests {
    use super::Code::*;

    #[test]
    fn of_several_causes_the_first_in_the_order_counts() {
        assert_eq!(Passed.and(DidNotRun).and(Failed), Failed);
        assert_eq!(Failed.and(DidNotRun), Failed);
        assert_eq!(Failed.and(Interrupted), Interrupted);
        assert_eq!(Interrupted.and(Defect), Defect);
        assert_eq!(Passed.and(Passed), Passed);
        let order = [Defect, Interrupted, RollbackFailed, RolledBack, Held, Failed, DidNotRun];
        for pair in order.windows(2) {
            assert_eq!((pair[0].and(pair[1]), pair[1].and(pair[0])), (pair[0], pair[0]));
        }
    }

    #[test]
    fn the_codes_are_those_of_the_contract() {
        let codes = [Passed, Usage, Failed, DidNotRun, RolledBack, RollbackFailed, Held, Defect, Interrupted];
        assert_eq!(codes.map(|code| code as u8), [0, 2, 10, 20, 30, 31, 40, 70, 130]);
    }
}
