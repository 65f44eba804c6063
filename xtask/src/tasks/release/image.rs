//! Which image is released: resolved to a digest once, and held against its commit, its branch and its signatures.

use std::path::Path;

use super::Waivers;
use super::reach::reach;
use crate::config::{Environment, Release};
use crate::engine::session::Session;
use crate::release::book::Book;
use crate::release::journal::Waived;
use crate::tools::command::Command;
use crate::tools::reference::{Reference, Subject, is_tag};
use crate::tools::registry::{Access, Registry};
use crate::tools::signatures::{self, Demand};
use crate::verdict::{Evidence, Finding, NotRun, Outcome, Severity, Unproven, Work};

/// What the command line says of the image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Asked {
    /// The head of the environment's branch.
    #[default]
    Head,
    /// A tag or a commit.
    Version(String),
    /// Exactly this one.
    Image(Subject),
}

/// An image that may be released.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    /// `REPOSITORY@sha256:…`
    pub image: String,
    /// The commit that it is of; empty where nothing says so.
    pub commit: String,
    /// What was asked for.
    pub version: String,
    /// Who signed it.
    pub signer: String,
    /// What was done without.
    pub waived: Vec<Waived>,
}

/// What is known beforehand.
pub struct Question<'a> {
    /// How.
    pub release: &'a Release,
    /// Which image.
    pub asked: Asked,
    /// What a person does without.
    pub waivers: &'a Waivers,
    /// Whether the working tree differs from its commit.
    pub is_dirty: bool,
}

/// Chooses the image and checks it; one check each is the work.
pub async fn choose(session: &Session, question: &Question<'_>, chosen: &mut Chosen) -> Result<Outcome, Unproven> {
    let config = session.ctx().config.registry.clone();
    let repository = match (&question.asked, &config) {
        (Asked::Image(subject), _) => subject.repository.clone(),
        (_, Some(registry)) => registry.repository.clone(),
        _ => {
            return Err(
                NotRun::new("pipeline.toml has no [registry]", "name the image by --image REPO@sha256:…").into()
            );
        }
    };
    let access = Access::new(session.ctx(), &session.runner().ledger, &repository)?;
    let registry = Registry::open(&session.machine, session.runner(), &access).await?;
    let subject = match &question.asked {
        Asked::Image(subject) => subject.clone(),
        Asked::Version(version) => by_version(session, &registry, &repository, version).await?,
        Asked::Head => by_head(session, &registry, &repository, question).await?,
    };
    chosen.image = subject.to_string();
    chosen.version = if let Asked::Version(version) = &question.asked { version.clone() } else { String::new() };
    session.say(&format!("the image is {subject}"))?;
    let exact = Reference { repository: subject.repository.clone(), tag: None, digest: Some(subject.digest.clone()) };
    if registry.resolve(&exact).await?.is_none() {
        let reason = format!("`{subject}` is not in the registry");
        return Err(NotRun::new(reason, "cargo xtask container all && cargo xtask container push").into());
    }
    let mut checks = Checks { waivers: question.waivers, count: 1, findings: Vec::new(), waived: Vec::new() };
    if !question.release.checked {
        let labels = registry.labels(&subject).await?;
        chosen.commit = labels.get("org.opencontainers.image.revision").cloned().unwrap_or_default();
        checks.findings.push(Finding::new(
            "unchecked",
            Severity::Info,
            "release.checked = false: its commit and signatures were not looked at",
        ));
    } else {
        if question.is_dirty {
            checks.found("clean", "dirty-tree", "the working tree differs from its commit".to_owned());
        }
        checks.count += 1;
        signed(session, &registry, &subject, &mut checks, chosen).await?;
        on_branch(session, question.release, &chosen.commit, &mut checks).await?;
        if let Asked::Version(version) = &question.asked
            && let Some(commit) = commit_of(session, version).await?
        {
            checks.count += 1;
            if let Some(why) = other_commit(version, &commit, &chosen.commit) {
                checks.found("branch", "other-commit", why);
            }
        }
        match question.asked {
            Asked::Head => of_this_checkout(session, &chosen.commit, &mut checks).await?,
            Asked::Image(_) | Asked::Version(_) => of_the_branch(session, question.release, &mut checks).await?,
        }
    }
    chosen.waived = checks.waived;
    Ok(Outcome::Ran(Evidence {
        work: Work::new(checks.count, "checks"),
        declared: None,
        findings: checks.findings,
        artifacts: vec![],
        fix: "build, check, push and sign the commit, or waive the check by its flag with a reason".to_owned(),
    }))
}

