//! The objects of a release without those that bring users to it. They come when the release is verified: whoever leads users
//! there before leads them to what nobody has looked at. Pure.

use serde_json::{Value, json};

use crate::release::manifests::Prepared;
use crate::release::track::Track;

/// The fields of a Service that one beside it has as well; addresses and ports of its own belong to the one for users.
const SHARED: [&str; 6] = [
    "selector",
    "sessionAffinity",
    "sessionAffinityConfig",
    "ipFamilies",
    "ipFamilyPolicy",
    "publishNotReadyAddresses",
];

/// Whether users come by this object.
fn brings_users(object: &Value, service: &str) -> bool {
    match object["kind"].as_str() {
        Some("Service") => object["metadata"]["name"] == service,
        Some(kind) => ["Ingress", "HTTPRoute", "Gateway"].contains(&kind),
        None => false,
    }
}

/// Everything by which no users come.
pub fn without_users(prepared: &Prepared, service: &str) -> Prepared {
    let mut prepared = prepared.clone();
    prepared.objects.retain(|object| !brings_users(object, service));
    prepared
}

/// The same, and a Service that leads to this Deployment alone, by which it is verified.
pub fn with_preview(prepared: &Prepared, service: &str, track: Track) -> Prepared {
    let preview = preview(prepared, service, track);
    let mut prepared = without_users(prepared, service);
    prepared.objects.extend(preview);
    prepared
}

/// The Service that leads to this Deployment before users' Service does.
pub fn preview(prepared: &Prepared, service: &str, track: Track) -> Option<Value> {
    let is_it = |object: &&Value| object["kind"] == "Service" && object["metadata"]["name"] == service;
    let found = prepared.objects.iter().find(is_it)?;
    let mut ports = found["spec"]["ports"].clone();
    for port in ports.as_array_mut().into_iter().flatten() {
        port.as_object_mut().map(|port| port.remove("nodePort"));
    }
    let mut spec = json!({"type": "ClusterIP", "ports": ports});
    for field in SHARED {
        if let Some(value) = found["spec"].get(field) {
            spec[field] = value.clone();
        }
    }
    Some(json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": track.preview_of(service), "namespace": found["metadata"]["namespace"], "labels": found["metadata"]["labels"]},
        "spec": spec,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared() -> Prepared {
        let object = |kind: &str, name: &str| json!({"kind": kind, "metadata": {"name": name, "namespace": "n"}});
        let mut service = object("Service", "forge");
        service["spec"] = json!({
            "type": "LoadBalancer",
            "selector": {"app": "f"},
            "ports": [{"port": 80, "nodePort": 30080}],
            "externalIPs": ["192.0.2.1"],
            "externalTrafficPolicy": "Local",
            "loadBalancerSourceRanges": ["192.0.2.0/24"],
            "clusterIP": "10.0.0.7",
            "sessionAffinity": "ClientIP",
        });
        let objects = vec![
            object("Deployment", "forge-blue"),
            service,
            object("Service", "redis"),
            object("HTTPRoute", "forge"),
            object("Ingress", "forge"),
            object("Gateway", "forge"),
            object("NetworkPolicy", "forge"),
        ];
        Prepared { objects, ..Prepared::default() }
    }

    #[test]
    fn users_come_by_nothing_that_is_applied_before_the_release_is_verified() {
        let left = without_users(&prepared(), "forge");
        let names: Vec<String> =
            left.objects.iter().map(|object| format!("{} {}", object["kind"], object["metadata"]["name"])).collect();
        let expected = ["\"Deployment\" \"forge-blue\"", "\"Service\" \"redis\"", "\"NetworkPolicy\" \"forge\""];
        assert_eq!(names, expected);
    }

    #[test]
    fn a_preview_takes_no_address_away_from_the_service_of_users() {
        let all = with_preview(&prepared(), "forge", Track::Blue);
        let preview = all.objects.last().unwrap();
        assert_eq!(preview["metadata"]["name"], "forge-blue");
        let spec = json!({"type": "ClusterIP", "selector": {"app": "f"}, "ports": [{"port": 80}], "sessionAffinity": "ClientIP"});
        assert_eq!(preview["spec"], spec);
        assert_eq!(all.objects.len(), 4);
    }
}
