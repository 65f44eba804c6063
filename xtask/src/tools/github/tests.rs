//! The client against a GitHub on loopback: what is written, read, borne and refused. No test waits.

use std::path::Path;
use std::pin::Pin;
use std::sync::Mutex;

use serde_json::json;
use time::OffsetDateTime;

use super::hub::{Fault, Hub, REPOSITORY, TOKEN, message};
use super::*;
use crate::context::testing;
use crate::tools::cancel;

/// A clock that goes on by what is slept.
#[derive(Debug, Default)]
struct Slept(Mutex<Vec<u64>>);

impl Wait for Slept {
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH
    }

    fn sleep(&self, time: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.0.lock().unwrap().push(time.as_secs());
        Box::pin(std::future::ready(()))
    }
}

struct World {
    hub: Hub,
    slept: Arc<Slept>,
    github: GitHub,
    canceller: cancel::Canceller,
}

impl World {
    fn new() -> Self {
        Self::with(TOKEN)
    }

    fn with(token: &str) -> Self {
        let (hub, slept) = (Hub::start(), Arc::new(Slept::default()));
        let mut ctx = testing::ctx(Path::new("/repo"));
        ctx.env.insert("GH_TOKEN".to_owned(), token.to_owned());
        let (canceller, cancel) = cancel::pair();
        let repository = Repository::parse(REPOSITORY).unwrap();
        let github = GitHub::new(&ctx, &hub.url(), repository, cancel, slept.clone()).unwrap();
        Self { hub, slept, github, canceller }
    }

