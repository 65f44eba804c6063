//! Reading and writing files so that nobody ever sees half of one.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Writes beside the target and renames, so that nobody ever reads half a file.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let cannot = || format!("cannot write `{}`", path.display());
    let folder = path.parent().with_context(cannot)?;
    std::fs::create_dir_all(folder).with_context(cannot)?;
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(cannot)?;
    std::io::Write::write_all(&mut file, bytes).with_context(cannot)?;
    #[allow(clippy::permissions_set_readonly_false, reason = "reports are for everybody to read")]
    {
        use std::os::unix::fs::PermissionsExt as _;
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644)).with_context(cannot)?;
    }
    file.persist(path).map_err(|e| e.error).with_context(cannot)?;
    Ok(())
}

/// The largest report of a tool that is read (R38).
const LARGEST_REPORT: u64 = 64 << 20;

/// Reads the report that a tool wrote; missing, empty or too large is the reason why a gate did not run.
pub fn read_report(path: &Path) -> Result<String, String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let size = path.metadata().map_err(|_| format!("the tool wrote no report `{name}`"))?.len();
    if size > LARGEST_REPORT {
        return Err(format!("the report `{name}` has {size} bytes, more than {LARGEST_REPORT}"));
    }
    let text = std::fs::read_to_string(path).map_err(|e| format!("the report `{name}` cannot be read: {e}"))?;
    if text.trim().is_empty() { Err(format!("the report `{name}` is empty")) } else { Ok(text) }
}

/// Whether a relative path stays below the folder that it is relative to.
pub fn is_inside(path: &str) -> bool {
    Path::new(path).components().all(|part| matches!(part, std::path::Component::Normal(_)))
}

/// Waits for an advisory lock without blocking the other gates; it ends with the file, also after a crash.
pub async fn lock(path: &Path) -> Result<std::fs::File> {
    let cannot = || format!("cannot lock `{}`", path.display());
    std::fs::create_dir_all(path.parent().unwrap_or(path)).with_context(cannot)?;
    let file = std::fs::File::create(path).with_context(cannot)?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(std::fs::TryLockError::WouldBlock) => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(std::fs::TryLockError::Error(e)) => return Err(e).with_context(cannot),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_that_is_missing_empty_or_too_large_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.json");
        assert_eq!(read_report(&path).unwrap_err(), "the tool wrote no report `report.json`");
        let file = std::fs::File::create(&path).unwrap();
        assert_eq!(read_report(&path).unwrap_err(), "the report `report.json` is empty");
        file.set_len(LARGEST_REPORT + 1).unwrap();
        assert!(read_report(&path).unwrap_err().contains("more than 67108864"));
        std::fs::write(&path, "{}").unwrap();
        assert_eq!(read_report(&path).unwrap(), "{}");
    }

    #[test]
    fn a_path_stays_inside_or_is_refused() {
        for (path, inside) in
            [("site/", true), ("junit/3.10.xml", true), ("../x", false), ("/x", false), ("a/../../x", false)]
        {
            assert_eq!(is_inside(path), inside, "{path}");
        }
    }
}
