//! An Application of Argo CD for an environment: it compares, and does not sync by itself. Pure.
//!
//! Fields are those of `Application` v1alpha1
//! (<https://argo-cd.readthedocs.io/en/stable/operator-manual/application.yaml>).

use serde_json::{Value, json};

use crate::config::{Argocd, Container, Environment};

/// The application; `None` where nothing is released to the environment.
pub fn application(container: &Container, argocd: &Argocd, environment: &Environment) -> Option<Value> {
    let (cluster, release) = environment.releasable().ok()?;
    let ours = format!(".spec.template.spec.containers[] | select(.name == \"{}\")", release.container);
    // What a release puts into the Deployment stands in no file.
    let image = format!("{ours} | .image");
    let secret = (!release.secret.is_empty()).then(|| format!("{ours} | .envFrom[]?.secretRef.name"));
    let paths: Vec<String> = std::iter::once(image).chain(secret).collect();
    Some(json!({
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": format!("{}-{}", release.workload, environment.name), "namespace": argocd.namespace},
        "spec": {
            "project": argocd.project,
            "source": {
                "repoURL": container.source,
                "targetRevision": release.branch,
                "path": release.overlay.trim_end_matches('/'),
            },
            "destination": {"name": cluster.context, "namespace": release.namespace},
            // No `automated`: a release owns the digest. A sync by hand leaves what is ignored below as it is.
            "syncPolicy": {"syncOptions": ["RespectIgnoreDifferences=true", "ServerSideApply=true", "CreateNamespace=false"]},
            "ignoreDifferences": [
                {"group": "apps", "kind": "Deployment", "name": release.workload, "jqPathExpressions": paths},
            ],
        },
    }))
}
