//! A bad version: how long until the good one serves again, by us, by `kubectl rollout undo`, and by Helm.
//!
//! On the cluster that is up, with the same overlay, the same image and the same faults. Each peer gets 60 s to see that
//! something is wrong, where Kubernetes gives itself 600 and Helm 300: what it needs beyond that is its own.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value as Json, json};

use crate::measure::{Proof, Subject, tell};
use crate::row::{Row, Value, times};
use crate::{Bench, Places};
use xtask::config::Environment;
use xtask::disk::write_atomically;
use xtask::release::faults::{self, Subject as Released};
use xtask::services::cluster::State;
use xtask::tools::command::Command;

/// Which of the faults, and how its row begins.
const FAULTS: [(&str, &str); 3] =
    [("image", "an image that is not there"), ("crash", "a crash loop"), ("readiness", "pods that never get ready")];

/// The environment whose overlay is released.
const ENVIRONMENT: &str = "staging";

/// When a peer gives up, in seconds.
const DEADLINE: u64 = 60;

/// One of those that are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    Kubectl,
    Helm,
}

impl Peer {
    const ALL: [Self; 2] = [Self::Kubectl, Self::Helm];

    fn name(self) -> &'static str {
        match self {
            Self::Kubectl => "kubectl",
            Self::Helm => "helm",
        }
    }

    fn what(self) -> String {
        match self {
            Self::Kubectl => format!("`kubectl rollout status` ({DEADLINE} s), then `rollout undo`, not verified"),
            Self::Helm => format!("`helm upgrade --atomic` ({DEADLINE} s), not verified"),
        }
    }
}

fn folder(places: &Places) -> PathBuf {
    places.folder.join("releases")
}

fn ours(places: &Places) -> Command {
    let command = places.patient(Command::new(&places.program, &places.ctx.root));
    let faults = FAULTS.iter().flat_map(|(fault, _)| ["--fault", fault]);
    command.args(["deploy", ENVIRONMENT, "--rehearse"]).args(faults).arg("--out").arg(folder(places).join("ours"))
}

/// The rehearsal that ours is taken from.
pub fn subjects(places: &Places) -> Vec<Subject> {
    vec![Subject::new("a rehearsal of three faults", ours(places), Proof::Says(""))]
}

/// Where the peers release to.
struct Ground {
    kubeconfig: PathBuf,
    image: String,
    /// Lines of Kustomize's `images:`.
    images: Vec<Json>,
    environment: Environment,
    released: Released,
}

pub async fn rows(bench: &Bench) -> Result<Vec<Row>> {
    let places = &bench.places;
    let name = |what: &str, who: &str| format!("{what}: {who}");
    let mut took: Vec<Vec<Duration>> = vec![vec![]; FAULTS.len()];
    let mut ground = None;
    for round in 1..=bench.runs {
        tell(bench, round, "a rehearsal of three faults");
        let ended = bench.runner.run(&ours(places)).await?;
        if !ended.is_success() {
            let why = Value::DidNotRun(places.shown(&format!("the rehearsal {}", ended.failure())));
            let row = |(_, what): &(&str, &str)| Row::new(name(what, "ours"), why.clone());
            return Ok(FAULTS.iter().map(row).collect());
        }
        for ((fault, _), took) in FAULTS.iter().zip(&mut took) {
            took.push(figure(&folder(places).join("ours/rehearsal.json"), fault)?);
        }
        ground = Some(stand(places)?);
    }
    let ground = ground.context("nothing was to be run")?;
    let mut rows = Vec::new();
    for ((fault, what), took) in FAULTS.iter().zip(&took) {
        let first = name(what, "`deploy`, restored and verified");
        rows.push(Row { command: places.command(&ours(places)), ..Row::new(&*first, times(took)) });
        for peer in Peer::ALL {
            let mut samples = vec![];
            let mut trouble = None;
            for round in 1..=bench.runs {
                tell(bench, round, &name(what, peer.name()));
                match sample(bench, &ground, peer, fault).await {
                    Ok(time) => samples.push(time),
                    Err(why) => trouble = Some(places.shown(&format!("{why:#}"))),
                }
            }
            let value = trouble.map_or_else(|| times(&samples), Value::DidNotRun);
            rows.push(Row { beside: Some(first.clone()), ..Row::new(name(what, &peer.what()), value) });
        }
    }
    Ok(rows)
}

