//! Reads what evidence is made of: a journal that was kept as a file, the reports of releases, a sealed file.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::disk::read_report;
use crate::release::evidence::{Files, LARGEST};
use crate::release::journal::Entry;
use crate::text::Redactor;
use crate::verdict::{NotRun, Unproven};

/// How deep folders of reports are looked into.
const DEEPEST: usize = 8;

/// A JSON list of releases.
pub fn journal(file: &Path) -> Result<Vec<Entry>, NotRun> {
    let fix = "name a JSON list of releases by --journal";
    let text = read_report(file)
        .map_err(|why| NotRun::new(why.replace("the tool wrote no report", "there is no file"), fix))?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    serde_json::from_str(&text).map_err(|e| NotRun::new(format!("`{name}` cannot be read: {e}"), fix))
}

/// The same entries without any secret that somebody may have written into one.
pub fn without_secrets(entries: &[Entry], redactor: &Redactor) -> Result<Vec<Entry>> {
    let text = serde_json::to_string(entries).context("cannot write the journal")?;
    serde_json::from_str(&redactor.redact(&text)).context("cannot read the journal without its secrets")
}

/// Every file below `FOLDER/ID`, as `ID/path`, for each release that has such a folder.
pub fn reports(folder: &Path, entries: &[Entry], redactor: &Redactor) -> Result<Files, Unproven> {
    if !folder.is_dir() {
        let reason = format!("the folder `{}` of the reports is not there", folder.display());
        return Err(NotRun::new(reason, "name another one by --reports, or none").into());
    }
    let (mut files, mut size) = (Files::new(), 0);
    // An id is looked at before it becomes part of a path.
    let is_name = |id: &str| !id.is_empty() && !id.contains(['/', '\\']) && !id.starts_with('.');
    for entry in entries.iter().filter(|entry| is_name(&entry.id)) {
        let below = folder.join(&entry.id);
        if below.is_dir() {
            walk(&below, &entry.id, DEEPEST, &mut |path, bytes| {
                size += bytes.len() as u64;
                if size > LARGEST / 2 {
                    return Err(NotRun::new("the reports are too large for one file", "name fewer by --reports"));
                }
                // Text that quotes a secret loses it; what is no text is taken as it is.
                let bytes = match String::from_utf8(bytes) {
                    Ok(text) => redactor.redact(&text).into_bytes(),
                    Err(other) => other.into_bytes(),
                };
                files.insert(path, bytes);
                Ok(())
            })?;
        }
    }
    Ok(files)
}

fn walk(
    folder: &Path,
    name: &str,
    deep: usize,
    take: &mut impl FnMut(String, Vec<u8>) -> Result<(), NotRun>,
) -> Result<(), Unproven> {
    let cannot = || format!("cannot read `{}`", folder.display());
    for entry in std::fs::read_dir(folder).with_context(cannot)? {
        let entry = entry.with_context(cannot)?;
        let (kind, file) = (entry.file_type().with_context(cannot)?, entry.file_name());
        let path = format!("{name}/{}", file.to_string_lossy());
        if kind.is_dir() && deep > 0 {
            walk(&entry.path(), &path, deep - 1, take)?;
        } else if kind.is_file() && file != ".lock" {
            take(path, std::fs::read(entry.path()).with_context(cannot)?)?;
        } else if file != ".lock" {
            let reason = format!("`{path}` among the reports is neither a file nor a folder, or lies too deep");
            return Err(NotRun::new(reason, "take it away").into());
        }
    }
    Ok(())
}

/// The bytes of a sealed file.
pub fn file(path: &Path) -> Result<Vec<u8>, NotRun> {
    let fix = "name the file that `evidence export` wrote";
    let cannot = |why: String| NotRun::new(format!("`{}` cannot be read: {why}", path.display()), fix);
    let size = path.metadata().map_err(|e| cannot(e.to_string()))?.len();
    if size > LARGEST {
        return Err(cannot(format!("it has {size} bytes, more than {LARGEST}")));
    }
    std::fs::read(path).map_err(|e| cannot(e.to_string()))
}
