//! `generate`: files for other tools, made of `pipeline.toml` and of the environments' files.
//!
//! They are committed, for those tools read them from the repository; the gate `scan/generated` finds one that differs
//! from what the configuration makes now. One file a tool says what is in it, as data in, objects out.

mod argocd;
mod backstage;
mod tekton;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::config::{Config, Environment};
use crate::context::Ctx;
use crate::disk::write_atomically;
use crate::engine::gate::{Gate, Inputs, action};
use crate::engine::session::Session;
use crate::exit::UsageError;
use crate::verdict::{Evidence, Finding, Outcome, Severity, Unproven, Work};

/// What the command line says.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Args {
    /// Write nothing, and find what differs
    #[arg(long)]
    pub check: bool,
}

/// A file as it has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Where it lies, relative to the repository.
    pub path: String,
    /// All of it.
    pub text: String,
}

/// The gate, where something is declared.
pub fn plan(ctx: &Ctx) -> Vec<Gate> {
    let Some(generated) = &ctx.config.generated else { return vec![] };
    let config = &ctx.config;
    let folder = ctx.relative(&ctx.config_dir).unwrap_or_else(|| ".".to_owned());
    let read = format!("{generated:?}\n{:?}\n{:?}\n{:?}", config.container, config.docs, config.requests);
    vec![Gate {
        id: "scan/generated".to_owned(),
        unit: "files",
        tool: ("xtask", String::new()),
        inputs: Inputs { files: vec![folder], optional: generated.places(), settings: read, ..Inputs::default() },
        again: "cargo xtask generate --check".to_owned(),
        action: action(run),
        ..Gate::default()
    }]
}

/// Writes every file that is not as it has to be, and gives their paths.
///
/// # Errors
///
/// Nothing is declared, an environment's file has a mistake, or a file cannot be written.
pub fn write(ctx: &Ctx) -> Result<Vec<String>> {
    let made = all(ctx)?;
    let differs = |made: &&Made| std::fs::read_to_string(ctx.root.join(&made.path)).ok().as_ref() != Some(&made.text);
    let written = made.iter().filter(differs).map(|made| {
        write_atomically(&ctx.root.join(&made.path), made.text.as_bytes())?;
        Ok(made.path.clone())
    });
    written.collect()
}

/// What was written, for people.
pub fn said(paths: &[String]) -> String {
    match paths {
        [] => "every file is as the configuration makes it\n".to_owned(),
        paths => paths.iter().map(|path| format!("`{path}` was written\n")).collect(),
    }
}

/// Every file, as the configuration makes it.
///
/// # Errors
///
/// Nothing is declared, or an environment's file has a mistake.
pub fn all(ctx: &Ctx) -> Result<Vec<Made>> {
    let environments = Environment::all(&ctx.config_dir)?;
    let folder = ctx.relative(&ctx.config_dir).unwrap_or_else(|| "the folder of pipeline.toml".to_owned());
    make(&ctx.config, &folder, &environments).map_err(|why| UsageError(why).into())
}

/// Configuration → files. Pure.
fn make(config: &Config, folder: &str, environments: &[Environment]) -> Result<Vec<Made>, String> {
    let (Some(generated), Some(container)) = (&config.generated, &config.container) else {
        return Err("pipeline.toml declares no [generated]".to_owned());
    };
    let text = |objects: &[Value]| written(folder, objects);
    let mut made = Vec::new();
    if let Some(backstage) = &generated.backstage {
        let objects = backstage::entities(config, container, backstage, environments)?;
        made.push(Made { path: backstage.file.clone(), text: text(&objects)? });
    }
    for (argocd, environment) in
        generated.argocd.iter().flat_map(|argocd| environments.iter().map(move |e| (argocd, e)))
    {
        let Some(application) = argocd::application(container, argocd, environment) else { continue };
        made.push(Made { path: format!("{}/{}.yaml", argocd.folder, environment.name), text: text(&[application])? });
    }
    if let Some(tekton) = &generated.tekton {
        made.push(Made { path: tekton.file.clone(), text: text(&[tekton::task(container, tekton)])? });
    }
    Ok(made)
}

