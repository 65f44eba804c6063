//! Two configurations, and what the newer one lets pass that the older one did not. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value as Json;
use toml::{Table, Value};

use crate::config::{Config, parse_duration};
use crate::verdict::{Finding, Severity};

/// When a change of a setting lets more pass.
#[derive(Clone, Copy, Debug)]
enum Weaker {
    /// It is a smaller number.
    Lower,
    /// It is a larger number.
    Higher,
    /// It is a higher severity; the second is what counts where none stands.
    Severer(&'static str),
    /// It is a longer time; the second is what counts where none stands.
    Longer(&'static str),
    /// Something left the list.
    Shrunk,
    /// Something came to the list.
    Grown,
    /// It is another one.
    Changed,
}

/// The settings that decide what passes.
const GUARDED: &[(&str, Weaker)] = &[
    ("python.versions", Weaker::Shrunk),
    ("hooks.may_be_idle", Weaker::Grown),
    ("tests.inputs", Weaker::Shrunk),
    ("docs.inputs", Weaker::Shrunk),
    ("manifests.inputs", Weaker::Shrunk),
    ("tests.attempts", Weaker::Higher),
    ("coverage.floor", Weaker::Lower),
    ("sast.files", Weaker::Shrunk),
    ("sast.tests", Weaker::Grown),
    ("dependencies.trivy", Weaker::Shrunk),
    ("locks.files", Weaker::Shrunk),
    ("dockerfile.files", Weaker::Shrunk),
    ("manifests.overlays", Weaker::Shrunk),
    ("manifests.files", Weaker::Shrunk),
    ("manifests.without_schema", Weaker::Grown),
    ("shell.files", Weaker::Shrunk),
    ("licences.allow", Weaker::Grown),
    ("licences.clarify", Weaker::Grown),
    ("container.requests", Weaker::Shrunk),
    ("integration.inputs", Weaker::Shrunk),
    ("smoke.requests", Weaker::Shrunk),
    ("signing.identities", Weaker::Grown),
    ("signing.key", Weaker::Grown),
    ("github.branches", Weaker::Shrunk),
    ("github.reviews", Weaker::Lower),
    ("policy.breaks_at", Weaker::Severer("low")),
    ("policy.max_age", Weaker::Longer("1h")),
    ("policy.database_max_age", Weaker::Longer("7d")),
    ("policy.vulnerabilities.without_fix", Weaker::Severer("low")),
    ("policy.vulnerabilities.grace", Weaker::Longer("0s")),
    ("cache.generated", Weaker::Grown),
    ("cache.environment", Weaker::Shrunk),
    ("profiles.local.optional", Weaker::Grown),
    ("profiles.offline.unreachable", Weaker::Grown),
    ("ignore", Weaker::Grown),
    ("flaky", Weaker::Grown),
];

/// Settings that decide when a gate is stopped, and on which machine it runs; every other one that is not guarded
/// has to stay as it is.
const HARMLESS: &[&str] = &[
    "hooks.timeout",
    "tests.timeout",
    "docs.timeout",
    "secrets.timeout",
    "dependencies.timeout",
    "container.timeout",
    "registry.timeout",
    "container.source",
];

/// How many settings a configuration has.
pub fn settings(text: &str) -> usize {
    toml::from_str::<Table>(text).map_or(0, |table| table.values().map(leaves).sum())
}

fn leaves(value: &Value) -> usize {
    match value {
        Value::Table(table) => table.values().map(leaves).sum(),
        Value::Array(list) => list.iter().map(leaves).sum(),
        _ => 1,
    }
}

/// How many settings were compared, and what lets more pass, with its line in the newer text.
///
/// `known` are the gates that there were before: what is said of a new gate weakens nothing.
pub fn configurations(
    path: &str,
    before: &str,
    now: &str,
    known: &BTreeSet<String>,
) -> Result<(usize, Vec<Finding>), String> {
    let raw =
        |text: &str| toml::from_str::<Table>(text).map_err(|e| format!("`{path}` cannot be read: {}", e.message()));
    // With the defaults of today, so that a setting that nobody wrote down is compared too.
    let whole = |text: &str| Table::try_from(Config::parse(text).ok()?).ok();
    let (old, new) = match (whole(before), whole(now)) {
        (Some(old), Some(new)) => (old, new),
        _ => (raw(before)?, raw(now)?),
    };
    let mut findings = Vec::new();
    let mut add = |key: &str, message: String, line: Option<u32>| {
        let message = format!("{key}: {message}");
        findings.push(Finding::new("weaker-policy", Severity::High, message).at(path.to_owned(), line));
    };
    for table in old.iter().filter(|(name, value)| value.is_table() && !new.contains_key(*name)) {
        add(table.0, "is gone".to_owned(), None);
    }
    for key in keys(&old, &new) {
        let (was, is) = (at(&old, &key), at(&new, &key));
        let is = is.map(|value| about_known(value, known));
        let guarded = GUARDED.iter().find(|(name, _)| *name == key).map(|(_, weaker)| *weaker);
        let Some(message) = weakened(guarded.unwrap_or(Weaker::Changed), was, is.as_ref()) else { continue };
        add(&key, message, line_of(now, &key, was, is.as_ref()));
    }
    let gates = |table: &Table| at(table, "policy.severity").and_then(Value::as_table).cloned().unwrap_or_default();
    let (was, is) = (gates(&old), gates(&new));
    let named: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    for gate in named.into_iter().filter(|gate| is_known(gate, known)) {
        let before = was.get(gate).or_else(|| at(&old, "policy.breaks_at"));
        let after = is.get(gate).or_else(|| at(&new, "policy.breaks_at"));
        if let Some(message) = weakened(Weaker::Severer("low"), before, after) {
            let line = now.lines().position(|line| line.contains(&format!("\"{gate}\"")));
            let line = line.and_then(|line| u32::try_from(line + 1).ok());
            add(&format!("policy.severity of `{gate}`"), message, line);
        }
    }
    Ok((settings(before), findings))
}

/// Every setting of a table that both have: a new subject has new gates, which weaken nothing.
fn keys(old: &Table, new: &Table) -> BTreeSet<String> {
    let mut all = BTreeSet::from(["ignore".to_owned(), "flaky".to_owned()]);
    let nested = ["policy.vulnerabilities", "profiles.local", "profiles.offline"];
    for table in old.keys().map(String::as_str).filter(|table| *table != "runners").chain(nested) {
        let of = |config: &Table| at(config, table).and_then(Value::as_table).cloned();
        let (Some(was), Some(is)) = (of(old), of(new)) else { continue };
        all.extend(was.keys().chain(is.keys()).map(|name| format!("{table}.{name}")));
    }
    let apart = |key: &str| HARMLESS.contains(&key) || nested.contains(&key) || key == "policy.severity";
    all.into_iter().filter(|key| !apart(key)).collect()
}

/// Whether a gate, or one below it, was there before.
fn is_known(gate: &str, known: &BTreeSet<String>) -> bool {
    known.iter().any(|id| id.strip_prefix(gate).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '-'])))
}

