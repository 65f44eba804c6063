//! Our own manifests, rendered: what a release relies on is in them, and the gates see it go.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::support::{Project, repository};
use xtask::verdict::Verdict;

/// An overlay as `kubectl kustomize` renders it. `None` where there is no kubectl, which is said.
fn rendered(root: &Path, overlay: &str) -> Option<Vec<Value>> {
    let folder = root.join("k8s/overlays").join(overlay);
    let Ok(output) = Command::new("kubectl").arg("kustomize").arg(folder).output() else {
        std::io::stderr()
            .write_all(b"NOT RUN: a test of the manifests needs kubectl, which this machine lacks\n")
            .unwrap();
        return None;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let objects: Vec<Value> = serde_saphyr::from_multiple(&String::from_utf8(output.stdout).unwrap()).unwrap();
    assert!(objects.len() > 10, "{}", objects.len());
    Some(objects)
}

/// The one object of that kind and name; a name that ends in a hash is found without it.
#[track_caller]
fn object<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let is_it = |object: &&Value| {
        let found = object["metadata"]["name"].as_str().unwrap();
        object["kind"] == kind && (found == name || found.starts_with(&format!("{name}-")))
    };
    let found: Vec<&Value> = objects.iter().filter(is_it).collect();
    assert_eq!(found.len(), 1, "{kind} {name}");
    found[0]
}

#[track_caller]
fn seconds(settings: &Value, name: &str) -> u64 {
    settings["data"][name].as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{name}: {settings}"))
}

#[test]
fn every_environment_has_what_a_release_relies_on() {
    for (overlay, least) in [("staging", 2), ("production", 3)] {
        let Some(objects) = rendered(&repository(), overlay) else { return };
        let namespace = format!("forge-{overlay}");
        for object in &objects {
            let is_namespace = object["kind"] == "Namespace";
            let place = if is_namespace { &object["metadata"]["name"] } else { &object["metadata"]["namespace"] };
            assert_eq!(place, &namespace, "{object}");
            // Secrets are made in memory, and named by their content.
            assert_ne!(object["kind"], "Secret", "{object}");
        }
        let labels = &object(&objects, "Namespace", &namespace)["metadata"]["labels"];
        assert_eq!(labels["pod-security.kubernetes.io/enforce"], "restricted");

        let deployment = &object(&objects, "Deployment", "forge")["spec"];
        assert_eq!(deployment["replicas"], Value::Null, "the HorizontalPodAutoscaler owns it");
        assert_eq!(deployment["strategy"]["rollingUpdate"], json!({ "maxUnavailable": 0, "maxSurge": 1 }));
        let scaler = &object(&objects, "HorizontalPodAutoscaler", "forge")["spec"];
        assert_eq!(scaler["scaleTargetRef"]["name"], "forge");
        assert_eq!(scaler["minReplicas"], least);
        assert!(scaler["maxReplicas"].as_u64() > scaler["minReplicas"].as_u64());
        assert_eq!(object(&objects, "PodDisruptionBudget", "forge")["spec"]["maxUnavailable"], 1);

        let pod = &deployment["template"]["spec"];
        assert_eq!(pod["automountServiceAccountToken"], false);
        assert_eq!(object(&objects, "ServiceAccount", "forge")["automountServiceAccountToken"], false);
        assert_eq!(pod["enableServiceLinks"], false, "the Service `forge` would set FORGE_PORT");
        let containers = pod["containers"].as_array().unwrap();
        assert_eq!(containers.len(), 1);
        let backend = &containers[0];
        assert_eq!(backend["image"], "forge", "what a release puts its digest in the place of");
        for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
            assert!(backend[probe]["httpGet"]["path"].is_string(), "{probe}");
        }
        let service = &object(&objects, "Service", "forge")["spec"];
        assert_eq!(service["ports"][0]["port"], 80);
        assert_eq!(
            (&service["ports"][0]["targetPort"], &backend["ports"][0]["name"]),
            (&json!("http"), &json!("http"))
        );
        assert_eq!(service["selector"], deployment["selector"]["matchLabels"]);

        // Streams outlive a release, in the backend's own words: backend/docs/configuration.md.
        let settings = object(&objects, "ConfigMap", "forge-settings");
        let (longest, grace) = (seconds(settings, "FORGE_MAX_STREAM"), seconds(settings, "FORGE_GRACE_PERIOD"));
        let pause = backend["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap();
        assert!(longest >= 120 && grace >= longest && pause >= 5, "{longest} {grace} {pause}");
        assert!(pod["terminationGracePeriodSeconds"].as_u64().unwrap() >= pause + grace + 4);

        // Settings go back with the template that names them; secrets are named by whoever makes them.
        assert_eq!(settings["immutable"], true);
        let named = &settings["metadata"]["name"];
        assert_ne!(named, "forge-settings");
        let from = json!([{ "configMapRef": { "name": named } }, { "secretRef": { "name": "forge-secrets" } }]);
        assert_eq!(backend["envFrom"], from);
        assert_eq!(settings["data"]["FORGE_REDIS_URL"], "redis://redis:6379/0");
        assert_eq!(settings["data"]["FORGE_OLLAMA_URL"], "http://ollama:11434");
        for name in ["redis", "ollama"] {
            object(&objects, "Service", name);
        }
        let denied = &object(&objects, "NetworkPolicy", "default-deny")["spec"];
        assert_eq!(*denied, json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] }));
    }
}