/// Objects → one file, which says where it comes from.
fn written(folder: &str, objects: &[Value]) -> Result<String, String> {
    let head = format!("# Made by `cargo xtask generate` of the files in {folder}: edit those.\n");
    // As the hook `yaml` wants it: lists indented, and a string on its own line.
    let style = serde_saphyr::ser_options! { compact_list_indent: false, prefer_block_scalars: false };
    let documents = objects.iter().map(|object| serde_saphyr::to_string_with_options(object, style.clone()));
    let documents: Result<Vec<String>, _> = documents.collect();
    Ok(head + &documents.map_err(|e| format!("YAML cannot be written: {e}"))?.join("---\n"))
}

async fn run(session: Session) -> Result<Outcome, Unproven> {
    let ctx = session.ctx();
    let made = match all(ctx) {
        Ok(made) => made,
        Err(why) => return Err(session.not_run(format!("nothing can be made: {why:#}")).into()),
    };
    let (mut compared, mut findings) = (0, Vec::new());
    for file in &made {
        let committed = match std::fs::read_to_string(ctx.root.join(&file.path)) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(session.not_run(format!("`{}` cannot be read: {e}", file.path)).into()),
        };
        compared += 1;
        findings.extend(compare(file, &committed));
    }
    let folder = ctx.config.generated.as_ref().and_then(|generated| Some(&generated.argocd.as_ref()?.folder));
    if let Some(folder) = folder {
        let snapshot = session.machine.snapshot().await?;
        let there = snapshot.files(std::slice::from_ref(folder)).context("git cannot list what was made")?;
        let nobodys = there.into_keys().filter(|path| !made.iter().any(|file| file.path == *path));
        for path in nobodys.filter(|path| ctx.root.join(path).is_file()) {
            let message = "no environment's file makes this: remove it, or it says what is not so any more";
            findings.push(Finding::new("left-over", Severity::Medium, message).at(path, None));
        }
    }
    Ok(Outcome::Ran(Evidence {
        work: Work::new(compared, "files"),
        declared: Some(made.len() as u64),
        findings,
        artifacts: vec![],
        fix: "cargo xtask generate".to_owned(),
    }))
}

