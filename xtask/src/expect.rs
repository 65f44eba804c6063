//! One answer held against what its request expects. Pure: how the answer was had is nothing to this file.
//!
//! `smoke`, `perf` and `container test` judge by it alone, so that a request means the same to all of them.

use crate::config::Request;
use crate::shape;
use sse::{Event, Events};
pub use xtask_load::answer::{Answer, LARGEST_BODY};

pub mod sse;

/// What is expected of an answer, one by one; k6's word for it is a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// The status is the expected one.
    Status,
    /// The body came to its end.
    Whole,
    /// The body has the shape.
    Body,
    /// The stream ended with the expected data.
    Stream,
}

impl Check {
    /// As reports name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Whole => "whole",
            Self::Body => "body",
            Self::Stream => "stream",
        }
    }
}

/// The first thing that is wrong with an answer, as a sentence fragment.
pub fn judge(request: &Request, answer: &Answer) -> Result<(), String> {
    checks(request, answer).into_iter().find_map(|(_, fault)| fault).map_or(Ok(()), Err)
}

/// Every check of an answer with its fault, if it has one. A check that the request does not ask for is not there.
pub fn checks(request: &Request, answer: &Answer) -> Vec<(Check, Option<String>)> {
    let mut checks = vec![(Check::Status, status(request, answer)), (Check::Whole, whole(answer))];
    match &request.stream {
        Some(last) => {
            let events = Events::of(&answer.body);
            checks.push((Check::Stream, stream(last, answer, &events)));
            if let Some(shape) = &request.body {
                checks.push((Check::Body, pieces(shape, last, &events)));
            }
        }
        None => checks.extend(request.body.as_ref().map(|shape| (Check::Body, body(shape, &answer.body)))),
    }
    checks
}

fn status(request: &Request, answer: &Answer) -> Option<String> {
    (answer.status != request.status).then(|| format!("status {}, expected {}", answer.status, request.status))
}

fn whole(answer: &Answer) -> Option<String> {
    if answer.body.len() > LARGEST_BODY {
        return Some(format!("the body has more than {LARGEST_BODY} bytes"));
    }
    (!answer.is_whole).then(|| format!("the body was cut after {} bytes", answer.body.len()))
}

fn body(shape: &toml::Value, body: &[u8]) -> Option<String> {
    match serde_json::from_slice(body) {
        Ok(found) => shape::mismatch(shape, &found),
        Err(_) if body.is_empty() => Some("the body is empty".to_owned()),
        Err(error) => Some(format!("the body is no JSON: {error}")),
    }
}

/// A stream is one by its type, too: a proxy that collects it and sends it on as text has broken it.
fn stream(last: &str, answer: &Answer, events: &Events) -> Option<String> {
    let kind = answer.content_type.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("text/event-stream") {
        return Some(format!("the answer is `{kind}` and no `text/event-stream`"));
    }
    if let Some(event) = events.all.iter().find(|event| event.name == "error") {
        return Some(format!("the stream carries an error: {}", shortened(&event.data)));
    }
    match events.all.last() {
        None => Some("the stream carries no event".to_owned()),
        Some(event) if event.data != *last => {
            let (count, data) = (events.all.len(), shortened(&event.data));
            Some(format!("the stream was cut: the last of {count} events is `{data}` and not `{last}`"))
        }
        Some(_) if events.all.len() == 1 => Some(format!("the stream carries nothing before `{last}`")),
        Some(_) => None,
    }
}

/// With a stream, the shape is that of the data of every event before the last.
fn pieces(shape: &toml::Value, last: &str, events: &Events) -> Option<String> {
    let pieces = events.all.iter().filter(|event| event.data != last);
    pieces.zip(1..).find_map(|(Event { data, .. }, number)| {
        body(shape, data.as_bytes()).map(|fault| format!("event {number}: {fault}"))
    })
}

