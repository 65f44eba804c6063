//! Programs from their authors' release archives, each with its SHA-256 in `LOCKS/archives.toml`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;

use super::command::Command;
use super::download;
use super::machine::Machine;
use super::proc::Runner;
use crate::context::Ctx;
use crate::verdict::{NotRun, Unproven};

/// One archive, for the platform that this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// The program's version.
    pub version: String,
    /// Where it lies.
    pub url: String,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
    /// The program's path within it; `None` where the file is the program itself.
    pub member: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    version: String,
    #[serde(flatten)]
    platforms: BTreeMap<String, Platform>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Platform {
    url: String,
    sha256: String,
    member: Option<String>,
}

/// The file that pins archives, relative to the repository.
pub fn file(ctx: &Ctx) -> String {
    format!("{}/archives.toml", ctx.config.tools.locks)
}

/// The archive of a program for this platform.
pub fn pinned(ctx: &Ctx, name: &str) -> Option<Archive> {
    let platform = format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH);
    parse(&std::fs::read_to_string(ctx.root.join(file(ctx))).ok()?, name, &platform)
}

fn parse(text: &str, name: &str, platform: &str) -> Option<Archive> {
    let mut entries: BTreeMap<String, Entry> = toml::from_str(text).ok()?;
    let mut entry = entries.remove(name)?;
    let Platform { url, sha256, member } = entry.platforms.remove(platform)?;
    let is_hash = sha256.len() == 64 && sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then_some(Archive { version: entry.version, url, sha256, member })
}

/// Downloads, checks and unpacks the archive of `name`; the program ends as `FOLDER/bin/NAME`.
pub async fn fetch(machine: &Machine, runner: &Runner, name: &str, folder: &Path) -> Result<(), Unproven> {
    let ctx = &machine.ctx;
    let archive = pinned(ctx, name).with_context(|| format!("`{}` has no `{name}`", file(ctx)))?;
    let target = folder.join("bin").join(name);
    let downloaded = if archive.member.is_some() { folder.join("archive") } else { target.clone() };
    download::checked(machine, &archive.url, &archive.sha256, &downloaded).await?;
    if let Some(member) = &archive.member {
        // GNU tar and BSD tar both know the compression by the bytes.
        let unpack = Command::new("tar", folder).args(["-xf", "archive", member]).timeout(Duration::from_secs(120));
        let ended = runner.run(&unpack).await?;
        if !ended.is_success() {
            let reason = format!("the archive of `{name}` cannot be unpacked: {}", ended.failure());
            return Err(NotRun::new(reason, "install tar and xz from your system's packages").into());
        }
        std::fs::rename(folder.join(member), &target)
            .with_context(|| format!("the archive of `{name}` has no `{member}`"))?;
    }
    make_executable(&target)?;
    Ok(())
}

fn make_executable(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot make `{}` executable", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_without_a_whole_hash_is_none() {
        let text = |hash: &str| {
            format!(
                "[lint]\nversion = \"1.2\"\n[lint.linux-x86_64]\nurl = \"https://x.invalid/a\"\nsha256 = \"{hash}\"\n"
            )
        };
        let found = parse(&text(&"a".repeat(64)), "lint", "linux-x86_64").unwrap();
        assert_eq!((found.version.as_str(), found.member), ("1.2", None));
        for (hash, platform) in [("abc".to_owned(), "linux-x86_64"), ("a".repeat(64), "macos-aarch64")] {
            assert_eq!(parse(&text(&hash), "lint", platform), None, "{hash} {platform}");
        }
    }
}
