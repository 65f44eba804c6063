//! `jobs`: how the other jobs of the workflow ended, as GitHub tells the job that joins the reports.
//!
//! GitHub counts a skipped required job as a success, so the one required check looks itself. It hands
//! over `${{ toJSON(needs) }}` in the variable [`VARIABLE`].

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::context::{Ctx, Profile};
use crate::engine::gate::{Gate, action};
use crate::verdict::{Evidence, Finding, NotRun, Outcome, Severity, Unproven, Work};

/// The variable that holds the context `needs` as JSON.
const VARIABLE: &str = "NEEDS";

#[derive(Debug, Deserialize)]
struct Job {
    result: String,
}

/// One gate, where reports are joined in GitHub Actions.
pub fn gate(ctx: &Ctx) -> Option<Gate> {
    let needs = ctx.var(VARIABLE).map(str::to_owned);
    if needs.is_none() && !(ctx.in_actions() && ctx.profile == Profile::Actions) {
        return None;
    }
    Some(Gate {
        id: "jobs".to_owned(),
        unit: "jobs",
        tool: ("github", String::new()),
        again: "run the workflow's failed jobs again".to_owned(),
        action: action(move |_| {
            let judged = judge(needs.as_deref());
            async move { judged }
        }),
        ..Gate::default()
    })
}

fn judge(needs: Option<&str>) -> Result<Outcome, Unproven> {
    let fix = format!("hand `{VARIABLE}: ${{{{ toJSON(needs) }}}}` to the step");
    let text = needs.ok_or_else(|| NotRun::new(format!("the variable {VARIABLE} is not set"), fix.clone()))?;
    let jobs: BTreeMap<String, Job> = serde_json::from_str(text)
        .map_err(|e| NotRun::new(format!("the variable {VARIABLE} cannot be read: {e}"), fix))?;
    let findings = jobs
        .iter()
        .filter(|(_, job)| job.result != "success")
        .map(|(name, job)| Finding::new("job", Severity::High, format!("the job `{name}` ended in `{}`", job.result)));
    Ok(Outcome::Ran(Evidence {
        work: Work::new(jobs.len() as u64, "jobs"),
        declared: None,
        findings: findings.collect(),
        artifacts: vec![],
        fix: "look into the job's log, then run the failed jobs again".to_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_success_counts() {
        let all = r#"{"plan": {"result": "success", "outputs": {}}, "gate": {"result": "success"}}"#;
        let Ok(Outcome::Ran(evidence)) = judge(Some(all)) else { panic!("it ran") };
        assert_eq!((evidence.work.count, evidence.findings.len()), (2, 0));
        for result in ["skipped", "cancelled", "failure", ""] {
            let text = all.replacen("success", result, 1);
            let Ok(Outcome::Ran(evidence)) = judge(Some(&text)) else { panic!("it ran") };
            assert_eq!(evidence.findings[0].message, format!("the job `plan` ended in `{result}`"));
        }
        for broken in [None, Some(""), Some("{"), Some(r#"{"plan": {}}"#)] {
            assert!(matches!(judge(broken), Err(Unproven::NotRun(_))), "{broken:?}");
        }
    }
}
