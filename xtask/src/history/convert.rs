//! A report, with what its artifacts tell, as the line that is remembered of it. Pure.

use std::collections::BTreeMap;

use super::artifacts::Artifacts;
use super::entry::{Coverage, Entry, Found, Gate, Host, Image, Llm, Load, Percentiles, Route, SCHEMA};
use super::release::{Release, Written};
use crate::load::summary::{Summary, Trend};
use crate::model::{FLAKY, GateReport, Report};
use crate::release::diagnosis;
use crate::verdict::{Severity, Verdict, Work};

/// How many characters of a reason are remembered.
pub const LONGEST_REASON: usize = 200;

/// How many flaky tests of one gate are remembered by name: with more of them the names say nothing any more.
const MOST_FLAKY: usize = 50;

/// How many routes of a load are remembered.
const MOST_ROUTES: usize = 100;

/// What the report does not say of its run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// The branch; empty where HEAD was detached.
    pub branch: String,
    /// The environment that the run was about.
    pub environment: Option<String>,
    /// What kind of machine it ran on.
    pub host: Host,
    /// The address of the workflow's run; empty on a laptop.
    pub url: String,
    /// What tells two runs apart that began in the same second.
    pub random: [u8; 3],
}

/// The line of a run.
pub fn entry(report: &Report, artifacts: &Artifacts, about: &About) -> Entry {
    let Artifacts { coverage, legs, image, load, release, issues, journal } = artifacts;
    let measured = coverage.is_some() || !legs.is_empty();
    Entry {
        schema: SCHEMA.to_owned(),
        run: id(report, about.random),
        started: report.started.clone(),
        duration_ms: report.duration_ms,
        commit: report.commit.clone(),
        branch: about.branch.clone(),
        dirty: report.dirty,
        task: report.task.clone(),
        profile: report.profile,
        environment: release.as_ref().map(|release| release.environment.clone()).or(about.environment.clone()),
        host: about.host,
        url: about.url.clone(),
        verdict: report.verdict,
        gates: report.gates.iter().map(gate).collect(),
        coverage: measured.then(|| Coverage { combined: *coverage, legs: legs.clone() }),
        image: image.map(|size_bytes| Image { size_bytes }),
        load: load.as_ref().map(|(gate, summary)| of_load(gate, summary)),
        release: release.as_ref().map(|written| of_release(written, report)),
        issues: issues.clone(),
        journal: journal.clone(),
    }
}

/// `20261128T004111Z-3e80d21a-ci-3f2a91`: a name of a file as well, whatever the task is called.
fn id(report: &Report, random: [u8; 3]) -> String {
    let digits = |c: &char| c.is_ascii_digit() || *c == 'T';
    let seconds: String = report.started.chars().take(19).filter(digits).collect();
    let commit = report.commit.get(..8).unwrap_or("none");
    let task: String = report.task.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    let [a, b, c] = random;
    format!("{seconds}Z-{commit}-{task}-{a:02x}{b:02x}{c:02x}")
}

fn gate(report: &GateReport) -> Gate {
    let mut findings = Found::default();
    report.findings.iter().for_each(|finding| findings.count(finding.severity, finding.excused.is_some()));
    let flaky = report.findings.iter().filter(|finding| finding.message.starts_with(FLAKY));
    Gate {
        id: report.id.clone(),
        verdict: report.verdict,
        required: report.required,
        cached: report.cached,
        duration_ms: report.duration_ms,
        work: report.work.clone(),
        reason: reason(report).chars().take(LONGEST_REASON).collect(),
        findings,
        flaky: flaky.map(|finding| finding.rule.clone()).take(MOST_FLAKY).collect(),
    }
}

/// Why a gate is not green, for everybody: what a finding says is not for a public page, and neither is who holds a lock.
fn reason(report: &GateReport) -> String {
    match report.verdict {
        Verdict::Pass => String::new(),
        Verdict::Fail => {
            let breaking: Vec<_> = report.findings.iter().filter(|finding| finding.breaks(Severity::Low)).collect();
            let mut rules: Vec<&str> = Vec::new();
            for finding in &breaking {
                if !rules.contains(&finding.rule.as_str()) {
                    rules.push(&finding.rule);
                }
            }
            format!("{}: {}", Work::new(breaking.len() as u64, "findings"), rules.join(", "))
        }
        Verdict::DidNotRun => nameless(&report.reason),
    }
}

