//! Reads git's index: which files are tracked, and the object id of each.
//!
//! Together with one `git status` this tells the content of every file without reading it. The format
//! is gitformat-index(5), versions 2 to 4. What this reader does not know (a split or sparse index)
//! is an error; the caller then asks git itself.

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};

/// Why an entry's object id may not tell what lies on the disk.
const ASSUME_VALID: u16 = 0x8000;
const EXTENDED: u16 = 0x4000;
const SKIP_WORKTREE: u16 = 0x4000;

/// One tracked file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Relative to the repository, with forward slashes.
    pub path: String,
    /// `100644`, `100755`, `120000` (link) or `160000` (submodule), in octal.
    pub mode: u32,
    /// Object id in hexadecimal.
    pub oid: String,
    /// Git was told not to look at the file on the disk.
    pub unwatched: bool,
}

/// Reads `.git/index`; a repository without a commit and without `git add` has none.
pub fn read(path: &Path) -> Result<Vec<Entry>> {
    match std::fs::read(path) {
        Ok(bytes) => parse(&bytes).with_context(|| format!("cannot read `{}`", path.display())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e).with_context(|| format!("cannot read `{}`", path.display())),
    }
}

/// Bytes of an index with SHA-1 object ids → entries. Stages of a conflict are given once.
pub fn parse(bytes: &[u8]) -> Result<Vec<Entry>> {
    let mut input = Input { bytes, at: 0 };
    ensure!(input.take(4)? == b"DIRC", "not an index");
    let version = input.u32()?;
    ensure!((2..=4).contains(&version), "version {version}");
    let count = input.u32()?;
    let mut entries: Vec<Entry> = Vec::new();
    let mut previous: Vec<u8> = Vec::new();
    for _ in 0..count {
        let start = input.at;
        input.take(24)?; // ctime, mtime, dev, ino
        let mode = input.u32()?;
        input.take(12)?; // uid, gid, size
        let oid = input.take(20)?.iter().map(|b| format!("{b:02x}")).collect();
        let flags = input.u16()?;
        let more = if flags & EXTENDED != 0 { input.u16()? } else { 0 };
        if version == 4 {
            let strip = input.offset()?;
            let kept = previous.len().checked_sub(strip).context("a prefix that is longer than the path")?;
            previous.truncate(kept);
            previous.extend_from_slice(input.until_nul()?);
        } else {
            previous = input.until_nul()?.to_vec();
            // Entries are padded to a multiple of eight with at least one NUL, which is read already.
            let length = input.at - start;
            input.take(length.next_multiple_of(8) - length)?;
        }
        let path = String::from_utf8_lossy(&previous).into_owned();
        if entries.last().is_none_or(|last| last.path != path) {
            let unwatched = flags & ASSUME_VALID != 0 || more & SKIP_WORKTREE != 0;
            entries.push(Entry { path, mode, oid, unwatched });
        }
    }
    refuse_unknown_extensions(&mut input)?;
    Ok(entries)
}

/// Extensions in lower case change the meaning of the entries (`link`, `sdir`); the others are caches.
fn refuse_unknown_extensions(input: &mut Input<'_>) -> Result<()> {
    while input.bytes.len() - input.at > 20 {
        let name = input.take(4)?;
        if !name[0].is_ascii_uppercase() {
            bail!("extension `{}`", String::from_utf8_lossy(name));
        }
        let size = input.u32()? as usize;
        input.take(size)?;
    }
    Ok(())
}

struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(length).filter(|&end| end <= self.bytes.len()).context("cut short")?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(self.take(4)?.iter().fold(0, |n, &b| n << 8 | u32::from(b)))
    }

    fn u16(&mut self) -> Result<u16> {
        Ok(self.take(2)?.iter().fold(0, |n, &b| n << 8 | u16::from(b)))
    }

    fn until_nul(&mut self) -> Result<&'a [u8]> {
        let length = self.bytes[self.at..].iter().position(|&b| b == 0).context("cut short")?;
        let taken = self.take(length)?;
        self.take(1)?;
        Ok(taken)
    }

    /// The variable-length number of pack files' offset deltas.
    fn offset(&mut self) -> Result<usize> {
        let mut value = 0usize;
        loop {
            let byte = self.take(1)?[0];
            value = value << 7 | usize::from(byte & 0x7f);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
            value = value.checked_add(1).filter(|v| *v < 1 << 40).context("a number that is too large")?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_indexes_are_errors() {
        for bytes in
            [&b""[..], b"DIRC", b"NOPE\0\0\0\x02\0\0\0\0", b"DIRC\0\0\0\x09\0\0\0\0", b"DIRC\0\0\0\x02\0\0\0\x01short"]
        {
            assert!(parse(bytes).is_err(), "{bytes:?}");
        }
        let mut split = b"DIRC\0\0\0\x02\0\0\0\0link\0\0\0\0".to_vec();
        split.extend_from_slice(&[0; 20]);
        assert_eq!(parse(&split).unwrap_err().to_string(), "extension `link`");
    }
    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(version in 2_u8..5, count in 0_u8..4, rest in proptest::collection::vec(0_u8.., 0..200)) {
            let mut bytes = b"DIRC".to_vec();
            bytes.extend_from_slice(&[0, 0, 0, version, 0, 0, 0, count]);
            bytes.extend(rest);
            let entries = parse(&bytes).map_or(0, |entries| entries.len());
            proptest::prop_assert!(entries <= usize::from(count));
        }
    }
}
