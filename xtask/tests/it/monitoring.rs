//! `k8s/monitoring`: every metric that a rule or a dashboard asks for is one that somebody gives, and the real promtool
//! sees every alert fire.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use xtask::history::branch::FIGURES;
use xtask::history::prometheus::FAMILIES;

use super::support::{Project, repository};

fn read(path: &str) -> String {
    std::fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What the backend gives, by its own source: counters get `_total`, histograms three series.
fn of_the_backend() -> BTreeSet<String> {
    let text = read("backend/src/forge/metrics.py");
    let mut names = BTreeSet::new();
    for (kind, endings) in
        [("Counter(", &["_total"][..]), ("Gauge(", &[""]), ("Histogram(", &["_bucket", "_sum", "_count"])]
    {
        for call in text.split(kind).skip(1) {
            let Some(name) = call.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next()) else {
                continue;
            };
            names.extend(endings.iter().map(|ending| format!("{name}{ending}")));
        }
    }
    assert!(names.len() >= 12, "{names:?}");
    names
}

/// The metrics of ours that a text names and nobody gives.
fn unknown(text: &str) -> BTreeSet<String> {
    let known = of_the_backend();
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| word.starts_with("forge_"));
    let is_given = |word: &&str| known.contains(*word) || FAMILIES.iter().any(|(name, _)| name == word);
    words.filter(|word| !is_given(word)).map(str::to_owned).collect()
}

fn rules() -> Vec<Value> {
    let rules: Value = serde_saphyr::from_str(&read("k8s/monitoring/rules.yaml")).unwrap();
    let groups = rules["groups"].as_array().unwrap();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

const DASHBOARDS: [&str; 2] = ["k8s/monitoring/dashboards/backend.json", "k8s/monitoring/dashboards/pipeline.json"];

fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(all) => all.iter().for_each(|(name, value)| match value.as_str() {
            Some(text) if name == "expr" || name == "query" => found.push(text.to_owned()),
            _ => expressions(value, found),
        }),
        Value::Array(all) => all.iter().for_each(|value| expressions(value, found)),
        _ => {}
    }
}

#[test]
fn every_metric_that_is_asked_for_is_given() {
    let mut asked: Vec<String> = rules().iter().map(|rule| rule["expr"].as_str().unwrap().to_owned()).collect();
    assert!(asked.len() >= 16);
    for path in DASHBOARDS {
        expressions(&serde_json::from_str(&read(path)).unwrap(), &mut asked);
    }
    assert!(asked.len() > 50, "{}", asked.len());
    assert_eq!(unknown(&asked.join("\n")), BTreeSet::new());
    // One that was renamed is seen, and so is a histogram that is asked for as if it were a gauge.
    for wrong in ["forge_gate_durations_seconds", "forge_http_request_seconds", "forge_http_requests"] {
        assert_eq!(unknown(&format!("rate({wrong}[5m])")), BTreeSet::from([wrong.to_owned()]));
    }
}

#[test]
fn every_alert_and_every_metric_is_explained_and_every_alert_is_tried() {
    let (document, tests) = (read("docs/metrics.md"), read("k8s/monitoring/promtool-tests.yaml"));
    for rule in rules() {
        let alert = rule["alert"].as_str().unwrap();
        let expected = format!("https://github.com/forgetm/forgetm/blob/main/docs/metrics.md#{}", alert.to_lowercase());
        assert_eq!(rule["annotations"]["runbook_url"], expected, "{alert}");
        assert!(document.contains(&format!("\n### {alert}\n")), "docs/metrics.md does not explain {alert}");
        assert!(tests.contains(&format!("alertname: {alert}\n")), "promtool-tests.yaml does not try {alert}");
        let severity = rule["labels"]["severity"].as_str().unwrap();
        assert!(["critical", "warning", "info"].contains(&severity), "{alert}: {severity}");
    }
    for (name, _) in FAMILIES {
        assert!(document.contains(&format!("`{name}`")), "docs/metrics.md does not explain {name}");
    }
}

