//! What is planted into a real namespace and found there: a key, a digest that nobody released, a vulnerability with a fix,
//! and a signature by another identity.
//!
//! Trivy's data base cannot be had, so that a stand-in answers in Trivy's words, about the real archive of the image that
//! runs. Secrets are looked for by the real gitleaks, and signatures by the real cosign.

use std::path::{Path, PathBuf};
use std::process::Command;

use xtask::model::GateReport;
use xtask::verdict::Verdict;

use super::pods::{open, rules, stranger};
use crate::guarded::aws_key;
use crate::release::run::Ended;
use crate::release::site::{Plan, Site, until};
use crate::scan_broken::script;
use crate::signing::sigstore::{But, Sigstore};
use crate::signing::{has_go, tool};

/// A site whose secrets are looked for, whose Trivy answers as told, and which no other gate's end disturbs.
fn watched(test: &str) -> Option<Site> {
    let mut site = open(test)?;
    site.project.copy_tree("xtask/config/gitleaks.toml", "xtask/config/gitleaks.toml");
    // No archive is downloaded, so that what is on PATH counts.
    site.project.write("xtask/tools/archives.toml", "");
    let bin = site.path().join("target/bin");
    std::fs::create_dir_all(&bin).unwrap();
    trivy(&bin, "[]");
    site.project.put_first(&bin);
    Some(site)
}

/// In Trivy's words: the layers and a package of the archive that it is given, and these vulnerabilities.
fn trivy(bin: &Path, vulnerabilities: &str) {
    let text = r#"#!/usr/bin/env python3
import datetime, json, sys, tarfile
if sys.argv[1] in ("version", "--version"):
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    print(json.dumps({"Version": "0.76.0", "VulnerabilityDB": {"Version": 2, "UpdatedAt": now}}))
    sys.exit(0)
archive = tarfile.open(sys.argv[sys.argv.index("--input") + 1])
manifest = json.load(archive.extractfile("manifest.json"))[0]
config = json.load(archive.extractfile(manifest["Config"]))
print(json.dumps({
    "Metadata": {"DiffIDs": config["rootfs"]["diff_ids"], "OS": {"Family": "debian", "Name": "13"}},
    "Results": [{"Target": "image", "Class": "os-pkgs", "Packages": [{"Name": "openssl"}, {"Name": "zlib"}],
                 "Vulnerabilities": json.loads('VULNERABILITIES')}],
}))
"#;
    script(&bin.join("trivy"), &text.replace("VULNERABILITIES", vulnerabilities));
}

fn vulnerability(id: &str, severity: &str, fixed: &str) -> String {
    format!(
        r#"{{"VulnerabilityID": "{id}", "PkgName": "openssl", "InstalledVersion": "3.0", "FixedVersion": "{fixed}", "Title": "bad", "Severity": "{severity}"}}"#
    )
}

fn security(site: &Site) -> Ended {
    site.start(&["monitor", "staging", "security"]).ended()
}

fn gate<'a>(ended: &'a Ended, name: &str) -> &'a GateReport {
    ended.gate(&format!("monitor/security/{name}"))
}

/// Every file below a folder that holds these words.
fn holding(folder: &Path, words: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let found = entries.flat_map(|entry| {
        let path = entry.path();
        if path.is_symlink() {
            return vec![];
        }
        if path.is_dir() {
            return holding(&path, words);
        }
        let bytes = std::fs::read(&path).unwrap_or_default();
        if String::from_utf8_lossy(&bytes).contains(words) { vec![path] } else { vec![] }
    });
    found.collect()
}

#[test]
fn a_key_in_live_configuration_is_found_and_its_value_is_nowhere() {
    if !has_go() {
        return;
    }
    let Some(site) = watched("leak") else { return };
    let well = security(&site);
    well.assert_code(0);
    assert!(gate(&well, "secrets").work.count >= 10, "{:?}", gate(&well, "secrets"));
    assert_eq!(gate(&well, "vulnerabilities").work.count, 2);
    assert_eq!(gate(&well, "drift").work.count, 2, "the Deployment and its pod, and no journal");
    let left = &well.report.as_ref().unwrap().not_configured;
    assert!(left.iter().any(|what| what == "staging: signing, with release.checked"), "{left:?}");
    eprintln!("FIGURE | monitor security of a release that is well | {:.1} s", well.took.as_secs_f64());

    let key = aws_key();
    let other = ["AK", "IA", "4YR5UACO", "6MXSN3LE"].concat();
    site.within(&["create", "configmap", "leaky", &format!("--from-literal=AWS_ACCESS_KEY_ID={key}")]);
    // A Secret is where it belongs.
    site.within(&["create", "secret", "generic", "proper", &format!("--from-literal=AWS_ACCESS_KEY_ID={key}")]);
    site.within(&["set", "env", "deployment/redis", &format!("UPSTREAM={other}")]);
    let bad = security(&site);
    bad.assert_code(10);
    let found: Vec<&str> = gate(&bad, "secrets").findings.iter().map(|finding| finding.message.as_str()).collect();
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().any(|one| one.contains("ConfigMap `leaky`, key `AWS_ACCESS_KEY_ID`")), "{found:?}");
    assert!(
        found.iter().any(|one| one.contains("Deployment `redis`, container `redis`, variable `UPSTREAM`")),
        "{found:?}"
    );
    for value in [&key, &other] {
        assert!(!bad.text.contains(value.as_str()), "{}", bad.text);
        assert_eq!(holding(&site.path().join("target"), value), Vec::<PathBuf>::new());
    }
    site.within(&["delete", "configmap", "leaky"]);
    site.within(&["set", "env", "deployment/redis", "UPSTREAM-"]);
    // A pod that goes has it as long as it is there.
    until("no pod that has the key", std::time::Duration::from_secs(90), || {
        (gate(&security(&site), "secrets").verdict == Verdict::Pass).then_some(())
    });
}

