//! The pipeline from outside: the real program, on real projects, with the real tools.

mod broken_tools;
mod cache;
mod command_line;
mod flaky;
mod foreign_text;
mod interrupt;
mod merge;
mod planted;
mod second_project;
mod support;
mod tidy;
