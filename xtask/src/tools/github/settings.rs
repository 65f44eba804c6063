//! The settings of a repository that decide what is merged and what is released.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::{GitHub, Trouble};
use crate::text::percent_encoded;

/// What guards a branch: the classic protection, and the rules of all rulesets that apply to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Branch {
    /// `GET branches/BRANCH/protection`
    pub classic: Classic,
    /// `GET rules/branches/BRANCH`
    pub rules: Vec<Rule>,
}

/// The classic protection of a branch.
#[derive(Clone, Debug, PartialEq)]
pub enum Classic {
    /// There is one.
    Protected(Protection),
    /// There is none.
    Unprotected,
    /// The token may not know.
    Hidden(Trouble),
}

/// <https://docs.github.com/rest/branches/branch-protection>, as far as it is held against anything.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Protection {
    required_status_checks: Option<Checks>,
    required_pull_request_reviews: Option<Reviews>,
    allow_force_pushes: Switch,
    allow_deletions: Switch,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Checks {
    /// What older answers have in place of `checks`.
    contexts: Vec<String>,
    checks: Vec<Check>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Check {
    context: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Reviews {
    required_approving_review_count: u64,
    require_code_owner_reviews: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Switch {
    enabled: bool,
}

/// One rule, <https://docs.github.com/rest/repos/rules>.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Rule {
    #[serde(rename = "type")]
    kind: String,
    parameters: Option<Parameters>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Parameters {
    required_status_checks: Vec<Check>,
    required_approving_review_count: u64,
    require_code_owner_review: bool,
}

/// What holds for a branch, whichever of the two says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// The checks that have to be green before a merge.
    pub checks: BTreeSet<String>,
    /// How many have to approve.
    pub reviews: u64,
    /// Whether the owners of the code have to.
    pub code_owners: bool,
    /// Whether history may be written anew.
    pub force_pushes: bool,
    /// Whether the branch may be deleted.
    pub deletions: bool,
}

impl Branch {
    /// The stricter of protection and rules, setting by setting.
    pub fn guard(&self) -> Guard {
        let mut guard = match &self.classic {
            Classic::Protected(protection) => protection.guard(),
            Classic::Unprotected | Classic::Hidden(_) => {
                Guard { force_pushes: true, deletions: true, ..Guard::default() }
            }
        };
        for rule in &self.rules {
            let parameters = rule.parameters.clone().unwrap_or_default();
            match rule.kind.as_str() {
                "required_status_checks" => {
                    guard.checks.extend(parameters.required_status_checks.into_iter().map(|check| check.context));
                }
                "pull_request" => {
                    guard.reviews = guard.reviews.max(parameters.required_approving_review_count);
                    guard.code_owners |= parameters.require_code_owner_review;
                }
                "non_fast_forward" => guard.force_pushes = false,
                "deletion" => guard.deletions = false,
                _ => {}
            }
        }
        guard
    }
}

impl Protection {
    fn guard(&self) -> Guard {
        let checks = self.required_status_checks.clone().unwrap_or_default();
        let reviews = self.required_pull_request_reviews.clone().unwrap_or_default();
        Guard {
            checks: checks.contexts.into_iter().chain(checks.checks.into_iter().map(|check| check.context)).collect(),
            reviews: reviews.required_approving_review_count,
            code_owners: reviews.require_code_owner_reviews,
            force_pushes: self.allow_force_pushes.enabled,
            deletions: self.allow_deletions.enabled,
        }
    }
}

/// Where a release goes to, as GitHub guards it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// Its name.
    pub name: String,
    /// Who may approve: users, and teams by `team/NAME`.
    pub reviewers: Vec<String>,
    /// Whether who started a release may not approve it.
    pub prevents_self_review: bool,
    /// What may be released from.
    pub branches: Branches,
}

/// What may be released to an environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Branches {
    /// Any branch and any tag.
    #[default]
    All,
    /// Every branch that has a classic protection.
    Protected,
    /// Branches by name or pattern, and tags as `tag NAME`.
    Named(BTreeSet<String>),
}

/// What a job's token may do where its workflow does not say, and `actions/permissions/workflow` as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct WorkflowPermissions {
    /// `read` or `write`.
    pub default_workflow_permissions: String,
    /// Whether a workflow may approve a pull request.
    #[serde(default)]
    pub can_approve_pull_request_reviews: bool,
}

#[derive(Debug, Deserialize)]
struct Listed {
    name: String,
    #[serde(default)]
    protection_rules: Vec<ProtectionRule>,
    deployment_branch_policy: Option<Policy>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ProtectionRule {
    #[serde(rename = "type")]
    kind: String,
    prevent_self_review: bool,
    reviewers: Vec<Reviewer>,
}

#[derive(Debug, Deserialize)]
struct Reviewer {
    #[serde(rename = "type", default)]
    kind: String,
    reviewer: Named,
}

#[derive(Debug, Deserialize)]
struct Named {
    login: Option<String>,
    slug: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Policy {
    protected_branches: bool,
    custom_branch_policies: bool,
}

#[derive(Debug, Deserialize)]
struct BranchPolicy {
    name: String,
    #[serde(rename = "type", default)]
    kind: Option<String>,
}

impl GitHub {
    /// What guards a branch; [`Trouble::NotFound`] where there is no such branch.
    pub async fn branch_protection(&self, branch: &str) -> Result<Branch, Trouble> {
        let name = percent_encoded(branch, "");
        // Anybody who sees the repository may read the branch and its rules.
        let _there: serde_json::Value = self.get(&format!("branches/{name}")).await?;
        let rules = self.get_all(&format!("rules/branches/{name}"), "").await?;
        let classic = match self.get(&format!("branches/{name}/protection")).await {
            Ok(protection) => Classic::Protected(protection),
            Err(Trouble::NotFound { why, .. }) if why.starts_with("Branch not protected") => Classic::Unprotected,
            Err(hidden @ (Trouble::NotFound { .. } | Trouble::Forbidden { .. })) => Classic::Hidden(hidden),
            Err(trouble) => return Err(trouble),
        };
        Ok(Branch { classic, rules })
    }

