//! `docs`: the site, built strictly, with every internal link and anchor checked.
//!
//! What counts as a broken link is said here and not in the project's own `mkdocs.yml`, so that a
//! branch cannot lower it. Work is counted in pages that were written. Links in raw HTML are not checked:
//! MkDocs does not look into it.

use std::path::Path;

use anyhow::Result;
use regex_lite::Regex;
use serde::Deserialize;

use super::{Subject, Task, UNLISTED};
use crate::config::Docs;
use crate::context::Ctx;
use crate::engine::gate::{Gate, Inputs, action};
use crate::engine::session::Session;
use crate::engine::store::files_of;
use crate::tools::command::Command;
use crate::tools::environment::Spec;
use crate::tools::proc::Exit;
use crate::verdict::{Evidence, Finding, Outcome, Severity, Unproven, Work};

/// Part of `ci`.
pub const TASK: Task = Task {
    name: "docs",
    subjects: &[Subject {
        table: "docs",
        declared: |config| config.docs.is_some(),
        markers: &["mkdocs.yml", "mkdocs.yaml"],
        within: &[],
        listed: UNLISTED,
    }],
    plan,
};

/// The site, relative to the output folder.
const SITE: &str = "site/";

/// MkDocs' own levels: everything that `--strict` can turn into an error.
const VALIDATION: &str = "validation:\n  nav:\n    omitted_files: warn\n    not_found: warn\n    absolute_links: warn\n  \
                          links:\n    not_found: warn\n    anchors: warn\n    absolute_links: warn\n    unrecognized_links: warn\n";

/// One gate.
fn plan(ctx: &Ctx) -> Vec<Gate> {
    let Some(docs) = &ctx.config.docs else { return vec![] };
    let spec = Spec::docs(&ctx.config, docs);
    let docs = docs.clone();
    vec![Gate {
        id: "docs".to_owned(),
        unit: "pages",
        tool: ("mkdocs", spec.lock.clone()),
        inputs: Inputs {
            files: docs.inputs.clone(),
            ignored: true,
            settings: format!("{docs:?}"),
            path_tools: vec!["uv"],
            ..Inputs::default()
        },
        environments: vec![spec.clone()],
        steps: vec![build(ctx, &spec, &docs)],
        again: "cargo xtask docs".to_owned(),
        action: action(move |session| run(session, spec.clone(), docs.clone())),
        ..Gate::default()
    }]
}

fn mkdocs(ctx: &Ctx, spec: &Spec, docs: &Docs) -> Command {
    Command::new(spec.python(ctx), &ctx.root.join(&docs.directory))
        .args(["-m", "mkdocs"])
        .env("NO_MKDOCS_2_WARNING", "1")
        .env("PYTHONPYCACHEPREFIX", ctx.store.join("pycache/docs"))
        .timeout(docs.timeout)
}

fn build(ctx: &Ctx, spec: &Spec, docs: &Docs) -> Command {
    mkdocs(ctx, spec, docs)
        .args(["build", "--strict", "--config-file", "-", "--site-dir"])
        .arg(ctx.out.join(SITE.trim_end_matches('/')))
        .stdin(format!("INHERIT: {}\n{VALIDATION}", docs.config))
}

async fn run(session: Session, spec: Spec, docs: Docs) -> Result<Outcome, Unproven> {
    let ctx = session.ctx();
    if !ctx.root.join(&docs.directory).join(&docs.config).is_file() {
        return Err(session.not_run(format!("`{}/{}` is not there", docs.directory, docs.config)).into());
    }
    session.environment(&spec).await?;
    session.artifact(SITE.trim_end_matches('/'))?;
    let ended = session.step(&build(ctx, &spec, &docs)).await?;
    let text = format!("{}{}", ended.stdout, ended.stderr);
    let findings = findings(&text, |path| located(ctx, &docs, path));
    let pages = files_of(&ctx.out, SITE).iter().filter(|f| f.ends_with(".html") && !f.ends_with("404.html")).count();
    // 0: built without a warning; 1: built, with warnings. A configuration that cannot be read is 1 as well, without pages.
    let agrees = match ended.exit {
        Exit::Code(0) => findings.is_empty(),
        Exit::Code(1) => !findings.is_empty() && pages > 0,
        _ => false,
    };
    if !agrees {
        return Err(session.not_run(format!("mkdocs {} ({pages} pages)", ended.failure())).into());
    }
    Ok(Outcome::Ran(Evidence {
        work: Work::new(pages as u64, "pages"),
        declared: None,
        findings,
        artifacts: vec![SITE.to_owned()],
        fix: "mend the pages, then `cargo xtask docs`; `cargo xtask docs --serve` shows them".to_owned(),
    }))
}

