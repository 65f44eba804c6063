//! `catalog-info.yaml`: what Backstage shows of the backend. Pure.
//!
//! Annotations are those of Backstage's list of well-known ones
//! (<https://backstage.io/docs/features/software-catalog/well-known-annotations>).

use serde_json::{Map, Value, json};

use crate::config::{Backstage, Config, Container, Environment};

const VERSION: &str = "backstage.io/v1alpha1";

/// The system, the backend in it, and its API. `Err` where the environment that is named has no file.
pub fn entities(
    config: &Config,
    container: &Container,
    backstage: &Backstage,
    environments: &[Environment],
) -> Result<Vec<Value>, String> {
    let asked = environments.iter().find(|environment| environment.name == backstage.environment);
    let Some(asked) = asked else {
        return Err(format!("generated.backstage.environment: `{}` is no environment", backstage.environment));
    };
    let path = config.requests.get(&backstage.api).map_or("", |request| request.path());
    let described = format!("{}{path}", asked.url.trim_end_matches('/'));
    let links = environments.iter().map(|environment| json!({"title": environment.name, "url": environment.url}));
    let Backstage { owner, system, lifecycle, .. } = backstage;
    let name = &container.name;
    Ok(vec![
        json!({
            "apiVersion": VERSION,
            "kind": "System",
            "metadata": {"name": system},
            "spec": {"owner": owner},
        }),
        json!({
            "apiVersion": VERSION,
            "kind": "Component",
            "metadata": {
                "name": name,
                "title": backstage.title,
                "description": backstage.description,
                "annotations": annotations(config, container, backstage),
                "tags": backstage.tags,
                "links": links.collect::<Vec<_>>(),
            },
            "spec": {"type": "service", "lifecycle": lifecycle, "owner": owner, "system": system, "providesApis": [name]},
        }),
        json!({
            "apiVersion": VERSION,
            "kind": "API",
            "metadata": {"name": name, "description": format!("{}: its API", backstage.title)},
            "spec": {
                "type": "openapi",
                "lifecycle": lifecycle,
                "owner": owner,
                "system": system,
                // Backstage reads it from there; its host has to be in `backend.reading.allow`.
                "definition": {"$text": described},
            },
        }),
    ])
}

fn annotations(config: &Config, container: &Container, backstage: &Backstage) -> Map<String, Value> {
    let source = container.source.trim_end_matches('/');
    let slug = source.strip_prefix("https://github.com/").filter(|slug| slug.split('/').count() == 2);
    let docs = config.docs.as_ref().map(|docs| format!("dir:./{}", docs.directory));
    let all = [
        ("github.com/project-slug", slug.map(str::to_owned)),
        ("backstage.io/source-location", Some(format!("url:{source}/"))),
        ("backstage.io/techdocs-ref", docs),
        ("backstage.io/kubernetes-label-selector", Some(backstage.selector.clone())),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), Value::String(value?)))).collect()
}
