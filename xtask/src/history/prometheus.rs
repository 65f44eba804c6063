//! The history's figures in Prometheus' text format, <https://prometheus.io/docs/instrumenting/exposition_formats/>. Pure.
//!
//! All are gauges over the last [`WINDOW`]: a history is bounded, and what it forgets would make a counter run backwards.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use time::OffsetDateTime;

use super::dora::{self, Times};
use super::entry::{Entry, Gate, Host, Load, Percentiles};
use super::release::moment;
use super::samples::Samples;
use crate::release::journal::Outcome;
use crate::verdict::{Severity, Verdict};

/// What the counts are of.
pub const WINDOW: Duration = Duration::from_secs(30 * 86_400);

/// Every metric with what it is. None else is ever written.
pub const FAMILIES: [(&str, &str); 27] = [
    ("forge_history_newest_run_timestamp_seconds", "When the newest run of the history began."),
    ("forge_runs", "Runs of the last 30 days by how they ended."),
    ("forge_run_duration_seconds", "Wall time of the runs of the last 30 days."),
    ("forge_gate_runs", "Runs of a gate in the last 30 days by how they ended, those from the cache included."),
    ("forge_gate_duration_seconds", "Wall time of a gate in the last 30 days, where it was not taken from the cache."),
    ("forge_gate_cached_ratio", "Share of a gate's runs in the last 30 days that were taken from the cache."),
    ("forge_gate_last_run_timestamp_seconds", "When the newest run of a gate began."),
    ("forge_gate_last_verdict", "1 for how the newest run of a gate ended, 0 for the other ways."),
    ("forge_gate_findings", "Findings of the newest run of a gate that was no did_not_run, without the excused ones."),
    ("forge_gate_flaky_tests", "Tests that failed and passed on the same inputs in the last 30 days."),
    ("forge_coverage_ratio", "Newest coverage of statements and branches, of all legs together and of each."),
    ("forge_image_size_bytes", "Size of the newest image, layers unpacked."),
    ("forge_load_latency_seconds", "Latency of the newest load, from the intended start of a request."),
    (
        "forge_load_tokens_per_second",
        "Median of the tokens a second of a language model's answers under the newest load.",
    ),
    ("forge_load_requests_per_second", "Requests a second of the newest load."),
    ("forge_load_failed_ratio", "Share of the requests of the newest load that failed."),
    ("forge_load_timestamp_seconds", "When the run of the newest load began."),
    ("forge_release_last_timestamp_seconds", "When the newest release began."),
    ("forge_release_last_outcome", "1 for what became of the newest release, 0 for the other outcomes."),
    ("forge_release_deployments", "Verified releases of the last 30 days."),
    (
        "forge_release_deployments_per_day",
        "Verified releases a day, over the last 30 days or since the first known release.",
    ),
    ("forge_release_lead_time_seconds", "From the commit until its release was verified, in the last 30 days."),
    ("forge_release_failure_ratio", "Share of the changes of the last 30 days that failed or were gone back from."),
    ("forge_release_restore_seconds", "From a failed release until something verified served, in the last 30 days."),
    ("forge_release_unrestored", "Failed releases after which nothing verified serves yet."),
    (
        "forge_release_detection_seconds",
        "From the cluster's report of the newest fault of a rollout until it was seen.",
    ),
    ("forge_release_fallback_seconds", "From the newest decision to go back until what was brought back was verified."),
];

/// The history, the oldest run first, as it stands at `now`. An empty one gives an empty text.
pub fn render(entries: &[Entry], now: OffsetDateTime) -> String {
    let mut samples = Samples::default();
    let recent: Vec<&Entry> = entries.iter().filter(|entry| is_recent(entry, now)).collect();
    if let Some(newest) = entries.last().and_then(began) {
        samples.add("forge_history_newest_run_timestamp_seconds", &[], newest);
    }
    runs(&mut samples, &recent);
    gates(&mut samples, entries, &recent);
    measured(&mut samples, entries);
    loads(&mut samples, entries);
    releases(&mut samples, entries, now);
    samples.text(&FAMILIES)
}

fn is_recent(entry: &Entry, now: OffsetDateTime) -> bool {
    moment(&entry.started).is_some_and(|at| at > now - WINDOW && at <= now)
}

