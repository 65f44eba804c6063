//! kube-score: weaknesses of what would be applied, all documents of an overlay together.

use serde::Deserialize;
use serde_json::Value;

use super::super::{parse, ran};
use super::pods::{Pod, pods};
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
        ..rendering(ctx, manifests, Some((&KUBE_SCORE, planned)))
    }
}

async fn run(session: Session, manifests: Manifests, step: Command) -> Result<Outcome, Unproven> {
    let streams = render::streams(&session, &manifests).await?;
    let (mut looked_at, mut findings) = (0, Vec::new());
    let ours = session.ctx().config.container.as_ref().map(|container| container.name.clone());
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
        let rendered = stream.objects().map_err(|why| session.not_run(why))?;
        findings.extend(objects.iter().flat_map(|object| found(&streams, object, &answered(&rendered, object, &ours))));
    }
    // It knows no check for some kinds, and leaves those out.
    Ok(ran(looked_at, "objects", 0, findings, FIX))
}

/// What kube-score asks of an object and does not know to be answered already.
#[derive(Debug, Default, PartialEq, Eq)]
struct Answered {
    /// Containers whose image is one for ever: it needs no tag, and pulling it again brings the same.
    pinned: Vec<String>,
    /// It is spread over the nodes, so that it needs no anti-affinity.
    spread: bool,
}

/// `ours` is the name for which a release puts in a digest.
fn answered(rendered: &[Value], object: &Object, ours: &Option<String>) -> Answered {
    let all = rendered.iter().flat_map(pods);
    let same = |pod: &Pod<'_>| pod.kind == object.type_meta.kind && pod.name == object.object_meta.name;
    let Some(pod) = all.into_iter().find(same) else { return Answered::default() };
    let is_pinned = |image: &str| image.contains("@sha256:") || ours.as_deref() == Some(image);
    let pinned = pod.containers().filter(|(_, container)| container["image"].as_str().is_some_and(is_pinned));
    Answered { pinned: pinned.map(|(name, _)| name.to_owned()).collect(), spread: pod.is_spread_over_nodes() }
}

impl Answered {
    fn is_answered(&self, scored: &Scored) -> bool {
        match scored.check.id.as_str() {
            "container-image-tag" | "container-image-pull-policy" => {
                let mut comments = scored.comments.iter().flatten().peekable();
                comments.peek().is_some() && comments.all(|comment| self.pinned.contains(&comment.path))
            }
            "deployment-has-host-podantiaffinity" | "statefulset-has-host-podantiaffinity" => self.spread,
            _ => false,
        }
    }
}

fn found(streams: &Streams, object: &Object, answered: &Answered) -> Vec<Finding> {
    let bad = object.checks.iter().filter(|scored| !scored.skipped && scored.grade <= WARNING);
    let bad = bad.filter(|scored| !answered.is_answered(scored));
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
        streams.place_best(finding, &words)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(checks: &Value) -> Object {
        let object = json!({
            "object_name": "Deployment/apps/v1/shop", "type_meta": { "kind": "Deployment" },
            "object_meta": { "name": "shop" }, "checks": checks,
        });
        serde_json::from_value(object).unwrap()
    }

    fn scored(id: &str, containers: &[&str]) -> Value {
        let comments: Vec<_> = containers.iter().map(|name| json!({ "path": name, "summary": "" })).collect();
        json!({ "check": { "id": id, "name": id }, "grade": 1, "skipped": false, "comments": comments })
    }

    #[test]
    fn a_digest_needs_no_tag_and_a_spread_no_anti_affinity() {
        let spread = json!([{ "topologyKey": "kubernetes.io/hostname" }]);
        let rendered = |kind: &str, images: &[&str], spread: &Value| {
            let named = images.iter().enumerate();
            let containers: Vec<_> =
                named.map(|(i, image)| json!({ "name": format!("c{i}"), "image": image })).collect();
            let spec = json!({ "containers": containers, "topologySpreadConstraints": spread });
            vec![
                json!({ "apiVersion": "apps/v1", "kind": kind, "metadata": { "name": "shop" }, "spec": { "template": { "spec": spec } } }),
            ]
        };
        let (digest, none) = ("x@sha256:0a", Value::Null);
        let (tag, pull) = ("container-image-tag", "container-image-pull-policy");
        let anti = "deployment-has-host-podantiaffinity";
        for (rendered, check, containers, is_answered) in [
            (rendered("Deployment", &[digest], &none), pull, &["c0"][..], true),
            (rendered("Deployment", &["ours"], &none), tag, &["c0"], true),
            (rendered("Deployment", &["ours:1"], &none), tag, &["c0"], false),
            (rendered("Deployment", &["other"], &none), tag, &["c0"], false),
            (rendered("Deployment", &[digest, "other"], &none), pull, &["c0", "c1"], false),
            (rendered("Deployment", &[digest, "other"], &none), tag, &["c1"], false),
            (rendered("Deployment", &[digest], &none), tag, &[], false),
            (rendered("StatefulSet", &[digest], &none), tag, &["c0"], false),
            (rendered("Deployment", &[digest], &none), "container-resources", &["c0"], false),
            (rendered("Deployment", &[digest], &spread), anti, &[], true),
            (rendered("Deployment", &[digest], &none), anti, &[], false),
            (rendered("Deployment", &[digest], &json!([{ "topologyKey": "zone" }])), anti, &[], false),
        ] {
            let object = object(&json!([scored(check, containers)]));
            let answered = answered(&rendered, &object, &Some("ours".to_owned()));
            assert_eq!(answered.is_answered(&object.checks[0]), is_answered, "{check} {containers:?} {rendered:?}");
        }
    }
}
