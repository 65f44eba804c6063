//! `[registry]` and `[signing]`: where images are kept, and whose signature counts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::values::duration;

/// `[registry]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    /// The repository of the image, with its registry: `ghcr.io/OWNER/NAME`.
    pub repository: String,
    /// When one call of the registry is stopped.
    #[serde(default = "ten_minutes", with = "duration")]
    pub timeout: Duration,
}

/// `[signing]`: one of `identities` with `issuer`, or `key`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signing {
    /// Where the source lies, a URL: what provenance names as material, and below which our own types have their names.
    pub source: String,
    /// Who may sign, each exactly the identity of a certificate; of a workflow it is
    /// `https://github.com/OWNER/REPOSITORY/.github/workflows/FILE@refs/heads/BRANCH`. No pattern is ever taken.
    #[serde(default)]
    pub identities: Vec<String>,
    /// Who may sign the evidence of releases, where that is not who signs images; exactly, like `identities`.
    #[serde(default)]
    pub evidence: Vec<String>,
    /// Who vouches for them, exactly.
    #[serde(default)]
    pub issuer: String,
    /// A Sigstore trusted root beside `pipeline.toml`; empty for the one of Sigstore's public services.
    #[serde(default)]
    pub trusted_root: String,
    /// A Sigstore signing configuration (which services sign) beside `pipeline.toml`; empty for the public ones.
    #[serde(default)]
    pub services: String,
    /// A key in place of identities.
    pub key: Option<Key>,
}

/// `[signing.key]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// The public key beside `pipeline.toml`.
    pub public: String,
    /// Whether each signature has to be in a transparency log. Without one it never counts in `actions`.
    #[serde(default = "yes")]
    pub log: bool,
}

impl Signing {
    /// What is wrong with it.
    pub(super) fn check(&self) -> Result<(), String> {
        let mut names = [&self.trusted_root, &self.services].into_iter().chain(self.key.iter().map(|key| &key.public));
        if let Some(name) = names.find(|name| name.contains(['/', '\\']) || name.as_str() == "..") {
            return Err(format!("[signing]: `{name}` is no file beside pipeline.toml"));
        }
        if !self.source.contains("://") {
            return Err(format!("signing.source: `{}` is no URL", self.source));
        }
        let by_identity = !self.identities.is_empty();
        if by_identity == self.key.is_some() {
            return Err("[signing] needs either `identities` or `key`, and not both".to_owned());
        }
        if by_identity && self.issuer.is_empty() {
            return Err("[signing] has `identities` and no `issuer`".to_owned());
        }
        if !by_identity && !self.evidence.is_empty() {
            return Err("signing.evidence names identities, and [signing.key] signs".to_owned());
        }
        let all = self.identities.iter().chain(&self.evidence);
        let mut all = all.filter(|identity| identity.trim().is_empty() || identity.contains(['*', '^', '$']));
        match all.next() {
            Some(pattern) => Err(format!("[signing]: `{pattern}` is no exact identity")),
            None => Ok(()),
        }
    }
}

impl Registry {
    /// What is wrong with it.
    pub(super) fn check(&self) -> Result<(), String> {
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/:".contains(c);
        let (registry, path) = self.repository.split_once('/').unwrap_or_default();
        let has_registry = registry == "localhost" || registry.contains(['.', ':']);
        if !has_registry || path.is_empty() || path.contains(':') || !self.repository.chars().all(is_name) {
            return Err(format!("registry.repository: `{}` is not like `ghcr.io/owner/name`", self.repository));
        }
        Ok(())
    }
}

fn ten_minutes() -> Duration {
    Duration::from_secs(600)
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_exact_and_there_is_one_way_to_sign() {
        let source = "source = \"https://github.com/o/r\"\n";
        let issuer = "issuer = \"https://i\"\n";
        for (text, wrong) in [
            (format!("{source}{issuer}identities = [\"https://github.com/o/r/w@refs/heads/main\"]\n"), None),
            (format!("{source}[key]\npublic = \"cosign.pub\"\n"), None),
            (format!("{source}evidence = [\"x\"]\n[key]\npublic = \"cosign.pub\"\n"), Some("signing.evidence")),
            (format!("{source}{issuer}identities = [\"x\"]\nevidence = [\"*\"]\n"), Some("no exact identity")),
            (source.to_owned(), Some("either")),
            (format!("{source}{issuer}identities = [\"x\"]\n[key]\npublic = \"cosign.pub\"\n"), Some("not both")),
            (format!("{source}identities = [\"x\"]\n"), Some("no `issuer`")),
            (format!("{source}{issuer}identities = [\"https://github.com/o/.*\"]\n"), Some("no exact identity")),
            (format!("{source}{issuer}identities = [\"\"]\n"), Some("no exact identity")),
            (format!("{source}[key]\npublic = \"../cosign.pub\"\n"), Some("beside pipeline.toml")),
            ("source = \"r\"\n[key]\npublic = \"k\"\n".to_owned(), Some("no URL")),
        ] {
            let found = toml::from_str::<Signing>(&text).unwrap().check().err();
            assert!(found.as_deref().unwrap_or_default().contains(wrong.unwrap_or_default()), "{text}: {found:?}");
            assert_eq!(found.is_some(), wrong.is_some(), "{text}");
        }
    }

    #[test]
    fn a_repository_names_its_registry() {
        for (repository, fits) in [
            ("ghcr.io/owner/name", true),
            ("localhost:5000/name", true),
            ("localhost/name", true),
            ("owner/name", false),
            ("name", false),
            ("ghcr.io/owner/name:tag", false),
            ("ghcr.io/Owner/name", false),
            ("ghcr.io/", false),
        ] {
            let registry = Registry { repository: repository.into(), timeout: ten_minutes() };
            assert_eq!(registry.check().is_ok(), fits, "{repository}");
        }
    }
}
