//! What a gate is before it runs: data, and one action.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::session::Session;
use crate::model::GateReport;
use crate::tools::catalog::Program;
use crate::tools::command::Command;
use crate::tools::environment::Spec;
use crate::verdict::{NotRun, Outcome, Severity, Unproven};

/// What an action returns.
pub type Proving = Pin<Box<dyn Future<Output = Result<Outcome, Unproven>> + Send>>;

/// The action of a gate.
pub type Action = Arc<dyn Fn(Session) -> Proving + Send + Sync>;

/// A check, planned.
#[derive(Clone)]
pub struct Gate {
    /// `task` or `task/part`.
    pub id: String,
    /// Gates whose artifacts this one reads. It runs after them, and does not run without them.
    pub after: Vec<String>,
    /// Gates that it waits for where they are planned, and does without where they did not run.
    pub waits_for: Vec<String>,
    /// Alone on the machine, for what measures time.
    pub quiet: bool,
    /// Never taken from the store: what it makes does not lie in files alone.
    pub fresh: bool,
    /// Nobody asked for it: it is there because one of the gates that were asked for waits for it.
    pub brought: bool,
    /// What its work is counted in.
    pub unit: &'static str,
    /// The tool's name, and the lock that pins its version.
    pub tool: (&'static str, String),
    /// Everything that can change the answer.
    pub inputs: Inputs,
    /// The environments that it needs.
    pub environments: Vec<Spec>,
    /// The programs of the catalogue that it uses, the one that finds things first.
    pub programs: Vec<&'static Program>,
    /// The commands that it runs in them, in order.
    pub steps: Vec<Command>,
    /// The lowest severity that breaks the policy.
    pub breaks_at: Severity,
    /// The command that repeats it alone.
    pub again: String,
    /// What another machine reported, where this gate only repeats it (`ci --merge`).
    pub elsewhere: Option<GateReport>,
    /// Does it.
    pub action: Action,
}

impl Gate {
    /// The gates that have ended before it starts, whatever became of those that it only waits for.
    pub fn earlier(&self) -> impl Iterator<Item = &String> {
        self.after.iter().chain(&self.waits_for)
    }

    /// The first gate before it whose work lies on the machine and not in files alone: it runs where that one ran.
    pub fn bound_to<'a>(&self, gates: &'a [Self]) -> Option<&'a Self> {
        self.earlier().find_map(|id| gates.iter().find(|gate| gate.id == *id && gate.fresh))
    }
}

/// What the cache key of a gate covers, beside the gate itself and the reports of gates it comes after.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// Files and folders whose tracked and untracked files count; `.` is the whole repository.
    pub files: Vec<String>,
    /// Further files that count where they are there.
    pub optional: Vec<String>,
    /// Whether ignored files below `files` count too.
    pub ignored: bool,
    /// The part of the configuration that the gate reads, as text.
    pub settings: String,
    /// Programs that may come from PATH in the profile `local`.
    pub path_tools: Vec<&'static str>,
    /// Whether the commit that is checked out counts, with all that it comes from.
    pub history: bool,
    /// Branches whose place counts.
    pub branches: Vec<String>,
    /// Whether the answer came from a data base elsewhere: a stored one is taken only while it is young.
    pub remote: bool,
    /// A date on which the answer may change by itself (an expiry), so that the day is part of the key.
    pub dated: bool,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("id", &self.id)
            .field("after", &self.after)
            .field("waits_for", &self.waits_for)
            .field("quiet", &self.quiet)
            .field("fresh", &self.fresh)
            .field("unit", &self.unit)
            .field("tool", &self.tool)
            .field("inputs", &self.inputs)
            .field("environments", &self.environments)
            .field("programs", &self.programs.iter().map(|program| program.name).collect::<Vec<_>>())
            .field("steps", &self.steps.iter().map(ToString::to_string).collect::<Vec<_>>())
            .field("breaks_at", &self.breaks_at)
            .finish_non_exhaustive()
    }
}

/// Nothing is planned: the base that a plan fills in.
impl Default for Gate {
    fn default() -> Self {
        Self {
            id: String::new(),
            after: Vec::new(),
            waits_for: Vec::new(),
            quiet: false,
            fresh: false,
            brought: false,
            unit: "things",
            tool: ("", String::new()),
            inputs: Inputs::default(),
            environments: Vec::new(),
            programs: Vec::new(),
            steps: Vec::new(),
            breaks_at: Severity::Low,
            again: String::new(),
            elsewhere: None,
            action: action(|_| async { Err(NotRun::new("nothing is planned", "report it").into()) }),
        }
    }
}

/// Boxes an action.
pub fn action<F, P>(act: F) -> Action
where
    F: Fn(Session) -> P + Send + Sync + 'static,
    P: Future<Output = Result<Outcome, Unproven>> + Send + 'static,
{
    Arc::new(move |session| Box::pin(act(session)))
}

#[cfg(test)]
pub mod testing {
    //! Gates for unit tests.
    use super::*;

    /// A gate without inputs. It runs alone where its id begins with `quiet`.
    pub fn gate(id: &str, after: &[&str], action: Action) -> Gate {
        Gate {
            id: id.into(),
            after: after.iter().map(|&id| id.to_owned()).collect(),
            quiet: id.starts_with("quiet"),
            unit: "things",
            tool: ("t", String::new()),
            again: format!("again {id}"),
            action,
            ..Gate::default()
        }
    }

    /// A gate that is only planned.
    pub fn planned(id: &str, after: &[&str]) -> Gate {
        gate(id, after, action(|_| async { Err(crate::verdict::NotRun::new("no tool", "get it").into()) }))
    }
}
