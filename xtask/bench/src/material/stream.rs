//! Commits as one stream for `git fast-import`, which makes ten thousand of them in a second.

use std::fmt::Write as _;

/// Writes the stream. Texts are UTF-8.
#[derive(Debug, Default)]
pub struct Stream {
    text: String,
    mark: usize,
}

impl Stream {
    /// With room for so many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { text: String::with_capacity(bytes), mark: 0 }
    }

    /// The mark of the newest commit; 0 before the first.
    pub fn mark(&self) -> usize {
        self.mark
    }

    /// A commit with these parents, which are marks; gives its own mark. Its changes follow.
    pub fn commit(&mut self, branch: &str, message: &str, parents: &[usize]) -> usize {
        self.head(branch, message);
        for (nth, parent) in parents.iter().enumerate() {
            let _infallible = writeln!(self.text, "{} :{parent}", if nth == 0 { "from" } else { "merge" });
        }
        self.mark
    }

    /// The same after a commit that is in the repository already.
    pub fn commit_after(&mut self, branch: &str, message: &str, parent: &str) {
        self.head(branch, message);
        let _infallible = writeln!(self.text, "from {parent}");
    }

    fn head(&mut self, branch: &str, message: &str) {
        self.mark += 1;
        let at = 1_700_000_000 + self.mark * 60;
        let _infallible = write!(
            self.text,
            "commit refs/heads/{branch}\nmark :{}\ncommitter Bench <bench@localhost> {at} +0000\ndata {}\n{message}\n",
            self.mark,
            message.len()
        );
    }

    /// A file of the commit that was begun last.
    pub fn file(&mut self, path: &str, text: &str) {
        let _infallible = write!(self.text, "M 100644 inline \"{path}\"\ndata {}\n{text}\n", text.len());
    }

    /// A file that is gone with that commit.
    pub fn remove(&mut self, path: &str) {
        let _infallible = writeln!(self.text, "D {path}");
    }

    /// Any other command.
    pub fn raw(&mut self, command: &str) {
        self.text.push_str(command);
        self.text.push('\n');
    }

    /// All of it.
    pub fn end(mut self) -> String {
        self.raw("done");
        self.text
    }
}
