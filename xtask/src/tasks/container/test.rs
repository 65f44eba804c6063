//! `container/test`: what the image is like at rest, and what it does when it runs.

use super::image;
use super::structure::{self, Checked};
use super::{BUILD, running};
use crate::config::Container;
use crate::context::Ctx;
use crate::engine::gate::{Gate, Inputs, action};
use crate::engine::session::Session;
use crate::tools::command::Command;
use crate::verdict::{Evidence, Finding, Outcome, Severity, Unproven, Work};

/// The gate.
pub fn plan(ctx: &Ctx, container: &Container) -> Gate {
    let wanted = container.clone();
    let asked: Vec<_> = container.requests.iter().map(|name| (name, ctx.config.requests.get(name))).collect();
    let shown = Command::new("docker", &ctx.root).args(["run", "--detach"]).args(running::HARDENED).args(["IMAGE"]);
    Gate {
        id: "container/test".to_owned(),
        after: vec![BUILD.to_owned()],
        unit: "checks",
        tool: (image::ENGINE, String::new()),
        inputs: Inputs {
            files: container.structure.iter().cloned().collect(),
            settings: format!("{container:?} {asked:?} {:?}", ctx.config.service),
            ..Inputs::default()
        },
        steps: vec![shown],
        again: "cargo xtask container test".to_owned(),
        action: action(move |session| run(session, wanted.clone())),
        ..Gate::default()
    }
}

async fn run(session: Session, container: Container) -> Result<Outcome, Unproven> {
    let (image, engine, known) = image::built(&session).await?;
    let mut all = at_rest(&container, &image, &known.config);
    if let Some(file) = &container.structure {
        let checked = structure::check(&session, &engine, &image, &known, file).await?;
        if checked.count == 0 {
            return Err(session.not_run(format!("`{file}` has no test")).into());
        }
        all.count += checked.count;
        all.findings.extend(checked.findings);
    }
    let checked = running::check(&session, &engine, &image, &container).await?;
    all.count += checked.count;
    all.findings.extend(checked.findings);
    Ok(Outcome::Ran(Evidence {
        work: Work::new(all.count, "checks"),
        declared: None,
        findings: all.findings,
        artifacts: vec![],
        fix: format!("mend `{}`, then `cargo xtask container test`", container.dockerfile),
    }))
}

/// What needs no container: its size and its user.
fn at_rest(container: &Container, image: &image::Image, settings: &image::Settings) -> Checked {
    let mut findings = Vec::new();
    let mut add = |rule: &str, message: String| {
        findings.push(Finding::new(rule, Severity::High, message).at(container.dockerfile.clone(), None));
    };
    if image.size > container.largest {
        let [is, most] = [image.size, container.largest].map(|bytes| bytes as f64 / 1e6);
        add("size", format!("the image has {is:.1} MB, more than {most:.1} MB (container.largest)"));
    }
    let user = settings.user.split(':').next().unwrap_or_default();
    if user != container.user.to_string() {
        let who = if user.is_empty() { "root, for no USER is named" } else { user };
        add("user", format!("the image runs as {who}, not as {} (container.user)", container.user));
    }
    Checked { count: 2, findings }
}
