//! What an answer means, and how long to wait before the same is asked again. Pure.
//!
//! Limits as documented: <https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api>.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Trouble;

/// How long all waiting for one answer may take together.
const LONGEST: Duration = Duration::from_secs(180);

/// How often one request is sent.
const TRIES: u32 = 5;

/// What GitHub asks for at least after a secondary limit that names no time.
const MINUTE: Duration = Duration::from_secs(60);

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ask {
    pub(super) method: Method,
    /// Relative to the repository.
    pub(super) path: String,
    pub(super) body: Option<Value>,
    /// Whether doing it twice does no harm.
    pub(super) repeatable: bool,
}

impl Ask {
    /// Reading may be repeated, writing may not.
    pub(super) fn new(method: Method, path: &str) -> Self {
        Self { repeatable: method == Method::GET, method, path: path.to_owned(), body: None }
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.split('?').next().unwrap_or_default();
        write!(f, "{} {}", self.method, if path.is_empty() { "the repository" } else { path })
    }
}

/// One answer, whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Names in lower case.
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// A header; empty where it is absent.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// `message`, and what is said of single fields.
    fn message(&self) -> String {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Body {
            message: String,
            errors: Value,
        }
        let body: Body = serde_json::from_slice(&self.body).unwrap_or_default();
        let mut words = vec![body.message];
        for error in body.errors.as_array().into_iter().flatten() {
            let said = error.as_str().or_else(|| error["message"].as_str()).or_else(|| error["code"].as_str());
            words.extend(said.map(str::to_owned));
        }
        words.retain(|word| !word.is_empty());
        if words.is_empty() { "it says nothing more".to_owned() } else { words.join("; ") }
    }
}

/// What comes next.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Next {
    /// This is it.
    Done,
    /// It lies elsewhere.
    Moved(String),
    /// It will not become better.
    Give(Trouble),
    /// It may become better; after the time that the server names, where it names one.
    Again(Trouble, Option<Duration>),
}

/// One answer → what comes next.
pub(super) fn judge(ask: &Ask, answer: &Answer, now: OffsetDateTime) -> Next {
    let (asked, why) = (ask.to_string(), answer.message());
    match answer.status {
        200..=299 => Next::Done,
        301 | 302 | 307 | 308 if !answer.header("location").is_empty() => {
            Next::Moved(answer.header("location").to_owned())
        }
        403 | 429 => limit(answer, now).unwrap_or(Next::Give(Trouble::Forbidden { asked, why })),
        401 => Next::Give(Trouble::Unauthorized(why)),
        404 => Next::Give(Trouble::NotFound { asked, why }),
        400..=499 => Next::Give(Trouble::Refused { asked, status: answer.status, why }),
        500..=599 => {
            let lost = Trouble::Lost { asked, why: format!("status {}: {why}", answer.status) };
            // Of one that may have been done nobody knows; that it is done again, its caller decides.
            if ask.repeatable { Next::Again(lost, seconds(answer, "retry-after")) } else { Next::Give(lost) }
        }
        status => Next::Give(Trouble::Unreadable { asked, why: format!("status {status}") }),
    }
}

/// A primary or a secondary limit; what a limit refuses was not done, whatever was asked.
fn limit(answer: &Answer, now: OffsetDateTime) -> Option<Next> {
    let limited = |until: Option<OffsetDateTime>| {
        let until = until.and_then(|time| time.format(&Rfc3339).ok());
        Trouble::Limited(until.map(|time| format!(" until {time}")).unwrap_or_default())
    };
    if let Some(pause) = seconds(answer, "retry-after") {
        return Some(Next::Again(limited(Some(now + pause)), Some(pause)));
    }
    if answer.header("x-ratelimit-remaining") == "0" {
        let reset = answer.header("x-ratelimit-reset").parse().ok();
        let reset = reset.and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
        // One second more, for clocks differ and whole seconds are told.
        let pause = reset.map(|at| Duration::try_from(at - now).unwrap_or_default() + Duration::from_secs(1));
        return Some(Next::Again(limited(reset), Some(pause.unwrap_or(MINUTE))));
    }
    let is_secondary = answer.status == 429 || answer.message().to_lowercase().contains("rate limit");
    is_secondary.then(|| Next::Again(limited(None), Some(MINUTE)))
}

fn seconds(answer: &Answer, header: &str) -> Option<Duration> {
    answer.header(header).trim().parse().ok().map(Duration::from_secs)
}

/// The pauses of one request: told by the server, else 1, 2, 4 and 8 s; all of them together bounded.
#[derive(Clone, Debug)]
pub(super) struct Pauses {
    tried: u32,
    left: Duration,
}

/// Before the first try.
pub(super) fn pauses() -> Pauses {
    Pauses { tried: 1, left: LONGEST }
}

impl Pauses {
    /// How long to wait now; `None` where it is enough.
    pub(super) fn after(&mut self, told: Option<Duration>) -> Option<Duration> {
        // A server that says "now" is still given a moment.
        let own = Duration::from_secs(1 << (self.tried - 1).min(8));
        let pause = told.map_or(own, |told| told.max(Duration::from_secs(1)));
        if self.tried >= TRIES || pause > self.left {
            return None;
        }
        self.tried += 1;
        self.left -= pause;
        Some(pause)
    }
}

