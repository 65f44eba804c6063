//! One iteration: a user's connection, a request, its answer, judged. Everything here runs on the generator's thread.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::mix::Mix;
use super::recorder::{Ending, Recorder, Sample};
use super::target::Route;
use super::tokens::{self, Tokens, Watch};
use super::wire::{Broken, Connection, Fate, Place};
use crate::expect::{self, Answer, Check};

/// What the iterations of a run share.
pub struct Shared {
    /// The beginning of the run.
    pub origin: Instant,
    /// What is sent.
    pub routes: Vec<Route>,
    /// Where connections are made to.
    pub place: Place,
    /// Which request is next.
    pub mix: RefCell<Mix>,
    /// What has ended.
    pub recorder: RefCell<Recorder>,
    /// Open iterations by route.
    pub open: RefCell<Vec<u64>>,
    /// Requests that were sent again.
    pub resent: Cell<u64>,
    /// Told when nothing is open any more.
    pub idle: tokio::sync::Notify,
    /// Kept connections that nobody uses, by user.
    kept: RefCell<HashMap<u32, Vec<Connection>>>,
    /// The last body of each route that was as expected: the same bytes need no second look.
    accepted: RefCell<Vec<Option<Vec<u8>>>>,
}

impl Shared {
    /// Nothing has begun.
    pub fn new(origin: Instant, routes: Vec<Route>, place: Place, mix: Mix, warm_up: Duration) -> Self {
        let recorder = Recorder::new(routes.iter().map(|route| route.request.llm), warm_up);
        Self {
            origin,
            place,
            mix: RefCell::new(mix),
            recorder: RefCell::new(recorder),
            open: RefCell::new(vec![0; routes.len()]),
            resent: Cell::new(0),
            idle: tokio::sync::Notify::new(),
            kept: RefCell::default(),
            accepted: RefCell::new(vec![None; routes.len()]),
            routes,
        }
    }

    /// How many iterations are open.
    pub fn count_open(&self) -> u64 {
        self.open.borrow().iter().sum()
    }
}

/// One iteration of a user, which was due at `intended`.
pub async fn iterate(shared: Rc<Shared>, user: u32, intended: Duration) {
    let route = shared.mix.borrow_mut().route();
    shared.open.borrow_mut()[route] += 1;
    let began = shared.origin.elapsed();
    let Route { request, .. } = &shared.routes[route];
    let mut watch = (request.llm && request.stream.is_some()).then(Watch::default);
    let asked = tokio::time::timeout(request.timeout, ask(&shared, user, route, &mut watch)).await;
    let ended = shared.origin.elapsed();
    let (ending, checks, tokens) = match asked {
        Ok(Ok(answer)) => {
            let ending = if answer.is_whole { Ending::Answered } else { Ending::Broken };
            let tokens = if request.llm { counted(watch, &answer) } else { None };
            (ending, judged(&shared, route, answer), tokens)
        }
        Ok(Err(broken)) => (Ending::Broken, vec![(Check::Status, Some(broken.why))], None),
        Err(_) => {
            let why = format!("no answer within {} ms", request.timeout.as_millis());
            (Ending::Late, vec![(Check::Status, Some(why))], None)
        }
    };
    shared.recorder.borrow_mut().record(&Sample { route, intended, began, ended, ending, checks, tokens });
    shared.open.borrow_mut()[route] -= 1;
    if shared.count_open() == 0 {
        shared.idle.notify_one();
    }
}

fn counted(watch: Option<Watch>, answer: &Answer) -> Option<Tokens> {
    watch.map_or_else(|| tokens::counted(&answer.body), |watch| Some(watch.end()))
}

/// On a kept connection of the user, or a new one. A kept one that was closed meanwhile is no fault of anybody.
async fn ask(shared: &Shared, user: u32, route: usize, watch: &mut Option<Watch>) -> Result<Answer, Broken> {
    let Route { request, sent, .. } = &shared.routes[route];
    let end = request.stream.as_deref().unwrap_or_default();
    loop {
        let kept = shared.kept.borrow_mut().get_mut(&user).and_then(Vec::pop);
        let is_kept = kept.is_some();
        let mut connection = match kept {
            Some(connection) => connection,
            None => shared.place.connect().await?,
        };
        let on_piece = |piece: &[u8]| {
            if let Some(watch) = watch {
                watch.piece(piece, end, shared.origin.elapsed());
            }
        };
        match connection.ask(sent.clone(), on_piece).await {
            Err(Broken { fate: Fate::Unsent, .. }) if is_kept => {}
            Err(Broken { fate: Fate::Unanswered, .. }) if is_kept && sent.method().is_safe() => {}
            Ok(answer) => {
                if answer.is_whole && connection.is_open() {
                    shared.kept.borrow_mut().entry(user).or_default().push(connection);
                }
                return Ok(answer);
            }
            Err(broken) => return Err(broken),
        }
        shared.resent.set(shared.resent.get() + 1);
    }
}

fn judged(shared: &Shared, route: usize, answer: Answer) -> Vec<(Check, Option<String>)> {
    let request = &shared.routes[route].request;
    let accepted = &mut shared.accepted.borrow_mut()[route];
    let is_known = request.body.is_some() && request.stream.is_none() && accepted.as_ref() == Some(&answer.body);
    if is_known && answer.is_whole && answer.status == request.status {
        return vec![(Check::Status, None), (Check::Whole, None), (Check::Body, None)];
    }
    let checks = expect::checks(request, &answer);
    if request.body.is_some() && checks.iter().all(|(_, fault)| fault.is_none()) {
        *accepted = Some(answer.body);
    }
    checks
}
