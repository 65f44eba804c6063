//! What the pipeline itself costs: its first build, its next one, and its help.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::measure::{Before, Proof, Samples, Subject, in_turns};
use crate::row::{Aim, Row, Value};
use crate::{Bench, Places};
use xtask::disk::write_atomically;
use xtask::tools::command::Command;
use xtask::tools::git::Snapshot;

const COLD: &str = "first build of the pipeline";
const EMPTY: &str = "first build of an empty crate with the same packages";
const REBUILD: &str = "next build, after one changed line";
const HELP: &str = "`--help`";

/// A file that many others use and that changes seldom.
const DEEP: &str = "xtask/src/text.rs";

/// All of them.
pub fn subjects(places: &Places) -> Vec<Subject> {
    let [cold, empty] = first_builds(places);
    [vec![cold, empty, rebuild(places)], helps(places)].concat()
}

/// In a copy of the workspace: a person may change the original at the same time.
fn copy(places: &Places) -> PathBuf {
    places.folder.join("workspace")
}

fn empty(places: &Places) -> PathBuf {
    places.folder.join("empty")
}

fn target(places: &Places, whose: &str) -> PathBuf {
    places.folder.join("build").join(whose)
}

/// `cargo xtask` builds the launcher and lets it build the rest, as after a fresh clone.
fn pipeline(places: &Places, name: &str) -> Subject {
    let target = target(places, "ours");
    let command = places.cargo(&copy(places)).args(["xtask", "--version"]).env("CARGO_TARGET_DIR", &target);
    Subject::new(name, command, Proof::Made(target.join("debug/xtask")))
}

fn first_builds(places: &Places) -> [Subject; 2] {
    let target = target(places, "empty");
    let command = places.cargo(&empty(places)).arg("build").env("CARGO_TARGET_DIR", &target);
    [
        pipeline(places, COLD)
            .before(Before::Remove(self::target(places, "ours")))
            .aim(Aim::TimesOf(1.15, EMPTY.to_owned())),
        Subject::new(EMPTY, command, Proof::Made(target.join("debug/xtask")))
            .before(Before::Remove(target))
            .beside(COLD),
    ]
}

fn rebuild(places: &Places) -> Subject {
    pipeline(places, REBUILD).before(Before::Change(copy(places).join(DEEP))).aim(Aim::Within(3000))
}

fn helps(places: &Places) -> Vec<Subject> {
    let root = &places.ctx.root;
    let help = |program: PathBuf| Command::new(program, root).arg("--help");
    vec![
        Subject::new(HELP, help(places.program.clone()), Proof::Says("Usage")).aim(Aim::Within(5)),
        Subject::new("prek `--help`", help(places.tools.join("prek")), Proof::Says("Usage")).beside(HELP),
        Subject::new("a program that does nothing", Command::new("true", root), Proof::Says("")).beside(HELP),
    ]
}

pub async fn rows(bench: &Bench) -> Result<Vec<Row>> {
    let places = &bench.places;
    copy_workspace(bench).await?;
    write_empty(places)?;
    let builds = first_builds(places);
    let mut samples = in_turns(bench, &builds).await?;
    let (ours, theirs) = (crates(&samples[0], 1), crates(&samples[1], 0));
    let next = [rebuild(places)];
    samples.extend(in_turns(bench, &next).await?);
    let helps = helps(places);
    samples.extend(in_turns(bench, &helps).await?);
    // A few hundred megabytes that nobody needs again.
    let _left = std::fs::remove_dir_all(places.folder.join("build"));
    let subjects = builds.iter().chain(&next).chain(&helps);
    let row = |(subject, samples)| Row::of(subject, samples, places);
    let mut rows: Vec<Row> = subjects.zip(&samples).map(row).collect();
    rows.insert(1, Row::new("crates in it", ours));
    rows.insert(3, Row::new("crates in that", theirs));
    Ok(rows)
}