    fn slept(&self) -> Vec<u64> {
        std::mem::take(&mut self.slept.0.lock().unwrap())
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn limited(header: &'static str, value: &str) -> Fault {
    let remaining = ("x-ratelimit-remaining", "0".to_owned());
    Fault::Instead(403, vec![remaining, (header, value.to_owned())], message("API rate limit exceeded"))
}

#[test]
fn every_request_says_which_version_it_speaks_and_the_token_is_shown_nowhere() {
    runtime().block_on(async {
        let world = World::new();
        world.hub.sets("", 200, json!({"full_name": REPOSITORY}));
        let found: Value = world.github.get("").await.unwrap();
        assert_eq!(found["full_name"], REPOSITORY);
        let asked = world.hub.requests().remove(0);
        for (name, value) in [
            ("accept", "application/vnd.github+json"),
            ("x-github-api-version", VERSION),
            ("authorization", &format!("Bearer {TOKEN}")),
        ] {
            assert_eq!(asked.headers.get(name).map(String::as_str), Some(value));
        }
        assert!(asked.headers["user-agent"].starts_with("xtask/"));
        // A server that says the token back, with a sequence for the terminal.
        world.hub.sets("odd", 422, message(&format!("\u{1b}[31m{TOKEN}\nis wrong")));
        let refused = world.github.get::<Value>("odd").await.unwrap_err();
        assert_eq!(refused.to_string(), "GitHub refuses `GET odd` (422): *** is wrong");
        assert!(!format!("{:?} {refused:?}", world.github).contains(TOKEN));
    });
}

#[test]
fn a_token_is_needed_and_goes_to_no_plain_address() {
    let open = |base: &str, token: &str| {
        let mut ctx = testing::ctx(Path::new("/repo"));
        ctx.env.insert("GITHUB_TOKEN".to_owned(), token.to_owned());
        let repository = Repository::parse(REPOSITORY).unwrap();
        GitHub::new(&ctx, base, repository, cancel::pair().1, Arc::new(Clock)).map(|_| ())
    };
    assert_eq!(open(API, "t"), Ok(()));
    assert_eq!(open(API, " "), Err(Trouble::NoToken));
    assert_eq!(open("http://api.github.com", "t"), Err(Trouble::Address("http://api.github.com".to_owned())));
}

#[test]
fn all_pages_are_read_and_no_page_of_another_server() {
    runtime().block_on(async {
        let world = World::new();
        world.hub.pages(2);
        world.hub.sets("list", 200, json!([1, 2, 3, 4, 5]));
        world.hub.sets("within", 200, json!({"total_count": 3, "items": [1, 2, 3]}));
        assert_eq!(world.github.get_all::<u64>("list", "").await.unwrap(), [1, 2, 3, 4, 5]);
        assert_eq!(world.github.get_all::<u64>("within?a=b", "items").await.unwrap(), [1, 2, 3]);
        let asked = world.hub.requests();
        assert_eq!(asked.len(), 5);
        assert!(asked[3..].iter().all(|one| one.query["a"] == "b" && one.query["per_page"] == "100"));
        let link = ("link", "<https://evil.example/x>; rel=\"next\"".to_owned());
        world.hub.fails([Fault::Instead(200, vec![link], json!([1]))]);
        let elsewhere = world.github.get_all::<u64>("list", "").await.unwrap_err();
        assert!(elsewhere.to_string().ends_with("its next page lies on another server"), "{elsewhere}");
        // A list that is none is no empty list.
        assert!(matches!(world.github.get_all::<u64>("within", "").await, Err(Trouble::Unreadable { .. })));
        assert!(matches!(world.github.get_all::<u64>("within", "other").await, Err(Trouble::Unreadable { .. })));
    });
}

#[test]
fn limits_are_waited_for_and_not_for_ever() {
    runtime().block_on(async {
        let world = World::new();
        world.hub.sets("x", 200, json!(1));
        for (faults, slept) in [
            (vec![limited("x-ratelimit-reset", "20")], vec![21]),
            (vec![limited("retry-after", "5"), limited("retry-after", "6")], vec![5, 6]),
            (vec![Fault::Instead(429, vec![], message("Too many requests"))], vec![60]),
            (vec![Fault::Instead(403, vec![], message("You have exceeded a secondary rate limit."))], vec![60]),
            (vec![Fault::Instead(502, vec![], Value::Null), Fault::Lost], vec![1, 2]),
            (vec![Fault::Raw("HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{".to_owned())], vec![1]),
        ] {
            world.hub.fails(faults.clone());
            assert_eq!(world.github.get::<u64>("x").await, Ok(1), "{faults:?}");
            assert_eq!(world.slept(), slept, "{faults:?}");
        }
        // A limit until the next hour is told and not waited for.
        world.hub.fails([limited("x-ratelimit-reset", "3600")]);
        let told = world.github.get::<u64>("x").await.unwrap_err();
        assert_eq!(told.to_string(), "GitHub's limit of requests is used up until 1970-01-01T01:00:00Z");
        assert_eq!(world.slept(), [0; 0]);
        world.hub.asked();
        world.hub.fails((0..5).map(|_| Fault::Lost));
        assert!(matches!(world.github.get::<u64>("x").await, Err(Trouble::Lost { .. })));
        assert_eq!((world.slept(), world.hub.asked().len()), (vec![1, 2, 4, 8], 5));
    });
}

#[test]
fn what_may_have_been_done_is_not_done_twice_unless_it_does_no_harm() {
    runtime().block_on(async {
        let world = World::new();
        world.hub.fails([Fault::Lost]);
        let lost = world.github.post("things", &json!({})).await;
        assert!(matches!(lost, Err(Trouble::Lost { .. })), "{lost:?}");
        world.hub.fails([Fault::Instead(502, vec![], Value::Null)]);
        assert!(matches!(world.github.post("things", &json!({})).await, Err(Trouble::Lost { .. })));
        assert_eq!((world.hub.asked().len(), world.slept()), (2, vec![]));
        // What a limit refused was not done.
        world.hub.fails([limited("retry-after", "3")]);
        assert!(matches!(world.github.post("things", &json!({})).await, Err(Trouble::NotFound { .. })));
        assert_eq!(world.slept(), [3]);
        world.hub.fails([Fault::Lost]);
        assert!(matches!(world.github.patch("things/1", &json!({})).await, Err(Trouble::NotFound { .. })));
        assert_eq!(world.slept(), [1]);
    });
}

#[test]
fn who_is_not_let_in_is_told_what_to_do() {
    runtime().block_on(async {
        let wrong = World::with("ghp_another-token");
        let refused = wrong.github.get::<Value>("x").await.unwrap_err();
        assert_eq!(refused, Trouble::Unauthorized("Bad credentials".to_owned()));
        assert!(refused.way_out().contains("new token"), "{}", refused.way_out());
        let world = World::new();
        world.hub.sets("x", 403, message("Resource not accessible by integration"));
        let refused = world.github.get::<Value>("x").await.unwrap_err();
        assert!(matches!(refused, Trouble::Forbidden { .. }) && refused.way_out().contains("permission"));
        assert!(matches!(world.github.get::<Value>("absent").await, Err(Trouble::NotFound { .. })));
        let nobody = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            format!("http://{}", listener.local_addr().unwrap())
        };
        let mut ctx = testing::ctx(Path::new("/repo"));
        ctx.env.insert("GITHUB_TOKEN".to_owned(), TOKEN.to_owned());
        let repository = Repository::parse(REPOSITORY).unwrap();
        let github = GitHub::new(&ctx, &nobody, repository, cancel::pair().1, world.slept.clone()).unwrap();
        assert!(matches!(github.get::<Value>("x").await, Err(Trouble::NotReached(_))));
        assert_eq!(world.slept(), [1, 2, 4, 8]);
        // Whoever stops us is heard.
        world.canceller.cancel();
        assert_eq!(world.github.get::<Value>("x").await, Err(Trouble::Interrupted));
    });
}

#[test]
fn a_repository_that_has_moved_is_followed_with_the_same_method_and_to_no_other_server() {
    runtime().block_on(async {
        let world = World::new();
        let to = |place: String| Fault::Instead(307, vec![("location", place)], message("Moved"));
        world.hub.fails([to(format!("{}/repos/{REPOSITORY}/git/tags", world.hub.url()))]);
        let made = world.github.post("old", &json!({"tag": "t", "object": "s", "type": "commit"})).await.unwrap();
        assert_eq!(made["tag"], "t");
        assert_eq!(world.hub.asked(), ["POST old", "POST git/tags"]);
        world.hub.fails([to("https://evil.example/repos/x".to_owned())]);
        let elsewhere = world.github.get::<Value>("x").await.unwrap_err();
        assert!(elsewhere.to_string().ends_with("it has moved to another server"), "{elsewhere}");
    });
}

#[test]
fn a_tag_is_set_once_and_never_moved() {
    runtime().block_on(async {
        let world = World::new();
        let (github, name) = (&world.github, "deploy/production/20261124T181500Z-3f2a");
        assert_eq!(github.create_tag(name, "aaa", "what happened").await, Ok(Tagged::New));
        let tag = world.hub.tag(name).unwrap();
        assert_eq!((&tag["object"]["sha"], &tag["message"]), (&json!("aaa"), &json!("what happened")));
        assert_eq!(github.create_tag(name, "aaa", "again").await, Ok(Tagged::Already));
        let taken = github.create_tag(name, "bbb", "other").await.unwrap_err();
        assert_eq!(taken.to_string(), format!("the tag `{name}` names the commit aaa, not bbb"));
        assert_eq!(world.hub.tag(name).unwrap()["message"], "what happened");
        world.hub.has_tag("light", "aaa", false);
        assert_eq!(github.create_tag("light", "aaa", "").await, Ok(Tagged::Already));
        assert!(matches!(github.create_tag("light", "b", "").await, Err(Trouble::TagTaken { .. })));
        assert!(matches!(github.create_tag("a b", "aaa", "").await, Err(Trouble::TagName(_))));

        // The answer to what made the reference is lost: the second try finds it made.
        let ok = |body: Value| Fault::Instead(if body.is_null() { 404 } else { 201 }, vec![], body);
        world.hub.fails([ok(Value::Null), ok(json!({"sha": "object-0"})), Fault::DoneAndLost]);
        assert_eq!(github.create_tag("lost", "aaa", "").await, Ok(Tagged::Already));
        assert_eq!(world.slept(), [1]);
        // Somebody else was faster, with another commit.
        world.hub.has_tag("raced", "ccc", true);
        world.hub.fails([ok(Value::Null)]);
        assert!(matches!(github.create_tag("raced", "aaa", "").await, Err(Trouble::TagTaken { .. })));
        // A refusal for another reason is no success.
        world.hub.fails([
            ok(Value::Null),
            ok(json!({"sha": "o"})),
            Fault::Instead(422, vec![], message("Object does not exist")),
        ]);
        assert!(matches!(github.create_tag("absent", "aaa", "").await, Err(Trouble::Refused { status: 422, .. })));
    });
}

#[test]
fn a_release_has_one_deployment_whatever_is_lost() {
    runtime().block_on(async {
        let world = World::new();
        let what = |release| Deployment {
            environment: "production",
            sha: "aaa",
            digest: "sha256:0",
            release,
            production: true,
        };
        let first = world.github.deployment(&what("r1")).await.unwrap();
        assert_eq!(world.github.deployment(&what("r1")).await, Ok(first));
        world.hub.fails([Fault::Instead(200, vec![], json!([])), Fault::DoneAndLost]);
        let second = world.github.deployment(&what("r2")).await.unwrap();
        assert_ne!(first, second);
        let made = world.hub.deployments();
        assert_eq!(made.len(), 2);
        assert_eq!((&made[0]["required_contexts"], &made[0]["auto_merge"]), (&json!([]), &json!(false)));
        assert_eq!(made[0]["payload"], json!({"digest": "sha256:0", "release": "r1"}));
        // A server that loses each answer and does nothing.
        let nothing = || Fault::Instead(200, vec![], json!([]));
        world.hub.fails([nothing(), Fault::Lost, nothing(), Fault::Lost, nothing(), Fault::Lost]);
        assert!(matches!(world.github.deployment(&what("r3")).await, Err(Trouble::Lost { .. })));

        let status =
            Status { state: State::Success, log_url: "https://x", environment_url: "", description: &"ä".repeat(200) };
        world.github.deployment_status(second, &status).await.unwrap();
        let (id, told) = world.hub.statuses().remove(0);
        assert_eq!((id, &told["state"], &told["log_url"]), (second, &json!("success"), &json!("https://x")));
        assert_eq!(told["description"].as_str().unwrap().chars().count(), 140);
        assert!(told.get("environment_url").is_none());
        assert!(matches!(world.github.deployment_status(1, &status).await, Err(Trouble::NotFound { .. })));
    });
}

#[test]
fn only_who_approved_this_environment_is_an_approver() {
    runtime().block_on(async {
        let world = World::new();
        let review = |state: &str, login: &str, environment: &str| {
            json!({"state": state, "comment": "", "user": {"login": login}, "environments": [{"id": 1, "name": environment}]})
        };
        let reviews = [
            review("approved", "ada", "production"),
            review("rejected", "grace", "production"),
            review("approved", "joan", "staging"),
        ];
        world.hub.sets("actions/runs/7/approvals", 200, json!(reviews));
        assert_eq!(world.github.approvers("7", "production").await.unwrap(), ["ada"]);
        assert!(matches!(world.github.approvers("8", "production").await, Err(Trouble::NotFound { .. })));
    });
}

#[test]
fn settings_are_read_whichever_way_they_are_set() {
    runtime().block_on(async {
        let world = World::new();
        let hub = &world.hub;
        hub.pages(1);
        hub.sets("branches/main", 200, json!({"name": "main"}));
        hub.sets("branches/main/protection", 404, message("Branch not protected"));
        hub.sets("rules/branches/main", 200, json!([{"type": "deletion"}, {"type": "non_fast_forward"}]));
        let main = world.github.branch_protection("main").await.unwrap();
        assert_eq!((&main.classic, main.rules.len()), (&Classic::Unprotected, 2));
        hub.sets("branches/main/protection", 404, message("Not Found"));
        assert!(matches!(world.github.branch_protection("main").await.unwrap().classic, Classic::Hidden(_)));
        hub.sets("branches/main/protection", 200, json!({"allow_force_pushes": {"enabled": true}}));
        assert!(matches!(world.github.branch_protection("main").await.unwrap().classic, Classic::Protected(_)));
        hub.sets("branches/release%2F1", 404, message("Branch not found"));
        assert!(matches!(world.github.branch_protection("release/1").await, Err(Trouble::NotFound { .. })));

        assert_eq!(world.github.codeowners_errors("main").await, Ok(None));
        hub.sets("codeowners/errors", 200, json!({"errors": [{"line": 3, "column": 1, "kind": "Unknown owner", "path": ".github/CODEOWNERS", "message": "x"}]}));
        let errors = world.github.codeowners_errors("main").await.unwrap().unwrap();
        assert_eq!(errors, [".github/CODEOWNERS:3: Unknown owner"]);

        let reviewers = json!([
            {"type": "User", "reviewer": {"login": "ada"}},
            {"type": "Team", "reviewer": {"slug": "release", "name": "Release"}},
        ]);
        hub.sets("environments", 200, json!({"total_count": 3, "environments": [
            {"name": "production", "protection_rules": [
                {"type": "wait_timer", "wait_timer": 30},
                {"type": "required_reviewers", "prevent_self_review": true, "reviewers": reviewers},
                {"type": "branch_policy"},
            ], "deployment_branch_policy": {"protected_branches": false, "custom_branch_policies": true}},
            {"name": "staging", "protection_rules": [], "deployment_branch_policy": {"protected_branches": true, "custom_branch_policies": false}},
            {"name": "open", "protection_rules": [], "deployment_branch_policy": null},
        ]}));
        hub.sets("environments/production/deployment-branch-policies", 200, json!({"total_count": 2, "branch_policies": [
            {"id": 1, "name": "main", "type": "branch"}, {"id": 2, "name": "v*", "type": "tag"},
        ]}));
        let found = world.github.environments().await.unwrap();
        assert_eq!(found.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["production", "staging", "open"]);
        assert_eq!(found[0].reviewers, ["ada", "team/release"]);
        assert!(found[0].prevents_self_review && !found[1].prevents_self_review);
        let named = Branches::Named(["main".to_owned(), "tag v*".to_owned()].into());
        assert_eq!([&found[0].branches, &found[1].branches, &found[2].branches], [&named, &Branches::Protected, &Branches::All]);
        hub.sets("actions/permissions/workflow", 200, json!({"default_workflow_permissions": "write", "can_approve_pull_request_reviews": true}));
        assert_eq!(world.github.workflow_permissions().await.unwrap().default_workflow_permissions, "write");
    });
}

#[test]
fn the_last_runs_of_a_branch_are_read_and_made_harmless() {
    runtime().block_on(async {
        let world = World::new();
        let run = json!({
            "name": "release\u{1b}[31m", "head_sha": "c0ffee", "event": "push", "status": "in_progress", "conclusion": null,
            "run_started_at": "2026-03-01T10:00:00Z", "html_url": "https://github.example/o/r/actions/runs/1", "id": 1,
        });
        world.hub.sets("actions/runs", 200, json!({"total_count": 1, "workflow_runs": [run]}));
        let runs = world.github.runs("feature/a&b", 5).await.unwrap();
        let found: Vec<_> = runs.iter().map(|run| [&run.name, &run.status, &run.conclusion].map(String::as_str)).collect();
        assert_eq!(found, [["release", "in_progress", ""]]);
        let asked = world.hub.requests().remove(0);
        assert_eq!(asked.query["branch"], "feature%2Fa%26b");
    });
}

#[test]
fn an_issue_and_a_comment_are_there_once_whatever_is_lost() {
    runtime().block_on(async {
        let World { hub, github, .. } = &World::new();
        let labels = ["a b c".to_owned(), "x".to_owned()];
        let new = NewIssue { title: "t", body: "mine", labels: &labels };
        let is_mine = |issue: &Issue| issue.body == "mine";
        hub.fails([Fault::DoneAndLost]);
        assert_eq!(github.create_issue(&new, "a b c", is_mine).await, Ok(None));
        hub.fails([Fault::Lost]);
        hub.edits(1, |issue| issue["state"] = json!("closed"));
        let made = github.create_issue(&new, "a b c", is_mine).await.unwrap().unwrap();
        assert_eq!((made.number, made.is_open, made.is_trusted, made.has("X")), (2, true, true, true));
        // Nothing is made, and nothing is told.
        let nothing = || Fault::Instead(200, vec![], json!([]));
        hub.fails([Fault::Lost, nothing(), Fault::Lost, nothing(), Fault::Lost, nothing()]);
        assert!(matches!(github.create_issue(&new, "x", |_| false).await, Err(Trouble::Lost { .. })));
        assert_eq!(hub.issues().len(), 2);

        hub.fails([Fault::DoneAndLost]);
        github.comment(2, "said", |comment| comment.body == "said").await.unwrap();
        hub.fails([Fault::Lost]);
        github.comment(2, "more", |comment| comment.body == "more").await.unwrap();
        assert_eq!(hub.comments(2), ["said", "more"]);
        let all = github.comments(2).await.unwrap();
        assert!(all[0].id < all[1].id && all[0].is_trusted && all[0].created.is_some());
        github.delete_comment(all[0].id).await.unwrap();
        github.delete_comment(all[0].id).await.unwrap();
        assert_eq!(hub.comments(2), ["more"]);
    });
}

#[test]
fn issues_are_listed_over_all_pages_without_pull_requests_and_each_once() {
    runtime().block_on(async {
        let World { hub, github, .. } = &World::new();
        hub.pages(2);
        let labels = json!([{"name": "Incident"}, "plain"]);
        for state in ["open", "open", "closed", "open", "open"] {
            hub.has_issue(json!({"state": state, "labels": [{"name": "Incident"}]}));
        }
        hub.has_issue(json!({"labels": [{"name": "incident"}], "pull_request": {"url": "x"}}));
        let numbers = |issues: &[Issue]| issues.iter().map(|issue| issue.number).collect::<Vec<_>>();
        assert_eq!(numbers(&github.open_issues("incident").await.unwrap()), [1, 2, 4, 5]);
        let one = json!({"number": 9, "labels": labels, "state": "open", "body": null, "author_association": "OWNER"});
        hub.fails([Fault::Instead(200, vec![], json!([one, one]))]);
        let found = github.open_issues("incident").await.unwrap();
        assert_eq!(
            (found.len(), found[0].has("incident"), found[0].has("plain"), found[0].is_trusted),
            (1, true, true, true)
        );
    });
}

#[test]
fn labels_and_people_come_and_go_one_by_one() {
    runtime().block_on(async {
        let World { hub, github, .. } = &World::new();
        let number = hub.has_issue(json!({"labels": [{"name": "theirs"}, {"name": "severity/low"}]}));
        github.add_labels(number, &["severity/high".to_owned()]).await.unwrap();
        github.remove_label(number, "severity/low").await.unwrap();
        github.remove_label(number, "severity/low").await.unwrap();
        let left_out = github.assign(number, &["Ada".to_owned(), "nobody".to_owned()]).await.unwrap();
        assert_eq!(left_out, ["nobody"]);
        let issue = github.issue(number).await.unwrap();
        assert_eq!(issue.labels.into_iter().collect::<Vec<_>>(), ["severity/high", "theirs"]);
        github.edit_issue(number, "new", None).await.unwrap();
        assert_eq!((&hub.issue(number)["body"], &hub.issue(number)["state"]), (&json!("new"), &json!("open")));
        github.close_issue(number, Reason::NotPlanned).await.unwrap();
        let closed = hub.issue(number);
        assert_eq!(
            [&closed["state"], &closed["state_reason"], &closed["body"]],
            [&json!("closed"), &json!("not_planned"), &json!("new")]
        );
        hub.disables_issues(true);
        let refused = github.open_issues("x").await.unwrap_err();
        assert_eq!(refused.to_string(), "GitHub refuses `GET issues` (410): Issues are disabled for this repo");
    });
}
