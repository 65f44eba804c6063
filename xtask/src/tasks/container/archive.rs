//! What lies in a tar archive: a container's file system as an engine exports it, or the parts of a saved image.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result};

/// The largest file whose text is read.
const LARGEST_TEXT: u64 = 16 << 20;

/// How many links are followed for one path, as Linux has it.
const MOST_LINKS: usize = 40;

/// One entry of a file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its kind.
    pub kind: Kind,
    /// The twelve bits of `chmod`.
    pub mode: u32,
    /// Its owner.
    pub uid: u64,
    /// Its group.
    pub gid: u64,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link, and where it leads.
    Link(String),
    /// A pipe, a device.
    Other,
}

impl Entry {
    /// As Go writes it (`-rw-r--r--`, `drwxr-xr-x`, `Lrwxrwxrwx`), which the structure tests' format uses.
    pub fn permissions(&self) -> String {
        let kind = match self.kind {
            Kind::File => "-",
            Kind::Folder => "d",
            Kind::Link(_) => "L",
            Kind::Other => "?",
        };
        // Go puts these before, in place of the dash that a plain file has.
        let special: String = [(0o4000, 'u'), (0o2000, 'g'), (0o1000, 't')]
            .iter()
            .filter(|(bit, _)| self.mode & bit != 0)
            .map(|(_, c)| *c)
            .collect();
        let first = match (kind, special.is_empty()) {
            ("-", false) => special,
            ("d", false) => format!("d{special}"),
            _ => kind.to_owned(),
        };
        let bits = (0..9).map(|place| {
            let is_set = self.mode & (0o400 >> place) != 0;
            if is_set { ['r', 'w', 'x'][place % 3] } else { '-' }
        });
        first + &bits.collect::<String>()
    }
}

/// A file system, by absolute path.
#[derive(Debug, Default)]
pub struct Tree(BTreeMap<String, Entry>);

impl Tree {
    /// Reads an archive's headers.
    pub fn read(archive: &Path) -> Result<Self> {
        let cannot = || format!("cannot read `{}`", archive.display());
        let mut entries = BTreeMap::new();
        let mut reader = tar::Archive::new(File::open(archive).with_context(cannot)?);
        for entry in reader.entries_with_seek().with_context(cannot)? {
            let entry = entry.with_context(cannot)?;
            let path = absolute(&String::from_utf8_lossy(&entry.path_bytes()));
            let header = entry.header();
            let link =
                || entry.link_name_bytes().map(|to| String::from_utf8_lossy(&to).into_owned()).unwrap_or_default();
            let kind = match header.entry_type() {
                tar::EntryType::Regular | tar::EntryType::Continuous => Kind::File,
                tar::EntryType::Directory => Kind::Folder,
                tar::EntryType::Symlink => Kind::Link(link()),
                // A second name of a file has that one's owner and permissions.
                tar::EntryType::Link => match entries.get(&absolute(&link())) {
                    Some(first) => {
                        let first: &Entry = first;
                        let first = first.clone();
                        entries.insert(path, first);
                        continue;
                    }
                    None => Kind::File,
                },
                _ => Kind::Other,
            };
            let mode = header.mode().with_context(cannot)? & 0o7777;
            let (uid, gid) = (header.uid().with_context(cannot)?, header.gid().with_context(cannot)?);
            entries.insert(path, Entry { kind, mode, uid, gid });
        }
        Ok(Self(entries))
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The entry of that name, links above it followed, itself not.
    pub fn entry(&self, path: &str) -> Option<&Entry> {
        let path = absolute(path);
        let (folder, name) = path.rsplit_once('/')?;
        if name.is_empty() {
            return self.0.get("/");
        }
        let folder = self.resolve(folder)?;
        self.0.get(&format!("{}/{name}", folder.trim_end_matches('/')))
    }

    /// The path without links, if it leads anywhere.
    pub fn resolve(&self, path: &str) -> Option<String> {
        let mut waiting: Vec<String> = parts(path).into_iter().rev().collect();
        let (mut at, mut links) = (Vec::<String>::new(), 0);
        while let Some(part) = waiting.pop() {
            if part == ".." {
                at.pop();
                continue;
            }
            at.push(part);
            let Entry { kind: Kind::Link(to), .. } = self.0.get(&format!("/{}", at.join("/")))? else { continue };
            links += 1;
            if links > MOST_LINKS {
                return None;
            }
            at.pop();
            if to.starts_with('/') {
                at.clear();
            }
            waiting.extend(parts(to).into_iter().rev());
        }
        Some(format!("/{}", at.join("/")))
    }
}

fn parts(path: &str) -> Vec<String> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".").map(str::to_owned).collect()
}

