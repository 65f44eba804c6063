//! `self-test`: the pipeline's own code, formatted, linted and tested, on whatever machine this is.
//!
//! Not part of `ci`: those who work on the backend need not build our tests. The workflow runs it beside
//! the gates, on Linux and on macOS.

use regex_lite::Regex;

use crate::context::Ctx;
use crate::engine::gate::{Gate, action};
use crate::engine::session::Session;
use crate::tools::command::Command;
use crate::tools::proc::{Ended, Exit};
use crate::verdict::{Evidence, Finding, Outcome, Severity, Unproven, Work};

/// Format, lints, tests.
pub fn plan(ctx: &Ctx) -> Vec<Gate> {
    let cargo = |args: &[&str]| Command::new("cargo", &ctx.root).args(args.iter().copied());
    vec![
        gate("fmt", "files", cargo(&["fmt", "--all", "--check"]), |session, ended| Box::pin(formatted(session, ended))),
        gate(
            "clippy",
            "builds",
            cargo(&[
                "clippy",
                "--workspace",
                "--all-targets",
                "--locked",
                "--message-format=short",
                "--",
                "--deny",
                "warnings",
            ]),
            |session, ended| Box::pin(async move { linted(&session, &ended) }),
        ),
        gate("tests", "tests", cargo(&["test", "--workspace", "--locked", "--no-fail-fast"]), |session, ended| {
            Box::pin(async move { tested(&session, &ended) })
        }),
    ]
}

type Judging = std::pin::Pin<Box<dyn Future<Output = Result<Outcome, Unproven>> + Send>>;

fn gate(name: &str, unit: &'static str, step: Command, judge: fn(Session, Ended) -> Judging) -> Gate {
    // The tests build and run whole projects.
    let step = step.timeout(std::time::Duration::from_secs(3600));
    let run = step.clone();
    Gate {
        id: format!("self-test/{name}"),
        // Cargo holds a lock on the target folder; beside each other they would only wait.
        quiet: true,
        unit,
        tool: ("cargo", String::new()),
        steps: vec![step],
        again: "cargo xtask self-test".to_owned(),
        action: action(move |session: Session| {
            let run = run.clone();
            async move {
                let ended = session.step(&run).await?;
                judge(session, ended).await
            }
        }),
        ..Gate::default()
    }
}

fn evidence(count: usize, unit: &str, findings: Vec<Finding>) -> Outcome {
    let fix = "cargo fmt && cargo clippy --all-targets && cargo test".to_owned();
    Outcome::Ran(Evidence { work: Work::new(count as u64, unit), declared: None, findings, artifacts: vec![], fix })
}

fn finding(rule: &str, path: Option<String>, line: Option<u32>, message: String) -> Finding {
    Finding::new(rule, Severity::High, message).at(path, line)
}

/// rustfmt says nothing of what it looked at; the files that git knows are what it was given.
async fn formatted(session: Session, ended: Ended) -> Result<Outcome, Unproven> {
    let ctx = session.ctx();
    let snapshot = session.machine.snapshot().await?;
    let files = snapshot.paths().filter(|path| path.ends_with(".rs")).count();
    let place = Regex::new(r"^Diff in (.+?):(\d+):?$").map_err(anyhow::Error::from)?;
    let findings: Vec<Finding> = ended
        .stdout
        .lines()
        .filter_map(|line| place.captures(line))
        .map(|found| {
            let path = ctx.relative(found[1].as_ref());
            finding("rustfmt", path, found[2].parse().ok(), "is not formatted; `cargo fmt` mends it".to_owned())
        })
        .collect();
    agree(&session, &ended, &findings)?;
    Ok(evidence(files, "files", findings))
}

fn linted(session: &Session, ended: &Ended) -> Result<Outcome, Unproven> {
    let pattern =
        Regex::new(r"^(\S[^:]*):(\d+):\d+: (?:error|warning)(?:\[\w+\])?: (.+)$").map_err(anyhow::Error::from)?;
    let findings: Vec<Finding> = ended
        .stderr
        .lines()
        .filter_map(|line| pattern.captures(line))
        .map(|found| {
            finding("clippy", session.ctx().relative(found[1].as_ref()), found[2].parse().ok(), found[3].to_owned())
        })
        .collect();
    agree(session, ended, &findings)?;
    // Cargo prints a line for each of our crates that it looked at, now or before: `Checking`, or `Finished` alone.
    let finished = ended.stderr.lines().filter(|line| line.trim_start().starts_with("Finished")).count();
    Ok(evidence(finished.max(findings.len()), "builds", findings))
}

fn tested(session: &Session, ended: &Ended) -> Result<Outcome, Unproven> {
    let (passed, failed) = counts(&ended.stdout);
    let findings: Vec<Finding> = ended
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"))
        .map(|test| finding(test, None, None, format!("{test} failed; `cargo test {test}` repeats it")))
        .collect();
    agree(session, ended, &findings)?;
    Ok(evidence(passed + failed, "tests", findings))
}

/// The sums over `test result: ok. 3 passed; 0 failed; …`, of which each test binary prints one.
fn counts(output: &str) -> (usize, usize) {
    let Ok(pattern) = Regex::new(r"(?m)^test result: \w+\. (\d+) passed; (\d+) failed;") else { return (0, 0) };
    pattern.captures_iter(output).fold((0, 0), |(passed, failed), found| {
        let number = |group: usize| found[group].parse::<usize>().unwrap_or_default();
        (passed + number(1), failed + number(2))
    })
}

/// Cargo's exit code has to say what its output says: 0 and nothing found, or else and something found.
fn agree(session: &Session, ended: &Ended, findings: &[Finding]) -> Result<(), Unproven> {
    let agrees = match ended.exit {
        Exit::Code(0) => findings.is_empty(),
        Exit::Code(_) => !findings.is_empty(),
        _ => false,
    };
    if agrees { Ok(()) } else { Err(session.not_run(format!("cargo {}", ended.failure())).into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_of_all_test_binaries_are_summed() {
        let output = "test a ... ok\ntest result: ok. 51 passed; 0 failed; 0 ignored; 0 measured\n\n\
                      test result: FAILED. 3 passed; 2 failed; 0 ignored\n";
        assert_eq!(counts(output), (54, 2));
        assert_eq!(counts("error: could not compile"), (0, 0));
    }
}
