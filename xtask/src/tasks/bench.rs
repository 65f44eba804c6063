//! `bench`: builds and starts the program that measures, which nobody has to build who does not measure.

use anyhow::Result;

use crate::context::Ctx;
use crate::exit::Code;
use crate::tools::cancel::Cancel;
use crate::tools::command::Command;
use crate::tools::machine::Machine;
use crate::tools::proc::Runner;

/// Runs `xtask-bench` on the terminal of the caller, with the caller's own environment: it builds with it.
pub async fn run(ctx: &std::sync::Arc<Ctx>, cancel: &Cancel, args: &[String]) -> Result<Code> {
    let command = Command::new("cargo", &ctx.root)
        .args(["run", "--quiet", "--package", "xtask-bench", "--"])
        .args(args.iter().cloned());
    let runner = Runner { env: ctx.env.clone(), ..Machine::new(ctx.clone(), cancel.clone()).quiet() };
    let status = runner.foreground(&command).await?;
    let codes = [Code::Passed, Code::Usage, Code::Failed, Code::DidNotRun, Code::Interrupted];
    Ok(codes.into_iter().find(|&code| status.code() == Some(code as i32)).unwrap_or(Code::Defect))
}
