//! One core for the server and another for the client, where the machine lets us.

use crate::Bench;
use xtask::tools::command::Command;

/// Whose core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Core {
    /// The first.
    Server,
    /// The second.
    Client,
}

impl Core {
    fn number(self) -> &'static str {
        match self {
            Self::Server => "0",
            Self::Client => "1",
        }
    }
}

/// Why nothing can be pinned; `None` where it can.
pub fn refused(bench: &Bench) -> Option<String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if bench.machine.on_path("taskset").is_none() {
        // macOS has no call for it at all: its scheduler takes hints only.
        return Some("server and client share all cores: there is no `taskset` here (Linux: util-linux)".to_owned());
    }
    (cores < 2).then(|| "server and client share the one core of this machine".to_owned())
}

/// The command on a core of its own, or as it is.
pub fn to(bench: &Bench, core: Core, command: Command) -> Command {
    if refused(bench).is_some() {
        return command;
    }
    let args = ["--cpu-list", core.number()].map(str::to_owned).into_iter();
    let args = args.chain([command.program]).chain(command.args).collect();
    Command { program: "taskset".to_owned(), args, ..command }
}