/// In seconds since 1970.
fn began(entry: &Entry) -> Option<f64> {
    at(&entry.started)
}

fn at(text: &str) -> Option<f64> {
    Some(moment(text)?.unix_timestamp_nanos() as f64 / 1e9)
}

const VERDICTS: [Verdict; 3] = [Verdict::Pass, Verdict::Fail, Verdict::DidNotRun];

fn name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "fail",
        Verdict::DidNotRun => "did_not_run",
    }
}

fn seconds(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1000.0
}

/// Median, 95th percentile by nearest rank, and the newest.
fn durations(samples: &mut Samples, metric: &'static str, labels: &[(&'static str, &str)], all: &[u64]) {
    let Some(newest) = all.last() else { return };
    let mut sorted = all.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * 95).div_ceil(100).max(1);
    let median = Times::of(sorted.clone()).map_or(0, |times| times.median_ms);
    for (stat, value) in [("median", median), ("p95", sorted[rank - 1]), ("newest", *newest)] {
        samples.add(metric, &[labels, &[("stat", stat)]].concat(), seconds(value));
    }
}

fn runs(samples: &mut Samples, recent: &[&Entry]) {
    let mut kinds: BTreeMap<(&str, &str, &str), Vec<&Entry>> = BTreeMap::new();
    for entry in recent {
        let environment = entry.environment.as_deref().unwrap_or_default();
        kinds.entry((&entry.task, environment, entry.host.name())).or_default().push(entry);
    }
    for ((task, environment, host), entries) in kinds {
        let labels = [("task", task), ("environment", environment), ("host", host)];
        for verdict in VERDICTS {
            let count = entries.iter().filter(|entry| entry.verdict == verdict).count();
            samples.add("forge_runs", &[&labels[..], &[("verdict", name(verdict))]].concat(), count as f64);
        }
        let all: Vec<u64> = entries.iter().map(|entry| entry.duration_ms).collect();
        durations(samples, "forge_run_duration_seconds", &labels, &all);
    }
}

/// The gates of some runs, by id, environment and host.
fn by_gate<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> BTreeMap<Key<'a>, Vec<(&'a Entry, &'a Gate)>> {
    let mut all: BTreeMap<Key<'_>, Vec<(&Entry, &Gate)>> = BTreeMap::new();
    for entry in entries {
        let environment = entry.environment.as_deref().unwrap_or_default();
        for gate in &entry.gates {
            all.entry((&gate.id, environment, entry.host.name())).or_default().push((entry, gate));
        }
    }
    all
}

type Key<'a> = (&'a str, &'a str, &'static str);

fn labels<'a>((gate, environment, host): Key<'a>) -> [(&'static str, &'a str); 3] {
    [("gate", gate), ("environment", environment), ("host", host)]
}

fn gates(samples: &mut Samples, entries: &[Entry], recent: &[&Entry]) {
    for (key, seen) in by_gate(recent.iter().copied()) {
        let labels = labels(key);
        for verdict in VERDICTS {
            let count = seen.iter().filter(|(_, gate)| gate.verdict == verdict).count();
            samples.add("forge_gate_runs", &[&labels[..], &[("verdict", name(verdict))]].concat(), count as f64);
        }
        let cached = seen.iter().filter(|(_, gate)| gate.cached).count();
        samples.add("forge_gate_cached_ratio", &labels, cached as f64 / seen.len() as f64);
        // What did not run took no time of its work.
        let ran = |gate: &&Gate| !gate.cached && gate.verdict != Verdict::DidNotRun;
        let all: Vec<u64> = seen.iter().map(|(_, gate)| *gate).filter(ran).map(|gate| gate.duration_ms).collect();
        durations(samples, "forge_gate_duration_seconds", &labels, &all);
        let flaky: BTreeSet<&String> = seen.iter().flat_map(|(_, gate)| &gate.flaky).collect();
        samples.add("forge_gate_flaky_tests", &labels, flaky.len() as f64);
    }
    for (key, seen) in by_gate(entries) {
        let labels = labels(key);
        if let Some((entry, gate)) = seen.last() {
            samples.add("forge_gate_last_run_timestamp_seconds", &labels, began(entry).unwrap_or_default());
            for verdict in VERDICTS {
                let value = f64::from(u8::from(gate.verdict == verdict));
                samples.add("forge_gate_last_verdict", &[&labels[..], &[("verdict", name(verdict))]].concat(), value);
            }
        }
        // Of one that did not run nobody knows what there is to find.
        let Some((_, gate)) = seen.iter().rev().find(|(_, gate)| gate.verdict != Verdict::DidNotRun) else { continue };
        for (severity, word) in SEVERITIES {
            let value = gate.findings.of(severity) as f64;
            samples.add("forge_gate_findings", &[&labels[..], &[("severity", word)]].concat(), value);
        }
    }
}

