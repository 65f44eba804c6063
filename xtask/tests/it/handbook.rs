//! The documents, held against the program: every command that they show can be typed, and every gate that they name is one.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::Command;

use clap::Parser as _;
use clap::error::ErrorKind;
use xtask::cli::Cli;

use super::support::{Project, repository};

/// A command in a document.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shown {
    /// `docs/a.md:12`
    place: String,
    /// The words, as a shell splits them.
    words: Vec<String>,
    /// It stands in a block, so that a reader copies it; one within a sentence may leave out what has to follow.
    is_whole: bool,
}

/// The pages that are looked at: everything that is written for people who use the pipeline.
fn pages() -> Vec<(String, String)> {
    let mut found = vec!["README.md".to_owned(), "CONTRIBUTING.md".to_owned(), "SECURITY.md".to_owned()];
    for folder in ["docs", "docs/handbook"] {
        let entries = std::fs::read_dir(repository().join(folder)).unwrap().map(|entry| entry.unwrap().file_name());
        let names = entries.map(|name| name.into_string().unwrap()).filter(|name| name.ends_with(".md"));
        found.extend(names.map(|name| format!("{folder}/{name}")));
    }
    found.sort();
    found.into_iter().map(|path| (path.clone(), std::fs::read_to_string(repository().join(path)).unwrap())).collect()
}

/// The lines of blocks for a shell, and the code within sentences; each with its line, and whether it stands in a block.
fn code(text: &str) -> Vec<(usize, String, bool)> {
    let (mut found, mut block) = (Vec::new(), None::<bool>);
    let mut continued = String::new();
    for (index, line) in text.lines().enumerate() {
        let fence = line.trim_start().strip_prefix("```");
        match (block, fence) {
            (None, Some(language)) => block = Some(["", "sh", "bash", "console"].contains(&language.trim())),
            (Some(_), Some(_)) => block = None,
            (Some(true), None) => match line.trim_end().strip_suffix('\\') {
                Some(start) => continued += &format!("{} ", start.trim()),
                None => found.push((index + 1, std::mem::take(&mut continued) + line.trim(), true)),
            },
            (Some(false), None) => {}
            (None, None) => found.extend(spans(line).into_iter().map(|span| (index + 1, span, false))),
        }
    }
    found
}

/// What stands between backticks, as many behind as before.
fn spans(line: &str) -> Vec<String> {
    let (mut found, mut rest) = (Vec::new(), line);
    while let Some(at) = rest.find('`') {
        let ticks = rest[at..].len() - rest[at..].trim_start_matches('`').len();
        let (mark, inside) = ("`".repeat(ticks), &rest[at + ticks..]);
        let Some(end) = inside.find(&mark) else { break };
        // A bar in a table is written with a backslash.
        found.push(inside[..end].trim().replace("\\|", "|"));
        rest = &inside[end + ticks..];
    }
    found
}

/// Words, as a shell has them; a comment ends them.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut has_word) = (Vec::new(), String::new(), None, false);
    for c in line.chars() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (None, '"' | '\'') => (quote, has_word) = (Some(c), true),
            (None, '#') if !has_word => break,
            (None, ' ') => {
                if std::mem::take(&mut has_word) {
                    words.push(std::mem::take(&mut word));
                }
            }
            _ => {
                word.push(c);
                has_word = true;
            }
        }
    }
    if has_word {
        words.push(word);
    }
    words
}

/// The commands of a page that begin like `start`; what stands before `&&` is one of its own.
fn commands(path: &str, text: &str, start: &[&str]) -> Vec<Shown> {
    let mut found = Vec::new();
    for (line, code, is_whole) in code(text) {
        for part in code.split("&&") {
            let part = part.trim().trim_start_matches("$ ");
            // `cargo xtask ci …`: what follows is left to the reader.
            let (part, is_whole) = part.split_once('…').map_or((part, is_whole), |(part, _)| (part, false));
            let words = words(part);
            if words.len() > start.len() && words.iter().zip(start).all(|(word, start)| word == start) {
                found.push(Shown { place: format!("{path}:{line}"), words, is_whole });
            }
        }
    }
    found
}

