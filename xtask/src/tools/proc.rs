//! Starts processes; no other file does.
//!
//! [`Runner::run`] starts a [`Command`] in a process group of its own, with an allow-listed environment, a
//! timeout and cancellation, and keeps what it prints, cleaned and redacted, in a log. The whole group is
//! stopped, whatever ends the run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process, setpriority_pgrp};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Child;

use super::cancel::{Cancel, Urgency};
use super::command::Command;
use super::ledger::{Ledger, Left, Note, is_absent};
use crate::text::Redactor;
use ended::exit_of;
use output::{Collector, Log};
use server::Group;

mod ended;
mod output;
mod server;

pub use ended::{Ended, Exit};
pub use server::{Detached, Server};

/// Between SIGTERM and SIGKILL. Short enough that Ctrl-C is over within two seconds.
const GRACE: Duration = Duration::from_millis(1200);

/// How long what is undone at the end of a gate may take.
const UNDONE_WITHIN: Duration = Duration::from_secs(20);

/// The longest line that is read as one, in bytes: a whole report may be one.
const LONGEST_LINE: u64 = 64 << 20;

/// What is kept in memory of each stream; the log file gets all of it.
const KEPT_BYTES: usize = 64 << 20;

/// Called with each line that a command prints.
pub type OnLine = Arc<dyn Fn(&str) + Send + Sync>;

/// Runs commands for one gate.
#[derive(Clone)]
pub struct Runner {
    /// The allow-listed environment.
    pub env: BTreeMap<String, String>,
    /// Knows what must not be shown.
    pub redactor: Redactor,
    /// The switch that stops everything.
    pub cancel: Cancel,
    /// Where everything printed is appended.
    pub log: Option<PathBuf>,
    /// Who is told of each line.
    pub on_line: Option<OnLine>,
    /// The nice value of what it runs, 0 for as it comes.
    pub nice: i32,
    /// Where it writes down what it starts, for the run after one that is killed.
    pub ledger: Ledger,
}

impl Runner {
    /// Runs `command` to its end. `Err` only when the pipeline itself is broken (log not writable).
    pub async fn run(&self, command: &Command) -> Result<Ended> {
        if self.cancel.is_cancelled() {
            return Ok(Ended { exit: Exit::Cancelled, stdout: String::new(), stderr: String::new() });
        }
        let log = self.open_log(command)?;
        let (mut child, group) = match self.spawn(command) {
            Ok(started) => started,
            Err(why) => {
                let exit = Exit::NotStarted(format!("`{}`: {why}", command.program));
                return Ok(Ended { exit, stdout: String::new(), stderr: String::new() });
            }
        };
        let stdout = self.collect(child.stdout.take(), &log, KEPT_BYTES);
        let stderr = self.collect(child.stderr.take(), &log, KEPT_BYTES);
        feed(&mut child, command);
        let exit = self.wait(&mut child, &group, command.timeout).await?;
        group.kill(Signal::KILL);
        Ok(Ended { exit, stdout: stdout.finish().await, stderr: stderr.finish().await })
    }

    /// Runs `command` and gives its standard output as it is, for formats that are not text.
    pub async fn read_bytes(&self, command: &Command) -> Result<Vec<u8>> {
        let mut process = self.prepared(command);
        let stdin = if command.stdin.is_empty() { Stdio::null() } else { Stdio::piped() };
        process.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
        let mut child = process.spawn().with_context(|| format!("cannot start `{command}`"))?;
        feed(&mut child, command);
        let output = child.wait_with_output().await.with_context(|| format!("cannot wait for `{command}`"))?;
        if !output.status.success() {
            let words = self.redactor.clean(&String::from_utf8_lossy(&output.stderr));
            anyhow::bail!("`{command}` failed: {}: {}", exit_of(output.status), words.trim());
        }
        Ok(output.stdout)
    }

    /// Starts a server; it is stopped, with all it started, when the value is dropped.
    pub fn serve(&self, command: &Command) -> Result<Server> {
        let log = self.open_log(command)?;
        let (mut child, group) = self.spawn(command).with_context(|| format!("cannot start `{command}`"))?;
        self.collect(child.stdout.take(), &log, 0);
        self.collect(child.stderr.take(), &log, 0);
        feed(&mut child, command);
        Ok(Server { child, group })
    }

