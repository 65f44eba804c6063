//! Asks a server one question of the configuration and takes what comes, as far as it comes.

use std::time::Instant;

use anyhow::{Context as _, Result};

use super::download;
use crate::config::Request;
use crate::expect::{Answer, LARGEST_BODY, judge};

/// A client that follows no redirect: what answers has to be the instance that was asked, and proxies are only for
/// what is not on this machine.
pub fn client() -> Result<reqwest::Client> {
    download::builder().redirect(reqwest::redirect::Policy::none()).build().context("cannot make an HTTP client")
}

/// The same for a server on this machine, which no proxy stands before.
pub fn local_client() -> Result<reqwest::Client> {
    let builder = download::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
    builder.build().context("cannot make an HTTP client")
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// No connection came about: the name is unknown, or the way to it is not there.
    NotReached(String),
    /// The machine answered, and nobody listens there.
    Refused(String),
    /// It was reached, and sent no whole head of an answer in time.
    Silent(String),
}

impl std::fmt::Display for Unanswered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotReached(why) | Self::Refused(why) => write!(f, "cannot be reached: {why}"),
            Self::Silent(why) => write!(f, "did not answer: {why}"),
        }
    }
}

/// Asks, and says what is wrong with the answer, or why there is none.
pub async fn expect(client: &reqwest::Client, base: &str, request: &Request) -> Result<(), String> {
    match ask(client, base, request).await {
        Ok(answer) => judge(request, &answer).map_err(|wrong| format!("`{}`: {wrong}", request.send)),
        Err(unanswered) => Err(format!("it {unanswered}")),
    }
}

/// Sends `request` to the server at `base`. The whole answer has to be there within the request's time.
pub async fn ask(client: &reqwest::Client, base: &str, request: &Request) -> Result<Answer, Unanswered> {
    let url = format!("{}{}", base.trim_end_matches('/'), request.path());
    let method = reqwest::Method::from_bytes(request.method().as_bytes()).unwrap_or_default();
    let mut asked = client.request(method, url).timeout(request.timeout);
    for (name, value) in &request.headers {
        asked = asked.header(name, value);
    }
    if let Some(json) = &request.json {
        asked = asked.json(json);
    } else if let Some(text) = &request.text {
        asked = asked.body(text.clone());
    }
    let begun = Instant::now();
    let mut response = asked.send().await.map_err(|error| {
        let why = root_cause(&error);
        if error.is_connect() {
            return if is_refused(&error) { Unanswered::Refused(why) } else { Unanswered::NotReached(why) };
        }
        let waited = if error.is_timeout() { format!(" after {:.1} s", begun.elapsed().as_secs_f32()) } else { why };
        Unanswered::Silent(waited.trim_start().to_owned())
    })?;
    let header = response.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut answer = Answer {
        status: response.status().as_u16(),
        content_type: header.to_owned(),
        body: Vec::new(),
        is_whole: false,
    };
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                let room = (LARGEST_BODY + 1).saturating_sub(answer.body.len());
                answer.body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                if answer.body.len() > LARGEST_BODY {
                    return Ok(answer);
                }
            }
            Ok(None) => return Ok(Answer { is_whole: true, ..answer }),
            // What came so far is judged as what it is: an answer that was cut.
            Err(_) => return Ok(answer),
        }
    }
}

/// Whether the system at the other end said that nobody listens.
fn is_refused(error: &reqwest::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::ConnectionRefused) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The innermost error, which says what happened; the outer ones repeat the URL.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
