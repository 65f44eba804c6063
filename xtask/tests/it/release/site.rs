//! A place to release to: a namespace of a test's own on the cluster that is up, with an overlay, an environment's file and
//! the images that they name. The program is the real one.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use serde_json::Value;
use xtask::history::release::Release;
use xtask::release::faults::{self, Subject};
use xtask::release::journal::{Entry, Journal};
use xtask::services::cluster::State;
use xtask::services::cluster::state::Phase;

use super::http::Images;
use super::run::Running;
use crate::support::{Project, repository};

/// Nobody else releases while the one node takes no pods.
static NODE: RwLock<()> = RwLock::new(());

/// The routes of Gateway API.
const ROUTES: &str = "httproutes.gateway.networking.k8s.io";

/// What differs from one site to another.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How few pods its autoscaler wants.
    pub pods: u32,
    /// How long the lock lives, in seconds.
    pub lock: u32,
    /// Lines of `[release]`.
    pub release: &'static str,
    /// What follows in the environment's file.
    pub more: &'static str,
}

impl Default for Plan {
    fn default() -> Self {
        Self { pods: 1, lock: 5, release: "", more: "" }
    }
}

/// A namespace, and what is released into it. It goes with this value.
pub struct Site {
    pub project: Project,
    pub namespace: String,
    pub images: Images,
    /// The backend's digest.
    pub digest: String,
    kubeconfig: PathBuf,
    redis: String,
    plan: Plan,
    #[allow(dead_code, reason = "it is held, and not looked at")]
    node: Option<RwLockReadGuard<'static, ()>>,
}

impl Drop for Site {
    fn drop(&mut self) {
        let mut command = self.command(&["delete", "namespace", &self.namespace, "--wait=false"]);
        let _ended = command.stdout(Stdio::null()).status();
    }
}

/// The cluster that is up: that of the folder `XTASK_CLUSTER`, or of this repository.
fn cluster() -> Result<State, String> {
    let given = std::env::var_os("XTASK_CLUSTER").map(PathBuf::from);
    let folder = given.unwrap_or_else(|| repository().join("target/xtask/cluster"));
    let state = State::read(&folder).ok_or("no cluster is up (cargo xtask cluster up)")?;
    match (&state.phase, state.troubles().first()) {
        (Phase::Ready, None) => Ok(state),
        (_, Some(trouble)) => Err(format!("the cluster is not whole: {trouble}")),
        (phase, None) => Err(format!("the cluster is not ready: {phase:?}")),
    }
}

/// The digests of the backend's and of Redis's image in the cluster's registry; made once, and kept for later runs.
fn images(images: &Images) -> Result<(String, String), String> {
    static MADE: OnceLock<Result<(String, String), String>> = OnceLock::new();
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock();
    MADE.get_or_init(|| {
        let backend = images.tagged("forge", "test").map_or_else(|| push_backend(images), Ok)?;
        let redis = images.tagged("redis", "test").map_or_else(|| push_redis(images), Ok)?;
        Ok((backend, redis))
    })
    .clone()
}

/// The backend's image, as `cargo xtask container` has left it with the engine.
fn push_backend(images: &Images) -> Result<String, String> {
    let docker = |args: &[&str]| {
        let output = Command::new("docker").args(args).output().map_err(|e| format!("docker: {e}"))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() { Ok(said) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    };
    let known = docker(&["images", "--format", "{{.Repository}}:{{.Tag}}", "localhost/forge"])?;
    let newest = known.lines().find(|name| !name.ends_with("<none>"));
    let newest = newest.ok_or("the engine has no image of the backend (cargo xtask container)")?;
    let name = format!("{}/forge:test", images.name);
    docker(&["tag", newest, &name])?;
    docker(&["push", "-q", &name])?;
    images.tagged("forge", "test").ok_or_else(|| "the registry has no image after a push".to_owned())
}

/// Redis of this machine with the libraries that it needs, since the one that the overlay names lies behind a network.
fn push_redis(images: &Images) -> Result<String, String> {
    let mut files = BTreeSet::new();
    for name in ["redis-server", "redis-cli"] {
        let found = Command::new("sh").args(["-c", &format!("command -v {name}")]).output();
        let program = found.map(|found| String::from_utf8_lossy(&found.stdout).trim().to_owned()).unwrap_or_default();
        if program.is_empty() {
            return Err(format!("`{name}` is not on PATH (apt-get install redis-server)"));
        }
        let needed = Command::new("ldd").arg(&program).output().map_err(|e| format!("ldd: {e}"))?;
        let needed = String::from_utf8_lossy(&needed.stdout).into_owned();
        let paths = needed.split_whitespace().filter(|word| word.starts_with('/')).map(str::to_owned);
        files.extend(paths.chain([program]));
    }
    let mut layer = tar::Builder::new(Vec::new());
    for file in files {
        let bytes = std::fs::read(&file).map_err(|e| format!("{file}: {e}"))?;
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o755);
        layer.append_data(&mut header, file.trim_start_matches('/'), bytes.as_slice()).map_err(|e| e.to_string())?;
    }
    let layer = layer.into_inner().map_err(|e| e.to_string())?;
    Ok(images.push("redis", "test", &layer, &serde_json::json!({"Env": ["PATH=/usr/bin:/usr/local/bin:/bin"]})))
}

