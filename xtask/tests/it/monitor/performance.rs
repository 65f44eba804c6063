//! The load of an environment: with its own thresholds, on the routes that its file lists, three times before it has failed.

use xtask::verdict::Verdict;

use super::server::{Said, Server};
use crate::support::{Project, Ran};

const GATE: &str = "monitor/performance/load";

const CONFIG: &str = r#"[python]
versions = []
tools = "3.12"
tools_lock = "t"

[requests.health]
send = "GET /health"
body = { status = "=ok" }

[requests.other]
send = "GET /other"

[perf]
mix = { other = 1 }
ci = "monitoring"
thresholds = { http_req_duration = ["p(95)<5000"] }

[perf.load.monitoring]
warm_up = "1s"
graceful_stop = "5s"

[perf.load.monitoring.scenarios.requests]
executor = "constant-arrival-rate"
rate = 100
duration = "7s"
"#;

const RELEASE: &str = "[release]\nbranch = \"main\"\noverlay = \"k8s\"\nnamespace = \"n\"\nworkload = \"w\"\n\
                       container = \"c\"\nservice = \"s\"\nmax_stream = \"1s\"\n";

fn monitor(url: &str, monitor: &str, routes: &str) -> (Project, Ran) {
    let project = Project::bare();
    project.write("xtask/config/pipeline.toml", CONFIG);
    let text = format!("url = \"{url}\"\n[monitor]\nretry_spacing = \"100ms\"\nprobes = 2\n{monitor}{RELEASE}{routes}");
    project.write("xtask/config/production.toml", &text);
    project.write(".gitignore", "/target/\n");
    project.commit();
    let ran = project.xtask(&["monitor", "prod", "performance"]);
    (project, ran)
}

#[test]
fn load_is_held_against_thresholds_of_its_own_on_routes_that_are_listed() {
    let server = Server::start(&[Said::Well]);
    let load = "load = \"monitoring\"\n";
    let (project, well) = monitor(&server.url, load, "routes = { health = 1 }\n");
    let gate = well.assert_code(0).gate(GATE);
    assert!(gate.work.count >= 500 && gate.findings.iter().all(|found| found.rule != "probes"), "{gate:?}");
    let summary = project.read("target/xtask/out/perf/summary.json");
    assert!(summary.contains("\"health\"") && !summary.contains("\"other\""), "{summary}");

    let strict = format!("{load}thresholds = {{ http_req_duration = [\"p(95)<0.001\"] }}\n");
    let (project, slow) = monitor(&server.url, &strict, "routes = { health = 1 }\n");
    let gate = slow.assert_code(10).gate(GATE);
    let told: Vec<&str> = gate.findings.iter().map(|finding| finding.message.as_str()).collect();
    assert!(told.iter().any(|message| message.contains("p(95)<0.001")), "{told:?}");
    assert!(told.iter().any(|message| message.contains("each of 2 probes failed")), "{told:?}");
    let log = project.read(&format!("target/xtask/out/logs/{GATE}.log"));
    assert!(log.contains("probe 2 of 2 at 20"), "{log}");

    // Nobody said where load may go.
    let asked = server.asked();
    let (_, nowhere) = monitor(&server.url, load, "");
    let gate = nowhere.assert_code(20).gate(GATE);
    assert_eq!(gate.verdict, Verdict::DidNotRun);
    assert!(gate.reason.contains("lists no route that load may be sent to"), "{}", gate.reason);
    assert_eq!(server.asked(), asked);
    // Without a load there is nothing to look at.
    let (_, none) = monitor(&server.url, "", "");
    assert_eq!(none.code, 2, "{}", none.stderr);
    assert!(none.stderr.contains("declares nothing that `performance` could look at"), "{}", none.stderr);
}
