//! The stand-in for Ollama answers as the real one was seen to answer, and as its documentation says.
//!
//! `xtask/tests/ollama/recorded.json` was recorded from the real program, and `documented.json` is what its
//! documentation shows. Where an `ollama` is on PATH, it is asked again, so that the recording stays true.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use serde_json::Value;

use super::support::repository;
use super::tiny_model;
use xtask::services::stand_in;
use xtask::tools::http;

#[derive(Deserialize)]
struct Samples<T> {
    samples: Vec<T>,
}

/// One question with its answer.
#[derive(Clone, Deserialize)]
struct Recorded {
    name: String,
    method: String,
    path: String,
    json: Option<Value>,
    status: u16,
    content_type: String,
    answer: String,
}

#[derive(Deserialize)]
struct Documented {
    name: String,
    answer: Value,
}

fn samples<T: serde::de::DeserializeOwned>(file: &str) -> Vec<T> {
    let text = std::fs::read_to_string(repository().join("xtask/tests/ollama").join(file)).unwrap();
    let samples = serde_json::from_str::<Samples<T>>(&text).unwrap().samples;
    assert!(samples.len() >= 8, "{file} is no recording");
    samples
}

fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// Asks what was asked when it was recorded, for another model.
async fn ask(url: &str, recorded: &Recorded, model: &str) -> Recorded {
    let client = http::local_client().unwrap();
    let method = recorded.method.parse().unwrap();
    let mut asked = client.request(method, format!("{url}{}", recorded.path)).timeout(Duration::from_secs(60));
    if let Some(mut json) = recorded.json.clone() {
        if let Some(name) = json.get("model").and_then(Value::as_str) {
            json["model"] = name.replace("tiny", model).into();
        }
        asked = asked.json(&json);
    }
    let answer = asked.send().await.unwrap();
    let status = answer.status().as_u16();
    let content_type = answer.headers()["content-type"].to_str().unwrap().to_owned();
    Recorded { status, content_type, answer: answer.text().await.unwrap(), ..recorded.clone() }
}

/// What differs between two answers but for what a model says and how long it takes.
fn difference(expected: &Recorded, found: &Recorded) -> Option<String> {
    let head = |answer: &Recorded| (answer.status, answer.content_type.clone());
    if head(expected) != head(found) {
        return Some(format!("{:?}, not {:?}", head(found), head(expected)));
    }
    let (wanted, got) = (lines(&expected.answer), lines(&found.answer));
    if wanted.is_empty() || expected.status != 200 {
        return (expected.answer != found.answer).then(|| format!("`{}`, not `{}`", found.answer, expected.answer));
    }
    if (wanted.len() > 1) != (got.len() > 1) {
        return Some(format!("{} lines, not {}", got.len(), wanted.len()));
    }
    let pieces = got[..got.len() - 1].iter().find_map(|piece| unlike("piece", &wanted[0], piece));
    pieces.or_else(|| unlike("last", wanted.last().unwrap(), got.last().unwrap()))
}

