//! A repository, an environment, a GitHub, a chat, and a clock; runs of the monitoring as reports.

use std::collections::VecDeque;
use std::io::{BufReader, Write as _};
use std::net::TcpListener;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::datetime;
use xtask::config::Environment;
use xtask::context::{Ctx, Places, Profile};
use xtask::incidents::desk::{Seen, Told, tell_by};
use xtask::model::{GateReport, Report, SCHEMA};
use xtask::tools::cancel::{self, Cancel};
use xtask::tools::github::{GitHub, Repository, Wait};
use xtask::verdict::{Finding, Severity, Tool, Verdict, Work};

use super::super::hub::{Hub, REPOSITORY, TOKEN, read};
use super::super::support::Project;

pub const START: OffsetDateTime = datetime!(2026-11-24 00:00:00 UTC);

/// The path of the chat's address, which nobody may ever see.
pub const HOOK: &str = "/services/T0001/B0001/the-secret-of-the-chat";

pub const ALERTS: &str = r#"
url = "https://forge.example"
[alerts]
labels = ["incident", "on-the-dashboard"]
log_lines = 5
slack = "CHAT"
webhook = "PROGRAM?"
[alerts.assignees]
low = ["dev"]
critical = ["ada", "bert"]
[alerts.severity]
"health/endpoints" = "critical"
[[alerts.escalation]]
label = "on-call"
after = "24h"
severity = "high"
assignees = ["grace"]
"#;

/// A clock that stands still, and on which nobody has to wait.
#[derive(Debug)]
pub struct Time(Mutex<OffsetDateTime>);

impl Wait for Time {
    fn now(&self) -> OffsetDateTime {
        *self.0.lock().unwrap()
    }

    fn sleep(&self, _: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }
}

/// A chat, or another program, that writes down what it hears.
pub struct Ear {
    pub url: String,
    heard: Arc<Mutex<Vec<Value>>>,
    answers: Arc<Mutex<VecDeque<String>>>,
}

impl Ear {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}{HOOK}", listener.local_addr().unwrap());
        let (heard, answers) = (Arc::default(), Arc::<Mutex<VecDeque<String>>>::default());
        let (to, from): (Arc<Mutex<Vec<Value>>>, _) = (Arc::clone(&heard), answers.clone());
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let Some(asked) = read(&mut BufReader::new(stream.try_clone().unwrap())) else { continue };
                let answer = from.lock().unwrap().pop_front().unwrap_or_else(|| "200 OK\r\n".to_owned());
                if answer.starts_with("200") || answer == "lost" {
                    let is_ping = asked.method == "GET";
                    to.lock().unwrap().push(if is_ping { json!("asked for") } else { asked.body });
                }
                if answer != "lost" {
                    let body = "said: the-secret-of-the-chat";
                    let head =
                        format!("HTTP/1.1 {answer}connection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                    let _gone = stream.write_all(head.as_bytes());
                }
            }
        });
        Self { url, heard, answers }
    }

    /// The next message is answered by this: status and headers, each with its end; `lost` is heard and not answered.
    pub fn answers<'a>(&self, answers: impl IntoIterator<Item = &'a str>) {
        self.answers.lock().unwrap().extend(answers.into_iter().map(str::to_owned));
    }

    /// What was heard since the last time.
    pub fn heard(&self) -> Vec<Value> {
        std::mem::take(&mut self.heard.lock().unwrap())
    }

    /// The same of a chat: the first line of each message.
    pub fn lines(&self) -> Vec<String> {
        let first = |message: Value| message["text"].as_str().unwrap().lines().next().unwrap().to_owned();
        self.heard().into_iter().map(first).collect()
    }
}

pub struct Site {
    pub hub: Hub,
    pub chat: Ear,
    pub time: Arc<Time>,
    pub ctx: Ctx,
    pub environment: Environment,
    /// The gates of a run that looks at everything, where that is known.
    pub planned: Option<Vec<String>>,
    project: Project,
}

impl Site {
    pub fn new() -> Self {
        Self::with(ALERTS)
    }

    pub fn with(alerts: &str) -> Self {
        let (project, hub, chat) = (Project::bare(), Hub::start(), Ear::start());
        let pipeline = "[python]\nversions = []\ntools = \"3.12\"\ntools_lock = \"tools.txt\"\n
[github]\ncheck = \"required\"\nbranches = [\"main\"]\n
[github.monitoring]\nworkflow = \"watch.yml\"\ninterval = \"6h\"\n
[requests.health]\nsend = \"GET /health\"\n[smoke]\nrequests = [\"health\"]\n";
        project.write("xtask/config/pipeline.toml", pipeline);
        project.write("xtask/config/production.toml", alerts);
        let env = [
            ("GITHUB_TOKEN", TOKEN),
            ("CHAT", &chat.url),
            ("GITHUB_API_URL", &hub.url()),
            ("GITHUB_SERVER_URL", "https://github.example"),
            ("GITHUB_REPOSITORY", REPOSITORY),
            ("GITHUB_RUN_ID", "7"),
            ("FORGE_API_KEY", "sk-a-secret-of-the-backend"),
        ];
        let env = env.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let ctx = Ctx::load(Places::default(), env, project.path(), START).unwrap();
        let environment = Environment::load(&ctx.config_dir, "production").unwrap();
        let last_good = json!({"total_count": 1, "workflow_runs": [{"created_at": "2026-11-23T18:00:00Z"}]});
        hub.sets("actions/workflows/watch.yml/runs", 200, last_good);
        let site =
            Self { hub, chat, time: Arc::new(Time(Mutex::new(START))), ctx, environment, planned: None, project };
        site.at(0);
        site
    }

