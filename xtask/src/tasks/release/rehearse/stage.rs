//! Where a rehearsal takes place: the cluster, a namespace that is thrown away, and the images that cannot be pulled there.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::{FOLDER, again};
use crate::config::{Cluster as ClusterConfig, Environment};
use crate::disk::lock;
use crate::engine::session::Session;
use crate::services::cluster::{Cluster, image};
use crate::tasks::release::{DeployArgs, new_id};
use crate::tools::catalog::CRANE;
use crate::tools::command::Command;
use crate::tools::kube::{Access, Kube, Place};
use crate::tools::proc::{Runner, Undo};
use crate::verdict::{NotRun, Unproven};

/// Where a rehearsal takes place.
pub struct Stage {
    /// The cluster.
    pub kube: Kube,
    /// Where its login stands; `None` for that of the user.
    pub kubeconfig: Option<PathBuf>,
    /// `[cluster]` of the environments that are rehearsed.
    pub cluster: ClusterConfig,
    /// The one that is thrown away.
    pub namespace: String,
    /// `REPOSITORY@DIGEST` of the version without a fault.
    pub image: String,
    /// Lines of Kustomize's `images:`.
    pub images: Vec<Value>,
    /// How long a fault may keep a pod from being ready, where a good version needed longer than the environment says.
    pub ready: Duration,
    _gone: Vec<Undo>,
    _alone: std::fs::File,
}

/// Finds the cluster, and brings there what cannot be pulled.
pub async fn set(
    session: &Session,
    real: &Environment,
    all: &[Environment],
    args: &DeployArgs,
) -> Result<Stage, Unproven> {
    let machine = &session.machine;
    let alone = alone(session).await?;
    let runner = Runner { ledger: machine.ledger.clone(), ..machine.quiet() };
    let (place, registry) = match &args.context {
        Some(context) => (Place { kubeconfig: None, context: context.clone() }, args.registry.clone()),
        None => {
            session.say("bringing a cluster up, if none is up")?;
            let cluster = Cluster::ensure(machine, session.runner()).await?;
            (Place { kubeconfig: Some(cluster.kubeconfig), context: cluster.context }, Some(cluster.registry))
        }
    };
    let access = Access::by_context(machine, &runner, place.clone()).await?;
    let kube = Kube::open(machine, &runner, access).await?;
    let cluster = ClusterConfig {
        context: place.context.clone(),
        uid: kube.uid().await?,
        kubeconfig: String::new(),
        login: None,
    };
    let namespace = format!("rehearsal-{}", new_id(kube.now())?);
    let namespaces = [namespace.clone(), first_of(&namespace)];
    for namespace in &namespaces {
        let there = kube.get(&format!("/api/v1/namespaces/{namespace}")).await?.is_some();
        if let Some(why) = somebodys(namespace, there, all) {
            return Err(NotRun::new(why, again(args)).into());
        }
    }
    let undo =
        namespaces.iter().map(|namespace| Undo::new(&runner, removal(&kube, &place, session, namespace))).collect();
    let image = match (&args.image, &registry) {
        (Some(image), _) => image.clone(),
        (None, Some(registry)) => bring_built(session, registry).await?,
        (None, None) => {
            let fix = format!("name one by --image, and the registry of the cluster by --registry: {}", again(args));
            return Err(NotRun::new("another cluster pulls no image that only this machine has", fix).into());
        }
    };
    let mut images = Vec::new();
    for (name, programs) in real.rehearsal.stand_ins.iter().filter(|_| registry.is_some()) {
        let registry = registry.as_deref().unwrap_or_default();
        images.push(stand_in(session, registry, name, programs).await?);
    }
    Ok(Stage {
        kube,
        kubeconfig: place.kubeconfig,
        cluster,
        namespace,
        image,
        images,
        ready: Duration::ZERO,
        _gone: undo,
        _alone: alone,
    })
}

/// The namespace of the first release that fails.
pub fn first_of(namespace: &str) -> String {
    format!("{namespace}-first")
}

/// Its overlays and configurations lie in one folder, so one rehearsal at a time goes on in a checkout.
async fn alone(session: &Session) -> Result<std::fs::File, Unproven> {
    let path = session.ctx().root.join(FOLDER).join(".lock");
    match tokio::time::timeout(Duration::from_millis(300), lock(&path)).await {
        Ok(locked) => Ok(locked?),
        Err(_) => Err(NotRun::new("another rehearsal goes on in this checkout", "wait for its end").into()),
    }
}

/// Why a namespace is not thrown away: it is an environment's own, or nobody knows whose.
fn somebodys(namespace: &str, is_there: bool, environments: &[Environment]) -> Option<String> {
    let is_its =
        |environment: &&Environment| environment.release.as_ref().is_some_and(|release| release.namespace == namespace);
    match environments.iter().find(is_its) {
        Some(environment) => Some(format!("`{namespace}` is the namespace of {}", environment.name)),
        None => is_there.then(|| format!("there is a namespace `{namespace}` already")),
    }
}

