//! Issues and their comments, <https://docs.github.com/rest/issues>: what is there, and what is written.
//!
//! What must not be there twice is looked for before it is made again. Texts are handed on as GitHub has them; whoever
//! shows one makes it harmless.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{GitHub, Trouble};
use crate::text::percent_encoded;

/// How often it is looked for what GitHub may have made without telling.
const LOOKS: usize = 3;

/// One issue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Issue {
    /// Its number in the repository.
    pub number: u64,
    /// Its page.
    pub url: String,
    /// Its text; empty where it has none.
    pub body: String,
    /// The names of its labels.
    pub labels: BTreeSet<String>,
    /// The logins of those who are assigned.
    pub assignees: BTreeSet<String>,
    /// Whether it is open.
    pub is_open: bool,
    /// Whether somebody wrote it who may write to the repository, or an app that its owners installed: a stranger can copy
    /// whatever a text says.
    pub is_trusted: bool,
}

/// One comment of an issue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comment {
    /// Its id. Of two the lower one was there first.
    pub id: u64,
    /// Its text.
    pub body: String,
    /// When it was written, by GitHub's clock.
    pub created: Option<OffsetDateTime>,
    /// As of an issue.
    pub is_trusted: bool,
}

/// An issue that is to be made.
#[derive(Clone, Debug)]
pub struct NewIssue<'a> {
    /// Its title.
    pub title: &'a str,
    /// Its text.
    pub body: &'a str,
    /// Its labels; GitHub makes those that are not there.
    pub labels: &'a [String],
}

impl Issue {
    /// Whether it has a label; GitHub takes capitals for the same as small letters.
    pub fn has(&self, label: &str) -> bool {
        self.labels.iter().any(|one| one.to_lowercase() == label.to_lowercase())
    }
}

/// Why an issue is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is done.
    Completed,
    /// Another one says the same.
    NotPlanned,
}

#[derive(Deserialize)]
struct Told {
    number: u64,
    #[serde(default)]
    html_url: String,
    body: Option<String>,
    #[serde(default)]
    labels: Vec<Label>,
    #[serde(default)]
    assignees: Vec<User>,
    #[serde(default)]
    state: String,
    user: Option<User>,
    #[serde(default)]
    author_association: String,
    /// Every pull request is an issue as well.
    pull_request: Option<Value>,
}

/// GitHub says either.
#[derive(Deserialize)]
#[serde(untagged)]
enum Label {
    Name(String),
    Object { name: Option<String> },
}

#[derive(Deserialize)]
struct User {
    login: String,
    #[serde(default, rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct ToldComment {
    id: u64,
    body: Option<String>,
    #[serde(default)]
    created_at: String,
    user: Option<User>,
    #[serde(default)]
    author_association: String,
}

impl GitHub {
    /// The open issues with a label, without pull requests, the lowest number first.
    pub async fn open_issues(&self, label: &str) -> Result<Vec<Issue>, Trouble> {
        // The oldest first: what is closed while pages are read is mostly new, and shifts nothing before it.
        let path = format!("issues?state=open&sort=created&direction=asc&labels={}", percent_encoded(label, ""));
        let told: Vec<Told> = self.get_all(&path, "").await?;
        let mut issues: Vec<Issue> =
            told.into_iter().filter(|one| one.pull_request.is_none()).map(|one| self.issue_of(one)).collect();
        issues.sort_by_key(|issue| issue.number);
        // One that was made while the pages were read stands on two of them.
        issues.dedup_by_key(|issue| issue.number);
        Ok(issues)
    }

    /// One issue as it is now.
    pub async fn issue(&self, number: u64) -> Result<Issue, Trouble> {
        self.get(&format!("issues/{number}")).await.map(|told| self.issue_of(told))
    }

    /// Makes an issue. `None`: nobody knows whether it was made, and by now there is one that `is_there` takes for it.
    pub async fn create_issue(
        &self,
        new: &NewIssue<'_>,
        label: &str,
        is_there: impl Fn(&Issue) -> bool,
    ) -> Result<Option<Issue>, Trouble> {
        let body = json!({"title": new.title, "body": new.body, "labels": new.labels});
        let mut lost = Trouble::Interrupted;
        for _ in 0..LOOKS {
            match self.post("issues", &body).await {
                Ok(made) => return self.understood("POST issues", made).map(|told| Some(self.issue_of(told))),
                Err(trouble @ Trouble::Lost { .. }) => lost = trouble,
                Err(trouble) => return Err(trouble),
            }
            if self.open_issues(label).await?.iter().any(&is_there) {
                return Ok(None);
            }
        }
        Err(lost)
    }

