//! Rollouts on a real cluster, judged by the library, and `status` and `logs` by the real program.
//!
//! The cluster is the one that `cargo xtask cluster up` has brought up for this repository, or that of the variable
//! `XTASK_TEST_KUBECONFIG`. Where there is none, these tests say so and end.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use time::OffsetDateTime;
use xtask::context::{Ctx, Places};
use xtask::release::rollout::{Kind, Limits, State, TEMPLATE_LABEL, Target};
use xtask::release::watch::{self, Watched};
use xtask::release::{diagnosis, rollout::Seen};
use xtask::services::faults::{Faults, Mode};
use xtask::tools::cancel;
use xtask::tools::kube::{Access, Kube, Place, Trouble};
use xtask::tools::machine::Machine;

use super::support::{Project, repository};

/// Lies on the node of our cluster: `serve :PORT` answers, `lookup NAME` ends.
pub(super) const PAUSE: &str = "xtask.invalid/pause:1";

/// A namespace of a test; it goes with this value.
pub(super) struct Space {
    kubeconfig: PathBuf,
    pub(super) name: String,
}

impl Drop for Space {
    fn drop(&mut self) {
        self.kubectl(&["delete", "namespace", &self.name, "--wait=false"], "");
    }
}

impl Space {
    /// `None`, said aloud, where no cluster is up.
    pub(super) fn open(test: &str) -> Option<Self> {
        let given = std::env::var_os("XTASK_TEST_KUBECONFIG").map(PathBuf::from);
        let kubeconfig = given.unwrap_or_else(|| repository().join("target/xtask/cluster/kubeconfig"));
        if !kubeconfig.is_file() {
            use std::io::Write as _;
            // Straight to the terminal: what a test prints by a macro is shown for failed tests alone.
            let words = format!("NOT TESTED: {test}: no cluster is up (cargo xtask cluster up)\n");
            std::io::stderr().write_all(words.as_bytes()).unwrap();
            return None;
        }
        let space = Self { kubeconfig, name: format!("rollout-test-{test}-{}", std::process::id()) };
        space.kubectl(&["create", "namespace", &space.name], "");
        Some(space)
    }

    #[track_caller]
    pub(super) fn kubectl(&self, args: &[&str], stdin: &str) -> String {
        use std::io::Write as _;
        let mut command = Command::new("kubectl");
        command.args(args).env("KUBECONFIG", &self.kubeconfig).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "kubectl {args:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn context(&self) -> String {
        self.kubectl(&["config", "current-context"], "").trim().to_owned()
    }

    pub(super) fn apply(&self, objects: &[Value]) {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        self.kubectl(&["apply", "--server-side", "--field-manager=forge-xtask", "-f", "-"], &list.to_string());
    }

    /// A Deployment of one pod whose container is changed by `container`, and its pod by `pod`.
    pub(super) fn deployment(&self, name: &str, container: Value, pod: Value) -> Value {
        let mut api = json!({
            "name": "api", "image": PAUSE, "imagePullPolicy": "Never", "args": ["serve", ":8080"],
            "resources": {"requests": {"cpu": "1m", "memory": "8Mi"}},
        });
        let mut spec = json!({"terminationGracePeriodSeconds": 0, "automountServiceAccountToken": false});
        for (into, from) in [(&mut api, container), (&mut spec, pod)] {
            into.as_object_mut().unwrap().extend(from.as_object().cloned().unwrap_or_default());
        }
        spec["containers"] = json!([api]);
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": self.name},
            "spec": {
                "replicas": 1, "selector": {"matchLabels": {"app": name}},
                "template": {"metadata": {"labels": {"app": name, TEMPLATE_LABEL: name}}, "spec": spec},
            },
        })
    }

    async fn kube(&self, machine: &Machine, kubeconfig: PathBuf) -> Kube {
        let place = Place { kubeconfig: Some(kubeconfig), context: self.context() };
        let access = Access::by_context(machine, &machine.quiet(), place).await.unwrap();
        Kube::open(machine, &machine.quiet(), access).await.unwrap()
    }
}

