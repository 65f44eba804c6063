//! GitHub's REST API: how it is asked, with whose right, and how long a limit or a stumble is borne.
//!
//! Paths are relative to the repository. What answers mean is decided in `answer`; what is read and written, in
//! `release`, `issues`, `runs` and `settings`. Everything that GitHub says is text from outside: it is cleaned, cut and redacted here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::cancel::{Cancel, Urgency};
use super::command::Command;
use super::download;
use super::machine::Machine;
use crate::context::Ctx;
use crate::text::Redactor;
use answer::{Answer, Ask, Next, judge, next_page, pauses};

mod answer;
mod data;
mod issues;
mod place;
mod release;
mod runs;
mod settings;
mod trouble;
mod wait;

pub use data::{Change, File, Tip};
pub use issues::{Comment, Issue, NewIssue, Reason};
pub use place::{API, Repository};
pub use release::{Deployment, State, Status, Tagged};
pub use runs::{Run, Start, Workflow};
pub use settings::{Branch, Branches, Classic, Environment, Guard, Protection, Rule, WorkflowPermissions};
pub use trouble::Trouble;
pub use wait::{Clock, Wait};

/// The version of the API that this is written for, <https://docs.github.com/rest/about-the-rest-api/api-versions>.
const VERSION: &str = "2022-11-28";

/// How many pages of one list are read, of a hundred entries each.
const MOST_PAGES: usize = 50;

/// How often a repository that has moved is followed.
const MOST_MOVES: usize = 3;

/// The largest answer that is taken, in bytes.
const LARGEST: usize = 16 << 20;

/// When one request is given up, its answer included.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Where the token may stand, in this order.
const TOKENS: [&str; 2] = ["GITHUB_TOKEN", "GH_TOKEN"];

/// One repository of GitHub, asked with a token.
pub struct GitHub {
    /// Which.
    pub repository: Repository,
    http: reqwest::Client,
    base: String,
    token: HeaderValue,
    redactor: Redactor,
    cancel: Cancel,
    wait: Arc<dyn Wait>,
}

impl std::fmt::Debug for GitHub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GitHub({} at {})", self.repository, self.base)
    }
}

impl GitHub {
    /// As the environment says it: `GITHUB_API_URL`, `GITHUB_REPOSITORY` or else the remote `origin`, and the token.
    pub async fn open(machine: &Machine) -> Result<Self, Trouble> {
        let ctx = &machine.ctx;
        let base = ctx.var("GITHUB_API_URL").filter(|url| !url.is_empty()).unwrap_or(API);
        let repository = match ctx.var("GITHUB_REPOSITORY").filter(|name| !name.is_empty()) {
            Some(name) => Repository::parse(name)
                .ok_or_else(|| Trouble::NoRepository(format!("GITHUB_REPOSITORY `{name}` is not like OWNER/NAME")))?,
            None => origin(machine, base).await?,
        };
        Self::new(ctx, base, repository, machine.cancel.clone(), Arc::new(Clock))
    }

