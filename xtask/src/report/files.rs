//! The files of a report: `report.json` from the first moment on, the other formats at the end.
//!
//! A crash loses nothing and leaves nothing green: until the last write the verdict is `did_not_run`.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::{junit, sarif, summary};
use crate::context::Ctx;
use crate::disk::write_atomically;
use crate::model::{GateReport, Report};

/// Writes into the output folder.
pub struct Files {
    out: PathBuf,
    step_summary: Option<PathBuf>,
    report: Option<Report>,
    /// Whether something has happened since the last write.
    stale: bool,
}

impl Files {
    pub fn new(ctx: &Ctx) -> Self {
        let step_summary = ctx.var("GITHUB_STEP_SUMMARY").map(PathBuf::from);
        Self { out: ctx.out.clone(), step_summary, report: None, stale: false }
    }

    /// Writes the plan.
    pub fn begin(&mut self, planned: &Report) -> Result<()> {
        self.report = Some(planned.clone());
        self.write()
    }

    /// Takes in a gate's report; [`Self::flush`] writes it.
    pub fn update(&mut self, gate: &GateReport) {
        if let Some(report) = &mut self.report {
            report.gates.iter_mut().filter(|g| g.id == gate.id).for_each(|g| *g = gate.clone());
            self.stale = true;
        }
    }

    /// Writes what has happened, if anything has.
    pub fn flush(&mut self) -> Result<()> {
        if std::mem::take(&mut self.stale) { self.write() } else { Ok(()) }
    }

    pub fn end(&mut self, report: &Report) -> Result<()> {
        write_atomically(&self.out.join("junit.xml"), junit::render(report, &self.out)?.as_bytes())?;
        write_atomically(&self.out.join("results.sarif"), sarif::render(report).as_bytes())?;
        let text = summary::render(report);
        write_atomically(&self.out.join("summary.md"), text.as_bytes())?;
        if let Some(path) = &self.step_summary {
            append(path, &text)?;
        }
        self.report = Some(report.clone());
        self.write()
    }

    fn write(&self) -> Result<()> {
        let Some(report) = &self.report else { return Ok(()) };
        write_atomically(&self.out.join("report.json"), (serde_json::to_string_pretty(report)? + "\n").as_bytes())
    }
}

fn append(path: &Path, text: &str) -> Result<()> {
    let cannot = || format!("cannot write `{}`", path.display());
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).with_context(cannot)?;
    file.write_all(text.as_bytes()).with_context(cannot)
}