/// How long one release of a rehearsal took, its way back and what verified it included.
fn figure(path: &Path, fault: &str) -> Result<Duration> {
    let text = std::fs::read_to_string(path).context("the rehearsal left no figures")?;
    let rows: Vec<Json> = serde_json::from_str(&text).context("the figures of the rehearsal are no JSON")?;
    let row = rows.iter().find(|row| row["fault"] == *fault).with_context(|| format!("no figure of `{fault}`"))?;
    Ok(Duration::from_secs_f64(row["took_s"].as_f64().context("a figure is no number")?))
}

/// What the rehearsal has brought to the cluster.
fn stand(places: &Places) -> Result<Ground> {
    let ctx = &places.ctx;
    let state = State::read(&ctx.store.join("cluster")).context("no cluster is up (cargo xtask cluster up)")?;
    let text = std::fs::read_to_string(ctx.store.join("rehearsal/good/kustomization.yaml"))
        .context("the rehearsal left no overlay")?;
    let overlay: Json = serde_json::from_str(&text).context("the overlay of the rehearsal is no JSON")?;
    let environment = Environment::load(&ctx.config_dir, ENVIRONMENT)?;
    let (_, release) = environment.releasable()?;
    let released = Released {
        workload: release.workload.clone(),
        container: release.container.clone(),
        secret: release.secret.clone(),
        repository: format!("{}/rehearsal", state.registry),
        ..Released::default()
    };
    Ok(Ground {
        image: format!("{}/rehearsal:built", state.registry),
        images: overlay["images"].as_array().cloned().unwrap_or_default(),
        kubeconfig: state.kubeconfig,
        environment,
        released,
    })
}

impl Ground {
    /// Writes the overlay of one version, and gives its folder.
    fn write(&self, places: &Places, namespace: &str, fault: Option<&str>) -> Result<PathBuf> {
        let folder = folder(places).join(fault.unwrap_or("good"));
        let (_, release) = self.environment.releasable()?;
        let depth = folder.strip_prefix(&places.ctx.root).context("it lies elsewhere")?.components().count();
        let patch = |spec: Json| {
            let meta = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": release.workload}});
            let mut whole = spec;
            if let (Some(whole), Some(meta)) = (whole.as_object_mut(), meta.as_object()) {
                whole.extend(meta.clone());
            }
            json!({"patch": whole.to_string()})
        };
        let container = json!({"name": release.container, "image": self.image});
        let mut patches = vec![patch(json!({"spec": {
            "progressDeadlineSeconds": DEADLINE,
            "template": {"spec": {"containers": [container]}},
        }}))];
        let planted = faults::all(&self.released).into_iter().find(|one| Some(one.name) == fault);
        patches.extend(planted.and_then(|fault| fault.patch).map(patch));
        let kustomization = json!({
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "namespace": namespace,
            "resources": [format!("{}{}", "../".repeat(depth), release.overlay)],
            "images": self.images,
            "patches": patches,
            "generatorOptions": {"disableNameSuffixHash": true},
            "secretGenerator": [{"name": release.secret, "literals": ["NOTHING=nothing"]}],
        });
        write_atomically(&folder.join("kustomization.yaml"), kustomization.to_string().as_bytes())?;
        Ok(folder)
    }
}

/// The good version, then a bad one until the good one serves again; the time of the latter.
async fn sample(bench: &Bench, ground: &Ground, peer: Peer, fault: &str) -> Result<Duration> {
    let namespace = format!("bench-{}-{fault}", peer.name());
    let undo = kubectl(bench, ground, &["delete", "namespace", &namespace, "--ignore-not-found"])?;
    // One of a run that was killed.
    bench.runner.run(&undo).await?;
    let time = timed(bench, ground, peer, fault, &namespace).await;
    bench.runner.run(&undo).await?;
    time
}

