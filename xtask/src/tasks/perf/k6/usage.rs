//! How much of this machine a program took, without a system call of our own: the shell counts its children.

use std::path::Path;
use std::time::Duration;

use crate::tools::command::Command;

/// `times` of a POSIX shell, told after the program has ended.
const COUNTED: &str = r#""$@"; code=$?; times >"$TIMES_FILE"; exit "$code""#;

/// The command, with the times that its processes took written into `file`.
pub fn counted(command: Command, file: &Path) -> Command {
    let args = ["-c", COUNTED, "sh", &command.program].map(str::to_owned).into_iter().chain(command.args).collect();
    let command = Command { program: "sh".to_owned(), args, ..command };
    command.env("TIMES_FILE", file).env("LC_ALL", "C")
}

/// The share of all cores over `wall`; `None` where it is not told.
pub fn share(file: &Path, wall: Duration) -> Option<f64> {
    let cores = std::thread::available_parallelism().ok()?.get() as f64;
    let took = children(&std::fs::read_to_string(file).ok()?)?;
    Some(took / (wall.as_secs_f64() * cores))
}

/// The second line is the children's: user and system time, `0m1.23s 0m0.45s`
/// (<https://pubs.opengroup.org/onlinepubs/9799919799/utilities/V3_chap02.html#times>).
fn children(text: &str) -> Option<f64> {
    let one = |text: &str| {
        let (minutes, seconds) = text.strip_suffix('s')?.split_once('m')?;
        Some(minutes.parse::<f64>().ok()? * 60.0 + seconds.parse::<f64>().ok()?)
    };
    text.lines().nth(1)?.split_whitespace().map(one).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_children_are_the_second_line() {
        assert_eq!(children("0m0.000000s 0m0.010000s\n1m1.500000s 0m0.250000s\n"), Some(61.75));
        assert_eq!(children("0m0.00s 0m0.00s\n"), None);
        assert_eq!(children("much\nmore\n"), None);
    }
}
