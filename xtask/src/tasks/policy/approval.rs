//! Whether the code owners have approved a pull request, as GitHub decides it.
//!
//! GitHub's `reviewDecision` is `APPROVED` only where the branch's protection asks for reviews, and then counts
//! the owners that CODEOWNERS names; with no such protection it is null, and nothing is approved.

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::json;

use crate::context::Ctx;
use crate::engine::session::Session;
use crate::tools::download;

const QUERY: &str = "query($owner: String!, $name: String!, $number: Int!) {\
                     repository(owner: $owner, name: $name) { pullRequest(number: $number) { reviewDecision headRefOid } } }";

/// The pull request that this run is for.
#[derive(Debug, Deserialize)]
struct Event {
    pull_request: Option<PullRequest>,
}

#[derive(Debug, Deserialize)]
struct PullRequest {
    number: u64,
    head: Head,
}

#[derive(Debug, Deserialize)]
struct Head {
    sha: String,
}

#[derive(Debug, Deserialize)]
struct Answer {
    data: Data,
}

#[derive(Debug, Deserialize)]
struct Data {
    repository: Repository,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Repository {
    pull_request: Reviewed,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reviewed {
    review_decision: Option<String>,
    head_ref_oid: String,
}

/// Who approved, in words; `None` outside of a pull request, and where it is not approved.
///
/// Not being able to ask is no approval either; the gate's log says why.
pub async fn find(session: &Session) -> Result<Option<String>> {
    let ctx = session.ctx();
    let Some((pull_request, repository, token)) = asked_for(ctx)? else { return Ok(None) };
    let api = ctx.var("GITHUB_GRAPHQL_URL").unwrap_or("https://api.github.com/graphql");
    let Some((owner, name)) = repository.split_once('/') else { return Ok(None) };
    let variables = json!({"owner": owner, "name": name, "number": pull_request.number});
    let request =
        download::client()?.post(api).bearer_auth(token).json(&json!({"query": QUERY, "variables": variables}));
    let answer = async { anyhow::Ok(request.send().await?.error_for_status()?.json::<Answer>().await?) }.await;
    match answer {
        Ok(answer) => Ok(approved(&pull_request, &answer)),
        Err(error) => {
            session.note(&format!("GitHub was asked for the approval of the code owners: {error:#}"))?;
            Ok(None)
        }
    }
}

fn asked_for(ctx: &Ctx) -> Result<Option<(PullRequest, String, String)>> {
    let (Some(path), Some(repository), Some(token)) =
        (ctx.var("GITHUB_EVENT_PATH"), ctx.var("GITHUB_REPOSITORY"), ctx.var("GITHUB_TOKEN"))
    else {
        return Ok(None);
    };
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read `{path}`"))?;
    let event: Event = serde_json::from_str(&text).with_context(|| format!("cannot read `{path}`"))?;
    Ok(event.pull_request.map(|pull_request| (pull_request, repository.to_owned(), token.to_owned())))
}

/// Only an approval of exactly what runs counts.
fn approved(asked: &PullRequest, answer: &Answer) -> Option<String> {
    let reviewed = &answer.data.repository.pull_request;
    let decided = reviewed.review_decision.as_deref() == Some("APPROVED") && reviewed.head_ref_oid == asked.head.sha;
    decided.then(|| format!("approved by the code owners (pull request {})", asked.number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_githubs_own_decision_on_this_commit_counts() {
        let event = r#"{"pull_request": {"number": 7, "head": {"sha": "aaa"}}}"#;
        let asked = serde_json::from_str::<Event>(event).unwrap().pull_request.unwrap();
        for (decision, head, is_approved) in [
            ("\"APPROVED\"", "aaa", true),
            ("\"APPROVED\"", "bbb", false),
            ("\"REVIEW_REQUIRED\"", "aaa", false),
            ("\"CHANGES_REQUESTED\"", "aaa", false),
            ("null", "aaa", false),
        ] {
            let text = format!(
                r#"{{"data": {{"repository": {{"pullRequest": {{"reviewDecision": {decision}, "headRefOid": "{head}"}}}}}}}}"#
            );
            let answer = serde_json::from_str(&text).unwrap();
            assert_eq!(approved(&asked, &answer).is_some(), is_approved, "{decision} {head}");
        }
    }
}
