//! The scanners: how each is told to look at a folder, offline and without mercy, and what it says of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::Value as Json;

use super::corpus::Found;
use crate::{Bench, Places};
use xtask::tools::catalog::{self, Source};
use xtask::tools::command::Command;
use xtask::tools::proc::{Ended, Exit};
use xtask::tools::program;

/// A scanner that a person may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Built with `-tags gore2regex`: starts slowly, and reads fast.
    Gitleaks,
    /// With Go's own expressions: starts fast, and reads slowly.
    GitleaksQuick,
    /// ripsecrets.
    Ripsecrets,
    /// betterleaks 2.
    Betterleaks,
    /// kingfisher.
    Kingfisher,
    /// detect-secrets.
    DetectSecrets,
    /// Only the part of trivy that looks for secrets.
    Trivy,
}

/// The exit code that we ask for where something was found.
const FOUND: &str = "9";

impl Engine {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Gitleaks,
        Self::GitleaksQuick,
        Self::Ripsecrets,
        Self::Betterleaks,
        Self::Kingfisher,
        Self::DetectSecrets,
        Self::Trivy,
    ];

    /// The name of its program.
    pub fn program(self) -> &'static str {
        match self {
            Self::Gitleaks => "gitleaks",
            Self::GitleaksQuick => "gitleaks-quick",
            Self::Ripsecrets => "ripsecrets",
            Self::Betterleaks => "betterleaks",
            Self::Kingfisher => "kingfisher",
            Self::DetectSecrets => "detect-secrets",
            Self::Trivy => "trivy",
        }
    }

    /// Whether it understands our rules.
    pub fn is_gitleaks(self) -> bool {
        matches!(self, Self::Gitleaks | Self::GitleaksQuick)
    }

    /// With how it may end.
    fn codes(self) -> &'static [i32] {
        match self {
            Self::Gitleaks | Self::GitleaksQuick | Self::Betterleaks => &[0, 9],
            Self::Ripsecrets => &[0, 1],
            Self::Kingfisher => &[0, 200],
            Self::DetectSecrets | Self::Trivy => &[0],
        }
    }

    /// Where its program is: what the pipeline installed, or on PATH.
    ///
    /// Which expressions a gitleaks from elsewhere was built with nobody can tell.
    pub fn find(self, bench: &Bench) -> Result<Option<PathBuf>> {
        let installed = match catalog::named(self.program()) {
            Some(program) => program::installed(&bench.machine, program)?,
            None => None,
        };
        let repackaged = program::label(Source::Repackaged { package: "" });
        let installed = installed.filter(|found| !self.is_gitleaks() || found.origin != repackaged);
        let on_path = || bench.machine.on_path(self.program()).filter(|_| !self.is_gitleaks());
        Ok(installed.map(|found| found.path).or_else(on_path))
    }

    /// A look at the whole of `folder`.
    pub fn scan(self, program: &Path, folder: &Path, rules: Option<&Path>, out: &Path) -> Command {
        let command = Command::new(program, folder);
        match self {
            Self::Gitleaks | Self::GitleaksQuick => gitleaks(command.args(["dir", "."]), rules, out),
            Self::Ripsecrets => command.arg("."),
            Self::Betterleaks => command
                .args(["fs", ".", "--redact=100", "--no-allow-signatures", "--no-banner", "--silent"])
                .args(["--exit-code", FOUND, "--output"])
                .arg(out),
            Self::Kingfisher => command
                .args(["scan", ".", "--no-validate", "--no-update-check", "--git-history", "none"])
                .args(["--format", "json", "--redact", "--output"])
                .arg(out),
            Self::DetectSecrets => command.args(["scan", "--no-verify", "--all-files"]),
            Self::Trivy => command
                .args(["fs", "--scanners", "secret", "--offline-scan", "--skip-db-update", "--quiet"])
                .args(["--format", "json", "--output"])
                .arg(out)
                .arg("."),
        }
    }

    /// What it found, or why that cannot be told.
    pub fn found(self, ended: &Ended, out: &Path) -> Result<BTreeSet<Found>, String> {
        if !matches!(ended.exit, Exit::Code(code) if self.codes().contains(&code)) {
            return Err(ended.failure());
        }
        if self == Self::Ripsecrets {
            return Ok(ended.stdout.lines().filter_map(path_and_line).collect());
        }
        let text = match self {
            Self::DetectSecrets => ended.stdout.clone(),
            _ => std::fs::read_to_string(out).map_err(|why| format!("it left no report: {why}"))?,
        };
        let report = serde_json::from_str(&text).map_err(|why| format!("its report is broken: {why}"))?;
        Ok(self.read(&report))
    }

    fn read(self, report: &Json) -> BTreeSet<Found> {
        let line = |of: &Json, name: &str| of[name].as_u64().unwrap_or(0) as usize;
        let found = |path: &Json, of: &Json, first: &str, last: &str| {
            let path = path.as_str().unwrap_or_default();
            (path.trim_start_matches("./").to_owned(), line(of, first), line(of, last))
        };
        let all = |list: &Json| list.as_array().cloned().unwrap_or_default();
        match self {
            Self::Betterleaks => all(&report["findings"])
                .iter()
                .map(|one| &one["location"])
                .map(|one| found(&one["path"], one, "start_line", "end_line"))
                .collect(),
            Self::Kingfisher => all(&report["findings"])
                .iter()
                .map(|one| &one["finding"])
                .map(|one| found(&one["path"], one, "line", "line"))
                .collect(),
            Self::DetectSecrets => {
                let files = report["results"].as_object().into_iter().flat_map(serde_json::Map::values);
                files.flat_map(all).map(|one| found(&one["filename"], &one, "line_number", "line_number")).collect()
            }
            Self::Trivy => all(&report["Results"])
                .iter()
                .flat_map(|file| all(&file["Secrets"]).into_iter().map(|one| (file["Target"].clone(), one)))
                .map(|(path, one)| found(&path, &one, "StartLine", "EndLine"))
                .collect(),
            _ => all(report).iter().map(|one| found(&one["File"], one, "StartLine", "EndLine")).collect(),
        }
    }
}

