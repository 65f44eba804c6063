//! What Kustomize makes of an overlay, and where in the sources a word of it stands.

use anyhow::Context as _;

use super::super::{files, scratch};
use crate::config::Manifests;
use crate::context::Ctx;
use crate::engine::session::Session;
use crate::tools::catalog::KUSTOMIZE;
use crate::tools::command::Command;
use crate::verdict::{Finding, Severity, Unproven};

/// One stream of documents: a rendered overlay, or a file as it is.
#[derive(Debug)]
pub struct Rendered {
    /// The overlay or the file, relative to the repository.
    pub name: String,
    /// Where it lies.
    pub path: std::path::PathBuf,
    /// How many documents it holds.
    pub documents: usize,
}

/// Everything that would be applied, and the files that it was made of.
#[derive(Debug)]
pub struct Streams {
    /// In the order of the configuration.
    pub streams: Vec<Rendered>,
    /// What cannot be rendered, for it would be fetched from elsewhere.
    pub findings: Vec<Finding>,
    sources: Vec<(String, String)>,
    _folder: tempfile::TempDir,
}

/// Renders one overlay.
pub fn step(ctx: &Ctx, overlay: &str) -> Command {
    Command::new(KUSTOMIZE.name, &ctx.root).args(["build", overlay])
}

/// Renders every overlay, after a look for resources that Kustomize would fetch from elsewhere: no option
/// forbids it.
pub async fn streams(session: &Session, manifests: &Manifests) -> Result<Streams, Unproven> {
    let ctx = session.ctx();
    let all = [&manifests.overlays[..], &manifests.files, &manifests.inputs].concat();
    let is_yaml: fn(&str) -> bool = |path| path.ends_with(".yaml") || path.ends_with(".yml");
    let read = |path: String| {
        let text = std::fs::read_to_string(ctx.root.join(&path)).with_context(|| format!("cannot read `{path}`"))?;
        anyhow::Ok((path, text))
    };
    let sources = files(session, &all, is_yaml).await?.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let folder = scratch(ctx)?;
    let findings: Vec<Finding> = sources.iter().flat_map(|(path, text)| remote(path, text)).collect();
    let mut streams = Vec::new();
    let overlays = if findings.is_empty() { &manifests.overlays[..] } else { &[] };
    for (index, overlay) in overlays.iter().enumerate() {
        let ended = session.tool(&KUSTOMIZE, &step(ctx, overlay)).await?;
        if !ended.is_success() {
            return Err(session.not_run(format!("kustomize on `{overlay}` {}", ended.failure())).into());
        }
        let path = folder.path().join(format!("{index}.yaml"));
        std::fs::write(&path, &ended.stdout).context("cannot write a rendered overlay")?;
        streams.push(Rendered { name: overlay.clone(), path, documents: documents(&ended.stdout) });
    }
    for file in &manifests.files {
        let text = std::fs::read_to_string(ctx.root.join(file))
            .map_err(|e| session.not_run(format!("`{file}` cannot be read: {e}")))?;
        streams.push(Rendered { name: file.clone(), path: ctx.root.join(file), documents: documents(&text) });
    }
    if let Some(empty) = streams.iter().find(|stream| stream.documents == 0) {
        return Err(session.not_run(format!("did no work: `{}` holds no document", empty.name)).into());
    }
    Ok(Streams { streams, findings, sources, _folder: folder })
}

impl Streams {
    /// How many documents there are in all.
    pub fn documents(&self) -> usize {
        self.streams.iter().map(|stream| stream.documents).sum()
    }

    /// The finding, in the first source that has all the words, at the line of the last of them.
    pub fn place(&self, finding: Finding, words: &[&str]) -> Finding {
        let has_all = |(_, text): &&(String, String)| words.iter().all(|word| text.contains(word));
        let Some((path, text)) = self.sources.iter().find(has_all) else {
            let first = self.streams.first().map(|stream| stream.name.clone());
            return finding.at(first, None);
        };
        let line = words.last().and_then(|word| text.lines().position(|line| line.contains(word)));
        finding.at(path.clone(), line.and_then(|line| u32::try_from(line + 1).ok()))
    }
}

/// Documents that hold more than comments.
fn documents(text: &str) -> usize {
    let said = |document: &&str| document.lines().any(|line| !line.trim().is_empty() && !line.trim().starts_with('#'));
    text.split("\n---").map(|document| document.strip_prefix("---").unwrap_or(document)).filter(|d| said(d)).count()
}

fn remote(path: &str, text: &str) -> Vec<Finding> {
    let name = path.rsplit('/').next().unwrap_or(path);
    if !["kustomization.yaml", "kustomization.yml"].contains(&name) {
        return vec![];
    }
    let from_elsewhere = |line: &str| {
        let item = line.trim_start().starts_with("- ");
        item && ["://", "github.com/", "git@", "?ref="].iter().any(|mark| line.contains(mark))
    };
    let lines = text.lines().enumerate().filter(|(_, line)| from_elsewhere(line));
    let message = "Kustomize would fetch this from elsewhere: nobody has pinned it";
    lines
        .map(|(line, _)| {
            let line = u32::try_from(line + 1).ok();
            Finding::new("remote-resource", Severity::High, message).at(path.to_owned(), line)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_counted_without_empty_ones() {
        for (text, count) in [
            ("", 0),
            ("---\n# only words\n---\n", 0),
            ("a: 1\n", 1),
            ("---\na: 1\n---\nb: 2\n---\n", 2),
            ("a: |\n  x---\n---\n# c\nb: 2\n", 2),
        ] {
            assert_eq!(documents(text), count, "{text:?}");
        }
    }

    #[test]
    fn what_would_be_fetched_is_found() {
        let text = "resources:\n- deployment.yaml\n- https://example.org/a.yaml\n- github.com/x/y?ref=main\n";
        let lines: Vec<_> = remote("k8s/base/kustomization.yaml", text).iter().map(|found| found.line).collect();
        assert_eq!(lines, [Some(3), Some(4)]);
        assert!(remote("k8s/base/deployment.yaml", text).is_empty());
    }
}
