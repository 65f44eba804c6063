//! What a report looks like as text, in colour or not: the table at the end, and one line a gate.

use std::fmt::Write as _;

use console::Style;

use super::Display;
use crate::model::{GateReport, Report};
use crate::verdict::{Finding, Severity, Verdict};

/// How many findings of one gate are shown; the report has all of them.
const SHOWN_FINDINGS: usize = 20;

/// The same of a green gate: what it has to tell breaks nothing.
const SHOWN_IF_GREEN: usize = 3;

/// Colours, or none.
#[derive(Clone, Copy, Debug)]
pub struct Paint {
    color: bool,
}

impl Paint {
    /// As the display says.
    pub fn new(display: Display) -> Self {
        Self { color: display.color }
    }

    fn style(self, style: Style, text: &str) -> String {
        style.force_styling(self.color).apply_to(text).to_string()
    }

    /// Grey.
    pub fn dim(self, text: &str) -> String {
        self.style(Style::new().dim(), text)
    }

    /// Bold.
    pub fn bold(self, text: &str) -> String {
        self.style(Style::new().bold(), text)
    }

    /// One of a few colours, the same for the same text each time.
    pub fn one_of_many(self, text: &str) -> String {
        let colours = [Style::new().cyan(), Style::new().magenta(), Style::new().green(), Style::new().yellow()];
        let sum = text.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)));
        let place = sum % colours.len();
        colours.into_iter().nth(place).map_or_else(|| text.to_owned(), |colour| self.style(colour, text))
    }

    /// Green, red, or yellow.
    pub fn verdict(self, gate: &GateReport, text: &str) -> String {
        let style = match gate.verdict {
            Verdict::Pass => Style::new().green(),
            Verdict::DidNotRun if !gate.required => Style::new().yellow(),
            _ => Style::new().red().bold(),
        };
        self.style(style, text)
    }

    /// One line: mark, id, verdict, work, time.
    pub fn row(self, gate: &GateReport, id_width: usize) -> String {
        let work = gate.work.to_string();
        let time = if gate.cached { "cached".to_owned() } else { seconds(gate.duration_ms) };
        let head = format!("{} {:<id_width$}  {:<11}", mark(gate), gate.id, label(gate.verdict));
        format!("{}  {work:>15}  {time:>8}", self.verdict(gate, &head))
    }

    /// Reason, findings and the way out of a gate that is not green; what a green one has to tell all the same.
    pub fn details(self, gate: &GateReport) -> String {
        let mut text = String::new();
        if gate.verdict == Verdict::Pass {
            for finding in gate.findings.iter().take(SHOWN_IF_GREEN) {
                let why = finding.excused.as_ref().map_or_else(String::new, |why| format!(" (excused: {why})"));
                let line = finding.one_line() + &why;
                let _infallible = writeln!(text, "    {}", self.dim(&line));
            }
            if gate.findings.len() > SHOWN_IF_GREEN {
                let more = format!("    … and {} more in report.json", gate.findings.len() - SHOWN_IF_GREEN);
                let _infallible = writeln!(text, "{}", self.dim(&more));
            }
            return text;
        }
        if gate.findings.is_empty() || gate.verdict == Verdict::DidNotRun {
            let _infallible = writeln!(text, "    {}", gate.reason);
        }
        let mut findings: Vec<&Finding> = gate.findings.iter().filter(|f| f.breaks(Severity::Low)).collect();
        findings.sort_by_key(|f| std::cmp::Reverse(f.severity));
        for finding in findings.iter().take(SHOWN_FINDINGS) {
            let _infallible = writeln!(text, "    {} {}", finding.one_line(), self.dim(&format!("[{}]", finding.rule)));
            for line in finding.message.lines().skip(1).take(12) {
                let _infallible = writeln!(text, "      {}", self.dim(line));
            }
        }
        if findings.len() > SHOWN_FINDINGS {
            let _infallible = writeln!(text, "    … and {} more in report.json", findings.len() - SHOWN_FINDINGS);
        }
        if !gate.fix.is_empty() {
            let _infallible = writeln!(text, "    {} {}", self.bold("next:"), gate.fix);
        }
        text
    }

    /// The table at the end, the details of what is not green, and the verdict in one line.
    pub fn table(self, report: &Report, quiet: bool) -> String {
        let width = report.gates.iter().map(|gate| gate.id.len()).max().unwrap_or_default();
        let mut text = String::new();
        for gate in report.gates.iter().filter(|gate| !quiet || gate.verdict != Verdict::Pass) {
            let _infallible = writeln!(text, "{}", self.row(gate, width));
            text.push_str(&self.details(gate));
        }
        if !report.left_out.is_empty() && !quiet {
            let _infallible = writeln!(text, "{}", self.dim(&format!("left out: {}", report.left_out.join(", "))));
        }
        if !report.not_configured.is_empty() && !quiet {
            let list = report.not_configured.join(", ");
            let _infallible = writeln!(text, "{}", self.dim(&format!("not configured: {list}")));
        }
        let style = match report.verdict {
            Verdict::Pass => Style::new().green().bold(),
            _ => Style::new().red().bold(),
        };
        let _infallible = writeln!(text, "{}", self.style(style, &verdict_line(report)));
        text
    }
}

/// The verdict in one line.
pub fn verdict_line(report: &Report) -> String {
    let count = |wanted: fn(&GateReport) -> bool| report.gates.iter().filter(|gate| wanted(gate)).count();
    let passed = count(|g| g.verdict == Verdict::Pass);
    let failed = count(|g| g.verdict == Verdict::Fail);
    let not_run = count(|g| g.verdict == Verdict::DidNotRun);
    let cached = count(|g| g.cached);
    let mut parts = vec![format!("{passed} passed")];
    if failed > 0 {
        parts.push(format!("{failed} failed"));
    }
    if not_run > 0 {
        parts.push(format!("{not_run} did not run"));
    }
    let word = match report.verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "FAIL",
        Verdict::DidNotRun => "DID NOT RUN",
    };
    let cache = match cached {
        0 => String::new(),
        all if all == report.gates.len() => " (nothing ran: no input has changed)".to_owned(),
        some => format!(" ({some} cached)"),
    };
    format!("{word}: {}{cache} in {}", parts.join(", "), seconds(report.duration_ms))
}

/// A verdict in words.
pub fn label(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "FAIL",
        Verdict::DidNotRun => "did not run",
    }
}

/// A mark that is read without colour too.
pub fn mark(gate: &GateReport) -> &'static str {
    match gate.verdict {
        Verdict::Pass => "✔",
        Verdict::Fail => "✘",
        Verdict::DidNotRun => "○",
    }
}

/// Milliseconds as people read them.
pub fn seconds(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..60_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        _ => format!("{} min {:02} s", ms / 60_000, ms % 60_000 / 1000),
    }
}
