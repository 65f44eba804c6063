//! Settings as they are and as they should be. Pure.

use std::collections::BTreeSet;

use crate::config::{Github, Guarded, Permissions};
use crate::tools::github::{Branches, Environment, Guard, WorkflowPermissions};

/// One setting that was compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The rule of its finding.
    pub name: &'static str,
    /// In words.
    pub expected: String,
    /// In words.
    pub found: String,
    /// Whether what was found is at least as strict.
    pub fits: bool,
}

/// What guards a branch.
pub fn branch(expected: &Github, found: &Guard) -> Vec<Setting> {
    let mut settings = vec![
        setting("required-check", &expected.check, &shown(&found.checks), found.checks.contains(&expected.check)),
        setting(
            "reviews",
            &format!("at least {}", expected.reviews),
            &found.reviews.to_string(),
            found.reviews >= expected.reviews,
        ),
        setting("force-pushes", "off", on(found.force_pushes), !found.force_pushes),
        setting("deletions", "off", on(found.deletions), !found.deletions),
    ];
    if expected.code_owners {
        settings.push(setting("code-owner-reviews", "on", on(found.code_owners), found.code_owners));
    }
    settings
}

/// Whether the owners of the code are known to GitHub; `None` where a branch has no CODEOWNERS.
pub fn code_owners(errors: Option<&[String]>) -> Setting {
    let (found, fits) = match errors {
        None => ("no CODEOWNERS".to_owned(), false),
        Some([]) => ("none".to_owned(), true),
        Some([first, rest @ ..]) => (format!("{first} (and {} more)", rest.len()), false),
    };
    setting("code-owner-errors", "none", &found, fits)
}

/// What guards an environment.
pub fn environment(expected: &Guarded, found: &Environment) -> Vec<Setting> {
    let wanted: BTreeSet<String> = expected.branches.iter().cloned().collect();
    let (branches, fits) = match &found.branches {
        Branches::All => ("any branch".to_owned(), false),
        Branches::Protected => ("every protected branch".to_owned(), false),
        Branches::Named(names) => (shown(names), *names == wanted),
    };
    let mut settings = vec![
        setting("deployment-branches", &shown(&wanted), &branches, fits),
        setting(
            "reviewers",
            &format!("at least {}", expected.reviewers),
            &found.reviewers.len().to_string(),
            found.reviewers.len() >= expected.reviewers,
        ),
    ];
    if expected.prevent_self_review {
        let is_on = found.prevents_self_review;
        settings.push(setting("prevent-self-review", "on", on(is_on), is_on));
    }
    settings
}

/// What the workflows may do that say nothing.
pub fn workflows(expected: &Github, found: &WorkflowPermissions) -> Vec<Setting> {
    let wanted = match expected.workflow_permissions {
        Permissions::Read => "read",
        Permissions::Write => "write",
    };
    let (given, approves) = (&found.default_workflow_permissions, found.can_approve_pull_request_reviews);
    vec![
        setting("workflow-permissions", wanted, given, given == wanted || given == "read"),
        setting("approval-by-workflows", "off", on(approves), !approves),
    ]
}

fn setting(name: &'static str, expected: &str, found: &str, fits: bool) -> Setting {
    Setting { name, expected: expected.to_owned(), found: found.to_owned(), fits }
}

fn on(is_on: bool) -> &'static str {
    if is_on { "on" } else { "off" }
}

fn shown(names: &BTreeSet<String>) -> String {
    if names.is_empty() { "none".to_owned() } else { names.iter().cloned().collect::<Vec<_>>().join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected() -> Github {
        let text = "check = \"required\"\nbranches = [\"main\"]\n[environments.production]\nbranches = [\"main\"]\nreviewers = 1\nprevent_self_review = true\n";
        toml::from_str(text).unwrap()
    }

    /// The settings that differ, with what was found.
    fn wrong(settings: &[Setting]) -> Vec<(&str, &str)> {
        settings.iter().filter(|one| !one.fits).map(|one| (one.name, one.found.as_str())).collect()
    }

    #[test]
    fn a_branch_is_guarded_or_each_gap_is_named() {
        let good = Guard {
            checks: ["required".to_owned(), "other".to_owned()].into(),
            reviews: 2,
            code_owners: true,
            force_pushes: false,
            deletions: false,
        };
        let other = ["requires".to_owned()].into();
        for (found, differs) in [
            (good.clone(), vec![]),
            (Guard { checks: other, ..good.clone() }, vec![("required-check", "requires")]),
            (Guard { reviews: 0, ..good.clone() }, vec![("reviews", "0")]),
            (Guard { code_owners: false, ..good.clone() }, vec![("code-owner-reviews", "off")]),
            (Guard { force_pushes: true, ..good.clone() }, vec![("force-pushes", "on")]),
            (Guard { deletions: true, ..good }, vec![("deletions", "on")]),
        ] {
            let settings = branch(&expected(), &found);
            assert_eq!((settings.len(), wrong(&settings)), (5, differs), "{found:?}");
        }
        let lax = Github { code_owners: false, ..expected() };
        assert_eq!(branch(&lax, &Guard::default()).len(), 4);
    }

    #[test]
    fn owners_that_github_does_not_know_approve_nothing() {
        let error = "CODEOWNERS:3: Unknown owner".to_owned();
        for (errors, found, fits) in [
            (None, "no CODEOWNERS", false),
            (Some(vec![]), "none", true),
            (Some(vec![error]), "CODEOWNERS:3: Unknown owner (and 0 more)", false),
        ] {
            let setting = code_owners(errors.as_deref());
            assert_eq!((setting.found.as_str(), setting.fits), (found, fits));
        }
    }

    #[test]
    fn an_environment_is_released_to_from_its_branches_alone() {
        let named = |names: &[&str]| Branches::Named(names.iter().map(|&name| name.to_owned()).collect());
        let good = Environment {
            name: "production".into(),
            reviewers: vec!["ada".into()],
            prevents_self_review: true,
            branches: named(&["main"]),
        };
        for (found, differs) in [
            (good.clone(), vec![]),
            (Environment { reviewers: vec![], ..good.clone() }, vec![("reviewers", "0")]),
            (Environment { prevents_self_review: false, ..good.clone() }, vec![("prevent-self-review", "off")]),
            (Environment { branches: Branches::All, ..good.clone() }, vec![("deployment-branches", "any branch")]),
            (
                Environment { branches: Branches::Protected, ..good.clone() },
                vec![("deployment-branches", "every protected branch")],
            ),
            (Environment { branches: named(&[]), ..good.clone() }, vec![("deployment-branches", "none")]),
            (
                Environment { branches: named(&["main", "tag v*"]), ..good },
                vec![("deployment-branches", "main, tag v*")],
            ),
        ] {
            let settings = environment(&expected().environments["production"], &found);
            assert_eq!((settings.len(), wrong(&settings)), (3, differs), "{found:?}");
        }
    }

    #[test]
    fn a_token_reads_where_its_workflow_says_nothing() {
        for (given, approves, differs) in [
            ("read", false, vec![]),
            ("write", false, vec![("workflow-permissions", "write")]),
            ("", false, vec![("workflow-permissions", "")]),
            ("read", true, vec![("approval-by-workflows", "on")]),
        ] {
            let found = WorkflowPermissions {
                default_workflow_permissions: given.to_owned(),
                can_approve_pull_request_reviews: approves,
            };
            let settings = workflows(&expected(), &found);
            assert_eq!((settings.len(), wrong(&settings)), (2, differs), "{given} {approves}");
        }
    }
}
