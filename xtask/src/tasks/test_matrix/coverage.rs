//! `test-matrix/coverage`: the coverage of all legs together, and its floor.
//!
//! One data file a leg, no more and no less; otherwise the figure would be of something else.

use regex_lite::Regex;
use serde::Deserialize;

use super::settings_text;
use crate::config::{Coverage, Tests};
use crate::context::Ctx;
use crate::engine::gate::{Gate, Inputs, action};
use crate::engine::session::Session;
use crate::tools::command::Command;
use crate::tools::environment::Spec;
use crate::verdict::{Evidence, Finding, Outcome, Severity, Unproven, Work};

const COMBINED: &str = "coverage/combined.coverage";
const TOTALS: &str = "coverage/combined.json";
const XML: &str = "coverage.xml";

/// Where a leg leaves its data, relative to the output folder.
pub fn data_file(python: &str) -> String {
    format!("coverage/{python}.coverage")
}

pub fn gate(ctx: &Ctx, tests: &Tests, floor: &Coverage) -> Gate {
    let spec = environment(ctx, tests);
    let [combine, xml, json] = commands(ctx, tests, &spec);
    let (floor, directory, python) = (floor.floor, tests.directory.clone(), spec.clone());
    let legs = ctx.config.python.versions.clone();
    Gate {
        id: "test-matrix/coverage".to_owned(),
        after: legs.iter().map(|python| format!("test-matrix/{python}")).collect(),
        unit: "statements",
        tool: ("coverage", spec.lock.clone()),
        inputs: Inputs {
            files: tests.inputs.clone(),
            optional: super::looked_for(tests),
            settings: settings_text(&floor),
            ..Inputs::default()
        },
        environments: vec![spec],
        steps: vec![combine.clone(), xml.clone(), json.clone()],
        again: "cargo xtask test-matrix".to_owned(),
        action: action(move |session| {
            let steps = [combine.clone(), xml.clone(), json.clone()];
            run(session, python.clone(), steps, legs.clone(), floor, directory.clone())
        }),
        ..Gate::default()
    }
}

/// A leg's own environment has the coverage that measured; so this gate depends on no other tool.
fn environment(ctx: &Ctx, tests: &Tests) -> Spec {
    let python = &ctx.config.python;
    let preferred = python.versions.iter().find(|version| **version == python.tools);
    Spec::tests(tests, preferred.or(python.versions.last()).unwrap_or(&python.tools))
}

fn commands(ctx: &Ctx, tests: &Tests, spec: &Spec) -> [Command; 3] {
    let coverage =
        |verb: &str| Command::new(spec.python(ctx), &ctx.root.join(&tests.directory)).args(["-m", "coverage", verb]);
    let data = format!("--data-file={}", ctx.out.join(COMBINED).display());
    let files = ctx.config.python.versions.iter().map(|python| ctx.out.join(data_file(python)).display().to_string());
    [
        coverage("combine").args(["--keep".to_owned(), data.clone()]).args(files),
        coverage("xml").args([data.clone()]).arg("-o").arg(ctx.out.join(XML)),
        coverage("json").args([data]).arg("-o").arg(ctx.out.join(TOTALS)),
    ]
}

async fn run(
    session: Session,
    spec: Spec,
    [combine, xml, json]: [Command; 3],
    legs: Vec<String>,
    floor: f64,
    directory: String,
) -> Result<Outcome, Unproven> {
    session.environment(&spec).await?;
    let missing: Vec<String> =
        legs.iter().map(|python| data_file(python)).filter(|file| !session.ctx().out.join(file).is_file()).collect();
    if !missing.is_empty() {
        return Err(session.not_run(format!("legs left no coverage: {}", missing.join(", "))).into());
    }
    session.artifact(COMBINED)?;
    let combined = session.step(&combine).await?;
    let read = files_read(&format!("{}{}", combined.stdout, combined.stderr));
    if !combined.is_success() || read != legs.len() {
        let reason = format!("{read} of {} legs were combined: {}", legs.len(), combined.failure());
        return Err(session.not_run(reason).into());
    }
    session.artifact(XML)?;
    let totals = session.artifact(TOTALS)?;
    for step in [xml, json] {
        let ended = session.step(&step).await?;
        if !ended.is_success() {
            return Err(session.not_run(format!("`coverage {}` {}", step.args[2], ended.failure())).into());
        }
    }
    let report = session.report(&totals).and_then(|text| parse(&text)).map_err(|why| session.not_run(why))?;
    let findings = below_floor(&report, floor, &directory);
    Ok(Outcome::Ran(Evidence {
        work: Work::new(report.totals.num_statements, "statements"),
        declared: None,
        findings,
        artifacts: vec![XML.into(), TOTALS.into(), COMBINED.into()],
        fix: "add tests for the lines that are not covered (all of them: coverage.xml)".to_owned(),
    }))
}

