//! Known vulnerabilities of dependencies, and lock files that do not fit what they are made from.

mod locks;
mod osv;
mod pip_audit;
mod rustsec;
pub mod trivy;

use time::OffsetDateTime;

use crate::context::Ctx;
use crate::engine::gate::Gate;
use crate::engine::session::Session;
use crate::verdict::Unproven;

/// Every leg of the matrix, Cargo's lock file, Trivy, and the lock files themselves.
pub fn plan(ctx: &Ctx) -> Vec<Gate> {
    let gates = [locks::plan(ctx), pip_audit::plan(ctx), rustsec::plan(ctx), trivy::plan(ctx)];
    gates.into_iter().flatten().collect()
}

const FIX: &str = "raise the version in its lock file, or ignore it for a while with a reason in pipeline.toml";

/// The line of a lock file that pins a package: of Cargo's, or of a requirement file.
pub fn line_of(lock: &str, package: &str) -> Option<u32> {
    let entry = format!("name = \"{package}\"");
    let of_cargo = lock.lines().position(|line| line == entry).and_then(|index| u32::try_from(index + 1).ok());
    of_cargo.or_else(|| pip_audit::line_of(lock, package))
}

/// R12: a data base that is too old knows nothing of what is new.
fn fresh(session: &Session, updated: OffsetDateTime) -> Result<(), Unproven> {
    let ctx = session.ctx();
    let oldest = ctx.started - ctx.config.policy.database_max_age;
    if updated >= oldest {
        return Ok(());
    }
    let limit = ctx.config.policy.database_max_age.as_secs() / 86_400;
    let reason = format!("the data base is of {}, older than {limit} days (policy.database_max_age)", updated.date());
    Err(session.not_run(reason).into())
}
