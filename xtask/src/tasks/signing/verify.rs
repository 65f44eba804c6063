//! `container verify`: the name is made a digest once, and everything that is said of the digest is verified.

use anyhow::Result;

use super::{PUSHED, Pushed, VerifyArgs, left, named, placeholder, subject};
use crate::config::{Registry as Config, Signing};
use crate::context::{Ctx, Profile};
use crate::engine::gate::{Gate, Inputs, action};
use crate::engine::session::Session;
use crate::exit::UsageError;
use crate::tools::attested::KINDS;
use crate::tools::catalog::{COSIGN, CRANE};
use crate::tools::command::Command;
use crate::tools::cosign::{self, Signer};
use crate::tools::reference::{Reference, Subject};
use crate::tools::registry::{Access, Registry};
use crate::tools::signatures::{self, Demand};
use crate::verdict::{Evidence, Finding, NotRun, Outcome, Severity, Unproven, Work};

/// One gate.
pub fn gate(ctx: &Ctx, config: &Config, signing: &Signing, args: &VerifyArgs) -> Result<Gate> {
    let image = named(args.image.as_ref())?;
    if let Some(identity) = &args.identity
        && !signing.identities.contains(identity)
    {
        return Err(UsageError(format!("`{identity}` is not one of signing.identities")).into());
    }
    if args.key.is_some() && ctx.profile != Profile::Local {
        return Err(UsageError("--key counts in the profile `local` only".to_owned()).into());
    }
    let wanted = demand(ctx, signing, args);
    let steps = wanted.iter().flat_map(|demand| steps(ctx, demand, &placeholder(config, image.as_ref()))).collect();
    let (signing, args) = (signing.clone(), args.clone());
    Ok(Gate {
        id: "container/verify".to_owned(),
        unit: "signatures",
        programs: vec![&COSIGN, &CRANE],
        inputs: Inputs { settings: format!("{signing:?} {args:?}"), ..Inputs::default() },
        steps,
        again: "cargo xtask container verify".to_owned(),
        action: action(move |session| run(session, signing.clone(), args.clone(), image.clone())),
        ..Gate::default()
    })
}

fn demand(ctx: &Ctx, signing: &Signing, args: &VerifyArgs) -> Result<Demand, NotRun> {
    let mut demand = Demand::of(ctx, signing)?;
    if let Some(key) = &args.key {
        demand.signers = vec![Signer::Key { public: ctx.root.join(key), log: false }];
    }
    if let Some(identity) = &args.identity {
        demand = demand.only(identity);
    }
    Ok(demand)
}

/// A call of cosign for each thing that is said, by the first signer.
fn steps(ctx: &Ctx, demand: &Demand, image: &str) -> Vec<Command> {
    let Some(signer) = demand.signers.first() else { return vec![] };
    let root = demand.root.clone().unwrap_or_else(|| "{trusted root}".into());
    let args = KINDS.map(|kind| cosign::verify(signer, Some(&root), &kind.predicate_type(&demand.source), image));
    args.into_iter().map(|args| Command::new(COSIGN.name, &ctx.root).args(args)).collect()
}

async fn run(
    session: Session,
    signing: Signing,
    args: VerifyArgs,
    image: Option<Reference>,
) -> Result<Outcome, Unproven> {
    let ctx = session.ctx();
    let demand = demand(ctx, &signing, &args)?;
    for program in [&COSIGN, &CRANE] {
        session.program(program).await?;
    }
    let by_tag = image.as_ref().filter(|image| image.digest.is_none());
    let asked = by_tag
        .map(|image| image.repository.clone())
        .map_or_else(|| subject(ctx, image.as_ref()).map(|s| s.repository), Ok)?;
    let access = Access::new(ctx, &session.runner().ledger, &asked)?;
    let registry = Registry::open(&session.machine, session.runner(), &access).await?;
    let subject: Subject = match by_tag {
        None => subject(ctx, image.as_ref())?,
        // Once; from here on the digest is the image.
        Some(name) => registry.resolve(name).await?.ok_or_else(|| {
            NotRun::new(format!("the registry has no `{name}`"), "look at the tag, or name the image by its digest")
        })?,
    };
    session.note(&format!("verifying {subject}"))?;
    let mut checked = signatures::verify(&registry, &subject, &demand).await?;
    checked.calls.iter().try_for_each(|call| session.note(call))?;
    if image.is_none() {
        checked.findings.extend(moved(&registry, &left::<Pushed>(ctx, &ctx.out, PUSHED, "push")?).await?);
    }
    if let Some(signer) = &checked.signer {
        session.note(&format!("{} of {} verified, by {}", checked.verified, checked.asked, signer.shown()))?;
    }
    Ok(Outcome::Ran(Evidence {
        // Each was looked for and answered; only where all were verified is there no finding.
        work: Work::new(checked.asked, "signatures"),
        declared: Some(KINDS.len() as u64),
        findings: checked.findings,
        artifacts: vec![],
        fix: "do not deploy it; build, check, push and sign the commit again".to_owned(),
    }))
}

/// Tags that were given to the image and name another one now.
async fn moved(registry: &Registry<'_>, pushed: &Pushed) -> Result<Vec<Finding>, Unproven> {
    let mut findings = Vec::new();
    for tag in &pushed.tags {
        let name = Reference { repository: pushed.repository.clone(), tag: Some(tag.clone()), digest: None };
        let now = registry.resolve(&name).await?.map(|subject| subject.digest);
        if now.as_ref() != Some(&pushed.digest) {
            let now = now.unwrap_or_else(|| "nothing".to_owned());
            let message = format!("`{name}` names {now}, and named `{}` when it was pushed", pushed.digest);
            findings.push(Finding::new("moved-tag", Severity::High, message));
        }
    }
    Ok(findings)
}
