//! Evidence is the same for the same material, says what is missing, and bears no changed byte.

use serde_json::json;

use super::super::journal::{Verdicted, Waived};
use super::*;

fn entry(id: &str, outcome: Outcome) -> Entry {
    Entry {
        id: id.to_owned(),
        image: format!("ghcr.io/o/n@sha256:{}", "a".repeat(64)),
        commit: "b".repeat(40),
        who: "ada@host".to_owned(),
        approved_by: "grace".to_owned(),
        started: "2026-11-24T18:15:00Z".to_owned(),
        ended: "2026-11-24T18:16:00Z".to_owned(),
        verdicts: vec![Verdicted { gate: "smoke".into(), verdict: "pass".into(), reason: String::new() }],
        outcome,
        signer: "the key `ours.pub`".to_owned(),
        ..Entry::default()
    }
}

fn reports(ids: &[&str]) -> Files {
    ids.iter().map(|id| (format!("{id}/report.json"), b"{}\n".to_vec())).collect()
}

fn material<'a>(entries: &'a [Entry], reports: &'a Files) -> Material<'a> {
    Material { environment: "production", made: "2026-11-25T00:00:00Z", source: "https://s", entries, reports }
}

/// As cosign 3.1.3 writes it.
fn signature() -> Vec<u8> {
    let bundle = json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": "XU8XxcoOL3W5aw3I0uiuui/uPciI+2bjeYgYLZ0s8Xg="}},
        "messageSignature": {"messageDigest": {"algorithm": "SHA2_256", "digest": "WJG1"}, "signature": "MEQC"},
    });
    bundle.to_string().into_bytes()
}

#[test]
fn the_same_material_is_the_same_bytes_and_comes_back_whole() {
    let entries = [entry("r1", Outcome::Verified), entry("r2", Outcome::Verified)];
    let mut reports = reports(&["r1", "r2"]);
    reports.insert(format!("r2/logs/{}.log", "long/".repeat(40)), b"words".to_vec());
    let (manifest, signed) = collect(&material(&entries, &reports)).unwrap();
    assert_eq!(collect(&material(&entries, &reports)).unwrap().1, signed);
    assert_eq!((manifest.missing.len(), manifest.files.len()), (0, 5));
    let sealed = seal(&signed, &signature()).unwrap();
    let opened = open(&sealed).unwrap();
    assert_eq!((&opened.signed, opened.signature), (&signed, signature()));
    let (again, files) = read(&opened.signed).unwrap();
    assert_eq!(again, manifest);
    let first: Entry = serde_json::from_slice(&files["journal/r1.json"]).unwrap();
    assert_eq!(first, entries[0]);
    assert_eq!(files["reports/r1/report.json"], b"{}\n");
    assert_eq!(
        manifest.files["reports/r1/report.json"].sha256,
        "ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356"
    );
}

#[test]
fn any_one_changed_byte_is_noticed() {
    let entries = [entry("r1", Outcome::Verified)];
    let reports = reports(&["r1"]);
    let sealed = seal(&collect(&material(&entries, &reports)).unwrap().1, &signature()).unwrap();
    let whole = open(&sealed).unwrap();
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1 << (at % 8);
        assert!(open(&changed).is_err(), "byte {at} of {}", sealed.len());
    }
    for cut in [0, 1, 511, 512, sealed.len() / 2, sealed.len() - 512, sealed.len() - 1] {
        assert!(open(&sealed[..cut]).is_err(), "cut at {cut}");
    }
    let longer = [sealed.as_slice(), &[0; 512]].concat();
    assert!(open(&longer).is_err());
    // The signed part is held by its signature; it bears nothing unlisted either.
    for at in (0..whole.signed.len()).step_by(7) {
        let mut changed = whole.signed.clone();
        changed[at] ^= 1;
        let is_noticed = match read(&changed) {
            Err(_) => true,
            // A byte of the manifest that no hash covers: the signature does.
            Ok((manifest, _)) => manifest != read(&whole.signed).unwrap().0,
        };
        assert!(is_noticed, "byte {at} of {}", whole.signed.len());
    }
}

