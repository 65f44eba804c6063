//! The two moments in which people wait for a scan: before a commit, and over a long history for the first time.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::work::{Before, Expected, Work};
use super::{HISTORY, folder, locks, rules};
use crate::material::random::Random;
use crate::material::stream::Stream;
use crate::material::{bulk, git, history, import, long_history, write};
use crate::row::Aim;
use crate::{Bench, Places, fixture};

/// How many files are staged.
const STAGED: [usize; 2] = [1, 10];

/// How many commits come after the long history.
const NEW: usize = 100;

/// The branch that has them.
const LONGER: &str = "longer";

fn staged_folder(places: &Places, count: usize) -> PathBuf {
    folder(places).join(format!("staged-{count}"))
}

fn long_folder(places: &Places) -> PathBuf {
    folder(places).join("long")
}

/// What is measured; `commits` are those of the history without and with the new ones.
pub fn works(places: &Places, commits: [Option<usize>; 2]) -> Vec<Work> {
    let out = places.folder.join("out/scan/moments");
    let one = |id: &str, count, unit, findings| {
        BTreeMap::from([(id.to_owned(), Expected { count, unit, findings: Some(findings) })])
    };
    let mut works = Vec::new();
    for count in STAGED {
        let root = staged_folder(places, count);
        let files = if count == 1 { "1 changed file".to_owned() } else { format!("{count} changed files") };
        let command = places.patient(xtask::tools::command::Command::new(&places.program, &root));
        works.push(Work {
            name: format!("`scan --staged`, {files}"),
            command: command.args(["scan", "--staged", "--out"]).arg(&out),
            out: out.clone(),
            before: Before::default(),
            expected: one("scan/staged", Some(count), "files", 1),
            aim: Some(Aim::Within(300)),
        });
    }
    let gone = history::PLANTED.iter().filter(|(path, why)| history::is_gone(path, why)).count();
    let history = |what: &str, before: Before, commits| Work {
        name: format!("`{HISTORY}` of {} commits, {what}", history::COMMITS),
        command: places.ci(&long_folder(places), &out).args(["--no-cache", "--only", HISTORY]),
        out: out.clone(),
        before,
        expected: one(HISTORY, commits, "commits", gone),
        aim: None,
    };
    let before = |branch, forget, known| Before { branch: Some(branch), forget, known };
    let first = history("for the first time", before("main", true, None), commits[0]);
    works.push(Work { aim: Some(Aim::Within(10_000)), ..first });
    works.push(history(&format!("{NEW} new ones"), before(LONGER, false, Some("main")), commits[1]));
    works.push(history("nothing new", before(LONGER, false, Some(LONGER)), commits[1]));
    works
}

/// Makes what they look at.
pub async fn make(bench: &Bench) -> Result<Vec<Work>> {
    let places = &bench.places;
    for count in STAGED {
        let root = staged_folder(places, count);
        begin(bench, &root).await?;
        for (nth, (path, text)) in bulk::tree().step_by(29).take(count).enumerate() {
            let token = if nth == 0 { format!("TOKEN=ghp_{}\n", Random::new(8).word(36)) } else { String::new() };
            write(&root.join(path), (text + &token).as_bytes())?;
        }
        git(bench, &root, &["add", "--all"]).await?;
    }
    let root = long_folder(places);
    let _absent = std::fs::remove_dir_all(&root);
    let long = long_history(bench).await?;
    let clone = ["clone", "--quiet", "--branch", "main", &long.to_string_lossy(), &root.to_string_lossy()];
    git(bench, &places.folder, &clone).await?;
    import(bench, &root, new_commits()).await?;
    configure(places, &root)?;
    let mut commits = [None, None];
    for (branch, commits) in ["main", LONGER].into_iter().zip(&mut commits) {
        let count = git(bench, &root, &["rev-list", "--count", branch]).await?;
        *commits = Some(count.trim().parse().context("git counted no commits")?);
    }
    Ok(works(places, commits))
}

/// A repository of one commit, with the configuration.
async fn begin(bench: &Bench, root: &std::path::Path) -> Result<()> {
    let _absent = std::fs::remove_dir_all(root);
    configure(&bench.places, root)?;
    git(bench, root, &["init", "--quiet", "--initial-branch", "main"]).await?;
    git(bench, root, &["add", "--all"]).await?;
    let who = ["-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "commit.gpgsign=false"];
    let commit = ["commit", "--quiet", "--no-verify", "--message", "Begin"];
    git(bench, root, &[&who[..], &commit].concat()).await.map(drop)
}

/// A configuration that declares secrets and nothing else.
fn configure(places: &Places, root: &std::path::Path) -> Result<()> {
    let (ctx, python) = (&places.ctx, &places.ctx.config.python.tools);
    let pipeline = format!(
        "[python]\nversions = [\"{python}\"]\ntools = \"{python}\"\ntools_lock = \"locks/tools.txt\"\n\n\
         [tools]\nlocks = \"locks\"\n\n[secrets]\nrules = \"xtask/config/gitleaks.toml\"\n"
    );
    write(&root.join("xtask/config/pipeline.toml"), pipeline.as_bytes())?;
    write(&root.join("xtask/config/gitleaks.toml"), rules()?.as_bytes())?;
    write(&root.join(".gitignore"), b"/target/\n")?;
    for (path, text) in locks(&ctx.root, &ctx.config)? {
        write(&root.join(path), text.as_bytes())?;
    }
    fixture::share_environments(places, root)
}

fn new_commits() -> String {
    let (mut stream, mut random) = (Stream::default(), Random::new(6));
    for n in 0..NEW {
        match stream.mark() {
            0 => stream.commit_after(LONGER, "New", "refs/heads/main^0"),
            before => drop(stream.commit(LONGER, &format!("New {n}"), &[before])),
        }
        stream.file(&format!("new/file_{n:03}.py"), &bulk::text(&mut random, 4_000));
    }
    stream.end()
}
