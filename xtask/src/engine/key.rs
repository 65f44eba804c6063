//! The cache key: everything that can change the answer of a gate, as named components.
//!
//! Components stay apart until the end, so that `--explain` can name the first one that differed.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::gate::Gate;
use crate::model::GateReport;
use crate::tools::git::{self, Snapshot};
use crate::tools::machine::Machine;
use crate::tools::program;
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
        let pins: Vec<String> = gate.programs.iter().flat_map(|tool| program::locks(&machine.ctx, tool)).collect();
        key.add("tools", path_tools(gate, machine)?.into_iter().chain(snapshot.files(&pins)?).collect());
        key.add("files", snapshot.files(&[&gate.inputs.files[..], &gate.inputs.optional].concat())?);
        if gate.inputs.ignored {
            key.add("ignored files", snapshot.ignored(&gate.inputs.files, &machine.ctx.config.cache.generated)?);
        }
        if gate.inputs.history {
            let commit = ("commit".to_owned(), snapshot.commit.clone());
            key.add(
                "history",
                git::refs(&machine.ctx.root, &gate.inputs.branches)?.into_iter().chain([commit]).collect(),
            );
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
    let places = [(&ctx.out, "OUT"), (&ctx.environments, "ENVIRONMENTS"), (&ctx.store, "STORE"), (&ctx.root, "ROOT")];
    let placeless =
        |text: String| places.iter().fold(text, |text, (path, name)| text.replace(&*path.to_string_lossy(), name));
    let fact = |name: &str, value: String| (name.to_owned(), placeless(value));
    let steps = gate.steps.iter().map(|step| format!("{step} {:?} {:?} {}", step.env, step.path_first, step.stdin));
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
    let of_programs = gate.programs.iter().flat_map(|tool| program::environments(&machine.ctx, tool));
    for spec in gate.environments.iter().cloned().chain(of_programs) {
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
    for program in &gate.programs {
        let sources: Vec<&str> = program::allowed(&machine.ctx, program).map(program::label).collect();
        facts.insert(format!("{}'s sources", program.name), sources.join(", "));
    }
    if machine.ctx.profile.trusts_path() {
        let programs = gate.programs.iter().map(|program| program.name);
        for name in gate.inputs.path_tools.iter().copied().chain(programs) {
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

    /// A small repository with a fake interpreter, of which everything that a key covers can be changed.
    struct World {
        folder: tempfile::TempDir,
        ctx: crate::context::Ctx,
        gate: Gate,
        build: &'static str,
        before: Vec<GateReport>,
    }

    impl World {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let mut ctx = crate::context::testing::ctx(folder.path());
            let path = crate::context::surroundings().unwrap().0.remove("PATH").unwrap();
            ctx.env.insert("PATH".into(), format!("{}:{path}", folder.path().join("bin").display()));
            ctx.config.cache.environment = vec!["TZ".into()];
            let gate = Gate {
                id: "g".into(),
                after: vec!["earlier".into()],
                quiet: false,
                unit: "tests",
                tool: ("t", String::new()),
                inputs: super::super::gate::Inputs {
                    files: vec!["src".into()],
                    optional: vec![],
                    ignored: true,
                    settings: "floor 90".into(),
                    path_tools: vec!["fake-redis"],
                    remote: false,
                    history: false,
                    branches: vec![],
                    dated: true,
                },
                environments: vec![crate::tools::environment::Spec {
                    name: "e".into(),
                    python: "3.12".into(),
                    lock: "lock.txt".into(),
                    shelf: Default::default(),
                }],
                steps: vec![crate::tools::command::Command::new("pytest", folder.path()).path_first(folder.path())],
                ..Gate::default()
            };
            let before = vec![super::super::outcome::unfinished(&gate, Default::default())];
            let world = Self { folder, ctx, gate, build: "cpython one", before };
            for (path, text) in [
                ("src/tracked.py", "1"),
                ("src/x.local", "1"),
                ("lock.txt", "a"),
                (".gitignore", "*.local\nbin\ntarget\n"),
            ] {
                world.write(path, text);
            }
            for program in ["bin/python3.12", "bin/python3.11", "bin/fake-redis"] {
                world.write(program, "program");
                use std::os::unix::fs::PermissionsExt as _;
                std::fs::set_permissions(world.folder.path().join(program), std::fs::Permissions::from_mode(0o755))
                    .unwrap();
            }
            world
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }

        async fn key(&self) -> Key {
            let machine = Machine::new(std::sync::Arc::new(self.ctx.clone()), crate::tools::cancel::pair().1);
            for version in ["3.12", "3.11"] {
                let program = self.folder.path().join(format!("bin/python{version}"));
                let known = format!(r#"{{"executable": "/x", "version": "{version}.1", "build": "{}"}}"#, self.build);
                machine.facts.put("python", &program, &known);
            }
            let git = |args: &[&str]| {
                crate::tools::command::Command::new("git", self.folder.path()).args(args.iter().copied())
            };
            machine.quiet().read_bytes(&git(&["init", "-q"])).await.unwrap();
            machine.quiet().read_bytes(&git(&["add", "src/tracked.py"])).await.unwrap();
            let snapshot = Snapshot::take(self.folder.path(), &machine.quiet(), &[]).await.unwrap();
            let before: Vec<&GateReport> = self.before.iter().collect();
            Key::of(&self.gate, &machine, &snapshot, &before).await.unwrap().unwrap()
        }
    }

    /// R5: each component is changed alone, and the gate runs again.
    #[tokio::test]
    async fn each_component_of_the_key_counts() {
        type Change = fn(&mut World);
        let changes: [(&str, Change); 14] = [
            ("definition: gate", |w| w.gate.unit = "pages"),
            ("definition: gate", |w| w.gate.steps[0].args.push("-x".into())),
            ("definition: steps", |w| w.gate.steps[0].stdin = "x".into()),
            ("definition: gate", |w| w.gate.inputs.settings = "floor 80".into()),
            ("environment: TZ", |w| drop(w.ctx.env.insert("TZ".into(), "UTC".into()))),
            ("interpreter: 3.12", |w| w.build = "cpython two"),
            ("definition: gate", |w| w.gate.environments[0].python = "3.11".into()),
            ("lock: lock.txt", |w| w.write("lock.txt", "b")),
            ("tools: fake-redis", |w| w.write("bin/fake-redis", "another program")),
            ("files: src/tracked.py", |w| w.write("src/tracked.py", "2")),
            ("files: src/new.py", |w| w.write("src/new.py", "")),
            ("ignored files: src/x.local", |w| w.write("src/x.local", "2")),
            ("day changed", |w| w.ctx.started += time::Duration::days(1)),
            ("gates before: g", |w| w.before[0].work.count = 7),
        ];
        for (component, change) in changes {
            let mut world = World::new();
            let old = world.key().await;
            assert_eq!(world.key().await, old, "the key changes by itself");
            change(&mut world);
            let new = world.key().await;
            assert_ne!(new.digest(), old.digest(), "{component}");
            let difference = new.difference(&old).unwrap();
            assert!(difference.starts_with(component), "{difference} instead of {component}");
        }
        let key = World::new().key().await;
        let platform = format!("{} {}", std::env::consts::OS, std::env::consts::ARCH);
        assert!(key.0.iter().any(|(name, facts)| name == "platform" && facts["platform"] == platform));
        assert!(key.0[0].1["pipeline's source"].len() == 16);
    }

    /// R4 and the reach of the key: what must not count.
    #[tokio::test]
    async fn what_does_not_change_the_answer_does_not_change_the_key() {
        type Change = fn(&mut World);
        let changes: [(&str, Change); 6] = [
            ("the caller's PATH", |w| {
                let path = w.ctx.env["PATH"].clone();
                w.ctx.env.insert("PATH".into(), format!("{path}:/another/folder"));
            }),
            ("a file elsewhere", |w| w.write("docs/a.md", "x")),
            ("where reports go", |w| w.ctx.out = "/elsewhere".into()),
            ("the time of an earlier gate", |w| w.before[0].duration_ms = 7),
            ("whether an earlier gate was cached", |w| w.before[0].cached = true),
            ("an unkeyed variable", |w| drop(w.ctx.env.insert("EDITOR".into(), "vi".into()))),
        ];
        for (what, change) in changes {
            let mut world = World::new();
            let old = world.key().await;
            change(&mut world);
            assert_eq!(world.key().await.digest(), old.digest(), "{what}");
        }
        // Where a program from PATH never counts, it is no part of the key either.
        let mut world = World::new();
        world.ctx.profile = crate::context::Profile::Actions;
        let old = world.key().await;
        world.write("bin/fake-redis", "another program");
        assert_eq!(world.key().await.digest(), old.digest());
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