#[test]
fn a_digest_that_nobody_released_and_a_weakness_that_a_version_mends_are_found() {
    let Some(site) = watched("drift") else { return };
    let bin = site.path().join("target/bin");
    // Known, and nothing can be done; or nothing that serious.
    let borne = [vulnerability("CVE-1", "CRITICAL", ""), vulnerability("CVE-2", "MEDIUM", "3.1")];
    trivy(&bin, &format!("[{}]", borne.join(",")));
    let well = security(&site);
    assert_eq!(gate(&well, "vulnerabilities").verdict, Verdict::Pass, "{:?}", gate(&well, "vulnerabilities"));
    assert_eq!(gate(&well, "vulnerabilities").findings.len(), 2);
    trivy(&bin, &format!("[{}]", vulnerability("CVE-3", "HIGH", "3.1")));
    let bad = security(&site);
    let weak = gate(&bad, "vulnerabilities");
    assert_eq!(weak.verdict, Verdict::Fail);
    assert!(
        weak.reason.contains("openssl 3.0: bad (mended in 3.1)") && weak.reason.contains("/forge@sha256:"),
        "{weak:?}"
    );
    // What an ignore excuses of an image that is built, it excuses of one that runs.
    let text = site.project.read("ci/pipeline.toml");
    let ignore = "\n[[ignore]]\ngate = \"container/scan\"\nrule = \"CVE-3\"\nreason = \"it is not reached\"\nexpires = \"2099-12-31\"\n";
    site.project.write("ci/pipeline.toml", &(text + ignore));
    let ignored = security(&site);
    assert_eq!(gate(&ignored, "vulnerabilities").verdict, Verdict::Pass, "{:?}", gate(&ignored, "vulnerabilities"));
    assert_eq!(gate(&ignored, "drift").verdict, Verdict::Pass);

    let other = site.images.another("forge", &site.digest, &format!("by-hand-{}", std::process::id()));
    let strange = format!("{}/forge@{other}", site.images.name);
    // A pod of somebody's own, that gets a share of the users.
    stranger(&site, Some(&strange));
    let shared = security(&site);
    shared.assert_code(10);
    let found: Vec<&str> = gate(&shared, "drift").findings.iter().map(|finding| finding.message.as_str()).collect();
    assert!(found.len() == 1 && found[0].contains(&other) && found[0].contains(" runs in stranger,"), "{found:?}");
    assert_eq!(gate(&shared, "vulnerabilities").work.count, 4, "the packages of both images");
    site.within(&["delete", "pod", "stranger", "--now"]);
    // A container that somebody puts into a pod of ours.
    let pods = site.object(&["pods", "-l", "app.kubernetes.io/name=forge"]);
    let pod = pods["items"][0]["metadata"]["name"].as_str().unwrap();
    let image = format!("--image={strange}");
    let put = [
        "debug",
        pod,
        &image,
        "--container=put",
        "--profile=restricted",
        "--",
        "python",
        "-c",
        "import time; time.sleep(600)",
    ];
    site.within(&put);
    until("the container that was put there", std::time::Duration::from_secs(90), || {
        let pod = site.object(&["pod", pod]);
        let id = pod["status"]["ephemeralContainerStatuses"][0]["imageID"].as_str()?;
        (!id.is_empty()).then_some(())
    });
    assert_eq!(gate(&security(&site), "vulnerabilities").work.count, 4, "the packages of both images");
    // What was put there does not end by itself.
    site.within(&["delete", "pod", pod, "--now"]);

    site.within(&["set", "image", "deployment/forge", &format!("forge={}/forge@{other}", site.images.name)]);
    site.within(&["rollout", "status", "deployment/forge", "--timeout=120s"]);
    let drifted = security(&site);
    drifted.assert_code(10);
    let found: Vec<&str> = gate(&drifted, "drift").findings.iter().map(|finding| finding.message.as_str()).collect();
    assert!(found.iter().any(|one| one.contains("the Deployment `forge` wants") && one.contains(&other)), "{found:?}");
    assert!(found.iter().any(|one| one.contains(" runs in forge-") && one.contains(&site.digest)), "{found:?}");
    // It was released on this machine: the history hears of it by who looks.
    let mut runs = xtask::history::store::read(&site.path().join("target/xtask")).unwrap();
    let told: Vec<String> = runs.entries.pop().unwrap().journal.into_iter().map(|release| release.id).collect();
    let released: Vec<String> = site.journal().into_iter().map(|entry| entry.id).collect();
    assert!(!told.is_empty() && told == released, "{told:?} {released:?}");
    // A journal alone is nothing that runs.
    site.within(&["delete", "deployment", "forge"]);
    until("no pod", std::time::Duration::from_secs(90), || {
        let pods = site.object(&["pods", "-l", "app.kubernetes.io/name=forge"]);
        pods["items"].as_array().is_none_or(Vec::is_empty).then_some(())
    });
    let nothing = security(&site);
    nothing.assert_code(20);
    for name in ["drift", "vulnerabilities"] {
        assert_eq!(gate(&nothing, name).verdict, Verdict::DidNotRun);
        assert!(gate(&nothing, name).reason.contains("no container of the workload runs an image"), "{}", nothing.text);
    }
    // Nothing that was taken for it lies about.
    assert_eq!(holding(&site.path().join("target/xtask/left"), "images-"), Vec::<PathBuf>::new());
}

