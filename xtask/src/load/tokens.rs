//! What a language model's answer is measured by: time to first token, between tokens, tokens a second (R30).
//!
//! A token is an event that carries text. In the chunks of OpenAI's API that is a non-empty `delta.content` (or
//! `text`), so that the chunk that only names the role, or only the reason of the end, is none; of other streams every
//! event but the mark at the end. Servers may join tokens into one event, which no client can see.

use std::time::Duration;

use serde_json::Value;

use crate::expect::sse::{Event, Events};

/// The tokens of one answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tokens {
    /// How many.
    pub count: u64,
    /// When the first one came, in time since the beginning of the run; `None` where the answer is no stream.
    pub first: Option<Duration>,
    /// From each to the next.
    pub gaps: Vec<Duration>,
}

/// Reads tokens while they come.
#[derive(Debug, Default)]
pub struct Watch {
    events: Events,
    seen: usize,
    last: Option<Duration>,
    tokens: Tokens,
}

impl Watch {
    /// The next part of the body came at `now`; `end` is the mark of the stream's end.
    pub fn piece(&mut self, bytes: &[u8], end: &str, now: Duration) {
        self.events.push(bytes);
        for event in &self.events.all[self.seen..] {
            if event.data != end && is_token(event) {
                self.tokens.count += 1;
                self.tokens.first.get_or_insert(now);
                self.tokens.gaps.extend(self.last.map(|last| now.saturating_sub(last)));
                self.last = Some(now);
            }
        }
        self.seen = self.events.all.len();
    }

    /// All of them.
    pub fn end(self) -> Tokens {
        self.tokens
    }
}

/// The tokens of an answer that came whole, by the model's own count (`usage.completion_tokens`).
pub fn counted(body: &[u8]) -> Option<Tokens> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let count = body.get("usage")?.get("completion_tokens")?.as_u64()?;
    Some(Tokens { count, ..Tokens::default() })
}

fn is_token(event: &Event) -> bool {
    let Ok(chunk) = serde_json::from_str::<Value>(&event.data) else { return true };
    let Some(choices) = chunk.get("choices").and_then(Value::as_array) else { return true };
    let text = |choice: &Value| {
        let content = choice.get("delta").and_then(|delta| delta.get("content")).or_else(|| choice.get("text"));
        content.and_then(Value::as_str).is_some_and(|text| !text.is_empty())
    };
    choices.iter().any(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn only_events_that_carry_text_are_tokens() {
        let mut watch = Watch::default();
        for (at, text) in [
            (10, "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n"),
            (20, "data: {\"choices\":[{\"delta\":{\"content\":\"one\"}}]}\n\ndata: {\"choices\":[{\"del"),
            (50, "ta\":{\"content\":\"two\"}}]}\n\n"),
            (90, "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n"),
        ] {
            watch.piece(text.as_bytes(), "[DONE]", ms(at));
        }
        assert_eq!(watch.end(), Tokens { count: 2, first: Some(ms(20)), gaps: vec![ms(30)] });
    }

    #[test]
    fn of_an_unknown_stream_every_event_but_the_mark_is_one() {
        let mut watch = Watch::default();
        watch.piece(b"data: a\n\ndata: {\"b\":1}\n\ndata: end\n\n", "end", ms(5));
        assert_eq!(watch.end(), Tokens { count: 2, first: Some(ms(5)), gaps: vec![ms(0)] });
    }

    #[test]
    fn a_whole_answer_says_itself_how_many_it_has() {
        let found = counted(br#"{"usage": {"completion_tokens": 8, "total_tokens": 20}}"#);
        assert_eq!(found, Some(Tokens { count: 8, first: None, gaps: vec![] }));
        assert_eq!(counted(b"{}"), None);
    }
}