fn absolute(path: &str) -> String {
    format!("/{}", parts(path).join("/"))
}

/// The texts of some files, by their absolute paths without links.
pub fn texts(archive: &Path, wanted: &[String]) -> Result<BTreeMap<String, String>> {
    let cannot = || format!("cannot read `{}`", archive.display());
    let mut found = BTreeMap::new();
    let mut reader = tar::Archive::new(File::open(archive).with_context(cannot)?);
    for entry in reader.entries_with_seek().with_context(cannot)? {
        let entry = entry.with_context(cannot)?;
        let path = absolute(&String::from_utf8_lossy(&entry.path_bytes()));
        // Only a file has a text; of everything else the caller says that it cannot be read.
        let is_file = matches!(entry.header().entry_type(), tar::EntryType::Regular | tar::EntryType::Continuous);
        if is_file && wanted.contains(&path) {
            anyhow::ensure!(entry.size() <= LARGEST_TEXT, "`{path}` has more than {LARGEST_TEXT} bytes");
            let mut bytes = Vec::new();
            entry.take(LARGEST_TEXT).read_to_end(&mut bytes).with_context(cannot)?;
            found.insert(path, String::from_utf8_lossy(&bytes).into_owned());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive() -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut builder = tar::Builder::new(file.reopen().unwrap());
        let mut add = |path: &str, kind: tar::EntryType, link: &str, mode: u32, text: &str| {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_mode(mode);
            header.set_uid(7);
            header.set_gid(8);
            header.set_size(text.len() as u64);
            if link.is_empty() {
                builder.append_data(&mut header, path, text.as_bytes()).unwrap();
            } else {
                builder.append_link(&mut header, path, link).unwrap();
            }
        };
        add("usr/", tar::EntryType::Directory, "", 0o755, "");
        add("usr/bin/", tar::EntryType::Directory, "", 0o755, "");
        add("usr/bin/su", tar::EntryType::Regular, "", 0o4755, "words");
        add("usr/bin/again", tar::EntryType::Link, "usr/bin/su", 0o644, "");
        add("bin", tar::EntryType::Symlink, "usr/bin", 0o777, "");
        add("loop", tar::EntryType::Symlink, "loop", 0o777, "");
        add("tmp/", tar::EntryType::Directory, "", 0o1777, "");
        builder.finish().unwrap();
        file
    }

    #[test]
    fn entries_are_found_through_links_and_described_as_go_does() {
        let archive = archive();
        let tree = Tree::read(archive.path()).unwrap();
        for (path, permissions) in [
            ("/usr/bin/su", Some("urwxr-xr-x")),
            ("/usr/bin/again", Some("urwxr-xr-x")),
            ("/bin/su", Some("urwxr-xr-x")),
            ("/bin", Some("Lrwxrwxrwx")),
            ("/tmp", Some("dtrwxrwxrwx")),
            ("/usr/", Some("drwxr-xr-x")),
            ("/loop", Some("Lrwxrwxrwx")),
            ("/loop/x", None),
            ("/nowhere", None),
        ] {
            assert_eq!(tree.entry(path).map(Entry::permissions).as_deref(), permissions, "{path}");
        }
        assert_eq!(tree.resolve("/bin/../bin/su").as_deref(), Some("/usr/bin/su"));
        assert_eq!(tree.resolve("/loop"), None);
        let wanted = ["/usr/bin/su".to_owned()];
        assert_eq!(texts(archive.path(), &wanted).unwrap()["/usr/bin/su"], "words");
    }
}
