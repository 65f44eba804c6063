//! The subcommands, one file each, in pipeline order.
//!
//! A task that only checks is a [`Task`]: its gates are planned without touching the world, run by
//! the engine, and are part of `ci`. To add one: a file, a line in [`ALL`], a variant in `cli.rs`.

pub mod backend;
pub mod bench;
pub mod cache;
pub mod checks;
pub mod ci;
pub mod cluster;
pub mod container;
pub mod dashboard;
pub mod docs;
pub mod doctor;
pub mod evidence;
pub mod generate;
pub mod history;
pub mod incidents;
pub mod integration;
pub mod late;
pub mod logs;
pub mod monitor;
pub mod perf;
pub mod policy;
pub mod pre_commit;
pub mod release;
pub mod sbom;
pub mod scan;
pub mod self_test;
pub mod signing;
pub mod smoke;
pub mod status;
pub mod subjects;
pub mod test_matrix;
pub mod tools;

use crate::config::Config;
use crate::context::Ctx;
use crate::engine::gate::Gate;

/// A task whose gates are part of `ci`.
#[derive(Clone, Copy, Debug)]
pub struct Task {
    /// The subcommand, and the first part of its gates' ids.
    pub name: &'static str,
    /// What the task checks when the configuration declares it.
    pub subjects: &'static [Subject],
    /// Configuration → gates, without any I/O.
    pub plan: fn(&Ctx) -> Vec<Gate>,
}

/// Something that lies in a repository and that a table of the configuration declares.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    /// The table.
    pub table: &'static str,
    /// Whether the configuration declares it.
    pub declared: fn(&Config) -> bool,
    /// What gives an undeclared subject away: a file's name, `*.ENDING`, `START.*`, or a folder with a slash at the
    /// end; empty where nothing does.
    pub markers: &'static [&'static str],
    /// What is looked for beside the markers once the subject is declared.
    pub within: &'static [&'static str],
    /// The files and folders that are declared, where a marked file that is not among them is a finding too.
    pub listed: fn(&Config) -> Option<Vec<String>>,
}

impl Subject {
    /// A subject that nothing gives away, and that is no list of files.
    pub const fn new(table: &'static str, declared: fn(&Config) -> bool) -> Self {
        Self { table, declared, markers: &[], within: &[], listed: UNLISTED }
    }
}

/// What is declared is no list of files.
pub const UNLISTED: fn(&Config) -> Option<Vec<String>> = |_| None;

/// Every task whose gates are part of `ci`, in pipeline order.
pub const ALL: &[Task] = &[
    subjects::TASK,
    policy::TASK,
    pre_commit::TASK,
    test_matrix::TASK,
    scan::TASK,
    sbom::TASK,
    docs::TASK,
    container::TASK,
    integration::TASK,
    smoke::TASK,
    perf::TASK,
];

/// The subjects that the configuration does not declare, and the service that no key is set for.
pub fn not_configured(ctx: &Ctx) -> Vec<String> {
    let subjects = ALL.iter().flat_map(|task| task.subjects);
    let undeclared =
        subjects.filter(|subject| !(subject.declared)(&ctx.config)).map(|subject| subject.table.to_owned());
    undeclared.chain(scan::not_configured(ctx)).collect()
}
