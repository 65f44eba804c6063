//! The run in which every gate runs, beside what it cannot be faster than (R8).
//!
//! The bound is the wall time of the quiet gates, and of the rest the longest chain or the processor
//! time shared by all cores, whichever is longer. A gate's own time is that of a run in which it is
//! alone: what it takes beside others is longer by what it waited for them, and would flatter the run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use crate::measure::{self, Proof, Stats, Subject, once};
use crate::row::{Aim, Row, Value, times};
use crate::{Bench, Places};
use xtask::engine::gate::Gate;
use xtask::tasks::ci;
use xtask::tools::command::Command;

const FULL: &str = "`ci --no-cache`";
const BOUND: &str = "its lower bound";

/// Runs its arguments, then tells the processor time of all that they started: POSIX has `times` in every shell.
const TIMED: &str = "\"$@\"; code=$?; times >&2; exit \"$code\"";

/// The whole run, the rest without its quiet gates where there are any, and every gate by itself.
pub fn subjects(places: &Places) -> Vec<Subject> {
    let gates = ci::all_gates(&places.ctx);
    let mut subjects = vec![subject(places, FULL.to_owned(), &[])];
    let quiet: Vec<&str> = gates.iter().filter(|gate| gate.quiet).map(|gate| gate.id.as_str()).collect();
    if !quiet.is_empty() {
        subjects.push(subject(places, rest(), &["--skip", &quiet.join(",")]));
    }
    subjects.extend(gates.iter().map(|gate| subject(places, alone(&gate.id), &["--only", &gate.id])));
    subjects
}

fn rest() -> String {
    format!("{FULL} without the quiet gates")
}

fn alone(gate: &str) -> String {
    format!("{gate} by itself")
}

fn out(places: &Places) -> PathBuf {
    places.folder.join("out/full")
}

fn subject(places: &Places, name: String, args: &[&str]) -> Subject {
    let ci = places.ci(&places.ctx.root, &out(places)).arg("--no-cache").args(args.iter().copied());
    let timed = places.patient(Command::new("sh", &ci.cwd)).args(["-c", TIMED, "sh"]).arg(&ci.program).args(ci.args);
    Subject::new(name, timed, Proof::Gates { out: out(places), cached: Some(false) })
}

/// What was seen in all rounds.
#[derive(Debug, Default)]
struct Seen {
    wall: Vec<Duration>,
    cpu: Vec<Duration>,
    gates: BTreeMap<String, Vec<Duration>>,
}

pub async fn rows(bench: &Bench) -> Result<Vec<Row>> {
    let places = &bench.places;
    let gates = ci::all_gates(&places.ctx);
    let subjects = subjects(places);
    let (together, by_themselves) = subjects.split_at(subjects.len() - gates.len());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut seen = Seen::default();
    for round in 0..=bench.runs {
        if let Err(why) = look_at(bench, round, together, &gates, &mut seen).await? {
            return Ok(did_not_run(&why));
        }
    }
    for round in 1..=bench.runs {
        if let Err(why) = look_at(bench, round, by_themselves, &gates, &mut seen).await? {
            return Ok(did_not_run(&why));
        }
        // These runs take long: one is enough where the processor time decides, and the chain by far does not.
        let bound = Bound::of(&gates, &seen, cores);
        if bound.chain * 5 < bound.shared * 4 {
            break;
        }
    }
    let command = places.command(&subjects[0].command);
    Ok(tell(command, &gates, &seen, cores))
}

/// One sample of each subject; `round` 0 is not counted.
async fn look_at(
    bench: &Bench,
    round: u32,
    subjects: &[Subject],
    gates: &[Gate],
    seen: &mut Seen,
) -> Result<Result<(), String>> {
    for subject in subjects {
        measure::tell(bench, round, &subject.name);
        let looked = match once(bench, subject).await? {
            Ok(sample) => look(&bench.places, gates, subject, &sample),
            Err(why) => Err(why),
        };
        match looked {
            Ok(found) if round > 0 => found.add_to(seen),
            Ok(_not_counted) => {}
            Err(why) => return Ok(Err(format!("{}: {}", subject.name, bench.places.shown(&why)))),
        }
    }
    Ok(Ok(()))
}

fn did_not_run(why: &str) -> Vec<Row> {
    let row = |name| Row::new(name, Value::DidNotRun(why.to_owned()));
    vec![row(FULL).aim(wanted()), row(BOUND)]
}

fn wanted() -> Aim {
    Aim::TimesOf(1.10, BOUND.to_owned())
}

/// What one sample is good for.
#[derive(Debug)]
struct Found {
    wall: Option<Duration>,
    cpu: Option<Duration>,
    gate: Option<(String, Duration)>,
}

impl Found {
    fn add_to(self, seen: &mut Seen) {
        seen.wall.extend(self.wall);
        seen.cpu.extend(self.cpu);
        if let Some((id, wall)) = self.gate {
            seen.gates.entry(id).or_default().push(wall);
        }
    }
}

fn look(places: &Places, gates: &[Gate], subject: &Subject, sample: &measure::Sample) -> Result<Found, String> {
    let is_full = subject.name == FULL;
    // Where quiet gates are, the processor time that can be shared is that of the run without them.
    let tells_cpu = if gates.iter().any(|gate| gate.quiet) { subject.name == rest() } else { is_full };
    let cpu = processor_time(&sample.ended.stderr).ok_or("the shell did not tell the processor time")?;
    let report = measure::report_of(&out(places))?;
    let gate = report.gates.iter().find(|gate| subject.name == alone(&gate.id));
    Ok(Found {
        wall: is_full.then_some(sample.wall),
        cpu: tells_cpu.then_some(cpu),
        gate: gate.map(|gate| (gate.id.clone(), Duration::from_millis(gate.duration_ms))),
    })
}

