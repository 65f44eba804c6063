//! `[container]`: the image of the backend, what it is made of, and what it has to be like.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::values::{bytes, duration};

/// `[container]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Container {
    /// The image's name on this machine, below `localhost/`; the tag tells the checkout.
    pub name: String,
    /// The Dockerfile; its build arguments are `BASE`, `BASE_NAME`, `BASE_DIGEST`, `SOURCE`, `REVISION`, `CREATED`, `VERSION`.
    pub dockerfile: String,
    /// The folder that its paths begin at.
    pub context: String,
    /// The files and folders below it that git knows and that the image is made of.
    pub files: Vec<String>,
    /// Requirement files below it, whose wheels are laid into `wheels/` beside the files; without them the build has
    /// the network.
    #[serde(default)]
    pub wheels: Vec<String>,
    /// The base, by digest: the default of the argument `BASE` too.
    pub base: String,
    /// What stands in for the base where it cannot be had; never in `actions`.
    pub stand_in: Option<StandIn>,
    /// Where the source lies, a URL.
    pub source: String,
    /// The file below the context that says the version, as `version = "…"`.
    pub version: Option<String>,
    /// Structure tests in the format of container-structure-test.
    pub structure: Option<String>,
    /// The user that it runs as, by number.
    pub user: u32,
    /// How large it may be.
    #[serde(with = "bytes")]
    pub largest: u64,
    /// Names of `[requests]` that the running image has to answer alone.
    pub requests: Vec<String>,
    /// The requirement file whose packages have to be in it.
    pub lock: Option<String>,
    /// When a build is stopped.
    #[serde(default = "fifteen_minutes", with = "duration")]
    pub timeout: Duration,
}

/// `[container.stand_in]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StandIn {
    /// Its name on this machine.
    pub image: String,
    /// The command that makes it.
    pub make: String,
}

impl Container {
    /// The base without its digest, and the digest; a base without one is refused.
    pub fn base_by_digest(&self) -> (&str, &str) {
        self.base.split_once('@').unwrap_or((&self.base, ""))
    }

    /// A path below the context, relative to the repository.
    pub fn within(&self, path: &str) -> String {
        if self.context == "." { path.to_owned() } else { format!("{}/{path}", self.context) }
    }

    /// What is wrong with it.
    pub(super) fn check(&self) -> Result<(), String> {
        let digest = self.base_by_digest().1.strip_prefix("sha256:").unwrap_or_default();
        if digest.len() != 64 || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(format!("container.base: `{}` is not like NAME:TAG@sha256:…", self.base));
        }
        if self.name.is_empty() || !self.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        {
            return Err(format!("container.name: `{}` is not of a-z, 0-9 and -", self.name));
        }
        let inside = [&self.files, &self.wheels].into_iter().flatten().chain(&self.version);
        match inside.into_iter().find(|path| !crate::disk::is_inside(path)) {
            Some(path) => Err(format!("[container]: `{path}` is not below `{}`", self.context)),
            None => Ok(()),
        }
    }
}

fn fifteen_minutes() -> Duration {
    Duration::from_secs(900)
}
