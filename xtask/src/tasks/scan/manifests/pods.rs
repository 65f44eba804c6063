//! The pods that an object would make, wherever in it they are written out. Pure.

use serde_json::Value;

/// One template of pods, or a pod itself.
#[derive(Clone, Copy, Debug)]
pub struct Pod<'a> {
    /// What holds it.
    pub kind: &'a str,
    /// The name of what holds it.
    pub name: &'a str,
    /// Its specification.
    pub spec: &'a Value,
    /// Its own metadata.
    pub metadata: &'a Value,
}

/// Every pod of an object. Kinds are not asked for: whatever has a list of containers is one, in a kind that nobody
/// knows too.
pub fn pods(object: &Value) -> Vec<Pod<'_>> {
    let mut found = Vec::new();
    look(object, ("", ""), &mut found);
    found
}

fn look<'a>(value: &'a Value, holder: (&'a str, &'a str), found: &mut Vec<Pod<'a>>) {
    match value {
        Value::Object(fields) => {
            let is_object = value["apiVersion"].is_string() && value["kind"].is_string();
            let name = || value["metadata"]["name"].as_str().unwrap_or_default();
            let holder = if is_object { (value["kind"].as_str().unwrap_or_default(), name()) } else { holder };
            if fields.get("spec").is_some_and(|spec| spec["containers"].is_array()) {
                let (kind, name) = holder;
                found.push(Pod { kind, name, spec: &value["spec"], metadata: &value["metadata"] });
            }
            fields.values().for_each(|inner| look(inner, holder, found));
        }
        Value::Array(values) => values.iter().for_each(|inner| look(inner, holder, found)),
        _ => {}
    }
}

impl<'a> Pod<'a> {
    /// Containers of every sort, with their names.
    pub fn containers(&self) -> impl Iterator<Item = (&'a str, &'a Value)> + use<'a> {
        let spec = self.spec;
        let lists = ["initContainers", "containers", "ephemeralContainers"];
        let all = lists.into_iter().flat_map(move |list| spec[list].as_array().into_iter().flatten());
        all.map(|container| (container["name"].as_str().unwrap_or_default(), container))
    }

    /// Whether it asks to be spread over nodes.
    pub fn is_spread_over_nodes(&self) -> bool {
        let constraints = self.spec["topologySpreadConstraints"].as_array().into_iter().flatten();
        constraints.into_iter().any(|constraint| constraint["topologyKey"] == "kubernetes.io/hostname")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_is_found_in_whatever_holds_it() {
        let spec = json!({ "containers": [{ "name": "a" }], "initContainers": [{ "name": "b" }] });
        let held = |kind: &str, spec: Value| json!({ "apiVersion": "x/v1", "kind": kind, "metadata": { "name": "n" }, "spec": spec });
        let template = json!({ "template": { "metadata": {}, "spec": spec } });
        for (object, kinds) in [
            (held("Pod", spec.clone()), vec!["Pod"]),
            (held("Deployment", template.clone()), vec!["Deployment"]),
            (held("CronJob", json!({ "jobTemplate": { "spec": template.clone() } })), vec!["CronJob"]),
            (held("NobodyKnows", json!({ "two": [template.clone(), template.clone()] })), vec!["NobodyKnows"; 2]),
            (
                json!({ "apiVersion": "v1", "kind": "List", "items": [held("Pod", spec.clone()), held("Job", template)] }),
                vec!["Pod", "Job"],
            ),
            (held("Service", json!({ "ports": [] })), vec![]),
        ] {
            let found = pods(&object);
            assert_eq!(found.iter().map(|pod| pod.kind).collect::<Vec<_>>(), kinds, "{object}");
            for pod in found {
                assert_eq!(pod.name, "n");
                assert_eq!(pod.containers().map(|(name, _)| name).collect::<Vec<_>>(), ["b", "a"]);
            }
        }
    }
}
