//! An OCI registry: what it answers, and how it is asked.
//!
//! crane asks, with the credentials that the engine's own login keeps. Nothing here decides what counts.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::json;

use super::catalog::CRANE;
use super::command::Command;
use super::ledger::{Ledger, Scratch};
use super::machine::Machine;
use super::proc::{Ended, Runner};
use super::program;
use super::reference::{Reference, Subject, is_digest};
use crate::context::Ctx;
use crate::verdict::{NotRun, Unproven};

/// How long a registry that stumbles is waited for before each further try: 7 s in all.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

/// Where a name and a password for the registry may be given, beside the engine's login.
const NAME_AND_PASSWORD: (&str, &str) = ("REGISTRY_USERNAME", "REGISTRY_PASSWORD");

/// Where the engines' logins are kept, if not in the home folder.
const LOGINS: [&str; 2] = ["DOCKER_CONFIG", "REGISTRY_AUTH_FILE"];

/// Why a registry did not do what it was asked for, as far as the program's words tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It has no such image, or no such repository.
    Absent,
    /// It does not let us.
    Denied,
    /// It cannot be reached, or stumbles; later it may work.
    Away,
    /// Something else.
    Other,
}

/// What the words of crane, cosign, docker and podman say. Recorded; a table in the tests holds them.
pub fn trouble(words: &str) -> Trouble {
    let says = |parts: &[&str]| parts.iter().any(|part| words.contains(part));
    if says(&["MANIFEST_UNKNOWN", "NAME_UNKNOWN", "status code 404", "manifest unknown", "name unknown"]) {
        Trouble::Absent
    } else if says(&[
        "UNAUTHORIZED",
        "DENIED",
        "status code 401",
        "status code 403",
        "HTTP 403 ",
        "unauthorized",
        "denied:",
    ]) {
        Trouble::Denied
    } else if says(&[
        "connection refused",
        "connection reset",
        "no route to host",
        "no such host",
        "i/o timeout",
        "TLS handshake timeout",
        "context deadline exceeded",
        "unexpected EOF",
        ": EOF",
        "TOOMANYREQUESTS",
        "status code 429",
        "HTTP 429 ",
        "status code 5",
        "HTTP status: 5",
        "HTTP status 5",
    ]) {
        Trouble::Away
    } else {
        Trouble::Other
    }
}

/// What lets us in: variables for the children, and the folder that two of them name, which ends with this value.
#[derive(Debug)]
pub struct Access {
    /// For docker, podman, crane and cosign.
    pub env: BTreeMap<String, String>,
    _folder: Option<Scratch>,
}

impl Access {
    /// The name and the password of the environment where both are there, else the engine's own login. They go into a
    /// file that only we can read, as a login's do, and never into an argument.
    pub fn new(ctx: &Ctx, ledger: &Ledger, repository: &str) -> Result<Self> {
        let (name, password) = (ctx.var(NAME_AND_PASSWORD.0), ctx.var(NAME_AND_PASSWORD.1));
        let (Some(name), Some(password)) = (name, password) else {
            let login = |name: &&str| Some(((*name).to_owned(), ctx.var(name)?.to_owned()));
            return Ok(Self { env: LOGINS.iter().filter_map(login).collect(), _folder: None });
        };
        let folder = ledger.scratch("registry", Path::new(ctx.var("TMPDIR").unwrap_or("/tmp")))?;
        let registry = repository.split('/').next().unwrap_or_default();
        let file = folder.path().join("config.json");
        let logins = json!({"auths": {registry: {"auth": basic(name, password)}}});
        std::fs::write(&file, logins.to_string()).context("cannot write the registry's password")?;
        let places = [(LOGINS[0], folder.path()), (LOGINS[1], file.as_path())];
        let env = places.into_iter().map(|(name, place)| (name.to_owned(), place.display().to_string())).collect();
        Ok(Self { env, _folder: Some(folder) })
    }

    /// The command, let in.
    pub fn given(&self, mut command: Command) -> Command {
        command.env.extend(self.env.clone());
        command
    }
}

fn basic(name: &str, password: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(format!("{name}:{password}"))
}

/// The trouble of a command that failed. crane warns of a first try before its error: only the error counts.
pub fn trouble_of(ended: &Ended) -> Trouble {
    let error = ended.stderr.lines().rev().find(|line| line.starts_with("Error:"));
    trouble(error.unwrap_or(&ended.stderr))
}

