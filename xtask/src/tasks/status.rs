//! `status`: what runs in an environment, since when and by whom, verified or not, and how it differs from its manifests.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use time::OffsetDateTime;

use super::release::reach::reach;
use crate::config::{Environment, Release};
use crate::context::Ctx;
use crate::release::autoscaler::Autoscaler;
use crate::release::book::Book;
use crate::release::difference;
use crate::release::overview::{Drift, Newest, Overview, Row, Serving, Told, overview};
use crate::release::quantity::{mebibytes, millicores};
use crate::text::Redactor;
use crate::tools::cancel::{Cancel, Urgency};
use crate::tools::github::{GitHub, Run};
use crate::tools::kube::{Kube, Trouble};
use crate::tools::machine::Machine;
use crate::verdict::{NotRun, Unproven};

/// How many differing lines are shown; `--json` has them all.
const SHOWN: usize = 40;

/// Options of `status`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The environment: staging, production (or prod)
    #[arg(value_name = "ENV")]
    pub environment: String,
}

/// How long GitHub may take to name the last runs.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many runs of workflows are shown.
const RUNS: usize = 5;

/// What is said: what the cluster told, and what GitHub did.
#[derive(Debug, Default, Serialize)]
struct Status {
    /// The cluster's part.
    #[serde(flatten)]
    overview: Overview,
    /// The last runs of the workflows on the environment's branch.
    workflow_runs: Vec<Run>,
    /// Why they are not known; empty where they are.
    workflow_runs_missing: String,
}

/// The answer as text or as JSON; the inner error is what keeps the cluster from answering.
pub async fn run(ctx: &Arc<Ctx>, cancel: &Cancel, args: &Args, json: bool) -> Result<Result<String, NotRun>> {
    let environment = Environment::load(&ctx.config_dir, &args.environment)?;
    let machine = Machine::new(ctx.clone(), cancel.clone());
    let mut stop = cancel.clone();
    let asked = tokio::select! {
        asked = ask(&machine, &environment) => asked,
        () = stop.reached(Urgency::Gently) => return Err(crate::exit::Interrupted.into()),
    };
    let (status, now) = match asked {
        Ok(told) => told,
        Err(Unproven::NotRun(why)) => return Ok(Err(why)),
        Err(Unproven::Defect(error)) => return Err(error),
    };
    let text = if json { serde_json::to_string_pretty(&status)? + "\n" } else { page(&status, now) };
    Ok(Ok(ctx.redactor.redact(&text)))
}

async fn ask(machine: &Machine, environment: &Environment) -> Result<(Status, OffsetDateTime), Unproven> {
    let (_, release) = environment.releasable().map_err(anyhow::Error::from)?;
    let kube = reach(machine, environment).await??;
    let book = Book::open(&kube, &release.namespace);
    let mut told = told(&kube, release).await?;
    told.journal = book.journal().await?;
    let now = kube.now();
    let seen = overview(&environment.name, release, &told, now);
    let drift = drift(&kube, &book, seen.serving.as_ref(), &machine.ctx.redactor).await?;
    let (workflow_runs, workflow_runs_missing) = match runs(machine, release).await {
        Ok(runs) => (runs, String::new()),
        Err(why) => (vec![], why),
    };
    Ok((Status { overview: Overview { drift, ..seen }, workflow_runs, workflow_runs_missing }, now))
}

/// What runs does not depend on GitHub: without a token, or without an answer, that is said and no more.
async fn runs(machine: &Machine, release: &Release) -> Result<Vec<Run>, String> {
    let ask = async { GitHub::open(machine).await?.runs(&release.branch, RUNS).await };
    match tokio::time::timeout(PATIENCE, ask).await {
        Ok(runs) => runs.map_err(|trouble| trouble.to_string()),
        Err(_) => Err(format!("GitHub does not answer within {} s", PATIENCE.as_secs())),
    }
}

