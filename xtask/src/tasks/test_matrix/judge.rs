//! pytest's exit code and report → what is known of the tests. Pure.
//!
//! Exit code 0 proves nothing: a test may have ended the process before the others ran. The report is
//! what counts, and where the two disagree nothing was proved.

use std::path::Path;

use regex_lite::Regex;

use super::{Leg, came_to_its_end};
use crate::context::Ctx;
use crate::report::junit_cases::{Case, Status};
use crate::tools::proc::{Ended, Exit};
use crate::verdict::{Finding, Severity};

/// Where the paths of a report are relative to.
pub struct Place<'a> {
    /// The invocation.
    pub ctx: &'a Ctx,
    /// Where pytest started, relative to the repository.
    pub directory: &'a str,
}

/// Why an attempt proves nothing.
#[derive(Debug, PartialEq)]
pub struct Nothing {
    pub reason: String,
    /// Files that could not even be imported.
    pub broken: Vec<Case>,
}

/// The cases of an attempt that came to its end.
pub fn attempt(ended: &Ended, report: Result<Vec<Case>, String>) -> Result<Vec<Case>, Nothing> {
    let nothing = |reason: String| Nothing { reason, broken: vec![] };
    let cases = match report {
        Ok(cases) => cases,
        Err(why) if came_to_its_end(ended) => return Err(nothing(format!("{why} (pytest: {})", ended.exit))),
        Err(why) => return Err(nothing(format!("pytest {}; {why}", ended.failure()))),
    };
    let broken: Vec<Case> = cases.iter().filter(|case| is_collection_error(case)).cloned().collect();
    if !broken.is_empty() {
        let files = broken.iter().map(|case| case.name.as_str()).collect::<Vec<_>>().join(", ");
        return Err(Nothing { reason: format!("0 tests ran: {files} cannot be imported"), broken });
    }
    if let Some(why) = stopped_early(&ended.stdout, cases.len()) {
        return Err(nothing(why));
    }
    let bad = cases.iter().filter(|case| is_bad(case)).count();
    match ended.exit {
        Exit::Code(0) if bad > 0 => {
            Err(nothing(format!("pytest ended with code 0, but its report has {bad} failures")))
        }
        Exit::Code(1) if bad == 0 => Err(nothing("pytest ended with code 1, but its report has no failure".into())),
        Exit::Code(0 | 1) => Ok(cases),
        Exit::Code(5) => Err(nothing("did no work: 0 tests were collected".into())),
        _ => Err(nothing(format!("pytest {}", ended.failure()))),
    }
}

/// pytest can be told to end early and still write a whole report with exit code 0 (`pytest.exit`, `-x`).
fn stopped_early(stdout: &str, reported: usize) -> Option<String> {
    let banner = stdout.lines().find(|line| line.starts_with("!!!!") && line.ends_with("!!!!"));
    if let Some(banner) = banner {
        return Some(format!("pytest was stopped before its end: {}", banner.trim_matches(['!', ' '])));
    }
    let pattern = Regex::new(r"(?m)^(?:collecting \.\.\. )?collected (\d+) items?(?: / .*?(\d+) deselected)?").ok()?;
    let found = pattern.captures_iter(stdout).last()?;
    let number = |group| found.get(group).and_then(|digits| digits.as_str().parse::<usize>().ok());
    let expected = number(1)?.saturating_sub(number(2).unwrap_or_default());
    (reported < expected).then(|| format!("{reported} of {expected} collected tests were reported"))
}

/// pytest reports a file that it cannot import as a case without a class.
fn is_collection_error(case: &Case) -> bool {
    case.status == Status::Error && case.message == "collection failure"
}

/// Whether the test did not do what it should.
pub fn is_bad(case: &Case) -> bool {
    matches!(case.status, Status::Failed | Status::Error)
}

/// One finding for each test that failed, with the command that repeats just it.
pub(super) fn findings(cases: &[Case], place: &Place<'_>, leg: &Leg) -> Vec<Finding> {
    cases
        .iter()
        .filter(|case| is_bad(case))
        .map(|case| finding(case, place, Some(&leg.again(Some(&case.id())))))
        .collect()
}

/// The test's message, and the place in the repository where it failed.
pub fn finding(case: &Case, place: &Place<'_>, again: Option<&str>) -> Finding {
    let location = location(&case.details, place).or_else(|| defined(case, place));
    let (path, line) = location.map_or((None, None), |(path, line)| (Some(path), Some(line)));
    let said =
        if case.message == "collection failure" { last_error(&case.details) } else { Some(case.message.clone()) };
    let mut message = said.filter(|said| !said.trim().is_empty()).unwrap_or_else(|| "failed without a message".into());
    if let Some(again) = again {
        message.push_str(&format!("\nagain: {again}"));
    }
    Finding::new(case.id(), Severity::High, message).at(path, line)
}