/// `UPDATE_RULES=1 cargo test` writes the file anew.
#[test]
fn the_operator_gets_the_same_rules() {
    let (plain, path) = (read("k8s/monitoring/rules.yaml"), "k8s/monitoring/prometheusrule.yaml");
    let groups = &plain[plain.find("groups:\n").unwrap()..];
    let indented: String = groups
        .lines()
        .map(|line| if line.trim().is_empty() { "\n".to_owned() } else { format!("  {line}\n") })
        .collect();
    let published = read(path);
    let head = &published[..published.find("spec:\n").unwrap() + "spec:\n".len()];
    let generated = format!("{head}{indented}");
    if std::env::var_os("UPDATE_RULES").is_some() {
        std::fs::write(repository().join(path), &generated).unwrap();
    }
    assert_eq!(published, generated, "run `UPDATE_RULES=1 cargo test the_operator_gets_the_same_rules`");
}

#[test]
fn dashboards_are_whole_and_ask_the_source_that_a_person_chooses() {
    for path in DASHBOARDS {
        let board: Value = serde_json::from_str(&read(path)).unwrap();
        let panels = board["panels"].as_array().unwrap();
        let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
        assert_eq!(ids.len(), panels.len(), "{path}");
        let mut places: Vec<(u64, u64, u64, u64)> = Vec::new();
        for panel in panels {
            let at = |name: &str| panel["gridPos"][name].as_u64().unwrap();
            let (x, y, w, h) = (at("x"), at("y"), at("w"), at("h"));
            assert!(x + w <= 24, "{path}: {}", panel["title"]);
            let meets = |other: &(u64, u64, u64, u64)| {
                x < other.0 + other.2 && other.0 < x + w && y < other.1 + other.3 && other.1 < y + h
            };
            assert!(!places.iter().any(meets), "{path}: {} lies on another panel", panel["title"]);
            places.push((x, y, w, h));
            if panel["type"] == "row" {
                continue;
            }
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{path}: {}", panel["title"]);
            assert!(!panel["targets"].as_array().unwrap().is_empty());
            assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{path}: {}", panel["title"]);
        }
        let variables: Vec<&str> =
            board["templating"]["list"].as_array().unwrap().iter().filter_map(|one| one["name"].as_str()).collect();
        // Every variable that is used is declared.
        for used in read(path).split('$').skip(1) {
            let name: String = used.trim_start_matches('{').chars().take_while(char::is_ascii_alphabetic).collect();
            assert!(name.is_empty() || variables.contains(&name.as_str()), "{path}: ${name}");
        }
    }
}

#[test]
fn every_workflow_that_runs_checks_remembers_them_whatever_else_waits() {
    for (name, condition) in [
        ("ci", "!cancelled() && github.event_name == 'push'"),
        ("deploy", "!cancelled() && needs.release.result != 'skipped'"),
        ("monitoring", "!cancelled()"),
    ] {
        let text = read(&format!(".github/workflows/forgetm-{name}.yml"));
        let job = text.split("\n  history:\n").nth(1).unwrap();
        let job: Vec<&str> = job.lines().take_while(|line| line.is_empty() || line.starts_with("    ")).collect();
        // On any verdict, with the figures, and in no group of two runs, in which GitHub would cancel what waits.
        assert!(job.contains(&format!("    if: ${{{{ {condition} }}}}").as_str()), "{name}: {job:?}");
        let push = "        run: cargo xtask history push --from target/report";
        let at = job.iter().position(|line| *line == push).unwrap_or_else(|| panic!("{name}: {job:?}"));
        let step = job[..at].iter().rposition(|line| line.starts_with("      - name:")).unwrap();
        assert!(!job[step..at].iter().any(|line| line.trim_start().starts_with("if:")), "{name}: {job:?}");
        let mut groups = job.iter().filter(|line| line.trim_start().starts_with("group:"));
        assert!(groups.all(|group| group.contains("${{ github.run_id }}")), "{name}: {job:?}");
    }
    // A look by hand takes no turn of the schedule's.
    let text = read(".github/workflows/forgetm-monitoring.yml");
    let groups: Vec<&str> = text.lines().filter_map(|line| line.trim_start().strip_prefix("group: ")).collect();
    let own = "monitor-history-${{ github.run_id }}";
    assert_eq!(groups, ["monitor-${{ matrix.environment }}-${{ github.event_name }}", own]);
}