/// A list without what it says of gates that are new.
fn about_known(value: &Value, known: &BTreeSet<String>) -> Value {
    let Value::Array(list) = value else { return value.clone() };
    let keep = |entry: &&Value| entry.get("gate").and_then(Value::as_str).is_none_or(|gate| is_known(gate, known));
    Value::Array(list.iter().filter(keep).cloned().collect())
}

fn at<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    let (first, rest) = key.split_once('.').map_or((key, None), |(first, rest)| (first, Some(rest)));
    let value = table.get(first)?;
    match rest {
        None => Some(value),
        Some(rest) => at(value.as_table()?, rest),
    }
}

/// What lets more pass, in words.
fn weakened(weaker: Weaker, was: Option<&Value>, is: Option<&Value>) -> Option<String> {
    let shown = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), ToString::to_string);
    let from_to = || format!("was {}, is {}", shown(was), shown(is));
    let number = |value: Option<&Value>| value.and_then(|v| v.as_float().or_else(|| v.as_integer().map(|n| n as f64)));
    match weaker {
        Weaker::Changed => (was.is_some() && was != is).then(from_to),
        Weaker::Lower => number(was).is_some_and(|was| number(is).is_none_or(|is| is < was)).then(from_to),
        Weaker::Higher => number(is).is_some_and(|is| number(was).is_some_and(|was| is > was)).then(from_to),
        Weaker::Severer(default) => {
            let of = |value: Option<&Value>| rank(value.and_then(Value::as_str).unwrap_or(default));
            (of(is) > of(was)).then(from_to)
        }
        Weaker::Longer(default) => {
            let of = |value: Option<&Value>| {
                let text = value.and_then(Value::as_str).unwrap_or(default);
                parse_duration(text).unwrap_or(Duration::MAX)
            };
            (of(is) > of(was)).then(from_to)
        }
        Weaker::Shrunk => {
            let gone: Vec<String> = items(was).difference(&items(is)).cloned().collect();
            (!gone.is_empty()).then(|| format!("without {}", gone.join(", ")))
        }
        Weaker::Grown => {
            let new: Vec<String> = items(is).difference(&items(was)).cloned().collect();
            (!new.is_empty()).then(|| format!("now has {}", new.join(", ")))
        }
    }
}

