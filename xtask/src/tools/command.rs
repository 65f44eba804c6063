//! A command as data: it can be printed, compared and snapshotted before it is run, and without being run.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One command, before it is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// A path, or a name that is looked up on the child's PATH.
    pub program: String,
    /// Its arguments, none of them secret.
    pub args: Vec<String>,
    /// Variables beside the allow-listed ones.
    pub env: BTreeMap<String, String>,
    /// A folder of programs that is looked into before the caller's PATH.
    pub path_first: Option<PathBuf>,
    /// Where it runs.
    pub cwd: PathBuf,
    /// What it reads from standard input.
    pub stdin: String,
    /// When it is stopped.
    pub timeout: Duration,
}

impl Command {
    /// `program` in `cwd`, with ten minutes of time.
    pub fn new(program: impl AsRef<Path>, cwd: &Path) -> Self {
        Self {
            program: program.as_ref().to_string_lossy().into_owned(),
            args: Vec::new(),
            env: BTreeMap::new(),
            path_first: None,
            cwd: cwd.to_owned(),
            stdin: String::new(),
            timeout: Duration::from_secs(600),
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<Path>) -> Self {
        self.args.push(arg.as_ref().to_string_lossy().into_owned());
        self
    }

    /// Adds several arguments.
    #[must_use]
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets one variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<Path>) -> Self {
        self.env.insert(name.to_owned(), value.as_ref().to_string_lossy().into_owned());
        self
    }

    /// Sets the folder of programs that comes first.
    #[must_use]
    pub fn path_first(mut self, folder: &Path) -> Self {
        self.path_first = Some(folder.to_owned());
        self
    }

    /// Sets the time limit.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets what it reads.
    #[must_use]
    pub fn stdin(mut self, text: impl Into<String>) -> Self {
        self.stdin = text.into();
        self
    }
}

/// As a person would type it, folder and variables left out.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&quoted(&self.program))?;
        self.args.iter().try_for_each(|arg| write!(f, " {}", quoted(arg)))
    }
}

/// Quoted for a POSIX shell where it has to be.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_print_as_a_person_would_type_them() {
        let command = Command::new("echo", Path::new("/")).args(["plain", "two words", "", "it's"]);
        assert_eq!(command.to_string(), r"echo plain 'two words' '' 'it'\''s'");
    }
}
