//! Images that are pushed, signed and verified: a real engine, a real registry on loopback, the real cosign.

mod der;
mod shop;
mod sigstore;

use serde_json::json;
use shop::{SOURCE, Shop, is_possible, sbom};
use sigstore::{But, Sigstore};
use xtask::tools::cosign::{PROVENANCE, SBOM, SIGNATURE};

const BY_KEY: &str = "[signing.key]\npublic = \"ours.pub\"\nlog = false\n";

#[test]
fn an_image_is_pushed_once_and_no_tag_is_taken_from_another() {
    if !is_possible() {
        return;
    }
    let mut shop = Shop::new(BY_KEY);
    let absent = shop.push(&[]);
    absent.assert_code(20);
    assert_eq!(absent.gate("container/push").reason, "`target/xtask/out/container/image.json` is not there");
    shop.build("no commit", "latest");
    assert_eq!(rules(&shop.push(&[]).assert_code(10).report().gates[0]), ["no-revision"]);

    let id = shop.build("one", &shop.commit);
    shop.push(&["--tag", "v1"]).assert_code(0);
    let first = shop.pushed();
    let digest = shop.registry.digest(&shop.commit).unwrap();
    assert_eq!((first["digest"].as_str(), first["id"].as_str()), (Some(digest.as_str()), Some(id.as_str())));
    assert_eq!(first["reference"], format!("{}@{digest}", shop.registry.repository()));
    assert_eq!(first["tags"], json!([shop.commit, "v1"]));
    assert_eq!(shop.registry.digest("v1").as_ref(), Some(&digest));

    // The second push writes nothing.
    let writes = shop.registry.writes();
    assert!(writes >= 2, "the registry's log is not what it was");
    shop.push(&["--tag", "v1"]).assert_code(0);
    assert_eq!((shop.registry.writes(), shop.pushed()), (writes, first));

    // Another image of the same commit does not get its tag, and that of a release neither.
    shop.build("two", &shop.commit);
    assert_eq!(rules(&shop.push(&[]).assert_code(10).report().gates[0]), ["tag-taken"]);
    assert_eq!((shop.registry.writes(), shop.registry.digest(&shop.commit)), (writes, Some(digest.clone())));
    assert!(!shop.project.path().join("target/xtask/out/container/pushed.json").exists());
    let other = "b".repeat(40);
    shop.build("three", &other);
    let taken = shop.push(&["--tag", "v1"]);
    assert_eq!(rules(&taken.assert_code(10).report().gates[0]), ["tag-taken"]);
    assert_eq!(shop.registry.digest("v1"), Some(digest.clone()));
    shop.push(&["--tag", "v1", "--move-tag"]).assert_code(0);
    assert_ne!(shop.registry.digest("v1"), Some(digest));
    assert_eq!(shop.registry.digest("v1"), shop.registry.digest(&other));

    shop.registry.down();
    let gone = shop.push(&[]);
    gone.assert_code(20);
    assert!(gone.gate("container/push").reason.contains("cannot be reached"), "{:?}", gone.gate("container/push"));
    assert_eq!(shop.push(&["--tag", "a tag"]).code, 2);
}