fn rank(severity: &str) -> usize {
    ["info", "low", "medium", "high", "critical"].iter().position(|known| *known == severity).unwrap_or(usize::MAX)
}

fn items(value: Option<&Value>) -> BTreeSet<String> {
    match value {
        Some(Value::Array(list)) => list.iter().map(ToString::to_string).collect(),
        Some(Value::Table(table)) => table.iter().map(|(key, value)| format!("{key} = {value}")).collect(),
        _ => BTreeSet::new(),
    }
}

/// The line of a key in its table; for lists of tables, of the last entry, which is where people add one.
fn line_of(text: &str, key: &str, was: Option<&Value>, is: Option<&Value>) -> Option<u32> {
    let (table, name) = key.rsplit_once('.').unwrap_or(("", key));
    let header = if table.is_empty() { format!("[[{name}]]") } else { format!("[{table}]") };
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let index = if table.is_empty() {
        let entries: Vec<usize> = (0..lines.len()).filter(|&index| lines[index] == header).collect();
        let array = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
        let old = array(was);
        let new = array(is).iter().position(|entry| !old.contains(entry));
        entries.get(new?).copied()?
    } else {
        let start = lines.iter().position(|line| *line == header)?;
        let of_key = |line: &&str| line.split(['=', ' ']).next() == Some(name);
        start + lines[start..].iter().position(of_key).unwrap_or(0)
    };
    u32::try_from(index + 1).ok()
}

/// Hooks that are gone or differ in anything but their name, and settings for all hooks that differ.
///
/// A hook whose program is one of `gates` now has become a gate.
pub fn hooks(path: &str, before: &str, now: &str, gates: &BTreeSet<&str>) -> Vec<Finding> {
    let read = |text: &str| serde_saphyr::from_str::<Json>(text).unwrap_or_default();
    let (old, new) = (read(before), read(now));
    let mut findings = Vec::new();
    let mut add = |message: String, line: Option<usize>| {
        let line = line.and_then(|line| u32::try_from(line + 1).ok());
        findings.push(Finding::new("weaker-hook", Severity::High, message).at(path.to_owned(), line));
    };
    for was in all_hooks(&old) {
        let id = was["id"].as_str().unwrap_or_default();
        let entry = was["entry"].as_str().unwrap_or_default();
        let message = match all_hooks(&new).into_iter().find(|hook| hook["id"] == was["id"]) {
            None if gates.contains(entry.split(' ').next().unwrap_or_default()) => continue,
            None => "is gone".to_owned(),
            Some(is) => match differing(was, is, &["name"]) {
                Some(field) => format!("has another `{field}`"),
                None => continue,
            },
        };
        let line = now.lines().position(|line| line.trim() == format!("- id: {id}"));
        add(format!("hook `{id}` {message}"), line);
    }
    if old.is_object()
        && let Some(field) = differing(&old, &new, &["repos", "minimum_pre_commit_version"])
    {
        let line = now.lines().position(|line| line.starts_with(&format!("{field}:")));
        add(format!("all hooks have another `{field}`"), line);
    }
    findings
}

fn all_hooks(file: &Json) -> Vec<&Json> {
    let repos = file["repos"].as_array().into_iter().flatten();
    repos.flat_map(|repo| repo["hooks"].as_array().into_iter().flatten()).collect()
}