fn shortened(text: &str) -> String {
    const ENOUGH: usize = 120;
    if text.chars().count() <= ENOUGH { text.to_owned() } else { text.chars().take(ENOUGH).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> Request {
        toml::from_str(text).unwrap()
    }

    fn answer(status: u16, body: &str) -> Answer {
        let content_type = "application/json".to_owned();
        Answer { status, content_type, body: body.as_bytes().to_vec(), is_whole: true }
    }

    #[test]
    fn an_answer_fits_or_its_first_fault_is_told() {
        let health = "send = \"GET /health\"\nbody = { status = \"=ok\" }";
        let refused = "send = \"POST /x\"\nstatus = 422";
        for (request_text, status, body, fault) in [
            (health, 200, r#"{"status": "ok"}"#, None),
            (health, 500, r#"{"status": "ok"}"#, Some("status 500, expected 200")),
            (health, 200, r#"{"status": "down"}"#, Some("$.status: expected `ok`, found `\"down\"`")),
            (health, 200, "<html>", Some("the body is no JSON: expected value at line 1 column 1")),
            (health, 200, "", Some("the body is empty")),
            (refused, 422, "", None),
            (refused, 200, "", Some("status 200, expected 422")),
        ] {
            let found = judge(&request(request_text), &answer(status, body)).err();
            assert_eq!(found.as_deref(), fault, "{status} {body}");
        }
    }

    #[test]
    fn a_body_that_is_cut_or_too_large_is_a_fault_without_any_shape() {
        let request = request("send = \"GET /x\"");
        let cut = Answer { is_whole: false, ..answer(200, "half") };
        assert_eq!(judge(&request, &cut), Err("the body was cut after 4 bytes".to_owned()));
        let large = Answer { body: vec![b' '; LARGEST_BODY + 1], ..answer(200, "") };
        assert!(judge(&request, &large).unwrap_err().starts_with("the body has more than"));
    }

    #[test]
    fn a_stream_ends_with_its_mark_or_is_a_fault() {
        let request = request("send = \"GET /s\"\nstream = \"[DONE]\"\nbody = { n = \"integer\" }");
        for (body, fault) in [
            ("data: {\"n\":1}\n\ndata: [DONE]\n\n", None),
            ("data: {\"n\":1}\r\n\r\ndata: [DONE]\r\n\r\n", None),
            (": hello\n\ndata: {\"n\":1}\n\n: bye\n\ndata: [DONE]\n\n", None),
            ("data: [DONE]\n\n", Some("the stream carries nothing before `[DONE]`")),
            ("data: {\"n\":1}\n\n", Some("the stream was cut: the last of 1 events is `{\"n\":1}` and not `[DONE]`")),
            // Without its empty line the mark was not sent whole.
            (
                "data: {\"n\":1}\n\ndata: [DONE]",
                Some("the stream was cut: the last of 1 events is `{\"n\":1}` and not `[DONE]`"),
            ),
            (
                "data: {\"n\":1}\n\nevent: error\ndata: {\"code\":1}\n\ndata: [DONE]\n\n",
                Some("the stream carries an error: {\"code\":1}"),
            ),
            ("", Some("the stream carries no event")),
            ("data: {\"n\":\"a\"}\n\ndata: [DONE]\n\n", Some("event 1: $.n: expected integer, found `\"a\"`")),
        ] {
            let stream = Answer { content_type: "text/event-stream; charset=utf-8".to_owned(), ..answer(200, body) };
            assert_eq!(judge(&request, &stream).err().as_deref(), fault, "{body}");
        }
        let buffered = answer(200, "data: {\"n\":1}\n\ndata: [DONE]\n\n");
        assert_eq!(
            judge(&request, &buffered),
            Err("the answer is `application/json` and no `text/event-stream`".to_owned())
        );
    }

    #[test]
    fn each_expectation_is_a_check_of_its_own() {
        let health = request("send = \"GET /health\"\nbody = { status = \"=ok\" }");
        let found = checks(&health, &answer(500, "{}"));
        let names: Vec<_> = found.iter().map(|(check, fault)| (check.name(), fault.is_some())).collect();
        assert_eq!(names, [("status", true), ("whole", false), ("body", true)]);
    }
}
