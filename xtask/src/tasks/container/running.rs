//! The image as it runs, hardened as an orchestrator would: it gets alive, says so by its own health check, answers
//! what it has to, is nobody, owns nothing, and goes when it is told to.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::image::Image;
use super::structure::Checked;
use crate::config::{Container as Wanted, Request, Service};
use crate::engine::session::Session;
use crate::tools::containers::{Container, Engine, Run, State};
use crate::tools::http;
use crate::tools::proc::Runner;
use crate::verdict::{Finding, NotRun, Severity, Unproven};

/// Nothing can be written but `/tmp`, nothing is permitted, nothing can be gained.
pub const HARDENED: [&str; 7] =
    ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--tmpfs", "/tmp"];

/// The pause between two questions.
const BETWEEN: Duration = Duration::from_millis(100);

/// How long the health check may take after the service is alive.
const HEALTHY_WITHIN: Duration = Duration::from_secs(15);

/// How many of its last lines are told where it ended early.
const LAST_LINES: usize = 8;

/// A running image under test.
struct Trial<'a> {
    session: &'a Session,
    /// Without a log: the same answer over and over is no news.
    silent: Runner,
    engine: &'a Engine,
    container: Container,
    dockerfile: &'a str,
    checked: Checked,
}

/// Every check of the running image.
pub async fn check(session: &Session, engine: &Engine, image: &Image, wanted: &Wanted) -> Result<Checked, Unproven> {
    let config = &session.ctx().config;
    let Some(service) = &config.service else {
        return Err(session.not_run("pipeline.toml has no [service] that says how it is run").into());
    };
    let mut options = HARDENED.map(str::to_owned).to_vec();
    if engine.name == "docker" {
        // Its own command, asked more often than an orchestrator would.
        options.extend(["--health-interval".to_owned(), "1s".to_owned()]);
    }
    let env = environment(service);
    let run = Run { image: image.id.clone(), env, port: Some(service.port), options, command: vec![] };
    let container = engine.start(session.runner(), "test", &run).await?;
    let silent = Runner { log: None, on_line: None, ..session.runner().clone() };
    let mut trial =
        Trial { session, silent, engine, container, dockerfile: &wanted.dockerfile, checked: Checked::default() };
    let asked = |name: &String| config.requests.get(name).map(|request| (name.clone(), request.clone()));
    let Some((_, alive)) = asked(&service.alive) else {
        return Err(session.not_run(format!("no request is named `{}`", service.alive)).into());
    };
    if let Some(url) = trial.alive(service, &alive).await? {
        trial.healthy().await?;
        trial.answers(&url, wanted.requests.iter().filter_map(asked)).await?;
        trial.is_nobody(wanted.user).await?;
        trial.root_is_read_only().await?;
        trial.stops(service).await?;
    }
    // Its words, for whoever reads the gate's log.
    let _said = trial.container.logs(session.runner()).await?;
    Ok(trial.checked)
}

/// `[service.environment]` within the container; what stands for a service that is not there is left out.
fn environment(service: &Service) -> BTreeMap<String, String> {
    let filled = service.environment.iter().map(|(name, value)| {
        (name.clone(), value.replace("{host}", "0.0.0.0").replace("{port}", &service.port.to_string()))
    });
    filled.filter(|(_, value)| !["{redis}", "{ollama}"].iter().any(|place| value.contains(place))).collect()
}