/// The page after this one, of a `Link` header.
pub(super) fn next_page(link: &str) -> Option<String> {
    link.split(',').find_map(|part| {
        let (address, relation) = part.trim().split_once(';')?;
        let is_next = relation.split(';').any(|word| word.trim() == "rel=\"next\"");
        is_next.then(|| address.trim().strip_prefix('<')?.strip_suffix('>').map(str::to_owned)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000;

    fn now() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(NOW).unwrap()
    }

    fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Answer {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Answer { status, headers, body: body.as_bytes().to_vec() }
    }

    #[test]
    fn answers_are_told_apart() {
        let (read, write) = (Ask::new(Method::GET, "a?b=c"), Ask::new(Method::POST, "a"));
        let message =
            |text: &str| format!(r#"{{"message": "{text}", "documentation_url": "https://docs.github.com"}}"#);
        let reset = (NOW + 30).to_string();
        let far = (NOW + 3000).to_string();
        let secs = |count| Some(Duration::from_secs(count));
        for (ask, answer, expected) in [
            (&read, answer(200, &[], "{}"), "done"),
            (&write, answer(201, &[], "{}"), "done"),
            (&write, answer(204, &[], ""), "done"),
            (&read, answer(301, &[("location", "https://api.github.com/repositories/1")], ""), "moved"),
            (&read, answer(304, &[], ""), "GitHub's answer to `GET a` cannot be read: status 304"),
            (
                &read,
                answer(401, &[], &message("Bad credentials")),
                "GitHub does not take the token (401): Bad credentials",
            ),
            (
                &write,
                answer(403, &[("x-ratelimit-remaining", "4999")], &message("Resource not accessible by integration")),
                "the token may not `POST a` (403): Resource not accessible by integration",
            ),
            (&read, answer(404, &[], &message("Not Found")), "GitHub finds nothing for `GET a` (404): Not Found"),
            (
                &write,
                answer(
                    422,
                    &[],
                    r#"{"message": "Validation Failed", "errors": [{"resource": "R", "code": "invalid"}, "x"]}"#,
                ),
                "GitHub refuses `POST a` (422): Validation Failed; invalid; x",
            ),
            (&write, answer(409, &[], ""), "GitHub refuses `POST a` (409): it says nothing more"),
            (&write, answer(502, &[], "<html>"), "GitHub did not answer `POST a`: status 502: it says nothing more"),
        ] {
            let found = match judge(ask, &answer, now()) {
                Next::Done => "done".to_owned(),
                Next::Moved(_) => "moved".to_owned(),
                Next::Give(trouble) => trouble.to_string(),
                Next::Again(trouble, pause) => format!("again after {pause:?}: {trouble}"),
            };
            assert_eq!(found, expected);
        }
        // What a limit refuses was not done: a `POST` is sent again as well.
        for (answer, pause, until) in [
            (answer(403, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", &reset)], ""), secs(31), true),
            (answer(429, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", &far)], ""), secs(3001), true),
            (answer(403, &[("x-ratelimit-remaining", "0")], ""), secs(60), false),
            (answer(403, &[("retry-after", "7")], &message("You have exceeded a secondary rate limit")), secs(7), true),
            (answer(403, &[], &message("You have exceeded a secondary rate limit. Wait.")), secs(60), false),
            (answer(429, &[], ""), secs(60), false),
        ] {
            let Next::Again(Trouble::Limited(told), found) = judge(&write, &answer, now()) else {
                panic!("{answer:?}")
            };
            assert_eq!((found, !told.is_empty()), (pause, until), "{answer:?}");
        }
        let stumbled = judge(&read, &answer(503, &[("retry-after", "3")], ""), now());
        assert!(matches!(stumbled, Next::Again(Trouble::Lost { .. }, Some(pause)) if pause.as_secs() == 3));
    }

    #[test]
    fn waiting_is_bounded() {
        let all = |told: Option<u64>| {
            let mut pauses = pauses();
            let told = told.map(Duration::from_secs);
            std::iter::from_fn(move || pauses.after(told)).map(|pause| pause.as_secs()).collect::<Vec<_>>()
        };
        assert_eq!(all(None), [1, 2, 4, 8]);
        assert_eq!(all(Some(0)), [1, 1, 1, 1]);
        assert_eq!(all(Some(60)), [60, 60, 60]);
        assert_eq!(all(Some(181)), [0; 0]);
    }

    #[test]
    fn the_next_page_is_the_one_that_is_called_so() {
        let both = "<https://api.github.com/x?page=1>; rel=\"prev\", <https://api.github.com/x?page=3>; rel=\"next\"";
        assert_eq!(next_page(both).as_deref(), Some("https://api.github.com/x?page=3"));
        for none in ["", "<https://api.github.com/x?page=1>; rel=\"last\"", "rubbish; rel=\"next\"", "<x; rel=\"next\""]
        {
            assert_eq!(next_page(none), None, "{none}");
        }
    }
}