/// The deepest line of the traceback that lies in the repository: `FILE:LINE: ` is how pytest ends a frame.
fn location(details: &str, place: &Place<'_>) -> Option<(String, u32)> {
    let frame = Regex::new(r"(?m)^(\S[^:\n]*\.py):(\d+): ").ok()?;
    let places = frame.captures_iter(details).filter_map(|found| {
        let path = place.ctx.relative(&Path::new(place.directory).join(&found[1]))?;
        Some((path, found[2].parse().ok()?))
    });
    places.filter(|(path, _)| place.ctx.root.join(path).is_file() && !path.starts_with("target/")).last()
}

/// Where the test is defined; pytest counts from 0.
fn defined(case: &Case, place: &Place<'_>) -> Option<(String, u32)> {
    let path = place.ctx.relative(&Path::new(place.directory).join(case.file.as_ref()?))?;
    Some((path, case.line? + 1))
}

/// The last line that pytest marks as the error itself (`E   …`).
fn last_error(details: &str) -> Option<String> {
    details.lines().rev().find_map(|line| line.strip_prefix("E ").map(|error| error.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(name: &str, status: Status, message: &str) -> Case {
        Case {
            class: "tests.test_a".into(),
            name: name.into(),
            file: Some("tests/test_a.py".into()),
            line: Some(4),
            time: 0.0,
            status,
            message: message.into(),
            details: String::new(),
        }
    }

    fn ended(exit: Exit) -> Ended {
        Ended { exit, stdout: String::new(), stderr: "boom".into() }
    }

    #[test]
    fn only_a_report_that_agrees_with_the_exit_code_counts() {
        use Status::{Error, Failed, Passed};
        let good = || case("good", Passed, "");
        let bad = || case("bad", Failed, "assert 1 == 2");
        for (exit, report, reason) in [
            (Exit::Code(0), Ok(vec![good()]), None),
            (Exit::Code(1), Ok(vec![good(), bad()]), None),
            (Exit::Code(0), Ok(vec![bad()]), Some("pytest ended with code 0, but its report has 1 failures")),
            (Exit::Code(1), Ok(vec![good()]), Some("pytest ended with code 1, but its report has no failure")),
            (Exit::Code(5), Ok(vec![]), Some("did no work: 0 tests were collected")),
            (Exit::Code(0), Err("no report".to_owned()), Some("no report (pytest: exit code 0)")),
            (Exit::Code(4), Ok(vec![]), Some("pytest exit code 4: boom")),
            (Exit::Code(3), Err("no report".to_owned()), Some("pytest exit code 3: boom; no report")),
            (Exit::Signal(9), Ok(vec![good()]), Some("pytest killed by signal 9: boom")),
            (
                Exit::Code(2),
                Ok(vec![case("tests.test_b", Error, "collection failure")]),
                Some("0 tests ran: tests.test_b cannot be imported"),
            ),
            // Under xdist a collection error ends with code 1.
            (
                Exit::Code(1),
                Ok(vec![good(), case("tests.test_b", Error, "collection failure")]),
                Some("0 tests ran: tests.test_b cannot be imported"),
            ),
        ] {
            let got = attempt(&ended(exit.clone()), report.clone());
            assert_eq!(got.err().map(|nothing| nothing.reason).as_deref(), reason, "{exit:?} {report:?}");
        }
    }

    #[test]
    fn a_run_that_was_stopped_early_proves_nothing() {
        for (stdout, reported, why) in [
            ("collecting ... collected 3 items\n\n", 3, None),
            ("collecting ... collected 3 items\n", 2, Some("2 of 3 collected tests were reported")),
            ("collected 10 items / 7 deselected / 3 selected\n", 3, None),
            (
                "collected 10 items / 1 error / 7 deselected / 3 selected\n",
                2,
                Some("2 of 3 collected tests were reported"),
            ),
            ("quiet\n", 1, None),
            (
                "collected 1 item\n!!!!!!!!!!!!! _pytest.outcomes.Exit: enough !!!!!!!!!!!!!\n",
                1,
                Some("pytest was stopped before its end: _pytest.outcomes.Exit: enough"),
            ),
        ] {
            assert_eq!(stopped_early(stdout, reported).as_deref(), why, "{stdout}");
        }
    }

    #[test]
    fn a_finding_leads_to_the_deepest_line_in_the_repository() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("backend/tests")).unwrap();
        std::fs::write(folder.path().join("backend/tests/test_a.py"), "").unwrap();
        std::fs::write(folder.path().join("backend/app.py"), "").unwrap();
        let ctx = crate::context::testing::ctx(folder.path());
        let place = Place { ctx: &ctx, directory: "backend" };
        let mut failed = case("test_bad", Status::Failed, "ValueError: no");
        failed.details =
            "tests/test_a.py:12: \n    call()\napp.py:7: in call\n    raise\n/usr/lib/x.py:3: ValueError".into();
        let found = finding(&failed, &place, Some("cargo xtask again"));
        assert_eq!(found.one_line(), "backend/app.py:7: ValueError: no");
        assert!(found.message.ends_with("again: cargo xtask again"));
        failed.details.clear();
        assert_eq!(finding(&failed, &place, None).one_line(), "backend/tests/test_a.py:5: ValueError: no");
    }
}
