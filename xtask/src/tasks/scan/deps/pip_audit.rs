//! pip-audit: known vulnerabilities of the packages that a leg of the matrix has installed.

use serde::Deserialize;

use super::super::{parse, ran};
use super::{FIX, osv};
use crate::config::Dependencies;
use crate::context::Ctx;
use crate::engine::gate::{Gate, Inputs, action};
use crate::engine::session::Session;
use crate::policy;
use crate::tools::catalog::PIP_AUDIT;
use crate::tools::command::Command;
use crate::tools::environment::Spec;
use crate::tools::proc::Exit;
use crate::verdict::{Finding, NotRun, Outcome, Unproven};

#[derive(Debug, Deserialize)]
struct Report {
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    version: Option<String>,
    skip_reason: Option<String>,
    #[serde(default)]
    vulns: Vec<Vuln>,
}

#[derive(Debug, Deserialize)]
struct Vuln {
    id: String,
    fix_versions: Vec<String>,
    description: String,
}

/// One gate a leg.
pub fn plan(ctx: &Ctx) -> Vec<Gate> {
    let (Some(dependencies), Some(tests)) = (&ctx.config.dependencies, &ctx.config.tests) else { return vec![] };
    let leg = |python: &String| {
        let spec = Spec::tests(tests, python);
        let step = step(ctx, dependencies);
        let (dependencies, lock) = (dependencies.clone(), spec.lock.clone());
        Gate {
            id: format!("scan/deps-{python}"),
            unit: "packages",
            programs: vec![&PIP_AUDIT],
            inputs: Inputs {
                files: vec![lock],
                path_tools: vec!["uv"],
                settings: format!("{dependencies:?}"),
                remote: true,
                ..Inputs::default()
            },
            environments: vec![spec.clone()],
            steps: vec![step.clone()],
            again: "cargo xtask scan deps".to_owned(),
            action: action(move |session| run(session, spec.clone(), dependencies.clone(), step.clone())),
            ..Gate::default()
        }
    };
    ctx.config.python.versions.iter().map(leg).collect()
}

/// Without the folder of packages, which is known once the environment is made.
fn step(ctx: &Ctx, dependencies: &Dependencies) -> Command {
    Command::new(PIP_AUDIT.name, &ctx.root)
        .args(["--progress-spinner", "off", "--timeout", "15", "--format", "json", "--desc", "on"])
        .args(["--vulnerability-service", "osv", "--osv-url"])
        .args([format!("{}/v1/query", dependencies.osv)])
        .arg("--cache-dir")
        .arg(ctx.store.join("pip-audit"))
        .arg("--path")
        .timeout(dependencies.timeout)
}

async fn run(session: Session, spec: Spec, dependencies: Dependencies, step: Command) -> Result<Outcome, Unproven> {
    let ctx = session.ctx();
    let environment = session.environment(&spec).await?;
    let declared = environment.installed();
    let ended = session.tool(&PIP_AUDIT, &step.arg(environment.packages())).await?;
    match ended.exit {
        Exit::Code(0 | 1) if !ended.stdout.trim().is_empty() => {}
        Exit::Code(1) if nobody_answered(&ended.stderr) => return Err(unreachable(&dependencies.osv).into()),
        _ => return Err(session.not_run(format!("pip-audit {}", ended.failure())).into()),
    }
    let report: Report = parse(&session, &ended, &ended.stdout)?;
    let (skipped, audited): (Vec<_>, Vec<_>) = report.dependencies.into_iter().partition(|d| d.skip_reason.is_some());
    if let Some(first) = skipped.first() {
        let (name, why) = (&first.name, first.skip_reason.as_deref().unwrap_or_default());
        let reason = format!("{} of {declared} packages could not be looked up: {name}: {why}", skipped.len());
        return Err(session.not_run(reason).into());
    }
    if audited.iter().all(|dependency| dependency.vulns.is_empty()) != ended.is_success() {
        return Err(session.not_run(format!("pip-audit {}, which its report contradicts", ended.exit)).into());
    }
    let lock = std::fs::read_to_string(ctx.root.join(&spec.lock)).unwrap_or_default();
    let mut findings: Vec<Finding> = Vec::new();
    for dependency in &audited {
        let package = format!("{} {}", dependency.name, dependency.version.as_deref().unwrap_or("?"));
        for vuln in &dependency.vulns {
            let about = osv::details(&session, &dependencies.osv, &vuln.id).await;
            let found = policy::Vulnerability {
                id: vuln.id.clone(),
                package: package.clone(),
                severity: about.severity,
                fixed_in: vuln.fix_versions.clone(),
                published: about.published,
                summary: vuln.description.clone(),
            };
            let finding = policy::vulnerable(&ctx.config.policy, ctx.started.date(), &found);
            findings.push(finding.at(spec.lock.clone(), line_of(&lock, &dependency.name)));
        }
    }
    Ok(ran(audited.len(), "packages", declared, findings, FIX))
}

/// Whether a traceback, which is all that it says of a look-up that failed, is one of the way there. A crash and an
/// answer that cannot be read are not, and `offline` excuses neither.
fn nobody_answered(stderr: &str) -> bool {
    let names = ["ConnectionError", "ConnectTimeout", "ReadTimeout", "ProxyError", "SSLError"];
    let raised = stderr.lines().filter_map(|line| line.strip_prefix("requests.exceptions."));
    raised.filter_map(|error| error.split(':').next()).any(|error| names.contains(&error))
}

/// The one reason that `offline` may list for these gates.
fn unreachable(osv: &str) -> NotRun {
    NotRun::new(format!("{osv} does not answer"), "look at the way to it (proxy, certificates), then run again")
}

/// The line of a requirement file that pins a package; `-`, `_` and `.` are the same in a name (PEP 503).
pub fn line_of(lock: &str, package: &str) -> Option<u32> {
    let plain = |name: &str| name.to_lowercase().replace(['_', '.'], "-");
    let wanted = plain(package);
    let pins = |line: &str| {
        line.split_once("==").is_some_and(|(name, _)| plain(name.split('[').next().unwrap_or_default()) == wanted)
    };
    u32::try_from(lock.lines().position(pins)? + 1).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_way_that_is_cut_is_nobody_answering() {
        // Recorded from pip-audit 2.10.1: refused, silent, status 500, no JSON.
        for (stderr, nobody) in [
            ("requests.exceptions.ConnectionError: HTTPConnectionPool(host='127.0.0.1', port=7799): Max retries", true),
            ("requests.exceptions.ReadTimeout: HTTPConnectionPool(host='127.0.0.1', port=7704): Read timed out.", true),
            ("requests.exceptions.HTTPError: 500 Server Error\n\npip_audit._service.interface.ServiceError", false),
            ("requests.exceptions.JSONDecodeError: Expecting value: line 1 column 1 (char 0)", false),
            ("", false),
        ] {
            assert_eq!(nobody_answered(stderr), nobody, "{stderr}");
        }
    }

    #[test]
    fn a_package_leads_to_its_pin() {
        let lock = "# made by\nidna==3.6 \\\n    --hash=sha256:aa\npydantic-core==2.0 \\\n";
        assert_eq!(line_of(lock, "Pydantic_Core"), Some(4));
        assert_eq!(line_of(lock, "idn"), None);
    }
}
