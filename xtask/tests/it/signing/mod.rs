//! Images that are pushed, signed and verified: a real engine, a real registry on loopback, the real cosign.

mod broken;
mod der;
mod key;
mod keyless;
mod released;
mod shop;
pub mod sigstore;

use serde_json::json;
use shop::{Registry, Shop, has_podman, is_possible};
pub use shop::{has_go, tool};

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
    // What stands on a stand-in goes nowhere from where it would count.
    let image = "target/xtask/out/container/image.json";
    shop.project.edit(image, "{\"engine\"", "{\"stand_in\":true,\"engine\"");
    let stand_in = shop.push(&["--profile", "actions"]);
    assert_eq!(rules(&stand_in.assert_code(10).report().gates[0]), ["stand-in-base"]);
    assert_eq!(shop.registry.digest(&shop.commit), None);
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
    assert!(!shop.project.path().join("target/xtask/release/container/pushed.json").exists());
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
fn podman_pushes_what_docker_pushes() {
    if !is_possible() || !has_podman() {
        return;
    }
    let mut shop = Shop::new(BY_KEY);
    let id = shop.build_by("podman", "one", &shop.commit);
    let refused = shop.push(&[]);
    assert_eq!(
        refused.assert_code(20).gate("container/push").reason,
        "podman has the image, and docker is what answers"
    );
    // What podman itself needs stays on PATH; docker does not.
    shop.project.hide_program("docker");
    shop.push(&["--tag", "v1"]).assert_code(0);
    let pushed = shop.pushed();
    assert_eq!(pushed["digest"].as_str(), shop.registry.digest("v1").as_deref());
    assert!(id.ends_with(pushed["id"].as_str().unwrap().trim_start_matches("sha256:")));
    let writes = shop.registry.writes();
    shop.push(&[]).assert_code(0);
    assert_eq!(shop.registry.writes(), writes);
}

#[test]
fn a_registry_lets_in_who_has_the_password_and_is_waited_for() {
    if !is_possible() {
        return;
    }
    // bcrypt of the password below.
    let mut shop =
        Shop::with(Registry::start("somebody:$2b$04$RTEBU0LkqkDmRsMmS/DO5eGa13Yz4zDaur7BW7xMI32Eyp7qbJJXC\n"), BY_KEY);
    shop.build("one", &shop.commit);
    let refused = shop.push(&[]);
    let gate = refused.assert_code(20).gate("container/push");
    assert!(gate.reason.contains("does not let us in") && gate.fix.contains("REGISTRY_PASSWORD"), "{gate:?}");
    shop.project.set("REGISTRY_USERNAME", "somebody");
    shop.project.set("REGISTRY_PASSWORD", "a-registry-pass-word");
    // A registry that comes back within seconds is no reason to give up.
    shop.registry.down();
    let log = shop.project.path().join("target/xtask/release/logs/container/push.log");
    std::fs::remove_file(&log).unwrap();
    let pushing = shop.project.command(&["container", "push"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let begun = std::time::Instant::now();
    while !std::fs::read_to_string(&log).unwrap_or_default().contains("connection refused") {
        assert!(begun.elapsed() < std::time::Duration::from_secs(60), "the registry was not asked");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    shop.registry.up();
    let pushed = pushing.wait_with_output().unwrap();
    let log = std::fs::read_to_string(&log).unwrap();
    assert!(pushed.status.success(), "{log}");
    for text in [&log, &String::from_utf8(pushed.stdout).unwrap()] {
        assert!(
            !text.contains("a-registry-pass-word") && !text.contains("c29tZWJvZHk6YS1yZWdpc3RyeS1wYXNzLXdvcmQ"),
            "{text}"
        );
    }
    // The same goes for cosign, and for a key that lies in no file.
    let key = std::fs::read_to_string(shop.key("ours")).unwrap();
    shop.checks();
    let by_key = ["--key", "env://COSIGN_PRIVATE_KEY"];
    assert_eq!(shop.sign(&by_key).assert_code(20).gate("container/sign").reason, "COSIGN_PRIVATE_KEY is not set");
    shop.project.set("COSIGN_PRIVATE_KEY", &key);
    let signed = shop.sign(&by_key);
    assert_eq!(signed.assert_code(0).gate("container/sign").work.count, 4);
    let log = shop.project.read("target/xtask/release/logs/container/sign.log");
    let secret = key.lines().nth(1).unwrap();
    assert!(log.contains("env://COSIGN_PRIVATE_KEY") && !log.contains(secret) && !signed.stdout.contains(secret));
    assert_eq!(shop.verify(&[], 0), [""; 0]);
    let log = shop.project.read("target/xtask/release/logs/container/verify.log");
    assert!(log.contains("1 verified") && !log.contains("\"payload\""), "{log}");
}

#[test]
fn a_branch_does_not_say_whose_signature_counts() {
    let project = super::support::Project::bare();
    let config = "[python]\nversions = [\"3.12\"]\ntools = \"3.12\"\ntools_lock = \"t\"\n[registry]\nrepository = \"ghcr.io/o/n\"\n\
                  [signing]\nsource = \"https://s\"\nissuer = \"https://i\"\nidentities = [\"https://w\"]\ntrusted_root = \"root.json\"\n";
    project.write("xtask/config/pipeline.toml", config);
    project.write("xtask/config/root.json", "{}\n");
    project.write(".gitignore", "/target/\n");
    project.commit();
    project.git(&["checkout", "-q", "-b", "branch"]);
    project.xtask(&["policy"]).assert_code(0);
    for (from, to, message) in [
        ("[\"https://w\"]", "[\"https://w\", \"https://mine\"]", "signing.identities: now has \"https://mine\""),
        ("//i\"", "//mine\"", "signing.issuer: was \"https://i\", is \"https://mine\""),
        ("\"root.json\"", "\"mine.json\"", "signing.trusted_root: was \"root.json\", is \"mine.json\""),
        ("ghcr.io/o", "ghcr.io/mine", "registry.repository: was \"ghcr.io/o/n\", is \"ghcr.io/mine/n\""),
    ] {
        project.write("xtask/config/pipeline.toml", &config.replace(from, to));
        let ran = project.xtask(&["policy"]);
        let found: Vec<&str> = ran.assert_code(10).gate("policy").findings.iter().map(|f| f.message.as_str()).collect();
        assert_eq!(found, [message]);
    }
    project.write("xtask/config/pipeline.toml", config);
    project.write("xtask/config/root.json", "{\"mine\": true}\n");
    assert_eq!(rules(&project.xtask(&["policy"]).assert_code(10).report().gates[0]), ["changed-rules"]);
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
        (vec!["sign"], "cosign sign --yes 'ghcr.io/o/n@{digest}'"),
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
