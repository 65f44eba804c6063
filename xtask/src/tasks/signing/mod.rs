//! `container push`, `sign` and `verify`: the image goes to its registry once, and from there on only its digest counts.
//!
//! They change the world, or ask it, so that they are no part of `ci` and are never taken from the store.

mod provenance;
mod push;
mod sign;
mod verify;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Subcommand;
use serde::{Deserialize, Serialize};

use crate::config::{Registry, Signing};
use crate::context::Ctx;
use crate::disk::read_report;
use crate::engine::gate::Gate;
use crate::exit::UsageError;
use crate::tools::reference::{Reference, Subject};
use crate::verdict::{NotRun, Severity, Unproven};

pub(super) use sign::{credentials, with, write_no_services};

/// The output folder of these commands below the store, unless `--out` names one: they read what the checks left in
/// theirs, and a run clears the folder that it writes into.
pub const FOLDER: &str = "release";

/// What `container build` leaves, relative to the folder of the checks.
const BUILT: &str = "container/image.json";

/// The SBOM of the image, relative to the folder of the checks.
const SBOM: &str = "sbom/image.cdx.json";

/// What `push` leaves, relative to the output folder. It is no artifact of its gate: `sign` and `verify` read it.
const PUSHED: &str = "container/pushed.json";

/// `cargo xtask container …`
#[derive(Clone, Debug, Subcommand)]
pub enum Args {
    /// Push the built image to its registry, once, and tell its digest
    Push(PushArgs),
    /// Sign the pushed image and what is said of it: SBOM, provenance, and the report of the checks
    Sign(SignArgs),
    /// Verify the signature of an image and everything that is said of it
    Verify(VerifyArgs),
}

/// `container push`
#[derive(Clone, Debug, clap::Args)]
pub struct PushArgs {
    /// Where `cargo xtask ci` or `container build` wrote its reports [default: target/xtask/out]
    #[arg(long, value_name = "DIR")]
    checks: Option<PathBuf>,
    /// Another tag beside the commit's id, of a release [may be given more than once]
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Let a tag that names another image name this one
    #[arg(long)]
    move_tag: bool,
}

/// `container sign`
#[derive(Clone, Debug, clap::Args)]
pub struct SignArgs {
    /// Where `cargo xtask ci` wrote its reports [default: target/xtask/out]
    #[arg(long, value_name = "DIR")]
    checks: Option<PathBuf>,
    /// The report of the checks of the image's commit [default: report.json in the folder of the checks]
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// The SBOM of the image [default: sbom/image.cdx.json in the folder of the checks]
    #[arg(long, value_name = "FILE")]
    sbom: Option<PathBuf>,
    /// Sign by a key, a file or env://VARIABLE, in place of the identity of this workflow; its password is COSIGN_PASSWORD
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// The image, by digest [default: the one that was pushed]
    #[arg(long, value_name = "REPO@sha256:..")]
    image: Option<String>,
}

/// `container verify`
#[derive(Clone, Debug, clap::Args)]
pub struct VerifyArgs {
    /// The image, by digest or by tag [default: the one that was pushed]
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// Only this one of the configured identities
    #[arg(long, value_name = "IDENTITY", conflicts_with = "key")]
    identity: Option<String>,
    /// Verify by this public key and without a transparency log, in place of what the configuration says; on a laptop only
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

/// The gate of one command. `Err` where the command line asks for what cannot be.
pub fn plan(ctx: &Ctx, args: &Args) -> Result<Vec<Gate>> {
    let Some(registry) = &ctx.config.registry else { return Ok(vec![]) };
    let signing = || {
        let missing = || UsageError("pipeline.toml declares no [signing]".to_owned());
        ctx.config.signing.as_ref().ok_or_else(missing)
    };
    let gate = match args {
        Args::Push(args) => push::gate(ctx, registry, args)?,
        Args::Sign(args) => sign::gate(ctx, registry, signing()?, args)?,
        Args::Verify(args) => verify::gate(ctx, registry, signing()?, args)?,
    };
    // No ignore and no severity of the policy excuses what is found here.
    Ok(vec![Gate { fresh: true, breaks_at: Severity::Low, ..gate }])
}

/// What is known of an image that an engine holds, as `container build` writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
struct Built {
    /// Its id in the engine, which is the digest of its configuration.
    id: String,
    /// `docker` or `podman`; empty where any will do.
    #[serde(default)]
    engine: String,
    /// Whether it stands on something else than the base that it names.
    #[serde(default)]
    stand_in: bool,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// What is known of an image that a registry holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Pushed {
    repository: String,
    digest: String,
    /// `REPOSITORY@DIGEST`, for whoever deploys it.
    reference: String,
    /// The tags that name it.
    tags: Vec<String>,
    /// Its id in the engine that built it.
    id: String,
    /// The commit that it is of.
    revision: String,
    /// The engine that pushed it, with its version.
    engine: String,
}

/// The folder of the checks.
fn checks(ctx: &Ctx, named: Option<&PathBuf>) -> PathBuf {
    named.map_or_else(|| ctx.store.join("out"), |folder| ctx.root.join(folder))
}

/// What an earlier command left in a folder.
fn left<T: serde::de::DeserializeOwned>(ctx: &Ctx, folder: &Path, file: &str, made_by: &str) -> Result<T, NotRun> {
    let path = folder.join(file);
    if !path.is_file() {
        let place = ctx.relative(&path).unwrap_or_else(|| path.display().to_string());
        return Err(NotRun::new(format!("`{place}` is not there"), format!("cargo xtask container {made_by}")));
    }
    let text = read_report(&path).map_err(|why| NotRun::new(why, format!("cargo xtask container {made_by}")))?;
    let read = serde_json::from_str(&text);
    read.map_err(|e| NotRun::new(format!("`{file}` cannot be read: {e}"), format!("cargo xtask container {made_by}")))
}

/// The image that is named by its digest, or the one that was pushed.
fn subject(ctx: &Ctx, image: Option<&Reference>) -> Result<Subject, NotRun> {
    if let Some(Reference { repository, digest: Some(digest), .. }) = image {
        return Ok(Subject { repository: repository.clone(), digest: digest.clone() });
    }
    let pushed: Pushed = left(ctx, &ctx.out, PUSHED, "push")?;
    Ok(Subject { repository: pushed.repository, digest: pushed.digest })
}

/// A name on the command line.
fn named(image: Option<&String>) -> Result<Option<Reference>> {
    image.map(|text| Reference::parse(text).map_err(|why| UsageError(why).into())).transpose()
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Unproven> {
    let text = serde_json::to_string_pretty(value).context("cannot write JSON")? + "\n";
    Ok(crate::disk::write_atomically(path, text.as_bytes())?)
}

/// As the plan shows what only the run knows.
fn placeholder(registry: &Registry, image: Option<&Reference>) -> String {
    image.map_or_else(|| format!("{}@{{digest}}", registry.repository), ToString::to_string)
}

/// What the configuration calls a file beside it; `None` for Sigstore's own.
fn beside(ctx: &Ctx, name: &str) -> Option<PathBuf> {
    (!name.is_empty()).then(|| ctx.config_dir.join(name))
}

/// The services and the root that signatures are made with.
fn services(ctx: &Ctx, signing: &Signing) -> (Option<PathBuf>, Option<PathBuf>) {
    (beside(ctx, &signing.services), beside(ctx, &signing.trusted_root))
}