/// Removes a namespace, also from the ledger of a run that was killed: that one keeps no variables. A cluster whose
/// kubeconfig is gone is gone itself, for it is ours.
fn removal(kube: &Kube, place: &Place, session: &Session, namespace: &str) -> Command {
    let delete = kube.kubectl(["delete", "namespace", namespace, "--ignore-not-found", "--wait=false"]);
    let (script, file) = match (&place.kubeconfig, session.ctx().var("KUBECONFIG")) {
        (Some(file), _) => ("[ ! -e \"$0\" ] || KUBECONFIG=$0 exec \"$@\"", file.display().to_string()),
        (None, Some(files)) => ("KUBECONFIG=$0 exec \"$@\"", files.to_owned()),
        (None, None) => return delete,
    };
    let args = [vec!["-c".to_owned(), script.to_owned(), file, delete.program.clone()], delete.args.clone()].concat();
    Command { program: "sh".to_owned(), args, ..delete }
}

/// The image that `container build` left, in the registry of the cluster.
async fn bring_built(session: &Session, registry: &str) -> Result<String, Unproven> {
    let fix = "cargo xtask container build, or name an image by --image";
    let ctx = session.ctx();
    let built = [ctx.store.join("out/container/image.json"), ctx.out.join("container/image.json")];
    let text = built.iter().find_map(|path| std::fs::read_to_string(path).ok());
    let built: Value = text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let (Some(engine), Some(id)) = (built["engine"].as_str(), built["id"].as_str()) else {
        return Err(NotRun::new("there is no image that was built here", fix).into());
    };
    let engine =
        session.machine.on_path(engine).ok_or_else(|| NotRun::new(format!("`{engine}` is not on PATH"), fix))?;
    let name = format!("{registry}/rehearsal:built");
    for args in [vec!["tag", id, &name], vec!["push", &name]] {
        let ended = session.step(&Command::new(&engine, &ctx.root).args(args)).await?;
        if !ended.is_success() {
            return Err(
                NotRun::new(format!("the image cannot be brought to the cluster: {}", ended.failure()), fix).into()
            );
        }
    }
    by_digest(session, &name).await
}

async fn by_digest(session: &Session, name: &str) -> Result<String, Unproven> {
    let ended = session.tool(&CRANE, &Command::new(CRANE.name, &session.ctx().root).args(["digest", name])).await?;
    let digest = ended.stdout.trim();
    if !ended.is_success() || !crate::tools::reference::is_digest(digest) {
        return Err(NotRun::new(format!("`{name}` has no digest: {}", ended.failure()), "run it again").into());
    }
    let repository = name.rsplit_once(':').map_or(name, |(repository, _)| repository);
    Ok(format!("{repository}@{digest}"))
}

/// An image made of programs of this machine and of the libraries that they need: a line of Kustomize's `images:`.
async fn stand_in(session: &Session, registry: &str, name: &str, programs: &[String]) -> Result<Value, Unproven> {
    let mut files: Vec<PathBuf> = Vec::new();
    for program in programs {
        let fix = format!("install `{program}`, or take an image out of [rehearsal.stand_ins]");
        let found = session
            .machine
            .on_path(program)
            .ok_or_else(|| NotRun::new(format!("`{program}` is not on PATH"), fix.clone()))?;
        let ended = session.step(&Command::new("ldd", &session.ctx().root).arg(&found)).await?;
        if !ended.is_success() {
            return Err(NotRun::new(format!("what `{program}` needs is not known: {}", ended.failure()), fix).into());
        }
        files.push(found);
        files.extend(ended.stdout.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from));
    }
    files.sort();
    files.dedup();
    let short = name.rsplit('/').next().unwrap_or(name);
    let target = format!("{registry}/{short}:stand-in");
    let archive = session.artifact(&format!("rehearsal/{short}.tar"))?;
    std::fs::write(&archive, image::archive_of(&files, &target)?).context("cannot write an image")?;
    let push = Command::new(CRANE.name, &session.ctx().root).arg("push").arg(&archive).args([target.clone()]);
    let ended = session.tool(&CRANE, &push).await?;
    if !ended.is_success() {
        return Err(NotRun::new(format!("`{target}` cannot be pushed: {}", ended.failure()), "run it again").into());
    }
    let _gone = std::fs::remove_file(&archive);
    let by_digest = by_digest(session, &target).await?;
    let (repository, digest) = by_digest.split_once('@').unwrap_or_default();
    Ok(json!({"name": name, "newName": repository, "digest": digest}))
}

pub fn repository(image: &str) -> &str {
    image.split_once('@').map_or(image, |(repository, _)| repository)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Release;

    #[test]
    fn no_namespace_is_thrown_away_that_is_somebodys() {
        let mut staging: Environment = toml::from_str("url = \"https://a.example\"\n").unwrap();
        staging.name = "staging".to_owned();
        staging.release =
            Some(Release { namespace: "rehearsal-1".into(), ..crate::release::manifests::testing::release() });
        let all = [staging];
        for (namespace, is_there, whose) in [
            ("rehearsal-1", false, Some("the namespace of staging")),
            ("rehearsal-2", true, Some("there is a namespace")),
            ("rehearsal-2", false, None),
        ] {
            let found = somebodys(namespace, is_there, &all);
            assert_eq!(found.is_some(), whose.is_some(), "{namespace}: {found:?}");
            assert!(found.unwrap_or_default().contains(whose.unwrap_or_default()));
        }
    }
}
