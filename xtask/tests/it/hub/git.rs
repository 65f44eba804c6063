//! Git's objects and branches, as GitHub's API has them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Reply, State, message};

impl State {
    /// An object of git; `None` where it names what is not there.
    pub(super) fn makes(&mut self, path: &str, body: &Value) -> Option<String> {
        let id = |text: &str| sha1_smol::Sha1::from(text).digest().to_string();
        let named = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Some(match path {
            "git/blobs" => {
                let text = named(&body["content"]);
                let sha = id(&text);
                self.blobs.insert(sha.clone(), text);
                sha
            }
            "git/trees" => {
                let mut tree = match body["base_tree"].as_str() {
                    Some(base) => self.trees.get(base)?.clone(),
                    None => BTreeMap::new(),
                };
                for node in body["tree"].as_array()? {
                    match node["sha"].as_str() {
                        Some(blob) => {
                            drop(tree.insert(named(&node["path"]), self.blobs.get_key_value(blob)?.0.clone()))
                        }
                        None => drop(tree.remove(node["path"].as_str()?)?),
                    }
                }
                let sha = id(&format!("{tree:?}"));
                self.trees.insert(sha.clone(), tree);
                sha
            }
            _ => {
                if let Some(branch) = self.moved.take() {
                    self.adds(&branch, "runs/somebody-else.json", "{}");
                }
                let tree = self.trees.get_key_value(body["tree"].as_str()?)?.0.clone();
                let parents: Vec<String> = body["parents"].as_array()?.iter().map(named).collect();
                // Two commits are never the same, for their times differ.
                let sha = id(&format!("{} {body}", self.commits.len()));
                self.commits.insert(sha.clone(), (tree, parents));
                sha
            }
        })
    }

    /// A branch goes forward, or not at all.
    pub(super) fn moves(&mut self, name: &str, body: &Value) -> Reply {
        let sha = body["sha"].as_str().unwrap().to_owned();
        let Some((_, head)) = self.refs.get(name) else {
            return (422, vec![], message("Reference does not exist"));
        };
        if !self.commits.contains_key(&sha) {
            return (422, vec![], message("Object does not exist"));
        }
        let mut past = std::iter::successors(Some(&sha), |commit| self.commits[*commit].1.first());
        if !past.any(|commit| commit == head) && body["force"] != true {
            return (422, vec![], message("Update is not a fast forward"));
        }
        self.refs.insert(name.to_owned(), ("commit".to_owned(), sha.clone()));
        (200, vec![], json!({"object": {"type": "commit", "sha": sha}}))
    }

    pub(super) fn adds(&mut self, branch: &str, path: &str, text: &str) {
        let name = format!("refs/heads/{branch}");
        let head = self.refs[&name].1.clone();
        let base = self.commits[&head].0.clone();
        let blob = self.makes("git/blobs", &json!({"content": text})).unwrap();
        let change = json!([{"path": path, "sha": blob}]);
        let tree = self.makes("git/trees", &json!({"base_tree": base, "tree": change})).unwrap();
        let commit = self.makes("git/commits", &json!({"tree": tree, "parents": [head]})).unwrap();
        self.refs.insert(name, ("commit".to_owned(), commit));
    }
}
