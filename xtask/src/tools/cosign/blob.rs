//! Signatures of files, which lie beside them as Sigstore bundles.

use std::path::Path;

use super::{Signer, Signing, by, services, words};
use crate::tools::proc::Ended;
use crate::tools::registry::{Trouble, trouble_of};

/// What `verify-blob` answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The signer signed exactly these bytes.
    Verified,
    /// It is not the signer's, or not of these bytes.
    Refused(String),
    /// It could not be told.
    Unable,
}

/// `cosign sign-blob …`
pub fn sign(with: &Signing, bundle: &Path, file: &Path) -> Vec<String> {
    let mut args = words(&["sign-blob", "--yes"]);
    args.extend(services(with));
    args.extend(words(&["--bundle", &bundle.to_string_lossy(), &file.to_string_lossy()]));
    args
}

/// `cosign verify-blob …`
pub fn verify(signer: &Signer, root: Option<&Path>, bundle: &Path, file: &Path) -> Vec<String> {
    let mut args = words(&["verify-blob"]);
    args.extend(by(signer, root));
    args.extend(words(&["--bundle", &bundle.to_string_lossy(), &file.to_string_lossy()]));
    args
}

/// How a call ended → what it means. An exit code of 0 without the words verified nothing.
pub fn answer(ended: &Ended) -> Answer {
    if ended.is_success() {
        let is_said = ended.stderr.lines().any(|line| line.trim() == "Verified OK");
        return if is_said { Answer::Verified } else { Answer::Unable };
    }
    let error = ended.stderr.split_once("Error: ").map_or("", |(_, error)| error);
    let line = error.lines().next().unwrap_or_default();
    let is_about_the_signature = line.starts_with("failed to verify ") && trouble_of(ended) == Trouble::Other;
    if is_about_the_signature { Answer::Refused(line.to_owned()) } else { Answer::Unable }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::proc::Exit;

    #[test]
    fn calls_name_the_signer_exactly() {
        let with = Signing { key: Some("k".into()), services: Some("s".into()), root: Some("r".into()) };
        let (bundle, file) = (Path::new("b.json"), Path::new("f"));
        assert_eq!(
            sign(&with, bundle, file).join(" "),
            "sign-blob --yes --key k --signing-config s --trusted-root r --bundle b.json f"
        );
        let identity = Signer::Identity { identity: "https://w@refs/heads/main".into(), issuer: "https://i".into() };
        let key = Signer::Key { public: "c.pub".into(), log: false };
        for (signer, expected) in [
            (
                identity,
                "verify-blob --certificate-identity https://w@refs/heads/main --certificate-oidc-issuer https://i --trusted-root r --bundle b.json f",
            ),
            (key, "verify-blob --key c.pub --insecure-ignore-tlog --bundle b.json f"),
        ] {
            assert_eq!(verify(&signer, Some(Path::new("r")), bundle, file).join(" "), expected);
        }
    }

    #[test]
    fn only_its_words_verify() {
        let warning = "WARNING: Skipping tlog verification is an insecure practice.\n";
        let invalid = "failed to verify signature: could not verify message: invalid signature when validating ASN.1 encoded signature";
        let not_logged = "failed to verify log inclusion: not enough verified log entries from transparency log: 0 < 1";
        // Recorded from cosign 3.1.3.
        for (code, stderr, expected) in [
            (0, format!("{warning}Verified OK\n"), Answer::Verified),
            (0, warning.to_owned(), Answer::Unable),
            (0, String::new(), Answer::Unable),
            (
                1,
                format!("{warning}Error: {invalid}\nerror during command execution: {invalid}\n"),
                Answer::Refused(invalid.into()),
            ),
            (1, format!("Error: {not_logged}\n"), Answer::Refused(not_logged.into())),
            (
                1,
                "Error: loading verifier from key opts: loading public key: open no.pub: no such file\n".into(),
                Answer::Unable,
            ),
            (1, "Error: invalid character 'o' in literal null (expecting 'u')\n".into(), Answer::Unable),
            (1, "Verified OK\npanic: runtime error".into(), Answer::Unable),
            (2, String::new(), Answer::Unable),
        ] {
            let ended = Ended { exit: Exit::Code(code), stdout: String::new(), stderr: stderr.clone() };
            assert_eq!(answer(&ended), expected, "{stderr}");
        }
    }
}
