//! The Kubernetes API, asked with the login that `kubectl` has: by HTTP through a `kubectl proxy` of our own on a socket
//! that only we can open. What an answer means for a release is decided in `release/`.
//!
//! An API that cannot be reached and one that refuses are two things: the first decides nothing ([`Trouble`]).

use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;
use time::OffsetDateTime;

use super::command::Command;
use super::download;
use super::ledger::Scratch;
use super::machine::Machine;
use super::proc::{Runner, Server};
use crate::text::clean;
use crate::verdict::{NotRun, Unproven};
pub use access::{Access, Place};
pub use forward::Forward;
pub use lines::Lines;
pub use path::path_of;
pub use watch::{Change, Watch};

mod access;
mod forward;
mod lines;
mod path;
mod watch;

/// Under which name we own fields of objects (server-side apply).
pub const MANAGER: &str = "forge-xtask";

/// How long one answer may take, watches apart.
const ANSWER: Duration = Duration::from_secs(10);

/// How long to wait before an API that could not be reached is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// How long `kubectl proxy` may take until its socket is there.
const STARTED: Duration = Duration::from_secs(10);

/// The largest answer that is read, in bytes.
const LARGEST: usize = 64 << 20;

/// Why the API did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// It was not reached, or is not able to answer now: nothing is known.
    #[error("the Kubernetes API cannot be reached: {0}")]
    Unreachable(String),
    /// It answered, and does not want to.
    #[error("the Kubernetes API refused it ({code} {reason}): {message}")]
    Refused {
        /// The HTTP status.
        code: u16,
        /// The one word of `Status`: `Conflict`, `Forbidden`, `Invalid`…
        reason: String,
        /// The sentence of `Status`.
        message: String,
    },
}

impl Trouble {
    /// Whether somebody else changed the object, or made it, in between.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { code: 409, .. })
    }

    /// Whether the API could not be reached.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable(_))
    }
}

impl From<Trouble> for Unproven {
    fn from(trouble: Trouble) -> Self {
        let fix = match &trouble {
            Trouble::Unreachable(_) => "check the way to the cluster, then run it again",
            Trouble::Refused { code: 401, .. } => "log in to the cluster again",
            Trouble::Refused { code: 403, .. } => "ask for the right that the message names",
            Trouble::Refused { .. } => "see what the message says of the object, then run it again",
        };
        NotRun::new(trouble.to_string(), fix).into()
    }
}

/// A list with the version from which on it can be watched.
#[derive(Clone, Debug, Default)]
pub struct List {
    /// The objects; they lack `kind` and `apiVersion`.
    pub items: Vec<Value>,
    /// The version of the list.
    pub version: String,
}

/// A cluster that lets us in. Cheap to clone.
#[derive(Clone)]
pub struct Kube {
    inner: Arc<Inner>,
    /// How long an API that cannot be reached is asked again.
    patience: Duration,
}

struct Inner {
    access: Access,
    client: reqwest::Client,
    runner: Runner,
    proxy: Mutex<Option<Server>>,
    /// One at a time starts it again.
    starting: tokio::sync::Mutex<()>,
    socket: PathBuf,
    _folder: Scratch,
    /// The API server's clock less ours, in milliseconds.
    skew: AtomicI64,
}

impl Kube {
    /// Lets `kubectl` open a door to the cluster of `access`, and asks it for its version. Whether it is the right
    /// cluster is the caller's question ([`Kube::uid`]).
    pub async fn open(machine: &Machine, runner: &Runner, access: Access) -> Result<Self, Unproven> {
        let folder = machine.ledger.scratch("kube", &machine.temporary())?;
        let socket = folder.path().join("api");
        // What the proxy says of each broken connection is told by our own messages.
        let runner = Runner { on_line: None, ..runner.clone() };
        // The address stands for nothing: the socket is where we connect to.
        let client = download::builder().no_proxy().unix_socket(socket.clone()).build();
        let client = client.context("cannot make an HTTP client")?;
        let proxy = Mutex::new(None);
        let starting = tokio::sync::Mutex::new(());
        let inner = Inner { access, client, runner, proxy, starting, socket, _folder: folder, skew: 0.into() };
        let kube = Self { inner: Arc::new(inner), patience: Duration::ZERO };
        kube.start_proxy().await?;
        Ok(kube)
    }

