//! What a release would change, before it changes anything: the objects, and how they differ from what runs.

use std::collections::BTreeMap;

use serde_json::Value;

use super::users::leads_to;
use crate::config::{Environment, Release, Strategy};
use crate::engine::session::Session;
use crate::release::journal::Journal;
use crate::release::manifests::{Manifests, Prepared, TRAFFIC};
use crate::release::secrets::{self, Named};
use crate::release::track::Track;
use crate::tools::kube::{Kube, MANAGER, Trouble, path_of};
use crate::verdict::{Finding, NotRun, Severity, Unproven};

/// How many lines of a difference are shown; the log has them all.
const SHOWN: usize = 60;

/// Renders the overlay by Kustomize.
pub async fn render(session: &Session, release: &Release) -> Result<Manifests, Unproven> {
    let root = &session.ctx().root;
    let kubectl = session.machine.on_path("kubectl");
    let kubectl =
        kubectl.ok_or_else(|| NotRun::new("`kubectl` is not on PATH", "install kubectl, then run it again"))?;
    let command = crate::tools::command::Command::new(kubectl, root).args(["kustomize", &release.overlay]);
    let ended = session.step(&command).await?;
    if !ended.is_success() {
        let reason = format!("`{}` cannot be rendered: {}", release.overlay, ended.failure());
        return Err(NotRun::new(reason, format!("kubectl kustomize {}", release.overlay)).into());
    }
    // What is kept of a step is for eyes: a secret's value in it has become `***`, and that would be applied.
    let rendered = session.runner().read_bytes(&command).await?;
    let objects =
        objects(&String::from_utf8_lossy(&rendered)).map_err(|why| NotRun::new(why, "look at the overlay"))?;
    let refused = |why| NotRun::new(why, format!("mend `{}` or the environment's file", release.overlay));
    Ok(Manifests::new(objects, release).map_err(refused)?)
}

/// YAML documents → objects.
fn objects(yaml: &str) -> Result<Vec<Value>, String> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(yaml).map_err(|e| format!("what was rendered is no YAML: {e}"))?;
    let documents: Vec<Value> = documents.into_iter().filter(|document| !document.is_null()).collect();
    if documents.is_empty() { Err("nothing was rendered".to_owned()) } else { Ok(documents) }
}

/// The values of `[secrets]`; the error names the variable that is not set.
pub fn values(session: &Session, environment: &Environment) -> Result<BTreeMap<String, String>, NotRun> {
    let value = |(key, variable): (&String, &String)| match session.ctx().var(variable.trim_end_matches('?')) {
        Some(value) if !value.is_empty() => Some(Ok((key.clone(), value.to_owned()))),
        // What is not set is left out where the file says that it may be.
        _ if variable.ends_with('?') => None,
        _ => {
            let reason =
                format!("the variable `{variable}`, which the Secret's key `{key}` is filled with, is not set");
            Some(Err(NotRun::new(reason, format!("set `{variable}`, then run it again"))))
        }
    };
    environment.secrets.iter().filter_map(value).collect()
}

/// The Secret's name and which of its keys differ from those of `used`, the one that is used now. A namespace without
/// a key of its own gets one when the release changes something; until then the name is a guess.
pub async fn secret(
    kube: &Kube,
    release: &Release,
    values: &BTreeMap<String, String>,
    used: Option<&str>,
    key: [u8; 32],
) -> Result<Named, Trouble> {
    if release.secret.is_empty() {
        return Ok(Named::default());
    }
    let name = secrets::name(&release.secret, &key, values);
    let before = match used {
        Some(used) => kube.get(&format!("/api/v1/namespaces/{}/secrets/{used}", release.namespace)).await?,
        None => None,
    };
    Ok(secrets::difference(name, before.as_ref(), values))
}

/// What of the objects the API would not take: a field that somebody else owns, an object that is not valid. Nothing is
/// changed.
pub async fn refusals(kube: &Kube, objects: &[Value], force: bool) -> Result<Vec<Finding>, Trouble> {
    let mut findings = Vec::new();
    for object in objects {
        let Some(path) = path_of(object) else { continue };
        match kube.apply(&format!("{path}?dryRun=All"), object, force).await {
            Ok(_) => {}
            Err(Trouble::Refused { code, reason, message }) => findings.push(refused(object, code, &reason, &message)),
            Err(unreachable) => return Err(unreachable),
        }
    }
    Ok(findings)
}

/// A refusal as a finding; a conflict names owner and field, for the API's sentence does.
pub fn refused(object: &Value, code: u16, reason: &str, message: &str) -> Finding {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let name = format!("{} `{}`", text(&object["kind"]), text(&object["metadata"]["name"]));
    let (rule, words) = match code {
        409 => ("conflict", "belongs to somebody else in part"),
        403 => ("forbidden", "may not be changed by us"),
        _ => ("refused", "is not taken"),
    };
    Finding::new(rule, Severity::High, format!("{name} {words} ({reason}): {message}"))
}

