//! What was signed of an image, held against what has to be said of it. Pure.

use serde_json::Value;

use super::cosign::{self, Answer, Signer, Statement};
use crate::model::SCHEMA;
use crate::verdict::{Finding, Severity, Verdict};

/// The four things that are signed of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// That it is ours.
    Signature,
    /// What it is made of.
    Sbom,
    /// What it was built from, where and how.
    Provenance,
    /// What the checks of its commit said.
    Report,
}

/// All of them, the signature first: it tells which signer the others have to be of.
pub const KINDS: [Kind; 4] = [Kind::Signature, Kind::Sbom, Kind::Provenance, Kind::Report];

impl Kind {
    /// The predicate type; ours has its name below `source`.
    pub fn predicate_type(self, source: &str) -> String {
        match self {
            Self::Signature => cosign::SIGNATURE.to_owned(),
            Self::Sbom => cosign::SBOM.to_owned(),
            Self::Provenance => cosign::PROVENANCE.to_owned(),
            Self::Report => format!("{}/{SCHEMA}", source.trim_end_matches('/')),
        }
    }

    /// Its name in rules and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Signature => "signature",
            Self::Sbom => "sbom",
            Self::Provenance => "provenance",
            Self::Report => "report",
        }
    }
}

/// What has to be said of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The image's digest, `sha256:…`.
    pub digest: String,
    /// By what else the image is known: its id in an engine, which is the digest of its configuration.
    pub id: String,
    /// The commit that the image says it was built from.
    pub revision: String,
    /// Where the source lies.
    pub source: String,
}

/// What is wrong with one kind; nothing where a signer said what is expected.
pub fn judge(kind: Kind, answer: &Answer, signers: &[Signer], expected: &Expected) -> Vec<Finding> {
    let by = signers.iter().map(Signer::shown).collect::<Vec<_>>().join(" or ");
    let found = |rule: String, message: String| Finding::new(rule, Severity::Critical, message);
    match answer {
        Answer::Verified(statements) if !statements.is_empty() => {
            let signer = signers.first().filter(|_| signers.len() == 1);
            statements.iter().flat_map(|statement| said(kind, statement, signer, expected)).collect()
        }
        Answer::Absent | Answer::Verified(_) => {
            let message = format!("`{}` has no {} by {by}", expected.digest, kind.name());
            vec![found(format!("missing-{}", kind.name()), message)]
        }
        Answer::Refused(why) => {
            let message = format!("`{}` has no {} that is good: {why}; expected is {by}", expected.digest, kind.name());
            vec![found(format!("refused-{}", kind.name()), message)]
        }
        Answer::Unable => vec![found(format!("unknown-{}", kind.name()), "it could not be told".to_owned())],
    }
}

/// What is wrong with one statement that a signer made.
fn said(kind: Kind, statement: &Statement, signer: Option<&Signer>, expected: &Expected) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut add = |rule: &str, message: String| findings.push(Finding::new(rule, Severity::Critical, message));
    let digest = expected.digest.trim_start_matches("sha256:");
    let is_it = |artifact: &cosign::Artifact| artifact.digest.get("sha256").is_some_and(|sha| sha == digest);
    let (name, predicate, revision) = (kind.name(), &statement.predicate, &expected.revision);
    if statement.subject.is_empty() || !statement.subject.iter().all(is_it) {
        add("other-image", format!("the {name} is of another image than `{}`", expected.digest));
    }
    let predicate_type = kind.predicate_type(&expected.source);
    if statement.predicate_type != predicate_type {
        add("other-type", format!("the {name} is of type `{}`, not `{predicate_type}`", statement.predicate_type));
    }
    match kind {
        Kind::Signature => {}
        Kind::Sbom => {
            let parts = predicate["components"].as_array().map_or(0, Vec::len);
            if predicate["bomFormat"] != "CycloneDX" || parts == 0 {
                add("empty-sbom", "the SBOM names no component".to_owned());
            }
            let of = predicate["metadata"]["component"]["version"].as_str().unwrap_or_default();
            if !expected.is_image(of) {
                add("sbom-of-other-image", format!("the SBOM is of `{of}`, and the image is `{}`", expected.id));
            }
        }
        Kind::Provenance => {
            let commits = commits(predicate);
            if commits != [revision.as_str()] {
                let of = if commits.is_empty() { "no commit".to_owned() } else { commits.join(", ") };
                add("provenance-of-other-commit", format!("the provenance names {of}, and the image `{revision}`"));
            }
            let builder = predicate["runDetails"]["builder"]["id"].as_str().unwrap_or_default();
            if let Some(Signer::Identity { identity, .. }) = signer
                && builder != identity
            {
                add(
                    "other-builder",
                    format!("the provenance names `{builder}` as builder, and `{identity}` signed it"),
                );
            }
        }
        Kind::Report => {
            let text = |field: &str| predicate[field].as_str().unwrap_or_default().to_owned();
            if text("schema") != SCHEMA {
                add("unreadable-report", format!("the report is no `{SCHEMA}`"));
            }
            if text("commit") != *revision {
                let message = format!("the report is of commit `{}`, and the image of `{revision}`", text("commit"));
                add("report-of-other-commit", message);
            }
            if predicate["dirty"] != Value::Bool(false) {
                add("report-of-changed-tree", "the report is of a tree that differed from its commit".to_owned());
            }
            let left_out = predicate["left_out"].as_array().is_some_and(|list| !list.is_empty());
            if text("task") != "ci" || left_out {
                add("partial-report", format!("the report is of `{}` and not of the whole `ci`", text("task")));
            }
            let gates = predicate["gates"].as_array().map(Vec::as_slice).unwrap_or_default();
            let is_green = |gate: &&Value| gate["verdict"] == "pass" && gate["work"]["count"].as_u64() > Some(0);
            let red = gates.iter().filter(|gate| gate["required"] != Value::Bool(false)).find(|gate| !is_green(gate));
            if let Some(gate) = red {
                add("report-not-passed", format!("the gate {} of the report is not green", gate["id"]));
            }
            if !gates.iter().filter(is_green).any(|gate| tells_of(gate, expected)) {
                let message = format!("no gate of the report made the image `{}`", expected.id);
                add("report-of-other-image", message);
            }
            if predicate["verdict"] != serde_json::json!(Verdict::Pass) {
                add("report-not-passed", format!("the report's verdict is `{}`", text("verdict")));
            }
        }
    }
    findings
}

