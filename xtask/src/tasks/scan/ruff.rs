//! ruff's security rules. `noqa` comments and the project's own settings of ruff do not count.

use serde::Deserialize;

use super::bandit::all;
use super::{files, parse, place, ran};
use crate::config::Sast;
use crate::context::Ctx;
use crate::engine::gate::{Gate, Inputs, action};
use crate::engine::session::Session;
use crate::tools::catalog::RUFF;
use crate::tools::command::Command;
use crate::tools::proc::Exit;
use crate::verdict::{Finding, Outcome, Severity, Unproven};

#[derive(Debug, Deserialize)]
struct Diagnostic {
    code: Option<String>,
    message: String,
    filename: String,
    location: Location,
}

#[derive(Debug, Deserialize)]
struct Location {
    row: u32,
}

/// What tests may do: assert, and hold passwords of their own making.
const IN_TESTS: [&str; 4] = ["S101", "S105", "S106", "S107"];

/// One gate.
pub fn plan(ctx: &Ctx) -> Vec<Gate> {
    let Some(sast) = &ctx.config.sast else { return vec![] };
    let steps = vec![listing(ctx, sast), checking(ctx, sast)];
    let sast = sast.clone();
    vec![Gate {
        id: "scan/ruff".to_owned(),
        unit: "files",
        programs: vec![&RUFF],
        inputs: Inputs { files: all(&sast), ignored: true, settings: format!("{sast:?}"), ..Inputs::default() },
        steps: steps.clone(),
        again: "cargo xtask scan sast".to_owned(),
        action: action(move |session| run(session, sast.clone(), steps.clone())),
        ..Gate::default()
    }]
}

/// E902 is a file that cannot be read; without it ruff only warns of one.
fn ruff(ctx: &Ctx, sast: &Sast) -> Command {
    Command::new(RUFF.name, &ctx.root)
        .args(["check", "--isolated", "--no-cache", "--select", "S,E902"])
        .args(["--config", "exclude=[]", "--target-version"])
        .args([format!("py{}", sast.python.replace('.', ""))])
        .args(
            sast.tests
                .iter()
                .flat_map(|folder| IN_TESTS.iter().map(move |rule| format!("--per-file-ignores={folder}/**:{rule}"))),
        )
}

fn listing(ctx: &Ctx, sast: &Sast) -> Command {
    ruff(ctx, sast).args(["--show-files"]).args(all(sast))
}

fn checking(ctx: &Ctx, sast: &Sast) -> Command {
    ruff(ctx, sast).args(["--ignore-noqa", "--output-format", "json"]).args(all(sast))
}

async fn run(session: Session, sast: Sast, steps: Vec<Command>) -> Result<Outcome, Unproven> {
    let ctx = session.ctx();
    let is_python: fn(&str) -> bool = |path| path.ends_with(".py") || path.ends_with(".pyi");
    let declared = files(&session, &all(&sast), is_python).await?;
    let [listing, checking] = &steps[..] else { return Err(anyhow::anyhow!("two steps are planned").into()) };
    let listed = session.tool(&RUFF, listing).await?;
    let ended = session.tool(&RUFF, checking).await?;
    if !listed.is_success() || !matches!(ended.exit, Exit::Code(0 | 1)) {
        return Err(session.not_run(format!("ruff {}", ended.failure())).into());
    }
    let diagnostics: Vec<Diagnostic> = parse(&session, &ended, &ended.stdout)?;
    if diagnostics.is_empty() != ended.is_success() {
        return Err(session.not_run(format!("ruff {}, which its report contradicts", ended.exit)).into());
    }
    if let Some(broken) = diagnostics.iter().find(|found| !found.is_a_weakness()) {
        return Err(session.not_run(format!("ruff could not read `{}`: {}", broken.filename, broken.message)).into());
    }
    let looked_at = listed.stdout.lines().filter(|path| is_python(path)).count();
    let findings = diagnostics.into_iter().map(|found| {
        let rule = found.code.unwrap_or_default();
        Finding::new(rule, Severity::Medium, found.message).at(place(ctx, &found.filename), found.location.row)
    });
    let findings = findings.collect();
    Ok(ran(looked_at, "files", declared.len(), findings, "mend the source, then `cargo xtask scan sast`"))
}

impl Diagnostic {
    fn is_a_weakness(&self) -> bool {
        self.code.as_deref().is_some_and(|code| code.starts_with('S'))
    }
}
