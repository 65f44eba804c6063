//! `monitor/health/certificate`: a handshake with each https address, as a client that trusts what this machine trusts.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use time::OffsetDateTime;

use super::super::{Kind, Watched, gate};
use super::ran;
use crate::context::Ctx;
use crate::engine::gate::{Gate, action};
use crate::engine::session::Session;
use crate::monitor::certificate::{Shown, assess};
use crate::tools::cancel::Urgency;
use crate::tools::command::Command;
use crate::tools::download;
use crate::verdict::{NotRun, Outcome, Unproven};

/// How long one handshake may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The last second that a certificate can name (RFC 5280: 9999-12-31T23:59:59Z): no certificate is good after it.
const NEVER: Duration = Duration::from_secs(253_402_300_799);

/// One gate, where an address is https.
pub fn plan(ctx: &Ctx, watched: &Arc<Watched>) -> Option<Gate> {
    let hosts: BTreeSet<String> = watched.environment.addresses().filter_map(|address| origin(address)).collect();
    if hosts.is_empty() {
        return None;
    }
    let shown = |host: &String| Command::new("curl", &ctx.root).args(["--head", "--verbose", host]);
    let (again, watched) = (watched.again(Kind::Health), watched.clone());
    Some(Gate {
        steps: hosts.iter().map(shown).collect(),
        action: action(move |session| probe(session, watched.clone(), hosts.clone())),
        ..gate("health/certificate", "certificates", "rustls", again)
    })
}

/// `https://HOST:PORT` of an https address.
fn origin(address: &str) -> Option<String> {
    let rest = address.strip_prefix("https://")?;
    Some(format!("https://{}", rest.split(['/', '?', '#']).next()?))
}

async fn probe(session: Session, watched: Arc<Watched>, hosts: BTreeSet<String>) -> Result<Outcome, Unproven> {
    let wanted = watched.environment.monitor.certificate;
    let mut findings = Vec::new();
    for host in &hosts {
        session.doing(format!("a handshake with {host}"));
        let mut cancel = session.machine.cancel.clone();
        let shown = tokio::select! {
            shown = handshake(host) => shown?,
            () = cancel.reached(Urgency::Gently) => return Err(NotRun::new("interrupted", "run it again").into()),
        };
        session.note(&format!("{host}: {shown:?}"))?;
        findings.extend(assess(host, &shown, wanted, OffsetDateTime::now_utc()));
    }
    Ok(ran(hosts.len(), "certificates", findings, "renew the certificate, and see why nothing renewed it".to_owned()))
}

/// What the server shows. Whether the request after the handshake is answered is the other check's matter.
async fn handshake(host: &str) -> Result<Shown, Unproven> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let trusts = rustls_platform_verifier::Verifier::new(provider.clone())
        .map_err(|e| NotRun::new(format!("this machine trusts nobody: {e}"), "apt-get install ca-certificates"))?;
    let witness = Arc::new(Witness { trusts, seen: Mutex::default() });
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("cannot make a TLS client")?
        .dangerous()
        .with_custom_certificate_verifier(witness.clone())
        .with_no_client_auth();
    // By the same way as every other request, proxies included.
    let builder = download::builder().redirect(reqwest::redirect::Policy::none()).tls_backend_preconfigured(config);
    let client = builder.build().context("cannot make an HTTP client")?;
    let answer = client.head(host).timeout(PATIENCE).send().await;
    let seen = witness.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
    seen.ok_or_else(|| {
        let why = answer.err().map_or("it showed no certificate that can be read".to_owned(), |e| format!("{e:#}"));
        let fix = "see whether it answers at all (cargo xtask monitor ENV health), then run again";
        NotRun::new(format!("no handshake with {host}: {why}"), fix).into()
    })
}

/// Believes what this machine believes, and remembers until when.
#[derive(Debug)]
struct Witness {
    trusts: rustls_platform_verifier::Verifier,
    seen: Mutex<Option<Shown>>,
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let at = |time: UnixTime| {
            self.trusts.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, time)
        };
        let answer = at(now);
        // Asked for a time at which nothing is good any more it says when that began: of the server's own certificate first.
        let until = at(UnixTime::since_unix_epoch(NEVER)).err().as_ref().and_then(end_of);
        if let Some(until) = until {
            let before = until.unix_timestamp().saturating_sub(1).max(0).unsigned_abs();
            let chain = at(UnixTime::since_unix_epoch(Duration::from_secs(before))).err().as_ref().and_then(end_of);
            let refused = match &answer {
                Ok(_) => String::new(),
                Err(error) => error.to_string(),
            };
            *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(Shown { until, chain, refused });
        }
        answer
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.trusts.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.trusts.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trusts.supported_verify_schemes()
    }
}

/// When a certificate ended, by the error that it has.
fn end_of(error: &Error) -> Option<OffsetDateTime> {
    let Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. }) = error else { return None };
    OffsetDateTime::from_unix_timestamp(i64::try_from(not_after.as_secs()).ok()?).ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_https_has_a_certificate() {
        for (address, origin) in
            [("http://a", None), ("https://a", Some("https://a")), ("https://a:8443/x?y#z", Some("https://a:8443"))]
        {
            assert_eq!(super::origin(address).as_deref(), origin);
        }
    }
}
