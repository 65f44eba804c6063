//! The cache key: everything that can change the answer of a gate, as named components.
//!
//! Components stay apart until the end, so that `--explain` can name the first one that differed.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::gate::Gate;
use crate::model::GateReport;
use crate::tools::git::Snapshot;
use crate::tools::machine::Machine;
use crate::verdict::Unproven;

/// The source of this program; another judge may judge otherwise.
const OUR_SOURCE: &str = env!("XTASK_SOURCE");

/// One component: for most a few named facts, for files one fact a file.
type Facts = BTreeMap<String, String>;

/// The components of one gate's key, in the order in which they are compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key(Vec<(String, Facts)>);

impl Key {
    /// The key, or `None` where something that it depends on is not there: then there is nothing to look up.
    pub async fn of(
        gate: &Gate,
        machine: &Machine,
        snapshot: &Snapshot,
        before: &[&GateReport],
    ) -> Result<Option<Self>> {
        let mut key = Self::default();
        key.add("definition", definition(gate, machine));
        key.add("environment", environment(machine));
        key.add(
            "platform",
            Facts::from([("platform".into(), format!("{} {}", std::env::consts::OS, std::env::consts::ARCH))]),
        );
        let Some(interpreters) = interpreters(gate, machine).await? else { return Ok(None) };
        key.add("interpreter", interpreters);
        let locks: Vec<String> = gate.environments.iter().map(|spec| spec.lock.clone()).collect();
        key.add("lock", snapshot.files(&locks)?);
        key.add("tools", path_tools(gate, machine)?);
        key.add("files", snapshot.files(&gate.inputs.files)?);
        if gate.inputs.ignored {
            key.add("ignored files", snapshot.ignored(&gate.inputs.files, &machine.ctx.config.cache.generated)?);
        }
        if gate.inputs.dated {
            key.add("day", Facts::from([("day".into(), machine.ctx.started.date().to_string())]));
        }
        key.add("gates before", before.iter().map(|report| (report.id.clone(), answer(report))).collect());
        Ok(Some(key))
    }

    fn add(&mut self, component: &str, facts: Facts) {
        self.0.push((component.to_owned(), facts));
    }

    /// BLAKE3 over all components.
    pub fn digest(&self) -> String {
        let mut hash = blake3::Hasher::new();
        let mut text = |part: &str| {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        };
        for (component, facts) in &self.0 {
            text(component);
            text(&facts.len().to_string());
            for (name, value) in facts {
                text(name);
                text(value);
            }
        }
        hash.finalize().to_hex().to_string()
    }

    /// The first component in which `self` differs from an `older` key, for people; `None` where they agree.
    pub fn difference(&self, older: &Self) -> Option<String> {
        for (component, facts) in &self.0 {
            let Some((_, old)) = older.0.iter().find(|(name, _)| name == component) else {
                return Some(format!("{component} is new in the key"));
            };
            let changed = |(name, value): (&String, &String)| old.get(name) != Some(value);
            let name = facts.iter().find(|&(n, v)| changed((n, v))).map(|(name, _)| name);
            if let Some(name) = name.or_else(|| old.keys().find(|name| !facts.contains_key(*name))) {
                return Some(if name == component {
                    format!("{component} changed")
                } else {
                    format!("{component}: {name}")
                });
            }
        }
        None
    }
}

/// Where the checkout and the output folder lie is no part of what a gate is.
fn definition(gate: &Gate, machine: &Machine) -> Facts {
    let ctx = &machine.ctx;
    let places = [(&ctx.out, "OUT"), (&ctx.store, "STORE"), (&ctx.root, "ROOT")];
    let placeless =
        |text: String| places.iter().fold(text, |text, (path, name)| text.replace(&*path.to_string_lossy(), name));
    let fact = |name: &str, value: String| (name.to_owned(), placeless(value));
    let steps = gate.steps.iter().map(|step| format!("{step} {:?} {}", step.env, step.stdin));
    Facts::from([
        fact("pipeline's source", OUR_SOURCE.to_owned()),
        fact("gate", format!("{gate:?}")),
        fact("steps", steps.collect::<Vec<_>>().join("\n")),
        fact("settings", gate.inputs.settings.clone()),
    ])
}

fn environment(machine: &Machine) -> Facts {
    let text = |value: Option<String>| value.map_or_else(|| "unset".to_owned(), |value| format!("= {value}"));
    let keyed = machine.ctx.keyed_env().into_iter();
    // The value itself is nobody's business.
    keyed.map(|(name, value)| (name, blake3::hash(text(value).as_bytes()).to_hex().to_string())).collect()
}

async fn interpreters(gate: &Gate, machine: &Machine) -> Result<Option<Facts>> {
    let mut facts = Facts::new();
    for spec in &gate.environments {
        match machine.interpreter(&spec.python).await {
            Ok(found) => facts.insert(spec.python.clone(), format!("{} {}", found.version, found.build)),
            Err(Unproven::NotRun(_)) => return Ok(None),
            Err(Unproven::Defect(error)) => return Err(error),
        };
    }
    Ok(Some(facts))
}

/// Programs from PATH that the gate may use; only where the profile trusts them.
fn path_tools(gate: &Gate, machine: &Machine) -> Result<Facts> {
    let mut facts = Facts::new();
    if machine.ctx.profile.trusts_path() {
        for &name in &gate.inputs.path_tools {
            let hash = machine.on_path(name).map(|program| machine.facts.hash(&program)).transpose()?;
            facts.insert(name.to_owned(), hash.unwrap_or_else(|| "none".to_owned()));
        }
    }
    Ok(facts)
}

/// A report as far as a later gate can see it: not its times, and not whether it was cached.
fn answer(report: &GateReport) -> String {
    let seen = GateReport { duration_ms: 0, cached: false, ..report.clone() };
    serde_json::to_string(&seen).map(|json| blake3::hash(json.as_bytes()).to_hex().to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(components: &[(&str, &[(&str, &str)])]) -> Key {
        let facts = |list: &[(&str, &str)]| list.iter().map(|&(n, v)| (n.to_owned(), v.to_owned())).collect();
        Key(components.iter().map(|&(name, list)| (name.to_owned(), facts(list))).collect())
    }

    #[test]
    fn the_first_difference_is_named() {
        let old = key(&[("lock", &[("lock", "1")]), ("files", &[("a.py", "1"), ("b.py", "1")])]);
        for (new, difference) in [
            (old.clone(), None),
            (key(&[("lock", &[("lock", "2")]), ("files", &[])]), Some("lock changed")),
            (key(&[("lock", &[("lock", "1")]), ("files", &[("a.py", "1"), ("b.py", "2")])]), Some("files: b.py")),
            (key(&[("lock", &[("lock", "1")]), ("files", &[("a.py", "1")])]), Some("files: b.py")),
            (key(&[("day", &[])]), Some("day is new in the key")),
        ] {
            assert_eq!(new.difference(&old).as_deref(), difference);
            assert_eq!(new.digest() == old.digest(), difference.is_none());
        }
    }

    #[test]
    fn names_and_values_do_not_run_into_each_other() {
        let one = key(&[("files", &[("ab", "c")])]);
        let two = key(&[("files", &[("a", "bc")])]);
        assert_ne!(one.digest(), two.digest());
    }
}
