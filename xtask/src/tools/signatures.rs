//! Verifies what was signed of one digest: for `container verify`, and before anything is released or rolled back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use super::attested::{Expected, KINDS, Kind, REVISION, judge, revision_of};
use super::catalog::COSIGN;
use super::command::Command;
use super::cosign::{self, Answer, Signer};
use super::machine::Machine;
use super::proc::Runner;
use super::program;
use super::reference::{Reference, Subject};
use super::registry::{Registry, patiently};
use crate::config::Signing;
use crate::context::{Ctx, Profile};
use crate::verdict::{Finding, NotRun, Unproven};

/// Who may have signed, and what the signatures are trusted by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Any one of them, but one and the same for everything that is said of an image.
    pub signers: Vec<Signer>,
    /// A trusted root; without one Sigstore's public one is fetched.
    pub root: Option<PathBuf>,
    /// Where the source lies.
    pub source: String,
}

/// What was looked for and answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checked {
    /// How many signatures and attestations were verified, by a signer and by what they say.
    pub verified: u64,
    /// How many were looked for.
    pub asked: u64,
    /// What is wrong; empty only where all that was asked for was verified.
    pub findings: Vec<Finding>,
    /// Who signed.
    pub signer: Option<Signer>,
    /// The commit that the image is of.
    pub revision: String,
    /// The calls of cosign, each with what came of it.
    pub calls: Vec<String>,
}

impl Demand {
    /// What the configuration asks for. Where it counts, a signature without a log does not.
    pub fn of(ctx: &Ctx, signing: &Signing) -> Result<Self, NotRun> {
        let beside = |name: &String| (!name.is_empty()).then(|| ctx.config_dir.join(name));
        let by_key =
            signing.key.iter().map(|key| Signer::Key { public: ctx.config_dir.join(&key.public), log: key.log });
        let by_identity = signing
            .identities
            .iter()
            .map(|identity| Signer::Identity { identity: identity.clone(), issuer: signing.issuer.clone() });
        let signers: Vec<Signer> = by_key.chain(by_identity).collect();
        if ctx.profile == Profile::Actions && signers.iter().any(|signer| !signer.needs_root()) {
            let reason = "signing.key.log = false does not count in the profile `actions`";
            return Err(NotRun::new(reason, "sign into a transparency log, and set signing.key.log = true"));
        }
        Ok(Self { signers, root: beside(&signing.trusted_root), source: signing.source.clone() })
    }

    /// The same for the evidence of releases, which other identities may sign than those of images.
    pub fn of_evidence(ctx: &Ctx, signing: &Signing) -> Result<Self, NotRun> {
        let identities = if signing.evidence.is_empty() { &signing.identities } else { &signing.evidence };
        Self::of(ctx, &Signing { identities: identities.clone(), ..signing.clone() })
    }

    /// Of all who may sign only this one, for what not everybody may release.
    #[must_use]
    pub fn only(mut self, wanted: &str) -> Self {
        self.signers.retain(|signer| matches!(signer, Signer::Identity { identity, .. } if identity == wanted));
        self
    }
}

/// Verifies everything that has to be said of `subject`. `Err` where it could not be told, which is never a pass and
/// never a refusal.
pub async fn verify(registry: &Registry<'_>, subject: &Subject, demand: &Demand) -> Result<Checked, Unproven> {
    let name = Reference { repository: subject.repository.clone(), tag: None, digest: Some(subject.digest.clone()) };
    if registry.resolve(&name).await?.is_none() {
        return Err(NotRun::new(format!("`{subject}` is not in the registry"), "cargo xtask container push").into());
    }
    let labels: BTreeMap<String, String> = registry.labels(subject).await?;
    let mut checked = Checked { asked: KINDS.len() as u64, ..Checked::default() };
    match revision_of(labels.get(REVISION)) {
        Ok(revision) => checked.revision = revision,
        Err(finding) => checked.findings.push(finding),
    }
    let expected = Expected {
        digest: subject.digest.clone(),
        id: registry.manifest(subject).await?.config.unwrap_or_default().digest,
        revision: checked.revision.clone(),
        source: demand.source.clone(),
    };
    let root = trusted_root(registry, demand).await?;
    let cosign = Cosign::open(registry).await?;
    let mut signers = demand.signers.clone();
    for kind in KINDS {
        let call = Call { cosign: &cosign, registry, kind, subject, root: root.as_deref(), source: &demand.source };
        let (answer, signer) = call.ask_each(&signers, &mut checked.calls).await?;
        // Who signed the image has to have said everything else of it.
        if let Some(signer) = signer {
            checked.signer = Some(signer.clone());
            signers = vec![signer];
        }
        let wrong = judge(kind, &answer, &signers, &expected);
        checked.verified += u64::from(wrong.is_empty());
        checked.findings.extend(wrong);
    }
    // A registry that went away in between may look like one without signatures.
    if !checked.findings.is_empty() && registry.resolve(&name).await?.is_none() {
        return Err(NotRun::new(format!("`{subject}` went away while it was verified"), "run it again").into());
    }
    Ok(checked)
}

/// What cosign is asked of an image.
struct Call<'a> {
    cosign: &'a Cosign,
    registry: &'a Registry<'a>,
    kind: Kind,
    subject: &'a Subject,
    root: Option<&'a Path>,
    source: &'a str,
}