impl Site {
    /// A site; `None`, said aloud, where no cluster is up or an image cannot be had.
    pub fn open(test: &str, plan: Plan) -> Option<Self> {
        let node = NODE.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut site = Self::alone(test, plan)?;
        site.node = Some(node);
        Some(site)
    }

    /// A site while no other test has one.
    pub fn open_alone(test: &str, plan: Plan, act: impl FnOnce(&Self)) {
        let _node = NODE.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(site) = Self::alone(test, plan) {
            act(&site);
        }
    }

    fn alone(test: &str, plan: Plan) -> Option<Self> {
        let ready = cluster().and_then(|state| {
            let registry = Images::new(&state.registry);
            images(&registry).map(|digests| (state, registry, digests))
        });
        let (state, images, (digest, redis)) = match ready {
            Ok(ready) => ready,
            Err(why) => {
                // Straight to the terminal: what a test prints by a macro is shown for failed tests alone.
                std::io::stderr().write_all(format!("NOT TESTED: release/{test}: {why}\n").as_bytes()).unwrap();
                return None;
            }
        };
        let namespace = format!("release-{test}-{}", std::process::id());
        let mut project = Project::bare();
        project.copy_tree("k8s", "k8s");
        project.copy_tree("xtask/config", "ci");
        project.copy_tree("xtask/tools", "xtask/tools");
        project.use_config("ci");
        project.write(".gitignore", "/target/\n");
        let repository = format!("repository = \"{}/forge\"", images.name);
        project.edit("ci/pipeline.toml", "repository = \"ghcr.io/forgetm/forgetm\"", &repository);
        project.set("KUBECONFIG", &state.kubeconfig);
        project.set("USER", "anna");
        project.set("NOTE", "a note");
        let kubeconfig = state.kubeconfig.clone();
        let site = Self { project, namespace, images, digest, kubeconfig, redis, plan, node: None };
        let uid = site.kubectl(&["get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}"]);
        site.environment(&state.context, &uid);
        site.overlay("1", &[]);
        site.project.commit();
        Some(site)
    }

    /// Writes the environment's file.
    pub fn environment(&self, context: &str, uid: &str) {
        let Plan { lock, release, more, .. } = self.plan;
        let namespace = &self.namespace;
        self.project.write(
            "ci/staging.toml",
            &format!(
                "url = \"http://127.0.0.1:1\"\n[cluster]\ncontext = \"{context}\"\nuid = \"{uid}\"\n[secrets]\nNOTE = \"NOTE\"\n\
                 [release]\nbranch = \"main\"\noverlay = \"k8s/overlays/test\"\nnamespace = \"{namespace}\"\n\
                 workload = \"forge\"\ncontainer = \"forge\"\nservice = \"forge\"\nsecret = \"forge-secrets\"\n\
                 max_stream = \"120s\"\nchecked = false\nverify_at = \"service\"\nlock = \"{lock}s\"\n\
                 ready_patience = \"60s\"\n{release}\n{more}\n"
            ),
        );
    }

