//! Pod Security "restricted": what the API server refuses in a namespace with that label, found before.
//!
//! The rules are those of <https://kubernetes.io/docs/concepts/security/pod-security-standards/>, of the profile
//! *baseline* and of *restricted*. That of `host-probes` holds in clusters from 1.34 on, and already here. Windows pods
//! and pods in a user namespace of their own (`hostUsers: false`) are judged like any other.

use serde_json::Value;

use super::pods::{Pod, pods};
use super::{FIX, render, rendering};
use crate::config::Manifests;
use crate::context::Ctx;
use crate::engine::gate::{Gate, action};
use crate::engine::session::Session;
use crate::verdict::{Finding, Outcome, Severity, Unproven};

use super::super::ran;

/// One gate.
pub fn plan(ctx: &Ctx, manifests: &Manifests) -> Gate {
    let wanted = manifests.clone();
    Gate {
        id: "scan/pod-security".to_owned(),
        unit: "pods",
        tool: ("xtask", String::new()),
        action: action(move |session| run(session, wanted.clone())),
        ..rendering(ctx, manifests, None)
    }
}

async fn run(session: Session, manifests: Manifests) -> Result<Outcome, Unproven> {
    let streams = render::streams(&session, &manifests).await?;
    let (mut looked_at, mut findings) = (0, Vec::new());
    for stream in &streams.streams {
        let objects = stream.objects().map_err(|why| session.not_run(why))?;
        for pod in objects.iter().flat_map(pods) {
            looked_at += 1;
            findings.extend(faults(&pod).into_iter().map(|fault| {
                let message = format!("{}/{}: {}", pod.kind, pod.name, fault.message);
                let (kind, name) = (format!("kind: {}", pod.kind), format!("name: {}", pod.name));
                let words = [kind.as_str(), name.as_str(), fault.culprit.as_str()];
                streams.place_best(Finding::new(fault.rule, Severity::High, message), &words)
            }));
        }
    }
    Ok(ran(looked_at, "pods", 0, findings, FIX))
}

/// A rule that a pod breaks, and the words in its source that do so.
#[derive(Debug, PartialEq, Eq)]
struct Fault {
    rule: &'static str,
    message: String,
    culprit: String,
}

