//! Consumes events: shows them to people and keeps the report on the disk. The one folder that prints.
//!
//! A thread of its own owns the terminal and the files, so that nothing that runs ever waits for them.

mod actions;
mod files;
pub mod files_of_last_run;
pub mod junit;
pub mod junit_cases;
mod live;
mod logs;
mod paint;
mod plain;
mod sarif;
mod summary;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

use anyhow::{Result, anyhow};

use crate::context::Ctx;
use crate::event::{Event, Events};
use crate::model::Report;
pub use paint::Paint;

/// How much is shown, and how.
#[derive(Clone, Copy, Debug, Default)]
pub struct Display {
    /// Colours and bold type.
    pub color: bool,
    /// A line for each running gate that is drawn anew; needs a terminal.
    pub live: bool,
    /// Every line that a gate prints (`-v`).
    pub verbose: bool,
    /// Only what is not green (`-q`).
    pub quiet: bool,
    /// The report alone on standard output; everything for people goes to standard error.
    pub json: bool,
    /// Groups and annotations of GitHub Actions.
    pub actions: bool,
}

/// Shows events as they come.
trait View {
    fn event(&mut self, event: &Event);
    fn end(&mut self, report: &Report);
}

/// The consumer at work.
#[derive(Debug)]
pub struct Reporter {
    thread: JoinHandle<Result<()>>,
}

/// Starts the consumer.
pub fn start(ctx: &Arc<Ctx>, display: Display) -> (Events, Reporter) {
    let (sender, receiver) = channel();
    let ctx = ctx.clone();
    let thread = std::thread::spawn(move || consume(&ctx, display, &receiver));
    (Events::new(sender), Reporter { thread })
}

impl Reporter {
    /// Waits for the last write; an error means that the report on the disk is not complete.
    pub fn finish(self) -> Result<()> {
        self.thread.join().map_err(|_| anyhow!("the reporter panicked"))?
    }
}

/// Prints a text for people that is no report: a plan, a list, an answer.
pub fn print(text: &str) {
    use std::io::Write as _;
    // Whoever closed the pipe does not want to read any more.
    let _closed = std::io::stdout().lock().write_all(text.as_bytes());
}

/// Asks a person, and gives the line that they typed; `None` where nobody can answer.
pub fn ask(question: &str) -> Option<String> {
    use std::io::Write as _;
    print_error(question);
    let _closed = std::io::stderr().flush();
    let mut line = String::new();
    let read = std::io::stdin().read_line(&mut line).unwrap_or_default();
    (read > 0).then(|| line.trim().to_owned())
}

/// Prints a text about what went wrong.
pub fn print_error(text: &str) {
    use std::io::Write as _;
    let _closed = std::io::stderr().lock().write_all(text.as_bytes());
}

fn consume(ctx: &Ctx, display: Display, events: &Receiver<Event>) -> Result<()> {
    let mut view: Box<dyn View> = if display.live && !display.verbose {
        Box::new(live::Live::new(display))
    } else {
        Box::new(plain::Plain::new(ctx, display))
    };
    let mut files = files::Files::new(ctx);
    let mut written = Ok(());
    let mut keep = |result: Result<()>| {
        if written.is_ok() {
            written = result;
        }
    };
    loop {
        // Gates that are taken from the cache end in a burst: the report is written once they all have.
        let event = match events.try_recv() {
            Ok(event) => event,
            Err(_) => {
                keep(files.flush());
                let Ok(event) = events.recv() else { break };
                event
            }
        };
        view.event(&event);
        match &event {
            Event::Planned(report) => keep(files.begin(report)),
            Event::Finished(gate) => files.update(gate),
            Event::Ended(report) => {
                keep(files.end(report));
                view.end(report);
                if display.json {
                    print(&(serde_json::to_string_pretty(report.as_ref())? + "\n"));
                }
                break;
            }
            _ => {}
        }
    }
    written
}
