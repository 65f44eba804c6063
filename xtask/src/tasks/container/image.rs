//! The image that was built, as the gates after the build know it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::context::Ctx;
use crate::disk::{lock, read_report, write_atomically};
use crate::engine::session::Session;
use crate::tools::command::Command;
use crate::tools::containers::{self, Engine};
use crate::verdict::{NotRun, Tool, Unproven};

/// What the build leaves, relative to the output folder.
pub const FILE: &str = "container/image.json";

/// The way to an image.
pub const MAKE: &str = "cargo xtask container build";

/// `container/image.json`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// The digest of its configuration, `sha256:…`; engines call it the image's id.
    pub id: String,
    /// Its name on this machine.
    pub reference: String,
    /// The digest of its manifest, where the engine knows one before it is pushed.
    pub manifest: Option<String>,
    /// `docker` or `podman`.
    pub engine: String,
    /// The engine's version.
    pub engine_version: String,
    /// What built it.
    pub builder: String,
    /// `linux/amd64`
    pub platform: String,
    /// In bytes, layers unpacked.
    pub size: u64,
    /// The digests of its unpacked layers, the lowest first.
    pub layers: Vec<String>,
    /// What it was built on.
    pub base: String,
    /// Whether that is a stand-in.
    pub stand_in: bool,
    /// Whether a second build gave the same layers; `null` where the builder cannot do that.
    pub reproducible: Option<bool>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// What an engine says of an image, as far as it is read here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Known {
    /// With or without `sha256:`.
    pub id: String,
    /// podman knows it.
    #[serde(default)]
    pub digest: Option<String>,
    /// `linux`
    pub os: String,
    /// `amd64`
    pub architecture: String,
    /// In bytes.
    pub size: u64,
    /// Layers.
    #[serde(rename = "RootFS")]
    pub root: Root,
    /// How it is run.
    #[serde(default)]
    pub config: Settings,
}

/// `RootFS`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Root {
    /// Digests of the unpacked layers.
    #[serde(default)]
    pub layers: Vec<String>,
}

/// `Config`, in the words of the OCI image configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Settings {
    /// Name, or number, with the group behind a colon.
    pub user: String,
    /// `NAME=VALUE`
    pub env: Option<Vec<String>>,
    /// What is always run.
    pub entrypoint: Option<Vec<String>>,
    /// Its arguments, or what is run.
    pub cmd: Option<Vec<String>>,
    /// Where it starts.
    pub working_dir: String,
    /// Labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// `8000/tcp`
    pub exposed_ports: Option<BTreeMap<String, serde_json::Value>>,
    /// Paths.
    pub volumes: Option<BTreeMap<String, serde_json::Value>>,
}

impl Known {
    /// The id as OCI writes it.
    pub fn digest_of_config(&self) -> String {
        if self.id.starts_with("sha256:") { self.id.clone() } else { format!("sha256:{}", self.id) }
    }
}

/// The tag of this checkout's image: others on the machine have their own.
pub fn reference(ctx: &Ctx, name: &str) -> String {
    let place = blake3::hash(ctx.root.as_os_str().as_encoded_bytes()).to_hex();
    format!("localhost/{name}:{}", &place[..12])
}

/// What the engine knows of an image; `None` where it has none of that name.
pub async fn inspect(session: &Session, engine: &Engine, name: &str) -> Result<Option<Known>, Unproven> {
    let ended = session.step(&engine.command(["image", "inspect", name])).await?;
    if !ended.is_success() {
        return Ok(None);
    }
    let known: Result<Vec<Known>, _> = serde_json::from_str(&ended.stdout);
    match known.map(|all| all.into_iter().next()) {
        Ok(Some(known)) => Ok(Some(known)),
        Ok(None) => Err(session.not_run(format!("{} says nothing of the image `{name}`", engine.name)).into()),
        Err(e) => {
            Err(session.not_run(format!("what {} says of the image `{name}` cannot be read: {e}", engine.name)).into())
        }
    }
}

/// The tool's name in reports, whichever engine it is.
pub const ENGINE: &str = "engine";

/// Notes which engine a gate used.
pub fn used(session: &Session, engine: &Engine) {
    let version = format!("{} {}", engine.name, engine.version);
    session.uses(Tool { name: ENGINE.to_owned(), version, hash: None });
}

/// The image of the last build, its engine, and what that engine knows of it now.
pub async fn built(session: &Session) -> Result<(Image, Engine, Known), Unproven> {
    let ctx = session.ctx();
    let text = read_report(&ctx.out.join(FILE)).map_err(|why| NotRun::new(why, MAKE))?;
    let image: Image =
        serde_json::from_str(&text).map_err(|e| NotRun::new(format!("`{FILE}` cannot be read: {e}"), MAKE))?;
    let engine = containers::find(&session.machine, session.runner()).await?;
    used(session, &engine);
    if image.engine != engine.name {
        let reason = format!("{} built the image, and {} is what answers now", image.engine, engine.name);
        return Err(NotRun::new(reason, MAKE).into());
    }
    let Some(known) = inspect(session, &engine, &image.id).await? else {
        return Err(NotRun::new(format!("{} has the image {} no more", engine.name, image.id), MAKE).into());
    };
    Ok((image, engine, known))
}

/// Where archives of images lie until there is a newer one.
fn shelf(ctx: &Ctx) -> PathBuf {
    ctx.store.join("container/saved")
}

/// The image as an archive (`docker save`), made once an image.
pub async fn saved(session: &Session, engine: &Engine, image: &Image) -> Result<PathBuf, Unproven> {
    let shelf = shelf(session.ctx());
    let _one_at_a_time = lock(&shelf.with_extension("lock")).await?;
    let path = shelf.join(format!("{}.tar", image.id.trim_start_matches("sha256:")));
    if path.is_file() {
        return Ok(path);
    }
    // Of an older image, or of a run that was stopped.
    let _older = std::fs::remove_dir_all(&shelf);
    std::fs::create_dir_all(&shelf).with_context(|| format!("cannot make `{}`", shelf.display()))?;
    let partial = shelf.join("partial");
    let command: Command = engine.command(["save", "--output"]).arg(&partial).args([&image.id]);
    let ended = session.step(&command).await?;
    if !ended.is_success() {
        return Err(session.not_run(format!("the image cannot be saved: {}", ended.failure())).into());
    }
    std::fs::rename(&partial, &path).with_context(|| format!("cannot make `{}`", path.display()))?;
    Ok(path)
}

/// Writes [`FILE`].
pub fn write(session: &Session, image: &Image) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(image).context("cannot write down the image")?;
    write_atomically(&session.artifact(FILE)?, text.as_bytes())
}
