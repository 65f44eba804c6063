//! A history that was made up by rules, the same from the same seed: a team, its branches, what goes wrong now and then.

use std::collections::BTreeMap;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use xtask::context::Profile;
use xtask::history::entry::{About, Coverage, Entry, Found, Gate, Host, Image, Issue, Llm, Load, Percentiles, SCHEMA};
use xtask::history::release::Release;
use xtask::release::journal::{Kind, Outcome};
use xtask::verdict::{Verdict, Work};

/// SplitMix64 (Steele, Lea, Flood 2014).
pub struct Dice(pub u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 64 digits.
    fn hex(&mut self) -> String {
        (0..4).map(|_| format!("{:016x}", self.next())).collect()
    }

    /// Below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// In so many of a hundred cases.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn pick<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len() as u64) as usize]
    }

    fn share(&mut self) -> f64 {
        self.below(1_000_000) as f64 / 1e6
    }
}

/// A gate, and how long it takes in milliseconds.
const CI: &[(&str, u64)] = &[
    ("subjects", 40),
    ("policy", 300),
    ("pre-commit", 9_000),
    ("test-matrix/3.10", 62_000),
    ("test-matrix/3.11", 58_000),
    ("test-matrix/3.12", 51_000),
    ("test-matrix/coverage", 1_500),
    ("scan/secrets", 4_000),
    ("scan/sast", 6_500),
    ("scan/deps", 12_000),
    ("scan/config", 3_000),
    ("sbom", 8_000),
    ("docs", 7_000),
    ("container/build", 95_000),
    ("container/test", 21_000),
    ("container/scan", 33_000),
    ("integration", 84_000),
    ("smoke", 11_000),
    ("perf", 60_000),
];

const TESTS: &[&str] = &[
    "tests/test_stream.py::test_a_client_that_goes_away",
    "tests/test_redis.py::test_reconnects",
    "tests/test_limits.py::test_window[60]",
];

/// `count` runs, about `days` days up to `until`.
pub fn history(seed: u64, count: usize, days: i64, until: OffsetDateTime) -> Vec<Entry> {
    let mut dice = Dice(seed);
    let until = until.unix_timestamp();
    // Of no run there is none.
    let step = days * 86_400 / count.max(1) as i64;
    let mut releases: BTreeMap<&str, (String, String)> = BTreeMap::new();
    let mut entries = Vec::with_capacity(count);
    for index in 0..count {
        let age = (count - index) as i64 * step - dice.below(step.max(2) as u64) as i64;
        entries.push(entry(&mut dice, index, until - age, index as f64 / count as f64, &mut releases));
    }
    entries
}

fn stamp(at: i64) -> String {
    OffsetDateTime::from_unix_timestamp(at).unwrap().format(&Rfc3339).unwrap()
}

