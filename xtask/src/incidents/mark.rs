//! The hidden mark by which an issue is known as ours, with the state in it, so that any machine can go on. Pure.
//!
//! Our part of a body lies between `<!-- forge-incident/1 JSON -->` and `<!-- /forge-incident -->`; what people write before
//! or after it stays. A body with two marks, half a mark or one that cannot be read to the letter is nobody's of ours: it is
//! never touched. A mark alone is no proof, for anybody can copy it: `desk` asks who wrote the issue and for its label.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::state::{GRACE, Incident, Kind, rfc3339};

/// How a mark begins, whatever its version.
const BEGIN: &str = "<!-- forge-incident/";

/// How our part ends.
const END: &str = "<!-- /forge-incident -->";

/// The version of what is in it.
const VERSION: &str = "1";

/// How the mark of a comment begins.
const NOTE: &str = "<!-- forge-incident-note/1 ";

/// The longest mark that is read, in bytes.
const LONGEST: usize = 8192;

/// Which incident of which environment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// The environment.
    pub environment: String,
    /// `KIND/CHECK`
    pub check: String,
    /// What about it.
    pub about: Kind,
}

/// What lies in an issue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// Which incident.
    pub key: Key,
    /// The run that made the issue, unlike every other.
    pub by: String,
    /// What is still to be done about it: by whoever comes next, where the run that began it is gone.
    pub to_do: BTreeSet<String>,
    /// When a later run last began with that, so that others leave it alone for a while.
    #[serde(with = "rfc3339::option")]
    pub tried: Option<OffsetDateTime>,
    /// The state.
    pub incident: Incident,
}

impl Mark {
    /// Whether something is still to do that whoever began it would have done by now.
    pub fn is_left(&self, now: OffsetDateTime) -> bool {
        let touched = self.tried.map_or(self.incident.seen, |tried| tried.max(self.incident.seen));
        !self.to_do.is_empty() && now - touched > GRACE
    }
}

/// A body that is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// Its mark.
    pub mark: Mark,
    /// What our part says.
    pub text: String,
    /// What people wrote before our part.
    pub before: String,
    /// What they wrote after it.
    pub after: String,
}

/// The mark of a comment of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// The run that wrote it.
    pub by: String,
    /// What it tells; two comments of an issue with the same are one too many.
    pub tells: String,
}

/// Our part of a body: the mark, then what people read, in which nothing is taken for a mark.
pub fn wrap(mark: &Mark, text: &str) -> String {
    format!("{BEGIN}{VERSION} {} -->\n{}\n{END}", hidden(mark), without_marks(text).trim())
}

/// A comment with its mark.
pub fn wrap_note(note: &Note, text: &str) -> String {
    format!("{NOTE}{} -->\n{}", hidden(note), without_marks(text).trim())
}

/// The body of an issue → its mark, and what is not ours; `None` where it is not ours at all.
pub fn read(body: &str) -> Option<Body> {
    // The editor of GitHub's pages ends lines in its own way.
    let body = body.replace("\r\n", "\n");
    let (before, rest) = only(&body, BEGIN)?;
    let (inner, after) = only(rest, END)?;
    let (json, text) = inner.strip_prefix(VERSION)?.strip_prefix(' ')?.split_once(" -->\n")?;
    let mark = serde_json::from_str(Some(json).filter(|json| json.len() <= LONGEST)?).ok()?;
    Some(Body { mark, text: text.to_owned(), before: before.to_owned(), after: after.to_owned() })
}

/// The mark of a comment; `None` where it has none of ours.
pub fn read_note(comment: &str) -> Option<Note> {
    let comment = comment.replace("\r\n", "\n");
    let (json, _) = comment.strip_prefix(NOTE)?.split_once(" -->\n")?;
    serde_json::from_str(Some(json).filter(|json| json.len() <= LONGEST)?).ok()
}

/// Both sides of what stands exactly once.
fn only<'a>(text: &'a str, what: &str) -> Option<(&'a str, &'a str)> {
    text.split_once(what).filter(|(_, rest)| !rest.contains(what))
}

/// JSON in which nothing ends a comment of HTML. `<`, `>` and `--` stand in strings alone.
fn hidden(what: &impl Serialize) -> String {
    let json = serde_json::to_string(what).unwrap_or_default();
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace("--", "-\\u002d")
}

/// The same text, in which nothing begins a comment of HTML.
fn without_marks(text: &str) -> String {
    text.replace("<!--", "<! --")
}

#[cfg(test)]
pub mod testing {
    //! A mark for unit tests.
    use super::*;
    use crate::verdict::Severity;
    use time::macros::datetime;

