//! Which images run: of each container that was started, by the digest that cannot come to mean another one. Pure.

use crate::release::object::Pod;
use crate::tools::reference::{Reference, Subject, is_digest};
use crate::verdict::{Finding, NotRun, Severity};

/// An image, and where it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// The image.
    pub subject: Subject,
    /// The names of the containers that run it.
    pub containers: Vec<String>,
    /// The names of their pods.
    pub pods: Vec<String>,
}

/// Every image once, of all containers, those before and beside the first one and those that somebody put into the running
/// pod too; and what is to be said of containers whose image cannot be told.
pub fn running<'a>(pods: impl IntoIterator<Item = &'a Pod>) -> (Vec<Running>, Vec<Finding>) {
    let (mut all, mut findings): (Vec<Running>, Vec<Finding>) = (Vec::new(), Vec::new());
    for pod in pods.into_iter().filter(|pod| pod.is_active()) {
        let statuses = pod.status.init_container_statuses.iter().chain(&pod.status.container_statuses);
        let statuses = statuses.chain(&pod.status.ephemeral_container_statuses);
        // One that was never started runs nothing.
        for status in statuses.filter(|status| !status.image_id.is_empty()) {
            let wanted = pod.spec.init_containers.iter().chain(&pod.spec.containers);
            let mut wanted = wanted.chain(&pod.spec.ephemeral_containers);
            let image = wanted.find(|one| one.name == status.name).map_or("", |one| one.image.as_str());
            let (pod, container) = (&pod.metadata.name, &status.name);
            let Some(subject) = subject(image, &status.image_id) else {
                let message = format!(
                    "the container `{container}` of the pod `{pod}` runs `{}`, which is no image by its digest",
                    status.image_id
                );
                findings.push(Finding::new("unknown-image", Severity::High, message));
                continue;
            };
            match all.iter_mut().find(|known| known.subject == subject) {
                Some(known) => {
                    add(&mut known.containers, container);
                    add(&mut known.pods, pod);
                }
                None => all.push(Running { subject, containers: vec![container.clone()], pods: vec![pod.clone()] }),
            }
        }
    }
    (all, findings)
}

/// Of what does not run nothing is proved; that it does not is the health's matter.
pub fn nothing_runs(environment: &str) -> NotRun {
    NotRun::new("no container of the workload runs an image", format!("cargo xtask monitor {environment} health"))
}

fn add(names: &mut Vec<String>, name: &str) {
    if !names.iter().any(|known| known == name) {
        names.push(name.to_owned());
    }
}

/// What was asked for counts where it names a digest, for the kubelet starts nothing else then; the runtime may call the
/// same content by another name. Else what the runtime says counts.
fn subject(wanted: &str, image_id: &str) -> Option<Subject> {
    let by_digest = |text: &str| {
        let text = text.rsplit_once("://").map_or(text, |(_, rest)| rest);
        let Reference { repository, digest, .. } = Reference::parse(text).ok()?;
        Some(Subject { repository, digest: digest? })
    };
    let repository = || Some(wanted.split('@').next()?.rsplit_once(':').map_or(wanted, |(name, _)| name).to_owned());
    by_digest(wanted).or_else(|| by_digest(image_id)).or_else(|| {
        let digest = image_id.rsplit_once("://").map_or(image_id, |(_, rest)| rest);
        is_digest(digest).then(|| Some(Subject { repository: repository()?, digest: digest.to_owned() }))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn digest(letter: &str) -> String {
        format!("sha256:{}", letter.repeat(64))
    }

    #[test]
    fn what_runs_is_known_by_the_digest_that_was_asked_for_or_the_runtimes() {
        let (a, b) = (digest("a"), digest("b"));
        for (wanted, id, expected) in [
            (format!("r.example/i@{a}"), format!("r.example/i@{b}"), Some(format!("r.example/i@{a}"))),
            ("r.example:5000/i:tag".to_owned(), format!("r.example:5000/i@{b}"), Some(format!("r.example:5000/i@{b}"))),
            (
                "r.example/i:tag".to_owned(),
                format!("docker-pullable://r.example/i@{b}"),
                Some(format!("r.example/i@{b}")),
            ),
            ("r.example/i:tag".to_owned(), b.clone(), Some(format!("r.example/i@{b}"))),
            ("r.example/i:tag".to_owned(), "something".to_owned(), None),
        ] {
            let found = subject(&wanted, &id).map(|subject| subject.to_string());
            assert_eq!(found, expected, "{wanted} {id}");
        }
    }

    #[test]
    fn every_container_that_was_started_counts_and_each_image_once() {
        let (a, b) = (format!("r/i@{}", digest("a")), format!("r/other@{}", digest("b")));
        let (c, d) = (format!("evil/i@{}", digest("c")), format!("evil/by-tag@{}", digest("d")));
        let pod = |name: &str, going: bool| -> Pod {
            let mut pod = json!({
                "metadata": {"name": name},
                "spec": {"containers": [{"name": "app", "image": a}, {"name": "late", "image": a}],
                         "initContainers": [{"name": "first", "image": b}],
                         "ephemeralContainers": [{"name": "debug", "image": c, "targetContainerName": "app"},
                                                 {"name": "tagged", "image": "evil/by-tag:1"}]},
                "status": {"phase": "Running",
                           "containerStatuses": [{"name": "app", "imageID": a}, {"name": "late", "imageID": ""},
                                                 {"name": "odd", "imageID": "x"}],
                           "initContainerStatuses": [{"name": "first", "imageID": b}],
                           "ephemeralContainerStatuses": [{"name": "debug", "imageID": digest("c"), "state": {"terminated": {}}},
                                                          {"name": "tagged", "imageID": digest("d")}, {"name": "odd-too", "imageID": "y"}]},
            });
            if going {
                pod["metadata"]["deletionTimestamp"] = json!("2026-03-01T10:00:00Z");
            }
            serde_json::from_value(pod).unwrap()
        };
        let (all, findings) = running(&[pod("p1", false), pod("p2", false), pod("p3", true)]);
        let shown: Vec<String> = all
            .iter()
            .map(|one| format!("{} {} {}", one.subject, one.containers.join("+"), one.pods.join("+")))
            .collect();
        let expected = [(b, "first"), (a, "app"), (c, "debug"), (d, "tagged")];
        assert_eq!(shown, expected.map(|(image, container)| format!("{image} {container} p1+p2")));
        assert_eq!(findings.len(), 4, "{findings:?}");
    }
}
