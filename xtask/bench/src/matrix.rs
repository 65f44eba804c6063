//! The test matrix beside nox, which runs the very same commands in the very same environments.
//!
//! nox is spared its own environments, so that it has only the legs to run; it runs them one after another.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::measure::{Proof, Subject, in_turns};
use crate::row::{Row, Value};
use crate::{Bench, Places};
use xtask::context::Ctx;
use xtask::disk::{read_report, write_atomically};
use xtask::engine::gate::Gate;
use xtask::report::junit_cases;
use xtask::report::print_error;
use xtask::tasks::test_matrix;
use xtask::tools::command::Command;
use xtask::tools::environment;
use xtask::tools::redis;
use xtask::verdict::Unproven;

const OURS: &str = "`test-matrix`, without the cache";

/// Ours and nox.
pub fn subjects(places: &Places) -> Vec<Subject> {
    let ci = places.ci(&places.ctx.root, &out(places, "ours"));
    let ours = ci.args(["--no-cache", "--only", "test-matrix"]);
    let folder = places.folder.join("matrix");
    let nox = places.patient(Command::new(places.tools.join("nox"), &folder)).arg("--noxfile");
    let nox = nox.arg(folder.join("noxfile.py"));
    vec![
        Subject::new(OURS, ours, Proof::Gates { out: out(places, "ours"), cached: Some(false) }),
        Subject::new("nox, the same commands", nox, Proof::Says("was successful")).beside(OURS),
    ]
}

fn out(places: &Places, whose: &str) -> PathBuf {
    places.folder.join("out").join(format!("matrix-{whose}"))
}

pub async fn rows(bench: &Bench) -> Result<Vec<Row>> {
    let places = &bench.places;
    let subjects = subjects(places);
    if places.ctx.config.tests.is_none() {
        let nothing = Value::DidNotRun("pipeline.toml declares no [tests]".to_owned());
        return Ok(subjects.into_iter().map(|subject| Row::new(subject.name, nothing.clone())).collect());
    }
    match write_noxfile(bench).await {
        Ok(()) => {}
        Err(Unproven::NotRun(why)) => print_error(&format!("nox cannot be measured: {}\n", why.reason)),
        Err(Unproven::Defect(error)) => return Err(error),
    }
    let mut samples = in_turns(bench, &subjects).await?;
    if let [Ok(_), nox @ Ok(_)] = samples.as_mut_slice()
        && let Some(why) = unlike(&cases(&out(places, "ours")), &cases(&out(places, "nox")))
    {
        *nox = Err(why);
    }
    let row = |(subject, samples)| Row::of(subject, samples, places);
    Ok(subjects.iter().zip(&samples).map(row).collect())
}

/// Tests that a JUnit folder tells of.
fn cases(out: &Path) -> Result<usize, String> {
    let files = std::fs::read_dir(out.join("junit")).map_err(|why| format!("there are no JUnit files: {why}"))?;
    let mut count = 0;
    for file in files.flatten() {
        count += junit_cases::read(&read_report(&file.path())?)?.len();
    }
    Ok(count)
}

fn unlike(ours: &Result<usize, String>, nox: &Result<usize, String>) -> Option<String> {
    match (ours, nox) {
        (Ok(ours), Ok(nox)) if ours == nox && *nox > 0 => None,
        (Ok(ours), Ok(nox)) => Some(format!("it ran {nox} tests, and ours ran {ours}")),
        (Err(why), _) | (_, Err(why)) => Some(why.clone()),
    }
}

/// What nox is to run, as data beside a noxfile that reads it; the environments are made on the way.
async fn write_noxfile(bench: &Bench) -> Result<(), Unproven> {
    let places = &bench.places;
    let there = Arc::new(Ctx { out: out(places, "nox"), ..places.ctx.as_ref().clone() });
    for folder in ["junit", "coverage"] {
        let folder = there.out.join(folder);
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
    }
    let gates = test_matrix::plan(&there, &test_matrix::Args::default());
    let mut server = None;
    for spec in gates.iter().flat_map(|gate| &gate.environments) {
        let environment = environment::ensure(&bench.machine, &bench.runner, spec).await?;
        if places.ctx.config.redis.is_some() {
            server = Some(redis::find(&bench.machine, &environment)?);
        }
    }
    let variable = places.ctx.config.redis.as_ref().map(|redis| &redis.variable);
    let sessions: Vec<_> = gates.iter().map(session).collect();
    let plan = json!({ "sessions": sessions, "redis": server, "variable": variable });
    let folder = places.folder.join("matrix");
    let text = serde_json::to_string_pretty(&plan).context("cannot write the plan for nox")?;
    write_atomically(&folder.join("plan.json"), text.as_bytes())?;
    write_atomically(&folder.join("noxfile.py"), NOXFILE.as_bytes())?;
    Ok(())
}

fn session(gate: &Gate) -> serde_json::Value {
    let step = |step: &Command| {
        let command: Vec<&String> = std::iter::once(&step.program).chain(&step.args).collect();
        json!({ "command": command, "folder": step.cwd, "env": step.env })
    };
    let steps: Vec<_> = gate.steps.iter().map(step).collect();
    // Only what runs tests needs a server: what comes after them reads what they left.
    json!({ "name": gate.id.replace('/', "-"), "steps": steps, "tests": gate.after.is_empty() })
}

const NOXFILE: &str = r#""""The legs of the matrix as plan.json has them."""

import contextlib
import json
import pathlib
import socket
import subprocess
import tempfile
import time

import nox

PLAN = json.loads(pathlib.Path(__file__).with_name("plan.json").read_text())


@contextlib.contextmanager
def server(wanted):
    if not wanted or not PLAN["redis"]:
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="bench-redis-") as folder:
        path = f"{folder}/redis.sock"
        options = ["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket", path]
        process = subprocess.Popen([PLAN["redis"], *options], cwd=folder, stdout=subprocess.DEVNULL)
        try:
            wait_for(path)
            yield {PLAN["variable"]: f"unix://{path}"}
        finally:
            process.terminate()
            process.wait()


def wait_for(path):
    for _ in range(2000):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            client.sendall(b"PING\r\n")
            if client.recv(16).startswith(b"+PONG"):
                return
        time.sleep(0.005)
    raise RuntimeError("the server did not get ready")


def declare(session_plan):
    @nox.session(name=session_plan["name"], venv_backend="none")
    def run(session):
        with server(session_plan["tests"]) as variables:
            for step in session_plan["steps"]:
                session.chdir(step["folder"])
                session.run(*step["command"], env={**step["env"], **variables}, external=True)


for session_plan in PLAN["sessions"]:
    declare(session_plan)
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nox_counts_only_with_the_same_tests() {
        for (ours, nox, wrong) in [
            (Ok(9), Ok(9), None),
            (Ok(9), Ok(6), Some("it ran 6 tests, and ours ran 9")),
            (Ok(0), Ok(0), Some("it ran 0 tests, and ours ran 0")),
            (Ok(9), Err("no file".to_owned()), Some("no file")),
        ] {
            assert_eq!(unlike(&ours, &nox).as_deref(), wrong);
        }
    }
}
