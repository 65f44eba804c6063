//! The faults that a rehearsal plants into a release, as data: what is patched, and how the release has to end. Pure.
//!
//! The container is a Python of a FastAPI application: a fault in what it answers wraps the application's own start.

use serde_json::{Value, json};

use crate::config::Environment;

/// What is released, as far as a fault has to know it.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// The Deployment.
    pub workload: String,
    /// Its container.
    pub container: String,
    /// The Secret that its pods name; empty for none.
    pub secret: String,
    /// The repository of its image.
    pub repository: String,
    /// The module and arguments that Python runs.
    pub run: Vec<String>,
    /// Paths that say whether it is alive and ready: a pod with a fault is healthy all the same.
    pub spared: Vec<String>,
}

/// One fault.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Its name: `crash`.
    pub name: &'static str,
    /// What it is, for people.
    pub what: &'static str,
    /// A strategic merge patch of the Deployment; `None` where it lies elsewhere.
    pub patch: Option<Value>,
    /// A change of the environment's file.
    pub change: fn(&mut Environment),
    /// The exit code that the release has to end with.
    pub code: u8,
    /// What the rule of its finding ends with, or its reason holds.
    pub tells: &'static str,
    /// Whether only a load shows it.
    pub needs_load: bool,
    /// Whether it is one of the eight of every rehearsal.
    pub is_common: bool,
}

/// The exit code of a release that was undone.
const UNDONE: u8 = 30;

/// All faults.
pub fn all(subject: &Subject) -> Vec<Fault> {
    let container = |more: Value| {
        let mut container = json!({"name": subject.container});
        if let (Some(into), Some(from)) = (container.as_object_mut(), more.as_object()) {
            into.extend(from.clone());
        }
        json!({"spec": {"template": {"spec": {"containers": [container]}}}})
    };
    let python = |code: &str| json!(["python", "-c", code]);
    let answering = |fault: &str| {
        let command = [json!("python"), json!("-c"), json!(wrapped(subject, fault))];
        container(json!({"command": command, "args": subject.run}))
    };
    let secret = if subject.secret.is_empty() { "rehearsal-absent" } else { &subject.secret };
    let absent =
        json!({"name": "REHEARSAL", "valueFrom": {"secretKeyRef": {"name": secret, "key": "REHEARSAL_ABSENT"}}});
    let fault = |name, what, patch, tells| Fault {
        name,
        what,
        patch: Some(patch),
        change: |_| {},
        code: UNDONE,
        tells,
        needs_load: tells == "perf",
        is_common: true,
    };
    let rare = |fault: Fault| Fault { is_common: false, ..fault };
    vec![
        fault("image", "an image that is not there", missing_image(subject), "rollout/image"),
        fault(
            "crash",
            "a container that ends",
            container(json!({"command": python("raise SystemExit(3)")})),
            "rollout/crash",
        ),
        fault(
            "memory",
            "a container that needs more memory than it may have",
            container(json!({"command": python("held = []\nwhile True:\n    held.append(b'x' * (1 << 22))")})),
            "rollout/out-of-memory",
        ),
        fault(
            "readiness",
            "a pod that never gets ready",
            container(json!({"readinessProbe": {"httpGet": {"path": "/rehearsal-never"}}})),
            "rollout/not-ready",
        ),
        fault(
            "secret-key",
            "a key that the Secret does not have",
            container(json!({"env": [absent]})),
            "rollout/configuration",
        ),
        fault(
            "unschedulable",
            "a pod that no node takes",
            json!({"spec": {"template": {"spec": {"nodeSelector": {"forge.xtask/rehearsal": "nowhere"}}}}}),
            "rollout/unschedulable",
        ),
        fault(
            "smoke",
            "healthy pods that answer wrongly",
            answering("        await answer(send, 500)\n        return\n"),
            "smoke",
        ),
        fault(
            "slow",
            "one answer in ten takes 1.2 s longer",
            answering("        if next(count) % 10 == 0:\n            await asyncio.sleep(1.2)\n"),
            "perf",
        ),
        rare(fault(
            "errors",
            "six answers in a hundred are errors",
            answering(
                "        number = next(count)\n        if number > 60 and number % 16 == 0:\n            await answer(send, 500)\n            return\n",
            ),
            "perf",
        )),
        Fault {
            name: "unverified",
            what: "a verification that cannot run",
            patch: None,
            // Too short for a verdict. Smoke can be asked, so that the way back is verified.
            change: |environment| {
                environment.rehearsal.load = std::time::Duration::from_secs(1);
                if let Some(release) = &mut environment.release {
                    release.verify_patience = std::time::Duration::from_secs(5);
                }
            },
            code: UNDONE,
            tells: "are fewer than",
            needs_load: true,
            is_common: false,
        },
    ]
}

