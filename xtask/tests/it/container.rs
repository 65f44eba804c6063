//! The image of a small service, built and run by the real engine; what is planted in it is found by the right gate.
//!
//! Without an engine, or without the stand-in for its base (`scripts/stand-in-base.sh`), these tests say so and end.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use xtask::model::GateReport;
use xtask::verdict::Verdict;

use super::guarded::aws_key;
use super::support::{Project, Ran};

const BASE: &str = "localhost/forge-base-stand-in:3.12";

/// A project whose image is good, and the removal of that image.
struct Shop(Project);

impl Drop for Shop {
    fn drop(&mut self) {
        let image = self.image();
        if !image.is_empty() {
            let _gone = Command::new("docker").args(["image", "rm", "--force", &image]).stdout(Stdio::null()).status();
        }
    }
}

impl Shop {
    /// `None`, said aloud, where the machine lacks what it needs.
    fn open(test: &str) -> Option<Self> {
        let has = |args: &[&str]| {
            let asked = Command::new("docker").args(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
            asked.is_ok_and(|status| status.success())
        };
        if !has(&["version"]) || !has(&["image", "inspect", BASE]) {
            // Straight to the terminal: what a test prints by a macro is shown for failed tests alone.
            let words =
                format!("NOT TESTED: {test}: docker does not answer, or has no `{BASE}` (scripts/stand-in-base.sh)");
            eprintln!("{words}");
            return None;
        }
        let mut project = Project::bare();
        project.use_config("ci");
        project.copy_tree("xtask/tools", "tools");
        project.copy_tree("backend/requirements/tools.txt", "locks/tools.txt");
        project.write("ci/pipeline.toml", CONFIG);
        project.write(".gitignore", "/target/\n");
        project.write("Dockerfile", DOCKERFILE);
        project.write("app.py", APP);
        project.write("structure.yaml", STRUCTURE);
        project.commit();
        Some(Self(project))
    }

    /// The name of the image that was built last; empty where none was.
    fn image(&self) -> String {
        let report = self.0.path().join("target/xtask/out/container/image.json");
        let text = std::fs::read_to_string(report).unwrap_or_default();
        let image: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        image["reference"].as_str().unwrap_or_default().to_owned()
    }

    /// Runs a part of `container`.
    fn run(&self, part: &str) -> Ran {
        self.0.xtask(&["container", part])
    }
}

/// The rules of a gate's findings that are worse than news.
fn rules(gate: &GateReport) -> Vec<&str> {
    let bad = gate.findings.iter().filter(|finding| finding.severity > xtask::verdict::Severity::Info);
    bad.map(|finding| finding.rule.as_str()).collect()
}

#[track_caller]
fn assert_red(ran: &Ran, gate: &str, rule: &str, words: &str) {
    let gate = ran.gate(gate);
    assert_eq!(gate.verdict, Verdict::Fail, "{gate:#?}");
    let found = gate.findings.iter().find(|finding| finding.rule == rule && finding.message.contains(words));
    assert!(found.is_some(), "no {rule} with `{words}`: {:#?}", gate.findings);
    ran.assert_code(10);
}

#[test]
fn a_good_image_is_green_with_what_was_done() {
    let Some(shop) = Shop::open("a good image") else { return };
    let ran = shop.run("all");
    let build = ran.gate("container/build");
    assert_eq!(build.verdict, Verdict::Pass, "{build:#?}");
    assert!(build.work.count >= 2 && build.work.unit == "layers");
    assert!(build.findings.iter().any(|finding| finding.rule == "stand-in-base"), "{build:#?}");
    let image: serde_json::Value = serde_json::from_str(&shop.0.read("target/xtask/out/container/image.json")).unwrap();
    assert!(build.findings.iter().any(|finding| finding.message.contains(image["id"].as_str().unwrap())));
    assert_eq!(image["labels"]["org.opencontainers.image.version"], "1.2.3");
    // Size, user, three of structure, start, health, one request, thrice who it is, root, end, exit code.
    assert_eq!(ran.gate("container/test").work.count, 14, "{:#?}", ran.gate("container/test"));
    for gate in ["container/test", "container/secrets", "container/sbom"] {
        assert_eq!(ran.gate(gate).verdict, Verdict::Pass, "{:#?}", ran.gate(gate));
    }
    assert_eq!(ran.gate("container/secrets").work.count, build.work.count);
    assert!(ran.gate("container/sbom").work.count > 20);
    let sbom: serde_json::Value = serde_json::from_str(&shop.0.read("target/xtask/out/sbom/image.cdx.json")).unwrap();
    assert_eq!(sbom["specVersion"], "1.6");
    // Without a data base nothing was looked up, and that is no pass.
    let scan = ran.gate("container/scan");
    let unreachable = "trivy's data base of vulnerabilities cannot be downloaded";
    assert!(scan.work.count > 20 || (scan.verdict == Verdict::DidNotRun && scan.reason == unreachable), "{scan:#?}");
    // The same commit is the same image, and what was found about it still holds.
    let again = shop.run("all");
    let same = again.gate("container/build");
    assert_eq!((&same.findings, same.cached), (&build.findings, false));
    assert!(again.gate("container/test").cached && again.gate("container/secrets").cached);
}

#[test]
fn an_image_that_is_root_or_has_no_health_check_or_is_too_large_is_red() {
    let Some(shop) = Shop::open("an image that is root") else { return };
    shop.0.edit("Dockerfile", "USER 10001:10001\n", "");
    shop.0.edit("Dockerfile", "HEALTHCHECK CMD [\"python3\", \"/app/app.py\", \"probe\"]\n", "");
    shop.0.edit("ci/pipeline.toml", "largest = \"300MB\"", "largest = \"1MB\"");
    let ran = shop.run("all");
    assert_red(&ran, "container/test", "user", "root, for no USER is named");
    assert_red(&ran, "container/test", "runs-as", "runs as 0 0 0 0");
    assert_red(&ran, "container/test", "healthcheck", "the image has no HEALTHCHECK");
    assert_red(&ran, "container/test", "size", "more than 1.0 MB");
    assert_red(&ran, "container/secrets", "DS-0002", "");
}

#[test]
fn a_secret_that_a_later_layer_deletes_is_found() {
    let Some(shop) = Shop::open("a secret in a layer") else { return };
    shop.0.write("settings.ini", &format!("aws_access_key_id = {}\n", aws_key()));
    shop.0.edit("ci/pipeline.toml", "files = [\"app.py\"]", "files = [\"app.py\", \"settings.ini\"]");
    shop.0.edit(
        "Dockerfile",
        "USER 10001:10001\n",
        "COPY settings.ini /settings.ini\nCMD [\"x\"]\nRUN rm /settings.ini\nUSER 10001:10001\n",
    );
    let ran = shop.run("secrets");
    assert_red(&ran, "container/secrets", "aws-access-key-id", "`/settings.ini`, line 1, layer 3 of 4");
    assert!(!format!("{:?}", ran.report()).contains(&aws_key()));
}

#[test]
fn an_image_that_does_not_live_as_it_should_is_red() {
    let Some(shop) = Shop::open("an image that does not live") else { return };
    let app = |from: &str, to: &str| {
        shop.0.write("app.py", APP);
        shop.0.edit("app.py", from, to);
        shop.run("test")
    };
    let ran = app("\nserve()\n", "\ntime.sleep(60)");
    assert_red(&ran, "container/test", "starts", "it does not answer within 4 s");
    let ran = app("\nserve()\n", "\nsys.exit('no settings')");
    assert_red(&ran, "container/test", "starts", "exit code 1 before it answered; its last lines:\nno settings");
    let ran = app("\nserve()\n", "\nopen('/app/state', 'w')");
    assert_red(&ran, "container/test", "starts", "Read-only file system");
    let ran = app("sys.exit(probe())", "sys.exit(1)");
    assert_red(&ran, "container/test", "healthcheck", "its own health check says `unhealthy`");
    let ran = app("signal.SIGTERM, lambda *_: sys.exit(0)", "signal.SIGTERM, signal.SIG_IGN");
    assert_red(&ran, "container/test", "stops", "it still runs 2 s after SIGTERM");
    let ran = app("lambda *_: sys.exit(0)", "lambda *_: sys.exit(3)");
    assert_red(&ran, "container/test", "exit-code", "exit code 3 after SIGTERM");
    let ran = app("\"ok\"", "\"fine\"");
    assert_red(&ran, "container/test", "starts", "expected `ok`, found `\"fine\"`");
    // Nothing of it is left, whatever came of it.
    let image = format!("ancestor={}", shop.image());
    let left = Command::new("docker").args(["ps", "--all", "--quiet", "--filter", &image]).output().unwrap();
    assert_eq!(String::from_utf8(left.stdout).unwrap(), "");
}

#[test]
fn a_structure_test_that_does_not_hold_is_red_and_one_that_is_not_known_did_not_run() {
    let Some(shop) = Shop::open("structure tests") else { return };
    shop.0.edit("structure.yaml", "path: /app/app.py", "path: /app/other.py");
    shop.0.edit("structure.yaml", "user: \"10001:10001\"", "user: nobody");
    shop.0.edit("structure.yaml", "expectedOutput: [\"Python 3\"]", "expectedOutput: [\"Python 2\"]");
    let ran = shop.run("test");
    assert_red(&ran, "container/test", "file-existence", "`/app/other.py` is not there");
    assert_red(&ran, "container/test", "metadata", "user: is `10001:10001`, expected `nobody`");
    assert_red(&ran, "container/test", "command", "does not match `Python 2`");
    shop.0.write("structure.yaml", "schemaVersion: 2.0.0\nlicenseTests:\n- debian: true\n");
    let ran = shop.run("test");
    let gate = ran.gate("container/test");
    assert_eq!(gate.verdict, Verdict::DidNotRun, "{gate:#?}");
    assert!(gate.reason.contains("licenseTests"), "{}", gate.reason);
    shop.0.write("structure.yaml", "schemaVersion: 2.0.0\n");
    assert_eq!(shop.run("test").gate("container/test").verdict, Verdict::DidNotRun);
}

#[test]
fn a_base_that_is_not_ours_and_one_that_cannot_be_had_are_told() {
    let Some(shop) = Shop::open("bases") else { return };
    shop.0.edit("Dockerfile", "ARG BASE=base.invalid/", "ARG BASE=elsewhere.invalid/");
    let ran = shop.run("build");
    assert_red(&ran, "container/build", "base-differs", "elsewhere.invalid");
    assert_eq!(rules(ran.gate("container/build")), ["base-differs"]);
    let ran = shop.0.xtask(&["container", "build", "--profile", "actions"]);
    let gate = ran.gate("container/build");
    assert_eq!(gate.verdict, Verdict::DidNotRun, "{gate:#?}");
    assert!(gate.reason.starts_with("the base `base.invalid/python:3.12` cannot be pulled"), "{}", gate.reason);
    shop.0.edit("ci/pipeline.toml", BASE, "localhost/nobody-made-it:1");
    let ran = shop.run("all");
    assert_eq!(ran.gate("container/build").fix, "make-it 3.12");
    assert_eq!(ran.gate("container/test").verdict, Verdict::DidNotRun);
    ran.assert_code(20);
}

#[test]
fn without_an_engine_or_with_a_broken_one_nothing_is_proved() {
    let Some(mut shop) = Shop::open("no engine") else { return };
    let bin = shop.0.only_programs(&["git", "sh"]);
    let ran = shop.run("all");
    for gate in &ran.report().gates {
        assert_eq!(gate.verdict, Verdict::DidNotRun, "{gate:#?}");
    }
    let gate = ran.gate("container/build");
    assert!(gate.reason.contains("neither docker nor podman is on PATH"), "{}", gate.reason);
    assert!(gate.fix.contains("apt-get install docker.io"), "{}", gate.fix);
    // It answers, and then says something that is no image.
    for said in [
        "",
        "{}",
        "[{\"Id\": 3}]",
        "[{\"Id\": \"sha256:0\", \"Os\": \"linux\", \"Architecture\": \"amd64\", \"Size\": 1, \"RootFS\": {}}]",
    ] {
        let script =
            format!("#!/bin/sh\ncase $1 in version) echo 20.0 ;; buildx) exit 1 ;; image) echo '{said}' ;; esac\n");
        std::fs::write(bin.join("docker"), script).unwrap();
        std::fs::set_permissions(bin.join("docker"), std::fs::Permissions::from_mode(0o755)).unwrap();
        let ran = shop.run("build");
        assert_eq!(
            ran.gate("container/build").verdict,
            Verdict::DidNotRun,
            "{said}: {:#?}",
            ran.gate("container/build")
        );
    }
}

const CONFIG: &str = r#"
[python]
versions = ["3.12"]
tools = "3.12"
tools_lock = "locks/tools.txt"

[tools]
locks = "tools"

[requests.health]
send = "GET /health"
body = { status = "=ok" }
timeout = "1s"

[service]
directory = "."
source = "."
run = ["app.py"]
python = "3.12"
lock = "locks/tools.txt"
port = 8000
alive = "health"
ready = "health"
starts_within = "4s"
stops_within = "2s"

[dockerfile]
files = ["Dockerfile"]

[container]
name = "shop-under-test"
dockerfile = "Dockerfile"
context = "."
files = ["app.py"]
base = "base.invalid/python:3.12@sha256:0000000000000000000000000000000000000000000000000000000000000000"
stand_in = { image = "localhost/forge-base-stand-in:3.12", make = "make-it 3.12" }
source = "https://example.org/shop"
version = "app.py"
structure = "structure.yaml"
user = 10001
largest = "300MB"
requests = ["health"]
"#;

const DOCKERFILE: &str = r#"ARG BASE=base.invalid/python:3.12@sha256:0000000000000000000000000000000000000000000000000000000000000000
FROM ${BASE}
COPY app.py /app/app.py
USER 10001:10001
HEALTHCHECK CMD ["python3", "/app/app.py", "probe"]
CMD ["python3", "/app/app.py"]
ARG VERSION=""
LABEL org.opencontainers.image.version="${VERSION}"
"#;

const APP: &str = r#"import http.client, http.server, json, signal, sys, time

VERSION = "1.2.3"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"status": "ok"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def serve():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    http.server.ThreadingHTTPServer(("0.0.0.0", 8000), Handler).serve_forever()


def probe():
    connection = http.client.HTTPConnection("127.0.0.1", 8000, timeout=2)
    connection.request("GET", "/health")
    return connection.getresponse().status != 200


if sys.argv[1:]:
    sys.exit(probe())
serve()
"#;

const STRUCTURE: &str = r#"schemaVersion: 2.0.0
metadataTest:
  user: "10001:10001"
fileExistenceTests:
  - name: app
    path: /app/app.py
    permissions: "-rw-r--r--"
    uid: 0
commandTests:
  - name: python
    command: python3
    args: [--version]
    expectedOutput: ["Python 3"]
"#;
