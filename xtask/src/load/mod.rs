//! The load generator and its statistics: a plan → what was measured.
//!
//! It has k6's words and an open model: [`schedule`] decides when iterations begin before anything is sent, `pacer` keeps
//! to it on a thread of its own, `engine` sends on another one, [`recorder`] counts from the intended start. Which load is
//! put on what, and what it may cost, is the configuration's; what becomes of the figures is `tasks/perf`'s.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};

use crate::config::{Load, Thresholds};
use blocks::Blocks;
use summary::{Second, Summary};
use target::{Route, Target};

pub mod blast;
pub mod blocks;
pub mod compare;
mod cpu;
mod engine;
pub mod fitness;
pub mod histogram;
pub mod judge;
pub mod llm;
pub mod mix;
mod pacer;
pub mod page;
pub mod pair;
pub mod recorder;
pub mod schedule;
pub mod sum;
pub mod summary;
pub mod target;
pub mod tokens;
mod users;
pub use xtask_load::wire;

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The name of the load profile.
    pub name: String,
    /// The load profile.
    pub load: Load,
    /// Where it goes.
    pub target: Target,
    /// What is sent, in the order of the names.
    pub routes: Vec<Route>,
    /// How often, by name.
    pub mix: std::collections::BTreeMap<String, u32>,
    /// What has to hold.
    pub thresholds: Thresholds,
    /// For the order of requests; the same in every run that is to be compared.
    pub seed: u64,
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct Measured {
    /// As plain data, thresholds judged.
    pub summary: Summary,
    /// Latencies over time, for comparisons.
    pub blocks: Blocks,
}

/// Ends a run early; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Ends it.
    pub fn now(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was ended.
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Runs a plan on threads of its own, so that whoever draws the terminal is not measured. `on_second` hears each second.
/// The error is that the generator itself could not start; a target that does not answer is in the figures.
pub async fn run(plan: Plan, on_second: impl Fn(&Second) + Send + 'static, stop: &Stop) -> Result<Measured> {
    on_thread(stop, move |stop| engine::run(&plan, &on_second, stop)).await
}

async fn on_thread<T: Send + 'static>(
    stop: &Stop,
    work: impl FnOnce(&Stop) -> Result<T> + Send + 'static,
) -> Result<T> {
    // Whoever drops this future wants no more load.
    let stop = stop.clone();
    let mut guard = StopOnDrop(Some(stop.clone()));
    let (tell, told) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name("load".to_owned());
    let work = move || {
        // Nobody listens any more once the run was dropped.
        let _gone = tell.send(work(&stop));
    };
    thread.spawn(work).context("cannot start the thread of the load generator")?;
    let result = told.await.context("the load generator ended without a result")?;
    // It has ended by itself: the same `Stop` may go on to the next run.
    guard.0 = None;
    result
}

struct StopOnDrop(Option<Stop>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        if let Some(stop) = &self.0 {
            stop.now();
        }
    }
}
