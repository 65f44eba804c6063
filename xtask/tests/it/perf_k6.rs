//! `perf --engine k6`: the real k6 against a real server, good and bad, and a k6 that does not do its work.
//!
//! What is not k6's part is held by `perf.rs`; here it is that the same load comes to the same verdict, and that
//! nothing which k6 lets pass passes here.

use xtask::load::summary::Summary;
use xtask::verdict::Verdict;

use super::perf::server::{Answers, Server};
use super::perf::{CONFIG, alone};
use super::scan_broken::{own_tools, script};
use super::support::{Project, Ran};

const FAST: &str = "rate = 300\nduration = \"2s\"";

fn project(config: &str, scenario: &str) -> Project {
    let mut project = Project::bare();
    project.use_config("ci");
    project.copy_tree("xtask/tools/go/k6", "tools/go/k6");
    project.write(".gitignore", "/target/\n");
    let load = format!(
        "\n[tools]\nlocks = \"tools\"\n\n[perf.load.smoke]\ngraceful_stop = \"4s\"\n\n[perf.load.smoke.scenarios.all]\n\
         executor = \"constant-arrival-rate\"\n{scenario}\n"
    );
    project.write("ci/pipeline.toml", &format!("{config}{load}"));
    project.commit();
    project
}

fn run(project: &Project, url: &str) -> Ran {
    let _alone = alone();
    project.xtask(&["perf", "--engine", "k6", "--url", url])
}

fn summary(project: &Project) -> Summary {
    serde_json::from_str(&project.read("target/xtask/out/perf/summary.json")).unwrap()
}

/// A project whose script is its own.
fn with_script(text: &str) -> Project {
    let project = project(&CONFIG.replace("[perf]\n", "[perf]\nk6 = \"load/script.js\"\n"), FAST);
    project.write("load/script.js", text);
    project.commit();
    project
}

#[track_caller]
fn assert_not_run(ran: &Ran, reason: &str) {
    let gate = ran.gate("perf");
    assert_eq!(gate.verdict, Verdict::DidNotRun, "{}", gate.reason);
    assert!(gate.reason.contains(reason), "{}", gate.reason);
    assert!(!gate.fix.is_empty());
    ran.assert_code(20);
}

#[test]
fn a_good_server_passes_with_the_number_of_its_requests() {
    let server = Server::start(Answers::good());
    let project = project(CONFIG, FAST);
    let ran = run(&project, &server.url());
    ran.assert_code(0);
    let gate = ran.gate("perf");
    assert_eq!((gate.verdict, gate.tool.name.as_str(), gate.tool.version.as_str()), (Verdict::Pass, "k6", "1.8.1"));
    let summary = summary(&project);
    assert_eq!((summary.engine.as_str(), summary.model.as_str()), ("k6", "open"));
    // k6 may begin a few more in the last moment of a scenario.
    assert!((600..=605).contains(&server.asked()), "{}", server.asked());
    assert_eq!((gate.work.count, summary.requests, summary.failed), (server.asked(), server.asked(), 0));
    assert!((summary.rate - 300.0).abs() < 15.0, "{}", summary.rate);
    assert_eq!(summary.series.iter().map(|second| second.requests).sum::<u64>(), server.asked());
    for file in ["perf/summary.json", "perf/report.html", "perf/k6/load.js", "perf/k6/summary.json"] {
        assert!(gate.artifacts.contains(&file.to_owned()), "{:?}", gate.artifacts);
        assert!(project.path().join("target/xtask/out").join(file).is_file(), "{file}");
    }
    let page = project.read("target/xtask/out/perf/report.html");
    assert!(page.contains("passed") && page.contains("k6 1.8.1") && page.contains("GET /item"), "{}", &page[..2000]);
}

