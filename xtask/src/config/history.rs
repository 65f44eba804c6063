//! `[history]`: where the runs of all machines are remembered.

use serde::{Deserialize, Serialize};

use super::Github;

/// `[history]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    /// A branch that holds nothing else. It is made by the first run that has something to remember.
    pub branch: String,
}

impl History {
    /// What is wrong with it.
    pub(super) fn check(&self, github: Option<&Github>) -> Result<(), String> {
        let branch = &self.branch;
        let is_part = |part: &str| {
            let is_plain = part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
            !part.is_empty()
                && is_plain
                && !part.starts_with(['-', '.'])
                && !part.ends_with(".lock")
                && !part.contains("..")
        };
        if !branch.split('/').all(is_part) || branch.ends_with('.') {
            return Err(format!("history.branch: `{branch}` is no name of a branch like `pipeline-history`"));
        }
        match github.is_some_and(|github| github.branches.contains(branch)) {
            true => Err(format!("history.branch: `{branch}` is a branch that is released from")),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_of_data_is_no_branch_of_source() {
        let github: Github = toml::from_str("check = \"c\"\nbranches = [\"main\"]\n").unwrap();
        let check = |branch: &str| History { branch: branch.to_owned() }.check(Some(&github));
        for good in ["pipeline-history", "data/runs", "v1.2"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["", "/a", "a/", "-a", "a..b", "a b", "a.lock", ".a", "a.", "main", "a?b", "a/../b"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