#[test]
fn what_a_key_signed_is_verified_and_everything_else_is_named() {
    if !is_possible() {
        return;
    }
    let mut shop = Shop::new(BY_KEY);
    let (ours, other) = (shop.key("ours"), shop.key("other"));
    shop.build("one", &shop.commit);
    shop.push(&[]).assert_code(0);
    shop.checks();
    let missing = ["missing-signature", "missing-sbom", "missing-provenance", "missing-report"];
    assert_eq!(shop.verify(&[], 10), missing);

    // Nothing is signed that is not green, or is of another commit.
    let report = |field: &str, value: serde_json::Value| {
        let mut report = shop.report();
        report[field] = value;
        report
    };
    let key = ours.to_str().unwrap();
    for (field, value, rule) in [
        ("verdict", json!("fail"), "report-not-passed"),
        ("commit", json!("b".repeat(40)), "report-of-other-commit"),
        ("dirty", json!(true), "report-of-changed-tree"),
        ("task", json!("docs"), "partial-report"),
    ] {
        shop.project.write("target/checks/report.json", &report(field, value).to_string());
        assert_eq!(rules(&shop.sign(&["--key", key]).assert_code(10).report().gates[0]), [rule]);
    }
    assert_eq!(shop.verify(&[], 10), missing);

    shop.checks();
    let signed = shop.sign(&["--key", key]);
    assert_eq!(signed.assert_code(0).gate("container/sign").work.count, 4);
    assert_eq!(shop.verify(&[], 0), [""; 0]);
    let image = shop.reference();
    assert_eq!(shop.verify(&["--image", &format!("{}:{}", shop.registry.repository(), shop.commit)], 0), [""; 0]);
    let without_password = shop
        .project
        .command(&["container", "sign", "--report", "target/checks/report.json", "--key", key])
        .env_remove("COSIGN_PASSWORD")
        .output()
        .unwrap();
    assert_eq!(without_password.status.code(), Some(20));
    let log = shop.project.read("target/xtask/out/logs/container/sign.log");
    assert!(!log.contains("a-pass-word"), "{log}");

    // Another key is not ours, whichever of the two is asked for.
    let by_other = shop.verify(&["--key", "xtask/config/other.pub"], 10);
    assert_eq!(by_other, ["refused-signature", "refused-sbom", "refused-provenance", "refused-report"]);
    let usage = shop.project.xtask(&["container", "verify", "--profile", "actions", "--key", "xtask/config/other.pub"]);
    assert_eq!(usage.code, 2);
    let no_log = shop.project.xtask(&["container", "verify", "--profile", "actions"]);
    no_log.assert_code(20);
    assert!(no_log.gate("container/verify").reason.contains("signing.key.log = false"));

    // One by one: images of which something is not said, or is said wrongly, by the right key.
    let commit = shop.commit.clone();
    let provenance = |commit: &str| json!({"buildDefinition": {"resolvedDependencies": [{"uri": "git+x", "digest": {"gitCommit": commit}}]}, "runDetails": {}});
    let report_type = format!("{SOURCE}/forge-report/1");
    let good = [
        (SIGNATURE, json!({})),
        (SBOM, sbom()),
        (PROVENANCE, provenance(&commit)),
        (report_type.as_str(), shop.report()),
    ];
    let planted = [
        ("all", None, None, vec![]),
        ("unsigned", Some(SIGNATURE), None, vec!["missing-signature"]),
        ("without SBOM", Some(SBOM), None, vec!["missing-sbom"]),
        ("without provenance", Some(PROVENANCE), None, vec!["missing-provenance"]),
        ("without report", Some(report_type.as_str()), None, vec!["missing-report"]),
        ("empty SBOM", Some(SBOM), Some(json!({"bomFormat": "CycloneDX"})), vec!["empty-sbom"]),
        ("other commit", Some(PROVENANCE), Some(provenance("c")), vec!["provenance-of-other-commit"]),
        ("failed", Some(report_type.as_str()), Some(report("verdict", json!("fail"))), vec!["report-not-passed"]),
        (
            "not run",
            Some(report_type.as_str()),
            Some(report("verdict", json!("did_not_run"))),
            vec!["report-not-passed"],
        ),
        (
            "checks of another commit",
            Some(report_type.as_str()),
            Some(report("commit", json!("b".repeat(40)))),
            vec!["report-of-other-commit"],
        ),
    ];
    for (text, which, instead, expected) in planted {
        shop.build(text, &commit);
        shop.push(&["--move-tag"]).assert_code(0);
        let image = shop.reference();
        for (predicate_type, predicate) in &good {
            let is_it = which == Some(*predicate_type);
            let predicate = instead.as_ref().filter(|_| is_it).unwrap_or(predicate);
            if !is_it || instead.is_some() {
                shop.attest(&ours, &image, predicate_type, predicate);
            }
        }
        assert_eq!(shop.verify(&[], if expected.is_empty() { 0 } else { 10 }), expected, "{text}");
    }

    // What another key says of an image does not stand in for what ours did not say.
    shop.build("by another", &commit);
    shop.push(&["--move-tag"]).assert_code(0);
    let by_another = shop.reference();
    good.iter()
        .take(3)
        .for_each(|(predicate_type, predicate)| shop.attest(&ours, &by_another, predicate_type, predicate));
    shop.attest(&other, &by_another, &report_type, &shop.report());
    assert_eq!(shop.verify(&[], 10), ["missing-report"]);

    // What was said of one image is put beside another one.
    shop.build("foreign words", &commit);
    shop.push(&["--move-tag"]).assert_code(0);
    let foreign = shop.reference();
    let beside = |image: &str| image.replace("@sha256:", ":sha256-");
    shop.crane(&["copy", &beside(&image), &beside(&foreign)]);
    let refused = ["refused-signature", "refused-sbom", "refused-provenance", "refused-report"];
    assert_eq!(shop.verify(&[], 10), refused);

    // A tag that was moved after signing: by digest the image is as good as before, by tag it is another one.
    shop.build("evil", &commit);
    shop.push(&["--move-tag"]).assert_code(0);
    assert_eq!(shop.verify(&["--image", &image], 0), [""; 0]);
    let by_tag = format!("{}:{commit}", shop.registry.repository());
    assert_eq!(shop.verify(&["--image", &by_tag], 10), missing);
    let mut pushed = shop.pushed();
    pushed["digest"] = json!(image.split('@').nth(1).unwrap());
    pushed["reference"] = json!(image);
    shop.project.write("target/xtask/out/container/pushed.json", &pushed.to_string());
    assert_eq!(shop.verify(&[], 10), ["moved-tag"]);

    let unknown = format!("{}:nothing", shop.registry.repository());
    shop.verify(&["--image", &unknown], 20);
    assert_eq!(shop.project.xtask(&["container", "verify", "--image", "shop"]).code, 2);
    shop.registry.down();
    shop.verify(&["--image", &image], 20);
    let gone = shop.sign(&["--key", key]);
    gone.assert_code(20);
    assert!(gone.gate("container/sign").reason.contains("cannot be reached"));
}