fn machine() -> (Machine, cancel::Canceller) {
    let env: BTreeMap<String, String> = std::env::vars().collect();
    let now = OffsetDateTime::now_utc();
    let ctx = Ctx::load(Places::default(), env, &repository(), now).unwrap();
    let (canceller, cancel) = cancel::pair();
    (Machine::new(Arc::new(ctx), cancel), canceller)
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(240), test).await.unwrap() });
}

fn target(name: &str) -> Target {
    Target { deployment: name.to_owned(), template: name.to_owned() }
}

fn limits(started: OffsetDateTime) -> Limits {
    let seconds = Duration::from_secs;
    Limits { started, pull: seconds(60), unschedulable: seconds(4), ready: seconds(6), deadline: seconds(120) }
}

async fn watched(kube: &Kube, namespace: &str, name: &str, limits: &Limits) -> Watched {
    let patience = Duration::from_secs(60);
    watch::rollout(kube, namespace, &target(name), limits, patience, &mut |_, _| {}).await.unwrap()
}

#[test]
fn each_fault_is_told_and_what_passes_is_none() {
    let Some(space) = Space::open("faults") else { return };
    let (machine, _canceller) = machine();
    let secret = json!([{"name": "A", "valueFrom": {"secretKeyRef": {"name": "absent", "key": "a"}}}]);
    let probe = json!({"httpGet": {"port": 9, "path": "/health"}, "periodSeconds": 1});
    let gone =
        json!({"name": "migrate", "image": PAUSE, "imagePullPolicy": "Never", "args": ["lookup", "nowhere.invalid"]});
    let cases: [(&str, Value, Value, Option<Kind>); 8] = [
        ("serves", json!({}), json!({}), None),
        ("never", json!({"image": "xtask.invalid/absent:1"}), json!({}), Some(Kind::Image)),
        ("refused", json!({"image": "localhost:1/absent:1", "imagePullPolicy": "Always"}), json!({}), Some(Kind::Pull)),
        ("config", json!({"env": secret}), json!({}), Some(Kind::Config)),
        // Without a probe it would be ready as soon as it runs, and the rollout complete before the first crash.
        (
            "crash",
            json!({"args": ["lookup", "nowhere.invalid"], "readinessProbe": probe}),
            json!({}),
            Some(Kind::Crash),
        ),
        ("init", json!({}), json!({"initContainers": [gone]}), Some(Kind::Crash)),
        ("no-node", json!({"resources": {"requests": {"cpu": "900"}}}), json!({}), Some(Kind::Unschedulable)),
        ("not-ready", json!({"readinessProbe": probe}), json!({}), Some(Kind::NotReady)),
    ];
    run(async {
        let kube = space.kube(&machine, space.kubeconfig.clone()).await;
        let all: Vec<Value> = cases
            .iter()
            .map(|(name, container, pod, _)| space.deployment(name, container.clone(), pod.clone()))
            .collect();
        // Asked for anything, so that the clocks are compared.
        kube.uid().await.unwrap();
        let started = kube.now();
        space.apply(&all);
        // A registry that nobody listens at is borne: the test of it is short.
        let limits = Limits { pull: Duration::from_secs(5), ..limits(started) };
        let mut watches = tokio::task::JoinSet::new();
        for (name, _, _, expected) in cases.clone() {
            let (kube, namespace, limits) = (kube.clone(), space.name.clone(), limits.clone());
            watches.spawn(async move { (name, expected, watched(&kube, &namespace, name, &limits).await) });
        }
        while let Some(ended) = watches.join_next().await {
            let (name, expected, Watched { state, seen, at }) = ended.unwrap();
            match (&state, expected) {
                (State::Complete(progress), None) => assert_eq!((progress.wanted, progress.ready), (1, 1), "{name}"),
                (State::Failed(cause), Some(kind)) => {
                    assert_eq!(cause.kind, kind, "{name}: {cause:?}");
                    eprintln!("{name}: {cause}; {} ms after the report", (at - cause.since).whole_milliseconds());
                    let shown = diagnosis::of(&kube, &space.name, cause, &seen, &machine.ctx.redactor).await;
                    assert!(!shown.events.is_empty(), "{name}: {shown}");
                    if kind == Kind::Crash {
                        assert!(shown.log.iter().any(|line| line.contains("nowhere.invalid")), "{name}: {shown}");
                    }
                }
                (state, _) => panic!("{name}: {state:?}"),
            }
        }
    });
}

