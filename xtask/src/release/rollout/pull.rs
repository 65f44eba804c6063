//! What the words of a failed pull mean. Container runtimes and registries have no codes for it that reach us.

/// Why an image was not pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pull {
    /// The registry does not have it.
    Missing,
    /// The registry has it for others.
    Refused,
    /// It may go better the next time; what nobody knows counts as this.
    Stumbles,
}

/// Of a network or a registry that has trouble now.
const STUMBLES: &[&str] = &[
    "connection refused",
    "connection reset",
    "connection timed out",
    "timeout",
    "timed out",
    "deadline exceeded",
    "no such host",
    "no route to host",
    "network is unreachable",
    "server misbehaving",
    "temporary failure",
    "broken pipe",
    "too many requests",
    "toomanyrequests",
    "service unavailable",
    "bad gateway",
    "internal server error",
    "context canceled",
    "qps exceeded",
];

/// Of a registry that wants somebody else.
const REFUSED: &[&str] = &[
    "denied",
    "unauthorized",
    "forbidden",
    "authentication required",
    "authorization failed",
    "insufficient_scope",
    "no basic auth credentials",
    "incorrect username or password",
];

/// Of a registry that does not have it.
const MISSING: &[&str] =
    &["not found", "manifest unknown", "manifest_unknown", "name unknown", "name_unknown", "no match for platform"];

/// What a runtime's message means. Names and addresses in it mean nothing: an image may be called `timeout:404`.
pub fn of(message: &str) -> Pull {
    let words = words(message);
    let text = words.join(" ");
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| text.contains(phrase));
    let has_code = |fits: fn(u16) -> bool| words.iter().any(|word| word.len() == 3 && word.parse().is_ok_and(fits));
    match () {
        // Trouble on the way to a token or to one of several mirrors stands beside what the others say.
        () if says(STUMBLES) || words.iter().any(|word| word == "eof") => Pull::Stumbles,
        () if has_code(|code| matches!(code, 408 | 429 | 500..=599)) => Pull::Stumbles,
        () if says(REFUSED) || has_code(|code| matches!(code, 401 | 403)) => Pull::Refused,
        () if says(MISSING) || has_code(|code| code == 404) => Pull::Missing,
        () => Pull::Stumbles,
    }
}

/// The words that are no names: in no quotes, in no brackets (containerd's `[manifests TAG]`) and without a slash.
fn words(message: &str) -> Vec<String> {
    let unquoted = message.split('"').step_by(2).collect::<Vec<_>>().join(" ");
    let bracketed = unquoted.split('[').enumerate();
    let free = bracketed
        .map(|(index, part)| if index == 0 { part } else { part.split_once(']').map_or("", |(_, rest)| rest) });
    let words = free.collect::<Vec<_>>().join(" ").to_lowercase();
    let words = words.split_whitespace().filter(|word| !word.contains('/') || word.starts_with("i/o"));
    words.map(|word| word.trim_matches(|c: char| ":,;.()[]".contains(c)).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_that_lacks_it_is_told_from_one_that_refuses_and_one_that_stumbles() {
        let resolve = |rest: &str| {
            let image = "registry.example/timeout/denied:404";
            format!(
                "rpc error: code = Unknown desc = failed to pull and unpack image \"{image}\": failed to resolve \
                 reference \"{image}\": {rest}"
            )
        };
        for (message, meant) in [
            (resolve("registry.example/timeout/denied:404: not found"), Pull::Missing),
            (
                resolve("unexpected status from HEAD request to https://r/v2/x/manifests/1: 404 Not Found"),
                Pull::Missing,
            ),
            (
                "manifest for registry.example/a:1 not found: manifest unknown: manifest unknown".to_owned(),
                Pull::Missing,
            ),
            ("pulling from host r failed with status code [manifests 503]: 404 Not Found".to_owned(), Pull::Missing),
            ("name unknown: repository name not known to registry".to_owned(), Pull::Missing),
            (resolve("no match for platform in manifest: not found"), Pull::Missing),
            (
                resolve(
                    "pull access denied, repository does not exist or may require authorization: server message: \
                     insufficient_scope: authorization failed",
                ),
                Pull::Refused,
            ),
            (
                resolve("unexpected status from HEAD request to https://r/v2/x/manifests/1: 403 Forbidden"),
                Pull::Refused,
            ),
            (
                resolve("failed to authorize: failed to fetch anonymous token: unexpected status: 401 Unauthorized"),
                Pull::Refused,
            ),
            (
                "denied: Permission \"artifactregistry.repositories.downloadArtifacts\" denied on resource".to_owned(),
                Pull::Refused,
            ),
            (
                resolve(
                    "failed to do request: Head \"https://10.0.0.9:403/v2/x\": dial tcp 10.0.0.9:403: connect: connection refused",
                ),
                Pull::Stumbles,
            ),
            (
                resolve(
                    "failed to do request: Head \"https://r/v2/x\": dial tcp: lookup r on 10.0.0.2:53: no such host",
                ),
                Pull::Stumbles,
            ),
            (
                resolve("failed to do request: Head \"https://r/v2/x\": dial tcp 10.0.0.9:443: i/o timeout"),
                Pull::Stumbles,
            ),
            (resolve("failed to do request: Head \"https://r/v2/x\": EOF"), Pull::Stumbles),
            (resolve("failed to copy: httpReadSeeker: failed open: unexpected EOF"), Pull::Stumbles),
            (
                resolve("unexpected status from HEAD request to https://r/v2/x/manifests/1: 503 Service Unavailable"),
                Pull::Stumbles,
            ),
            (
                resolve("unexpected status from GET request: 429 Too Many Requests - Server message: toomanyrequests"),
                Pull::Stumbles,
            ),
            (
                resolve(
                    "failed to authorize: failed to fetch anonymous token: Get \"https://a/token\": net/http: TLS handshake timeout",
                ),
                Pull::Stumbles,
            ),
            ("write /var/lib/containerd/x: no space left on device".to_owned(), Pull::Stumbles),
            (String::new(), Pull::Stumbles),
        ] {
            assert_eq!(of(&message), meant, "{message}");
        }
    }
}
