//! Signs the evidence, and asks whose signature it is.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use crate::config::Signing;
use crate::context::Ctx;
use crate::disk::write_atomically;
use crate::engine::session::Session;
use crate::release::evidence::Sealed;
use crate::tasks::signing::{credentials, with, write_no_services};
use crate::tools::catalog::COSIGN;
use crate::tools::command::Command;
use crate::tools::cosign::Signer;
use crate::tools::cosign::blob::{self, Answer};
use crate::tools::registry::patiently;
use crate::tools::signatures::{self, Demand};
use crate::verdict::{NotRun, Unproven};

/// What is signed, and its signature, in the gate's folder.
const FILE: &str = "evidence.tar";
/// See [`FILE`].
const BUNDLE: &str = "evidence.sigstore.json";

/// Whose signature it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signed {
    /// One of those who may, in words.
    By(String),
    /// None of them; why.
    ByNobody(String),
}

/// The call that signs, as a plan shows it.
pub fn signing(ctx: &Ctx, signing: &Signing, key: Option<&String>) -> Command {
    let (file, bundle) = (place(ctx, FILE), place(ctx, BUNDLE));
    Command::new(COSIGN.name, &ctx.root).args(blob::sign(&with(ctx, signing, key), &bundle, &file))
}

/// The call that verifies, as a plan shows it.
pub fn verifying(ctx: &Ctx, signer: &Signer) -> Command {
    let root = Path::new("{trusted root}");
    let args = blob::verify(signer, Some(root), &place(ctx, BUNDLE), &place(ctx, FILE));
    Command::new(COSIGN.name, &ctx.root).args(args)
}

/// Signs by a key, or by the identity of this workflow.
pub async fn make(
    session: &Session,
    signing: &Signing,
    key: Option<&String>,
    signed: &[u8],
) -> Result<Vec<u8>, Unproven> {
    let ctx = session.ctx();
    let env = credentials(ctx, key)?;
    write_no_services(ctx)?;
    let (file, bundle) = (place(ctx, FILE), place(ctx, BUNDLE));
    write_atomically(&file, signed)?;
    // A signature of an earlier run is none of these bytes.
    let _gone = std::fs::remove_file(&bundle);
    let mut command = cosign(session).await?.args(self::signing(ctx, signing, key).args);
    command.env.extend(env);
    let ended = patiently(session.runner(), &command).await?;
    if !ended.is_success() || !bundle.is_file() {
        let fix = "look into the gate's log; a key needs COSIGN_PASSWORD, an identity `id-token: write`";
        return Err(NotRun::new(format!("cosign signed nothing: {}", ended.failure()), fix).into());
    }
    Ok(std::fs::read(&bundle).with_context(|| format!("cannot read `{}`", bundle.display()))?)
}

/// Asks of each who may have signed. That cosign looks at all is proved by bytes that nobody signed.
pub async fn check(session: &Session, demand: &Demand, sealed: &Sealed) -> Result<Signed, Unproven> {
    let cosign = cosign(session).await?;
    let ctx = session.ctx();
    let (file, bundle, other) = (place(ctx, FILE), place(ctx, BUNDLE), place(ctx, "canary.tar"));
    write_atomically(&file, &sealed.signed)?;
    write_atomically(&bundle, &sealed.signature)?;
    write_atomically(&other, &[sealed.signed.as_slice(), b"!"].concat())?;
    let root = signatures::root(&session.machine, session.runner(), &cosign, demand).await?;
    let mut refused = Vec::new();
    for signer in &demand.signers {
        let ask = |file: &Path| cosign.clone().args(blob::verify(signer, root.as_deref(), &bundle, file));
        match told(session, &ask(&file)).await? {
            Answer::Verified => {
                if told(session, &ask(&other)).await? == Answer::Verified {
                    let reason = "cosign verifies bytes that nobody signed";
                    return Err(NotRun::new(reason, "cargo xtask tools install cosign").into());
                }
                return Ok(Signed::By(signer.shown()));
            }
            Answer::Refused(why) => refused.push(format!("{}: {why}", signer.shown())),
            Answer::Unable => {
                if let Signer::Key { public, .. } = signer
                    && !public.is_file()
                {
                    let reason = format!("the public key `{}` is not there", session.machine.shown(public));
                    return Err(NotRun::new(reason, "look at signing.key or --key").into());
                }
                return Err(session.not_run("the signature of the evidence cannot be verified").into());
            }
        }
    }
    Ok(Signed::ByNobody(refused.join("; ")))
}

async fn told(session: &Session, command: &Command) -> Result<Answer, Unproven> {
    Ok(blob::answer(&patiently(session.runner(), command).await?))
}

async fn cosign(session: &Session) -> Result<Command, Unproven> {
    let installed = session.program(&COSIGN).await?;
    Ok(Command::new(installed.path, &session.ctx().root).timeout(Duration::from_secs(300)))
}

fn place(ctx: &Ctx, name: &str) -> PathBuf {
    ctx.out.join("evidence").join(name)
}
