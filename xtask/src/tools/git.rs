//! One question to git a run: what is tracked, what is changed, what is ignored, and which commit this is.
//!
//! The content of an unchanged tracked file is known by its object id and is not read. A changed or
//! untracked file is hashed as git would hash it, so that committing it changes nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context as _, Result};

use super::command::Command;
use super::git_index;
use super::proc::Runner;
use crate::exit::UsageError;

/// What is known of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// As in the index.
    Indexed { mode: u32, oid: String },
    /// To be read from the disk, once.
    OnDisk(OnceLock<Option<String>>),
}

impl State {
    fn on_disk() -> Self {
        Self::OnDisk(OnceLock::new())
    }
}

/// The working tree at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The full id of HEAD; empty before the first commit.
    pub commit: String,
    /// The branch; empty where HEAD is detached.
    pub branch: String,
    /// Whether anything differs from HEAD, untracked files included.
    pub dirty: bool,
    root: PathBuf,
    files: BTreeMap<String, State>,
    /// Ignored files, and ignored folders with a slash at the end.
    ignored: Vec<String>,
}

impl Snapshot {
    /// Asks git about `root`, which is the top of the working tree; what lies below `own` is left out.
    pub async fn take(root: &Path, runner: &Runner, own: &[String]) -> Result<Self> {
        let status = Command::new("git", root).args([
            "--no-optional-locks",
            "status",
            "--porcelain=v2",
            "--branch",
            "--no-renames",
            "--untracked-files=all",
            "--ignored=matching",
            "-z",
        ]);
        let answer = runner.read_bytes(&status).await.map_err(|e| {
            UsageError(format!(
                "cannot ask git about the working tree: {e:#}; is git installed, and is this a checkout?"
            ))
        })?;
        let index = match git_index::read(&git_folder(root)?.join("index")) {
            Ok(entries) => entries,
            Err(_) => listed(root, runner).await?,
        };
        // What lies there is made by the pipeline, and believed: results, programs, the pipeline itself.
        if let Some(made) = index.iter().find(|entry| entry.path.starts_with("target/")) {
            let text = format!(
                "`{}` is tracked by git; `git rm -r --cached target`, for it is made and never taken from a commit",
                made.path
            );
            return Err(UsageError(text).into());
        }
        let snapshot = Self::from_parts(root, &String::from_utf8_lossy(&answer), index, own);
        let unreadable = snapshot.paths().find(|path| path.contains(char::REPLACEMENT_CHARACTER)).map(str::to_owned);
        match unreadable {
            Some(path) => {
                Err(UsageError(format!("the name of `{path}` is not Unicode; no gate could look at it")).into())
            }
            None => Ok(snapshot),
        }
    }

    fn from_parts(root: &Path, status: &str, index: Vec<git_index::Entry>, own: &[String]) -> Self {
        let mut snapshot = Self { root: root.to_owned(), ..Self::default() };
        for entry in index {
            // A link counts by what it leads to as well, which git does not watch.
            let on_disk = entry.unwatched || entry.mode == 0o120_000;
            let state = if on_disk { State::on_disk() } else { State::Indexed { mode: entry.mode, oid: entry.oid } };
            snapshot.files.insert(entry.path, state);
        }
        for record in status.split('\0').filter(|r| !r.is_empty()) {
            snapshot.apply(record, own);
        }
        snapshot
    }

    /// One record of `git status --porcelain=v2 -z`, see git-status(1).
    fn apply(&mut self, record: &str, own: &[String]) {
        let (kind, rest) = record.split_at(record.len().min(2));
        match kind {
            "# " => {
                if let Some(commit) = rest.strip_prefix("branch.oid ").filter(|c| *c != "(initial)") {
                    self.commit = commit.to_owned();
                }
                if let Some(branch) = rest.strip_prefix("branch.head ").filter(|name| *name != "(detached)") {
                    self.branch = branch.to_owned();
                }
            }
            "! " => self.ignored.push(rest.to_owned()),
            "? " if is_below(rest.trim_end_matches('/'), own) => {}
            "? " => {
                self.dirty = true;
                self.files.insert(rest.to_owned(), State::on_disk());
            }
            _ => {
                self.dirty = true;
                // `1 XY sub mH mI mW hH hI path`, and `u XY sub m1 m2 m3 mW h1 h2 h3 path`.
                let fields = if kind == "u " { 10 } else { 8 };
                let in_tree = rest.as_bytes().get(1).copied();
                if let (Some(path), true) = (record.splitn(fields + 1, ' ').nth(fields), in_tree != Some(b'.')) {
                    self.files.insert(path.to_owned(), State::on_disk());
                }
            }
        }
    }