fn entry(
    dice: &mut Dice,
    index: usize,
    at: i64,
    progress: f64,
    releases: &mut BTreeMap<&'static str, (String, String)>,
) -> Entry {
    let task = match dice.below(100) {
        0..55 => "ci",
        55..65 => "scan",
        65..72 => "test-matrix",
        72..84 => "monitor",
        84..95 => "deploy",
        95..97 => "rollback",
        _ => "perf",
    };
    let environment = ["deploy", "rollback", "monitor"].contains(&task).then(|| dice.pick(&["staging", "production"]));
    let branch = match environment {
        Some("staging") => "develop",
        Some(_) => "main",
        None => dice.pick(&["main", "main", "develop", "develop", "feature/streaming", "fix/limits", ""]),
    };
    // Some commits are looked at again, which is how a flaky gate shows.
    let commit = Dice(index as u64 - dice.below(3).min(index as u64)).hex()[..40].to_owned();
    let mut run = Entry {
        schema: SCHEMA.to_owned(),
        run: format!("{}Z-{}-{task}-{index:06x}", stamp(at).replace(['-', ':', 'Z'], ""), &commit[..8]),
        started: stamp(at),
        duration_ms: 0,
        commit,
        branch: branch.to_owned(),
        dirty: dice.percent(10),
        task: task.to_owned(),
        profile: Profile::Actions,
        environment: environment.map(str::to_owned),
        host: if dice.percent(30) { Host::Laptop } else { Host::Actions },
        url: String::new(),
        verdict: Verdict::Pass,
        gates: gates(dice, task, progress),
        coverage: None,
        image: None,
        load: None,
        release: None,
        issues: vec![],
        journal: vec![],
    };
    run.issues = issues(&run, index);
    let worst = |verdict| run.gates.iter().any(|gate| gate.required && gate.verdict == verdict);
    run.verdict = match () {
        () if worst(Verdict::Fail) => Verdict::Fail,
        () if worst(Verdict::DidNotRun) => Verdict::DidNotRun,
        () => Verdict::Pass,
    };
    let busy: u64 = run.gates.iter().filter(|gate| !gate.cached).map(|gate| gate.duration_ms).sum();
    run.duration_ms = 900 + busy / 2;
    if ["ci", "test-matrix"].contains(&task) {
        let combined = 81.0 + progress * 9.0 + dice.share() * 2.0;
        let legs = ["3.10", "3.11", "3.12"].map(|leg| (leg.to_owned(), combined - 0.3 - dice.share()));
        run.coverage = Some(Coverage { combined: dice.percent(95).then_some(combined), legs: legs.into() });
    }
    if task == "ci" {
        run.image = Some(Image { size_bytes: 148_000_000 + (progress * 24e6) as u64 + dice.below(2_000_000) });
    }
    if ["ci", "perf", "monitor"].contains(&task) {
        run.load = Some(load(dice, task, progress));
    }
    if let Some(environment) = environment.filter(|_| ["deploy", "rollback"].contains(&task)) {
        run.release = Some(release(dice, &run, at, environment, releases));
    }
    run
}

/// Most runs know of an issue about what is not well, or is well again.
fn issues(run: &Entry, index: usize) -> Vec<Issue> {
    let is_known = |place: &usize| run.task == "monitor" && !(index + place).is_multiple_of(3);
    let about = |place: usize, verdict| match verdict {
        Verdict::DidNotRun => About::Unwatched,
        Verdict::Fail => About::Failing,
        Verdict::Pass if place == 1 => About::Unwatched,
        Verdict::Pass => About::Failing,
    };
    let known = (0..run.gates.len()).filter(is_known).map(|place| {
        let gate = &run.gates[place];
        let url = format!("https://example.org/o/r/issues/{}", index * 10 + place);
        Issue { gate: gate.id.clone(), about: about(place, gate.verdict), url }
    });
    known.collect()
}

fn gates(dice: &mut Dice, task: &str, progress: f64) -> Vec<Gate> {
    let checks: &[(&str, u64)] = &[
        ("monitor/health/pods", 900),
        ("monitor/performance", 61_000),
        ("monitor/security", 14_000),
        ("monitor/health/scaling", 700),
    ];
    let steps: &[(&str, u64)] = &[("release/rollout", 48_000), ("release/smoke", 6_000), ("release/perf", 31_000)];
    let planned: Vec<(&str, u64)> = match task {
        // Some runs look at one kind alone, and one check is planned no more after a while.
        "monitor" => {
            let is_planned = |id: &str| progress < 0.7 || id != "monitor/health/scaling";
            let is_alone = ((progress * 1000.0) as u64).is_multiple_of(5);
            let is_asked = |id: &str| !is_alone || id.starts_with("monitor/health");
            checks.iter().copied().filter(|(id, _)| is_planned(id) && is_asked(id)).collect()
        }
        "deploy" | "rollback" => steps.to_vec(),
        "ci" => CI.to_vec(),
        _ => CI.iter().copied().filter(|(id, _)| id.split('/').next() == Some(task)).collect(),
    };
    let is_ci = !["monitor", "deploy", "rollback"].contains(&task);
    planned.into_iter().map(|(id, usual)| gate(dice, id, usual, is_ci, progress)).collect()
}