/// The checks so far.
struct Checks<'a> {
    waivers: &'a Waivers,
    count: u64,
    findings: Vec<Finding>,
    waived: Vec<Waived>,
}

impl Checks<'_> {
    /// Something that breaks the policy, unless a person gave a reason to do without this check.
    fn found(&mut self, check: &str, rule: &str, message: String) {
        let mut finding = Finding::new(rule, Severity::Critical, message);
        if let Some(reason) = self.waivers.of(check) {
            finding.excused = Some(reason.clone());
            let waived = Waived { check: check.to_owned(), reason };
            if !self.waived.contains(&waived) {
                self.waived.push(waived);
            }
        }
        self.findings.push(finding);
    }
}

async fn signed(
    session: &Session,
    registry: &Registry<'_>,
    subject: &Subject,
    checks: &mut Checks<'_>,
    chosen: &mut Chosen,
) -> Result<(), Unproven> {
    let label = registry.labels(subject).await?.get("org.opencontainers.image.revision").cloned();
    chosen.commit = label.unwrap_or_default();
    if ["signature", "sbom", "report"].iter().all(|check| checks.waivers.of(check).is_some()) {
        for check in ["signature", "sbom", "report"] {
            checks.found(check, &format!("unchecked-{check}"), format!("the {check} was not looked at"));
        }
        return Ok(());
    }
    let Some(signing) = session.ctx().config.signing.clone() else {
        return Err(NotRun::new("pipeline.toml has no [signing]", "say there who may sign").into());
    };
    let demand = Demand::of(session.ctx(), &signing)?;
    let checked = signatures::verify(registry, subject, &demand).await?;
    checked.calls.iter().try_for_each(|call| session.note(call))?;
    checks.count += checked.asked;
    chosen.commit.clone_from(&checked.revision);
    chosen.signer = checked.signer.as_ref().map(|signer| signer.shown()).unwrap_or_default();
    for finding in checked.findings {
        // Provenance says of which source and builder it is, as the signature does.
        let check = ["sbom", "report"].into_iter().find(|check| finding.rule.contains(check));
        checks.found(check.unwrap_or("signature"), &finding.rule, finding.message);
    }
    Ok(())
}

/// Whether the commit is part of the branch that this environment is released from.
async fn on_branch(
    session: &Session,
    release: &Release,
    commit: &str,
    checks: &mut Checks<'_>,
) -> Result<(), Unproven> {
    checks.count += 1;
    let branch = &release.branch;
    let Some(head) = head(session, branch).await? else {
        let message = format!("git knows no branch `{branch}`, so whether the commit is on it cannot be told");
        checks.found("branch", "unknown-branch", message);
        return Ok(());
    };
    let is_on_it = !commit.is_empty() && git(session, &["merge-base", "--is-ancestor", commit, &head]).await?.is_some();
    if !is_on_it {
        checks.found("branch", "other-branch", format!("the commit `{commit}` is not on the branch `{branch}`"));
    }
    Ok(())
}

/// Whether the objects, which are of this checkout, are of the source that the image is of.
async fn of_this_checkout(session: &Session, commit: &str, checks: &mut Checks<'_>) -> Result<(), Unproven> {
    checks.count += 1;
    let here = tree(session, "HEAD").await?;
    if here.is_none() || here != tree(session, commit).await? {
        let message =
            format!("the image is of `{commit}`, and this checkout, whose objects are released, is of another source");
        checks.found("clean", "other-checkout", message);
    }
    Ok(())
}

/// Whether the objects, which are of this checkout whatever the image is of, are on the branch that this environment is
/// released from: nobody has reviewed others.
async fn of_the_branch(session: &Session, release: &Release, checks: &mut Checks<'_>) -> Result<(), Unproven> {
    checks.count += 1;
    let is_on_it = match head(session, &release.branch).await? {
        Some(head) => git(session, &["merge-base", "--is-ancestor", "HEAD", &head]).await?.is_some(),
        None => false,
    };
    if !is_on_it {
        let branch = &release.branch;
        let message = format!("this checkout, whose objects are released, is not on the branch `{branch}`");
        checks.found("branch", "other-checkout", message);
    }
    Ok(())
}

/// The tree of a commit.
async fn tree(session: &Session, commit: &str) -> Result<Option<String>, Unproven> {
    git(session, &["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{commit}^{{tree}}")]).await
}

