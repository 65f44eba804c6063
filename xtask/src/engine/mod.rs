//! Runs gates: order, concurrency, cache, cancellation. A list with `after` names, not a workflow engine.

pub mod gate;
pub mod key;
pub mod outcome;
pub mod run;
pub mod session;
pub mod store;
pub mod urgency;
