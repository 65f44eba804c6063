//! Tells the program the hash of its own source, a component of every cache key.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;

fn main() {
    let mut hash = DefaultHasher::new();
    for input in ["src", "load", "Cargo.toml", "../Cargo.lock"] {
        println!("cargo::rerun-if-changed={input}");
        add(Path::new(input), &mut hash);
    }
    println!("cargo::rustc-env=XTASK_SOURCE={:016x}", hash.finish());
}

fn add(path: &Path, hash: &mut DefaultHasher) {
    path.hash(hash);
    if path.is_dir() {
        let mut children: Vec<_> = std::fs::read_dir(path).into_iter().flatten().flatten().map(|e| e.path()).collect();
        children.sort();
        children.iter().for_each(|child| add(child, hash));
    } else {
        std::fs::read(path).unwrap_or_default().hash(hash);
    }
}
