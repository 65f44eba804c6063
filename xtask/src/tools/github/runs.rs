//! The last runs of workflows: of a branch, and of one workflow by its schedule.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

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

/// One start of a workflow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// When. A run that is started again keeps its first time.
    pub at: OffsetDateTime,
    /// Its page.
    pub url: String,
}

/// A workflow, <https://docs.github.com/rest/actions/workflows>.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workflow {
    /// `active`, or why it does not start: `disabled_inactivity`, `disabled_manually`…
    pub state: String,
    /// Since when GitHub knows it.
    pub created: Option<OffsetDateTime>,
}

#[derive(Deserialize)]
struct Starts {
    workflow_runs: Vec<StartTold>,
}

#[derive(Deserialize)]
struct StartTold {
    created_at: String,
    #[serde(default)]
    html_url: String,
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

    /// The newest run of a workflow, by its file's name, that fits: `event=schedule`, `status=success`… One request.
    pub async fn last_start(&self, workflow: &str, fits: &str) -> Result<Option<Start>, Trouble> {
        let path = format!("actions/workflows/{}/runs?{fits}&per_page=1", percent_encoded(workflow, ""));
        let told: Starts = self.get(&path).await?;
        let Some(newest) = told.workflow_runs.into_iter().next() else { return Ok(None) };
        let at = OffsetDateTime::parse(&newest.created_at, &Rfc3339).map_err(|e| Trouble::Unreadable {
            asked: "GET the runs of a workflow".to_owned(),
            why: self.harmless(&e.to_string()),
        })?;
        Ok(Some(Start { at, url: self.harmless(&newest.html_url) }))
    }

    /// A workflow by its file's name.
    pub async fn workflow(&self, workflow: &str) -> Result<Workflow, Trouble> {
        #[derive(Deserialize)]
        struct Told {
            state: String,
            #[serde(default)]
            created_at: String,
        }
        let told: Told = self.get(&format!("actions/workflows/{}", percent_encoded(workflow, ""))).await?;
        let created = OffsetDateTime::parse(&told.created_at, &Rfc3339).ok();
        Ok(Workflow { state: self.harmless(&told.state), created })
    }
}

/// A text, or `null` where there is none yet.
fn text<'de, D: serde::Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(Option::<String>::deserialize(from)?.unwrap_or_default())
}
