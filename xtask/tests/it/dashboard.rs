//! The dashboard: its figures computed again by somebody else, and its page in a real browser.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::datetime;
use xtask::dashboard::figures::{self, Filter, in_order};
use xtask::dashboard::{About, render};
use xtask::history::entry::Entry;

use super::browser::Browser;
use super::support::Project;

mod runs;

const UNTIL: OffsetDateTime = datetime!(2026-11-28 12:00 UTC);

/// How many runs the pages of these tests have.
const RUNS: usize = 200;

/// A name that tries to be more than a name.
const EVIL: &str = "</script><script>document.title='evil'</script><img src=x onerror=\"document.title='evil'\">";

fn lines(entries: &[Entry]) -> String {
    entries.iter().map(|entry| serde_json::to_string(entry).unwrap() + "\n").collect()
}

/// The part of `found` that `expected` has as well: fields that are not there are no concern of it.
fn common(found: &Value, expected: &Value) -> Value {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => {
            let both = expected.iter().filter_map(|(name, value)| Some((name, common(found.get(name)?, value))));
            Value::Object(both.map(|(name, value)| (name.clone(), value)).collect())
        }
        (Value::Array(found), Value::Array(expected)) if found.len() == expected.len() => {
            found.iter().zip(expected).map(|(found, expected)| common(found, expected)).collect()
        }
        _ => found.clone(),
    }
}

#[test]
fn another_program_comes_to_the_same_figures() {
    let mut project = Project::shop();
    project.set("TZ", "Asia/Kathmandu");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/dashboard/figures.py");
    let history = project.path().join("target/xtask/history/runs.jsonl");
    let now = OffsetDateTime::now_utc();
    for (seed, count, days, args) in [
        (1, RUNS, 120, vec![]),
        (2, RUNS, 25, vec!["--branch", "main"]),
        (3, RUNS, 300, vec!["--since", "90d", "--task", "ci"]),
        (4, 1, 2, vec![]),
        (5, 0, 1, vec![]),
    ] {
        let entries = runs::history(seed, count, days, now);
        project.write("target/xtask/history/runs.jsonl", &lines(&entries));
        let ran = project.xtask(&[&["dashboard", "--json"], &args[..]].concat());
        ran.assert_code(0);
        let mut found: Value = serde_json::from_str(&ran.stdout).unwrap();
        let option = |name: &str| {
            args.iter().position(|arg| *arg == name).map(|index| args[index + 1]).unwrap_or_default().to_owned()
        };
        let until = found["until"].as_i64().unwrap();
        let since = if option("--since").is_empty() { String::new() } else { (until - 90 * 86_400).to_string() };
        let ended = Command::new("python3")
            .arg(script)
            .arg(&history)
            .args([until.to_string(), since, option("--branch"), option("--task")])
            .output()
            .unwrap();
        let expected: Value = serde_json::from_slice(&ended.stdout)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&ended.stderr)));
        // What is told of delivery beside this is held by a script of releases (`history::dora`).
        for dora in found["delivery"].as_object_mut().unwrap().values_mut() {
            *dora = json!({ "deployments": dora["deployments"], "lead_time": dora["lead_time"]["median_ms"] });
        }
        for (name, expected) in expected.as_object().unwrap() {
            assert_eq!(&common(&found[name], expected), expected, "{name} of seed {seed}");
        }
        assert_eq!(found["counts"]["runs"].as_u64().unwrap() > 0, count > 0);
    }
}

#[test]
fn the_page_lies_where_it_is_said_and_what_is_not_read_is_said() {
    let project = Project::shop();
    let empty = project.xtask(&["dashboard"]);
    empty.assert_code(0);
    let page = project.read("target/xtask/dashboard/dashboard.html");
    assert!(
        empty.stdout.contains("target/xtask/dashboard/dashboard.html") && page.contains("No run is remembered yet")
    );

    let mut text = lines(&runs::history(1, 3, 3, OffsetDateTime::now_utc()));
    text += "{\"schema\":\"forge-history/1\",\"ru\n{\"schema\":\"forge-history/9\"}\n";
    project.write("target/xtask/history/runs.jsonl", &text);
    let ran = project.xtask(&["dashboard", "--out", "target/elsewhere"]);
    ran.assert_code(0);
    let page = project.read("target/elsewhere/dashboard.html");
    for said in ["1 line of the history cannot be read", "1 line of the history of another version"] {
        assert!(ran.stderr.contains(said) && page.contains(said), "{said}: {}", ran.stderr);
    }
    assert!(ran.stdout.starts_with("3 runs on one page"), "{}", ran.stdout);
    let data = project.xtask(&["dashboard", "--json"]);
    let data: Value = serde_json::from_str(data.assert_code(0).stdout.as_str()).unwrap();
    assert_eq!(data["unread"].as_array().unwrap().len(), 2);

    // Without a site there is nothing to be published with.
    let ran = project.xtask(&["dashboard", "--site"]);
    ran.assert_code(20);
    assert!(ran.stderr.contains("cargo xtask docs"), "{}", ran.stderr);
    project.write("target/xtask/out/site/index.html", "<!doctype html>");
    project.xtask(&["dashboard", "--site"]).assert_code(0);
    assert!(project.read("target/xtask/out/site/dashboard.html").contains("Pipeline of "));
    assert!(project.xtask(&["dashboard", "--dry-run", "--out", "target/dry"]).stdout.contains("target/dry"));
    assert!(!project.path().join("target/dry").exists());
}

