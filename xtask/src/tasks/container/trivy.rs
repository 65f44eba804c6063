//! How Trivy looks into an image: what it is told, and the archive that it gets.
//!
//! By itself it takes the layers below the last `CMD` of the image's history for somebody else's, and does not look for
//! secrets in them; and it cannot read some histories (a label with a space, a health check by docker's legacy builder). So
//! it gets the image with the same layers and settings, and a history that begins with the layers and tells the settings
//! as a Dockerfile would.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::context::Ctx;
use crate::disk::lock;
use crate::tasks::scan::deps::trivy::Metadata;
use crate::tasks::scan::{own_config, write_own_config};
use crate::tools::catalog::TRIVY;
use crate::tools::command::Command;

/// Files of ours in place of those of the tree, or of none (R37).
const SETTINGS: [(&str, &str); 3] = [
    ("trivy.yaml", "{}\n"),
    ("trivyignore", ""),
    (
        "trivy-secret.yaml",
        "disable-allow-rules: [tests, examples, vendor, usr-dirs, locale-dir, markdown, node.js, golang, python, rubygems, \
         wordpress, anaconda]\n",
    ),
];

/// As much of a report as is read here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Report {
    /// What the image is made of.
    #[serde(default)]
    pub metadata: Metadata,
    /// One a kind of thing that was looked at.
    #[serde(default)]
    pub results: Vec<Target>,
}

/// `Results[]`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Target {
    /// A path within the image, or the image itself.
    pub target: String,
    /// How many checks of the configuration held and did not.
    pub misconf_summary: Option<Summary>,
    /// Those that did not.
    #[serde(default)]
    pub misconfigurations: Vec<Misconfiguration>,
    /// Secrets.
    #[serde(default)]
    pub secrets: Vec<Secret>,
}

/// `MisconfSummary`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Summary {
    /// Held.
    pub successes: u64,
    /// Did not.
    pub failures: u64,
}

/// `Misconfigurations[]`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Misconfiguration {
    /// `DS-0002`
    #[serde(rename = "ID")]
    pub id: String,
    /// In a sentence.
    pub message: String,
    /// `HIGH`
    pub severity: String,
}

/// `Secrets[]`; what it is worth is masked by Trivy itself and not read here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Secret {
    /// `aws-access-key-id`
    #[serde(rename = "RuleID")]
    pub rule: String,
    /// What it is.
    pub title: String,
    /// `CRITICAL`
    pub severity: String,
    /// From 1.
    pub start_line: u32,
    /// Where it was laid in.
    #[serde(default)]
    pub layer: Layer,
}

/// `Layer`
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Layer {
    /// Its digest.
    #[serde(rename = "DiffID")]
    pub diff_id: String,
}

/// Writes our settings.
pub fn settle(ctx: &Ctx) -> Result<()> {
    SETTINGS.iter().try_for_each(|(name, text)| write_own_config(ctx, name, text))
}

/// `trivy image` on an archive.
pub fn step(ctx: &Ctx, input: &Path, scanners: &[&str]) -> Command {
    Command::new(TRIVY.name, &ctx.root)
        .args(["image", "--quiet", "--skip-version-check", "--skip-check-update"])
        .args(scanners.iter().copied())
        .arg("--config")
        .arg(own_config(ctx, SETTINGS[0].0))
        .arg("--ignorefile")
        .arg(own_config(ctx, SETTINGS[1].0))
        .arg("--secret-config")
        .arg(own_config(ctx, SETTINGS[2].0))
        // What was found of a layer before says nothing of this Trivy; and only one process could open that file.
        .args(["--cache-backend", "memory"])
        .arg("--cache-dir")
        .arg(ctx.store.join("trivy"))
        .arg("--input")
        .arg(input)
}

/// The saved image with a history that hides nothing, beside it.
pub async fn prepare(saved: &Path) -> Result<PathBuf> {
    let _one_at_a_time = lock(&saved.with_extension("lock")).await?;
    let prepared = saved.with_extension("scan.tar");
    if !prepared.is_file() {
        let partial = saved.with_extension("partial");
        rewrite(saved, &partial).with_context(|| format!("cannot prepare `{}` for Trivy", saved.display()))?;
        std::fs::rename(&partial, &prepared).with_context(|| format!("cannot make `{}`", prepared.display()))?;
    }
    Ok(prepared)
}

fn rewrite(saved: &Path, to: &Path) -> Result<()> {
    let configs = configs(saved)?;
    let mut into = tar::Builder::new(File::create(to)?);
    let mut reader = tar::Archive::new(File::open(saved)?);
    for entry in reader.entries_with_seek()? {
        let mut entry = entry?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let mut header = entry.header().clone();
        if configs.contains(&path) {
            let mut text = String::new();
            entry.read_to_string(&mut text)?;
            let config = without_guesses(serde_json::from_str(&text)?).to_string();
            header.set_size(config.len() as u64);
            into.append_data(&mut header, &path, config.as_bytes())?;
        } else if let Some(link) = entry.link_name_bytes().map(|link| String::from_utf8_lossy(&link).into_owned()) {
            into.append_link(&mut header, &path, link)?;
        } else {
            into.append_data(&mut header, &path, &mut entry)?;
        }
    }
    into.finish()?;
    Ok(())
}