impl Expected {
    fn is_image(&self, name: &str) -> bool {
        !name.is_empty() && (name == self.id || name == self.digest)
    }
}

/// Whether a gate says of an image that it made it: a finding `image` that begins with its id.
fn tells_of(gate: &Value, expected: &Expected) -> bool {
    let mut findings = gate["findings"].as_array().into_iter().flatten().filter(|finding| finding["rule"] == "image");
    findings.any(|finding| {
        expected.is_image(finding["message"].as_str().unwrap_or_default().split(' ').next().unwrap_or_default())
    })
}

/// The commits that a provenance names as material.
fn commits(predicate: &Value) -> Vec<&str> {
    let materials = predicate["buildDefinition"]["resolvedDependencies"].as_array().into_iter().flatten();
    materials.filter_map(|material| material["digest"]["gitCommit"].as_str()).collect()
}

/// An image that does not say which commit it is of, or says it wrongly.
pub fn revision_of(label: Option<&String>) -> Result<String, Finding> {
    let is_commit = |text: &&String| text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    label.filter(is_commit).cloned().ok_or_else(|| {
        let said = label.map_or_else(|| "nothing".to_owned(), |text| format!("`{text}`"));
        let message = format!("the image's label `{REVISION}` says {said}, and no commit");
        Finding::new("no-revision", Severity::Critical, message)
    })
}

