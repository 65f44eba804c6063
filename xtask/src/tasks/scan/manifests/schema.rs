//! kubernetes-validate: each document against the schema of its kind, strictly.

use super::super::ran;
use super::render::{self, Streams};
use super::{FIX, rendering};
use crate::config::Manifests;
use crate::context::Ctx;
use crate::engine::gate::{Gate, action};
use crate::engine::session::Session;
use crate::tools::catalog::KUBERNETES_VALIDATE;
use crate::tools::command::Command;
use crate::tools::proc::Exit;
use crate::verdict::{Finding, Outcome, Severity, Unproven};

/// One gate.
pub fn plan(ctx: &Ctx, manifests: &Manifests) -> Gate {
    let step = Command::new(KUBERNETES_VALIDATE.name, &ctx.root).args([
        "--kubernetes-version",
        &manifests.kubernetes,
        "--strict",
    ]);
    let (wanted, planned) = (manifests.clone(), step.clone());
    Gate {
        id: "scan/manifests".to_owned(),
        unit: "documents",
        action: action(move |session| run(session, wanted.clone(), step.clone())),
        ..rendering(ctx, manifests, Some((&KUBERNETES_VALIDATE, planned)))
    }
}

async fn run(session: Session, manifests: Manifests, step: Command) -> Result<Outcome, Unproven> {
    let streams = render::streams(&session, &manifests).await?;
    // A source that is refused was looked at, and nothing is rendered of it.
    let (mut looked_at, mut findings) = (streams.findings.len(), streams.findings.clone());
    for stream in &streams.streams {
        let ended = session.tool(&KUBERNETES_VALIDATE, &step.clone().arg(&stream.path)).await?;
        if !matches!(ended.exit, Exit::Code(0 | 1)) {
            return Err(session.not_run(format!("kubernetes-validate {}", ended.failure())).into());
        }
        // It says nothing of a file that it cannot read but a traceback.
        let said: Vec<Said<'_>> = ended.stdout.lines().filter_map(Said::read).collect();
        if said.is_empty() {
            return Err(session.not_run(format!("kubernetes-validate {}", ended.failure())).into());
        }
        if said.iter().any(|line| line.level == "ERROR") == ended.is_success() {
            return Err(session.not_run(format!("kubernetes-validate {}, which it contradicts", ended.exit)).into());
        }
        looked_at += said.len();
        findings.extend(said.iter().filter_map(|line| finding(&manifests, &streams, line)));
    }
    Ok(ran(looked_at, "documents", streams.documents(), findings, FIX))
}

/// `LEVEL FILE words`
struct Said<'a> {
    level: &'a str,
    words: &'a str,
}

impl<'a> Said<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let (level, rest) = line.split_once(' ')?;
        let words = rest.split_once(' ')?.1;
        ["INFO", "WARN", "ERROR", "FATAL"].contains(&level).then_some(Self { level, words })
    }
}

fn finding(manifests: &Manifests, streams: &Streams, said: &Said<'_>) -> Option<Finding> {
    match said.level {
        "INFO" => None,
        // It knows no schema of this kind, and has looked at nothing.
        "WARN" => {
            let kind = said.words.split("kind ").nth(1)?.split(' ').next()?;
            let version = said.words.split("api version ").nth(1)?.split(' ').next()?;
            let name = format!("{version}/{kind}");
            let known = manifests.without_schema.get(&name);
            let severity = if known.is_some() { Severity::Info } else { Severity::Medium };
            let message = match known {
                Some(why) => format!("{name} has no schema here: {why}"),
                None => format!("{name} has no schema here; say why that is right in manifests.without_schema"),
            };
            Some(streams.place(Finding::new("no-schema", severity, message), &[kind]))
        }
        _ => {
            let found = Finding::new("schema", Severity::High, said.words);
            // `(… 'replicsa' was unexpected)`, `spec.replicas: 'two' is not of type …`
            let quoted: Vec<&str> = said.words.split('\'').skip(1).step_by(2).take(1).collect();
            Some(streams.place(found, &quoted))
        }
    }
}
