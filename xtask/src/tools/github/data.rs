//! A branch that holds data and no source: its files are read and written through the git data API, without a checkout.
//!
//! <https://docs.github.com/rest/git>. A branch is only ever moved forward: whoever is slower reads again.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{GitHub, Trouble};
use crate::text::percent_encoded;

/// The newest commit of a branch, with all its files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tip {
    /// The commit.
    pub commit: String,
    /// Its files, in the order of their paths.
    pub files: Vec<File>,
    tree: String,
}

/// One file of a branch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct File {
    /// Relative to the top.
    pub path: String,
    /// Git's id of its content.
    pub sha: String,
    /// In bytes.
    pub size: u64,
}

/// What a commit changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The file has this content, a blob of the repository.
    Write {
        /// Relative to the top.
        path: String,
        /// Git's id of the content.
        blob: String,
    },
    /// The file, which is there, is there no more.
    Remove {
        /// Relative to the top.
        path: String,
    },
}

#[derive(Deserialize)]
struct Ref {
    object: Object,
}

#[derive(Deserialize)]
struct Object {
    sha: String,
}

#[derive(Deserialize)]
struct Commit {
    tree: Object,
}

#[derive(Deserialize)]
struct Tree {
    tree: Vec<Node>,
    #[serde(default)]
    truncated: bool,
}

#[derive(Deserialize)]
struct Node {
    path: String,
    #[serde(rename = "type")]
    kind: String,
    sha: String,
    #[serde(default)]
    size: u64,
}

#[derive(Deserialize)]
struct Blob {
    content: String,
    encoding: String,
}

impl GitHub {
    /// Where a branch stands; `None` where there is none of that name.
    pub async fn tip(&self, branch: &str) -> Result<Option<Tip>, Trouble> {
        let Some(commit) = self.head(branch).await? else { return Ok(None) };
        let found: Commit = self.get(&format!("git/commits/{}", percent_encoded(&commit, ""))).await?;
        let path = format!("git/trees/{}?recursive=1", percent_encoded(&found.tree.sha, ""));
        let tree: Tree = self.get(&path).await?;
        if tree.truncated {
            let why = "the branch has more files than GitHub lists".to_owned();
            return Err(Trouble::Unreadable { asked: "GET git/trees".to_owned(), why });
        }
        let files = tree.tree.into_iter().filter(|node| node.kind == "blob");
        let files = files.map(|node| File { path: node.path, sha: node.sha, size: node.size }).collect();
        Ok(Some(Tip { commit, files, tree: found.tree.sha }))
    }

    async fn head(&self, branch: &str) -> Result<Option<String>, Trouble> {
        match self.get::<Ref>(&format!("git/ref/heads/{}", percent_encoded(branch, "/"))).await {
            Ok(found) => Ok(Some(found.object.sha)),
            Err(Trouble::NotFound { .. }) => Ok(None),
            Err(trouble) => Err(trouble),
        }
    }

    /// What a file holds.
    pub async fn blob(&self, sha: &str) -> Result<Vec<u8>, Trouble> {
        let unreadable = |why: &str| Trouble::Unreadable { asked: "GET git/blobs".to_owned(), why: why.to_owned() };
        let blob: Blob = self.get(&format!("git/blobs/{}", percent_encoded(sha, ""))).await?;
        if blob.encoding != "base64" {
            return Err(unreadable("its encoding is not base64"));
        }
        // GitHub breaks the lines.
        let text: String = blob.content.split_whitespace().collect();
        STANDARD.decode(text).map_err(|_| unreadable("its content is no base64"))
    }

    /// Makes content known, and gives git's id of it. Nothing names it yet, so that a second time does no harm.
    pub async fn create_blob(&self, text: &str) -> Result<String, Trouble> {
        let body = json!({"content": text, "encoding": "utf-8"});
        self.created("git/blobs", &body).await
    }

    /// Moves a branch from `tip` to a commit with `changes`, or makes it. `false`: somebody else was faster, and nothing
    /// was done; or it was done and its answer was lost, which a look at the branch tells.
    pub async fn commit(
        &self,
        branch: &str,
        tip: Option<&Tip>,
        changes: &[Change],
        message: &str,
    ) -> Result<bool, Trouble> {
        let entry = |change: &Change| match change {
            Change::Write { path, blob } => json!({"path": path, "mode": "100644", "type": "blob", "sha": blob}),
            Change::Remove { path } => json!({"path": path, "mode": "100644", "type": "blob", "sha": null}),
        };
        let mut body = json!({"tree": changes.iter().map(entry).collect::<Vec<_>>()});
        if let Some(tip) = tip {
            body["base_tree"] = json!(tip.tree);
        }
        let tree = self.created("git/trees", &body).await?;
        let parents: Vec<&String> = tip.iter().map(|tip| &tip.commit).collect();
        let body = json!({"message": message, "tree": tree, "parents": parents});
        let sha = self.created("git/commits", &body).await?;
        let moved = match tip {
            Some(_) => {
                let path = format!("git/refs/heads/{}", percent_encoded(branch, "/"));
                self.patch(&path, &json!({"sha": sha, "force": false})).await
            }
            None => self.post_again("git/refs", &json!({"ref": format!("refs/heads/{branch}"), "sha": sha})).await,
        };
        match moved {
            Ok(_) => Ok(true),
            // It is told in many words that a branch has moved. Where it has not, it is a refusal that will stay one.
            Err(trouble @ Trouble::Refused { status: 409 | 422, .. }) => {
                let head = self.head(branch).await?;
                if head.as_deref() == tip.map(|tip| tip.commit.as_str()) { Err(trouble) } else { Ok(false) }
            }
            Err(trouble) => Err(trouble),
        }
    }

    async fn created(&self, path: &str, body: &Value) -> Result<String, Trouble> {
        let made = self.post_again(path, body).await?;
        let unreadable = || Trouble::Unreadable { asked: format!("POST {path}"), why: "it names no id".to_owned() };
        made["sha"].as_str().map(str::to_owned).ok_or_else(unreadable)
    }
}
