//! A small HTTP server in this process: what stands in for a service, and what tests call to bring faults about.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

/// The largest body of a request, in bytes.
const LARGEST_BODY: usize = 4 << 20;

/// The body of an answer, whole or in pieces.
pub type Body = BoxBody<Bytes, Infallible>;

/// A request whose body has come.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The method.
    pub method: Method,
    /// The path, without its query.
    pub path: String,
    /// The body.
    pub body: Bytes,
}

/// A server that listens; it and its connections end with this value.
#[derive(Debug)]
pub struct Listening {
    /// Where.
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers every request on `address` by `answer`; port 0 takes a free one.
pub async fn serve<H, F>(address: SocketAddr, answer: H) -> Result<Listening>
where
    H: Fn(Asked) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    let address = listener.local_addr().context("cannot tell the port")?;
    let task = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    // A connection that breaks while it is accepted is its caller's affair.
                    let Ok((stream, _)) = accepted else { continue };
                    let answer = answer.clone();
                    let service = service_fn(move |request| received(request, answer.clone()));
                    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                    connections.spawn(async move {
                        let _broken = connection.await;
                    });
                }
                Some(_ended) = connections.join_next() => {}
            }
        }
    });
    Ok(Listening { address, task })
}

async fn received<H, F>(request: Request<Incoming>, answer: H) -> Result<Response<Body>, Infallible>
where
    H: Fn(Asked) -> F,
    F: Future<Output = Response<Body>>,
{
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, LARGEST_BODY).collect().await else {
        return Ok(text(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large or was cut"));
    };
    Ok(answer(Asked { method: head.method, path: head.uri.path().to_owned(), body: body.to_bytes() }).await)
}

/// A body that is whole.
pub fn whole(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(body.into()).boxed());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// JSON, as gin names it, which is what Ollama is made with.
pub fn json(status: StatusCode, value: &Value) -> Response<Body> {
    whole(status, "application/json; charset=utf-8", value.to_string())
}

/// Plain text.
pub fn text(status: StatusCode, words: &'static str) -> Response<Body> {
    whole(status, "text/plain", words)
}
