//! `deploy` and `rollback`: a release is a transaction. Either the new version serves and is verified, or the last
//! verified one does, and both are proven.
//!
//! Plan → lock → check → journal → apply → watch → verify → accept, or restore → verify again.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;

use crate::config::{Environment, Strategy};
use crate::engine::gate::Gate;
use crate::exit::UsageError;
use crate::tools::reference::{Reference, Subject};
use image::Asked;

mod aside;
mod canary;
mod clear;
pub mod deploy;
mod image;
mod observer;
mod others;
mod plan;
mod planned;
pub mod reach;
pub mod rehearse;
mod restore;
pub mod rollback;
mod stages;
mod tell;
mod transaction;
mod users;
mod verify;

pub use verify::arm as way_to_service;

/// The flags by which a person does without a check, and a reason each.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Checks to do without, each with a reason that goes into the journal")]
pub struct Waivers {
    /// Release though the working tree differs from its commit
    #[arg(long, value_name = "REASON")]
    waive_clean: Option<String>,
    /// Release a commit that is not on the environment's branch
    #[arg(long, value_name = "REASON")]
    waive_branch: Option<String>,
    /// Release an image whose signature or provenance is missing or not good
    #[arg(long, value_name = "REASON")]
    waive_signature: Option<String>,
    /// Release an image without a good SBOM
    #[arg(long, value_name = "REASON")]
    waive_sbom: Option<String>,
    /// Release an image whose report of the checks is missing or red
    #[arg(long, value_name = "REASON")]
    waive_report: Option<String>,
}

impl Waivers {
    fn all(&self) -> [(&'static str, &Option<String>); 5] {
        [
            ("clean", &self.waive_clean),
            ("branch", &self.waive_branch),
            ("signature", &self.waive_signature),
            ("sbom", &self.waive_sbom),
            ("report", &self.waive_report),
        ]
    }

    /// The reason to do without a check.
    fn of(&self, check: &str) -> Option<String> {
        self.all().into_iter().find(|(name, _)| *name == check).and_then(|(_, reason)| reason.clone())
    }

    /// Each has a reason.
    fn check(&self) -> Result<(), UsageError> {
        let empty =
            self.all().into_iter().find(|(_, reason)| reason.as_ref().is_some_and(|text| text.trim().is_empty()));
        empty.map_or(Ok(()), |(name, _)| Err(UsageError(format!("--waive-{name} needs a reason"))))
    }
}

/// Options of `deploy`.
#[derive(Clone, Debug, clap::Args)]
pub struct DeployArgs {
    /// The environment: staging, production (or prod)
    #[arg(value_name = "ENV")]
    pub environment: String,
    /// Exactly this image: REPOSITORY@sha256:…
    #[arg(long, value_name = "IMAGE", conflicts_with = "version")]
    pub image: Option<String>,
    /// The image of a tag or a commit [default: that of the head of the environment's branch]
    #[arg(long, value_name = "VERSION")]
    pub version: Option<String>,
    /// How the new version takes the place of the old one [default: as the environment's file says]
    #[arg(long, value_enum)]
    pub strategy: Option<Strategy>,
    /// Do not ask for the environment's name
    #[arg(long)]
    pub yes: bool,
    /// How long to wait while another release goes on, such as 10m
    #[arg(long, value_name = "DURATION", value_parser = crate::config::parse_duration)]
    pub wait: Option<Duration>,
    /// Take over fields of objects that somebody else has changed
    #[arg(long)]
    pub take_over: bool,
    /// Plant faults into releases of the real overlay in a namespace that is thrown away, and see each undone
    #[arg(long, conflicts_with_all = ["version", "take_over"])]
    pub rehearse: bool,
    /// Be one of the releases of a rehearsal, which nobody remembers as one of the environment
    #[arg(long, hide = true, conflicts_with = "rehearse")]
    pub rehearsed: bool,
    /// Of a rehearsal: every fault, at the environment's own waiting times
    #[arg(long, requires = "rehearse")]
    pub full: bool,
    /// Of a rehearsal: only these faults; may be given several times
    #[arg(long = "fault", requires = "rehearse", value_name = "NAME")]
    pub faults: Vec<String>,
    /// Of a rehearsal: another cluster than the local one
    #[arg(long, requires = "rehearse", value_name = "CONTEXT")]
    pub context: Option<String>,
    /// Of a rehearsal: a registry that the other cluster pulls from and that this machine may push to
    #[arg(long, requires = "context", value_name = "HOST:PORT")]
    pub registry: Option<String>,
    /// What is done without.
    #[command(flatten)]
    pub waivers: Waivers,
}

/// Options of `rollback`.
#[derive(Clone, Debug, clap::Args)]
pub struct RollbackArgs {
    /// The environment: staging, production (or prod)
    #[arg(value_name = "ENV")]
    pub environment: String,
    /// The digest of a verified release [default: the last verified one that does not run now]
    #[arg(long, value_name = "DIGEST")]
    pub to: Option<String>,
    /// Do not ask for the environment's name
    #[arg(long)]
    pub yes: bool,
    /// How long to wait while another release goes on, such as 10m
    #[arg(long, value_name = "DURATION", value_parser = crate::config::parse_duration)]
    pub wait: Option<Duration>,
    /// Go back though the signature of the target is missing or not good any more
    #[arg(long, value_name = "REASON")]
    pub waive_signature: Option<String>,
}

impl DeployArgs {
    fn asked(&self) -> Result<Asked, UsageError> {
        self.waivers.check()?;
        if let Some(image) = &self.image {
            let reference = Reference::parse(image).map_err(UsageError)?;
            let digest = reference.digest.ok_or_else(|| {
                UsageError(format!(
                    "`{image}` has no digest: a tag may name another image tomorrow (--version takes a tag)"
                ))
            })?;
            return Ok(Asked::Image(Subject { repository: reference.repository, digest }));
        }
        // A workflow's empty input is none.
        let version = self.version.as_deref().map(str::trim).filter(|version| !version.is_empty());
        match version {
            Some(version) if version.starts_with('-') => Err(UsageError(format!("`{version}` is no version"))),
            Some(version) => Ok(Asked::Version(version.to_owned())),
            None => Ok(Asked::Head),
        }
    }
}

/// A gate of ours as it is planned.
fn gate(id: &str, unit: &'static str, tool: &'static str, again: &str) -> Gate {
    Gate {
        id: id.to_owned(),
        unit,
        tool: (tool, String::new()),
        fresh: true,
        again: again.to_owned(),
        ..Gate::default()
    }
}

/// Who releases, and in which run: `name@host`, or who started the workflow.
fn identity(env: &BTreeMap<String, String>) -> (String, String) {
    let var = |name: &str| env.get(name).filter(|value| !value.is_empty());
    let in_actions = env.get("GITHUB_ACTIONS").is_some_and(|value| value == "true");
    if let (true, Some(actor)) = (in_actions, var("GITHUB_ACTOR")) {
        return (format!("{actor} (GitHub Actions)"), crate::context::run_url(env));
    }
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let user = var("USER").or_else(|| var("LOGNAME")).map_or("somebody", String::as_str);
    (format!("{user}@{host}"), String::new())
}

/// An id that no other release has, and that is a part of an object's name: `20261124t181500z-3f2a91`.
fn new_id(now: time::OffsetDateTime) -> Result<String> {
    let mut random = [0; 3];
    getrandom::fill(&mut random).map_err(|e| anyhow::anyhow!("no random numbers: {e}"))?;
    let format = time::macros::format_description!("[year][month][day]t[hour][minute][second]z");
    let time = now.to_offset(time::UtcOffset::UTC).format(format)?;
    Ok(format!("{time}-{:02x}{:02x}{:02x}", random[0], random[1], random[2]))
}

/// The environment with the parts that a release needs, read once.
fn environment(ctx: &crate::context::Ctx, name: &str) -> Result<Environment, UsageError> {
    let environment = Environment::load(&ctx.config_dir, name)?;
    environment.releasable()?;
    if let Some(after) = environment.release.as_ref().map(|release| &release.after).filter(|name| !name.is_empty()) {
        Environment::load(&ctx.config_dir, after)?;
    }
    Ok(environment)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: DeployArgs,
    }

