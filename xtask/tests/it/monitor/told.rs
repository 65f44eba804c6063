//! From a broken backend on the real cluster to a closed issue, through the real program: one issue, opened by the run whose
//! three probes failed, escalated, closed when it is over; nothing else is touched.

use std::time::Duration;

use serde_json::{Value, json};
use xtask::verdict::Verdict;

use super::pods::BLIND;
use crate::hub::{Hub, REPOSITORY, TOKEN};
use crate::release::run::Ended;
use crate::release::site::{Plan, Site, until};

macro_rules! alerts {
    () => {
        "[alerts]\nlabels = [\"incident\"]\n[[alerts.escalation]]\nlabel = \"on-call\"\nafter = \"1s\"\nseverity = \"low\"\nassignees = [\"grace\"]\n"
    };
}

/// Whoever is not heard for a second is told to more people.
const ALERTS: &str = alerts!();

/// The same, with probes that do not let a test wait.
const WATCHED: &str = concat!("[monitor]\nretry_spacing = \"500ms\"\n", alerts!());

const GATE: &str = "monitor/incidents";

/// What the gate told, as `CHECK (ABOUT): WHAT ADDRESS`.
fn told(ended: &Ended) -> Vec<String> {
    let findings = &ended.gate(GATE).findings;
    findings.iter().map(|finding| finding.message.split(" http").next().unwrap().to_owned()).collect()
}

fn labels(issue: &Value) -> Vec<&str> {
    issue["labels"].as_array().unwrap().iter().map(|label| label["name"].as_str().unwrap()).collect()
}

/// One run follows another where it begins in a later second.
fn next_second() {
    std::thread::sleep(Duration::from_millis(1100));
}

#[test]
fn a_backend_that_is_broken_has_one_issue_until_it_is_well_again() {
    let Some(mut site) = Site::open("told-incident", Plan { more: WATCHED, ..Plan::default() }) else { return };
    let text = site.project.read("ci/pipeline.toml");
    site.project.write("ci/pipeline.toml", &(text + BLIND));
    site.release("1");
    let hub = Hub::start();
    let api = hub.url();
    for (name, value) in [("GITHUB_API_URL", api.as_str()), ("GITHUB_REPOSITORY", REPOSITORY), ("GITHUB_TOKEN", TOKEN)]
    {
        site.project.set(name, value);
    }
    let somebodys =
        hub.has_issue(json!({"title": "staging is slow", "labels": [{"name": "incident"}], "body": "since Monday"}));
    let before = hub.issue(somebodys);
    let look = || site.start(&["monitor", "staging", "health", "--tell", "on"]).ended();
    let well = look();
    well.assert_code(0);
    assert!(well.gate(GATE).work.count >= 3 && told(&well).is_empty(), "{}", well.text);
    assert_eq!(hub.issues().len(), 1, "nothing to tell");

    // Healthy pods that answer nothing as they should, and that no release has brought.
    site.faulty("2");
    let faulty = site.kubectl(&["kustomize", &site.path().join("k8s/overlays/test").display().to_string()]);
    let command =
        faulty.split("\n---\n").find(|object| object.contains("kind: Deployment") && object.contains("name: forge\n"));
    let broken: Value = serde_json::from_str(&site.apply_dry(command.unwrap())).unwrap();
    let container = &broken["spec"]["template"]["spec"]["containers"][0];
    let patch = json!({"spec": {"template": {"spec": {"containers": [
        {"name": "forge", "command": container["command"], "args": container["args"]},
    ]}}}});
    site.within(&["patch", "deployment", "forge", "-p", &patch.to_string()]);
    site.within(&["rollout", "status", "deployment/forge", "--timeout=120s"]);
    // The old pods are gone, so that every probe meets a broken one.
    until("the last good pod to go", Duration::from_secs(90), || {
        let pods = site.object(&["pods", "-l", "app.kubernetes.io/name=forge"]);
        (pods["items"].as_array().unwrap().len() == 1).then_some(())
    });
    let bad = look();
    bad.assert_code(10);
    assert_eq!(told(&bad), ["health/endpoints (failing): opened"], "{}", bad.text);
    assert_eq!(hub.issues().len(), 2);
    let number = hub.issues().iter().find(|issue| issue["number"] != somebodys).unwrap()["number"].as_u64().unwrap();
    let issue = hub.issue(number);
    assert_eq!(issue["state"], "open");
    assert!(labels(&issue).contains(&"environment/staging") && labels(&issue).contains(&"kind/health"), "{issue}");
    let body = issue["body"].as_str().unwrap();
    assert!(body.contains("status 500") && body.contains("cargo xtask status staging"), "{body}");
    let log = std::fs::read_to_string(bad.out.join("logs/monitor/health/endpoints.log")).unwrap();
    assert!(log.contains("probe 3 of 3"), "three probes of this run failed: {log}");

    next_second();
    let still = look();
    still.assert_code(10);
    assert_eq!(told(&still), ["health/endpoints (failing): escalated on-call"], "{}", still.text);
    assert!(labels(&hub.issue(number)).contains(&"on-call"));
    let shown = site.project.xtask(&["dashboard", "--json"]);
    let shown: Value = serde_json::from_str(&shown.assert_code(0).stdout).unwrap();
    let shown = shown["incidents"].as_array().unwrap();
    assert_eq!(shown.len(), 1, "{shown:?}");
    assert_eq!((&shown[0]["check"], &shown[0]["issue"]), (&json!("monitor/health/endpoints"), &issue["html_url"]));

    site.within(&["rollout", "undo", "deployment/forge"]);
    site.within(&["rollout", "status", "deployment/forge", "--timeout=120s"]);
    until("the last broken pod to go", Duration::from_secs(90), || {
        let pods = site.object(&["pods", "-l", "app.kubernetes.io/name=forge"]);
        (pods["items"].as_array().unwrap().len() == 1).then_some(())
    });
    let first = look();
    first.assert_code(0);
    assert!(told(&first).is_empty() && hub.issue(number)["state"] == "open", "one run that passes is none");
    next_second();
    let second = look();
    second.assert_code(0);
    assert_eq!(told(&second), ["health/endpoints (failing): closed"], "{}", second.text);
    let issue = hub.issue(number);
    assert_eq!((&issue["state"], &issue["state_reason"]), (&json!("closed"), &json!("completed")));
    let last = hub.comments(number).pop().unwrap();
    assert!(last.contains("It lasted **"), "{last}");
    assert_eq!((hub.issues().len(), hub.issue(somebodys)), (2, before), "nothing else was touched");
}

