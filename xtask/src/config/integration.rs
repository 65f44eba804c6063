//! `[integration]`: the tests of the whole, over real services.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ten_minutes;
use super::values::duration;

/// `[integration]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Integration {
    /// Where pytest starts, and where its configuration is.
    pub directory: String,
    /// The folder of the tests, relative to that one. No `conftest.py` above it is read.
    pub tests: String,
    /// The Python that they run on, `MAJOR.MINOR`.
    pub python: String,
    /// Their hash-pinned requirement file.
    pub lock: String,
    /// Files and folders that they and the backend are made of.
    pub inputs: Vec<String>,
    /// The variable in which they find the address of what brings faults about (`xtask/src/services/control.rs`).
    pub variable: String,
    /// What the backend is told beside `[service.environment]`: short times, so that faults are seen soon.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// When they are stopped.
    #[serde(default = "ten_minutes", with = "duration")]
    pub timeout: Duration,
}
