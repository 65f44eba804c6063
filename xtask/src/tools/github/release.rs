//! What a release leaves on GitHub: a tag, and a deployment with its states.
//!
//! Each can be done again by a release that was killed and goes on: it finds what is there.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{GitHub, Trouble};
use crate::text::percent_encoded;

/// How often it is looked for a deployment that GitHub may have made without telling.
const LOOKS: usize = 3;

/// How many tags of tags are followed.
const DEEPEST: usize = 4;

/// The longest description of a state, in characters, as GitHub's documentation has it.
const LONGEST: usize = 140;

/// What became of a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tagged {
    /// It is there now.
    New,
    /// It was there, and names the same commit.
    Already,
}

/// What is brought where.
#[derive(Clone, Copy, Debug)]
pub struct Deployment<'a> {
    /// The environment.
    pub environment: &'a str,
    /// The commit.
    pub sha: &'a str,
    /// The digest of the image.
    pub digest: &'a str,
    /// The id of the release, by which its deployment is known again.
    pub release: &'a str,
    /// Whether users see it.
    pub production: bool,
}

/// How a deployment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It goes on.
    InProgress,
    /// The release was verified.
    Success,
    /// It was not, and something else serves.
    Failure,
    /// It could not be told.
    Error,
    /// Another one has taken its place.
    Inactive,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Error => "error",
            Self::Inactive => "inactive",
        }
    }
}

/// A state with what is said about it.
#[derive(Clone, Copy, Debug)]
pub struct Status<'a> {
    /// How it stands.
    pub state: State,
    /// The run of the workflow; empty where there is none.
    pub log_url: &'a str,
    /// Where users find it; empty where nobody does.
    pub environment_url: &'a str,
    /// In words, of which the first 140 characters count.
    pub description: &'a str,
}

#[derive(Debug, Deserialize)]
struct Ref {
    object: Object,
}

#[derive(Debug, Deserialize)]
struct Object {
    #[serde(rename = "type")]
    kind: String,
    sha: String,
}

#[derive(Debug, Deserialize)]
struct Deployed {
    id: u64,
    #[serde(default)]
    payload: Value,
}

/// One review of a run that waited for an environment.
#[derive(Debug, Deserialize)]
struct Review {
    state: String,
    user: User,
    environments: Vec<Named>,
}

#[derive(Debug, Deserialize)]
struct User {
    login: String,
}

#[derive(Debug, Deserialize)]
struct Named {
    name: String,
}

impl GitHub {
    /// Who approved that a run of a workflow goes on to an environment; `run` is `GITHUB_RUN_ID`.
    pub async fn approvers(&self, run: &str, environment: &str) -> Result<Vec<String>, Trouble> {
        let path = format!("actions/runs/{}/approvals", percent_encoded(run, ""));
        let reviews: Vec<Review> = self.get(&path).await?;
        let is_of = |review: &Review| review.environments.iter().any(|one| one.name == environment);
        let approved = reviews.into_iter().filter(|review| review.state == "approved" && is_of(review));
        Ok(approved.map(|review| self.harmless(&review.user.login)).collect())
    }

    /// Sets an annotated tag. One that is there and names the same commit is as good; another one is
    /// [`Trouble::TagTaken`].
    pub async fn create_tag(&self, name: &str, sha: &str, message: &str) -> Result<Tagged, Trouble> {
        if !is_tag(name) {
            return Err(Trouble::TagName(self.harmless(name)));
        }
        if self.is_tagged(name, sha).await? {
            return Ok(Tagged::Already);
        }
        // Nothing names the object yet, so that a second one does no harm.
        let tag = json!({"tag": name, "message": message, "object": sha, "type": "commit"});
        let made = self.post_again("git/tags", &tag).await?;
        let Some(object) = made["sha"].as_str() else {
            let why = "it names no object".to_owned();
            return Err(Trouble::Unreadable { asked: "POST git/tags".to_owned(), why });
        };
        let named = self.post_again("git/refs", &json!({"ref": format!("refs/tags/{name}"), "sha": object})).await;
        match named {
            Ok(_) => Ok(Tagged::New),
            // Somebody was faster, or the answer to our first try was lost.
            Err(Trouble::Refused { status: 422, .. }) if self.is_tagged(name, sha).await? => Ok(Tagged::Already),
            Err(trouble) => Err(trouble),
        }
    }

