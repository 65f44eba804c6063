//! ggshield: the working tree, looked at by GitGuardian's service. Planned only where its key is set.

use serde::Deserialize;

use super::super::{files, own_config, parse, place, ran, write_own_config};
use super::FIX;
use crate::config::Secrets;
use crate::context::Ctx;
use crate::engine::gate::{Gate, Inputs, action};
use crate::engine::session::Session;
use crate::tools::catalog::GGSHIELD;
use crate::tools::command::Command;
use crate::tools::proc::Exit;
use crate::verdict::{Finding, NotRun, Outcome, Severity, Unproven};

/// The variable of the key; it goes to the program by its environment and nowhere else.
pub const KEY: &str = "GITGUARDIAN_API_KEY";

/// Where another instance than GitGuardian's own answers.
const INSTANCE: &str = "GITGUARDIAN_INSTANCE";

/// GitGuardian's own instance.
const GITGUARDIAN: &str = "https://dashboard.gitguardian.com";

/// Without any setting, in place of a `.gitguardian.yaml` of the tree.
const SETTINGS: (&str, &str) = ("gitguardian.yaml", "version: 2\n");

#[derive(Debug, Deserialize)]
struct Report {
    #[serde(default)]
    entities_with_incidents: Vec<Entity>,
    total_incidents: usize,
}

#[derive(Debug, Deserialize)]
struct Entity {
    filename: String,
    incidents: Vec<Incident>,
}

#[derive(Debug, Deserialize)]
struct Incident {
    #[serde(rename = "type")]
    kind: String,
    occurrences: Vec<Occurrence>,
}

#[derive(Debug, Deserialize)]
struct Occurrence {
    line_start: Option<u32>,
}

/// One gate where the key is set, none otherwise.
pub fn plan(ctx: &Ctx, secrets: &Secrets) -> Option<Gate> {
    ctx.var(KEY).filter(|key| !key.is_empty())?;
    let step = Command::new(GGSHIELD.name, &ctx.root)
        .args(["--no-check-for-updates", "--config-path"])
        .arg(own_config(ctx, SETTINGS.0))
        .args(["secret", "scan", "path", "--json", "--yes", "--"])
        .timeout(secrets.timeout);
    Some(Gate {
        id: "scan/ggshield".to_owned(),
        unit: "files",
        programs: vec![&GGSHIELD],
        inputs: Inputs { files: vec![".".to_owned()], remote: true, ..Inputs::default() },
        steps: vec![step.clone()],
        again: "cargo xtask scan secrets".to_owned(),
        action: action(move |session| run(session, step.clone())),
        ..Gate::default()
    })
}

async fn run(session: Session, step: Command) -> Result<Outcome, Unproven> {
    let ctx = session.ctx();
    let paths = files(&session, &[".".to_owned()], |_| true).await?;
    let mut step = step.args(paths.iter().cloned());
    write_own_config(ctx, SETTINGS.0, SETTINGS.1)?;
    // The service is named here, so that no file of the tree can send the key somewhere else.
    step = step.env(INSTANCE, ctx.var(INSTANCE).unwrap_or(GITGUARDIAN));
    step = step.env(KEY, ctx.var(KEY).unwrap_or_default());
    let ended = session.tool(&GGSHIELD, &step).await?;
    let refused = |why: &str, fix: &str| -> Unproven { NotRun::new(why, fix).into() };
    match ended.exit {
        Exit::Code(0 | 1) => {}
        Exit::Code(3) => {
            return Err(refused("GitGuardian refuses the key", "set a valid GITGUARDIAN_API_KEY, or unset it"));
        }
        Exit::Code(4) => {
            return Err(refused("GitGuardian does not answer", "look at the way to it, or unset GITGUARDIAN_API_KEY"));
        }
        _ => return Err(session.not_run(format!("ggshield {}", ended.failure())).into()),
    }
    let report: Report = parse(&session, &ended, &ended.stdout)?;
    if (report.total_incidents == 0) != ended.is_success() {
        return Err(session.not_run(format!("ggshield {}, which its report contradicts", ended.exit)).into());
    }
    let findings = report.entities_with_incidents.into_iter().flat_map(|entity| {
        let path = place(ctx, &entity.filename);
        entity.incidents.into_iter().map(move |incident| {
            let line = incident.occurrences.first().and_then(|found| found.line_start);
            Finding::new("ggshield", Severity::High, format!("a secret: {}", incident.kind)).at(path.clone(), line)
        })
    });
    Ok(ran(paths.len(), "files", paths.len(), findings.collect(), FIX))
}
