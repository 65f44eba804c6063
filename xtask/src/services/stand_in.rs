//! A stand-in for Ollama where none can be had: its HTTP API, with one model that says back what it was told.
//!
//! Answers have the fields, the types and the headers of the real one (`docs/api.md` of ollama, and what the real
//! program was seen to answer); `xtask/tests/ollama/` holds the recorded samples that tests compare with.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use http_body_util::BodyExt as _;
use http_body_util::channel::Channel;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::serve::{Asked, Body, Listening, json as answer, serve, text, whole};

/// The version that it says it is: that of the program which its answers were compared with.
pub const VERSION: &str = "0.17.4";

/// Its model.
pub const MODEL: &str = "stand-in:latest";

/// Between two pieces of a streamed answer: slow enough that a stream can be seen to be one.
const PACE: Duration = Duration::from_millis(5);

/// Starts it; it ends with the value.
pub async fn start(listen: SocketAddr) -> Result<Listening> {
    serve(listen, async |asked: Asked| respond(&asked)).await
}

/// What is asked of both routes that generate.
#[derive(Debug, Default, Deserialize)]
struct Question {
    #[serde(default)]
    model: String,
    #[serde(default)]
    prompt: String,
    #[serde(default)]
    messages: Vec<Message>,
    stream: Option<bool>,
    #[serde(default)]
    options: Options,
}

#[derive(Debug, Deserialize)]
struct Message {
    role: String,
    #[serde(default)]
    content: String,
}

#[derive(Debug, Default, Deserialize)]
struct Options {
    num_predict: Option<i64>,
}

/// Which of the two routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    Generate,
    Chat,
}

fn respond(asked: &Asked) -> Response<Body> {
    let read = [Method::GET, Method::HEAD].contains(&asked.method);
    match (asked.path.as_str(), read, asked.method == Method::POST) {
        ("/", true, _) => whole(StatusCode::OK, "text/plain; charset=utf-8", "Ollama is running"),
        ("/api/version", true, _) => answer(StatusCode::OK, &json!({ "version": VERSION })),
        ("/api/tags", true, _) => answer(StatusCode::OK, &json!({ "models": [model()] })),
        ("/api/generate", _, true) => generate(Route::Generate, &asked.body),
        ("/api/chat", _, true) => generate(Route::Chat, &asked.body),
        ("/" | "/api/version" | "/api/tags" | "/api/generate" | "/api/chat", ..) => {
            text(StatusCode::METHOD_NOT_ALLOWED, "405 method not allowed")
        }
        _ => text(StatusCode::NOT_FOUND, "404 page not found"),
    }
}

fn model() -> Value {
    json!({
        "name": MODEL,
        "model": MODEL,
        "modified_at": "2026-01-01T00:00:00Z",
        "size": 1,
        "digest": "0000000000000000000000000000000000000000000000000000000000000000",
        "details": {
            "parent_model": "",
            "format": "gguf",
            "family": "llama",
            "families": ["llama"],
            "parameter_size": "0",
            "quantization_level": "F32",
        },
    })
}

fn generate(route: Route, body: &Bytes) -> Response<Body> {
    let refused = |status, words: &str| answer(status, &json!({ "error": words }));
    if body.is_empty() {
        return refused(StatusCode::BAD_REQUEST, "missing request body");
    }
    let question: Question = match serde_json::from_slice(body) {
        Ok(question) => question,
        Err(why) => return refused(StatusCode::BAD_REQUEST, &why.to_string()),
    };
    if question.model.is_empty() {
        // The real one looks the empty name up where it generates, and refuses it where it chats.
        return match route {
            Route::Generate => refused(StatusCode::NOT_FOUND, "model '' not found"),
            Route::Chat => refused(StatusCode::BAD_REQUEST, "model is required"),
        };
    }
    if ![MODEL, MODEL.trim_end_matches(":latest")].contains(&question.model.as_str()) {
        return refused(StatusCode::NOT_FOUND, &format!("model '{}' not found", question.model));
    }
    let told = told(route, &question);
    if told.is_empty() {
        // Nothing to say: the model is loaded.
        let lines = line(route, &question.model, "", Some(json!({ "done_reason": "load" })));
        return answer(StatusCode::OK, &lines);
    }
    let said = Said::of(&question, &told);
    if question.stream == Some(false) {
        let whole = said.words.concat();
        return answer(StatusCode::OK, &line(route, &question.model, &whole, Some(said.statistics(route))));
    }
    stream(route, question.model, said)
}

/// What the model says back: the prompt, or the last thing that the user said.
fn told(route: Route, question: &Question) -> String {
    match route {
        Route::Generate => question.prompt.clone(),
        Route::Chat => {
            let last = question.messages.iter().rev().find(|message| message.role == "user");
            last.or(question.messages.last()).map(|message| message.content.clone()).unwrap_or_default()
        }
    }
}

struct Said {
    words: Vec<String>,
    asked: usize,
    reason: &'static str,
    begun: Instant,
}

impl Said {
    fn of(question: &Question, told: &str) -> Self {
        let all = question.messages.iter().map(|message| message.content.as_str()).chain([question.prompt.as_str()]);
        let asked = all.map(|text| text.split_whitespace().count()).sum::<usize>().max(1);
        let mut words: Vec<String> = told.split_inclusive(' ').map(str::to_owned).collect();
        // A negative limit is none, as in Ollama.
        let limit =
            question.options.num_predict.and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0);
        let is_cut = limit.is_some_and(|limit| words.len() > limit);
        words.truncate(limit.unwrap_or(usize::MAX));
        Self { words, asked, reason: if is_cut { "length" } else { "stop" }, begun: Instant::now() }
    }

    /// The fields of the last object. Times are in nanoseconds.
    fn statistics(&self, route: Route) -> Value {
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1);
        let total = nanoseconds(self.begun.elapsed()) + 3;
        let mut statistics = json!({
            "done_reason": self.reason,
            "total_duration": total,
            "load_duration": 1,
            "prompt_eval_count": self.asked,
            "prompt_eval_duration": 1,
            "eval_count": self.words.len(),
            "eval_duration": total - 2,
        });
        if route == Route::Generate {
            // The tokens of the conversation; ours are their places.
            statistics["context"] = (0..self.asked + self.words.len()).collect();
        }
        statistics
    }
}

/// One object of an answer; `last` holds what only the last one has.
fn line(route: Route, model: &str, words: &str, last: Option<Value>) -> Value {
    let now = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default();
    let mut line = json!({ "model": model, "created_at": now, "done": last.is_some() });
    match route {
        Route::Generate => line["response"] = words.into(),
        Route::Chat => line["message"] = json!({ "role": "assistant", "content": words }),
    }
    if let (Some(fields), Some(Value::Object(more))) = (line.as_object_mut(), last) {
        fields.extend(more);
    }
    line
}

/// Newline-delimited JSON, one object a word, as the words come.
fn stream(route: Route, model: String, said: Said) -> Response<Body> {
    let (mut sender, body) = Channel::<Bytes>::new(1);
    tokio::spawn(async move {
        let mut lines: Vec<Value> = said.words.iter().map(|word| line(route, &model, word, None)).collect();
        lines.push(Value::Null);
        for mut value in lines {
            if value.is_null() {
                value = line(route, &model, "", Some(said.statistics(route)));
            }
            // The caller has gone away, and so does the work.
            if sender.send_data(Bytes::from(format!("{value}\n"))).await.is_err() {
                return;
            }
            tokio::time::sleep(PACE).await;
        }
    });
    let mut response = whole(StatusCode::OK, "application/x-ndjson", "");
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    *response.body_mut() = body.boxed();
    response
}
