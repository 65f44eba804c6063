//! A real cluster, brought up by the real program: a pod on it works, the end of a part is seen, and nothing stays.
//!
//! Where the machine lacks what a cluster needs (root, containerd, Go), these tests say so and end.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use xtask::services::cluster::api::{Api, is_true};
use xtask::services::cluster::state::Process;
use xtask::services::cluster::{PAUSE_IMAGE, State};
use xtask::verdict::{Severity, Verdict};

use super::support::{Project, Ran, repository};

const CONFIG: &str = "[python]\nversions = [\"3.12\"]\ntools = \"3.12\"\ntools_lock = \"locks/tools.txt\"\n\n\
                      [tools]\nlocks = \"tools\"\n";

/// A project with a cluster of its own, which goes with it.
struct Site(Project);

impl Drop for Site {
    fn drop(&mut self) {
        self.0.xtask(&["cluster", "down"]);
    }
}

fn project() -> Project {
    let mut project = Project::bare();
    project.use_config("ci");
    project.copy_tree("xtask/tools", "tools");
    project.write("ci/pipeline.toml", CONFIG);
    project.write("locks/tools.txt", "");
    project.write(".gitignore", "/target/\n");
    // The parts are large, and lie where `cargo xtask tools install` puts them for this repository.
    let link = project.path().join("target/xtask/tools");
    let installed = repository().join("target/xtask/tools");
    std::fs::create_dir_all(&installed).unwrap();
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(installed, link).unwrap();
    project.commit();
    project
}

impl Site {
    fn folder(&self) -> PathBuf {
        self.0.path().join("target/xtask/cluster")
    }

    /// Brings it up; `None`, said aloud, where the machine lacks what it needs.
    fn up(&self, test: &str) -> Option<Ran> {
        let ran = self.0.xtask(&["cluster", "up"]);
        let reason = &ran.gate("cluster/up").reason;
        if reason.starts_with("a cluster ") || reason.contains("Go, which builds it, is not on PATH") {
            // Straight to the terminal: what a test prints by a macro is shown for failed tests alone.
            let words = format!("NOT TESTED: {test}: {reason}");
            eprintln!("{words}");
            return None;
        }
        ran.assert_code(0);
        Some(ran)
    }

    fn state(&self) -> State {
        State::read(&self.folder()).unwrap()
    }

    fn status(&self) -> Ran {
        self.0.xtask(&["cluster", "status"])
    }
}

/// Waits for what another process brings about.
async fn until<T>(what: &str, holds: impl AsyncFn() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(seen) = holds().await {
            return seen;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{what} did not come");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn make(api: &Api, path: &str, object: Value) -> Value {
    api.send(Method::POST, path, Some(&object)).await.unwrap()
}

/// A pod that answers HTTP, as a service; the service's address.
async fn serves(api: &Api) -> SocketAddr {
    let container = json!({
        "name": "serves", "image": PAUSE_IMAGE, "imagePullPolicy": "Never", "args": ["serve", ":8080"],
        "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
    });
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "serves", "labels": {"app": "serves"}},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
    });
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "serves"},
        "spec": {"selector": {"app": "serves"}, "ports": [{"port": 80, "targetPort": 8080}]},
    });
    make(api, "/api/v1/namespaces/default/pods", pod).await;
    let made = make(api, "/api/v1/namespaces/default/services", service).await;
    until("a ready pod", async || {
        let pod = api.get("/api/v1/namespaces/default/pods/serves").await.unwrap();
        is_true(&pod, "Ready").then_some(())
    })
    .await;
    SocketAddr::new(made["spec"]["clusterIP"].as_str().unwrap().parse().unwrap(), 80)
}

/// What a service answers to this machine.
fn ask(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: serves\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// How a pod ends that asks for a name.
async fn asks_for(api: &Api, name: &str) -> String {
    let pods = "/api/v1/namespaces/default/pods";
    let pod = make(api, pods, xtask::services::cluster::objects::asks_for(name)).await;
    let path = format!("{pods}/{}", pod["metadata"]["name"].as_str().unwrap());
    until("the end of a pod", async || {
        let pod = api.get(&path).await.unwrap();
        pod["status"]["phase"].as_str().filter(|phase| ["Succeeded", "Failed"].contains(phase)).map(str::to_owned)
    })
    .await
}

/// Everything of a cluster that this machine still has.
fn left(folder: &Path, state: &State) -> Vec<String> {
    let mut left = Vec::new();
    let named = folder.display().to_string();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&command).contains(&named) {
            left.push(format!("process {}", String::from_utf8_lossy(&command)));
        }
    }
    let outer = state.parts.iter().filter_map(|part| part.process.as_ref()).chain(&state.node).chain(&state.supervisor);
    left.extend(outer.filter(|process| process.is_alive()).map(|process| format!("process {}", process.pid)));
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    left.extend(mounts.lines().filter(|line| line.contains(&named)).map(str::to_owned));
    for table in ["filter", "nat"] {
        let rules = std::process::Command::new("iptables").args(["-t", table, "-S"]).output().unwrap();
        let rules = String::from_utf8(rules.stdout).unwrap();
        left.extend(rules.lines().filter(|rule| rule.contains("KUBE-")).map(str::to_owned));
    }
    let links = std::fs::read_dir("/sys/class/net").unwrap().flatten().map(|link| link.file_name());
    left.extend(links.filter(|link| *link == *state.place(folder).link()).map(|link| format!("{link:?}")));
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|one| one.path());
    let cgroups = hierarchies.map(|hierarchy| hierarchy.join(state.place(folder).cgroup()));
    left.extend(cgroups.filter(|cgroup| cgroup.exists()).map(|cgroup| cgroup.display().to_string()));
    left
}