/// The first field in which two mappings differ, but for some.
fn differing(was: &Json, is: &Json, but: &[&str]) -> Option<String> {
    let fields =
        |value: &Json| value.as_object().map(|map| map.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
    let all: BTreeSet<String> = fields(was).into_iter().chain(fields(is)).collect();
    all.into_iter().find(|field| !but.contains(&field.as_str()) && was[field.as_str()] != is[field.as_str()])
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "[python]\nversions = [\"3.10\", \"3.11\"]\n[coverage]\nfloor = 90.0\n[docs]\nconfig = \"x\"\n\
                       [policy]\nmax_age = \"1h\"\n[policy.severity]\n\"scan/bandit\" = \"medium\"\n\
                       [profiles.local]\noptional = []\n[[ignore]]\ngate = \"scan\"\nrule = \"A\"\n";

    #[test]
    fn what_lets_more_pass_is_found_at_its_line() {
        let known = BTreeSet::from(["scan/bandit".to_owned(), "docs".to_owned()]);
        for (from, to, expected) in [
            ("", "", None),
            ("floor = 90.0", "floor = 95.0", None),
            ("floor = 90.0", "floor = 80.0", Some(("coverage.floor: was 90.0, is 80.0", Some(4)))),
            (", \"3.11\"]", "]", Some(("python.versions: without \"3.11\"", Some(2)))),
            ("optional = []", "optional = [{ gate = \"scan/new\" }]", None),
            ("\"scan/bandit\" = \"medium\"", "\"scan/bandit\" = \"medium\"\n\"scan/new\" = \"high\"", None),
            ("max_age = \"1h\"", "max_age = \"2d\"", Some(("policy.max_age: was \"1h\", is \"2d\"", Some(8)))),
            (
                "[policy]\n",
                "[policy]\nbreaks_at = \"high\"\n",
                Some(("policy.breaks_at: was nothing, is \"high\"", Some(8))),
            ),
            (
                "= \"medium\"",
                "= \"high\"",
                Some(("policy.severity of `scan/bandit`: was \"medium\", is \"high\"", Some(10))),
            ),
            ("optional = []", "optional = [\"docs\"]", Some(("profiles.local.optional: now has \"docs\"", Some(12)))),
            (
                "rule = \"A\"\n",
                "rule = \"A\"\n[[ignore]]\ngate = \"scan\"\nrule = \"B\"\n",
                Some(("ignore: now has { gate = \"scan\", rule = \"B\" }", Some(16))),
            ),
        ] {
            let new = OLD.replace(from, to);
            let new = if from.is_empty() { OLD.to_owned() } else { new };
            let (compared, findings) = configurations("p", OLD, &new, &known).unwrap();
            assert_eq!(compared, 8);
            let found: Vec<_> = findings.iter().map(|found| (found.message.as_str(), found.line)).collect();
            assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{from} -> {to}");
        }
    }

    #[test]
    fn a_gate_may_not_lose_a_severity_that_was_stricter_than_the_others() {
        let known = BTreeSet::from(["scan/bandit".to_owned()]);
        let old = "[policy]\nbreaks_at = \"high\"\n[policy.severity]\n\"scan/bandit\" = \"low\"\n";
        let new = old.replace("\"scan/bandit\" = \"low\"\n", "");
        let (_, findings) = configurations("p", old, &new, &known).unwrap();
        let found: Vec<_> = findings.iter().map(|found| found.message.as_str()).collect();
        assert_eq!(found, ["policy.severity of `scan/bandit`: was \"low\", is \"high\""]);
    }

    #[test]
    fn what_has_a_default_may_not_grow_by_a_new_table() {
        let old = "[python]\nversions = [\"3.12\"]\ntools = \"3.12\"\ntools_lock = \"t\"\n";
        let new = format!("{old}[cache]\ngenerated = [\"src\"]\n[dockerfile]\nfiles = []\n");
        let (_, findings) = configurations("p", old, &new, &BTreeSet::new()).unwrap();
        let found: Vec<_> = findings.iter().map(|found| (found.message.as_str(), found.line)).collect();
        assert_eq!(found, [("cache.generated: now has \"src\"", Some(6))]);
    }

    #[test]
    fn whose_signature_counts_is_not_the_branchs_to_say() {
        let python = "[python]\nversions = [\"3.12\"]\ntools = \"3.12\"\ntools_lock = \"t\"\n[registry]\nrepository = \"r.io/n\"\n";
        let identity = |list: &str| {
            format!("{python}[signing]\nsource = \"https://s\"\nissuer = \"https://i\"\nidentities = [{list}]\n")
        };
        let key =
            |log: &str| format!("{python}[signing]\nsource = \"https://s\"\n[signing.key]\npublic = \"a.pub\"\n{log}");
        let one = identity("\"a\"");
        for (old, new, expected) in [
            (one.clone(), one.clone(), vec![]),
            (one.clone(), identity("\"a\", \"b\""), vec!["signing.identities: now has \"b\""]),
            (one.clone(), identity("\"b\""), vec!["signing.identities: now has \"b\""]),
            (identity("\"a\", \"b\""), one.clone(), vec![]),
            (one.clone(), one.replace("//i", "//j"), vec!["signing.issuer: was \"https://i\", is \"https://j\""]),
            (
                one.clone(),
                format!("{one}trusted_root = \"mine.json\"\n"),
                vec!["signing.trusted_root: was \"\", is \"mine.json\""],
            ),
            (one.clone(), one.replace("//s", "//t"), vec!["signing.source: was \"https://s\", is \"https://t\""]),
            (one.clone(), one.replace("r.io/n", "r.io/m"), vec!["registry.repository: was \"r.io/n\", is \"r.io/m\""]),
            (one.clone(), python.to_owned(), vec!["signing: is gone"]),
            (
                one.clone(),
                key("log = false\n"),
                vec![
                    "signing.issuer: was \"https://i\", is \"\"",
                    "signing.key: now has log = false, public = \"a.pub\"",
                ],
            ),
            (key(""), key("log = false\n"), vec!["signing.key: now has log = false"]),
            (key(""), key("log = true\n"), vec![]),
            (key(""), key("").replace("a.pub", "b.pub"), vec!["signing.key: now has public = \"b.pub\""]),
        ] {
            assert!(Config::parse(&old).is_ok() && Config::parse(&new).is_ok(), "{new}");
            let (_, findings) = configurations("p", &old, &new, &BTreeSet::new()).unwrap();
            let found: Vec<_> = findings.iter().map(|found| found.message.as_str()).collect();
            assert_eq!(found, expected, "{new}");
        }
    }

    #[test]
    fn every_guarded_setting_is_one_that_the_configuration_knows() {
        // An unknown key is an error of the configuration that names it.
        for (key, _) in GUARDED.iter().filter(|(key, _)| key.contains('.')) {
            let (table, name) = key.rsplit_once('.').unwrap();
            let smallest = "[python]\nversions = [\"3.12\"]\ntools = \"3.12\"\ntools_lock = \"t\"\n";
            let asked = if table == "python" { String::new() } else { format!("[{table}]\n{name} = 1979-05-27\n") };
            let text = format!("{smallest}{asked}");
            let error = crate::config::Config::parse(&text).err().unwrap_or_default();
            assert!(!error.contains(&format!("unknown key `{name}`")), "{key}: {error}");
        }
    }

    #[test]
    fn a_hook_may_not_go_or_look_at_less() {
        let old = "repos:\n- repo: local\n  hooks:\n  - id: a\n    entry: a\n  - id: b\n    entry: b\n";
        for (new, expected) in [
            (old.to_owned(), None),
            (old.replace("  - id: b\n    entry: b\n", ""), Some("hook `b` is gone")),
            (format!("{old}    exclude: .*\n"), Some("hook `b` has another `exclude`")),
            (format!("{old}    stages: [manual]\n"), Some("hook `b` has another `stages`")),
            (format!("{old}    args: [--exit-zero]\n"), Some("hook `b` has another `args`")),
            (format!("exclude: .*\n{old}"), Some("all hooks have another `exclude`")),
            (old.replace("entry: a", "entry: 'true'"), Some("hook `a` has another `entry`")),
        ] {
            let found = hooks("h", old, &new, &BTreeSet::from(["c"]));
            assert_eq!(found.first().map(|found| found.message.as_str()), expected);
        }
    }
}