/// A rollout that somebody has paused goes nowhere until its deadline: that is known before anything changes.
pub fn paused(workload: Option<&Value>) -> Option<Finding> {
    let workload = workload.filter(|workload| workload["spec"]["paused"] == true)?;
    let name = workload["metadata"]["name"].as_str().unwrap_or_default();
    let message =
        format!("somebody has paused Deployment `{name}`; `kubectl rollout resume deployment/{name}` ends that");
    Some(Finding::new("paused", Severity::High, message))
}

/// A canary is compared with the verified release. Without one it would only be found out once it is applied, and
/// undoing it would be a first release that failed: what serves would be scaled to nothing.
pub fn nothing_beside(strategy: Strategy, journal: &Journal) -> Option<Finding> {
    let message = "a canary needs a verified release beside it: release it once with --strategy rolling";
    let is_alone = strategy == Strategy::Canary && journal.last_verified().is_none();
    is_alone.then(|| Finding::new("no-baseline", Severity::High, message))
}

/// A Service that does not say which Deployment it leads to takes the pods of a second one as soon as they are ready, and
/// before anybody has verified them.
pub fn shared(strategy: Strategy, service: Option<&Value>) -> Option<Finding> {
    let is_shared = service.is_some_and(|service| leads_to(service).is_none());
    (is_shared && strategy == Strategy::BlueGreen).then(|| {
        let name = service.and_then(|service| service["metadata"]["name"].as_str()).unwrap_or_default();
        let message = format!(
            "the Service `{name}` does not select by `{TRAFFIC}`, so that users would reach pods that nobody has \
             verified: release once with --strategy rolling --take-over, which mends it"
        );
        Finding::new("shared-service", Severity::High, message)
    })
}

/// Whatever has the name of a canary's arm and is not ours: it would be taken for one, and be removed with it.
pub async fn others_arms(kube: &Kube, release: &Release) -> Result<Vec<Finding>, Trouble> {
    let mut findings = Vec::new();
    for track in [Track::Canary, Track::Baseline] {
        let of = async |group: &str, kind: &str, name: &str| {
            kube.get(&format!("{group}/namespaces/{}/{kind}/{}", release.namespace, track.of_workload(name))).await
        };
        let deployment = of("/apis/apps/v1", "deployments", &release.workload).await?;
        let service = of("/api/v1", "services", &release.service).await?;
        let others = [deployment, service].into_iter().flatten().filter(|found| !track.has_made(found));
        findings.extend(others.map(|object| {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            let kind = object["kind"].as_str().unwrap_or_default();
            let message = format!("{kind} `{name}` is somebody else's, and a canary needs that name: rename it");
            Finding::new("name-taken", Severity::High, message)
        }));
    }
    Ok(findings)
}

/// How the objects differ from what runs, by `kubectl diff`; Secrets are no part of it.
pub async fn difference(session: &Session, kube: &Kube, prepared: &Prepared) -> Result<Vec<String>, Unproven> {
    let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": prepared.objects});
    let manager = format!("--field-manager={MANAGER}");
    let command = kube.kubectl(["diff", "--server-side", "--force-conflicts", &manager, "-f", "-"]);
    let ended = session.step(&command.stdin(list.to_string())).await?;
    // 0: nothing differs, 1: something does.
    let differs = matches!(ended.exit, crate::tools::proc::Exit::Code(1));
    if !ended.is_success() && !differs {
        return Err(
            NotRun::new(format!("`kubectl diff` ended with {}", ended.failure()), kube.access().way_in()).into()
        );
    }
    Ok(shortened(&ended.stdout))
}

/// The lines that say something: what is added and removed, with the object's name before them.
fn shortened(diff: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let noise = ["generation:", "resourceVersion:", "uid:", "creationTimestamp:", "selfLink:"];
    for line in diff.lines() {
        if let Some(rest) = line.strip_prefix("+++ ") {
            let name = rest.split_whitespace().next().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
            lines.push(name.to_owned());
        } else if (line.starts_with('+') || line.starts_with('-'))
            && !line.starts_with("---")
            && !noise.iter().any(|word| line[1..].trim_start().starts_with(word))
        {
            lines.push(format!("  {line}"));
        }
    }
    let left = lines.len().saturating_sub(SHOWN);
    lines.truncate(SHOWN);
    if left > 0 {
        lines.push(format!("  … and {left} lines more in the log"));
    }
    lines
}