/// What the run cannot be faster than, in its parts.
#[derive(Debug)]
struct Bound {
    quiet: Duration,
    chain: Duration,
    links: Vec<String>,
    /// Processor time, divided by the cores.
    shared: Duration,
}

impl Bound {
    fn of(gates: &[Gate], seen: &Seen, cores: usize) -> Self {
        let median = |samples: &[Duration]| Stats::of(samples).map(|stats| stats.median()).unwrap_or_default();
        let wall = |gate: &Gate| seen.gates.get(&gate.id).map(|walls| median(walls)).unwrap_or_default();
        let links: Vec<Link<'_>> = gates
            .iter()
            .filter(|gate| !gate.quiet)
            .map(|gate| Link { id: &gate.id, after: &gate.after, wall: wall(gate) })
            .collect();
        let (chain, links) = longest_chain(&links);
        Self {
            quiet: gates.iter().filter(|gate| gate.quiet).map(wall).sum(),
            chain,
            links: links.into_iter().map(str::to_owned).collect(),
            shared: median(&seen.cpu) / u32::try_from(cores.max(1)).unwrap_or(1),
        }
    }

    fn wall(&self) -> Duration {
        self.quiet + self.chain.max(self.shared)
    }
}

fn tell(command: String, gates: &[Gate], seen: &Seen, cores: usize) -> Vec<Row> {
    let bound = Bound::of(gates, seen, cores);
    let ms = |duration: Duration| Value::Computed(duration.as_secs_f64() * 1000.0);
    let chain = format!("of it: longest chain ({})", bound.links.join(", then "));
    let mut rows = vec![
        Row { command, ..Row::new(FULL, times(&seen.wall)).aim(wanted()) },
        Row { beside: Some(FULL.to_owned()), ..Row::new(BOUND, ms(bound.wall())) },
        Row::new("of it: quiet gates", ms(bound.quiet)),
        Row::new(chain, ms(bound.chain)),
        Row::new(format!("of it: processor time, shared by {cores} cores"), ms(bound.shared)),
        Row::new("processor time of all processes", times(&seen.cpu)),
    ];
    rows.extend(seen.gates.iter().map(|(id, walls)| Row::new(alone(id), times(walls))));
    rows
}

/// The last line of `times`: user and system time of all children that were waited for, `0m1.23s 0m0.45s`.
fn processor_time(stderr: &str) -> Option<Duration> {
    let line = stderr.lines().rev().find(|line| !line.trim().is_empty())?;
    let (user, system) = line.trim().split_once(' ')?;
    let parse = |text: &str| {
        let (minutes, seconds) = text.trim().strip_suffix('s')?.split_once('m')?;
        let (minutes, seconds): (f64, f64) = (minutes.parse().ok()?, seconds.parse().ok()?);
        Duration::try_from_secs_f64(minutes * 60.0 + seconds).ok()
    };
    Some(parse(user)? + parse(system)?)
}

/// A gate as far as its place in a chain goes.
#[derive(Clone, Copy, Debug)]
struct Link<'a> {
    id: &'a str,
    after: &'a [String],
    wall: Duration,
}

/// The chain of gates, each after the one before, whose times add up to the most. Gates stand after those they need.
fn longest_chain<'a>(gates: &[Link<'a>]) -> (Duration, Vec<&'a str>) {
    let mut ending: BTreeMap<&str, (Duration, Vec<&'a str>)> = BTreeMap::new();
    for gate in gates {
        let before = gate.after.iter().filter_map(|id| ending.get(id.as_str())).max_by_key(|(wall, _)| *wall);
        let (wall, mut chain) = before.cloned().unwrap_or_default();
        chain.push(gate.id);
        ending.insert(gate.id, (wall + gate.wall, chain));
    }
    ending.into_values().max_by_key(|(wall, _)| *wall).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_as_shells_print_it() {
        for (stderr, ms) in [
            ("warning: x\n0m0.001s 0m0.002s\n1m2.500s 0m0.500s\n", Some(63_000)),
            ("0m0,5s 0m0,1s", None),
            ("0m0.00s 0m0.00s\n0m0.25s 0m0.05s\n\n", Some(300)),
            ("", None),
            ("all is well", None),
        ] {
            assert_eq!(processor_time(stderr), ms.map(Duration::from_millis), "{stderr}");
        }
    }

    #[test]
    fn the_longest_chain_is_the_slowest_way_through() {
        let after = |ids: &[&str]| ids.iter().map(|&id| id.to_owned()).collect::<Vec<_>>();
        let (none, legs, sum) = (after(&[]), after(&["leg-1", "leg-2"]), after(&["sum"]));
        let link = |id, after, ms| Link { id, after, wall: Duration::from_millis(ms) };
        let gates = |hooks| {
            [
                link("hooks", &none, hooks),
                link("leg-1", &none, 5),
                link("leg-2", &none, 7),
                link("sum", &legs, 2),
                link("page", &sum, 1),
            ]
        };
        assert_eq!(longest_chain(&gates(9)), (Duration::from_millis(10), vec!["leg-2", "sum", "page"]));
        assert_eq!(longest_chain(&gates(11)), (Duration::from_millis(11), vec!["hooks"]));
        assert_eq!(longest_chain(&[]), (Duration::ZERO, vec![]));
    }
}
