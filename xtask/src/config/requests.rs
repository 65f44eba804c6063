//! `[requests]`, `[service]` and `[smoke]`: what the backend is asked, what it has to answer, and how it is started.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::values::duration;

/// `[requests.NAME]`: one question with the answer that is expected; `smoke`, `perf` and `container test` ask by name.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Method and path, `GET /health`.
    pub send: String,
    /// The body, sent as JSON.
    #[serde(default)]
    pub json: Option<toml::Value>,
    /// The body as it is, for what is no JSON.
    #[serde(default)]
    pub text: Option<String>,
    /// Further headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The status that is expected.
    #[serde(default = "ok")]
    pub status: u16,
    /// The shape of the body that is expected, see [`crate::shape`].
    #[serde(default)]
    pub body: Option<toml::Value>,
    /// The answer is a stream of server-sent events whose last data is this.
    #[serde(default)]
    pub stream: Option<String>,
    /// A route that asks a language model: it is reported apart, by time to first token (R30).
    #[serde(default)]
    pub llm: bool,
    /// When an answer is given up.
    #[serde(default = "ten_seconds", with = "duration")]
    pub timeout: Duration,
}

impl Request {
    /// The method.
    pub fn method(&self) -> &str {
        self.send.split(' ').next().unwrap_or_default()
    }

    /// The path, with its query.
    pub fn path(&self) -> &str {
        self.send.split(' ').nth(1).unwrap_or_default()
    }
}

/// `[service]`: the backend as a running thing, where no image of it is at hand.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Where it is started.
    pub directory: String,
    /// The folder of its packages, relative to that one.
    pub source: String,
    /// What `python` gets as arguments.
    pub run: Vec<String>,
    /// The Python that it runs on, `MAJOR.MINOR`.
    pub python: String,
    /// The hash-pinned requirement file.
    pub lock: String,
    /// The port that it listens on within its image.
    pub port: u16,
    /// The request that tells that it is up; it asks nobody else.
    pub alive: String,
    /// The request that tells that it can work.
    pub ready: String,
    /// How long it may take until it is ready.
    #[serde(with = "duration")]
    pub starts_within: Duration,
    /// How long it may take to end after SIGTERM.
    #[serde(with = "duration")]
    pub stops_within: Duration,
    /// Its environment; `{host}`, `{port}`, `{redis}` and `{ollama}` are filled in.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
}

/// `[smoke]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Smoke {
    /// Names of `[requests]`, in the order in which they are sent.
    pub requests: Vec<String>,
}

fn ok() -> u16 {
    200
}

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}
