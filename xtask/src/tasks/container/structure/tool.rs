//! container-structure-test itself, where the profile trusts one from PATH: its own report is read, and has to agree with
//! itself and with how the tool ended.

use std::path::Path;

use serde::Deserialize;

use super::format::TOOL;
use super::{Breaks, Checked};
use crate::engine::session::Session;
use crate::tasks::container::image::Image;
use crate::tools::command::Command;
use crate::verdict::{Tool, Unproven};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ToolReport {
    pass: u64,
    fail: u64,
    total: u64,
    #[serde(default)]
    results: Option<Vec<ToolResult>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ToolResult {
    name: String,
    pass: bool,
    #[serde(default)]
    errors: Option<Vec<String>>,
}

/// Runs it on the image.
pub async fn check(session: &Session, program: &Path, image: &Image, file: &str) -> Result<Checked, Unproven> {
    let hash = Some(session.machine.facts.hash(program)?);
    session.uses(Tool { name: TOOL.to_owned(), version: "from PATH".to_owned(), hash });
    let report = session.artifact("container/structure.json")?;
    let ended = session
        .step(
            &Command::new(program, &session.ctx().root)
                .args(["test", "--image", &image.id, "--config", file, "--output", "json", "--test-report"])
                .arg(&report),
        )
        .await?;
    let text = session.report(&report).map_err(|why| session.not_run(format!("{why}; {TOOL} {}", ended.failure())))?;
    let checked = of_the_tool(&text, file).map_err(|why| session.not_run(format!("the report of {TOOL} {why}")))?;
    if ended.is_success() != checked.findings.is_empty() {
        return Err(session.not_run(format!("{TOOL} {}, which its report contradicts", ended.exit)).into());
    }
    Ok(checked)
}

/// The tool's own report → what was checked.
fn of_the_tool(text: &str, file: &str) -> Result<Checked, String> {
    let report: ToolReport = serde_json::from_str(text).map_err(|e| format!("cannot be read: {e}"))?;
    let results = report.results.unwrap_or_default();
    let failed = results.iter().filter(|result| !result.pass).count() as u64;
    if report.pass + report.fail != report.total || results.len() as u64 != report.total || failed != report.fail {
        return Err("contradicts itself".to_owned());
    }
    let findings = results.iter().filter(|result| !result.pass).map(|result| {
        let errors = result.errors.clone().unwrap_or_default().join("; ");
        Breaks(file, "structure").finding(&result.name, &errors)
    });
    Ok(Checked { count: report.total, findings: findings.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_the_tool_has_to_agree_with_itself() {
        let report = r#"{"Pass":1,"Fail":1,"Total":2,"Results":[{"Name":"a","Pass":true},{"Name":"b","Pass":false,"Errors":["no"]}]}"#;
        let checked = of_the_tool(report, "f.yaml").unwrap();
        assert_eq!((checked.count, checked.findings[0].message.as_str()), (2, "b: no"));
        assert!(of_the_tool(&report.replace("\"Fail\":1", "\"Fail\":0"), "f.yaml").is_err());
        assert!(of_the_tool(&report[..40], "f.yaml").is_err());
    }
}
