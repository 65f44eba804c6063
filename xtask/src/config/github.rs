//! `[github]`: what `doctor --github` expects of the repository's settings.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Monitoring;

/// `[github]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Github {
    /// The check that has to be green before anything is merged: the name of the job that joins all reports.
    pub check: String,
    /// The branches that are released from. Nobody pushes over their history or deletes them.
    pub branches: Vec<String>,
    /// How many have to approve a pull request to them, at least.
    #[serde(default = "one")]
    pub reviews: u64,
    /// Whether the owners that CODEOWNERS names have to approve as well.
    #[serde(default = "yes")]
    pub code_owners: bool,
    /// What the token of a job may do where its workflow does not say.
    #[serde(default)]
    pub workflow_permissions: Permissions,
    /// The environments that are released to, by name.
    #[serde(default)]
    pub environments: BTreeMap<String, Guarded>,
    /// The workflow that watches the environments, by a schedule that somebody has to notice when it is late.
    pub monitoring: Option<Monitoring>,
}

/// `workflow_permissions`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Permissions {
    /// Read contents and packages.
    #[default]
    Read,
    /// Write everything.
    Write,
}

/// `[github.environments.NAME]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guarded {
    /// The only branches that it is released to from.
    pub branches: Vec<String>,
    /// How many users or teams are named who may approve a release, at least.
    #[serde(default)]
    pub reviewers: usize,
    /// Whether who starts a release must not be the one who approves it.
    #[serde(default)]
    pub prevent_self_review: bool,
}

impl Github {
    /// What is wrong with it.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.check.trim().is_empty() || self.branches.is_empty() {
            return Err("[github] needs a `check` and at least one of `branches`".to_owned());
        }
        let monitoring = self.monitoring.as_ref();
        if monitoring.is_some_and(|one| one.interval.is_zero() || one.workflow.is_empty() || one.workflow.contains('/'))
        {
            return Err("github.monitoring: `workflow` is a file's name, and `interval` is above zero".to_owned());
        }
        match self.environments.iter().find(|(_, guarded)| guarded.branches.is_empty()) {
            Some((name, _)) => Err(format!("github.environments.{name}: `branches` is empty")),
            None => Ok(()),
        }
    }
}

fn one() -> u64 {
    1
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_wrote_down_is_the_stricter() {
        let read = |text: &str| toml::from_str::<Github>(text).unwrap();
        let least = read("check = \"c\"\nbranches = [\"main\"]\n");
        assert!(least.check().is_ok() && least.reviews == 1 && least.code_owners);
        assert_eq!(least.workflow_permissions, Permissions::Read);
        for wrong in [
            "check = \"\"\nbranches = [\"main\"]\n",
            "check = \"c\"\nbranches = []\n",
            "check = \"c\"\nbranches = [\"main\"]\n[environments.staging]\nbranches = []\n",
            "check = \"c\"\nbranches = [\"main\"]\n[monitoring]\nworkflow = \"a.yml\"\ninterval = \"0s\"\n",
            "check = \"c\"\nbranches = [\"main\"]\n[monitoring]\nworkflow = \"w/a.yml\"\ninterval = \"6h\"\n",
        ] {
            assert!(read(wrong).check().is_err(), "{wrong}");
        }
    }
}
