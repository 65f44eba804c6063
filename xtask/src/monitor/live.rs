//! The configuration that lives in a cluster, as texts that can be looked through for secrets. Pure.
//!
//! Secrets are no part of it: their values are never asked for.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// One value. It may be a secret, so that it is shown to nobody.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text {
    /// Where it stands, for people.
    pub origin: String,
    /// The name of a file with such a content.
    pub name: String,
    /// The value, with its name before it where it is one line.
    pub bytes: Vec<u8>,
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Text({}, {} bytes)", self.origin, self.bytes.len())
    }
}

/// Every value of every ConfigMap.
pub fn of_config_maps(maps: &[Value]) -> Vec<Text> {
    let mut texts = Vec::new();
    for map in maps {
        let origin = format!("ConfigMap `{}`", text(&map["metadata"]["name"]));
        for (key, value) in fields(&map["data"]) {
            texts.push(named(format!("{origin}, key `{key}`"), key, text(value).as_bytes()));
        }
        for (key, value) in fields(&map["binaryData"]) {
            let bytes = STANDARD.decode(text(value)).unwrap_or_else(|_| text(value).as_bytes().to_vec());
            texts.push(named(format!("{origin}, key `{key}`"), key, &bytes));
        }
    }
    texts
}

/// The values of environment variables, commands and arguments of pods' templates: each once, for the pods of a template
/// have the same. `objects` are pods, or what makes pods.
pub fn of_templates(kind: &str, objects: &[Value], known: &mut BTreeSet<Vec<u8>>) -> Vec<Text> {
    let mut texts = Vec::new();
    for object in objects {
        let origin = format!("{kind} `{}`", text(&object["metadata"]["name"]));
        let spec = [&object["spec"]["jobTemplate"]["spec"]["template"]["spec"], &object["spec"]["template"]["spec"]];
        let spec = spec.into_iter().find(|spec| spec.is_object()).unwrap_or(&object["spec"]);
        for list in ["containers", "initContainers", "ephemeralContainers"] {
            for container in items(&spec[list]) {
                let origin = format!("{origin}, container `{}`", text(&container["name"]));
                for variable in items(&container["env"]) {
                    let (name, value) = (text(&variable["name"]), text(&variable["value"]));
                    texts.push(named(format!("{origin}, variable `{name}`"), name, value.as_bytes()));
                }
                for words in ["command", "args"] {
                    let line: Vec<&str> = items(&container[words]).iter().map(text).collect();
                    texts.push(named(format!("{origin}, {words}"), words, line.join("\n").as_bytes()));
                }
            }
        }
    }
    texts.retain(|text| !text.bytes.is_empty() && known.insert(text.bytes.clone()));
    texts
}

/// Rules look for a name beside a value, and a file of several lines has its own.
fn named(origin: String, key: &str, value: &[u8]) -> Text {
    let one_line = !value.is_empty() && !value.trim_ascii_end().contains(&b'\n');
    let bytes = if one_line { [key.as_bytes(), b"=", value].concat() } else { value.to_vec() };
    Text { origin, name: key.to_owned(), bytes }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn fields(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shown(texts: &[Text]) -> Vec<String> {
        texts.iter().map(|text| format!("{}: {}", text.origin, String::from_utf8_lossy(&text.bytes))).collect()
    }

    #[test]
    fn every_value_of_a_config_map_is_looked_through() {
        let map = json!({"metadata": {"name": "m"}, "data": {"KEY": "v", "app.yaml": "a: 1\nb: 2\n", "none": ""},
                         "binaryData": {"blob": "AAEC"}});
        assert_eq!(
            shown(&of_config_maps(&[map])),
            [
                "ConfigMap `m`, key `KEY`: KEY=v",
                "ConfigMap `m`, key `app.yaml`: a: 1\nb: 2\n",
                "ConfigMap `m`, key `none`: ",
                "ConfigMap `m`, key `blob`: blob=\u{0}\u{1}\u{2}",
            ]
        );
    }

    #[test]
    fn every_container_of_a_template_is_looked_through_and_the_same_value_once() {
        let spec = json!({
            "containers": [{"name": "app", "env": [{"name": "A", "value": "1"}, {"name": "S", "valueFrom": {}}], "args": ["x", "y"]}],
            "initContainers": [{"name": "first", "command": ["run"]}],
        });
        let deployment = json!({"metadata": {"name": "d"}, "spec": {"template": {"spec": spec}}});
        let job = json!({"metadata": {"name": "j"}, "spec": {"jobTemplate": {"spec": {"template": {"spec": {
            "containers": [{"name": "c", "env": [{"name": "A", "value": "2"}]}]}}}}}});
        let pod = json!({"metadata": {"name": "p"}, "spec": spec});
        let mut known = BTreeSet::new();
        let mut all = of_templates("Deployment", &[deployment], &mut known);
        all.extend(of_templates("CronJob", &[job], &mut known));
        all.extend(of_templates("Pod", &[pod], &mut known));
        assert_eq!(
            shown(&all),
            [
                "Deployment `d`, container `app`, variable `A`: A=1",
                "Deployment `d`, container `app`, args: x\ny",
                "Deployment `d`, container `first`, command: command=run",
                "CronJob `j`, container `c`, variable `A`: A=2",
            ]
        );
        assert!(!format!("{all:?}").contains("A=1"), "a value is shown to nobody");
    }
}