/// `WARNING -  Doc file 'a.md' contains a link 'b.md', but …` → findings.
fn findings(output: &str, located: impl Fn(&str) -> Located) -> Vec<Finding> {
    let marked = output.lines().filter_map(|line| {
        let (level, message) = line.trim_start().split_once('-')?;
        let severity = match level.trim() {
            "WARNING" => Severity::Medium,
            "ERROR" => Severity::High,
            _ => return None,
        };
        let message = message.trim();
        let quoted: Vec<&str> = message.split('\'').skip(1).step_by(2).collect();
        let place = quoted.first().map(|path| located(path)).unwrap_or_default();
        let line = quoted.get(1).and_then(|link| line_of(&place.text, link));
        Some(Finding::new("mkdocs", severity, message).at(place.path, line))
    });
    marked.collect()
}

/// A page of the documents, found in the repository.
#[derive(Debug, Default)]
struct Located {
    path: Option<String>,
    text: String,
}

/// The one setting of `mkdocs.yml` that says where pages lie.
#[derive(Debug, Default, Deserialize)]
struct Settings {
    docs_dir: Option<String>,
}

/// MkDocs names pages relative to its folder of documents.
fn located(ctx: &Ctx, docs: &Docs, page: &str) -> Located {
    let folder = Path::new(&docs.directory);
    let text = std::fs::read_to_string(ctx.root.join(folder).join(&docs.config)).unwrap_or_default();
    // A file with tags that only Python understands has its default.
    let settings: Settings = serde_saphyr::from_str(&text).unwrap_or_default();
    let pages = settings.docs_dir.unwrap_or_else(|| "docs".to_owned());
    let candidates = [folder.join(pages).join(page), folder.join(page)];
    let found = candidates
        .iter()
        .find_map(|path| Some((ctx.relative(path)?, std::fs::read_to_string(ctx.root.join(path)).ok()?)));
    found.map(|(path, text)| Located { path: Some(path), text }).unwrap_or_default()
}

/// The line on which a page uses a link's target.
fn line_of(text: &str, link: &str) -> Option<u32> {
    let used = Regex::new(&format!(r#"[(<"'\s:]{}[)>"'\s]"#, regex_lite::escape(link))).ok()?;
    let index = text.lines().position(|line| used.is_match(&format!("{line} ")))?;
    u32::try_from(index + 1).ok()
}

/// `docs --serve`: the site, built anew at each change, until Ctrl-C.
pub fn serve(ctx: &Ctx) -> Option<(Spec, Command)> {
    let docs = ctx.config.docs.as_ref()?;
    let spec = Spec::docs(&ctx.config, docs);
    let command = mkdocs(ctx, &spec, docs).args(["serve", "--strict", "--config-file"]).arg(&docs.config);
    Some((spec, command))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_link_leads_to_its_line() {
        // Recorded from mkdocs 1.6.1.
        let output = "INFO    -  Cleaning site directory\nWARNING -  Doc file 'guide.md' contains a link 'nowhere.md', but the target is \
                      not found among documentation files.\nAborted with 1 warnings in strict mode!\n";
        let page = |page: &str| Located {
            path: Some(format!("backend/docs/{page}")),
            text: "# Guide\n\nsee [this](nowhere.md)\n".to_owned(),
        };
        let found = findings(output, page);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].path.as_deref(), found[0].line), (Some("backend/docs/guide.md"), Some(3)));
        assert!(findings("INFO    -  fine\n", page).is_empty());
    }
}
