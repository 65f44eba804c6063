//! The Secret of an environment: built in memory, named by a keyed hash of its content, so that a rollback finds the old
//! one, and nobody learns a value from a name. The key lies in the namespace. No value is ever shown.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::manifests::OWNED;
use crate::tools::kube::{Kube, Trouble};

/// The Secret that holds the key of the hashes.
const KEY: &str = "forge-release-key";

/// What a release's Secret is, and how it differs from the one that is used now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// Keys that are new.
    pub added: Vec<String>,
    /// Keys whose values are other ones.
    pub changed: Vec<String>,
    /// Keys that are gone.
    pub removed: Vec<String>,
}

/// The Secret as it goes to the API.
pub fn object(namespace: &str, name: &str, values: &BTreeMap<String, String>) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "immutable": true,
        "metadata": {"name": name, "namespace": namespace, "labels": {OWNED: "secret"}},
        "stringData": values,
    })
}

/// `PLACEHOLDER-HASH`, the hash keyed by `key`.
pub fn name(placeholder: &str, key: &[u8; 32], values: &BTreeMap<String, String>) -> String {
    let mut hash = blake3::Hasher::new_keyed(key);
    for (name, value) in values {
        for part in [name, value] {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
    }
    format!("{placeholder}-{}", &hash.finalize().to_hex()[..16])
}

/// Which keys differ; the values stay here.
pub fn difference(name: String, before: Option<&Value>, after: &BTreeMap<String, String>) -> Named {
    let before: BTreeMap<&str, &str> = before
        .and_then(|secret| secret["data"].as_object())
        .map(|data| data.iter().map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default())).collect())
        .unwrap_or_default();
    let encoded = |value: &str| {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(value)
    };
    let is_new = |key: &&String| !before.contains_key(key.as_str());
    let is_other = |key: &&String| before.get(key.as_str()).is_some_and(|value| *value != encoded(&after[*key]));
    Named {
        name,
        added: after.keys().filter(is_new).cloned().collect(),
        changed: after.keys().filter(is_other).cloned().collect(),
        removed: before.keys().filter(|key| !after.contains_key(**key)).map(|key| (*key).to_owned()).collect(),
    }
}

/// The key of the namespace; `made` becomes it where there is none.
pub async fn key(kube: &Kube, namespace: &str, made: [u8; 32]) -> Result<[u8; 32], Trouble> {
    if let Some(key) = known_key(kube, namespace).await? {
        return Ok(key);
    }
    use base64::Engine as _;
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {"name": KEY, "namespace": namespace},
        "data": {"key": base64::engine::general_purpose::STANDARD.encode(made)},
    });
    match kube.create(&format!("/api/v1/namespaces/{namespace}/secrets"), &secret).await {
        Err(trouble) if !trouble.is_conflict() => Err(trouble),
        // Somebody may have been faster: what lies there counts.
        _ => Ok(known_key(kube, namespace).await?.unwrap_or(made)),
    }
}

/// The key of the namespace, if there is one.
pub async fn known_key(kube: &Kube, namespace: &str) -> Result<Option<[u8; 32]>, Trouble> {
    use base64::Engine as _;
    let secret = kube.get(&format!("/api/v1/namespaces/{namespace}/secrets/{KEY}")).await?;
    let text = secret.as_ref().and_then(|secret| secret["data"]["key"].as_str());
    let bytes = text.and_then(|text| base64::engine::general_purpose::STANDARD.decode(text).ok());
    Ok(bytes.and_then(|bytes| bytes.try_into().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_name_tells_contents_apart_and_needs_the_key() {
        let key = [1; 32];
        let first = name("s", &key, &values(&[("A", "1"), ("B", "2")]));
        assert_eq!(first, name("s", &key, &values(&[("B", "2"), ("A", "1")])));
        for other in
            [&[("A", "1"), ("B", "3")][..], &[("A", "1")], &[("A", "1B"), ("", "2")], &[("A1", ""), ("B", "2")]]
        {
            assert_ne!(first, name("s", &key, &values(other)), "{other:?}");
        }
        assert_ne!(first, name("s", &[2; 32], &values(&[("A", "1"), ("B", "2")])));
    }

    #[test]
    fn a_difference_shows_keys_and_never_a_value() {
        let before = json!({"data": {"KEPT": "b25l", "CHANGED": "b25l", "GONE": "b25l"}});
        let after = values(&[("KEPT", "one"), ("CHANGED", "two-secret"), ("NEW", "three-secret")]);
        let found = difference("s-1".into(), Some(&before), &after);
        assert_eq!(
            (found.added.join(","), found.changed.join(","), found.removed.join(",")),
            ("NEW".into(), "CHANGED".into(), "GONE".into())
        );
        assert!(!format!("{found:?}").contains("secret"));
        assert_eq!(difference("s".into(), None, &after).added.len(), 3);
    }
}
