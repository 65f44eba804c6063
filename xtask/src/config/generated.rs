//! `[generated]`: files for other tools that are made of this configuration and of the environments' files.

use serde::{Deserialize, Serialize};

use super::Config;
use super::release::is_label;

/// `[generated]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generated {
    /// What Backstage shows of the backend.
    pub backstage: Option<Backstage>,
    /// What Argo CD compares with each environment.
    pub argocd: Option<Argocd>,
    /// A task by which Tekton runs the gates.
    pub tekton: Option<Tekton>,
}

/// `[generated.backstage]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backstage {
    /// The file, relative to the repository.
    pub file: String,
    /// What people call the backend.
    pub title: String,
    /// What it is, in a sentence.
    pub description: String,
    /// Who answers for it, as a reference to an entity: `group:default/pipeline`.
    pub owner: String,
    /// The system that it is a part of.
    pub system: String,
    /// `experimental`, `production`, `deprecated`, or a word of the organisation's own.
    pub lifecycle: String,
    /// Words that it is found by.
    #[serde(default)]
    pub tags: Vec<String>,
    /// The labels of its pods, as `kubectl --selector` takes them.
    pub selector: String,
    /// The one of `[requests]` whose answer is the OpenAPI description.
    pub api: String,
    /// The environment that is asked for it.
    pub environment: String,
}

/// `[generated.argocd]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Argocd {
    /// The folder of the files, relative to the repository: one an environment, and nothing else in it.
    pub folder: String,
    /// The namespace that Argo CD lives in.
    #[serde(default = "argocd")]
    pub namespace: String,
    /// Its project.
    #[serde(default = "default_project")]
    pub project: String,
}

/// `[generated.tekton]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tekton {
    /// The file, relative to the repository.
    pub file: String,
    /// The profile, unless a run names another one.
    pub profile: String,
    /// More arguments of `cargo xtask ci`, unless a run names others.
    #[serde(default)]
    pub options: Vec<String>,
}

impl Generated {
    /// The files and folders that are made.
    pub fn places(&self) -> Vec<String> {
        let backstage = self.backstage.iter().map(|part| &part.file);
        let argocd = self.argocd.iter().map(|part| &part.folder);
        let tekton = self.tekton.iter().map(|part| &part.file);
        backstage.chain(argocd).chain(tekton).cloned().collect()
    }

    /// What is wrong with it.
    pub(super) fn check(&self, config: &Config) -> Result<(), String> {
        let places = self.places();
        if places.is_empty() {
            return Err("[generated] needs one of `backstage`, `argocd` and `tekton`".to_owned());
        }
        if let Some(wrong) = places.iter().find(|place| place.is_empty() || !crate::disk::is_inside(place)) {
            return Err(format!("[generated]: `{wrong}` is no place in the repository"));
        }
        if config.container.is_none() {
            return Err("[generated] needs [container], which says name and source".to_owned());
        }
        self.backstage.as_ref().map_or(Ok(()), |backstage| backstage.check(config))?;
        let names = self.argocd.iter().flat_map(|argocd| [&argocd.namespace, &argocd.project]);
        match names.into_iter().find(|name| !is_label(name)) {
            Some(wrong) => Err(format!("generated.argocd: `{wrong}` is no name of an object")),
            None => Ok(()),
        }
    }
}

impl Backstage {
    fn check(&self, config: &Config) -> Result<(), String> {
        if !config.requests.contains_key(&self.api) {
            return Err(format!("generated.backstage.api: no request is named `{}`", self.api));
        }
        if !is_label(&self.system) {
            return Err(format!("generated.backstage.system: `{}` is no name of an entity", self.system));
        }
        // The characters that Backstage takes: `CommonValidatorFunctions.isValidTag` of @backstage/catalog-model.
        let is_tag = |tag: &str| {
            let is_word = |word: &str| {
                let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b":+#".contains(&byte);
                !word.is_empty() && word.bytes().all(inside)
            };
            tag.len() <= 63 && tag.split('-').all(is_word)
        };
        if let Some(wrong) = self.tags.iter().find(|tag| !is_tag(tag)) {
            return Err(format!("generated.backstage.tags: `{wrong}` is no tag"));
        }
        let words = [&self.title, &self.description, &self.owner, &self.lifecycle, &self.selector];
        if words.iter().any(|word| word.trim().is_empty() || word.chars().any(char::is_control)) {
            return Err("generated.backstage: a text is empty, or has more than one line".to_owned());
        }
        Ok(())
    }
}

fn argocd() -> String {
    "argocd".to_owned()
}

fn default_project() -> String {
    "default".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_the_other_tools_take() {
        let ours = include_str!("../../config/pipeline.toml");
        for (from, to, wrong) in [
            ("", "", None),
            ("api = \"openapi\"", "api = \"opnapi\"", Some("no request is named `opnapi`")),
            ("system = \"forgetm\"", "system = \"Forge TM\"", Some("no name of an entity")),
            ("tags = [\"python\"", "tags = [\"Python\"", Some("`Python` is no tag")),
            ("file = \"catalog-info.yaml\"", "file = \"../catalog-info.yaml\"", Some("no place in the repository")),
            ("title = \"Forge\"", "title = \"\"", Some("a text is empty")),
            ("folder = \"k8s/argocd\"", "folder = \"k8s/argocd\"\nproject = \"a b\"", Some("no name of an object")),
        ] {
            assert!(ours.contains(from), "{from}");
            let found = Config::parse(&ours.replacen(from, to, 1)).err().unwrap_or_default();
            assert_eq!(found.is_empty(), wrong.is_none(), "{to}: {found}");
            assert!(found.contains(wrong.unwrap_or_default()), "{to}: {found}");
        }
    }
}
