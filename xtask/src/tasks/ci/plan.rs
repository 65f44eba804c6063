//! The plan as text, as JSON, and as a matrix of GitHub Actions.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::context::Ctx;
use crate::engine::gate::Gate;
use crate::exit::UsageError;

/// In which form the plan is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people: gates, environments and the exact commands.
    Text,
    /// For programs.
    Json,
    /// The matrix of the workflow, written to GITHUB_OUTPUT.
    Github,
}

#[derive(Serialize)]
struct PlannedGate<'a> {
    id: &'a str,
    after: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    waits_for: &'a [String],
    unit: &'a str,
    tool: &'a str,
    environments: Vec<&'a str>,
    inputs: &'a [String],
    commands: Vec<String>,
}

/// The plan in one form; [`Format::Github`] is the line for GITHUB_OUTPUT.
pub fn render(ctx: &Ctx, gates: &[Gate], format: Format) -> Result<String> {
    match format {
        Format::Text => Ok(gates.iter().map(|gate| text(ctx, gate)).collect()),
        Format::Json => {
            let planned: Vec<PlannedGate<'_>> = gates.iter().map(planned).collect();
            Ok(serde_json::to_string_pretty(&planned)? + "\n")
        }
        Format::Github => Ok(format!("matrix={}\n", serde_json::to_string(&matrix(ctx, gates))?)),
    }
}

fn planned(gate: &Gate) -> PlannedGate<'_> {
    PlannedGate {
        id: &gate.id,
        after: &gate.after,
        waits_for: &gate.waits_for,
        unit: gate.unit,
        tool: gate.tool.0,
        environments: gate.environments.iter().map(|spec| spec.name.as_str()).collect(),
        inputs: &gate.inputs.files,
        commands: gate.steps.iter().map(ToString::to_string).collect(),
    }
}

fn text(ctx: &Ctx, gate: &Gate) -> String {
    let mut lines = vec![gate.id.clone()];
    if !gate.after.is_empty() {
        lines.push(format!("  after {}", gate.after.join(", ")));
    }
    if !gate.waits_for.is_empty() {
        lines.push(format!("  waits for {}", gate.waits_for.join(", ")));
    }
    for spec in &gate.environments {
        lines.push(format!("  environment {}: Python {}, {}", spec.name, spec.python, spec.lock));
        let [venv, sync] = spec.commands(ctx, Path::new("uv"), Path::new(&format!("python{}", spec.python)));
        lines.extend([format!("    $ {venv}"), format!("    $ {sync}")]);
    }
    lines.extend(gate.steps.iter().map(|step| format!("  $ {step}")));
    lines.join("\n") + "\n"
}

/// The gates that machines of their own can run; a gate that reads the artifacts of others runs in `--merge`.
#[derive(Serialize)]
struct Matrix {
    include: Vec<Job>,
}

#[derive(Serialize)]
struct Job {
    /// The gates' ids, as `--only` takes them.
    gate: String,
    /// A name for files and artifacts.
    name: String,
    /// The Pythons that the job needs, one a line; that of the tools where no gate asks for another.
    python: String,
    /// The label of its machine.
    runner: String,
}

/// The job that a gate is part of; `None` where it runs in `--merge`, because it reads what others leave in files.
///
/// A leg of the matrix is a job of its own. The gates of every other task are mostly small and share what they
/// install: one job a task. What a fresh gate makes stays on its machine, and so do the gates that use it.
pub fn leg(gate: &Gate, gates: &[Gate]) -> Option<String> {
    if let Some(first) = gate.bound_to(gates) {
        return leg(first, gates);
    }
    let task = gate.id.split('/').next().unwrap_or(&gate.id);
    let name = if task == "test-matrix" { gate.id.replace('/', "-") } else { task.to_owned() };
    gate.after.is_empty().then_some(name)
}

fn matrix(ctx: &Ctx, gates: &[Gate]) -> Matrix {
    let runners = &ctx.config.runners;
    let mut jobs: Vec<(String, Vec<&Gate>)> = Vec::new();
    for (gate, name) in gates.iter().filter_map(|gate| Some((gate, leg(gate, gates)?))) {
        match jobs.iter_mut().find(|(known, _)| *known == name) {
            Some((_, together)) => together.push(gate),
            None => jobs.push((name, vec![gate])),
        }
    }
    let job = |(name, together): (String, Vec<&Gate>)| {
        let task = together.first().map_or("", |gate| gate.id.split('/').next().unwrap_or_default());
        let runner = runners.get(task).or_else(|| runners.get("default")).cloned();
        let specs = together.iter().flat_map(|gate| &gate.environments).map(|spec| spec.python.as_str());
        let programs = together.iter().any(|gate| !gate.programs.is_empty());
        let tools = ctx.config.python.tools.as_str();
        let pythons: BTreeSet<&str> = specs.chain(programs.then_some(tools)).collect();
        let pythons: Vec<&str> = if pythons.is_empty() { vec![tools] } else { pythons.into_iter().collect() };
        Job {
            gate: together.iter().map(|gate| gate.id.as_str()).collect::<Vec<_>>().join(","),
            name,
            python: pythons.join("\n"),
            runner: runner.unwrap_or_else(|| "ubuntu-latest".to_owned()),
        }
    };
    Matrix { include: jobs.into_iter().map(job).collect() }
}

/// Appends the matrix to the file that GitHub Actions names.
pub fn write_github(ctx: &Ctx, line: &str) -> Result<()> {
    use std::io::Write as _;
    let Some(path) = ctx.var("GITHUB_OUTPUT") else {
        return Err(UsageError("--plan github needs GITHUB_OUTPUT, which GitHub Actions sets".into()).into());
    };
    let cannot = || format!("cannot write `{path}`");
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).with_context(cannot)?;
    file.write_all(line.as_bytes()).with_context(cannot)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::gate::testing::planned as gate;

    #[test]
    fn what_uses_the_machine_of_a_fresh_gate_runs_in_its_job() {
        let gates = [
            gate("test-matrix/3.12", &[]),
            gate("test-matrix/coverage", &["test-matrix/3.12"]),
            Gate { fresh: true, ..gate("container/build", &[]) },
            gate("container/test", &["container/build"]),
            Gate { waits_for: vec!["container/build".to_owned()], ..gate("integration", &[]) },
            gate("docs", &[]),
        ];
        let legs: Vec<Option<String>> = gates.iter().map(|gate| leg(gate, &gates)).collect();
        let legs: Vec<Option<&str>> = legs.iter().map(Option::as_deref).collect();
        let expected =
            [Some("test-matrix-3.12"), None, Some("container"), Some("container"), Some("container"), Some("docs")];
        assert_eq!(legs, expected);
    }
}