#[test]
fn settings_are_settings_of_the_backend_and_name_their_object() {
    let documented = std::fs::read_to_string(repository().join("backend/docs/configuration.md")).unwrap();
    let Some(before) = rendered(&repository(), "production") else { return };
    let settings = object(&before, "ConfigMap", "forge-settings");
    for name in settings["data"].as_object().unwrap().keys() {
        assert!(documented.contains(&format!("| `{name}` |")), "backend/docs/configuration.md does not know {name}");
    }
    let project = Project::bare();
    project.copy_tree("k8s", "k8s");
    project.edit("k8s/overlays/production/kustomization.yaml", "FORGE_LOG_LEVEL=info", "FORGE_LOG_LEVEL=warning");
    let after = rendered(project.path(), "production").unwrap();
    let name = |objects: &[Value]| object(objects, "ConfigMap", "forge-settings")["metadata"]["name"].clone();
    assert_ne!(name(&before), name(&after), "the old object would be changed, and no way leads back");
    let template = &object(&after, "Deployment", "forge")["spec"]["template"];
    assert_eq!(template["spec"]["containers"][0]["envFrom"][0]["configMapRef"]["name"], name(&after));
}

#[test]
fn our_own_manifests_are_clean_and_what_weakens_them_is_seen() {
    let project = Project::ours();
    let gates = ["ci", "--only", "scan/manifests,scan/pod-security,scan/kube-score"];
    project.xtask(&gates).assert_code(0);
    let base = "k8s/base/deployment.yaml";
    for (file, from, to, gate, rule, words) in [
        (base, "image: forge", "image: forge:latest", "scan/kube-score", "container-image-tag", "image:"),
        (
            base,
            "  revisionHistoryLimit: 5",
            "  replicas: 2\n  revisionHistoryLimit: 5",
            "scan/kube-score",
            "deployment-targeted-by-hpa-does-not-have-replicas-configured",
            "name: forge",
        ),
        (
            base,
            "runAsNonRoot: true\n            runAsUser: 10001",
            "runAsNonRoot: true\n            runAsUser: 0",
            "scan/pod-security",
            "run-as-user",
            "runAsUser: 0",
        ),
        (
            "k8s/overlays/production/hpa.yaml",
            "minReplicas: 3",
            "minReplica: 3",
            "scan/manifests",
            "schema",
            "minReplica:",
        ),
    ] {
        project.edit(file, from, to);
        let ran = project.xtask(&gates);
        assert_eq!(ran.gate(gate).verdict, Verdict::Fail, "{rule}: {}", ran.stdout);
        let line = project.read(file).lines().position(|line| line.contains(words)).unwrap() + 1;
        let findings = &ran.gate(gate).findings;
        let is_it =
            findings.iter().any(|found| found.rule == rule && found.one_line().starts_with(&format!("{file}:{line}")));
        assert!(is_it, "{rule} at {file}:{line}: {findings:#?}");
        project.git(&["checkout", "-q", "."]);
    }
}