/// A word that stands for another one, as something that can be typed.
fn stand_in(before: &str, word: &str) -> String {
    let is_one = word.len() > 1 && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    match (before, word) {
        ("--only" | "--skip", "G" | "GATE") => "docs".to_owned(),
        ("--url", "URL") => "http://127.0.0.1:8000".to_owned(),
        (_, "ENV") => "staging".to_owned(),
        (_, "DIGEST") => format!("sha256:{}", "0".repeat(64)),
        (_, "SHELL") => "bash".to_owned(),
        _ if is_one => format!("x-{}", word.to_lowercase()),
        _ => word.to_owned(),
    }
}

/// The arguments of `cargo xtask`, ready to be typed.
fn arguments(shown: &Shown) -> Vec<String> {
    let words = shown.words[2..].iter();
    words.zip(&shown.words[1..]).map(|(word, before)| stand_in(before, word)).collect()
}

/// Why the program does not take it.
fn refused(shown: &Shown) -> Option<String> {
    let arguments = arguments(shown);
    let typed = ["cargo xtask".to_owned()].into_iter().chain(arguments.iter().cloned());
    let error = Cli::try_parse_from(typed).err();
    let incomplete = [
        ErrorKind::MissingRequiredArgument,
        ErrorKind::MissingSubcommand,
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
        ErrorKind::DisplayHelp,
        ErrorKind::DisplayVersion,
    ];
    let helps = [ErrorKind::DisplayHelp, ErrorKind::DisplayVersion];
    match error {
        Some(error) if helps.contains(&error.kind()) => None,
        Some(error) if !shown.is_whole && incomplete.contains(&error.kind()) => None,
        Some(error) => Some(format!("{}: `{}`: {error}", shown.place, shown.words.join(" "))),
        None => None,
    }
}

/// Commands that ask a cluster or another server even with `--dry-run`, or end only by a signal.
const FAR: &[&str] = &["deploy", "rollback", "status", "logs", "bench", "completions", "help"];

/// Why the plan of it cannot be made: a gate, an environment or a load that there is not.
fn unplanned(project: &Project, shown: &Shown) -> Option<String> {
    let arguments = arguments(shown);
    let task = arguments[0].as_str();
    let is_rehearsal = arguments.iter().any(|word| word == "--rehearse");
    let typed: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if Cli::try_parse_from(["cargo xtask"].iter().chain(&typed)).is_err() {
        return None;
    }
    // What is exported is what this checkout remembers, and it has run nothing.
    let is_export = task == "history" && typed.get(1) == Some(&"export");
    if is_export || FAR.contains(&task) && !is_rehearsal {
        let environment = ["deploy", "rollback", "status", "logs"].contains(&task);
        let named = typed[1..].iter().any(|word| ["staging", "production", "prod"].contains(word));
        return (environment && !named).then(|| format!("{}: no such environment in {typed:?}", shown.place));
    }
    // A fault that there is not is refused only when the rehearsal begins.
    let faults = xtask::release::faults::all(&xtask::release::faults::Subject::default());
    let is_fault = |name: &str| name == "first" || faults.iter().any(|fault| fault.name == name);
    let named = typed.windows(2).filter(|pair| pair[0] == "--fault").map(|pair| pair[1]);
    if let Some(unknown) = named.into_iter().find(|name| !is_fault(name)) {
        return Some(format!("{}: there is no fault `{unknown}`", shown.place));
    }
    let dry: Vec<&str> = ["--dry-run"].into_iter().chain(typed.iter().copied()).collect();
    let ran = project.xtask(&dry);
    // A matrix goes to a file that only GitHub names.
    let only_in_actions = ran.stderr.contains("GITHUB_OUTPUT");
    let ended_well = ran.code == 0 || only_in_actions;
    (!ended_well).then(|| format!("{}: {typed:?} ends with {}: {}", shown.place, ran.code, ran.stderr))
}