/// The same text without people, as the journal names them: `name@host`, and `name (GitHub Actions)`.
fn nameless(text: &str) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    let is_plain = |part: &str| !part.is_empty() && !part.contains(['/', ':']);
    let is_at_host = |word: &str| {
        let word = word.trim_matches(|c: char| !c.is_alphanumeric());
        // A version of a package has a digit there, and a digest a colon.
        word.split_once('@')
            .is_some_and(|(name, host)| is_plain(name) && is_plain(host) && host.starts_with(char::is_alphabetic))
    };
    let is_person = |at: usize| {
        let after = [words.get(at + 1), words.get(at + 2)];
        is_at_host(words[at]) || matches!(after, [Some(&"(GitHub"), Some(next)] if next.starts_with("Actions)"))
    };
    let shown = (0..words.len()).map(|at| if is_person(at) { "somebody" } else { words[at] });
    shown.collect::<Vec<_>>().join(" ")
}

fn of_release(written: &Written, report: &Report) -> Release {
    let findings = report.gates.iter().flat_map(|gate| &gate.findings);
    Release::of(written, findings.filter_map(diagnosis::detection_ms).next())
}

fn of_load(gate: &str, summary: &Summary) -> Load {
    let llm = summary.llm.as_ref().map(|llm| Llm {
        duration: llm.duration.map(percentiles),
        time_to_first_token: llm.time_to_first_token.map(percentiles),
        time_between_tokens: llm.time_between_tokens.map(percentiles),
        tokens_per_second: llm.tokens_per_second.map(percentiles),
    });
    let routes: BTreeMap<String, Route> = summary.routes.iter().take(MOST_ROUTES).map(of_route).collect();
    Load {
        gate: gate.to_owned(),
        profile: summary.load.clone(),
        engine: summary.engine.clone(),
        requests: summary.requests,
        rate: summary.rate,
        failed_rate: summary.failed_rate,
        rest: summary.duration.map(percentiles),
        llm,
        routes,
    }
}

fn of_route(route: &crate::load::summary::Route) -> (String, Route) {
    let whole = route.llm.as_ref().map_or(route.duration, |llm| llm.duration.or(route.duration));
    let figures = Route {
        llm: route.llm.is_some(),
        requests: route.requests,
        failed: route.failed,
        duration: whole.map(percentiles),
    };
    (route.name.clone(), figures)
}