async fn timed(bench: &Bench, ground: &Ground, peer: Peer, fault: &str, namespace: &str) -> Result<Duration> {
    let good = ground.write(&bench.places, namespace, None)?;
    let bad = ground.write(&bench.places, namespace, Some(fault))?;
    let deployment = format!("deployment/{}", ground.released.workload);
    let rollout = |verb: &str| kubectl(bench, ground, &["--namespace", namespace, "rollout", verb, &deployment]);
    match peer {
        Peer::Kubectl => {
            must(bench, &apply(bench, ground, &good)?).await?;
            must(bench, &rollout("status")?).await?;
            let begun = Instant::now();
            must(bench, &apply(bench, ground, &bad)?).await?;
            if bench.runner.run(&rollout("status")?).await?.is_success() {
                bail!("`kubectl rollout status` saw nothing wrong");
            }
            must(bench, &rollout("undo")?).await?;
            must(bench, &rollout("status")?).await?;
            Ok(begun.elapsed())
        }
        Peer::Helm => {
            let helm = bench.machine.on_path("helm").context("`helm` is not on PATH")?;
            let upgrade = |chart: &Path| {
                Command::new(&helm, &bench.places.ctx.root)
                    .env("KUBECONFIG", ground.kubeconfig.display().to_string())
                    .args(["upgrade", "bench", "--install", "--create-namespace", "--atomic", "--namespace", namespace])
                    .args(["--timeout", &format!("{DEADLINE}s")])
                    .arg(chart)
                    .timeout(Duration::from_secs(1800))
            };
            let (good, bad) = (chart(bench, ground, &good).await?, chart(bench, ground, &bad).await?);
            must(bench, &upgrade(&good)).await?;
            let begun = Instant::now();
            if bench.runner.run(&upgrade(&bad)).await?.is_success() {
                bail!("`helm upgrade` saw nothing wrong");
            }
            must(bench, &rollout("status")?).await?;
            Ok(begun.elapsed())
        }
    }
}

/// A chart of what Kustomize renders, less the namespace, which Helm makes itself.
async fn chart(bench: &Bench, ground: &Ground, overlay: &Path) -> Result<PathBuf> {
    let chart = overlay.join("chart");
    let rendered = must(bench, &kubectl(bench, ground, &["kustomize", &overlay.display().to_string()])?).await?;
    let objects = rendered.split("\n---\n").filter(|object| !object.contains("kind: Namespace\n"));
    let objects: Vec<&str> = objects.collect();
    write_atomically(&chart.join("templates/all.yaml"), objects.join("\n---\n").as_bytes())?;
    write_atomically(&chart.join("Chart.yaml"), b"apiVersion: v2\nname: bench\nversion: 1.0.0\n")?;
    Ok(chart)
}

fn apply(bench: &Bench, ground: &Ground, overlay: &Path) -> Result<Command> {
    kubectl(bench, ground, &["apply", "--server-side", "--force-conflicts", "-k", &overlay.display().to_string()])
}

fn kubectl(bench: &Bench, ground: &Ground, args: &[&str]) -> Result<Command> {
    let program = bench.machine.on_path("kubectl").context("`kubectl` is not on PATH")?;
    let command = Command::new(program, &bench.places.ctx.root).args(args.iter().copied());
    let kubeconfig = ground.kubeconfig.display().to_string();
    Ok(command.env("KUBECONFIG", kubeconfig).timeout(Duration::from_secs(900)))
}

/// Runs what has to succeed; what it printed.
async fn must(bench: &Bench, command: &Command) -> Result<String> {
    let ended = bench.runner.run(command).await?;
    if !ended.is_success() {
        bail!("`{command}` {}", ended.failure());
    }
    Ok(ended.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figure_is_that_of_the_fault() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rehearsal.json");
        std::fs::write(&path, r#"[{"fault": "good", "took_s": 9.0}, {"fault": "crash", "took_s": 2.5}]"#).unwrap();
        assert_eq!(figure(&path, "crash").unwrap(), Duration::from_millis(2500));
        assert!(figure(&path, "image").is_err());
    }

    #[test]
    fn every_fault_that_is_measured_is_one_of_a_rehearsal() {
        let known = faults::all(&Released::default());
        for (fault, _) in FAULTS {
            assert!(known.iter().any(|one| one.name == fault && one.patch.is_some()), "{fault}");
        }
    }
}