fn all(start: &[&str]) -> Vec<Shown> {
    pages().iter().flat_map(|(path, text)| commands(path, text, start)).collect()
}

#[test]
fn every_command_of_the_documents_can_be_typed() {
    let shown = all(&["cargo", "xtask"]);
    assert!(shown.len() > 150, "{}", shown.len());
    let wrong: Vec<String> = shown.iter().filter_map(refused).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // The handbook is there for each of its readers.
    for page in ["developer", "release-engineer", "on-call", "adopter", "troubleshooting"] {
        let here = shown.iter().filter(|shown| shown.place.starts_with(&format!("docs/handbook/{page}.md:"))).count();
        assert!(here > 8, "{page}: {here}");
    }
    for shown in all(&["cargo", "xtask"]).iter().chain(&all(&[])).filter(|shown| shown.words[0].starts_with("scripts/"))
    {
        assert!(repository().join(&shown.words[0]).is_file(), "{}: {}", shown.place, shown.words[0]);
    }
}

#[test]
fn every_command_of_the_documents_has_a_plan() {
    let project = Project::ours();
    let mut seen = BTreeSet::new();
    let shown = all(&["cargo", "xtask"]).into_iter().filter(|shown| seen.insert(arguments(shown)));
    let wrong: Vec<String> = shown.filter_map(|shown| unplanned(&project, &shown)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_command_that_there_is_not_is_found() {
    let project = Project::ours();
    let found = |text: &str| -> Vec<String> {
        let shown = commands("p.md", text, &["cargo", "xtask"]);
        shown.iter().filter_map(|shown| refused(shown).or_else(|| unplanned(&project, shown))).collect()
    };
    for (text, says) in [
        ("```sh\ncargo xtask ci --only docs # all\n```\n", None),
        ("```sh\ncargo xtask test-matrix \\\n    --python 3.12 -- -k \"two words\"\n```\n", None),
        ("`cargo xtask evidence` and `cargo xtask deploy ENV --version VERSION`", None),
        ("```toml\ncargo xtask nothing\n```\n", None),
        ("`cargo xtask ci --no-such-flag`", Some("--no-such-flag")),
        ("`cargo xtask evidnce export ENV`", Some("unrecognized subcommand")),
        ("```sh\ncargo xtask evidence\n```\n", Some("p.md:2")),
        ("`cargo xtask scan everything`", Some("everything")),
        ("`cargo xtask ci --only scan/nothing`", Some("no gate or task is called")),
        ("`cargo xtask deploy stagin`", Some("no such environment")),
        ("`cargo xtask perf --load smok`", Some("no load named")),
        ("`cargo xtask deploy staging --rehearse --fault crush`", Some("crush")),
        ("| a | `cargo xtask ci && cargo xtask tools lst` |", Some("lst")),
    ] {
        let wrong = found(text).join("\n");
        assert_eq!(wrong.is_empty(), says.is_none(), "{text}: {wrong}");
        assert!(wrong.contains(says.unwrap_or_default()), "{text}: {wrong}");
    }
}

/// The ids of gates that a command plans.
fn planned(project: &Project, arguments: &[&str]) -> Vec<String> {
    let ran = project.xtask(&[&["--dry-run"], arguments].concat());
    ran.assert_code(0);
    let heads = ran.stdout.lines().filter(|line| !line.starts_with([' ', '$']));
    heads.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// Every gate that there is: those of `ci`, those of other tasks as they plan them, and those of a release, whose plan asks a
/// cluster, as the source names them.
fn gates(project: &Project) -> BTreeSet<String> {
    let mut found: BTreeSet<String> = BTreeSet::new();
    let tasks: &[&[&str]] = &[
        &["ci"],
        &["ci", "--merge", "x"],
        &["doctor"],
        &["doctor", "--github"],
        &["evidence", "export", "staging"],
        &["evidence", "verify", "x"],
        &["container", "push"],
        &["container", "sign", "--report", "x"],
        &["container", "verify"],
        &["cluster", "up"],
        &["self-test"],
        &["deploy", "staging", "--rehearse", "--full"],
        &["monitor", "staging"],
        &["monitor", "production", "--tell", "on"],
    ];
    for task in tasks {
        found.extend(planned(project, task));
    }
    for file in ["deploy.rs", "rollback.rs"] {
        let source = std::fs::read_to_string(repository().join("xtask/src/tasks/release").join(file)).unwrap();
        let quoted = source.split('"').skip(1).step_by(2);
        found.extend(
            quoted.filter(|text| text.starts_with("deploy/") || text.starts_with("rollback/")).map(str::to_owned),
        );
    }
    // Planned only where a key of GitGuardian's is set.
    found.insert("scan/ggshield".to_owned());
    found
}

/// The names of gates in a page: code that looks like one, and is neither a file nor a family of gates.
fn named(path: &str, text: &str, tasks: &BTreeSet<&str>) -> Vec<(String, String)> {
    let is_gate = |span: &String| {
        let Some((task, part)) = span.split_once('/') else { return false };
        let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        let is_file = [".json", ".html", ".log", ".xml", ".md", ".yaml", ".yml", ".py", ".rs", ".sh", ".x"];
        tasks.contains(task)
            && !part.is_empty()
            && part.chars().all(inside)
            && !is_file.iter().any(|e| part.ends_with(e))
    };
    let spans = code(text).into_iter().filter(|(_, _, in_block)| !in_block);
    spans.filter(|(_, span, _)| is_gate(span)).map(|(line, span, _)| (format!("{path}:{line}"), span)).collect()
}

#[test]
fn every_gate_that_a_document_names_is_one() {
    let project = Project::ours();
    let gates = gates(&project);
    let tasks: BTreeSet<&str> = gates.iter().filter_map(|id| Some(id.split_once('/')?.0)).collect();
    assert!(gates.len() > 40 && tasks.len() > 8, "{gates:?}");
    let (mut count, mut wrong) = (0, Vec::new());
    for (path, text) in pages() {
        for (place, name) in named(&path, &text, &tasks) {
            count += 1;
            if !gates.contains(&name) {
                wrong.push(format!("{place} names the gate `{name}`"));
            }
        }
    }
    assert!(count > 60, "{count}");
    assert!(wrong.is_empty(), "{}\nthere are: {gates:?}", wrong.join("\n"));
    // It looks.
    let planted =
        named("p.md", "`scan/nothing`, `scan/secrets`, `perf/report.html`, `xtask/src`, `scan/deps-3.x`", &tasks);
    let names: Vec<&str> = planted.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(names, ["scan/nothing", "scan/secrets"]);
    assert!(!gates.contains("scan/nothing"));
}

/// Every kind of a failed rollout that the page for release engineers names is one that the program tells, and the other
/// way round.
#[test]
fn the_faults_of_a_release_are_those_that_the_program_tells() {
    let page = std::fs::read_to_string(repository().join("docs/handbook/release-engineer.md")).unwrap();
    let rules = code(&page).into_iter().filter_map(|(_, span, _)| Some(span.strip_prefix("rollout/")?.to_owned()));
    let named: BTreeSet<String> = rules.collect();
    let planted = xtask::release::faults::all(&xtask::release::faults::Subject::default());
    let told: BTreeSet<String> =
        planted.iter().filter_map(|fault| Some(fault.tells.strip_prefix("rollout/")?.to_owned())).collect();
    assert_eq!(named, told);
    assert!(told.len() >= 6, "{told:?}");
}

/// Each control says what the pipeline gives, and what it does not: no row is silent about the second.
#[test]
fn every_control_says_what_is_not_covered() {
    let page = std::fs::read_to_string(repository().join("docs/compliance.md")).unwrap();
    for (heading, least, first) in [("## SOC 2", 14, "CC8.1"), ("## GDPR", 10, "5(1)(f)")] {
        let section = page.split(&format!("{heading}\n")).nth(1).unwrap().split("\n## ").next().unwrap();
        let rows = section.lines().filter(|line| line.starts_with("| ")).skip(1);
        let rows: Vec<Vec<&str>> = rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect();
        assert!(rows.len() >= least, "{heading}: {}", rows.len());
        assert!(rows.iter().any(|row| row[0].starts_with(first)), "{heading} lacks {first}");
        for row in rows {
            assert!(row.len() == 3 && row.iter().all(|cell| !cell.is_empty()), "{row:?}");
        }
    }
    assert!(page.contains("**It certifies nothing.**"));
}

fn not_run(why: &str) {
    std::io::stderr().write_all(format!("NOT RUN: {why}\n").as_bytes()).unwrap();
}

/// kubectl reads every flag before it shows its help.
fn kubectl(words: &[String]) -> Result<(), String> {
    let output = Command::new("kubectl").args(&words[1..]).arg("--help").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    // A command that it does not know is answered with its own help.
    let known = output.status.success() && !said.contains("kubectl controls the Kubernetes cluster manager");
    if known { Ok(()) } else { Err(format!("`{}`: {said}", words.join(" "))) }
}

#[test]
fn every_kubectl_command_has_flags_that_kubectl_knows() {
    if Command::new("kubectl").arg("version").arg("--client").output().is_err() {
        return not_run("a test of the documents needs kubectl, which this machine lacks");
    }
    let shown: Vec<Shown> = all(&["kubectl"]).into_iter().filter(|shown| shown.words.len() > 1).collect();
    assert!(shown.len() >= 4, "{shown:?}");
    for shown in shown {
        kubectl(&shown.words).unwrap_or_else(|why| panic!("{}: {why}", shown.place));
    }
    for wrong in ["kubectl get pods --no-such-flag", "kubectl gte pods"] {
        assert!(kubectl(&words(wrong)).is_err(), "{wrong}");
    }
}

/// Every git command of the pages, in their order, in a clone that has one commit of its history.
#[test]
fn every_git_command_does_what_it_says() {
    let project = Project::bare();
    project.write("README.md", "# First\n");
    project.commit();
    project.write("README.md", "# Second\n");
    project.commit();
    project.git(&["branch", "develop"]);
    let folder = tempfile::tempdir().unwrap();
    let origin = folder.path().join("origin.git");
    let git = |at: &std::path::Path, words: &[String]| {
        let output = Command::new("git")
            .args(["-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"])
            .args(words)
            .current_dir(at)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(()) } else { Err(said) }
    };
    git(folder.path(), &words(&format!("clone --quiet --bare {} {}", project.path().display(), origin.display())))
        .unwrap();
    let url = format!("file://{}", origin.display());
    let clone = folder.path().join("clone");
    git(folder.path(), &words(&format!("clone --quiet --depth 1 --no-single-branch {url} {}", clone.display())))
        .unwrap();
    std::fs::write(clone.join("CHANGED.md"), "# Changed\n").unwrap();
    let pages = pages();
    let handbook = pages.iter().filter(|(path, _)| path.starts_with("docs/handbook/") || path == "docs/security.md");
    let (mut seen, mut ran) = (BTreeSet::new(), 0);
    for shown in handbook.flat_map(|(path, text)| commands(path, text, &["git"])) {
        // `git knows none of`: a reason, and no command.
        if !seen.insert(shown.words.clone()) || shown.words[1] == "knows" {
            continue;
        }
        let typed = shown.words[1..].iter().map(|word| match word.starts_with("https://") {
            true => url.clone(),
            false => word.clone(),
        });
        let typed: Vec<String> = typed.collect();
        git(&clone, &typed).unwrap_or_else(|why| panic!("{}: {:?}: {why}", shown.place, shown.words));
        ran += 1;
    }
    assert!(ran >= 6, "{ran}");
    let pushed = git(&origin, &words("rev-parse --verify --quiet refs/heads/my-change"));
    assert_eq!(pushed, Ok(()), "the change is at its origin");
    assert!(git(&clone, &words("switch --no-such-flag x")).is_err());
}