/// Everything but the journal.
pub async fn told(kube: &Kube, release: &Release) -> Result<Told, Unproven> {
    let namespace = &release.namespace;
    let (core, apps) = (format!("/api/v1/namespaces/{namespace}"), format!("/apis/apps/v1/namespaces/{namespace}"));
    let scalers = format!("/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers");
    let paths = [format!("{apps}/deployments"), format!("{apps}/replicasets"), format!("{core}/pods"), scalers];
    let [deployments, sets, pods, scalers] = &paths;
    let service = format!("{core}/services/{}", release.service);
    let (service, deployments, sets, pods, scalers) = tokio::try_join!(
        kube.get(&service),
        kube.list(deployments),
        kube.list(sets),
        kube.list(pods),
        kube.list(scalers)
    )?;
    let (usage, usage_missing) = match usage(kube, namespace).await {
        Ok(usage) => (usage, String::new()),
        Err(why) => (vec![], why),
    };
    Ok(Told {
        service,
        deployments: read(deployments.items)?,
        replica_sets: read(sets.items)?,
        pods: read(pods.items)?,
        autoscalers: scalers.items,
        usage,
        usage_missing,
        ..Told::default()
    })
}

fn read<T: DeserializeOwned>(objects: Vec<Value>) -> Result<Vec<T>, Trouble> {
    let broken = |e| Trouble::Unreachable(format!("an object of it cannot be read: {e}"));
    objects.into_iter().map(|object| serde_json::from_value(object).map_err(broken)).collect()
}

/// CPU and memory are no part of Kubernetes itself: a cluster may do without.
async fn usage(kube: &Kube, namespace: &str) -> Result<Vec<Value>, String> {
    match kube.get(&format!("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods")).await {
        Ok(Some(list)) => Ok(list["items"].as_array().cloned().unwrap_or_default()),
        Ok(None) => Err("no metrics-server".to_owned()),
        Err(trouble) => Err(format!("the metrics-server does not answer: {trouble}")),
    }
}

async fn drift(kube: &Kube, book: &Book, serving: Option<&Serving>, redactor: &Redactor) -> Result<Drift, Unproven> {
    let unknown = |why: &str| Ok(Drift { unknown: redactor.clean(why), ..Drift::default() });
    let Some(serving) = serving.filter(|serving| !serving.release.is_empty()) else {
        return unknown("the journal does not know what runs");
    };
    let Some(objects) = book.objects(&serving.release).await? else {
        return unknown("the objects of its release are no longer kept");
    };
    match difference::of(kube, &objects).await {
        Ok(lines) => {
            let lines = lines.iter().map(|line| redactor.clean(line)).collect();
            Ok(Drift { unknown: String::new(), lines })
        }
        Err(Unproven::NotRun(why)) => unknown(&why.reason),
        Err(defect) => Err(defect),
    }
}

/// For people.
fn page(status: &Status, now: OffsetDateTime) -> String {
    let overview = &status.overview;
    let mut out = String::new();
    let mut line = |name: &str, text: &str| {
        let _always = writeln!(out, "  {name:<11} {text}");
    };
    match &overview.serving {
        None => line("serving", "nothing: the Service leads to no Deployment of the workload"),
        Some(serving) => {
            let by_whom = if serving.release.is_empty() {
                "the journal does not know it".to_owned()
            } else {
                format!("{}, by {}", serving.strategy, serving.by)
            };
            line("serving", &format!("{} ({})", serving.workload, by_whom));
            line("state", &state(serving));
            line("image", &serving.image);
            line("commit", &serving.commit);
            line("since", &since(&serving.since, now));
            line("approved", &serving.approved_by);
            line("run", &serving.run);
            let [wanted, updated, ready, available] = serving.replicas;
            line("pods", &format!("{wanted} wanted, {updated} updated, {ready} ready, {available} available"));
        }
    }
    if let Some(scaler) = &overview.autoscaler {
        line("autoscaler", &autoscaler(scaler));
    }
    if let Some(newest) = &overview.newest {
        line("newest", &last(newest));
    }
    line("drift", &drifts(&overview.drift));
    // A field that nobody filled is no line.
    let filled: Vec<&str> = out.lines().filter(|line| line.split_whitespace().count() > 1).collect();
    let head = format!("{} in the namespace {}", overview.environment, overview.namespace);
    let differing = overview.drift.lines.iter().take(SHOWN).map(|line| format!("    {line}\n")).collect::<String>();
    format!("{head}\n{}\n{differing}{}{}", filled.join("\n"), pods(overview), workflows(status, now))
}