/// An init container whose image its registry does not have: that of the container itself is asked for beforehand.
fn missing_image(subject: &Subject) -> Value {
    let image = format!("{}@sha256:{}", subject.repository, "0".repeat(64));
    json!({"spec": {"template": {"spec": {"initContainers": [{
        "name": "rehearsal",
        "image": image,
        "securityContext": {
            "runAsNonRoot": true,
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }]}}}})
}

/// A program that runs the application with `fault` before each of its answers, those of its probes apart.
fn wrapped(subject: &Subject, fault: &str) -> String {
    let spared = serde_json::to_string(&subject.spared).unwrap_or_default();
    format!(
        "import asyncio, itertools, runpy, sys\n\
         from fastapi import FastAPI\n\
         count = itertools.count()\n\
         served = FastAPI.__call__\n\
         async def answer(send, status):\n    \
             await send({{'type': 'http.response.start', 'status': status, 'headers': [(b'content-length', b'0')]}})\n    \
             await send({{'type': 'http.response.body', 'body': b''}})\n\
         async def call(self, scope, receive, send):\n    \
             if scope['type'] == 'http' and scope['path'] not in {spared}:\n\
         {fault}    \
             await served(self, scope, receive, send)\n\
         FastAPI.__call__ = call\n\
         sys.argv = sys.argv[1:] if sys.argv[1:2] != ['-m'] else sys.argv[2:]\n\
         runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject() -> Subject {
        Subject {
            workload: "forge".into(),
            container: "app".into(),
            secret: "placeholder".into(),
            repository: "r.example/i".into(),
            run: vec!["-m".into(), "app".into()],
            spared: vec!["/health".into()],
        }
    }

    #[test]
    fn eight_faults_are_common_and_each_has_a_name_of_its_own() {
        let all = all(&subject());
        assert_eq!(all.iter().filter(|fault| fault.is_common).count(), 8);
        let names: std::collections::BTreeSet<&str> = all.iter().map(|fault| fault.name).collect();
        assert_eq!(names.len(), all.len());
        // A fault that changes nothing would be undone for no reason.
        for fault in &all {
            let mut environment: Environment = toml::from_str("url = \"https://a.example\"\n").unwrap();
            let before = environment.rehearsal.load;
            (fault.change)(&mut environment);
            assert!(fault.patch.is_some() || environment.rehearsal.load != before, "{}", fault.name);
        }
    }

    #[test]
    fn patches_name_the_container_and_what_runs_in_it() {
        let all = all(&subject());
        let patch = |name: &str| all.iter().find(|fault| fault.name == name).unwrap().patch.clone().unwrap();
        let container = |name: &str| patch(name)["spec"]["template"]["spec"]["containers"][0].clone();
        assert_eq!(container("crash")["name"], "app");
        assert_eq!(container("secret-key")["env"][0]["valueFrom"]["secretKeyRef"]["name"], "placeholder");
        assert_eq!(container("smoke")["args"], json!(["-m", "app"]));
        let code = container("slow")["command"][2].as_str().unwrap().to_owned();
        assert!(code.contains("not in [\"/health\"]:\n        if next(count)"), "{code}");
        assert!(patch("image").to_string().contains("r.example/i@sha256:0000"));
    }

    /// The wrapper is a program of its own: Python has to read it.
    #[test]
    fn what_wraps_the_application_is_python() {
        let python = which::which("python3").expect("Python is what the tests of this project need");
        for fault in all(&subject()) {
            let Some(patch) = &fault.patch else { continue };
            let command = &patch["spec"]["template"]["spec"]["containers"][0]["command"];
            let Some(code) = command[2].as_str() else { continue };
            #[allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "a test asks the real Python")]
            let read = std::process::Command::new(&python)
                .args(["-c", "import ast, sys; ast.parse(sys.argv[1])", code])
                .output()
                .unwrap();
            assert!(read.status.success(), "{}: {code}\n{}", fault.name, String::from_utf8_lossy(&read.stderr));
        }
    }
}
