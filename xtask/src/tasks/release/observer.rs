//! A client that asks a Service all the time, each time by a new connection: what it loses, users lose.
//!
//! It asks at a fixed pace, whether or not the last question was answered: one that hangs hides nothing after it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval};

use crate::config::Request;
use crate::expect::judge;
use crate::tools::download;
use crate::tools::http;

/// How long between two questions.
const PACE: Duration = Duration::from_millis(25);

/// How many questions may be open at a time; more of them would measure this machine.
const OPEN: usize = 200;

/// How many losses are told one by one.
const TOLD: usize = 20;

/// What was asked, and what was lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// Requests.
    pub asked: u64,
    /// Those that were not answered as expected.
    pub lost: u64,
    /// The first ones that were lost.
    pub losses: Vec<Loss>,
}

/// A request that was lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// When it was sent, RFC 3339, by this machine's clock.
    pub at: String,
    /// What came in place of the answer.
    pub why: String,
}

impl Seen {
    fn count(&mut self, sent: OffsetDateTime, lost: Option<String>) {
        self.asked += 1;
        if let Some(why) = lost {
            self.lost += 1;
            if self.losses.len() < TOLD {
                self.losses.push(Loss { at: sent.format(&Rfc3339).unwrap_or_default(), why });
            }
        }
    }
}

/// A client at work; it ends with this value.
pub struct Observer {
    seen: Arc<Mutex<Seen>>,
    stop: watch::Sender<bool>,
    asking: JoinHandle<()>,
}

impl Observer {
    /// Asks `base` for `request` from now on.
    pub fn start(base: &str, request: &Request) -> Result<Self> {
        let builder = download::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
        let client = builder.pool_max_idle_per_host(0).build().context("cannot make an HTTP client")?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (stop, mut stopped) = watch::channel(false);
        let (told, base, request) = (seen.clone(), base.to_owned(), request.clone());
        let asking = tokio::spawn(async move {
            let mut pace = interval(PACE);
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            // Those that are open end with this task.
            let mut open = JoinSet::new();
            while !*stopped.borrow() {
                tokio::select! {
                    _ = pace.tick() => {}
                    // Whoever dropped the other end wants no more either.
                    _ = stopped.changed() => break,
                }
                while open.try_join_next().is_some() {}
                if open.len() < OPEN {
                    let (client, base, request, told) = (client.clone(), base.clone(), request.clone(), told.clone());
                    open.spawn(async move {
                        let sent = OffsetDateTime::now_utc();
                        let lost = match http::ask(&client, &base, &request).await {
                            Ok(answer) => judge(&request, &answer).err(),
                            Err(unanswered) => Some(unanswered.to_string()),
                        };
                        told.lock().unwrap_or_else(PoisonError::into_inner).count(sent, lost);
                    });
                }
            }
            while open.join_next().await.is_some() {}
        });
        Ok(Self { seen, stop, asking })
    }

    /// Asks no more, waits for the answers that are still to come, and says what was seen.
    pub async fn end(mut self) -> Seen {
        self.stop.send_replace(true);
        // Each request has a time of its own after which it is lost, and so this ends.
        let _ended = (&mut self.asking).await;
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.asking.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    /// Answers well but for each third connection: one of these is closed, and the next one gets an error.
    async fn server() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            for number in 0.. {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = [0; 1024];
                let _read = stream.read(&mut head).await;
                let status = match number % 6 {
                    2 => continue,
                    5 => "500 Internal Server Error",
                    _ => "200 OK",
                };
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
                let _sent = stream.write_all(answer.as_bytes()).await;
            }
        });
        format!("http://{address}")
    }

    #[tokio::test]
    async fn what_is_not_answered_is_lost_and_its_time_is_told() {
        let request: Request = toml::from_str("send = \"GET /\"\n").unwrap();
        let observer = Observer::start(&server().await, &request).unwrap();
        while observer.seen.lock().unwrap().asked < 12 {
            tokio::task::yield_now().await;
        }
        let seen = observer.end().await;
        assert!(seen.asked >= 12 && seen.lost >= 3 && seen.lost < seen.asked, "{seen:?}");
        assert_eq!(seen.losses.len() as u64, seen.lost);
        let whys: String = seen.losses.iter().map(|loss| format!("{}\n", loss.why)).collect();
        assert!(whys.contains("did not answer") && whys.contains("500"), "{whys}");
        assert!(OffsetDateTime::parse(&seen.losses[0].at, &Rfc3339).is_ok(), "{seen:?}");
    }

    #[tokio::test]
    async fn nobody_who_listens_is_a_loss_each_time() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let request: Request = toml::from_str("send = \"GET /\"\n").unwrap();
        let observer = Observer::start(&base, &request).unwrap();
        while observer.seen.lock().unwrap().asked < 3 {
            tokio::task::yield_now().await;
        }
        let seen = observer.end().await;
        assert_eq!(seen.lost, seen.asked);
    }
}
