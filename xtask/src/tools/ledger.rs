//! What a run has made outside of its own process, so that the next run can remove what a killed one left.
//!
//! A run that makes something keeps one file below `target/xtask/left`, locked as long as it lives: a file that can be
//! locked belongs to a run that is gone, and no process id is needed to know that. What is made is written down before
//! (a process right after, when its id is known), and taken out of the file when it is gone.

use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use super::command::Command;
use super::containers::unique;

pub use sweep::{is_absent, sweep};

mod sweep;

/// Something that outlives its run when that is killed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Left {
    /// A process group, by its leader.
    Process {
        /// The id of the leader and of the group.
        group: i32,
        /// When the leader began, see [`began`]: another process with its id began at another time.
        began: String,
        /// What was started.
        what: String,
    },
    /// Something that a command removes: a container, a network.
    Undo {
        /// The program.
        program: String,
        /// Its arguments.
        args: Vec<String>,
        /// Where it runs.
        cwd: PathBuf,
    },
    /// A temporary folder.
    Folder(PathBuf),
}

/// One line of the file.
#[derive(Serialize, Deserialize)]
struct Line {
    id: u64,
    /// Absent once it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    left: Option<Left>,
}

/// The file of one run; made when something is written into it. The default one writes nothing down.
#[derive(Clone, Default)]
pub struct Ledger(Option<Arc<Book>>);

struct Book {
    folder: PathBuf,
    open: Mutex<Option<Open>>,
}

struct Open {
    file: File,
    path: PathBuf,
    next: u64,
    left: usize,
}

/// Something that is written down; dropped, it is taken out again.
pub struct Note {
    book: Option<(Arc<Book>, u64)>,
}

/// A folder for the time being.
pub struct Scratch {
    folder: tempfile::TempDir,
    _note: Note,
}

impl Scratch {
    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// What was in it has another place now.
    pub fn keep(self) {
        let _elsewhere = self.folder.keep();
    }
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Scratch").field(&self.path()).finish()
    }
}

impl Ledger {
    /// The ledger of this run, below `store`.
    pub fn new(store: &Path) -> Self {
        Self(Some(Arc::new(Book { folder: folder(store), open: Mutex::default() })))
    }

    /// Writes it down. A disk that is full stops whatever made it, and not the note of it.
    pub fn write(&self, left: &Left) -> Note {
        let Some(book) = &self.0 else { return Note { book: None } };
        let mut open = book.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.is_none() {
            *open = Open::create(&book.folder).ok();
        }
        let Some(open) = open.as_mut() else { return Note { book: None } };
        open.next += 1;
        open.left += 1;
        open.append(&Line { id: open.next, left: Some(left.clone()) });
        Note { book: Some((book.clone(), open.next)) }
    }

    /// A folder below `within` that goes with its value, or with the next run where this one is killed.
    pub fn scratch(&self, purpose: &str, within: &Path) -> Result<Scratch> {
        let folder = tempfile::Builder::new()
            .prefix(&format!("{}{purpose}-", sweep::OURS))
            .tempdir_in(within)
            .with_context(|| format!("cannot make a folder in `{}`", within.display()))?;
        let note = self.write(&Left::Folder(folder.path().to_owned()));
        Ok(Scratch { folder, _note: note })
    }

    /// Writes down a group whose leader was started just now.
    pub fn process(&self, leader: Option<Pid>, command: &Command) -> Note {
        match leader {
            Some(leader) if self.0.is_some() => {
                let group = leader.as_raw_nonzero().get();
                let what = Path::new(&command.program).file_name().unwrap_or_default().to_string_lossy().into_owned();
                self.write(&Left::Process { group, began: began(group), what })
            }
            _ => Note { book: None },
        }
    }
}

impl Open {
    fn create(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let name = unique("run");
        // Locked before it has its name: nobody finds it free while its run lives.
        let (hidden, path) = (folder.join(format!(".{name}")), folder.join(format!("{name}.jsonl")));
        let file = File::create(&hidden)?;
        file.try_lock().context("a new file is locked")?;
        std::fs::rename(&hidden, &path)?;
        Ok(Self { file, path, next: 0, left: 0 })
    }

    fn append(&mut self, line: &Line) {
        let Ok(text) = serde_json::to_string(line) else { return };
        let _full = self.file.write_all(format!("{text}\n").as_bytes());
    }
}

impl Note {
    /// It is still there, and could not be removed: the next run tries again.
    pub fn keep(mut self) {
        self.book = None;
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        let Some((book, id)) = self.book.take() else { return };
        if let Some(open) = book.open.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            open.append(&Line { id, left: None });
            open.left -= 1;
        }
    }
}

impl Drop for Book {
    fn drop(&mut self) {
        let open = self.open.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = open.take_if(|open| open.left == 0) {
            // One that stays is empty, and the next run removes it.
            let _stays = std::fs::remove_file(open.path);
        }
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ledger")
    }
}

impl fmt::Debug for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Note({:?})", self.book.as_ref().map(|(_, id)| id))
    }
}

fn folder(store: &Path) -> PathBuf {
    store.join("left")
}

/// When a process began: on Linux in ticks since this boot, elsewhere the time of now, since it was started just now.
fn began(pid: i32) -> String {
    ticks(pid).unwrap_or_else(|| format!("at {}", now()))
}

/// Linux: the boot and field 22 of `/proc/PID/stat` (proc(5)), which no other process of that boot with that id has.
pub fn ticks(pid: i32) -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name may hold anything, and ends with the last parenthesis; the state after it is field 3.
    let ticks = stat.rsplit_once(')')?.1.split_whitespace().nth(22 - 3)?;
    Some(format!("{} {ticks}", boot.trim()))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
