//! Whether a canary is worse than its baseline: `arms` asks both, `analysis` decides, purely. `docs/canary.md` is the method, with its sources.

pub mod analysis;
pub mod arms;
#[cfg(test)]
mod simulation;
