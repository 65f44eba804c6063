//! HTTP as a test needs it: one request a connection, and a registry's few calls.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    head: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let is_it = |line: &&str| line.split(':').next().is_some_and(|found| found.eq_ignore_ascii_case(name));
        self.head.lines().find(is_it).and_then(|line| line.split_once(':')).map(|(_, value)| value.trim())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Sends one request over a connection of its own and reads to its end.
pub fn send(at: SocketAddr, method: &str, path: &str, kind: &str, body: &[u8]) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&at, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let accept =
        "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json, */*";
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\nAccept: {accept}\r\nContent-Type: {kind}\r\n\
         Content-Length: {length}\r\n\r\n"
    )?;
    stream.write_all(body)?;
    let mut all = Vec::new();
    stream.read_to_end(&mut all)?;
    let end = all.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.ok_or_else(|| std::io::Error::other(format!("no answer after {} bytes", all.len())))?;
    let head = String::from_utf8_lossy(&all[..end]).into_owned();
    let status = head.split_whitespace().nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other(format!("no HTTP: {head}")))?;
    Ok(Answer { status, head, body: all[end + 4..].to_vec() })
}

/// The registry of the cluster.
#[derive(Clone, Debug)]
pub struct Images {
    /// What the names of its images begin with.
    pub name: String,
    at: SocketAddr,
}

impl Images {
    pub fn new(name: &str) -> Self {
        let port = name.rsplit(':').next().unwrap().parse().unwrap();
        Self { name: name.to_owned(), at: SocketAddr::from(([127, 0, 0, 1], port)) }
    }

    pub fn address(&self) -> SocketAddr {
        self.at
    }

    fn call(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> Answer {
        send(self.at, method, path, kind, body).unwrap()
    }

    /// The digest of a tag.
    pub fn tagged(&self, repository: &str, tag: &str) -> Option<String> {
        let manifest = self.call("HEAD", &format!("/v2/{repository}/manifests/{tag}"), "", b"");
        Some(manifest.header("Docker-Content-Digest")?.to_owned())
    }

    fn put_blob(&self, repository: &str, bytes: &[u8]) -> String {
        let digest = digest(bytes);
        let begun = self.call("POST", &format!("/v2/{repository}/blobs/uploads/"), "", b"");
        let location = begun.header("Location").unwrap_or_else(|| panic!("{begun:?}"));
        // It may name a host; only the path is of interest.
        let path = location.find("/v2/").map_or(location, |at| &location[at..]);
        let joint = if path.contains('?') { '&' } else { '?' };
        let put = self.call("PUT", &format!("{path}{joint}digest={digest}"), "application/octet-stream", bytes);
        assert_eq!(put.status, 201, "{}", put.text());
        digest
    }

    /// An image of one uncompressed layer, under a tag; its digest.
    pub fn push(&self, repository: &str, tag: &str, layer: &[u8], config: &Value) -> String {
        let config = json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
        })
        .to_string();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": self.put_blob(repository, config.as_bytes()),
                "size": config.len(),
            },
            "layers": [{
                "mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": self.put_blob(repository, layer),
                "size": layer.len(),
            }],
        });
        self.put_manifest(repository, tag, &manifest)
    }

    fn put_manifest(&self, repository: &str, tag: &str, manifest: &Value) -> String {
        let text = manifest.to_string();
        let kind = manifest["mediaType"].as_str().unwrap();
        let put = self.call("PUT", &format!("/v2/{repository}/manifests/{tag}"), kind, text.as_bytes());
        assert_eq!(put.status, 201, "{}", put.text());
        digest(text.as_bytes())
    }

    /// The same layers under another digest, for a label says `mark`.
    pub fn another(&self, repository: &str, of: &str, mark: &str) -> String {
        self.labelled(repository, of, mark, "mark", mark)
    }

    /// The same image with one label more, tagged `tag`; its digest.
    pub fn labelled(&self, repository: &str, of: &str, tag: &str, label: &str, value: &str) -> String {
        let read = |path: String| -> Value { serde_json::from_slice(&self.call("GET", &path, "", b"").body).unwrap() };
        let mut manifest = read(format!("/v2/{repository}/manifests/{of}"));
        let known = manifest["config"]["digest"].as_str().unwrap().to_owned();
        let mut config = read(format!("/v2/{repository}/blobs/{known}"));
        config["config"]["Labels"][label] = json!(value);
        let config = config.to_string();
        manifest["config"]["digest"] = json!(self.put_blob(repository, config.as_bytes()));
        manifest["config"]["size"] = json!(config.len());
        self.put_manifest(repository, tag, &manifest)
    }

    /// Forgets a manifest.
    pub fn forget(&self, repository: &str, digest: &str) {
        let gone = self.call("DELETE", &format!("/v2/{repository}/manifests/{digest}"), "", b"");
        assert_eq!(gone.status, 202, "{}", gone.text());
    }
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