/// gitleaks with nothing that a branch could say: no file of its own, and no comment.
///
/// The folder it looks at must not be the checkout: its `.gitleaksignore` counts whatever is said here.
pub fn gitleaks(command: Command, rules: Option<&Path>, out: &Path) -> Command {
    let command = command
        .args(["--report-format", "json", "--report-path"])
        .arg(out)
        .args(["--redact=100", "--ignore-gitleaks-allow", "--gitleaks-ignore-path", "/dev/null"])
        .args(["--exit-code", FOUND, "--no-banner", "--no-color"]);
    match rules {
        Some(rules) => command.arg("--config").arg(rules),
        None => command,
    }
}

/// `PATH:LINE:…`
fn path_and_line(line: &str) -> Option<Found> {
    let mut parts = line.splitn(3, ':');
    let (path, line) = (parts.next()?, parts.next()?.parse().ok()?);
    Some((path.trim_start_matches("./").to_owned(), line, line))
}

/// Where our rules lie, for the scanner to read.
pub fn write_rules(places: &Places) -> Result<PathBuf> {
    let file = places.folder.join("secrets/rules.toml");
    xtask::disk::write_atomically(&file, include_bytes!("../../../config/gitleaks.toml"))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_shape_is_read() {
        let expected = BTreeSet::from([("a/b".to_owned(), 3, 3)]);
        for (engine, report) in [
            (Engine::Gitleaks, json!([{"File": "a/b", "StartLine": 3, "EndLine": 3}])),
            (
                Engine::Betterleaks,
                json!({"findings": [{"location": {"path": "./a/b", "start_line": 3, "end_line": 3}}]}),
            ),
            (Engine::Kingfisher, json!({"findings": [{"finding": {"path": "./a/b", "line": 3}}]})),
            (Engine::DetectSecrets, json!({"results": {"a/b": [{"filename": "a/b", "line_number": 3}]}})),
            (Engine::Trivy, json!({"Results": [{"Target": "a/b", "Secrets": [{"StartLine": 3, "EndLine": 3}]}]})),
        ] {
            assert_eq!(engine.read(&report), expected, "{engine:?}");
        }
        assert_eq!(path_and_line("./a/b:3:x: y"), Some(("a/b".to_owned(), 3, 3)));
    }
}