    /// The same, of a given repository and with a given clock.
    pub fn new(
        ctx: &Ctx,
        base: &str,
        repository: Repository,
        cancel: Cancel,
        wait: Arc<dyn Wait>,
    ) -> Result<Self, Trouble> {
        let token = TOKENS.iter().find_map(|name| ctx.var(name).filter(|token| !token.trim().is_empty()));
        let token = token.ok_or(Trouble::NoToken)?.trim();
        let mut header = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| Trouble::NoToken)?;
        header.set_sensitive(true);
        let base = base.trim_end_matches('/').to_owned();
        let is_local = place::is_safe(&base)?;
        // A redirect is followed here, with the same method, and never to another server.
        let builder = download::builder().redirect(reqwest::redirect::Policy::none()).timeout(TIMEOUT);
        let builder = if is_local { builder.no_proxy() } else { builder };
        let http = builder.build().map_err(|e| Trouble::NotReached(e.to_string()))?;
        let redactor = ctx.redactor.and(token);
        Ok(Self { repository, http, base, token: header, redactor, cancel, wait })
    }

    /// The page of the repository's settings where a person changes them: `branches`, `environments`, `actions`.
    pub fn settings_page(&self, page: &str) -> String {
        format!("{}/{}/settings/{page}", place::web(&self.base), self.repository)
    }

    /// `GET`.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Trouble> {
        let ask = Ask::new(Method::GET, path);
        self.read(&ask, &self.send(&ask, &self.url(path)).await?)
    }

    /// `GET` of a list, all its pages. The list lies below `key`, or is the answer itself where that is empty.
    pub async fn get_all<T: DeserializeOwned>(&self, path: &str, key: &str) -> Result<Vec<T>, Trouble> {
        let ask = Ask::new(Method::GET, path);
        let unreadable = |why: String| Trouble::Unreadable { asked: ask.to_string(), why };
        let and = if path.contains('?') { '&' } else { '?' };
        let (mut url, mut all) = (format!("{}{and}per_page=100", self.url(path)), Vec::new());
        for _ in 0..MOST_PAGES {
            let answer = self.send(&ask, &url).await?;
            let mut page: Value = self.read(&ask, &answer)?;
            let list = if key.is_empty() { page.take() } else { page[key].take() };
            let list: Vec<T> = serde_json::from_value(list).map_err(|e| unreadable(self.harmless(&e.to_string())))?;
            all.extend(list);
            match next_page(answer.header("link")) {
                Some(next) if place::is_below(&next, &self.base) => url = next,
                Some(_) => return Err(unreadable("its next page lies on another server".to_owned())),
                None => return Ok(all),
            }
        }
        Err(unreadable(format!("it has more than {MOST_PAGES} pages")))
    }

    /// `POST` of what must not be done twice: an answer that is lost is [`Trouble::Lost`], and the caller looks whether
    /// it was done.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, Trouble> {
        self.write(&Ask { body: Some(body.clone()), ..Ask::new(Method::POST, path) }).await
    }

    /// `POST` of what does no harm when it is done twice: sent again where its answer is lost.
    pub async fn post_again(&self, path: &str, body: &Value) -> Result<Value, Trouble> {
        self.write(&Ask { body: Some(body.clone()), repeatable: true, ..Ask::new(Method::POST, path) }).await
    }

    /// `PATCH`, which sets fields to values and may be done twice.
    pub async fn patch(&self, path: &str, body: &Value) -> Result<Value, Trouble> {
        self.write(&Ask { body: Some(body.clone()), repeatable: true, ..Ask::new(Method::PATCH, path) }).await
    }

    /// `DELETE`. What is not there is deleted: the answer to an earlier try may have been lost.
    pub async fn delete(&self, path: &str) -> Result<(), Trouble> {
        match self.write(&Ask { repeatable: true, ..Ask::new(Method::DELETE, path) }).await {
            Ok(_) | Err(Trouble::NotFound { .. }) => Ok(()),
            Err(trouble) => Err(trouble),
        }
    }

    async fn write(&self, ask: &Ask) -> Result<Value, Trouble> {
        let answer = self.send(ask, &self.url(&ask.path)).await?;
        if answer.body.is_empty() { Ok(Value::Null) } else { self.read(ask, &answer) }
    }

    fn url(&self, path: &str) -> String {
        let of = format!("{}/repos/{}", self.base, self.repository);
        if path.is_empty() { of } else { format!("{of}/{path}") }
    }

    fn read<T: DeserializeOwned>(&self, ask: &Ask, answer: &Answer) -> Result<T, Trouble> {
        serde_json::from_slice(&answer.body)
            .map_err(|e| Trouble::Unreadable { asked: ask.to_string(), why: self.harmless(&e.to_string()) })
    }

    /// Text from outside, for one line of ours.
    fn harmless(&self, text: &str) -> String {
        let line = self.redactor.clean(text).split_whitespace().collect::<Vec<_>>().join(" ");
        line.chars().take(300).collect()
    }

    /// Asks until there is an answer that tells something, for a bounded time.
    async fn send(&self, ask: &Ask, url: &str) -> Result<Answer, Trouble> {
        let (mut url, mut moves, mut pauses) = (url.to_owned(), 0, pauses());
        loop {
            let (why, pause) = match self.once(ask, &url).await {
                Ok(answer) => match judge(ask, &answer, self.wait.now()) {
                    Next::Done => return Ok(answer),
                    Next::Moved(to) if moves < MOST_MOVES && place::is_below(&to, &self.base) => {
                        (url, moves) = (to, moves + 1);
                        continue;
                    }
                    Next::Moved(_) => {
                        let why = "it has moved to another server".to_owned();
                        return Err(Trouble::Unreadable { asked: ask.to_string(), why });
                    }
                    Next::Give(why) => return Err(why.map(|text| self.harmless(text))),
                    Next::Again(why, pause) => (why.map(|text| self.harmless(text)), pause),
                },
                Err(why) => match why.is_passing(ask.repeatable) {
                    true => (why, None),
                    false => return Err(why),
                },
            };
            let Some(pause) = pauses.after(pause) else { return Err(why) };
            self.pause(pause).await?;
        }
    }

    /// Waits before the same is tried again, unless somebody stops us.
    pub async fn pause(&self, time: Duration) -> Result<(), Trouble> {
        let mut cancel = self.cancel.clone();
        tokio::select! {
            () = self.wait.sleep(time) => Ok(()),
            () = cancel.reached(Urgency::Gently) => Err(Trouble::Interrupted),
        }
    }

    async fn once(&self, ask: &Ask, url: &str) -> Result<Answer, Trouble> {
        let mut cancel = self.cancel.clone();
        tokio::select! {
            answer = self.exchange(ask, url) => answer,
            () = cancel.reached(Urgency::Gently) => Err(Trouble::Interrupted),
        }
    }

    async fn exchange(&self, ask: &Ask, url: &str) -> Result<Answer, Trouble> {
        let mut request = self
            .http
            .request(ask.method.clone(), url)
            .header(ACCEPT, "application/vnd.github+json")
            .header("X-GitHub-Api-Version", VERSION)
            .header(AUTHORIZATION, self.token.clone());
        if let Some(body) = &ask.body {
            request = request.json(body);
        }
        let lost = |e: reqwest::Error| Trouble::Lost { asked: ask.to_string(), why: self.harmless(&root_cause(&e)) };
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(e) if e.is_connect() => return Err(Trouble::NotReached(self.harmless(&root_cause(&e)))),
            Err(e) => return Err(lost(e)),
        };
        let known = |(name, value): (&reqwest::header::HeaderName, &HeaderValue)| {
            Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
        };
        let headers: BTreeMap<String, String> = response.headers().iter().filter_map(known).collect();
        let (status, mut body) = (response.status().as_u16(), Vec::new());
        while let Some(chunk) = response.chunk().await.map_err(lost)? {
            body.extend_from_slice(&chunk);
            if body.len() > LARGEST {
                let why = format!("its answer has more than {LARGEST} bytes");
                return Err(Trouble::Unreadable { asked: ask.to_string(), why });
            }
        }
        Ok(Answer { status, headers, body })
    }
}

/// The repository that the remote `origin` names, where it lies on the server that is asked.
async fn origin(machine: &Machine, base: &str) -> Result<Repository, Trouble> {
    let command = Command::new("git", &machine.ctx.root).args(["remote", "get-url", "origin"]);
    let none = |why: &str| Trouble::NoRepository(why.to_owned());
    let ended = machine.quiet().run(&command).await.map_err(|e| Trouble::NoRepository(format!("{e:#}")))?;
    if !ended.is_success() {
        return Err(none("GITHUB_REPOSITORY is not set, and git has no remote `origin`"));
    }
    Repository::of_remote(ended.stdout.trim(), base)
        .ok_or_else(|| none("the remote `origin` is no repository of the server that is asked"))
}

/// The innermost error, which says what happened; the outer ones repeat the URL.
fn root_cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "it took too long".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// A GitHub on loopback, which the tests of the program use as well.
#[cfg(test)]
#[path = "../../tests/it/hub.rs"]
pub(crate) mod hub;
#[cfg(test)]
mod tests;
