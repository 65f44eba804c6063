//! What serves after a release, as the cluster itself shows it: whatever the release says of itself is held against this.

use serde_json::Value;

use crate::config::Release;
use crate::release::journal::Entry;
use crate::release::manifests::TEMPLATE;
use crate::release::references::configs;
use crate::release::track::Track;
use crate::tools::kube::{Kube, Trouble};
use crate::verdict::{Finding, Severity};

/// How it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// How many pods serve.
    pub serving: u64,
    /// What is not as the journal's entry has it.
    pub findings: Vec<Finding>,
}

/// Whether the release of `entry` is what serves: its image, its configuration, and no pod of another one.
pub async fn look(kube: &Kube, release: &Release, entry: &Entry) -> Result<Live, Trouble> {
    let namespace = &release.namespace;
    let name = Track::of(&entry.track).of_workload(&release.workload);
    let workload = kube.get(&format!("/apis/apps/v1/namespaces/{namespace}/deployments/{name}")).await?;
    let Some(workload) = workload else {
        let missing = Finding::new("serving", Severity::High, format!("there is no Deployment `{name}`"));
        return Ok(Live { serving: 0, findings: vec![missing] });
    };
    let pods = kube.list(&format!("/api/v1/namespaces/{namespace}/pods?labelSelector={}", selector(&workload))).await?;
    Ok(judged(&workload, &pods.items, &release.container, entry))
}

fn judged(workload: &Value, pods: &[Value], container: &str, entry: &Entry) -> Live {
    let mut findings = Vec::new();
    let mut wrong = |message: String| findings.push(Finding::new("serving", Severity::High, message));
    let containers = workload["spec"]["template"]["spec"]["containers"].as_array().into_iter().flatten();
    let image = containers.filter(|found| found["name"] == *container).find_map(|found| found["image"].as_str());
    if image != Some(&entry.image) {
        wrong(format!("the image is `{}`, not `{}`", image.unwrap_or_default(), entry.image));
    }
    let found = configs(workload);
    if found != entry.configs {
        wrong(format!("the configuration is {found:?}, not {:?}", entry.configs));
    }
    let (mut serving, mut others) = (0, 0);
    for pod in pods.iter().filter(|pod| pod["metadata"].get("deletionTimestamp").is_none()) {
        if pod["metadata"]["labels"][TEMPLATE] != *entry.template {
            others += 1;
        } else if is_ready(pod) {
            serving += 1;
        }
    }
    if others > 0 {
        wrong(format!("{others} pods of another release are not on their way out"));
    }
    if serving == 0 {
        wrong("no pod of it serves".to_owned());
    }
    Live { serving, findings }
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
}

/// The labels by which a Deployment knows its pods, as a query has them.
fn selector(workload: &Value) -> String {
    let labels = workload["spec"]["selector"]["matchLabels"].as_object();
    let pairs = labels
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{}%3D{}", name.replace('/', "%2F"), value.as_str().unwrap_or_default()));
    pairs.collect::<Vec<_>>().join("%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn workload(image: &str, config: &str) -> Value {
        json!({"spec": {
            "selector": {"matchLabels": {"a/b": "c", "d": "e"}},
            "template": {"spec": {"containers": [
                {"name": "side", "image": "other"},
                {"name": "app", "image": image, "envFrom": [{"configMapRef": {"name": config}}]},
            ]}},
        }})
    }

    fn pod(template: &str, ready: &str) -> Value {
        json!({"metadata": {"labels": {TEMPLATE: template}}, "status": {"conditions": [{"type": "Ready", "status": ready}]}})
    }

    fn going(mut pod: Value) -> Value {
        pod["metadata"]["deletionTimestamp"] = json!("2026-11-24T10:00:00Z");
        pod
    }

    #[test]
    fn only_image_configuration_and_pods_of_the_release_itself_are_it() {
        let entry =
            Entry { image: "r@1".into(), template: "t".into(), configs: vec!["s-1".into()], ..Entry::default() };
        for (workload, pods, serving, wrong) in [
            (workload("r@1", "s-1"), vec![pod("t", "True"), pod("t", "False")], 1, vec![]),
            (workload("r@1", "s-1"), vec![pod("t", "True"), going(pod("u", "True"))], 1, vec![]),
            (workload("r@2", "s-1"), vec![pod("t", "True")], 1, vec!["the image is `r@2`, not `r@1`"]),
            (workload("r@1", "s-2"), vec![pod("t", "True")], 1, vec!["the configuration is [\"s-2\"], not [\"s-1\"]"]),
            (workload("r@1", "s-1"), vec![pod("t", "True"), pod("u", "False")], 1, vec!["1 pods of another release"]),
            (workload("r@1", "s-1"), vec![going(pod("t", "True"))], 0, vec!["no pod of it serves"]),
        ] {
            let live = judged(&workload, &pods, "app", &entry);
            assert_eq!((live.serving, live.findings.len()), (serving, wrong.len()), "{live:?}");
            assert!(
                live.findings.iter().zip(&wrong).all(|(found, words)| found.message.starts_with(words)),
                "{live:?}"
            );
        }
    }

    #[test]
    fn labels_become_a_query() {
        assert_eq!(selector(&workload("", "")), "a%2Fb%3Dc%2Cd%3De");
    }
}
