//! Removes what runs left that are gone: the other half of the ledger, which reads what a killed run wrote.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use super::{Left, Line, folder, now, ticks};
use crate::tools::command::Command;
use crate::tools::proc::Runner;

/// How a folder of ours begins; no other is ever removed.
pub const OURS: &str = "forge-";

/// What `ps` rounds away of the time since a process began, twice over.
const ROUNDED: u64 = 2;

/// How long a removal may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Removes what runs left that are gone, and says what it removed and what it could not. Nothing left costs nothing.
pub async fn sweep(store: &Path, runner: &Runner) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder(store)) else { return vec![] };
    let mut said = Vec::new();
    for path in
        entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "jsonl"))
    {
        let Ok(mut file) = File::options().read(true).write(true).open(&path) else { continue };
        // Its run lives, or another one is sweeping it.
        if file.try_lock().is_err() {
            continue;
        }
        let mut text = String::new();
        let _cut = file.read_to_string(&mut text);
        let mut stays = Vec::new();
        for left in still_left(&text).into_iter().rev() {
            match remove(&left, runner).await {
                Removed::Now(what) => said.push(format!("removed what a killed run left: {what}")),
                Removed::Before => {}
                Removed::Not(why) => {
                    said.push(format!("a killed run left something that cannot be removed: {why}"));
                    stays.push(left);
                }
            }
        }
        if stays.is_empty() {
            let _gone = std::fs::remove_file(&path);
        } else {
            let lines = stays.into_iter().rev().zip(1..).map(|(left, id)| Line { id, left: Some(left) });
            let lines: Vec<String> = lines.filter_map(|line| serde_json::to_string(&line).ok()).collect();
            // What cannot be written stays as it was, and is tried once more.
            let _tried = file.rewind().and_then(|()| file.set_len(0));
            let _tried = file.write_all((lines.join("\n") + "\n").as_bytes());
        }
    }
    said
}

/// What of a file is not gone, in the order in which it was made. A last line that was cut by the kill names nothing.
fn still_left(text: &str) -> Vec<Left> {
    let mut left = BTreeMap::new();
    for line in text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok()) {
        match line.left {
            Some(made) => left.insert(line.id, made),
            None => left.remove(&line.id),
        };
    }
    left.into_values().collect()
}

enum Removed {
    Now(String),
    Before,
    Not(String),
}

async fn remove(left: &Left, runner: &Runner) -> Removed {
    match left {
        Left::Process { group, began, what } => {
            if !is_same(*group, began, runner).await {
                return Removed::Before;
            }
            match Pid::from_raw(*group).map(|pid| kill_process_group(pid, Signal::KILL)) {
                Some(Ok(())) => Removed::Now(format!("`{what}` (process group {group})")),
                Some(Err(why)) if why != rustix::io::Errno::SRCH => {
                    Removed::Not(format!("process group {group}: {why}"))
                }
                _ => Removed::Before,
            }
        }
        Left::Undo { program, args, cwd } => {
            let cwd = if cwd.is_dir() { cwd.as_path() } else { Path::new("/") };
            let command = Command::new(program, cwd).args(args.clone()).timeout(PATIENCE);
            match runner.run(&command).await {
                Ok(ended) if ended.is_success() => Removed::Now(format!("`{command}`")),
                Ok(ended) if is_absent(&ended.stderr) => Removed::Before,
                Ok(ended) => Removed::Not(format!("`{command}`: {}", ended.failure())),
                Err(why) => Removed::Not(format!("`{command}`: {why:#}")),
            }
        }
        Left::Folder(path) => {
            let ours = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(OURS));
            // A link in its place leads to what is not ours.
            let is_folder = path.symlink_metadata().is_ok_and(|found| found.is_dir());
            if !ours || !is_folder {
                return Removed::Before;
            }
            match std::fs::remove_dir_all(path) {
                Ok(()) => Removed::Now(format!("`{}`", path.display())),
                Err(why) => Removed::Not(format!("`{}`: {why}", path.display())),
            }
        }
    }
}

/// Whether an engine's words mean that there is nothing to remove any more. An engine that is down has words alike
/// ("no such file or directory" for its socket, "context not found"), and then everything is still there.
pub fn is_absent(words: &str) -> bool {
    let words = words.to_lowercase();
    let is_network = words.contains("network") && words.contains("not found") && !words.contains("context");
    let gone =
        ["no such container", "no such object", "no such network", "no container with name", "network not found"];
    is_network || gone.iter().any(|part| words.contains(part))
}

