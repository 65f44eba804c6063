//! A run that has ended becomes a line of the history, while its reporter writes the last files.

use anyhow::{Context as _, Result};

use crate::context::Ctx;
use crate::history::convert::{self, About};
use crate::history::entry::Host;
use crate::history::{artifacts, store};
use crate::model::Report;
use crate::text::clean;

/// The line of a run beside its report, relative to the output folder.
const FILE: &str = "history.jsonl";

/// Appends the run. `branch` is what git says.
pub fn remember(ctx: &Ctx, report: &Report, branch: &str) -> Result<()> {
    let mut random = [0; 3];
    getrandom::fill(&mut random).map_err(|e| anyhow::anyhow!("no random numbers: {e}"))?;
    let about = About {
        branch: branch_of(ctx, branch),
        environment: ctx.environment.clone(),
        host: if ctx.in_actions() { Host::Actions } else { Host::Laptop },
        url: crate::context::run_url(&ctx.env),
        random,
    };
    let entry = convert::entry(report, &artifacts::read(&ctx.out, report), &about);
    let text = ctx.redactor.redact(&serde_json::to_string(&entry)?);
    // Beside the report too: whoever takes it to another machine takes this along.
    std::fs::write(ctx.out.join(FILE), format!("{text}\n")).with_context(|| format!("cannot write `{FILE}`"))?;
    store::append(&ctx.store.join(store::FOLDER), &entry.run, &text)
}

/// A checkout of Actions is of a commit: there the environment knows the branch, of a pull request the one it comes from.
fn branch_of(ctx: &Ctx, branch: &str) -> String {
    let told = ["GITHUB_HEAD_REF", "GITHUB_REF_NAME"]
        .into_iter()
        .find_map(|name| ctx.var(name).filter(|value| ctx.in_actions() && !value.is_empty()));
    clean(told.unwrap_or(branch)).chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::testing;

    #[test]
    fn the_branch_is_gits_on_a_laptop_and_the_workflows_in_actions() {
        for (env, git, expected) in [
            (&[("GITHUB_REF_NAME", "develop")][..], "topic", "topic"),
            (&[], "", ""),
            (&[("GITHUB_ACTIONS", "true"), ("GITHUB_REF_NAME", "develop"), ("GITHUB_HEAD_REF", "")], "", "develop"),
            (
                &[("GITHUB_ACTIONS", "true"), ("GITHUB_REF_NAME", "7/merge"), ("GITHUB_HEAD_REF", "to\u{1b}[31mpic")],
                "",
                "topic",
            ),
        ] {
            let mut ctx = testing::ctx(std::path::Path::new("/repo"));
            ctx.env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            assert_eq!(branch_of(&ctx, git), expected, "{env:?}");
        }
    }
}