/// What a person reads before they say yes.
#[derive(Debug)]
pub struct Shown<'a> {
    /// The environment's name.
    pub environment: &'a str,
    /// How.
    pub strategy: &'a str,
    /// The image.
    pub image: &'a str,
    /// Its commit.
    pub commit: &'a str,
    /// What runs and is verified; empty where nothing is.
    pub before: &'a str,
    /// Why that cannot be brought back; empty where it can.
    pub lost: &'a str,
    /// The difference.
    pub difference: &'a [String],
    /// The Secret.
    pub secret: &'a Named,
    /// The gates to come.
    pub gates: Vec<&'a str>,
}

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let or_none = |text: &str| if text.is_empty() { "nothing".to_owned() } else { text.to_owned() };
        writeln!(f, "release to {}, {}", self.environment, self.strategy)?;
        writeln!(f, "  image      {}", self.image)?;
        writeln!(f, "  commit     {}", or_none(self.commit))?;
        writeln!(f, "  verified   {}", or_none(self.before))?;
        match (self.before, self.lost) {
            ("", _) => writeln!(f, "  if it fails, the new workload is scaled to 0")?,
            (_, "") => writeln!(f, "  if it fails, the verified one is brought back")?,
            (_, why) => writeln!(f, "  if it fails, it CANNOT BE UNDONE: {why}")?,
        }
        writeln!(f, "  checks     {}", self.gates.join(", "))?;
        let keys = [("+", &self.secret.added), ("~", &self.secret.changed), ("-", &self.secret.removed)];
        let keys: Vec<String> =
            keys.into_iter().flat_map(|(sign, keys)| keys.iter().map(move |key| format!("{sign}{key}"))).collect();
        if !keys.is_empty() {
            writeln!(f, "  secret     {}", keys.join(" "))?;
        }
        writeln!(f, "  difference{}", if self.difference.is_empty() { " none" } else { "" })?;
        self.difference.iter().try_for_each(|line| writeln!(f, "    {line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::journal::{Entry, Outcome};

    #[test]
    fn a_difference_is_shortened_to_what_changes() {
        let diff = "diff -u -N /tmp/LIVE-1/apps.v1.Deployment.n.forge /tmp/MERGED-2/apps.v1.Deployment.n.forge\n\
                    --- /tmp/LIVE-1/apps.v1.Deployment.n.forge\t2026\n+++ /tmp/MERGED-2/apps.v1.Deployment.n.forge\t2026\n\
                    @@ -5,7 +5,7 @@\n-  generation: 1\n+  generation: 2\n   same: x\n-        image: a\n+        image: b\n";
        assert_eq!(shortened(diff), ["apps.v1.Deployment.n.forge", "  -        image: a", "  +        image: b"]);
        let long: String = (0..100).map(|line| format!("+x{line}\n")).collect();
        let lines = shortened(&long);
        assert_eq!((lines.len(), lines.last().map(String::as_str)), (61, Some("  … and 40 lines more in the log")));
    }

    #[test]
    fn a_release_that_could_not_go_on_is_refused_before_it_begins() {
        let workload = |paused: bool| serde_json::json!({"metadata": {"name": "forge"}, "spec": {"paused": paused}});
        assert!(paused(Some(&workload(true))).unwrap().message.contains("rollout resume deployment/forge"));
        assert_eq!((paused(Some(&workload(false))), paused(None)), (None, None));
        let mut journal = Journal::default();
        journal.put(Entry { id: "1".into(), outcome: Outcome::Failed, ..Entry::default() });
        assert!(nothing_beside(Strategy::Canary, &journal).is_some());
        assert_eq!(nothing_beside(Strategy::Rolling, &journal), None);
        journal.put(Entry { id: "2".into(), outcome: Outcome::Verified, ..Entry::default() });
        assert_eq!(nothing_beside(Strategy::Canary, &journal), None);
    }

    #[test]
    fn users_reach_no_second_deployment_by_a_service_that_does_not_tell_them_apart() {
        let service =
            |selector: Value| serde_json::json!({"metadata": {"name": "forge"}, "spec": {"selector": selector}});
        let plain = service(serde_json::json!({"app": "f"}));
        let ours = service(serde_json::json!({"app": "f", TRAFFIC: "stable"}));
        let found = shared(Strategy::BlueGreen, Some(&plain)).unwrap();
        assert!(found.message.contains("--strategy rolling") && found.breaks(Severity::Low));
        assert_eq!(shared(Strategy::Rolling, Some(&plain)), None);
        assert_eq!(shared(Strategy::BlueGreen, Some(&ours)), None);
        assert_eq!(shared(Strategy::BlueGreen, None), None);
    }

    #[test]
    fn a_plan_says_what_comes_of_a_failure() {
        let secret = Named::default();
        let shown = |before, lost| {
            let (environment, strategy, image, commit) = ("production", "rolling", "i", "c");
            let gates = vec![];
            Shown { environment, strategy, image, commit, before, lost, difference: &[], secret: &secret, gates }
                .to_string()
        };
        for (before, lost, words) in [
            ("", "", "the new workload is scaled to 0"),
            ("i (1)", "", "the verified one is brought back"),
            ("i (1)", "the objects of release 1 are no longer kept", "CANNOT BE UNDONE: the objects of release 1"),
        ] {
            let shown = shown(before, lost);
            assert!(shown.contains(words), "{shown}");
        }
    }

    #[test]
    fn documents_become_objects_and_nothing_is_an_error() {
        assert_eq!(objects("a: 1\n---\nb: [x]\n").unwrap().len(), 2);
        assert!(objects("").is_err() && objects("---\n---\n").is_err());
    }
}