fn not_run(what: &str) {
    std::io::stderr().write_all(format!("NOT RUN: a test of {what}, which this machine lacks\n").as_bytes()).unwrap();
}

#[test]
fn what_kustomize_makes_of_it_is_what_sidecar_and_operator_look_for() {
    let Ok(output) = Command::new("kubectl").arg("kustomize").arg(repository().join("k8s/monitoring")).output() else {
        return not_run("the manifests needs kubectl");
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let objects: Vec<Value> = serde_saphyr::from_multiple(&String::from_utf8(output.stdout).unwrap()).unwrap();
    assert!(objects.iter().all(|object| object["metadata"]["namespace"] == "monitoring"));
    let of_kind = |kind: &'static str| objects.iter().filter(move |object| object["kind"] == kind);
    assert_eq!(of_kind("ConfigMap").count(), DASHBOARDS.len());
    for map in of_kind("ConfigMap") {
        assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
        for text in map["data"].as_object().unwrap().values() {
            serde_json::from_str::<Value>(text.as_str().unwrap()).unwrap();
        }
    }
    let monitor = &of_kind("ServiceMonitor").next().unwrap()["spec"];
    let service: Value = serde_saphyr::from_str(&read("k8s/base/service.yaml")).unwrap();
    assert_eq!(monitor["endpoints"][0]["port"], service["spec"]["ports"][0]["name"]);
    for (name, value) in monitor["selector"]["matchLabels"].as_object().unwrap() {
        assert_eq!(service["metadata"]["labels"][name], *value);
    }
    for namespace in monitor["namespaceSelector"]["matchNames"].as_array().unwrap() {
        let overlay = namespace.as_str().unwrap().replacen("forge-", "k8s/overlays/", 1);
        assert!(read(&format!("{overlay}/kustomization.yaml")).contains(namespace.as_str().unwrap()));
    }
    // The operator's own schemas, which refuse a field that they do not know.
    let schemas: Value = serde_json::from_str(include_str!("../schemas/prometheus-operator-0.79.2.json")).unwrap();
    let refuses = |object: &Value| {
        let kind = format!("{}/{}", object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
        let schema = jsonschema::validator_for(&schemas[&kind]).unwrap();
        schema.iter_errors(object).map(|error| error.to_string()).collect::<Vec<_>>()
    };
    let theirs: Vec<&Value> = objects.iter().filter(|object| object["kind"] != "ConfigMap").collect();
    assert_eq!(theirs.len(), 3);
    for object in theirs {
        assert_eq!(refuses(object), [""; 0]);
        let mut wrong = object.clone();
        wrong["spec"]["intervall"] = json!("5m");
        assert_eq!(refuses(&wrong).len(), 1, "{wrong}");
    }
    // Where the figures of the pipeline are looked for is where `history push` puts them.
    let scrape = &of_kind("ScrapeConfig").next().unwrap()["spec"];
    let config: toml::Table = toml::from_str(&read("xtask/config/pipeline.toml")).unwrap();
    let branch = config["history"]["branch"].as_str().unwrap();
    assert_eq!(scrape["metricsPath"], format!("/forgetm/forgetm/{branch}/{FIGURES}"));
    assert_eq!(scrape["staticConfigs"][0]["targets"], json!(["raw.githubusercontent.com"]));
    // Prometheus' namespace is one that the backend lets in.
    assert!(read("k8s/base/networkpolicy.yaml").contains("monitoring]"));
}

/// promtool, where the machine has it: no lock of ours pins it.
fn promtool(folder: &Path, args: &[&str], stdin: &str) -> Option<(bool, String)> {
    let piped = std::process::Stdio::piped;
    let child =
        Command::new("promtool").args(args).current_dir(folder).stdin(piped()).stdout(piped()).stderr(piped()).spawn();
    let Ok(mut child) = child else {
        not_run("alerts and of the text format needs promtool");
        return None;
    };
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let words = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&words).into_owned()))
}