    /// Writes the body of an issue anew; closes it as well where there is a reason.
    pub async fn edit_issue(&self, number: u64, body: &str, closed: Option<Reason>) -> Result<(), Trouble> {
        let mut change = json!({"body": body});
        if let Some(reason) = closed {
            change["state"] = json!("closed");
            change["state_reason"] = json!(reason.name());
        }
        self.patch(&format!("issues/{number}"), &change).await.map(|_| ())
    }

    /// Closes an issue and leaves its text.
    pub async fn close_issue(&self, number: u64, reason: Reason) -> Result<(), Trouble> {
        let change = json!({"state": "closed", "state_reason": reason.name()});
        self.patch(&format!("issues/{number}"), &change).await.map(|_| ())
    }

    /// Every comment of an issue, the oldest first.
    pub async fn comments(&self, number: u64) -> Result<Vec<Comment>, Trouble> {
        let told: Vec<ToldComment> = self.get_all(&format!("issues/{number}/comments"), "").await?;
        let mut comments: Vec<Comment> = told
            .into_iter()
            .map(|one| Comment {
                id: one.id,
                body: one.body.unwrap_or_default(),
                created: OffsetDateTime::parse(&one.created_at, &Rfc3339).ok(),
                is_trusted: is_trusted(one.user.as_ref(), &one.author_association),
            })
            .collect();
        comments.sort_by_key(|comment| comment.id);
        comments.dedup_by_key(|comment| comment.id);
        Ok(comments)
    }

    /// Comments an issue. Where the answer is lost it is made again unless `is_there` finds it. Gives its id.
    pub async fn comment(&self, number: u64, text: &str, is_there: impl Fn(&Comment) -> bool) -> Result<u64, Trouble> {
        let (path, body) = (format!("issues/{number}/comments"), json!({"body": text}));
        let mut lost = Trouble::Interrupted;
        for _ in 0..LOOKS {
            match self.post(&path, &body).await {
                Ok(made) => return self.understood::<ToldComment>(&format!("POST {path}"), made).map(|told| told.id),
                Err(trouble @ Trouble::Lost { .. }) => lost = trouble,
                Err(trouble) => return Err(trouble),
            }
            if let Some(made) = self.comments(number).await?.iter().find(|comment| is_there(comment)) {
                return Ok(made.id);
            }
        }
        Err(lost)
    }

    /// Removes a comment; one that is not there any more is removed.
    pub async fn delete_comment(&self, id: u64) -> Result<(), Trouble> {
        self.delete(&format!("issues/comments/{id}")).await
    }

    /// Puts labels on an issue, beside those that it has.
    pub async fn add_labels(&self, number: u64, labels: &[String]) -> Result<(), Trouble> {
        self.post_again(&format!("issues/{number}/labels"), &json!({"labels": labels})).await.map(|_| ())
    }

    /// Takes a label off an issue, if it has it.
    pub async fn remove_label(&self, number: u64, label: &str) -> Result<(), Trouble> {
        self.delete(&format!("issues/{number}/labels/{}", percent_encoded(label, ""))).await
    }

    /// Assigns people, beside those who are. Gives those whom GitHub left out: it says nothing of one who cannot be.
    pub async fn assign(&self, number: u64, people: &[String]) -> Result<Vec<String>, Trouble> {
        let path = format!("issues/{number}/assignees");
        let told = self.post_again(&path, &json!({"assignees": people})).await?;
        let told: Told = self.understood(&format!("POST {path}"), told)?;
        let is_assigned = |person: &str| told.assignees.iter().any(|user| user.login.eq_ignore_ascii_case(person));
        Ok(people.iter().filter(|person| !is_assigned(person)).cloned().collect())
    }

    fn understood<T: serde::de::DeserializeOwned>(&self, asked: &str, told: Value) -> Result<T, Trouble> {
        serde_json::from_value(told)
            .map_err(|e| Trouble::Unreadable { asked: asked.to_owned(), why: self.harmless(&e.to_string()) })
    }

    fn issue_of(&self, told: Told) -> Issue {
        let label = |label| match label {
            Label::Name(name) => Some(name),
            Label::Object { name } => name,
        };
        Issue {
            number: told.number,
            url: self.harmless(&told.html_url),
            body: told.body.unwrap_or_default(),
            labels: told.labels.into_iter().filter_map(label).collect(),
            assignees: told.assignees.into_iter().map(|user| user.login).collect(),
            is_open: told.state == "open",
            is_trusted: is_trusted(told.user.as_ref(), &told.author_association),
        }
    }
}

impl Reason {
    fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::NotPlanned => "not_planned",
        }
    }
}

/// An app needs to be installed to write anything, and a person has to be of the repository's.
fn is_trusted(user: Option<&User>, association: &str) -> bool {
    let is_app = user.is_some_and(|user| user.kind == "Bot");
    is_app || ["OWNER", "MEMBER", "COLLABORATOR"].contains(&association)
}