    /// It is this hour now.
    pub fn at(&self, hour: i64) {
        let now = START + time::Duration::hours(hour);
        *self.time.0.lock().unwrap() = now;
        self.hub.is_now(&now.format(&Rfc3339).unwrap());
    }

    /// A log of a gate.
    pub fn log(&self, gate: &str, text: &str) {
        self.project.write(&format!("target/xtask/out/logs/{gate}.log"), text);
    }

    /// The report of a run that began two minutes ago.
    pub fn report(&self, gates: &[GateReport]) -> Report {
        let began = self.time.now() - time::Duration::minutes(2);
        Report {
            schema: SCHEMA.to_owned(),
            commit: "c0ffee".to_owned(),
            dirty: false,
            task: "monitor".to_owned(),
            profile: Profile::Local,
            verdict: Verdict::Fail,
            started: began.format(&Rfc3339).unwrap(),
            duration_ms: 120_000,
            not_configured: vec![],
            left_out: vec![],
            gates: gates.to_vec(),
        }
    }

    /// One run of the monitoring tells; `base` is where GitHub is.
    pub fn tells_at(&self, base: &str, gates: &[GateReport], cancel: &Cancel) -> Told {
        let report = self.report(gates);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let repository = Repository::parse(REPOSITORY).unwrap();
        let github = GitHub::new(&self.ctx, base, repository, cancel.clone(), self.time.clone());
        let seen = Seen { report: &report, planned: self.planned.as_deref() };
        let told = tell_by(&self.ctx, &self.environment, seen, github.as_ref(), cancel, self.time.clone());
        runtime.block_on(told)
    }

    pub fn tells(&self, gates: &[GateReport]) -> Told {
        let (_canceller, cancel) = cancel::pair();
        let told = self.tells_at(&self.hub.url(), gates, &cancel);
        // What is told leaves this machine; what is not may be shown.
        let shown = serde_json::to_string(&told).unwrap();
        assert!(!shown.contains("the-secret-of-the-chat") && !shown.contains(TOKEN), "{shown}");
        told
    }

    /// The same at an hour; what was told, or could not be, in short: `CHECK ABOUT: WHAT`.
    pub fn run(&self, hour: i64, gates: &[GateReport]) -> Vec<String> {
        self.at(hour);
        short(&self.tells(gates))
    }

    /// The open issues that are there.
    pub fn open(&self) -> Vec<Value> {
        self.hub.issues().into_iter().filter(|issue| issue["state"] == "open").collect()
    }
}

pub fn short(told: &Told) -> Vec<String> {
    let mut lines = Vec::new();
    for one in &told.checks {
        let words = one.told.iter().cloned().chain(one.trouble.iter().map(|untold| format!("! {}", untold.reason)));
        lines.extend(words.map(|word| format!("{} {}: {word}", one.check, one.about.name())));
    }
    lines.extend(told.trouble.iter().map(|untold| format!("! {}", untold.reason)));
    lines
}

pub fn gate(check: &str, verdict: Verdict, reason: &str) -> GateReport {
    let findings = match verdict {
        Verdict::Fail => vec![Finding::new("rule", Severity::High, reason)],
        _ => vec![],
    };
    GateReport {
        id: format!("monitor/{check}"),
        verdict,
        required: true,
        cached: false,
        work: Work::new(1, "requests"),
        tool: Tool::default(),
        path_tools: vec![],
        inputs: String::new(),
        duration_ms: 1,
        reason: reason.to_owned(),
        fix: "look at it".to_owned(),
        findings,
        artifacts: vec![],
    }
}

pub fn fails(reason: &str) -> GateReport {
    gate("health/pods", Verdict::Fail, reason)
}

pub fn passes() -> GateReport {
    gate("health/pods", Verdict::Pass, "")
}

pub fn did_not_run() -> GateReport {
    gate("health/pods", Verdict::DidNotRun, "the cluster cannot be reached")
}

pub fn names(issue: &Value, list: &str, key: &str) -> Vec<String> {
    issue[list].as_array().unwrap().iter().map(|one| one[key].as_str().unwrap().to_owned()).collect()
}
