//! The image of the pods' sandbox, made of one program without an engine: an archive as `docker save` writes it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::place::PAUSE_IMAGE;

/// Nobody's user and group: pods that may not run as root take the image, too.
const USER: &str = "65535:65535";

/// The name of an architecture in images.
fn architecture(rust: &str) -> &str {
    match rust {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The archive of the program at `pause`.
pub fn archive(pause: &Path) -> Result<Vec<u8>> {
    let program = std::fs::read(pause).with_context(|| format!("cannot read `{}`", pause.display()))?;
    packed(&[("pause", &program, 0o755)], &json!({"Entrypoint": ["/pause"], "User": USER}), PAUSE_IMAGE)
}

/// The archive of files of this machine, each at its own place: programs with the libraries that they need.
pub fn archive_of(files: &[PathBuf], name: &str) -> Result<Vec<u8>> {
    let mut contents = Vec::new();
    for file in files {
        let bytes = std::fs::read(file).with_context(|| format!("cannot read `{}`", file.display()))?;
        contents.push((file.display().to_string().trim_start_matches('/').to_owned(), bytes));
    }
    let files: Vec<(&str, &[u8], u32)> =
        contents.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice(), 0o755)).collect();
    packed(&files, &json!({"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"], "User": USER}), name)
}

fn packed(files: &[(&str, &[u8], u32)], settings: &serde_json::Value, name: &str) -> Result<Vec<u8>> {
    let layer = tar(files)?;
    let config = json!({
        "architecture": architecture(std::env::consts::ARCH),
        "os": "linux",
        "config": settings,
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", sha256(&layer))]},
    })
    .to_string();
    let config_name = format!("{}.json", sha256(config.as_bytes()));
    let manifest = json!([{"Config": config_name, "RepoTags": [name], "Layers": ["layer.tar"]}]).to_string();
    tar(&[
        (&config_name, config.as_bytes(), 0o644),
        ("layer.tar", &layer, 0o644),
        ("manifest.json", manifest.as_bytes(), 0o644),
    ])
}

fn tar(files: &[(&str, &[u8], u32)]) -> Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes, mode) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(*mode);
        header.set_mtime(0);
        archive.append_data(&mut header, name, *bytes).context("cannot write an archive")?;
    }
    archive.into_inner().context("cannot write an archive")
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_keep_their_places() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let bytes = archive_of(&[file.path().to_owned()], "a:b").unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains("\"a:b\"") && text.contains(file.path().file_name().unwrap().to_str().unwrap()));
        assert!(archive_of(&[PathBuf::from("/no/such/file")], "a:b").is_err());
    }

    #[test]
    fn the_archive_holds_the_program_and_names_it() {
        use std::io::Read as _;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "program").unwrap();
        let bytes = archive(file.path()).unwrap();
        let mut names = Vec::new();
        for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            if name == "manifest.json" {
                let mut text = String::new();
                entry.read_to_string(&mut text).unwrap();
                assert!(text.contains(PAUSE_IMAGE), "{text}");
            }
            names.push(name);
        }
        assert_eq!(names[1..], ["layer.tar", "manifest.json"]);
        assert_eq!(archive(file.path()).unwrap(), bytes, "the same program makes the same image");
    }
}
