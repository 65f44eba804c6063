//! cosign: how it is called, and what its answers mean.
//!
//! Only exact identities and issuers go into a call, never a pattern. A signature is asked for by its own predicate
//! type: `cosign verify` takes any attestation by the same signer for one.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::proc::Ended;
use super::registry::{Trouble, trouble_of};

pub mod blob;

/// The in-toto predicate type of a plain signature, as cosign 3 writes it.
pub const SIGNATURE: &str = "https://sigstore.dev/cosign/sign/v1";
/// The predicate type of an SBOM, by CycloneDX.
pub const SBOM: &str = "https://cyclonedx.org/bom";
/// The predicate type of provenance, by SLSA 1.
pub const PROVENANCE: &str = "https://slsa.dev/provenance/v1";

/// A signing configuration without any service, and a trusted root without any: for a key alone.
pub const NO_SERVICES: &str = "{\"mediaType\":\"application/vnd.dev.sigstore.signingconfig.v0.2+json\"}\n";
/// See [`NO_SERVICES`].
pub const NO_ROOT: &str = "{\"mediaType\":\"application/vnd.dev.sigstore.trustedroot+json;version=0.1\"}\n";

/// Whose signature counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signer {
    /// The holder of a certificate with exactly this identity, vouched for by exactly this issuer.
    Identity {
        /// The certificate's subject alternative name.
        identity: String,
        /// The certificate's issuer extension.
        issuer: String,
    },
    /// The holder of a private key.
    Key {
        /// The public key.
        public: PathBuf,
        /// Whether the signature has to be in a transparency log.
        log: bool,
    },
}

impl Signer {
    /// In words, for findings.
    pub fn shown(&self) -> String {
        match self {
            Self::Identity { identity, issuer } => format!("`{identity}` of {issuer}"),
            Self::Key { public, .. } => {
                format!("the key `{}`", public.file_name().unwrap_or_default().to_string_lossy())
            }
        }
    }

    /// Whether a trusted root is needed to verify it.
    pub fn needs_root(&self) -> bool {
        !matches!(self, Self::Key { log: false, .. })
    }
}

/// With what is signed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signing {
    /// A file or `env://VARIABLE`; without one an identity signs, by the token that the surroundings give.
    pub key: Option<String>,
    /// Which services sign; without it Sigstore's public ones.
    pub services: Option<PathBuf>,
    /// What the services are trusted by; without it Sigstore's.
    pub root: Option<PathBuf>,
}

/// `cosign verify-attestation …`: one predicate type of one image, by one signer.
pub fn verify(signer: &Signer, root: Option<&Path>, predicate_type: &str, subject: &str) -> Vec<String> {
    let mut args = words(&["verify-attestation"]);
    args.extend(by(signer, root));
    args.extend(words(&["--type", predicate_type, subject]));
    args
}

/// Who has to have signed, exactly.
fn by(signer: &Signer, root: Option<&Path>) -> Vec<String> {
    let mut args = Vec::new();
    match signer {
        Signer::Identity { identity, issuer } => {
            args.extend(words(&["--certificate-identity", identity, "--certificate-oidc-issuer", issuer]));
        }
        Signer::Key { public, log } => {
            args.extend(words(&["--key", &public.to_string_lossy()]));
            if !log {
                args.extend(words(&["--insecure-ignore-tlog"]));
            }
        }
    }
    if let Some(root) = root.filter(|_| signer.needs_root()) {
        args.extend(words(&["--trusted-root", &root.to_string_lossy()]));
    }
    args
}

/// `cosign sign …`
pub fn sign(with: &Signing, subject: &str) -> Vec<String> {
    let mut args = words(&["sign", "--yes"]);
    args.extend(services(with));
    args.push(subject.to_owned());
    args
}

/// `cosign attest …`: a predicate that lies in a file.
pub fn attest(with: &Signing, predicate_type: &str, predicate: &Path, subject: &str) -> Vec<String> {
    let mut args = words(&["attest", "--yes"]);
    args.extend(services(with));
    args.extend(words(&["--type", predicate_type, "--predicate", &predicate.to_string_lossy(), subject]));
    args
}

/// `cosign trusted-root create …`: what Sigstore's public services are trusted by, from their TUF repository.
pub fn public_root(file: &Path) -> Vec<String> {
    words(&["trusted-root", "create", "--with-default-services", "--out", &file.to_string_lossy()])
}

fn services(with: &Signing) -> Vec<String> {
    let mut args = Vec::new();
    if let Some(key) = &with.key {
        args.extend(words(&["--key", key]));
    }
    for (flag, file) in [("--signing-config", &with.services), ("--trusted-root", &with.root)] {
        if let Some(file) = file {
            args.extend(words(&[flag, &file.to_string_lossy()]));
        }
    }
    args
}

fn words(all: &[&str]) -> Vec<String> {
    all.iter().map(|word| (*word).to_owned()).collect()
}

/// What an in-toto statement says of which artifacts, <https://in-toto.io/Statement/v1>.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Statement {
    /// Of what.
    pub subject: Vec<Artifact>,
    /// What kind of saying it is.
    #[serde(rename = "predicateType")]
    pub predicate_type: String,
    /// What is said.
    #[serde(default)]
    pub predicate: Value,
}

/// An artifact that a statement is about.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Artifact {
    /// Algorithm → digest.
    pub digest: std::collections::BTreeMap<String, String>,
}

