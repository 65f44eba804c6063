//! The parts of a cluster of one node: their programs, arguments and files. Pure; `supervisor.rs` starts them.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::place::{API_PORT, DOMAIN, NODE, PAUSE_IMAGE, Place};

/// Where etcd answers, within the node.
const ETCD: &str = "http://127.0.0.1:2379";

/// Folders of the cluster that lie over folders of the machine, as the node sees it: some paths are built into
/// kubelet, containerd and the CNI plugins.
pub const OVER: &[(&str, &str)] = &[
    ("kubelet", "/var/lib/kubelet"),
    ("cni/state", "/var/lib/cni"),
    ("logs/pods", "/var/log/pods"),
    ("logs/containers", "/var/log/containers"),
    ("run", "/run/containerd"),
];

/// Settings of the whole machine that a kubelet changes where they differ (`kubelet --protect-kernel-defaults` lists
/// them). In the node a file with the value that it wants lies over each, and the machine keeps its own.
pub const SETTINGS: &[(&str, &str)] = &[
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// Where containerd listens, as the node sees it.
pub const SOCKET: &str = "/run/containerd/containerd.sock";

/// Where the programs are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    /// API server, controller manager, scheduler, kubelet and kube-proxy.
    pub kubernetes: PathBuf,
    /// Keeps their state.
    pub etcd: PathBuf,
    /// Answers for names.
    pub coredns: PathBuf,
    /// Holds namespaces.
    pub pause: PathBuf,
    /// Runs containers.
    pub containerd: PathBuf,
    /// Starts them.
    pub runc: PathBuf,
    /// Keeps images.
    pub registry: PathBuf,
    /// The folder of the CNI plugins.
    pub cni: PathBuf,
}

/// One part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name in the state and in the name of its log.
    pub name: &'static str,
    /// Whether it runs in the node, or beside it on the machine.
    pub inside: bool,
    /// What is started.
    pub program: PathBuf,
    /// With these arguments.
    pub args: Vec<String>,
}

/// Them all, in the order in which they are started.
pub fn parts(place: &Place, programs: &Programs) -> Vec<Part> {
    let inside =
        |name, program: &PathBuf, args: Vec<String>| Part { name, inside: true, program: program.clone(), args };
    let of_kubernetes = |name: &'static str, args: Vec<String>| {
        inside(name, &programs.kubernetes, std::iter::once(name.to_owned()).chain(args).collect())
    };
    let registry = vec!["serve".to_owned(), place.text("config/registry.yml")];
    vec![
        inside("etcd", &programs.etcd, etcd(place)),
        of_kubernetes("kube-apiserver", apiserver(place)),
        of_kubernetes("kube-controller-manager", controller_manager(place)),
        of_kubernetes("kube-scheduler", scheduler(place)),
        inside("containerd", &programs.containerd, vec!["--config".to_owned(), place.text("config/containerd.toml")]),
        of_kubernetes("kubelet", kubelet(place)),
        of_kubernetes("kube-proxy", vec![flag("config", place.text("config/proxy.json"))]),
        inside("coredns", &programs.coredns, vec!["-conf".to_owned(), place.text("config/Corefile")]),
        // The same port on the loopback of the machine and on that of the node, over one folder: an image has one name.
        Part { name: "registry", inside: false, program: programs.registry.clone(), args: registry.clone() },
        inside("registry-of-node", &programs.registry, registry),
    ]
}

fn flag(name: &str, value: impl std::fmt::Display) -> String {
    format!("--{name}={value}")
}

fn etcd(place: &Place) -> Vec<String> {
    vec![
        flag("data-dir", place.text("etcd")),
        flag("listen-client-urls", ETCD),
        flag("advertise-client-urls", ETCD),
        flag("listen-peer-urls", "http://127.0.0.1:2380"),
        flag("log-level", "warn"),
        // The cluster does not outlive the machine, and disks of test machines are slow.
        "--unsafe-no-fsync".to_owned(),
    ]
}

