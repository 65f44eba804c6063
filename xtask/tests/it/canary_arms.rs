//! A canary beside its baseline, over real connections: equal, slower in the slowest tenth, failing, hanging, and gone.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use xtask::config::{Canary, Limits};
use xtask::load::Stop;
use xtask::release::canary::analysis::{Judgement, assess};
use xtask::release::canary::arms::{Arms, Question, measure};

use super::perf::server::{Answers, Server};

const STEPS: usize = 4;

fn settings() -> Canary {
    let (duration, warm_up) = (Duration::from_secs(7), Duration::from_secs(1));
    Canary { rate: 200, duration, warm_up, limits: Limits::default() }
}

/// Every answer takes ten milliseconds, and what is wrong with it comes on top.
fn server(answers: Answers) -> Server {
    let server = Server::start(answers);
    server.become_slow(10);
    server
}

fn measured(canary: &str, baseline: &str, stop: &Stop) -> Result<Arms, Judgement> {
    let item = "send = \"GET /item\"\nbody = { name = \"string\", price = \"integer\" }\ntimeout = \"1s\"";
    let requests = BTreeMap::from([
        ("item".to_owned(), toml::from_str(item).unwrap()),
        ("other".to_owned(), toml::from_str("send = \"GET /never\"").unwrap()),
    ]);
    let mix = BTreeMap::from([("item".to_owned(), 1)]);
    let settings = settings();
    let question = Question { canary, baseline, mix: &mix, requests: &requests, settings: &settings, seed: 1 };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(measure(&question, stop)).unwrap()
}

/// The judgement over a canary like this, with both arms.
fn judged(answers: Answers) -> (Judgement, Arms) {
    let (canary, baseline) = (server(answers), server(Answers::good()));
    let arms = measured(&canary.url(), &baseline.url(), &Stop::default()).unwrap();
    assert_eq!(arms.baseline.requests, arms.canary.requests);
    assert_eq!(arms.baseline.requests, 1200, "as many as are due after the warm-up");
    assert!(baseline.asked() >= 1400 && baseline.most_connections() >= 10, "many connections are used in turns");
    (assess(&arms.canary, &arms.baseline, &Limits::default(), STEPS, 1).judgement, arms)
}

#[track_caller]
fn assert_aborted(judgement: &Judgement, reason: &str) {
    match judgement {
        Judgement::Abort { reasons } => assert!(reasons.iter().any(|found| found.contains(reason)), "{reasons:?}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_equal_canary_is_promoted() {
    let (judgement, arms) = judged(Answers::good());
    assert_eq!(judgement, Judgement::Promote);
    assert_eq!((arms.canary.errors, arms.canary.latencies.len()), (0, 1200));
    assert!(arms.canary.latencies.iter().all(|ms| *ms >= 10.0), "no answer can be faster than that");
}

#[test]
fn a_canary_that_is_slower_in_its_slowest_tenth_is_aborted() {
    // Far beyond what a busy machine does to both; how small a difference is seen is what the simulation counts.
    let (judgement, _) = judged(Answers { slow: Some((10, 150)), ..Answers::good() });
    assert_aborted(&judgement, "its p95 is");
}

#[test]
fn a_canary_that_fails_in_4_of_100_is_aborted() {
    let (judgement, arms) = judged(Answers { refused: Some(25), ..Answers::good() });
    assert_aborted(&judgement, "of its requests failed");
    assert!((47..=49).contains(&arms.canary.errors), "{}", arms.canary.errors);
    assert_eq!(arms.faults[0].what, "status 500, expected 200");
}

#[test]
fn a_canary_that_answers_something_else_is_aborted() {
    let (judgement, arms) = judged(Answers { body: r#"{"name": "apple"}"#, ..Answers::good() });
    assert_aborted(&judgement, "100.00 % of its requests failed");
    assert!(arms.canary.latencies.is_empty(), "a wrong answer has no latency");
}

#[test]
fn a_canary_that_hangs_is_aborted_and_hangs_nobody_else() {
    let begun = Instant::now();
    let (judgement, arms) = judged(Answers { hangs: true, ..Answers::good() });
    assert_aborted(&judgement, "100.00 % of its requests failed");
    assert_eq!(arms.faults[0].what, "no answer within 1000 ms");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[test]
fn whoever_is_not_there_fails_and_an_address_that_is_none_has_no_verdict() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (canary, baseline) = (format!("http://{gone}"), server(Answers::good()));
    let arms = measured(&canary, &baseline.url(), &Stop::default()).unwrap();
    let judgement = assess(&arms.canary, &arms.baseline, &Limits::default(), STEPS, 1).judgement;
    assert_aborted(&judgement, "100.00 % of its requests failed");
    for url in ["ftp://a", "http://no-such-name.invalid"] {
        let found = measured(url, &baseline.url(), &Stop::default()).unwrap_err();
        assert!(matches!(found, Judgement::NoVerdict { .. }), "{found:?}");
    }
    let stop = Stop::default();
    stop.now();
    let found = measured(&baseline.url(), &baseline.url(), &stop).unwrap_err();
    assert_eq!(found, Judgement::NoVerdict { reason: "it was interrupted".to_owned() });
}
