//! What runs leave behind for good: one line a run, and the figures that are made of many of them.
//!
//! Pure parts ([`entry`], [`release`], [`convert`]) stand beside what reads and writes ([`artifacts`]). Who runs is of no
//! interest here, and neither is how figures are drawn.

pub mod artifacts;
pub mod convert;
pub mod entry;
pub mod release;