/// What one rule finds in a pod: messages, and the words that they are about.
type Rule = fn(&Pod<'_>) -> Vec<(String, String)>;

const RULES: [(&str, Rule); 15] = [
    ("host-process", host_process),
    ("host-namespaces", host_namespaces),
    ("privileged", privileged),
    ("capabilities", capabilities),
    ("volume-types", volume_types),
    ("host-ports", host_ports),
    ("host-probes", host_probes),
    ("apparmor", apparmor),
    ("selinux", selinux),
    ("proc-mount", proc_mount),
    ("seccomp", seccomp),
    ("sysctls", sysctls),
    ("privilege-escalation", privilege_escalation),
    ("run-as-non-root", run_as_non_root),
    ("run-as-user", run_as_user),
];

fn faults(pod: &Pod<'_>) -> Vec<Fault> {
    let apply = |(rule, look): (&'static str, Rule)| {
        look(pod).into_iter().map(move |(message, culprit)| Fault { rule, message, culprit })
    };
    RULES.into_iter().flat_map(apply).collect()
}

fn host_process(pod: &Pod<'_>) -> Vec<(String, String)> {
    let bad = |context: &Value| says(&context["windowsOptions"]["hostProcess"], |value| value == false);
    contexts(pod).filter_map(|(whose, context)| Some(wrong(whose, "hostProcess", bad(context)?))).collect()
}

fn host_namespaces(pod: &Pod<'_>) -> Vec<(String, String)> {
    let fields = ["hostNetwork", "hostPID", "hostIPC"].into_iter();
    let bad = |field: &str| says(&pod.spec[field], |value| value == false);
    fields.filter_map(|field| Some(wrong("the pod".to_owned(), field, bad(field)?))).collect()
}

fn privileged(pod: &Pod<'_>) -> Vec<(String, String)> {
    let bad = |context: &Value| says(&context["privileged"], |value| value == false);
    of_containers(pod).filter_map(|(whose, context)| Some(wrong(whose, "privileged", bad(context)?))).collect()
}

fn capabilities(pod: &Pod<'_>) -> Vec<(String, String)> {
    let judge = |(name, container): (&str, &Value)| {
        let both = &container["securityContext"]["capabilities"];
        let added = both["add"].as_array().into_iter().flatten().filter(|capability| *capability != "NET_BIND_SERVICE");
        let added = added.map(|capability| {
            let shown = shown(capability);
            (format!("container `{name}` adds the capability {shown}"), shown)
        });
        let drops_all = both["drop"].as_array().into_iter().flatten().any(|capability| capability == "ALL");
        let kept = (!drops_all).then(|| missing(name, "capabilities.drop", "[ALL]"));
        added.chain(kept).collect::<Vec<_>>()
    };
    pod.containers().flat_map(judge).collect()
}

/// Volumes that are written out in the cluster's own objects.
const VOLUMES: [&str; 8] =
    ["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"];

fn volume_types(pod: &Pod<'_>) -> Vec<(String, String)> {
    let volumes = pod.spec["volumes"].as_array().into_iter().flatten();
    let judge = |volume: &Value| {
        let fields = volume.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
        let bad = fields
            .map(|(field, _)| field.clone())
            .filter(|field| field != "name" && !VOLUMES.contains(&field.as_str()));
        let name = volume["name"].as_str().unwrap_or_default();
        bad.map(|kind| (format!("volume `{name}` is of the type {kind}"), format!("{kind}:"))).collect::<Vec<_>>()
    };
    volumes.flat_map(judge).collect()
}

fn host_ports(pod: &Pod<'_>) -> Vec<(String, String)> {
    let judge = |(name, container): (&str, &Value)| {
        let ports = container["ports"].as_array().into_iter().flatten();
        let bad = ports.filter_map(|port| says(&port["hostPort"], |value| value == 0));
        bad.map(|value| wrong(format!("container `{name}`"), "hostPort", value)).collect::<Vec<_>>()
    };
    pod.containers().flat_map(judge).collect()
}

fn host_probes(pod: &Pod<'_>) -> Vec<(String, String)> {
    let judge = |(name, container): (&str, &Value)| {
        let probes = ["livenessProbe", "readinessProbe", "startupProbe"].map(|probe| &container[probe]);
        let hooks = ["postStart", "preStop"].map(|hook| &container["lifecycle"][hook]);
        let asked = probes.into_iter().chain(hooks).flat_map(|by| [&by["httpGet"]["host"], &by["tcpSocket"]["host"]]);
        let bad = asked.filter_map(|host| says(host, |value| value == ""));
        bad.map(|value| wrong(format!("a probe or hook of container `{name}`"), "host", value)).collect::<Vec<_>>()
    };
    pod.containers().flat_map(judge).collect()
}

fn apparmor(pod: &Pod<'_>) -> Vec<(String, String)> {
    let is_safe = |value: &Value| value == "RuntimeDefault" || value == "Localhost";
    let bad = |context: &Value| says(&context["appArmorProfile"]["type"], is_safe);
    let found = contexts(pod).filter_map(|(whose, context)| Some(wrong(whose, "type", bad(context)?)));
    // The way before 1.30, which still counts.
    let annotations = pod.metadata["annotations"].as_object().into_iter().flatten();
    let named = annotations.filter(|(key, _)| key.starts_with("container.apparmor.security.beta.kubernetes.io/"));
    let is_safe = |value: &Value| {
        value.as_str().is_some_and(|text| ["", "runtime/default"].contains(&text) || text.starts_with("localhost/"))
    };
    let old = named.filter_map(|(key, value)| Some(wrong("the pod".to_owned(), key, says(value, is_safe)?)));
    found.chain(old).collect()
}

fn selinux(pod: &Pod<'_>) -> Vec<(String, String)> {
    let types = ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];
    let judge = |(whose, context): (String, &Value)| {
        let options = &context["seLinuxOptions"];
        let of_type = says(&options["type"], |value| value.as_str().is_some_and(|text| types.contains(&text)));
        let who = ["user", "role"].map(|field| (field, says(&options[field], |value| value == "")));
        let bad = [("type", of_type)].into_iter().chain(who);
        bad.filter_map(|(field, value)| Some(wrong(whose.clone(), field, value?))).collect::<Vec<_>>()
    };
    contexts(pod).flat_map(judge).collect()
}

