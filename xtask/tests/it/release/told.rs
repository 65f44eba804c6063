//! What GitHub hears of a release: how it begins and ends, and a tag for one that is verified. Whatever of it fails is a
//! warning, and undoes nothing.

use serde_json::{Value, json};

use super::site::{Plan, Site};
use crate::hub::{Fault, Hub, REPOSITORY, TOKEN, message};

/// What the image was built of.
const COMMIT: &str = "5e1f00d5e1f00d5e1f00d5e1f00d5e1f00d5e1f0";

/// A site whose releases tell a GitHub on loopback.
fn open(test: &str) -> Option<(Site, Hub)> {
    let mut site = Site::open(test, Plan::default())?;
    let tag = site.namespace.clone();
    site.digest = site.images.labelled("forge", &site.digest, &tag, "org.opencontainers.image.revision", COMMIT);
    let hub = Hub::start();
    let variables = [
        ("GITHUB_API_URL", hub.url()),
        ("GITHUB_REPOSITORY", REPOSITORY.to_owned()),
        ("GITHUB_TOKEN", TOKEN.to_owned()),
    ];
    for (name, value) in variables {
        site.project.set(name, &value);
    }
    Some((site, hub))
}

/// The states of the newest deployment, in order.
fn states(hub: &Hub) -> Vec<String> {
    let newest = hub.deployments().pop().unwrap_or(Value::Null)["id"].as_u64();
    let of_it = hub.statuses().into_iter().filter(|(id, _)| Some(*id) == newest);
    of_it.map(|(_, status)| status["state"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn github_hears_how_a_release_begins_and_ends_and_gets_a_tag_of_the_verified_one_alone() {
    let Some((site, hub)) = open("told") else { return };
    site.release("1");
    let first = site.journal().pop().unwrap();
    let deployment = hub.deployments().pop().unwrap();
    assert_eq!((&deployment["environment"], &deployment["sha"]), (&json!("staging"), &json!(COMMIT)));
    assert_eq!(states(&hub), ["in_progress", "success"]);
    let tag = hub.tag(&format!("deploy/staging/{}", first.id)).expect("a tag");
    assert_eq!(tag["object"], json!({"type": "commit", "sha": COMMIT}));
    assert!(tag["message"].as_str().unwrap().contains(&first.image), "{tag}");

    // One that is undone.
    site.faulty("2");
    site.deploy(&[]).ended().assert_code(30);
    let second = site.journal().pop().unwrap();
    assert_eq!(states(&hub), ["in_progress", "failure"]);
    assert_eq!(hub.tag(&format!("deploy/staging/{}", second.id)), None);
    assert_eq!(hub.deployments().len(), 2);
}

#[test]
fn what_github_refuses_is_a_warning_and_undoes_nothing() {
    let Some((site, hub)) = open("deaf") else { return };
    let refused = || Fault::Instead(403, vec![], message("Resource not accessible by integration"));
    hub.fails((0..40).map(|_| refused()));
    site.overlay("1", &[]);
    let ended = site.deploy(&[]).ended();
    ended.assert_code(0).assert_says("warning: GitHub was not told that the release begins");
    ended
        .assert_says("warning: GitHub was not told how the release ended")
        .assert_says("warning: the tag `deploy/staging/");
    assert!(!ended.text.contains(TOKEN));
    site.assert_serves("1");
    assert!(hub.deployments().is_empty());
}

/// What was built of changed files is no commit's: a tag of it would lie.
#[test]
fn an_image_of_changed_files_gets_no_tag() {
    let Some((mut site, hub)) = open("dirty") else { return };
    let (tag, dirty) = (format!("{}-dirty", site.namespace), format!("{COMMIT}-dirty"));
    site.digest = site.images.labelled("forge", &site.digest, &tag, "org.opencontainers.image.revision", &dirty);
    site.overlay("1", &[]);
    site.deploy(&[]).ended().assert_code(0).assert_says("-dirty`, and no commit");
    assert!(hub.asked().iter().all(|asked| !asked.starts_with("POST")));
}
