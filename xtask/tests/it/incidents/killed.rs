//! A run that is stopped after any of its requests: the next one goes on from there.

use std::sync::{Arc, Mutex};

use serde_json::json;
use xtask::model::GateReport;
use xtask::tools::cancel::{self, Canceller};

use super::super::hub::{Asked, Fault, Turns};
use super::site::{Site, fails, passes};

/// Serves that many requests; the one after them is done, and its sender never hears of it.
struct Kill {
    left: Mutex<usize>,
    canceller: Canceller,
}

impl Turns for Kill {
    fn before(&self, _: &Asked) -> Option<Fault> {
        let mut left = self.left.lock().unwrap();
        if *left == 0 {
            self.canceller.cancel();
            return Some(Fault::DoneAndLost);
        }
        *left -= 1;
        None
    }

    fn after(&self, _: &Asked) {}
}

/// A run that is killed after `requests` of its requests, the last one done and not heard of; whether it was.
fn killed(site: &Site, hour: i64, gates: &[GateReport], requests: usize) -> bool {
    site.at(hour);
    let (canceller, cancel) = cancel::pair();
    let kill = Arc::new(Kill { left: Mutex::new(requests), canceller });
    site.hub.takes_turns(Some(kill));
    let told = site.tells_at(&format!("{}/m0", site.hub.url()), gates, &cancel);
    site.hub.takes_turns(None);
    told.untold().is_some()
}

/// What the chat heard, without signs.
fn heard(site: &Site) -> Vec<&'static str> {
    let word = |line: String| {
        let words = ["is failing", "escalated", "is well again"];
        words.into_iter().find(|word| line.contains(word)).unwrap()
    };
    site.chat.lines().into_iter().map(word).collect()
}

#[test]
fn killed_while_it_opens_the_next_run_joins_and_tells() {
    for requests in 0.. {
        let site = Site::new();
        let was_killed = killed(&site, 0, &[fails("bad")], requests);
        site.run(6, &[fails("bad")]);
        assert_eq!(site.open().len(), 1, "after {requests}");
        // What is heard twice was heard before the kill, and is better than never.
        let heard = heard(&site);
        assert!(
            !heard.is_empty() && heard.len() <= 2 && heard.iter().all(|word| *word == "is failing"),
            "{requests}: {heard:?}"
        );
        let issue = &site.open()[0];
        assert_eq!(issue["assignees"][0]["login"], json!("dev"), "after {requests}");
        assert!(issue["body"].as_str().unwrap().contains("\"to_do\":[]"), "after {requests}");
        site.run(12, &[passes()]);
        assert_eq!(site.run(18, &[passes()]), ["health/pods failing: closed"], "after {requests}");
        assert!(site.open().is_empty());
        if !was_killed {
            eprintln!("opening was killed after each of {requests} requests");
            assert!(requests >= 5);
            return;
        }
    }
}

#[test]
fn killed_while_it_changes_escalates_or_closes_the_next_run_goes_on() {
    for (what, hour, gate) in
        [("changes", 6, fails("worse")), ("escalates", 30, fails("bad")), ("closes", 12, passes())]
    {
        for requests in 0.. {
            let site = Site::new();
            site.run(0, &[fails("bad")]);
            if what == "closes" {
                site.run(6, &[passes()]);
            }
            site.chat.heard();
            let was_killed = killed(&site, hour, std::slice::from_ref(&gate), requests);
            site.run(hour + 1, std::slice::from_ref(&gate));
            let (heard, comments) = (heard(&site), site.hub.comments(1));
            let claims = comments.iter().filter(|text| !text.contains("A run before this one was stopped")).count();
            assert_eq!(claims, 1, "{what} after {requests}: {comments:?}");
            match what {
                "changes" => assert!(heard.is_empty() && comments[0].contains("another way")),
                "escalates" => assert!((1..=2).contains(&heard.len()) && comments[0].contains("escalated")),
                _ => assert!((1..=2).contains(&heard.len()) && site.open().is_empty(), "{requests}: {heard:?}"),
            }
            if !was_killed {
                eprintln!("what {what} was killed after each of {requests} requests");
                assert!(requests >= 4);
                break;
            }
            // Nothing is told once more afterwards.
            if what != "closes" {
                let before = site.hub.comments(1).len();
                site.run(hour + 2, std::slice::from_ref(&gate));
                assert_eq!(
                    (site.hub.comments(1).len(), site.chat.heard().len()),
                    (before, 0),
                    "{what} after {requests}"
                );
            }
        }
    }
}
