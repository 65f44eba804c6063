//! One thing that is measured here: our program on a project, and what proves that it did all of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::Bench;
use crate::material::git;
use crate::measure::{report_of, tell};
use crate::row::Aim;
use xtask::exit::Code;
use xtask::model::Report;
use xtask::tools::command::Command;
use xtask::tools::proc::Exit;
use xtask::verdict::{Verdict, Work as Done};

/// A run of our program.
#[derive(Clone, Debug)]
pub struct Work {
    /// The name of its row.
    pub name: String,
    /// What is started.
    pub command: Command,
    /// Where its report goes.
    pub out: PathBuf,
    /// How things have to be before.
    pub before: Before,
    /// What each gate of it has to have done, by its id; there must be no other.
    pub expected: BTreeMap<String, Expected>,
    /// What is wanted of it.
    pub aim: Option<Aim>,
}

/// How things have to be before a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Before {
    /// This branch is checked out.
    pub branch: Option<&'static str>,
    /// Nothing is known of the history.
    pub forget: bool,
    /// The history is known up to this commit, or else the run would prove something else.
    pub known: Option<&'static str>,
}

/// What a gate has to have done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// How much; nothing where that cannot be told beforehand.
    pub count: Option<usize>,
    /// Of what.
    pub unit: &'static str,
    /// How many findings there are; nothing where it only must not be red.
    pub findings: Option<usize>,
}

/// A time, and what was done in it.
#[derive(Clone, Debug, Default)]
pub struct Sampled {
    /// Each time that counts.
    pub walls: Vec<Duration>,
    /// The work, where there was one gate.
    pub work: Option<Done>,
    /// The findings of all gates.
    pub findings: usize,
}

/// What became of a work, or why it has no figure.
pub type Samples = Result<Sampled, String>;

/// As the other groups do it: once without counting, then all of them in turns.
pub async fn in_turns(bench: &Bench, works: &[Work]) -> Result<Vec<Samples>> {
    let mut all: Vec<Samples> = works.iter().map(|_| Ok(Sampled::default())).collect();
    for round in 0..=bench.runs {
        for (work, samples) in works.iter().zip(&mut all) {
            let Ok(kept) = samples else { continue };
            tell(bench, round, &work.name);
            match once(bench, work).await? {
                Ok((wall, report)) => {
                    kept.work = if let [gate] = &report.gates[..] { Some(gate.work.clone()) } else { None };
                    kept.findings = report.gates.iter().map(|gate| gate.findings.len()).sum();
                    kept.walls.extend((round > 0).then_some(wall));
                }
                Err(why) => *samples = Err(why),
            }
        }
    }
    Ok(all)
}

async fn once(bench: &Bench, work: &Work) -> Result<Result<(Duration, Report), String>> {
    if let Err(why) = prepare(bench, work).await {
        return Ok(Err(format!("{why:#}")));
    }
    let clock = Instant::now();
    let ended = bench.runner.run(&work.command).await?;
    let wall = clock.elapsed();
    Ok(match report_of(&work.out) {
        Ok(report) => match unlike(&report, &ended.exit, &work.expected) {
            None => Ok((wall, report)),
            Some(why) => Err(why),
        },
        Err(why) => Err(format!("{why}; {}", ended.failure())),
    })
}

async fn prepare(bench: &Bench, work: &Work) -> Result<()> {
    // A report of an earlier run would prove nothing.
    let _absent = std::fs::remove_file(work.out.join("report.json"));
    let (root, before) = (&work.command.cwd, work.before);
    if let Some(branch) = before.branch {
        git(bench, root, &["checkout", "--quiet", "--force", branch]).await?;
    }
    let memory = memory(root);
    if before.forget && memory.exists() {
        std::fs::remove_file(&memory).with_context(|| format!("cannot remove `{}`", memory.display()))?;
    }
    if let Some(known) = before.known {
        let text = std::fs::read_to_string(&memory).context("nothing is known of the history")?;
        let tip = serde_json::from_str::<serde_json::Value>(&text).context("the memory is broken")?["tip"].clone();
        let known = git(bench, root, &["rev-parse", known]).await?;
        anyhow::ensure!(tip.as_str() == Some(known.trim()), "another part of the history is known");
    }
    Ok(())
}

