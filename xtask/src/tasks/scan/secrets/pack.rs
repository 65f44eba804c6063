//! How files lie together for gitleaks, so that it looks at all of them. Pure.
//!
//! Small ones share a file: ten thousand files cost more than their bytes. Each begins after empty lines, so that no
//! rule reaches from one into the next, and so that gitleaks does not take one for a picture by its first bytes and
//! leave it out. Large ones are cut with an overlap: gitleaks cuts after 100 kB by itself, without one.

use std::borrow::Cow;
use std::ops::Range;

/// How much lies together in one file.
const TOGETHER: usize = 90_000;

/// How much of a piece stands in the next one too: longer than any secret.
const OVERLAP: usize = 8192;

/// Between two files that lie together, and before the first.
const GAP: &[u8] = b"\n\n\n\n\n\n\n\n";

/// Endings that some rule of gitleaks asks for; every other one is hidden. One rule wants the whole name.
const ENDINGS: [&str; 9] = ["nuget.config", "yaml", "yml", "tf", "hcl", "php", "p12", "pfx", "config"];

/// Files that lie together.
#[derive(Debug)]
pub struct Pack {
    ending: &'static str,
    bytes: Vec<u8>,
    lines: u32,
    origins: Vec<Origin>,
}

/// A file, or a piece of one, in a pack.
#[derive(Debug)]
struct Origin {
    /// The line of the pack before its first one.
    before: u32,
    /// The line of the file before its first one.
    skipped: u32,
    name: String,
    /// Where its bytes lie in the pack.
    range: Range<usize>,
}

impl Pack {
    /// An empty one.
    pub fn new(ending: &'static str) -> Self {
        Self { ending, bytes: Vec::new(), lines: 0, origins: Vec::new() }
    }

    /// Whether so many bytes more fit in.
    pub fn has_room(&self, bytes: usize) -> bool {
        // A key store is found by its ending alone, which says no line.
        let alone = ["p12", "pfx"].contains(&self.ending);
        !alone && self.bytes.len() + bytes <= TOGETHER
    }

    /// Adds a piece of a file that begins after so many of its lines.
    pub fn add(&mut self, name: &str, skipped: u32, piece: &[u8]) {
        self.bytes.extend_from_slice(GAP);
        self.lines += lines(GAP);
        let start = self.bytes.len();
        let range = start..start + piece.len();
        self.origins.push(Origin { before: self.lines, skipped, name: name.to_owned(), range });
        self.bytes.extend_from_slice(piece);
        self.lines = self.lines.saturating_add(lines(piece));
    }

    /// The file that it becomes, once; nothing is added afterwards.
    pub fn take(&mut self, index: usize) -> Option<(String, Vec<u8>)> {
        let bytes = std::mem::take(&mut self.bytes);
        (!bytes.is_empty()).then(|| (self.file(index), bytes))
    }

    /// The name of that file.
    pub fn file(&self, index: usize) -> String {
        let dot = if self.ending.is_empty() { "" } else { "." };
        format!("{index}{dot}{}", self.ending)
    }

    /// Whether more than one file, or piece of one, lies in it.
    pub fn is_shared(&self) -> bool {
        self.origins.len() > 1
    }

    /// The place among its files of the one that this line is of; 0 is the whole of the only one.
    pub fn place(&self, line: u32) -> Option<usize> {
        if self.origins.len() == 1 && line == 0 {
            return Some(0);
        }
        self.origins.iter().rposition(|origin| origin.before < line)
    }

    /// The name of a file, and which of its lines this one is.
    pub fn origin(&self, place: usize, line: u32) -> Option<(String, u32)> {
        let of = self.origins.get(place)?;
        Some((of.name.clone(), line.saturating_sub(of.before).max(1) + of.skipped))
    }

    /// One file in a pack of its own, out of the bytes that the whole became.
    pub fn alone(&self, place: usize, bytes: &[u8]) -> Option<Self> {
        let of = self.origins.get(place)?;
        let mut pack = Self::new(self.ending);
        pack.add(&of.name, of.skipped, bytes.get(of.range.clone())?);
        Some(pack)
    }
}

