//! `container sign`: the digest, and with it what is said of it. What is not green is not signed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::Value;

use super::provenance::{self, Build, Place};
use super::{SBOM, SignArgs, checks, named, placeholder, services, subject, write_json};
use crate::config::{Registry as Config, Signing};
use crate::context::Ctx;
use crate::disk::{read_report, write_atomically};
use crate::engine::gate::{Gate, Inputs, action};
use crate::engine::session::Session;
use crate::exit::UsageError;
use crate::model::Report;
use crate::tools::attested::{Expected, Kind, REVISION, judge, revision_of};
use crate::tools::catalog::{COSIGN, CRANE};
use crate::tools::command::Command;
use crate::tools::cosign::{self, Answer, Artifact, NO_ROOT, NO_SERVICES, Statement};
use crate::tools::reference::{Reference, Subject};
use crate::tools::registry::{Access, Registry, Trouble, not_told, patiently, trouble_of};
use crate::tools::signatures::Cosign;
use crate::verdict::{Evidence, Finding, NotRun, Outcome, Severity, Unproven, Work};

/// The variable of a key's password.
const PASSWORD: &str = "COSIGN_PASSWORD";

/// With what GitHub Actions gives a job its identity; the job needs `id-token: write`.
const TOKEN: [&str; 2] = ["ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"];

/// One gate.
pub fn gate(ctx: &Ctx, config: &Config, signing: &Signing, args: &SignArgs) -> Result<Gate> {
    let image = named(args.image.as_ref())?;
    if let Some(name) = image.as_ref().filter(|image| image.digest.is_none()) {
        return Err(UsageError(format!("`{name}` may come to name another image; name it by its digest")).into());
    }
    let with = with(ctx, signing, args.key.as_ref());
    let subject = placeholder(config, image.as_ref());
    let steps = steps(ctx, signing, args, &with, &subject);
    let (signing, args) = (signing.clone(), args.clone());
    Ok(Gate {
        id: "container/sign".to_owned(),
        unit: "signatures",
        programs: vec![&COSIGN, &CRANE],
        inputs: Inputs { settings: format!("{signing:?} {args:?}"), ..Inputs::default() },
        steps,
        again: "cargo xtask container sign".to_owned(),
        action: action(move |session| run(session, signing.clone(), args.clone(), image.clone())),
        ..Gate::default()
    })
}

/// With what something is signed: by this key, or by the identity of this workflow.
pub(in crate::tasks) fn with(ctx: &Ctx, signing: &Signing, key: Option<&String>) -> cosign::Signing {
    let (mut services, mut root) = services(ctx, signing);
    // A key whose signatures are in no log needs no service, and asks none.
    let without_log = signing.key.as_ref().map_or(key.is_some(), |key| !key.log);
    if without_log {
        services = Some(ctx.out.join("container/no-services.json"));
        root = Some(ctx.out.join("container/no-root.json"));
    }
    cosign::Signing { key: key.cloned(), services, root }
}

/// Writes what [`with`] names for a key whose signatures are in no log.
pub(in crate::tasks) fn write_no_services(ctx: &Ctx) -> Result<()> {
    [("no-services.json", NO_SERVICES), ("no-root.json", NO_ROOT)]
        .iter()
        .try_for_each(|(file, text)| write_atomically(&ctx.out.join("container").join(file), text.as_bytes()))
}

/// Everything that is signed, the report last: without it nothing is verified.
fn steps(ctx: &Ctx, signing: &Signing, args: &SignArgs, with: &cosign::Signing, subject: &str) -> Vec<Command> {
    let attest = |kind: Kind, file: &Path| cosign::attest(with, &kind.predicate_type(&signing.source), file, subject);
    let calls = [
        cosign::sign(with, subject),
        attest(Kind::Sbom, &sbom(ctx, args)),
        attest(Kind::Provenance, &provenance_file(ctx)),
        attest(Kind::Report, &report(ctx, args)),
    ];
    calls.into_iter().map(|args| Command::new(COSIGN.name, &ctx.root).args(args)).collect()
}

fn sbom(ctx: &Ctx, args: &SignArgs) -> PathBuf {
    let folder = checks(ctx, args.checks.as_ref());
    args.sbom.as_ref().map_or_else(|| folder.join(SBOM), |file| ctx.root.join(file))
}

fn report(ctx: &Ctx, args: &SignArgs) -> PathBuf {
    let folder = checks(ctx, args.checks.as_ref());
    args.report.as_ref().map_or_else(|| folder.join("report.json"), |file| ctx.root.join(file))
}

fn provenance_file(ctx: &Ctx) -> PathBuf {
    ctx.out.join("container/provenance.json")
}

