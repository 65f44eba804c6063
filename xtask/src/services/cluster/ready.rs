//! When a cluster counts as ready: its node says so, and a pod on it was answered a name.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use reqwest::Method;
use serde_json::Value;

use super::api::{Api, is_true};
use super::objects;

/// How long one step may take.
const STEP_WITHIN: Duration = Duration::from_secs(90);

/// What a pod asks for to show that names are answered.
const ASKED: &str = "kubernetes.default.svc.cluster.local";

/// Called while something is waited for, with what it is; its error ends the wait.
pub type Between<'a> = dyn FnMut(&str) -> Result<()> + Send + 'a;

/// Waits until `holds` does, and gives what it saw.
pub async fn until<T, P>(what: &str, between: &mut Between<'_>, holds: impl Fn() -> P) -> Result<T>
where
    P: Future<Output = Result<T, String>>,
{
    let begun = Instant::now();
    loop {
        between(what)?;
        let why = match holds().await {
            Ok(seen) => return Ok(seen),
            Err(why) => why,
        };
        if begun.elapsed() > STEP_WITHIN {
            bail!("{what}: not within {} s: {why}", STEP_WITHIN.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The cluster shows that it works.
pub async fn is_shown(api: &Api, between: &mut Between<'_>) -> Result<()> {
    until("the node is ready", between, || nodes(api)).await?;
    let account = "/api/v1/namespaces/default/serviceaccounts/default";
    until("pods have an account", between, || api.get(account)).await?;
    let (pods, asks) = ("/api/v1/namespaces/default/pods", objects::asks_for(ASKED));
    // One that asks before the rules of kube-proxy are there is not answered; another one asks then.
    for _ in 0..5 {
        let pod = api.send(Method::POST, pods, Some(&asks)).await.map_err(anyhow::Error::msg)?;
        let path = format!("{pods}/{}", pod["metadata"]["name"].as_str().unwrap_or_default());
        let phase = until("a pod is answered a name", between, || phase_at_end(api, &path)).await?;
        let _gone = api.send(Method::DELETE, &path, None).await;
        if phase == "Succeeded" {
            return Ok(());
        }
    }
    bail!("a pod of the cluster asked for `{ASKED}` and got no answer")
}

/// Whether there are nodes and all of them are ready.
pub async fn nodes(api: &Api) -> Result<(), String> {
    are_ready(&api.get("/api/v1/nodes").await?)
}

fn are_ready(list: &Value) -> Result<(), String> {
    let nodes = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    match nodes.iter().find(|node| !is_true(node, "Ready")) {
        Some(node) => {
            let (name, conditions) = (&node["metadata"]["name"], &node["status"]["conditions"]);
            Err(format!("the node {} is not ready: {conditions}", name.as_str().unwrap_or("without a name")))
        }
        None if nodes.is_empty() => Err("there is no node".to_owned()),
        None => Ok(()),
    }
}

/// How a pod ended, once it has.
async fn phase_at_end(api: &Api, pod: &str) -> Result<String, String> {
    let status = api.get(pod).await?["status"].take();
    match status["phase"].as_str() {
        Some(phase @ ("Succeeded" | "Failed")) => Ok(phase.to_owned()),
        _ => Err(status.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn no_node_is_not_a_ready_one() {
        let node = |name: &str, status: &str| json!({"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": status}]}});
        for (nodes, expected) in [
            (json!([node("a", "True")]), ""),
            (json!([node("a", "True"), node("b", "False")]), "the node b is not ready"),
            (json!([node("a", "Unknown")]), "the node a is not ready"),
            (json!([]), "there is no node"),
        ] {
            let said = are_ready(&json!({"items": nodes})).err().unwrap_or_default();
            assert!(said.starts_with(expected) && said.is_empty() == expected.is_empty(), "{said}");
        }
        assert!(are_ready(&json!({})).is_err());
    }
}
