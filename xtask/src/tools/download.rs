//! Gets a file from elsewhere, and believes it only when its SHA-256 is the expected one.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use super::cancel::Urgency;
use super::machine::Machine;
use crate::verdict::{NotRun, Unproven};

/// How long a server may take to accept, and how long it may be silent.
const PATIENCE: Duration = Duration::from_secs(15);

/// The largest file that is taken.
const LARGEST: usize = 512 << 20;

/// A client with our patience; TLS by rustls with the machine's certificates, proxies from the environment.
pub fn client() -> Result<reqwest::Client> {
    builder().build().context("cannot make an HTTP client")
}

/// The same, before it is made.
pub fn builder() -> reqwest::ClientBuilder {
    // The first installation counts; another one is the same provider.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().connect_timeout(PATIENCE).read_timeout(PATIENCE).user_agent(concat!(
        env!("CARGO_PKG_NAME"),
        "/",
        env!("CARGO_PKG_VERSION")
    ))
}

/// Downloads `url` to `target`.
pub async fn checked(machine: &Machine, url: &str, sha256: &str, target: &Path) -> Result<(), Unproven> {
    let mut cancel = machine.cancel.clone();
    let fetched = tokio::select! {
        fetched = fetch(url, target) => fetched,
        () = cancel.reached(Urgency::Gently) => return Err(NotRun::new("interrupted", "run it again").into()),
    };
    let fix = "check the way to it (proxy, certificates), then run again";
    let found = fetched.map_err(|why| NotRun::new(format!("`{url}` cannot be downloaded: {why:#}"), fix))?;
    if found == sha256 {
        return Ok(());
    }
    let _gone = std::fs::remove_file(target);
    let reason = format!("`{url}` has the SHA-256 {found}, not the pinned {sha256}");
    Err(NotRun::new(reason, "find out who changed it before you change the pin").into())
}

/// Gives the SHA-256 of what was written.
async fn fetch(url: &str, target: &Path) -> Result<String> {
    let mut response = client()?.get(url).send().await?.error_for_status()?;
    let mut file = std::fs::File::create(target).with_context(|| format!("cannot write `{}`", target.display()))?;
    let (mut hash, mut size) = (Sha256::new(), 0);
    while let Some(chunk) = response.chunk().await? {
        size += chunk.len();
        anyhow::ensure!(size <= LARGEST, "it has more than {LARGEST} bytes");
        hash.update(&chunk);
        file.write_all(&chunk).with_context(|| format!("cannot write `{}`", target.display()))?;
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