fn apiserver(place: &Place) -> Vec<String> {
    let pki = |name: &str| place.text(&format!("pki/{name}"));
    vec![
        flag("etcd-servers", ETCD),
        flag("advertise-address", place.node()),
        flag("secure-port", API_PORT),
        flag("service-cluster-ip-range", place.services()),
        flag("authorization-mode", "Node,RBAC"),
        flag("enable-admission-plugins", "NodeRestriction"),
        flag("allow-privileged", true),
        flag("client-ca-file", pki("ca.crt")),
        flag("tls-cert-file", pki("apiserver.crt")),
        flag("tls-private-key-file", pki("apiserver.key")),
        flag("cert-dir", place.text("tmp")),
        // Nobody stands before it; without these the others complain that it does not say so.
        flag("requestheader-client-ca-file", pki("ca.crt")),
        flag("requestheader-allowed-names", "nobody"),
        flag("requestheader-username-headers", "X-Remote-User"),
        flag("requestheader-group-headers", "X-Remote-Group"),
        flag("requestheader-extra-headers-prefix", "X-Remote-Extra-"),
        flag("kubelet-certificate-authority", pki("ca.crt")),
        flag("kubelet-client-certificate", pki("apiserver-to-kubelet.crt")),
        flag("kubelet-client-key", pki("apiserver-to-kubelet.key")),
        flag("kubelet-preferred-address-types", "InternalIP"),
        flag("service-account-issuer", format!("https://kubernetes.default.svc.{DOMAIN}")),
        flag("service-account-key-file", pki("accounts.pub")),
        flag("service-account-signing-key-file", pki("accounts.key")),
        flag("profiling", false),
    ]
}

/// What controller manager and scheduler have in common.
fn with_kubeconfig(place: &Place, name: &str) -> Vec<String> {
    let file = place.text(&format!("config/{name}.kubeconfig"));
    vec![
        flag("kubeconfig", &file),
        flag("authentication-kubeconfig", &file),
        flag("authorization-kubeconfig", &file),
        flag("bind-address", "127.0.0.1"),
        flag("cert-dir", place.text("tmp")),
        // There is only one of each.
        flag("leader-elect", false),
        flag("profiling", false),
    ]
}

fn controller_manager(place: &Place) -> Vec<String> {
    let mut args = with_kubeconfig(place, "controller-manager");
    args.extend([
        flag("service-account-private-key-file", place.text("pki/accounts.key")),
        flag("root-ca-file", place.text("pki/ca.crt")),
        flag("use-service-account-credentials", true),
        flag("cluster-cidr", place.pods()),
    ]);
    args
}

fn scheduler(place: &Place) -> Vec<String> {
    with_kubeconfig(place, "scheduler")
}

fn kubelet(place: &Place) -> Vec<String> {
    vec![
        flag("config", place.text("config/kubelet.json")),
        flag("kubeconfig", place.text("config/kubelet.kubeconfig")),
        flag("hostname-override", NODE),
        flag("node-ip", place.node()),
        flag("cert-dir", place.text("tmp")),
    ]
}

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

/// What the API server is told once it is there: who may read names, and where they are asked.
pub fn objects(place: &Place) -> Vec<(&'static str, Value)> {
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
    use super::*;

    fn place() -> Place {
        Place { folder: "/c".into(), slot: 1, registry: 5017 }
    }

    fn programs() -> Programs {
        let path = |name: &str| PathBuf::from(format!("/p/{name}"));
        Programs {
            kubernetes: path("kubernetes"),
            etcd: path("etcd"),
            coredns: path("coredns"),
            pause: path("pause"),
            containerd: path("containerd"),
            runc: path("runc"),
            registry: path("docker-registry"),
            cni: path("cni"),
        }
    }

    #[test]
    fn each_part_is_started_with_what_its_place_says() {
        let parts = parts(&place(), &programs());
        let said = |name: &str| {
            let part = parts.iter().find(|part| part.name == name).unwrap();
            format!("{} {}", part.program.display(), part.args.join(" "))
        };
        for (name, begins, holds) in [
            ("etcd", "/p/etcd --data-dir=/c/etcd", "--unsafe-no-fsync"),
            ("kube-apiserver", "/p/kubernetes kube-apiserver ", "--advertise-address=198.18.6.2"),
            ("kube-apiserver", "/p/kubernetes kube-apiserver ", "--service-cluster-ip-range=198.18.5.0/24"),
            ("kube-controller-manager", "/p/kubernetes ", "--root-ca-file=/c/pki/ca.crt"),
            ("kube-scheduler", "/p/kubernetes ", "--kubeconfig=/c/config/scheduler.kubeconfig"),
            ("kubelet", "/p/kubernetes ", "--node-ip=198.18.6.2"),
            ("kube-proxy", "/p/kubernetes ", "--config=/c/config/proxy.json"),
            ("coredns", "/p/coredns ", "-conf /c/config/Corefile"),
            ("containerd", "/p/containerd ", "/c/config/containerd.toml"),
            ("registry-of-node", "/p/docker-registry serve ", "/c/config/registry.yml"),
        ] {
            let said = said(name);
            assert!(said.starts_with(begins) && said.contains(holds), "{name}: {said}");
        }
        let outside: Vec<&str> = parts.iter().filter(|part| !part.inside).map(|part| part.name).collect();
        assert_eq!(outside, ["registry"]);
    }

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
