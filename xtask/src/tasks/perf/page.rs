//! `perf/report.html`: what the page says beside the figures. How it looks is `load::page`'s.

use anyhow::{Context as _, Result};
use time::format_description::well_known::Rfc3339;

use crate::disk::write_atomically;
use crate::engine::session::Session;
use crate::load::page::{About, render};
use crate::load::summary::Summary;
use crate::policy::breaks_at;
use crate::services::stack::Stack;
use crate::verdict::{Outcome, Verdict, assess};

/// Where it goes, relative to the output folder.
pub const PAGE: &str = "perf/report.html";

/// Writes the page of a run that has ended in `outcome`.
pub async fn write(session: &Session, summary: &Summary, outcome: &Outcome, own: Option<&Stack>) -> Result<()> {
    let ctx = session.ctx();
    let (verdict, reason) = match outcome {
        Outcome::Ran(evidence) => {
            let assessed = assess(evidence, breaks_at(&ctx.config.policy, "perf"));
            (assessed.verdict, assessed.reason)
        }
        Outcome::DidNotRun(why) => (Verdict::DidNotRun, why.reason.clone()),
    };
    let snapshot = session.machine.snapshot().await?;
    let changed = if snapshot.dirty { ", with changes" } else { "" };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let programs = session.used().into_iter().map(|tool| format!("{} {}", tool.name, tool.version));
    let facts = vec![
        ("served by", own.map(|stack| stack.served_by.to_string()).unwrap_or_default()),
        ("commit", format!("{}{changed}", snapshot.commit)),
        ("started", ctx.started.format(&Rfc3339).unwrap_or_default()),
        ("profile", format!("{:?}", ctx.profile).to_lowercase()),
        ("machine", format!("{} {}, {cores} cores", std::env::consts::OS, std::env::consts::ARCH)),
        ("programs", programs.collect::<Vec<_>>().join(", ")),
    ];
    let page = ctx.redactor.redact(&render(summary, &About { verdict, reason, facts }));
    write_atomically(&session.artifact(PAGE)?, page.as_bytes()).context("the page of the load")
}