/// Whether the process of that id is still the one that was written down. One that is gone is not, even if some of its
/// group live on: the id may have been given to another since.
async fn is_same(pid: i32, began: &str, runner: &Runner) -> bool {
    let Some(at) = began.strip_prefix("at ").and_then(|at| at.parse::<u64>().ok()) else {
        return ticks(pid).as_deref() == Some(began);
    };
    let ask = Command::new("ps", Path::new("/")).args(["-o", "etime=", "-p", &pid.to_string()]).timeout(PATIENCE);
    let Ok(ended) = runner.run(&ask).await else { return false };
    elapsed(ended.stdout.trim()).is_some_and(|elapsed| now().saturating_sub(elapsed).abs_diff(at) <= ROUNDED)
}

/// `[[DAYS-]HOURS:]MINUTES:SECONDS`, as POSIX has `ps` write the time since a process began.
fn elapsed(text: &str) -> Option<u64> {
    let (days, clock) = text.split_once('-').unwrap_or(("0", text));
    let parts = clock.split(':').map(|part| part.parse::<u64>().ok()).collect::<Option<Vec<u64>>>()?;
    let clock = (parts.len() >= 2).then(|| parts.iter().fold(0, |sum, part| sum * 60 + part))?;
    Some(days.parse::<u64>().ok()? * 86400 + clock)
}

#[cfg(test)]
mod tests {
    use super::super::{Ledger, began};
    use super::*;
    use crate::text::Redactor;
    use crate::tools::cancel;

