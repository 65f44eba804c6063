//! `evidence export` and `evidence verify`: what proves releases to others, as one signed file.
//!
//! What is in the file is decided in `release/evidence.rs`; here it is gathered, signed, verified and written.

mod gather;
mod signature;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Subcommand;
use time::macros::format_description;

use crate::config::{Environment, Signing};
use crate::context::{Ctx, Profile};
use crate::disk::write_atomically;
use crate::engine::gate::{Gate, Inputs, action};
use crate::engine::session::Session;
use crate::exit::UsageError;
use crate::release::book::Book;
use crate::release::evidence::{Manifest, Material, Sealed, collect, open, read, seal};
use crate::release::journal::Entry;
use crate::tasks::release::reach::reach;
use crate::tools::catalog::COSIGN;
use crate::tools::cosign::Signer;
use crate::tools::signatures::Demand;
use crate::verdict::{Evidence, Finding, NotRun, Outcome, Severity, Unproven, Work};
use signature::Signed;

/// `cargo xtask evidence …`
#[derive(Clone, Debug, Subcommand)]
pub enum Args {
    /// Put what is known of the releases of an environment into one signed file; what is missing is listed in it
    Export(ExportArgs),
    /// Verify such a file: that no byte of it was changed, and that exactly the right one signed it
    Verify(VerifyArgs),
}

