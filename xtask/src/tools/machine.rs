//! What this machine has, asked once an invocation and shared by all gates.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{Mutex, OnceCell};

use super::acquire::{self, Uv};
use super::cancel::Cancel;
use super::git::Snapshot;
use super::ledger::Ledger;
use super::proc::Runner;
use super::python::{self, Interpreter};
use super::stat_cache::StatCache;
use crate::context::Ctx;
use crate::verdict::{Tool, Unproven};

/// This machine, as far as it was looked at.
#[derive(Debug)]
pub struct Machine {
    /// The invocation.
    pub ctx: Arc<Ctx>,
    /// What is known of programs.
    pub facts: StatCache,
    /// The switch that stops everything.
    pub cancel: Cancel,
    /// Where this run writes down what a kill of it would leave.
    pub ledger: Ledger,
    interpreters: Mutex<BTreeMap<String, Interpreter>>,
    uv: OnceCell<Uv>,
    environments: Mutex<BTreeMap<String, Arc<Mutex<()>>>>,
}

impl Machine {
    /// Nothing is looked at yet.
    pub fn new(ctx: Arc<Ctx>, cancel: Cancel) -> Self {
        let facts = StatCache::open(&ctx.store.join("cache/facts.json"));
        Self {
            ledger: Ledger::new(&ctx.store),
            ctx,
            facts,
            cancel,
            interpreters: Default::default(),
            uv: OnceCell::new(),
            environments: Default::default(),
        }
    }

    /// Runs what belongs to no gate.
    pub fn quiet(&self) -> Runner {
        let ctx = &self.ctx;
        Runner {
            env: ctx.child_env(),
            redactor: ctx.redactor.clone(),
            cancel: self.cancel.clone(),
            log: None,
            on_line: None,
            nice: 0,
            ledger: Ledger::default(),
        }
    }

    /// The working tree as it is now, without what the pipeline itself writes into it.
    pub async fn snapshot(&self) -> anyhow::Result<Snapshot> {
        let ctx = &self.ctx;
        let own = [&ctx.out, &ctx.store].into_iter().filter_map(|path| ctx.relative(path)).collect::<Vec<_>>();
        Snapshot::take(&ctx.root, &self.quiet(), &own).await
    }

    /// The interpreter of version `asked`.
    pub async fn interpreter(&self, asked: &str) -> Result<Interpreter, Unproven> {
        let mut known = self.interpreters.lock().await;
        if let Some(found) = known.get(asked) {
            return Ok(found.clone());
        }
        let found = python::find(self, asked).await?;
        known.insert(asked.to_owned(), found.clone());
        Ok(found)
    }

    /// uv: from PATH in the profile `local`, otherwise our pinned one, installed on first use.
    pub async fn uv(&self, runner: &Runner) -> Result<Uv, Unproven> {
        self.uv.get_or_try_init(|| acquire::uv(self, runner)).await.cloned()
    }

    /// uv, where this run took it from PATH.
    pub fn uv_from_path(&self) -> Option<Tool> {
        self.uv.get().map(|uv| uv.tool.clone()).filter(|tool| tool.hash.is_some())
    }

    /// Where our own uv is, if it is installed.
    pub fn own_uv(&self) -> Option<PathBuf> {
        acquire::installed_uv(&self.ctx)
    }

    /// The first program of that name on PATH.
    pub fn on_path(&self, name: &str) -> Option<PathBuf> {
        self.all_on_path(name).into_iter().next()
    }

    /// All programs of that name on PATH, in its order.
    pub fn all_on_path(&self, name: &str) -> Vec<PathBuf> {
        which::which_in_all(name, self.ctx.var("PATH"), &self.ctx.root).map(Iterator::collect).unwrap_or_default()
    }

    /// A path as people read it: relative to the repository where it lies within.
    pub fn shown(&self, path: &Path) -> String {
        self.ctx.relative(path).unwrap_or_else(|| path.display().to_string())
    }

    /// Where this machine keeps what lives no longer than a run; short, for a socket's path has few letters.
    pub fn temporary(&self) -> PathBuf {
        PathBuf::from(self.ctx.var("TMPDIR").unwrap_or("/tmp"))
    }

    /// Held while one environment is made, so that gates that share it make it once.
    pub async fn environment_guard(&self, name: &str) -> Arc<Mutex<()>> {
        self.environments.lock().await.entry(name.to_owned()).or_default().clone()
    }
}
