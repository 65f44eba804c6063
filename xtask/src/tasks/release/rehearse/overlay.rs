//! The overlay and the configuration of one release of a rehearsal: the environment's own, changed where it has to be.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::stage::Stage;
use super::{FILLED, FOLDER, LOAD, Planted};
use crate::config::{Config, Environment, Release, Strategy, VerifyAt};
use crate::context::Ctx;
use crate::disk::write_atomically;
use crate::exit::UsageError;
use crate::tasks::release::DeployArgs;

/// Writes the overlay and the configuration of one release; gives the folder of the configuration.
pub fn write(
    ctx: &Ctx,
    real: &Environment,
    args: &DeployArgs,
    stage: &Stage,
    planted: &Planted<'_>,
    namespace: &str,
) -> Result<PathBuf> {
    let folder = format!("{FOLDER}/{}", planted.name);
    let mut rehearsed = real.clone();
    let release = rehearsed.release.as_mut().context("the environment was read as one that is released to")?;
    let up = "../".repeat(folder.split('/').count());
    let mut kustomization = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": namespace,
        "resources": [format!("{up}{}", release.overlay)],
        "images": stage.images,
    });
    if let Some(patch) = &planted.patch {
        let mut patch = patch.clone();
        patch["apiVersion"] = json!("apps/v1");
        patch["kind"] = json!("Deployment");
        patch["metadata"] = json!({"name": release.workload});
        kustomization["patches"] = json!([{"patch": patch.to_string()}]);
    }
    changed(release, args, real, namespace, &folder);
    if !args.full && planted.code != 0 {
        release.ready_patience = real.rehearsal.unschedulable.max(stage.ready);
    }
    if release.routes.is_empty() {
        release.routes = ctx.config.perf.as_ref().map(|perf| perf.mix.clone()).unwrap_or_default();
    }
    rehearsed.cluster = Some(stage.cluster.clone());
    rehearsed.secrets = [(FILLED.0.to_owned(), FILLED.0.to_owned())].into();
    (planted.change)(&mut rehearsed);
    let path = ctx.root.join(&folder);
    std::fs::create_dir_all(path.join("config")).with_context(|| format!("cannot make `{folder}`"))?;
    write_atomically(&path.join("kustomization.yaml"), kustomization.to_string().as_bytes())?;
    let entries = std::fs::read_dir(&ctx.config_dir).context("cannot read the configuration")?;
    for entry in entries.flatten().filter(|entry| entry.path().is_file()) {
        std::fs::copy(entry.path(), path.join("config").join(entry.file_name()))
            .context("cannot copy the configuration")?;
    }
    let mut pipeline =
        std::fs::read_to_string(ctx.config_dir.join("pipeline.toml")).context("cannot read pipeline.toml")?;
    let load = rehearsed.rehearsal.load;
    if !load.is_zero() {
        // Longer than its warm-up, whatever a fault makes of it.
        let seconds = if args.full { load * 3 } else { load }.as_secs().max(3);
        pipeline += &format!(
            "\n[perf.load.{LOAD}]\nwarm_up = \"2s\"\n\n[perf.load.{LOAD}.scenarios.users]\n\
             executor = \"constant-vus\"\nvus = 50\nduration = \"{seconds}s\"\n"
        );
    }
    Config::parse(&pipeline).map_err(UsageError)?;
    write_atomically(&path.join("config/pipeline.toml"), pipeline.as_bytes())?;
    let text = toml::to_string(&rehearsed).context("the environment is no TOML")?;
    write_atomically(&path.join(format!("config/{}.toml", real.name)), text.as_bytes())?;
    Ok(path.join("config"))
}

/// `[release]` of a rehearsal: another namespace, and waiting times of its own unless all of it is asked for.
fn changed(release: &mut Release, args: &DeployArgs, real: &Environment, namespace: &str, folder: &str) {
    namespace.clone_into(&mut release.namespace);
    folder.clone_into(&mut release.overlay);
    release.checked = false;
    release.confirm = false;
    release.after.clear();
    release.strategy = args.strategy.unwrap_or(Strategy::Rolling);
    release.verify_at = VerifyAt::Service;
    if real.rehearsal.load.is_zero() {
        release.load.clear();
    } else {
        LOAD.clone_into(&mut release.load);
    }
    if !args.full {
        let shorter = &real.rehearsal;
        release.pull_patience = shorter.pull;
        release.unschedulable_patience = shorter.unschedulable;
        release.lock = shorter.lock;
    }
}