fn proc_mount(pod: &Pod<'_>) -> Vec<(String, String)> {
    let bad = |context: &Value| says(&context["procMount"], |value| value == "Default");
    of_containers(pod).filter_map(|(whose, context)| Some(wrong(whose, "procMount", bad(context)?))).collect()
}

fn seccomp(pod: &Pod<'_>) -> Vec<(String, String)> {
    let is_safe = |value: &Value| value == "RuntimeDefault" || value == "Localhost";
    let profile = |context: &Value| says(&context["seccompProfile"]["type"], is_safe);
    let mut found: Vec<_> =
        contexts(pod).filter_map(|(whose, context)| Some(wrong(whose, "type", profile(context)?))).collect();
    found.extend(unsaid(pod, |context| &context["seccompProfile"]["type"], ("seccompProfile.type", "RuntimeDefault")));
    found
}

/// Those that cannot reach beyond the pod.
const SYSCTLS: [&str; 10] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
];

fn sysctls(pod: &Pod<'_>) -> Vec<(String, String)> {
    let set = pod.spec["securityContext"]["sysctls"].as_array().into_iter().flatten();
    let names = set.map(|one| shown(&one["name"])).filter(|name| !SYSCTLS.contains(&name.as_str()));
    names.map(|name| (format!("the pod sets {name}"), name)).collect()
}

fn privilege_escalation(pod: &Pod<'_>) -> Vec<(String, String)> {
    let judge = |(name, container): (&str, &Value)| match &container["securityContext"]["allowPrivilegeEscalation"] {
        Value::Bool(false) => None,
        Value::Null => Some(missing(name, "allowPrivilegeEscalation", "false")),
        other => Some(wrong(format!("container `{name}`"), "allowPrivilegeEscalation", other.clone())),
    };
    pod.containers().filter_map(judge).collect()
}

fn run_as_non_root(pod: &Pod<'_>) -> Vec<(String, String)> {
    let bad = |context: &Value| says(&context["runAsNonRoot"], |value| value == true);
    let mut found: Vec<_> =
        contexts(pod).filter_map(|(whose, context)| Some(wrong(whose, "runAsNonRoot", bad(context)?))).collect();
    found.extend(unsaid(pod, |context| &context["runAsNonRoot"], ("runAsNonRoot", "true")));
    found
}

fn run_as_user(pod: &Pod<'_>) -> Vec<(String, String)> {
    let bad = |context: &Value| says(&context["runAsUser"], |value| value != 0);
    contexts(pod).filter_map(|(whose, context)| Some(wrong(whose, "runAsUser", bad(context)?))).collect()
}

