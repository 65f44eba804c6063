//! `container/build`: the image, by the builder that is here, and again where that has to give the same layers.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::image::{self, Image, Known};
use super::{BUILD, base, context};
use crate::config::Container;
use crate::context::Ctx;
use crate::disk::{lock, write_atomically};
use crate::engine::gate::{Gate, Inputs, action};
use crate::engine::session::Session;
use crate::tools::command::Command;
use crate::tools::containers::{self, Builder, Engine, LABEL};
use crate::tools::proc::Undo;
use crate::verdict::{Evidence, Finding, NotRun, Outcome, Severity, Unproven, Work};

/// The gate.
pub fn plan(ctx: &Ctx, container: &Container) -> Gate {
    let wanted = container.clone();
    let files = container.files.iter().map(|file| container.within(file));
    // The image's description names the commit; what stands here in capitals is known when it is built.
    let shown = Recipe {
        folder: Path::new("CONTEXT"),
        tag: &image::reference(ctx, &container.name),
        arguments: &[("BASE", container.base.clone()), ("REVISION", "COMMIT".to_owned())],
        epoch: "SECONDS",
        again: false,
    };
    Gate {
        id: BUILD.to_owned(),
        fresh: true,
        unit: "layers",
        tool: (image::ENGINE, String::new()),
        inputs: Inputs {
            files: files.chain([container.dockerfile.clone()]).collect(),
            settings: format!("{container:?}"),
            history: true,
            ..Inputs::default()
        },
        steps: vec![Command::new("docker", &ctx.root).args(shown.arguments_of(Builder::BuildKit, container))],
        again: image::MAKE.to_owned(),
        action: action(move |session| run(session, wanted.clone())),
        ..Gate::default()
    }
}

/// What buildah stamps files and image with, 1980-01-01. Its cache does not ask for the time, so that the commit's own
/// would be in the layers that are made anew and not in those that are not; the label tells when the commit was made.
const STAMP: &str = "315532800";

/// Everything that a build is told.
struct Recipe<'a> {
    folder: &'a Path,
    tag: &'a str,
    arguments: &'a [(&'a str, String)],
    /// Seconds since 1970 of the commit.
    epoch: &'a str,
    /// Without anything that an earlier build left.
    again: bool,
}

impl Recipe<'_> {
    /// The words after the engine's name.
    fn arguments_of(&self, builder: Builder, container: &Container) -> Vec<String> {
        let mut words: Vec<String> = match builder {
            // The builder within the daemon, for it alone knows the images that are here.
            Builder::BuildKit => vec![
                "buildx".into(),
                "build".into(),
                "--builder".into(),
                "default".into(),
                "--load".into(),
                "--progress".into(),
                "plain".into(),
                "--provenance=false".into(),
                "--sbom=false".into(),
                "--build-arg".into(),
                format!("SOURCE_DATE_EPOCH={}", self.epoch),
            ],
            Builder::Legacy => vec!["build".into(), "--force-rm".into()],
            // Without docker's format the health check is lost.
            Builder::Buildah => vec![
                "build".into(),
                "--format".into(),
                "docker".into(),
                "--pull=never".into(),
                "--layers".into(),
                "--force-rm".into(),
                "--timestamp".into(),
                STAMP.into(),
            ],
        };
        if self.again {
            words.push("--no-cache".into());
        }
        if !container.wheels.is_empty() {
            words.extend(["--network".into(), "none".into()]);
        }
        for (name, value) in self.arguments {
            words.extend(["--build-arg".into(), format!("{name}={value}")]);
        }
        let label = format!("{LABEL}={}", container.name);
        words.extend(["--label".into(), label, "--tag".into(), self.tag.into(), "--file".into()]);
        words
            .extend([self.folder.join("Dockerfile"), self.folder.to_owned()].map(|p| p.to_string_lossy().into_owned()));
        words
    }
}