    /// An open failure of the pods of production.
    pub fn mark() -> Mark {
        let incident = Incident {
            severity: Severity::High,
            cause: "0123456789abcdef".to_owned(),
            bad: datetime!(2026-11-24 06:00:00 UTC),
            good: Some(datetime!(2026-11-24 00:00:00 UTC)),
            seen: datetime!(2026-11-24 06:02:00 UTC),
            passes: 0,
            passed: None,
            levels: BTreeSet::new(),
            closed: None,
        };
        let key = Key { environment: "production".to_owned(), check: "health/pods".to_owned(), about: Kind::Failing };
        Mark { key, by: "run-1".to_owned(), to_do: BTreeSet::new(), tried: None, incident }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::mark;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_body_is_read_as_it_was_written_and_what_people_added_stays() {
        let ours = wrap(&mark(), "text\n\nmore");
        for (before, after) in [("", ""), ("Ada: I look at it.\n\n", "\n\nDone?\n")] {
            for body in [format!("{before}{ours}{after}"), format!("{before}{ours}{after}").replace('\n', "\r\n")] {
                let read = read(&body).unwrap();
                assert_eq!((read.mark, read.before.as_str(), read.after.as_str()), (mark(), before, after));
            }
        }
    }

    #[test]
    fn what_is_not_a_mark_of_ours_to_the_letter_is_not_ours() {
        let ours = wrap(&mark(), "text");
        assert!(read(&ours).is_some());
        for (what, body) in [
            ("nothing", String::new()),
            ("a text", "Something is broken".to_owned()),
            ("half of it", ours[..ours.len() / 2].to_owned()),
            ("no end", ours.replace(END, "")),
            ("two", format!("{ours}\n{ours}")),
            ("a quoted one", format!("{ours}\n> {ours}")),
            ("two ends", format!("{ours}{END}")),
            ("another version", ours.replace("incident/1 ", "incident/2 ")),
            ("another tool's", ours.replace("forge-incident", "other-incident")),
            ("no JSON", ours.replace("{\"key\"", "{key")),
            ("a field too many", ours.replacen('{', "{\"more\":1,", 1)),
            ("a field too few", ours.replace("\"by\":\"run-1\",", "")),
            ("a wrong time", ours.replace("2026-11-24T06:00:00Z", "yesterday")),
            ("a negative count", ours.replace("\"passes\":0", "\"passes\":-1")),
            ("the end before it", format!("{END}{}", ours.replace(END, ""))),
            ("a long one", ours.replace("run-1", &"x".repeat(LONGEST))),
        ] {
            assert_eq!(read(&body), None, "{what}");
        }
    }

    #[test]
    fn what_is_still_to_do_is_left_alone_while_somebody_may_be_at_it() {
        let mut mark = mark();
        let later = |minutes: i64| super::testing::mark().incident.seen + time::Duration::minutes(minutes);
        assert!(!mark.is_left(later(600)));
        mark.to_do.insert("assign".to_owned());
        assert!(!mark.is_left(later(30)) && mark.is_left(later(31)));
        mark.tried = Some(later(31));
        assert!(!mark.is_left(later(60)) && mark.is_left(later(62)));
    }

    #[test]
    fn a_comment_is_known_by_what_it_tells() {
        let note = Note { by: "run-1".to_owned(), tells: "closed@--> x".to_owned() };
        let comment = wrap_note(&note, "It is over. <!-- forge-incident-note/1 {} -->");
        assert_eq!(read_note(&comment), Some(note));
        assert_eq!(comment.matches("-->").count(), 2);
        for other in ["", "text", &format!("> {comment}"), &comment.replace("\"by\"", "\"who\"")] {
            assert_eq!(read_note(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn nothing_in_a_mark_or_a_text_ends_or_begins_one(
            name in "\\PC{0,30}|[-<>!/a-z]{0,30}", text in "(<!-- /?forge-incident(/1)?( \\{\\})? -->|[-<>!\\n a]|\\PC){0,40}",
        ) {
            let mut mark = mark();
            mark.key.environment = name.clone();
            mark.to_do.insert(name.clone());
            mark.incident.levels.insert(name);
            let body = wrap(&mark, &text);
            prop_assert_eq!(body.lines().next().unwrap().matches("-->").count(), 1);
            prop_assert_eq!(read(&body).map(|body| body.mark), Some(mark));
        }

        #[test]
        fn whatever_stands_in_a_body_nothing_breaks(body in "(<!-- /?forge-incident(/1)? |[{}\":,a-z0-9]| -->|\\n|\\PC){0,60}") {
            let _ours_or_not = read(&body);
            let _ours_or_not = read_note(&body);
        }
    }
}