const WORKFLOW: &str = "owner/shop/.github/workflows/release.yml@refs/heads/main";
const ISSUER: &str = "https://token.actions.example.org";

#[test]
fn only_exactly_this_workflow_of_this_issuer_counts() {
    if !is_possible() {
        return;
    }
    let sigstore = Sigstore::start();
    let table = format!(
        "issuer = \"{ISSUER}\"\nidentities = [\"https://github.com/{WORKFLOW}\"]\ntrusted_root = \"root.json\"\nservices = \"services.json\"\n"
    );
    let mut shop = Shop::new(&table);
    shop.checks();
    shop.project.write("xtask/config/root.json", &sigstore.trusted_root(But::Nothing));
    shop.project.write("xtask/config/services.json", &sigstore.services());
    // Outside of a workflow there is no identity to sign with.
    shop.build("keyless", &shop.commit);
    shop.push(&[]).assert_code(0);
    let nobody = shop.sign(&[]);
    assert!(nobody.assert_code(20).gate("container/sign").reason.contains("ACTIONS_ID_TOKEN_REQUEST_URL"));

    let commit = shop.commit.clone();
    for (name, value) in [
        ("GITHUB_ACTIONS", "true"),
        ("GITHUB_SHA", commit.as_str()),
        ("GITHUB_WORKFLOW_REF", WORKFLOW),
        ("GITHUB_REPOSITORY", "owner/shop"),
        ("GITHUB_RUN_ID", "7"),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "of-the-job"),
    ] {
        shop.project.set(name, value);
    }
    shop.project.set("ACTIONS_ID_TOKEN_REQUEST_URL", format!("{}/token?a=b", sigstore.url()));
    let strict = ["--profile", "actions"];
    sigstore.becomes(WORKFLOW, ISSUER);
    assert_eq!(shop.sign(&strict).assert_code(0).gate("container/sign").work.count, 4);
    assert_eq!(shop.verify(&strict, 0), [""; 0]);

    // The same image, held against roots that do not know one of the services.
    let refused = ["refused-signature", "refused-sbom", "refused-provenance", "refused-report"];
    for but in [But::EndedAuthority, But::OtherLog, But::OtherCertificateLog] {
        shop.project.write("xtask/config/root.json", &sigstore.trusted_root(but));
        assert_eq!(shop.verify(&strict, 10), refused, "{but:?}");
    }
    let foreign = Sigstore::start();
    shop.project.write("xtask/config/root.json", &foreign.trusted_root(But::Nothing));
    assert_eq!(shop.verify(&strict, 10), refused);
    std::fs::remove_file(shop.project.path().join("xtask/config/root.json")).unwrap();
    shop.verify(&strict, 20);
    shop.project.write("xtask/config/root.json", &sigstore.trusted_root(But::Nothing));
    assert_eq!(shop.verify(&strict, 0), [""; 0]);

    // Each signed by the same authority into the same log, by somebody who is not exactly the one.
    for (workflow, issuer) in [
        ("owner/shop/.github/workflows/other.yml@refs/heads/main", ISSUER),
        ("owner/shop/.github/workflows/release.yml@refs/heads/topic", ISSUER),
        ("owner/shop/.github/workflows/release.yml@refs/heads/main2", ISSUER),
        ("owner/shop/.github/workflows/release.yml@refs/tags/main", ISSUER),
        ("other/shop/.github/workflows/release.yml@refs/heads/main", ISSUER),
        (WORKFLOW, "https://token.other.example.org"),
        (WORKFLOW, "https://token.actions.example.org.evil.example"),
    ] {
        shop.build(&format!("{workflow} {issuer}"), &commit);
        shop.push(&["--move-tag"]).assert_code(0);
        sigstore.becomes(workflow, issuer);
        shop.project.set("GITHUB_WORKFLOW_REF", workflow);
        shop.sign(&strict).assert_code(0);
        assert_eq!(shop.verify(&strict, 10), refused, "{workflow} {issuer}");
    }
    // A provenance that names another builder than its signer.
    shop.build("other builder", &commit);
    shop.push(&["--move-tag"]).assert_code(0);
    sigstore.becomes(WORKFLOW, ISSUER);
    shop.project.set("GITHUB_WORKFLOW_REF", "owner/shop/.github/workflows/other.yml@refs/heads/main");
    shop.sign(&strict).assert_code(0);
    assert_eq!(shop.verify(&strict, 10), ["other-builder"]);
    let unlisted = [
        "container",
        "verify",
        "--identity",
        "https://github.com/owner/shop/.github/workflows/other.yml@refs/heads/main",
    ];
    assert_eq!(shop.project.xtask(&unlisted).code, 2);
    // The workflow of another commit does not sign this image.
    shop.project.set("GITHUB_SHA", "d".repeat(40));
    assert_eq!(rules(&shop.sign(&strict).assert_code(10).report().gates[0]), ["image-of-other-commit"]);
}

