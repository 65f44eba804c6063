//! `logs`: what all pods of the workload say, merged by time; with `-f` also what they and their successors will say.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::task::JoinSet;

use super::release::reach::reach;
use crate::config::{Environment, parse_duration};
use crate::context::Ctx;
use crate::event::{Event, Events};
use crate::release::follow::{Follower, News};
use crate::release::manifests::TRACK;
use crate::text::Redactor;
use crate::tools::cancel::{Cancel, Urgency};
use crate::tools::kube::{Kube, Trouble};
use crate::tools::machine::Machine;
use crate::verdict::{NotRun, Unproven};

/// How many lines of each container are shown where nobody says since when.
const TAIL: usize = 200;

/// Between two attempts to read a log that has ended: the container may be started again.
const AGAIN: Duration = Duration::from_secs(1);

/// Options of `logs`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The environment: staging, production (or prod)
    #[arg(value_name = "ENV")]
    pub environment: String,
    /// How far back, such as 10m [default: the last 200 lines of each container]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub since: Option<Duration>,
    /// Go on with what comes, new pods too, until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
}

/// Shows them; the inner error is what keeps the cluster from answering.
pub async fn run(ctx: &Arc<Ctx>, cancel: &Cancel, events: &Events, args: &Args) -> Result<Result<(), NotRun>> {
    let environment = Environment::load(&ctx.config_dir, &args.environment)?;
    let machine = Machine::new(ctx.clone(), cancel.clone());
    let mut stop = cancel.clone();
    let shown = tokio::select! {
        shown = show(&machine, &environment, events, args) => shown,
        // Ctrl-C is how it is meant to end.
        () = stop.reached(Urgency::Gently) => Ok(()),
    };
    match shown {
        Ok(()) => Ok(Ok(())),
        Err(Unproven::NotRun(why)) => Ok(Err(why)),
        Err(Unproven::Defect(error)) => Err(error),
    }
}

async fn show(machine: &Machine, environment: &Environment, events: &Events, args: &Args) -> Result<(), Unproven> {
    let (_, release) = environment.releasable().map_err(anyhow::Error::from)?;
    let kube = reach(machine, environment).await??;
    // Only the pods of the workload carry the label, those of every track.
    let namespace = format!("/api/v1/namespaces/{}", release.namespace);
    let pods = format!("{namespace}/pods?labelSelector={}", TRACK.replace('/', "%2F"));
    let redactor = machine.ctx.redactor.clone();
    let asked = Asked { kube: kube.clone(), namespace, since: args.since, events: events.clone(), redactor };
    if args.follow {
        return follow(&asked, pods).await;
    }
    let list = kube.list(&pods).await?;
    let sources: Vec<Source> = list.items.iter().flat_map(sources).collect();
    if sources.is_empty() {
        let fix = format!("cargo xtask status {}", environment.name);
        let reason = format!("no pod of `{}` is there", release.workload);
        return Err(NotRun::new(reason, fix).into());
    }
    let mut lines = Vec::new();
    for source in &sources {
        match kube.text(&asked.path(source, None, false)).await {
            Ok(text) => lines.extend(text.lines().map(|line| (Line::of(line), source))),
            // Gone since it was listed.
            Err(Trouble::Refused { code: 404, .. }) => {}
            Err(trouble) => asked.note(source, &trouble),
        }
    }
    // Stable: lines of one container stay in their order.
    lines.sort_by_key(|(line, _)| line.at);
    lines.iter().for_each(|(line, source)| asked.tell(source, line));
    Ok(())
}

/// What is asked for, and who is told.
#[derive(Clone)]
struct Asked {
    kube: Kube,
    /// The path of the namespace.
    namespace: String,
    since: Option<Duration>,
    events: Events,
    redactor: Redactor,
}

/// A container of a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Source {
    pod: String,
    container: String,
    is_alone: bool,
}

/// A line with the time that the kubelet wrote before it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    at: Option<OffsetDateTime>,
    text: String,
}

impl Line {
    fn of(raw: &str) -> Self {
        let (time, rest) = raw.split_once(' ').unwrap_or((raw, ""));
        match OffsetDateTime::parse(time, &Rfc3339) {
            Ok(at) => Self { at: Some(at), text: rest.to_owned() },
            Err(_) => Self { at: None, text: raw.to_owned() },
        }
    }
}

/// The containers of a pod as the API shows it, in the order in which they start.
fn sources(pod: &serde_json::Value) -> Vec<Source> {
    let of = |kind: &str| pod["spec"][kind].as_array().map(Vec::as_slice).unwrap_or_default();
    let containers: Vec<&serde_json::Value> = of("initContainers").iter().chain(of("containers")).collect();
    let name = |value: &serde_json::Value| value["name"].as_str().unwrap_or_default().to_owned();
    let source =
        |container| Source { pod: name(&pod["metadata"]), container: name(container), is_alone: containers.len() == 1 };
    containers.iter().copied().map(source).collect()
}

