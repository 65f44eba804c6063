//! Sigstore's services on loopback: a certificate authority that answers as Fulcio, a certificate log, a
//! transparency log that answers as Rekor 1, and the token service of GitHub Actions.
//!
//! The services are stand-ins; what signs with them and verifies what they made is the real cosign. The authority
//! believes the token without its signature, and the transparency log forgets everything with the test.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::der::{Certificate, Key, der, extension, name, octets, oid, seq, utf8};

const DAY: i64 = 86_400;
/// A log of Rekor 1 is told by the number of its tree.
const LOG: &str = "log.test";
const TREE: &str = "log.test - 1";

/// The services, which end with the test.
#[derive(Clone)]
pub struct Sigstore {
    address: std::net::SocketAddr,
    state: Arc<State>,
}

struct State {
    authority: Key,
    root: Vec<u8>,
    certificate_log: Key,
    log: Key,
    leaves: Mutex<Vec<[u8; 32]>>,
    /// The workflow and the issuer that the next token names.
    token: Mutex<(String, String)>,
    /// Whether certificates are given that ended before they are used.
    is_late: AtomicBool,
}

/// In what a trusted root differs from the one of the services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum But {
    Nothing,
    /// The authority was trusted until yesterday.
    EndedAuthority,
    /// The authority is another one of the same name.
    OtherAuthority,
    /// The transparency log is another one.
    OtherLog,
    /// The certificate log is another one.
    OtherCertificateLog,
}

pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

fn now() -> i64 {
    time::OffsetDateTime::now_utc().unix_timestamp()
}

impl Sigstore {
    pub fn start() -> Self {
        let authority = Key::new();
        let root = root_of(&authority);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            authority,
            root,
            certificate_log: Key::new(),
            log: Key::new(),
            leaves: Mutex::default(),
            token: Mutex::default(),
            is_late: AtomicBool::new(false),
        });
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Self { address, state }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Whom the next tokens are of.
    pub fn becomes(&self, workflow: &str, issuer: &str) {
        *self.state.token.lock().unwrap() = (workflow.to_owned(), issuer.to_owned());
    }

    /// From now on certificates end before they are used, or no longer.
    pub fn is_late(&self, late: bool) {
        self.state.is_late.store(late, Ordering::SeqCst);
    }

    /// A signing configuration that names these services.
    pub fn services(&self) -> String {
        let service = json!([{"url": self.url(), "majorApiVersion": 1, "operator": "test", "validFor": {"start": "2020-01-01T00:00:00Z"}}]);
        json!({
            "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
            "caUrls": service, "oidcUrls": service, "rekorTlogUrls": service,
            "rekorTlogConfig": {"selector": "ANY"},
        })
        .to_string()
    }

    /// What these services are trusted by.
    pub fn trusted_root(&self, but: But) -> String {
        let since = json!({"start": "2020-01-01T00:00:00Z"});
        let log = |key: &Key| {
            let public = json!({"rawBytes": STANDARD.encode(&key.spki), "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": since});
            json!([{"baseUrl": self.url(), "hashAlgorithm": "SHA2_256", "publicKey": public, "logId": {"keyId": STANDARD.encode(sha256(&key.spki))}}])
        };
        let yesterday = time::OffsetDateTime::from_unix_timestamp(now() - DAY).unwrap();
        let yesterday = yesterday.format(&time::format_description::well_known::Rfc3339).unwrap();
        let ended = json!({"start": "2020-01-01T00:00:00Z", "end": yesterday});
        let state = &self.state;
        let other = Key::new();
        let other_root = root_of(&other);
        json!({
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": log(if but == But::OtherLog { &other } else { &state.log }),
            "ctlogs": log(if but == But::OtherCertificateLog { &other } else { &state.certificate_log }),
            "certificateAuthorities": [{
                "subject": {"organization": "test", "commonName": "authority"},
                "uri": self.url(),
                "certChain": {"certificates": [{"rawBytes": STANDARD.encode(if but == But::OtherAuthority { &other_root } else { &state.root })}]},
                "validFor": if but == But::EndedAuthority { ended } else { since.clone() },
            }],
        })
        .to_string()
    }
}

