//! What a build gets to see: the files that git knows, and the wheels of the locks, laid out anew each time.
//!
//! Wheels come from the machine's own package index, whatever that is and however it is reached, and are held against
//! the hashes of the lock; so no index, proxy or certificate gets into a layer or into the image's history.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::config::Container;
use crate::engine::session::Session;
use crate::tools::command::Command;
use crate::verdict::{NotRun, Unproven};

/// The folder within the context that holds the wheels.
const WHEELS: &str = "wheels";

/// How the folder of a context begins.
const STAGED: &str = "context-";

/// glibc versions whose wheels run on a Debian of the last years, the newest first (PEP 600).
const GLIBC: [&str; 8] = ["2_36", "2_35", "2_34", "2_31", "2_28", "2_27", "2_24", "2_17"];

/// Lays the context out, by one run at a time; the folder is gone with the value.
pub async fn stage(
    session: &Session,
    container: &Container,
    architecture: &str,
) -> Result<tempfile::TempDir, Unproven> {
    let ctx = session.ctx();
    let store = ctx.store.join("container");
    std::fs::create_dir_all(&store).with_context(|| format!("cannot make `{}`", store.display()))?;
    remove_left_over(&store);
    let staged = tempfile::Builder::new()
        .prefix(STAGED)
        .tempdir_in(&store)
        .with_context(|| format!("cannot make a folder in `{}`", store.display()))?;
    let below: Vec<String> = container.files.iter().map(|file| container.within(file)).collect();
    let snapshot = session.machine.snapshot().await?;
    for path in snapshot.files(&below)?.keys() {
        let relative = path.strip_prefix(&container.within("")).unwrap_or(path);
        copy(&ctx.root.join(path), &staged.path().join(relative))?;
    }
    copy(&ctx.root.join(&container.dockerfile), &staged.path().join("Dockerfile"))?;
    if !container.wheels.is_empty() {
        let wheels = wheels(session, container, architecture).await?;
        let cannot = || format!("cannot read `{}`", wheels.display());
        for entry in std::fs::read_dir(&wheels).with_context(cannot)? {
            let entry = entry.with_context(cannot)?;
            copy(&entry.path(), &staged.path().join(WHEELS).join(entry.file_name()))?;
        }
    }
    Ok(staged)
}

/// Contexts of runs that were killed: one run at a time builds here.
fn remove_left_over(store: &Path) {
    for entry in std::fs::read_dir(store).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(STAGED) {
            let _gone = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// With the permissions that git knows, whatever this checkout's umask made of them.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let cannot = || format!("cannot copy `{}` into the build's context", from.display());
    std::fs::create_dir_all(to.parent().unwrap_or(to)).with_context(cannot)?;
    std::fs::copy(from, to).with_context(cannot)?;
    let is_executable = from.metadata().with_context(cannot)?.permissions().mode() & 0o100 != 0;
    let mode = if is_executable { 0o755 } else { 0o644 };
    std::fs::set_permissions(to, std::fs::Permissions::from_mode(mode)).with_context(cannot)
}

/// The wheels of the locks, downloaded once for a set of locks and a platform.
async fn wheels(session: &Session, container: &Container, architecture: &str) -> Result<PathBuf, Unproven> {
    let ctx = session.ctx();
    let python = ctx.config.service.as_ref().map_or(&ctx.config.python.tools, |service| &service.python);
    let machine = match architecture {
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        other => other,
    };
    let mut made_of = blake3::Hasher::new();
    made_of.update(format!("{machine} {python}\n").as_bytes());
    for lock in &container.wheels {
        let path = ctx.root.join(container.within(lock));
        let text = std::fs::read(&path)
            .map_err(|e| session.not_run(format!("the lock `{}` cannot be read: {e}", path.display())))?;
        made_of.update(&text);
    }
    let shelf = ctx.store.join("container");
    let folder = shelf.join(format!("wheels-{}", &made_of.finalize().to_hex()[..16]));
    if folder.is_dir() {
        return Ok(folder);
    }
    // Markers are those of the interpreter that reads them, so that it has to be of the image's version.
    let interpreter = session.machine.interpreter(python).await?;
    let partial = session.runner().ledger.scratch("wheels", &shelf)?;
    for lock in &container.wheels {
        let mut pip = Command::new(&interpreter.executable, &ctx.root)
            .args(["-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--require-hashes", "--no-deps"])
            .args(["--only-binary", ":all:", "--implementation", "cp", "--python-version", python])
            .timeout(container.timeout);
        for glibc in GLIBC {
            pip = pip.args(["--platform".to_owned(), format!("manylinux_{glibc}_{machine}")]);
        }
        pip = pip.args(["--platform".to_owned(), format!("manylinux2014_{machine}")]);
        let pip = pip.arg("--dest").arg(partial.path()).arg("--requirement").arg(ctx.root.join(container.within(lock)));
        let ended = session.step(&pip).await?;
        if !ended.is_success() {
            let reason = format!("the wheels of `{lock}` cannot be downloaded: {}", ended.failure());
            return Err(NotRun::new(reason, "look at the way to the package index, then run again").into());
        }
    }
    // An older lock's wheels are of no use any more, and another run may have been faster.
    for entry in std::fs::read_dir(&shelf).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("wheels-") && entry.path() != folder {
            let _gone = std::fs::remove_dir_all(entry.path());
        }
    }
    if std::fs::rename(partial.path(), &folder).is_ok() {
        partial.keep();
    }
    Ok(folder)
}