    /// Whether an input names anything: a tracked, untracked or ignored file, or a folder that has one.
    pub fn has(&self, input: &str) -> bool {
        let inputs = [input.to_owned()];
        let below = |path: &String| is_below(path.trim_end_matches('/'), &inputs);
        input == "."
            || self.files.keys().any(below)
            || self.ignored.iter().any(|path| below(path) || input.starts_with(path.as_str()))
    }

    /// Tracked and untracked files at or below `inputs` (`.` is everything), each with an identity of its content.
    pub fn files(&self, inputs: &[String]) -> Result<BTreeMap<String, String>> {
        let mut found = BTreeMap::new();
        for (path, state) in self.files.iter().filter(|(path, _)| is_below(path, inputs)) {
            let identity = match state {
                State::Indexed { mode, oid } => format!("{mode:o} {oid}"),
                State::OnDisk(known) => {
                    if known.get().is_none() {
                        // Somebody else's answer at the same moment is as good as ours.
                        let _known = known.set(identity_on_disk(&self.root.join(path))?);
                    }
                    let Some(Some(identity)) = known.get() else { continue };
                    identity.clone()
                }
            };
            found.insert(path.clone(), identity);
        }
        // A file that is named itself counts, whether or not git ignores it.
        for input in inputs {
            let path = self.root.join(input);
            if !found.contains_key(input) && path.is_file() {
                found.extend(identity_on_disk(&path)?.map(|identity| (input.clone(), identity)));
            }
        }
        Ok(found)
    }

    /// Ignored files at or below `inputs`, but for what tools make for themselves (`generated`: names, or `*.EXT`).
    pub fn ignored(&self, inputs: &[String], generated: &[String]) -> Result<BTreeMap<String, String>> {
        let mut found = BTreeMap::new();
        let mut waiting: Vec<String> = self.ignored.clone();
        while let Some(path) = waiting.pop() {
            let bare = path.trim_end_matches('/');
            let touches = is_below(bare, inputs) || path.ends_with('/') && inputs.iter().any(|i| i.starts_with(&path));
            if !touches || is_generated(bare, generated) {
                continue;
            }
            let absolute = self.root.join(bare);
            if path.ends_with('/') {
                for entry in std::fs::read_dir(&absolute).with_context(|| format!("cannot list `{bare}`"))? {
                    let entry = entry?;
                    let slash = if entry.file_type()?.is_dir() { "/" } else { "" };
                    waiting.push(format!("{bare}/{}{slash}", entry.file_name().to_string_lossy()));
                }
            } else if let Some(identity) = identity_on_disk(&absolute)? {
                found.insert(bare.to_owned(), identity);
            }
        }
        Ok(found)
    }

    /// Every tracked or untracked path.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }
}