async fn run(session: Session, container: Container) -> Result<Outcome, Unproven> {
    let ctx = session.ctx();
    let engine = containers::find(&session.machine, session.runner()).await?;
    image::used(&session, &engine);
    let dockerfile = std::fs::read_to_string(ctx.root.join(&container.dockerfile))
        .map_err(|e| session.not_run(format!("`{}` cannot be read: {e}", container.dockerfile)))?;
    let base = base::choose(&session, &engine, &container).await?;
    let _one_of_all_runs = lock(&ctx.store.join("container.lock")).await?;
    let commit = Commit::of(&session).await?;
    let staged = context::stage(&session, &container, &base.known.architecture).await?;
    let arguments = [
        ("BASE", base.reference.clone()),
        ("BASE_NAME", base.name.clone()),
        ("BASE_DIGEST", base.digest.clone()),
        ("SOURCE", container.source.clone()),
        ("REVISION", commit.revision.clone()),
        ("CREATED", commit.created.clone()),
        ("VERSION", version(&session, &container)?),
    ];
    let tag = image::reference(ctx, &container.name);
    let recipe = Recipe { folder: staged.path(), tag: &tag, arguments: &arguments, epoch: &commit.epoch, again: false };
    let mut known = build(&session, &engine, &container, &recipe).await?;
    let reproducible = match engine.builder {
        Builder::Legacy => None,
        Builder::BuildKit | Builder::Buildah => {
            Some(same_again(&session, &engine, &container, &recipe, &mut known).await?)
        }
    };
    remove_older(&session, &engine, &container).await?;
    let image = Image {
        id: known.digest_of_config(),
        reference: tag,
        manifest: known.digest.clone().filter(|digest| digest.starts_with("sha256:")),
        engine: engine.name.to_owned(),
        engine_version: engine.version.clone(),
        builder: engine.builder.name().to_owned(),
        platform: format!("{}/{}", known.os, known.architecture),
        size: known.size,
        layers: known.root.layers,
        base: base.reference.clone(),
        stand_in: base.stand_in,
        reproducible,
        labels: known.config.labels.unwrap_or_default(),
    };
    image::write(&session, &image)?;
    let mut findings = vec![described(&image)];
    findings.extend(base.finding());
    findings.extend(base::as_written(&container, &dockerfile));
    if reproducible == Some(false) {
        let message = format!("{} gave other layers the second time", image.builder);
        findings
            .push(Finding::new("not-reproducible", Severity::Medium, message).at(container.dockerfile.clone(), None));
    }
    Ok(Outcome::Ran(Evidence {
        work: Work::new(image.layers.len() as u64, "layers"),
        declared: None,
        findings,
        artifacts: vec![image::FILE.to_owned()],
        fix: image::MAKE.to_owned(),
    }))
}

/// What the gates after this one depend on: their keys cover what is found here.
fn described(image: &Image) -> Finding {
    let again = match image.reproducible {
        Some(true) => "reproducible",
        Some(false) | None => "not reproducible",
    };
    let megabytes = image.size as f64 / 1e6;
    let message = format!("{} of {megabytes:.1} MB by {}, {again}", image.id, image.builder);
    Finding::new("image", Severity::Info, message)
}

/// Builds, and asks the engine what came of it.
async fn build(
    session: &Session,
    engine: &Engine,
    container: &Container,
    recipe: &Recipe<'_>,
) -> Result<Known, Unproven> {
    let words = recipe.arguments_of(engine.builder, container);
    let mut command = engine.command(words).timeout(container.timeout);
    if engine.name == "docker" {
        command = command.env("DOCKER_BUILDKIT", if engine.builder == Builder::BuildKit { "1" } else { "0" });
    }
    let ended = session.step(&command).await?;
    if !ended.is_success() {
        return Err(session.not_run(format!("the build ended with {}", ended.failure())).into());
    }
    match image::inspect(session, engine, recipe.tag).await? {
        Some(known) if !known.root.layers.is_empty() => Ok(known),
        Some(_) => Err(session.not_run("the image that was built has no layer").into()),
        None => Err(session.not_run(format!("the build ended well, and there is no image `{}`", recipe.tag)).into()),
    }
}

/// Whether a second build without anything of the first gives the same layers; known for good for an image's id.
async fn same_again(
    session: &Session,
    engine: &Engine,
    container: &Container,
    recipe: &Recipe<'_>,
    first: &mut Known,
) -> Result<bool, Unproven> {
    let file = session.ctx().store.join("container/reproduced.json");
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    // A file that cannot be read says nothing, and is written anew.
    let mut proved: BTreeMap<String, bool> = serde_json::from_str(&text).unwrap_or_default();
    if let Some(known) = proved.get(&first.id) {
        return Ok(*known);
    }
    let tag = format!("{}-again", recipe.tag);
    let _gone_after = Undo::new(session.runner(), engine.command(["image", "rm", "--force", &tag]));
    let again = Recipe { tag: &tag, again: true, ..*recipe };
    let second = build(session, engine, container, &again).await?;
    if second.root.layers != first.root.layers && engine.builder == Builder::Buildah {
        // Its cache may hold layers of another date, which a build by hand left there.
        *first = build(session, engine, container, &Recipe { again: true, ..*recipe }).await?;
    }
    let same = second.root.layers == first.root.layers;
    proved.retain(|_, same| *same);
    proved.insert(first.id.clone(), same);
    let text = serde_json::to_string(&proved).context("cannot write down what is reproducible")?;
    write_atomically(&file, text.as_bytes())?;
    Ok(same)
}

