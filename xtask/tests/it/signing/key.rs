//! By a key: what is verified, and what is named because it is not.

use serde_json::json;
use xtask::tools::cosign::{PROVENANCE, SBOM, SIGNATURE};

use super::shop::{SOURCE, Shop, is_possible};
use super::{BY_KEY, rules};

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
        shop.project.write("target/xtask/out/report.json", &report(field, value).to_string());
        assert_eq!(rules(&shop.sign(&["--key", key]).assert_code(10).report().gates[0]), [rule]);
    }
    assert_eq!(shop.verify(&[], 10), missing);

    shop.checks();
    let signed = shop.sign(&["--key", key]);
    assert_eq!(signed.assert_code(0).gate("container/sign").work.count, 4);
    assert_eq!(shop.verify(&[], 0), [""; 0]);
    let image = shop.reference();
    assert_eq!(shop.verify(&["--image", &format!("{}:{}", shop.registry.repository(), shop.commit)], 0), [""; 0]);
    let without_password =
        shop.project.command(&["container", "sign", "--key", key]).env_remove("COSIGN_PASSWORD").output().unwrap();
    assert_eq!(without_password.status.code(), Some(20));
    let log = shop.project.read("target/xtask/release/logs/container/sign.log");
    assert!(!log.contains("a-pass-word"), "{log}");

    // Another key is not ours, whichever of the two is asked for.
    shop.refused(&["--key", "xtask/config/other.pub"], "accepted signatures do not match threshold");
    let usage = shop.container("verify", &["--profile", "actions", "--key", "xtask/config/other.pub"]);
    assert_eq!(usage.code, 2);
    let no_log = shop.container("verify", &["--profile", "actions"]);
    no_log.assert_code(20);
    assert!(no_log.gate("container/verify").reason.contains("signing.key.log = false"));

    // One by one: images of which something is not said, or is said wrongly, by the right key.
    let commit = shop.commit.clone();
    let provenance = |commit: &str| json!({"buildDefinition": {"resolvedDependencies": [{"uri": "git+x", "digest": {"gitCommit": commit}}]}, "runDetails": {}});
    let report_type = format!("{SOURCE}/forge-report/1");
    // Of the image that was built last.
    let good = || {
        [
            (SIGNATURE, json!({})),
            (SBOM, shop.sbom()),
            (PROVENANCE, provenance(&commit)),
            (report_type.as_str(), shop.report()),
        ]
    };
    let of_another = json!({"component": {"version": "sha256:0"}});
    let unrelated = json!([{"id": "docs", "verdict": "pass", "work": {"count": 1}, "findings": []}]);
    let planted = [
        ("all", None, None, vec![]),
        ("unsigned", Some(SIGNATURE), None, vec!["missing-signature"]),
        ("without SBOM", Some(SBOM), None, vec!["missing-sbom"]),
        ("without provenance", Some(PROVENANCE), None, vec!["missing-provenance"]),
        ("without report", Some(report_type.as_str()), None, vec!["missing-report"]),
        ("empty SBOM", Some(SBOM), Some(("components", json!([]))), vec!["empty-sbom"]),
        ("SBOM of another", Some(SBOM), Some(("metadata", of_another)), vec!["sbom-of-other-image"]),
        (
            "other commit",
            Some(PROVENANCE),
            Some(("buildDefinition", provenance("c")["buildDefinition"].clone())),
            vec!["provenance-of-other-commit"],
        ),
        ("failed", Some(report_type.as_str()), Some(("verdict", json!("fail"))), vec!["report-not-passed"]),
        ("not run", Some(report_type.as_str()), Some(("verdict", json!("did_not_run"))), vec!["report-not-passed"]),
        (
            "checks of another commit",
            Some(report_type.as_str()),
            Some(("commit", json!("b".repeat(40)))),
            vec!["report-of-other-commit"],
        ),
        (
            "checks of another image",
            Some(report_type.as_str()),
            Some(("gates", unrelated)),
            vec!["report-of-other-image"],
        ),
    ];
    for (text, which, instead, expected) in planted {
        shop.build(text, &commit);
        shop.push(&["--move-tag"]).assert_code(0);
        let image = shop.reference();
        for (predicate_type, mut predicate) in good() {
            let is_it = which == Some(predicate_type);
            if let (true, Some((field, value))) = (is_it, &instead) {
                predicate[*field] = value.clone();
            }
            if !is_it || instead.is_some() {
                shop.attest(&ours, &image, predicate_type, &predicate);
            }
        }
        // cosign takes what is said of an image for its signature; that is why it is asked for by type.
        assert!(which != Some(SIGNATURE) || shop.cosign_verifies("ours.pub", &image));
        assert_eq!(shop.verify(&[], if expected.is_empty() { 0 } else { 10 }), expected, "{text}");
    }

    // What another key says of an image does not stand in for what ours did not say.
    shop.build("by another", &commit);
    shop.push(&["--move-tag"]).assert_code(0);
    let by_another = shop.reference();
    for (predicate_type, predicate) in good().iter().take(3) {
        shop.attest(&ours, &by_another, predicate_type, predicate);
    }
    shop.attest(&other, &by_another, &report_type, &shop.report());
    assert_eq!(shop.verify(&[], 10), ["missing-report"]);

    // What was said of one image is put beside another one: cosign lists it, and refuses it.
    shop.build("foreign words", &commit);
    shop.push(&["--move-tag"]).assert_code(0);
    let foreign = shop.reference();
    let beside = |image: &str| image.replace("@sha256:", ":sha256-");
    shop.crane(&["copy", &beside(&image), &beside(&foreign)]);
    shop.refused(&[], "provided artifact digest does not match any digest in statement");

    // A tag that was moved after signing: by digest the image is as good as before, by tag it is another one.
    shop.build("evil", &commit);
    shop.push(&["--move-tag"]).assert_code(0);
    assert_eq!(shop.verify(&["--image", &image], 0), [""; 0]);
    let by_tag = format!("{}:{commit}", shop.registry.repository());
    assert_eq!(shop.verify(&["--image", &by_tag], 10), missing);
    let mut pushed = shop.pushed();
    pushed["digest"] = json!(image.split('@').nth(1).unwrap());
    pushed["reference"] = json!(image);
    shop.project.write("target/xtask/release/container/pushed.json", &pushed.to_string());
    assert_eq!(shop.verify(&[], 10), ["moved-tag"]);

    let unknown = format!("{}:nothing", shop.registry.repository());
    shop.verify(&["--image", &unknown], 20);
    assert_eq!(shop.container("verify", &["--image", "shop"]).code, 2);
    shop.registry.down();
    shop.verify(&["--image", &image], 20);
    let gone = shop.sign(&["--key", key]);
    gone.assert_code(20);
    assert!(gone.gate("container/sign").reason.contains("cannot be reached"));
}
