//! A GitHub on loopback that answers as its documentation has it: tags, deployments, issues, settings, pages, limits,
//! stumbles.

#![allow(dead_code, reason = "the tests of the client and those of the program each use a part of it")]

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

#[path = "hub/git.rs"]
mod git;
#[path = "hub/issues.rs"]
mod issues;
#[path = "hub/wire.rs"]
mod wire;

use wire::decoded;
pub use wire::{Asked, read};

/// The only token that it takes.
pub const TOKEN: &str = "ghp_a-token-of-the-tests";

/// The only repository that it has.
pub const REPOSITORY: &str = "forge/shop";

/// What happens to one request in place of, or on top of, the right answer.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This is answered, and nothing is done.
    Instead(u16, Vec<(&'static str, String)>, Value),
    /// It is done, and the connection is closed without an answer.
    DoneAndLost,
    /// The connection is closed at once.
    Lost,
    /// This is sent as it stands.
    Raw(String),
}

/// Decides whose request is next, and what becomes of it.
pub trait Turns: Send + Sync {
    /// Waits until it is this one's turn.
    fn before(&self, asked: &Asked) -> Option<Fault>;
    /// It was served, or is lost.
    fn after(&self, asked: &Asked);
}

#[derive(Default)]
struct State {
    issues: Vec<Value>,
    comments: Vec<(u64, Value)>,
    issues_are_disabled: bool,
    /// Whether whoever asks may neither label nor assign.
    is_stranger: bool,
    /// What clocks show, for what is made.
    now: String,
    turns: Option<Arc<dyn Turns>>,
    refs: BTreeMap<String, (String, String)>,
    tags: BTreeMap<String, Value>,
    deployments: Vec<Value>,
    statuses: Vec<(u64, Value)>,
    /// `METHOD path` → status and body of what only has to be read.
    settings: BTreeMap<String, (u16, Value)>,
    faults: VecDeque<Fault>,
    asked: Vec<Asked>,
    page: usize,
    /// Requests that pass before the next fault.
    passing: usize,
    blobs: BTreeMap<String, String>,
    /// Paths → blobs.
    trees: BTreeMap<String, BTreeMap<String, String>>,
    /// Tree and parents.
    commits: BTreeMap<String, (String, Vec<String>)>,
    /// A branch that somebody else moves before the next commit is made.
    moved: Option<String>,
}

/// It answers as long as the test's process lives.
pub struct Hub {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Hub {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state =
            Arc::new(Mutex::new(State { page: 100, now: "2026-11-24T06:00:00Z".to_owned(), ..State::default() }));
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                std::thread::spawn(move || serve(stream, address, &shared));
            }
        });
        Self { address, state }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next request meets this, then the next one that.
    pub fn fails(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state.lock().unwrap().faults.extend(faults);
    }

    /// So many requests pass before the faults begin.
    pub fn lets_pass(&self, count: usize) {
        self.state.lock().unwrap().passing = count;
    }

    /// Somebody else adds a file to a branch right before the next commit is made.
    pub fn moves_before_the_next_commit(&self, branch: &str) {
        self.state.lock().unwrap().moved = Some(branch.to_owned());
    }

    /// The files of a branch with what they hold.
    pub fn files(&self, branch: &str) -> BTreeMap<String, String> {
        let state = self.state.lock().unwrap();
        let Some((_, commit)) = state.refs.get(&format!("refs/heads/{branch}")) else { return BTreeMap::new() };
        let tree = &state.trees[&state.commits[commit].0];
        tree.iter().map(|(path, blob)| (path.clone(), state.blobs[blob].clone())).collect()
    }

    /// How many commits a branch has, each on the one before.
    pub fn commits(&self, branch: &str) -> usize {
        let state = self.state.lock().unwrap();
        let head = state.refs.get(&format!("refs/heads/{branch}")).map(|(_, commit)| commit.clone());
        std::iter::successors(head, |commit| state.commits[commit].1.first().cloned()).count()
    }

    /// A commit of somebody else that adds a file.
    pub fn has_file(&self, branch: &str, path: &str, text: &str) {
        self.state.lock().unwrap().adds(branch, path, text);
    }

    /// What a path of the repository answers.
    pub fn sets(&self, path: &str, status: u16, body: Value) {
        self.state.lock().unwrap().settings.insert(path.to_owned(), (status, body));
    }

    /// Whose turn it is, is decided by these from now on.
    pub fn takes_turns(&self, turns: Option<Arc<dyn Turns>>) {
        self.state.lock().unwrap().turns = turns;
    }

    /// The time of what is made from now on, RFC 3339.
    pub fn is_now(&self, now: &str) {
        self.state.lock().unwrap().now = now.to_owned();
    }

    /// Issues are turned off in the repository's settings.
    pub fn disables_issues(&self, disabled: bool) {
        self.state.lock().unwrap().issues_are_disabled = disabled;
    }

    /// Whoever asks may write issues and comments, as everybody may, and nothing more.
    pub fn takes_for_stranger(&self, stranger: bool) {
        self.state.lock().unwrap().is_stranger = stranger;
    }

    /// An issue that is there; fields that are not given are those of a person of the repository.
    pub fn has_issue(&self, fields: Value) -> u64 {
        let mut state = self.state.lock().unwrap();
        let mut issue = state.new_issue();
        issue["user"] = json!({"login": "ada", "type": "User"});
        issue["author_association"] = json!("MEMBER");
        issue.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let number = issue["number"].as_u64().unwrap();
        state.issues.push(issue);
        number
    }

    /// A comment of a stranger that is there.
    pub fn has_comment(&self, issue: u64, body: &str) {
        let mut state = self.state.lock().unwrap();
        let id = state.new_comment();
        let user = json!({"login": "mallory", "type": "User"});
        let comment =
            json!({"id": id, "body": body, "user": user, "author_association": "NONE", "created_at": state.now});
        state.comments.push((issue, comment));
    }

    /// Every issue, the oldest first.
    pub fn issues(&self) -> Vec<Value> {
        self.state.lock().unwrap().issues.clone()
    }

    /// One issue.
    pub fn issue(&self, number: u64) -> Value {
        self.issues().into_iter().find(|issue| issue["number"] == number).unwrap()
    }

    /// Changes an issue as a person would.
    pub fn edits(&self, number: u64, edit: impl Fn(&mut Value)) {
        let mut state = self.state.lock().unwrap();
        edit(state.issues.iter_mut().find(|issue| issue["number"] == number).unwrap());
    }

    /// The texts of an issue's comments, the oldest first.
    pub fn comments(&self, issue: u64) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let of_it = state.comments.iter().filter(|(number, _)| *number == issue);
        of_it.map(|(_, comment)| comment["body"].as_str().unwrap().to_owned()).collect()
    }

    /// How many entries a page has.
    pub fn pages(&self, size: usize) {
        self.state.lock().unwrap().page = size;
    }

    /// A tag that is there: lightweight, or by an object of its own.
    pub fn has_tag(&self, name: &str, sha: &str, annotated: bool) {
        let mut state = self.state.lock().unwrap();
        let object = if annotated { format!("tag-of-{sha}") } else { sha.to_owned() };
        if annotated {
            state.tags.insert(object.clone(), json!({"object": {"type": "commit", "sha": sha}}));
        }
        state.refs.insert(format!("refs/tags/{name}"), (if annotated { "tag" } else { "commit" }.to_owned(), object));
    }

    /// The commit and the message of a tag.
    pub fn tag(&self, name: &str) -> Option<Value> {
        let state = self.state.lock().unwrap();
        let (_, object) = state.refs.get(&format!("refs/tags/{name}"))?;
        state.tags.get(object).cloned()
    }

    pub fn deployments(&self) -> Vec<Value> {
        self.state.lock().unwrap().deployments.clone()
    }

    pub fn statuses(&self) -> Vec<(u64, Value)> {
        self.state.lock().unwrap().statuses.clone()
    }

    /// Everything that was asked since the last time, as `METHOD path`.
    pub fn asked(&self) -> Vec<String> {
        let asked = std::mem::take(&mut self.state.lock().unwrap().asked);
        asked.iter().map(|one| format!("{} {}", one.method, one.path)).collect()
    }

    /// The same, whole.
    pub fn requests(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }
}

