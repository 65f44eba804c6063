//! Ctrl-C and SIGTERM at every step: nothing is changed, or the last verified release is brought back, or what was begun is
//! brought to its end (R21).

use rustix::process::Signal;
use xtask::release::journal::{Outcome, Step};

use super::run::Ended;
use super::site::{Plan, Site};

/// What a signal at a step comes to.
enum Comes {
    /// Nothing was changed.
    Unchanged,
    /// The last verified release is brought back.
    Restored,
    /// It goes on to its end, with this exit code.
    Ends(i32),
}

/// Stops a release at a step; `faulty` is one that goes back by itself.
fn stopped(site: &Site, step: &str, signal: Signal, comes: &Comes, serves: &str) {
    let before = site.journal();
    let faulty = matches!(comes, Comes::Ends(30));
    let version = format!("{step}-{}", before.len());
    if faulty {
        site.faulty(&version)
    } else {
        site.overlay(&version, &[])
    };
    let strategy: &[&str] = if step == "promoting" { &["--strategy", "blue-green"] } else { &[] };
    let running = site.deploy(strategy).at(&format!("[staging] {step}"));
    running.signal(signal);
    let begun = std::time::Instant::now();
    let ended = running.ended();
    eprintln!("FIGURE | {signal:?} at {step} | exit {:?} | {:.1} s", ended.code, begun.elapsed().as_secs_f64());
    let last = site.journal().last().unwrap().clone();
    // On a busy machine the signal comes when the next step has begun; what that step is for is undone.
    let late = last.steps.iter().any(|taken| taken.step == Step::Applying);
    let comes = if matches!(comes, Comes::Unchanged) && late { &Comes::Restored } else { comes };
    match comes {
        Comes::Unchanged => {
            ended.assert_code(130).assert_says("nothing was changed");
            assert_eq!((last.outcome, last.restored.as_str()), (Outcome::Interrupted, ""), "{}", ended.text);
        }
        Comes::Restored => {
            ended.assert_code(130).assert_says("serves again and is verified");
            assert_eq!(last.outcome, Outcome::Interrupted, "{}", ended.text);
            let verified = before.iter().rfind(|entry| entry.outcome == Outcome::Verified).unwrap();
            assert_eq!(last.restored, verified.id);
        }
        Comes::Ends(code) => {
            ended.assert_code(*code);
        }
    }
    let serves = if matches!(comes, Comes::Ends(0)) { &version } else { serves };
    site.assert_serves(serves);
}

/// A second signal while it goes back: it stops at once, and any later run goes on.
fn stopped_twice(site: &Site, signal: Signal) -> Ended {
    site.overlay("twice", &[]);
    let running = site.deploy(&[]).at("[staging] watching");
    running.signal(signal);
    let running = running.at("[staging] restoring");
    running.signal(signal);
    let begun = std::time::Instant::now();
    let ended = running.ended();
    let took = begun.elapsed();
    ended.assert_code(130);
    assert!(took < std::time::Duration::from_secs(5), "{took:?}");
    eprintln!("FIGURE | a second {signal:?} | exit 130 | {:.1} s", took.as_secs_f64());
    assert_eq!(site.journal().last().unwrap().outcome, Outcome::Running, "{}", ended.text);
    site.overlay("after", &[]);
    site.deploy(&["--wait", "60s"]).ended().assert_code(0);
    site.assert_serves("after");
    assert_eq!(site.journal().iter().rev().nth(1).unwrap().outcome, Outcome::Interrupted);
    ended
}

#[test]
fn a_signal_changes_nothing_or_brings_the_last_verified_release_back() {
    let Some(site) = Site::open("signals", Plan::default()) else { return };
    site.release("0");
    stopped(&site, "begun", Signal::INT, &Comes::Unchanged, "0");
    stopped(&site, "watching", Signal::TERM, &Comes::Restored, "0");
    stopped(&site, "verifying", Signal::INT, &Comes::Restored, "0");
    stopped_twice(&site, Signal::TERM);
}

#[test]
#[ignore = "`cargo xtask cluster test` runs it: every signal at every step"]
fn every_signal_at_every_step() {
    let Some(site) = Site::open("all-signals", Plan::default()) else { return };
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        site.release("0");
        stopped(&site, "begun", signal, &Comes::Unchanged, "0");
        for step in ["applying", "watching", "verifying", "promoting"] {
            stopped(&site, step, signal, &Comes::Restored, "0");
        }
        for step in ["restoring", "verifying_restored"] {
            stopped(&site, step, signal, &Comes::Ends(30), "0");
        }
        stopped_twice(&site, signal);
        stopped(&site, "accepting", signal, &Comes::Ends(0), "");
    }
}
