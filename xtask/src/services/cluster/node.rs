//! The node: a network, mounts and processes of their own, held by one process. When that ends, the kernel ends
//! everything within, and nothing of it is left but folders and cgroups, which [`clear`] removes.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::parts::{OVER, SETTINGS};
use super::place::{Place, free_slot, is_ours};
use super::state::Process;
use crate::tools::command::Command;
use crate::tools::proc::{Runner, Server};

/// How long a command that sets something up may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where Linux keeps control groups.
const CGROUPS: &str = "/sys/fs/cgroup";

/// Where Linux tells the links of a network.
const LINKS: &str = "/sys/class/net";

/// A node that is held.
#[derive(Debug)]
pub struct Node {
    /// What holds it, as this machine sees it.
    pub holder: Process,
    server: Server,
}

impl Node {
    /// Begins one: `pause` as the first process of new namespaces. It ends with us, even by SIGKILL.
    pub async fn begin(runner: &Runner, pause: &Path, folder: &Path) -> Result<Self> {
        let command = Command::new("setpriv", folder)
            .args(["--pdeathsig", "KILL", "unshare", "--net", "--mount", "--pid"])
            .args(["--fork", "--kill-child", "--mount-proc", "--"])
            .arg(pause);
        let mut server = runner.serve(&command)?;
        let begun = Instant::now();
        loop {
            let outer = server.pid().context("the node's first process has no id")?;
            // Before it is `pause` it is still `unshare`, which has not mounted everything yet.
            let inner = child_of(outer).filter(|&pid| is_program(pid, pause));
            if let Some(holder) = inner.and_then(Process::of) {
                return Ok(Self { holder, server });
            }
            if let Some(exit) = server.ended() {
                bail!("namespaces cannot be made: `{command}` ended with {exit}");
            }
            if begun.elapsed() > PATIENCE {
                bail!("namespaces cannot be made: `{command}` does not get to its end");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Whether everything within is over.
    pub fn has_ended(&mut self) -> bool {
        self.server.ended().is_some()
    }

    /// `program` within the node.
    pub fn inside(&self, program: impl AsRef<Path>, folder: &Path) -> Command {
        inside(&self.holder, program, folder)
    }
}

/// `program` within the node that `holder` holds.
pub fn inside(holder: &Process, program: impl AsRef<Path>, folder: &Path) -> Command {
    Command::new("nsenter", folder)
        .args(["--target", &holder.pid.to_string(), "--net", "--mount", "--pid", "--"])
        .arg(program)
}

/// The first child of a process; the processes of a node are children of what enters its namespaces.
pub fn child_of(pid: i32) -> Option<i32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

fn is_program(pid: i32, program: &Path) -> bool {
    let path = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    program.canonicalize().is_ok_and(|program| program == path)
}

/// Makes the link between machine and node with the first number that is free, and tells the number.
pub async fn link(runner: &Runner, node: &Node, folder: &Path) -> Result<u8> {
    let mut first = 0;
    loop {
        let slot = free_slot(&links()?, first).context("no number is free: too many clusters are up")?;
        let place = Place { folder: folder.to_owned(), slot, registry: 0 };
        let holder = node.holder.pid.to_string();
        let add = ip(folder, &["link", "add", &place.link(), "type", "veth", "peer", "name", "eth0", "netns", &holder]);
        let ended = runner.run(&add).await?;
        if ended.is_success() {
            return Ok(slot);
        }
        // Another cluster was quicker.
        if !Path::new(LINKS).join(place.link()).exists() {
            bail!("`{add}` ended with {}", ended.failure());
        }
        first = slot + 1;
    }
}

/// The names of the machine's links.
fn links() -> Result<Vec<String>> {
    let links = std::fs::read_dir(LINKS).context("cannot tell the machine's links")?;
    Ok(links.flatten().map(|link| link.file_name().to_string_lossy().into_owned()).collect())
}

fn ip(folder: &Path, args: &[&str]) -> Command {
    Command::new("ip", folder).args(args.iter().copied()).timeout(PATIENCE)
}

/// Sets up addresses, routes and mounts; the folders of `place` are there.
pub async fn furnish(runner: &Runner, node: &Node, place: &Place) -> Result<()> {
    for command in network(place, &node.holder).into_iter().chain(mounts(place, &node.holder)) {
        let ended = runner.run(&command).await?;
        if !ended.is_success() {
            bail!("`{command}` ended with {}", ended.failure());
        }
    }
    Ok(())
}

/// The commands that connect machine and node.
fn network(place: &Place, holder: &Process) -> Vec<Command> {
    let (folder, link, node) = (&place.folder, place.link(), place.node().to_string());
    let within = |args: &[&str]| inside(holder, "ip", folder).args(args.iter().copied()).timeout(PATIENCE);
    let forward = "echo 1 > /proc/sys/net/ipv4/ip_forward";
    vec![
        ip(folder, &["addr", "add", &format!("{}/24", place.host()), "dev", &link]),
        ip(folder, &["link", "set", &link, "up"]),
        within(&["link", "set", "lo", "up"]),
        within(&["addr", "add", &format!("{node}/24"), "dev", "eth0"]),
        within(&["link", "set", "eth0", "up"]),
        inside(holder, "sh", folder).args(["-c", forward]).timeout(PATIENCE),
        ip(folder, &["route", "add", &place.pods(), "via", &node]),
        ip(folder, &["route", "add", &place.services(), "via", &node]),
    ]
}

/// The commands that lay folders of ours over those of the machine, as the node alone sees it.
fn mounts(place: &Place, holder: &Process) -> Vec<Command> {
    let mount = |args: &[&str]| inside(holder, "mount", &place.folder).args(args.iter().copied()).timeout(PATIENCE);
    let over = OVER.iter().map(|(ours, theirs)| mount(&["--bind", &place.text(ours), theirs]));
    let settings = SETTINGS
        .iter()
        .map(|(name, _)| mount(&["--bind", &place.text(&format!("settings/{name}")), &format!("/proc/sys/{name}")]));
    over.chain(settings).collect()
}

/// Makes the folders that are laid over, and tells which of those of the machine were not there before.
pub fn folders(place: &Place) -> Result<Vec<PathBuf>> {
    let mut made = Vec::new();
    for (ours, theirs) in OVER {
        let theirs = Path::new(theirs);
        if !theirs.exists() {
            made.push(theirs.to_owned());
        }
        for folder in [place.at(ours).as_path(), theirs] {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
        }
    }
    Ok(made)
}

/// The cgroup of the cluster in every hierarchy: one, or in Linux' first version one a controller.
fn cgroups(place: &Place) -> Vec<PathBuf> {
    let root = Path::new(CGROUPS);
    let unified = root.join("cgroup.controllers").exists();
    let hierarchies = if unified {
        vec![root.to_owned()]
    } else {
        std::fs::read_dir(root).map(|all| all.flatten().map(|one| one.path()).collect()).unwrap_or_default()
    };
    // Controllers that share a hierarchy are there by several names, all but one of them links.
    let real = hierarchies.into_iter().filter(|path| path.is_dir() && !path.is_symlink());
    real.map(|hierarchy| hierarchy.join(place.cgroup())).collect()
}

/// Makes the cgroup below which the kubelet makes its own.
pub fn make_cgroups(place: &Place) -> Result<()> {
    for cgroup in cgroups(place) {
        if let Some(parent) = cgroup.parent().filter(|parent| parent.join("cgroup.controllers").exists()) {
            for controller in ["cpuset", "cpu", "io", "memory", "hugetlb", "pids"] {
                // One that the machine lacks is not missed here: the kubelet says which it needs.
                let _absent = std::fs::write(parent.join("cgroup.subtree_control"), format!("+{controller}"));
            }
        }
        std::fs::create_dir_all(&cgroup).with_context(|| format!("cannot make `{}`", cgroup.display()))?;
    }
    Ok(())
}

/// Removes what ended namespaces leave, and tells what could not be removed within `limit`.
pub async fn clear(place: &Place, made: &[PathBuf], limit: Duration) -> Vec<String> {
    let begun = Instant::now();
    loop {
        for cgroup in cgroups(place) {
            remove_cgroup(&cgroup);
        }
        let left = left(place);
        if left.is_empty() || begun.elapsed() > limit {
            // A folder that is removed here would be gone under the mounts of another cluster, too.
            let is_last = links().is_ok_and(|links| !links.iter().any(|link| is_ours(link)));
            for folder in made.iter().filter(|_| is_last) {
                // Somebody else may use it by now.
                let _not_empty = std::fs::remove_dir(folder);
            }
            return left;
        }
        // The kernel takes networks down after the last process within has ended.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The cgroups and the link of it that are there.
pub fn left(place: &Place) -> Vec<String> {
    let link = Path::new(LINKS).join(place.link());
    let all = cgroups(place).into_iter().chain([link]).filter(|path| path.exists());
    all.map(|path| format!("`{}` is still there", path.display())).collect()
}

/// A cgroup goes by `rmdir`, the inner ones first; its files are no real ones.
fn remove_cgroup(cgroup: &Path) {
    for inner in std::fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if inner.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&inner.path());
        }
    }
    // One with a process that is about to end goes at the next try.
    let _busy = std::fs::remove_dir(cgroup);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_that_make_a_node_name_its_number() {
        let place = Place { folder: "/c".into(), slot: 2, registry: 5000 };
        let holder = Process { pid: 77, began: String::new() };
        let said: Vec<String> =
            network(&place, &holder).iter().chain(&mounts(&place, &holder)).map(ToString::to_string).collect();
        for expected in [
            "ip addr add 198.18.10.1/24 dev xtk2",
            "ip route add 198.18.8.0/24 via 198.18.10.2",
            "nsenter --target 77 --net --mount --pid -- ip addr add 198.18.10.2/24 dev eth0",
            "nsenter --target 77 --net --mount --pid -- mount --bind /c/kubelet /var/lib/kubelet",
            "nsenter --target 77 --net --mount --pid -- mount --bind /c/settings/kernel/panic /proc/sys/kernel/panic",
        ] {
            assert!(said.iter().any(|command| command == expected), "{expected} is not in {said:#?}");
        }
    }
}
