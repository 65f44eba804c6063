//! A client that asks all the time, and streams that are open during a release: none is lost (R24).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::http;
use super::site::{Plan, Site, until};

/// What streams have come to.
#[derive(Default)]
struct Counts {
    open: AtomicU64,
    complete: AtomicU64,
    broken: AtomicU64,
}

async fn stream(at: SocketAddr, counts: &Counts) -> std::io::Result<bool> {
    let words = (0..60).map(|number| format!("word{number}")).collect::<Vec<_>>().join(" ");
    let body = format!(
        "{{\"model\": \"echo/echo\", \"stream\": true, \"messages\": [{{\"role\": \"user\", \"content\": \"{words}\"}}]}}"
    );
    let mut connection = TcpStream::connect(at).await?;
    let head =
        "POST /api/v1/chat/completions HTTP/1.1\r\nHost: forge\r\nConnection: close\r\nContent-Type: application/json";
    connection.write_all(format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).await?;
    let mut first = [0; 1];
    connection.read_exact(&mut first).await?;
    counts.open.fetch_add(1, Ordering::SeqCst);
    let mut all = Vec::new();
    let read = connection.read_to_end(&mut all).await;
    counts.open.fetch_sub(1, Ordering::SeqCst);
    read?;
    Ok(String::from_utf8_lossy(&all).contains("[DONE]"))
}

/// Keeps so many streams open until it is told to stop; each then comes to its own end.
fn keep_open(at: SocketAddr, wanted: u64, counts: &Arc<Counts>, stop: &Arc<AtomicBool>) -> std::thread::JoinHandle<()> {
    let (counts, stop) = (counts.clone(), stop.clone());
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut all = tokio::task::JoinSet::new();
            for number in 0..wanted {
                let (counts, stop) = (counts.clone(), stop.clone());
                all.spawn(async move {
                    // Not all in the same moment.
                    tokio::time::sleep(Duration::from_millis(number * 5)).await;
                    while !stop.load(Ordering::SeqCst) {
                        let ended = stream(at, &counts).await;
                        let count = if matches!(ended, Ok(true)) { &counts.complete } else { &counts.broken };
                        count.fetch_add(1, Ordering::SeqCst);
                        if let Err(error) = ended {
                            eprintln!("a stream broke: {error}");
                        }
                    }
                });
            }
            all.join_all().await;
        });
    })
}

/// Somebody who asks all the time, each time by a new connection.
pub struct Asking {
    stop: Arc<AtomicBool>,
    asks: std::thread::JoinHandle<(u64, Vec<String>)>,
}

impl Asking {
    pub fn begin(at: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let asks = std::thread::spawn({
            let stop = stop.clone();
            move || {
                let (mut asked, mut lost) = (0, Vec::new());
                while !stop.load(Ordering::SeqCst) {
                    asked += 1;
                    match http::send(at, "GET", "/health", "", b"") {
                        Ok(answer) if answer.status == 200 => {}
                        Ok(answer) => lost.push(format!("status {}", answer.status)),
                        Err(error) => lost.push(error.to_string()),
                    }
                    std::thread::yield_now();
                }
                (asked, lost)
            }
        });
        Self { stop, asks }
    }

    /// Ends it; how many requests there were, and each was answered.
    #[track_caller]
    pub fn assert_none_lost(self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        let (asked, lost) = self.asks.join().unwrap();
        assert!(lost.is_empty(), "{} of {asked}: {:?}", lost.len(), &lost[..lost.len().min(5)]);
        assert!(asked > 100, "{asked}");
        asked
    }
}

fn nothing_is_lost(test: &str, streams: u64) {
    let Some(site) = Site::open(test, Plan { pods: 2, ..Plan::default() }) else { return };
    let version = |version: &str| {
        site.overlay(version, &[]);
        site.setting("FORGE_ECHO_DELAY", "0.15");
        site.deploy(&[]).ended().assert_code(0);
        site.assert_serves(version);
    };
    version("1");
    let at = site.address();
    let (counts, stop) = (Arc::new(Counts::default()), Arc::new(AtomicBool::new(false)));
    let open = || counts.open.load(Ordering::SeqCst);
    let kept = keep_open(at, streams, &counts, &stop);
    until("streams", Duration::from_secs(60), || (open() >= streams * 99 / 100).then_some(()));
    let asking = Asking::begin(at);
    let open_then = open();
    version("2");
    stop.store(true, Ordering::SeqCst);
    let asked = asking.assert_none_lost();
    kept.join().unwrap();
    let (complete, broken) = (counts.complete.load(Ordering::SeqCst), counts.broken.load(Ordering::SeqCst));
    eprintln!("FIGURE | {open_then} streams open during a release | {complete} complete, {broken} broken |");
    eprintln!("FIGURE | a client that asks all the time | {asked} requests, 0 lost |");
    assert!(broken * 1000 <= complete + broken, "{broken} of {}", complete + broken);
}

#[test]
fn a_release_loses_no_request_and_no_stream() {
    nothing_is_lost("traffic", 100);
}

#[test]
#[ignore = "`cargo xtask cluster test` runs it: a thousand streams"]
fn a_thousand_streams_live_through_a_release() {
    nothing_is_lost("streams", 1010);
}
