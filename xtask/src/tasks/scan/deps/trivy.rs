//! Trivy's scan of a file system: known vulnerabilities of everything that a lock file below it names.
//!
//! Its data base is downloaded on each run, and one that is too old proves nothing. `trivy.yaml` and
//! `.trivyignore` of the tree do not count.

use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::super::{own_config, parse, ran, severity, write_own_config};
use super::{FIX, line_of};
use crate::config::Dependencies;
use crate::context::Ctx;
use crate::engine::gate::{Gate, Inputs, action};
use crate::engine::session::Session;
use crate::policy;
use crate::tools::catalog::TRIVY;
use crate::tools::command::Command;
use crate::tools::proc::Exit;
use crate::verdict::{Finding, NotRun, Outcome, Unproven};

/// The exit code that can only mean findings.
const FOUND: i32 = 9;

/// Files of ours in place of those of the tree.
const SETTINGS: [(&str, &str); 2] = [("trivy.yaml", "{}\n"), ("trivyignore", "")];

/// The one reason that `offline` may list for a gate that needs the data base.
pub const NO_DATA_BASE: &str = "trivy's data base of vulnerabilities cannot be downloaded";

/// As much of a report as is read here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Report {
    /// Of an image: what it is made of.
    #[serde(default)]
    pub metadata: Metadata,
    /// One a lock file, or a kind of packages.
    #[serde(default)]
    pub results: Vec<Target>,
}

/// `Metadata`
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Metadata {
    /// The layers that were looked at.
    #[serde(rename = "DiffIDs")]
    pub layers: Vec<String>,
    /// The system.
    #[serde(rename = "OS")]
    pub system: Option<System>,
}

/// `OS`
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct System {
    /// `debian`, …
    pub family: String,
    /// Its version.
    pub name: String,
    /// Whether nobody mends it any more.
    #[serde(rename = "EOSL")]
    pub is_at_its_end: bool,
}

/// `Results[]`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Target {
    target: String,
    /// `os-pkgs`, `lang-pkgs`.
    #[serde(default)]
    pub class: String,
    /// What was looked up.
    #[serde(default)]
    pub packages: Vec<serde_json::Value>,
    /// What is known of it.
    #[serde(default)]
    pub vulnerabilities: Vec<Vulnerability>,
}