    /// Starts what goes on after us: a cluster that several runs use. Nothing is written into the ledger and nothing
    /// ends it with us, so it has to have a state of its own by which it is found and taken down. What it prints goes
    /// into the file `log`. It gets a session of its own where `command` begins with `setsid`: no Ctrl-C of a
    /// terminal reaches it.
    #[allow(
        clippy::disallowed_types,
        clippy::disallowed_methods,
        reason = "the one door through which processes are started"
    )]
    pub fn detach(&self, command: &Command, log: &Path) -> Result<Detached> {
        let cannot = || format!("cannot write the log `{}`", log.display());
        let output = std::fs::File::create(log).with_context(cannot)?;
        let errors = output.try_clone().with_context(cannot)?;
        let mut process = std::process::Command::new(&command.program);
        process.args(&command.args).env_clear().envs(&self.env).envs(&command.env).current_dir(&command.cwd);
        process.stdin(Stdio::null()).stdout(output).stderr(errors);
        let child = process.spawn().with_context(|| format!("cannot start `{command}`"))?;
        Ok(Detached { child })
    }

    /// Runs `command` on the terminal of the caller, for what a person watches and stops by hand.
    pub async fn foreground(&self, command: &Command) -> Result<ExitStatus> {
        let mut process = self.prepared(command);
        process.stdin(Stdio::inherit()).stdout(Stdio::inherit()).stderr(Stdio::inherit());
        let mut child = process.kill_on_drop(true).spawn().with_context(|| format!("cannot start `{command}`"))?;
        let mut cancel = self.cancel.clone();
        tokio::select! {
            status = child.wait() => return status.context("cannot wait for a process"),
            () = cancel.reached(Urgency::Gently) => {}
        }
        // Ctrl-C reached it as well; a signal that came to us alone is passed on.
        if let Some(pid) = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)) {
            let _gone = kill_process(pid, Signal::TERM);
        }
        tokio::select! {
            status = child.wait() => status.context("cannot wait for a process"),
            () = cancel.reached(Urgency::Now) => {
                child.kill().await.context("cannot stop a process")?;
                child.wait().await.context("cannot wait for a process")
            }
        }
    }

    #[allow(
        clippy::disallowed_types,
        clippy::disallowed_methods,
        reason = "the one door through which processes are started"
    )]
    fn prepared(&self, command: &Command) -> tokio::process::Command {
        let mut process = tokio::process::Command::new(&command.program);
        process.args(&command.args).env_clear().envs(&self.env).envs(&command.env).current_dir(&command.cwd);
        if let Some(first) = &command.path_first {
            let path = self.env.get("PATH").map(|path| format!(":{path}")).unwrap_or_default();
            process.env("PATH", format!("{}{path}", first.display()));
        }
        process
    }

    fn spawn(&self, command: &Command) -> std::io::Result<(Child, Group)> {
        let mut process = self.prepared(command);
        let stdin = if command.stdin.is_empty() { Stdio::null() } else { Stdio::piped() };
        process.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
        let child = process.spawn()?;
        let leader = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let group = Group { leader, _note: self.ledger.process(leader, command) };
        if self.nice != 0 && leader.is_some() {
            // A machine that does not let us only takes a little longer.
            let _refused = setpriority_pgrp(leader, self.nice);
        }
        Ok((child, group))
    }

    async fn wait(&self, child: &mut Child, group: &Group, limit: Duration) -> Result<Exit> {
        let mut cancel = self.cancel.clone();
        let stopped = tokio::select! {
            status = child.wait() => return status.map(exit_of).context("cannot wait for a process"),
            () = tokio::time::sleep(limit) => Exit::TimedOut(limit),
            () = cancel.reached(Urgency::Gently) => Exit::Cancelled,
        };
        group.kill(Signal::TERM);
        tokio::select! {
            _ = child.wait() => {}
            () = tokio::time::sleep(GRACE) => {}
            () = cancel.reached(Urgency::Now) => {}
        }
        group.kill(Signal::KILL);
        child.wait().await.context("cannot wait for a killed process")?;
        Ok(stopped)
    }

    fn open_log(&self, command: &Command) -> Result<Log> {
        let Some(path) = &self.log else { return Ok(Log::default()) };
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| format!("cannot write the log `{}`", path.display()))?;
        let log = Log(Arc::new(Mutex::new(Some(file))));
        log.write(&format!("$ {}", self.redactor.clean(&command.to_string())));
        Ok(log)
    }

    /// Reads a stream to its end, and keeps `limit` bytes of it.
    fn collect<R: AsyncRead + Unpin + Send + 'static>(&self, stream: Option<R>, log: &Log, limit: usize) -> Collector {
        let kept = Arc::new(Mutex::new(String::new()));
        let (into, log, redactor, on_line) = (kept.clone(), log.clone(), self.redactor.clone(), self.on_line.clone());
        let task = tokio::spawn(async move {
            let Some(stream) = stream else { return };
            let mut reader = BufReader::new(stream);
            let mut raw = Vec::new();
            while matches!((&mut reader).take(LONGEST_LINE).read_until(b'\n', &mut raw).await, Ok(1..)) {
                let line = redactor.clean(&String::from_utf8_lossy(&raw));
                let line = line.trim_end_matches('\n');
                log.write(line);
                let mut kept = into.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.len() + line.len() < limit {
                    kept.push_str(line);
                    kept.push('\n');
                }
                drop(kept);
                if let Some(tell) = &on_line {
                    tell(line);
                }
                raw.clear();
            }
        });
        Collector { kept, task }
    }
}

