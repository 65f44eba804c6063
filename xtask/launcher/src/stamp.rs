//! Everything that the pipeline's program is made of, as it was when it was built.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::Places;

/// Variables whose names begin so can change what a build makes.
const STEERING: &[&str] =
    &["RUSTFLAGS", "RUSTC", "RUSTUP_TOOLCHAIN", "CARGO_BUILD_", "CARGO_PROFILE_", "CARGO_TARGET_", "CARGO_ENCODED"];

/// Names with sizes and times, or with values.
#[derive(PartialEq, Eq)]
pub struct Stamp(String);

impl Stamp {
    /// As things are now; `None` where the pipeline was never built.
    pub fn of(places: &Places) -> Option<Self> {
        let dep_info = fs::read_to_string(places.program.with_extension("d")).ok()?;
        let mut files = sources(places, &dep_info);
        add(&places.cargo, &mut files);
        add(&places.program, &mut files);
        let mut text: String = files.iter().map(|(path, stamp)| format!("{} {stamp}\n", path.display())).collect();
        let mut steering: Vec<String> = env::vars_os()
            .map(|(name, value)| format!("{}={}", name.to_string_lossy(), value.to_string_lossy()))
            .filter(|variable| STEERING.iter().any(|prefix| variable.starts_with(prefix)))
            .collect();
        steering.sort();
        text.push_str(&steering.join("\n"));
        Some(Self(text))
    }

    /// As they were at the last build.
    pub fn read(places: &Places) -> Option<Self> {
        fs::read_to_string(path(places)).ok().map(Self)
    }

    /// Keeps them for the next run.
    pub fn write(&self, places: &Places) -> Result<(), String> {
        fs::write(path(places), &self.0).map_err(|e| format!("cannot write `{}`: {e}", path(places).display()))
    }
}

/// Files of the repository that the program is made of.
fn sources(places: &Places, dep_info: &str) -> BTreeMap<PathBuf, String> {
    let mut files = BTreeMap::new();
    prerequisites(dep_info).iter().for_each(|path| add(path, &mut files));
    for name in [
        "Cargo.toml",
        "Cargo.lock",
        ".cargo/config.toml",
        "xtask/Cargo.toml",
        "xtask/load/Cargo.toml",
        "rust-toolchain.toml",
    ] {
        add(&places.root.join(name), &mut files);
    }
    files
}

/// Whether any source is newer than `moment`.
pub fn changed_since(places: &Places, moment: SystemTime) -> bool {
    let dep_info = fs::read_to_string(places.program.with_extension("d")).unwrap_or_default();
    let newer = |path: &PathBuf| fs::metadata(path).and_then(|meta| meta.modified()).is_ok_and(|time| time >= moment);
    sources(places, &dep_info).keys().any(newer)
}

fn path(places: &Places) -> PathBuf {
    places.program.with_extension("stamp")
}

/// `PROGRAM: FILE FILE …`, with a backslash before a space in a name.
fn prerequisites(dep_info: &str) -> Vec<PathBuf> {
    let list = dep_info.lines().next().and_then(|line| line.split_once(": ")).map_or("", |(_, list)| list);
    let escaped = list.replace("\\ ", "\u{0}");
    escaped.split_whitespace().map(|name| PathBuf::from(name.replace('\u{0}', " "))).collect()
}

/// A folder counts with all that is in it, as cargo counts the folders that a build script names.
fn add(path: &Path, files: &mut BTreeMap<PathBuf, String>) {
    let stamp = match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => {
            let children = fs::read_dir(path).into_iter().flatten().flatten();
            children.for_each(|child| add(&child.path(), files));
            "folder".to_owned()
        }
        Ok(meta) => format!("{} {}.{}", meta.size(), meta.mtime(), meta.mtime_nsec()),
        Err(_) => "absent".to_owned(),
    };
    files.insert(path.to_owned(), stamp);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dep_info_is_read_as_make_would() {
        let found = prerequisites("/t/xtask: /a/b.rs /a/with\\ space.rs /a/src\n\n/a/b.rs:\n");
        let expected: Vec<PathBuf> = ["/a/b.rs", "/a/with space.rs", "/a/src"].map(PathBuf::from).to_vec();
        assert_eq!(found, expected);
        assert!(prerequisites("").is_empty());
    }

    #[test]
    fn a_new_file_in_a_folder_is_a_change() {
        let folder = env::current_dir().unwrap().join("src");
        let mut files = BTreeMap::new();
        add(&folder, &mut files);
        assert!(files.keys().any(|path| path.ends_with("stamp.rs")));
        assert_eq!(files[&folder], "folder");
    }
    #[test]
    fn a_changed_source_lock_or_toolchain_is_another_stamp() {
        let folder = env::temp_dir().join(format!("xtask-launcher-{}", std::process::id()));
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let places = Places { root: folder.clone(), program: folder.join("xtask"), cargo: folder.join("cargo") };
        assert!(Stamp::of(&places).is_none(), "there is no dep-info yet");
        write("xtask.d", &format!("{0}/xtask: {0}/src/main.rs {0}/src\n", folder.display()));
        for name in ["src/main.rs", "src/deep/x.rs", "Cargo.lock", "cargo", "xtask", ".cargo/config.toml"] {
            write(name, "1");
            Stamp::of(&places).unwrap().write(&places).unwrap();
            assert!(Stamp::of(&places) == Stamp::read(&places), "{name}: the stamp changes by itself");
            write(name, "22");
            assert!(Stamp::of(&places) != Stamp::read(&places), "{name} does not count");
        }
        assert!(changed_since(&places, SystemTime::UNIX_EPOCH));
        assert!(!changed_since(&places, SystemTime::now() + std::time::Duration::from_secs(60)));
        fs::remove_dir_all(folder).unwrap();
    }
}