fn lines(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.iter().filter(|byte| **byte == b'\n').count()).unwrap_or(u32::MAX)
}

/// The ending of a file's name that a rule asks for, or none.
pub fn ending(name: &str) -> &'static str {
    let name = name.to_lowercase();
    let has =
        |ending: &&str| name.strip_suffix(*ending).is_some_and(|rest| rest.ends_with(['.', '/']) || rest.is_empty());
    ENDINGS.into_iter().find(has).unwrap_or_default()
}

/// UTF-16, which begins with a mark, as the UTF-8 that rules are written for; everything else as it is.
pub fn decoded(bytes: &[u8]) -> Cow<'_, [u8]> {
    let unit: fn([u8; 2]) -> u16 = match bytes {
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        _ => return Cow::Borrowed(bytes),
    };
    let units: Vec<u16> = bytes[2..].chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect();
    Cow::Owned(String::from_utf16_lossy(&units).into_bytes())
}

/// The pieces of a file, each with how many lines stand before it.
pub fn pieces(bytes: &[u8]) -> Vec<(u32, &[u8])> {
    let (mut all, mut start, mut before) = (Vec::new(), 0, 0);
    loop {
        let end = bytes.len().min(start + TOGETHER);
        all.push((before, &bytes[start..end]));
        if end == bytes.len() {
            return all;
        }
        let next = end - OVERLAP;
        before += lines(&bytes[start..next]);
        start = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_pack_is_one_of_its_files() {
        let mut pack = Pack::new("");
        pack.add("a", 0, b"one\ntwo");
        pack.add("b", 10, b"three\n");
        let (name, bytes) = pack.take(7).unwrap();
        assert_eq!(name, "7");
        let text = String::from_utf8(bytes).unwrap();
        for (word, origin) in [("one", ("a", 1)), ("two", ("a", 2)), ("three", ("b", 11))] {
            let line = u32::try_from(text.lines().position(|line| line == word).unwrap() + 1).unwrap();
            let place = pack.place(line).unwrap();
            assert_eq!(pack.origin(place, line), Some((origin.0.to_owned(), origin.1)), "{word}");
        }
        assert_eq!(pack.place(1), None);
        assert_eq!(pack.take(7), None);
        let mut alone = pack.alone(1, text.as_bytes()).unwrap();
        assert_eq!(alone.take(0).unwrap().1, [GAP, b"three\n"].concat());
        assert_eq!(alone.origin(0, 9), Some(("b".to_owned(), 11)));
        assert!(pack.alone(1, &text.as_bytes()[..20]).is_none(), "what is cut off is not taken for nothing");
    }

    #[test]
    fn every_place_of_a_large_file_is_whole_in_some_piece_and_keeps_its_line() {
        let text: String = (1..=40_000).map(|line| format!("line {line}\n")).collect();
        for line in [1_u32, 9_000, 9_001, 20_000, 40_000] {
            let word = format!("\nline {line}\n");
            let found = pieces(text.as_bytes()).into_iter().find_map(|(before, piece)| {
                let piece = std::str::from_utf8(piece).unwrap();
                let at = if line == 1 { 0 } else { piece.find(&word)? + 1 };
                Some(before + lines(&piece.as_bytes()[..at]) + 1)
            });
            assert_eq!(found, Some(line));
        }
        assert_eq!(pieces(b"short").len(), 1);
    }

    #[test]
    fn names_and_encodings_hide_nothing() {
        for (name, expected) in [
            ("a/cert.P12", "p12"),
            ("NuGet.config", "nuget.config"),
            ("a/nuget.config", "nuget.config"),
            ("web.config", "config"),
            ("values.YAML", "yaml"),
            ("main.rs", ""),
            ("noconfig", ""),
        ] {
            assert_eq!(ending(name), expected, "{name}");
        }
        let wide: Vec<u8> = "key\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(*decoded(&[&[0xff, 0xfe][..], &wide].concat()), *b"key\n");
        assert_eq!(*decoded(b"\xff\x00plain"), *b"\xff\x00plain");
    }
}
