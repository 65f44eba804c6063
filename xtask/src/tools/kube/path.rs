//! Paths of the API.

use serde_json::Value;

/// Where an object lies in the API; `None` for kinds that we do not know.
pub fn path_of(object: &Value) -> Option<String> {
    let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
    if kind == "Namespace" {
        return Some(format!("/api/v1/namespaces/{name}"));
    }
    let plural = match kind {
        "ConfigMap" => "configmaps",
        "Secret" => "secrets",
        "Service" => "services",
        "ServiceAccount" => "serviceaccounts",
        "Deployment" => "deployments",
        "StatefulSet" => "statefulsets",
        "Job" => "jobs",
        "CronJob" => "cronjobs",
        "PersistentVolumeClaim" => "persistentvolumeclaims",
        "HorizontalPodAutoscaler" => "horizontalpodautoscalers",
        "PodDisruptionBudget" => "poddisruptionbudgets",
        "NetworkPolicy" => "networkpolicies",
        "Ingress" => "ingresses",
        "Role" => "roles",
        "RoleBinding" => "rolebindings",
        "ResourceQuota" => "resourcequotas",
        "LimitRange" => "limitranges",
        "Gateway" => "gateways",
        "HTTPRoute" => "httproutes",
        "Lease" => "leases",
        "ServiceMonitor" => "servicemonitors",
        "PodMonitor" => "podmonitors",
        "PrometheusRule" => "prometheusrules",
        _ => return None,
    };
    let api = match text(&object["apiVersion"]) {
        "" => return None,
        "v1" => "/api/v1".to_owned(),
        group => format!("/apis/{group}"),
    };
    Some(format!("{api}/namespaces/{}/{plural}/{name}", text(&object["metadata"]["namespace"])))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
