//! A project with an image, a registry of its own, and a cosign that signs what it should not.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::support::{Project, Ran, repository};

/// Where the source of the project lies, so that its report's type is below.
pub const SOURCE: &str = "https://example.org/shop";

const PASSWORD: &str = "a-pass-word";

/// Whether this machine has an engine and a registry; says so where it has not.
pub fn is_possible() -> bool {
    let runs = |program: &str, args: &[&str]| {
        let run = Command::new(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
        run.is_ok_and(|status| status.success())
    };
    let missing: Vec<&str> = [("docker", ["version"]), ("docker-registry", ["--version"]), ("go", ["version"])]
        .iter()
        .filter(|(program, args)| !runs(program, args))
        .map(|(program, _)| *program)
        .collect();
    if !missing.is_empty() {
        say_not_run(&missing);
    }
    missing.is_empty()
}

/// Past the capture of a test that passes, so that everybody sees it.
#[allow(clippy::explicit_write, reason = "a print of a test that passes is captured")]
fn say_not_run(missing: &[&str]) {
    let missing = missing.join(", ");
    writeln!(std::io::stderr(), "NOT RUN: a test of signing needs {missing}, which this machine lacks").unwrap();
}

/// Whether cosign can be had, which is built; says so where it cannot.
pub fn has_go() -> bool {
    let version = Command::new("go").arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let answers = version.is_ok_and(|status| status.success());
    if !answers {
        say_not_run(&["go"]);
    }
    answers
}

/// Whether podman answers as well.
pub fn has_podman() -> bool {
    let version = Command::new("podman").args(["info"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let answers = version.is_ok_and(|status| status.success());
    if !answers {
        say_not_run(&["podman"]);
    }
    answers
}

/// A registry on loopback; it ends with this value.
pub struct Registry {
    server: Option<Child>,
    address: String,
    folder: tempfile::TempDir,
    /// Who may use it, in the format of htpasswd; everybody where it is empty.
    users: &'static str,
}

impl Registry {
    pub fn start(users: &'static str) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let mut registry = Self { server: None, address, folder: tempfile::tempdir().unwrap(), users };
        registry.up();
        registry
    }

    pub fn up(&mut self) {
        let (folder, address) = (self.folder.path().display(), &self.address);
        let users = if self.users.is_empty() {
            String::new()
        } else {
            std::fs::write(self.folder.path().join("users"), self.users).unwrap();
            format!("auth:\n  htpasswd:\n    realm: test\n    path: {folder}/users\n")
        };
        let config = format!(
            "{users}version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {folder}/images\nhttp:\n  addr: {address}\nlog:\n  accesslog:\n    disabled: false\n"
        );
        let file = self.folder.path().join("config.yml");
        std::fs::write(&file, config).unwrap();
        let log = std::fs::File::create(self.folder.path().join("log")).unwrap();
        let mut command = Command::new("docker-registry");
        let command = command.arg("serve").arg(&file).env("OTEL_TRACES_EXPORTER", "none");
        self.server = Some(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
        let begun = Instant::now();
        while std::net::TcpStream::connect(&self.address).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "the registry does not start");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn down(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }

    pub fn repository(&self) -> String {
        format!("{}/shop", self.address)
    }

    /// Every manifest that was sent.
    pub fn writes(&self) -> usize {
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap();
        log.lines().filter(|line| line.contains("\"PUT /v2/shop/manifests/")).count()
    }

    /// What the registry itself says of a tag, asked for with the types of manifests that docker and podman push.
    pub fn digest(&self, tag: &str) -> Option<String> {
        let types = ["docker.distribution.manifest.v2", "oci.image.manifest.v1"];
        let accept = types.map(|name| format!("application/vnd.{name}+json")).join(", ");
        let mut stream = std::net::TcpStream::connect(&self.address).unwrap();
        let request = format!(
            "HEAD /v2/shop/manifests/{tag} HTTP/1.1\r\nHost: {}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n",
            self.address
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.lines().find_map(|line| line.strip_prefix("Docker-Content-Digest: ")).map(str::to_owned)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.down();
    }
}

/// The project; what it made in the engine is removed with it.
pub struct Shop {
    pub project: Project,
    pub registry: Registry,
    pub commit: String,
    images: std::cell::RefCell<Vec<(&'static str, String)>>,
}

impl Shop {
    /// With `signing` as the table of that name. Committed.
    pub fn new(signing: &str) -> Self {
        Self::with(Registry::start(""), signing)
    }

    pub fn with(registry: Registry, signing: &str) -> Self {
        let mut project = Project::bare();
        project.copy_tree("xtask/tools/go/cosign", "xtask/tools/go/cosign");
        let config = format!(
            "[python]\nversions = [\"3.12\"]\ntools = \"3.12\"\ntools_lock = \"tools.txt\"\n\n[registry]\nrepository = \"{}\"\n\n[signing]\nsource = \"{SOURCE}\"\n{signing}",
            registry.repository()
        );
        project.write("xtask/config/pipeline.toml", &config);
        project.write(".gitignore", "/target/\n");
        project.commit();
        project.set("COSIGN_PASSWORD", PASSWORD);
        let commit = String::from_utf8(project.git_output(&["rev-parse", "HEAD"]).stdout).unwrap().trim().to_owned();
        let shop = Self { project, registry, commit, images: Default::default() };
        shop.project.xtask(&["tools", "install", "cosign", "crane"]).assert_code(0);
        shop
    }

    /// Makes an image that says it is of this commit, as `container build` would leave it.
    pub fn build(&self, text: &str, revision: &str) -> String {
        self.build_by("docker", text, revision)
    }

    /// The same, by another engine.
    pub fn build_by(&self, engine: &'static str, text: &str, revision: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), text).unwrap();
        let archive = folder.path().join("image.tar");
        let tar = Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(folder.path()).arg("file").status();
        assert!(tar.unwrap().success());
        let label = format!("LABEL org.opencontainers.image.revision={revision}");
        let id = said(Command::new(engine).args(["import", "--change", &label]).arg(&archive));
        self.images.borrow_mut().push((engine, id.clone()));
        let labels = json!({"org.opencontainers.image.revision": revision});
        let built = json!({"id": id, "engine": engine, "reference": "shop:test", "labels": labels});
        self.project.write("target/xtask/out/container/image.json", &built.to_string());
        id
    }

    /// The report of a run of all checks, and an SBOM, as files of the project.
    pub fn checks(&self) {
        self.project.write("target/xtask/out/report.json", &self.report().to_string());
        self.project.write("target/xtask/out/sbom/image.cdx.json", &self.sbom().to_string());
    }

    /// The id of the image that was made last.
    fn built(&self) -> String {
        let image: Value = serde_json::from_str(&self.project.read("target/xtask/out/container/image.json")).unwrap();
        format!("sha256:{}", image["id"].as_str().unwrap().trim_start_matches("sha256:"))
    }

    pub fn sbom(&self) -> Value {
        json!({
            "bomFormat": "CycloneDX", "specVersion": "1.6",
            "metadata": {"component": {"type": "container", "name": "shop", "version": self.built()}},
            "components": [{"type": "library", "name": "a", "version": "1"}],
        })
    }

    pub fn report(&self) -> Value {
        json!({
            "schema": "forge-report/1", "commit": self.commit, "dirty": false, "task": "ci", "profile": "actions",
            "verdict": "pass", "started": "2026-11-24T00:00:00Z", "duration_ms": 1, "not_configured": [], "gates": [{
                "id": "container/build", "verdict": "pass", "required": true, "cached": false,
                "work": {"count": 1, "unit": "layers"}, "tool": {"name": "docker", "version": "1"}, "inputs": "",
                "duration_ms": 1, "reason": "", "fix": "", "artifacts": [], "findings": [{
                    "rule": "image", "severity": "info", "path": null, "line": null,
                    "message": format!("{} of 1 MB", self.built()),
                }],
            }],
        })
    }

    pub fn container(&self, part: &str, more: &[&str]) -> Ran {
        self.project.xtask(&[&["container", part, "--out", "target/xtask/release"], more].concat())
    }

    pub fn push(&self, more: &[&str]) -> Ran {
        self.container("push", more)
    }

    pub fn sign(&self, more: &[&str]) -> Ran {
        self.container("sign", more)
    }

    #[track_caller]
    pub fn verify(&self, more: &[&str], code: i32) -> Vec<String> {
        let ran = self.container("verify", more);
        ran.assert_code(code);
        let gate = ran.gate("container/verify");
        // An image without its signatures is never a pass, however it is counted.
        assert_eq!(code == 0, gate.findings.is_empty() && gate.work.count == 4, "{gate:?}");
        gate.findings.iter().map(|finding| finding.rule.clone()).collect()
    }

    /// Everything that is said of the image is refused, for this reason.
    #[track_caller]
    pub fn refused(&self, more: &[&str], why: &str) {
        let ran = self.container("verify", more);
        let findings = &ran.assert_code(10).gate("container/verify").findings;
        let rules: Vec<&str> = findings.iter().map(|finding| finding.rule.as_str()).collect();
        assert_eq!(rules, ["refused-signature", "refused-sbom", "refused-provenance", "refused-report"]);
        assert!(findings.iter().all(|finding| finding.message.contains(why)), "{why}: {findings:?}");
    }

    pub fn pushed(&self) -> Value {
        serde_json::from_str(&self.project.read("target/xtask/release/container/pushed.json")).unwrap()
    }

    /// `REPOSITORY@DIGEST` of what was pushed last.
    pub fn reference(&self) -> String {
        self.pushed()["reference"].as_str().unwrap().to_owned()
    }

    /// A key pair, `FOLDER/NAME.key` and `.pub`.
    pub fn key(&self, name: &str) -> PathBuf {
        let folder = self.project.path().join("xtask/config");
        let mut command = Command::new(tool("cosign"));
        let command = command.args(["generate-key-pair", "--output-key-prefix", name]);
        said(command.current_dir(&folder).env("COSIGN_PASSWORD", PASSWORD));
        folder.join(format!("{name}.key"))
    }

    /// Signs something by a key without asking anybody whether it may.
    pub fn attest(&self, key: &Path, image: &str, predicate_type: &str, predicate: &Value) {
        let folder = self.project.path().join("target/attest");
        std::fs::create_dir_all(&folder).unwrap();
        let write = |name: &str, text: &str| {
            std::fs::write(folder.join(name), text).unwrap();
            folder.join(name)
        };
        let predicate = write("predicate.json", &predicate.to_string());
        let services = write("services.json", xtask::tools::cosign::NO_SERVICES);
        let root = write("root.json", xtask::tools::cosign::NO_ROOT);
        let mut command = Command::new(tool("cosign"));
        let signs = predicate_type == xtask::tools::cosign::SIGNATURE;
        command.args([if signs { "sign" } else { "attest" }, "--yes", "--key"]).arg(key);
        command.arg("--signing-config").arg(services).arg("--trusted-root").arg(root);
        if !signs {
            command.args(["--type", predicate_type, "--predicate"]).arg(predicate);
        }
        said(command.arg(image).env("COSIGN_PASSWORD", PASSWORD));
    }

    /// What `cosign verify` itself says of a signature by a key.
    pub fn cosign_verifies(&self, public: &str, image: &str) -> bool {
        let mut command = Command::new(tool("cosign"));
        let command = command.args(["verify", "--insecure-ignore-tlog", "--key", public, image]);
        command.current_dir(self.project.path().join("xtask/config")).output().unwrap().status.success()
    }

    pub fn crane(&self, args: &[&str]) -> String {
        said(Command::new(tool("crane")).args(args))
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        for (engine, id) in self.images.borrow().iter() {
            let _gone = Command::new(engine).args(["rmi", "--force", id]).stdout(Stdio::null()).status();
        }
    }
}

/// What the pipeline installed for all tests.
pub fn tool(name: &str) -> PathBuf {
    let tools = repository().join("target/xtask-tests/tools");
    let folders = std::fs::read_dir(tools).unwrap().map(|entry| entry.unwrap().path());
    let made = folders.map(|folder| folder.join("bin").join(name)).filter(|path| path.is_file());
    made.max_by_key(|path| path.metadata().unwrap().modified().unwrap()).unwrap()
}

#[track_caller]
fn said(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