/// The finding for a file that is not as it has to be, at the first line that differs.
fn compare(made: &Made, committed: &str) -> Option<Finding> {
    if made.text == committed {
        return None;
    }
    if committed.is_empty() {
        let finding =
            Finding::new("missing", Severity::Medium, "this file is made by `cargo xtask generate`, and is not there");
        return Some(finding.at(made.path.clone(), None));
    }
    let same = made.text.lines().zip(committed.lines()).take_while(|(made, there)| made == there).count();
    let expected = made.text.lines().nth(same).map_or("no more lines".to_owned(), |line| format!("`{}`", line.trim()));
    let message = format!("this differs from what the configuration makes: expected {expected}");
    let line = u32::try_from(same + 1).ok();
    Some(Finding::new("stale", Severity::Medium, message).at(made.path.clone(), line))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonschema::Validator;

    const CONFIG: &str = include_str!("../../../config/pipeline.toml");

    fn environment(name: &str, text: &str) -> Environment {
        Environment { name: name.to_owned(), ..toml::from_str(text).unwrap() }
    }

    fn ours() -> Vec<Made> {
        let staging = environment("staging", include_str!("../../../config/staging.toml"));
        let production = environment("production", include_str!("../../../config/production.toml"));
        make(&Config::parse(CONFIG).unwrap(), "xtask/config", &[production, staging]).unwrap()
    }

    fn objects(made: &[Made], path: &str) -> Vec<Value> {
        let text = &made.iter().find(|made| made.path == path).unwrap().text;
        serde_saphyr::from_multiple(text).unwrap()
    }

    fn validator(schema: &str) -> Validator {
        jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap()
    }

    fn wrong(validator: &Validator, object: &Value) -> Vec<String> {
        validator.iter_errors(object).map(|e| e.to_string()).collect()
    }

    /// Backstage puts a file's text in the place of `$text` before it looks at an entity.
    fn resolved(mut entity: Value) -> Value {
        if let Some(place) = entity["spec"]["definition"]["$text"].as_str() {
            entity["spec"]["definition"] = Value::String(format!("the text of {place}"));
        }
        entity
    }

    const BACKSTAGE: &str = include_str!("../../../tests/schemas/backstage-v1alpha1.json");
    const ARGOCD: &str = include_str!("../../../tests/schemas/argocd-application-v1alpha1.json");
    const TEKTON: &str = include_str!("../../../tests/schemas/tekton-task-v1.json");

    #[test]
    fn every_file_fits_the_schema_of_the_tool_that_reads_it() {
        let made = ours();
        let paths: Vec<&str> = made.iter().map(|made| made.path.as_str()).collect();
        let argocd = ["k8s/argocd/production.yaml", "k8s/argocd/staging.yaml"];
        assert_eq!(paths, ["catalog-info.yaml", argocd[0], argocd[1], "k8s/tekton/task.yaml"]);
        let entities: Vec<Value> = objects(&made, "catalog-info.yaml").into_iter().map(resolved).collect();
        assert_eq!(
            entities.iter().map(|e| e["kind"].as_str().unwrap()).collect::<Vec<_>>(),
            ["System", "Component", "API"]
        );
        for entity in &entities {
            assert_eq!(wrong(&validator(BACKSTAGE), entity), [""; 0], "{entity}");
        }
        for path in argocd {
            assert_eq!(wrong(&validator(ARGOCD), &objects(&made, path)[0]), [""; 0], "{path}");
        }
        assert_eq!(wrong(&validator(TEKTON), &objects(&made, "k8s/tekton/task.yaml")[0]), [""; 0]);
    }

    /// What is broken is refused by the same schemas: they look.
    #[test]
    fn the_schemas_refuse_what_is_broken() {
        let made = ours();
        let entities: Vec<Value> = objects(&made, "catalog-info.yaml").into_iter().map(resolved).collect();
        let application = objects(&made, "k8s/argocd/staging.yaml")[0].clone();
        let task = objects(&made, "k8s/tekton/task.yaml")[0].clone();
        let gone = Value::Null;
        let cases: &[(&str, &Value, &str, Value, &str)] = &[
            (BACKSTAGE, &entities[0], "/spec/owner", gone.clone(), "owner"),
            (BACKSTAGE, &entities[1], "/spec/lifecycle", gone.clone(), "lifecycle"),
            (BACKSTAGE, &entities[1], "/metadata/tags", Value::from("python"), "not of type \"array\""),
            (BACKSTAGE, &entities[1], "/kind", Value::from("Komponent"), "Komponent"),
            (BACKSTAGE, &entities[2], "/spec/definition", gone.clone(), "definition"),
            (ARGOCD, &application, "/spec/project", gone.clone(), "project"),
            (ARGOCD, &application, "/spec/sorce", Value::from("x"), "sorce"),
            (ARGOCD, &application, "/spec/ignoreDifferences/0/kind", gone.clone(), "kind"),
            (ARGOCD, &application, "/spec/source/repoURL", gone.clone(), "repoURL"),
            (TEKTON, &task, "/spec/steps/0/name", gone.clone(), "name"),
            (TEKTON, &task, "/spec/steps/0/arg", Value::from("x"), "arg"),
            (TEKTON, &task, "/spec/params/1/default", gone, ""),
            (TEKTON, &task, "/apiVersion", Value::from("tekton.dev/v1beta1"), "tekton.dev/v1"),
        ];
        for (schema, object, pointer, value, says) in cases {
            let mut broken = (*object).clone();
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            let parent = broken.pointer_mut(parent).unwrap().as_object_mut().unwrap();
            match value {
                Value::Null => assert!(parent.remove(key).is_some(), "{pointer} is not there"),
                value => {
                    parent.insert((*key).to_owned(), value.clone());
                }
            }
            let found = wrong(&validator(schema), &broken).join("\n");
            // A parameter may have no default: the one case that has to be let through.
            assert_eq!(found.is_empty(), says.is_empty(), "{pointer}: {found}");
            assert!(found.contains(says), "{pointer}: {found}");
        }
    }

    #[test]
    fn another_project_gets_its_own_names() {
        let text = CONFIG
            .replacen("name = \"forge\"", "name = \"shop\"", 1)
            .replacen("source = \"https://github.com/forgetm/forgetm\"", "source = \"https://git.example/shop\"", 1)
            .replace("environment = \"production\"", "environment = \"live\"");
        let live = "url = \"https://shop.example/\"\n[cluster]\ncontext = \"live\"\nuid = \"u\"\n[release]\nbranch = \"trunk\"\n\
                    overlay = \"deploy/live\"\nnamespace = \"shop-live\"\nworkload = \"shop\"\ncontainer = \"web\"\n\
                    service = \"shop\"\nsecret = \"\"\nmax_stream = \"1m\"\n";
        let environments = [environment("live", live), environment("watched", "url = \"https://old.example\"\n")];
        let made = make(&Config::parse(&text).unwrap(), "ci", &environments).unwrap();
        // Nothing is released to the other one, so there is nothing to compare it with.
        assert_eq!(
            made.iter().map(|m| m.path.as_str()).collect::<Vec<_>>(),
            ["catalog-info.yaml", "k8s/argocd/live.yaml", "k8s/tekton/task.yaml"]
        );
        let application = &objects(&made, "k8s/argocd/live.yaml")[0];
        assert_eq!(application["spec"]["source"]["targetRevision"], "trunk");
        assert_eq!(application["spec"]["ignoreDifferences"][0]["jqPathExpressions"].as_array().unwrap().len(), 1);
        let component = &objects(&made, "catalog-info.yaml")[1];
        assert_eq!(component["metadata"]["name"], "shop");
        assert_eq!(component["metadata"]["annotations"]["github.com/project-slug"], Value::Null);
        let api = &objects(&made, "catalog-info.yaml")[2];
        assert_eq!(api["spec"]["definition"]["$text"], "https://shop.example/openapi.json");
        for made in &made {
            assert!(!made.text.to_lowercase().contains("forge") || made.path == "catalog-info.yaml", "{}", made.text);
        }
    }

    #[test]
    fn an_environment_that_there_is_not_is_said() {
        let text = CONFIG.replace("environment = \"production\"", "environment = \"live\"");
        let why = make(&Config::parse(&text).unwrap(), "ci", &[]).unwrap_err();
        assert!(why.contains("`live` is no environment"), "{why}");
    }

    #[test]
    fn a_difference_leads_to_its_line() {
        let made = Made { path: "a.yaml".into(), text: "# made\na: 1\nb: 2\n".into() };
        assert_eq!(compare(&made, &made.text), None);
        for (committed, rule, line) in [
            ("", "missing", None),
            ("# made\na: 1\nb: 3\n", "stale", Some(3)),
            ("# made\na: 1\n", "stale", Some(3)),
            ("# made\na: 1\nb: 2\nc: 3\n", "stale", Some(4)),
            ("# made\r\na: 1\r\nb: 2\r\n", "stale", Some(4)),
        ] {
            let found = compare(&made, committed).unwrap();
            assert_eq!((found.rule.as_str(), found.line), (rule, line), "{committed:?}");
        }
    }
}
