//! The evidence of releases as one file: what is in it, what is missing, and that no byte of it was changed. Pure.
//!
//! The file is a tar of three members: `evidence.tar`, which is signed, `evidence.sigstore.json`, its signature, and
//! `SHA256SUMS` over both. Within `evidence.tar` lie `manifest.json`, the journal's entries and the reports. The same
//! material gives the same bytes, and only bytes that would be written are read: a tar has fields and padding that
//! nobody looks at otherwise. Who signed is asked of cosign, not here; the sums are there because a signature's own
//! file has fields as well that no verification looks at.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::journal::{Entry, Outcome};

mod gaps;

/// The version of the format.
pub const SCHEMA: &str = "forge-evidence/1";

/// The largest file that is read, in bytes.
pub const LARGEST: u64 = 256 << 20;

const ARCHIVE: &str = "evidence.tar";
const SIGNATURE: &str = "evidence.sigstore.json";
const SUMS: &str = "SHA256SUMS";
const MANIFEST: &str = "manifest.json";

/// Files by their path.
pub type Files = BTreeMap<String, Vec<u8>>;

/// What evidence is made of.
#[derive(Clone, Copy, Debug)]
pub struct Material<'a> {
    /// Of which environment.
    pub environment: &'a str,
    /// When it was put together, RFC 3339.
    pub made: &'a str,
    /// Where the source lies.
    pub source: &'a str,
    /// The releases, oldest first.
    pub entries: &'a [Entry],
    /// Their reports, as `ID/path`.
    pub reports: &'a Files,
}

/// `manifest.json`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`SCHEMA`]
    pub schema: String,
    /// Of which environment.
    pub environment: String,
    /// When it was put together, RFC 3339.
    pub made: String,
    /// Where the source lies.
    pub source: String,
    /// The ids of the releases.
    pub releases: Vec<String>,
    /// Every other file, by its path.
    pub files: BTreeMap<String, Hashes>,
    /// What should be there and is not.
    pub missing: Vec<Missing>,
}

/// What a file's bytes are known by, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hashes {
    /// How many bytes.
    pub size: u64,
    /// SHA-256, which every system can compute.
    pub sha256: String,
    /// BLAKE3, which the pipeline's own reports use.
    pub blake3: String,
}

/// Something that should be there and is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Missing {
    /// Of which release.
    pub release: String,
    /// What: `approver`, `commit`, `digest`, `reports` …
    pub what: String,
    /// Why it is known to be missing.
    pub why: String,
}

/// Material → the bytes that are signed, with their manifest.
pub fn collect(material: &Material<'_>) -> Result<(Manifest, Vec<u8>), String> {
    let mut files = Files::new();
    for entry in material.entries {
        if !is_id(&entry.id) {
            return Err(format!("the journal has a release with the id `{}`", entry.id));
        }
        let text = serde_json::to_string_pretty(entry).map_err(|e| e.to_string())? + "\n";
        if files.insert(format!("journal/{}.json", entry.id), text.into_bytes()).is_some() {
            return Err(format!("the journal has the release `{}` twice", entry.id));
        }
    }
    for (path, bytes) in material.reports {
        let id = path.split('/').next().unwrap_or_default();
        if !material.entries.iter().any(|entry| entry.id == id) {
            return Err(format!("`{path}` is of no release of the journal"));
        }
        files.insert(format!("reports/{path}"), bytes.clone());
    }
    let manifest = Manifest {
        schema: SCHEMA.to_owned(),
        environment: material.environment.to_owned(),
        made: material.made.to_owned(),
        source: material.source.to_owned(),
        releases: material.entries.iter().map(|entry| entry.id.clone()).collect(),
        files: files.iter().map(|(path, bytes)| (path.clone(), hashes(bytes))).collect(),
        missing: gaps::all(material.entries, material.reports),
    };
    let text = serde_json::to_string_pretty(&manifest).map_err(|e| e.to_string())? + "\n";
    files.insert(MANIFEST.to_owned(), text.into_bytes());
    Ok((manifest, archive(&files)?))
}

/// The signed bytes and their signature → the file.
pub fn seal(signed: &[u8], signature: &[u8]) -> Result<Vec<u8>, String> {
    let sums = format!("{}  {ARCHIVE}\n{}  {SIGNATURE}\n", sha256(signed), sha256(signature));
    let files = [(ARCHIVE, signed), (SIGNATURE, signature), (SUMS, sums.as_bytes())];
    archive(&files.map(|(name, bytes)| (name.to_owned(), bytes.to_vec())).into())
}

