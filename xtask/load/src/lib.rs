//! What each request of a load goes through: one connection, its answer, and the histograms of their times; and the
//! arithmetic of comparisons, which goes over every latency thousands of times.
//!
//! A crate of its own because of how it is compiled: hyper and HDR histograms are generic, so that their code is made
//! where it is used. In `xtask`, which nobody waits for to be optimised, a request cost eight times as much as here.
//! Nothing in this crate's interface is generic, for the same reason. What is sent, when, and what becomes of it is
//! `xtask`'s.

pub mod answer;
pub mod exact;
pub mod exchange;
pub mod histogram;
pub mod random;
pub mod ranks;
pub mod resample;
pub mod wire;
