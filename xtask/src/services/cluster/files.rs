//! The files that the parts of a cluster read: settings, kubeconfigs, the network. Pure.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::parts::{Programs, SETTINGS, SOCKET};
use super::place::{DOMAIN, NODE, PAUSE_IMAGE, Place};

/// The files that the parts read, relative to the cluster's folder.
pub fn files(place: &Place, programs: &Programs, snapshotter: &str) -> Vec<(String, String)> {
    let mut files = vec![
        ("config/kubelet.json".to_owned(), pretty(&kubelet_config(place))),
        ("config/proxy.json".to_owned(), pretty(&proxy_config(place))),
        ("config/containerd.toml".to_owned(), containerd_config(place, programs, snapshotter)),
        ("config/Corefile".to_owned(), corefile(place)),
        ("config/registry.yml".to_owned(), registry_config(place)),
        ("cni/conf/10-bridge.conflist".to_owned(), pretty(&network(place))),
        // What a pod gets that asks for the node's own names: none.
        ("config/resolv.conf".to_owned(), String::new()),
    ];
    files.extend(SETTINGS.iter().map(|(name, value)| (format!("settings/{name}"), format!("{value}\n"))));
    for name in ["controller-manager", "scheduler", "kubelet", "proxy", "dns"] {
        let text = pretty(&kubeconfig(name, &Server::at(place, name)));
        files.push((format!("config/{name}.kubeconfig"), text));
    }
    files
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// Where the API server is and how somebody shows who he is, each as the field of a kubeconfig.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its address.
    pub address: String,
    /// `certificate-authority`, or that with `-data`.
    pub ca: (&'static str, String),
    /// `client-certificate`, or that with `-data`.
    pub certificate: (&'static str, String),
    /// `client-key`, or that with `-data`.
    pub key: (&'static str, String),
}

impl Server {
    fn at(place: &Place, name: &str) -> Self {
        Self {
            address: place.api(),
            ca: ("certificate-authority", place.text("pki/ca.crt")),
            certificate: ("client-certificate", place.text(&format!("pki/{name}.crt"))),
            key: ("client-key", place.text(&format!("pki/{name}.key"))),
        }
    }
}

/// A kubeconfig with one context of that name. JSON is YAML.
pub fn kubeconfig(context: &str, server: &Server) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": context,
        "clusters": [{"name": context, "cluster": {"server": server.address, server.ca.0: server.ca.1}}],
        "users": [{"name": context, "user": {
            server.certificate.0: server.certificate.1,
            server.key.0: server.key.1,
        }}],
        "contexts": [{"name": context, "context": {"cluster": context, "user": context}}],
    })
}

fn kubelet_config(place: &Place) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": place.node().to_string(),
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": place.text("pki/ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": place.text("pki/kubelet-server.crt"),
        "tlsPrivateKeyFile": place.text("pki/kubelet-server.key"),
        "containerRuntimeEndpoint": format!("unix://{SOCKET}"),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", place.cgroup()),
        "failCgroupV1": false,
        "failSwapOn": false,
        "clusterDNS": [place.dns().to_string()],
        "clusterDomain": DOMAIN,
        "resolvConf": place.text("config/resolv.conf"),
        "volumePluginDir": place.text("kubelet-plugins"),
        // The disk is the machine's, and what fills it is seldom the cluster.
        "evictionHard": {"imagefs.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%"},
        "imageGCHighThresholdPercent": 100,
        "registryPullQPS": 0,
        "serializeImagePulls": false,
    })
}

fn proxy_config(place: &Place) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clientConnection": {"kubeconfig": place.text("config/proxy.kubeconfig")},
        "clusterCIDR": place.pods(),
        "hostnameOverride": NODE,
        // Limits of the whole machine, which a namespace may not change.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    })
}

