//! `monitor/security/secrets`: secrets in ConfigMaps and in the environment of pods, by the engine of `scan secrets`.
//!
//! The values lie in a folder of their own that is outside of the output folder and that only we can read, as long as the
//! engine looks at them. It masks what it finds before we read anything. Secrets of Kubernetes are never asked for.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::{Kind, Watched, gate};
use crate::config::{Release, Secrets};
use crate::context::Ctx;
use crate::engine::gate::{Gate, action};
use crate::engine::session::Session;
use crate::monitor::live::{Text, of_config_maps, of_templates};
use crate::tasks::scan::secrets::staging::{self, Staged};
use crate::tasks::scan::under_policy;
use crate::tools::catalog::GITLEAKS;
use crate::tools::command::Command;
use crate::tools::kube::Kube;
use crate::verdict::{Evidence, Finding, Outcome, Severity, Unproven, Work};

/// What has a template of pods, and pods that somebody made by hand; a pod of a template says nothing new.
const KINDS: [(&str, &str, &str); 6] = [
    ("Deployment", "/apis/apps/v1", "deployments"),
    ("StatefulSet", "/apis/apps/v1", "statefulsets"),
    ("DaemonSet", "/apis/apps/v1", "daemonsets"),
    ("CronJob", "/apis/batch/v1", "cronjobs"),
    ("Job", "/apis/batch/v1", "jobs"),
    ("Pod", "/api/v1", "pods"),
];

/// One gate, where pipeline.toml declares how secrets are looked for.
pub fn plan(ctx: &Ctx, watched: &Arc<Watched>, release: &Release) -> Option<Gate> {
    let secrets: &Secrets = ctx.config.secrets.as_ref()?;
    let step = staging::command(ctx, &GITLEAKS, secrets);
    let lists = std::iter::once(config_maps(release)).chain(KINDS.iter().map(|kind| list_of(kind, release)));
    let asked = lists.filter_map(|path| watched.raw(ctx, &path));
    let (one, release, call) = (watched.clone(), release.clone(), step.clone());
    let gate = Gate {
        programs: vec![&GITLEAKS],
        steps: asked.chain([step]).collect(),
        action: action(move |session| probe(session, one.clone(), release.clone(), call.clone())),
        ..gate("security/secrets", "values", GITLEAKS.name, watched.again(Kind::Security))
    };
    Some(under_policy(ctx, gate))
}

fn config_maps(release: &Release) -> String {
    format!("/api/v1/namespaces/{}/configmaps", release.namespace)
}

fn list_of((_, group, plural): &(&str, &str, &str), release: &Release) -> String {
    format!("{group}/namespaces/{}/{plural}", release.namespace)
}

async fn probe(session: Session, watched: Arc<Watched>, release: Release, step: Command) -> Result<Outcome, Unproven> {
    let kube = watched.door.kube(&session.machine, &watched.environment).await?;
    session.doing(format!("reads the configuration in `{}`", release.namespace));
    let texts = texts(&kube, &release).await?;
    let folder = session.runner().ledger.scratch("live", &session.machine.temporary())?;
    let mut staged = Staged::within(folder.path())?;
    for text in &texts {
        staged.add(&text.origin, &text.name, &text.bytes)?;
    }
    session.say(&format!("looking through {} values", texts.len()))?;
    let leaks = staged.scan(&session, &GITLEAKS, &step).await?;
    let findings = leaks.into_iter().map(|leak| {
        let message = format!("{} in {}, line {}", leak.description, leak.origin, leak.line);
        Finding::new(leak.rule, Severity::Critical, message)
    });
    Ok(Outcome::Ran(Evidence {
        work: Work::new(texts.len() as u64, "values"),
        declared: Some(staged.count() as u64),
        findings: findings.collect(),
        artifacts: vec![],
        fix: "make the value worthless where it came from, and put its successor into [secrets] of the environment's file"
            .to_owned(),
    }))
}

async fn texts(kube: &Kube, release: &Release) -> Result<Vec<Text>, Unproven> {
    let mut texts = of_config_maps(&kube.list(&config_maps(release)).await?.items);
    let mut known = BTreeSet::new();
    for kind in &KINDS {
        let found = kube.list(&list_of(kind, release)).await?;
        texts.extend(of_templates(kind.0, &found.items, &mut known));
    }
    Ok(texts)
}
