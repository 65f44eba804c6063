//! What it means to be well: pure decisions on what an environment answered. Who asks is `tasks/monitor/`.
//!
//! A failure is one that every probe of a run saw (R31); what could not be asked is neither well nor unwell.

pub mod certificate;
pub mod drift;
pub mod endpoints;
pub mod images;
pub mod leads;
pub mod live;
pub mod pods;
pub mod probes;
pub mod scaling;