    /// What GitHub does not understand of the CODEOWNERS of a branch, as `PATH:LINE: KIND`; `None` where the branch has no
    /// such file. An owner who does not exist, or may not write, is such an error, and approves nothing.
    pub async fn codeowners_errors(&self, branch: &str) -> Result<Option<Vec<String>>, Trouble> {
        #[derive(Deserialize)]
        struct Answer {
            errors: Vec<Fault>,
        }
        #[derive(Deserialize)]
        struct Fault {
            path: String,
            line: u64,
            kind: String,
        }
        let path = format!("codeowners/errors?ref={}", percent_encoded(branch, ""));
        match self.get::<Answer>(&path).await {
            Ok(Answer { errors }) => {
                let shown = |Fault { path, line, kind }| self.harmless(&format!("{path}:{line}: {kind}"));
                Ok(Some(errors.into_iter().map(shown).collect()))
            }
            Err(Trouble::NotFound { .. }) => Ok(None),
            Err(trouble) => Err(trouble),
        }
    }

    /// All environments, each with its reviewers and with what may be released to it.
    pub async fn environments(&self) -> Result<Vec<Environment>, Trouble> {
        let listed: Vec<Listed> = self.get_all("environments", "environments").await?;
        let mut environments = Vec::new();
        for one in listed {
            let branches = match &one.deployment_branch_policy {
                None => Branches::All,
                Some(policy) if policy.custom_branch_policies => Branches::Named(self.policies(&one.name).await?),
                Some(policy) if policy.protected_branches => Branches::Protected,
                Some(_) => Branches::All,
            };
            let mut environment = Environment { name: one.name, branches, ..Environment::default() };
            for rule in one.protection_rules.into_iter().filter(|rule| rule.kind == "required_reviewers") {
                environment.prevents_self_review |= rule.prevent_self_review;
                environment.reviewers.extend(rule.reviewers.into_iter().filter_map(|one| {
                    let team = |slug| format!("team/{slug}");
                    if one.kind == "Team" { one.reviewer.slug.map(team) } else { one.reviewer.login }
                }));
            }
            environments.push(environment);
        }
        Ok(environments)
    }

    async fn policies(&self, environment: &str) -> Result<BTreeSet<String>, Trouble> {
        let path = format!("environments/{}/deployment-branch-policies", percent_encoded(environment, ""));
        let all: Vec<BranchPolicy> = self.get_all(&path, "branch_policies").await?;
        let shown = |policy: BranchPolicy| match policy.kind.as_deref() {
            Some("tag") => format!("tag {}", policy.name),
            _ => policy.name,
        };
        Ok(all.into_iter().map(shown).collect())
    }

    /// What a job's token may do where its workflow does not say.
    pub async fn workflow_permissions(&self) -> Result<WorkflowPermissions, Trouble> {
        self.get("actions/permissions/workflow").await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_stricter_of_protection_and_rules_holds() {
        let classic = |reviews: u64, owners: bool, force: bool| {
            let protection = json!({
                "url": "https://api.github.com/x", "enforce_admins": {"enabled": true},
                "required_status_checks": {"strict": true, "contexts": ["a"], "checks": [{"context": "a", "app_id": 1}]},
                "required_pull_request_reviews": {"required_approving_review_count": reviews, "require_code_owner_reviews": owners},
                "allow_force_pushes": {"enabled": force}, "allow_deletions": {"enabled": false},
            });
            Classic::Protected(serde_json::from_value(protection).unwrap())
        };
        let rules: Vec<Rule> = serde_json::from_value(json!([
            {"type": "pull_request", "ruleset_id": 1, "parameters": {"required_approving_review_count": 2, "require_code_owner_review": true, "dismiss_stale_reviews_on_push": true}},
            {"type": "required_status_checks", "parameters": {"required_status_checks": [{"context": "b", "integration_id": 2}], "strict_required_status_checks_policy": true}},
            {"type": "non_fast_forward"}, {"type": "deletion"}, {"type": "required_linear_history"},
        ]))
        .unwrap();
        let guard = |checks: &[&str], reviews, code_owners, force_pushes, deletions| Guard {
            checks: checks.iter().map(|&check| check.to_owned()).collect(),
            reviews,
            code_owners,
            force_pushes,
            deletions,
        };
        for (classic, rules, expected) in [
            (Classic::Unprotected, vec![], guard(&[], 0, false, true, true)),
            (Classic::Unprotected, rules.clone(), guard(&["b"], 2, true, false, false)),
            (Classic::Hidden(Trouble::NoToken), vec![], guard(&[], 0, false, true, true)),
            (classic(1, false, true), vec![], guard(&["a"], 1, false, true, false)),
            (classic(3, true, false), rules, guard(&["a", "b"], 3, true, false, false)),
        ] {
            assert_eq!(Branch { classic, rules }.guard(), expected);
        }
    }
}
