//! By an identity (R13), with a certificate authority and logs of our own.

use super::rules;
use super::shop::{Shop, is_possible};
use super::sigstore::{But, Sigstore};

const WORKFLOW: &str = "owner/shop/.github/workflows/release.yml@refs/heads/main";
const DEVELOP: &str = "owner/shop/.github/workflows/release.yml@refs/heads/develop";
const ISSUER: &str = "https://token.actions.example.org";

#[test]
fn only_exactly_this_workflow_of_this_issuer_counts() {
    if !is_possible() {
        return;
    }
    let sigstore = Sigstore::start();
    let table = format!(
        "issuer = \"{ISSUER}\"\nidentities = [\"https://github.com/{WORKFLOW}\", \"https://github.com/{DEVELOP}\"]\ntrusted_root = \"root.json\"\nservices = \"services.json\"\n"
    );
    let mut shop = Shop::new(&table);
    shop.project.write("xtask/config/root.json", &sigstore.trusted_root(But::Nothing));
    shop.project.write("xtask/config/services.json", &sigstore.services());
    // Outside of a workflow there is no identity to sign with.
    shop.build("keyless", &shop.commit);
    shop.checks();
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
    for (but, why) in [
        (But::EndedAuthority, "leaf certificate verification failed"),
        (But::OtherAuthority, "leaf certificate verification failed"),
        (But::OtherLog, "not enough verified log entries from transparency log: 0 < 1"),
        (But::OtherCertificateLog, "only able to verify 0 SCT entries"),
    ] {
        shop.project.write("xtask/config/root.json", &sigstore.trusted_root(but));
        shop.refused(&strict, why);
    }
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
        shop.checks();
        shop.push(&["--move-tag"]).assert_code(0);
        sigstore.becomes(workflow, issuer);
        shop.project.set("GITHUB_WORKFLOW_REF", workflow);
        shop.sign(&strict).assert_code(0);
        let got = if workflow == WORKFLOW { issuer } else { workflow };
        let expected = if workflow == WORKFLOW { "expected issuer value" } else { "expected SAN value" };
        shop.refused(&strict, expected);
        shop.refused(&strict, got);
    }
    // One of two that may sign, where only the other one will do.
    shop.build("of develop", &commit);
    shop.checks();
    shop.push(&["--move-tag"]).assert_code(0);
    sigstore.becomes(DEVELOP, ISSUER);
    shop.project.set("GITHUB_WORKFLOW_REF", DEVELOP);
    shop.sign(&strict).assert_code(0);
    assert_eq!(shop.verify(&strict, 0), [""; 0]);
    let main = format!("https://github.com/{WORKFLOW}");
    shop.refused(&["--profile", "actions", "--identity", &main], "expected SAN value");
    // A certificate that ended before it was used signs nothing.
    shop.build("late", &commit);
    shop.checks();
    shop.push(&["--move-tag"]).assert_code(0);
    sigstore.becomes(WORKFLOW, ISSUER);
    shop.project.set("GITHUB_WORKFLOW_REF", WORKFLOW);
    sigstore.is_late(true);
    let late = shop.sign(&strict);
    assert!(late.assert_code(20).gate("container/sign").reason.contains("certificate"), "{}", late.stdout);
    assert_eq!(shop.verify(&strict, 10).first().map(String::as_str), Some("missing-signature"));
    sigstore.is_late(false);
    // A provenance that names another builder than its signer.
    shop.build("other builder", &commit);
    shop.checks();
    shop.push(&["--move-tag"]).assert_code(0);
    sigstore.becomes(WORKFLOW, ISSUER);
    shop.project.set("GITHUB_WORKFLOW_REF", "owner/shop/.github/workflows/other.yml@refs/heads/main");
    shop.sign(&strict).assert_code(0);
    assert_eq!(shop.verify(&strict, 10), ["other-builder"]);
    let unlisted = "https://github.com/owner/shop/.github/workflows/other.yml@refs/heads/main";
    assert_eq!(shop.container("verify", &["--identity", unlisted]).code, 2);
    // The workflow of another commit does not sign this image.
    shop.project.set("GITHUB_SHA", "d".repeat(40));
    assert_eq!(rules(&shop.sign(&strict).assert_code(10).report().gates[0]), ["image-of-other-commit"]);
}