/// A page of `entries` in a file.
fn page(folder: &tempfile::TempDir, name: &str, entries: &[Entry], filter: &Filter) -> PathBuf {
    let (runs, _) = in_order(entries);
    let about = About { project: "shop".to_owned(), unread: vec![] };
    let path = folder.path().join(name);
    std::fs::write(&path, render(&figures::of(&runs, filter, UNTIL), &runs, filter, &about)).unwrap();
    path
}

/// Each table of the page as text, cell by cell, and each tile.
const TABLES: &str = "JSON.stringify([...document.querySelectorAll('table[id], .tile')].map((part) => [part.id,
    part.matches('.tile') ? part.innerText + part.className
    : [...part.tBodies[0].rows].map((row) => [...row.cells].map((cell) => cell.textContent))]))";

fn tables(browser: &mut Browser) -> Value {
    serde_json::from_str(browser.value(TABLES).as_str().unwrap()).unwrap()
}

/// Pictures that are drawn: each canvas has pixels of more than its ground.
const DRAWN: &str = "JSON.stringify([...document.querySelectorAll('[data-chart] canvas')].map((canvas) => {
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    let inked = 0;
    for (let i = 3; i < data.length; i += 4) if (data[i] > 0) inked += 1;
    return [canvas.closest('[data-chart]').dataset.chart, inked];
}))";

#[track_caller]
fn assert_no_complaint(browser: &Browser) {
    assert!(browser.complaints.is_empty(), "{}", browser.complaints.join("\n"));
}