/// `evidence export`
#[derive(Clone, Debug, clap::Args)]
pub struct ExportArgs {
    /// The environment; prod means production
    #[arg(value_name = "ENV")]
    environment: String,
    /// A journal that was kept as a file, a JSON list of releases, in place of the one in the cluster
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// Where the reports of releases lie, a folder each that is named by the release's id
    #[arg(long, value_name = "DIR")]
    reports: Option<PathBuf>,
    /// Sign by a key, a file or env://VARIABLE, in place of the identity of this workflow; its password is COSIGN_PASSWORD
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// The file to write [default: target/xtask/evidence/ENV-TIME.tar]
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

/// `evidence verify`
#[derive(Clone, Debug, clap::Args)]
pub struct VerifyArgs {
    /// The file that `evidence export` wrote
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only this one of the configured identities
    #[arg(long, value_name = "IDENTITY", conflicts_with = "key")]
    identity: Option<String>,
    /// Verify by this public key and without a transparency log, in place of what the configuration says; on a laptop only
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

/// The gate of one command. `Err` where the command line asks for what cannot be.
pub fn plan(ctx: &Ctx, args: &Args) -> Result<Vec<Gate>> {
    let missing = || UsageError("pipeline.toml declares no [signing]".to_owned());
    let signing = ctx.config.signing.clone().ok_or_else(missing)?;
    let gate = match args {
        Args::Export(args) => {
            Environment::load(&ctx.config_dir, &args.environment)?;
            let args = args.clone();
            Gate {
                id: "evidence/export".to_owned(),
                unit: "releases",
                steps: vec![signature::signing(ctx, &signing, args.key.as_ref())],
                again: format!("cargo xtask evidence export {}", args.environment),
                action: action(move |session| export(session, signing.clone(), args.clone())),
                ..Gate::default()
            }
        }
        Args::Verify(args) => {
            if let Some(identity) = &args.identity
                && !signing.identities.contains(identity)
                && !signing.evidence.contains(identity)
            {
                let text = format!("`{identity}` is not one of signing.evidence or signing.identities");
                return Err(UsageError(text).into());
            }
            if args.key.is_some() && ctx.profile != Profile::Local {
                return Err(UsageError("--key counts in the profile `local` only".to_owned()).into());
            }
            let args = args.clone();
            let signers = demand(ctx, &signing, &args).map(|demand| demand.signers).unwrap_or_default();
            Gate {
                id: "evidence/verify".to_owned(),
                unit: "files",
                steps: signers.iter().map(|signer| signature::verifying(ctx, signer)).collect(),
                again: format!("cargo xtask evidence verify {}", args.file.display()),
                action: action(move |session| verify(session, signing.clone(), args.clone())),
                ..Gate::default()
            }
        }
    };
    let inputs = Inputs { settings: format!("{args:?}"), ..Inputs::default() };
    // No ignore and no severity of the policy excuses what is found here.
    Ok(vec![Gate { programs: vec![&COSIGN], inputs, fresh: true, breaks_at: Severity::Low, ..gate }])
}

/// The releases of an environment as its cluster remembers them.
async fn journal(session: &Session, environment: &str) -> Result<Vec<Entry>, Unproven> {
    // Whoever has a file of the journal needs no cluster.
    let absent = |why: UsageError| NotRun::new(why.to_string(), "name the file by --journal");
    let environment = Environment::load(&session.ctx().config_dir, environment).map_err(absent)?;
    let (_, release) = environment.releasable().map_err(absent)?;
    let kube = reach(&session.machine, &environment).await??;
    Ok(Book::open(&kube, &release.namespace).journal().await?.entries)
}

async fn export(session: Session, signing: Signing, args: ExportArgs) -> Result<Outcome, Unproven> {
    let ctx = session.ctx();
    let environment = Environment::full_name(&args.environment);
    let demand = Demand::of_evidence(ctx, &signing)?;
    let entries = match &args.journal {
        Some(file) => gather::journal(&ctx.root.join(file))?,
        None => journal(&session, environment).await?,
    };
    if entries.is_empty() {
        return Err(
            NotRun::new(format!("the journal of `{environment}` has no release"), "release something first").into()
        );
    }
    let entries = gather::without_secrets(&entries, &ctx.redactor)?;
    let reports = match &args.reports {
        Some(folder) => gather::reports(&ctx.root.join(folder), &entries, &ctx.redactor)?,
        None => Default::default(),
    };
    let rfc3339 = &time::format_description::well_known::Rfc3339;
    let made = ctx.started.format(rfc3339).context("cannot write the time")?;
    let material = Material { environment, made: &made, source: &signing.source, entries: &entries, reports: &reports };
    let (manifest, signed) = collect(&material).map_err(|why| NotRun::new(why, "look at the journal"))?;
    let signature = signature::make(&session, &signing, args.key.as_ref(), &signed).await?;
    let sealed = seal(&signed, &signature).map_err(anyhow::Error::msg)?;
    // Evidence that nobody could verify is none.
    let by = match signature::check(&session, &demand, &open(&sealed).map_err(anyhow::Error::msg)?).await? {
        Signed::By(signer) => signer,
        Signed::ByNobody(why) => {
            let message = format!("what was signed is refused: {why}");
            return Ok(outcome(entries.len(), vec![Finding::new("refused-signature", Severity::Critical, message)]));
        }
    };
    let path = args.to.as_ref().map_or_else(|| default_file(ctx, environment), |file| Ok(ctx.root.join(file)))?;
    write_atomically(&path, &sealed)?;
    let place = session.machine.shown(&path);
    Ok(outcome(entries.len(), told(&place, &manifest, &by)))
}

fn default_file(ctx: &Ctx, environment: &str) -> Result<PathBuf> {
    let time = format_description!("[year][month][day]T[hour][minute][second]Z");
    let time = ctx.started.format(time).context("cannot write the time")?;
    Ok(ctx.store.join(format!("evidence/{environment}-{time}.tar")))
}

async fn verify(session: Session, signing: Signing, args: VerifyArgs) -> Result<Outcome, Unproven> {
    let ctx = session.ctx();
    let demand = demand(ctx, &signing, &args)?;
    let sealed: Sealed = match open(&gather::file(&ctx.root.join(&args.file))?) {
        Ok(sealed) => sealed,
        Err(why) => return Ok(outcome_of_files(1, vec![Finding::new("changed", Severity::Critical, why)])),
    };
    let by = match signature::check(&session, &demand, &sealed).await? {
        Signed::By(signer) => signer,
        Signed::ByNobody(why) => {
            return Ok(outcome_of_files(1, vec![Finding::new("refused-signature", Severity::Critical, why)]));
        }
    };
    // Only now is what it says worth reading.
    Ok(match read(&sealed.signed) {
        Ok((manifest, files)) => {
            let shown = session.machine.shown(Path::new(&args.file));
            outcome_of_files(files.len(), told(&shown, &manifest, &by))
        }
        Err(why) => outcome_of_files(1, vec![Finding::new("changed", Severity::Critical, why)]),
    })
}

fn demand(ctx: &Ctx, signing: &Signing, args: &VerifyArgs) -> Result<Demand, NotRun> {
    let mut demand = Demand::of_evidence(ctx, signing)?;
    if let Some(key) = &args.key {
        demand.signers = vec![Signer::Key { public: ctx.root.join(key), log: false }];
    }
    if let Some(identity) = &args.identity {
        demand.signers = vec![Signer::Identity { identity: identity.clone(), issuer: signing.issuer.clone() }];
    }
    Ok(demand)
}

/// What is in a file, and each thing that is missing; none of it breaks anything.
fn told(place: &str, manifest: &Manifest, by: &str) -> Vec<Finding> {
    let Manifest { environment, made, releases, files, missing, .. } = manifest;
    let message = format!(
        "`{place}`: {} of `{environment}`, {}, made {made}, signed by {by}",
        Work::new(releases.len() as u64, "releases"),
        Work::new(files.len() as u64 + 1, "files")
    );
    let missing = missing.iter().map(|one| {
        let message = format!("release `{}`: {} is missing: {}", one.release, one.what, one.why);
        Finding::new("missing", Severity::Info, message)
    });
    std::iter::once(Finding::new("evidence", Severity::Info, message)).chain(missing).collect()
}

fn outcome(releases: usize, findings: Vec<Finding>) -> Outcome {
    evidence(Work::new(releases as u64, "releases"), findings, "sign by the key or the identity that [signing] names")
}

fn outcome_of_files(files: usize, findings: Vec<Finding>) -> Outcome {
    evidence(Work::new(files as u64, "files"), findings, "do not believe it; get the file anew from where it was kept")
}

fn evidence(work: Work, findings: Vec<Finding>, fix: &str) -> Outcome {
    Outcome::Ran(Evidence { work, declared: None, findings, artifacts: vec![], fix: fix.to_owned() })
}