fn workflows(status: &Status, now: OffsetDateTime) -> String {
    if !status.workflow_runs_missing.is_empty() {
        return format!("  the last runs of workflows are not known: {}\n", status.workflow_runs_missing);
    }
    let line = |run: &Run| {
        let end = if run.conclusion.is_empty() { &run.status } else { &run.conclusion };
        let commit = run.head_sha.get(..7).unwrap_or(&run.head_sha);
        format!("  {}: {end}, {commit}, {}, {}\n", run.name, since(&run.started, now), run.html_url)
    };
    status.workflow_runs.iter().map(line).collect()
}

fn state(serving: &Serving) -> String {
    let word = match serving.verification.as_str() {
        "verified" => "verified",
        "unknown" => "not known whether it was verified",
        "not_verified" => "NOT VERIFIED",
        "running" => "its release goes on",
        "shared" => "users are shared with a canary, which is NOT VERIFIED",
        other => return format!("NOT VERIFIED: its release {other}"),
    };
    if serving.brought_back_after.is_empty() {
        word.to_owned()
    } else {
        format!("{word}; brought back after the release {}", serving.brought_back_after)
    }
}

fn since(text: &str, now: OffsetDateTime) -> String {
    let at = OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339);
    at.map_or_else(|_| text.to_owned(), |at| format!("{text} ({})", age((now - at).whole_seconds())))
}

/// As `kubectl` has it: the two largest units.
fn age(seconds: i64) -> String {
    let units = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    let seconds = seconds.max(0);
    let first = units.iter().position(|(_, size)| seconds >= *size).unwrap_or(3);
    let mut left = seconds;
    let mut parts = Vec::new();
    for (unit, size) in units.iter().skip(first).take(2) {
        if left / size > 0 || parts.is_empty() {
            parts.push(format!("{}{unit}", left / size));
        }
        left %= size;
    }
    parts.join("")
}

fn autoscaler(scaler: &Autoscaler) -> String {
    let Autoscaler { min, max, current, desired, metrics, stuck, .. } = scaler;
    let by = if metrics.is_empty() { String::new() } else { format!("; {}", metrics.join(", ")) };
    let stuck = if stuck.is_empty() { String::new() } else { format!("; CANNOT SCALE: {stuck}") };
    format!("{current} pods, wants {desired}, between {min} and {max}{by}{stuck}")
}

fn last(newest: &Newest) -> String {
    let reason = if newest.reason.is_empty() { String::new() } else { format!(": {}", newest.reason) };
    format!("{} {} at {}{reason} ({})", newest.release, newest.outcome.replace('_', " "), newest.step, newest.image)
}

fn drifts(drift: &Drift) -> String {
    match drift.lines.len() {
        _ if !drift.unknown.is_empty() => format!("not known: {}", drift.unknown),
        0 => "none".to_owned(),
        1..=SHOWN => "what runs differs from its release (- runs, + its release):".to_owned(),
        more => format!("what runs differs from its release in {more} lines, the first {SHOWN}:"),
    }
}