/// Runs what asks a registry, again while it is away, for a bounded time.
pub async fn patiently(runner: &Runner, command: &Command) -> Result<Ended> {
    let mut ended = runner.run(command).await?;
    for pause in PAUSES {
        if ended.is_success() || trouble_of(&ended) != Trouble::Away || runner.cancel.is_cancelled() {
            break;
        }
        tokio::time::sleep(pause).await;
        ended = runner.run(command).await?;
    }
    Ok(ended)
}

/// Why nothing is known of an image: the reason of a gate that did not run.
pub fn not_told(repository: &str, ended: &Ended) -> NotRun {
    let registry = repository.split('/').next().unwrap_or_default();
    match trouble_of(ended) {
        Trouble::Denied => NotRun::new(
            format!("{registry} does not let us in: {}", ended.failure()),
            format!("`docker login {registry}`, or set {} and {}", NAME_AND_PASSWORD.0, NAME_AND_PASSWORD.1),
        ),
        Trouble::Away => NotRun::new(
            format!("{registry} cannot be reached: {}", ended.failure()),
            "check the way to it (name, proxy, certificates), then run it again",
        ),
        _ => NotRun::new(
            format!("{registry} gave no answer that can be used: {}", ended.failure()),
            "look into the gate's log",
        ),
    }
}

/// A registry that is asked.
pub struct Registry<'a> {
    machine: &'a Machine,
    runner: &'a Runner,
    crane: Command,
    access: &'a Access,
}

/// What a manifest says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Manifest {
    /// The image's configuration; its digest is the image's id in an engine. None in an index of several platforms.
    #[serde(default)]
    pub config: Option<Descriptor>,
}

/// A part of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Descriptor {
    /// Its digest.
    #[serde(default)]
    pub digest: String,
}

impl<'a> Registry<'a> {
    /// Gets crane.
    pub async fn open(machine: &'a Machine, runner: &'a Runner, access: &'a Access) -> Result<Self, Unproven> {
        let installed = program::ensure(machine, runner, &CRANE).await?;
        let crane = Command::new(installed.path, &machine.ctx.root).timeout(Duration::from_secs(120));
        Ok(Self { machine, runner, crane: access.given(crane), access })
    }

    /// This machine.
    pub fn machine(&self) -> &Machine {
        self.machine
    }

    /// What runs commands.
    pub fn runner(&self) -> &Runner {
        self.runner
    }

    /// What lets us in.
    pub fn access(&self) -> &Access {
        self.access
    }

    /// Asks; `None` where the registry has no such thing.
    async fn ask(&self, repository: &str, args: &[&str]) -> Result<Option<String>, Unproven> {
        let ended = patiently(self.runner, &self.crane.clone().args(args.iter().copied())).await?;
        if ended.is_success() {
            return Ok(Some(ended.stdout));
        }
        match trouble_of(&ended) {
            Trouble::Absent => Ok(None),
            _ => Err(not_told(repository, &ended).into()),
        }
    }

    /// The digest that a name stands for now, as the registry says it; `None` where it stands for nothing.
    ///
    /// crane asks with every manifest type in `Accept`: without them a registry answers for schema 1, with another
    /// digest.
    pub async fn resolve(&self, reference: &Reference) -> Result<Option<Subject>, Unproven> {
        let Some(answer) = self.ask(&reference.repository, &["digest", &reference.to_string()]).await? else {
            return Ok(None);
        };
        let digest = answer.trim().to_owned();
        if !is_digest(&digest) || reference.digest.as_ref().is_some_and(|asked| *asked != digest) {
            let reason = format!("the registry says that `{reference}` is `{digest}`");
            return Err(NotRun::new(reason, "look into the gate's log").into());
        }
        Ok(Some(Subject { repository: reference.repository.clone(), digest }))
    }

    /// The image's manifest.
    pub async fn manifest(&self, subject: &Subject) -> Result<Manifest, Unproven> {
        self.read(subject, "manifest").await
    }

    /// The image's labels.
    pub async fn labels(&self, subject: &Subject) -> Result<BTreeMap<String, String>, Unproven> {
        #[derive(Deserialize)]
        struct File {
            #[serde(default)]
            config: Config,
        }
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Config {
            labels: Option<BTreeMap<String, String>>,
        }
        Ok(self.read::<File>(subject, "config").await?.config.labels.unwrap_or_default())
    }

