//! How an image is named in a registry: by tag, or by digest, which alone cannot come to mean another one. Pure.

use std::fmt;

/// An image by its digest: the only name that cannot come to mean another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The repository, with its registry.
    pub repository: String,
    /// `sha256:` and 64 hexadecimal digits.
    pub digest: String,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.repository, self.digest)
    }
}

/// A name of an image, by tag or by digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The repository, with its registry.
    pub repository: String,
    /// What follows the colon; it means nothing where there is a digest.
    pub tag: Option<String>,
    /// What follows the `@`.
    pub digest: Option<String>,
}

impl Reference {
    /// `REPOSITORY[:TAG][@sha256:…]`; with neither it is no name that we take.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, digest) = text.split_once('@').map_or((text, None), |(name, digest)| (name, Some(digest)));
        let last = name.rfind('/').map_or(0, |slash| slash + 1);
        let colon = name[last..].find(':').map(|colon| last + colon);
        let (repository, tag) = colon.map_or((name, None), |at| (&name[..at], Some(&name[at + 1..])));
        if digest.is_some_and(|digest| !is_digest(digest)) {
            return Err(format!("`{text}` has no digest like `sha256:…` with 64 digits"));
        }
        if tag.is_some_and(|tag| !is_tag(tag)) || repository.is_empty() || repository.starts_with('-') {
            return Err(format!("`{text}` is no name of an image"));
        }
        if tag.is_none() && digest.is_none() {
            return Err(format!("`{text}` names neither a tag nor a digest"));
        }
        Ok(Self { repository: repository.to_owned(), tag: tag.map(str::to_owned), digest: digest.map(str::to_owned) })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => write!(f, "{}@{digest}", self.repository),
            (None, Some(tag)) => write!(f, "{}:{tag}", self.repository),
            (None, None) => f.write_str(&self.repository),
        }
    }
}

/// Whether it is a SHA-256 digest as registries write it.
pub fn is_digest(text: &str) -> bool {
    let digits = text.strip_prefix("sha256:").unwrap_or_default();
    digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Whether it is a tag, by the OCI distribution specification: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
pub fn is_tag(text: &str) -> bool {
    let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    begins && text.len() <= 128 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_a_repository_and_a_tag_or_a_digest() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, expected) in [
            ("ghcr.io/o/n:v1".to_owned(), Some(("ghcr.io/o/n", Some("v1"), None))),
            ("localhost:5000/n:v1".to_owned(), Some(("localhost:5000/n", Some("v1"), None))),
            (format!("localhost:5000/n@{digest}"), Some(("localhost:5000/n", None, Some(digest.as_str())))),
            (format!("ghcr.io/o/n:v1@{digest}"), Some(("ghcr.io/o/n", Some("v1"), Some(digest.as_str())))),
            ("localhost:5000/n".to_owned(), None),
            ("n@sha256:abc".to_owned(), None),
            (format!("n@{}", digest.to_uppercase()), None),
            ("n:".to_owned(), None),
            ("n:a b".to_owned(), None),
            ("--help:1".to_owned(), None),
        ] {
            let found = Reference::parse(&text).ok();
            let found = found.as_ref().map(|r| (r.repository.as_str(), r.tag.as_deref(), r.digest.as_deref()));
            assert_eq!(found, expected, "{text}");
        }
    }
}