    /// Writes the overlay: staging's, with small requests, since many share one node, and with a version that its pods
    /// tell by an annotation. `patches` are strategic merges of the Deployment.
    pub fn overlay(&self, version: &str, patches: &[&str]) {
        let (namespace, registry, redis, pods) = (&self.namespace, &self.images.name, &self.redis, self.plan.pods);
        let mut text = format!(
            "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: {namespace}\n\
             resources: [../staging]\n\
             images:\n  - {{name: docker.io/library/redis, newName: '{registry}/redis', digest: '{redis}'}}\n\
             generatorOptions: {{immutable: true}}\npatches:\n"
        );
        let small = "{requests: {cpu: 5m, memory: 16Mi, ephemeral-storage: 1Mi}}";
        let forge = format!(
            "spec: {{minReadySeconds: 0, template: {{metadata: {{annotations: {{test/version: '{version}'}}}}, \
             spec: {{containers: [{{name: forge, resources: {small}, startupProbe: {{periodSeconds: 1}}, \
             readinessProbe: {{periodSeconds: 1}}}}]}}}}}}"
        );
        let redis =
            format!("spec: {{replicas: 1, template: {{spec: {{containers: [{{name: redis, resources: {small}}}]}}}}}}");
        let scaler = format!("spec: {{minReplicas: {pods}}}");
        let all = [("Deployment", "redis", &*redis), ("HorizontalPodAutoscaler", "forge", &*scaler)];
        let own = [&*forge].into_iter().chain(patches.iter().copied()).map(|patch| ("Deployment", "forge", patch));
        for (kind, name, patch) in all.into_iter().chain(own) {
            let version = if kind == "Deployment" { "apps/v1" } else { "autoscaling/v2" };
            let named = format!("{{apiVersion: {version}, kind: {kind}, metadata: {{name: {name}}}, {patch}}}");
            text += &format!("  - target: {{kind: {kind}, name: {name}}}\n    patch: |-\n      {named}\n");
        }
        self.project.write("k8s/overlays/test/kustomization.yaml", &text);
    }

    /// Adds a strategic merge of another Deployment to the overlay that was written last, before any setting.
    pub fn beside(&self, name: &str, patch: &str) {
        let path = "k8s/overlays/test/kustomization.yaml";
        let named = format!("{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: {name}}}, {patch}}}");
        let more = format!("  - target: {{kind: Deployment, name: {name}}}\n    patch: |-\n      {named}\n");
        self.project.write(path, &(self.project.read(path) + &more));
    }