#[test]
fn a_dry_run_prints_the_exact_commands_and_changes_nothing() {
    let project = super::support::Project::bare();
    project.write(
        "xtask/config/pipeline.toml",
        "[python]\nversions = [\"3.12\"]\ntools = \"3.12\"\ntools_lock = \"t\"\n[registry]\nrepository = \"ghcr.io/o/n\"\n\
         [signing]\nsource = \"https://s\"\nissuer = \"https://i\"\nidentities = [\"https://w\"]\n",
    );
    for (args, expected) in [
        (vec!["push", "--tag", "v1"], "crane tag 'ghcr.io/o/n@{digest}' v1"),
        (vec!["push"], "docker push 'ghcr.io/o/n:{commit}'"),
        (vec!["sign", "--report", "r.json"], "cosign sign --yes 'ghcr.io/o/n@{digest}'"),
        (
            vec!["verify"],
            "cosign verify-attestation --certificate-identity https://w --certificate-oidc-issuer https://i --trusted-root '{trusted root}' --type https://s/forge-report/1 'ghcr.io/o/n@{digest}'",
        ),
    ] {
        let ran = project.xtask(&[&["container"], args.as_slice(), &["--dry-run"]].concat());
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(ran.stdout.contains(expected) && !ran.stdout.contains("regexp"), "{}", ran.stdout);
        assert!(ran.report.is_none());
    }
}

fn rules(gate: &xtask::model::GateReport) -> Vec<&str> {
    gate.findings.iter().map(|finding| finding.rule.as_str()).collect()
}
