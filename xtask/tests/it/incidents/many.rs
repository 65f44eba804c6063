//! Many monitors at once: whatever the order in which GitHub serves them, and whatever it loses, there is one open issue.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex};

use serde_json::{Value, json};
use xtask::incidents::desk::Told;
use xtask::model::GateReport;
use xtask::tools::cancel;

use super::super::hub::{Asked, Fault, Hub, Turns, message};
use super::site::{Site, fails, passes, short};

/// Serves one request at a time, and none before every monitor that goes on has one waiting: the order is then what
/// `choose` says, and nothing else.
struct Order {
    state: Mutex<Waiting>,
    changed: Condvar,
}

/// Of those that wait, the place of the one whose turn it is.
type Choose = Box<dyn FnMut(&[usize]) -> usize + Send>;

/// What a request meets.
type Stumble = Box<dyn FnMut(&Asked) -> Option<Fault> + Send>;

struct Waiting {
    live: BTreeSet<usize>,
    waiting: BTreeSet<usize>,
    granted: Option<usize>,
    busy: bool,
    choose: Choose,
    stumble: Stumble,
}

impl Waiting {
    fn grant(&mut self) {
        if !self.busy && self.granted.is_none() && !self.live.is_empty() && self.waiting == self.live {
            let all: Vec<usize> = self.waiting.iter().copied().collect();
            let chosen = all[(self.choose)(&all)];
            self.granted = Some(chosen);
        }
    }
}

impl Order {
    fn of(
        monitors: usize,
        choose: impl FnMut(&[usize]) -> usize + Send + 'static,
        stumble: impl FnMut(&Asked) -> Option<Fault> + Send + 'static,
    ) -> Arc<Self> {
        let state = Waiting {
            live: (0..monitors).collect(),
            waiting: BTreeSet::new(),
            granted: None,
            busy: false,
            choose: Box::new(choose),
            stumble: Box::new(stumble),
        };
        Arc::new(Self { state: Mutex::new(state), changed: Condvar::new() })
    }

    fn ended(&self, who: usize) {
        let mut state = self.state.lock().unwrap();
        state.live.remove(&who);
        state.grant();
        self.changed.notify_all();
    }
}

impl Turns for Order {
    fn before(&self, asked: &Asked) -> Option<Fault> {
        let who = asked.who.unwrap();
        let mut state = self.state.lock().unwrap();
        state.waiting.insert(who);
        state.grant();
        self.changed.notify_all();
        let mut state = self.changed.wait_while(state, |state| state.granted != Some(who)).unwrap();
        state.waiting.remove(&who);
        (state.granted, state.busy) = (None, true);
        (state.stumble)(asked)
    }

    fn after(&self, _: &Asked) {
        let mut state = self.state.lock().unwrap();
        state.busy = false;
        state.grant();
        self.changed.notify_all();
    }
}

/// That many monitors tell the same at once, in the given order.
fn at_once(site: &Site, monitors: usize, order: &Arc<Order>, gates: &[GateReport]) -> Vec<Told> {
    site.hub.takes_turns(Some(order.clone()));
    let told = std::thread::scope(|scope| {
        let one = |who: usize| {
            scope.spawn(move || {
                let (_canceller, cancel) = cancel::pair();
                let told = site.tells_at(&format!("{}/m{who}", site.hub.url()), gates, &cancel);
                order.ended(who);
                told
            })
        };
        let all: Vec<_> = (0..monitors).map(one).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    site.hub.takes_turns(None);
    told
}

/// Numbers that look like chance, the same each time.
fn chance(seed: u64) -> impl FnMut(usize) -> usize + Send + Clone + 'static {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize % below
    }
}

/// Every third request meets something, as GitHub's documentation has it.
fn stumbles(seed: u64) -> impl FnMut(&Asked) -> Option<Fault> + Send + 'static {
    let mut roll = chance(seed.wrapping_add(77));
    move |_| match roll(18) {
        0 => Some(Fault::Lost),
        1 => Some(Fault::DoneAndLost),
        2 => Some(Fault::Instead(502, vec![], Value::Null)),
        3 => Some(Fault::Instead(503, vec![], message("Service unavailable"))),
        4 => Some(Fault::Instead(403, vec![], message("You have exceeded a secondary rate limit."))),
        5 => Some(Fault::Instead(
            429,
            vec![("x-ratelimit-remaining", "0".to_owned()), ("x-ratelimit-reset", "1795478460".to_owned())],
            message("API rate limit exceeded"),
        )),
        _ => None,
    }
}

fn one_open(site: &Site, what: &str) -> Value {
    let open = site.open();
    assert_eq!(open.len(), 1, "{what}: {:?}", open.iter().map(|issue| &issue["number"]).collect::<Vec<_>>());
    for issue in site.hub.issues().iter().filter(|issue| issue["state"] == "closed") {
        assert_eq!(issue["state_reason"], "not_planned", "{what}");
    }
    open[0].clone()
}

