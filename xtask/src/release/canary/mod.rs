//! Whether a canary is worse than its baseline: `analysis` decides, purely. `docs/canary.md` is the method, with its sources.

pub mod analysis;
#[cfg(test)]
mod simulation;
