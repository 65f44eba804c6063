//! What stands between the backend and a provider, and brings about what a network and a provider can do: be slow,
//! break off in the middle of an answer, refuse the connection.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

/// How much is passed on at once, in bytes.
const PIECE: usize = 16 << 10;

/// How much a slow provider says at once, in bytes: about a line of a streamed answer.
const TRICKLE: usize = 160;

/// How long the port may take until it can be listened on again.
const FREE_WITHIN: Duration = Duration::from_secs(5);

/// What happens to connections, those that are open included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case", deny_unknown_fields)]
pub enum Mode {
    /// Everything is passed on as it comes.
    #[default]
    Normal,
    /// An answer comes in small pieces, each of them later.
    Slow {
        /// By how many milliseconds.
        pause_ms: u64,
    },
    /// A connection is dropped when so much of what the provider says was passed on since the mode was set.
    Cut {
        /// Bytes, heads of HTTP included.
        after_bytes: usize,
    },
    /// Nobody listens.
    Refuse,
}

/// A proxy with faults. It and its connections end with this value.
#[derive(Debug)]
pub struct Faults {
    /// Where it listens.
    pub listen: SocketAddr,
    orders: mpsc::Sender<(Mode, oneshot::Sender<Result<()>>)>,
    mode: watch::Receiver<Mode>,
    task: JoinHandle<()>,
}

impl Drop for Faults {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Faults {
    /// Passes everything from `listen` on to `provider`.
    pub async fn start(listen: SocketAddr, provider: SocketAddr) -> Result<Self> {
        let listener = bind(listen).await?;
        let (orders, received) = mpsc::channel(1);
        let (set, mode) = watch::channel(Mode::Normal);
        let task = tokio::spawn(listening(listener, listen, provider, received, set));
        Ok(Self { listen, orders, mode, task })
    }

    /// Sets the mode; it is in force when this returns.
    pub async fn set(&self, mode: Mode) -> Result<()> {
        let (done, answer) = oneshot::channel();
        self.orders.send((mode, done)).await.ok().context("the proxy has ended")?;
        answer.await.context("the proxy has ended")?
    }

    /// The mode in force.
    pub fn mode(&self) -> Mode {
        *self.mode.borrow()
    }
}

async fn listening(
    listener: TcpListener,
    listen: SocketAddr,
    provider: SocketAddr,
    mut orders: mpsc::Receiver<(Mode, oneshot::Sender<Result<()>>)>,
    set: watch::Sender<Mode>,
) {
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            order = orders.recv() => {
                let Some((mode, done)) = order else { return };
                let obeyed = if mode == Mode::Refuse {
                    listener = None;
                    connections.shutdown().await;
                    Ok(())
                } else if listener.is_none() {
                    bind(listen).await.map(|bound| listener = Some(bound))
                } else {
                    Ok(())
                };
                set.send_replace(mode);
                // One who does not wait for the answer gets the mode all the same.
                let _left = done.send(obeyed);
            }
            client = accept(listener.as_ref()) => {
                let mode = set.subscribe();
                connections.spawn(connection(client, provider, mode));
            }
            Some(_ended) = connections.join_next() => {}
        }
    }
}

