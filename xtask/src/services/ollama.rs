//! Ollama for the backend: one that is there, one that is started, or a stand-in; the report says which it was.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Deserialize;

use super::ground::Ground;
use super::serve::Listening;
use super::stand_in;
use crate::tools::command::Command;
use crate::tools::containers::{Container, Engine, Run};
use crate::tools::http;
use crate::tools::machine::Machine;
use crate::tools::proc::{Exit, Runner, Server};
use crate::verdict::{NotRun, Tool, Unproven};

/// Where Ollama listens unless it is told otherwise (its documentation, `OLLAMA_HOST`).
const USUAL: &str = "http://127.0.0.1:11434";

/// The port within its image.
const PORT: u16 = 11434;

/// Its image, which is used where the engine has it; nothing is pulled.
const IMAGE: &str = "ollama/ollama";

/// How long one question may take.
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);

/// How long it may take until it answers.
const STARTS_WITHIN: Duration = Duration::from_secs(30);

/// Which Ollama is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The best that can be had.
    #[default]
    Auto,
    /// The one at this address, and no other.
    Url(String),
    /// The stand-in.
    Stub,
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "stub" => Ok(Self::Stub),
            url if url.starts_with("http://") => Ok(Self::Url(url.trim_end_matches('/').to_owned())),
            other => Err(format!("`{other}` is neither `auto`, `stub` nor an address like {USUAL}")),
        }
    }
}

/// An Ollama that answers and has a model.
#[derive(Debug)]
pub struct Ollama {
    /// Where, as this machine reaches it.
    pub url: String,
    /// A model that it has.
    pub model: String,
    /// Which one it is, for the report.
    pub which: String,
    /// Whether it is the real one.
    pub is_real: bool,
    /// Programs from PATH that are part of it.
    pub used: Vec<Tool>,
    _life: Life,
}

/// What ends with it.
#[derive(Debug)]
enum Life {
    Elsewhere,
    Server { _server: Server },
    Container { _container: Box<Container>, _ground: Box<Ground> },
    StandIn { _listening: Listening },
}

impl fmt::Display for Ollama {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, model `{}`", self.which, self.model)
    }
}

/// Finds or starts it. `engine` is that of the machine, where one answers.
pub async fn find(
    machine: &Machine,
    runner: &Runner,
    choice: &Choice,
    engine: Option<&Engine>,
) -> Result<Ollama, Unproven> {
    match choice {
        Choice::Stub => stand_in().await,
        Choice::Url(url) => match there(url).await {
            Ok(ollama) => Ok(ollama),
            Err(why) => Err(NotRun::new(
                format!("`{url}` cannot be used: {why}"),
                "start it, `ollama pull` a model, or take `--ollama auto`",
            )
            .into()),
        },
        Choice::Auto => {
            let usual = machine.ctx.var("OLLAMA_HOST").map_or_else(|| USUAL.to_owned(), address);
            if let Ok(ollama) = there(&usual).await {
                return Ok(ollama);
            }
            if let Some(ollama) = from_path(machine, runner).await? {
                return Ok(ollama);
            }
            if let Some(ollama) = from_image(runner, engine).await? {
                return Ok(ollama);
            }
            stand_in().await
        }
    }
}

/// `OLLAMA_HOST` as an address: it may lack the scheme and the port, and `0.0.0.0` is where a server listens.
fn address(host: &str) -> String {
    let host = host.trim_end_matches('/');
    let bare = host.strip_prefix("http://").unwrap_or(host).replace("0.0.0.0", "127.0.0.1");
    let has_port = bare.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if has_port { format!("http://{bare}") } else { format!("http://{bare}:{PORT}") }
}

async fn stand_in() -> Result<Ollama, Unproven> {
    let listening = stand_in::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    Ok(Ollama {
        url: format!("http://{}", listening.address),
        model: stand_in::MODEL.to_owned(),
        which: format!("a stand-in of ours for Ollama {}", stand_in::VERSION),
        is_real: false,
        used: vec![],
        _life: Life::StandIn { _listening: listening },
    })
}

/// One that answers already.
async fn there(url: &str) -> Result<Ollama, String> {
    let (version, model) = (version(url).await?, first_model(url).await?);
    let model = model.ok_or("it has no model")?;
    let which = format!("Ollama {version} at {url}");
    Ok(Ollama { url: url.to_owned(), model, which, is_real: true, used: vec![], _life: Life::Elsewhere })
}

