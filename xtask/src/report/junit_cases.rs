//! Reads JUnit files as pytest writes them (`junit_family=xunit1`): one case a test.
//!
//! A file that was cut short is an error and never an empty list.

use quick_xml::events::{BytesStart, Event};

use crate::text::clean;
use quick_xml::{Reader, XmlVersion};

/// Elements within elements; pytest needs four.
const DEEPEST: usize = 128;

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It passed.
    Passed,
    /// An assertion failed.
    Failed,
    /// It, its fixture, or the import of its file broke.
    Error,
    /// It was skipped.
    Skipped,
}

/// One test.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// Dotted name of module and class.
    pub class: String,
    /// Name with parameters.
    pub name: String,
    /// The file, relative to pytest's root folder.
    pub file: Option<String>,
    /// Where the test begins, counted from 0 as pytest does.
    pub line: Option<u32>,
    /// Seconds.
    pub time: f64,
    /// How it ended.
    pub status: Status,
    /// The short message.
    pub message: String,
    /// The traceback.
    pub details: String,
}

impl Case {
    /// The id with which pytest runs just this test (`FILE::CLASS::NAME`).
    pub fn id(&self) -> String {
        let Some(file) = &self.file else { return format!("{}::{}", self.class, self.name) };
        let module = file.trim_end_matches(".py").replace('/', ".");
        let inside = self.class.strip_prefix(&module).unwrap_or_default().trim_start_matches('.');
        if inside.is_empty() {
            format!("{file}::{}", self.name)
        } else {
            format!("{file}::{}::{}", inside.replace('.', "::"), self.name)
        }
    }
}

