//! The data branch against a GitHub on loopback: many at once, lost answers, limits, packing. No test waits.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::json;
use time::macros::datetime;

use super::super::testing::entry;
use super::*;
use crate::context::testing;
use crate::tools::cancel;
use crate::tools::github::hub::{Fault, Hub, REPOSITORY, TOKEN, message};
use crate::tools::github::{Repository, Wait};

const BRANCH: &str = "metrics/runs";
const NOW: OffsetDateTime = datetime!(2026-11-02 12:00 UTC);

/// A clock that does not wait, and lets others go on.
struct Hurry;

impl Wait for Hurry {
    fn now(&self) -> OffsetDateTime {
        NOW
    }

    fn sleep(&self, _: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(tokio::task::yield_now())
    }
}

fn github(hub: &Hub) -> GitHub {
    let mut ctx = testing::ctx(Path::new("/repo"));
    ctx.env.insert("GITHUB_TOKEN".to_owned(), TOKEN.to_owned());
    let repository = Repository::parse(REPOSITORY).unwrap();
    GitHub::new(&ctx, &hub.url(), repository, cancel::pair().1, Arc::new(Hurry)).unwrap()
}

fn runs(numbers: impl IntoIterator<Item = usize>) -> BTreeMap<String, String> {
    numbers.into_iter().map(entry).map(|one| (one.run.clone(), serde_json::to_string(&one).unwrap())).collect()
}

fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// How many runs the branch holds, and how many it would hold if none stood twice.
fn held(hub: &Hub) -> (usize, usize) {
    let files = hub.files(BRANCH);
    let lines: Vec<String> = files.values().flat_map(|text| text.lines().map(str::to_owned)).collect();
    (lines.len(), lines.iter().collect::<BTreeSet<_>>().len())
}

const fn pushed(new: usize, already: usize) -> Pushed {
    Pushed { new, already, packed: 0 }
}

#[test]
fn a_run_is_a_file_and_is_there_once() {
    let hub = Hub::start();
    let github = github(&hub);
    block(async {
        assert_eq!(push(&github, BRANCH, &runs([1]), NOW).await.unwrap(), pushed(1, 0));
        assert_eq!(push(&github, BRANCH, &runs([1, 2]), NOW).await.unwrap(), pushed(1, 1));
        assert_eq!(push(&github, BRANCH, &runs([1, 2]), NOW).await.unwrap(), pushed(0, 2));
    });
    let names: Vec<String> = hub.files(BRANCH).into_keys().collect();
    assert_eq!(names, [1, 2].map(|run| format!("runs/{}.json", entry(run).run)));
    // Each commit stands on the one before.
    assert_eq!(hub.commits(BRANCH), 2);
}

#[test]
fn ten_pushes_at_once_end_with_ten_runs() {
    let hub = Hub::start();
    std::thread::scope(|scope| {
        for run in 0..10 {
            let hub = &hub;
            scope.spawn(move || {
                let found = block(push(&github(hub), BRANCH, &runs([run]), NOW));
                assert_eq!(found.unwrap(), pushed(1, 0));
            });
        }
    });
    assert_eq!(held(&hub), (10, 10));
    assert_eq!(hub.commits(BRANCH), 10);
    assert!(hub.requests().iter().all(|asked| asked.body["force"] != json!(true)));
}

#[test]
fn an_answer_that_is_lost_doubles_nothing() {
    // After reading (a branch that is not there takes one request): blob, tree, commit, the branch itself.
    for (before, lost) in (0..5).flat_map(|lost| [(false, lost), (true, lost)]) {
        let hub = Hub::start();
        let github = github(&hub);
        block(async {
            if before {
                push(&github, BRANCH, &runs([1]), NOW).await.unwrap();
            }
            let reads = if before { 3 } else { 1 };
            hub.lets_pass(reads + lost);
            hub.fails([Fault::DoneAndLost]);
            assert_eq!(push(&github, BRANCH, &runs([2]), NOW).await.unwrap(), pushed(1, 0), "{before} {lost}");
        });
        let count = 1 + usize::from(before);
        assert_eq!((held(&hub), hub.commits(BRANCH)), ((count, count), count), "{before} {lost}");
    }
}

