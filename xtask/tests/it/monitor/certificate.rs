//! Certificates by an authority of our own, shown by a real TLS server.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use time::{Duration, OffsetDateTime};

use super::endpoints::project;
use crate::support::{Project, Ran};

const GATE: &str = "monitor/health/certificate";

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 15\r\n\r\n{\"status\":\"ok\"}";

fn params(name: &str, days: i64) -> CertificateParams {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_before = OffsetDateTime::now_utc() - Duration::days(30);
    params.not_after = OffsetDateTime::now_utc() + Duration::days(days) + Duration::hours(1);
    params
}

fn authority(days: i64) -> CertificateParams {
    let mut params = params("An authority", days);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

/// A server of `127.0.0.1` whose certificate, and the one that vouches for it, are good for so many days; and what has
/// to be trusted.
fn serve(name: &str, days: i64, issuer_days: i64) -> (String, String) {
    let (root_key, middle_key, key) =
        (KeyPair::generate().unwrap(), KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let root = authority(3650).self_signed(&root_key).unwrap();
    let root_issuer = Issuer::new(authority(3650), root_key);
    let middle = authority(issuer_days).signed_by(&middle_key, &root_issuer).unwrap();
    let middle_issuer = Issuer::new(authority(issuer_days), middle_key);
    let own = params(name, days).signed_by(&key, &middle_issuer).unwrap();
    let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.der().clone(), middle.der().clone()], secret)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let config = Arc::new(config);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, stream);
            // A client that refuses the certificate is gone before it asks.
            if stream.read(&mut [0; 2048]).is_ok() {
                let _gone = stream.write_all(OK);
                stream.conn.send_close_notify();
                let _gone = stream.flush();
            }
        }
    });
    (url, root.pem())
}

fn monitor(url: &str, root: &str) -> (Project, Ran) {
    let mut project = project(url, "probes = 2\n");
    project.write("target/root.pem", root);
    let root = project.path().join("target/root.pem");
    project.set("SSL_CERT_FILE", root);
    let ran = project.xtask(&["monitor", "production", "health"]);
    (project, ran)
}

#[test]
fn a_certificate_that_ends_soon_is_found_by_a_handshake() {
    for (name, days, issuer_days, code, rules) in [
        ("127.0.0.1", 90, 365, 0, &[] as &[&str]),
        ("127.0.0.1", 10, 365, 10, &["certificate-ends"]),
        ("127.0.0.1", 90, 10, 10, &["issuer-ends"]),
        ("127.0.0.1", -2, 365, 10, &["certificate-ended"]),
        ("other.example", 90, 365, 10, &["certificate-refused"]),
    ] {
        let (url, root) = serve(name, days, issuer_days);
        let (project, ran) = monitor(&url, &root);
        let gate = ran.assert_code(code).gate(GATE);
        let bad = gate.findings.iter().filter(|finding| finding.severity > xtask::verdict::Severity::Info);
        assert_eq!(bad.map(|finding| finding.rule.as_str()).collect::<Vec<_>>(), rules, "{gate:#?}");
        assert_eq!(gate.work.count, 1);
        let log = project.read(&format!("target/xtask/out/logs/{GATE}.log"));
        assert!(log.contains("until: 20"), "{log}");
    }
    // Nobody vouches for it as far as this machine knows.
    let ((url, _), (_, stranger)) = (serve("127.0.0.1", 90, 365), serve("127.0.0.1", 90, 365));
    let (_, ran) = monitor(&url, &stranger);
    assert_eq!(ran.assert_code(10).gate(GATE).findings[0].rule, "certificate-refused");
}

#[test]
fn without_a_handshake_nothing_is_said_of_a_certificate() {
    let (_, root) = serve("127.0.0.1", 90, 365);
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (_, ran) = monitor(&format!("https://{nobody}"), &root);
    let gate = ran.assert_code(10).gate(GATE);
    assert_eq!(gate.verdict, xtask::verdict::Verdict::DidNotRun);
    assert!(gate.reason.starts_with(&format!("no handshake with https://{nobody}")), "{}", gate.reason);
    // Without https there is none to look at.
    let plain = project("http://127.0.0.1:1", "").xtask(&["monitor", "production", "--dry-run"]);
    assert!(!plain.stdout.contains(GATE), "{}", plain.stdout);
}