/// XML → cases. The error says what is wrong with the file.
pub fn read(xml: &str) -> Result<Vec<Case>, String> {
    let mut reader = Reader::from_str(xml);
    let mut cases: Vec<Case> = Vec::new();
    let (mut declared, mut inside, mut in_details, mut complete) = (0, false, false, false);
    let mut depth = 0_usize;
    loop {
        let event = reader
            .read_event()
            .map_err(|e| format!("it is not well-formed at byte {}: {e}", reader.error_position()))?;
        match &event {
            Event::Start(_) => depth += 1,
            Event::End(_) => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEEPEST {
            return Err(format!("it is nested deeper than {DEEPEST} elements"));
        }
        match event {
            Event::Eof => break,
            Event::Start(tag) => match tag.name().as_ref() {
                b"testsuite" => declared += number(&tag, "tests")?,
                b"testcase" => {
                    cases.push(case(&tag)?);
                    inside = true;
                }
                b"failure" | b"error" | b"skipped" => {
                    mark(&mut cases, inside, &tag)?;
                    in_details = tag.name().as_ref() != b"skipped";
                }
                _ => {}
            },
            Event::Empty(tag) => match tag.name().as_ref() {
                b"testcase" => cases.push(case(&tag)?),
                b"failure" | b"error" | b"skipped" => mark(&mut cases, inside, &tag)?,
                b"testsuite" | b"testsuites" => complete = true,
                _ => {}
            },
            Event::End(tag) => match tag.name().as_ref() {
                b"testcase" => inside = false,
                b"failure" | b"error" | b"skipped" => in_details = false,
                b"testsuite" | b"testsuites" => complete = true,
                _ => {}
            },
            Event::Text(text) if in_details => {
                let text = text.decode().map_err(|e| e.to_string())?;
                details(&mut cases, &text);
            }
            Event::CData(text) if in_details => details(&mut cases, &String::from_utf8_lossy(&text)),
            Event::GeneralRef(reference) if in_details => {
                let name = String::from_utf8_lossy(&reference).into_owned();
                details(&mut cases, &resolve(&name));
            }
            _ => {}
        }
    }
    // What a test said is text from outside, wherever the cases are shown.
    for case in &mut cases {
        for text in [&mut case.class, &mut case.name, &mut case.message, &mut case.details] {
            *text = clean(text);
        }
    }
    if !complete {
        return Err("it was cut short: its test suite does not end".to_owned());
    }
    if cases.len() < declared {
        return Err(format!("it declares {declared} tests and holds {}", cases.len()));
    }
    Ok(cases)
}

fn details(cases: &mut [Case], text: &str) {
    if let Some(case) = cases.last_mut() {
        case.details.push_str(text);
    }
}

fn resolve(name: &str) -> String {
    let code = name.strip_prefix("#x").map(|hex| u32::from_str_radix(hex, 16).ok());
    let code = code.or_else(|| name.strip_prefix('#').map(|decimal| decimal.parse().ok())).flatten();
    match (name, code.and_then(char::from_u32)) {
        ("lt", _) => "<".into(),
        ("gt", _) => ">".into(),
        ("amp", _) => "&".into(),
        ("quot", _) => "\"".into(),
        ("apos", _) => "'".into(),
        (_, Some(c)) => c.into(),
        _ => String::new(),
    }
}

fn case(tag: &BytesStart<'_>) -> Result<Case, String> {
    let text = |name: &str| Ok::<_, String>(attribute(tag, name)?.unwrap_or_default());
    Ok(Case {
        class: text("classname")?,
        name: text("name")?,
        file: attribute(tag, "file")?,
        line: attribute(tag, "line")?.and_then(|line| line.parse().ok()),
        time: text("time")?.parse().unwrap_or_default(),
        status: Status::Passed,
        message: String::new(),
        details: String::new(),
    })
}

fn mark(cases: &mut [Case], inside: bool, tag: &BytesStart<'_>) -> Result<(), String> {
    let Some(case) = cases.last_mut().filter(|_| inside) else { return Ok(()) };
    let status = match tag.name().as_ref() {
        b"failure" => Status::Failed,
        b"error" => Status::Error,
        _ => Status::Skipped,
    };
    // A test that failed and whose fixture broke as well has both; the first is the one to read.
    if case.status == Status::Passed {
        case.status = status;
        case.message = attribute(tag, "message")?.unwrap_or_default();
    }
    Ok(())
}

fn attribute(tag: &BytesStart<'_>, name: &str) -> Result<Option<String>, String> {
    let found = tag.try_get_attribute(name).map_err(|e| e.to_string())?;
    let value =
        found.map(|attribute| attribute.normalized_value(XmlVersion::Implicit1_0).map(|value| value.into_owned()));
    value.transpose().map_err(|e| e.to_string())
}

fn number(tag: &BytesStart<'_>, name: &str) -> Result<usize, String> {
    Ok(attribute(tag, name)?.and_then(|value| value.parse().ok()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"<?xml version="1.0" encoding="utf-8"?><testsuites name="pytest tests"><testsuite name="3.10" errors="1" failures="1" skipped="1" tests="4" time="0.1">
<testcase classname="tests.test_a" name="test_good" file="tests/test_a.py" line="3" time="0.5" />
<testcase classname="tests.test_a.TestB" name="test_bad[1-&lt;x&gt;]" file="tests/test_a.py" line="9" time="0.1"><failure message="assert 1 == 2">def test_bad():
&gt;       assert 1 == 2
tests/test_a.py:12: AssertionError</failure></testcase>
<testcase classname="tests.test_a" name="test_later" file="tests/test_a.py" line="5" time="0"><skipped type="pytest.skip" message="later">tests/test_a.py:6: later</skipped></testcase>
<testcase classname="" name="tests.test_c" time="0.0"><error message="collection failure">tests/test_c.py:1: in &lt;module&gt;</error></testcase>
</testsuite></testsuites>"#;

    #[test]
    fn cases_are_read_with_their_tracebacks() {
        let cases = read(FILE).unwrap();
        let statuses: Vec<Status> = cases.iter().map(|case| case.status).collect();
        assert_eq!(statuses, [Status::Passed, Status::Failed, Status::Skipped, Status::Error]);
        assert_eq!(cases[1].id(), "tests/test_a.py::TestB::test_bad[1-<x>]");
        assert_eq!(cases[1].message, "assert 1 == 2");
        assert!(cases[1].details.contains(">       assert 1 == 2\ntests/test_a.py:12"), "{}", cases[1].details);
        assert_eq!(cases[0].id(), "tests/test_a.py::test_good");
    }

    #[test]
    fn a_file_that_is_cut_anywhere_is_an_error() {
        let end = FILE.find("</testsuite>").unwrap();
        for cut in (0..=end).filter(|&cut| FILE.is_char_boundary(cut)) {
            assert!(read(&FILE[..cut]).is_err(), "cut at {cut}: {}", &FILE[..cut]);
        }
        let deep = format!("{}{}", "<a>".repeat(129), "</a>".repeat(129));
        assert!(read(&deep).unwrap_err().contains("nested deeper"));
        assert!(read(&FILE.replace(r#"tests="4""#, r#"tests="5""#)).is_err());
    }
    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic_and_none_without_a_suite_counts(text in "[<>/a-z \"=&;0-9]{0,80}") {
            proptest::prop_assume!(!text.contains("testsuite"));
            proptest::prop_assert!(read(&text).is_err());
        }
    }
}
