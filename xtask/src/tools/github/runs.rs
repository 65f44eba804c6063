//! The last runs of the workflows of a branch.

use serde::{Deserialize, Serialize};

use super::{GitHub, Trouble};
use crate::text::percent_encoded;

/// A run of a workflow, <https://docs.github.com/rest/actions/workflow-runs>. The texts are GitHub's, cleaned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Run {
    /// The workflow's name.
    #[serde(deserialize_with = "text")]
    pub name: String,
    /// The commit.
    #[serde(deserialize_with = "text")]
    pub head_sha: String,
    /// `push`, `workflow_dispatch`…
    #[serde(deserialize_with = "text")]
    pub event: String,
    /// `queued`, `in_progress`, `completed`…
    #[serde(deserialize_with = "text")]
    pub status: String,
    /// `success`, `failure`, `cancelled`…; empty before its end.
    #[serde(deserialize_with = "text")]
    pub conclusion: String,
    /// When it began, RFC 3339.
    #[serde(rename(deserialize = "run_started_at"), deserialize_with = "text")]
    pub started: String,
    /// Its page.
    #[serde(deserialize_with = "text")]
    pub html_url: String,
}

#[derive(Deserialize)]
struct Runs {
    workflow_runs: Vec<Run>,
}

impl GitHub {
    /// The newest runs on a branch, the newest first.
    pub async fn runs(&self, branch: &str, count: usize) -> Result<Vec<Run>, Trouble> {
        let path = format!("actions/runs?branch={}&per_page={count}", percent_encoded(branch, ""));
        let runs: Runs = self.get(&path).await?;
        let clean = |run: Run| Run {
            name: self.harmless(&run.name),
            head_sha: self.harmless(&run.head_sha),
            event: self.harmless(&run.event),
            status: self.harmless(&run.status),
            conclusion: self.harmless(&run.conclusion),
            started: self.harmless(&run.started),
            html_url: self.harmless(&run.html_url),
        };
        Ok(runs.workflow_runs.into_iter().take(count).map(clean).collect())
    }
}

/// A text, or `null` where there is none yet.
fn text<'de, D: serde::Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(Option::<String>::deserialize(from)?.unwrap_or_default())
}
