//! kube-score: weaknesses of what would be applied, all documents of an overlay together.

use serde::Deserialize;

use super::super::{parse, ran};
use super::render::{self, Streams};
use super::{FIX, rendering};
use crate::config::Manifests;
use crate::context::Ctx;
use crate::engine::gate::{Gate, action};
use crate::engine::session::Session;
use crate::tools::catalog::KUBE_SCORE;
use crate::tools::command::Command;
use crate::tools::proc::Exit;
use crate::verdict::{Finding, Outcome, Severity, Unproven};

/// kube-score's worst two grades.
const CRITICAL: u32 = 1;
const WARNING: u32 = 5;

#[derive(Debug, Deserialize)]
struct Object {
    object_name: String,
    type_meta: TypeMeta,
    object_meta: ObjectMeta,
    checks: Vec<Scored>,
}

#[derive(Debug, Deserialize)]
struct TypeMeta {
    kind: String,
}

#[derive(Debug, Deserialize)]
struct ObjectMeta {
    name: String,
}

#[derive(Debug, Deserialize)]
struct Scored {
    check: Check,
    grade: u32,
    skipped: bool,
    comments: Option<Vec<Comment>>,
}

#[derive(Debug, Deserialize)]
struct Check {
    id: String,
    name: String,
}

#[derive(Debug, Deserialize)]
struct Comment {
    path: String,
    summary: String,
}

/// One gate.
pub fn plan(ctx: &Ctx, manifests: &Manifests) -> Gate {
    let version = format!("v{}", manifests.kubernetes);
    let step = Command::new(KUBE_SCORE.name, &ctx.root)
        .args(["score", "--output-format", "json", "--disable-ignore-checks-annotations"])
        .args(["--disable-optional-checks-annotations", "--enable-optional-test", "container-seccomp-profile"])
        .args(["--kubernetes-version".to_owned(), version]);
    let (wanted, planned) = (manifests.clone(), step.clone());
    Gate {
        id: "scan/kube-score".to_owned(),
        unit: "objects",
        action: action(move |session| run(session, wanted.clone(), step.clone())),
        ..rendering(ctx, manifests, &KUBE_SCORE, planned)
    }
}

async fn run(session: Session, manifests: Manifests, step: Command) -> Result<Outcome, Unproven> {
    let streams = render::streams(&session, &manifests).await?;
    let (mut looked_at, mut findings) = (0, Vec::new());
    for stream in &streams.streams {
        let ended = session.tool(&KUBE_SCORE, &step.clone().arg(&stream.path)).await?;
        if !matches!(ended.exit, Exit::Code(0 | 1)) {
            return Err(session.not_run(format!("kube-score {}", ended.failure())).into());
        }
        let objects: Option<Vec<Object>> = parse(&session, &ended, &ended.stdout)?;
        let objects = objects.unwrap_or_default();
        let critical = |object: &Object| object.checks.iter().any(|scored| !scored.skipped && scored.grade == CRITICAL);
        if objects.iter().any(critical) == ended.is_success() {
            return Err(session.not_run(format!("kube-score {}, which its report contradicts", ended.exit)).into());
        }
        looked_at += objects.iter().filter(|object| object.checks.iter().any(|scored| !scored.skipped)).count();
        findings.extend(objects.iter().flat_map(|object| found(&streams, object)));
    }
    // It knows no check for some kinds, and leaves those out.
    Ok(ran(looked_at, "objects", 0, findings, FIX))
}

fn found(streams: &Streams, object: &Object) -> Vec<Finding> {
    let bad = object.checks.iter().filter(|scored| !scored.skipped && scored.grade <= WARNING);
    bad.map(|scored| {
        let severity = if scored.grade == CRITICAL { Severity::High } else { Severity::Medium };
        let comment = scored.comments.iter().flatten().next();
        let said = comment.map_or(String::new(), |c| format!(": {} {}", c.path, c.summary));
        let message = format!("{}: {}{said}", object.object_name, scored.check.name);
        let (kind, name) = (format!("kind: {}", object.type_meta.kind), format!("name: {}", object.object_meta.name));
        let finding = Finding::new(&scored.check.id, severity, message);
        let culprit = match scored.check.id.as_str() {
            "container-security-context-privileged" => Some("privileged: true"),
            "container-image-tag" => Some("image:"),
            _ => None,
        };
        let words: Vec<&str> = [kind.as_str(), name.as_str()].into_iter().chain(culprit).collect();
        let placed = streams.place(finding.clone(), &words);
        if placed.line.is_some() { placed } else { streams.place(finding, &[&kind, &name]) }
    })
    .collect()
}