/// The label that names the commit, by the OCI image specification's annotations.
pub const REVISION: &str = "org.opencontainers.image.revision";

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const IDENTITY: &str = "https://github.com/o/r/.github/workflows/w.yml@refs/heads/main";

    const ID: &str = "sha256:1d";

    fn expected() -> Expected {
        Expected {
            digest: format!("sha256:{}", "a".repeat(64)),
            id: ID.to_owned(),
            revision: "c".repeat(40),
            source: "https://github.com/o/r".to_owned(),
        }
    }

    fn signer() -> Signer {
        Signer::Identity { identity: IDENTITY.to_owned(), issuer: "https://i".to_owned() }
    }

    /// The rules that a statement breaks, once `change` was done to a good one.
    fn broken(kind: Kind, change: impl Fn(&mut Value)) -> Vec<String> {
        let commit = "c".repeat(40);
        let predicate = match kind {
            Kind::Signature => json!({}),
            Kind::Sbom => json!({
                "bomFormat": "CycloneDX", "metadata": {"component": {"version": ID}}, "components": [{"name": "a"}],
            }),
            Kind::Provenance => json!({
                "buildDefinition": {"resolvedDependencies": [
                    {"uri": "git+https://github.com/o/r", "digest": {"gitCommit": commit}},
                    {"uri": "pkg:docker/base", "digest": {"sha256": "b"}},
                ]},
                "runDetails": {"builder": {"id": IDENTITY}},
            }),
            Kind::Report => {
                let made = json!({"rule": "image", "message": format!("{ID} of 1 MB")});
                json!({
                    "schema": SCHEMA, "commit": commit, "dirty": false, "task": "ci", "verdict": "pass",
                    "gates": [{"id": "build", "verdict": "pass", "required": true, "work": {"count": 1}, "findings": [made]}],
                })
            }
        };
        let mut statement = json!({
            "subject": [{"digest": {"sha256": "a".repeat(64)}}],
            "predicateType": kind.predicate_type("https://github.com/o/r/"),
            "predicate": predicate,
        });
        change(&mut statement);
        let answer = Answer::Verified(vec![serde_json::from_value(statement).unwrap()]);
        judge(kind, &answer, &[signer()], &expected()).into_iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn what_is_said_has_to_be_of_this_image_and_this_commit() {
        for kind in KINDS {
            assert_eq!(broken(kind, |_| {}), [""; 0], "{kind:?}");
            let other = |statement: &mut Value| statement["subject"][0]["digest"]["sha256"] = json!("b".repeat(64));
            assert_eq!(broken(kind, other), ["other-image"], "{kind:?}");
            let more = |statement: &mut Value| {
                let another = json!({"digest": {"sha256": "b"}});
                statement["subject"].as_array_mut().unwrap().push(another);
            };
            assert_eq!(broken(kind, more), ["other-image"], "{kind:?}");
            assert_eq!(broken(kind, |statement| statement["subject"] = json!([])), ["other-image"], "{kind:?}");
            assert_eq!(broken(kind, |statement| statement["predicateType"] = json!("x")), ["other-type"], "{kind:?}");
        }
        let of = |field: &'static str, value: Value| {
            broken(Kind::Report, move |statement| statement["predicate"][field] = value.clone())
        };
        assert_eq!(of("verdict", json!("fail")), ["report-not-passed"]);
        assert_eq!(of("verdict", json!("did_not_run")), ["report-not-passed"]);
        assert_eq!(of("verdict", Value::Null), ["report-not-passed"]);
        assert_eq!(of("commit", json!("d".repeat(40))), ["report-of-other-commit"]);
        assert_eq!(of("dirty", json!(true)), ["report-of-changed-tree"]);
        assert_eq!(of("task", json!("docs")), ["partial-report"]);
        assert_eq!(of("left_out", json!(["scan/secrets"])), ["partial-report"]);
        assert_eq!(of("schema", json!("other/1")), ["unreadable-report"]);
        assert_eq!(of("gates", json!([])), ["report-of-other-image"]);
        let gates = |field: &'static str, value: Value| {
            broken(Kind::Report, move |statement| statement["predicate"]["gates"][0][field] = value.clone())
        };
        assert_eq!(gates("verdict", json!("did_not_run")), ["report-not-passed", "report-of-other-image"]);
        assert_eq!(gates("work", json!({"count": 0})), ["report-not-passed", "report-of-other-image"]);
        let made = json!([{"rule": "image", "message": "sha256:2e of 1 MB"}]);
        assert_eq!(gates("findings", made), ["report-of-other-image"]);
        let sbom = |statement: &mut Value| statement["predicate"]["metadata"] = json!({});
        assert_eq!(broken(Kind::Sbom, sbom), ["sbom-of-other-image"]);
        let empty = |statement: &mut Value| statement["predicate"]["components"] = json!([]);
        assert_eq!(broken(Kind::Sbom, empty), ["empty-sbom"]);
        let materials = |value: Value| {
            broken(Kind::Provenance, move |statement| {
                statement["predicate"]["buildDefinition"]["resolvedDependencies"] = value.clone();
            })
        };
        assert_eq!(materials(json!([])), ["provenance-of-other-commit"]);
        assert_eq!(materials(json!([{"digest": {"gitCommit": "d"}}])), ["provenance-of-other-commit"]);
        let builder = |statement: &mut Value| statement["predicate"]["runDetails"]["builder"]["id"] = json!("laptop");
        assert_eq!(broken(Kind::Provenance, builder), ["other-builder"]);
    }

    #[test]
    fn nothing_verified_is_a_finding_of_its_own_kind() {
        for (answer, prefix) in [
            (Answer::Absent, "missing"),
            (Answer::Verified(vec![]), "missing"),
            (Answer::Refused("another key".into()), "refused"),
            (Answer::Unable, "unknown"),
        ] {
            for kind in KINDS {
                let found = judge(kind, &answer, &[signer()], &expected());
                assert_eq!(found.len(), 1);
                assert_eq!(found[0].rule, format!("{prefix}-{}", kind.name()));
                assert!(found[0].breaks(Severity::Critical));
            }
        }
    }

    #[test]
    fn a_revision_is_a_whole_commit_id() {
        let commit = "0123456789abcdef0123456789abcdef01234567".to_owned();
        for (label, fits) in
            [(Some(commit), true), (Some("main".to_owned()), false), (Some(String::new()), false), (None, false)]
        {
            assert_eq!(revision_of(label.as_ref()).is_ok(), fits, "{label:?}");
        }
    }
}
