//! `container/scan`: known vulnerabilities of what is in the image, of its system and of its Python packages.

use std::path::Path;

use super::{BUILD, image, trivy};
use crate::config::Container;
use crate::context::Ctx;
use crate::engine::gate::{Gate, Inputs, action};
use crate::engine::session::Session;
use crate::policy;
use crate::tasks::scan::deps::trivy::{NO_DATA_BASE, Report, Vulnerability, check_age};
use crate::tasks::scan::parse;
use crate::tools::catalog::TRIVY;
use crate::tools::command::Command;
use crate::verdict::{Evidence, Finding, NotRun, Outcome, Severity, Unproven, Work};

const SCANNERS: [&str; 6] = ["--scanners", "vuln", "--list-all-pkgs", "--format", "json", "--exit-code=0"];

/// The gate.
pub fn plan(ctx: &Ctx, container: &Container) -> Gate {
    let dockerfile = container.dockerfile.clone();
    Gate {
        id: "container/scan".to_owned(),
        after: vec![BUILD.to_owned()],
        unit: "packages",
        tool: (TRIVY.name, String::new()),
        programs: vec![&TRIVY],
        inputs: Inputs { remote: true, ..Inputs::default() },
        steps: vec![step(ctx, "IMAGE.tar".as_ref())],
        again: "cargo xtask container scan".to_owned(),
        action: action(move |session| run(session, dockerfile.clone())),
        ..Gate::default()
    }
}

async fn run(session: Session, dockerfile: String) -> Result<Outcome, Unproven> {
    let ctx = session.ctx();
    let (image, engine, _) = image::built(&session).await?;
    let saved = image::saved(&session, &engine, &image).await?;
    let LookedUp { packages, known, end } = look_up(&session, &saved, &image.layers).await?;
    let today = ctx.started.date();
    let findings = known.iter().map(|known| policy::vulnerable(&ctx.config.policy, today, known)).chain(end);
    Ok(Outcome::Ran(Evidence {
        work: Work::new(packages, "packages"),
        declared: None,
        findings: findings.map(|finding| finding.at(dockerfile.clone(), None)).collect(),
        artifacts: vec![],
        fix: "take a newer base (container.base), or raise the version in the lock of the image".to_owned(),
    }))
}

/// What is known of an image.
#[derive(Debug)]
pub struct LookedUp {
    /// How many packages were looked up.
    pub packages: u64,
    /// Their weaknesses.
    pub known: Vec<policy::Vulnerability>,
    /// That nobody mends its system any more.
    pub end: Option<Finding>,
}

/// How an image's archive is looked up.
pub fn step(ctx: &Ctx, archive: &Path) -> Command {
    trivy::step(ctx, archive, &SCANNERS)
}

/// Looks an archive up that has these layers. Anything less than all of it is the reason why the gate did not run.
pub async fn look_up(session: &Session, archive: &Path, layers: &[String]) -> Result<LookedUp, Unproven> {
    let ctx = session.ctx();
    trivy::settle(ctx)?;
    let ended = session.tool(&TRIVY, &step(ctx, archive)).await?;
    if !ended.is_success() {
        if ended.stderr.contains("failed to download vulnerability DB") {
            return Err(NotRun::new(NO_DATA_BASE, "look at the way to its registry, then run again").into());
        }
        return Err(session.not_run(format!("trivy {}", ended.failure())).into());
    }
    let report: Report = parse(session, &ended, &ended.stdout)?;
    check_age(session).await?;
    if let Some(why) = not_looked_at(&report, layers) {
        return Err(session.not_run(why).into());
    }
    let packages: usize = report.results.iter().map(|target| target.packages.len()).sum();
    let found = report.results.iter().flat_map(|target| &target.vulnerabilities);
    let known = found.map(Vulnerability::known).collect();
    Ok(LookedUp { packages: packages as u64, known, end: at_its_end(&report) })
}

/// What of the image was not looked at: Trivy ends well where it does not know the system, and looks up the rest.
fn not_looked_at(report: &Report, layers: &[String]) -> Option<&'static str> {
    if report.metadata.layers != layers {
        return Some("trivy looked at other layers than those of the image");
    }
    let has_system = report.results.iter().any(|target| target.class == "os-pkgs" && !target.packages.is_empty());
    (!has_system).then_some("trivy did not look up the packages of the system")
}

/// A system that nobody mends has no known weaknesses soon.
fn at_its_end(report: &Report) -> Option<Finding> {
    let system = report.metadata.system.as_ref().filter(|system| system.is_at_its_end)?;
    let message = format!("{} {} is mended by nobody any more", system.family, system.name);
    Some(Finding::new("system-at-its-end", Severity::High, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_look_up_is_of_the_layers_and_the_system_of_the_image() {
        let packages = json!([{"Name": "a"}]);
        let report = |layers: &[&str], class: &str, end: bool| -> Report {
            serde_json::from_value(json!({
                "Metadata": {"DiffIDs": layers, "OS": {"Family": "debian", "Name": "9", "EOSL": end}},
                "Results": [{"Target": "x", "Class": class, "Packages": packages}],
            }))
            .unwrap()
        };
        let layers = ["sha256:a".to_owned()];
        assert_eq!(not_looked_at(&report(&["sha256:a"], "os-pkgs", false), &layers), None);
        assert!(not_looked_at(&report(&["sha256:b"], "os-pkgs", false), &layers).unwrap().contains("other layers"));
        assert!(not_looked_at(&report(&["sha256:a"], "lang-pkgs", false), &layers).unwrap().contains("the system"));
        assert!(at_its_end(&report(&[], "os-pkgs", false)).is_none());
        assert_eq!(at_its_end(&report(&[], "os-pkgs", true)).unwrap().message, "debian 9 is mended by nobody any more");
    }
}