/// A command that runs when this value is dropped, whatever ended its owner: it removes what a process's end
/// does not (a container, a network).
#[derive(Debug)]
pub struct Undo {
    command: Option<Command>,
    env: BTreeMap<String, String>,
    note: Option<Note>,
}

impl Undo {
    /// Runs `command` with the runner's environment when it is dropped.
    pub fn new(runner: &Runner, command: Command) -> Self {
        let Command { program, args, cwd, .. } = command.clone();
        let note = Some(runner.ledger.write(&Left::Undo { program, args, cwd }));
        Self { command: Some(command), env: runner.env.clone(), note }
    }
}

impl Drop for Undo {
    #[allow(
        clippy::disallowed_types,
        clippy::disallowed_methods,
        reason = "the one door through which processes are started"
    )]
    fn drop(&mut self) {
        use std::os::unix::process::CommandExt as _;
        let Some(command) = self.command.take() else { return };
        let mut process = std::process::Command::new(&command.program);
        // The checkout may be gone by now, and what was made for it has to go all the same.
        let cwd = if command.cwd.is_dir() { command.cwd.as_path() } else { Path::new("/") };
        process.args(&command.args).env_clear().envs(&self.env).envs(&command.env).current_dir(cwd);
        process.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
        let is_gone = undone(&mut process).unwrap_or_default();
        // What cannot be removed now, the next run finds in the ledger.
        if let Some(note) = self.note.take().filter(|_| !is_gone) {
            note.keep();
        }
    }
}

/// Whether what was to be removed is gone. An engine that hangs is not waited for longer than [`UNDONE_WITHIN`].
#[allow(clippy::disallowed_types, reason = "the one door through which processes are started")]
fn undone(process: &mut std::process::Command) -> std::io::Result<bool> {
    use std::io::Read as _;
    let mut child = process.spawn()?;
    let begun = Instant::now();
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status,
            None if begun.elapsed() > UNDONE_WITHIN => {
                child.kill()?;
                child.wait()?;
                return Ok(false);
            }
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    let mut words = Vec::new();
    if let Some(stderr) = &mut child.stderr {
        stderr.take(1 << 16).read_to_end(&mut words)?;
    }
    Ok(status.success() || is_absent(&String::from_utf8_lossy(&words)))
}

