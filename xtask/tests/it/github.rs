//! `doctor --github` against a GitHub on loopback: right settings pass, each wrong one is named, and what cannot be
//! read is no pass.

use serde_json::{Value, json};
use xtask::config::Config;

use super::hub::{Fault, Hub, REPOSITORY, TOKEN, message};
use super::support::{Project, Ran, repository};

const CONFIG: &str = "[python]\nversions = []\ntools = \"3.12\"\ntools_lock = \"tools.txt\"\n
[github]\ncheck = \"required\"\nbranches = [\"main\"]\n
[github.environments.production]\nbranches = [\"main\"]\nreviewers = 1\nprevent_self_review = true\n";

fn world() -> (Project, Hub) {
    let (mut project, hub) = (Project::bare(), Hub::start());
    project.write("xtask/config/pipeline.toml", CONFIG);
    project.write(".gitignore", "/target/\n");
    project.commit();
    for (name, value) in
        [("GITHUB_API_URL", hub.url().as_str()), ("GITHUB_REPOSITORY", REPOSITORY), ("GITHUB_TOKEN", TOKEN)]
    {
        project.set(name, value);
    }
    right(&hub);
    (project, hub)
}

fn protection() -> Value {
    json!({
        "required_status_checks": {"strict": true, "contexts": [], "checks": [{"context": "required", "app_id": 15368}]},
        "enforce_admins": {"enabled": true},
        "required_pull_request_reviews": {"required_approving_review_count": 1, "require_code_owner_reviews": true},
        "allow_force_pushes": {"enabled": false}, "allow_deletions": {"enabled": false},
    })
}

fn rules() -> Value {
    json!([
        {"type": "required_status_checks", "parameters": {"required_status_checks": [{"context": "required"}]}},
        {"type": "pull_request", "parameters": {"required_approving_review_count": 1, "require_code_owner_review": true}},
        {"type": "non_fast_forward"}, {"type": "deletion"},
    ])
}

fn environments(rules: Value, custom: bool) -> Value {
    let policy = json!({"protected_branches": !custom, "custom_branch_policies": custom});
    let environment = json!({"name": "production", "protection_rules": rules, "deployment_branch_policy": policy});
    json!({"total_count": 1, "environments": [environment]})
}

fn reviewers(prevent: bool) -> Value {
    let reviewer = json!({"type": "User", "reviewer": {"login": "ada"}});
    json!([{"type": "required_reviewers", "prevent_self_review": prevent, "reviewers": [reviewer]}, {"type": "branch_policy"}])
}

/// Every setting is what it should be.
fn right(hub: &Hub) {
    hub.sets("branches/main", 200, json!({"name": "main"}));
    hub.sets("branches/main/protection", 200, protection());
    hub.sets("rules/branches/main", 200, json!([]));
    hub.sets("codeowners/errors", 200, json!({"errors": []}));
    hub.sets("environments", 200, environments(reviewers(true), true));
    let policies = json!({"total_count": 1, "branch_policies": [{"name": "main", "type": "branch"}]});
    hub.sets("environments/production/deployment-branch-policies", 200, policies);
    let workflows = json!({"default_workflow_permissions": "read", "can_approve_pull_request_reviews": false});
    hub.sets("actions/permissions/workflow", 200, workflows);
}

fn rules_of(ran: &Ran, gate: &str) -> Vec<String> {
    ran.gate(gate).findings.iter().map(|finding| finding.rule.clone()).collect()
}

const BRANCH: &str = "doctor/github-branch-main";
const ENVIRONMENT: &str = "doctor/github-environment-production";
const WORKFLOWS: &str = "doctor/github-workflows";

#[test]
fn settings_that_are_right_pass_and_each_wrong_one_is_named() {
    let (project, hub) = world();
    let ran = project.xtask(&["doctor", "--github"]);
    ran.assert_code(0);
    let counts = [BRANCH, ENVIRONMENT, WORKFLOWS].map(|gate| ran.gate(gate).work.count);
    assert_eq!((ran.report().gates.len(), counts), (3, [6, 3, 2]));
    assert!(!ran.stdout.contains(TOKEN) && !ran.stderr.contains(TOKEN));

    // By rulesets alone it is as good.
    hub.sets("branches/main/protection", 404, message("Branch not protected"));
    hub.sets("rules/branches/main", 200, rules());
    project.xtask(&["doctor", "--github"]).assert_code(0);

    hub.sets("rules/branches/main", 200, json!([{"type": "deletion"}]));
    hub.sets("environments", 200, environments(json!([{"type": "wait_timer"}]), false));
    let written = json!({"default_workflow_permissions": "write", "can_approve_pull_request_reviews": true});
    hub.sets("actions/permissions/workflow", 200, written);
    let ran = project.xtask(&["doctor", "--github"]);
    ran.assert_code(10);
    assert_eq!(rules_of(&ran, BRANCH), ["required-check", "reviews", "force-pushes", "code-owner-reviews"]);
    assert_eq!(rules_of(&ran, ENVIRONMENT), ["deployment-branches", "reviewers", "prevent-self-review"]);
    assert_eq!(rules_of(&ran, WORKFLOWS), ["workflow-permissions", "approval-by-workflows"]);
    let told = &ran.gate(BRANCH).findings[1].message;
    let page = format!("{}/{REPOSITORY}/settings/branches", hub.url());
    assert_eq!(told, &format!("`main`: reviews: expected at least 1, found 0; change it at {page}"));

    right(&hub);
    hub.sets("environments", 200, environments(reviewers(false), true));
    hub.sets("branches/main", 404, message("Branch not found"));
    let ran = project.xtask(&["doctor", "--github"]);
    assert_eq!(rules_of(ran.assert_code(10), ENVIRONMENT), ["prevent-self-review"]);
    assert_eq!(ran.gate(BRANCH).findings[0].message, "there is no branch `main`; push it");
    right(&hub);
    hub.sets("codeowners/errors", 404, message("Not Found"));
    hub.sets("environments", 200, json!({"total_count": 0, "environments": []}));
    assert_eq!(rules_of(&project.xtask(&["doctor", "--github"]), BRANCH), ["code-owner-errors"]);
    assert_eq!(rules_of(&project.xtask(&["doctor", "--github"]), ENVIRONMENT), ["missing"]);
}

#[test]
fn what_cannot_be_read_is_no_pass() {
    let (mut project, hub) = world();
    // The token sees rulesets and not the classic protection: enough where the rulesets say it all.
    hub.sets("branches/main/protection", 403, message("Resource not accessible by integration"));
    hub.sets("rules/branches/main", 200, rules());
    project.xtask(&["doctor", "--github"]).assert_code(0);
    hub.sets("rules/branches/main", 200, json!([{"type": "deletion"}]));
    hub.sets("actions/permissions/workflow", 403, message("Resource not accessible by integration"));
    let ran = project.xtask(&["doctor", "--github"]);
    ran.assert_code(20);
    assert_eq!(ran.red(), [BRANCH, WORKFLOWS]);
    let gate = ran.gate(BRANCH);
    assert!(
        gate.reason.starts_with("the classic protection of `main` cannot be read, and no ruleset sets required-check")
    );
    assert!(gate.fix.contains("Administration: read"), "{}", gate.fix);

    right(&hub);
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{";
    hub.sets("environments", 200, json!({"message": "no list"}));
    let ran = project.xtask(&["doctor", "--github"]);
    assert_eq!(ran.assert_code(20).red(), [ENVIRONMENT]);
    hub.fails((0..3).map(|_| Fault::Raw(half.to_owned())));
    let ran = project.xtask(&["doctor", "--github"]);
    assert!(ran.assert_code(20).red().len() == 3, "{:?}", ran.red());

    project.set("GITHUB_TOKEN", "ghp_wrong-one");
    let ran = project.xtask(&["doctor", "--github"]);
    assert!(ran.assert_code(20).gate(WORKFLOWS).reason.contains("(401): Bad credentials"));
    project.set("GITHUB_TOKEN", "");
    let ran = project.xtask(&["doctor", "--github"]);
    assert_eq!(ran.assert_code(20).gate(WORKFLOWS).reason, "neither GITHUB_TOKEN nor GH_TOKEN is set");
    project.set("GH_TOKEN", TOKEN);
    project.set("GITHUB_REPOSITORY", "");
    let ran = project.xtask(&["doctor", "--github"]);
    assert!(ran.assert_code(20).gate(WORKFLOWS).reason.contains("git has no remote `origin`"));
    project.git(&["remote", "add", "origin", &format!("{}/{REPOSITORY}.git", hub.url())]);
    right(&hub);
    project.xtask(&["doctor", "--github"]).assert_code(0);
}

#[test]
fn without_the_table_there_is_nothing_to_compare_with() {
    let (project, _hub) = world();
    project.write("xtask/config/pipeline.toml", CONFIG.split("[github]").next().unwrap());
    let ran = project.xtask(&["doctor", "--github"]);
    assert!(ran.code == 2 && ran.stderr.contains("pipeline.toml declares no [github]"), "{}", ran.stderr);
}

#[test]
fn our_required_check_is_a_job_of_our_workflow() {
    let config = Config::load(&repository().join("xtask/config")).unwrap();
    let expected = config.github.unwrap();
    let workflow = std::fs::read_to_string(repository().join(".github/workflows/forgetm-ci.yml")).unwrap();
    let job = workflow.split("\n  required:\n").nth(1).unwrap();
    assert_eq!(job.lines().next().unwrap().trim(), format!("name: {}", expected.check));
    assert_eq!(expected.branches, ["main", "develop"]);
    assert!(workflow.contains("branches: [main, develop]"));
    let production = &expected.environments["production"];
    assert!(production.reviewers >= 1 && production.prevent_self_review && production.branches == ["main"]);
    assert_eq!(expected.environments["staging"].branches, ["develop"]);
}