    fn asked(words: &[&str]) -> Result<Asked, String> {
        let line = Line::try_parse_from([&["deploy", "prod"], words].concat()).map_err(|e| e.to_string())?;
        line.args.asked().map_err(|e| e.to_string())
    }

    #[test]
    fn an_image_is_named_by_digest_and_an_empty_version_is_none() {
        let digest = format!("sha256:{}", "a".repeat(64));
        assert_eq!(asked(&[]).unwrap(), Asked::Head);
        assert_eq!(asked(&["--version", ""]).unwrap(), Asked::Head);
        assert_eq!(asked(&["--version", "v1"]).unwrap(), Asked::Version("v1".into()));
        let subject = Subject { repository: "r.example/i".into(), digest: digest.clone() };
        assert_eq!(asked(&["--image", &format!("r.example/i@{digest}")]).unwrap(), Asked::Image(subject));
        for (words, wrong) in [
            (&["--image", "r.example/i:tag"][..], "has no digest"),
            (&["--image", "r.example/i"], "neither a tag nor a digest"),
            (&["--waive-sbom", " "], "needs a reason"),
            (&["--image", "a", "--version", "b"], "cannot be used with"),
            (&["--wait", "soon"], "not a duration"),
        ] {
            let found = asked(words).unwrap_err();
            assert!(found.contains(wrong), "{words:?}: {found}");
        }
    }

    #[test]
    fn who_releases_is_told_apart_on_a_laptop_and_in_a_workflow() {
        let env = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let (who, run) = identity(&env(&[("USER", "anna"), ("GITHUB_ACTOR", "bert")]));
        assert!(who.starts_with("anna@") && run.is_empty(), "{who} {run}");
        let (who, run) = identity(&env(&[
            ("GITHUB_ACTIONS", "true"),
            ("GITHUB_ACTOR", "bert"),
            ("GITHUB_SERVER_URL", "https://github.com"),
            ("GITHUB_REPOSITORY", "o/r"),
            ("GITHUB_RUN_ID", "7"),
        ]));
        assert_eq!((who.as_str(), run.as_str()), ("bert (GitHub Actions)", "https://github.com/o/r/actions/runs/7"));
    }
}