impl Asked {
    /// From `after` on, or as far back as was asked for.
    fn path(&self, source: &Source, after: Option<OffsetDateTime>, follow: bool) -> String {
        let Source { pod, container, .. } = source;
        let path = format!("{}/pods/{pod}/log?container={container}&timestamps=true&follow={follow}", self.namespace);
        // The kubelet goes by whole seconds.
        let after = after.and_then(|at| at.replace_nanosecond(0).ok()?.format(&Rfc3339).ok());
        match (after, self.since) {
            (Some(after), _) => format!("{path}&sinceTime={after}"),
            (None, Some(since)) => format!("{path}&sinceSeconds={}", since.as_secs().max(1)),
            (None, None) => format!("{path}&tailLines={TAIL}"),
        }
    }

    fn tell(&self, source: &Source, line: &Line) {
        let source = if source.is_alone { source.pod.clone() } else { format!("{}/{}", source.pod, source.container) };
        self.events.send(Event::Log { source, text: self.redactor.clean(&line.text) });
    }

    fn note(&self, source: &Source, trouble: &Trouble) {
        let text = format!("no log of `{}`, container `{}`: {trouble}", source.pod, source.container);
        self.events.send(Event::Aside(self.redactor.clean(&text)));
    }

    /// Until the pod is gone, which the pods' own watch tells.
    async fn follow(&self, source: &Source, is_gone: &AtomicBool) {
        let mut last: Option<OffsetDateTime> = None;
        loop {
            // Not started yet, not even known to its node (404), or the API is gone: it is asked again.
            if let Ok(mut lines) = self.kube.lines(&self.path(source, last, true)).await {
                while let Ok(Some(raw)) = lines.next().await {
                    let line = Line::of(&raw);
                    // What a log that was opened again repeats was told.
                    if line.at.is_some() && line.at <= last {
                        continue;
                    }
                    last = line.at.or(last);
                    self.tell(source, &line);
                }
            }
            if is_gone.load(Ordering::Acquire) {
                return;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}

/// Follows the pods that are there and those that come; never ends by itself.
async fn follow(asked: &Asked, pods: String) -> Result<(), Unproven> {
    let mut follower = Follower::of(&asked.kube, vec![pods]);
    let mut known: BTreeMap<Source, Arc<AtomicBool>> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    let mut was_there = false;
    let mut is_lost = false;
    loop {
        let (_, news) = follower.next().await;
        let pods = match news {
            News::Listed(pods) => {
                // Those that went while nobody watched.
                let there: Vec<Source> = pods.iter().flat_map(sources).collect();
                known.retain(|source, is_gone| {
                    let is_there = there.contains(source);
                    is_gone.fetch_or(!is_there, Ordering::Release);
                    is_there
                });
                pods
            }
            News::Seen(pod) => vec![pod],
            News::Gone(pod) => {
                let gone = sources(&pod);
                gone.iter().filter_map(|source| known.remove(source)).for_each(|it| it.store(true, Ordering::Release));
                continue;
            }
            News::Answers => {
                if std::mem::take(&mut is_lost) {
                    asked.events.send(Event::Aside("the Kubernetes API answers again".to_owned()));
                }
                continue;
            }
            News::Lost(trouble) if !was_there => return Err(trouble.into()),
            News::Lost(trouble) => {
                if !std::mem::replace(&mut is_lost, true) {
                    asked.events.send(Event::Aside(asked.redactor.clean(&trouble.to_string())));
                }
                continue;
            }
        };
        was_there = true;
        for source in pods.iter().flat_map(sources) {
            if let Entry::Vacant(place) = known.entry(source) {
                let (asked, source) = (asked.clone(), place.key().clone());
                let is_gone = Arc::clone(place.insert(Arc::default()));
                tasks.spawn(async move { asked.follow(&source, &is_gone).await });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use time::macros::datetime;

    #[test]
    fn the_time_of_a_line_is_the_kubelets_and_is_not_shown() {
        let line = Line::of("2026-03-01T10:00:00.123456789Z  indented");
        assert_eq!(line, Line { at: Some(datetime!(2026-03-01 10:00:00.123456789 UTC)), text: " indented".into() });
        assert_eq!(
            Line::of("2026-03-01T10:00:00Z"),
            Line { at: Some(datetime!(2026-03-01 10:00:00 UTC)), text: String::new() }
        );
        assert_eq!(Line::of("failed to try resolving"), Line { at: None, text: "failed to try resolving".into() });
    }

    #[test]
    fn a_pod_has_a_log_for_each_container() {
        let pod =
            |containers: serde_json::Value| json!({"metadata": {"name": "p"}, "spec": {"containers": containers}});
        let one = sources(&pod(json!([{"name": "api"}])));
        assert_eq!(one, [Source { pod: "p".into(), container: "api".into(), is_alone: true }]);
        let two = sources(&pod(json!([{"name": "api"}, {"name": "side"}])));
        assert!(two.len() == 2 && !two[1].is_alone);
        assert!(sources(&json!({})).is_empty());
    }
}
