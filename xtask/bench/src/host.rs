//! What the figures were measured on: without it none of them means anything.

use anyhow::Result;
use serde::Serialize;
use time::format_description::well_known::Rfc3339;

use crate::Bench;
use xtask::tools::command::Command;

/// One thing about the machine or the tools.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fact {
    /// What it is about.
    pub name: &'static str,
    /// What it is.
    pub value: String,
}

/// The machine, the tools and the commit.
pub async fn describe(bench: &Bench) -> Result<Vec<Fact>> {
    let ctx = &bench.places.ctx;
    let says = async |program: &str, args: &[&str]| -> Result<String> {
        let ended = bench.runner.run(&Command::new(program, &ctx.root).args(args.iter().copied())).await?;
        let said = [ended.stdout.trim(), ended.stderr.trim(), "unknown"].into_iter().find(|text| !text.is_empty());
        Ok(said.filter(|_| ended.is_success()).unwrap_or("unknown").to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    // Linux tells it in a file, macOS by a command.
    let processor = match field("/proc/cpuinfo", "model name") {
        Some(name) => name,
        None => says("sysctl", &["-n", "machdep.cpu.brand_string"]).await?,
    };
    let memory = field("/proc/meminfo", "MemTotal").and_then(|total| gibibytes(&total));
    let load = std::fs::read_to_string("/proc/loadavg").ok();
    let load = load.as_deref().and_then(|load| load.split(' ').next()).unwrap_or("unknown");
    let mut peers = Vec::new();
    for peer in crate::peers::PINNED {
        let version = says(&bench.places.tools.join(peer).to_string_lossy(), &["--version"]).await?;
        // Some say their name with it, and some do not.
        peers.push(format!("{peer} {}", version.trim_start_matches(peer).trim_start()));
    }
    peers.push(format!("turbo {}", crate::peers::TURBO));
    let snapshot = bench.machine.snapshot().await?;
    let commit = snapshot.commit.get(..12).unwrap_or("none").to_owned();
    Ok(vec![
        Fact { name: "measured", value: ctx.started.format(&Rfc3339).unwrap_or_default() },
        Fact { name: "commit", value: if snapshot.dirty { format!("{commit}, with changes") } else { commit } },
        Fact { name: "machine", value: format!("{cores} cores, {processor}, {} memory", memory.unwrap_or_default()) },
        Fact { name: "system", value: says("uname", &["-srm"]).await? },
        Fact { name: "load before", value: load.to_owned() },
        Fact { name: "compiler", value: says("rustc", &["--version"]).await? },
        Fact { name: "our program", value: bench.places.shown(&bench.places.program.to_string_lossy()) },
        Fact { name: "peers", value: peers.join(", ") },
    ])
}

/// `NAME : VALUE` of a file of the kernel.
fn field(path: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// `N kB`, as the kernel writes it.
fn gibibytes(kilobytes: &str) -> Option<String> {
    let number: f64 = kilobytes.split(' ').next()?.parse().ok()?;
    Some(format!("{:.1} GiB", number / 1024.0 / 1024.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_told_in_units_of_people() {
        assert_eq!(gibibytes("25165824 kB").as_deref(), Some("24.0 GiB"));
        assert_eq!(gibibytes("much"), None);
    }
}