const OURS: &str = "forgetm/forgetm/.github/workflows/forgetm-ci.yml@refs/heads/main";
const ISSUER: &str = "https://token.actions.githubusercontent.com";

#[test]
fn a_signature_by_another_identity_is_refused_of_what_runs() {
    if !has_go() {
        return;
    }
    let Some(site) = Site::open("signed", Plan { more: super::pods::QUICK, ..Plan::default() }) else { return };
    site.project.xtask(&["tools", "install", "cosign"]).assert_code(0);
    // A digest of this test's own: what is signed stays with it in the registry.
    let digest = site.images.another("forge", &site.digest, &format!("signed-{}", std::process::id()));
    let image = format!("{}/forge@{digest}", site.images.name);
    site.start(&["deploy", "staging", "--image", &image]).ended().assert_code(0);
    let sigstore = Sigstore::start();
    site.project.write("ci/root.json", &sigstore.trusted_root(But::Nothing));
    site.project.write("ci/services.json", &sigstore.services());
    let issuer = format!("issuer = \"{ISSUER}\"\n");
    site.project.edit("ci/pipeline.toml", &issuer, &format!("{issuer}trusted_root = \"root.json\"\n"));
    site.project.edit("ci/staging.toml", "checked = false", "checked = true");
    let sign = |workflow: &str| {
        sigstore.becomes(workflow, ISSUER);
        let file = |name: &str| site.path().join("ci").join(name);
        let mut command = Command::new(tool("cosign"));
        command.args(["sign", "--yes", "--signing-config"]).arg(file("services.json"));
        command.arg("--trusted-root").arg(file("root.json")).arg(&image);
        command.env("ACTIONS_ID_TOKEN_REQUEST_URL", format!("{}/token?a=b", sigstore.url()));
        command.env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "of-the-job").env("GITHUB_ACTIONS", "true");
        let said = command.output().unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    };
    let found = || {
        let ended = security(&site);
        ended.assert_code(10);
        // The image of the tests is of whatever tree was built last, and may name no commit.
        let is_of_signatures = |rule: &String| rule != "no-revision";
        let rules =
            rules(&ended, "monitor/security/signature").into_iter().filter(is_of_signatures).collect::<Vec<_>>();
        let all = &gate(&ended, "signature").findings;
        (rules, all.iter().find(|one| one.rule == "refused-signature").map(|one| one.message.clone()))
    };
    assert_eq!(found().0, ["missing-signature", "missing-sbom", "missing-provenance", "missing-report"]);
    sign("forgetm/forgetm/.github/workflows/forgetm-ci.yml@refs/heads/topic");
    let (refused, message) = found();
    assert_eq!(refused[0], "refused-signature");
    let message = message.unwrap();
    assert!(message.contains("expected SAN value") && message.contains(&digest[..19]), "{message}");
    sign(OURS);
    let signed = until("a signature that counts", std::time::Duration::from_secs(30), || {
        let (rules, _) = found();
        (!rules.iter().any(|rule| rule.ends_with("-signature"))).then_some(rules)
    });
    assert_eq!(
        signed,
        ["missing-sbom", "missing-provenance", "missing-report"],
        "a signature alone is not all that is said"
    );
}
