//! The backend, started for a gate: what it uses of this machine is told in the gate's report.

use crate::engine::session::Session;
use crate::services::stack::{self, Stack, Wanted};
use crate::verdict::Unproven;

/// Starts it, as it is shipped, with its Redis.
pub async fn start(session: &Session, wanted: &Wanted) -> Result<Stack, Unproven> {
    session.doing("starts the backend");
    let stack = stack::start(&session.machine, session.runner(), wanted).await?;
    stack.used.iter().for_each(|tool| session.uses(tool.clone()));
    Ok(stack)
}