#[test]
fn what_breaks_a_threshold_is_red_whatever_k6_says_of_it() {
    for (answers, reason) in [
        (Answers { slow: Some((10, 1200)), ..Answers::good() }, "http_req_duration: p(95)<1000 is broken: 12"),
        (Answers { refused: Some(16), ..Answers::good() }, "http_req_failed: rate<0.05 is broken: 0.06"),
        (
            Answers { body: r#"{"name": "apple", "price": null}"#, ..Answers::good() },
            "http_req_failed: rate<0.05 is broken: 1",
        ),
    ] {
        let server = Server::start(answers);
        let ran = run(&project(CONFIG, FAST), &server.url());
        let gate = ran.gate("perf");
        assert_eq!(gate.verdict, Verdict::Fail, "{}", gate.reason);
        assert!(gate.reason.starts_with(reason), "{}", gate.reason);
        ran.assert_code(10);
    }
}

#[test]
fn a_stream_is_whole_or_an_error_and_its_tokens_are_nobodys_figure() {
    let talking = CONFIG.replace("{ item = 1 }", "{ talk = 1 }");
    let whole = talking.replace("http_req_duration = [", "llm_req_duration = [");
    let server = Server::start(Answers::good());
    let found = project(&whole, FAST);
    run(&found, &server.url()).assert_code(0);
    let llm = summary(&found).llm.unwrap();
    assert!(llm.duration.unwrap().med > 80.0 && llm.time_to_first_token.is_none(), "{llm:?}");
    let cut = Server::start(Answers { cut: Some(5), ..Answers::good() });
    let ran = run(&project(&whole, FAST), &cut.url());
    let reason = &ran.gate("perf").reason;
    let share = reason.strip_prefix("http_req_failed: rate<0.05 is broken: ").unwrap_or_else(|| panic!("{reason}"));
    // Each fifth; k6 may begin a few more than are due.
    assert!(["0.19", "0.20"].contains(&&share[..4]), "{reason}");
    let first = talking.replace("http_req_duration = [", "llm_time_to_first_token = [");
    let ran = run(&project(&first, FAST), &server.url());
    assert_not_run(&ran, "the threshold `llm_time_to_first_token: p(95)<1000` has no sample");
    assert!(ran.gate("perf").fix.contains("judged by the built-in generator"), "{}", ran.gate("perf").fix);
}

#[test]
fn a_server_that_stalls_is_charged_for_everybody_who_had_to_wait() {
    // 2 s of 20 at 100 a second: a tenth of all requests wait up to 2 s, so that p95 is 1 s (R27).
    let server = Server::start(Answers { stall: Some((9_000, 2_000)), ..Answers::good() });
    let project = project(CONFIG, "rate = 100\nduration = \"20s\"");
    let ran = run(&project, &server.url());
    let duration = summary(&project).duration.unwrap_or_else(|| panic!("{}", ran.gate("perf").reason));
    assert!((950.0..1050.0).contains(&duration.p95), "{duration:?}");
}

#[test]
fn what_nobody_was_free_for_leaves_no_verdict() {
    let server = Server::start(Answers { slow: Some((1, 400)), ..Answers::good() });
    let project = project(CONFIG, FAST);
    project.edit("ci/pipeline.toml", "graceful_stop", "max_vus = 20\ngraceful_stop");
    let ran = run(&project, &server.url());
    assert_not_run(&ran, "the generator dropped");
    assert!(summary(&project).schedule.dropped > 100);
    assert!(project.read("target/xtask/out/perf/report.html").contains("no verdict"));
}

#[test]
fn nobody_at_the_target_is_no_run() {
    let gone = Server::start(Answers::good()).url();
    let ran = run(&project(CONFIG, FAST), &gone);
    assert_not_run(&ran, "nobody answers at http://127.0.0.1:");
}

/// A script of a project; `body` is what an iteration does.
fn own(options: &str, body: &str) -> String {
    format!(
        "import http from 'k6/http';\nimport {{ sleep }} from 'k6';\n\nexport const options = {{ {options} }};\n\n\
         export default function () {{\n  {body}\n}}\n"
    )
}

const OPEN: &str =
    "scenarios: { all: { executor: 'constant-arrival-rate', rate: 300, duration: '2s', preAllocatedVUs: 50 } }";

#[test]
fn a_script_of_the_project_comes_to_the_same_report() {
    let server = Server::start(Answers::good());
    let ask = "http.get(`${__ENV.BASE_URL}/item`, { tags: { name: 'item' } });";
    let found = with_script(&own(OPEN, ask));
    let ran = run(&found, &server.url());
    ran.assert_code(0);
    assert_eq!(ran.gate("perf").work.count, server.asked());
    assert_eq!(summary(&found).routes[0].name, "item");
    let scripts = |project: &Project| project.read("target/xtask/out/perf/report.html").matches("<script").count();
    let usual = scripts(&found);
    // What it asks for besides has its address as its name, and no markup of it reaches the page.
    let other = format!("{ask}\n  http.get(`${{__ENV.BASE_URL}}/item?<script>`);");
    let found = with_script(&own(OPEN, &other));
    run(&found, &server.url()).assert_code(0);
    let names: Vec<String> = summary(&found).routes.into_iter().map(|route| route.name).collect();
    assert!(names.len() == 2 && names[0].ends_with("script>") && names[1] == "item", "{names:?}");
    assert_eq!(scripts(&found), usual);
    // Its own threshold counts too, and k6's exit code for that is no crash.
    let strict = with_script(&own(&format!("{OPEN}, thresholds: {{ http_req_duration: ['p(95)<0.001'] }}"), ask));
    let ran = run(&strict, &server.url());
    let gate = ran.gate("perf");
    assert_eq!(gate.verdict, Verdict::Fail, "{}", gate.reason);
    assert!(gate.reason.contains("http_req_duration: p(95)<0.001, a threshold of the script"), "{}", gate.reason);
}

#[test]
fn a_script_that_proves_nothing_is_no_run() {
    let server = Server::start(Answers::good());
    let ask = "http.get(`${__ENV.BASE_URL}/item`);";
    let empty = format!("{OPEN}, thresholds: {{ 'http_req_duration{{name:nothing}}': ['p(95)<500'] }}");
    for (text, reason) in [
        // What the earlier pipeline did: 107,440 iterations, no request, and green.
        (own(OPEN, "sleep(0.01);"), "iterations and no request"),
        (own(OPEN, "http.get(`${__ENV.BASE_URL}/item`"), "k6 cannot read the script: exit code 107"),
        (own(&empty, ask), "the threshold `http_req_duration{name:nothing}: p(95)<500` of the script has no samples"),
        (own("vus: 5, duration: '2s'", &format!("{ask} sleep(0.002);")), "closed model"),
        (own("vus: 1, iterations: 3", "throw new Error('broken');"), "iterations and no request"),
    ] {
        let ran = run(&with_script(&text), &server.url());
        assert_not_run(&ran, reason);
    }
    let absent = with_script("");
    std::fs::remove_file(absent.path().join("load/script.js")).unwrap();
    absent.git(&["rm", "-q", "--cached", "load/script.js"]);
    assert_not_run(&run(&absent, &server.url()), "`load/script.js` ");
    let outside = project(&CONFIG.replace("[perf]\n", "[perf]\nk6 = \"../script.js\"\n"), FAST);
    let ran = run(&outside, &server.url());
    assert!(ran.code == 2 && ran.stderr.contains("no path below the repository"), "{}", ran.stderr);
}

#[test]
fn without_k6_it_says_how_it_is_had() {
    let mut project = project(CONFIG, FAST);
    let tools = project.path().join("target/xtask/tools");
    std::fs::remove_file(&tools).unwrap();
    std::fs::create_dir(&tools).unwrap();
    project.only_programs(&["git", "sh"]);
    let ran = run(&project, "http://127.0.0.1:1");
    assert_not_run(&ran, "`k6` cannot be had: Go, which builds it, is not on PATH");
    assert!(ran.gate("perf").fix.contains("install Go"), "{}", ran.gate("perf").fix);
}

/// Puts a script in place of k6, which finds the real one in `$REAL`.
fn replace_k6(project: &Project, text: &str) {
    let tools = own_tools(project);
    let folders = std::fs::read_dir(&tools).unwrap().flatten().map(|entry| entry.path());
    let folder =
        folders.into_iter().find(|path| path.file_name().unwrap().to_string_lossy().starts_with("k6-")).unwrap();
    let (k6, real, hash) = (folder.join("bin/k6"), folder.join("bin/real-k6"), folder.join(".blake3"));
    std::fs::rename(&k6, &real).unwrap();
    script(&k6, &text.replace("$REAL", real.to_str().unwrap()));
    std::fs::remove_file(&hash).unwrap();
    std::fs::write(hash, blake3::hash(&std::fs::read(&k6).unwrap()).to_hex().as_str()).unwrap();
}

/// `inspect` is the real one's; `after` has the arguments of `run`, with the two files in `$json` and `$csv`.
fn broken(after: &str) -> String {
    format!(
        "#!/bin/sh\n[ \"$1\" = inspect ] && exec $REAL \"$@\"\nfor arg; do\n  case $arg in\n    csv=*) csv=${{arg#csv=}} ;;\n    \
         *summary.json) json=$arg ;;\n  esac\ndone\n{after}\n"
    )
}

#[test]
fn a_k6_that_does_not_do_its_work_is_never_green() {
    let server = Server::start(Answers::good());
    let half = |file: &str| {
        format!(
            "$REAL \"$@\"\nsize=$(wc -c <\"${file}\")\nhead -c $((size / 2)) \"${file}\" >\"${file}.new\"\nmv \"${file}.new\" \"${file}\""
        )
    };
    run(&project(CONFIG, FAST), &server.url()).assert_code(0);
    for (after, reason) in [
        (half("json"), "the totals of k6 cannot be read"),
        (half("csv"), "k6"),
        ("$REAL \"$@\"\n: >\"$csv\"".to_owned(), "the report `samples.csv` is empty"),
        ("$REAL \"$@\"\nhead -n 1 \"$csv\" >\"$csv.new\"\nmv \"$csv.new\" \"$csv\"".to_owned(), "wrote samples of 0"),
        ("exit 0".to_owned(), "the tool wrote no report `summary.json`"),
        ("$REAL \"$@\"\nexit 1".to_owned(), "k6 ended by exit code 1"),
        ("$REAL \"$@\"\nkill -9 $$".to_owned(), "k6 ended by"),
    ] {
        let project = project(CONFIG, FAST);
        replace_k6(&project, &broken(&after));
        assert_not_run(&run(&project, &server.url()), reason);
    }
}

#[test]
fn settings_of_this_machine_do_not_count() {
    let server = Server::start(Answers::good());
    let mut project = project(CONFIG, FAST);
    let home = project.path().join("target/home");
    for folder in [home.join(".config/k6"), home.join("Library/Application Support/k6"), home.join("loadimpact/k6")] {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("config.json"), r#"{"vus": 1, "iterations": 1, "noVUConnectionReuse": true}"#)
            .unwrap();
    }
    project.set("HOME", &home);
    project.set("K6_ITERATIONS", "1");
    let ran = run(&project, &server.url());
    assert!(ran.gate("perf").work.count >= 600, "{}", ran.gate("perf").reason);
}
