//! Addresses that hear of something: a Slack incoming webhook, any other that takes JSON, one that is only asked for.
//!
//! Such an address is a secret by itself. It comes from a variable, is shown by that variable's name alone, and what a
//! server says is redacted. A stumble is borne for a bounded time, in which the same may be heard twice: nobody knows of a
//! lost answer whether it was heard.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use super::cancel::{Cancel, Urgency};
use super::download;
use super::github::Wait;
use crate::context::Ctx;
use crate::text::Redactor;

/// How often one message is sent.
const TRIES: u32 = 4;

/// How long all waiting for one message may take together.
const LONGEST: Duration = Duration::from_secs(60);

/// When one try is given up.
const TIMEOUT: Duration = Duration::from_secs(20);

/// How much of an answer is read, in bytes.
const LARGEST: usize = 4096;

/// Why nobody heard. `name` is the variable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The file names a variable that is not set.
    #[error("{0} is not set")]
    Unset(String),
    /// It is no address that something is sent to.
    #[error("{0} is no https:// address")]
    Address(String),
    /// It was tried as often as is right.
    #[error("what {name} leads to did not take it: {why}")]
    Unheard {
        /// The variable.
        name: String,
        /// What was seen last.
        why: String,
    },
    /// Somebody stopped us.
    #[error("interrupted")]
    Interrupted,
}

impl Trouble {
    /// The way out.
    pub fn way_out(&self) -> String {
        match self {
            Self::Unset(name) => {
                format!("set {name}, or write `{name}?` in the environment's file where it may be missing")
            }
            Self::Address(name) => format!("set {name} to the whole address that its service shows"),
            Self::Unheard { name, .. } => {
                format!("look whether what {name} leads to is well, and make a new address if it is not known there")
            }
            Self::Interrupted => "run it again".to_owned(),
        }
    }
}

/// One such address.
pub struct Hook {
    name: String,
    url: reqwest::Url,
    http: reqwest::Client,
    redactor: Redactor,
    cancel: Cancel,
    wait: Arc<dyn Wait>,
}

impl std::fmt::Debug for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hook({})", self.name)
    }
}

impl Hook {
    /// The address in a variable; `None` where it is not set and its name has a `?` at the end.
    pub fn of(ctx: &Ctx, variable: &str, cancel: Cancel, wait: Arc<dyn Wait>) -> Result<Option<Self>, Trouble> {
        let name = variable.strip_suffix('?').unwrap_or(variable);
        let Some(value) = ctx.var(name).map(str::trim).filter(|value| !value.is_empty()) else {
            return if name == variable { Err(Trouble::Unset(name.to_owned())) } else { Ok(None) };
        };
        let address = || Trouble::Address(name.to_owned());
        let url = reqwest::Url::parse(value).map_err(|_| address())?;
        let is_local = url.scheme() == "http" && matches!(url.host_str(), Some("127.0.0.1" | "localhost"));
        if !is_local && url.scheme() != "https" {
            return Err(address());
        }
        // A redirect would take what is told, and the address with it, to somebody else.
        let builder = download::builder().redirect(reqwest::redirect::Policy::none()).timeout(TIMEOUT);
        let builder = if is_local { builder.no_proxy() } else { builder };
        let http = builder.build().map_err(|_| address())?;
        // A server may say the address back, or a part of it.
        let parts = url.path_segments().into_iter().flatten().chain(url.query());
        let redactor = parts.chain([value, url.path()]).fold(ctx.redactor.clone(), |known, part| known.and(part));
        Ok(Some(Self { name: name.to_owned(), url, http, redactor, cancel, wait }))
    }

    /// Sends JSON until it is taken.
    pub async fn post(&self, message: &Value) -> Result<(), Trouble> {
        self.send(Some(message)).await
    }

    /// Asks for the address: it is enough that somebody does.
    pub async fn ping(&self) -> Result<(), Trouble> {
        self.send(None).await
    }

    async fn send(&self, message: Option<&Value>) -> Result<(), Trouble> {
        let (mut tried, mut left) = (0, LONGEST);
        loop {
            tried += 1;
            let mut cancel = self.cancel.clone();
            let seen = tokio::select! {
                seen = self.once(message) => seen,
                () = cancel.reached(Urgency::Gently) => return Err(Trouble::Interrupted),
            };
            let (why, told) = match seen {
                Seen::Taken => return Ok(()),
                Seen::Refused(why) => return Err(Trouble::Unheard { name: self.name.clone(), why }),
                Seen::Stumbled(why, told) => (why, told),
            };
            let pause = told.unwrap_or(Duration::from_secs(1 << tried)).max(Duration::from_secs(1));
            if tried >= TRIES || pause > left {
                return Err(Trouble::Unheard { name: self.name.clone(), why });
            }
            left -= pause;
            tokio::select! {
                () = self.wait.sleep(pause) => {}
                () = cancel.reached(Urgency::Gently) => return Err(Trouble::Interrupted),
            }
        }
    }