/// Each line as JSON; none where it is plain text.
fn lines(answer: &str) -> Vec<Value> {
    answer.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The first place where the two do not have the same fields of the same types.
fn unlike(place: &str, expected: &Value, found: &Value) -> Option<String> {
    match (expected, found) {
        (Value::Object(wanted), Value::Object(got)) => {
            let names = |fields: &serde_json::Map<String, Value>| fields.keys().cloned().collect::<Vec<_>>();
            if names(wanted) != names(got) {
                return Some(format!("{place} has {:?}, not {:?}", names(got), names(wanted)));
            }
            wanted.iter().find_map(|(name, value)| unlike(&format!("{place}.{name}"), value, &got[name]))
        }
        (Value::Array(wanted), Value::Array(got)) => match (wanted.first(), got.first()) {
            (Some(wanted), Some(got)) => unlike(&format!("{place}[0]"), wanted, got),
            (None, None) => None,
            _ => Some(format!("{place} is empty in one of them")),
        },
        _ if std::mem::discriminant(expected) == std::mem::discriminant(found) => None,
        _ => Some(format!("{place} is `{found}`, not like `{expected}`")),
    }
}

#[test]
fn the_stand_in_answers_as_the_real_one_was_recorded() {
    within(async {
        let listening = stand_in::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
        let url = format!("http://{}", listening.address);
        for recorded in samples::<Recorded>("recorded.json") {
            let mut found = ask(&url, &recorded, "stand-in").await;
            // Only the recording's own models stand in errors.
            found.answer = found.answer.replace("stand-in", "tiny");
            assert_eq!(difference(&recorded, &found), None, "{}", recorded.name);
        }
    });
}

#[test]
fn the_stand_in_has_every_field_that_the_documentation_shows() {
    within(async {
        let listening = stand_in::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
        let url = format!("http://{}", listening.address);
        let recorded = samples::<Recorded>("recorded.json");
        for Documented { name, answer } in samples("documented.json") {
            let asked = match name.as_str() {
                "chat, a piece" | "chat, the last" => "chat, streamed",
                "generate, a piece" | "generate, the last" => "generate, streamed",
                plain => plain,
            };
            let asked = recorded.iter().find(|sample| sample.name == asked).unwrap();
            let said = lines(&ask(&url, asked, "stand-in").await.answer);
            let found = if name.ends_with("a piece") { said.first() } else { said.last() };
            assert_eq!(lacking("answer", &answer, found.unwrap()), None, "{name}");
        }
    });
}

/// The first documented field that is not there, or is of another type. The documentation shows `images: null`, which
/// no version of the program says that was seen.
fn lacking(place: &str, documented: &Value, found: &Value) -> Option<String> {
    match (documented, found) {
        (Value::Object(wanted), Value::Object(got)) => {
            wanted.iter().filter(|(_, value)| !value.is_null()).find_map(|(name, value)| match got.get(name) {
                Some(found) => lacking(&format!("{place}.{name}"), value, found),
                None => Some(format!("{place}.{name} is missing")),
            })
        }
        (Value::Array(wanted), Value::Array(got)) => match (wanted.first(), got.first()) {
            (Some(wanted), Some(got)) => lacking(&format!("{place}[0]"), wanted, got),
            (None, _) => None,
            (Some(_), None) => Some(format!("{place} is empty")),
        },
        _ => unlike(place, documented, found),
    }
}

#[test]
fn a_stand_in_that_answers_wrong_is_seen() {
    let right = samples::<Recorded>("recorded.json");
    let named = |name: &str| right.iter().find(|sample| sample.name == name).unwrap().clone();
    let spoilt = |name: &str, from: &str, to: &str| {
        let mut sample = named(name);
        assert!(sample.answer.contains(from), "`{from}` is not in {name}");
        sample.answer = sample.answer.replace(from, to);
        difference(&named(name), &sample)
    };
    let seen = [
        spoilt("chat, streamed", "\"done_reason\":\"length\",", ""),
        spoilt("chat, streamed", "\"role\":\"assistant\",", ""),
        spoilt("chat, plain", "\"eval_count\":8", "\"eval_count\":\"8\""),
        spoilt("generate, plain", "\"context\":[", "\"context\":[],\"more\":["),
        spoilt("chat, unknown model", "not found", "unknown"),
        difference(&named("chat, unknown model"), &Recorded { status: 200, ..named("chat, unknown model") }),
        difference(&named("chat, streamed"), &named("chat, plain")),
    ];
    assert!(seen.iter().all(Option::is_some), "{seen:?}");
    assert_eq!(difference(&named("tags"), &named("tags")), None);
}

/// The real one with the tiny model; it ends with the value.
struct Ollama {
    url: String,
    child: Child,
    _folder: tempfile::TempDir,
}

impl Drop for Ollama {
    fn drop(&mut self) {
        // Asked and not killed, for it stops the process that runs the model itself.
        let _gone = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _gone = self.child.wait();
    }
}

impl Ollama {
    /// `None` where there is none on PATH.
    fn start() -> Option<Self> {
        let path = std::env::var_os("PATH")?;
        let program = std::env::split_paths(&path).map(|dir| dir.join("ollama")).find(|path| path.is_file())?;
        let folder = tempfile::tempdir().unwrap();
        tiny_model::write(folder.path());
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let host = free.local_addr().unwrap().to_string();
        drop(free);
        let command = |args: &[&str]| {
            let mut command = Command::new(&program);
            command.args(args).current_dir(folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
            command.env("OLLAMA_HOST", &host).env("OLLAMA_MODELS", folder.path().join("models"));
            command.env("HOME", folder.path());
            command
        };
        let child = command(&["serve"]).spawn().unwrap();
        let begun = Instant::now();
        while !command(&["create", "tiny", "-f", "Modelfile"]).status().unwrap().success() {
            assert!(begun.elapsed() < Duration::from_secs(60), "the model cannot be created");
            std::thread::sleep(Duration::from_millis(100));
        }
        Some(Self { url: format!("http://{host}"), child, _folder: folder })
    }
}

#[test]
fn the_real_one_still_answers_as_it_was_recorded() {
    let Some(ollama) = Ollama::start() else {
        // Past the capture of tests, which shows nothing of one that passes.
        let line = "stand_in: no `ollama` is on PATH; only what was recorded of it was held against anything\n";
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        return;
    };
    within(async {
        for recorded in samples::<Recorded>("recorded.json") {
            let found = ask(&ollama.url, &recorded, "tiny").await;
            assert_eq!(difference(&recorded, &found), None, "{}", recorded.name);
        }
    });
}
