//! `evidence export` and `verify` by the real cosign: what is exported verifies, and nothing that was changed does.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use xtask::release::evidence::{open, read, seal};
use xtask::release::journal::Entry;

use super::signing::sigstore::{But, Sigstore};
use super::signing::{has_go, tool};
use super::support::{Project, Ran};

const PASSWORD: &str = "a-pass-word";

/// The last day on which the journal says something.
fn journal() -> Value {
    let entry = |id: &str, outcome: &str, restored: &str| {
        json!({
            "id": id, "kind": "release", "image": format!("ghcr.io/o/n@sha256:{}", "a".repeat(64)),
            "commit": "b".repeat(40), "who": "ada@host", "approved_by": "grace", "strategy": "rolling",
            "started": "2026-11-24T18:15:00Z", "ended": "2026-11-24T18:16:00Z", "outcome": outcome, "restored": restored,
            "verdicts": [{"gate": "smoke", "verdict": "pass", "reason": ""}], "signer": "the key `ours.pub`",
        })
    };
    json!([entry("r1", "verified", ""), entry("r2", "failed", "r1")])
}

/// What makes the signing of a project.
fn project(signing: &str) -> Project {
    let mut project = Project::bare();
    project.copy_tree("xtask/tools/go/cosign", "xtask/tools/go/cosign");
    let python = "[python]\nversions = [\"3.12\"]\ntools = \"3.12\"\ntools_lock = \"tools.txt\"\n";
    project.write(
        "xtask/config/pipeline.toml",
        &format!("{python}[signing]\nsource = \"https://example.org/shop\"\n{signing}"),
    );
    project.write("xtask/config/production.toml", "url = \"https://shop.example\"\n");
    project.write(".gitignore", "/target/\n*.json\n*.tar\n/reports/\n");
    project.commit();
    project.set("COSIGN_PASSWORD", PASSWORD);
    project.xtask(&["tools", "install", "cosign"]).assert_code(0);
    project.write("journal.json", &journal().to_string());
    for id in ["r1", "r2"] {
        project.write(&format!("reports/{id}/report.json"), "{}\n");
    }
    project
}

/// A key pair beside the configuration.
fn key(project: &Project, name: &str) -> PathBuf {
    let folder = project.path().join("xtask/config");
    let mut command = Command::new(tool("cosign"));
    let command = command.args(["generate-key-pair", "--output-key-prefix", name]);
    let output = command.current_dir(&folder).env("COSIGN_PASSWORD", PASSWORD).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    folder.join(format!("{name}.key"))
}

fn export(project: &Project, more: &[&str]) -> Ran {
    let all = ["evidence", "export", "prod", "--journal", "journal.json", "--to", "evidence.tar"];
    project.xtask(&[&all, more].concat())
}

fn verify(project: &Project, file: &str, more: &[&str]) -> Ran {
    project.xtask(&[&["evidence", "verify", file], more].concat())
}

/// The rule of the one thing that breaks the verification, and its words.
#[track_caller]
fn refused(ran: &Ran) -> (String, String) {
    let gate = ran.assert_code(10).gate("evidence/verify");
    let [finding] = gate.findings.as_slice() else { panic!("{:?}", gate.findings) };
    (finding.rule.clone(), finding.message.clone())
}

const BY_KEY: &str = "[signing.key]\npublic = \"ours.pub\"\nlog = false\n";

