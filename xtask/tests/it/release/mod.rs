//! What happens around a release, on a real cluster, through the real program: it is killed, stopped, disturbed, refused,
//! and undone by hand.
//!
//! The cluster is the one that `cargo xtask cluster up` has brought up for this repository, or that of the folder
//! `XTASK_CLUSTER`. Where there is none these tests say so and end. Each has a namespace of its own.

mod alarms;
mod back;
pub mod door;
mod gone;
pub mod http;
mod killed;
mod locks;
mod owned;
mod refused;
mod rehearsal;
pub mod run;
mod signals;
pub mod site;
mod strategies;
mod told;
mod traffic;
mod traps;