/// What cargo said that it compiles; `unsaid` is the launcher, which is built quietly.
fn crates(samples: &Samples, unsaid: usize) -> Value {
    match samples.as_ref().map(|samples| samples.last()) {
        Ok(Some(sample)) => Value::Count((compiled(&sample.ended.stderr) + unsaid) as u64),
        Ok(None) => Value::DidNotRun("no sample".to_owned()),
        Err(_) => Value::DidNotRun("see the row above".to_owned()),
    }
}

fn compiled(stderr: &str) -> usize {
    stderr.lines().filter(|line| line.trim_start().starts_with("Compiling ")).count()
}

async fn copy_workspace(bench: &Bench) -> Result<()> {
    let (root, copy) = (&bench.places.ctx.root, copy(&bench.places));
    let snapshot = Snapshot::take(root, &bench.runner, &[]).await?;
    let _absent = std::fs::remove_dir_all(&copy);
    for path in snapshot.paths().filter(|path| root.join(path).is_file()) {
        let (from, to) = (root.join(path), copy.join(path));
        let cannot = || format!("cannot copy `{path}`");
        std::fs::create_dir_all(to.parent().with_context(cannot)?).with_context(cannot)?;
        std::fs::copy(from, to).with_context(cannot)?;
    }
    Ok(())
}

/// The crate under the name of ours, so that our lock fits it.
fn write_empty(places: &Places) -> Result<()> {
    let read = |path: &str| {
        std::fs::read_to_string(copy(places).join(path)).with_context(|| format!("cannot read `{path}` of the copy"))
    };
    let manifest = empty_manifest(&read("xtask/Cargo.toml")?, &read("Cargo.toml")?);
    let folder = empty(places);
    let write = |path: &str, text: &str| write_atomically(&folder.join(Path::new(path)), text.as_bytes());
    write("Cargo.toml", &manifest)?;
    write("Cargo.lock", &read("Cargo.lock")?)?;
    write("src/main.rs", "fn main() {}\n")
}

/// The packages that ours is planned with and the profiles that ours is built with, and nothing of ours.
fn empty_manifest(ours: &str, workspace: &str) -> String {
    let packages = sections(ours, &["dependencies", "build-dependencies", "target."]);
    // A crate of this workspace is no package that we planned with.
    let packages: String = packages.split_inclusive('\n').filter(|line| !line.contains("path =")).collect();
    let shared = sections(workspace, &["workspace.dependencies", "profile."]);
    format!(
        "[package]\nname = \"xtask\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[workspace]\nresolver = \"3\"\n\n{packages}{shared}"
    )
}

/// The sections of a manifest whose names begin with one of `names`.
fn sections(manifest: &str, names: &[&str]) -> String {
    let mut wanted = false;
    let mut kept = String::new();
    for line in manifest.lines() {
        if let Some(name) = line.strip_prefix('[') {
            let whole = |wanted: &&&str| wanted.ends_with('.') && name.starts_with(**wanted) || is(name, wanted);
            wanted = names.iter().any(|name| whole(&name));
        }
        if wanted {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// `dependencies]`, and also `dependencies.NAME]`.
fn is(name: &str, wanted: &str) -> bool {
    name.strip_prefix(wanted).is_some_and(|rest| rest.starts_with([']', '.']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_crate_has_our_packages_and_profiles_and_nothing_else() {
        let ours = "[package]\nname = \"xtask\"\n\n[dependencies]\nclap = \"4\"\nload = { path = \"../load\" }\n\n\
                    [dependencies.toml]\nversion = \"1\"\n\n[dev-dependencies]\ninsta = \"1\"\n";
        let workspace =
            "[workspace]\nmembers = [\"xtask\"]\n\n[profile.dev]\ndebug = false\n\n[workspace.lints.rust]\nx = 1\n";
        assert_eq!(
            empty_manifest(ours, workspace),
            "[package]\nname = \"xtask\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[workspace]\nresolver = \"3\"\n\n\
             [dependencies]\nclap = \"4\"\n\n[dependencies.toml]\nversion = \"1\"\n\n[profile.dev]\ndebug = false\n\n"
        );
    }

    #[test]
    fn crates_are_counted_as_cargo_says_them() {
        assert_eq!(compiled("   Compiling a v1\n    Finished x\n   Compiling b v1\nerror: Compiling\n"), 2);
    }
}