/// The security contexts of the pod and of its containers.
fn contexts<'a>(pod: &Pod<'a>) -> impl Iterator<Item = (String, &'a Value)> + use<'a> {
    std::iter::once(("the pod".to_owned(), &pod.spec["securityContext"])).chain(of_containers(pod))
}

fn of_containers<'a>(pod: &Pod<'a>) -> impl Iterator<Item = (String, &'a Value)> + use<'a> {
    pod.containers().map(|(name, container)| (format!("container `{name}`"), &container["securityContext"]))
}

/// Containers for which neither they nor the pod say something.
fn unsaid(pod: &Pod<'_>, field: fn(&Value) -> &Value, (name, value): (&str, &str)) -> Vec<(String, String)> {
    if !field(&pod.spec["securityContext"]).is_null() {
        return vec![];
    }
    let silent = pod.containers().filter(|(_, container)| field(&container["securityContext"]).is_null());
    silent.map(|(container, _)| missing(container, name, value)).collect()
}

/// The value, where there is one and it is none of the safe ones.
fn says(value: &Value, is_safe: impl Fn(&Value) -> bool) -> Option<Value> {
    (!value.is_null() && !is_safe(value)).then(|| value.clone())
}

fn wrong(whose: String, field: &str, value: Value) -> (String, String) {
    let said = format!("{field}: {}", shown(&value));
    (format!("{whose} has {said}"), said)
}

fn missing(container: &str, field: &str, value: &str) -> (String, String) {
    (format!("container `{container}` lacks {field}: {value}"), format!("name: {container}"))
}

/// As it stands in YAML.
fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hardened() -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "shop" },
            "spec": { "template": { "metadata": { "annotations": {} }, "spec": {
                "securityContext": { "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } },
                "volumes": [{ "name": "tmp", "emptyDir": {} }],
                "containers": [{
                    "name": "shop",
                    "ports": [{ "containerPort": 8000 }],
                    "livenessProbe": { "httpGet": { "path": "/health", "port": 8000 } },
                    "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
                }],
            } } },
        })
    }

    /// The rules that break when the value stands at that place below the pod's template; nothing takes it away.
    fn broken(at: &str, value: Value) -> Vec<(&'static str, String)> {
        let mut object = hardened();
        let mut place = &mut object["spec"]["template"];
        for part in at.split('.') {
            place = match part.parse::<usize>() {
                Ok(index) => &mut place[index],
                Err(_) => &mut place[part],
            };
        }
        *place = value;
        let pods = pods(&object);
        assert_eq!(pods.len(), 1, "{object}");
        faults(&pods[0]).into_iter().map(|fault| (fault.rule, fault.culprit)).collect()
    }

    #[test]
    fn every_rule_breaks_by_each_value_that_it_forbids() {
        let pod = |field: &str| format!("spec.{field}");
        let of_pod = |field: &str| format!("spec.securityContext.{field}");
        let of_container = |field: &str| format!("spec.containers.0.securityContext.{field}");
        let in_container = |field: &str| format!("spec.containers.0.{field}");
        let init = json!([{ "name": "first", "securityContext": { "allowPrivilegeEscalation": false, "privileged": true,
            "capabilities": { "drop": ["ALL"] } } }]);
        let mut seen = std::collections::BTreeSet::new();
        for (at, value, rule, culprit) in [
            (of_pod("windowsOptions"), json!({ "hostProcess": true }), "host-process", "hostProcess: true"),
            (of_container("windowsOptions"), json!({ "hostProcess": true }), "host-process", "hostProcess: true"),
            (pod("hostNetwork"), json!(true), "host-namespaces", "hostNetwork: true"),
            (pod("hostPID"), json!(true), "host-namespaces", "hostPID: true"),
            (pod("hostIPC"), json!(true), "host-namespaces", "hostIPC: true"),
            (of_container("privileged"), json!(true), "privileged", "privileged: true"),
            (pod("initContainers"), init.clone(), "privileged", "privileged: true"),
            (pod("ephemeralContainers"), init, "privileged", "privileged: true"),
            (of_container("capabilities"), json!({ "drop": ["ALL"], "add": ["NET_RAW"] }), "capabilities", "NET_RAW"),
            (of_container("capabilities"), json!({ "drop": ["NET_RAW"] }), "capabilities", "name: shop"),
            (of_container("capabilities"), Value::Null, "capabilities", "name: shop"),
            (pod("volumes"), json!([{ "name": "x", "hostPath": { "path": "/" } }]), "volume-types", "hostPath:"),
            (pod("volumes"), json!([{ "name": "x", "nfs": {} }]), "volume-types", "nfs:"),
            (pod("volumes"), json!([{ "name": "x", "ofTomorrow": {} }]), "volume-types", "ofTomorrow:"),
            (in_container("ports"), json!([{ "containerPort": 1, "hostPort": 80 }]), "host-ports", "hostPort: 80"),
            (in_container("livenessProbe.httpGet.host"), json!("10.0.0.1"), "host-probes", "host: 10.0.0.1"),
            (in_container("startupProbe"), json!({ "tcpSocket": { "host": "::1" } }), "host-probes", "host: ::1"),
            (in_container("lifecycle"), json!({ "preStop": { "httpGet": { "host": "x" } } }), "host-probes", "host: x"),
            (of_pod("appArmorProfile"), json!({ "type": "Unconfined" }), "apparmor", "type: Unconfined"),
            (of_container("appArmorProfile"), json!({ "type": "Unconfined" }), "apparmor", "type: Unconfined"),
            (
                "metadata.annotations".to_owned(),
                json!({ "container.apparmor.security.beta.kubernetes.io/shop": "unconfined" }),
                "apparmor",
                "container.apparmor.security.beta.kubernetes.io/shop: unconfined",
            ),
            (of_pod("seLinuxOptions"), json!({ "type": "spc_t" }), "selinux", "type: spc_t"),
            (of_container("seLinuxOptions"), json!({ "user": "root" }), "selinux", "user: root"),
            (of_container("seLinuxOptions"), json!({ "role": "r" }), "selinux", "role: r"),
            (of_container("procMount"), json!("Unmasked"), "proc-mount", "procMount: Unmasked"),
            (of_pod("seccompProfile"), Value::Null, "seccomp", "name: shop"),
            (of_pod("seccompProfile.type"), json!("Unconfined"), "seccomp", "type: Unconfined"),
            (of_container("seccompProfile"), json!({ "type": "Unconfined" }), "seccomp", "type: Unconfined"),
            (of_pod("sysctls"), json!([{ "name": "kernel.msgmax", "value": "1" }]), "sysctls", "kernel.msgmax"),
            (of_container("allowPrivilegeEscalation"), Value::Null, "privilege-escalation", "name: shop"),
            (
                of_container("allowPrivilegeEscalation"),
                json!(true),
                "privilege-escalation",
                "allowPrivilegeEscalation: true",
            ),
            (of_pod("runAsNonRoot"), Value::Null, "run-as-non-root", "name: shop"),
            (of_pod("runAsNonRoot"), json!(false), "run-as-non-root", "runAsNonRoot: false"),
            (of_container("runAsNonRoot"), json!(false), "run-as-non-root", "runAsNonRoot: false"),
            (of_pod("runAsUser"), json!(0), "run-as-user", "runAsUser: 0"),
            (of_container("runAsUser"), json!(0), "run-as-user", "runAsUser: 0"),
        ] {
            assert_eq!(broken(&at, value.clone()), [(rule, culprit.to_owned())], "{at} = {value}");
            seen.insert(rule);
        }
        assert_eq!(seen, RULES.iter().map(|(rule, _)| *rule).collect(), "a rule without a row");
    }

    #[test]
    fn what_is_allowed_breaks_nothing() {
        for (at, value) in [
            ("spec.hostNetwork", json!(false)),
            ("spec.containers.0.securityContext.capabilities", json!({ "drop": ["ALL"], "add": ["NET_BIND_SERVICE"] })),
            ("spec.containers.0.securityContext.privileged", json!(false)),
            ("spec.containers.0.ports", json!([{ "containerPort": 1, "hostPort": 0 }])),
            ("spec.volumes", Value::Array(VOLUMES.iter().map(|kind| json!({ "name": "x", *kind: {} })).collect())),
            (
                "spec.securityContext.sysctls",
                Value::Array(SYSCTLS.iter().map(|name| json!({ "name": name })).collect()),
            ),
            ("spec.securityContext.seLinuxOptions", json!({ "type": "container_t", "level": "s0" })),
            ("spec.securityContext.appArmorProfile", json!({ "type": "RuntimeDefault" })),
            ("spec.securityContext.seccompProfile", json!({ "type": "Localhost", "localhostProfile": "x" })),
            ("spec.securityContext.runAsUser", json!(10001)),
            (
                "metadata.annotations",
                json!({ "container.apparmor.security.beta.kubernetes.io/shop": "runtime/default" }),
            ),
        ] {
            assert_eq!(broken(at, value.clone()), [], "{at} = {value}");
        }
        // A container says itself what the pod does not.
        let mut object = hardened();
        let spec = &mut object["spec"]["template"]["spec"];
        spec["containers"][0]["securityContext"]["runAsNonRoot"] = json!(true);
        spec["containers"][0]["securityContext"]["seccompProfile"] = json!({ "type": "RuntimeDefault" });
        spec["securityContext"] = json!({});
        assert_eq!(faults(&pods(&object)[0]), []);
    }
}
