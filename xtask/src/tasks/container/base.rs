//! The base of the image: the real one by its digest, or what stands in for it where that cannot be had.

use std::time::Duration;

use super::image::{Known, inspect};
use crate::config::Container;
use crate::context::Profile;
use crate::engine::session::Session;
use crate::tools::containers::Engine;
use crate::verdict::{Finding, NotRun, Severity, Unproven};

/// How long the base may take to come.
const PULL: Duration = Duration::from_secs(300);

/// A base that the engine has.
#[derive(Debug)]
pub struct Base {
    /// What the Dockerfile's `FROM` gets.
    pub reference: String,
    /// Its name, for the label.
    pub name: String,
    /// Its digest, for the label; empty for a stand-in.
    pub digest: String,
    /// Whether it only stands in.
    pub stand_in: bool,
    /// What the engine knows of it.
    pub known: Known,
}

impl Base {
    /// What the report says where it is not the real one.
    pub fn finding(&self) -> Option<Finding> {
        let message = format!("the base could not be pulled; `{}` stands in for it", self.reference);
        self.stand_in.then(|| Finding::new("stand-in-base", Severity::Info, message))
    }
}

/// The real base where it is here or can be pulled; in `actions` nothing else counts.
pub async fn choose(session: &Session, engine: &Engine, container: &Container) -> Result<Base, Unproven> {
    let (name, digest) = container.base_by_digest();
    let real = |known| Base {
        reference: container.base.clone(),
        name: name.to_owned(),
        digest: digest.to_owned(),
        stand_in: false,
        known,
    };
    if let Some(known) = inspect(session, engine, &container.base).await? {
        return Ok(real(known));
    }
    let pulled = session.step(&engine.command(["pull", "--quiet", &container.base]).timeout(PULL)).await?;
    if pulled.is_success()
        && let Some(known) = inspect(session, engine, &container.base).await?
    {
        return Ok(real(known));
    }
    let reason = format!("the base `{name}` cannot be pulled: {}", pulled.failure());
    let stand_in = container.stand_in.as_ref().filter(|_| session.ctx().profile != Profile::Actions);
    let Some(stand_in) = stand_in else {
        return Err(NotRun::new(reason, "look at the way to its registry, then run again").into());
    };
    match inspect(session, engine, &stand_in.image).await? {
        Some(known) => Ok(Base {
            reference: stand_in.image.clone(),
            name: stand_in.image.clone(),
            digest: String::new(),
            stand_in: true,
            known,
        }),
        None => Err(NotRun::new(reason, stand_in.make.clone()).into()),
    }
}

/// A build by hand has to begin at the same base as ours.
pub fn as_written(container: &Container, dockerfile: &str) -> Option<Finding> {
    let written = |line: &str| line.trim().strip_prefix("ARG BASE=").map(|base| base.trim_matches('"').to_owned());
    let found = dockerfile.lines().enumerate().find_map(|(index, line)| Some((index, written(line)?)));
    let (line, message) = match found {
        Some((_, base)) if base == container.base => return None,
        Some((index, base)) => (
            u32::try_from(index + 1).ok(),
            format!("the base is `{base}` here and `{}` in pipeline.toml (container.base)", container.base),
        ),
        None => (None, "no `ARG BASE=…` says what the image is built on".to_owned()),
    };
    Some(Finding::new("base-differs", Severity::Medium, message).at(container.dockerfile.clone(), line))
}