fn gate(dice: &mut Dice, id: &str, usual: u64, is_ci: bool, progress: f64) -> Gate {
    let verdict = match dice.below(200) {
        0..3 => Verdict::Fail,
        3 => Verdict::DidNotRun,
        _ => Verdict::Pass,
    };
    let cached = is_ci && verdict == Verdict::Pass && dice.percent(45);
    let mut findings = Found::default();
    if id.starts_with("scan") || id == "container/scan" {
        findings.medium = dice.below(4);
        findings.low = dice.below(9) + ((1.0 - progress) * 8.0) as u64;
        findings.info = dice.below(3);
        findings.excused = dice.below(2);
        findings.high = u64::from(dice.percent(if progress > 0.7 { 4 } else { 12 }));
        findings.critical = u64::from(dice.percent(2));
    }
    let mut flaky = vec![];
    if id.starts_with("test-matrix/3") && !cached && dice.percent(6) {
        flaky.push(dice.pick(TESTS).to_owned());
    }
    let reason = match verdict {
        Verdict::Pass => "",
        Verdict::Fail => "p95 is 1204 ms, more than 1000 ms",
        Verdict::DidNotRun => "the tool wrote no report",
    };
    Gate {
        id: id.to_owned(),
        verdict,
        required: id != "scan/config",
        cached,
        duration_ms: usual * (80 + dice.below(50)) / 100 + (progress * usual as f64 / 4.0) as u64,
        work: Work::new(1 + dice.below(300), "tests"),
        reason: reason.to_owned(),
        findings,
        flaky,
    }
}

fn load(dice: &mut Dice, task: &str, progress: f64) -> Load {
    let base = 40.0 + progress * 15.0 + dice.share() * 12.0 + if dice.percent(3) { 200.0 } else { 0.0 };
    let around = |base: f64| Percentiles { p50: base, p95: base * 2.6, p99: base * 4.1 };
    let (gate, profile) = match task {
        "monitor" => ("monitor/performance", "monitoring"),
        "perf" => ("perf", "release"),
        _ => ("perf", "smoke"),
    };
    let first = dice.percent(80).then(|| around(base * 5.0));
    Load {
        gate: gate.to_owned(),
        profile: profile.to_owned(),
        engine: "builtin".to_owned(),
        requests: 3000 + dice.below(90_000),
        rate: 120.0,
        failed_rate: dice.share() * 0.01,
        rest: Some(around(base)),
        llm: Some(Llm { time_to_first_token: first, ..Llm::default() }),
        routes: BTreeMap::new(),
    }
}

fn release(
    dice: &mut Dice,
    run: &Entry,
    at: i64,
    environment: &'static str,
    releases: &mut BTreeMap<&'static str, (String, String)>,
) -> Release {
    let (started, took) = (at + 5, 60 + dice.below(400) as i64);
    let (restored_id, from) = releases.get(environment).cloned().unwrap_or_default();
    let roll = dice.below(100);
    let (outcome, applied, restored) = match roll {
        0..78 => (Outcome::Verified, true, false),
        78..88 => (Outcome::Failed, true, true),
        88..91 => (Outcome::NotVerified, true, true),
        91..94 => (Outcome::Failed, true, false),
        94..97 => (Outcome::Interrupted, false, false),
        97..99 => (Outcome::Failed, false, false),
        _ => (Outcome::Running, true, false),
    };
    let is_running = outcome == Outcome::Running;
    let restored = restored && !restored_id.is_empty();
    let committed = at - 600 - dice.below(200_000) as i64;
    let kind = if run.task == "rollback" { Kind::Rollback } else { Kind::Release };
    let is_delivered = outcome == Outcome::Verified && kind == Kind::Release;
    let ended = started + took;
    let id = format!("{}-{:04x}", stamp(started).replace(['-', ':'], ""), dice.below(65_536));
    let digest = format!("sha256:{}", dice.hex());
    if outcome == Outcome::Verified {
        releases.insert(environment, (id.clone(), digest.clone()));
    }
    Release {
        id,
        environment: environment.to_owned(),
        kind,
        strategy: dice.pick(&["rolling", "rolling", "canary", "blue-green"]).to_owned(),
        digest,
        from,
        commit: run.commit.clone(),
        outcome,
        restored: if restored { restored_id } else { String::new() },
        committed: Some(stamp(committed)),
        started: stamp(started),
        applied: applied.then(|| stamp(started + 9)),
        ended: if is_running { String::new() } else { stamp(ended) },
        detection_ms: None,
        restore_ms: restored.then(|| 20_000 + dice.below(40_000)),
        lead_time_ms: is_delivered.then(|| (ended - committed) as u64 * 1000),
    }
}