fn percentiles(trend: Trend) -> Percentiles {
    Percentiles { p50: trend.med, p95: trend.p95, p99: trend.p99 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Profile;
    use crate::history::entry::{About as Of, Found, Issue};
    use crate::load::summary;
    use crate::release::journal;
    use crate::verdict::{Finding, Tool};

    fn report() -> Report {
        let flaky = Finding::new("t.py::test_a", Severity::High, format!("{FLAKY}failed, then passed in attempt 2"));
        let excused = Finding { excused: Some("no fix yet".into()), ..Finding::new("CVE-1", Severity::High, "x") };
        let gate = |id: &str, findings| GateReport {
            id: id.into(),
            verdict: Verdict::Fail,
            required: true,
            cached: false,
            work: Work::new(214, "tests"),
            tool: Tool::default(),
            path_tools: vec![],
            inputs: String::new(),
            duration_ms: 1200,
            reason: "é".repeat(LONGEST_REASON + 1),
            fix: String::new(),
            findings,
            artifacts: vec![],
        };
        Report {
            schema: crate::model::SCHEMA.into(),
            commit: "3e80d21a".repeat(5),
            dirty: false,
            task: "ci".into(),
            profile: Profile::Actions,
            verdict: Verdict::Fail,
            started: "2026-11-28T00:41:11.123456789Z".into(),
            duration_ms: 5000,
            not_configured: vec![],
            left_out: vec![],
            gates: vec![
                gate("test-matrix/3.11", vec![flaky, excused]),
                gate("deploy/rollout", vec![diagnosis::detected(4.26)]),
            ],
        }
    }

    fn about() -> About {
        let (branch, url) = ("develop".into(), "https://github.com/o/r/actions/runs/7".into());
        About { branch, environment: Some("staging".into()), host: Host::Actions, url, random: [0x3f, 0x2a, 0x91] }
    }

    #[test]
    fn a_run_is_one_line_that_can_be_read_again() {
        let found = entry(&report(), &Artifacts::default(), &about());
        assert_eq!(found.run, "20261128T004111Z-3e80d21a-ci-3f2a91");
        assert!(crate::history::store::is_name(&found.run));
        let gate = &found.gates[0];
        assert_eq!(gate.findings, Found { high: 1, excused: 1, ..Found::default() });
        assert_eq!(
            (gate.flaky.as_slice(), gate.reason.as_str()),
            (&["t.py::test_a".to_owned()][..], "1 finding: t.py::test_a")
        );
        assert_eq!((found.coverage.is_none(), found.environment.as_deref()), (true, Some("staging")));
        let text = serde_json::to_string(&found).unwrap();
        assert!(!text.contains('\n') && !text.contains("no fix yet") && !text.contains("then passed"), "{text}");
        assert_eq!(serde_json::from_str::<Entry>(&text).unwrap(), found);
        // Whatever a task is called and wherever HEAD is, it is the name of a file.
        let odd = Report { task: "../x y".into(), commit: String::new(), ..report() };
        assert_eq!(entry(&odd, &Artifacts::default(), &about()).run, "20261128T004111Z-none-xy-3f2a91");
    }

    #[test]
    fn a_reason_tells_everybody_what_it_is_about_and_no_text_of_a_finding_or_name() {
        let found = |rule: &str| Finding::new(rule, Severity::High, "`AKIA` lies in the ConfigMap `x`");
        let excused = Finding { excused: Some("no fix yet".into()), ..found("CVE-1") };
        let info = Finding::new("seen", Severity::Info, "x");
        let many = vec![found("too-few-pods"), info, found("no-service"), excused, found("too-few-pods")];
        let held = "another release holds the lock: anna@host-1 (release r1)";
        let in_actions = "another release holds the lock: bert (GitHub Actions) (release r1)";
        let image = "`ghcr.io/o/forge@sha256:aa` cannot be pulled: actions/x@v4, pkg@1.2";
        for (verdict, reason, findings, expected) in [
            (Verdict::Fail, "`AKIA` lies in the ConfigMap `x`", vec![found("aws-key")], "1 finding: aws-key"),
            (Verdict::Fail, "`AKIA` lies … (and 2 more)", many, "3 findings: too-few-pods, no-service"),
            (Verdict::DidNotRun, "the cluster cannot be reached", vec![], "the cluster cannot be reached"),
            (Verdict::DidNotRun, held, vec![], "another release holds the lock: somebody (release r1)"),
            (
                Verdict::DidNotRun,
                in_actions,
                vec![],
                "another release holds the lock: somebody (GitHub Actions) (release r1)",
            ),
            (Verdict::DidNotRun, image, vec![], image),
            (Verdict::Pass, "", vec![], ""),
        ] {
            let mut report = report();
            report.gates[0] = GateReport { verdict, reason: reason.into(), findings, ..report.gates[0].clone() };
            let line = entry(&report, &Artifacts::default(), &about());
            assert_eq!(line.gates[0].reason, expected);
            assert!(!serde_json::to_string(&line).unwrap().contains("AKIA"));
        }
        let long = GateReport {
            verdict: Verdict::DidNotRun,
            reason: "é".repeat(LONGEST_REASON + 1),
            ..report().gates[0].clone()
        };
        assert_eq!(gate(&long).reason.chars().count(), LONGEST_REASON);
    }

    #[test]
    fn what_was_measured_is_remembered_and_nothing_else() {
        let trend = |p95| Some(Trend { med: 1.0, p95, p99: p95 * 2.0, ..Trend::default() });
        let llm = summary::Llm { time_to_first_token: trend(30.0), duration: trend(90.0), ..summary::Llm::default() };
        let chat = summary::Route { name: "chat".into(), llm: Some(llm.clone()), ..summary::Route::default() };
        let health = summary::Route { name: "health".into(), duration: trend(4.0), ..summary::Route::default() };
        let summary = Summary {
            load: "smoke".into(),
            requests: 600,
            duration: trend(10.0),
            llm: Some(llm),
            routes: vec![chat, health],
            ..Summary::default()
        };
        let written = Written {
            environment: "production".into(),
            entry: journal::Entry { id: "r1".into(), ..journal::Entry::default() },
            ..Written::default()
        };
        let issue = Issue { gate: "monitor/health/pods".into(), about: Of::Failing, url: "https://i/7".into() };
        let artifacts = Artifacts {
            coverage: Some(93.5),
            legs: [("3.11".to_owned(), 92.0)].into(),
            image: Some(1000),
            load: Some(("perf".into(), summary)),
            release: Some(written),
            issues: vec![issue.clone()],
            journal: vec![Release { id: "r0".into(), ..Release::default() }],
        };
        let found = entry(&report(), &artifacts, &about());
        assert_eq!(found.coverage.unwrap().combined, Some(93.5));
        assert_eq!((found.issues, found.journal[0].id.as_str()), (vec![issue], "r0"));
        assert_eq!(found.image, Some(Image { size_bytes: 1000 }));
        let load = found.load.unwrap();
        assert_eq!(load.rest, Some(Percentiles { p50: 1.0, p95: 10.0, p99: 20.0 }));
        let llm = load.llm.unwrap();
        assert_eq!((llm.time_to_first_token.unwrap().p95, llm.tokens_per_second), (30.0, None));
        assert_eq!(
            (load.routes["chat"].duration.unwrap().p95, load.routes["health"].duration.unwrap().p95),
            (90.0, 4.0)
        );
        let release = found.release.unwrap();
        assert_eq!((release.detection_ms, release.lead_time_ms), (Some(4300), None));
        // The release's own file knows better than the command line.
        assert_eq!(found.environment.as_deref(), Some("production"));
    }
}
