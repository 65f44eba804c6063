//! The subjects of `scan` and `sbom`: one table each.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ten_minutes;
use super::values::duration;

/// `[tools]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tools {
    /// The folder of the lock files: `python/*.txt`, `go/*/go.mod`, `archives.toml`.
    pub locks: String,
}

impl Default for Tools {
    fn default() -> Self {
        Self { locks: "xtask/tools".to_owned() }
    }
}

/// `[secrets]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secrets {
    /// Our rules for gitleaks; a configuration in the tree that is scanned does not count.
    pub rules: String,
    /// Whether the whole history is scanned too.
    #[serde(default = "yes")]
    pub history: bool,
    /// When a scan is stopped.
    #[serde(default = "ten_minutes", with = "duration")]
    pub timeout: Duration,
}

/// `[sast]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sast {
    /// Folders of Python that is shipped or run.
    pub files: Vec<String>,
    /// Folders of tests apart from those, which may assert and hold passwords of their own making.
    #[serde(default)]
    pub tests: Vec<String>,
    /// The oldest Python that the source is for, `MAJOR.MINOR`.
    pub python: String,
}

/// `[dependencies]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dependencies {
    /// Where OSV's API answers.
    pub osv: String,
    /// Cargo's lock file.
    pub cargo_lock: Option<String>,
    /// The git repository of RustSec's advisories.
    #[serde(default = "rustsec")]
    pub advisories: String,
    /// Folders whose lock files Trivy looks up; none where it is not wanted.
    #[serde(default)]
    pub trivy: Vec<String>,
    /// When a look-up is stopped.
    #[serde(default = "ten_minutes", with = "duration")]
    pub timeout: Duration,
}

/// `[locks]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Locks {
    /// The folder that is copied, and in whose copy the command runs.
    pub directory: String,
    /// What the command reads and writes, relative to that folder.
    pub files: Vec<String>,
    /// The script that makes the lock files anew, relative to that folder; `UV` names uv.
    pub script: String,
}

/// `[dockerfile]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dockerfile {
    /// Each of them.
    pub files: Vec<String>,
}

/// `[workflows]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workflows {
    /// Where they lie.
    pub directory: String,
}

/// `[manifests]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifests {
    /// Folders that Kustomize renders, one after the other.
    #[serde(default)]
    pub overlays: Vec<String>,
    /// Manifests as they are.
    #[serde(default)]
    pub files: Vec<String>,
    /// Every file or folder that a rendered overlay is made of.
    #[serde(default)]
    pub inputs: Vec<String>,
    /// Whose schemas count, `MAJOR.MINOR`.
    pub kubernetes: String,
    /// Schemas of kinds that are not Kubernetes' own, by `GROUP/VERSION/KIND`; a kind without one is a finding.
    #[serde(default)]
    pub without_schema: BTreeMap<String, String>,
}

/// `[shell]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shell {
    /// Each script.
    pub files: Vec<String>,
}

/// `[sbom]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sbom {
    /// The project whose dependencies are listed: a `pyproject.toml`.
    pub project: String,
    /// The hash-pinned requirement file of what runs.
    pub lock: String,
    /// Cargo's manifest, where a Rust workspace is listed too.
    pub cargo: Option<String>,
}

fn yes() -> bool {
    true
}

fn rustsec() -> String {
    "https://github.com/RustSec/advisory-db.git".to_owned()
}
