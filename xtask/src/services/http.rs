//! Asks services of ours over HTTP: never through a proxy, never without a limit.

use std::time::Duration;

use anyhow::{Context as _, Result};
use reqwest::Method;

use crate::config::Request;
use crate::expect::{Answer, LARGEST_BODY, judge};
use crate::text::clean;

/// How long a connection to a service on this machine may take.
const CONNECTS_WITHIN: Duration = Duration::from_secs(2);

/// How much of a body that was not expected is told, in characters.
const TOLD: usize = 200;

/// A client for services on this machine; a proxy of the environment is for the world outside.
pub fn client() -> Result<reqwest::Client> {
    // The first installation counts; another one is the same provider.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().connect_timeout(CONNECTS_WITHIN).build().context("cannot make an HTTP client")
}

/// Sends `request` to the service at `url`; the error says why the answer is not the expected one.
pub async fn expect(client: &reqwest::Client, url: &str, request: &Request, limit: Duration) -> Result<(), String> {
    let answer = ask(client, url, request, limit).await.map_err(|e| deepest(&e))?;
    judge(request, &answer).map_err(|wrong| {
        let words: String = clean(&String::from_utf8_lossy(&answer.body)).chars().take(TOLD).collect();
        format!("`{}`: {wrong}: {}", request.send, words.trim())
    })
}

async fn ask(client: &reqwest::Client, url: &str, request: &Request, limit: Duration) -> reqwest::Result<Answer> {
    // The configuration was refused if the method is none.
    let method = Method::from_bytes(request.method().as_bytes()).unwrap_or_default();
    let mut asked = client.request(method, format!("{url}{}", request.path())).timeout(limit);
    for (name, value) in &request.headers {
        asked = asked.header(name, value);
    }
    if let Some(json) = &request.json {
        asked = asked.json(json);
    }
    if let Some(text) = &request.text {
        asked = asked.body(text.clone());
    }
    let mut response = asked.send().await?;
    let content_type = response.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (status, content_type) = (response.status().as_u16(), content_type.to_owned());
    let mut answer = Answer { status, content_type, body: Vec::new(), is_whole: false };
    while answer.body.len() <= LARGEST_BODY {
        match response.chunk().await {
            Ok(Some(chunk)) => answer.body.extend_from_slice(&chunk),
            Ok(None) => {
                answer.is_whole = true;
                break;
            }
            Err(_cut) => break,
        }
    }
    Ok(answer)
}

/// The last cause says what happened; those before it say where.
fn deepest(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