#[test]
fn in_every_order_of_two_monitors_one_issue_stays_and_is_told_once() {
    // Nobody to assign and no chat, so that there are only the requests that the order matters for.
    let mut site = Site::with("url = \"https://forge.example\"\n[alerts]\n");
    site.ctx.config.github = None;
    // The first order, then each that differs in its last choice that can.
    let (mut path, mut orders): (Vec<usize>, usize) = (vec![], 0);
    loop {
        let taken: Arc<Mutex<Vec<(usize, usize)>>> = Arc::default();
        let (log, prefix) = (taken.clone(), path.clone());
        let choose = move |all: &[usize]| {
            let mut log = log.lock().unwrap();
            let choice = prefix.get(log.len()).copied().unwrap_or(0);
            log.push((choice, all.len()));
            choice
        };
        let told = at_once(&site, 2, &Order::of(2, choose, |_| None), &[fails("bad")]);
        let issue = one_open(&site, &format!("{path:?}"));
        assert_eq!(issue["number"], 1, "{path:?}");
        assert!(told.iter().all(|told| told.untold().is_none()), "{path:?} {told:?}");
        let opened = told.iter().flat_map(short).filter(|line| line.ends_with("opened")).count();
        assert_eq!(opened, 1, "{path:?}");
        orders += 1;
        site.hub = Hub::start();
        let taken = taken.lock().unwrap().clone();
        let Some(last) = taken.iter().rposition(|(choice, of)| choice + 1 < *of) else { break };
        path = taken[..last].iter().map(|(choice, _)| *choice).chain([taken[last].0 + 1]).collect();
    }
    eprintln!("{orders} orders of two monitors");
    assert!(orders > 20, "{orders}");
}

#[test]
fn ten_monitors_at_once_end_with_one_open_issue_whatever_is_lost() {
    let (mut duplicates, mut joined) = (0, 0);
    for seed in 0..6 {
        let site = Site::new();
        site.hub.pages(3);
        let foreign = site.hub.has_issue(json!({"labels": [{"name": "incident"}], "body": "The pods are down!"}));
        let before = site.hub.issue(foreign).to_string();
        let order = |seed: u64, stumble: bool| {
            let mut roll = chance(seed);
            let mut stumbles = stumbles(seed);
            let choose = move |all: &[usize]| roll(all.len());
            Order::of(10, choose, move |asked| if stumble { stumbles(asked) } else { None })
        };
        site.at(6);
        let told = at_once(&site, 10, &order(seed, seed % 3 != 0), &[fails("bad")]);
        let what = format!("seed {seed}: {:?}", told.iter().flat_map(short).collect::<Vec<_>>());
        // A monitor that GitHub never answered may leave what the next run clears away; without one there is nothing left.
        let all_told = told.iter().all(|told| told.untold().is_none());
        if all_told {
            let ours: Vec<Value> = site.open().into_iter().filter(|issue| issue["number"] != foreign).collect();
            assert_eq!(ours.len(), 1, "{what}");
            assert_eq!(site.chat.heard().len(), 1, "{what}");
        }
        duplicates += site.hub.issues().len() - 2;
        joined += told.iter().flat_map(short).filter(|line| line.contains("joined")).count();
        // The next run has to find one, and tells what was not told.
        site.run(12, &[fails("bad")]);
        let ours: Vec<Value> = site.open().into_iter().filter(|issue| issue["number"] != foreign).collect();
        assert_eq!(ours.len(), 1, "{what}");
        let lowest =
            site.hub.issues().iter().filter_map(|issue| issue["number"].as_u64()).filter(|one| *one != foreign).min();
        assert_eq!(ours[0]["number"].as_u64(), lowest, "{what}");

        // Ten see it well at once: that is no second pass. Ten more do: it is closed once, and told once.
        site.at(18);
        at_once(&site, 10, &order(seed + 100, false), &[passes()]);
        assert_eq!(site.open().len(), 2, "{what}");
        site.chat.heard();
        site.at(24);
        let told = at_once(&site, 10, &order(seed + 200, seed % 3 == 1), &[passes()]);
        let what = format!("{what}, then {:?}", told.iter().flat_map(short).collect::<Vec<_>>());
        if told.iter().all(|told| told.untold().is_none()) {
            assert_eq!(site.open().len(), 1, "{what}");
            let comments = site.hub.comments(ours[0]["number"].as_u64().unwrap());
            assert_eq!(comments.iter().filter(|text| text.contains("It is over")).count(), 1, "{what}: {comments:?}");
            assert_eq!(site.chat.lines(), [":large_green_circle: production: health/pods is well again after 12 h"]);
        }
        assert_eq!(site.hub.issue(foreign).to_string(), before);
    }
    eprintln!("{duplicates} duplicates were made and closed, {joined} monitors joined");
    assert!(duplicates > 0 && joined > 0);
}

#[test]
fn ten_that_see_it_worse_or_too_old_at_once_tell_it_once() {
    let site = Site::new();
    site.run(0, &[fails("bad")]);
    site.chat.heard();
    for (hour, seed, reason, heard, comments) in [(6, 1, "worse", 0, 1), (30, 2, "worse", 1, 2), (36, 3, "worse", 0, 2)]
    {
        site.at(hour);
        let mut roll = chance(seed);
        at_once(&site, 10, &Order::of(10, move |all| roll(all.len()), |_| None), &[fails(reason)]);
        assert_eq!((site.chat.heard().len(), site.hub.comments(1).len()), (heard, comments), "{hour}");
    }
    one_open(&site, "after all");
}