/// The next connection; none for ever where nobody listens.
async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    match listener {
        Some(listener) => loop {
            match listener.accept().await {
                Ok((stream, _)) => return stream,
                // That one is lost, or there is no room for it just now; the next one may get through.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        },
        None => std::future::pending().await,
    }
}

async fn bind(listen: SocketAddr) -> Result<TcpListener> {
    let begun = Instant::now();
    loop {
        match TcpListener::bind(listen).await {
            Ok(listener) => return Ok(listener),
            Err(why) if begun.elapsed() > FREE_WITHIN => {
                return Err(why).with_context(|| format!("cannot listen on {listen}"));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn connection(client: TcpStream, provider: SocketAddr, mode: watch::Receiver<Mode>) {
    let Ok(upstream) = TcpStream::connect(provider).await else { return };
    // Small pieces as they come: this is a proxy for streams.
    let _kept_together = (client.set_nodelay(true), upstream.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_provider, to_provider) = upstream.into_split();
    // One side that has ended ends the other: a client that is gone stops the provider's work.
    tokio::select! {
        () = question(from_client, to_provider) => {}
        () = answer(from_provider, to_client, mode) => {}
    }
}

/// Passes on what the backend says.
async fn question(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let _broken = tokio::io::copy(&mut from, &mut to).await;
}

/// Passes on what the provider says, as the mode wants it.
async fn answer(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut mode: watch::Receiver<Mode>) {
    let mut piece = vec![0; PIECE];
    let mut since = 0;
    loop {
        let read = from.read(&mut piece).await.unwrap_or_default();
        let mut rest = &piece[..read];
        while !rest.is_empty() {
            if mode.has_changed().unwrap_or_default() {
                since = 0;
            }
            let now = *mode.borrow_and_update();
            let length = match now {
                Mode::Slow { pause_ms } => {
                    tokio::time::sleep(Duration::from_millis(pause_ms)).await;
                    rest.len().min(TRICKLE)
                }
                Mode::Cut { after_bytes } => rest.len().min(after_bytes.saturating_sub(since)),
                Mode::Normal | Mode::Refuse => rest.len(),
            };
            if length == 0 || to.write_all(&rest[..length]).await.is_err() {
                return;
            }
            since += length;
            rest = &rest[length..];
        }
        if read == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    /// A provider that says 100 bytes for each byte it is told.
    async fn provider() -> SocketAddr {
        let listener = TcpListener::bind(LOOPBACK).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    while stream.read_u8().await.is_ok() {
                        stream.write_all(&[b'x'; 100]).await.unwrap();
                    }
                });
            }
        });
        address
    }

    async fn proxy() -> Faults {
        let port = bind(LOOPBACK).await.unwrap().local_addr().unwrap();
        Faults::start(port, provider().await).await.unwrap()
    }

    /// How much comes for one byte, until 100 bytes or the end.
    async fn asked(stream: &mut TcpStream) -> usize {
        stream.write_u8(1).await.unwrap();
        let (mut got, mut buffer) = (0, [0; 100]);
        while got < 100 {
            match stream.read(&mut buffer[got..]).await {
                Ok(0) | Err(_) => break,
                Ok(more) => got += more,
            }
        }
        got
    }

    #[tokio::test]
    async fn a_connection_that_is_open_obeys_each_mode() {
        let faults = proxy().await;
        let mut open = TcpStream::connect(faults.listen).await.unwrap();
        assert_eq!(asked(&mut open).await, 100);
        faults.set(Mode::Slow { pause_ms: 80 }).await.unwrap();
        let begun = Instant::now();
        assert_eq!(asked(&mut open).await, 100);
        assert!(begun.elapsed() >= Duration::from_millis(80), "{:?}", begun.elapsed());
        faults.set(Mode::Cut { after_bytes: 130 }).await.unwrap();
        assert_eq!(asked(&mut open).await, 100);
        assert_eq!(asked(&mut open).await, 30);
    }

    #[tokio::test]
    async fn refused_is_refused_at_once_and_not_for_ever() {
        let faults = proxy().await;
        let mut open = TcpStream::connect(faults.listen).await.unwrap();
        assert_eq!(asked(&mut open).await, 100);
        faults.set(Mode::Refuse).await.unwrap();
        assert_eq!(open.read(&mut [0; 1]).await.unwrap_or_default(), 0);
        let refused = TcpStream::connect(faults.listen).await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        faults.set(Mode::Normal).await.unwrap();
        assert_eq!(asked(&mut TcpStream::connect(faults.listen).await.unwrap()).await, 100);
        assert_eq!(faults.mode(), Mode::Normal);
    }

    #[test]
    fn modes_are_read_as_tests_write_them() {
        for (text, mode) in [
            (r#"{"mode": "normal"}"#, Some(Mode::Normal)),
            (r#"{"mode": "slow", "pause_ms": 5}"#, Some(Mode::Slow { pause_ms: 5 })),
            (r#"{"mode": "cut", "after_bytes": 9}"#, Some(Mode::Cut { after_bytes: 9 })),
            (r#"{"mode": "gone"}"#, None),
            (r#"{"mode": "slow"}"#, None),
        ] {
            assert_eq!(serde_json::from_str(text).ok(), mode, "{text}");
        }
    }
}