fn root_of(authority: &Key) -> Vec<u8> {
    let certificate = Certificate {
        serial: 1,
        issuer: name(Some("authority")),
        subject: name(Some("authority")),
        spki: &authority.spki,
        valid: (now() - 400 * DAY, now() + 400 * DAY),
        extensions: vec![
            extension("2.5.29.19", true, &seq(&[der(0x01, &[0xff])])),
            // keyCertSign, cRLSign
            extension("2.5.29.15", true, &der(0x03, &[1, 0x06])),
        ],
    };
    certificate.signed(authority)
}

impl State {
    /// What GitHub says of a job; nothing reads its signature.
    fn token(&self) -> String {
        let (workflow, issuer) = self.token.lock().unwrap().clone();
        let payload = json!({"iss": issuer, "sub": format!("repo:{workflow}"), "aud": "sigstore", "job_workflow_ref": workflow, "exp": now() + 600});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!(
            "{}.{}.{}",
            part(&json!({"alg": "ES256", "typ": "JWT"})),
            part(&payload),
            URL_SAFE_NO_PAD.encode("none")
        )
    }

    /// As Fulcio's documentation has it (<https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md>), with the
    /// time stamp of the certificate log within (RFC 6962, 3.2 and 3.3).
    fn certificate(&self, token: &str, public_key: &str) -> Vec<u8> {
        let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
        let claims: Value = serde_json::from_slice(&payload).unwrap();
        let (issuer, workflow) = (claims["iss"].as_str().unwrap(), claims["job_workflow_ref"].as_str().unwrap());
        let body: String = public_key.lines().filter(|line| !line.starts_with("---")).collect();
        let spki = STANDARD.decode(body).unwrap();
        let identity = der(0x86, format!("https://github.com/{workflow}").as_bytes());
        let mut leaf = Certificate {
            serial: 2,
            issuer: name(Some("authority")),
            subject: name(None),
            spki: &spki,
            valid: if self.is_late.load(Ordering::SeqCst) {
                (now() - 700, now() - 100)
            } else {
                (now() - 5, now() + 600)
            },
            extensions: vec![
                // digitalSignature
                extension("2.5.29.15", true, &der(0x03, &[7, 0x80])),
                // codeSigning
                extension("2.5.29.37", false, &seq(&[oid("1.3.6.1.5.5.7.3.3")])),
                extension("2.5.29.17", true, &seq(&[identity])),
                extension("1.3.6.1.4.1.57264.1.1", false, issuer.as_bytes()),
                extension("1.3.6.1.4.1.57264.1.8", false, &utf8(issuer)),
            ],
        };
        let millis = (now() as u64 * 1000).to_be_bytes();
        let tbs = leaf.tbs();
        let length = (tbs.len() as u32).to_be_bytes();
        let issuer_key = sha256(&self.authority.spki);
        let entry: Vec<u8> = [&[0, 0][..], &millis, &[0, 1], &issuer_key, &length[1..], &tbs, &[0, 0]].concat();
        let signature = self.certificate_log.sign(&entry);
        let id = sha256(&self.certificate_log.spki);
        let sized = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat();
        let stamp: Vec<u8> = [&[0][..], &id, &millis, &[0, 0], &[4, 3], &sized(&signature)].concat();
        leaf.extensions.push(extension("1.3.6.1.4.1.11129.2.4.2", false, &octets(&sized(&sized(&stamp)))));
        leaf.signed(&self.authority)
    }

    /// An entry of type `hashedrekord`, which is canonical as it comes.
    fn of_blob(&self, proposed: &Value) -> (String, Value) {
        self.logged(proposed.to_string())
    }

    /// An entry of type `dsse`, as Rekor 1 makes it canonical.
    fn entry(&self, proposed: &Value) -> (String, Value) {
        let content = &proposed["spec"]["proposedContent"];
        let text = content["envelope"].as_str().unwrap();
        let envelope: Value = serde_json::from_str(text).unwrap();
        let payload = STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap();
        let hash = |bytes: &[u8]| json!({"algorithm": "sha256", "value": hex(&sha256(bytes))});
        let body = json!({"apiVersion": "0.0.1", "kind": "dsse", "spec": {
            "envelopeHash": hash(text.as_bytes()), "payloadHash": hash(&payload),
            "signatures": [{"signature": envelope["signatures"][0]["sig"], "verifier": content["verifiers"][0]}],
        }})
        .to_string();
        self.logged(body)
    }