    /// Adds a route of a Gateway to the Service to the overlay that was written last. Where the cluster does not know routes
    /// yet it learns them by the least schema; as in the real one a list of backends is replaced as a whole.
    pub fn route(&self) {
        if self.kubectl(&["get", "crd", ROUTES, "--ignore-not-found", "-o", "name"]).is_empty() {
            let (name, group) = ROUTES.split_once('.').unwrap();
            self.project.write(
                "crd.yaml",
                &format!(
                    "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata:\n  name: {ROUTES}\n  \
                     annotations: {{api-approved.kubernetes.io: unapproved}}\n\
                     spec:\n  group: {group}\n  scope: Namespaced\n  names: {{kind: HTTPRoute, plural: {name}, singular: \
                     httproute}}\n  versions:\n    - name: v1\n      served: true\n      storage: true\n      schema: \
                     {{openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}\n"
                ),
            );
            self.kubectl(&["apply", "-f", &self.path().join("crd.yaml").display().to_string()]);
            self.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", &format!("crd/{ROUTES}")]);
        }
        self.adds(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: forge}\n\
             spec: {rules: [{backendRefs: [{name: forge, port: 80}]}]}\n",
        );
    }

    /// Adds objects to the overlay that was written last.
    pub fn adds(&self, objects: &str) {
        self.project.write("k8s/overlays/test/added.yaml", objects);
        self.project.edit("k8s/overlays/test/kustomization.yaml", "[../staging]", "[../staging, added.yaml]");
    }

    /// Adds a setting of the backend to the overlay that was written last.
    pub fn setting(&self, name: &str, value: &str) {
        let path = "k8s/overlays/test/kustomization.yaml";
        let text = self.project.read(path);
        let more = format!(
            "configMapGenerator:\n  - {{name: forge-settings, behavior: merge, literals: ['{name}={value}']}}\n"
        );
        self.project.write(path, &(text + &more));
    }

    /// Writes a version with healthy pods that fail their smoke test: all but their probes are answered with an error.
    pub fn faulty(&self, version: &str) {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let subject = Subject {
            workload: "forge".to_owned(),
            container: "forge".to_owned(),
            secret: "forge-secrets".to_owned(),
            repository: format!("{}/forge", self.images.name),
            run: words(&["-m", "forge"]),
            spared: words(&["/health", "/ready"]),
        };
        let fault = faults::all(&subject).into_iter().find(|fault| fault.name == "smoke").unwrap();
        let patch = fault.patch.unwrap().to_string();
        self.overlay(version, &[&patch[1..patch.len() - 1]]);
    }

    /// `REPOSITORY@DIGEST` of the backend.
    pub fn image(&self) -> String {
        format!("{}/forge@{}", self.images.name, self.digest)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command.args(args).env("KUBECONFIG", &self.kubeconfig).stdin(Stdio::null());
        command
    }

    /// What `kubectl` says.
    #[track_caller]
    pub fn kubectl(&self, args: &[&str]) -> String {
        let output = self.command(args).output().unwrap();
        assert!(output.status.success(), "kubectl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// An object as JSON; nothing is changed.
    #[track_caller]
    pub fn apply_dry(&self, object: &str) -> String {
        let args = ["create", "--dry-run=client", "-o", "json", "-f", "-"];
        let mut child = self.command(&args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(object.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "kubectl {args:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What `kubectl` says in the site's namespace.
    #[track_caller]
    pub fn within(&self, args: &[&str]) -> String {
        self.kubectl(&[&["-n", &self.namespace], args].concat())
    }

    /// An object, or a list of them; null where there is none.
    pub fn object(&self, args: &[&str]) -> Value {
        let text = self.within(&[&["get", "--ignore-not-found", "-o", "json"], args].concat());
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// The journal; an empty one where there is none.
    pub fn journal(&self) -> Vec<Entry> {
        let map = self.object(&["configmap", "forge-releases"]);
        let text = map["data"]["journal.json"].as_str().unwrap_or("{}").to_owned();
        serde_json::from_str::<Journal>(&text).unwrap().entries
    }

    /// The releases that the history of this checkout has, the oldest first.
    pub fn remembered(&self) -> Vec<Release> {
        let runs = xtask::history::store::read(&self.path().join("target/xtask")).unwrap();
        runs.entries.into_iter().filter_map(|entry| entry.release).collect()
    }

    /// Who holds the lock.
    pub fn holder(&self) -> Option<String> {
        self.object(&["lease", "forge-release"])["spec"]["holderIdentity"].as_str().map(str::to_owned)
    }

    /// The versions of the pods that the Service leads to, of those that are ready and stay.
    pub fn serving(&self) -> BTreeSet<String> {
        let service = self.object(&["service", "forge"]);
        let Some(selector) = service["spec"]["selector"].as_object() else { return BTreeSet::new() };
        let selector: Vec<String> =
            selector.iter().map(|(name, value)| format!("{name}={}", value.as_str().unwrap())).collect();
        let pods = self.object(&["pods", "-l", &selector.join(",")]);
        let stays = |pod: &&Value| {
            let conditions = pod["status"]["conditions"].as_array();
            let ready = conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"));
            ready && pod["metadata"].get("deletionTimestamp").is_none()
        };
        let pods = pods["items"].as_array().cloned().unwrap_or_default();
        pods.iter()
            .filter(stays)
            .filter_map(|pod| pod["metadata"]["annotations"]["test/version"].as_str().map(str::to_owned))
            .collect()
    }

    /// The Service's address, which the node's machine reaches.
    pub fn address(&self) -> SocketAddr {
        let service = self.object(&["service", "forge"]);
        SocketAddr::new(service["spec"]["clusterIP"].as_str().unwrap().parse().unwrap(), 80)
    }

    /// Starts the program.
    pub fn start(&self, args: &[&str]) -> Running {
        self.start_with(args, &[])
    }

    /// Starts the program in other surroundings.
    pub fn start_with(&self, args: &[&str], variables: &[(&str, &str)]) -> Running {
        let mut command = self.project.command(args);
        command.envs(variables.iter().copied());
        Running::start(command, self.project.path())
    }

    /// Starts a release of the image with what is written in the overlay.
    pub fn deploy(&self, more: &[&str]) -> Running {
        let image = self.image();
        self.start(&[&["deploy", "staging", "--image", &image], more].concat())
    }

    /// A release that has to succeed.
    #[track_caller]
    pub fn release(&self, version: &str) {
        self.overlay(version, &[]);
        self.deploy(&[]).ended().assert_code(0);
        self.assert_serves(version);
    }

    /// One version serves, and no other one; the lock is free.
    #[track_caller]
    pub fn assert_serves(&self, version: &str) {
        assert_eq!(self.serving(), BTreeSet::from([version.to_owned()]));
        assert_eq!(self.holder(), None, "the lock is free");
    }

    /// The folder of the project.
    pub fn path(&self) -> &Path {
        self.project.path()
    }
}

/// Waits for a state of the world; the limit only keeps a broken test from hanging.
#[track_caller]
pub fn until<T>(what: &str, within: Duration, holds: impl Fn() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(seen) = holds() {
            return seen;
        }
        assert!(begun.elapsed() < within, "{what} did not come within {within:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