/// `Vulnerabilities[]`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Vulnerability {
    #[serde(rename = "VulnerabilityID")]
    id: String,
    pkg_name: String,
    installed_version: String,
    #[serde(default)]
    fixed_version: String,
    #[serde(default)]
    title: String,
    severity: String,
    published_date: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Version {
    #[serde(rename = "VulnerabilityDB")]
    data_base: Option<DataBase>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DataBase {
    updated_at: String,
}

/// One gate.
pub fn plan(ctx: &Ctx) -> Vec<Gate> {
    let Some(dependencies) = ctx.config.dependencies.as_ref().filter(|wanted| !wanted.trivy.is_empty()) else {
        return vec![];
    };
    let dependencies = dependencies.clone();
    let steps: Vec<Command> = dependencies.trivy.iter().map(|folder| step(ctx, &dependencies, folder)).collect();
    vec![Gate {
        id: "scan/trivy".to_owned(),
        unit: "packages",
        programs: vec![&TRIVY],
        inputs: Inputs {
            files: dependencies.trivy.clone(),
            settings: format!("{dependencies:?}"),
            remote: true,
            ..Inputs::default()
        },
        steps: steps.clone(),
        again: "cargo xtask scan deps".to_owned(),
        action: action(move |session| run(session, dependencies.clone(), steps.clone())),
        ..Gate::default()
    }]
}

fn step(ctx: &Ctx, dependencies: &Dependencies, folder: &str) -> Command {
    Command::new(TRIVY.name, &ctx.root)
        .args(["filesystem", "--scanners", "vuln", "--list-all-pkgs", "--format", "json", "--quiet"])
        // By itself it knows a requirement file by one name only.
        .args(["--skip-version-check", "--file-patterns", r"pip:\.txt$", "--exit-code", &FOUND.to_string(), "--config"])
        .arg(own_config(ctx, SETTINGS[0].0))
        .arg("--ignorefile")
        .arg(own_config(ctx, SETTINGS[1].0))
        .arg("--cache-dir")
        .arg(ctx.store.join("trivy"))
        .args([folder])
        .timeout(dependencies.timeout)
}

async fn run(session: Session, dependencies: Dependencies, steps: Vec<Command>) -> Result<Outcome, Unproven> {
    let ctx = session.ctx();
    for (name, text) in SETTINGS {
        write_own_config(ctx, name, text)?;
    }
    let (mut audited, mut findings) = (0, Vec::new());
    for (folder, step) in dependencies.trivy.iter().zip(&steps) {
        let ended = session.tool(&TRIVY, step).await?;
        if !matches!(ended.exit, Exit::Code(0 | FOUND)) {
            if ended.stderr.contains("failed to download vulnerability DB") {
                return Err(NotRun::new(NO_DATA_BASE, "look at the way to its registry, then run again").into());
            }
            return Err(session.not_run(format!("trivy {}", ended.failure())).into());
        }
        let report: Report = parse(&session, &ended, &ended.stdout)?;
        let found = |target: &Target| !target.vulnerabilities.is_empty();
        if report.results.iter().any(found) == ended.is_success() {
            return Err(session.not_run(format!("trivy {}, which its report contradicts", ended.exit)).into());
        }
        if report.results.iter().all(|target| target.packages.is_empty()) {
            return Err(session.not_run(format!("did no work: trivy found no package in `{folder}`")).into());
        }
        for target in &report.results {
            audited += target.packages.len();
            findings.extend(target.vulnerabilities.iter().map(|found| finding(ctx, folder, &target.target, found)));
        }
    }
    check_age(&session).await?;
    Ok(ran(audited, "packages", 0, findings, FIX))
}

impl Vulnerability {
    /// In the words of the policy.
    pub fn known(&self) -> policy::Vulnerability {
        let published = self.published_date.as_deref().and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
        policy::Vulnerability {
            id: self.id.clone(),
            package: format!("{} {}", self.pkg_name, self.installed_version),
            severity: severity(&self.severity),
            fixed_in: self.fixed_version.split(", ").filter(|version| !version.is_empty()).map(str::to_owned).collect(),
            published: published.map(OffsetDateTime::date),
            summary: self.title.clone(),
        }
    }
}

fn finding(ctx: &Ctx, folder: &str, target: &str, found: &Vulnerability) -> Finding {
    // Trivy names a lock file relative to the folder; a folder that is a file is the lock itself.
    let path = if ctx.root.join(folder).is_file() { folder.to_owned() } else { format!("{folder}/{target}") };
    let path = ctx.relative(path.as_ref());
    let text = path.as_ref().and_then(|path| std::fs::read_to_string(ctx.root.join(path)).ok()).unwrap_or_default();
    policy::vulnerable(&ctx.config.policy, ctx.started.date(), &found.known()).at(path, line_of(&text, &found.pkg_name))
}

/// R12: a data base that is too old knows nothing of what is new.
pub async fn check_age(session: &Session) -> Result<(), Unproven> {
    let ctx = session.ctx();
    let ask = Command::new(TRIVY.name, &ctx.root).args(["version", "--format", "json", "--cache-dir"]);
    let ended = session.tool(&TRIVY, &ask.arg(ctx.store.join("trivy"))).await?;
    let version: Version = parse(session, &ended, &ended.stdout)?;
    let updated = version.data_base.and_then(|known| OffsetDateTime::parse(&known.updated_at, &Rfc3339).ok());
    match updated {
        Some(updated) => super::fresh(session, updated),
        None => Err(session.not_run("trivy does not say how old its data base is").into()),
    }
}