/// Writes what the command reads. A program that does not read its input is no error of ours.
fn feed(child: &mut Child, command: &Command) {
    if let Some(mut stdin) = child.stdin.take() {
        let text = command.stdin.clone();
        tokio::spawn(async move { stdin.write_all(text.as_bytes()).await });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::tools::cancel;

    fn runner() -> (cancel::Canceller, Runner) {
        let (canceller, cancel) = cancel::pair();
        let env = BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]);
        (
            canceller,
            Runner {
                env,
                redactor: Redactor::new(["hunter22"]),
                cancel,
                log: None,
                on_line: None,
                nice: 0,
                ledger: Ledger::default(),
            },
        )
    }

    fn sh(script: &str) -> Command {
        Command::new("sh", Path::new("/")).args(["-c", script])
    }

    #[tokio::test]
    async fn output_is_kept_cleaned_and_redacted() {
        let (_canceller, runner) = runner();
        let script = r#"printf '\033[31mred\033[0m hunter22\n'; echo oops >&2; cat; exit 3"#;
        let ended = runner.run(&sh(script).stdin("from stdin\n")).await.unwrap();
        assert_eq!((ended.exit.clone(), ended.stdout.as_str()), (Exit::Code(3), "red ***\nfrom stdin\n"));
        assert_eq!(ended.failure(), "exit code 3: oops");
    }

    #[tokio::test]
    async fn a_report_on_one_line_stays_on_one() {
        let (_canceller, runner) = runner();
        let ended = runner.run(&sh("head -c 3000000 /dev/zero | tr '\\0' a")).await.unwrap();
        assert_eq!((ended.stdout.lines().count(), ended.stdout.trim_end().len()), (1, 3_000_000));
    }

    #[tokio::test]
    async fn the_environment_is_only_what_is_allowed() {
        let (_canceller, runner) = runner();
        let ended = runner.run(&sh("env").env("MORE", "1")).await.unwrap();
        let names: Vec<&str> = ended.stdout.lines().filter_map(|l| l.split('=').next()).collect();
        assert!(names.iter().all(|n| ["PATH", "MORE", "PWD", "SHLVL", "_", "OLDPWD"].contains(n)), "{names:?}");
    }

    #[tokio::test]
    async fn a_missing_program_is_told_apart() {
        let (_canceller, runner) = runner();
        let ended = runner.run(&Command::new("no-such-program", Path::new("/"))).await.unwrap();
        assert!(matches!(ended.exit, Exit::NotStarted(ref why) if why.contains("no-such-program")), "{:?}", ended.exit);
    }

    #[tokio::test]
    async fn a_timeout_stops_the_whole_group() {
        let (_canceller, runner) = runner();
        // The grandchild ignores SIGTERM and holds the pipe open.
        let script = "sh -c 'trap \"\" TERM; echo $$; sleep 1000 & wait; sleep 1000' & wait";
        let ended = runner.run(&sh(script).timeout(Duration::from_millis(300))).await.unwrap();
        assert_eq!(ended.exit, Exit::TimedOut(Duration::from_millis(300)));
        let grandchild = Pid::from_raw(ended.stdout.trim().parse().unwrap()).unwrap();
        assert!(gone(grandchild).await, "the grandchild is still there");
    }

    #[tokio::test]
    async fn a_cancelled_run_starts_nothing_more() {
        let (canceller, runner) = runner();
        canceller.cancel();
        let ended = runner.run(&sh("echo started")).await.unwrap();
        assert_eq!((ended.exit, ended.stdout.as_str()), (Exit::Cancelled, ""));
    }

    #[tokio::test]
    async fn a_server_ends_with_its_value() {
        let (_canceller, runner) = runner();
        let file = tempfile::NamedTempFile::new().unwrap();
        let script = format!("sleep 1000 & echo $! > {}; wait", file.path().display());
        let server = runner.serve(&sh(&script)).unwrap();
        let pid = loop {
            if let Ok(pid) = std::fs::read_to_string(file.path()).unwrap().trim().parse() {
                break Pid::from_raw(pid).unwrap();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        drop(server);
        assert!(gone(pid).await, "the server's child is still there");
    }

    #[tokio::test]
    async fn what_was_made_is_removed_though_its_folder_is_gone() {
        let (_canceller, runner) = runner();
        let folder = tempfile::tempdir().unwrap();
        let made = tempfile::NamedTempFile::new().unwrap();
        let undo = Undo::new(&runner, Command::new("rm", folder.path()).arg(made.path()));
        folder.close().unwrap();
        drop(undo);
        assert!(!made.path().exists());
    }

    /// A killed process may stay a zombie until somebody reaps it; then it is gone for our purpose.
    async fn gone(pid: Pid) -> bool {
        for _ in 0..400 {
            let zombie = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()))
                .is_ok_and(|stat| stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'));
            if zombie || rustix::process::test_kill_process(pid).is_err() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        false
    }
}
