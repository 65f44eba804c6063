//! One connection, HTTP/1.1 and kept alive, driven by the task that uses it: no second task has to be woken for an
//! answer, which is what a generator on one core spends its time with. Redirects are answers like others.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::CONTENT_TYPE;
use hyper_util::rt::TokioIo;
use rustls_platform_verifier::ConfigVerifierExt as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::{ClientConfig, pki_types::ServerName};

use crate::answer::{Answer, LARGEST_BODY};

/// A request as it goes over the wire.
pub type Sent = hyper::Request<Full<Bytes>>;

/// Why there is no answer.
#[derive(Debug)]
pub struct Broken {
    /// A sentence fragment.
    pub why: String,
    /// What became of the request.
    pub fate: Fate,
}

/// What became of a request without an answer; RFC 9110, 9.2.2 says which may be sent again on another connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The connection had ended before: nobody can have seen it.
    Unsent,
    /// The connection ended before any answer: somebody may have seen it.
    Unanswered,
    /// Anything else.
    Failed,
}

/// Where connections are made to: names are looked up once, so that no resolver is measured.
#[derive(Clone)]
pub struct Place {
    addresses: Vec<SocketAddr>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Place {
    /// Looks a host up. TLS is checked as the machine's own programs do. The error is a sentence fragment.
    pub async fn find(host: &str, port: u16, is_tls: bool) -> Result<Self, String> {
        let found = tokio::net::lookup_host((host, port)).await;
        let addresses: Vec<SocketAddr> = found.map_err(|e| format!("`{host}` has no address: {e}"))?.collect();
        let tls = if is_tls {
            let _installed = rustls::crypto::ring::default_provider().install_default();
            let config = ClientConfig::with_platform_verifier().map_err(|e| format!("TLS cannot be had: {e}"))?;
            let name = ServerName::try_from(host.to_owned()).map_err(|e| format!("`{host}`: {e}"))?;
            Some((TlsConnector::from(Arc::new(config)), name))
        } else {
            None
        };
        Ok(Self { addresses, tls })
    }

    /// A new connection, by the first address that takes one.
    pub async fn connect(&self) -> Result<Connection, Broken> {
        let broken = |why: String| Broken { why, fate: Fate::Failed };
        let mut last = "it has no address".to_owned();
        for address in &self.addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    stream.set_nodelay(true).map_err(|e| broken(e.to_string()))?;
                    let stream = match &self.tls {
                        Some((connector, name)) => {
                            let secured = connector.connect(name.clone(), stream).await;
                            Stream::Tls(Box::new(secured.map_err(|e| broken(format!("TLS: {e}")))?))
                        }
                        None => Stream::Plain(stream),
                    };
                    let (sender, driver) =
                        http1::handshake(TokioIo::new(stream)).await.map_err(|e| broken(e.to_string()))?;
                    return Ok(Connection { sender, driver: Some(Box::pin(driver)) });
                }
                Err(error) => last = format!("no connection: {}", without_code(&error)),
            }
        }
        Err(broken(last))
    }
}

/// The kind of an error is the same everywhere; its number is not.
fn without_code(error: &std::io::Error) -> String {
    error.to_string().split(" (os error").next().unwrap_or_default().to_ascii_lowercase()
}

type Driver = Pin<Box<http1::Connection<TokioIo<Stream>, Full<Bytes>>>>;

/// A connection with at most one request on it.
pub struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    /// `None` once it has ended.
    driver: Option<Driver>,
}

impl Connection {
    /// Sends a request and reads its answer; `on_piece` hears each part of the body when it comes.
    pub async fn ask(&mut self, request: &Sent, on_piece: &mut dyn FnMut(&[u8])) -> Result<Answer, Broken> {
        let Self { sender, driver } = self;
        if drive(driver, sender.ready()).await.is_err() {
            return Err(Broken { why: "the connection had ended".to_owned(), fate: Fate::Unsent });
        }
        let response = drive(driver, sender.send_request(request.clone())).await.map_err(|error| Broken {
            fate: match () {
                () if error.is_canceled() => Fate::Unsent,
                () if error.is_incomplete_message() => Fate::Unanswered,
                () => Fate::Failed,
            },
            why: explained(&error),
        })?;
        let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let mut answer = Answer {
            status: response.status().as_u16(),
            content_type: kind.unwrap_or_default().to_owned(),
            ..Answer::default()
        };
        let mut body = response.into_body();
        loop {
            match drive(driver, body.frame()).await {
                None => {
                    answer.is_whole = true;
                    return Ok(answer);
                }
                Some(Ok(frame)) => {
                    let Some(piece) = frame.data_ref() else { continue };
                    let room = (LARGEST_BODY + 1).saturating_sub(answer.body.len());
                    if room == 0 {
                        *driver = None;
                        return Ok(answer);
                    }
                    on_piece(piece);
                    answer.body.extend_from_slice(&piece[..piece.len().min(room)]);
                }
                // What came is judged as far as it came.
                Some(Err(_)) => return Ok(answer),
            }
        }
    }

    /// Whether another request may follow, as far as is known now.
    pub fn is_open(&self) -> bool {
        self.driver.is_some() && !self.sender.is_closed()
    }
}

/// hyper's own words end with the cause, which is the part that tells something.
fn explained(error: &hyper::Error) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("no answer: {error}{cause}").split(" (os error").next().unwrap_or_default().to_owned()
}

/// Polls a future that waits for the connection, and the connection, from one task.
async fn drive<F: Future>(driver: &mut Option<Driver>, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(output);
        }
        let Some(running) = driver else { return Poll::Pending };
        if running.as_mut().poll(cx).is_ready() {
            *driver = None;
        }
        // What the connection has read may be what the future waits for.
        future.as_mut().poll(cx)
    })
    .await
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, to),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, to),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, from),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, from),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, from),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, from),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
