//! The parts of a cluster of one node: their programs and arguments. Pure; `supervisor.rs` starts them.

use std::path::PathBuf;

use super::place::{API_PORT, DOMAIN, NODE, Place};

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

/// The name of the part that runs containers.
pub const CONTAINERD: &str = "containerd";

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
    /// Whether it ends by itself, or is of no use, where no API server answers.
    pub asks_api: bool,
    /// What is started.
    pub program: PathBuf,
    /// With these arguments.
    pub args: Vec<String>,
}

/// Them all, in the order in which they are started.
pub fn parts(place: &Place, programs: &Programs) -> Vec<Part> {
    let inside = |name, program: &PathBuf, args: Vec<String>| {
        let program = program.clone();
        Part { name, inside: true, asks_api: false, program, args }
    };
    let of_kubernetes = |name: &'static str, args: Vec<String>| {
        let args = std::iter::once(name.to_owned()).chain(args).collect();
        Part { asks_api: true, ..inside(name, &programs.kubernetes, args) }
    };
    let registry = vec!["serve".to_owned(), place.text("config/registry.yml")];
    vec![
        inside("etcd", &programs.etcd, etcd(place)),
        Part { asks_api: false, ..of_kubernetes("kube-apiserver", apiserver(place)) },
        inside(CONTAINERD, &programs.containerd, vec!["--config".to_owned(), place.text("config/containerd.toml")]),
        // The same port on the loopback of the machine and on that of the node, over one folder: an image has one name.
        Part { inside: false, ..inside("registry", &programs.registry, registry.clone()) },
        inside("registry-of-node", &programs.registry, registry),
        of_kubernetes("kube-controller-manager", controller_manager(place)),
        of_kubernetes("kube-scheduler", scheduler(place)),
        of_kubernetes("kubelet", kubelet(place)),
        of_kubernetes("kube-proxy", vec![flag("config", place.text("config/proxy.json"))]),
        Part { asks_api: true, ..inside("coredns", &programs.coredns, coredns(place)) },
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

fn coredns(place: &Place) -> Vec<String> {
    vec!["-conf".to_owned(), place.text("config/Corefile")]
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

#[cfg(test)]
pub mod testing {
    //! A place and programs for unit tests.
    use super::*;

    /// The second cluster of a machine, in `/c`.
    pub fn place() -> Place {
        Place { folder: "/c".into(), slot: 1, registry: 5017 }
    }

    /// Programs in `/p`.
    pub fn programs() -> Programs {
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
}

#[cfg(test)]
mod tests {
    use super::testing::{place, programs};
    use super::*;

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
}