    /// The image's layers, by the digests of what they hold.
    pub async fn layers(&self, subject: &Subject) -> Result<Vec<String>, Unproven> {
        #[derive(Deserialize)]
        struct File {
            rootfs: Layers,
        }
        #[derive(Deserialize)]
        struct Layers {
            diff_ids: Vec<String>,
        }
        Ok(self.read::<File>(subject, "config").await?.rootfs.diff_ids)
    }

    /// The image as an archive of the kind that `docker save` writes.
    pub async fn pull(&self, subject: &Subject, to: &Path) -> Result<(), Unproven> {
        let place = to.display().to_string();
        match self.ask(&subject.repository, &["pull", &subject.to_string(), &place]).await? {
            Some(_) => Ok(()),
            None => Err(NotRun::new(format!("`{subject}` is gone from the registry"), "push it again").into()),
        }
    }

    /// Gives an image one more name, without moving a byte of it.
    pub async fn tag(&self, subject: &Subject, tag: &str) -> Result<(), Unproven> {
        match self.ask(&subject.repository, &["tag", &subject.to_string(), tag]).await? {
            Some(_) => Ok(()),
            None => Err(NotRun::new(format!("`{subject}` is gone from the registry"), "push it again").into()),
        }
    }

    async fn read<T: serde::de::DeserializeOwned>(&self, subject: &Subject, what: &str) -> Result<T, Unproven> {
        let answer = self.ask(&subject.repository, &[what, &subject.to_string()]).await?;
        let answer =
            answer.ok_or_else(|| NotRun::new(format!("the {what} of `{subject}` is not there"), "push it again"))?;
        let read = serde_json::from_str(&answer);
        Ok(read.map_err(|e| NotRun::new(format!("the {what} of `{subject}` cannot be read: {e}"), "push it again"))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_that_is_away_is_no_registry_without_the_image() {
        for (words, expected) in [
            // Recorded from crane 0.21.7, docker 20.10 and docker-registry 2.8.2.
            (
                "Error: HEAD http://localhost:5999/v2/x/manifests/y: unexpected status code 404 Not Found (HEAD responses have no body, use GET for details)",
                Trouble::Absent,
            ),
            ("Error: fetching manifest: GET http://l/v2/x: MANIFEST_UNKNOWN: manifest unknown", Trouble::Absent),
            ("Error: Get \"http://127.0.0.1:1/v2/\": dial tcp 127.0.0.1:1: connect: connection refused", Trouble::Away),
            (
                "Error: GET http://127.0.0.1:5933/v2/xxx/manifests/y: unexpected status code 503 Service Unavailable",
                Trouble::Away,
            ),
            ("Error: GET http://127.0.0.1:5933/v2/x: unexpected status code 429 Too Many Requests", Trouble::Away),
            ("error parsing HTTP 429 response body: unexpected end of JSON input: \"\"", Trouble::Away),
            ("Error: GET http://127.0.0.1:5933/v2/x: unexpected status code 403 Forbidden", Trouble::Denied),
            ("error parsing HTTP 403 response body: unexpected end of JSON input: \"\"", Trouble::Denied),
            ("unauthorized: authentication required", Trouble::Denied),
            ("Error: parsing reference \"127.0.0.1:5933/x:y\": could not parse reference", Trouble::Other),
            // From the sources of docker and of the OCI distribution specification.
            ("received unexpected HTTP status: 500 Internal Server Error", Trouble::Away),
            ("GET https://r/token: UNAUTHORIZED: authentication required", Trouble::Denied),
            ("denied: requested access to the resource is denied", Trouble::Denied),
            ("no such flag", Trouble::Other),
        ] {
            assert_eq!(trouble(words), expected, "{words}");
        }
    }

    #[test]
    fn a_password_goes_into_a_file_that_ends_with_its_use() {
        let mut ctx = crate::context::testing::ctx(std::path::Path::new("/repo"));
        ctx.env.insert("REGISTRY_USERNAME".into(), "somebody".into());
        ctx.env.insert("REGISTRY_PASSWORD".into(), "hunter22".into());
        let access = Access::new(&ctx, &Ledger::default(), "ghcr.io/o/n").unwrap();
        let file = access.env["REGISTRY_AUTH_FILE"].clone();
        assert_eq!(std::path::Path::new(&file).parent().unwrap().display().to_string(), access.env["DOCKER_CONFIG"]);
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text, format!(r#"{{"auths":{{"ghcr.io":{{"auth":"{}{}"}}}}}}"#, "c29tZWJv", "ZHk6aHVudGVyMjI="));
        drop(access);
        assert!(!std::path::Path::new(&file).exists());
    }
}
