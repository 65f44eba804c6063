//! `dashboard`: the history of runs as one page, or as data.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::config::parse_duration;
use crate::context::Ctx;
use crate::dashboard::figures::{self, Figures, Filter};
use crate::dashboard::{About, render};
use crate::disk::write_atomically;
use crate::history::store::{self, Runs};
use crate::tools::cancel::Cancel;
use crate::tools::command::Command;
use crate::tools::machine::Machine;
use crate::verdict::NotRun;

/// The folder that the page goes into where no `--out` is given: a run clears the folder of the reports.
pub const FOLDER: &str = "dashboard";

/// The page.
const PAGE: &str = "dashboard.html";

/// The site of the documents, relative to the output folder, as the gate `docs` leaves it.
const SITE: &str = "site";

/// Options of `dashboard`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How far back, such as 90d [default: the whole history]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub since: Option<Duration>,
    /// Only runs of this branch
    #[arg(long, value_name = "BRANCH")]
    pub branch: Option<String>,
    /// Only runs of this task, such as ci
    #[arg(long, value_name = "TASK")]
    pub task: Option<String>,
    /// Write into the site that `cargo xtask docs` has built, so that it is published with it
    #[arg(long)]
    pub site: bool,
    /// Show the page in the browser
    #[arg(long)]
    pub open: bool,
}

impl Args {
    fn filter(&self, ctx: &Ctx) -> Filter {
        let since = self.since.and_then(|since| ctx.started.checked_sub(since.try_into().ok()?));
        Filter { branch: self.branch.clone(), task: self.task.clone(), since }
    }

    /// Where the page goes.
    pub fn page(&self, ctx: &Ctx) -> PathBuf {
        if self.site { ctx.out.join(SITE).join(PAGE) } else { ctx.out.join(PAGE) }
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Printed<'a> {
    #[serde(flatten)]
    figures: &'a Figures,
    /// What was not read of the history, in sentences.
    unread: &'a [String],
}

/// What is said: on standard output, and beside it.
#[derive(Debug, Default)]
pub struct Said {
    /// The answer.
    pub answer: String,
    /// What was not read.
    pub aside: String,
}

/// Writes the page, or makes the data; the inner error is what keeps it from being shown.
pub async fn run(ctx: &Arc<Ctx>, cancel: &Cancel, args: &Args, json: bool) -> Result<Result<Said, NotRun>> {
    let Runs { entries, broken, others } = store::read(&ctx.store)?;
    let unread = Runs { entries: vec![], broken, others }.notes();
    let aside = unread.iter().fold(String::new(), |mut text, note| {
        let _infallible = writeln!(text, "warning: {note}");
        text
    });
    let (runs, _) = figures::in_order(&entries);
    let filter = args.filter(ctx);
    let figures = figures::of(&runs, &filter, ctx.started);
    if json {
        let text = serde_json::to_string_pretty(&Printed { figures: &figures, unread: &unread })? + "\n";
        return Ok(Ok(Said { answer: ctx.redactor.redact(&text), aside }));
    }
    let path = args.page(ctx);
    if args.site && !path.parent().is_some_and(|site| site.join("index.html").is_file()) {
        let reason = format!("no site is in `{}`", ctx.out.join(SITE).display());
        return Ok(Err(NotRun::new(reason, "cargo xtask docs")));
    }
    let page = render(&figures, &runs, &filter, &About { project: project(ctx), unread });
    write_atomically(&path, ctx.redactor.redact(&page).as_bytes())?;
    let answer = format!("{} runs on one page: `{}`\n", figures.counts.runs, path.display());
    if args.open
        && let Err(why) = open(ctx, cancel, &path).await
    {
        return Ok(Err(NotRun::new(why, format!("open `{}` in a browser", path.display()))));
    }
    Ok(Ok(Said { answer, aside }))
}

/// As GitHub calls it, or the checkout's folder.
fn project(ctx: &Ctx) -> String {
    let called = ctx.var("GITHUB_REPOSITORY").and_then(|name| name.rsplit('/').next()).map(str::to_owned);
    called.unwrap_or_else(|| ctx.root.file_name().unwrap_or_default().to_string_lossy().into_owned())
}

async fn open(ctx: &Arc<Ctx>, cancel: &Cancel, page: &std::path::Path) -> Result<(), String> {
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let command = Command::new(program, &ctx.root).arg(page);
    let status = Machine::new(ctx.clone(), cancel.clone()).quiet().foreground(&command).await;
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{program}` did not show the page: {status}")),
        Err(e) => Err(format!("{e:#}")),
    }
}
