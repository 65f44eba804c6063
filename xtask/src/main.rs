//! Parses, builds the context once, dispatches, and alone takes the exit code from the outcome.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser as _;
use xtask::cli::{Cli, Request, Run, Terminal};
use xtask::event::{Event, Events};
use xtask::exit::{Code, Interrupted, UsageError};
use xtask::report;
use xtask::tasks::checks::Done;
use xtask::tools::cancel;

fn main() -> ExitCode {
    let code = execute().unwrap_or_else(|error| {
        report::print_error(&format!("error: {error:#}\n"));
        match () {
            () if error.is::<UsageError>() => Code::Usage,
            () if error.is::<Interrupted>() => Code::Interrupted,
            () => Code::Defect,
        }
    });
    code.into()
}

fn execute() -> Result<Code> {
    let terminal = Terminal { interactive: console::user_attended() && console::user_attended_stderr() };
    let run = match Cli::parse().request(terminal)? {
        Request::Print(text) => {
            report::print(&text);
            return Ok(Code::Passed);
        }
        Request::Run(run) => run,
    };
    if let Some(answer) = run.answer()? {
        report::print(&answer);
        return Ok(Code::Passed);
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    let (events, reporter) = report::start(&run.ctx, run.display);
    let ran = runtime.block_on(interruptible(&run, &events));
    // The reporter ends with the last sender of events.
    drop(events);
    runtime.shutdown_background();
    let written = reporter.finish();
    let done = ran?;
    if let Some(why) = &done.forgotten {
        report::print_error(&format!("the history does not have this run: {why:#}\n"));
    }
    written?;
    Ok(done.code)
}

async fn interruptible(run: &Run, events: &Events) -> Result<Done> {
    let (canceller, cancel) = cancel::pair();
    let told = events.clone();
    let watching = tokio::spawn(cancel::on_signals(canceller, move || told.send(Event::Interrupted)));
    let done = run.run(&cancel, events).await;
    watching.abort();
    done
}
