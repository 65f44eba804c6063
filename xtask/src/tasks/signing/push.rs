//! `container push`: the image goes to the registry under its commit's tag, and what the registry holds then is what
//! was built.

use anyhow::Result;

use super::{BUILT, Built, PUSHED, PushArgs, Pushed, checks, left, write_json};
use crate::config::Registry as Config;
use crate::context::{Ctx, Profile};
use crate::engine::gate::{Gate, Inputs, action};
use crate::engine::session::Session;
use crate::exit::UsageError;
use crate::tools::attested::{REVISION, revision_of};
use crate::tools::catalog::CRANE;
use crate::tools::command::Command;
use crate::tools::containers::{self, Engine};
use crate::tools::proc::Ended;
use crate::tools::reference::{Reference, Subject, is_digest, is_tag};
use crate::tools::registry::{Access, Registry, not_told, patiently};
use crate::verdict::{Evidence, Finding, NotRun, Outcome, Severity, Unproven, Work};

/// One gate.
pub fn gate(ctx: &Ctx, config: &Config, args: &PushArgs) -> Result<Gate> {
    if let Some(tag) = args.tags.iter().find(|tag| !is_tag(tag)) {
        return Err(UsageError(format!("`{tag}` is no tag")).into());
    }
    let name = format!("{}:{{commit}}", config.repository);
    let docker = |words: &[&str]| Command::new("docker", &ctx.root).args(words.iter().copied());
    let mut steps = vec![docker(&["tag", "{image}", &name]), docker(&["push", &name])];
    let crane =
        |tag| Command::new(CRANE.name, &ctx.root).args(["tag", &format!("{}@{{digest}}", config.repository), tag]);
    steps.extend(args.tags.iter().map(|tag| crane(tag)));
    let (config, args) = (config.clone(), args.clone());
    Ok(Gate {
        id: "container/push".to_owned(),
        unit: "images",
        programs: vec![&CRANE],
        inputs: Inputs { settings: format!("{config:?} {args:?}"), ..Inputs::default() },
        steps,
        again: "cargo xtask container push".to_owned(),
        action: action(move |session| run(session, config.clone(), args.clone())),
        ..Gate::default()
    })
}

async fn run(session: Session, config: Config, args: PushArgs) -> Result<Outcome, Unproven> {
    let ctx = session.ctx();
    let result = session.artifact(PUSHED)?;
    let built: Built = left(ctx, &checks(ctx, args.checks.as_ref()), BUILT, "build")?;
    let revision = match revision_of(built.labels.get(REVISION)) {
        Ok(revision) => revision,
        Err(finding) => return Ok(outcome(1, vec![finding])),
    };
    if built.stand_in && ctx.profile == Profile::Actions {
        let message = "the image stands on a stand-in for its base, which is for machines that cannot have the base";
        return Ok(outcome(1, vec![Finding::new("stand-in-base", Severity::Critical, message)]));
    }
    session.program(&CRANE).await?;
    let engine = containers::find(&session.machine, session.runner()).await?;
    if !built.engine.is_empty() && built.engine != engine.name {
        let reason = format!("{} has the image, and {} is what answers", built.engine, engine.name);
        return Err(NotRun::new(reason, "cargo xtask container build").into());
    }
    let access = Access::new(ctx, &session.runner().ledger, &config.repository)?;
    let registry = Registry::open(&session.machine, session.runner(), &access).await?;
    let job = Job { session: &session, config: &config, engine: &engine, registry: &registry, built: &built };

    let commit = Reference { repository: config.repository.clone(), tag: Some(revision.clone()), digest: None };
    let subject = match job.taken(&commit, None).await? {
        Taken::ByThis(subject) => {
            session.note(&format!("`{subject}` is there already: nothing is pushed"))?;
            subject
        }
        Taken::ByAnother(other) if !args.move_tag => return Ok(outcome(1, vec![taken(&commit, &other)])),
        Taken::Free | Taken::ByAnother(_) => match job.push(&commit).await? {
            Ok(subject) => subject,
            Err(finding) => return Ok(outcome(1, vec![finding])),
        },
    };
    let (mut tags, mut findings) = (vec![revision.clone()], Vec::new());
    for tag in &args.tags {
        let name = Reference { tag: Some(tag.clone()), ..commit.clone() };
        match job.taken(&name, Some(&subject)).await? {
            Taken::ByThis(_) => tags.push(tag.clone()),
            Taken::ByAnother(other) if !args.move_tag => findings.push(taken(&name, &other)),
            Taken::Free | Taken::ByAnother(_) => {
                registry.tag(&subject, tag).await?;
                tags.push(tag.clone());
            }
        }
    }
    let pushed = Pushed {
        reference: subject.to_string(),
        repository: subject.repository,
        digest: subject.digest,
        tags,
        id: built.id.clone(),
        revision,
        engine: format!("{} {}", engine.name, engine.version),
    };
    write_json(&result, &pushed)?;
    session.note(&format!("pushed: {}", pushed.reference))?;
    Ok(outcome(1, findings))
}

fn taken(name: &Reference, other: &Subject) -> Finding {
    let message = format!("`{name}` names another image, `{}`; --move-tag makes it name this one", other.digest);
    Finding::new("tag-taken", Severity::High, message)
}

fn outcome(images: u64, findings: Vec<Finding>) -> Outcome {
    Outcome::Ran(Evidence {
        work: Work::new(images, "images"),
        declared: None,
        findings,
        artifacts: vec![],
        fix: "build the image anew from a commit of its own, or move the tag by --move-tag".to_owned(),
    })
}