/// Whether `path` is one of `inputs` or lies below one.
fn is_below(path: &str, inputs: &[String]) -> bool {
    inputs.iter().any(|input| {
        let input = input.trim_end_matches('/');
        input == "." || path.strip_prefix(input).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

fn is_generated(path: &str, generated: &[String]) -> bool {
    path.split('/').any(|part| {
        generated.iter().any(|name| match name.strip_prefix('*') {
            Some(ending) => part.ends_with(ending),
            None => part == name,
        })
    })
}

/// Mode and object id as git would write them; `None` when the file is gone.
fn identity_on_disk(path: &Path) -> Result<Option<String>> {
    use std::os::unix::fs::PermissionsExt as _;
    let meta = match path.symlink_metadata() {
        Ok(meta) => meta,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e).with_context(|| format!("cannot read `{}`", path.display())),
    };
    let unreadable = || format!("cannot read `{}`", path.display());
    if meta.is_symlink() {
        let target = std::fs::read_link(path).with_context(unreadable)?;
        let content = std::fs::read(path).map_or_else(|_| "no file".to_owned(), |bytes| blob_id(&bytes));
        return Ok(Some(format!("120000 {} {content}", blob_id(target.to_string_lossy().as_bytes()))));
    }
    if meta.is_dir() {
        // A repository within the repository: what is in it is not known, so it equals nothing, not even itself.
        return Ok(Some(format!("160000 {:?}", std::time::SystemTime::now())));
    }
    if !meta.is_file() {
        return Ok(Some("neither file nor link".to_owned()));
    }
    let mode = if meta.permissions().mode() & 0o111 != 0 { "100755" } else { "100644" };
    let bytes = std::fs::read(path).with_context(unreadable)?;
    Ok(Some(format!("{mode} {}", blob_id(&bytes))))
}

/// The object id of a blob: SHA-1 over `blob LENGTH NUL CONTENT` (gitformat-pack(5), "loose objects").
fn blob_id(bytes: &[u8]) -> String {
    let mut hash = sha1_smol::Sha1::new();
    hash.update(format!("blob {}\0", bytes.len()).as_bytes());
    hash.update(bytes);
    hash.digest().to_string()
}

/// `.git`, or where a linked working tree's `.git` file points.
fn git_folder(root: &Path) -> Result<PathBuf> {
    let path = root.join(".git");
    if path.is_dir() {
        return Ok(path);
    }
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let target =
        text.trim().strip_prefix("gitdir: ").with_context(|| format!("`{}` names no folder", path.display()))?;
    Ok(root.join(target))
}

/// When a commit was made, RFC 3339; `None` where this checkout does not have it.
pub async fn committed(root: &Path, runner: &Runner, commit: &str) -> Option<String> {
    if !(7..=64).contains(&commit.len()) || !commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let command = Command::new("git", root).args(["show", "--no-patch", "--format=%cI", commit]);
    let ended = runner.run(&command).await.ok()?;
    ended.is_success().then(|| ended.stdout.trim().to_owned()).filter(|time| !time.is_empty())
}

/// Where branches stand that are named like `origin/main`, as git keeps them, without asking it.
pub fn refs(root: &Path, names: &[String]) -> Result<BTreeMap<String, String>> {
    let own = git_folder(root)?;
    let common =
        std::fs::read_to_string(own.join("commondir")).map_or_else(|_| own.clone(), |text| own.join(text.trim()));
    let packed = std::fs::read_to_string(common.join("packed-refs")).unwrap_or_default();
    let mut found = BTreeMap::new();
    for name in names {
        for path in [format!("refs/heads/{name}"), format!("refs/remotes/{name}")] {
            let loose = std::fs::read_to_string(common.join(&path)).ok().map(|text| text.trim().to_owned());
            let in_pack = || packed.lines().find_map(|line| line.split_once(' ').filter(|(_, known)| *known == path));
            let at = loose.or_else(|| in_pack().map(|(oid, _)| oid.to_owned()));
            found.extend(at.map(|oid| (path.clone(), oid)));
        }
    }
    Ok(found)
}

/// The slow way, for an index that [`git_index`] does not know.
async fn listed(root: &Path, runner: &Runner) -> Result<Vec<git_index::Entry>> {
    let list = runner.read_bytes(&Command::new("git", root).args(["ls-files", "-z", "--stage"])).await?;
    let entry = |record: &str| {
        let (head, path) = record.split_once('\t')?;
        let mut head = head.split(' ');
        let mode = u32::from_str_radix(head.next()?, 8).ok()?;
        Some(git_index::Entry { path: path.to_owned(), mode, oid: head.next()?.to_owned(), unwatched: true })
    };
    Ok(String::from_utf8_lossy(&list).split('\0').filter_map(entry).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::cancel;

    struct Repo(tempfile::TempDir, Runner);

    impl Repo {
        fn new() -> Self {
            let env = crate::context::surroundings().unwrap().0;
            let path = env.into_iter().filter(|(name, _)| name == "PATH").collect();
            let runner = Runner {
                env: path,
                redactor: Default::default(),
                cancel: cancel::pair().1,
                log: None,
                on_line: None,
                nice: 0,
                ledger: crate::tools::ledger::Ledger::default(),
            };
            Self(tempfile::tempdir().unwrap(), runner)
        }

        async fn git(&self, args: &[&str]) -> String {
            let identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"];
            let command = Command::new("git", self.0.path()).args(identity).args(args.iter().copied());
            String::from_utf8(self.1.read_bytes(&command).await.unwrap()).unwrap()
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }

        async fn snapshot(&self) -> Snapshot {
            Snapshot::take(self.0.path(), &self.1, &[]).await.unwrap()
        }
    }

    #[tokio::test]
    async fn the_identity_of_a_file_is_the_same_before_and_after_its_commit() {
        let repo = Repo::new();
        repo.git(&["init", "-q"]).await;
        repo.write("a/x.py", "x\n");
        repo.write("b.py", "b\n");
        let all = [".".to_owned()];
        let untracked = repo.snapshot().await;
        assert!(untracked.dirty && untracked.commit.is_empty());
        repo.git(&["add", "."]).await;
        repo.git(&["commit", "-qm", "one"]).await;
        let committed = repo.snapshot().await;
        assert!(!committed.dirty && committed.commit.len() == 40);
        assert!(untracked.branch == committed.branch && !committed.branch.is_empty());
        assert_eq!(untracked.files(&all).unwrap(), committed.files(&all).unwrap());
        // A staged change, then the same path changed again on the disk, then gone.
        repo.write("b.py", "c\n");
        repo.git(&["add", "."]).await;
        let staged = repo.snapshot().await;
        assert!(staged.dirty);
        assert_ne!(staged.files(&all).unwrap()["b.py"], committed.files(&all).unwrap()["b.py"]);
        repo.write("b.py", "b\n");
        assert_eq!(repo.snapshot().await.files(&all).unwrap(), committed.files(&all).unwrap());
        std::fs::remove_file(repo.0.path().join("b.py")).unwrap();
        assert_eq!(repo.snapshot().await.files(&all).unwrap().len(), 1);
    }

    #[tokio::test]
    async fn our_reading_of_the_index_agrees_with_git_in_every_version() {
        let repo = Repo::new();
        repo.git(&["init", "-q"]).await;
        for i in 0..40 {
            repo.write(&format!("folder/{}/{i}.txt", "n".repeat(i)), &i.to_string());
        }
        repo.git(&["add", "."]).await;
        for version in ["2", "3", "4"] {
            repo.git(&["update-index", "--index-version", version]).await;
            let read = git_index::read(&repo.0.path().join(".git/index")).unwrap();
            let mut listed = listed(repo.0.path(), &repo.1).await.unwrap();
            listed.iter_mut().for_each(|e| e.unwatched = false);
            assert_eq!((read.len(), read), (40, listed), "version {version}");
        }
        repo.git(&["update-index", "--split-index"]).await;
        assert!(git_index::read(&repo.0.path().join(".git/index")).is_err());
        assert_eq!(repo.snapshot().await.paths().count(), 40);
    }

    #[tokio::test]
    async fn ignored_files_count_unless_a_tool_made_them() {
        let repo = Repo::new();
        repo.git(&["init", "-q"]).await;
        repo.write(".gitignore", "*.local\n__pycache__/\nbig/\n");
        for path in ["src/a.py", "src/secret.local", "src/__pycache__/a.pyc", "big/deep/x", "other/y.local"] {
            repo.write(path, "1");
        }
        let snapshot = repo.snapshot().await;
        let ignored = |inputs: &[&str]| {
            let inputs: Vec<String> = inputs.iter().map(|&i| i.to_owned()).collect();
            snapshot.ignored(&inputs, &["__pycache__".to_owned()]).unwrap().into_keys().collect::<Vec<_>>()
        };
        assert_eq!(ignored(&["src"]), ["src/secret.local"]);
        assert_eq!(ignored(&["big/deep"]), ["big/deep/x"]);
        assert_eq!(ignored(&["sr"]), Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_file_that_git_does_not_watch_is_read_from_the_disk() {
        let repo = Repo::new();
        repo.git(&["init", "-q"]).await;
        repo.write("a", "1");
        repo.git(&["add", "."]).await;
        repo.git(&["update-index", "--assume-unchanged", "a"]).await;
        let all = [".".to_owned()];
        let before = repo.snapshot().await.files(&all).unwrap();
        repo.write("a", "2");
        assert_ne!(repo.snapshot().await.files(&all).unwrap(), before);
    }
}
