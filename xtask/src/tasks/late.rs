//! A word about the monitoring whose schedule is late (R32): whoever runs next notices, as a late one cannot say it itself.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;

use crate::context::Ctx;
use crate::event::{Event, Events};
use crate::incidents::late::late;
use crate::tools::cancel::Cancel;
use crate::tools::github::GitHub;
use crate::tools::machine::Machine;

/// How long GitHub may take; nobody waits for this.
const PATIENCE: Duration = Duration::from_secs(5);

/// Warns where the schedule is late. One request, and only inside Actions, where there is a token that may ask. Where GitHub
/// does not tell, nothing is said: `doctor --github` is the check, this is a neighbour who looks over the fence.
pub async fn notice(ctx: &Arc<Ctx>, cancel: &Cancel, events: &Events) {
    let Some(monitoring) = ctx.config.github.as_ref().and_then(|one| one.monitoring.as_ref()) else { return };
    if !ctx.in_actions() {
        return;
    }
    let machine = Machine::new(ctx.clone(), cancel.clone());
    let ask = async {
        let github: GitHub = GitHub::open(&machine).await?;
        github.last_start(&monitoring.workflow, "event=schedule").await
    };
    let Ok(Ok(last)) = tokio::time::timeout(PATIENCE, ask).await else { return };
    // One that never started may be new: since when it should have, this request does not tell.
    if let Some(text) = late(monitoring, last.map(|one| one.at), None, OffsetDateTime::now_utc()) {
        events.send(Event::Warning(format!("the monitoring is late: {text} (cargo xtask doctor --github)")));
    }
}
