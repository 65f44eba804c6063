//! k6's samples → the summary of any load run, through the same statistics as those of the built-in generator. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use super::samples::{Sample, Samples};
use crate::config::{Load, Request};
use crate::expect::Check;
use crate::load::recorder::{self, Ending, Recorder};
use crate::load::schedule::{self, Schedule};
use crate::load::sum::{Run, sum_up};
use crate::load::summary::Second;
use crate::load::target::Route;
use crate::load::{Measured, Plan};

/// `1050`: the request took longer than its timeout.
const TIMED_OUT: &str = "1050";

/// Each has two histograms; a script whose URLs are all different has to name its requests.
const MOST_ROUTES: usize = 100;

const SECOND: Duration = Duration::from_secs(1);

/// What only the caller knows of a run.
#[derive(Clone, Copy, Debug)]
pub struct Ran<'a> {
    /// Whether the script is of the project, and not made of the plan.
    pub is_own_script: bool,
    /// Scenarios of the closed model.
    pub closed: &'a [String],
    /// Share of this machine's cores.
    pub cpu: f64,
}

/// The figures; the error is a sentence fragment.
pub fn measured(plan: &Plan, samples: &Samples, ran: Ran<'_>) -> Result<Measured, String> {
    let plan = if ran.is_own_script { of_script(plan, samples)? } else { plan.clone() };
    let number = |name: &str| plan.routes.iter().position(|route| route.name == name);
    let delay = plan.load.scenarios.values().map(|scenario| scenario.start_time).min().unwrap_or_default();
    let first = samples.requests.iter().map(intended).min().unwrap_or_default();
    let origin = first.saturating_sub(delay);
    let mut sorted = Vec::with_capacity(samples.requests.len());
    for sample in &samples.requests {
        let route =
            number(&sample.name).ok_or_else(|| format!("k6 asked for `{}`, which nobody planned", sample.name))?;
        let request = plan.routes.get(route).map(|route| &route.request);
        sorted.push(recorded(sample, route, request.filter(|_| !ran.is_own_script), origin));
    }
    sorted.sort_by_key(|sample| sample.ended);
    let mut recorder = Recorder::new(plan.routes.iter().map(|route| route.request.llm), plan.load.warm_up);
    let open = Open::of(&sorted);
    let (mut series, mut at) = (Vec::new(), 1);
    for sample in &sorted {
        while sample.ended > SECOND * at {
            series.push(second(&plan, &mut recorder, samples, &open, origin, at, &ran));
            at += 1;
        }
        recorder.record(sample);
    }
    if !sorted.is_empty() {
        series.push(second(&plan, &mut recorder, samples, &open, origin, at, &ran));
    }
    let (started, dropped) = (samples.iterations, samples.count_dropped());
    let due = Schedule::of(&plan.load).count() as u64;
    let run = Run {
        engine: "k6",
        is_closed: !ran.closed.is_empty(),
        scheduled: due.max(started + dropped),
        started,
        dropped,
        interrupted: 0,
        most_open: open.most(),
        resent: 0,
        cpu: ran.cpu,
        cpu_peak: ran.cpu,
        series,
    };
    Ok(sum_up(&plan, &recorder, run))
}

/// k6 begins an iteration when it is due, or drops it; what a request waits for after that is a connection.
fn intended(sample: &Sample) -> Duration {
    sample.ended.saturating_sub(sample.service + sample.blocked)
}

fn recorded(sample: &Sample, route: usize, request: Option<&Request>, origin: Duration) -> recorder::Sample {
    let ending = match (sample.status, sample.error_code.as_str()) {
        (_, TIMED_OUT) => Ending::Late,
        (0, _) => Ending::Broken,
        _ => Ending::Answered,
    };
    let fault = sample.has_failed.then(|| match (ending, request) {
        (Ending::Late, _) => "no answer within its timeout".to_owned(),
        (Ending::Broken, _) => format!("no answer: k6 calls it error {}", sample.error_code),
        (Ending::Answered, Some(request)) => format!("status {}, expected {}", sample.status, request.status),
        (Ending::Answered, None) => format!("status {}", sample.status),
    });
    let mut checks = vec![(Check::Status, fault)];
    let asked = request.and_then(|request| match (&request.stream, &request.body) {
        (Some(_), _) => Some(Check::Stream),
        (None, Some(_)) => Some(Check::Body),
        (None, None) => None,
    });
    if let (Some(check), false) = (asked, sample.has_failed) {
        let broken = sample.broken_check.as_ref().map(|_| "the answer is not as it is expected".to_owned());
        checks.push((check, broken));
    }
    recorder::Sample {
        route,
        intended: intended(sample).saturating_sub(origin),
        began: sample.ended.saturating_sub(sample.service + origin),
        ended: sample.ended.saturating_sub(origin),
        ending,
        checks,
        // k6 sees a stream only when it has ended.
        tokens: None,
    }
}