/// Images of ours that lost their name to a newer one.
async fn remove_older(session: &Session, engine: &Engine, container: &Container) -> Result<(), Unproven> {
    let label = format!("label={LABEL}={}", container.name);
    let list =
        engine.command(["image", "ls", "--quiet", "--no-trunc", "--filter", "dangling=true", "--filter", &label]);
    let ended = session.step(&list).await?;
    for id in ended.stdout.lines().map(str::trim).filter(|id| !id.is_empty()) {
        // One that a container of another run still uses stays until the next time.
        session.step(&engine.command(["image", "rm", id])).await?;
    }
    Ok(())
}

/// The commit that is checked out, as an image tells it.
struct Commit {
    /// Its id, with `-dirty` where the files are not its own.
    revision: String,
    /// When it was made, RFC 3339.
    created: String,
    /// The same in seconds since 1970.
    epoch: String,
}

impl Commit {
    async fn of(session: &Session) -> Result<Self, Unproven> {
        let snapshot = session.machine.snapshot().await?;
        if snapshot.commit.is_empty() {
            return Err(NotRun::new("there is no commit yet, whose time the image would have", "git commit").into());
        }
        let git = Command::new("git", &session.ctx().root).args(["show", "--no-patch", "--format=%ct", "HEAD"]);
        let ended = session.step(&git).await?;
        let epoch = ended.stdout.trim().to_owned();
        let made = epoch.parse().ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
        let created = made.and_then(|made| made.format(&Rfc3339).ok());
        let dirty = if snapshot.dirty { "-dirty" } else { "" };
        match created {
            Some(created) => Ok(Self { revision: format!("{}{dirty}", snapshot.commit), created, epoch }),
            None => {
                Err(session.not_run(format!("git does not say when the commit was made: {}", ended.failure())).into())
            }
        }
    }
}

/// The version in the project's own file; empty where none is declared.
fn version(session: &Session, container: &Container) -> Result<String, Unproven> {
    let Some(file) = &container.version else { return Ok(String::new()) };
    let path = session.ctx().root.join(container.within(file));
    let text = std::fs::read_to_string(&path).map_err(|e| session.not_run(format!("`{file}` cannot be read: {e}")))?;
    let said = text.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        let quoted = value.trim().strip_prefix('"')?.split('"').next()?;
        name.trim().trim_matches('_').eq_ignore_ascii_case("version").then(|| quoted.to_owned())
    });
    said.ok_or_else(|| session.not_run(format!("`{file}` says no version")).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container() -> Container {
        let digest = "0".repeat(64);
        toml::from_str(&format!(
            "name = \"shop\"\ndockerfile = \"Dockerfile\"\ncontext = \".\"\nfiles = [\"shop\"]\nwheels = [\"lock.txt\"]\n\
             base = \"base:1@sha256:{digest}\"\nsource = \"\"\nuser = 1\nlargest = \"1MB\"\nrequests = []\n"
        ))
        .unwrap()
    }

    #[test]
    fn each_builder_gets_its_own_words() {
        let arguments = [("BASE", "base:1".to_owned())];
        let recipe = Recipe { folder: Path::new("/c"), tag: "t", arguments: &arguments, epoch: "7", again: true };
        let rest = "--no-cache --network none --build-arg BASE=base:1 --label forge.xtask=shop --tag t --file /c/Dockerfile /c";
        for (builder, first) in [
            (Builder::Legacy, "build --force-rm"),
            (Builder::Buildah, "build --format docker --pull=never --layers --force-rm --timestamp 315532800"),
            (
                Builder::BuildKit,
                "buildx build --builder default --load --progress plain --provenance=false --sbom=false --build-arg SOURCE_DATE_EPOCH=7",
            ),
        ] {
            assert_eq!(recipe.arguments_of(builder, &container()).join(" "), format!("{first} {rest}"));
        }
    }

    #[test]
    fn the_base_of_a_build_by_hand_is_ours() {
        let container = container();
        let same = format!("# x\nARG BASE={}\nFROM ${{BASE}}\n", container.base);
        assert_eq!(base::as_written(&container, &same), None);
        let other = base::as_written(&container, "# x\nARG BASE=other\n").unwrap();
        assert_eq!((other.rule.as_str(), other.line), ("base-differs", Some(2)));
        assert!(base::as_written(&container, "FROM x\n").is_some());
    }
}