impl Call<'_> {
    /// The first signer of whom there is one; else why there is none.
    async fn ask_each(
        &self,
        signers: &[Signer],
        calls: &mut Vec<String>,
    ) -> Result<(Answer, Option<Signer>), Unproven> {
        // Whole SBOMs come as an answer: they belong neither into a log nor onto a terminal.
        let runner = Runner { log: None, on_line: None, ..self.registry.runner().clone() };
        let predicate_type = self.kind.predicate_type(self.source);
        let mut refused: Vec<String> = Vec::new();
        for signer in signers {
            let args = cosign::verify(signer, self.root, &predicate_type, &self.subject.to_string());
            let command = self.cosign.0.clone().args(args);
            let ended = patiently(&runner, &command).await?;
            let answer = cosign::answer(&ended);
            calls.push(format!("$ {command}\n{}", in_words(&answer)));
            match answer {
                Answer::Verified(statements) => return Ok((Answer::Verified(statements), Some(signer.clone()))),
                Answer::Refused(why) => refused.push(why),
                Answer::Absent => {}
                Answer::Unable => {
                    let (what, image) = (self.kind.name(), self.subject);
                    let reason = format!("the {what} of `{image}` cannot be verified: {}", ended.failure());
                    return Err(NotRun::new(reason, "check the way to the registry, then run it again").into());
                }
            }
        }
        let told = if refused.is_empty() { Answer::Absent } else { Answer::Refused(refused.join("; ")) };
        Ok((told, None))
    }
}

fn in_words(answer: &Answer) -> String {
    match answer {
        Answer::Verified(statements) => format!("{} verified", statements.len()),
        Answer::Absent => "there is none".to_owned(),
        Answer::Refused(why) => format!("refused: {why}"),
        Answer::Unable => "it could not be told".to_owned(),
    }
}

/// cosign, let into the registry.
#[derive(Clone, Debug)]
pub struct Cosign(pub Command);

impl Cosign {
    /// Gets it.
    pub async fn open(registry: &Registry<'_>) -> Result<Self, Unproven> {
        let installed = program::ensure(registry.machine(), registry.runner(), &COSIGN).await?;
        let command = Command::new(installed.path, &registry.machine().ctx.root).timeout(Duration::from_secs(300));
        Ok(Self(registry.access().given(command)))
    }
}

async fn trusted_root(registry: &Registry<'_>, demand: &Demand) -> Result<Option<PathBuf>, Unproven> {
    let cosign = Cosign::open(registry).await?;
    root(registry.machine(), registry.runner(), &cosign.0, demand).await
}

/// What signatures are trusted by: the configuration's, or what Sigstore's TUF repository says now.
pub async fn root(
    machine: &Machine,
    runner: &Runner,
    cosign: &Command,
    demand: &Demand,
) -> Result<Option<PathBuf>, Unproven> {
    if !demand.signers.iter().any(Signer::needs_root) {
        return Ok(None);
    }
    if let Some(root) = &demand.root {
        if !root.is_file() {
            let reason = format!("the trusted root `{}` is not there", machine.shown(root));
            return Err(NotRun::new(reason, "look at signing.trusted_root").into());
        }
        return Ok(Some(root.clone()));
    }
    let folder = machine.ctx.out.join("container");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
    let file = folder.join("trusted_root.json");
    // An older one is no answer: keys are revoked in it.
    let _gone = std::fs::remove_file(&file);
    let ended = patiently(runner, &cosign.clone().args(cosign::public_root(&file))).await?;
    if !ended.is_success() || !file.is_file() {
        let reason = format!("Sigstore's trusted root cannot be had: {}", ended.failure());
        return Err(NotRun::new(reason, "check the way to tuf-repo-cdn.sigstore.dev, then run it again").into());
    }
    Ok(Some(file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Key;

    #[test]
    fn a_signature_without_a_log_does_not_count_in_actions() {
        let mut ctx = crate::context::testing::ctx(std::path::Path::new("/repo"));
        let mut signing = Signing {
            source: "https://s".into(),
            identities: vec![],
            evidence: vec![],
            issuer: String::new(),
            trusted_root: String::new(),
            services: String::new(),
            key: Some(Key { public: "cosign.pub".into(), log: false }),
        };
        for (profile, log, counts) in [
            (Profile::Local, false, true),
            (Profile::Offline, false, true),
            (Profile::Actions, false, false),
            (Profile::Actions, true, true),
        ] {
            ctx.profile = profile;
            signing.key = Some(Key { public: "cosign.pub".into(), log });
            assert_eq!(Demand::of(&ctx, &signing).is_ok(), counts, "{profile:?} {log}");
        }
        signing.key = None;
        signing.identities = vec!["a".into(), "b".into()];
        signing.issuer = "https://i".into();
        let demand = Demand::of(&ctx, &signing).unwrap();
        assert!(demand.signers.iter().all(Signer::needs_root) && demand.signers.len() == 2);
        assert_eq!(Demand::of_evidence(&ctx, &signing).unwrap(), demand);
        signing.evidence = vec!["c".into()];
        let named = |demand: Demand| demand.signers.iter().map(Signer::shown).collect::<Vec<_>>();
        assert_eq!(named(Demand::of_evidence(&ctx, &signing).unwrap()), ["`c` of https://i"]);
        assert_eq!(named(Demand::of(&ctx, &signing).unwrap()), ["`a` of https://i", "`b` of https://i"]);
    }
}
