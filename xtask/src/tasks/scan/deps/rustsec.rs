//! `Cargo.lock` against RustSec's data base of advisories, a git repository that is fetched on each run.

use std::time::Duration;

use rustsec::advisory::Informational;
use rustsec::report::Settings;
use rustsec::{Database, Lockfile, Report};
use time::OffsetDateTime;

use super::super::ran;
use super::{FIX, fresh, line_of};
use crate::config::Dependencies;
use crate::context::Ctx;
use crate::engine::gate::{Gate, Inputs, action};
use crate::engine::session::Session;
use crate::policy::{self, Vulnerability};
use crate::tools::command::Command;
use crate::verdict::{Finding, NotRun, Outcome, Severity, Unproven};

/// One gate.
pub fn plan(ctx: &Ctx) -> Vec<Gate> {
    let Some(dependencies) = &ctx.config.dependencies else { return vec![] };
    let Some(lock) = dependencies.cargo_lock.clone() else { return vec![] };
    let dependencies = dependencies.clone();
    vec![Gate {
        id: "scan/rustsec".to_owned(),
        unit: "packages",
        tool: ("rustsec", "Cargo.lock".to_owned()),
        inputs: Inputs {
            files: vec![lock.clone()],
            settings: format!("{dependencies:?}"),
            remote: true,
            ..Inputs::default()
        },
        steps: vec![clone(ctx, &dependencies)],
        again: "cargo xtask scan deps".to_owned(),
        action: action(move |session| run(session, lock.clone(), dependencies.clone())),
        ..Gate::default()
    }]
}

/// Without the folder, which is a new one each time.
fn clone(ctx: &Ctx, dependencies: &Dependencies) -> Command {
    Command::new("git", &ctx.root)
        .args(["clone", "--quiet", "--depth", "1", "--single-branch", "--no-tags", &dependencies.advisories])
        .env("GIT_TERMINAL_PROMPT", "0")
        .timeout(Duration::from_secs(120))
}

async fn run(session: Session, lock: String, dependencies: Dependencies) -> Result<Outcome, Unproven> {
    let ctx = session.ctx();
    let path = ctx.root.join(&lock);
    let lockfile = Lockfile::load(&path).map_err(|e| session.not_run(format!("`{lock}` cannot be read: {e}")))?;
    // Anew each time: it is small, and half a fetch leaves nothing behind.
    let scratch = super::super::scratch(ctx)?;
    let folder = scratch.path().join("advisories");
    let ended = session.step(&clone(ctx, &dependencies).arg(&folder)).await?;
    if !ended.is_success() {
        let url = &dependencies.advisories;
        let fix = "look at the way to it (proxy, certificates), then run again";
        return Err(NotRun::new(format!("{url} cannot be cloned"), fix).into());
    }
    let newest = Command::new("git", &folder).args(["log", "-1", "--format=%ct"]);
    // A repository without a commit has no date either.
    let newest = session.machine.quiet().read_bytes(&newest).await.unwrap_or_default();
    let newest = String::from_utf8_lossy(&newest).trim().parse().ok();
    let newest = newest.and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    fresh(&session, newest.ok_or_else(|| session.not_run("the data base of advisories has no date"))?)?;
    let data_base =
        Database::open(&folder).map_err(|e| session.not_run(format!("the advisories cannot be read: {e}")))?;
    if data_base.iter().next().is_none() {
        return Err(session.not_run("the data base holds no advisory").into());
    }
    let informational = vec![Informational::Unmaintained, Informational::Unsound, Informational::Notice];
    let report = Report::generate(
        &data_base,
        &lockfile,
        &Settings { informational_warnings: informational, ..Settings::default() },
    );
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let findings = findings(ctx, &lock, &text, &report);
    let looked_up = lockfile.packages.len();
    Ok(ran(looked_up, "packages", looked_up, findings, FIX))
}

fn findings(ctx: &Ctx, lock: &str, text: &str, report: &Report) -> Vec<Finding> {
    let line = |name: &str| line_of(text, name);
    let vulnerable = report.vulnerabilities.list.iter().map(|found| {
        let date = &found.advisory.date;
        let month = time::Month::try_from(u8::try_from(date.month()).unwrap_or_default()).ok();
        let day = u8::try_from(date.day()).unwrap_or_default();
        let year = i32::try_from(date.year()).unwrap_or_default();
        let known = Vulnerability {
            id: found.advisory.id.to_string(),
            package: format!("{} {}", found.package.name, found.package.version),
            severity: found
                .advisory
                .cvss
                .as_ref()
                .map_or(Severity::High, |cvss| super::super::severity(cvss.severity().as_str())),
            fixed_in: found.versions.patched().iter().map(ToString::to_string).collect(),
            published: month.and_then(|month| time::Date::from_calendar_date(year, month, day).ok()),
            summary: found.advisory.title.clone(),
        };
        let finding = policy::vulnerable(&ctx.config.policy, ctx.started.date(), &known);
        finding.at(lock.to_owned(), line(found.package.name.as_str()))
    });
    let warned = report.warnings.values().flatten().map(|warning| {
        let rule = warning.advisory.as_ref().map_or_else(|| "rustsec".to_owned(), |advisory| advisory.id.to_string());
        let title = warning.advisory.as_ref().map_or("yanked", |advisory| advisory.title.as_str());
        let message = format!("{} {}: {title}", warning.package.name, warning.package.version);
        Finding::new(rule, Severity::Low, message).at(lock.to_owned(), line(warning.package.name.as_str()))
    });
    vulnerable.chain(warned).collect()
}