#[test]
fn a_manifest_covers_every_file_and_nothing_else() {
    let entries = [entry("r1", Outcome::Verified)];
    let none = Files::new();
    let (_, signed) = collect(&material(&entries, &none)).unwrap();
    let (_, good) = read(&signed).unwrap();
    let with = |change: &dyn Fn(&mut Files)| {
        let mut files = good.clone();
        change(&mut files);
        read(&archive(&files).unwrap()).unwrap_err()
    };
    let in_manifest = |files: &mut Files, from: &str, to: &str| {
        let text = String::from_utf8(files[MANIFEST].clone()).unwrap();
        assert!(text.contains(from), "{text}");
        files.insert(MANIFEST.to_owned(), text.replace(from, to).into_bytes());
    };
    for (change, why) in [
        (
            &(|files: &mut Files| drop(files.insert("more".into(), vec![]))) as &dyn Fn(&mut Files),
            "`more` is listed and not there",
        ),
        (&|files| drop(files.remove("journal/r1.json")), "`journal/r1.json` is listed and not there"),
        (&|files| drop(files.insert("journal/r1.json".into(), b"{}".to_vec())), "differs from the manifest"),
        (&|files| drop(files.remove(MANIFEST)), "`manifest.json` is missing"),
        (&|files| in_manifest(files, "forge-evidence/1", "forge-evidence/2"), "it is of the format `forge-evidence/2`"),
        (&|files| in_manifest(files, "    \"r1\"\n", "    \"r1\",\n    \"r2\"\n"), "the release `r2` has no entry"),
        (&|files| in_manifest(files, "\"missing\"", "\"more\": 1, \"missing\""), "unknown field"),
    ] {
        let found = with(change);
        assert!(found.contains(why), "{why}: {found}");
    }
    assert!(open(&seal(&signed, b"{}").unwrap()).unwrap_err().contains("no signature"));
    assert!(open(&signed).unwrap_err().contains("does not hold"));
}

#[test]
fn what_is_missing_is_said_of_each_release() {
    let good = entry("r2", Outcome::Verified);
    let fell = Entry { restored: "r1".to_owned(), ..entry("r2", Outcome::Failed) };
    for (second, expected) in [
        (good.clone(), vec![]),
        (Entry { approved_by: String::new(), ..good.clone() }, vec!["approver"]),
        (Entry { commit: "v1".into(), image: "n:latest".into(), ..good.clone() }, vec!["digest", "commit"]),
        (Entry { image: "n@sha256:abc".into(), ..good.clone() }, vec!["digest"]),
        (Entry { who: String::new(), signer: String::new(), ..good.clone() }, vec!["releaser", "signature"]),
        (Entry { ended: String::new(), outcome: Outcome::Running, ..good.clone() }, vec!["times", "outcome"]),
        (Entry { outcome: Outcome::Interrupted, verdicts: vec![], ..good.clone() }, vec!["verdicts", "outcome"]),
        (Entry { waived: vec![Waived { check: "sbom".into(), reason: "late".into() }], ..good }, vec!["sbom"]),
        (fell.clone(), vec![]),
        (Entry { restored: String::new(), ..fell.clone() }, vec!["rollback"]),
        (Entry { restored: "r0".into(), ..fell }, vec!["rollback"]),
    ] {
        let (entries, reports) = ([entry("r1", Outcome::Verified), second], reports(&["r1", "r2"]));
        let missing = collect(&material(&entries, &reports)).unwrap().0.missing;
        let found: Vec<&str> = missing.iter().map(|one| one.what.as_str()).collect();
        assert_eq!(found, expected);
        assert!(missing.iter().all(|one| one.release == "r2" && !one.why.is_empty()), "{missing:?}");
    }
    // A first release that failed had nothing to go back to; and reports may be missing alone.
    let (first, none) = ([entry("r1", Outcome::Failed)], Files::new());
    let missing = collect(&material(&first, &none)).unwrap().0.missing;
    assert_eq!(missing.iter().map(|one| one.what.as_str()).collect::<Vec<_>>(), ["reports"]);
}

#[test]
fn a_journal_that_was_edited_names_no_path_and_no_release_twice() {
    let none = Files::new();
    let twice = [entry("r1", Outcome::Verified), entry("r1", Outcome::Verified)];
    assert!(collect(&material(&twice, &none)).unwrap_err().contains("twice"));
    for id in ["", "../r1", "a/b", ".r1", "r 1", "r1\u{7}"] {
        assert!(collect(&material(&[entry(id, Outcome::Verified)], &none)).is_err(), "{id}");
    }
    let other = reports(&["r2"]);
    assert!(collect(&material(&twice[..1], &other)).unwrap_err().contains("of no release"));
}
