//! `tools list|install`: the programs that the gates use, where they come from, and getting them beforehand.
//!
//! Each is a gate, so that they are installed side by side, with progress, and the report says what is missing.

use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::Result;

use crate::context::Ctx;
use crate::engine::gate::{Gate, action};
use crate::engine::session::Session;
use crate::exit::UsageError;
use crate::tools::cancel::Cancel;
use crate::tools::catalog::{self, Program};
use crate::tools::machine::Machine;
use crate::tools::program::{self, label};
use crate::verdict::{Evidence, Finding, Outcome, Severity, Unproven, Work};

/// What the command line says.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Args {
    /// Say which version of each program is pinned, where it comes from, and where it lies
    List,
    /// Install programs, all that this configuration needs where none is named
    Install {
        /// Names, as `tools list` has them
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
}

#[derive(serde::Serialize)]
struct Listed {
    name: &'static str,
    purpose: &'static str,
    version: Option<String>,
    needed: bool,
    sources: Vec<&'static str>,
    from: Option<String>,
    path: Option<String>,
}

/// The programs that some gate of this configuration uses.
pub fn needed(gates: &[Gate]) -> Vec<&'static Program> {
    let used = |program: &&&'static Program| gates.iter().any(|gate| gate.programs.contains(*program));
    catalog::ALL.iter().filter(used).copied().collect()
}

/// A table for people, or JSON.
pub fn list(ctx: &Arc<Ctx>, cancel: &Cancel, gates: &[Gate], json: bool) -> Result<String> {
    let machine = Machine::new(ctx.clone(), cancel.clone());
    let needed = needed(gates);
    let mut all = Vec::new();
    for program in catalog::ALL {
        let found = program::installed(&machine, program)?;
        all.push(Listed {
            name: program.name,
            purpose: program.purpose,
            version: found.as_ref().map(|found| found.tool.version.clone()).or_else(|| program::version(ctx, program)),
            needed: needed.contains(program),
            sources: program::allowed(ctx, program).map(label).collect(),
            from: found.as_ref().map(|found| found.origin.clone()),
            path: found.as_ref().map(|found| machine.shown(&found.path)),
        });
    }
    machine.facts.save()?;
    if json {
        return Ok(serde_json::to_string_pretty(&all)? + "\n");
    }
    let width = all.iter().map(|listed| listed.name.len()).max().unwrap_or_default();
    let mut text = String::new();
    for listed in &all {
        let version = listed.version.as_deref().unwrap_or("not pinned");
        let state = match (&listed.from, &listed.path) {
            (Some(from), Some(path)) => format!("{from}: {path}"),
            _ if listed.sources.is_empty() => "no source counts in this profile".to_owned(),
            _ if listed.needed => format!("not installed ({})", listed.sources.join(", else ")),
            _ => format!("not needed here ({})", listed.sources.join(", else ")),
        };
        let _infallible = writeln!(text, "{:<width$}  {version:<10}  {state}", listed.name);
    }
    if all.iter().any(|listed| listed.needed && listed.from.is_none()) {
        text.push_str("next: cargo xtask tools install\n");
    }
    Ok(text)
}

/// A gate for each program.
pub fn plan(names: &[String], gates: &[Gate]) -> Result<Vec<Gate>> {
    let unknown = names.iter().find(|name| catalog::named(name).is_none());
    if let Some(name) = unknown {
        return Err(
            UsageError(format!("`{name}` is no program of the catalogue; `cargo xtask tools list` has them")).into()
        );
    }
    let wanted =
        if names.is_empty() { needed(gates) } else { names.iter().filter_map(|name| catalog::named(name)).collect() };
    Ok(wanted.into_iter().map(gate).collect())
}

fn gate(program: &'static Program) -> Gate {
    Gate {
        id: format!("tools/{}", program.name),
        unit: "programs",
        programs: vec![program],
        again: format!("cargo xtask tools install {}", program.name),
        action: action(move |session| install(session, program)),
        ..Gate::default()
    }
}

async fn install(session: Session, program: &'static Program) -> Result<Outcome, Unproven> {
    let installed = session.program(program).await?;
    let place = session.machine.shown(&installed.path);
    let message = format!("{} {} from {}: `{place}`", program.name, installed.tool.version, installed.origin);
    Ok(Outcome::Ran(Evidence {
        work: Work::new(1, "programs"),
        declared: Some(1),
        findings: vec![Finding::new("installed", Severity::Info, message)],
        artifacts: vec![],
        fix: String::new(),
    }))
}