#[test]
fn while_the_api_is_gone_nothing_is_decided() {
    let Some(space) = Space::open("gone") else { return };
    let (machine, _canceller) = machine();
    run(async {
        let mut config: Value =
            serde_json::from_str(&space.kubectl(&["config", "view", "--raw", "-o", "json"], "")).unwrap();
        let cluster = &mut config["clusters"][0]["cluster"];
        let server = cluster["server"].as_str().unwrap().trim_start_matches("https://").parse().unwrap();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let faults = Faults::start(free, server).await.unwrap();
        cluster["server"] = json!(format!("https://{free}"));
        cluster["tls-server-name"] = json!("kubernetes");
        let folder = tempfile::tempdir().unwrap();
        let behind = folder.path().join("config");
        std::fs::write(&behind, config.to_string()).unwrap();
        let (near, far) =
            (space.kube(&machine, space.kubeconfig.clone()).await, space.kube(&machine, behind.clone()).await);
        near.uid().await.unwrap();
        let limits = Limits { ready: Duration::from_secs(60), ..limits(near.now()) };
        let probe = json!({"httpGet": {"port": 9, "path": "/health"}, "periodSeconds": 1});
        space.apply(&[space.deployment("a", json!({"readinessProbe": probe}), json!({}))]);
        let told = std::sync::Mutex::new(0);
        let mut count = |_: &State, _: &Seen| *told.lock().unwrap() += 1;
        let name = target("a");
        let patience = Duration::from_secs(60);
        let mut watching = Box::pin(watch::rollout(&far, &space.name, &name, &limits, patience, &mut count));
        // It is seen to run, and then nothing more is seen of it.
        drive(&mut watching, async || *told.lock().unwrap() > 0).await;
        faults.set(Mode::Refuse).await.unwrap();
        space.apply(&[space.deployment("a", json!({"image": "xtask.invalid/absent:1"}), json!({}))]);
        drive(&mut watching, async || {
            let seen = watch::once(&near, &space.name, &name).await.unwrap();
            let reasons = seen.pods.iter().flat_map(|pod| &pod.status.container_statuses);
            reasons
                .filter_map(|status| status.state.waiting.as_ref())
                .any(|waiting| waiting.reason == "ErrImageNeverPull")
        })
        .await;
        faults.set(Mode::Normal).await.unwrap();
        let Watched { state, .. } = watching.await.unwrap();
        assert!(matches!(&state, State::Failed(cause) if cause.kind == Kind::Image), "{state:?}");
        // Patience ends as well.
        faults.set(Mode::Refuse).await.unwrap();
        let patience = Duration::from_millis(1500);
        let gone = watch::rollout(&far, &space.name, &name, &limits, patience, &mut |_, _| {}).await;
        assert!(gone.as_ref().is_err_and(Trouble::is_unreachable), "{gone:?}");
    });
}

/// Lets the watch go on until something holds; it must not end before.
async fn drive<F: Future<Output = Result<Watched, Trouble>> + Unpin>(watching: &mut F, holds: impl AsyncFn() -> bool) {
    loop {
        tokio::select! {
            ended = &mut *watching => panic!("it was decided: {ended:?}"),
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
        }
        if holds().await {
            return;
        }
    }
}

