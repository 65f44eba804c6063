//! Servers that are put under load: nginx, and two of ours of which it is known how long each answer took.
//!
//! Ours run as processes of their own, started from this program, so that they can have a core to themselves.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::pin::{self, Core};
use crate::Bench;
use xtask::tools::command::Command;
use xtask::tools::proc::Server;

/// How long a server may take until it answers.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// When the stall begins, counted from the first request.
pub const STALLS_AFTER: Duration = Duration::from_secs(9);

/// How long it lasts.
pub const STALL: Duration = Duration::from_secs(2);

/// What a server of ours does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Answers after a time of a known distribution, and keeps how long each answer really took.
    Known,
    /// Answers at once, but for [`STALL`], in which nobody gets an answer.
    Stall,
}

impl Behaviour {
    /// As it stands on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::Stall => "stall",
        }
    }

    /// The behaviour of that name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Known, Self::Stall].into_iter().find(|behaviour| behaviour.name() == name)
    }
}

/// A server at work; it ends with this value.
#[derive(Debug)]
pub struct Target {
    /// `HOST:PORT`.
    pub address: String,
    _server: Server,
    _folder: tempfile::TempDir,
}

impl Target {
    /// What generators are given.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// The times of all answers so far, sorted.
    pub async fn times(&self) -> Result<Vec<Duration>> {
        let mut stream = TcpStream::connect(&self.address).await.context("the server is gone")?;
        stream.write_all(format!("GET {TIMES} HTTP/1.1\r\nConnection: close\r\n\r\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.context("the server did not tell its times")?;
        let (_, body) = answer.split_once("\r\n\r\n").context("the server's answer has no body")?;
        let mut times: Vec<u64> = serde_json::from_str(body).context("the server's times are no list")?;
        times.sort_unstable();
        Ok(times.into_iter().map(Duration::from_nanos).collect())
    }
}

/// Starts nginx with one worker that answers two bytes and keeps connections open.
pub async fn nginx(bench: &Bench) -> Result<Target> {
    let Some(nginx) = bench.machine.on_path("nginx").or_else(in_sbin) else { bail!("`nginx` is not on PATH") };
    let folder = tempfile::Builder::new().prefix("bench-nginx-").tempdir().context("cannot make a folder")?;
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).context("no port")?.port();
    let config = folder.path().join("nginx.conf");
    std::fs::write(&config, configuration(folder.path(), port)).context("cannot write the configuration of nginx")?;
    let command = Command::new(nginx, folder.path()).arg("-p").arg(folder.path()).arg("-c").arg(&config);
    // Of several workers only one would have work, for a client that reads as fast as it can.
    let server = bench.runner.serve(&pin::to(bench, Core::Server, command))?;
    ready(Target { address: format!("127.0.0.1:{port}"), _server: server, _folder: folder }).await
}

/// Where distributions put it, which is not on everybody's PATH.
fn in_sbin() -> Option<PathBuf> {
    ["/usr/sbin/nginx", "/usr/local/sbin/nginx"].iter().map(PathBuf::from).find(|path| path.is_file())
}

fn configuration(folder: &Path, port: u16) -> String {
    let folder = folder.display();
    format!(
        "daemon off;\nmaster_process off;\nworker_processes 1;\npid {folder}/pid;\nerror_log {folder}/error.log;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n  access_log off;\n  keepalive_requests 1000000000;\n  keepalive_timeout 3600s;\n\
         \x20 client_body_temp_path {folder}/body;\n  proxy_temp_path {folder}/proxy;\n  fastcgi_temp_path {folder}/fastcgi;\n\
         \x20 uwsgi_temp_path {folder}/uwsgi;\n  scgi_temp_path {folder}/scgi;\n\
         \x20 server {{ listen 127.0.0.1:{port}; location / {{ return 200 \"ok\"; }} }}\n}}\n"
    )
}

/// Starts a server of ours.
pub async fn ours(bench: &Bench, behaviour: Behaviour) -> Result<Target> {
    let folder = tempfile::Builder::new().prefix("bench-server-").tempdir().context("cannot make a folder")?;
    let told = folder.path().join("address");
    let me = std::env::current_exe().context("cannot tell which program this is")?;
    let command = Command::new(me, folder.path()).args(["--part", "serve", "--", behaviour.name()]).arg(&told);
    let mut server = bench.runner.serve(&pin::to(bench, Core::Server, command))?;
    let begun = Instant::now();
    let address = loop {
        if let Some(address) = std::fs::read_to_string(&told).ok().filter(|text| text.ends_with('\n')) {
            break address.trim().to_owned();
        }
        if let Some(exit) = server.ended() {
            bail!("the server ended: {exit}");
        }
        if begun.elapsed() > READY_WITHIN {
            bail!("the server did not start");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    Ok(Target { address, _server: server, _folder: folder })
}

async fn ready(mut target: Target) -> Result<Target> {
    let begun = Instant::now();
    while TcpStream::connect(&target.address).await.is_err() {
        if let Some(exit) = target._server.ended() {
            bail!("the server ended: {exit}");
        }
        if begun.elapsed() > READY_WITHIN {
            bail!("the server did not start");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(target)
}

/// Where the times are asked for.
const TIMES: &str = "/times";

struct State {
    behaviour: Behaviour,
    served: Mutex<Served>,
}

#[derive(Default)]
struct Served {
    first: Option<Instant>,
    begun: u32,
    nanos: Vec<u64>,
}

/// Serves until it is killed, and writes its address into `told` when it can be reached.
pub async fn serve(behaviour: Behaviour, told: &Path) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await.context("no port")?;
    let address = listener.local_addr().context("no address")?;
    xtask::disk::write_atomically(told, format!("{address}\n").as_bytes())?;
    let state = Arc::new(State { behaviour, served: Mutex::default() });
    loop {
        let (stream, _) = listener.accept().await.context("cannot accept")?;
        stream.set_nodelay(true).context("cannot serve")?;
        let state = state.clone();
        tokio::spawn(async move {
            // A client that goes away ends its connection, and nothing else.
            let _gone = connection(stream, &state).await;
        });
    }
}

async fn connection(mut stream: TcpStream, state: &State) -> std::io::Result<()> {
    let mut buffer = Vec::with_capacity(4096);
    loop {
        let end = loop {
            if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        let arrived = Instant::now();
        let asks_for_times = buffer.starts_with(format!("GET {TIMES} ").as_bytes());
        buffer.drain(..end);
        if asks_for_times {
            let body = serde_json::to_string(&locked(state).nanos).unwrap_or_default();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).await?;
            return Ok(());
        }
        tokio::time::sleep_until(answered_at(state, arrived).into()).await;
        // Whoever gave up has no figure of this request, so that it does not count here either.
        let gave_up = matches!(stream.try_read(&mut [0; 1]), Ok(0));
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await?;
        if !gave_up {
            let took = u64::try_from(arrived.elapsed().as_nanos()).unwrap_or(u64::MAX);
            locked(state).nanos.push(took);
        }
    }
}

fn locked(state: &State) -> std::sync::MutexGuard<'_, Served> {
    state.served.lock().unwrap_or_else(PoisonError::into_inner)
}

/// When the request that arrives now gets its answer.
fn answered_at(state: &State, arrived: Instant) -> Instant {
    let mut served = locked(state);
    let first = *served.first.get_or_insert(arrived);
    served.begun = served.begun.wrapping_add(1);
    match state.behaviour {
        Behaviour::Known => arrived + delay(served.begun),
        Behaviour::Stall => {
            let (from, to) = (first + STALLS_AFTER, first + STALLS_AFTER + STALL);
            if (from..to).contains(&arrived) { to } else { arrived }
        }
    }
}

/// The nth delay: 60 ms and an exponential part of 40 ms on average, spread evenly by the golden ratio.
fn delay(nth: u32) -> Duration {
    let part = (f64::from(nth) * 0.618_033_988_749_895).fract();
    Duration::from_secs_f64(0.060 - 0.040 * (1.0 - part).ln())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_have_the_distribution_that_is_said() {
        let mut delays: Vec<Duration> = (1..=10_000).map(delay).collect();
        delays.sort_unstable();
        // 60 ms + 40 ms × ln 2 and 60 ms + 40 ms × ln 100.
        for (percent, expected) in [(50.0, 0.08773), (99.0, 0.24421)] {
            let found = crate::load::exact::percentile(&delays, percent).unwrap().as_secs_f64();
            assert!((found - expected).abs() < 0.001, "{percent}: {found}");
        }
    }

    #[test]
    fn only_who_asks_within_the_stall_waits_for_its_end() {
        let state = State { behaviour: Behaviour::Stall, served: Mutex::default() };
        let begun = Instant::now();
        for (after, answered) in [(0, 0), (8_999, 8_999), (9_000, 11_000), (10_000, 11_000), (11_000, 11_000)] {
            let at = begun + Duration::from_millis(after);
            assert_eq!(answered_at(&state, at), begun + Duration::from_millis(answered), "{after}");
        }
    }
}
