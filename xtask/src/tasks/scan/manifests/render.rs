//! What Kustomize makes of an overlay, and where in the sources a word of it stands.

use std::path::{Component, Path, PathBuf};

use anyhow::Context as _;

use super::super::{files, scratch};
use crate::config::{Generated, Manifests};
use crate::context::Ctx;
use crate::disk::write_atomically;
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
    pub path: PathBuf,
    /// How many documents it holds.
    pub documents: usize,
}

impl Rendered {
    /// Its documents, read.
    ///
    /// # Errors
    ///
    /// Why they cannot be read.
    pub fn objects(&self) -> Result<Vec<serde_json::Value>, String> {
        let cannot = |why: String| format!("`{}` cannot be read: {why}", self.name);
        let text = std::fs::read_to_string(&self.path).map_err(|e| cannot(e.to_string()))?;
        let first_line = |text: String| text.lines().next().unwrap_or_default().to_owned();
        serde_saphyr::from_multiple(&text).map_err(|e| cannot(first_line(e.to_string())))
    }
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

/// Renders one overlay with `END` behind it.
pub fn step(ctx: &Ctx, overlay: &str) -> Command {
    Command::new(KUSTOMIZE.name, &ctx.root).arg("build").arg(around(ctx, overlay))
}

/// The last document of every rendered overlay: output that was cut off does not have it, whatever the exit code says.
const END: &str = "apiVersion: xtask/v1\nkind: End\nmetadata:\n  name: end\n";

/// A folder of ours, whose kustomization is the overlay and `END`.
fn around(ctx: &Ctx, overlay: &str) -> PathBuf {
    ctx.store.join("kustomize").join(overlay.trim_end_matches('/'))
}

fn write_around(ctx: &Ctx, overlay: &str) -> anyhow::Result<()> {
    let folder = around(ctx, overlay);
    // Kustomize takes no absolute path.
    let below = folder.strip_prefix(&ctx.root).context("the store is not in the repository")?;
    let up = "../".repeat(below.components().filter(|part| *part != Component::CurDir).count());
    let text = format!("resources:\n- {up}{overlay}\n- end.yaml\nsortOptions:\n  order: fifo\n");
    write_atomically(&folder.join("end.yaml"), END.as_bytes())?;
    write_atomically(&folder.join("kustomization.yaml"), text.as_bytes())
}

/// What was rendered, without `END`; nothing where it is not whole.
fn whole(rendered: &str) -> Option<&str> {
    let rest = rendered.strip_suffix(END)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_suffix("---\n") }
}

/// Renders every overlay, after a look for resources that Kustomize would fetch from elsewhere: no option
/// forbids it.
pub async fn streams(session: &Session, manifests: &Manifests) -> Result<Streams, Unproven> {
    let ctx = session.ctx();
    let all = [&manifests.overlays[..], &manifests.files, &manifests.inputs].concat();
    let is_source: fn(&str) -> bool =
        |path| path.ends_with(".yaml") || path.ends_with(".yml") || is_kustomization(path);
    let read = |path: String| match std::fs::read_to_string(ctx.root.join(&path)) {
        Ok(text) => Ok((path, text)),
        Err(e) => Err(session.not_run(format!("`{path}` cannot be read: {e}"))),
    };
    // What is made for other tools names objects too, and no overlay is made of it.
    let made: Vec<String> = ctx.config.generated.iter().flat_map(Generated::places).collect();
    let is_made = |path: &String| made.iter().any(|place| Path::new(path).starts_with(place));
    let there = files(session, &all, is_source).await?.into_iter().filter(|path| !is_made(path));
    let sources = there.map(read).collect::<Result<Vec<_>, _>>()?;
    let folder = scratch(ctx)?;
    let findings: Vec<Finding> = sources.iter().flat_map(|(path, text)| elsewhere(ctx, path, text, &all)).collect();
    let mut streams = Vec::new();
    let overlays = if findings.is_empty() { &manifests.overlays[..] } else { &[] };
    for (index, overlay) in overlays.iter().enumerate() {
        write_around(ctx, overlay)?;
        let ended = session.tool(&KUSTOMIZE, &step(ctx, overlay)).await?;
        if !ended.is_success() {
            return Err(session.not_run(format!("kustomize on `{overlay}` {}", ended.failure())).into());
        }
        let Some(text) = whole(&ended.stdout) else {
            return Err(session.not_run(format!("kustomize on `{overlay}` wrote half of its output")).into());
        };
        let path = folder.path().join(format!("{index}.yaml"));
        std::fs::write(&path, text).context("cannot write a rendered overlay")?;
        streams.push(Rendered { name: overlay.clone(), path, documents: documents(text) });
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
        let has_all = |(_, text): &&(String, String)| words.iter().all(|word| has(text, word));
        let Some((path, text)) = self.sources.iter().find(has_all) else {
            let first = self.streams.first().map(|stream| stream.name.clone());
            return finding.at(first, None);
        };
        let line = words.last().and_then(|word| text.lines().position(|line| has(line, word)));
        finding.at(path.clone(), line.and_then(|line| u32::try_from(line + 1).ok()))
    }

    /// The same, without the last word where no source has all of them.
    pub fn place_best(&self, finding: Finding, words: &[&str]) -> Finding {
        let placed = self.place(finding.clone(), words);
        if placed.line.is_some() { placed } else { self.place(finding, &words[..words.len().saturating_sub(1)]) }
    }
}