pub(super) fn project(space: &Space, uid: &str) -> Project {
    let mut project = Project::bare();
    project.use_config("ci");
    project.write(
        "ci/pipeline.toml",
        "[python]\nversions = [\"3.12\"]\ntools = \"3.12\"\ntools_lock = \"locks/tools.txt\"\n",
    );
    project.write("locks/tools.txt", "");
    let cluster =
        format!("[cluster]\ncontext = \"{}\"\nuid = \"{uid}\"\nkubeconfig = \"TEST_CLUSTER\"\n", space.context());
    let release = format!(
        "[release]\nbranch = \"main\"\noverlay = \"k8s\"\nnamespace = \"{}\"\nworkload = \"forge\"\ncontainer = \"api\"\n\
         service = \"forge\"\nmax_stream = \"20s\"\n",
        space.name
    );
    project.write("ci/staging.toml", &format!("url = \"https://staging.example\"\n{cluster}{release}"));
    project.commit();
    let config = space.kubectl(&["config", "view", "--raw", "--flatten", "-o", "json"], "");
    project.set("TEST_CLUSTER", config);
    project
}

#[test]
fn status_says_what_runs() {
    let Some(space) = Space::open("status") else { return };
    let uid = space.kubectl(&["get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}"], "");
    let mut workload = space.deployment("forge", json!({}), json!({}));
    workload["spec"]["template"]["metadata"]["labels"]["forge.xtask/track"] = json!("stable");
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "forge", "namespace": space.name},
        "spec": {"selector": {"app": "forge", "forge.xtask/traffic": "stable"}, "ports": [{"port": 80, "targetPort": 8080}]},
    });
    let objects = [workload.clone(), service];
    space.apply(&objects);
    let entry = json!({
        "id": "20260301T100000Z-1", "image": PAUSE, "template": "forge", "who": "kim@host", "strategy": "rolling",
        "started": "2026-03-01T10:00:00Z", "ended": "2026-03-01T10:02:00Z", "outcome": "verified", "commit": "c0ffee",
    });
    let journal = json!({"schema": "forge-journal/1", "entries": [entry]}).to_string();
    let map = |name: &str, file: &str, text: String| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": space.name}, "data": {file: text}});
    let kept = json!(objects).to_string();
    space.apply(&[
        map("forge-releases", "journal.json", journal),
        map("forge-release-20260301t100000z-1", "objects.json", kept),
    ]);
    space.kubectl(&["-n", &space.name, "rollout", "status", "deployment/forge", "--timeout=60s"], "");
    let project = project(&space, &uid);

    let ran = project.xtask(&["status", "staging"]);
    ran.assert_code(0);
    for expected in [
        "verified",
        "kim@host",
        "c0ffee",
        "drift       none",
        "Running",
        "no metrics-server",
        "1 wanted, 1 updated",
        "GITHUB_REPOSITORY",
    ] {
        assert!(ran.stdout.contains(expected), "{expected}:\n{}", ran.stdout);
    }
    let json: Value = serde_json::from_str(&project.xtask(&["status", "staging", "--json"]).stdout).unwrap();
    assert_eq!((&json["serving"]["verification"], &json["drift"]["lines"]), (&json!("verified"), &json!([])));

    // Somebody's hand.
    space.kubectl(&["-n", &space.name, "set", "env", "deployment/forge", "--field-manager=kubectl-edit", "A=b"], "");
    space.kubectl(
        &[
            "-n",
            &space.name,
            "patch",
            "service",
            "forge",
            "-p",
            "{\"spec\":{\"ports\":[{\"port\":80,\"targetPort\":9}]}}",
        ],
        "",
    );
    let ran = project.xtask(&["status", "staging"]);
    assert!(ran.stdout.contains("  -    targetPort: 9"), "{}", ran.stdout);
}

#[test]
fn another_cluster_is_a_mistake_and_a_missing_login_is_found_first() {
    let Some(space) = Space::open("reach") else { return };
    let mut project = project(&space, "another");
    let ran = project.xtask(&["status", "staging"]);
    ran.assert_code(2);
    assert!(ran.stderr.contains("leads to the cluster"), "{}", ran.stderr);
    project.set("TEST_CLUSTER", "");
    for command in [["status", "staging"], ["logs", "staging"]] {
        let ran = project.xtask(&command);
        ran.assert_code(20);
        assert!(ran.stderr.contains("`TEST_CLUSTER`") && ran.stderr.contains("next: "), "{}", ran.stderr);
    }
}
