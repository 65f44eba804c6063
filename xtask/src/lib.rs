//! The ForgeTM pipeline: every check is a gate, and a gate proves its work.
//!
//! Layers, each using only those above it in this list: the words (`verdict`, `model`, `event`,
//! `config`, `context`), `tools`, `page`, `load`, `services`, `release`, `history`, `dashboard`, `report`, `engine`,
//! `tasks`, `cli`.
//! `config`, `context`), `tools`, `load`, `services`, `release`, `incidents`, `report`, `engine`, `tasks`, `cli`.
//! `config`, `context`), `tools`, `load`, `services`, `release`, `monitor`, `report`, `engine`, `tasks`, `cli`.

pub mod cli;
pub mod config;
pub mod context;
pub mod dashboard;
pub mod disk;
pub mod engine;
pub mod event;
pub mod exit;
pub mod expect;
pub mod history;
pub mod incidents;
pub mod load;
pub mod model;
pub mod monitor;
pub mod page;
pub mod policy;
pub mod release;
pub mod report;
pub mod services;
pub mod shape;
pub mod tasks;
pub mod text;
pub mod tools;
pub mod verdict;
