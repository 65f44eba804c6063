//! A small project with every subject that `scan` and `sbom` know, in which every gate is green.
//!
//! What lies in the world outside is here: OSV answers on loopback, and RustSec's advisories are a git repository
//! beside the project. Trivy's data base cannot be had, so that it is not declared.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::support::Project;

/// Every gate that the project is there for.
pub const GUARDS: [&str; 3] = ["ci", "--only", "policy,scan,sbom"];

/// The project and its surroundings, which end with this value.
pub struct Guarded {
    pub project: Project,
    pub osv: Osv,
    advisories: Project,
}

impl Guarded {
    /// Committed, and green.
    pub fn new() -> Self {
        let osv = Osv::start();
        let advisories = Project::bare();
        // One advisory of a crate that the project does not use: an empty data base proves nothing.
        advisories.write("crates/nobody/RUSTSEC-2026-0001.md", &advisory("RUSTSEC-2026-0001", "nobody"));
        advisories.commit();
        let mut project = Project::bare();
        project.use_config("ci");
        project.copy_tree("backend/requirements/tools.txt", "locks/tools.txt");
        for name in ["runtime", "tests"] {
            project.write(&format!("locks/{name}.txt"), IDNA);
        }
        project.copy_tree("xtask/tools", "tools");
        project.copy_tree("xtask/config/gitleaks.toml", "ci/gitleaks.toml");
        let config = CONFIG.replace("@OSV@", &osv.url()).replace("@ADVISORIES@", &advisories.url());
        project.write("ci/pipeline.toml", &config);
        project.write(".gitignore", "/target/\n__pycache__/\n");
        project.write("pyproject.toml", "[project]\nname = \"shop\"\nversion = \"1\"\ndependencies = [\"idna\"]\n");
        project.write("shop/__init__.py", "");
        project.write("shop/api.py", API);
        project.write(
            "checks/test_api.py",
            "from shop.api import price\n\n\ndef test_apple():\n    assert price(\"apple\") == {\"price\": 3}\n",
        );
        project.write("Dockerfile", DOCKERFILE);
        project.write(".github/workflows/ci.yml", WORKFLOW);
        project.write("k8s/base/kustomization.yaml", "resources:\n- shop.yaml\n");
        project.write("k8s/base/shop.yaml", MANIFEST);
        project.write("run.sh", "#!/bin/sh\nset -eu\nexec python -m shop\n");
        project.write("Cargo.toml", "[package]\nname = \"shop\"\nversion = \"1.0.0\"\nedition = \"2024\"\n\n[lib]\npath = \"lib.rs\"\n\n[dependencies]\nitoa = \"=1.0.15\"\n");
        project.write("Cargo.lock", CARGO_LOCK);
        project.write("lib.rs", "");
        project.commit();
        Self { project, osv, advisories }
    }

    /// The same, after a run in which every gate passed: what is planted then runs again only what depends on it.
    pub fn green() -> Self {
        let guarded = Self::new();
        guarded.project.git(&["tag", "first"]);
        guarded.project.xtask(&GUARDS).assert_code(0);
        guarded
    }

    /// Everything planted is gone, commits and branches too.
    pub fn revert(&self) {
        self.project.git(&["checkout", "-q", "-f", "-B", "main", "first"]);
        self.project.git(&["clean", "-fdq"]);
        self.osv.forget();
    }

    /// Publishes an advisory of a crate of the project, as of now.
    pub fn advise(&self, id: &str, krate: &str) {
        self.advisories.write(&format!("crates/{krate}/{id}.md"), &advisory(id, krate));
        self.advisories.commit();
    }

    /// Takes an advisory back.
    pub fn withdraw(&self, id: &str, krate: &str) {
        std::fs::remove_file(self.advisories.path().join(format!("crates/{krate}/{id}.md"))).unwrap();
        self.advisories.commit();
    }

    /// Publishes a file among the advisories, whatever it holds.
    pub fn publish(&self, path: &str, text: &str) {
        self.advisories.write(path, text);
        self.advisories.commit();
    }

    /// Makes the newest commit of the advisories as old as that (`2020-01-01T00:00:00`).
    pub fn age_advisories(&self, date: &str) {
        self.advisories.git_at(date, &["commit", "-q", "--amend", "--no-edit", "--allow-empty", "--date", date]);
    }