async fn run(
    session: Session,
    signing: Signing,
    args: SignArgs,
    image: Option<Reference>,
) -> Result<Outcome, Unproven> {
    let ctx = session.ctx();
    let subject = subject(ctx, image.as_ref())?;
    let env = credentials(ctx, args.key.as_ref())?;
    let report = read(&report(ctx, &args), "cargo xtask ci")?;
    let parts = read(&sbom(ctx, &args), "cargo xtask container sbom")?;
    serde_json::from_value::<Report>(report.clone())
        .map_err(|e| NotRun::new(format!("the report of the checks cannot be read: {e}"), "cargo xtask ci"))?;
    for program in [&COSIGN, &CRANE] {
        session.program(program).await?;
    }
    let access = Access::new(ctx, &session.runner().ledger, &subject.repository)?;
    let registry = Registry::open(&session.machine, session.runner(), &access).await?;
    let labels = registry.labels(&subject).await?;
    let revision = match revision_of(labels.get(REVISION)) {
        Ok(revision) => revision,
        Err(finding) => return Ok(outcome(1, vec![finding])),
    };
    let place = Place::of(ctx, &signing.source);
    let build = Build { source: &signing.source, revision: &revision, labels: &labels, place, now: ctx.started };
    let provenance = provenance::predicate(&build);
    let id = registry.manifest(&subject).await?.config.unwrap_or_default().digest;
    let expected = Expected { digest: subject.digest.clone(), id, revision, source: signing.source.clone() };
    let refused = refused(ctx, &subject, &expected, [(Kind::Sbom, &parts), (Kind::Report, &report)]);
    if !refused.is_empty() {
        return Ok(outcome(1, refused));
    }
    write_json(&provenance_file(ctx), &provenance)?;
    let with = with(ctx, &signing, args.key.as_ref());
    write_no_services(ctx)?;
    let cosign = Cosign::open(&registry).await?;
    let mut signed = 0;
    for step in steps(ctx, &signing, &args, &with, &subject.to_string()) {
        let mut command = Command { args: step.args, ..cosign.0.clone() };
        command.env.extend(env.clone());
        let ended = patiently(session.runner(), &command).await?;
        if !ended.is_success() {
            return Err(match trouble_of(&ended) {
                Trouble::Other => NotRun::new(
                    format!("cosign signed {signed} of 4: {}", ended.failure()),
                    "look into the gate's log; a key needs COSIGN_PASSWORD, an identity `id-token: write`",
                ),
                _ => not_told(&subject.repository, &ended),
            }
            .into());
        }
        signed += 1;
    }
    session.note(&format!("signed: {subject}"))?;
    Ok(outcome(signed, vec![]))
}

/// What nobody may sign: a report that is not green or of another commit, an SBOM of nothing, another commit's image.
fn refused(ctx: &Ctx, subject: &Subject, expected: &Expected, said: [(Kind, &Value); 2]) -> Vec<Finding> {
    let digest = subject.digest.trim_start_matches("sha256:").to_owned();
    let about = Artifact { digest: BTreeMap::from([("sha256".to_owned(), digest)]) };
    let mut findings = Vec::new();
    for (kind, predicate) in said {
        let statement = Statement {
            subject: vec![about.clone()],
            predicate_type: kind.predicate_type(&expected.source),
            predicate: predicate.clone(),
        };
        findings.extend(judge(kind, &Answer::Verified(vec![statement]), &[], expected));
    }
    if let Some(commit) = ctx.var("GITHUB_SHA").filter(|_| ctx.in_actions())
        && *commit != expected.revision
    {
        let message = format!("the image is of `{}`, and this workflow runs on `{commit}`", expected.revision);
        findings.push(Finding::new("image-of-other-commit", Severity::Critical, message));
    }
    findings
}

/// What cosign needs to sign, and no other program gets.
pub(in crate::tasks) fn credentials(ctx: &Ctx, key: Option<&String>) -> Result<BTreeMap<String, String>, NotRun> {
    let mut env = BTreeMap::new();
    let mut take = |name: &str, fix: &str| match ctx.var(name) {
        Some(value) => {
            env.insert(name.to_owned(), value.to_owned());
            Ok(())
        }
        None => Err(NotRun::new(format!("{name} is not set"), fix)),
    };
    match key {
        Some(key) => {
            take(PASSWORD, "set it to the password of the key; it may be empty")?;
            if let Some(variable) = key.strip_prefix("env://") {
                take(variable, "set it to the private key")?;
            }
        }
        None => {
            let fix = "sign in GitHub Actions, in a job with `id-token: write`; elsewhere sign by --key";
            for name in TOKEN {
                take(name, fix)?;
            }
        }
    }
    Ok(env)
}

fn read(path: &Path, made_by: &str) -> Result<Value, NotRun> {
    let text = read_report(path).map_err(|why| NotRun::new(why, made_by))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    serde_json::from_str(&text).map_err(|e| NotRun::new(format!("`{name}` cannot be read: {e}"), made_by))
}

fn outcome(signed: u64, findings: Vec<Finding>) -> Outcome {
    Outcome::Ran(Evidence {
        work: Work::new(signed, "signatures"),
        declared: findings.is_empty().then_some(4),
        findings,
        artifacts: vec![],
        fix: "sign only what the checks of its own commit passed: `cargo xtask ci`, then `cargo xtask container sign`"
            .to_owned(),
    })
}