fn containerd_config(place: &Place, programs: &Programs, snapshotter: &str) -> String {
    let (root, conf, hosts) = (place.text("containerd"), place.text("cni/conf"), place.text("config/hosts"));
    let (plugins, runc) = (programs.cni.display(), programs.runc.display());
    format!(
        r#"version = 2
root = "{root}"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.internal.v1.opt",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]

[grpc]
address = "{SOCKET}"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
netns_mounts_under_state_dir = true
# Root of a container or of a sandbox may lack the right (CAP_SYS_RESOURCE) to shield a process from the OOM killer.
restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "{snapshotter}"
default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
BinaryName = "{runc}"
SystemdCgroup = false

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{plugins}"
conf_dir = "{conf}"

[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "{hosts}"
"#
    )
}

fn network(place: &Place) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": "xtask",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": true,
                // A pod may reach itself by the address of its service.
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": place.pods()}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
}

fn corefile(place: &Place) -> String {
    let (node, kubeconfig) = (place.node(), place.text("config/dns.kubeconfig"));
    format!(
        ".:53 {{\n    bind {node}\n    errors\n    ready 127.0.0.1:8181\n    \
         kubernetes {DOMAIN} in-addr.arpa {{\n        kubeconfig {kubeconfig}\n    }}\n}}\n"
    )
}

fn registry_config(place: &Place) -> String {
    let (folder, address) = (place.text("registry"), (Ipv4Addr::LOCALHOST, place.registry));
    let (folder, listen) = (json!(folder), format!("{}:{}", address.0, address.1));
    // Two processes serve one folder: neither may keep in memory what is there.
    format!(
        "version: 0.1\nlog:\n  level: warn\nstorage:\n  filesystem:\n    rootdirectory: {folder}\n  \
         delete:\n    enabled: true\nhttp:\n  addr: {listen}\n"
    )
}

/// What keeps layers of images: overlays, unless the folder lies on one (the inside of a container), where Linux
/// refuses a second.
pub fn snapshotter(filesystem: Option<&str>) -> &'static str {
    if filesystem == Some("overlay") { "native" } else { "overlayfs" }
}

/// The type of the file system that `path` lies on, by the text of `/proc/self/mountinfo` (proc(5)).
pub fn filesystem<'a>(mountinfo: &'a str, path: &str) -> Option<&'a str> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (mount, rest) = line.split_once(" - ")?;
        Some((mount.split(' ').nth(4)?, rest.split(' ').next()?))
    });
    let holds =
        |at: &str| at == "/" || path.strip_prefix(at).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    // Of two mounts on one place the later one counts.
    mounts.filter(|(at, _)| holds(at)).max_by_key(|(at, _)| at.len()).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::super::parts::testing::{place, programs};
    use super::*;

    #[test]
    fn files_name_nothing_of_another_place() {
        for (name, text) in files(&place(), &programs(), "overlayfs") {
            assert!(!text.contains("198.18.0.") && !text.contains("/var/lib/containerd"), "{name}: {text}");
            if name.ends_with("json") || name.ends_with("conflist") || name.ends_with("kubeconfig") {
                serde_json::from_str::<Value>(&text).unwrap();
            }
        }
        let all = files(&place(), &programs(), "native");
        let text = |name: &str| all.iter().find(|(file, _)| file == name).unwrap().1.clone();
        assert!(
            text("config/containerd.toml").parse::<toml::Table>().unwrap()["root"].as_str() == Some("/c/containerd")
        );
        assert!(text("config/containerd.toml").contains("snapshotter = \"native\""));
        assert!(text("config/registry.yml").contains("addr: 127.0.0.1:5017"));
        assert!(text("config/kubelet.json").contains("\"cgroupRoot\": \"/xtask-1\""));
    }

    #[test]
    fn an_overlay_never_lies_on_an_overlay() {
        let mountinfo = "1 0 254:0 / / rw - ext4 /dev/vda rw\n\
                         2 1 0:5 / /data rw,relatime shared:1 - overlay none rw\n\
                         3 1 0:6 / /data2 rw - tmpfs none rw\n";
        for (path, expected, keeps) in [
            ("/c", Some("ext4"), "overlayfs"),
            ("/data/c", Some("overlay"), "native"),
            ("/data2/c", Some("tmpfs"), "overlayfs"),
        ] {
            assert_eq!(filesystem(mountinfo, path), expected, "{path}");
            assert_eq!(snapshotter(expected), keeps, "{path}");
        }
    }
}