const SEVERITIES: [(Severity, &str); 5] = [
    (Severity::Critical, "critical"),
    (Severity::High, "high"),
    (Severity::Medium, "medium"),
    (Severity::Low, "low"),
    (Severity::Info, "info"),
];

/// The newest coverage and image of each kind of machine.
fn measured(samples: &mut Samples, entries: &[Entry]) {
    for host in [Host::Actions, Host::Laptop] {
        let of_host = || entries.iter().rev().filter(|entry| entry.host == host);
        if let Some(coverage) = of_host().find_map(|entry| entry.coverage.as_ref()) {
            let legs = coverage.legs.iter().map(|(leg, percent)| (leg.as_str(), *percent));
            for (leg, percent) in coverage.combined.map(|percent| ("combined", percent)).into_iter().chain(legs) {
                samples.add("forge_coverage_ratio", &[("leg", leg), ("host", host.name())], percent / 100.0);
            }
        }
        if let Some(image) = of_host().find_map(|entry| entry.image) {
            samples.add("forge_image_size_bytes", &[("host", host.name())], image.size_bytes as f64);
        }
    }
}

/// The newest load of each profile, environment and kind of machine.
fn loads(samples: &mut Samples, entries: &[Entry]) {
    let mut newest: BTreeMap<(&str, &str, &str, &str), (&Entry, &Load)> = BTreeMap::new();
    for (entry, load) in entries.iter().filter_map(|entry| Some((entry, entry.load.as_ref()?))) {
        let environment = entry.environment.as_deref().unwrap_or_default();
        newest.insert((&load.profile, &load.engine, environment, entry.host.name()), (entry, load));
    }
    for ((profile, engine, environment, host), (entry, load)) in newest {
        let labels = [("profile", profile), ("engine", engine), ("environment", environment), ("host", host)];
        let llm = load.llm.unwrap_or_default();
        for (class, trend) in [
            ("rest", load.rest),
            ("llm", llm.duration),
            ("llm_first_token", llm.time_to_first_token),
            ("llm_between_tokens", llm.time_between_tokens),
        ] {
            let Some(Percentiles { p50, p95, p99 }) = trend else { continue };
            for (percentile, value) in [("50", p50), ("95", p95), ("99", p99)] {
                let labels = [&labels[..], &[("class", class), ("percentile", percentile)]].concat();
                samples.add("forge_load_latency_seconds", &labels, value / 1000.0);
            }
        }
        if let Some(tokens) = llm.tokens_per_second {
            samples.add("forge_load_tokens_per_second", &labels, tokens.p50);
        }
        samples.add("forge_load_requests_per_second", &labels, load.rate);
        samples.add("forge_load_failed_ratio", &labels, load.failed_rate);
        samples.add("forge_load_timestamp_seconds", &labels, began(entry).unwrap_or_default());
    }
}

fn releases(samples: &mut Samples, entries: &[Entry], now: OffsetDateTime) {
    for (environment, releases) in dora::releases(entries) {
        let labels = [("environment", environment.as_str())];
        let figures = dora::dora(&releases, WINDOW, now);
        if let Some(last) = releases.last() {
            samples.add("forge_release_last_timestamp_seconds", &labels, at(&last.started).unwrap_or_default());
            for (outcome, word) in OUTCOMES {
                let value = f64::from(u8::from(last.outcome == outcome));
                samples.add("forge_release_last_outcome", &[&labels[..], &[("outcome", word)]].concat(), value);
            }
        }
        samples.add("forge_release_deployments", &labels, figures.deployments as f64);
        samples.add("forge_release_unrestored", &labels, figures.unrestored as f64);
        let newest = |of: fn(&super::release::Release) -> Option<u64>| releases.iter().rev().find_map(of).map(seconds);
        for (metric, value) in [
            ("forge_release_deployments_per_day", figures.per_day),
            ("forge_release_failure_ratio", figures.failure_rate),
            ("forge_release_detection_seconds", newest(|release| release.detection_ms)),
            ("forge_release_fallback_seconds", newest(|release| release.restore_ms)),
        ] {
            value.into_iter().for_each(|value| samples.add(metric, &labels, value));
        }
        for (metric, times) in
            [("forge_release_lead_time_seconds", figures.lead_time), ("forge_release_restore_seconds", figures.restore)]
        {
            let Some(Times { median_ms, longest_ms, .. }) = times else { continue };
            for (stat, value) in [("median", median_ms), ("longest", longest_ms)] {
                samples.add(metric, &[&labels[..], &[("stat", stat)]].concat(), seconds(value));
            }
        }
    }
}

