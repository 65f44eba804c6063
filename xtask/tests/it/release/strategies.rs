//! Blue-green and canary releases: the Service moves to what is verified and to nothing else, and what serves keeps its
//! capacity (R25, R26).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use xtask::release::journal::{Outcome, Step};
use xtask::verdict::Verdict;

use super::site::{Plan, Site};

/// Looks at the same thing all the time, and gives back all that was seen, each once.
pub fn watching<T: PartialEq + Send>(look: impl Fn() -> T + Send, during: impl FnOnce()) -> Vec<T> {
    /// Ends the looking also where what goes on meanwhile fails.
    struct Ends(Arc<AtomicBool>);
    impl Drop for Ends {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let ended = Arc::new(AtomicBool::new(false));
    std::thread::scope(|scope| {
        let stop = ended.clone();
        let looks = scope.spawn(move || {
            let mut seen = vec![look()];
            while !stop.load(Ordering::SeqCst) {
                let now = look();
                if seen.last() != Some(&now) {
                    seen.push(now);
                }
            }
            seen
        });
        let ends = Ends(ended.clone());
        during();
        drop(ends);
        looks.join().unwrap()
    })
}

fn selector(site: &Site) -> String {
    site.object(&["service", "forge"])["spec"]["selector"]["forge.xtask/traffic"].as_str().unwrap().to_owned()
}

fn steps(site: &Site) -> Vec<Step> {
    site.journal().pop().unwrap().steps.iter().map(|taken| taken.step).collect()
}

#[test]
fn a_second_deployment_is_verified_before_the_service_moves() {
    let Some(site) = Site::open("blue-green", Plan::default()) else { return };
    let green = ["--strategy", "blue-green"];
    site.release("1");
    site.overlay("2", &[]);
    site.deploy(&green).ended().assert_code(0);
    site.assert_serves("2");
    use Step::{Accepting, Applying, Begun, Ended, Promoting, Verifying, Watching};
    assert_eq!(steps(&site), [Begun, Applying, Watching, Verifying, Promoting, Accepting, Ended]);
    let blue = selector(&site);
    // One that fails its smoke test never gets a request of a user.
    site.faulty("3");
    let seen = watching(
        || selector(&site),
        || {
            site.deploy(&green).ended().assert_code(30);
        },
    );
    assert_eq!(seen, [blue]);
    site.assert_serves("2");
    assert!(!steps(&site).contains(&Promoting));
    // And back by hand.
    site.start(&["rollback", "staging", "--yes"]).ended().assert_code(0);
    site.assert_serves("1");
}

/// A canary that was compared. Where the machine has no time for the requests there is no verdict, which promotes nothing.
fn compared(site: &Site) -> super::run::Ended {
    for _ in 0..3 {
        let ended = site.deploy(&["--strategy", "canary"]).ended();
        if ended.gate("deploy/canary").verdict != Verdict::DidNotRun {
            return ended;
        }
        ended.assert_code(30);
        assert_eq!(site.journal().pop().unwrap().outcome, Outcome::NotVerified);
        site.assert_serves("1");
    }
    panic!("there was no verdict in three releases");
}

#[test]
fn a_slow_canary_is_aborted_while_the_old_version_keeps_its_capacity() {
    let plan = Plan {
        pods: 2,
        release: "routes = { chat = 1 }\ncanary_steps = [50]\n",
        // What a busy machine does to both is no difference; thirty times as slow is one.
        more: "[canary]\nrate = 60\nduration = \"24s\"\nwarm_up = \"4s\"\n[canary.limits]\nlatency = 0.9\np95 = 0.9\n",
        ..Plan::default()
    };
    // What others take from the machine would be errors of one of two equal arms.
    Site::open_alone("canary", plan, slow_and_then_equal);
}

fn slow_and_then_equal(site: &Site) {
    site.release("1");
    site.overlay("2", &[]);
    site.setting("FORGE_ECHO_DELAY", "0.05");
    let available = || site.object(&["deployment", "forge"])["status"]["availableReplicas"].as_u64().unwrap_or(0);
    let seen = watching(available, || {
        let aborted = compared(site);
        aborted.assert_code(30);
        let told: String = aborted.gate("deploy/canary").findings.iter().map(|found| found.message.clone()).collect();
        assert!(told.contains("p95"), "{told}\n{}", aborted.text);
        eprintln!("FIGURE | slow canary | aborted | {:.1} s", aborted.took.as_secs_f64());
    });
    assert_eq!(seen, [2], "the old version keeps its pods");
    site.assert_serves("1");
    assert_eq!(site.journal().pop().unwrap().outcome, Outcome::Failed);
    site.overlay("2", &[]);
    let promoted = compared(site);
    promoted.assert_code(0);
    site.assert_serves("2");
    let arms = site.object(&["deployments"])["items"].as_array().unwrap().clone();
    let names: Vec<&str> = arms.iter().filter_map(|one| one["metadata"]["name"].as_str()).collect();
    assert_eq!(names, ["forge", "redis"], "what was compared is gone");
    eprintln!("FIGURE | equal canary | promoted | {:.1} s", promoted.took.as_secs_f64());
}