/// A program on PATH, where the profile trusts it, with the models that the user has.
async fn from_path(machine: &Machine, runner: &Runner) -> Result<Option<Ollama>, Unproven> {
    let Some(program) = machine.on_path("ollama").filter(|_| machine.ctx.profile.trusts_path()) else {
        return Ok(None);
    };
    let listen = Ground::loopback().address()?;
    let mut command = Command::new(&program, Path::new("/")).args(["serve"]).env("OLLAMA_HOST", listen.to_string());
    if let Some(models) = machine.ctx.var("OLLAMA_MODELS") {
        command = command.env("OLLAMA_MODELS", models);
    }
    let mut server = runner.serve(&command)?;
    let url = format!("http://{listen}");
    let Some(version) = answers(&url, runner, || server.ended()).await else { return Ok(None) };
    let Some(model) = first_model(&url).await.ok().flatten() else { return Ok(None) };
    let hash = Some(machine.facts.hash(&program)?);
    let used = vec![Tool { name: "ollama".to_owned(), version: version.clone(), hash }];
    let which = format!("Ollama {version} from PATH");
    Ok(Some(Ollama { url, model, which, is_real: true, used, _life: Life::Server { _server: server } }))
}

/// The image, where the engine has it.
async fn from_image(runner: &Runner, engine: Option<&Engine>) -> Result<Option<Ollama>, Unproven> {
    let Some(engine) = engine else { return Ok(None) };
    let asked = runner.run(&engine.command(["image", "inspect", "--format", "{{.Id}}", IMAGE])).await?;
    if !asked.is_success() {
        return Ok(None);
    }
    let ground = Ground::network(engine, runner).await?;
    let options = ground.network.iter().flat_map(|name| ["--network".to_owned(), name.clone()]).collect();
    let run = Run { image: asked.stdout.trim().to_owned(), port: Some(PORT), options, ..Run::default() };
    let container = engine.start(runner, "ollama", &run).await?;
    let url = format!("http://{}", container.address(runner, PORT).await?);
    let Some(version) = answers(&url, runner, || None).await else { return Ok(None) };
    let Some(model) = first_model(&url).await.ok().flatten() else { return Ok(None) };
    let which = format!("Ollama {version} from the image `{IMAGE}`");
    let life = Life::Container { _container: Box::new(container), _ground: Box::new(ground) };
    Ok(Some(Ollama { url, model, which, is_real: true, used: vec![], _life: life }))
}

/// Polls until it tells its version; `None` when it ends, is silent too long, or the run is interrupted.
async fn answers(url: &str, runner: &Runner, mut ended: impl FnMut() -> Option<Exit>) -> Option<String> {
    let begun = Instant::now();
    loop {
        if let Ok(version) = version(url).await {
            return Some(version);
        }
        if ended().is_some() || begun.elapsed() > STARTS_WITHIN || runner.cancel.is_cancelled() {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What `GET /api/version` tells.
pub async fn version(url: &str) -> Result<String, String> {
    #[derive(Deserialize)]
    struct Version {
        version: String,
    }
    get::<Version>(url, "/api/version").await.map(|found| found.version)
}

/// The first model of `GET /api/tags`.
async fn first_model(url: &str) -> Result<Option<String>, String> {
    #[derive(Deserialize)]
    struct Model {
        name: String,
    }
    #[derive(Deserialize)]
    struct Tags {
        models: Vec<Model>,
    }
    let tags: Tags = get(url, "/api/tags").await?;
    Ok(tags.models.into_iter().next().map(|model| model.name))
}

async fn get<T: serde::de::DeserializeOwned>(url: &str, path: &str) -> Result<T, String> {
    let asked = async {
        let client = http::local_client()?;
        let answer = client.get(format!("{url}{path}")).timeout(ANSWERS_WITHIN).send().await?.error_for_status()?;
        anyhow::Ok(answer.json::<T>().await?)
    };
    asked.await.map_err(|e| format!("{:#}", e.context(format!("`GET {path}`"))))
}

/// The address of a URL of plain HTTP, for what speaks TCP alone.
pub async fn resolve(url: &str) -> Result<SocketAddr, Unproven> {
    let place = url.strip_prefix("http://").unwrap_or(url).split('/').next().unwrap_or_default();
    let place = if place.contains(':') { place.to_owned() } else { format!("{place}:80") };
    let mut found = tokio::net::lookup_host(&place).await.with_context(|| format!("`{place}` has no address"))?;
    Ok(found.next().with_context(|| format!("`{place}` has no address"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_read_from_the_command_line() {
        for (text, choice) in [
            ("auto", Some(Choice::Auto)),
            ("stub", Some(Choice::Stub)),
            ("http://127.0.0.1:11434/", Some(Choice::Url("http://127.0.0.1:11434".to_owned()))),
            ("https://ollama.example", None),
            ("none", None),
        ] {
            assert_eq!(text.parse().ok(), choice, "{text}");
        }
    }

    #[test]
    fn the_address_in_ollamas_variable_may_be_short() {
        for (host, url) in [
            ("127.0.0.1:7000", "http://127.0.0.1:7000"),
            ("http://ollama:11434/", "http://ollama:11434"),
            ("0.0.0.0", "http://127.0.0.1:11434"),
            ("ollama", "http://ollama:11434"),
        ] {
            assert_eq!(address(host), url, "{host}");
        }
    }
}
