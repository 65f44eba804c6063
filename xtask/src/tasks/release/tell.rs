//! What others hear of a release: a tag and a deployment on GitHub. Whatever of it fails is a warning and never undoes a
//! release that is verified.

use std::time::Duration;

use super::transaction::Transaction;
use crate::tools::attested::revision_of;
use crate::tools::github::{Deployment, State, Status, Tagged};
use crate::tools::github::{GitHub, Trouble};

/// How long others are told, at most: a release does not wait for GitHub.
const PATIENCE: Duration = Duration::from_secs(60);

impl Transaction {
    /// Says that the release goes on, and learns who approved it.
    pub async fn tell_begun(&mut self) {
        let Some(github) = self.github().await else { return };
        let run = self.stages.ctx().var("GITHUB_RUN_ID").map(str::to_owned);
        if let Some(run) = run.filter(|_| !self.entry.run.is_empty()) {
            match within(github.approvers(&run, &self.environment.name)).await {
                Ok(names) if !names.is_empty() => self.entry.approved_by = names.join(", "),
                Ok(_) => {}
                Err(why) => self.warn(&format!("who approved it is not known: {why}")),
            }
        }
        if let Err(why) = self.tell(&github, State::InProgress, "").await {
            self.warn(&format!("GitHub was not told that the release begins: {why}"));
        }
    }

    /// Says how it ended; a tag only for a release that is verified.
    pub async fn tell_ended(&mut self, state: State, why: &str) {
        let Some(github) = self.github().await else {
            if state == State::Success {
                self.warn("no deployment tag: GITHUB_TOKEN is not set");
            }
            return;
        };
        if let Err(why) = self.tell(&github, state, why).await {
            self.warn(&format!("GitHub was not told how the release ended: {why}"));
        }
        let (State::Success, Ok(commit)) = (state, self.commit()) else { return };
        let name = format!("deploy/{}/{}", self.environment.name, self.entry.id);
        let message = format!("{} serves in {}", self.entry.image, self.environment.name);
        match within(github.create_tag(&name, &commit, &message)).await {
            Ok(Tagged::New | Tagged::Already) => self.stages.say(format!("tag {name}")),
            Err(why) => self.warn(&format!("the tag `{name}` was not set: {why}")),
        }
    }

    /// What the image was built of. One of changed files is no commit's, and a tag of it would lie.
    fn commit(&self) -> Result<String, String> {
        revision_of(Some(&self.entry.commit)).map_err(|finding| finding.message)
    }

    async fn tell(&self, github: &GitHub, state: State, why: &str) -> Result<(), String> {
        let commit = self.commit()?;
        let digest = self.entry.digest().to_owned();
        let deployment = Deployment {
            environment: &self.environment.name,
            sha: &commit,
            digest: &digest,
            release: &self.entry.id,
            production: self.release.confirm,
        };
        let id = within(github.deployment(&deployment)).await?;
        let first = why.lines().next().unwrap_or_default();
        let status = Status {
            state,
            log_url: &self.entry.run,
            environment_url: &self.environment.url,
            description: if first.is_empty() { &self.entry.image } else { first },
        };
        within(github.deployment_status(id, &status)).await
    }

    /// GitHub, where there is a token.
    async fn github(&self) -> Option<GitHub> {
        let ctx = self.stages.ctx();
        let has_token =
            ["GITHUB_TOKEN", "GH_TOKEN"].iter().any(|name| ctx.var(name).is_some_and(|value| !value.is_empty()));
        if !has_token {
            return None;
        }
        match GitHub::open(self.stages.steady()).await {
            Ok(github) => Some(github),
            Err(why) => {
                self.warn(&format!("GitHub is not told anything: {why}"));
                None
            }
        }
    }

    fn warn(&self, text: &str) {
        self.stages.say(format!("warning: {text}"));
    }
}

async fn within<T>(asked: impl Future<Output = Result<T, Trouble>>) -> Result<T, String> {
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(answered) => answered.map_err(|trouble| trouble.to_string()),
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}
