//! Clears the output folder of what an earlier run left, so that no old artifact passes for a new one.

use std::path::Path;

use crate::disk::is_inside;
use crate::model::Report;

/// Removes the artifacts that an older report in this folder lists, and nothing that it does not list.
pub fn remove(out: &Path) {
    let older =
        std::fs::read(out.join("report.json")).ok().and_then(|bytes| serde_json::from_slice::<Report>(&bytes).ok());
    for artifact in older.iter().flat_map(|report| &report.gates).flat_map(|gate| &gate.artifacts) {
        if is_inside(artifact) {
            let path = out.join(artifact);
            // What is gone already is as good as removed; a gate that needs the place will say so.
            let _gone = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
        }
    }
    for name in
        ["report.json", "junit.xml", "summary.md", "coverage.xml", "results.sarif", "release.json", "history.jsonl"]
    {
        let _gone = std::fs::remove_file(out.join(name));
    }
}