    /// Whether the tag is there and names that commit; an error where it names another one.
    async fn is_tagged(&self, name: &str, sha: &str) -> Result<bool, Trouble> {
        let found: Ref = match self.get(&format!("git/ref/tags/{}", percent_encoded(name, "/"))).await {
            Ok(found) => found,
            Err(Trouble::NotFound { .. }) => return Ok(false),
            Err(trouble) => return Err(trouble),
        };
        let mut object = found.object;
        for _ in 0..DEEPEST {
            if object.kind != "tag" {
                break;
            }
            let tag: Ref = self.get(&format!("git/tags/{}", percent_encoded(&object.sha, ""))).await?;
            object = tag.object;
        }
        if object.sha == sha {
            return Ok(true);
        }
        let found = format!("the {} {}", object.kind, object.sha);
        Err(Trouble::TagTaken { name: name.to_owned(), found: self.harmless(&found), wanted: sha.to_owned() })
    }

    /// Tells GitHub that a release begins, and gives the id of its deployment. The same release has one deployment,
    /// however often it is told.
    pub async fn deployment(&self, what: &Deployment<'_>) -> Result<u64, Trouble> {
        let body = json!({
            "ref": what.sha, "task": "deploy", "environment": what.environment,
            // What has to be green before a release is decided by the release, and nothing is merged into anything.
            "auto_merge": false, "required_contexts": [],
            "payload": {"digest": what.digest, "release": what.release},
            "description": "", "transient_environment": false, "production_environment": what.production,
        });
        let mut lost = None;
        for _ in 0..LOOKS {
            if let Some(id) = self.deployed(what).await? {
                return Ok(id);
            }
            match self.post("deployments", &body).await {
                Ok(made) => {
                    return made["id"].as_u64().ok_or_else(|| Trouble::Unreadable {
                        asked: "POST deployments".to_owned(),
                        why: "it names no id".to_owned(),
                    });
                }
                Err(trouble @ Trouble::Lost { .. }) => lost = Some(trouble),
                Err(trouble) => return Err(trouble),
            }
        }
        Err(lost.unwrap_or(Trouble::Interrupted))
    }

    /// The deployment of a release, where there is one.
    async fn deployed(&self, what: &Deployment<'_>) -> Result<Option<u64>, Trouble> {
        let encoded = |text| percent_encoded(text, "");
        let (sha, environment) = (encoded(what.sha), encoded(what.environment));
        let path = format!("deployments?sha={sha}&environment={environment}&task=deploy");
        let all: Vec<Deployed> = self.get_all(&path, "").await?;
        Ok(all.into_iter().find(|one| one.payload["release"] == *what.release).map(|one| one.id))
    }

    /// Tells how a deployment stands; the same told twice says nothing else. Earlier deployments of the environment
    /// become inactive with a success, which GitHub does by itself.
    pub async fn deployment_status(&self, id: u64, status: &Status<'_>) -> Result<(), Trouble> {
        let description: String = status.description.chars().take(LONGEST).collect();
        let mut body = json!({"state": status.state.name(), "description": description, "auto_inactive": true});
        for (name, url) in [("log_url", status.log_url), ("environment_url", status.environment_url)] {
            if !url.is_empty() {
                body[name] = json!(url);
            }
        }
        self.post_again(&format!("deployments/{id}/statuses"), &body).await.map(|_| ())
    }
}

/// What git takes for the name of a tag, `git help check-ref-format`.
fn is_tag(name: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    let is_plain = |c: char| !c.is_control() && !" ~^:?*[\\".contains(c);
    name.chars().all(is_plain)
        && name.split('/').all(is_part)
        && !name.starts_with('-')
        && !name.ends_with('.')
        && !name.contains("..")
        && !name.contains("@{")
        && name != "@"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_that_git_takes() {
        for name in ["v1", "deploy/production/20261124T181500Z-3f2a", "a.b"] {
            assert!(is_tag(name), "{name}");
        }
        for name in [
            "", "-v1", "a b", "a..b", "a/", "/a", "a//b", "a.lock", "a/.b", "a~1", "a^", "a:b", "a?", "a*", "@",
            "a@{b", "a\u{7}", "a.",
        ] {
            assert!(!is_tag(name), "{name}");
        }
    }
}
