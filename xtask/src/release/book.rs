//! Keeps the journal, and the objects of each release that can be gone back to, in ConfigMaps of the namespace.

use anyhow::Context as _;
use serde_json::{Value, json};

use super::journal::{Entry, Journal};
use super::manifests::OWNED;
use crate::tools::kube::{Kube, Trouble};
use crate::verdict::{NotRun, Unproven};

/// The journal's ConfigMap.
const JOURNAL: &str = "forge-releases";
/// What the names of the ConfigMaps with a release's objects begin with.
const OBJECTS: &str = "forge-release-";
/// How often a journal that somebody else wrote in between is read again.
const TRIES: usize = 5;

/// The journal of one namespace. Only who holds the lock writes into it.
#[derive(Clone)]
pub struct Book {
    kube: Kube,
    namespace: String,
}

impl Book {
    /// The journal of `namespace`.
    pub fn open(kube: &Kube, namespace: &str) -> Self {
        Self { kube: kube.clone(), namespace: namespace.to_owned() }
    }

    fn collection(&self) -> String {
        format!("/api/v1/namespaces/{}/configmaps", self.namespace)
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.collection())
    }

    /// The journal; an empty one where there is none yet. One that cannot be read is never taken for an empty one.
    pub async fn journal(&self) -> Result<Journal, Unproven> {
        Ok(self.read().await?.0)
    }

    async fn read(&self) -> Result<(Journal, Option<Value>), Unproven> {
        let Some(map) = self.kube.get(&self.path(JOURNAL)).await? else { return Ok((Journal::default(), None)) };
        let text = map["data"]["journal.json"].as_str().unwrap_or_default();
        let journal = serde_json::from_str(text).map_err(|e| {
            let fix = format!("kubectl -n {} get configmap {JOURNAL} -o yaml, and mend it", self.namespace);
            NotRun::new(format!("the journal of `{}` cannot be read: {e}", self.namespace), fix)
        })?;
        Ok((journal, Some(map)))
    }

    /// Writes one release down.
    pub async fn put(&self, entry: &Entry) -> Result<Journal, Unproven> {
        for _ in 0..TRIES {
            let (mut journal, known) = self.read().await?;
            journal.put(entry.clone());
            let text = serde_json::to_string(&journal).context("the journal is no JSON")?;
            let mut map = json!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": JOURNAL, "namespace": self.namespace},
                "data": {"journal.json": text},
            });
            let written = match known {
                None => self.kube.create(&self.collection(), &map).await,
                Some(known) => {
                    map["metadata"]["resourceVersion"] = known["metadata"]["resourceVersion"].clone();
                    self.kube.replace(&self.path(JOURNAL), &map).await
                }
            };
            match written {
                // Its answer may have been lost and the journal be written: reading it again tells.
                Err(trouble) if trouble.is_conflict() => {}
                Err(trouble) => return Err(trouble.into()),
                Ok(_) => return Ok(journal),
            }
        }
        let reason = "the journal is written by somebody else all the time";
        Err(NotRun::new(reason, "see who releases at the same time").into())
    }

    /// Keeps the objects of a release, Secrets apart, so that exactly they can be brought back.
    pub async fn keep_objects(&self, id: &str, objects: &[Value]) -> Result<(), Unproven> {
        let text = serde_json::to_string(objects).context("objects are no JSON")?;
        let name = objects_of(id);
        let map = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "immutable": true,
            "metadata": {"name": name, "namespace": self.namespace, "labels": {OWNED: "objects"}},
            "data": {"objects.json": text},
        });
        match self.kube.create(&self.collection(), &map).await {
            // Ours, of an attempt whose answer was lost.
            Err(trouble) if trouble.is_conflict() => Ok(()),
            written => Ok(written.map(|_| ())?),
        }
    }

    /// The objects of a release; `None` where they are no longer kept.
    pub async fn objects(&self, id: &str) -> Result<Option<Vec<Value>>, Unproven> {
        let Some(map) = self.kube.get(&self.path(&objects_of(id))).await? else { return Ok(None) };
        let text = map["data"]["objects.json"].as_str().unwrap_or_default();
        let objects = serde_json::from_str(text).map_err(|e| {
            NotRun::new(
                format!("the objects of the release {id} cannot be read: {e}"),
                "go back to another one: --to DIGEST",
            )
        })?;
        Ok(Some(objects))
    }

    /// Which of an entry's ConfigMaps and Secrets are gone.
    pub async fn gone(&self, entry: &Entry) -> Result<Vec<String>, Trouble> {
        let mut gone = Vec::new();
        for name in &entry.configs {
            let map = self.kube.get(&self.path(name)).await?;
            let secret = self.kube.get(&format!("/api/v1/namespaces/{}/secrets/{name}", self.namespace)).await?;
            if map.is_none() && secret.is_none() {
                gone.push(name.clone());
            }
        }
        Ok(gone)
    }

    /// Removes what no kept release needs: objects of older ones, ConfigMaps and Secrets that none of them names.
    pub async fn tidy(&self, kept: &[&Entry]) -> Result<usize, Trouble> {
        let needed = |name: &str| {
            kept.iter().any(|entry| objects_of(&entry.id) == name || entry.configs.iter().any(|config| config == name))
        };
        let mut removed = 0;
        for kind in ["configmaps", "secrets"] {
            let collection = format!("/api/v1/namespaces/{}/{kind}", self.namespace);
            let listed = self.kube.list(&format!("{collection}?labelSelector={}", OWNED.replace('/', "%2F"))).await?;
            for name in listed.items.iter().filter_map(|object| object["metadata"]["name"].as_str()) {
                if !needed(name) {
                    self.kube.delete(&format!("{collection}/{name}")).await?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }
}

fn objects_of(id: &str) -> String {
    format!("{OBJECTS}{}", id.to_lowercase())
}
