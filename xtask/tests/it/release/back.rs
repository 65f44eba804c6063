//! The way back by hand: to a verified release, with its settings and its secret, or not at all (R18).

use xtask::release::journal::{Entry, Kind, Outcome};

use super::site::{Plan, Site};

fn rollback(site: &Site, more: &[&str]) -> super::run::Ended {
    site.start(&[&["rollback", "staging", "--yes"], more].concat()).ended()
}

/// What the pods that serve read: the objects that the Deployment names.
fn reads(site: &Site) -> Vec<String> {
    let found = site.object(&["deployment", "forge"]);
    let from = found["spec"]["template"]["spec"]["containers"][0]["envFrom"].as_array().unwrap().clone();
    let name = |one: &serde_json::Value| {
        one["configMapRef"]["name"].as_str().or(one["secretRef"]["name"].as_str()).unwrap().to_owned()
    };
    from.iter().map(name).collect()
}

/// It is refused, names why, and nothing is written anywhere.
#[track_caller]
fn assert_refused(site: &Site, to: &Entry, words: &str) {
    let (journal, reads_before) = (site.journal(), reads(site));
    let digest = to.image.split('@').nth(1).unwrap();
    let refused = rollback(site, &["--to", digest]);
    refused.assert_code(20).assert_says(words).assert_says("nothing was changed");
    assert_eq!((site.journal(), reads(site)), (journal, reads_before));
    assert_eq!(site.holder(), None);
}

#[test]
fn a_person_goes_back_to_what_was_verified_and_is_told_where_that_cannot_be() {
    let Some(mut site) = Site::open("back", Plan::default()) else { return };
    site.release("1");
    let first_reads = reads(&site);
    // The configuration alone: the same image.
    site.project.set("NOTE", "another note");
    site.overlay("1", &[]);
    site.setting("FORGE_HEALTH_TTL", "6");
    site.deploy(&[]).ended().assert_code(0);
    assert_ne!(reads(&site)[0], first_reads[0]);
    assert_ne!(reads(&site)[1], first_reads[1]);
    let back = rollback(&site, &[]);
    back.assert_code(0).assert_says("serves again and is verified");
    assert_eq!(reads(&site), first_reads, "settings and secret of that time");
    let last = site.journal().pop().unwrap();
    assert_eq!((last.kind, last.outcome), (Kind::Rollback, Outcome::Verified));

    // Other images, each another digest.
    let (first, mut others) = (site.digest.clone(), vec![]);
    for version in ["2", "3", "4"] {
        let mark = format!("{}-{version}", site.namespace);
        site.digest = site.images.another("forge", &first, &mark);
        others.push(site.digest.clone());
        site.release(version);
    }
    let entry = |digest: &str| site.journal().into_iter().rfind(|entry| entry.digest() == digest).unwrap();
    let (second, third) = (entry(&others[0]), entry(&others[1]));
    rollback(&site, &["--to", &others[0]]).assert_code(0);
    site.assert_serves("2");
    rollback(&site, &["--to", &others[2]]).assert_code(0);
    site.assert_serves("4");

    // What cannot be gone back to is refused before anything changes.
    site.images.forget("forge", third.digest());
    assert_refused(&site, &third, "is not in the registry any more");
    let newest = site.journal().into_iter().rfind(|entry| entry.digest() == second.digest()).unwrap();
    site.within(&["delete", "configmap", &format!("forge-release-{}", newest.id)]);
    assert_refused(&site, &newest, "are no longer kept");
    let settings = first_reads.iter().find(|name| name.starts_with("forge-secrets")).unwrap();
    site.within(&["delete", "secret", settings]);
    let oldest = site.journal().into_iter().find(|entry| entry.digest() == first).unwrap();
    assert_refused(&site, &oldest, settings);
    let unknown = format!("sha256:{}", "a".repeat(64));
    let refused = rollback(&site, &["--to", &unknown]);
    refused.assert_code(20).assert_says("no verified release of");
}