/// A table; its columns are as wide as they have to be.
fn pods(overview: &Overview) -> String {
    if overview.pods.is_empty() {
        return "  no pod\n".to_owned();
    }
    let head = ["POD", "READY", "STATE", "RESTARTS", "AGE", "CPU", "MEMORY", "NODE"].map(str::to_owned);
    let rows: Vec<[String; 8]> = std::iter::once(head).chain(overview.pods.iter().map(cells)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let mut out = String::new();
    for row in &rows {
        let cells: Vec<String> =
            row.iter().enumerate().map(|(column, cell)| format!("{cell:<width$}", width = width(column))).collect();
        let _always = writeln!(out, "  {}", cells.join("  ").trim_end());
    }
    if !overview.usage_missing.is_empty() {
        let _always = writeln!(out, "  CPU and memory are not known: {}", overview.usage_missing);
    }
    out
}

fn cells(row: &Row) -> [String; 8] {
    let old = if row.newest { "" } else { " (older template)" };
    let ready = if row.ready { "yes" } else { "no" };
    [
        row.name.clone(),
        ready.to_owned(),
        format!("{}{old}", row.state),
        row.restarts.to_string(),
        age(row.age_s),
        row.cpu.map_or_else(|| "?".to_owned(), millicores),
        row.memory.map_or_else(|| "?".to_owned(), mebibytes),
        row.node.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn an_age_has_its_two_largest_units() {
        for (seconds, shown) in [(-1, "0s"), (0, "0s"), (59, "59s"), (60, "1m"), (3_700, "1h1m"), (90_061, "1d1h")] {
            assert_eq!(age(seconds), shown, "{seconds}");
        }
    }

    #[test]
    fn the_page_says_what_runs_and_what_is_not_known() {
        let serving = Serving {
            workload: "forge-green".into(),
            track: "green".into(),
            strategy: "blue-green".into(),
            image: "r/i@sha256:1".into(),
            release: "2".into(),
            since: "2026-03-01T09:00:00Z".into(),
            by: "kim@host".into(),
            verification: "verified".into(),
            brought_back_after: "3".into(),
            replicas: [2, 2, 2, 2],
            ..Serving::default()
        };
        let row = Row {
            name: "forge-green-a".into(),
            newest: true,
            ready: true,
            state: "Running".into(),
            age_s: 3_700,
            node: "n1".into(),
            ..Row::default()
        };
        let overview = Overview {
            environment: "production".into(),
            namespace: "forge".into(),
            serving: Some(serving),
            pods: vec![row],
            usage_missing: "no metrics-server".into(),
            autoscaler: Some(Autoscaler { min: 2, max: 6, current: 2, desired: 2, ..Autoscaler::default() }),
            drift: Drift { lines: vec!["apps.v1.Deployment.forge.forge-green".into()], ..Drift::default() },
            ..Overview::default()
        };
        let expected = "\
production in the namespace forge
  serving     forge-green (blue-green, by kim@host)
  state       verified; brought back after the release 3
  image       r/i@sha256:1
  since       2026-03-01T09:00:00Z (1h)
  pods        2 wanted, 2 updated, 2 ready, 2 available
  autoscaler  2 pods, wants 2, between 2 and 6
  drift       what runs differs from its release (- runs, + its release):
    apps.v1.Deployment.forge.forge-green
  POD            READY  STATE    RESTARTS  AGE   CPU  MEMORY  NODE
  forge-green-a  yes    Running  0         1h1m  ?    ?       n1
  CPU and memory are not known: no metrics-server
  release: success, c0ffee0, 2026-03-01T09:59:00Z (1m), https://github.example/run/1
";
        let run = Run {
            name: "release".into(),
            head_sha: "c0ffee0123".into(),
            status: "completed".into(),
            conclusion: "success".into(),
            started: "2026-03-01T09:59:00Z".into(),
            html_url: "https://github.example/run/1".into(),
            ..Run::default()
        };
        let status = Status { overview, workflow_runs: vec![run], workflow_runs_missing: String::new() };
        assert_eq!(page(&status, datetime!(2026-03-01 10:00:00 UTC)), expected);
        let none = page(
            &Status { workflow_runs_missing: "no token".into(), ..Status::default() },
            datetime!(2026-03-01 10:00:00 UTC),
        );
        assert!(none.contains("serving     nothing") && none.contains("no pod"), "{none}");
        assert!(none.contains("workflows are not known: no token"), "{none}");
    }
}
