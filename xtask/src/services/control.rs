//! What the tests of the whole call to bring faults about: HTTP on loopback, JSON in and out.
//!
//! | request | what it does |
//! | --- | --- |
//! | `GET /` | [`State`] |
//! | `POST /ollama` | a [`Mode`]: `{"mode": "cut", "after_bytes": 400}` |
//! | `POST /redis` | `{"running": false}` takes Redis away, `true` gives it back at the same address |
//! | `POST /backend` | `{"running": false}` is SIGTERM, `true` starts it anew and waits until it is ready |
//!
//! Every answer is the state afterwards; what could not be done is 500 with `{"error": "…"}`.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Result;
use hyper::{Method, Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Mutex;

use super::faults::Mode;
use super::serve::{Asked, Body, Listening, json as answer, serve};
use super::stack::Stack;

/// Everything as it is now.
#[derive(Clone, Debug, Serialize)]
pub struct State {
    /// Where the backend answers.
    pub backend: String,
    /// How it ended, if it has.
    pub ended: Option<String>,
    /// Whether Redis runs.
    pub redis: bool,
    /// What happens between the backend and Ollama.
    pub ollama: Option<Mode>,
    /// A model that Ollama has.
    pub model: String,
    /// Whether that is the real Ollama.
    pub is_real: bool,
}

/// What does not change while the tests run.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// A model that Ollama has.
    pub model: String,
    /// Whether it is the real one.
    pub is_real: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Running {
    running: bool,
}

/// Listens until the value is dropped.
pub async fn start(stack: &Arc<Mutex<Stack>>, known: Known) -> Result<Listening> {
    let stack = stack.clone();
    let obeyed = move |asked: Asked| {
        let (stack, known) = (stack.clone(), known.clone());
        async move { respond(&stack, &known, &asked).await }
    };
    serve(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), obeyed).await
}

async fn respond(stack: &Mutex<Stack>, known: &Known, asked: &Asked) -> Response<Body> {
    let mut stack = stack.lock().await;
    match obey(&mut stack, known, asked).await {
        Ok(Some(state)) => answer(StatusCode::OK, &json!(state)),
        Ok(None) => answer(StatusCode::NOT_FOUND, &json!({ "error": "unknown" })),
        Err(why) => answer(StatusCode::INTERNAL_SERVER_ERROR, &json!({ "error": why })),
    }
}

async fn obey(stack: &mut Stack, known: &Known, asked: &Asked) -> Result<Option<State>, String> {
    let running = || serde_json::from_slice::<Running>(&asked.body).map_err(|e| e.to_string());
    match (&asked.method, asked.path.as_str()) {
        (&Method::GET, "/") => {}
        (&Method::POST, "/redis") => stack.set_redis(running()?.running).await.map_err(|why| why.to_string())?,
        (&Method::POST, "/backend") if running()?.running => stack.restart().await.map_err(|why| why.to_string())?,
        (&Method::POST, "/backend") => stack.terminate().await.map_err(|why| why.to_string())?,
        (&Method::POST, "/ollama") => {
            let mode = serde_json::from_slice(&asked.body).map_err(|e| e.to_string())?;
            let faults = stack.faults.as_ref().ok_or("there is no Ollama")?;
            faults.set(mode).await.map_err(|e| format!("{e:#}"))?;
        }
        _ => return Ok(None),
    }
    let ended = stack.ended().await.map_err(|why| why.to_string())?.map(|exit| exit.to_string());
    Ok(Some(State {
        backend: stack.url.clone(),
        ended,
        redis: stack.has_redis(),
        ollama: stack.faults.as_ref().map(super::faults::Faults::mode),
        model: known.model.clone(),
        is_real: known.is_real,
    }))
}