/// The commit that git knows a version by.
async fn commit_of(session: &Session, version: &str) -> Result<Option<String>, Unproven> {
    git(session, &["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{version}^{{commit}}")]).await
}

/// A tag of a registry may lead to another image tomorrow, with a good signature of another commit: the version that a
/// person has named is git's.
fn other_commit(version: &str, commit: &str, attested: &str) -> Option<String> {
    let named = if attested.is_empty() { "no commit".to_owned() } else { format!("the commit `{attested}`") };
    (commit != attested)
        .then(|| format!("the version `{version}` is the commit `{commit}`, and its image is of {named}"))
}

/// The image of a tag or a commit.
async fn by_version(
    session: &Session,
    registry: &Registry<'_>,
    repository: &str,
    version: &str,
) -> Result<Subject, Unproven> {
    let commit = commit_of(session, version).await?;
    for tag in [Some(version.to_owned()), commit].into_iter().flatten().filter(|tag| is_tag(tag)) {
        let name = Reference { repository: repository.to_owned(), tag: Some(tag), digest: None };
        if let Some(subject) = registry.resolve(&name).await? {
            return Ok(subject);
        }
    }
    let reason = format!("`{repository}` has no image of the version `{version}`");
    Err(NotRun::new(
        reason,
        format!("git checkout {version} && cargo xtask container all && cargo xtask container push"),
    )
    .into())
}

/// The image of the branch's head; where the source tree is the same, the one that was verified in the environment before.
async fn by_head(
    session: &Session,
    registry: &Registry<'_>,
    repository: &str,
    question: &Question<'_>,
) -> Result<Subject, Unproven> {
    let branch = &question.release.branch;
    let make = format!(
        "git checkout {branch} && cargo xtask container all && cargo xtask container push && cargo xtask container sign"
    );
    let Some(commit) = head(session, branch).await? else {
        return Err(NotRun::new(format!("git knows no branch `{branch}`"), format!("git fetch origin {branch}")).into());
    };
    let name = Reference { repository: repository.to_owned(), tag: Some(commit.clone()), digest: None };
    if let Some(subject) = registry.resolve(&name).await? {
        return Ok(subject);
    }
    let after = &question.release.after;
    if !after.is_empty()
        && let Some(subject) = verified_there(session, after, &commit).await?
    {
        session.say(&format!("no image is of {commit}; its source tree is that of the one verified in {after}"))?;
        return Ok(subject);
    }
    Err(NotRun::new(format!("`{repository}` has no image of {commit}, the head of `{branch}`"), make).into())
}

/// The image that is verified in another environment, if its source tree is that of `commit`.
async fn verified_there(session: &Session, name: &str, commit: &str) -> Result<Option<Subject>, Unproven> {
    let environment = Environment::load(&session.ctx().config_dir, name).map_err(anyhow::Error::from)?;
    let (_, release) = environment.releasable().map_err(anyhow::Error::from)?;
    let kube = match reach(&session.machine, &environment).await? {
        Ok(kube) => kube,
        Err(why) => {
            session.say(&format!("what is verified in {name} cannot be told: {}", why.reason))?;
            return Ok(None);
        }
    };
    let journal = Book::open(&kube, &release.namespace).journal().await?;
    let Some(entry) = journal.last_verified() else { return Ok(None) };
    let (theirs, ours) = (tree(session, &entry.commit).await?, tree(session, commit).await?);
    let reference = Reference::parse(&entry.image).ok().filter(|_| theirs.is_some() && theirs == ours);
    Ok(reference.and_then(|reference| Some(Subject { repository: reference.repository, digest: reference.digest? })))
}

/// The head of a branch: as the remote has it, else as it is here.
async fn head(session: &Session, branch: &str) -> Result<Option<String>, Unproven> {
    for name in [format!("refs/remotes/origin/{branch}"), format!("refs/heads/{branch}")] {
        let found =
            git(session, &["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{name}^{{commit}}")])
                .await?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// What git prints, where it succeeds.
async fn git(session: &Session, args: &[&str]) -> Result<Option<String>, Unproven> {
    let ended = session.step(&Command::new(Path::new("git"), &session.ctx().root).args(args.iter().copied())).await?;
    Ok(ended.is_success().then(|| ended.stdout.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_the_commit_that_git_has_it_for() {
        assert_eq!(other_commit("v1", "c1", "c1"), None);
        assert!(other_commit("v1", "c1", "c0").unwrap().contains("is of the commit `c0`"));
        assert!(other_commit("v1", "c1", "").unwrap().contains("is of no commit"));
    }
}
