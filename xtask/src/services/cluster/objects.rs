//! What a cluster's API server is told by us: objects of Kubernetes. Pure.

use serde_json::{Value, json};

use super::place::{PAUSE_IMAGE, Place};

/// What the API server is told once it is there: who may read names, and where they are asked.
pub fn of_dns(place: &Place) -> Vec<(&'static str, Value)> {
    let rbac = "rbac.authorization.k8s.io";
    let of =
        |kind: &str, name: &str| json!({"apiVersion": format!("{rbac}/v1"), "kind": kind, "metadata": {"name": name}});
    let mut role = of("ClusterRole", "xtask:dns");
    role["rules"] = json!([
        {"apiGroups": [""], "resources": ["endpoints", "services", "pods", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]);
    let mut binding = of("ClusterRoleBinding", "xtask:dns");
    binding["roleRef"] = json!({"apiGroup": rbac, "kind": "ClusterRole", "name": "xtask:dns"});
    binding["subjects"] = json!([{"apiGroup": rbac, "kind": "User", "name": "xtask:dns"}]);
    let ports: Vec<Value> =
        ["UDP", "TCP"].map(|p| json!({"name": format!("dns-{}", p.to_lowercase()), "protocol": p, "port": 53})).into();
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kube-dns", "namespace": "kube-system"},
        "spec": {"clusterIP": place.dns().to_string(), "ports": ports},
    });
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "kube-dns-node",
            "namespace": "kube-system",
            "labels": {"kubernetes.io/service-name": "kube-dns"},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [place.node().to_string()]}],
        "ports": ports,
    });
    vec![
        ("/apis/rbac.authorization.k8s.io/v1/clusterroles", role),
        ("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding),
        ("/api/v1/namespaces/kube-system/services", service),
        ("/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices", slice),
    ]
}

/// A pod that asks for a name from within the cluster, and ends.
pub fn asks_for(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "xtask-asks-", "namespace": "default"},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "pause",
                "image": PAUSE_IMAGE,
                "imagePullPolicy": "Never",
                "args": ["lookup", name],
            }],
        },
    })
}
