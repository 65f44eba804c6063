//! What `deploy` asks of an image before anything changes: a real registry, the real cosign, a real cluster to release to.

use serde_json::Value;
use xtask::services::cluster::Cluster;

use super::shop::{Shop, is_possible};
use super::{BY_KEY, rules};
use crate::support::{Ran, repository};

const OVERLAY: &str = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: never-made\nresources: [objects.yaml]\n";

const OBJECTS: &str = r#"apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec:
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec: {containers: [{name: shop, image: shop}]}
---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {selector: {app: shop}, ports: [{port: 80}]}
"#;

/// The cluster of this checkout, or the one that a variable names.
fn cluster() -> Option<Cluster> {
    let (env, ..) = xtask::context::surroundings().unwrap();
    let folder = env.get("XTASK_CLUSTER").map_or_else(|| repository().join("target/xtask/cluster"), Into::into);
    let found = Cluster::at(&folder);
    if found.is_none() {
        let words = format!("NOT TESTED: no cluster is up in `{}` (cargo xtask cluster up)", folder.display());
        eprintln!("{words}");
    }
    found
}

fn uid(cluster: &Cluster) -> String {
    let kubeconfig = format!("--kubeconfig={}", cluster.kubeconfig.display());
    let asked = std::process::Command::new("kubectl")
        .args([&kubeconfig, "get", "namespace", "kube-system", "-o", "json"])
        .output()
        .unwrap();
    let namespace: Value = serde_json::from_slice(&asked.stdout).unwrap();
    namespace["metadata"]["uid"].as_str().unwrap().to_owned()
}

/// The rules of what was found, those that a reason excuses in brackets.
fn found(ran: &Ran) -> Vec<String> {
    let findings = &ran.gate("deploy/image").findings;
    let shown = |finding: &xtask::verdict::Finding| match &finding.excused {
        Some(_) => format!("({})", finding.rule),
        None => finding.rule.clone(),
    };
    findings.iter().map(shown).collect()
}

#[test]
fn an_image_is_released_only_if_all_that_has_to_be_said_of_it_is_and_fits_the_commit() {
    let Some(cluster) = cluster().filter(|_| is_possible()) else { return };
    let mut shop = Shop::new(BY_KEY);
    shop.project.set("KUBECONFIG", &cluster.kubeconfig);
    let environment = |uid: &str| {
        format!(
            "url = \"http://127.0.0.1:1\"\n[cluster]\ncontext = \"{}\"\nuid = \"{uid}\"\n[release]\nbranch = \"trunk\"\n\
             overlay = \"k8s\"\nnamespace = \"never-made\"\nworkload = \"shop\"\ncontainer = \"shop\"\nservice = \"shop\"\n\
             max_stream = \"1s\"\n",
            cluster.context
        )
    };
    shop.project.write("xtask/config/staging.toml", &environment(&uid(&cluster)));
    shop.project.write("xtask/config/elsewhere.toml", &environment("another"));
    shop.project.write("k8s/kustomization.yaml", OVERLAY);
    shop.project.write("k8s/objects.yaml", OBJECTS);
    let key = shop.key("ours");
    shop.project.commit();
    let head = shop.project.git_output(&["rev-parse", "HEAD"]).stdout;
    shop.commit = String::from_utf8(head).unwrap().trim().to_owned();
    shop.project.git(&["branch", "-f", "trunk", "HEAD"]);
    // What the checks left is needed once more, to sign it.
    let elsewhere = ["--out", "target/deploy"];
    let deploy =
        |more: &[&str]| shop.project.xtask(&[&["deploy", "staging", "--dry-run"], &elsewhere[..], more].concat());

    // Another cluster under the same context's name is refused before anything is looked at (R41).
    let elsewhere = shop.project.xtask(&["deploy", "elsewhere", "--dry-run"]);
    assert_eq!(elsewhere.code, 2, "{}", elsewhere.stderr);
    assert!(elsewhere.stderr.contains("nothing was done"), "{}", elsewhere.stderr);

    // No image is of the head: the way to one is named, and nothing is built.
    let none = deploy(&[]);
    let gate = none.assert_code(20).gate("deploy/image");
    assert!(gate.reason.contains(&shop.commit) && gate.fix.contains("cargo xtask container push"), "{gate:?}");

    shop.build("one", &shop.commit);
    shop.checks();
    shop.push(&["--tag", "v1"]).assert_code(0);
    let unsigned = deploy(&[]);
    let missing = ["missing-signature", "missing-sbom", "missing-provenance", "missing-report"];
    assert_eq!(found(unsigned.assert_code(10)), missing);
    shop.sign(&["--key", &key.display().to_string()]).assert_code(0);
    let signed = deploy(&[]);
    assert_eq!((signed.code, found(&signed)), (0, vec![]), "{}", signed.stdout);
    assert!(signed.stdout.contains(&shop.commit) && signed.stdout.contains("everything is new"), "{}", signed.stdout);
    assert_eq!(deploy(&["--version", "v1"]).code, 0);
    assert_eq!(deploy(&["--version", &shop.commit]).code, 0);
    assert_eq!(deploy(&["--version", "v2"]).code, 20);

    // A working tree of one's own is not what was signed.
    shop.project.write("k8s/more.yaml", "x: 1\n");
    assert_eq!(found(deploy(&[]).assert_code(10)), ["dirty-tree"]);
    assert_eq!(found(deploy(&["--waive-clean", "a file of mine"]).assert_code(0)), ["(dirty-tree)"]);
    std::fs::remove_file(shop.project.path().join("k8s/more.yaml")).unwrap();

    // Signed, and not of the branch that this environment is released from.
    shop.project.git(&["branch", "-f", "trunk", "HEAD~1"]);
    assert_eq!(found(deploy(&["--version", "v1"]).assert_code(10)), ["other-branch", "other-checkout"]);
    let waived = deploy(&["--version", "v1", "--waive-branch", "a fire"]);
    assert_eq!(found(waived.assert_code(0)), ["(other-branch)", "(other-checkout)"]);
    shop.project.git(&["branch", "-f", "trunk", "HEAD"]);

    // What is released are this checkout's objects: they have to be of the image's source.
    shop.project.git(&["checkout", "-q", "--detach", "HEAD~1"]);
    shop.project.git(&["checkout", "-q", "trunk", "--", "k8s", "xtask/config"]);
    shop.project.git(&["commit", "-q", "-m", "the same objects of another source"]);
    shop.project.git(&["commit", "-q", "--allow-empty", "-m", "another"]);
    shop.project.write("other", "source\n");
    shop.project.commit();
    assert_eq!(found(deploy(&[]).assert_code(10)), ["other-checkout"]);
    // Nor does an image that is named make objects good that nobody has reviewed.
    assert_eq!(found(deploy(&["--version", "v1"]).assert_code(10)), ["other-checkout"]);
    shop.project.git(&["checkout", "-q", "main"]);

    // Who signs with another key is nobody.
    let other = shop.key("other");
    std::fs::copy(other.with_extension("pub"), shop.project.path().join("xtask/config/ours.pub")).unwrap();
    let refused = deploy(&["--waive-clean", "the key was changed for this test"]);
    let refused = found(refused.assert_code(10));
    assert!(refused.contains(&"refused-signature".to_owned()), "{refused:?}");
    assert!(!rules(unsigned.gate("deploy/image")).is_empty());
}