/// `Combined 2 files, skipped 1`: a leg whose data equals another's is skipped as a duplicate, and was read all the same.
fn files_read(output: &str) -> usize {
    let Ok(pattern) = Regex::new(r"Combined (\d+) files?(?:, skipped (\d+))?") else { return 0 };
    let Some(found) = pattern.captures(output) else { return 0 };
    let number = |group| found.get(group).and_then(|digits| digits.as_str().parse::<usize>().ok());
    number(1).unwrap_or_default() + number(2).unwrap_or_default()
}

/// What is read of `coverage json`.
#[derive(Debug, Deserialize)]
struct CoverageReport {
    totals: Totals,
    files: std::collections::BTreeMap<String, FileCoverage>,
}

#[derive(Debug, Deserialize)]
struct Totals {
    percent_covered: f64,
    num_statements: u64,
}

#[derive(Debug, Deserialize)]
struct FileCoverage {
    #[serde(default)]
    missing_lines: Vec<u32>,
}

fn parse(text: &str) -> Result<CoverageReport, String> {
    serde_json::from_str(text).map_err(|e| format!("the report `combined.json` cannot be read: {e}"))
}

/// One finding for the floor, then the files that lack most, each at its first line that no test reaches.
fn below_floor(report: &CoverageReport, floor: f64, directory: &str) -> Vec<Finding> {
    let percent = report.totals.percent_covered;
    if percent >= floor {
        return vec![];
    }
    let mut files: Vec<(&String, &FileCoverage)> =
        report.files.iter().filter(|(_, file)| !file.missing_lines.is_empty()).collect();
    files.sort_by_key(|(_, file)| std::cmp::Reverse(file.missing_lines.len()));
    let place = |name: &str| format!("{directory}/{name}").trim_start_matches("./").to_owned();
    let mut findings = vec![Finding {
        rule: "coverage-floor".to_owned(),
        severity: Severity::High,
        path: files.first().map(|(name, _)| place(name)),
        line: files.first().and_then(|(_, file)| file.missing_lines.first().copied()),
        // Rounded down: 89.996 is not "90.00, below 90".
        message: format!(
            "the combined coverage is {:.2} %, below the floor of {floor} %",
            (percent * 100.0).floor() / 100.0
        ),
        excused: None,
    }];
    findings.extend(files.iter().take(5).map(|(name, file)| Finding {
        rule: "not-covered".to_owned(),
        severity: Severity::Info,
        path: Some(place(name)),
        line: file.missing_lines.first().copied(),
        message: format!("{} lines are not covered", file.missing_lines.len()),
        excused: None,
    }));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_was_read_counts_duplicates_too() {
        // Recorded from coverage 7.17.
        for (output, files) in [
            ("Combined data file x/3.12.coverage\nCombined 1 file\n", 1),
            ("Combined 1 file, skipped 2\n", 3),
            ("Combined 3 files\n", 3),
            ("No data to combine\n", 0),
        ] {
            assert_eq!(files_read(output), files, "{output}");
        }
    }

    #[test]
    fn the_floor_is_held_to_the_letter_and_leads_to_a_line() {
        let report = parse(
            r#"{"totals": {"percent_covered": 89.996, "num_statements": 500},
                "files": {"src/a.py": {"missing_lines": [7, 9]}, "src/b.py": {"missing_lines": [1]}, "src/c.py": {}}}"#,
        )
        .unwrap();
        assert!(below_floor(&report, 89.9, "backend").is_empty());
        let found = below_floor(&report, 90.0, "backend");
        assert_eq!(
            found[0].one_line(),
            "backend/src/a.py:7: the combined coverage is 89.99 %, below the floor of 90 %"
        );
        assert_eq!(found.len(), 3);
        assert!(parse(r#"{"totals": {"#).is_err());
    }
}
