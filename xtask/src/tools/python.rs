//! Finds the interpreter that was asked for, and never another one in its place.
//!
//! Every candidate is asked for its version before it is believed: a pyenv shim exists for versions
//! that are not there. In order: programs on PATH, pyenv's versions folder, what uv knows.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::command::Command;
use super::machine::Machine;
use crate::verdict::{NotRun, Unproven};

const PROBE: &str = "import json,os,sys;print(json.dumps({'executable':os.path.realpath(sys.executable),'version':'%d.%d.%d'%sys.version_info[:3],\
                     'build':sys.implementation.name+' '+sys.version.replace(chr(10),' ')}))";

/// One interpreter of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interpreter {
    /// Absolute path, with links followed: the same interpreter under two names is one.
    pub executable: PathBuf,
    /// `3.12.1`
    pub version: String,
    /// Implementation, full version, build date and compiler: two builds of one version differ here.
    pub build: String,
}

impl Interpreter {
    /// Whether this is some `MAJOR.MINOR`.
    pub fn is(&self, asked: &str) -> bool {
        self.version.strip_prefix(asked).is_some_and(|rest| rest.starts_with('.'))
    }
}

/// The interpreter of version `asked` (`3.10`), or why there is none.
pub async fn find(machine: &Machine, asked: &str) -> Result<Interpreter, Unproven> {
    let mut refused = Vec::new();
    let (scripts, programs): (Vec<_>, Vec<_>) = on_path(machine, asked).into_iter().partition(|path| is_script(path));
    let candidates = programs.into_iter().chain(in_pyenv(machine, asked)).chain(scripts);
    for candidate in candidates {
        match probe(machine, &candidate).await? {
            Some(found) if found.is(asked) => return Ok(found),
            Some(_) => {}
            None => refused.push(candidate.display().to_string()),
        }
    }
    if let Some(found) = known_to_uv(machine, asked).await?
        && found.is(asked)
    {
        return Ok(found);
    }
    let mut reason =
        format!("Python {asked} is not on this machine (looked on PATH, in pyenv's versions folder, and asked uv)");
    if !refused.is_empty() {
        reason.push_str(&format!("; {} did not answer", refused.join(", ")));
    }
    Err(NotRun::new(reason, install_command(machine, asked)).into())
}

/// Any interpreter that is here, newest first, for what every Python can do.
pub async fn any(machine: &Machine) -> Result<Vec<Interpreter>, Unproven> {
    let mut found = Vec::new();
    for minor in (9..=20).rev() {
        let asked = format!("3.{minor}");
        let candidates: Vec<PathBuf> = on_path(machine, &asked).into_iter().chain(in_pyenv(machine, &asked)).collect();
        for candidate in candidates {
            if let Some(interpreter) = probe(machine, &candidate).await?
                && interpreter.is(&asked)
                && !found.contains(&interpreter)
            {
                found.push(interpreter);
            }
        }
    }
    Ok(found)
}

/// The one command that gets an interpreter.
pub fn install_command(machine: &Machine, asked: &str) -> String {
    match machine.on_path("uv").or_else(|| machine.own_uv()) {
        Some(uv) => format!("{} python install {asked}", machine.shown(&uv)),
        None => format!("pyenv install {asked}"),
    }
}

fn on_path(machine: &Machine, asked: &str) -> Vec<PathBuf> {
    let names = [format!("python{asked}"), "python3".to_owned(), "python".to_owned()];
    names.iter().flat_map(|name| machine.all_on_path(name)).collect()
}

/// `$PYENV_ROOT/versions/3.10.*`, newest patch first; `~/.pyenv` is pyenv's own default.
fn in_pyenv(machine: &Machine, asked: &str) -> Vec<PathBuf> {
    let ctx = &machine.ctx;
    let root =
        ctx.var("PYENV_ROOT").map(PathBuf::from).or_else(|| ctx.var("HOME").map(|h| Path::new(h).join(".pyenv")));
    let Some(versions) = root.and_then(|root| std::fs::read_dir(root.join("versions")).ok()) else { return Vec::new() };
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name().into_string().ok()?;
            let patch = name.strip_prefix(asked)?.strip_prefix('.')?.parse().ok()?;
            Some((patch, entry.path().join("bin").join(format!("python{asked}"))))
        })
        .collect();
    found.sort_by_key(|(patch, _)| std::cmp::Reverse(*patch));
    found.into_iter().map(|(_, path)| path).filter(|path| path.exists()).collect()
}

async fn known_to_uv(machine: &Machine, asked: &str) -> Result<Option<Interpreter>> {
    let Some(uv) = machine.on_path("uv").or_else(|| machine.own_uv()) else { return Ok(None) };
    let find = Command::new(uv, &machine.ctx.store)
        .args(["python", "find", "--no-project", asked])
        .env("UV_PYTHON_DOWNLOADS", "never")
        .timeout(Duration::from_secs(20));
    let ended = machine.quiet().run(&find).await?;
    if !ended.is_success() {
        return Ok(None);
    }
    probe(machine, Path::new(ended.stdout.trim())).await
}

/// Asks a candidate who it is. What a program answered is remembered as long as the program is the same;
/// what a script (a shim) answers depends on more than its own bytes and is asked anew each time.
async fn probe(machine: &Machine, candidate: &Path) -> Result<Option<Interpreter>> {
    let remember = !is_script(candidate);
    let known = if remember { machine.facts.get("python", candidate) } else { None };
    if let Some(found) = known.and_then(|known| serde_json::from_str(&known).ok()) {
        return Ok(Some(found));
    }
    let ask =
        Command::new(candidate, &machine.ctx.root).args(["-I", "-S", "-c", PROBE]).timeout(Duration::from_secs(20));
    let ended = machine.quiet().run(&ask).await?;
    let Some(found) = serde_json::from_str::<Interpreter>(&ended.stdout).ok().filter(|_| ended.is_success()) else {
        return Ok(None);
    };
    if remember {
        machine.facts.put("python", candidate, &serde_json::to_string(&found).unwrap_or_default());
    }
    Ok(Some(found))
}

fn is_script(path: &Path) -> bool {
    use std::io::Read as _;
    let mut start = [0; 2];
    std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && &start == b"#!"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_matched_by_its_parts() {
        let python =
            |version: &str| Interpreter { executable: "/python".into(), version: version.into(), build: String::new() };
        assert!(python("3.1.4").is("3.1"));
        assert!(!python("3.10.4").is("3.1"));
        assert!(!python("3.12.1").is("3.10"));
    }
}
