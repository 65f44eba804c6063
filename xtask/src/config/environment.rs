//! `xtask/config/ENV.toml`: one environment that the backend is released to.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::release::{Cluster, Rehearsal, Release};
use super::{Alerts, Canary, Monitor, with_nearest_key};
use crate::exit::UsageError;

/// Names that mean another one.
const ALIASES: &[(&str, &str)] = &[("prod", "production")];

/// Files of the folder that are no environments.
const OTHERS: &[&str] = &["pipeline", "gitleaks", "rumdl"];

/// The whole file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// Its name, which is the file's.
    #[serde(skip)]
    pub name: String,
    /// Where its users reach it.
    pub url: String,
    /// Every instance by an address of its own, where they have one; `smoke` asks each of them and the URL.
    #[serde(default)]
    pub instances: Vec<String>,
    /// Which cluster it runs on; without it nothing is released.
    pub cluster: Option<Cluster>,
    /// How it is released; without it nothing is.
    pub release: Option<Release>,
    /// What the keys of the Secret are filled with: names of environment variables. With a `?` at its end one that is not
    /// set is left out; else the release does not begin without it.
    #[serde(default)]
    pub secrets: BTreeMap<String, String>,
    /// What differs in a rehearsal.
    #[serde(default)]
    pub rehearsal: Rehearsal,
    /// How a canary is compared with its baseline.
    #[serde(default)]
    pub canary: Canary,
    /// Who hears of it when a check of the monitoring fails; without it nobody does.
    pub alerts: Option<Alerts>,
    /// What its monitoring asks, and what it bears.
    #[serde(default)]
    pub monitor: Monitor,
}

impl Environment {
    /// The name that an alias stands for; `prod` is `production`.
    pub fn full_name(name: &str) -> &str {
        ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, full)| full)
    }

    /// Reads `FOLDER/NAME.toml`; `prod` is `production`. Any mistake is a [`UsageError`].
    pub fn load(folder: &Path, name: &str) -> Result<Self, UsageError> {
        let name = Self::full_name(name);
        let path = folder.join(format!("{name}.toml"));
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if !is_name || OTHERS.contains(&name) || !path.is_file() {
            let known = known(folder).join(", ");
            let known = if known.is_empty() { "none".to_owned() } else { known };
            return Err(UsageError(format!(
                "`{name}` is no environment of `{}` (there are: {known})",
                folder.display()
            )));
        }
        let text =
            std::fs::read_to_string(&path).map_err(|e| UsageError(format!("cannot read `{}`: {e}", path.display())))?;
        let read = Self::parse(&text).map_err(|why| UsageError(format!("{}:{why}", path.display())))?;
        Ok(Self { name: name.to_owned(), ..read })
    }

    /// The names of the environments of `folder`, whether or not their files can be read.
    pub fn names(folder: &Path) -> Vec<String> {
        known(folder)
    }

    /// Every environment of `folder`.
    pub fn all(folder: &Path) -> Result<Vec<Self>, UsageError> {
        known(folder).iter().map(|name| Self::load(folder, name)).collect()
    }

    /// The parts that a release needs.
    pub fn releasable(&self) -> Result<(&Cluster, &Release), UsageError> {
        let missing =
            |table: &str| UsageError(format!("`{}.toml` has no [{table}], so nothing is released to it", self.name));
        let cluster = self.cluster.as_ref().ok_or_else(|| missing("cluster"))?;
        Ok((cluster, self.release.as_ref().ok_or_else(|| missing("release"))?))
    }

    /// Text → environment. The error is `LINE: what is wrong`.
    fn parse(text: &str) -> Result<Self, String> {
        let environment: Self = toml::from_str(text).map_err(|e| {
            let line = e.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            format!("{line}: {}", with_nearest_key(e.message()))
        })?;
        let wrong = environment.addresses().find(|address| !is_http(address)).cloned();
        if let Some(address) = wrong {
            return Err(format!("1: `{address}` is no address like https://api.example"));
        }
        let release = environment.release.as_ref().map_or(Ok(()), Release::check);
        let cluster = environment.cluster.as_ref().map_or(Ok(()), Cluster::check);
        let alerts = environment.alerts.as_ref().map_or(Ok(()), Alerts::check);
        release
            .and(cluster)
            .and(environment.canary.check())
            .and(environment.monitor.check())
            .and(alerts)
            .map_err(|why| format!("1: {why}"))?;
        Ok(environment)
    }

    /// The URL and every instance.
    pub fn addresses(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.url).chain(&self.instances)
    }
}

/// `http://` or `https://` with a host, and neither a name nor a password in it.
pub fn is_http(address: &str) -> bool {
    let rest = address.strip_prefix("http://").or_else(|| address.strip_prefix("https://"));
    rest.is_some_and(|rest| {
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        !host.is_empty() && !host.contains('@') && !rest.chars().any(char::is_whitespace)
    })
}

/// The environments that have a file.
fn known(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".toml")?.to_owned()));
    let mut names: Vec<String> = names.filter(|name| !OTHERS.contains(&name.as_str())).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_is_a_file_and_its_mistakes_are_usage_errors() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("production.toml", "url = \"https://api.example\"\ninstances = [\"http://10.0.0.1:8000\"]\n");
        write("staging.toml", "uri = \"https://api.example\"\n");
        write("odd.toml", "url = \"api.example\"\n");
        write("pipeline.toml", "");
        let load = |name: &str| Environment::load(folder.path(), name);
        let found = load("prod").unwrap();
        assert_eq!(found.addresses().collect::<Vec<_>>(), ["https://api.example", "http://10.0.0.1:8000"]);
        for (name, message) in [
            ("stagin", "(there are: odd, production, staging)"),
            ("pipeline", "is no environment"),
            ("../staging", "is no environment"),
            ("staging", "staging.toml:1: unknown key `uri`; the nearest valid key is `url`"),
            ("odd", "odd.toml:1: `api.example` is no address like https://api.example"),
        ] {
            let error = load(name).unwrap_err().to_string();
            assert!(error.contains(message), "{name}: {error}");
        }
    }

    #[test]
    fn an_address_has_a_scheme_and_a_host_and_no_password() {
        for (address, is_one) in [
            ("http://127.0.0.1:8000", true),
            ("https://api.example/forge", true),
            ("https://", false),
            ("ftp://a", false),
            ("http://name:word@a", false),
            ("http://a b", false),
        ] {
            assert_eq!(is_http(address), is_one, "{address}");
        }
    }
}