/// The same plan with the routes that a script asked for, and with nothing scheduled: k6 alone knows what was.
fn of_script(plan: &Plan, samples: &Samples) -> Result<Plan, String> {
    let mut names: Vec<&str> = samples.requests.iter().map(|sample| sample.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    if names.len() > MOST_ROUTES {
        let count = names.len();
        return Err(format!(
            "the script asks for {count} routes, more than {MOST_ROUTES}: give its requests a tag `name`"
        ));
    }
    let mut routes: Vec<Route> = Vec::new();
    for name in names {
        let known = plan.routes.iter().find(|route| route.name == name);
        let mut route = known.or(plan.routes.first()).ok_or("perf.mix names no request")?.clone();
        if known.is_none() {
            name.clone_into(&mut route.name);
            name.clone_into(&mut route.request.send);
            route.request.llm = false;
        }
        routes.push(route);
    }
    let load = Load { scenarios: BTreeMap::new(), warm_up: Duration::ZERO, ..plan.load.clone() };
    Ok(Plan { name: format!("{}, by a script", plan.name), load, routes, ..plan.clone() })
}

/// How many requests are open, at any moment.
struct Open(Vec<(Duration, i64)>);

impl Open {
    fn of(samples: &[recorder::Sample]) -> Self {
        let changes = samples.iter().flat_map(|sample| [(sample.intended, 1), (sample.ended, -1)]);
        let mut changes: Vec<(Duration, i64)> = changes.collect();
        // What ends at a moment makes room for what begins then.
        changes.sort_unstable();
        let mut open = 0;
        for (_, change) in &mut changes {
            open += *change;
            *change = open;
        }
        Self(changes)
    }

    fn at(&self, moment: Duration) -> u64 {
        let until = self.0.partition_point(|(at, _)| *at <= moment);
        let last = until.checked_sub(1).and_then(|index| self.0.get(index));
        last.map_or(0, |(_, open)| u64::try_from(*open).unwrap_or_default())
    }

    fn most(&self) -> u64 {
        self.0.iter().map(|(_, open)| u64::try_from(*open).unwrap_or_default()).max().unwrap_or_default()
    }
}

fn second(
    plan: &Plan,
    recorder: &mut Recorder,
    samples: &Samples,
    open: &Open,
    origin: Duration,
    at: u32,
    ran: &Ran<'_>,
) -> Second {
    let (from, to) = (origin + SECOND * (at - 1), origin + SECOND * at);
    let within = |told: &&(Duration, u64)| told.0 >= from && told.0 < to;
    let told = samples.users.iter().filter(within).map(|(_, users)| *users).max().unwrap_or_default();
    let users = if ran.is_own_script {
        u32::try_from(told).unwrap_or(u32::MAX)
    } else {
        schedule::users(&plan.load, SECOND * (at - 1))
    };
    Second {
        users,
        open: open.at(SECOND * at),
        dropped: samples.dropped.iter().filter(within).map(|(_, count)| count).sum(),
        cpu: ran.cpu,
        ..recorder.second(u64::from(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Thresholds;
    use crate::load::fitness;
    use crate::load::target::Target;

    fn plan(warm_up: u64) -> Plan {
        let target = Target::parse("http://127.0.0.1:1").unwrap();
        let health: Request = toml::from_str("send = \"GET /health\"\nbody = { status = \"=ok\" }").unwrap();
        let (mix, requests) =
            (BTreeMap::from([("health".to_owned(), 1)]), BTreeMap::from([("health".to_owned(), health)]));
        let load = format!(
            "warm_up = \"{warm_up}s\"\n[scenarios.main]\nexecutor = \"constant-arrival-rate\"\nrate = 2\nduration = \"3s\"\n"
        );
        let thresholds: Thresholds = toml::from_str("http_req_duration = [\"p(95)<1000\"]").unwrap();
        Plan {
            name: "smoke".to_owned(),
            load: toml::from_str(&load).unwrap(),
            routes: target.routes(&mix, &requests).unwrap(),
            target,
            mix,
            thresholds,
            seed: 1,
        }
    }

    fn sample(began_ms: u64, service_ms: u64, name: &str) -> Sample {
        Sample {
            ended: Duration::from_millis(1_000_000 + began_ms + service_ms),
            scenario: "main".to_owned(),
            name: name.to_owned(),
            status: 200,
            error_code: String::new(),
            has_failed: false,
            broken_check: None,
            service: Duration::from_millis(service_ms),
            blocked: Duration::ZERO,
            waiting: Duration::from_millis(service_ms),
        }
    }

    fn run(requests: Vec<Sample>, dropped: u64) -> Samples {
        let iterations = requests.len() as u64;
        Samples { requests, users: vec![], iterations, dropped: vec![(Duration::from_millis(1_000_100), dropped)] }
    }

    const OPEN: Ran<'static> = Ran { is_own_script: false, closed: &[], cpu: 0.25 };

    #[test]
    fn a_run_of_k6_is_summed_up_like_any_other() {
        let mut requests: Vec<Sample> = (0..6).map(|n| sample(n * 500, 100, "health")).collect();
        requests[1].blocked = Duration::from_millis(40);
        requests[2].status = 500;
        requests[2].has_failed = true;
        requests[3].broken_check = Some("expected".to_owned());
        requests[4] = Sample { status: 0, has_failed: true, error_code: "1212".to_owned(), ..requests[4].clone() };
        let summary = measured(&plan(0), &run(requests, 0), OPEN).unwrap().summary;
        assert_eq!(
            (summary.engine.as_str(), summary.model.as_str(), summary.requests, summary.failed),
            ("k6", "open", 6, 3)
        );
        assert_eq!((summary.schedule.scheduled, summary.schedule.started), (6, 6));
        let duration = summary.duration.unwrap();
        assert!((duration.max - 140.0).abs() < 0.2 && duration.count == 5, "{duration:?}");
        assert!((summary.service_time.unwrap().max - 100.0).abs() < 0.2);
        assert!((summary.generator.lag.unwrap().max - 40.0).abs() < 0.1);
        let mut faults: Vec<_> = summary.faults.iter().map(|fault| fault.what.as_str()).collect();
        faults.sort_unstable();
        let expected =
            ["no answer: k6 calls it error 1212", "status 500, expected 200", "the answer is not as it is expected"];
        assert_eq!(faults, expected);
        assert_eq!(summary.series.iter().map(|second| second.requests).collect::<Vec<_>>(), [2, 2, 2]);
        assert_eq!(summary.thresholds[0].holds, Some(true));
    }

    #[test]
    fn the_warm_up_is_measured_nowhere() {
        let requests = (0..6).map(|n| sample(n * 500, 100, "health")).collect();
        let summary = measured(&plan(2), &run(requests, 0), OPEN).unwrap().summary;
        assert_eq!((summary.requests, summary.schedule.warm_up), (2, 4));
    }

    #[test]
    fn what_was_dropped_or_never_began_makes_it_unfit() {
        let requests: Vec<Sample> = (0..6).map(|n| sample(n * 500, 100, "health")).collect();
        let dropped = measured(&plan(0), &run(requests.clone(), 2), OPEN).unwrap().summary;
        assert!(fitness::unfit(&dropped).unwrap().contains("dropped 2 of 8"));
        assert_eq!(dropped.series[0].dropped, 2);
        let short = measured(&plan(0), &run(requests[..3].to_vec(), 0), OPEN).unwrap().summary;
        assert!(fitness::unfit(&short).unwrap().contains("began 3 of 6"));
        let closed = ["a".to_owned()];
        let closed = measured(&plan(0), &run(requests, 0), Ran { closed: &closed, ..OPEN }).unwrap().summary;
        assert!(fitness::unfit(&closed).unwrap().starts_with("closed model"));
    }

    #[test]
    fn a_script_of_the_project_has_routes_of_its_own() {
        let own = Ran { is_own_script: true, ..OPEN };
        let mut requests = vec![sample(0, 10, "health"), sample(5, 30, "http://127.0.0.1:1/other")];
        // Whether a check counts is for its script to say.
        requests[0].broken_check = Some("fast".to_owned());
        let summary = measured(&plan(2), &run(requests, 0), own).unwrap().summary;
        let routes: Vec<_> = summary.routes.iter().map(|route| (route.name.as_str(), route.requests)).collect();
        assert_eq!(routes, [("health", 1), ("http://127.0.0.1:1/other", 1)]);
        assert_eq!((summary.failed, summary.generator.most_open, summary.schedule.scheduled), (0, 2, 2));
        let many = (0..101).map(|n| sample(n, 1, &format!("/{n}"))).collect();
        assert!(measured(&plan(0), &run(many, 0), own).unwrap_err().contains("give its requests a tag `name`"));
        let unplanned = measured(&plan(0), &run(vec![sample(0, 1, "other")], 0), OPEN).unwrap_err();
        assert_eq!(unplanned, "k6 asked for `other`, which nobody planned");
    }

    #[test]
    fn a_run_without_a_sample_has_no_figure() {
        let summary = measured(&plan(0), &Samples::default(), OPEN).unwrap().summary;
        assert_eq!((summary.requests, summary.thresholds[0].holds), (0, None));
    }
}
