//! What runs leave behind for good: one line a run, and the figures that are made of many of them.
//!
//! Pure parts ([`entry`], [`release`], [`convert`], [`dora`], [`samples`], [`prometheus`]) stand beside what reads and writes
//! ([`artifacts`], [`store`], [`branch`]). Who runs is of no interest here, and neither is how figures are drawn.

pub mod artifacts;
pub mod branch;
pub mod convert;
pub mod dora;
pub mod entry;
pub mod prometheus;
pub mod release;
pub mod samples;
pub mod store;
#[cfg(test)]
pub mod testing;