const OUTCOMES: [(Outcome, &str); 5] = [
    (Outcome::Running, "running"),
    (Outcome::Verified, "verified"),
    (Outcome::NotVerified, "not_verified"),
    (Outcome::Failed, "failed"),
    (Outcome::Interrupted, "interrupted"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::entry::{Coverage, Found, Image, Llm};
    use super::super::release::Release;
    use super::super::testing::{entry, gate};
    use super::*;
    use crate::release::journal::Kind;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-21 10:00 UTC);

    /// One of everything.
    fn history() -> Vec<Entry> {
        let percentiles = Some(Percentiles { p50: 10.0, p95: 20.0, p99: 30.0 });
        let llm = Llm {
            duration: percentiles,
            time_to_first_token: percentiles,
            time_between_tokens: percentiles,
            tokens_per_second: percentiles,
        };
        let load = Load {
            gate: "perf".into(),
            profile: "smoke".into(),
            engine: "builtin".into(),
            requests: 600,
            rate: 39.9,
            failed_rate: 0.01,
            rest: percentiles,
            llm: Some(llm),
            routes: BTreeMap::new(),
        };
        let found = Found { high: 2, excused: 1, ..Found::default() };
        let red = Gate { findings: found, verdict: Verdict::Fail, duration_ms: 1500, ..gate("scan/deps") };
        let cached = Gate { cached: true, duration_ms: 9999, flaky: vec!["t".into()], ..gate("scan/deps") };
        let nothing = Gate { verdict: Verdict::DidNotRun, duration_ms: 7777, ..gate("scan/deps") };
        let release = Release {
            id: "r1".into(),
            environment: "production".into(),
            kind: Kind::Release,
            outcome: Outcome::Verified,
            started: "2026-11-20T10:00:00Z".into(),
            applied: Some("2026-11-20T10:01:00Z".into()),
            ended: "2026-11-20T10:05:00Z".into(),
            lead_time_ms: Some(3_600_000),
            ..Release::default()
        };
        let failed = Release {
            id: "r2".into(),
            outcome: Outcome::Failed,
            restored: "r1".into(),
            started: "2026-11-20T11:00:00Z".into(),
            applied: Some("2026-11-20T11:01:00Z".into()),
            ended: "2026-11-20T11:03:30Z".into(),
            detection_ms: Some(4300),
            restore_ms: Some(30_000),
            lead_time_ms: None,
            ..release.clone()
        };
        vec![
            Entry {
                gates: vec![red],
                coverage: Some(Coverage { combined: Some(93.5), legs: [("3.11".to_owned(), 92.0)].into() }),
                image: Some(Image { size_bytes: 1000 }),
                load: Some(load),
                ..entry(1)
            },
            Entry { gates: vec![cached], release: Some(release), ..entry(2) },
            Entry { gates: vec![nothing], release: Some(failed), verdict: Verdict::Fail, ..entry(3) },
        ]
    }

    /// A reader that takes nothing but what the format's description allows, and what promtool's lint asks for.
    fn read(text: &str) -> BTreeMap<String, f64> {
        let (mut samples, mut family, mut families) = (BTreeMap::new(), String::new(), BTreeSet::new());
        assert!(text.is_empty() || text.ends_with('\n'));
        let is_name = |name: &str| {
            !name.starts_with(|c: char| c.is_ascii_digit())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                family = help.split_once(' ').unwrap().0.to_owned();
                assert!(families.insert(family.clone()), "{family} stands twice");
                assert!(!["_total", "_count", "_sum", "_bucket"].iter().any(|end| family.ends_with(end)), "{family}");
                continue;
            }
            if let Some(kind) = line.strip_prefix("# TYPE ") {
                assert_eq!(kind, format!("{family} gauge"));
                continue;
            }
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            assert!(name == family && is_name(name), "{line}");
            let mut rest = labels;
            while rest != "}" {
                let (label, after) = rest.split_once("=\"").unwrap();
                assert!(is_name(label) && !label.starts_with("__"), "{line}");
                let mut escaped = false;
                let end = after.find(|c| {
                    let is_end = c == '"' && !escaped;
                    assert!(!escaped || "\\\"n".contains(c), "{line}");
                    escaped = c == '\\' && !escaped;
                    is_end
                });
                rest = after[end.unwrap() + 1..].strip_prefix(',').unwrap_or(&after[end.unwrap() + 1..]);
            }
            assert!(samples.insert(series.to_owned(), value.parse().unwrap()).is_none(), "{series} stands twice");
        }
        samples
    }

    #[test]
    fn every_metric_can_come_and_has_the_figure() {
        let text = render(&history(), NOW);
        let samples = read(&text);
        for (name, _) in FAMILIES {
            assert!(samples.keys().any(|series| series.split('{').next() == Some(name)), "{name} never comes");
        }
        let gate = "gate=\"scan/deps\",host=\"laptop\"";
        for (series, expected) in [
            ("forge_history_newest_run_timestamp_seconds".to_owned(), 1_793_491_380.0),
            ("forge_runs{task=\"ci\",host=\"laptop\",verdict=\"pass\"}".to_owned(), 2.0),
            (format!("forge_gate_runs{{{gate},verdict=\"did_not_run\"}}"), 1.0),
            // Neither the cached one nor the one that did not run took that long.
            (format!("forge_gate_duration_seconds{{{gate},stat=\"p95\"}}"), 1.5),
            (format!("forge_gate_cached_ratio{{{gate}}}"), 1.0 / 3.0),
            (format!("forge_gate_last_verdict{{{gate},verdict=\"did_not_run\"}}"), 1.0),
            (format!("forge_gate_last_verdict{{{gate},verdict=\"pass\"}}"), 0.0),
            // Of the newest that looked, which was the cached one.
            (format!("forge_gate_findings{{{gate},severity=\"high\"}}"), 0.0),
            (format!("forge_gate_flaky_tests{{{gate}}}"), 1.0),
            ("forge_coverage_ratio{leg=\"combined\",host=\"laptop\"}".to_owned(), 0.935),
            ("forge_release_lead_time_seconds{environment=\"production\",stat=\"median\"}".to_owned(), 3600.0),
            ("forge_release_failure_ratio{environment=\"production\"}".to_owned(), 0.5),
            ("forge_release_restore_seconds{environment=\"production\",stat=\"longest\"}".to_owned(), 150.0),
            ("forge_release_detection_seconds{environment=\"production\"}".to_owned(), 4.3),
            ("forge_release_last_outcome{environment=\"production\",outcome=\"failed\"}".to_owned(), 1.0),
        ] {
            assert_eq!(samples.get(&series), Some(&expected), "{series}\n{text}");
        }
    }

    #[test]
    fn an_empty_history_has_no_figure_and_an_old_one_no_count() {
        assert_eq!(render(&[], NOW), "");
        let samples = read(&render(&history(), NOW + 2 * WINDOW));
        assert!(!samples.keys().any(|series| series.starts_with("forge_gate_runs")), "{samples:?}");
        assert!(samples.keys().any(|series| series.starts_with("forge_gate_last_verdict")));
        assert!(!samples.keys().any(|series| series.starts_with("forge_release_lead_time")));
    }

    #[test]
    fn a_name_from_outside_stays_within_its_quotes() {
        let odd = Entry { gates: vec![gate("a\\b\"c\nd{e=\"f\"} 1")], ..entry(1) };
        let text = render(&[odd], NOW);
        assert!(text.contains("gate=\"a\\\\b\\\"c\\nd{e=\\\"f\\\"} 1\""), "{text}");
        assert!(!read(&text).is_empty());
    }
}
