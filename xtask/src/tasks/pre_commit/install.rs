//! `pre-commit --install`: git's own hook, so that a commit is checked before it is made.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};

use crate::context::Ctx;
use crate::engine::session::Session;
use crate::event::Events;
use crate::exit::UsageError;
use crate::tools::cancel::Cancel;
use crate::tools::command::{Command, quoted};
use crate::tools::environment::Spec;
use crate::tools::machine::Machine;
use crate::verdict::Unproven;

/// What tells our hook from somebody else's.
const MARK: &str = "# installed by `cargo xtask pre-commit --install`";

/// Writes `.git/hooks/pre-commit`, and gives its path. A hook that is not ours is never replaced.
pub async fn install(ctx: &Arc<Ctx>, cancel: &Cancel, events: &Events) -> Result<PathBuf, Unproven> {
    let Some(hooks) = &ctx.config.hooks else {
        return Err(anyhow::Error::from(UsageError("pipeline.toml declares no [hooks]".into())).into());
    };
    let machine = Arc::new(Machine::new(ctx.clone(), cancel.clone()));
    let session = Session::open("pre-commit-install", 0, &machine, events)?;
    let spec = Spec::tools(&ctx.config);
    session.environment(&spec).await?;
    let ask = Command::new("git", &ctx.root).args(["rev-parse", "--git-path", "hooks/pre-commit"]);
    let answer = machine.quiet().read_bytes(&ask).await?;
    let path = ctx.root.join(String::from_utf8_lossy(&answer).trim());
    let folder = Command::new("git", &ctx.root).args(["rev-parse", "--git-common-dir"]);
    let folder = ctx.root.join(String::from_utf8_lossy(&machine.quiet().read_bytes(&folder).await?).trim());
    if !path.starts_with(&folder) && !path.starts_with(&ctx.root) {
        let text = format!("`{}` serves other repositories too (core.hooksPath); write it by hand", path.display());
        return Err(anyhow::Error::from(UsageError(text)).into());
    }
    let present = String::from_utf8_lossy(&std::fs::read(&path).unwrap_or_default()).into_owned();
    if !present.is_empty() && !present.contains(MARK) {
        let text = format!("`{}` is there already and is not ours; move it away first", path.display());
        return Err(anyhow::Error::from(UsageError(text)).into());
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
    }
    // By the name that every checkout has for it, wherever a link may lead.
    let bin = machine.shown(&ctx.store.join("env").join(&spec.name).join("bin"));
    let secrets = ctx.config.secrets.is_some();
    std::fs::write(&path, script(&bin, &hooks.config, secrets))
        .with_context(|| format!("cannot write `{}`", path.display()))?;
    make_executable(&path)?;
    Ok(path)
}

/// Straight to prek, which looks at what is staged; the long way where the environment is gone. Secrets come
/// first, where anything is added: what was committed once is in the history for good. The built program is
/// taken as it is, for somebody waits; `cargo xtask` looks whether it is the newest.
fn script(bin: &str, config: &str, secrets: bool) -> String {
    let (bin, config) = (quoted(bin), quoted(config));
    let scan = "xtask=\"$top/target/debug/xtask\"\nscan() { if [ -x \"$xtask\" ]; then \"$xtask\" \"$@\"; else cargo xtask \"$@\"; fi; }\n\
                git diff --cached --quiet --no-renames --diff-filter=AMT || scan --quiet scan --staged || exit\n";
    let scan = if secrets { scan } else { "" };
    format!(
        "#!/bin/sh\n{MARK}\ntop=\"$(git rev-parse --show-toplevel)\"\n{scan}bin=\"$top\"/{bin}\n\
         [ -x \"$bin/prek\" ] || exec cargo xtask pre-commit\n\
         PATH=\"$bin:$PATH\" exec \"$bin/prek\" run --config {config}\n"
    )
}

fn make_executable(path: &std::path::Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot make `{}` executable", path.display()))
}