    /// The same cluster, asked again for `patience` while it cannot be reached. Watches are not.
    #[must_use]
    pub fn patient(&self, patience: Duration) -> Self {
        Self { inner: self.inner.clone(), patience }
    }

    /// How the cluster is reached by a `kubectl` that is started for something else.
    pub fn access(&self) -> &Access {
        &self.inner.access
    }

    /// What starts it.
    pub fn runner(&self) -> &Runner {
        &self.inner.runner
    }

    /// A `kubectl` command on this cluster.
    pub fn kubectl<S: Into<String>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        self.inner.access.kubectl(args)
    }

    async fn start_proxy(&self) -> Result<(), Unproven> {
        let _gone = std::fs::remove_file(&self.inner.socket);
        let socket = format!("--unix-socket={}", self.inner.socket.display());
        let mut server = self.inner.runner.serve(&self.kubectl(["proxy".to_owned(), socket]))?;
        let begun = Instant::now();
        // The file is there a moment before somebody listens at it.
        while std::os::unix::net::UnixStream::connect(&self.inner.socket).is_err() {
            if let Some(exit) = server.ended() {
                let reason = format!("`kubectl proxy` ended with {exit}");
                return Err(NotRun::new(reason, self.inner.access.way_in()).into());
            }
            if begun.elapsed() > STARTED {
                return Err(NotRun::new("`kubectl proxy` does not open its socket", self.inner.access.way_in()).into());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        *self.inner.proxy.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(server);
        Ok(())
    }

    /// Starts `kubectl proxy` again where it has ended: out of memory, or by somebody's hand. Without it no release could
    /// even be undone.
    async fn keep_proxy(&self) -> Result<(), Trouble> {
        let ended = || {
            let mut proxy = self.inner.proxy.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            proxy.as_mut().and_then(Server::ended)
        };
        if ended().is_none() {
            return Ok(());
        }
        let _one = self.inner.starting.lock().await;
        let Some(exit) = ended() else { return Ok(()) };
        self.start_proxy().await.map_err(|why| {
            Trouble::Unreachable(format!("`kubectl proxy` ended with {exit}, and could not be started again: {why}"))
        })
    }

    /// The time by the API server's clock, which all who share a lock have in common.
    pub fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc() + time::Duration::milliseconds(self.inner.skew.load(Ordering::Relaxed))
    }

    /// What tells clusters apart: the id of the namespace `kube-system`.
    pub async fn uid(&self) -> Result<String, Trouble> {
        let namespace = self.get("/api/v1/namespaces/kube-system").await?;
        let uid = namespace.as_ref().and_then(|object| object["metadata"]["uid"].as_str()).map(str::to_owned);
        uid.ok_or_else(|| Trouble::Unreachable("it shows no namespace `kube-system`".to_owned()))
    }

    /// One object; `None` where there is none.
    pub async fn get(&self, path: &str) -> Result<Option<Value>, Trouble> {
        match self.call(reqwest::Method::GET, path, None).await {
            Ok(object) => Ok(Some(object)),
            Err(Trouble::Refused { code: 404, .. }) => Ok(None),
            Err(trouble) => Err(trouble),
        }
    }

    /// All objects of a path with an optional query, such as `…/pods?labelSelector=a%3Db`.
    pub async fn list(&self, path: &str) -> Result<List, Trouble> {
        let mut answer = self.call(reqwest::Method::GET, path, None).await?;
        let version = answer["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
        let items = match answer["items"].take() {
            Value::Array(items) => items,
            _ => vec![],
        };
        Ok(List { items, version })
    }

    /// Makes an object below `path`, the path of its kind.
    pub async fn create(&self, path: &str, object: &Value) -> Result<Value, Trouble> {
        self.call(reqwest::Method::POST, path, Some(("application/json", object))).await
    }

    /// Replaces an object; with a `resourceVersion` in it, only if nobody else has changed it since.
    pub async fn replace(&self, path: &str, object: &Value) -> Result<Value, Trouble> {
        self.call(reqwest::Method::PUT, path, Some(("application/json", object))).await
    }

    /// Server-side apply under [`MANAGER`]. A field that somebody else owns is a conflict, unless `force`.
    pub async fn apply(&self, path: &str, object: &Value, force: bool) -> Result<Value, Trouble> {
        let joint = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{joint}fieldManager={MANAGER}&force={force}&fieldValidation=Strict");
        self.call(reqwest::Method::PATCH, &path, Some(("application/apply-patch+yaml", object))).await
    }

    /// Changes what `patch` holds (RFC 7386), under [`MANAGER`].
    pub async fn merge(&self, path: &str, patch: &Value) -> Result<Value, Trouble> {
        let path = format!("{path}?fieldManager={MANAGER}");
        self.call(reqwest::Method::PATCH, &path, Some(("application/merge-patch+json", patch))).await
    }

    /// Removes an object; one that is gone already is as good. What it owns goes after it.
    pub async fn delete(&self, path: &str) -> Result<(), Trouble> {
        let policy =
            serde_json::json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"});
        match self.call(reqwest::Method::DELETE, path, Some(("application/json", &policy))).await {
            Ok(_) | Err(Trouble::Refused { code: 404, .. }) => Ok(()),
            Err(trouble) => Err(trouble),
        }
    }

    /// What a path answers that is no JSON: logs.
    pub async fn text(&self, path: &str) -> Result<String, Trouble> {
        self.keep_proxy().await?;
        let request = self.inner.client.get(url(path)).timeout(ANSWER);
        self.answer(request).await.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The same while it grows: a log that is followed.
    pub async fn lines(&self, path: &str) -> Result<Lines, Trouble> {
        self.keep_proxy().await?;
        Lines::open(self.inner.client.get(url(path))).await
    }

    /// Everything that happens to what [`Kube::list`] gave, from its version on.
    pub async fn watch(&self, path: &str, version: &str) -> Result<Watch, Trouble> {
        self.keep_proxy().await?;
        let joint = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{joint}watch=1&resourceVersion={version}&allowWatchBookmarks=true");
        Watch::open(self.inner.client.get(url(&path))).await
    }

    async fn call(&self, method: reqwest::Method, path: &str, body: Option<(&str, &Value)>) -> Result<Value, Trouble> {
        let begun = Instant::now();
        loop {
            let answer = self.call_once(method.clone(), path, body).await;
            match &answer {
                // Whoever is to stop now waits for no API.
                Err(Trouble::Unreachable(_))
                    if begun.elapsed() < self.patience && !self.inner.runner.cancel.is_cancelled() =>
                {
                    tokio::time::sleep(AGAIN).await;
                }
                _ => return answer,
            }
        }
    }

    async fn call_once(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<(&str, &Value)>,
    ) -> Result<Value, Trouble> {
        self.keep_proxy().await?;
        let mut request = self.inner.client.request(method, url(path)).timeout(ANSWER);
        if let Some((content_type, body)) = body {
            request = request.header("Content-Type", content_type).body(body.to_string());
        }
        let bytes = self.answer(request).await?;
        serde_json::from_slice(&bytes).map_err(|e| Trouble::Unreachable(format!("its answer is no JSON: {e}")))
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> Result<Vec<u8>, Trouble> {
        let mut response = request.send().await.map_err(|e| unreachable(&e))?;
        self.set_clock(&response);
        let status = response.status();
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| unreachable(&e))? {
            if bytes.len() + chunk.len() > LARGEST {
                return Err(Trouble::Unreachable("its answer is larger than 64 MiB".to_owned()));
            }
            bytes.extend_from_slice(&chunk);
        }
        if status.is_success() { Ok(bytes) } else { Err(refused(status.as_u16(), &bytes)) }
    }

    fn set_clock(&self, response: &reqwest::Response) {
        let date = response.headers().get("date").and_then(|date| date.to_str().ok());
        if let Some(skew) = skew(response.status().as_u16(), date, OffsetDateTime::now_utc()) {
            self.inner.skew.store(skew, Ordering::Relaxed);
        }
    }
}

/// How far the server's clock is before ours, in milliseconds; answers carry it to the second. What is no success may
/// come from `kubectl proxy` itself, which has our clock: a sign of life by a wrong one would give a lock away.
fn skew(status: u16, date: Option<&str>, now: OffsetDateTime) -> Option<i64> {
    let format = time::format_description::well_known::Rfc2822;
    // HTTP says GMT where RFC 2822 has a number.
    let date = date.filter(|_| (200..300).contains(&status))?.replace("GMT", "+0000");
    let skew = (OffsetDateTime::parse(&date, &format).ok()? - now).whole_milliseconds();
    // Within the second that the header cuts off both clocks agree.
    Some(if (-1_500..=500).contains(&skew) { 0 } else { i64::try_from(skew).unwrap_or(0) })
}

/// Any host: the socket alone says where it goes.
fn url(path: &str) -> String {
    format!("http://localhost{path}")
}

fn unreachable(error: &reqwest::Error) -> Trouble {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    Trouble::Unreachable(if error.is_timeout() { "no answer in time".to_owned() } else { cause.to_string() })
}

/// An answer that is no success: `Status` of the API, or what `kubectl proxy` says when it cannot reach it.
pub(super) fn refused(code: u16, body: &[u8]) -> Trouble {
    let status: Value = serde_json::from_slice(body).unwrap_or_default();
    let word = |name: &str| clean(status[name].as_str().unwrap_or_default());
    let is_status = status["kind"] == "Status";
    // 502 to 504 come from what stands between; 500 and 429 pass as well.
    if matches!(code, 429 | 500 | 502..=504) || !is_status && code >= 500 {
        let words = if is_status { word("message") } else { clean(String::from_utf8_lossy(body).trim()) };
        return Trouble::Unreachable(format!("{code} {}", words.chars().take(300).collect::<String>()));
    }
    let message = if is_status { word("message") } else { clean(&String::from_utf8_lossy(body)) };
    Trouble::Refused { code, reason: word("reason"), message: message.chars().take(2000).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_the_servers_and_never_that_of_the_proxy_before_it() {
        let now = time::macros::datetime!(2026-11-24 12:00:00.400 UTC);
        for (status, date, expected) in [
            (200, Some("Tue, 24 Nov 2026 12:10:00 GMT"), Some(599_600)),
            (201, Some("Tue, 24 Nov 2026 11:50:00 GMT"), Some(-600_400)),
            (200, Some("Tue, 24 Nov 2026 12:00:00 GMT"), Some(0)),
            // The API is gone, and `kubectl proxy` says so with the time of this machine.
            (502, Some("Tue, 24 Nov 2026 12:00:00 GMT"), None),
            (403, Some("Tue, 24 Nov 2026 12:10:00 GMT"), None),
            (200, Some("now"), None),
            (200, None, None),
        ] {
            assert_eq!(skew(status, date, now), expected, "{status} {date:?}");
        }
    }

    #[test]
    fn an_api_that_cannot_answer_has_refused_nothing() {
        let status = |code: u16, reason: &str, message: &str| {
            serde_json::json!({"kind": "Status", "code": code, "reason": reason, "message": message}).to_string()
        };
        for (code, body, unreachable) in [
            (502, "Bad Gateway: dial tcp 127.0.0.1:6443: connect: connection refused".to_owned(), true),
            (503, status(503, "ServiceUnavailable", "apiserver is shutting down"), true),
            (500, status(500, "InternalError", "etcdserver: request timed out"), true),
            (429, status(429, "TooManyRequests", "too many requests"), true),
            (409, status(409, "Conflict", "Apply failed with 1 conflict"), false),
            (403, status(403, "Forbidden", "pods is forbidden"), false),
            (401, "Unauthorized".to_owned(), false),
            (404, status(404, "NotFound", "not found"), false),
        ] {
            assert_eq!(refused(code, body.as_bytes()).is_unreachable(), unreachable, "{code} {body}");
        }
        let conflict =
            refused(409, status(409, "Conflict", "conflict with \"kubectl-edit\": .spec\u{1b}[31m").as_bytes());
        assert!(conflict.is_conflict() && conflict.to_string().ends_with("kubectl-edit\": .spec"), "{conflict}");
    }
}
