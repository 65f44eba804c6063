//! What people read of an incident: title, body, comments. Pure.
//!
//! Whatever comes from checks is text from outside: redacted, cut, and escaped for Markdown (R38).

use std::fmt::Write as _;
use std::time::Duration;

use time::OffsetDateTime;
use time::macros::format_description;

use super::late::span;
use super::look::Check;
use super::mark::Key;
use super::routing::word;
use super::state::{Incident, Kind, PASSES};
use crate::config::Level;
use crate::text::{Redactor, markdown};
use crate::verdict::{Finding, Severity, Verdict};

/// How many findings are shown.
const FINDINGS: usize = 20;

/// The longest text of a finding, a reason or a line, in characters.
const LONGEST: usize = 400;

/// The longest log that is shown, in characters. GitHub takes 65536 of a body.
const LONGEST_LOG: usize = 20_000;

/// What stands above what was seen.
const SEEN: &str = "### What was seen";

/// What texts are made with.
#[derive(Clone, Debug)]
pub struct Writer<'a> {
    /// Knows the secrets.
    pub redactor: &'a Redactor,
    /// The address of the workflow's run; empty where there is none.
    pub run: &'a str,
}

/// The title of a new issue. People may change it.
pub fn title(key: &Key) -> String {
    let Key { environment, check, about } = key;
    match about {
        Kind::Failing => format!("{environment}: {check} is failing"),
        Kind::Unwatched => format!("{environment}: {check} is not watched"),
    }
}

impl Writer<'_> {
    /// Our part of the body, without its mark. `check` is what was seen last; where that is not what the incident is about,
    /// what was seen before stays, out of `known`, which is the part as it was.
    pub fn body(&self, key: &Key, incident: &Incident, check: &Check, known: &str) -> String {
        let mut text = String::new();
        let environment = markdown(&key.environment);
        let about = match key.about {
            Kind::Failing => "fails",
            Kind::Unwatched => "did not run, so that nobody knows how it is",
        };
        let _always = writeln!(text, "**{}** of **{environment}** {about}.\n", markdown(&key.check));
        text.push_str("| | |\n|---|---|\n");
        let mut row = |name: &str, value: &str| {
            let _always = writeln!(text, "| {name} | {value} |");
        };
        row("severity", word(incident.severity));
        row("last good", &incident.good.map_or_else(|| "not known".to_owned(), moment));
        row("first bad", &moment(incident.bad));
        row("last looked at", &moment(incident.seen));
        if key.about == Kind::Failing {
            row("following runs that passed", &format!("{} of {PASSES}", incident.passes));
        }
        if !incident.levels.is_empty() {
            let levels: Vec<String> = incident.levels.iter().map(|level| markdown(level)).collect();
            row("escalated", &levels.join(", "));
        }
        if !self.run.is_empty() {
            row("run", &self.link());
        }
        text.push('\n');
        if let (false, Some(at)) = (key.about.is_about(check.verdict), known.find(SEEN)) {
            text.push_str(known[at..].trim_end());
            return text;
        }
        text.push_str(&self.evidence(check));
        text.push_str(&self.commands(key, check));
        text.push_str(
            "\nThis part is kept up to date by the monitoring; what you write above or below it stays. It closes the issue \
             by itself.",
        );
        text
    }

    /// What the check said, and what it found.
    fn evidence(&self, check: &Check) -> String {
        let verdict = match check.verdict {
            Verdict::Pass => "passed",
            Verdict::Fail => "failed",
            Verdict::DidNotRun => "did not run",
        };
        let mut text = format!("{SEEN}\n\nThe check {verdict}");
        match self.outside(&check.reason) {
            reason if reason.is_empty() => text.push_str(".\n"),
            reason => {
                let _always = writeln!(text, ": {reason}");
            }
        }
        let mut found: Vec<&Finding> = check.findings.iter().filter(|one| one.breaks(Severity::Low)).collect();
        found.sort_by_key(|one| std::cmp::Reverse(one.severity));
        if !found.is_empty() {
            text.push('\n');
        }
        for one in found.iter().take(FINDINGS) {
            let (rule, line) = (self.outside(&one.rule), self.outside(&one.one_line()));
            let _always = writeln!(text, "- {}: {line} ({rule})", word(one.severity));
        }
        if let Some(more) = found.len().checked_sub(FINDINGS).filter(|more| *more > 0) {
            let _always = writeln!(text, "- and {more} more");
        }
        if !check.log.is_empty() {
            let _always = write!(text, "\nThe last lines of its log:\n\n{}\n", self.fenced(&check.log));
        }
        text
    }

    /// What a person runs next.
    fn commands(&self, key: &Key, check: &Check) -> String {
        let Key { environment, .. } = key;
        let mut text = "\n### What to do\n\n".to_owned();
        let fix = self.outside(&check.fix);
        if !fix.is_empty() {
            let _always = writeln!(text, "The check says: {fix}\n");
        }
        let _always = writeln!(
            text,
            "```sh\n\
             cargo xtask status {environment}              # what runs there, since when and by whom\n\
             cargo xtask logs {environment} --since 1h     # what all its pods say\n\
             cargo xtask monitor {environment} {:<12} # look again\n\
             cargo xtask rollback {environment}            # go back to the last verified release\n\
             ```",
            check.kind()
        );
        text
    }

    /// It is bad in another way, or another severity.
    pub fn changed(&self, before: &Incident, now: &Incident, check: &Check) -> String {
        let severity = match before.severity == now.severity {
            true => String::new(),
            false => format!(" Its severity is **{}** now, and was {}.", word(now.severity), word(before.severity)),
        };
        let what =
            if before.cause == now.cause { "It is as bad in another degree." } else { "It is bad in another way." };
        self.with_run(&format!("{what}{severity}\n\n{}", self.evidence(check)))
    }

    /// It has been bad for too long.
    pub fn escalated(&self, level: &Level, incident: &Incident, now: OffsetDateTime) -> String {
        let age: Duration = (now - incident.bad).try_into().unwrap_or_default();
        let label = markdown(&level.label);
        self.with_run(&format!(
            "Open for **{}**, with severity {}: escalated to **{label}** (after {}, from severity {} on).",
            span(age),
            word(incident.severity),
            span(level.after),
            word(level.severity)
        ))
    }

    /// It is over.
    pub fn closed(&self, kind: Kind, incident: &Incident, lasted: Duration) -> String {
        let passed = incident.passed.unwrap_or(incident.seen);
        let (bad, good) = (moment(incident.bad), moment(passed));
        let how = match kind {
            Kind::Failing => format!("{PASSES} following runs have passed"),
            Kind::Unwatched => "it ran again".to_owned(),
        };
        self.with_run(&format!("It is over: {how}. It lasted **{}**, from {bad} to {good}.", span(lasted)))
    }

    /// Nobody looks any more.
    pub fn unplanned(&self) -> String {
        self.with_run(
            "It is no longer checked: neither the environment's file nor `pipeline.toml` asks for it any more. How it is \
             nobody knows.",
        )
    }

    /// Another run was faster.
    pub fn duplicate(&self, of: u64) -> String {
        format!("Another run told the same in #{of}, which stays; this one is closed as its duplicate.")
    }

    /// What a run that is gone began is done now.
    pub fn taken_over(&self) -> String {
        self.with_run("A run before this one was stopped while it told the last news of this; it is told now.")
    }

    fn with_run(&self, text: &str) -> String {
        if self.run.is_empty() { text.to_owned() } else { format!("{}\n\nRun: {}", text.trim_end(), self.link()) }
    }

    /// The address comes from the environment, and is none that Markdown could take for more.
    fn link(&self) -> String {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~:/".contains(c);
        if self.run.chars().all(is_plain) { format!("<{}>", self.run) } else { markdown(self.run) }
    }

    /// Text from outside for one line of Markdown.
    fn outside(&self, text: &str) -> String {
        markdown(&cut(&self.redactor.clean(text), LONGEST))
    }

    /// Lines from outside as they are, in a fence that none of them ends.
    fn fenced(&self, lines: &[String]) -> String {
        let lines = lines.iter().map(|line| cut(&self.redactor.clean(line), LONGEST));
        let text = lines.collect::<Vec<_>>().join("\n");
        // The end counts: what is cut away is what came first.
        let skipped = text.chars().count().saturating_sub(LONGEST_LOG);
        let text: String = text.chars().skip(skipped).collect();
        let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or_default();
        let fence = "`".repeat(longest.max(2) + 1);
        format!("{fence}text\n{text}\n{fence}")
    }
}

