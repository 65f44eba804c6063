//! No false alarm (R17): what passes by itself ends in success.

use std::time::{Duration, Instant};

use serde_json::json;

use super::door::Door;
use super::run::Running;
use super::site::{Plan, Site, until};

/// Ends with 1 the first time, and is the backend from the second on; the volume outlives the container.
const CRASHES_ONCE: &str = "spec: {template: {spec: {containers: [{name: forge, command: [python, -c, \"import os, sys\\nif os.path.exists('/tmp/seen'): os.execvp('python', ['python', '-m', 'forge'])\\nopen('/tmp/seen', 'w').close()\\nsys.exit(1)\"]}]}}}";

#[test]
fn a_container_that_crashes_once_and_then_serves_is_no_failure() {
    let Some(site) = Site::open("crash-once", Plan::default()) else { return };
    site.release("1");
    site.overlay("2", &[CRASHES_ONCE]);
    let ended = site.deploy(&[]).ended();
    ended.assert_code(0);
    site.assert_serves("2");
    let pods = site.object(&["pods", "-l", "app.kubernetes.io/name=forge"]);
    let again = |pod: &serde_json::Value| pod["status"]["containerStatuses"][0]["restartCount"] == 1;
    assert!(pods["items"].as_array().unwrap().iter().any(again), "it did crash: {pods}");
    eprintln!("FIGURE | one crash, then recovery | verified | {:.1} s", ended.took.as_secs_f64());
}

/// What answers 503 for a time, counted from the first request on, and is the registry afterwards.
const STUMBLES: &str = r"
import os, socket, threading, time
first = []
def pump(a, b):
    try:
        while data := a.recv(65536):
            b.sendall(data)
    except OSError:
        pass
    finally:
        for one in (a, b):
            try: one.shutdown(socket.SHUT_RDWR)
            except OSError: pass
def serve(client):
    head = client.recv(65536)
    if not head:
        return client.close()
    first.append(time.monotonic())
    if time.monotonic() - first[0] < float(os.environ['SECONDS']):
        client.sendall(b'HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
        return client.close()
    server = socket.create_connection(('127.0.0.1', int(os.environ['REGISTRY'])))
    server.sendall(head)
    threading.Thread(target=pump, args=(server, client)).start()
    pump(client, server)
listener = socket.create_server(('127.0.0.1', int(os.environ['DOOR'])))
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],)).start()
";

/// A namespace beside the site's, whose pod is in the node's own network: there the kubelet asks for images.
struct Beside<'a>(&'a Site, String);

impl Drop for Beside<'_> {
    fn drop(&mut self) {
        self.0.kubectl(&["delete", "namespace", &self.1, "--wait=false"]);
    }
}

fn a_registry_that_fails_for(test: &str, seconds: u64) {
    let Some(site) = Site::open(test, Plan::default()) else { return };
    site.release("1");
    // The same port on both sides: this machine's leads to the registry at any time.
    let door = Door::before(site.images.address());
    let port = door.address().port();
    let beside = Beside(&site, format!("{}-door", site.namespace));
    site.kubectl(&["create", "namespace", &beside.1]);
    let variable = |name: &str, value: u64| json!({"name": name, "value": value.to_string()});
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "door", "namespace": beside.1},
        "spec": {
            "hostNetwork": true, "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": false,
            "containers": [{
                "name": "door", "image": site.image(), "command": ["python", "-c", STUMBLES],
                "env": [
                    variable("SECONDS", seconds), variable("DOOR", port.into()),
                    variable("REGISTRY", site.images.address().port().into()),
                ],
                "readinessProbe": {"tcpSocket": {"host": "127.0.0.1", "port": port}, "periodSeconds": 1},
            }],
        },
    });
    site.project.write("target/door.json", &pod.to_string());
    let file = site.path().join("target/door.json");
    site.kubectl(&["create", "-f", file.to_str().unwrap()]);
    site.kubectl(&["-n", &beside.1, "wait", "--for=condition=Ready", "pod/door", "--timeout=60s"]);
    let through = format!("localhost:{port}/forge");
    site.project.edit("ci/pipeline.toml", &format!("{}/forge", site.images.name), &through);
    site.overlay("2", &[]);
    let image = format!("{through}@{}", site.digest);
    let ended = site.start(&["deploy", "staging", "--image", &image]).ended();
    ended.assert_code(0).assert_says("ErrImagePull");
    site.assert_serves("2");
    assert!(ended.took > Duration::from_secs(seconds), "{:?}", ended.took);
    eprintln!("FIGURE | registry failing for {seconds} s | verified | {:.1} s", ended.took.as_secs_f64());
}

#[test]
fn a_registry_that_stumbles_is_waited_for() {
    a_registry_that_fails_for("stumbles", 5);
}

#[test]
#[ignore = "`cargo xtask cluster test` runs it: the registry fails for a minute"]
fn a_registry_that_fails_for_a_minute_is_waited_for() {
    a_registry_that_fails_for("stumbles-long", 60);
}

/// The node takes pods again, whatever comes of the test.
struct Cordon<'a>(&'a Site, String);

impl Drop for Cordon<'_> {
    fn drop(&mut self) {
        self.0.kubectl(&["uncordon", &self.1]);
    }
}

fn a_node_that_is_late_by(test: &str, time: Duration) {
    Site::open_alone(test, Plan::default(), |site| {
        site.release("1");
        let nodes = site.kubectl(&["get", "nodes", "-o", "name"]);
        let cordons: Vec<Cordon<'_>> = nodes.lines().map(|node| Cordon(site, node.to_owned())).collect();
        cordons.iter().for_each(|cordon| drop(site.kubectl(&["cordon", &cordon.1])));
        site.overlay("2", &[]);
        let running: Running = site.deploy(&[]).at("Unschedulable");
        let begun = Instant::now();
        until("the node", time * 2, || (begun.elapsed() >= time).then_some(()));
        drop(cordons);
        let ended = running.ended();
        ended.assert_code(0);
        site.assert_serves("2");
        eprintln!("FIGURE | node late by {} s | verified | {:.1} s", time.as_secs(), ended.took.as_secs_f64());
    });
}

#[test]
fn a_node_that_comes_late_is_waited_for() {
    a_node_that_is_late_by("late", Duration::from_secs(10));
}

#[test]
#[ignore = "`cargo xtask cluster test` runs it: no pod finds a node for a minute"]
fn a_node_that_comes_a_minute_late_is_waited_for() {
    a_node_that_is_late_by("late-long", Duration::from_secs(60));
}