/// The names of the configurations that the archive's list of images has.
fn configs(saved: &Path) -> Result<Vec<String>> {
    let mut reader = tar::Archive::new(File::open(saved)?);
    for entry in reader.entries_with_seek()? {
        let mut entry = entry?;
        if entry.path_bytes().as_ref() == b"manifest.json" {
            let mut text = String::new();
            entry.read_to_string(&mut text)?;
            let images: Vec<Value> = serde_json::from_str(&text)?;
            let names =
                images.iter().filter_map(|image| Some(image["Config"].as_str()?.to_owned())).collect::<Vec<_>>();
            anyhow::ensure!(!names.is_empty(), "its list of images is empty");
            return Ok(names);
        }
    }
    anyhow::bail!("it has no list of images")
}

/// The same image with its layers first in its history, and its settings behind them as a Dockerfile would write them.
fn without_guesses(mut config: Value) -> Value {
    let settings = settings(&config["config"]);
    let Some(history) = config.get_mut("history").and_then(Value::as_array_mut) else { return config };
    history.retain(|entry| entry["empty_layer"] != json!(true));
    history.extend(settings.into_iter().map(|line| json!({"created_by": line, "empty_layer": true})));
    config
}

/// The settings of an image as instructions.
fn settings(config: &Value) -> Vec<String> {
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|text| Some(text.as_str()?.to_owned())).collect()
    };
    let mut lines = Vec::new();
    for pair in texts(&config["Env"]) {
        let (name, value) = pair.split_once('=').unwrap_or((&pair, ""));
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "\\$").replace('\n', " ");
        lines.push(format!("ENV {name}=\"{value}\""));
    }
    let ports = config["ExposedPorts"].as_object().into_iter().flat_map(|ports| ports.keys());
    lines.extend(ports.map(|port| format!("EXPOSE {port}")));
    lines.extend(config["User"].as_str().filter(|user| !user.is_empty()).map(|user| format!("USER {user}")));
    let test = texts(&config["Healthcheck"]["Test"]);
    lines.extend(test.first().filter(|kind| *kind != "NONE").map(|_| {
        let words = json!(test[1..]);
        format!("HEALTHCHECK CMD {words}")
    }));
    for (name, key) in [("ENTRYPOINT", "Entrypoint"), ("CMD", "Cmd")] {
        let words = texts(&config[key]);
        lines.extend((!words.is_empty()).then(|| format!("{name} {}", json!(words))));
    }
    lines
}

/// Where the canary's secret lies, and by which rule it is found.
pub const PLANTED: (&str, &str) = ("/canary/key.txt", "aws-access-key-id");

/// An image in whose first layer a secret lies that its second one deletes, and whose user is root: a Trivy that finds
/// neither looks at nothing.
pub fn canary(path: &Path) -> Result<()> {
    // In no source file as a whole.
    let key = ["AK", "IA", "3XQ7TZBN", "5LWRM2KD"].concat();
    let layers = [
        layer("canary/key.txt", format!("aws_access_key_id = {key}\n").as_bytes())?,
        layer("canary/.wh.key.txt", b"")?,
    ];
    let digests: Vec<String> = layers.iter().map(|layer| format!("sha256:{:x}", Sha256::digest(layer))).collect();
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["/canary"]},
        "rootfs": {"type": "layers", "diff_ids": digests},
        "history": [
            {"created_by": "/bin/sh -c #(nop) COPY file:0 in /canary "},
            {"created_by": "/bin/sh -c #(nop)  CMD [\"/canary\"]", "empty_layer": true},
            {"created_by": "/bin/sh -c rm /canary/key.txt"},
        ],
    });
    let config = without_guesses(config).to_string();
    let manifest =
        json!([{"Config": "config.json", "RepoTags": ["canary:1"], "Layers": ["0.tar", "1.tar"]}]).to_string();
    let mut into = tar::Builder::new(File::create(path)?);
    let parts: [(&str, &[u8]); 4] = [
        ("config.json", config.as_bytes()),
        ("0.tar", &layers[0]),
        ("1.tar", &layers[1]),
        ("manifest.json", manifest.as_bytes()),
    ];
    for (name, bytes) in parts {
        append(&mut into, name, bytes)?;
    }
    into.finish()?;
    Ok(())
}

fn layer(name: &str, bytes: &[u8]) -> Result<Vec<u8>> {
    let mut into = tar::Builder::new(Vec::new());
    append(&mut into, name, bytes)?;
    Ok(into.into_inner()?)
}

fn append<W: std::io::Write>(into: &mut tar::Builder<W>, name: &str, bytes: &[u8]) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(bytes.len() as u64);
    Ok(into.append_data(&mut header, name, bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_that_hides_layers_is_put_in_order() {
        let config = json!({
            "config": {
                "User": "1", "Env": ["A=a \"b\""], "Cmd": ["x", "y"], "Healthcheck": {"Test": ["CMD", "z"]},
                "ExposedPorts": {"80/tcp": {}},
            },
            "history": [
                {"created_by": "/bin/sh -c #(nop) COPY a"},
                {"created_by": "/bin/sh -c #(nop)  CMD [\"x\"]", "empty_layer": true},
                {"created_by": "RUN b"},
                {"created_by": "LABEL a=words that are not quoted", "empty_layer": true},
            ],
        });
        let config = without_guesses(config);
        let order: Vec<&str> =
            config["history"].as_array().unwrap().iter().filter_map(|e| e["created_by"].as_str()).collect();
        let expected = [
            "/bin/sh -c #(nop) COPY a",
            "RUN b",
            "ENV A=\"a \\\"b\\\"\"",
            "EXPOSE 80/tcp",
            "USER 1",
            "HEALTHCHECK CMD [\"z\"]",
            "CMD [\"x\",\"y\"]",
        ];
        assert_eq!(order, expected);
        assert_eq!(without_guesses(json!({"os": "linux"})), json!({"os": "linux"}));
    }
}
