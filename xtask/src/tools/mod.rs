//! Programs that are not ours: which, where from, how started. Knows nothing of gates.

pub mod acquire;
pub mod archive;
pub mod attested;
pub mod cancel;
pub mod catalog;
pub mod command;
pub mod containers;
pub mod cosign;
pub mod download;
pub mod environment;
pub mod git;
pub mod git_index;
pub mod golang;
pub mod http;
pub mod kube;
pub mod ledger;
pub mod machine;
pub mod proc;
pub mod program;
pub mod python;
pub mod redis;
pub mod reference;
pub mod registry;
pub mod requirements;
pub mod signatures;
pub mod stat_cache;