#[test]
fn promtool_takes_the_rules_and_sees_every_alert_fire() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["rules.yaml", "promtool-tests.yaml"] {
        std::fs::write(folder.path().join(name), read(&format!("k8s/monitoring/{name}"))).unwrap();
    }
    let Some((good, words)) = promtool(folder.path(), &["check", "rules", "rules.yaml"], "") else { return };
    assert!(good, "{words}");
    let tests = ["test", "rules", "promtool-tests.yaml"];
    let (good, words) = promtool(folder.path(), &tests, "").unwrap();
    assert!(good, "{words}");
    // A rule that asks for something else fires no more.
    let changed =
        read("k8s/monitoring/rules.yaml").replace("forge_release_unrestored > 0", "forge_release_unrestored > 1");
    std::fs::write(folder.path().join("rules.yaml"), changed).unwrap();
    assert!(!promtool(folder.path(), &tests, "").unwrap().0);
}

/// Two runs of the last hours, with a figure for every metric.
fn one_of_everything() -> String {
    let ago = |hours: i64| {
        let at = time::OffsetDateTime::now_utc() - time::Duration::hours(hours);
        at.format(&time::format_description::well_known::Rfc3339).unwrap()
    };
    let trend = json!({"p50": 10.0, "p95": 20.0, "p99": 30.0});
    let release = |id: &str, outcome: &str, hours: i64| {
        json!({
            "id": id, "environment": "production", "kind": "release", "strategy": "rolling", "digest": "sha256:a",
            "outcome": outcome, "started": ago(hours), "applied": ago(hours), "ended": ago(hours - 1),
            "restored": if outcome == "failed" { "r1" } else { "" },
            "detection_ms": 4300, "restore_ms": 20_000, "lead_time_ms": 3_600_000,
        })
    };
    let run = |name: &str, hours: i64, release: Value| {
        json!({
            "schema": "forge-history/1", "run": name, "started": ago(hours), "duration_ms": 5000, "commit": "", "dirty": false,
            "task": "ci", "profile": "actions", "host": "actions", "verdict": "pass",
            "gates": [{
                "id": "perf", "verdict": "pass", "required": true, "cached": false, "duration_ms": 1500,
                "work": {"count": 600, "unit": "requests"}, "findings": {"high": 1}, "flaky": ["t.py::a[\"b\\n\"]"],
            }],
            "coverage": {"combined": 93.5, "legs": {"3.11": 92.0}},
            "image": {"size_bytes": 1000},
            "load": {
                "gate": "perf", "profile": "smoke", "engine": "builtin", "requests": 600, "rate": 39.9, "failed_rate": 0.01,
                "rest": trend, "llm": {"duration": trend, "time_to_first_token": trend, "tokens_per_second": trend},
            },
            "release": release,
        })
    };
    format!("{}\n{}\n", run("a", 9, release("r1", "verified", 9)), run("b", 5, release("r2", "failed", 5)))
}

#[test]
fn promtool_takes_what_is_exported() {
    let project = Project::bare();
    project
        .write("xtask/config/pipeline.toml", "[python]\nversions = []\ntools = \"3.12\"\ntools_lock = \"tools.txt\"\n");
    project.write(".gitignore", "/target/\n");
    project.commit();
    project.write("target/xtask/history/runs.jsonl", &one_of_everything());
    let ran = project.xtask(&["history", "export"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for (name, _) in FAMILIES {
        assert!(ran.stdout.contains(&format!("\n{name}")), "{name} is not exported:\n{}", ran.stdout);
    }
    let folder = tempfile::tempdir().unwrap();
    let Some((good, words)) = promtool(folder.path(), &["check", "metrics"], &ran.stdout) else { return };
    assert!(good && words.trim().is_empty(), "{words}");
    assert!(!promtool(folder.path(), &["check", "metrics"], &ran.stdout.replace("host=\"", "host=")).unwrap().0);
}
