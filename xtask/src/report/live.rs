//! The terminal: one line for each running gate with its newest output, drawn anew, and the table at the end.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::paint::Paint;
use super::{Display, View, logs, print, print_error};
use crate::event::Event;
use crate::model::Report;

/// Draws on standard error, so that standard output stays for what is piped on.
pub struct Live {
    display: Display,
    paint: Paint,
    bars: MultiProgress,
    running: BTreeMap<String, ProgressBar>,
    finished: Vec<ProgressBar>,
    width: usize,
}

impl Live {
    pub fn new(display: Display) -> Self {
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(12));
        Self { display, paint: Paint::new(display), bars, running: BTreeMap::new(), finished: Vec::new(), width: 0 }
    }

    fn say(&self, text: &str) {
        // Only a terminal that is gone refuses a line.
        let _gone = self.bars.println(text);
    }

    fn bar(&self, gate: &str) -> ProgressBar {
        let template = if self.display.color {
            "{spinner:.cyan} {prefix:.bold}  {elapsed:>4}  {wide_msg:.dim}"
        } else {
            "{spinner} {prefix}  {elapsed:>4}  {wide_msg}"
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner());
        let bar = self.bars.add(ProgressBar::new_spinner().with_style(style));
        bar.set_prefix(format!("{gate:<width$}", width = self.width));
        bar.enable_steady_tick(Duration::from_millis(100));
        bar
    }
}

impl View for Live {
    fn event(&mut self, event: &Event) {
        match event {
            Event::Planned(report) => {
                self.width = report.gates.iter().map(|gate| gate.id.len()).max().unwrap_or_default();
            }
            Event::Started { gate } => {
                let bar = self.bar(gate);
                self.running.insert(gate.clone(), bar);
            }
            Event::Step { gate, command } => {
                if let Some(bar) = self.running.get(gate) {
                    bar.set_message(format!("$ {command}"));
                }
            }
            Event::Line { gate, text } => {
                if let (Some(bar), false) = (self.running.get(gate), text.trim().is_empty()) {
                    bar.set_message(text.trim().to_owned());
                }
            }
            Event::Finished(report) => {
                if let Some(bar) = self.running.remove(&report.id) {
                    // The line stays until the table takes its place.
                    bar.disable_steady_tick();
                    bar.set_style(
                        ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar()),
                    );
                    bar.finish_with_message(self.paint.row(report, self.width));
                    self.finished.push(bar);
                }
            }
            Event::Log { source, text } => {
                let row = logs::row(self.paint, self.display, source, text);
                self.bars.suspend(|| print(&row));
            }
            Event::Explained { gate, because } => self.say(&self.paint.dim(&format!("{gate} runs: {because}"))),
            Event::Note(text) => self.say(text),
            Event::Warning(text) => self.say(&format!("warning: {text}")),
            Event::Aside(text) => self.bars.suspend(|| print_error(&format!("{text}\n"))),
            Event::Interrupted => self.say("interrupted: stopping what runs (once more: at once)"),
            Event::Ended(_) => {}
        }
    }

    fn end(&mut self, report: &Report) {
        for bar in self.running.values().chain(&self.finished) {
            bar.finish_and_clear();
        }
        let table = self.paint.table(report, self.display.quiet);
        if self.display.json { print_error(&table) } else { print(&table) }
    }
}
