//! What an image was built from, where and by whom: the predicate of SLSA provenance 1. Pure.
//!
//! <https://slsa.dev/spec/v1.1/provenance>

use std::collections::BTreeMap;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::context::Ctx;

/// The base image, by the OCI image specification's annotations.
const BASE_NAME: &str = "org.opencontainers.image.base.name";
/// See [`BASE_NAME`].
const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";

/// What is known of a build.
#[derive(Clone, Debug)]
pub struct Build<'a> {
    /// Where the source lies.
    pub source: &'a str,
    /// The commit.
    pub revision: &'a str,
    /// The image's labels.
    pub labels: &'a BTreeMap<String, String>,
    /// Who built it.
    pub place: Place,
    /// When this was written.
    pub now: OffsetDateTime,
}

/// Where a build ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// A workflow by its identity, or that it was none.
    pub builder: String,
    /// The run, where there is one to look at.
    pub invocation: Option<String>,
    /// The branch or tag, where it is known.
    pub reference: Option<String>,
}

impl Place {
    /// What GitHub Actions says of itself; elsewhere it was somebody's machine.
    pub fn of(ctx: &Ctx, source: &str) -> Self {
        let var = |name: &str| ctx.var(name).filter(|value| !value.is_empty());
        let server = var("GITHUB_SERVER_URL").unwrap_or("https://github.com");
        let workflow = var("GITHUB_WORKFLOW_REF").filter(|_| ctx.in_actions());
        let Some(workflow) = workflow else {
            let builder = format!("{}/no-workflow", source.trim_end_matches('/'));
            return Self { builder, invocation: None, reference: None };
        };
        let run = var("GITHUB_REPOSITORY").zip(var("GITHUB_RUN_ID")).map(|(repository, run)| {
            let attempt = var("GITHUB_RUN_ATTEMPT").unwrap_or("1");
            format!("{server}/{repository}/actions/runs/{run}/attempts/{attempt}")
        });
        Self {
            // The identity that Fulcio writes into the certificate is made of the same.
            builder: format!("{server}/{workflow}"),
            invocation: run,
            reference: var("GITHUB_REF").map(str::to_owned),
        }
    }
}

/// The predicate.
pub fn predicate(build: &Build<'_>) -> Value {
    let source = build.source.trim_end_matches('/');
    let at = build.place.reference.as_ref().map(|reference| format!("@{reference}")).unwrap_or_default();
    let mut materials = vec![json!({"uri": format!("git+{source}{at}"), "digest": {"gitCommit": build.revision}})];
    if let Some(digest) = build.labels.get(BASE_DIGEST).and_then(|digest| digest.strip_prefix("sha256:")) {
        let name = build.labels.get(BASE_NAME).map_or("base", String::as_str);
        materials.push(json!({"uri": format!("pkg:docker/{name}"), "digest": {"sha256": digest}}));
    }
    let mut metadata = json!({"finishedOn": build.now.format(&Rfc3339).unwrap_or_default()});
    if let Some(invocation) = &build.place.invocation {
        metadata["invocationId"] = json!(invocation);
    }
    json!({
        "buildDefinition": {
            "buildType": format!("{source}/container-build/1"),
            "externalParameters": {
                "source": {"uri": format!("git+{source}{at}"), "digest": {"gitCommit": build.revision}},
                "command": "cargo xtask container build",
            },
            "internalParameters": {"labels": build.labels},
            "resolvedDependencies": materials,
        },
        "runDetails": {"builder": {"id": build.place.builder}, "metadata": metadata},
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn it_names_commit_base_builder_and_run() {
        let mut ctx = crate::context::testing::ctx(Path::new("/repo"));
        for (name, value) in [
            ("GITHUB_ACTIONS", "true"),
            ("GITHUB_WORKFLOW_REF", "o/r/.github/workflows/w.yml@refs/heads/main"),
            ("GITHUB_REPOSITORY", "o/r"),
            ("GITHUB_RUN_ID", "7"),
            ("GITHUB_RUN_ATTEMPT", "2"),
            ("GITHUB_REF", "refs/heads/main"),
        ] {
            ctx.env.insert(name.into(), value.into());
        }
        let labels = BTreeMap::from([
            (BASE_NAME.to_owned(), "python:3.12-slim".to_owned()),
            (BASE_DIGEST.to_owned(), "sha256:ab".to_owned()),
        ]);
        let build = Build {
            source: "https://github.com/o/r",
            revision: "c0ffee",
            labels: &labels,
            place: Place::of(&ctx, "https://github.com/o/r"),
            now: OffsetDateTime::UNIX_EPOCH,
        };
        let predicate = predicate(&build);
        let run = &predicate["runDetails"];
        assert_eq!(run["builder"]["id"], "https://github.com/o/r/.github/workflows/w.yml@refs/heads/main");
        assert_eq!(run["metadata"]["invocationId"], "https://github.com/o/r/actions/runs/7/attempts/2");
        assert_eq!(run["metadata"]["finishedOn"], "1970-01-01T00:00:00Z");
        let definition = &predicate["buildDefinition"];
        assert_eq!(definition["buildType"], "https://github.com/o/r/container-build/1");
        assert_eq!(definition["resolvedDependencies"][0]["digest"]["gitCommit"], "c0ffee");
        assert_eq!(definition["resolvedDependencies"][0]["uri"], "git+https://github.com/o/r@refs/heads/main");
        assert_eq!(definition["resolvedDependencies"][1]["digest"]["sha256"], "ab");
    }

    #[test]
    fn a_machine_that_is_no_workflow_does_not_say_that_it_is_one() {
        let mut ctx = crate::context::testing::ctx(Path::new("/repo"));
        ctx.env.insert("GITHUB_WORKFLOW_REF".into(), "o/r/.github/workflows/w.yml@refs/heads/main".into());
        let place = Place::of(&ctx, "https://github.com/o/r/");
        assert_eq!((place.builder.as_str(), place.invocation), ("https://github.com/o/r/no-workflow", None));
    }
}