/// Whether the text has the words, and not only as a part of longer ones.
fn has(text: &str, words: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let (first, last) = (words.starts_with(is_part), words.ends_with(is_part));
    text.match_indices(words).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + words.len()..]);
        !(first && before.ends_with(is_part) || last && after.starts_with(is_part))
    })
}

/// Documents that hold more than comments.
fn documents(text: &str) -> usize {
    let said = |document: &&str| document.lines().any(|line| !line.trim().is_empty() && !line.trim().starts_with('#'));
    text.split("\n---").map(|document| document.strip_prefix("---").unwrap_or(document)).filter(|d| said(d)).count()
}

fn is_kustomization(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    ["kustomization.yaml", "kustomization.yml", "Kustomization"].contains(&name)
}

/// The lists of a kustomization that name files, folders and repositories.
const SOURCES: [&str; 8] =
    ["resources", "bases", "components", "crds", "configurations", "generators", "transformers", "validators"];

/// What a kustomization takes from outside of the declared inputs: from the network, or from a file that no key has.
fn elsewhere(ctx: &Ctx, path: &str, text: &str, inputs: &[String]) -> Vec<Finding> {
    if !is_kustomization(path) {
        return vec![];
    }
    let line = |word: &str| {
        let index = text.lines().position(|line| line.contains(word))?;
        u32::try_from(index + 1).ok()
    };
    let finding = |rule: &str, word: &str, message: String| {
        Finding::new(rule, Severity::High, message).at(path.to_owned(), line(word))
    };
    let Ok(parsed) = serde_saphyr::from_str::<serde_json::Value>(text) else {
        return vec![finding("kustomization", "", "this cannot be read as YAML".to_owned())];
    };
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let entries = SOURCES.iter().flat_map(|list| parsed[*list].as_array().into_iter().flatten());
    let judge = |entry: &str| {
        if ["://", "github.com/", "git@", "?ref="].iter().any(|mark| entry.contains(mark)) {
            let message = "Kustomize would fetch this from elsewhere: nobody has pinned it".to_owned();
            return Some(finding("remote-resource", entry, message));
        }
        let local = ctx.relative(&Path::new(folder).join(entry)).unwrap_or_default();
        let declared = inputs.iter().any(|input| Path::new(&local).starts_with(input.trim_end_matches('/')));
        let message = || format!("`{entry}` is not among the inputs of [manifests] in pipeline.toml");
        (!declared).then(|| finding("undeclared-source", entry, message()))
    };
    // What is no path is written out in place, and is rendered with the rest.
    entries.filter_map(|entry| entry.as_str().filter(|text| !text.contains('\n'))).filter_map(judge).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_output_ends_with_the_end() {
        let text = format!("a: 1\n---\nb: 2\n---\n{END}");
        assert_eq!(whole(&text), Some("a: 1\n---\nb: 2\n"));
        assert_eq!(whole(END), Some(""));
        for cut in 0..text.len() {
            assert_eq!(whole(&text[..cut]), None, "{cut}");
        }
    }

    #[test]
    fn a_word_is_not_found_in_a_longer_one() {
        for (text, words, is_there) in [
            ("minReplicas: 3", "minReplica", false),
            ("minReplicas: 3\nminReplica: 3", "minReplica", true),
            ("name: shop-redis", "name: shop", false),
            ("rename: shop", "name: shop", false),
            ("- name: shop", "name: shop", true),
            ("image: x", "image:", true),
            ("add: [NET_RAW]", "NET_RAW", true),
        ] {
            assert_eq!(has(text, words), is_there, "{text:?} {words:?}");
        }
    }

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
    fn what_comes_from_elsewhere_is_found() {
        let ctx = crate::context::testing::ctx(Path::new("/repo"));
        let inputs = ["k8s".to_owned()];
        for (text, expected) in [
            ("resources:\n- deployment.yaml\n- ../other\n", None),
            ("resources:\n- deployment.yaml\n- https://example.org/a.yaml\n", Some(("remote-resource", Some(3)))),
            ("resources: [\"http://127.0.0.1/a.yaml\"]\n", Some(("remote-resource", Some(1)))),
            ("components:\n- github.com/x/y?ref=main\n", Some(("remote-resource", Some(2)))),
            ("resources:\n- ../../base\n", Some(("undeclared-source", Some(2)))),
            ("resources: [\n", Some(("kustomization", Some(1)))),
        ] {
            for name in ["kustomization.yaml", "Kustomization"] {
                let found = elsewhere(&ctx, &format!("k8s/base/{name}"), text, &inputs);
                assert_eq!(found.first().map(|found| (found.rule.as_str(), found.line)), expected, "{text}");
            }
            assert!(elsewhere(&ctx, "k8s/base/deployment.yaml", text, &inputs).is_empty());
        }
    }
}
