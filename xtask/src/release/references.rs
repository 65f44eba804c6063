//! The ConfigMaps and Secrets that the pods of a workload read.

use serde_json::{Value, json};

/// The names of the ConfigMaps and Secrets that a workload's pods read, sorted, each once.
pub fn configs(workload: &Value) -> Vec<String> {
    names(workload).into_iter().map(str::to_owned).collect()
}

/// The same, borrowed.
pub fn names(workload: &Value) -> Vec<&str> {
    let mut found = Vec::new();
    collect(&workload["spec"]["template"]["spec"], &mut found);
    found.sort_unstable();
    found.dedup();
    found
}

fn collect<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let name = match key.as_str() {
                    "secretRef" | "secretKeyRef" | "configMapRef" | "configMapKeyRef" | "configMap" => {
                        value["name"].as_str()
                    }
                    "secret" => value["secretName"].as_str(),
                    _ => None,
                };
                found.extend(name);
                collect(value, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        _ => {}
    }
}

/// Everything in a workload that names the Secret by its placeholder names it by its real name.
pub fn rename_secret(object: &mut Value, placeholder: &str, real: &str) {
    match object {
        Value::Object(fields) => {
            for (key, value) in fields {
                match (key.as_str(), &mut *value) {
                    ("secretRef" | "secretKeyRef", Value::Object(reference)) => {
                        swap(reference.get_mut("name"), placeholder, real)
                    }
                    ("secret", Value::Object(volume)) => swap(volume.get_mut("secretName"), placeholder, real),
                    _ => {}
                }
                rename_secret(value, placeholder, real);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename_secret(item, placeholder, real)),
        _ => {}
    }
}

fn swap(name: Option<&mut Value>, placeholder: &str, real: &str) {
    if let Some(name) = name.filter(|name| !placeholder.is_empty() && **name == *placeholder) {
        *name = json!(real);
    }
}