    /// An entry with its promise and its proof.
    fn logged(&self, body: String) -> (String, Value) {
        let leaf = sha256(&[&[0], body.as_bytes()].concat());
        let mut leaves = self.leaves.lock().unwrap();
        leaves.push(leaf);
        let (index, size, root) = (leaves.len() - 1, leaves.len(), root(&leaves));
        let note = format!("{TREE}\n{size}\n{}\n", STANDARD.encode(root));
        let id = sha256(&self.log.spki);
        let signature = STANDARD.encode([&id[..4], &self.log.sign(note.as_bytes())].concat());
        let (body, time) = (STANDARD.encode(body), now());
        let promised = json!({"body": body, "integratedTime": time, "logID": hex(&id), "logIndex": index}).to_string();
        let proof = json!({
            "checkpoint": format!("{note}\n— {LOG} {signature}\n"),
            "hashes": path(&leaves, index).iter().map(|hash| hex(hash)).collect::<Vec<_>>(),
            "logIndex": index, "rootHash": hex(&root), "treeSize": size,
        });
        let entry = json!({
            "body": body, "integratedTime": time, "logID": hex(&id), "logIndex": index,
            "verification": {"inclusionProof": proof, "signedEntryTimestamp": STANDARD.encode(self.log.sign(promised.as_bytes()))},
        });
        (hex(&leaf), entry)
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The largest power of two below `n`.
fn half(n: usize) -> usize {
    n.next_power_of_two() / 2
}

/// RFC 6962, 2.1.
fn root(leaves: &[[u8; 32]]) -> [u8; 32] {
    match leaves {
        [only] => *only,
        _ => {
            let (left, right) = leaves.split_at(half(leaves.len()));
            sha256(&[&[1][..], &root(left), &root(right)].concat())
        }
    }
}

/// RFC 6962, 2.1.1.
fn path(leaves: &[[u8; 32]], index: usize) -> Vec<[u8; 32]> {
    if leaves.len() <= 1 {
        return vec![];
    }
    let (left, right) = leaves.split_at(half(leaves.len()));
    let (mut below, beside) = if index < left.len() {
        (path(left, index), root(right))
    } else {
        (path(right, index - left.len()), root(left))
    };
    below.push(beside);
    below
}

fn serve(mut stream: TcpStream, state: &State) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut request = String::new();
        if !matches!(reader.read_line(&mut request), Ok(1..)) {
            return;
        }
        let (mut length, mut bearer) = (0, String::new());
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).unwrap();
            let Some((key, value)) = header.trim().split_once(':') else { break };
            match key.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().unwrap(),
                "authorization" => bearer = value.trim().trim_start_matches("Bearer ").to_owned(),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let (status, headers, answer) = if request.starts_with("GET /token") {
            ("200 OK", String::new(), json!({"value": state.token()}))
        } else if request.starts_with("POST /api/v2/signingCert") {
            let key = body["publicKeyRequest"]["publicKey"]["content"].as_str().unwrap();
            let chain = [state.certificate(&bearer, key), state.root.clone()].map(|der| pem(&der));
            ("200 OK", String::new(), json!({"signedCertificateEmbeddedSct": {"chain": {"certificates": chain}}}))
        } else if request.starts_with("POST /api/v1/log/entries") {
            let is_blob = body["kind"] == "hashedrekord";
            let (id, entry) = if is_blob { state.of_blob(&body) } else { state.entry(&body) };
            let headers = format!("ETag: {id}\r\nLocation: /api/v1/log/entries/{id}\r\n");
            ("201 Created", headers, json!({ (id): entry }))
        } else {
            ("404 Not Found", String::new(), json!({"message": request}))
        };
        let text = answer.to_string();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{headers}Content-Length: {}\r\n\r\n",
            text.len()
        );
        stream.write_all((head + &text).as_bytes()).unwrap();
    }
}

fn pem(der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let lines: Vec<&str> = body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}