/// What a file holds before anybody has asked whose signature it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The bytes that are signed.
    pub signed: Vec<u8>,
    /// Their signature, a Sigstore bundle.
    pub signature: Vec<u8>,
}

/// The file → the signed bytes and their signature; the error says what was changed.
pub fn open(bytes: &[u8]) -> Result<Sealed, String> {
    let mut files = unpack(bytes)?;
    let (Some(signed), Some(signature)) = (files.remove(ARCHIVE), files.remove(SIGNATURE)) else {
        return Err(format!("it does not hold `{ARCHIVE}` and `{SIGNATURE}`"));
    };
    // The sums are compared by making the file anew: nothing else may be in it either.
    if seal(&signed, &signature)? != bytes {
        return Err("it is not the file that was sealed: its sums or its form differ".to_owned());
    }
    let is_signature = serde_json::from_slice::<serde_json::Value>(&signature)
        .is_ok_and(|bundle| bundle["messageSignature"]["signature"].as_str().is_some_and(|text| !text.is_empty()));
    if is_signature {
        Ok(Sealed { signed, signature })
    } else {
        Err(format!("`{SIGNATURE}` is no signature of a file"))
    }
}

/// The signed bytes → the manifest and all files; the error says what does not fit it.
pub fn read(signed: &[u8]) -> Result<(Manifest, Files), String> {
    let files = unpack(signed)?;
    let manifest = files.get(MANIFEST).ok_or_else(|| format!("`{MANIFEST}` is missing"))?;
    let manifest: Manifest =
        serde_json::from_slice(manifest).map_err(|e| format!("`{MANIFEST}` cannot be read: {e}"))?;
    if manifest.schema != SCHEMA {
        return Err(format!("it is of the format `{}`, and this reads `{SCHEMA}`", manifest.schema));
    }
    let listed: BTreeSet<&str> = manifest.files.keys().map(String::as_str).chain([MANIFEST]).collect();
    let there: BTreeSet<&str> = files.keys().map(String::as_str).collect();
    if let Some(odd) = listed.symmetric_difference(&there).next() {
        return Err(format!("`{odd}` is listed and not there, or there and not listed"));
    }
    let differs =
        manifest.files.iter().find(|(path, expected)| files.get(*path).map(|b| hashes(b)).as_ref() != Some(*expected));
    if let Some((path, _)) = differs {
        return Err(format!("`{path}` differs from the manifest"));
    }
    let absent = manifest.releases.iter().find(|id| !files.contains_key(&format!("journal/{id}.json")));
    match absent {
        Some(id) => Err(format!("the release `{id}` has no entry")),
        None => Ok((manifest, files)),
    }
}

/// Files → a tar without owner or time, sorted by path.
fn archive(files: &Files) -> Result<Vec<u8>, String> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(0);
        builder
            .append_data(&mut header, path, bytes.as_slice())
            .map_err(|e| format!("`{path}` cannot be packed: {e}"))?;
    }
    builder.into_inner().map_err(|e| e.to_string())
}

/// A tar → its files, where it is to the byte what [`archive`] makes of them.
fn unpack(bytes: &[u8]) -> Result<Files, String> {
    let broken = |e: std::io::Error| format!("it is no such file, or cut: {e}");
    let mut files = Files::new();
    let mut reader = tar::Archive::new(bytes);
    for entry in reader.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let path =
            String::from_utf8(entry.path_bytes().into_owned()).map_err(|_| "a path is not Unicode".to_owned())?;
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(broken)?;
        files.insert(path, content);
    }
    match archive(&files) {
        Ok(again) if again == bytes => Ok(files),
        _ => Err("its form differs from what is written: something was changed, added or cut".to_owned()),
    }
}

fn hashes(bytes: &[u8]) -> Hashes {
    Hashes { size: bytes.len() as u64, sha256: sha256(bytes), blake3: blake3::hash(bytes).to_hex().to_string() }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An id goes into paths, and a journal can be edited.
fn is_id(id: &str) -> bool {
    !id.is_empty()
        && !id.starts_with('.')
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

#[cfg(test)]
mod tests;
