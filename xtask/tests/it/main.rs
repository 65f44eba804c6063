//! The pipeline from outside: the real program, on real projects, with the real tools.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed, and tests stand outside of the doors"
)]

mod broken_tools;
mod browser;
mod cache;
mod canary;
mod canary_arms;
mod cluster;
mod command_line;
mod container;
mod dashboard;
mod evidence;
mod flaky;
mod foreign_text;
mod generated;
mod github;
mod guarded;
mod handbook;
mod history;
mod hub;
mod incidents;
mod integration;
mod interrupt;
mod kubernetes;
mod leftovers;
mod logs;
mod merge;
mod monitor;
mod monitoring;
mod perf;
mod perf_k6;
mod planted;
mod programs;
mod release;
mod rollout;
mod scan_broken;
mod scan_elsewhere;
mod scan_planted;
mod second_project;
mod signing;
mod smoke;
mod stand_in;
mod support;
mod tidy;
mod tiny_model;