    /// Where the advisories lie, for a test that breaks them.
    pub fn advisories(&self) -> PathBuf {
        self.advisories.path().to_owned()
    }
}

/// A key of AWS, in no source file as a whole.
pub fn aws_key() -> String {
    ["AK", "IA", "3XQ7TZBN", "5LWRM2KD"].concat()
}

/// A private key, in no source file as a whole.
pub fn private_key() -> String {
    let body: String =
        (0..8).map(|i| format!("MIIEowIBAAKCAQEA{i}x7Qd2vYtR9mZk4Lw8Nf3Hs6Pj1Gb5Tc0Va/uXeKyWiSo\n")).collect();
    let (begin, end) = ("-----BEGIN RSA PRIV", "-----END RSA PRIV");
    format!("{begin}ATE KEY-----\n{body}{end}ATE KEY-----\n")
}

fn advisory(id: &str, krate: &str) -> String {
    format!(
        "```toml\n[advisory]\nid = \"{id}\"\npackage = \"{krate}\"\ndate = \"2026-01-02\"\nurl = \"https://example.org/{id}\"\n\
         cvss = \"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H\"\n\n[versions]\npatched = [\">= 99.0.0\"]\n```\n\n# Planted\n\nA planted weakness.\n"
    )
}

/// OSV's API on loopback: knows no vulnerability but those that it is told.
pub struct Osv {
    address: std::net::SocketAddr,
    known: Arc<Mutex<Known>>,
}

#[derive(Default)]
struct Known {
    /// Answers to `POST /v1/query` by package name, and to `GET /v1/vulns/ID` by id.
    packages: BTreeMap<String, String>,
    details: BTreeMap<String, String>,
    /// What is sent in place of every answer.
    broken: Option<String>,
    asked: Vec<String>,
}

impl Osv {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let known = Arc::new(Mutex::new(Known::default()));
        let shared = known.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                std::thread::spawn(move || answer(stream, &shared));
            }
        });
        Self { address, known }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A vulnerability of every version of a package, as OSV answers it (recorded, cut to what is read).
    pub fn knows(&self, package: &str, id: &str, severity: &str, fixed: Option<&str>) {
        let events = fixed.map_or(String::new(), |version| format!(", {{\"fixed\": \"{version}\"}}"));
        let range = format!(r#"{{"type": "ECOSYSTEM", "events": [{{"introduced": "0"}}{events}]}}"#);
        let affected = format!(r#"{{"package": {{"name": "{package}", "ecosystem": "PyPI"}}, "ranges": [{range}]}}"#);
        let vuln = format!(
            r#"{{"id": "{id}", "summary": "a planted weakness", "published": "2026-01-02T03:04:05Z", "modified": "2026-01-03T03:04:05Z",
                "database_specific": {{"severity": "{severity}"}}, "affected": [{affected}]}}"#
        );
        let mut known = self.known.lock().unwrap();
        known.packages.insert(package.to_owned(), format!(r#"{{"vulns": [{vuln}]}}"#));
        known.details.insert(id.to_owned(), vuln);
    }

    /// Everything is forgotten, and answers are whole again.
    pub fn forget(&self) {
        *self.known.lock().unwrap() = Known::default();
    }

    /// Every answer is this text from now on, status line included.
    pub fn breaks(&self, response: &str) {
        self.known.lock().unwrap().broken = Some(response.to_owned());
    }

    /// The packages that were asked for.
    pub fn asked(&self) -> Vec<String> {
        self.known.lock().unwrap().asked.clone()
    }
}

fn answer(mut stream: TcpStream, known: &Mutex<Known>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut request = String::new();
        if !matches!(reader.read_line(&mut request), Ok(1..)) {
            return;
        }
        let mut length = 0;
        loop {
            let mut header = String::new();
            if !matches!(reader.read_line(&mut header), Ok(1..)) || header.trim().is_empty() {
                break;
            }
            if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let response = {
            let mut known = known.lock().unwrap();
            let found = if request.starts_with("POST /v1/query ") {
                let asked: serde_json::Value = serde_json::from_slice(&body).unwrap();
                let name = asked["package"]["name"].as_str().unwrap().to_owned();
                known.asked.push(name.clone());
                Some(known.packages.get(&name).cloned().unwrap_or_else(|| "{}".to_owned()))
            } else {
                let id =
                    request.split(' ').nth(1).unwrap_or_default().rsplit('/').next().unwrap_or_default().to_owned();
                known.details.get(&id).cloned()
            };
            known.broken.clone().unwrap_or_else(|| match found {
                Some(text) => format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{text}",
                    text.len()
                ),
                None => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
            })
        };
        if stream.write_all(response.as_bytes()).is_err() || response.contains("Connection: close") {
            return;
        }
    }
}