/// `{"message": …}` as GitHub says it.
pub fn message(text: &str) -> Value {
    json!({"message": text, "documentation_url": "https://docs.github.com/rest"})
}

/// Says that a request was served, however that went.
struct After(Arc<dyn Turns>, Asked);

impl Drop for After {
    fn drop(&mut self) {
        self.0.after(&self.1);
    }
}

type Reply = (u16, Vec<(&'static str, String)>, Value);

fn serve(stream: TcpStream, address: SocketAddr, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    while let Some(asked) = read(&mut reader) {
        let turns = state.lock().unwrap().turns.clone().filter(|_| asked.who.is_some());
        let planned = turns.as_ref().and_then(|turns| turns.before(&asked));
        let _after = turns.map(|turns| After(turns, asked.clone()));
        let mut state = state.lock().unwrap();
        state.asked.push(asked.clone());
        let is_passing = state.passing > 0;
        state.passing = state.passing.saturating_sub(1);
        let fault = planned.or_else(|| if is_passing { None } else { state.faults.pop_front() });
        let (status, headers, body) = match fault {
            None => state.answer(&asked, address),
            Some(Fault::Instead(status, headers, body)) => (status, headers, body),
            Some(Fault::DoneAndLost) => {
                state.answer(&asked, address);
                return;
            }
            Some(Fault::Lost) => return,
            Some(Fault::Raw(text)) => {
                let _gone = writer.write_all(text.as_bytes());
                return;
            }
        };
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut text = format!("HTTP/1.1 {status} X\r\ncontent-type: application/json; charset=utf-8\r\n");
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
        if writer.write_all(text.as_bytes()).is_err() {
            return;
        }
    }
}

fn label(name: &Value) -> Value {
    json!({"id": 1, "name": name, "color": "ededed"})
}

impl State {
    fn answer(&mut self, asked: &Asked, address: SocketAddr) -> Reply {
        let refused = |status, text: &str| (status, vec![], message(text));
        if asked.headers.get("authorization").map(String::as_str) != Some(&format!("Bearer {TOKEN}")) {
            return refused(401, "Bad credentials");
        }
        let route = format!("{} {}", asked.method, asked.path);
        if let Some((status, body)) = self.settings.get(&asked.path).filter(|_| asked.method == "GET").cloned() {
            return self.paged(asked, status, body, address);
        }
        if asked.path == "issues" || asked.path.starts_with("issues/") {
            return self.of_issues(asked, address);
        }
        let body = &asked.body;
        match route.as_str() {
            "POST git/tags" => {
                let sha = format!("object-{}", self.tags.len());
                self.tags.insert(
                    sha.clone(),
                    json!({"message": body["message"], "tag": body["tag"], "object": {"type": body["type"], "sha": body["object"]}}),
                );
                (201, vec![], json!({"sha": sha, "tag": body["tag"]}))
            }
            "POST git/refs" => {
                let name = body["ref"].as_str().unwrap().to_owned();
                if self.refs.contains_key(&name) {
                    return refused(422, "Reference already exists");
                }
                let sha = body["sha"].as_str().unwrap().to_owned();
                let kind = if name.starts_with("refs/heads/") { "commit" } else { "tag" };
                if kind == "commit" && !self.commits.contains_key(&sha) {
                    return refused(422, "Object does not exist");
                }
                self.refs.insert(name.clone(), (kind.to_owned(), sha.clone()));
                (201, vec![], json!({"ref": name, "object": {"type": kind, "sha": sha}}))
            }
            "POST deployments" => {
                let id = 1000 + self.deployments.len() as u64;
                let mut made = body.clone();
                made["id"] = json!(id);
                made["sha"] = body["ref"].clone();
                self.deployments.push(made.clone());
                (201, vec![], made)
            }
            "GET deployments" => {
                let fits = |one: &&Value| {
                    ["sha", "environment", "task"]
                        .iter()
                        .all(|name| asked.query.get(*name).is_some_and(|value| one[*name] == **value))
                };
                let found: Vec<Value> = self.deployments.iter().rev().filter(fits).cloned().collect();
                self.paged(asked, 200, json!(found), address)
            }
            "POST git/blobs" | "POST git/trees" | "POST git/commits" => match self.makes(&asked.path, body) {
                Some(sha) => (201, vec![], json!({"sha": sha})),
                None => refused(422, "Invalid tree info"),
            },
            _ => match route.split_once(' ').unwrap() {
                ("GET", path) if path.starts_with("git/ref/heads/") => {
                    match self.refs.get(&path.replacen("git/ref", "refs", 1)) {
                        Some((kind, sha)) => (200, vec![], json!({"object": {"type": kind, "sha": sha}})),
                        None => refused(404, "Not Found"),
                    }
                }
                ("PATCH", path) if path.starts_with("git/refs/heads/") => self.moves(&path["git/".len()..], body),
                ("GET", path) if path.starts_with("git/commits/") => {
                    match self.commits.get(&path["git/commits/".len()..]) {
                        Some((tree, _)) => (200, vec![], json!({"tree": {"sha": tree}})),
                        None => refused(404, "Not Found"),
                    }
                }
                ("GET", path) if path.starts_with("git/trees/") => match self.trees.get(&path["git/trees/".len()..]) {
                    Some(tree) => {
                        let node = |(path, blob): (&String, &String)| json!({"path": path, "type": "blob", "mode": "100644", "sha": blob, "size": self.blobs[blob].len()});
                        (200, vec![], json!({"tree": tree.iter().map(node).collect::<Vec<_>>(), "truncated": false}))
                    }
                    None => refused(404, "Not Found"),
                },
                ("GET", path) if path.starts_with("git/blobs/") => match self.blobs.get(&path["git/blobs/".len()..]) {
                    Some(text) => {
                        use base64::Engine as _;
                        let content = base64::engine::general_purpose::STANDARD.encode(text);
                        let lines: Vec<&str> =
                            content.as_bytes().chunks(60).map(|line| std::str::from_utf8(line).unwrap()).collect();
                        (200, vec![], json!({"content": lines.join("\n"), "encoding": "base64"}))
                    }
                    None => refused(404, "Not Found"),
                },
                ("GET", path) if path.starts_with("git/ref/tags/") => {
                    match self.refs.get(&path.replacen("git/ref", "refs", 1)) {
                        Some((kind, sha)) => (200, vec![], json!({"object": {"type": kind, "sha": sha}})),
                        None => refused(404, "Not Found"),
                    }
                }
                ("GET", path) if path.starts_with("git/tags/") => match self.tags.get(&path["git/tags/".len()..]) {
                    Some(tag) => (200, vec![], tag.clone()),
                    None => refused(404, "Not Found"),
                },
                ("POST", path) if path.starts_with("deployments/") && path.ends_with("/statuses") => {
                    let id: u64 = path.split('/').nth(1).unwrap().parse().unwrap();
                    if !self.deployments.iter().any(|one| one["id"] == id) {
                        return refused(404, "Not Found");
                    }
                    self.statuses.push((id, body.clone()));
                    (201, vec![], json!({"id": 1, "state": body["state"]}))
                }
                _ => refused(404, "Not Found"),
            },
        }
    }

    /// A list, or the list within an answer, page by page; anything else whole.
    fn paged(&self, asked: &Asked, status: u16, mut body: Value, address: SocketAddr) -> Reply {
        let list = match &mut body {
            Value::Object(map) if map.contains_key("total_count") => map.values_mut().find(|value| value.is_array()),
            list @ Value::Array(_) => Some(list),
            _ => None,
        };
        let Some(Value::Array(all)) = list else { return (status, vec![], body) };
        let number = |name: &str, or: usize| asked.query.get(name).map_or(or, |value| value.parse().unwrap());
        let (page, size) = (number("page", 1), number("per_page", 30).min(self.page));
        let last = all.len().div_ceil(size).max(1);
        *all = all.iter().skip((page - 1) * size).take(size).cloned().collect();
        let mut query = asked.query.clone();
        let mut link = |page: usize, relation: &str| {
            query.insert("page".to_owned(), page.to_string());
            let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let who = asked.who.map(|who| format!("/m{who}")).unwrap_or_default();
            format!("<http://{address}{who}/repos/{REPOSITORY}/{}?{}>; rel=\"{relation}\"", asked.path, query.join("&"))
        };
        let links =
            if page < last { format!("{}, {}", link(page + 1, "next"), link(last, "last")) } else { link(1, "first") };
        (status, vec![("link", links)], body)
    }
}