#[test]
fn whoever_is_slower_looks_again_and_a_refusal_stays_one() {
    let hub = Hub::start();
    let github = github(&hub);
    block(async {
        push(&github, BRANCH, &runs([1]), NOW).await.unwrap();
        // Another run moves the branch between our look and our commit.
        hub.moves_before_the_next_commit(BRANCH);
        assert_eq!(push(&github, BRANCH, &runs([2]), NOW).await.unwrap(), pushed(1, 0));
        assert_eq!(hub.files(BRANCH).len(), 3);
        // A branch that is protected has not moved: GitHub's words are told.
        hub.lets_pass(6);
        hub.fails([Fault::Instead(422, vec![], message("Cannot update this protected ref."))]);
        let refused = push(&github, BRANCH, &runs([3]), NOW).await.unwrap_err().to_string();
        assert!(refused.contains("(422): Cannot update this protected ref."), "{refused}");
        hub.lets_pass(3);
        hub.fails([Fault::Instead(403, vec![], message("Resource not accessible by integration"))]);
        let refused = push(&github, BRANCH, &runs([3]), NOW).await.unwrap_err();
        assert!(matches!(refused, Trouble::Forbidden { .. }), "{refused}");
        // A limit and a stumble are borne.
        hub.lets_pass(3);
        let limited = Fault::Instead(429, vec![("retry-after", "1".to_owned())], message("slow down"));
        hub.fails([limited, Fault::Instead(502, vec![], json!(null)), Fault::Lost]);
        assert_eq!(push(&github, BRANCH, &runs([3]), NOW).await.unwrap(), pushed(1, 0));
    });
    assert_eq!(hub.files(BRANCH).len(), 4);
}

#[test]
fn old_runs_are_packed_young_ones_are_not_and_nothing_is_lost() {
    let hub = Hub::start();
    let github = github(&hub);
    block(async {
        // 150 of the first day, of which 30 begin within the last 24 hours at 01:30 of the second one.
        let now = datetime!(2026-11-02 02:00 UTC);
        assert_eq!(push(&github, BRANCH, &runs(0..150), now).await.unwrap(), pushed(150, 0));
        let found = push(&github, BRANCH, &runs([1500]), now).await.unwrap();
        assert_eq!(found, Pushed { new: 1, already: 0, packed: PACKED });
        let files = hub.files(BRANCH);
        assert_eq!((files.len(), held(&hub)), (1 + 50 + 1, (151, 151)));
        let begins = format!("packs/{}-", entry(0).run);
        assert!(files.keys().any(|path| path.starts_with(&begins) && path.ends_with(".jsonl")), "{files:?}");
        // The next one packs nothing, for not many are left.
        assert_eq!(push(&github, BRANCH, &runs([1501]), now).await.unwrap().packed, 0);
    });
    // Nothing of the last day may be packed.
    let young: Vec<File> =
        (0..150).map(|run| File { path: format!("runs/{}.json", entry(run).run), sha: "a".into(), size: 10 }).collect();
    let young: Vec<&File> = young.iter().collect();
    assert!(packable(&young, datetime!(2026-11-02 00:00 UTC)).is_empty());
    assert_eq!(packable(&young, datetime!(2026-11-02 00:30 UTC)).len(), 30);
}

#[test]
fn a_packed_run_that_comes_again_takes_no_pack_with_it() {
    let hub = Hub::start();
    let github = github(&hub);
    let now = datetime!(2026-11-04 00:00 UTC);
    block(async {
        push(&github, BRANCH, &runs(0..100), now).await.unwrap();
        // Not all are packed at once that may be: the first hundred.
        assert_eq!(push(&github, BRANCH, &runs([100]), now).await.unwrap().packed, PACKED);
        // The oldest of them is pushed once more, and is the oldest of the next pack as well.
        push(&github, BRANCH, &runs([0]), now).await.unwrap();
        assert_eq!(push(&github, BRANCH, &runs(101..200), now).await.unwrap().packed, 2);
        assert_eq!(push(&github, BRANCH, &runs([200]), now).await.unwrap().packed, 0);
        assert_eq!(push(&github, BRANCH, &runs([201, 202]), now).await.unwrap().packed, PACKED);
    });
    let packs: Vec<String> = hub.files(BRANCH).into_keys().filter(|path| path.starts_with(PACKS)).collect();
    assert_eq!(packs.len(), 3, "{packs:?}");
    assert!(packs.iter().all(|path| store::is_name(&path[PACKS.len()..path.len() - ".jsonl".len()])), "{packs:?}");
    assert_eq!(held(&hub), (204, 203));
}

