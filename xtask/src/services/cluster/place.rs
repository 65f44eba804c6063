//! Where a cluster is on this machine: its folder, its number, and every name and address that follows from it. Pure.
//!
//! A node has network, mounts and processes of its own (namespaces), so that ports inside are the usual ones and two
//! clusters do not meet. What is seen from outside has the cluster's number: one link, one cgroup, three networks.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// How many clusters can be up at once on one machine.
pub const SLOTS: u8 = 64;

/// The node's name.
pub const NODE: &str = "xtask-node";

/// The domain of the cluster's names.
pub const DOMAIN: &str = "cluster.local";

/// The image of every pod's sandbox. The name is of no registry: it is brought along, and never pulled.
pub const PAUSE_IMAGE: &str = "xtask.invalid/pause:1";

/// The port of the API server.
pub const API_PORT: u16 = 6443;

/// One cluster's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Everything that it keeps.
    pub folder: PathBuf,
    /// Its number on this machine.
    pub slot: u8,
    /// The port of its registry, on loopback of machine and node.
    pub registry: u16,
}

impl Place {
    /// Four networks of 256 addresses each out of 198.18.0.0/15, which RFC 2544 keeps for measurements: no real
    /// network has them.
    fn network(&self, which: u8) -> [u8; 4] {
        [198, 18, self.slot * 4 + which, 0]
    }

    fn address(&self, which: u8, last: u8) -> Ipv4Addr {
        let [a, b, c, _] = self.network(which);
        Ipv4Addr::new(a, b, c, last)
    }

    /// The network of pods.
    pub fn pods(&self) -> String {
        format!("{}/24", self.address(0, 0))
    }

    /// The network of services.
    pub fn services(&self) -> String {
        format!("{}/24", self.address(1, 0))
    }

    /// The address of the service `kubernetes`, which the API server gives to itself: the first of the network.
    pub fn api_service(&self) -> Ipv4Addr {
        self.address(1, 1)
    }

    /// The address of the service `kube-dns`.
    pub fn dns(&self) -> Ipv4Addr {
        self.address(1, 10)
    }

    /// The machine's end of the link to the node.
    pub fn host(&self) -> Ipv4Addr {
        self.address(2, 1)
    }

    /// The node's end.
    pub fn node(&self) -> Ipv4Addr {
        self.address(2, 2)
    }

    /// Where the API server answers.
    pub fn api(&self) -> String {
        format!("https://{}:{API_PORT}", self.node())
    }

    /// The machine's end of the link, by name. Linux allows 15 characters.
    pub fn link(&self) -> String {
        link(self.slot)
    }

    /// The cgroup below which its pods are.
    pub fn cgroup(&self) -> String {
        format!("xtask-{}", self.slot)
    }

    /// A file or folder of it.
    pub fn at(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// The same as text, for files and arguments.
    pub fn text(&self, path: &str) -> String {
        self.at(path).display().to_string()
    }
}

/// Whether a link of this name is some cluster's.
pub fn is_ours(name: &str) -> bool {
    (0..SLOTS).any(|slot| link(slot) == name)
}

fn link(slot: u8) -> String {
    format!("xtk{slot}")
}

/// The folder of the cluster named `name`.
pub fn folder(store: &Path, name: &str) -> PathBuf {
    if name.is_empty() { store.join("cluster") } else { store.join(format!("cluster-{name}")) }
}

/// The first number whose link is not among `links` (the names in `/sys/class/net`), from `first` on.
pub fn free_slot(links: &[String], first: u8) -> Option<u8> {
    (first..SLOTS).find(|&slot| !links.contains(&link(slot)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_clusters_share_nothing() {
        let [one, other] = [0, 63].map(|slot| Place { folder: "/c".into(), slot, registry: 5000 });
        let names = |place: &Place| {
            [place.pods(), place.services(), place.api(), place.dns().to_string(), place.link(), place.cgroup()]
        };
        assert_eq!(
            names(&one),
            ["198.18.0.0/24", "198.18.1.0/24", "https://198.18.2.2:6443", "198.18.1.10", "xtk0", "xtask-0"]
        );
        assert_eq!(
            names(&other),
            ["198.18.252.0/24", "198.18.253.0/24", "https://198.18.254.2:6443", "198.18.253.10", "xtk63", "xtask-63"]
        );
    }

    #[test]
    fn a_number_that_is_taken_is_left_alone() {
        let links = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        assert_eq!(free_slot(&links(&["lo", "docker0"]), 0), Some(0));
        assert_eq!(free_slot(&links(&["lo", "xtk0", "xtk2"]), 0), Some(1));
        assert_eq!(free_slot(&links(&["lo", "xtk0"]), 2), Some(2));
        let all: Vec<String> = (0..SLOTS).map(link).collect();
        assert_eq!(free_slot(&all, 0), None);
    }

    #[test]
    fn the_folder_has_the_name() {
        assert_eq!(folder(Path::new("/s"), ""), Path::new("/s/cluster"));
        assert_eq!(folder(Path::new("/s"), "two"), Path::new("/s/cluster-two"));
    }
}