/// What a tag of the registry names now.
enum Taken {
    Free,
    ByThis(Subject),
    ByAnother(Subject),
}

struct Job<'a> {
    session: &'a Session,
    config: &'a Config,
    engine: &'a Engine,
    registry: &'a Registry<'a>,
    built: &'a Built,
}

impl Job<'_> {
    /// `ours` is the image in the registry, once it is there; before, its configuration tells which image it is.
    async fn taken(&self, name: &Reference, ours: Option<&Subject>) -> Result<Taken, Unproven> {
        let Some(found) = self.registry.resolve(name).await? else { return Ok(Taken::Free) };
        let same = match ours {
            Some(ours) => *ours == found,
            None => self.is_built(&found).await?,
        };
        Ok(if same { Taken::ByThis(found) } else { Taken::ByAnother(found) })
    }

    /// Whether the registry's image is the engine's: an engine's id is the digest of the configuration, or, where it
    /// keeps images as a registry does, of the manifest.
    async fn is_built(&self, subject: &Subject) -> Result<bool, Unproven> {
        let id = with_algorithm(&self.built.id);
        let config = self.registry.manifest(subject).await?.config.unwrap_or_default().digest;
        Ok(id == config || id == subject.digest)
    }

    /// Pushes; the registry's digest has to be the engine's, and its image the one that was built.
    async fn push(&self, name: &Reference) -> Result<Result<Subject, Finding>, Unproven> {
        let said = match self.engine.name {
            "podman" => self.by_podman(name).await?,
            _ => self.by_docker(name).await?,
        };
        let Some(subject) = self.registry.resolve(name).await? else {
            return Err(self.session.not_run(format!("`{name}` was pushed, and the registry does not have it")).into());
        };
        if subject.digest != said {
            let message = format!("{} pushed `{said}`, and the registry says `{}`", self.engine.name, subject.digest);
            return Ok(Err(Finding::new("other-digest", Severity::Critical, message)));
        }
        if !self.is_built(&subject).await? {
            let message = format!("`{subject}` is not the image that was built, `{}`", self.built.id);
            return Ok(Err(Finding::new("other-image", Severity::Critical, message)));
        }
        Ok(Ok(subject))
    }

    async fn by_docker(&self, name: &Reference) -> Result<String, Unproven> {
        let tagged = self.session.step(&self.engine.command(["tag", &self.built.id, &name.to_string()])).await?;
        if !tagged.is_success() {
            let reason = format!("docker does not have the image `{}`: {}", self.built.id, tagged.failure());
            return Err(NotRun::new(reason, "cargo xtask container build").into());
        }
        let ended = self.patiently(self.engine.command(["push", &name.to_string()])).await?;
        digest_in(&ended.stdout).ok_or_else(|| self.session.not_run("docker push told no digest").into())
    }

    async fn by_podman(&self, name: &Reference) -> Result<String, Unproven> {
        let folder = tempfile::tempdir_in(&self.session.ctx().out).map_err(|e| anyhow::anyhow!("{e}"))?;
        let file = folder.path().join("digest");
        let mut args = vec!["push".to_owned(), "--digestfile".to_owned(), file.display().to_string()];
        if is_loopback(&name.repository) {
            // As docker and crane do by themselves.
            args.push("--tls-verify=false".to_owned());
        }
        args.extend([self.built.id.clone(), format!("docker://{name}")]);
        self.patiently(self.engine.command(args)).await?;
        let digest = std::fs::read_to_string(&file).unwrap_or_default().trim().to_owned();
        if is_digest(&digest) { Ok(digest) } else { Err(self.session.not_run("podman push told no digest").into()) }
    }

    /// Layers that are there already are not sent again, so that a further try costs little.
    async fn patiently(&self, command: Command) -> Result<Ended, Unproven> {
        let command = self.registry.access().given(command.timeout(self.config.timeout));
        let ended = patiently(self.session.runner(), &command).await?;
        if ended.is_success() { Ok(ended) } else { Err(not_told(&self.config.repository, &ended).into()) }
    }
}

/// podman writes an id without its algorithm.
fn with_algorithm(id: &str) -> String {
    if id.contains(':') { id.to_owned() } else { format!("sha256:{id}") }
}

fn is_loopback(repository: &str) -> bool {
    let host = repository.split('/').next().unwrap_or_default();
    ["localhost", "127.0.0.1", "[::1]"]
        .iter()
        .any(|name| host.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(':')))
}

/// `TAG: digest: sha256:… size: 523`, docker's last line.
fn digest_in(output: &str) -> Option<String> {
    let digest = output.lines().rev().find_map(|line| line.split_once("digest: ")?.1.split_whitespace().next())?;
    is_digest(digest).then(|| digest.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_a_push_is_its_last_line() {
        let digest = format!("sha256:{}", "8".repeat(64));
        let output = format!(
            "The push refers to repository [127.0.0.1:5901/n]\n0cd2126d2f9f: Pushed\nt1: digest: {digest} size: 523\n"
        );
        assert_eq!(digest_in(&output), Some(digest));
        for output in ["", "Pushed\n", "t1: digest: sha256:12 size: 5\n", "digest: \n"] {
            assert_eq!(digest_in(output), None, "{output:?}");
        }
        assert_eq!(with_algorithm("ab"), "sha256:ab");
        assert!(
            is_loopback("127.0.0.1:5000/n") && is_loopback("localhost/n") && !is_loopback("localhost.example.org/n")
        );
    }
}
