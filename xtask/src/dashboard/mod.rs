//! The dashboard: how the pipeline is doing, as one page without a server, or as JSON.
//!
//! `figures` makes figures of runs, `rows` writes them as people read them, `data` is what the scripts of the page choose
//! from when a filter is set, `view` puts it all into HTML. Nothing here reads a file or the clock.

mod data;
pub mod figures;
mod rows;
mod view;

pub use view::{About, render};
