//! The output of prek and pre-commit → results. Both write the same lines; neither has a report for machines.

use regex_lite::Regex;

use crate::verdict::{Finding, Severity};

/// How a hook ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It ran and had nothing to say.
    Passed,
    /// It ended with another code than 0, or changed a file.
    Failed,
    /// It had no files to look at.
    Skipped,
}

/// One hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookResult {
    /// As the configuration names it.
    pub name: String,
    /// Known only for a hook that failed.
    pub id: Option<String>,
    /// How it ended.
    pub status: Status,
    /// What it printed, without indentation that the runner added.
    pub lines: Vec<String>,
}

/// Output → results, in order.
pub fn read(stdout: &str) -> Vec<HookResult> {
    let mut results: Vec<HookResult> = Vec::new();
    for line in stdout.lines() {
        if let Some((name, status)) = status_line(line) {
            results.push(HookResult { name, id: None, status, lines: vec![] });
        } else if let Some(result) = results.last_mut() {
            let line = line.trim();
            match line.strip_prefix("- hook id: ") {
                Some(id) if result.id.is_none() => result.id = Some(id.to_owned()),
                _ if line.is_empty() || is_about_the_run(line) => {}
                _ => result.lines.push(line.to_owned()),
            }
        }
    }
    results
}

/// `NAME....Passed`, with a note such as `(no files to check)` before the status.
fn status_line(line: &str) -> Option<(String, Status)> {
    let (head, status) = [("Passed", Status::Passed), ("Failed", Status::Failed), ("Skipped", Status::Skipped)]
        .into_iter()
        .find_map(|(word, status)| Some((line.strip_suffix(word)?, status)))?;
    let dots = head.find("...")?;
    (dots > 0 && !line.starts_with(' ')).then(|| (head[..dots].to_owned(), status))
}

fn is_about_the_run(line: &str) -> bool {
    ["- exit code: ", "- duration: "].iter().any(|prefix| line.starts_with(prefix))
}

impl HookResult {
    /// Whether the program behind the hook was not there, which pre-commit reports as a failed hook.
    pub fn could_not_start(&self) -> bool {
        self.status == Status::Failed
            && self.lines.iter().any(|l| l.starts_with("Executable `") && l.ends_with("` not found"))
    }

    /// The first line that the hook printed.
    pub fn first_line(&self) -> &str {
        self.lines.first().map_or("it failed and printed nothing", String::as_str)
    }

    /// One finding for each line that names a place; where none does, one for the hook with all that it printed.
    pub fn findings(&self, known: impl Fn(&str) -> Option<String>) -> Vec<Finding> {
        if self.status != Status::Failed {
            return vec![];
        }
        let rule = self.id.clone().unwrap_or_else(|| self.name.clone());
        let finding = |path: Option<String>, line: Option<u32>, message: String| {
            Finding::new(rule.clone(), Severity::High, message).at(path, line)
        };
        let found: Vec<Finding> = self
            .lines
            .iter()
            .filter_map(|line| {
                let (path, number, message) = place(line)?;
                Some(finding(Some(known(path)?), number, message.to_owned()))
            })
            .collect();
        if found.is_empty() {
            let shown: Vec<&str> = self.lines.iter().map(String::as_str).take(20).collect();
            let message = if shown.is_empty() { self.first_line().to_owned() } else { shown.join("\n") };
            return vec![finding(None, None, message)];
        }
        found
    }
}

/// `PATH:LINE:COLUMN: MESSAGE`, `PATH:LINE: MESSAGE`, `PATH: MESSAGE` or `Would reformat: PATH`.
fn place(line: &str) -> Option<(&str, Option<u32>, &str)> {
    if let Some(path) = line.strip_prefix("Would reformat: ") {
        return Some((path, None, "is not formatted"));
    }
    let pattern = Regex::new(r"^([^\s:][^:]*):(?:(\d+):)?(?:\d+:)? ?(.+)$").ok()?;
    let found = pattern.captures(line)?;
    let number = found.get(2).and_then(|number| number.as_str().parse().ok());
    Some((found.get(1)?.as_str(), number, found.get(3)?.as_str().trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Recorded from prek 0.5.11 and pre-commit 4.7.0 on the same broken file.
    const PREK: &str = "ruff check...............................................................Failed\n- hook id: ruff\n- exit code: 1\n\n  \
        a.py:1:8: F401 [*] `os` imported but unused\n  Found 1 error.\n\nmypy.....................................................................Passed\n\
        toml.................................................(no files to check)Skipped\n";
    const PRE_COMMIT: &str = "missing tool.............................................................Failed\n- hook id: nope\n- exit code: 1\n\n\
        Executable `nope-tool` not found\n\n";

    #[test]
    fn results_are_read_with_their_places() {
        let results = read(PREK);
        let seen: Vec<(&str, Status)> = results.iter().map(|r| (r.name.as_str(), r.status)).collect();
        assert_eq!(seen, [("ruff check", Status::Failed), ("mypy", Status::Passed), ("toml", Status::Skipped)]);
        let findings = results[0].findings(|path| (path == "a.py").then(|| path.to_owned()));
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].one_line(), "a.py:1: F401 [*] `os` imported but unused");
        assert_eq!(findings[0].rule, "ruff");
        assert!(results[1].findings(|p| Some(p.to_owned())).is_empty());
    }

    #[test]
    fn a_missing_program_is_told_apart_from_a_finding() {
        assert!(read(PRE_COMMIT)[0].could_not_start());
        assert!(!read(PREK)[0].could_not_start());
    }

    #[test]
    fn a_hook_that_names_no_place_is_one_finding() {
        let silent = read("x....Failed\n- hook id: x\n- exit code: 1\n");
        assert_eq!(silent[0].findings(|p| Some(p.to_owned()))[0].message, "it failed and printed nothing");
        let words = read("x....Failed\n- hook id: x\n\n  files were modified by this hook\n");
        assert_eq!(words[0].findings(|_| None)[0].message, "files were modified by this hook");
    }

    #[test]
    fn places_of_several_forms() {
        for (line, expected) in [
            ("backend/a.py:3: error: bad  [x]", Some(("backend/a.py", Some(3), "error: bad  [x]"))),
            ("a.py:3:9: E1 bad", Some(("a.py", Some(3), "E1 bad"))),
            ("a.toml: invalid", Some(("a.toml", None, "invalid"))),
            ("Would reformat: b.py", Some(("b.py", None, "is not formatted"))),
            ("Found 1 error.", None),
        ] {
            assert_eq!(place(line), expected, "{line}");
        }
    }
}
