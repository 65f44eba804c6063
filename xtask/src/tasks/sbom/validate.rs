//! Holds a CycloneDX document against the schema of its version, by CycloneDX' own Python library.

use std::time::Duration;

use crate::context::Ctx;
use crate::engine::session::Session;
use crate::tools::catalog::Lock;
use crate::tools::command::Command;
use crate::tools::environment::Spec;
use crate::tools::program;
use crate::verdict::Unproven;

/// Prints `valid`, or one error a line.
const SCRIPT: &str = "\
import json, sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
text = sys.stdin.read()
version = SchemaVersion.from_version(json.loads(text)['specVersion'])
errors = JsonStrictValidator(version).validate_str(text, all_errors=True)
for error in errors or ():
    print(getattr(error.data, 'message', error))
if not errors:
    print('valid')
";

/// The environment that has the library.
pub fn spec(ctx: &Ctx) -> Spec {
    program::spec(ctx, Lock::Named("scanners"))
}

/// Reads the document from standard input.
pub fn step(ctx: &Ctx) -> Command {
    Command::new(spec(ctx).python(ctx), &ctx.root).args(["-I", "-c", SCRIPT]).timeout(Duration::from_secs(120))
}

/// Nothing where the document is valid; otherwise the gate did not run.
pub async fn check(session: &Session, document: &str) -> Result<(), Unproven> {
    session.environment(&spec(session.ctx())).await?;
    let ended = session.step(&step(session.ctx()).stdin(document)).await?;
    if ended.is_success() && ended.stdout.trim() == "valid" {
        return Ok(());
    }
    // It ends well with its errors printed; anything else is a defect of its own and says nothing of the SBOM.
    if !ended.is_success() {
        return Err(session.not_run(format!("the SBOM could not be validated: {}", ended.failure())).into());
    }
    let first = ended.stdout.lines().next().unwrap_or("the validator says nothing").to_owned();
    Err(session.not_run(format!("the SBOM is not valid CycloneDX: {first}")).into())
}