    fn runner(ledger: Ledger) -> Runner {
        let (canceller, cancel) = cancel::pair();
        std::mem::forget(canceller);
        let env = BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]);
        Runner { env, redactor: Redactor::default(), cancel, log: None, on_line: None, nice: 0, ledger }
    }

    fn undo(args: &[&str]) -> Left {
        Left::Undo { program: "rm".into(), args: args.iter().map(|&a| a.to_owned()).collect(), cwd: "/".into() }
    }

    /// As a kill leaves it: nothing is dropped in order, and the lock goes with the process.
    fn abandoned(store: &Path, left: &[Left]) {
        let lines = left.iter().zip(1..).map(|(left, id)| Line { id, left: Some(left.clone()) });
        let text: String = lines.map(|line| serde_json::to_string(&line).unwrap() + "\n").collect();
        std::fs::create_dir_all(folder(store)).unwrap();
        std::fs::write(folder(store).join("dead.jsonl"), text + "{\"id\": 9, \"le").unwrap();
    }

    fn files(store: &Path) -> usize {
        std::fs::read_dir(folder(store)).map_or(0, Iterator::count)
    }

    #[test]
    fn what_was_taken_out_is_not_left() {
        let text = concat!(
            "{\"id\":1,\"left\":{\"folder\":\"/a\"}}\n",
            "{\"id\":2,\"left\":{\"folder\":\"/b\"}}\n",
            "{\"id\":1}\n",
            "{\"id\":3,\"left\":{\"fol"
        );
        assert_eq!(still_left(text), [Left::Folder("/b".into())]);
    }

    #[test]
    fn the_time_since_a_process_began_is_read() {
        for (text, seconds) in [
            ("00:05", Some(5)),
            ("12:00", Some(720)),
            ("01:00:01", Some(3601)),
            ("2-00:00:01", Some(172_801)),
            ("", None),
            ("7", None),
        ] {
            assert_eq!(elapsed(text), seconds, "{text}");
        }
    }

    #[tokio::test]
    async fn a_run_that_lives_is_left_alone_and_one_that_ended_in_order_leaves_no_file() {
        let store = tempfile::tempdir().unwrap();
        let kept = store.path().join("forge-kept");
        std::fs::create_dir(&kept).unwrap();
        let ledger = Ledger::new(store.path());
        let note = ledger.write(&Left::Folder(kept.clone()));
        assert_eq!(sweep(store.path(), &runner(Ledger::default())).await, Vec::<String>::new());
        assert!(kept.is_dir());
        drop(note);
        assert_eq!(files(store.path()), 1);
        drop(ledger);
        assert_eq!(files(store.path()), 0);
    }

    #[tokio::test]
    async fn what_a_killed_run_left_is_removed_once_and_told() {
        let store = tempfile::tempdir().unwrap();
        let (ours, foreign) = (store.path().join("forge-ours"), store.path().join("foreign"));
        let file = store.path().join("made");
        for folder in [&ours, &foreign] {
            std::fs::create_dir(folder).unwrap();
        }
        std::fs::write(&file, "").unwrap();
        let made = [Left::Folder(ours.clone()), Left::Folder(foreign.clone()), undo(&[file.to_str().unwrap()])];
        abandoned(store.path(), &made);
        let said = sweep(store.path(), &runner(Ledger::default())).await;
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].contains("rm ") && said[1].contains("forge-ours"), "the last one made goes first: {said:?}");
        assert!(!ours.exists() && !file.exists());
        assert!(foreign.exists(), "a folder that is not ours was removed");
        assert_eq!(files(store.path()), 0);
        assert_eq!(sweep(store.path(), &runner(Ledger::default())).await, Vec::<String>::new());
    }

    #[tokio::test]
    async fn what_cannot_be_removed_is_tried_again() {
        let store = tempfile::tempdir().unwrap();
        let words = "echo 'Error: No such container: x' >&2; exit 1";
        let absent = Left::Undo { program: "sh".into(), args: vec!["-c".into(), words.into()], cwd: "/".into() };
        // A folder is nothing that plain `rm` removes.
        abandoned(store.path(), &[absent, undo(&[store.path().to_str().unwrap()])]);
        for _ in 0..2 {
            let said = sweep(store.path(), &runner(Ledger::default())).await;
            assert!(said.len() == 1 && said[0].contains("cannot be removed"), "{said:?}");
            assert_eq!(files(store.path()), 1);
        }
    }

    #[tokio::test]
    async fn a_process_is_stopped_with_its_children_and_another_one_of_its_id_is_not() {
        let store = tempfile::tempdir().unwrap();
        let runner = runner(Ledger::default());
        let script = Command::new("sh", Path::new("/")).args(["-c", "sleep 1000 & wait"]);
        let mut server = runner.serve(&script).unwrap();
        let group = server.group().unwrap();
        let process = |began: String| Left::Process { group, began, what: "sh".into() };
        for another in ["another-boot 1".to_owned(), format!("at {}", now() - 100)] {
            abandoned(store.path(), &[process(another)]);
            assert_eq!(sweep(store.path(), &runner).await, Vec::<String>::new());
            assert_eq!(server.ended(), None, "a process that is not ours was killed");
        }
        abandoned(store.path(), &[process(began(group))]);
        let said = sweep(store.path(), &runner).await;
        assert!(said.len() == 1 && said[0].contains(&format!("process group {group}")), "{said:?}");
        while server.ended().is_none() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    #[tokio::test]
    async fn a_process_is_the_same_by_the_words_of_ps_too() {
        let runner = runner(Ledger::default());
        loop {
            let (at, begun) = (now(), std::time::Instant::now());
            let server = runner.serve(&Command::new("sleep", Path::new("/")).args(["1000"])).unwrap();
            let group = server.group().unwrap();
            let is_now = is_same(group, &format!("at {at}"), &runner).await;
            let was_before = is_same(group, &format!("at {}", at - 10), &runner).await;
            // On a machine that had no time for it, nobody knows when the process began.
            if begun.elapsed() < Duration::from_secs(1) {
                assert_eq!((is_now, was_before), (true, false));
                break;
            }
        }
    }

    #[test]
    fn an_engine_that_is_down_has_removed_nothing() {
        for (words, gone) in [
            ("Error: No such container: forge-xtask-x", true),
            ("Error response from daemon: network forge-xtask-x not found", true),
            ("Error: unable to find network with name or ID forge-xtask-x: network not found", true),
            ("Error: no container with name or ID \"x\" found: no such container", true),
            ("dial unix /var/run/docker.sock: connect: no such file or directory", false),
            ("Cannot connect to the Docker daemon at unix:///nowhere. Is the docker daemon running?", false),
            (
                "failed to resolve context \"network\": context not found: open meta.json: no such file or directory",
                false,
            ),
            ("", false),
        ] {
            assert_eq!(is_absent(words), gone, "{words}");
        }
    }
}
