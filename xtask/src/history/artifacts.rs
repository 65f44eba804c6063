//! What a run's other files tell: read here, from the output folder, and only as far as it is remembered.
//!
//! A file counts where a gate that ran now names it as its own: what was taken from the cache was measured by an earlier
//! run, and is remembered there.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use quick_xml::Reader;
use quick_xml::events::Event;
use serde::Deserialize;

use super::entry::Issue;
use super::release::{self, Release, Written};
use crate::disk::read_report;
use crate::load::summary::{self, Summary};
use crate::model::{GateReport, Report};
use crate::verdict::Verdict;

/// The coverage of all legs, in the format of Cobertura.
const COVERAGE: &str = "coverage.xml";

/// The image that was built.
const IMAGE: &str = "container/image.json";

/// What a load has measured.
const LOAD: &str = "perf/summary.json";

/// What a release leaves, relative to the output folder.
pub const RELEASE: &str = "release.json";

/// Which issues there are about what a run of the monitoring saw, relative to the output folder.
pub const ISSUES: &str = "monitor/issues.json";

/// The newest releases of an environment's journal, as a run of the monitoring saw them, relative to the output folder.
pub const JOURNAL: &str = "monitor/journal.json";

/// How much of a coverage file is read: its root element is in the first lines.
const HEAD: u64 = 16 << 10;

/// What was found, each where it was there and could be read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Artifacts {
    /// Percent, of all legs together.
    pub coverage: Option<f64>,
    /// Percent of each leg.
    pub legs: BTreeMap<String, f64>,
    /// The image's size in bytes.
    pub image: Option<u64>,
    /// The gate that measured a load, and its figures.
    pub load: Option<(String, Summary)>,
    /// The release.
    pub release: Option<Written>,
    /// The issues about its gates.
    pub issues: Vec<Issue>,
    /// The newest releases of the environment's journal.
    pub journal: Vec<Release>,
}

/// Reads what the gates of a report have left in `out`. Nothing that is missing or broken is an error: it was reported
/// by its gate, and is not remembered.
pub fn read(out: &Path, report: &Report) -> Artifacts {
    let owner = |file: &str| owner(report, file);
    let image = owner(IMAGE).and_then(|_| json::<Built>(&out.join(IMAGE)));
    let load = owner(LOAD).and_then(|gate| Some((gate.id.clone(), json::<Summary>(&out.join(LOAD))?)));
    let release = ["deploy", "rollback"].contains(&report.task.as_str());
    let release = release.then(|| json::<Written>(&out.join(RELEASE))).flatten();
    let issues = owner(ISSUES).and_then(|_| json::<Vec<Issue>>(&out.join(ISSUES)));
    let journal = owner(JOURNAL).and_then(|_| json::<Vec<Release>>(&out.join(JOURNAL)));
    Artifacts {
        journal: journal.unwrap_or_default(),
        issues: issues.unwrap_or_default(),
        coverage: owner(COVERAGE).and_then(|_| percent(&out.join(COVERAGE))),
        legs: report.gates.iter().filter_map(|gate| leg(out, report, gate)).collect(),
        image: image.map(|built| built.size),
        load: load.filter(|(_, summary)| summary.schema == summary::SCHEMA),
        release: release.filter(|written| written.schema == release::SCHEMA),
    }
}

/// The gate that proved something now and names the file as its own.
fn owner<'a>(report: &'a Report, file: &str) -> Option<&'a GateReport> {
    let ran = |gate: &&GateReport| gate.verdict != Verdict::DidNotRun && !gate.cached;
    report.gates.iter().filter(ran).find(|gate| gate.artifacts.iter().any(|artifact| artifact == file))
}

/// `coverage/3.11.xml` of the gate `test-matrix/3.11`.
fn leg(out: &Path, report: &Report, gate: &GateReport) -> Option<(String, f64)> {
    let (_, python) = gate.id.split_once('/')?;
    let file = leg_file(python);
    owner(report, &file).filter(|owner| owner.id == gate.id)?;
    Some((python.to_owned(), percent(&out.join(&file))?))
}

/// Where a leg leaves its own coverage, relative to the output folder.
pub fn leg_file(python: &str) -> String {
    format!("coverage/{python}.xml")
}

#[derive(Deserialize)]
struct Built {
    size: u64,
}

fn json<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_str(&read_report(path).ok()?).ok()
}

fn percent(path: &Path) -> Option<f64> {
    let mut head = Vec::new();
    std::fs::File::open(path).ok()?.take(HEAD).read_to_end(&mut head).ok()?;
    percent_of(&String::from_utf8_lossy(&head))
}

/// The root element of a coverage file → percent of statements and branches together, as coverage.py counts its total
/// (<https://coverage.readthedocs.io/en/latest/branch.html>).
fn percent_of(text: &str) -> Option<f64> {
    let mut reader = Reader::from_str(text);
    let root = loop {
        match reader.read_event().ok()? {
            Event::Start(root) if root.name().as_ref() == b"coverage" => break root,
            Event::Start(_) | Event::Eof => return None,
            _ => {}
        }
    };
    let number = |name: &str| {
        let value = root.try_get_attribute(name).ok()??;
        std::str::from_utf8(&value.value).ok()?.parse::<u64>().ok()
    };
    let covered = number("lines-covered")? + number("branches-covered").unwrap_or_default();
    let valid = number("lines-valid")? + number("branches-valid").unwrap_or_default();
    // Nothing to cover is no coverage at all, and not a whole one.
    (valid > 0 && covered <= valid).then(|| covered as f64 * 100.0 / valid as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coverage_is_read_from_the_root_alone() {
        let root =
            |rest: &str| format!("<?xml version=\"1.0\" ?>\n<!-- by coverage.py -->\n<coverage {rest}>\n<sources>");
        for (text, percent) in [
            (root("lines-valid=\"80\" lines-covered=\"70\" branches-valid=\"20\" branches-covered=\"15\""), Some(85.0)),
            (root("lines-valid=\"80\" lines-covered=\"60\""), Some(75.0)),
            (root("lines-valid=\"0\" lines-covered=\"0\""), None),
            (root("lines-valid=\"8\" lines-covered=\"9\""), None),
            (root("line-rate=\"1\""), None),
            ("<other lines-valid=\"8\" lines-covered=\"8\">".to_owned(), None),
            ("<coverage lines-valid=\"8".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(percent_of(&text), percent, "{text}");
        }
    }
}
