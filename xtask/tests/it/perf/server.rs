//! A small HTTP server on loopback that is bad in one chosen way. A thread a connection, so that nothing queues in it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How it answers.
#[derive(Clone)]
pub struct Answers {
    /// What `GET /item` says.
    pub body: &'static str,
    /// Each so-manieth request takes so many milliseconds.
    pub slow: Option<(u64, u64)>,
    /// Each so-manieth request gets a 500.
    pub refused: Option<u64>,
    /// Each so-manieth stream is cut.
    pub cut: Option<u64>,
    /// From so many milliseconds after the first request on, nothing is answered for so many milliseconds.
    pub stall: Option<(u64, u64)>,
    /// Takes requests and never answers.
    pub hangs: bool,
    /// Closes each connection after so many requests, without saying so before.
    pub keeps: u64,
    /// Sends everybody there.
    pub redirects: Option<String>,
}

impl Answers {
    pub fn good() -> Self {
        Self {
            body: r#"{"name": "apple", "price": 3}"#,
            slow: None,
            refused: None,
            cut: None,
            stall: None,
            hangs: false,
            keeps: u64::MAX,
            redirects: None,
        }
    }
}

/// Ends with this value.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    answers: Answers,
    asked: AtomicU64,
    connections: AtomicU64,
    most_connections: AtomicU64,
    slowness: AtomicU64,
    first: std::sync::OnceLock<Instant>,
    ended: AtomicBool,
}

impl Server {
    pub fn start(answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            answers,
            asked: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            most_connections: AtomicU64::new(0),
            slowness: AtomicU64::new(0),
            first: std::sync::OnceLock::new(),
            ended: AtomicBool::new(false),
        });
        let serving = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.ended.load(Ordering::SeqCst) {
                    return;
                }
                let (shared, Ok(stream)) = (serving.clone(), stream) else { continue };
                let count = shared.connections.fetch_add(1, Ordering::SeqCst) + 1;
                shared.most_connections.fetch_max(count, Ordering::SeqCst);
                std::thread::spawn(move || {
                    let _ended = serve(&shared, &stream);
                    shared.connections.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, shared }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many requests have come.
    pub fn asked(&self) -> u64 {
        self.shared.asked.load(Ordering::SeqCst)
    }

    /// From now on each answer takes so many milliseconds more.
    pub fn become_slow(&self, ms: u64) {
        self.shared.slowness.store(ms, Ordering::SeqCst);
    }

    /// How many connections were open at a time.
    pub fn most_connections(&self) -> u64 {
        self.shared.most_connections.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // The listener looks at the flag when somebody comes.
        let _woken = TcpStream::connect(self.address);
    }
}

fn serve(shared: &Shared, stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut from = BufReader::new(stream);
    for _ in 0..shared.answers.keeps {
        let Some(path) = request(&mut from)? else { return Ok(()) };
        let number = shared.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let is = |every: Option<u64>| every.is_some_and(|every| number.is_multiple_of(every));
        let Answers { body, slow, refused, cut, stall, hangs, redirects, .. } = &shared.answers;
        if *hangs {
            // Until the other side has had enough.
            return from.read_to_end(&mut Vec::new()).map(drop);
        }
        if let Some((every, ms)) = slow
            && is(Some(*every))
        {
            std::thread::sleep(Duration::from_millis(*ms));
        }
        std::thread::sleep(Duration::from_millis(shared.slowness.load(Ordering::SeqCst)));
        if let Some((from, ms)) = stall {
            let begin = *shared.first.get_or_init(Instant::now) + Duration::from_millis(*from);
            let end = begin + Duration::from_millis(*ms);
            let now = Instant::now();
            if now >= begin && now < end {
                std::thread::sleep(end - now);
            }
        }
        let mut to = stream;
        if path == "/talk" {
            talk(to, is(*cut))?;
            if is(*cut) {
                return stream.shutdown(std::net::Shutdown::Both);
            }
            continue;
        }
        let (status, more) = match redirects {
            Some(url) => ("307 Temporary Redirect", format!("Location: {url}/item\r\n")),
            None if is(*refused) => ("500 Internal Server Error", String::new()),
            None => ("200 OK", String::new()),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\n{more}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        to.write_all(format!("{head}{body}").as_bytes())?;
    }
    Ok(())
}

/// A chunk without text, four tokens 20 ms apart, the mark; or only half of that.
fn talk(mut to: &TcpStream, is_cut: bool) -> std::io::Result<()> {
    to.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")?;
    let mut send = |data: &str| {
        let event = format!("data: {data}\n\n");
        to.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes())
    };
    send(r#"{"choices":[{"delta":{"role":"assistant"}}]}"#)?;
    for word in ["one", "two", "three", "four"].iter().take(if is_cut { 2 } else { 4 }) {
        std::thread::sleep(Duration::from_millis(20));
        send(&format!(r#"{{"choices":[{{"delta":{{"content":"{word}"}}}}]}}"#))?;
    }
    if is_cut {
        return Ok(());
    }
    send("[DONE]")?;
    to.write_all(b"0\r\n\r\n")
}

/// The path of the next request, its body read; `None` at the end.
fn request(from: &mut BufReader<&TcpStream>) -> std::io::Result<Option<String>> {
    let (mut line, mut path, mut length) = (String::new(), None, 0);
    loop {
        line.clear();
        if from.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let text = line.trim_end();
        if text.is_empty() {
            std::io::copy(&mut from.take(length), &mut std::io::sink())?;
            return Ok(path);
        }
        match &path {
            None => path = text.split(' ').nth(1).map(str::to_owned),
            Some(_) => {
                if let Some(value) = text.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap_or_default();
                }
            }
        }
    }
}