    async fn once(&self, message: Option<&Value>) -> Seen {
        let request = match message {
            Some(message) => self.http.request(Method::POST, self.url.clone()).json(message),
            None => self.http.request(Method::GET, self.url.clone()),
        };
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(e) => return Seen::Stumbled(self.harmless(&root_cause(e)), None),
        };
        let status = response.status().as_u16();
        let told = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let mut body = Vec::new();
        while body.len() < LARGEST {
            // A status that is there says enough; what is said beside it may be missing.
            let Ok(Some(chunk)) = response.chunk().await else { break };
            body.extend_from_slice(&chunk);
        }
        judge(status, &self.harmless(&String::from_utf8_lossy(&body)), told.map(Duration::from_secs))
    }

    fn harmless(&self, text: &str) -> String {
        let line = self.redactor.clean(text).split_whitespace().collect::<Vec<_>>().join(" ");
        line.chars().take(200).collect()
    }
}

/// What came of one try.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Taken,
    Refused(String),
    Stumbled(String, Option<Duration>),
}

/// An answer → what it means. A limit and a stumble may pass; every other refusal will be the same the next time.
fn judge(status: u16, body: &str, told: Option<Duration>) -> Seen {
    let why = if body.is_empty() { format!("status {status}") } else { format!("status {status}: {body}") };
    match status {
        200..=299 => Seen::Taken,
        408 | 429 | 500..=599 => Seen::Stumbled(why, told),
        _ => Seen::Refused(why),
    }
}

/// The innermost error; the outer ones repeat the address.
fn root_cause(error: reqwest::Error) -> String {
    if error.is_timeout() {
        return "it took too long".to_owned();
    }
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::super::cancel;
    use super::super::github::Clock;
    use super::*;
    use crate::context::testing;

    #[test]
    fn answers_are_told_apart() {
        let minute = Some(Duration::from_secs(60));
        for (status, body, told, expected) in [
            (200, "ok", None, Seen::Taken),
            (204, "", None, Seen::Taken),
            (429, "", minute, Seen::Stumbled("status 429".to_owned(), minute)),
            (503, "busy", None, Seen::Stumbled("status 503: busy".to_owned(), None)),
            (301, "", None, Seen::Refused("status 301".to_owned())),
            (403, "invalid_token", None, Seen::Refused("status 403: invalid_token".to_owned())),
            (404, "no_service", None, Seen::Refused("status 404: no_service".to_owned())),
        ] {
            assert_eq!(judge(status, body, told), expected);
        }
    }

    #[test]
    fn an_address_is_a_secret_by_itself_and_goes_over_tls() {
        let url = "https://hooks.example/services/T0000/B0000/a-long-secret-part";
        let of = |variable: &str, value: &str| {
            let mut ctx = testing::ctx(std::path::Path::new("/repo"));
            ctx.env.insert("HOOK".to_owned(), value.to_owned());
            Hook::of(&ctx, variable, cancel::pair().1, Arc::new(Clock))
        };
        let hook = of("HOOK", url).unwrap().unwrap();
        assert_eq!(format!("{hook:?}"), "Hook(HOOK)");
        let said =
            hook.harmless(&format!("no {url} and no /services/T0000/B0000/a-long-secret-part, a-long-secret-part\n!"));
        assert!(!said.contains("secret"), "{said}");
        assert!(of("HOOK", "http://127.0.0.1:1/x").is_ok());
        for wrong in ["http://hooks.example/x", "hooks.example", "file:///x", "http://127.0.0.1.evil.example/x"] {
            let trouble = of("HOOK", wrong).unwrap_err();
            assert_eq!(trouble, Trouble::Address("HOOK".to_owned()), "{wrong}");
            assert!(!trouble.to_string().contains(wrong) && !trouble.way_out().contains(wrong));
        }
        assert!(of("HOOK?", " ").unwrap().is_none() && of("OTHER?", url).unwrap().is_none());
        assert_eq!(of("OTHER", url).unwrap_err(), Trouble::Unset("OTHER".to_owned()));
    }
}
