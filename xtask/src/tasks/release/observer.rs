//! A client that asks a Service all the time, each time by a new connection: what it loses, users lose.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::config::Request;
use crate::expect::judge;
use crate::tools::download;
use crate::tools::http;

/// How long between two questions.
const PAUSE: Duration = Duration::from_millis(25);

/// What was asked, and what was lost.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Seen {
    /// Requests.
    pub asked: u64,
    /// Those that were not answered as expected.
    pub lost: u64,
    /// Why the first ones were lost.
    pub reasons: Vec<String>,
}

impl Seen {
    fn count(&mut self, lost: Option<String>) {
        self.asked += 1;
        if let Some(why) = lost {
            self.lost += 1;
            if self.reasons.len() < 5 {
                self.reasons.push(why);
            }
        }
    }
}

/// A client at work; it ends with this value.
pub struct Observer {
    seen: Arc<Mutex<Seen>>,
    asking: tokio::task::JoinHandle<()>,
}

impl Observer {
    /// Asks `base` for `request` from now on.
    pub fn start(base: &str, request: &Request) -> Result<Self> {
        let builder = download::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
        let client = builder.pool_max_idle_per_host(0).build().context("cannot make an HTTP client")?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (told, base, request) = (seen.clone(), base.to_owned(), request.clone());
        let asking = tokio::spawn(async move {
            loop {
                let lost = match http::ask(&client, &base, &request).await {
                    Ok(answer) => judge(&request, &answer).err(),
                    Err(unanswered) => Some(unanswered.to_string()),
                };
                told.lock().unwrap_or_else(PoisonError::into_inner).count(lost);
                tokio::time::sleep(PAUSE).await;
            }
        });
        Ok(Self { seen, asking })
    }

    /// What was seen so far.
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.asking.abort();
    }
}
