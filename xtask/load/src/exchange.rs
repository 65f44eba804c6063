//! One iteration: a user's connection, a request, its answer. Everything here runs on the generator's thread.
//!
//! Whose turn it is, and what an answer is worth, is asked of a [`Book`]. Tasks are spawned here and nowhere else, for
//! tokio's part in them is compiled where that is done.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::answer::Answer;
use crate::wire::{Broken, Connection, Fate, Place, Sent};

/// What is sent on a route.
#[derive(Clone, Debug)]
pub struct Question {
    /// As it goes over the wire.
    pub sent: Sent,
    /// When an answer is given up.
    pub timeout: Duration,
    /// Whether parts of the answer are told as they come.
    pub is_watched: bool,
}

/// How an iteration ended.
#[derive(Debug)]
pub enum Outcome {
    /// There is an answer, whole or not.
    Answer(Answer),
    /// There is none.
    Broken(Broken),
    /// There was none in time.
    Late,
}

/// An iteration that has ended. Times count from the beginning of the run.
#[derive(Debug)]
pub struct Ended {
    /// Its number, from 0.
    pub ticket: u64,
    /// What was asked.
    pub route: usize,
    /// When it was due.
    pub intended: Duration,
    /// When it was sent.
    pub began: Duration,
    /// When it ended.
    pub ended: Duration,
    /// How.
    pub outcome: Outcome,
}

/// Who knows what is to be asked, and hears what came of it.
pub trait Book {
    /// The route of the next iteration.
    fn route(&self) -> usize;
    /// A part of a watched answer has come.
    fn piece(&self, ticket: u64, route: usize, bytes: &[u8], now: Duration);
    /// An iteration has ended.
    fn ended(&self, ended: Ended);
}

/// What the iterations of a run share.
pub struct Exchange {
    /// The beginning of the run.
    pub origin: Instant,
    /// Told when nothing is open any more.
    pub idle: tokio::sync::Notify,
    questions: Vec<Question>,
    place: Place,
    book: Rc<dyn Book>,
    open: RefCell<Vec<u64>>,
    count_open: Cell<u64>,
    resent: Cell<u64>,
    tickets: Cell<u64>,
    /// Kept connections that nobody uses, by user.
    kept: RefCell<HashMap<u32, Vec<Connection>>>,
}

/// When a user of the closed model may begin its next iteration.
pub enum Turn {
    /// Now.
    Now,
    /// It is to ask again after a while.
    Wait(Duration),
    /// No more.
    Over,
}

impl Exchange {
    /// Nothing has begun.
    pub fn new(origin: Instant, questions: Vec<Question>, place: Place, book: Rc<dyn Book>) -> Self {
        Self {
            origin,
            idle: tokio::sync::Notify::new(),
            place,
            book,
            open: RefCell::new(vec![0; questions.len()]),
            count_open: Cell::new(0),
            resent: Cell::new(0),
            tickets: Cell::new(0),
            kept: RefCell::default(),
            questions,
        }
    }

    /// How many iterations are open.
    pub fn count_open(&self) -> u64 {
        self.count_open.get()
    }

    /// The same by route.
    pub fn open(&self) -> Vec<u64> {
        self.open.borrow().clone()
    }

    /// Requests that were sent again, because their kept connection had been closed meanwhile.
    pub fn resent(&self) -> u64 {
        self.resent.get()
    }

    /// Begins an iteration of a user, which was due at `intended`, in a task of its own.
    pub fn begin(self: &Rc<Self>, user: u32, intended: Duration) {
        let exchange = self.clone();
        tokio::task::spawn_local(async move { exchange.iterate(user, intended).await });
    }

    /// A user of the closed model: the next iteration begins when the last one has ended, and `turn` lets it.
    pub fn in_turn(self: &Rc<Self>, users: &mut JoinSet<()>, user: u32, turn: Box<dyn Fn(Duration) -> Turn>) {
        let exchange = self.clone();
        users.spawn_local(async move {
            loop {
                let now = exchange.origin.elapsed();
                match turn(now) {
                    Turn::Over => return,
                    Turn::Wait(time) => tokio::time::sleep(time).await,
                    Turn::Now => exchange.iterate(user, now).await,
                }
            }
        });
    }

    async fn iterate(&self, user: u32, intended: Duration) {
        let route = self.book.route();
        let ticket = self.tickets.replace(self.tickets.get() + 1);
        let Some(question) = self.questions.get(route) else { return };
        self.change_open(route, 1);
        let began = self.origin.elapsed();
        let asked = tokio::time::timeout(question.timeout, self.ask(user, ticket, route, question)).await;
        let ended = self.origin.elapsed();
        let outcome = match asked {
            Ok(Ok(answer)) => Outcome::Answer(answer),
            Ok(Err(broken)) => Outcome::Broken(broken),
            Err(_) => Outcome::Late,
        };
        self.book.ended(Ended { ticket, route, intended, began, ended, outcome });
        self.change_open(route, -1);
        if self.count_open.get() == 0 {
            self.idle.notify_one();
        }
    }

    fn change_open(&self, route: usize, by: i64) {
        if let Some(open) = self.open.borrow_mut().get_mut(route) {
            *open = open.saturating_add_signed(by);
        }
        self.count_open.set(self.count_open.get().saturating_add_signed(by));
    }

    /// On a kept connection of the user, or a new one. A kept one that was closed meanwhile is no fault of anybody.
    async fn ask(&self, user: u32, ticket: u64, route: usize, question: &Question) -> Result<Answer, Broken> {
        let Question { sent, is_watched, .. } = question;
        let mut on_piece = |piece: &[u8]| {
            if *is_watched {
                self.book.piece(ticket, route, piece, self.origin.elapsed());
            }
        };
        loop {
            let kept = self.kept.borrow_mut().get_mut(&user).and_then(Vec::pop);
            let is_kept = kept.is_some();
            let mut connection = match kept {
                Some(connection) => connection,
                None => self.place.connect().await?,
            };
            match connection.ask(sent, &mut on_piece).await {
                Err(Broken { fate: Fate::Unsent, .. }) if is_kept => {}
                Err(Broken { fate: Fate::Unanswered, .. }) if is_kept && sent.method().is_safe() => {}
                Ok(answer) => {
                    if answer.is_whole && connection.is_open() {
                        self.kept.borrow_mut().entry(user).or_default().push(connection);
                    }
                    return Ok(answer);
                }
                Err(broken) => return Err(broken),
            }
            self.resent.set(self.resent.get() + 1);
        }
    }
}