#[test]
fn the_oldest_packs_make_room() {
    let pack = |name: &str, size| File { path: format!("packs/{name}.jsonl"), sha: "a".into(), size };
    let packs = [pack("c", 4 << 20), pack("a", 6 << 20), pack("b", 6 << 20)];
    let packs: Vec<&File> = packs.iter().collect();
    assert_eq!(surplus(&packs, 0), [""; 0]);
    assert_eq!(surplus(&packs, 1), ["packs/a.jsonl"]);
    assert_eq!(surplus(&packs, 7 << 20), ["packs/a.jsonl", "packs/b.jsonl"]);
}

/// Figures that name each run.
fn named(entries: &[Entry]) -> String {
    entries.iter().map(|entry| format!("{}\n", entry.run)).collect()
}

#[test]
fn the_figures_are_of_the_runs_that_are_there_and_written_when_they_change() {
    let hub = Hub::start();
    let github = github(&hub);
    let folder = tempfile::tempdir().unwrap();
    let names = |all: &[usize]| all.iter().map(|run| format!("{}\n", entry(*run).run)).collect::<String>();
    block(async {
        push(&github, BRANCH, &runs([1, 2]), NOW).await.unwrap();
        assert!(publish(&github, BRANCH, folder.path(), named).await.unwrap());
        assert_eq!((&hub.files(BRANCH)[FIGURES], hub.commits(BRANCH)), (&names(&[1, 2]), 2));
        assert!(!publish(&github, BRANCH, folder.path(), named).await.unwrap());
        assert_eq!(hub.commits(BRANCH), 2);
        // Another run comes between our look and our commit: it is in the figures, and stays.
        push(&github, BRANCH, &runs([3]), NOW).await.unwrap();
        hub.moves_before_the_next_commit(BRANCH);
        assert!(publish(&github, BRANCH, folder.path(), named).await.unwrap());
        let files = hub.files(BRANCH);
        assert_eq!((&files[FIGURES], files.len()), (&names(&[1, 2, 3]), 3 + 1 + 1));
        assert!(hub.requests().iter().all(|asked| asked.body["force"] != json!(true)));
        // They are no run, and nobody fetches them.
        let found = pull(&github, BRANCH, &folder.path().join("other")).await.unwrap();
        assert_eq!(found.files, 4);
    });
}

#[test]
fn ten_that_publish_at_once_leave_figures_of_all_ten() {
    let hub = Hub::start();
    std::thread::scope(|scope| {
        for run in 0..10 {
            let hub = &hub;
            scope.spawn(move || {
                let (github, folder) = (github(hub), tempfile::tempdir().unwrap());
                block(async {
                    push(&github, BRANCH, &runs([run]), NOW).await.unwrap();
                    publish(&github, BRANCH, folder.path(), named).await.unwrap();
                });
            });
        }
    });
    assert_eq!(hub.files(BRANCH)[FIGURES].lines().count(), 10);
}

#[test]
fn what_is_pulled_is_harmless_and_fetched_once() {
    let hub = Hub::start();
    let github = github(&hub);
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().join("branch");
    block(async {
        assert_eq!(pull(&github, BRANCH, &here).await.unwrap(), Pulled::default());
        let mut odd = entry(7);
        odd.branch = "a\u{1b}[31mb\u{202e}".to_owned();
        let mut all = runs([1, 2]);
        all.insert(odd.run.clone(), serde_json::to_string(&odd).unwrap());
        push(&github, BRANCH, &all, NOW).await.unwrap();
        // Files of others, and names that would lead elsewhere.
        hub.has_file(BRANCH, "README.md", "hello");
        hub.has_file(BRANCH, "runs/../../x.json", "{}");
        assert_eq!(pull(&github, BRANCH, &here).await.unwrap(), Pulled { files: 3, fetched: 3 });
        push(&github, BRANCH, &runs([3]), NOW).await.unwrap();
        assert_eq!(pull(&github, BRANCH, &here).await.unwrap(), Pulled { files: 4, fetched: 1 });
    });
    let found = store::read_folders(std::slice::from_ref(&here)).unwrap();
    let names: Vec<&str> = found.entries.iter().map(|one| one.branch.as_str()).collect();
    assert_eq!((names, found.broken), (vec!["main", "main", "main", "ab"], 0));
    std::fs::write(here.join("old.jsonl"), "{}\n").unwrap();
    block(async { pull(&github, BRANCH, &here).await.unwrap() });
    assert!(!here.join("old.jsonl").exists());
}
