//! What a user asks next, and what its answer is worth. The exchange itself is `xtask_load::exchange`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use xtask_load::exchange::{self, Ended, Outcome, Question};

use super::mix::Mix;
use super::recorder::{Ending, Recorder, Sample};
use super::target::Route;
use super::tokens::{self, Tokens, Watch};
use crate::expect::{self, Answer, Check};

/// What the iterations of a run are made of, and what comes of them.
pub struct Book {
    /// What has ended.
    pub recorder: RefCell<Recorder>,
    /// Every sample by itself, where they are to be kept.
    pub kept: Option<RefCell<Vec<Sample>>>,
    routes: Vec<Route>,
    /// Which request is next.
    mix: RefCell<Mix>,
    /// The streams that are being read, by the number of their iteration.
    watched: RefCell<HashMap<u64, Watch>>,
    /// The last body of each route that was as expected: the same bytes need no second look.
    accepted: RefCell<Vec<Option<Vec<u8>>>>,
}

impl Book {
    /// Nothing has begun.
    pub fn new(routes: Vec<Route>, mix: Mix, warm_up: Duration) -> Self {
        Self {
            recorder: RefCell::new(Recorder::new(routes.iter().map(|route| route.request.llm), warm_up)),
            kept: None,
            mix: RefCell::new(mix),
            watched: RefCell::default(),
            accepted: RefCell::new(vec![None; routes.len()]),
            routes,
        }
    }

    /// What is sent, in the order of the routes.
    pub fn questions(&self) -> Vec<Question> {
        let question = |route: &Route| Question {
            sent: route.sent.clone(),
            timeout: route.request.timeout,
            is_watched: route.request.llm && route.request.stream.is_some(),
        };
        self.routes.iter().map(question).collect()
    }

    fn tokens(&self, ticket: u64, route: &Route, answer: &Answer) -> Option<Tokens> {
        match self.watched.borrow_mut().remove(&ticket) {
            Some(watch) => Some(watch.end()),
            None if route.request.llm && route.request.stream.is_some() => Some(Tokens::default()),
            None if route.request.llm => tokens::counted(&answer.body),
            None => None,
        }
    }

    fn judged(&self, number: usize, route: &Route, answer: Answer) -> Vec<(Check, Option<String>)> {
        let request = &route.request;
        let accepted = &mut self.accepted.borrow_mut()[number];
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
}

impl exchange::Book for Book {
    fn route(&self) -> usize {
        self.mix.borrow_mut().route()
    }

    fn piece(&self, ticket: u64, route: usize, bytes: &[u8], now: Duration) {
        let end = self.routes.get(route).and_then(|route| route.request.stream.as_deref()).unwrap_or_default();
        self.watched.borrow_mut().entry(ticket).or_default().piece(bytes, end, now);
    }

    fn ended(&self, ended: Ended) {
        let Ended { ticket, route: number, intended, began, ended, outcome } = ended;
        let Some(route) = self.routes.get(number) else { return };
        let (ending, checks, tokens) = match outcome {
            Outcome::Answer(answer) => {
                let ending = if answer.is_whole { Ending::Answered } else { Ending::Broken };
                let tokens = self.tokens(ticket, route, &answer);
                (ending, self.judged(number, route, answer), tokens)
            }
            Outcome::Broken(broken) => (Ending::Broken, vec![(Check::Status, Some(broken.why))], None),
            Outcome::Late => {
                let why = format!("no answer within {} ms", route.request.timeout.as_millis());
                (Ending::Late, vec![(Check::Status, Some(why))], None)
            }
        };
        // What was read of a stream that was given up is no measure.
        self.watched.borrow_mut().remove(&ticket);
        let sample = Sample { route: number, intended, began, ended, ending, checks, tokens };
        self.recorder.borrow_mut().record(&sample);
        if let Some(kept) = &self.kept {
            kept.borrow_mut().push(sample);
        }
    }
}
