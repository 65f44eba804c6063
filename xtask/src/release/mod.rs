//! What a release is: its journal, its lock, what its objects are, how far its rollout is, and where a way back leads.
//!
//! Pure parts stand beside their Kubernetes adapters. What is done in which order is the task's (`tasks/release`).

pub mod autoscaler;
pub mod book;
pub mod canary;
pub mod diagnosis;
pub mod difference;
pub mod endpoints;
pub mod evidence;
pub mod faults;
pub mod follow;
pub mod hold;
pub mod journal;
pub mod lock;
pub mod manifests;
pub mod object;
pub mod overview;
pub mod quantity;
pub mod references;
pub mod rollout;
pub mod secrets;
pub mod track;
pub mod watch;
