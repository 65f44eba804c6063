//! Where the API lies and which repository is meant. Pure.

use std::fmt;

use super::Trouble;

/// The API of github.com.
pub const API: &str = "https://api.github.com";

/// `OWNER/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    owner: String,
    name: String,
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

impl Repository {
    /// Two names of what GitHub allows in them, so that no path is built of anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (owner, name) = text.split_once('/')?;
        let is_name = |part: &str| {
            !part.is_empty()
                && ![".", ".."].contains(&part)
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        (is_name(owner) && is_name(name)).then(|| Self { owner: owner.to_owned(), name: name.to_owned() })
    }

    /// The repository of a remote, where it lies on the server whose API is at `base`.
    pub fn of_remote(remote: &str, base: &str) -> Option<Self> {
        let (host, path) = match remote.split_once("://") {
            Some((_, rest)) => rest.split_once('/')?,
            // `git@github.com:OWNER/NAME.git`, as scp writes it.
            None => remote.split_once(':')?,
        };
        let host = host.rsplit('@').next()?.split(':').next()?;
        let api = host_of(base)?;
        let api = if api == "api.github.com" { "github.com" } else { api };
        let path = path.trim_matches('/');
        (host == api).then(|| Self::parse(path.strip_suffix(".git").unwrap_or(path))).flatten()
    }
}

/// Where people find what the API at `base` tells of.
pub(super) fn web(base: &str) -> &str {
    if base == API { "https://github.com" } else { base.trim_end_matches("/api/v3") }
}

/// The host of an address, without its port.
fn host_of(address: &str) -> Option<&str> {
    address.split_once("://")?.1.split(['/', ':']).next()
}

/// Whether an address lies on this machine; an error where a token may not be sent to it.
pub(super) fn is_safe(base: &str) -> Result<bool, Trouble> {
    let local = base.starts_with("http://") && matches!(host_of(base), Some("127.0.0.1" | "localhost"));
    let is_plain = !base.contains(['@', '?', '#']);
    let is_secure = base.starts_with("https://") && host_of(base).is_some_and(|host| !host.is_empty());
    if is_plain && (local || is_secure) { Ok(local) } else { Err(Trouble::Address(base.to_owned())) }
}

/// Whether an address lies below the API's, so that the token stays where it belongs.
pub(super) fn is_below(address: &str, base: &str) -> bool {
    address.strip_prefix(base).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remote_names_a_repository_of_the_server_that_is_asked() {
        let enterprise = "https://git.example.org/api/v3";
        for (remote, base, expected) in [
            ("https://github.com/o/r.git", API, Some("o/r")),
            ("https://github.com/o/r", API, Some("o/r")),
            ("https://name:word@github.com/o/r.git", API, Some("o/r")),
            ("git@github.com:o/r.git", API, Some("o/r")),
            ("ssh://git@github.com:22/o/r-s.t", API, Some("o/r-s.t")),
            ("https://git.example.org/o/r.git", enterprise, Some("o/r")),
            ("https://github.com/o/r.git", enterprise, None),
            ("https://gitlab.com/o/r.git", API, None),
            ("https://github.com.evil.example/o/r", API, None),
            ("https://github.com/o/r/s", API, None),
            ("https://github.com/o", API, None),
            ("/srv/git/r.git", API, None),
            ("file:///srv/git/r.git", API, None),
            ("", API, None),
        ] {
            let found = Repository::of_remote(remote, base).map(|repository| repository.to_string());
            assert_eq!(found.as_deref(), expected, "{remote} {base}");
        }
        for odd in ["o", "o/", "/r", "o/r/s", "o/..", "o/r?x", "o/r%2F", "o r/s", "../r"] {
            assert_eq!(Repository::parse(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_token_goes_to_the_api_and_nowhere_else() {
        for (base, expected) in [
            (API, Some(false)),
            ("https://git.example.org/api/v3", Some(false)),
            ("http://127.0.0.1:80", Some(true)),
            ("http://localhost:80", Some(true)),
            ("http://api.github.com", None),
            ("http://127.0.0.1.evil.example", None),
            ("https://x@evil.example", None),
            ("https://", None),
            ("api.github.com", None),
        ] {
            assert_eq!(is_safe(base).ok(), expected, "{base}");
        }
        for (address, below) in [
            ("https://api.github.com/repositories/1/rules?page=2", true),
            ("https://api.github.com.evil.example/repositories/1", false),
            ("http://api.github.com/repositories/1", false),
            ("/repositories/1", false),
        ] {
            assert_eq!(is_below(address, API), below, "{address}");
        }
    }
}