#[test]
fn what_a_key_signed_verifies_and_nothing_that_was_changed() {
    if !has_go() {
        return;
    }
    let project = project(BY_KEY);
    let (ours, other) = (key(&project, "ours"), key(&project, "other"));
    let signed_by = |key: &std::path::Path| ["--key", key.to_str().unwrap(), "--reports", "reports"].map(str::to_owned);
    let args = signed_by(&ours);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let ran = export(&project, &args);
    let gate = ran.assert_code(0).gate("evidence/export");
    assert_eq!((gate.work.count, gate.findings.len()), (2, 1), "{gate:?}");
    assert!(gate.findings[0].message.starts_with("`evidence.tar`: 2 releases of `production`, 5 files, made 20"));
    let ran = verify(&project, "evidence.tar", &[]);
    assert_eq!(ran.assert_code(0).gate("evidence/verify").work.count, 5);
    assert!(ran.gate("evidence/verify").findings[0].message.ends_with("signed by the key `ours.pub`"));
    // A stranger needs no program of ours.
    let stranger = tempfile::tempdir().unwrap();
    let run = |command: &mut Command| command.current_dir(stranger.path()).output().unwrap().status.success();
    assert!(run(Command::new("tar").arg("-xf").arg(project.path().join("evidence.tar"))));
    assert!(run(Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"])));
    let public = project.path().join("xtask/config/ours.pub");
    let mut cosign = Command::new(tool("cosign"));
    cosign.args(["verify-blob", "--insecure-ignore-tlog", "--bundle", "evidence.sigstore.json", "--key"]).arg(&public);
    assert!(run(cosign.arg("evidence.tar")));

    // One byte, wherever it lies.
    let whole = std::fs::read(project.path().join("evidence.tar")).unwrap();
    let write = |bytes: &[u8]| std::fs::write(project.path().join("changed.tar"), bytes).unwrap();
    let hint = whole.windows(8).position(|part| part == b"\"hint\":\"").unwrap() + 8;
    for at in [0, 600, whole.len() / 3, hint, whole.len() - 1] {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        write(&changed);
        assert_eq!(refused(&verify(&project, "changed.tar", &[])).0, "changed", "byte {at}");
    }
    // One that knows the format and makes all sums anew has no key.
    let opened = open(&whole).unwrap();
    let (_, files) = read(&opened.signed).unwrap();
    let forged: Vec<u8> = opened.signed.iter().map(|byte| if *byte == b'g' { b'h' } else { *byte }).collect();
    write(&seal(&forged, &opened.signature).unwrap());
    let (rule, message) = refused(&verify(&project, "changed.tar", &[]));
    assert!(rule == "refused-signature" && message.contains("failed to verify signature"), "{rule}: {message}");
    let entry: Entry = serde_json::from_slice(&files["journal/r2.json"]).unwrap();
    assert_eq!((entry.restored.as_str(), entry.approved_by.as_str()), ("r1", "grace"));

    // Another key is not ours, whichever of the two is asked for.
    assert_eq!(refused(&verify(&project, "evidence.tar", &["--key", "xtask/config/other.pub"])).0, "refused-signature");
    verify(&project, "evidence.tar", &["--key", "xtask/config/absent.pub"]).assert_code(20);
    let args = signed_by(&other);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    std::fs::remove_file(project.path().join("evidence.tar")).unwrap();
    let ran = export(&project, &args);
    assert_eq!(ran.assert_code(10).gate("evidence/export").findings[0].rule, "refused-signature");
    assert!(!project.path().join("evidence.tar").exists());
    let log = project.read("target/xtask/out/logs/evidence/export.log");
    assert!(!log.contains(PASSWORD), "{log}");
}

#[test]
fn what_is_missing_is_said_and_nothing_is_no_evidence() {
    if !has_go() {
        return;
    }
    let mut project = project(BY_KEY);
    let ours = key(&project, "ours");
    let signed = ["--key", ours.to_str().unwrap()];
    let mut releases = journal();
    releases[1]["approved_by"] = json!("");
    releases[1]["reason"] = json!("the token was s3cr3t-of-the-job");
    project.write("journal.json", &releases.to_string());
    project.set("JOB_TOKEN", "s3cr3t-of-the-job");
    export(&project, &signed).assert_code(0);
    let ran = verify(&project, "evidence.tar", &[]);
    let missing: Vec<&str> =
        ran.assert_code(0).gate("evidence/verify").findings[1..].iter().map(|f| f.message.as_str()).collect();
    assert_eq!(
        missing,
        [
            "release `r1`: reports is missing: none was given",
            "release `r2`: approver is missing: nobody is recorded who approved it",
            "release `r2`: reports is missing: none was given",
        ]
    );
    let bytes = std::fs::read(project.path().join("evidence.tar")).unwrap();
    let has = |words: &str| bytes.windows(words.len()).any(|part| part == words.as_bytes());
    assert!(has("the token was ***") && !has("s3cr3t"));

    for (journal, why) in [
        ("[]", "the journal of `production` has no release"),
        ("{", "`journal.json` cannot be read"),
        ("[{\"id\": \"../x\"}]", "the journal has a release with the id `../x`"),
    ] {
        project.write("journal.json", journal);
        let ran = export(&project, &signed);
        let gate = ran.assert_code(20).gate("evidence/export");
        assert!(gate.reason.contains(why), "{}", gate.reason);
    }
    project.write("journal.json", &releases.to_string());
    export(&project, &["--reports", "nowhere", "--key", ours.to_str().unwrap()]).assert_code(20);
    // Without a key there is an identity, which only a workflow has.
    let ran = export(&project, &[]);
    assert!(ran.assert_code(20).gate("evidence/export").reason.contains("ACTIONS_ID_TOKEN_REQUEST_URL"));
    // Without a file the journal is the cluster's.
    let ran = project.xtask(&["evidence", "export", "production", "--key", ours.to_str().unwrap()]);
    assert_eq!(ran.assert_code(20).gate("evidence/export").work.count, 0);
    verify(&project, "nowhere.tar", &[]).assert_code(20);
    assert_eq!(refused(&verify(&project, "journal.json", &[])).0, "changed");
    for wrong in [
        &["evidence", "export", "nowhere"] as &[&str],
        &["evidence", "verify", "evidence.tar", "--identity", "x"],
        &["evidence", "verify", "evidence.tar", "--key", "k", "--profile", "actions"],
    ] {
        assert_eq!(project.xtask(wrong).code, 2, "{wrong:?}");
    }
    verify(&project, "evidence.tar", &["--profile", "actions"]).assert_code(20);

    // A cosign that says yes to everything is caught by bytes that nobody signed; one that says nothing, by its words.
    let tools = project.path().join("target/xtask/tools");
    std::fs::remove_file(&tools).unwrap();
    std::fs::create_dir(&tools).unwrap();
    for (script, why) in [
        ("#!/bin/sh\necho 'Verified OK' >&2\n", "cosign verifies bytes that nobody signed"),
        ("#!/bin/sh\nexit 0\n", "the signature of the evidence cannot be verified"),
        ("#!/bin/sh\nkill -9 $$\n", "the signature of the evidence cannot be verified"),
    ] {
        use std::os::unix::fs::PermissionsExt as _;
        project.hide_program("go");
        let bin = project.path().join("target/liar");
        std::fs::create_dir_all(&bin).unwrap();
        std::fs::write(bin.join("cosign"), script).unwrap();
        std::fs::set_permissions(bin.join("cosign"), std::fs::Permissions::from_mode(0o755)).unwrap();
        project.put_first(&bin);
        let ran = verify(&project, "evidence.tar", &[]);
        let gate = ran.assert_code(20).gate("evidence/verify");
        assert!(gate.reason.contains(why), "{}", gate.reason);
    }
}

#[test]
fn by_an_identity_only_the_one_that_may_sign_evidence_counts() {
    if !has_go() {
        return;
    }
    let (ci, deploy) =
        ("o/shop/.github/workflows/ci.yml@refs/heads/main", "o/shop/.github/workflows/deploy.yml@refs/heads/main");
    let issuer = "https://token.actions.example.org";
    let sigstore = Sigstore::start();
    let table = format!(
        "issuer = \"{issuer}\"\nidentities = [\"https://github.com/{ci}\"]\nevidence = [\"https://github.com/{deploy}\"]\n\
         trusted_root = \"root.json\"\nservices = \"services.json\"\n"
    );
    let mut project = project(&table);
    project.write("xtask/config/root.json", &sigstore.trusted_root(But::Nothing));
    project.write("xtask/config/services.json", &sigstore.services());
    for (name, value) in
        [("GITHUB_ACTIONS", "true"), ("GITHUB_REPOSITORY", "o/shop"), ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "of-the-job")]
    {
        project.set(name, value);
    }
    project.set("ACTIONS_ID_TOKEN_REQUEST_URL", format!("{}/token?a=b", sigstore.url()));
    let strict = ["--profile", "actions"];
    sigstore.becomes(deploy, issuer);
    export(&project, &strict).assert_code(0);
    let ran = verify(&project, "evidence.tar", &strict);
    let told = &ran.assert_code(0).gate("evidence/verify").findings[0].message;
    assert!(told.ends_with(&format!("signed by `https://github.com/{deploy}` of {issuer}")), "{told}");

    // Who signs images does not sign evidence, though the same authority vouches for it.
    let image = format!("https://github.com/{ci}");
    let (rule, message) = refused(&verify(&project, "evidence.tar", &["--identity", &image]));
    assert!(rule == "refused-signature" && message.contains("expected SAN value"), "{message}");
    for (workflow, by) in [
        (ci, issuer),
        ("o/shop/.github/workflows/deploy.yml@refs/heads/main2", issuer),
        (deploy, "https://other.example.org"),
    ] {
        sigstore.becomes(workflow, by);
        let ran = export(&project, &strict);
        assert_eq!(ran.assert_code(10).gate("evidence/export").findings[0].rule, "refused-signature", "{workflow}");
    }
    project.write("xtask/config/root.json", &sigstore.trusted_root(But::OtherLog));
    assert!(refused(&verify(&project, "evidence.tar", &strict)).1.contains("transparency log"));
    std::fs::remove_file(project.path().join("xtask/config/root.json")).unwrap();
    verify(&project, "evidence.tar", &strict).assert_code(20);
}