/// Where the gate of the history keeps what it knows.
fn memory(root: &Path) -> PathBuf {
    root.join("target/xtask/cache/secrets-history.json")
}

/// In which way a report is not the expected one.
fn unlike(report: &Report, exit: &Exit, expected: &BTreeMap<String, Expected>) -> Option<String> {
    let ids = |ids: &mut dyn Iterator<Item = &str>| ids.map(str::to_owned).collect::<Vec<_>>().join(", ");
    let (ran, wanted) =
        (ids(&mut report.gates.iter().map(|gate| gate.id.as_str())), ids(&mut expected.keys().map(String::as_str)));
    if report.gates.len() != expected.len() || report.gates.iter().any(|gate| !expected.contains_key(&gate.id)) {
        return Some(format!("it ran {ran}, and not {wanted}"));
    }
    for gate in &report.gates {
        let wanted = &expected[&gate.id];
        let (id, findings) = (&gate.id, gate.findings.len());
        if gate.verdict == Verdict::DidNotRun || gate.cached {
            return Some(format!("{id} did not run: {}", gate.reason));
        }
        if wanted.count.is_some_and(|count| count as u64 != gate.work.count) || gate.work.unit != wanted.unit {
            let count = Done::new(wanted.count.unwrap_or_default() as u64, wanted.unit);
            return Some(format!("{id} looked at {} and not at {count}", gate.work));
        }
        match wanted.findings {
            Some(count) if count != findings => return Some(format!("{id} has {findings} findings and not {count}")),
            None if gate.verdict != Verdict::Pass => return Some(format!("{id} is red: {}", gate.reason)),
            _ => {}
        }
    }
    let is_red = report.gates.iter().any(|gate| gate.verdict == Verdict::Fail);
    let code = if is_red { Code::Failed } else { Code::Passed };
    (*exit != Exit::Code(code as i32)).then(|| format!("it ended with {exit}, which its report contradicts"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(verdict: &str, count: usize, findings: usize) -> Report {
        let finding = r#"{"rule":"r","severity":"high","path":null,"line":null,"message":"m"}"#;
        let text = format!(
            r#"{{"schema":"forge-report/1","commit":"","dirty":false,"task":"ci","profile":"local","verdict":"{verdict}",
               "started":"","duration_ms":1,"not_configured":[],"gates":[{{"id":"scan/x","verdict":"{verdict}",
               "required":true,"cached":false,"work":{{"count":{count},"unit":"files"}},"tool":{{"name":"t","version":"1"}},
               "inputs":"","duration_ms":1,"reason":"why","fix":"","findings":[{}],"artifacts":[]}}]}}"#,
            vec![finding; findings].join(",")
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn only_the_expected_work_and_findings_count() {
        let expected = |findings| Expected { count: Some(3), unit: "files", findings };
        for (report, code, findings, wrong) in [
            (report("fail", 3, 2), 10, Some(2), None),
            (report("pass", 3, 1), 0, None, None),
            (report("fail", 2, 2), 10, Some(2), Some("scan/x looked at 2 files and not at 3 files")),
            (report("fail", 3, 1), 10, Some(2), Some("scan/x has 1 findings and not 2")),
            (report("pass", 3, 0), 0, Some(1), Some("scan/x has 0 findings and not 1")),
            (report("fail", 3, 1), 10, None, Some("scan/x is red: why")),
            (report("did_not_run", 0, 0), 20, None, Some("scan/x did not run: why")),
        ] {
            let expected = BTreeMap::from([("scan/x".to_owned(), expected(findings))]);
            assert_eq!(unlike(&report, &Exit::Code(code), &expected).as_deref(), wrong);
        }
        let none = unlike(&report("pass", 3, 0), &Exit::Code(0), &BTreeMap::new());
        assert_eq!(none.as_deref(), Some("it ran scan/x, and not "));
        let one = BTreeMap::from([("scan/x".to_owned(), expected(Some(2)))]);
        assert!(unlike(&report("fail", 3, 2), &Exit::Code(0), &one).is_some());
    }
}