/// What a Kubernetes API says until its id is known.
const ANOTHER: &str = r#"{"major": "1", "minor": "34", "gitVersion": "v1.34.0", "kind": "Namespace", "apiVersion": "v1",
                          "metadata": {"name": "kube-system", "uid": "another"}}"#;

/// A cluster, and what is released into it.
const RELEASED: &str = "[cluster]\ncontext = \"c\"\nuid = \"00000000-0000-4000-8000-000000000000\"\n\
                        [release]\nbranch = \"main\"\noverlay = \"k8s\"\nnamespace = \"n\"\nworkload = \"w\"\n\
                        container = \"c\"\nservice = \"s\"\nmax_stream = \"1s\"\nverify_at = \"url\"\n";

/// A run that finds another cluster than the file's is a mistake, and one that nobody would hear of if it left at once.
#[test]
fn another_cluster_is_told_and_what_needs_none_is_looked_at() {
    let server = super::server::Server::start(&[super::server::Said::Well]);
    let cluster = super::server::Server::start(&[super::server::Said::Body(ANOTHER)]);
    let mut project = super::endpoints::project(&server.url, &format!("{ALERTS}{RELEASED}"));
    let kubeconfig = format!(
        "apiVersion: v1\nkind: Config\nclusters: [{{name: c, cluster: {{server: '{}'}}}}]\n\
         contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\nusers: [{{name: u, user: {{}}}}]\n",
        cluster.url
    );
    project.write("target/kubeconfig", &kubeconfig);
    project.set("KUBECONFIG", project.path().join("target/kubeconfig"));
    let hub = Hub::start();
    let api = hub.url();
    for (name, value) in [("GITHUB_API_URL", api.as_str()), ("GITHUB_REPOSITORY", REPOSITORY), ("GITHUB_TOKEN", TOKEN)]
    {
        project.set(name, value);
    }
    let ran = project.xtask(&["monitor", "production", "health", "--tell", "on"]);
    ran.assert_code(2);
    assert!(ran.stdout.contains("warning: the context `c` leads to the cluster another"), "{}", ran.stdout);
    assert_eq!(ran.gate("monitor/health/endpoints").verdict, Verdict::Pass);
    for check in ["pods", "scaling"] {
        let gate = ran.gate(&format!("monitor/health/{check}"));
        assert_eq!(gate.verdict, Verdict::DidNotRun);
        assert!(gate.reason.contains("leads to the cluster another"), "{gate:?}");
    }
    assert_eq!(ran.gate(GATE).verdict, Verdict::Pass, "{:?}", ran.gate(GATE));
    let mut titles: Vec<String> =
        hub.issues().iter().map(|issue| issue["title"].as_str().unwrap().to_owned()).collect();
    titles.sort();
    assert_eq!(titles, ["production: health/pods is not watched", "production: health/scaling is not watched"]);
    let remembered = xtask::history::store::read(&project.path().join("target/xtask")).unwrap();
    assert_eq!(remembered.entries.len(), 1, "and the history has it");
}

/// Who looks from a laptop tells nobody, unless it is asked to; and who may not tell has not told.
#[test]
fn nobody_is_told_by_a_laptop_and_a_refusal_is_no_pass() {
    let server = super::server::Server::start(&[super::server::Said::Well]);
    let mut project = super::endpoints::project(&server.url, ALERTS);
    let ran = project.xtask(&["monitor", "production"]);
    let report = ran.assert_code(0).report.as_ref().unwrap();
    assert_eq!(report.left_out, [GATE]);
    project.set("GITHUB_REPOSITORY", REPOSITORY);
    let untold = project.xtask(&["monitor", "production", "--tell", "on"]);
    let gate = untold.assert_code(20).gate(GATE);
    assert!(gate.reason.contains("GITHUB_TOKEN"), "{}", gate.reason);
    project.set("GITHUB_ACTIONS", "true");
    assert_eq!(project.xtask(&["monitor", "production"]).code, 20, "in Actions it is told");
    assert_eq!(project.xtask(&["monitor", "production", "--tell", "off"]).code, 0);
}