#[test]
fn a_real_browser_shows_every_picture_and_complains_about_nothing() {
    let Some(mut browser) = Browser::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut entries = runs::history(1, RUNS, 120, UNTIL);
    for entry in entries.iter_mut().filter(|entry| entry.branch.is_empty()) {
        entry.branch = EVIL.to_owned();
        entry.gates[0].flaky = vec![EVIL.to_owned()];
        entry.gates[0].cached = false;
    }
    let many = page(&folder, "many.html", &entries, &Filter::default());
    browser.open(&many, "");
    assert_eq!(browser.value("document.title"), "Pipeline of shop");
    assert_eq!(browser.value("document.documentElement.dataset.ready"), "yes");
    let drawn: Vec<(String, u64)> = serde_json::from_str(browser.value(DRAWN).as_str().unwrap()).unwrap();
    let names: Vec<&str> = drawn.iter().map(|(name, _)| name.as_str()).collect();
    for name in ["verdicts", "shares", "costs", "coverage", "findings", "load-0", "images", "releases"] {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
    assert!(drawn.iter().all(|(_, inked)| *inked > 2000), "{drawn:?}");
    assert_eq!(browser.value("document.querySelectorAll('img').length"), 0);
    assert_eq!(browser.value("document.body.textContent.includes('<img src=x onerror=')"), true);

    // In the dark, on paper and on a telephone, too.
    let media = |name: &str, value: &str| json!({ "features": [{ "name": name, "value": value }] });
    browser.call("Emulation.setEmulatedMedia", media("prefers-color-scheme", "dark"));
    assert_eq!(browser.value("getComputedStyle(document.body).backgroundColor"), "rgb(13, 17, 23)");
    browser.call("Emulation.setEmulatedMedia", media("prefers-color-scheme", "light"));
    assert_eq!(browser.value("getComputedStyle(document.body).backgroundColor"), "rgb(255, 255, 255)");
    let narrow = json!({ "width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": true });
    browser.call("Emulation.setDeviceMetricsOverride", narrow);
    browser.value("new Promise((done) => setTimeout(done, 400))");
    let wide = "[...document.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right > 361 && \
                !e.closest('.wide')).map((e) => e.tagName + '.' + e.className).slice(0, 9)";
    let wide = browser.value(wide);
    assert_eq!(browser.value("document.documentElement.scrollWidth"), 360, "wider than a telephone: {wide}");
    browser.call("Emulation.clearDeviceMetricsOverride", json!({}));
    let paper = browser.call("Page.printToPDF", json!({}));
    assert!(paper["data"].as_str().unwrap().len() > 20_000);

    for (name, count) in [("one.html", 1), ("empty.html", 0)] {
        let path = page(&folder, name, &entries[..count], &Filter::default());
        browser.open(&path, "");
        assert_eq!(browser.value("document.querySelector('h1').textContent"), "Pipeline of shop");
        let canvases = browser.value("document.querySelectorAll('canvas').length").as_u64().unwrap();
        assert_eq!(canvases > 0, count > 0, "{name}");
        let hidden = browser
            .value("[...document.querySelectorAll('figure')].every((f) => f.hidden !== !!f.querySelector('canvas'))");
        assert_eq!(hidden, true, "{name}: a picture is there and not shown, or the other way round");
    }
    assert_no_complaint(&browser);
}

#[test]
fn a_filter_in_the_browser_comes_to_the_figures_of_the_program() {
    let Some(mut browser) = Browser::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let entries = runs::history(7, RUNS, 200, UNTIL);
    let all = page(&folder, "all.html", &entries, &Filter::default());
    let since = |days| Some(UNTIL - time::Duration::days(days));
    let (main, ci) = (Some("main".to_owned()), Some("ci".to_owned()));
    let streaming = Some("feature/streaming".to_owned());
    for (index, (fragment, filter)) in [
        ("", Filter::default()),
        ("#branch=main", Filter { branch: main.clone(), ..Filter::default() }),
        ("#range=30d", Filter { since: since(30), ..Filter::default() }),
        ("#task=ci&range=90d", Filter { task: ci.clone(), since: since(90), ..Filter::default() }),
        ("#branch=feature%2Fstreaming&task=ci", Filter { branch: streaming, task: ci, since: None }),
        ("#branch=main&task=monitor&range=7d", Filter { branch: main, task: Some("monitor".into()), since: since(7) }),
    ]
    .into_iter()
    .enumerate()
    {
        browser.open(&all, fragment);
        // Its own tables are all in the file; the others were written by the script.
        let by_script = tables(&mut browser);
        let own = page(&folder, &format!("{index}.html"), &entries, &filter);
        browser.call("Emulation.setScriptExecutionDisabled", json!({ "value": true }));
        browser.open(&own, "");
        browser.call("Emulation.setScriptExecutionDisabled", json!({ "value": false }));
        let by_program = tables(&mut browser);
        assert_eq!(browser.value("document.querySelectorAll('canvas').length"), 0, "no script ran");
        for (script, program) in by_script.as_array().unwrap().iter().zip(by_program.as_array().unwrap()) {
            assert_eq!(script, program, "{fragment}");
        }
        assert!(by_program.as_array().unwrap().len() >= 18);
    }
    assert_no_complaint(&browser);
}

#[test]
fn everything_is_reached_from_the_keyboard() {
    let Some(mut browser) = Browser::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = page(&folder, "page.html", &runs::history(1, RUNS, 120, UNTIL), &Filter::default());
    browser.open(&path, "");
    let mut seen = Vec::new();
    for _ in 0..120 {
        browser.press("Tab", 9);
        let at = browser.value(
            "(() => { const e = document.activeElement; const s = getComputedStyle(e); \
             return [e.tagName + '.' + (e.id || e.textContent.slice(0, 20)), s.outlineStyle !== 'none' || e === document.body]; })()",
        );
        assert_eq!(at[1], true, "the focus on {at} is not seen");
        let name = at[0].as_str().unwrap().to_owned();
        if name.starts_with("BODY") {
            break;
        }
        seen.push(name);
    }
    let is_reached = |part: &str| seen.iter().any(|name| name.starts_with(part));
    for part in
        ["A.To the figures", "SELECT.branch", "SELECT.theme", "A.Gates", "TH.p", "BUTTON.a week", "SUMMARY.", "DIV."]
    {
        assert!(is_reached(part), "{part} is not in {seen:?}");
    }
    // A column orders the table, and a name hides its line.
    browser.value("document.querySelector('#table-gates button').focus()");
    browser.press("Enter", 13);
    assert_eq!(browser.value("document.querySelector('#table-gates th').getAttribute('aria-sort')"), "ascending");
    browser.value("document.querySelector('[data-chart=shares] .u-legend [role=button]').focus()");
    browser.press("Enter", 13);
    browser.value("new Promise((done) => setTimeout(done, 50))");
    let pressed = "document.querySelector('[data-chart=shares] .u-legend [role=button]').getAttribute('aria-pressed')";
    assert_eq!(browser.value(pressed), "false");
    // A filter is set and stands in the address.
    browser.value("(() => { const s = document.getElementById('task'); s.value = 'is:ci'; s.dispatchEvent(new Event('change')); })()");
    assert_eq!(browser.value("location.hash"), "#task=ci");
    assert_no_complaint(&browser);
}

#[test]
fn a_page_of_thousands_of_runs_is_drawn_too() {
    let Some(mut browser) = Browser::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    for count in [RUNS, xtask::history::store::MOST_RUNS] {
        let path = page(&folder, "page.html", &runs::history(1, count, 300, UNTIL), &Filter::default());
        browser.open(&path, "");
        // How fast a machine is, is for `docs/benchmarks.md`.
        let opened = browser.value("performance.timing.loadEventEnd - performance.timing.navigationStart");
        let bytes = path.metadata().unwrap().len();
        eprintln!("FIGURE | dashboard of {count} runs | {bytes} bytes | loaded in {opened} ms");
        assert_eq!(browser.value("document.documentElement.dataset.ready"), "yes");
    }
    assert_no_complaint(&browser);
}
