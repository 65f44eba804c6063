//! One run of the program that is listened to while it goes on, so that a test can step in at a line.

use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use xtask::model::{GateReport, Report};

/// Longer than any line lets wait for itself; it only keeps a broken test from hanging.
const PATIENCE: Duration = Duration::from_secs(300);

/// A run that goes on.
pub struct Running {
    child: Child,
    lines: Receiver<String>,
    text: String,
    out: PathBuf,
    begun: Instant,
}

/// How a run ended.
pub struct Ended {
    /// `None`: by a signal.
    pub code: Option<i32>,
    pub text: String,
    pub report: Option<Report>,
    pub took: Duration,
    /// The folder of its reports.
    pub out: PathBuf,
}

impl Drop for Running {
    fn drop(&mut self) {
        // A test that failed leaves no release behind.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

fn listen(from: impl Read + Send + 'static, to: Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if to.send(line).is_err() {
                return;
            }
        }
    });
}

impl Running {
    /// Starts a command of the program; its reports go into a folder of its own.
    pub fn start(mut command: Command, project: &Path) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let out = project.join(format!("target/out-{}", NUMBER.fetch_add(1, Ordering::SeqCst)));
        command.arg("--out").arg(&out).arg("-v").stdout(Stdio::piped()).stderr(Stdio::piped());
        let begun = Instant::now();
        let mut child = command.spawn().unwrap();
        let (to, lines) = channel();
        listen(child.stdout.take().unwrap(), to.clone());
        listen(child.stderr.take().unwrap(), to);
        Self { child, lines, text: String::new(), out, begun }
    }

    /// The next line, if one comes in time.
    pub fn next_within(&mut self, time: Duration) -> Option<String> {
        let line = self.lines.recv_timeout(time).ok()?;
        self.text += &line;
        self.text.push('\n');
        Some(line)
    }

    /// Waits for a line with these words; `false` where the run ends without it.
    pub fn reaches(&mut self, words: &str) -> bool {
        let begun = Instant::now();
        loop {
            match self.lines.recv_timeout(Duration::from_secs(1)) {
                Ok(line) => {
                    self.text += &line;
                    self.text.push('\n');
                    if line.contains(words) {
                        return true;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return false,
                Err(RecvTimeoutError::Timeout) => {}
            }
            assert!(begun.elapsed() < PATIENCE, "`{words}` did not come:\n{}", self.text);
        }
    }

    /// Waits for a line with these words, which has to come.
    #[track_caller]
    pub fn at(mut self, words: &str) -> Self {
        assert!(self.reaches(words), "it ended without `{words}`:\n{}", self.text);
        self
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Kills the processes that it has started with this word among their arguments; how many there were.
    pub fn kill_child(&self, word: &str) -> usize {
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let is_it = |pid: &i32| {
            let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
            // The name in brackets may have blanks in it.
            let parent = read("stat").rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok());
            parent == Some(self.child.id()) && read("cmdline").split('\0').any(|argument| argument == word)
        };
        let found: Vec<i32> = pids.filter(is_it).collect();
        found.iter().for_each(|pid| kill_process(Pid::from_raw(*pid).unwrap(), Signal::KILL).unwrap());
        found.len()
    }

    /// Ends it without a chance to do anything.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end.
    pub fn ended(mut self) -> Ended {
        while self.reaches("\0") {}
        let code = self.child.wait().unwrap().code();
        let report = std::fs::read(self.out.join("report.json")).ok();
        let report = report.map(|bytes| serde_json::from_slice(&bytes).unwrap());
        Ended { code, text: std::mem::take(&mut self.text), report, took: self.begun.elapsed(), out: self.out.clone() }
    }
}

impl Ended {
    #[track_caller]
    pub fn assert_code(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "{}", self.text);
        self
    }

    /// It said this.
    #[track_caller]
    pub fn assert_says(&self, words: &str) -> &Self {
        assert!(self.text.contains(words), "`{words}` is not in:\n{}", self.text);
        self
    }

    #[track_caller]
    pub fn gate(&self, id: &str) -> &GateReport {
        let report = self.report.as_ref().unwrap_or_else(|| panic!("no report:\n{}", self.text));
        let found = report.gates.iter().find(|gate| gate.id == id);
        found.unwrap_or_else(|| panic!("no gate {id}:\n{}", self.text))
    }
}
