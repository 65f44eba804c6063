//! Plain lines, for logs and pipes; in GitHub Actions with groups and annotations.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use super::paint::Paint;
use super::{Display, View, actions, logs, print, print_error};
use crate::context::Ctx;
use crate::event::Event;
use crate::model::Report;
use crate::verdict::Verdict;

/// Writes one line for each thing that happened.
pub struct Plain {
    display: Display,
    paint: Paint,
    out: PathBuf,
    started: BTreeMap<String, Instant>,
    width: usize,
}

impl Plain {
    pub fn new(ctx: &Ctx, display: Display) -> Self {
        Self { display, paint: Paint::new(display), out: ctx.out.clone(), started: BTreeMap::new(), width: 0 }
    }

    fn say(&self, text: &str) {
        let line = format!("{text}\n");
        if self.display.json { print_error(&line) } else { print(&line) }
    }

    /// A line that holds text from outside.
    fn say_foreign(&self, text: &str) {
        if self.display.actions { self.say(&crate::text::neutral(text)) } else { self.say(text) }
    }
}

impl View for Plain {
    fn event(&mut self, event: &Event) {
        match event {
            Event::Planned(report) => {
                self.width = report.gates.iter().map(|gate| gate.id.len()).max().unwrap_or_default();
            }
            Event::Started { gate } => {
                self.started.insert(gate.clone(), Instant::now());
                if !self.display.quiet {
                    self.say(&self.paint.dim(&format!("▶ {gate}")));
                }
            }
            Event::Step { gate, command } if self.display.verbose => self.say_foreign(&format!("{gate} $ {command}")),
            Event::Line { gate, text } if self.display.verbose => self.say_foreign(&format!("{gate} | {text}")),
            Event::Finished(report) if self.started.contains_key(&report.id) => {
                if !self.display.quiet || report.verdict != Verdict::Pass {
                    self.say(&self.paint.row(report, self.width));
                }
                if self.display.actions {
                    self.say(actions::group(report, &self.out).trim_end());
                }
            }
            Event::Log { source, text } => print(&logs::row(self.paint, self.display, source, text)),
            Event::Explained { gate, because } => self.say_foreign(&format!("{gate} runs: {because}")),
            Event::Note(text) => self.say_foreign(text),
            Event::Warning(text) if self.display.actions => self.say(&actions::warning(text)),
            Event::Warning(text) => self.say_foreign(&format!("warning: {text}")),
            Event::Aside(text) => print_error(&format!("{text}\n")),
            Event::Interrupted => self.say("interrupted: stopping what runs (once more: at once)"),
            Event::Step { .. } | Event::Line { .. } | Event::Finished(_) | Event::Ended(_) => {}
        }
    }

    fn end(&mut self, report: &Report) {
        if self.display.actions {
            self.say(actions::annotations(report).trim_end());
        }
        let table = self.paint.table(report, self.display.quiet);
        for line in table.lines() {
            self.say_foreign(line);
        }
    }
}