/// What `verify-attestation` answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// These were signed by the signer; cosign prints no other.
    Verified(Vec<Statement>),
    /// The registry has none of this kind by this signer.
    Absent,
    /// There is one, and it is not the signer's, or not of this image.
    Refused(String),
    /// It could not be told: registry away, no root, a crash.
    Unable,
}

/// How a call ended → what it means. An exit code of 0 without a statement verified nothing.
pub fn answer(ended: &Ended) -> Answer {
    if ended.is_success() {
        let statements: Option<Vec<Statement>> =
            ended.stdout.lines().filter(|line| !line.trim().is_empty()).map(statement).collect();
        return match statements {
            Some(statements) if !statements.is_empty() => Answer::Verified(statements),
            _ => Answer::Unable,
        };
    }
    if trouble_of(ended) != Trouble::Other {
        return Answer::Unable;
    }
    let Some((_, error)) = ended.stderr.split_once("Error: ") else { return Answer::Unable };
    if error.starts_with("none of the attestations matched the predicate type") {
        return Answer::Absent;
    }
    let Some(why) = error.strip_prefix("no matching attestations:") else { return Answer::Unable };
    // The same words follow once more, by another printer.
    let why = why.split("error during command execution").next().unwrap_or_default();
    match why.lines().map(str::trim).find(|line| !line.is_empty()) {
        None => Answer::Absent,
        Some(line) if line.contains("no valid bundles exist") => Answer::Absent,
        Some(line) => Answer::Refused(line.to_owned()),
    }
}

/// One line of standard output is one DSSE envelope.
fn statement(line: &str) -> Option<Statement> {
    #[derive(Deserialize)]
    struct Envelope {
        payload: String,
    }
    use base64::Engine as _;
    let envelope: Envelope = serde_json::from_str(line).ok()?;
    let payload = base64::engine::general_purpose::STANDARD.decode(envelope.payload).ok()?;
    serde_json::from_slice(&payload).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::proc::Exit;

    #[test]
    fn calls_name_the_signer_exactly() {
        let identity = Signer::Identity { identity: "https://w@refs/heads/main".into(), issuer: "https://i".into() };
        let key = |log| Signer::Key { public: "c/cosign.pub".into(), log };
        let root = Path::new("root.json");
        for (signer, expected) in [
            (
                identity,
                "verify-attestation --certificate-identity https://w@refs/heads/main --certificate-oidc-issuer https://i --trusted-root root.json --type T S",
            ),
            (key(true), "verify-attestation --key c/cosign.pub --trusted-root root.json --type T S"),
            (key(false), "verify-attestation --key c/cosign.pub --insecure-ignore-tlog --type T S"),
        ] {
            assert_eq!(verify(&signer, Some(root), "T", "S").join(" "), expected);
        }
        let with = Signing { key: Some("env://K".into()), services: Some("s.json".into()), root: None };
        assert_eq!(sign(&with, "S").join(" "), "sign --yes --key env://K --signing-config s.json S");
        assert_eq!(
            attest(&Signing::default(), "T", Path::new("p.json"), "S").join(" "),
            "attest --yes --type T --predicate p.json S"
        );
    }

    fn ended(code: i32, stdout: &str, stderr: &str) -> Ended {
        Ended { exit: Exit::Code(code), stdout: stdout.to_owned(), stderr: stderr.to_owned() }
    }

    #[test]
    fn an_answer_is_what_was_verified_and_not_an_exit_code() {
        let twice = |error: &str| format!("WARNING: x\nError: {error}\nerror during command execution: {error}\n");
        // Recorded from cosign 3.1.3.
        for (stderr, expected) in [
            (
                twice("none of the attestations matched the predicate type: https://slsa.dev/provenance/v1, found: https://cyclonedx.org/bom"),
                Answer::Absent,
            ),
            (twice("no matching attestations: "), Answer::Absent),
            (
                twice("no matching attestations: failed to verify signature: could not verify envelope: accepted signatures do not match threshold, Found: 0, Expected 1"),
                Answer::Refused("failed to verify signature: could not verify envelope: accepted signatures do not match threshold, Found: 0, Expected 1".into()),
            ),
            (twice("Get \"https://127.0.0.1:1/v2/\": dial tcp 127.0.0.1:1: connect: connection refused"), Answer::Unable),
            (twice("setting trusted material: getting trusted root from TUF: lookup x: no such host"), Answer::Unable),
            ("panic: runtime error".to_owned(), Answer::Unable),
        ] {
            assert_eq!(answer(&ended(1, "", &stderr)), expected, "{stderr}");
        }
        // `{"subject":[{"digest":{"sha256":"ab"}}],"predicateType":"T","predicate":{}}`
        let line = r#"{"payload":"eyJzdWJqZWN0IjpbeyJkaWdlc3QiOnsic2hhMjU2IjoiYWIifX1dLCJwcmVkaWNhdGVUeXBlIjoiVCIsInByZWRpY2F0ZSI6e319","payloadType":"application/vnd.in-toto+json"}"#;
        assert!(matches!(answer(&ended(0, &format!("{line}\n"), "")), Answer::Verified(all) if all.len() == 1));
        for stdout in ["", "\n", "Verified OK\n", "{\"payload\": \"?\"}\n"] {
            assert_eq!(answer(&ended(0, stdout, "")), Answer::Unable, "{stdout:?}");
        }
        let half = format!("{line}\n{}\n", &line[..40]);
        assert_eq!(answer(&ended(0, &half, "")), Answer::Unable);
    }
}
