//! A server whose answers change from one request to the next.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How it answers one request.
#[derive(Clone, Copy, Debug)]
pub enum Said {
    /// `{"status":"ok"}`
    Well,
    /// The same after so many milliseconds.
    Late(u64),
    /// A status, and no body.
    Status(u16),
    /// Another body.
    Body(&'static str),
}

/// A server of `/health`: the first answers in order, and then the last one for ever. It lives as long as the process.
pub struct Server {
    pub url: String,
    asked: Arc<AtomicUsize>,
}

impl Server {
    pub fn start(answers: &'static [Said]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let index = count.fetch_add(1, Ordering::SeqCst);
                answer(stream, answers[index.min(answers.len() - 1)]);
            }
        });
        Self { url, asked }
    }

    /// How many requests there were.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn answer(mut stream: TcpStream, said: Said) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    while lines.next().is_some_and(|line| !line.is_empty()) {}
    let (status, body) = match said {
        Said::Well => (200, "{\"status\":\"ok\"}"),
        Said::Late(millis) => {
            std::thread::sleep(Duration::from_millis(millis));
            (200, "{\"status\":\"ok\"}")
        }
        Said::Status(status) => (status, ""),
        Said::Body(body) => (200, body),
    };
    let length = body.len();
    let text = format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
    let _gone = stream.write_all(text.as_bytes());
}