const IDNA: &str = "idna==3.20 \\
    --hash=sha256:a7db850025b95ded1eae8a46181a1a6c56c92c96f0e2b005d9ff8dc0210cab44 \\
    --hash=sha256:ab7ae7122974553370f0bdb919e1a960b2cd1bc1ef0276416d896db81c14582c
";

const CONFIG: &str = r#"
[python]
versions = ["3.12"]
tools = "3.12"
tools_lock = "locks/tools.txt"

[tools]
locks = "tools"

[tests]
directory = "."
package = "shop"
lock = "locks/tests.txt"
inputs = ["shop", "checks", "pyproject.toml"]

[secrets]
rules = "ci/gitleaks.toml"

[sast]
files = ["shop"]
tests = ["checks"]
python = "3.12"

[dependencies]
osv = "@OSV@"
cargo_lock = "Cargo.lock"
advisories = "@ADVISORIES@"

[dockerfile]
files = ["Dockerfile"]

[workflows]
directory = ".github/workflows"

[manifests]
overlays = ["k8s/base"]
kubernetes = "1.32"

[shell]
files = ["run.sh"]

[sbom]
project = "pyproject.toml"
lock = "locks/runtime.txt"
cargo = "Cargo.toml"

[licences]
allow = ["MIT", "Apache-2.0", "BSD-3-Clause"]

[policy]
base = ["main"]

[policy.severity]
"scan/bandit" = "medium"
"scan/kube-score" = "high"
"#;

const API: &str = r#"from typing import Any

PRICES = {"apple": 3}


def price(item: str) -> dict[str, Any]:
    return {"price": PRICES.get(item, 0)}
"#;

const DOCKERFILE: &str = "FROM scratch\nCOPY shop /shop\nUSER 10001\nENTRYPOINT [\"/shop/run\"]\n";

const WORKFLOW: &str = r#"name: CI
on:
  push:
    branches: [main]
permissions: {}
concurrency:
  group: ci-${{ github.ref }}
  cancel-in-progress: true
jobs:
  check:
    name: check
    runs-on: ubuntu-24.04
    permissions:
      contents: read # to check out
    steps:
      - name: check out
        uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1
        with:
          persist-credentials: false
      - name: check
        run: cargo xtask ci
"#;

const MANIFEST: &str = r#"apiVersion: apps/v1
kind: Deployment
metadata:
  name: shop
spec:
  replicas: 2
  selector:
    matchLabels: {app: shop}
  template:
    metadata:
      labels: {app: shop}
    spec:
      securityContext:
        runAsNonRoot: true
        seccompProfile: {type: RuntimeDefault}
      containers:
      - name: shop
        image: registry.invalid/shop:1.0.0
        imagePullPolicy: Always
        ports: [{containerPort: 8080}]
        securityContext:
          runAsUser: 10001
          runAsGroup: 10001
          readOnlyRootFilesystem: true
          allowPrivilegeEscalation: false
          capabilities: {drop: [ALL]}
        resources:
          requests: {cpu: 100m, memory: 64Mi, ephemeral-storage: 16Mi}
          limits: {cpu: 100m, memory: 64Mi, ephemeral-storage: 16Mi}
        readinessProbe:
          httpGet: {path: /ready, port: 8080}
        livenessProbe:
          httpGet: {path: /health, port: 8080}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: shop
spec:
  minAvailable: 1
  selector:
    matchLabels: {app: shop}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: shop
spec:
  podSelector:
    matchLabels: {app: shop}
  policyTypes: [Ingress, Egress]
"#;

const CARGO_LOCK: &str = r#"# This file is automatically @generated by Cargo.
version = 4

[[package]]
name = "itoa"
version = "1.0.15"
source = "registry+https://github.com/rust-lang/crates.io-index"
checksum = "4a5f13b858c8d314ee3e8f639011f7ccefe71f97f96e50151fb991f267928e2c"

[[package]]
name = "shop"
version = "1.0.0"
dependencies = [
 "itoa",
]
"#;