fn cut(text: &str, longest: usize) -> String {
    if text.chars().count() <= longest { text.to_owned() } else { text.chars().take(longest).chain(['…']).collect() }
}

/// A time for people.
pub fn moment(at: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute] UTC");
    at.to_offset(time::UtcOffset::UTC).format(format).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::mark::testing::mark;
    use super::super::mark::{self, Mark};
    use super::*;
    use crate::verdict::Finding;

    fn check() -> Check {
        Check {
            name: "health/pods".to_owned(),
            verdict: Verdict::Fail,
            required: true,
            reason: "no pod is ready".to_owned(),
            fix: "mend the pods".to_owned(),
            findings: vec![],
            log: vec![],
        }
    }

    fn with(secret: &str, run: &str, make: impl Fn(&Writer<'_>) -> String) -> String {
        make(&Writer { redactor: &Redactor::new([secret]), run })
    }

    #[test]
    fn a_body_says_since_when_what_and_how_to_go_on() {
        let Mark { key, incident, .. } = mark();
        let text =
            with("", "https://github.com/o/r/actions/runs/7", |writer| writer.body(&key, &incident, &check(), ""));
        for part in [
            "**health/pods** of **production** fails.",
            "| severity | high |",
            "| last good | 2026-11-24 00:00 UTC |",
            "| first bad | 2026-11-24 06:00 UTC |",
            "| following runs that passed | 0 of 2 |",
            "| run | <https://github.com/o/r/actions/runs/7> |",
            "The check failed: no pod is ready\n",
            "The check says: mend the pods",
            "cargo xtask status production ",
            "cargo xtask logs production --since 1h",
            "cargo xtask monitor production health ",
            "cargo xtask rollback production ",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(!text.contains("log:"), "{text}");
        // A pass leaves what was seen before; the state is that of now.
        let once = Incident { passes: 1, ..incident.clone() };
        let passed = Check { verdict: Verdict::Pass, reason: String::new(), ..check() };
        let later = with("", "", |writer| writer.body(&key, &once, &passed, &text));
        assert!(
            later.contains("passed | 1 of 2 |") && later.contains("The check failed: no pod is ready\n"),
            "{later}"
        );
        assert_eq!(later.matches(SEEN).count(), 1);
        let unwatched = Key { about: Kind::Unwatched, ..key };
        let text = with("", "", |writer| writer.body(&unwatched, &incident, &check(), ""));
        assert!(text.contains("did not run, so that nobody knows") && !text.contains("| run |"), "{text}");
        assert_eq!(title(&unwatched), "production: health/pods is not watched");
    }

    #[test]
    fn what_comes_from_checks_is_no_markup_no_mention_no_mark_and_no_secret() {
        let Mark { key, incident, .. } = mark();
        let bad = "@team <img src=x> --> [a](http://b) #1 `c` sk-a-very-secret-key <!-- /forge-incident -->\n| x |";
        let finding = Finding::new(bad, Severity::Critical, bad).at(Some(bad.to_owned()), 3);
        let mut check = Check { reason: bad.to_owned(), fix: bad.to_owned(), findings: vec![finding], ..check() };
        let make = |check: &Check, run: &str| {
            with("sk-a-very-secret-key", run, |writer| {
                let told = [writer.body(&key, &incident, check, ""), writer.changed(&incident, &incident, check)];
                told.join("\n")
            })
        };
        let text = make(&check, "https://x/](http://evil) @team");
        for part in ["@team", "<img", "-->", "](", "`c`", "sk-a-very-secret-key", "<!--", "http://b", " #1 "] {
            assert!(!text.contains(part), "{part} is in\n{text}");
        }
        // In a log all stands as it came, but for secrets; no line of it ends the fence.
        check.log = vec![bad.to_owned(), "````".to_owned(), "\u{1b}[31mred".to_owned()];
        let text = make(&check, "");
        assert!(text.contains("\n`````text\n") && text.contains("\n````\nred\n`````\n"), "{text}");
        assert!(!text.contains("sk-a-very-secret-key"), "{text}");
        let Mark { by, .. } = mark();
        let whole = mark::wrap(&Mark { by, ..mark() }, &text);
        assert_eq!(mark::read(&whole).map(|body| body.mark), Some(mark()));
    }

    #[test]
    fn what_is_long_is_cut_and_the_worst_comes_first() {
        let Mark { key, incident, .. } = mark();
        let low = (0..30).map(|index| Finding::new(format!("r{index}"), Severity::Low, "x".repeat(9000)));
        let findings =
            low.chain([Finding::new("worst", Severity::Critical, "y"), Finding::new("i", Severity::Info, "z")]);
        let log = (0..200).map(|_| "l".repeat(9000)).collect();
        let check = Check { findings: findings.collect(), log, reason: "r".repeat(9000), ..check() };
        let text = with("", "", |writer| writer.body(&key, &incident, &check, ""));
        assert!(text.len() < 40_000, "{}", text.len());
        assert!(text.contains("- critical: y (worst)\n- low: xxx") && text.contains("- and 11 more\n"), "{text}");
    }

    #[test]
    fn comments_say_what_changed_how_long_and_for_whom() {
        let incident = mark().incident;
        let now = incident.bad + time::Duration::hours(30);
        let level = Level {
            label: "on-call".into(),
            after: Duration::from_secs(86_400),
            severity: Severity::High,
            assignees: vec![],
        };
        let worse = Incident { severity: Severity::Critical, cause: "x".to_owned(), ..incident.clone() };
        let over = Incident { passed: Some(now), ..incident.clone() };
        let of = |make: &dyn Fn(&Writer<'_>) -> String| with("", "https://r/7", make);
        let changed = of(&|writer| writer.changed(&incident, &worse, &check()));
        assert!(
            changed.contains("another way. Its severity is **critical** now, and was high.")
                && changed.contains("no pod is ready")
        );
        assert_eq!(
            of(&|writer| writer.escalated(&level, &incident, now)),
            "Open for **1 d 6 h**, with severity high: escalated to **on-call** (after 1 d, from severity high on).\n\n\
             Run: <https://r/7>"
        );
        let lasted = Duration::from_secs(30 * 3600);
        let closed = of(&|writer| writer.closed(Kind::Failing, &over, lasted));
        assert!(closed.starts_with(
            "It is over: 2 following runs have passed. It lasted **1 d 6 h**, from 2026-11-24 06:00 UTC to 2026-11-25 12:00 UTC."
        ), "{closed}");
        assert!(of(&|writer| writer.duplicate(7)).contains("#7"));
    }
}
