//! What `cargo xtask` starts: runs the pipeline, and builds it first when anything that it is made of has changed.
//!
//! Cargo's own check of a program with a hundred dependencies costs more than an unchanged `ci` run.
//! This program has none, so cargo is done with it at once, and it asks for the pipeline itself what
//! cargo would ask: are the files of the dep-info the same, and the manifests, the lock, the
//! configuration, the toolchain and the variables that steer a build? If not, or in doubt, it runs
//! `cargo build`, which knows better.

#![allow(clippy::disallowed_methods, reason = "the doors of the pipeline are not those of its launcher")]

mod stamp;

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::SystemTime;

use stamp::Stamp;

/// Exit code of a defect of ours, as the pipeline itself has it.
const DEFECT: u8 = 70;

fn main() -> ExitCode {
    let error = match run() {
        Ok(never) => never,
        Err(error) => error,
    };
    eprintln!("error: {error}");
    ExitCode::from(DEFECT)
}

/// Only returns when something is wrong.
fn run() -> Result<String, String> {
    let places = Places::find()?;
    let stamp = Stamp::of(&places);
    if !places.program.is_file() || stamp.is_none() || stamp != Stamp::read(&places) {
        build(&places)?;
    }
    let args: Vec<OsString> = env::args_os().skip(1).collect();
    let error = Command::new(&places.program).args(args).exec();
    Ok(format!("cannot start `{}`: {error}", places.program.display()))
}

/// Where things are, as cargo told this program when it started it.
struct Places {
    /// The workspace.
    root: PathBuf,
    /// The pipeline's program, beside this one.
    program: PathBuf,
    /// The cargo of the toolchain that is in use.
    cargo: PathBuf,
}

impl Places {
    fn find() -> Result<Self, String> {
        let me = env::current_exe().map_err(|e| format!("cannot tell where I am: {e}"))?;
        let manifest = env::var_os("CARGO_MANIFEST_DIR").ok_or("start me by `cargo xtask`")?;
        let root = PathBuf::from(manifest).ancestors().nth(2).ok_or("the workspace is not there")?.to_owned();
        let cargo = env::var_os("CARGO").ok_or("start me by `cargo xtask`")?;
        Ok(Self { root, program: me.with_file_name("xtask"), cargo: cargo.into() })
    }
}

fn build(places: &Places) -> Result<(), String> {
    let mut command = Command::new(&places.cargo);
    command.args(["build", "--package", "xtask", "--bin", "xtask"]).current_dir(&places.root);
    if places.program.is_file() {
        // A rebuild takes seconds; only its errors are of interest.
        command.arg("--quiet");
    }
    let begun = SystemTime::now();
    let status = command.status().map_err(|e| format!("cannot start `{}`: {e}", places.cargo.display()))?;
    if !status.success() {
        return Err("the pipeline does not compile".to_owned());
    }
    // A file that changed while cargo read it may or may not be in the program: cargo is asked again next time.
    if stamp::changed_since(places, begun) {
        return Ok(());
    }
    Stamp::of(places).ok_or("cargo left no dep-info")?.write(places)
}