fn part(state: &State, name: &str) -> (Process, u32) {
    let part = state.parts.iter().find(|part| part.name == name).unwrap();
    (part.process.clone().unwrap(), part.restarts)
}

#[tokio::test]
async fn a_cluster_works_is_watched_and_leaves_nothing() {
    let site = Site(project());
    let Some(ran) = site.up("a cluster") else { return };
    let up = ran.gate("cluster/up");
    assert_eq!((up.verdict, up.work.count), (Verdict::Pass, 10));
    let first = site.state();

    // A pod works, its service answers this machine, and names are answered within: also that there is none.
    let api = Api::new(&first.kubeconfig).unwrap();
    let service = serves(&api).await;
    let answer = until("an answer of the service", async || ask(service)).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("serves"), "{answer}");
    assert_eq!(asks_for(&api, "serves.default.svc.cluster.local").await, "Succeeded");
    assert_eq!(asks_for(&api, "nobody.default.svc.cluster.local").await, "Failed");

    // One that is up is not brought up again.
    site.0.xtask(&["cluster", "up"]).assert_code(0);
    assert_eq!(site.state().supervisor, first.supervisor);

    // A part that is stopped for good is seen; one that was killed is there again.
    let (killed, _) = part(&first, "kube-scheduler");
    killed.signal(Signal::KILL);
    let again = until("another scheduler", async || {
        let state = site.state();
        let scheduler = state.parts.iter().find(|part| part.name == "kube-scheduler").unwrap().clone();
        scheduler.process.filter(|process| *process != killed).map(|_| scheduler.restarts)
    })
    .await;
    assert_eq!(again, 1);
    let ran = site.status();
    let told = &ran.gate("cluster/status").findings;
    assert!(
        told.iter().any(|told| told.message.contains("started again 1×, last after killed by signal 9")),
        "{told:#?}"
    );

    // Without its supervisor it is over, at once and as a whole, though nobody took it down.
    first.supervisor.as_ref().unwrap().signal(Signal::KILL);
    until("the end of the node", async || (!first.node.as_ref().unwrap().is_alive()).then_some(())).await;
    let ran = site.status();
    let status = ran.assert_code(20).gate("cluster/status");
    assert!(status.reason.contains("its supervisor") && status.fix == "cargo xtask cluster up", "{status:#?}");

    // What is half there is removed before another comes.
    site.up("a second cluster").unwrap();
    let second = site.state();
    assert_ne!(second.supervisor, first.supervisor);
    let ran = site.0.xtask(&["cluster", "down"]);
    let down = ran.assert_code(0).gate("cluster/down");
    assert_eq!((down.verdict, down.work.count), (Verdict::Pass, 5));
    assert_eq!(left(&site.folder(), &first), Vec::<String>::new());
    assert_eq!(left(&site.folder(), &second), Vec::<String>::new());
    assert!(!site.folder().exists());
    site.status().assert_code(20);
}

#[test]
fn a_part_that_does_not_run_is_a_finding() {
    // No `Site`, which would take down what the state names: this process.
    let project = project();
    let folder = project.path().join("target/xtask/cluster");
    // A state as a supervisor writes it between the end of a part and its next start.
    let us = Process::of(i32::try_from(std::process::id()).unwrap());
    let part = |name: &str, process: &Option<Process>| json!({"name": name, "process": process, "restarts": 0, "ended": process.is_none().then_some("exit code 1")});
    let parts: Vec<Value> = (0..10).map(|at| part(&format!("part-{at}"), if at == 3 { &None } else { &us })).collect();
    let state = json!({
        "slot": 63, "phase": "ready", "kubeconfig": folder.join("kubeconfig"), "context": "c", "api": "a",
        "registry": "localhost:1", "version": "v1", "supervisor": us, "node": null, "parts": parts, "made": [],
    });
    project.write("target/xtask/cluster/cluster.json", &state.to_string());
    let ran = project.xtask(&["cluster", "status"]);
    let gate = ran.assert_code(10).gate("cluster/status");
    let red: Vec<_> = gate.findings.iter().filter(|finding| finding.severity == Severity::High).collect();
    assert_eq!(red.len(), 1, "{red:#?}");
    assert_eq!(red[0].message, "part-3 does not run: exit code 1");
}

#[test]
fn what_a_cluster_needs_is_named_when_it_is_missing() {
    let mut project = project();
    project.hide_program("containerd");
    let ran = project.xtask(&["cluster", "up"]);
    let gate = ran.assert_code(20).gate("cluster/up");
    let is_root = rustix::process::geteuid().is_root();
    let expected = if is_root { "not on this machine: containerd" } else { "needs root" };
    assert!(gate.reason.contains(expected), "{}", gate.reason);
    assert!(!is_root || gate.fix.starts_with("apt-get install containerd"), "{}", gate.fix);
    assert!(!project.path().join("target/xtask/cluster").exists());
}

#[test]
fn a_dry_run_prints_the_commands_and_starts_nothing() {
    let project = project();
    let text = project.xtask(&["cluster", "up", "--dry-run"]).assert_code(0).stdout.clone();
    for part in
        ["$ etcd --data-dir=", "$ kubernetes kube-apiserver ", "$ kubernetes kubelet ", "$ containerd --config "]
    {
        assert!(text.contains(part), "no `{part}` in {text}");
    }
    assert!(!project.path().join("target/xtask/cluster").exists());
    project.xtask(&["cluster", "up", "--name", "../x"]).assert_code(2);
}