impl Trial<'_> {
    fn add(&mut self, rule: &str, wrong: Option<String>) {
        self.checked.count += 1;
        let finding = |message| Finding::new(rule, Severity::High, message).at(self.dockerfile.to_owned(), None);
        self.checked.findings.extend(wrong.map(finding));
    }

    async fn state(&self) -> Result<State, Unproven> {
        if self.session.machine.cancel.is_cancelled() {
            return Err(NotRun::new("interrupted", "run it again").into());
        }
        self.container.state(&self.silent).await
    }

    async fn last_words(&self) -> Result<String, Unproven> {
        let said = self.container.logs(&self.silent).await?;
        let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n");
        Ok(if last.is_empty() { "it printed nothing".to_owned() } else { format!("its last lines:\n{last}") })
    }

    /// Its address, once it answers within its time.
    async fn alive(&mut self, service: &Service, alive: &Request) -> Result<Option<String>, Unproven> {
        let client = http::local_client()?;
        let (begun, limit) = (Instant::now(), service.starts_within);
        let alive = Request { timeout: alive.timeout.min(limit), ..alive.clone() };
        loop {
            let state = self.state().await?;
            if state.status != "running" && state.status != "created" {
                let wrong = format!(
                    "it ended with exit code {} before it answered; {}",
                    state.exit_code,
                    self.last_words().await?
                );
                self.add("starts", Some(wrong));
                return Ok(None);
            }
            // The port is there as soon as it runs.
            let url =
                self.container.address(&self.silent, service.port).await.map(|address| format!("http://{address}"));
            let wrong = match &url {
                Ok(url) => http::expect(&client, url, &alive).await.err(),
                Err(Unproven::NotRun(why)) => Some(why.reason.clone()),
                Err(Unproven::Defect(_)) => return url.map(Some),
            };
            match wrong {
                None => {
                    let late = begun.elapsed() > limit;
                    let wrong = format!(
                        "it answered after {:.1} s, later than {} s",
                        begun.elapsed().as_secs_f32(),
                        limit.as_secs()
                    );
                    self.add("starts", late.then_some(wrong));
                    return url.map(Some);
                }
                Some(wrong) if begun.elapsed() > limit => {
                    let wrong = format!(
                        "it does not answer within {} s: {wrong}; {}",
                        limit.as_secs(),
                        self.last_words().await?
                    );
                    self.add("starts", Some(wrong));
                    return Ok(None);
                }
                Some(_) => tokio::time::sleep(BETWEEN).await,
            }
        }
    }

    async fn healthy(&mut self) -> Result<(), Unproven> {
        let begun = Instant::now();
        let wrong = loop {
            // podman leaves the asking to systemd, where there is one.
            if self.engine.name == "podman" {
                let asked = self.engine.command(["healthcheck", "run", &self.container.name]);
                let ended = self.silent.run(&asked).await?;
                if ended.is_success() {
                    break None;
                }
                if ended.stderr.contains("no defined healthcheck") || ended.stderr.contains("has no healthcheck") {
                    break Some("the image has no HEALTHCHECK".to_owned());
                }
            }
            let state = self.state().await?;
            match state.health.as_str() {
                "healthy" if self.engine.name == "docker" => break None,
                "unhealthy" => break Some("its own health check says `unhealthy`".to_owned()),
                "" | "none" if self.engine.name == "docker" => break Some("the image has no HEALTHCHECK".to_owned()),
                health if begun.elapsed() > HEALTHY_WITHIN => {
                    break Some(format!("its own health check says `{health}` after {} s", HEALTHY_WITHIN.as_secs()));
                }
                _ => tokio::time::sleep(BETWEEN).await,
            }
        };
        self.add("healthcheck", wrong);
        Ok(())
    }

    async fn answers(&mut self, url: &str, requests: impl Iterator<Item = (String, Request)>) -> Result<(), Unproven> {
        let client = http::local_client()?;
        for (name, request) in requests {
            let wrong = http::expect(&client, url, &request).await.err();
            self.add("request", wrong.map(|wrong| format!("{name}: {wrong}")));
        }
        Ok(())
    }

    /// From outside, by the engine's list of processes, and from within, by what the kernel says of process 1.
    async fn is_nobody(&mut self, user: u32) -> Result<(), Unproven> {
        let name = self.container.name.clone();
        // podman's list would be made by a program within the image.
        let ask = match self.engine.name {
            "podman" => self.engine.command(["inspect", "--format", "{{.Config.User}}", &name]),
            _ => self.engine.command(["top", &name, "-eo", "pid,uid"]),
        };
        let ended = self.session.step(&ask).await?;
        let lines = ended.stdout.lines().filter(|line| !line.trim().is_empty());
        let users: Vec<&str> = lines
            .filter_map(|line| line.split_whitespace().last()?.split(':').next())
            .filter(|word| !word.eq_ignore_ascii_case("uid"))
            .collect();
        if !ended.is_success() || users.is_empty() {
            let reason = format!("{} does not say as whom it runs: {}", self.engine.name, ended.failure());
            return Err(self.session.not_run(reason).into());
        }
        let other = users.iter().find(|found| **found != user.to_string());
        self.add("runs-as", other.map(|found| format!("a process of it runs as the user {found}, not as {user}")));
        let status = self.session.step(&self.engine.command(["exec", &name, "cat", "/proc/1/status"])).await?;
        if !status.is_success() {
            return Err(self
                .session
                .not_run(format!("its /proc/1/status cannot be read: {}", status.failure()))
                .into());
        }
        let Some(facts) = Facts::of(&status.stdout) else {
            return Err(self.session.not_run("its /proc/1/status does not say who it is").into());
        };
        let is_other = facts.users.iter().any(|found| *found != user.to_string());
        self.add("runs-as", is_other.then(|| format!("process 1 runs as {}, not as {user}", facts.users.join(" "))));
        self.add(
            "capabilities",
            (!facts.capabilities.bytes().all(|b| b == b'0'))
                .then(|| format!("process 1 has the capabilities {}", facts.capabilities)),
        );
        Ok(())
    }

    async fn root_is_read_only(&mut self) -> Result<(), Unproven> {
        let name = self.container.name.clone();
        let write =
            self.engine.command(["exec", &name, "sh", "-c", "echo written > /tmp/probe && echo written > /probe"]);
        let ended = self.session.step(&write).await?;
        let is_refused = !ended.is_success() && ended.stderr.contains("ead-only");
        self.add(
            "read-only",
            (!is_refused).then(|| format!("its root can be written, or that cannot be told: {}", ended.failure())),
        );
        Ok(())
    }

    async fn stops(&mut self, service: &Service) -> Result<(), Unproven> {
        let limit = service.stops_within;
        self.container.signal(self.session.runner(), "TERM").await?;
        let begun = Instant::now();
        loop {
            let state = self.state().await?;
            if state.status == "exited" || state.status == "stopped" {
                self.add("stops", None);
                let wrong = format!("it ended with exit code {} after SIGTERM, expected 0", state.exit_code);
                self.add("exit-code", (state.exit_code != 0).then_some(wrong));
                return Ok(());
            }
            if begun.elapsed() > limit {
                self.add("stops", Some(format!("it still runs {} s after SIGTERM", limit.as_secs_f32())));
                return Ok(());
            }
            tokio::time::sleep(BETWEEN).await;
        }
    }
}

/// What `/proc/PID/status` says.
#[derive(Debug, PartialEq, Eq)]
struct Facts {
    /// Real, effective, saved and file system user.
    users: Vec<String>,
    /// The effective ones, in hexadecimal.
    capabilities: String,
}

impl Facts {
    fn of(status: &str) -> Option<Self> {
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let users: Vec<String> = field("Uid")?.split_whitespace().map(str::to_owned).collect();
        let capabilities = field("CapEff")?.trim().to_owned();
        (users.len() == 4 && !capabilities.is_empty()).then_some(Self { users, capabilities })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_who_a_process_is() {
        let status = "Name:\tpython\nUid:\t10001\t10001\t10001\t10001\nCapEff:\t0000000000000000\n";
        let facts = Facts::of(status).unwrap();
        assert_eq!((facts.users[0].as_str(), facts.capabilities.as_str()), ("10001", "0000000000000000"));
        assert_eq!(Facts::of("Uid:\t1\n"), None);
    }
}
