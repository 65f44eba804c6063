//! Asks the cluster's API server as its administrator.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use reqwest::{Certificate, Identity, Method, StatusCode};
use serde_json::Value;

use crate::tools::download;

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The API server.
#[derive(Clone, Debug)]
pub struct Api {
    client: reqwest::Client,
    base: String,
}

impl Api {
    /// By a kubeconfig with one context, whose certificates are in it.
    pub fn new(kubeconfig: &Path) -> Result<Self> {
        let cannot = || format!("cannot read `{}`", kubeconfig.display());
        let text = std::fs::read_to_string(kubeconfig).with_context(cannot)?;
        let config: Value = serde_saphyr::from_str(&text).with_context(cannot)?;
        let (cluster, user) = (&config["clusters"][0]["cluster"], &config["users"][0]["user"]);
        let decoded = |value: &Value| {
            let text = value.as_str().with_context(cannot)?;
            base64::engine::general_purpose::STANDARD.decode(text).with_context(cannot)
        };
        let ca = Certificate::from_pem(&decoded(&cluster["certificate-authority-data"])?).with_context(cannot)?;
        let pair = [decoded(&user["client-key-data"])?, decoded(&user["client-certificate-data"])?].concat();
        let identity = Identity::from_pem(&pair).with_context(cannot)?;
        let builder = download::builder().no_proxy().timeout(PATIENCE).tls_certs_only([ca]).identity(identity);
        let base = cluster["server"].as_str().with_context(cannot)?.to_owned();
        Ok(Self { client: builder.build().context("cannot make an HTTP client")?, base })
    }

    /// Where it answers.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Sends a request; an answer that is no success is an error with the server's own words.
    pub async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, String> {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.map_err(|error| root(&error))?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| root(&error))?;
        let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        match status {
            status if status.is_success() => Ok(value),
            // What was to be made is there.
            StatusCode::CONFLICT => Ok(value),
            _ => Err(value["message"].as_str().map_or_else(|| format!("{status}: {value}"), str::to_owned)),
        }
    }

    /// Reads one thing.
    pub async fn get(&self, path: &str) -> Result<Value, String> {
        self.send(Method::GET, path, None).await
    }
}

fn root(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// Whether the condition of that type is `True` in the status of an object.
pub fn is_true(object: &Value, condition: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|one| one["type"] == condition && one["status"] == "True"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_condition_that_is_absent_is_not_true() {
        let node = |status: &str| json!({"status": {"conditions": [{"type": "Ready", "status": status}]}});
        for (object, expected) in [(node("True"), true), (node("Unknown"), false), (json!({}), false)] {
            assert_eq!(is_true(&object, "Ready"), expected, "{object}");
        }
    }
}
