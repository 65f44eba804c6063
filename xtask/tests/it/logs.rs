//! `logs` on a real cluster, by the real program.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::rollout::{Space, project};
use super::support::Project;

/// A minute is long for a line of a pod that runs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A `kubectl` whose `proxy` answers the first attempt to follow each log as the kubelet does of a pod that it has not heard
/// of yet. Everything else is the real one's.
const HASTY: &str = r#"#!/usr/bin/env python3
import os, re, socket, subprocess, sys, threading

real = "REAL"
option = next((one for one in sys.argv if one.startswith("--unix-socket=")), None)
if "proxy" not in sys.argv or option is None:
    os.execv(real, [real, *sys.argv[1:]])
path = option.split("=", 1)[1]
behind = path + ".real"
args = [f"--unix-socket={behind}" if one == option else one for one in sys.argv[1:]]
# It ends with us: our parent's signals go to the group.
proxy = subprocess.Popen([real, *args], stdout=subprocess.PIPE)
proxy.stdout.readline()
body = b'{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","message":"pod does not exist","code":404}'
answer = b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
refused = set()

def copy(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass

def serve(client):
    server = socket.socket(socket.AF_UNIX)
    server.connect(behind)
    threading.Thread(target=copy, args=(server, client), daemon=True).start()
    try:
        while data := client.recv(65536):
            asked = re.match(rb"GET \S+/pods/([^/]+)/log\?\S*follow=true", data)
            if asked and asked[1] not in refused:
                refused.add(asked[1])
                client.sendall(answer)
            else:
                server.sendall(data)
        server.shutdown(socket.SHUT_WR)
    except OSError:
        pass

front = socket.socket(socket.AF_UNIX)
front.bind(path)
front.listen()
print("Starting to serve on", path, flush=True)
while True:
    threading.Thread(target=serve, args=(front.accept()[0],), daemon=True).start()
"#;

/// The program that follows, and what it says.
struct Following {
    child: Child,
    lines: Receiver<String>,
}

impl Following {
    fn begin(project: &Project) -> Self {
        let mut child = project.command(&["logs", "staging", "-f"]).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines }
    }

    #[track_caller]
    fn until(&self, word: &str) {
        let begun = Instant::now();
        let mut said = Vec::new();
        while !said.last().is_some_and(|line: &String| line.contains(word)) {
            let rest = PATIENCE.saturating_sub(begun.elapsed());
            let line = self.lines.recv_timeout(rest);
            said.push(line.unwrap_or_else(|_| panic!("`{word}` was not said: {said:?}")));
        }
    }

    #[track_caller]
    fn stop(mut self) {
        let begun = Instant::now();
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        // Of a test that failed.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// A workload that runs, and the project that it is of.
fn running(test: &str) -> Option<(Space, Project)> {
    let space = Space::open(test)?;
    let uid = space.kubectl(&["get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}"], "");
    let mut workload = space.deployment("forge", json!({}), json!({}));
    workload["spec"]["template"]["metadata"]["labels"]["forge.xtask/track"] = json!("stable");
    space.apply(&[workload]);
    space.kubectl(&["-n", &space.name, "rollout", "status", "deployment/forge", "--timeout=60s"], "");
    let project = project(&space, &uid);
    Some((space, project))
}

/// A version that says something, and ends.
fn says(space: &Space, word: &str) {
    let args = json!(["lookup", format!("{word}.invalid")]);
    let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "api", "args": args}]}}}});
    space.kubectl(&["-n", &space.name, "patch", "deployment", "forge", "-p", &patch.to_string()], "");
}

#[test]
fn what_pods_say_is_shown_and_followed() {
    let Some((space, project)) = running("logs") else { return };
    says(&space, "first");
    let begun = Instant::now();
    let ran = loop {
        let ran = project.xtask(&["logs", "staging", "--since", "1h"]);
        if ran.stdout.contains("first.invalid") {
            break ran;
        }
        assert!(begun.elapsed() < PATIENCE, "{}\n{}", ran.stdout, ran.stderr);
    };
    ran.assert_code(0);
    assert!(ran.stdout.lines().all(|line| line.starts_with("forge-")), "{}", ran.stdout);

    // Followed until somebody presses Ctrl-C.
    let following = Following::begin(&project);
    following.until("first.invalid");
    // A pod that was not there when it began.
    says(&space, "second");
    following.until("second.invalid");
    following.stop();
}

#[test]
fn a_pod_that_its_node_has_not_heard_of_yet_is_followed_all_the_same() {
    let Some((space, mut project)) = running("hasty") else { return };
    let path = std::env::var_os("PATH").unwrap();
    let real = std::env::split_paths(&path).map(|folder| folder.join("kubectl")).find(|file| file.is_file()).unwrap();
    project.write("target/bin/kubectl", &HASTY.replace("REAL", real.to_str().unwrap()));
    let bin = project.path().join("target/bin");
    std::fs::set_permissions(bin.join("kubectl"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    project.put_first(&bin);
    let following = Following::begin(&project);
    says(&space, "hasty");
    following.until("hasty.invalid");
    following.stop();
}
