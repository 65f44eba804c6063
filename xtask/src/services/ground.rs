//! Where services of ours listen, and under which name the backend reaches that place.
//!
//! A backend that is a process shares loopback with them. One in a container stands in a network of its own; the
//! services listen on that network's gateway, which is an address of this machine and of no other network.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::tools::containers::{Engine, LABEL, unique};
use crate::tools::proc::{Runner, Undo};
use crate::verdict::{NotRun, Unproven};

/// How long an engine may take until the network's gateway is an address of this machine.
const APPEARS_WITHIN: Duration = Duration::from_secs(10);

/// How long an engine may take for a network.
const PATIENCE: Duration = Duration::from_secs(60);

/// A place where services listen.
#[derive(Debug)]
pub struct Ground {
    /// The address that they bind to.
    pub listen: IpAddr,
    /// How the backend names it.
    pub host: String,
    /// The network of the backend's container.
    pub network: Option<String>,
    _undo: Option<Undo>,
}

impl Ground {
    /// Loopback, for a backend that is a process.
    pub fn loopback() -> Self {
        let listen = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self { listen, host: listen.to_string(), network: None, _undo: None }
    }

    /// A network of our own, which goes with this value.
    pub async fn network(engine: &Engine, runner: &Runner) -> Result<Self, Unproven> {
        let name = unique("net");
        // Before it is there: a run that is stopped in between leaves nothing either.
        let undo = Undo::new(runner, engine.command(["network", "rm", &name]));
        let label = format!("{LABEL}={name}");
        let create = engine.command(["network", "create", "--label", &label, &name]).timeout(PATIENCE);
        let inspect = engine.command(["network", "inspect", &name]).timeout(PATIENCE);
        let mut said = String::new();
        for command in [create, inspect] {
            let ended = runner.run(&command).await?;
            if !ended.is_success() {
                let reason = format!("`{command}` failed: {}", ended.failure());
                return Err(NotRun::new(reason, "look into the gate's log").into());
            }
            said = ended.stdout;
        }
        let gateway = gateway(&said).ok_or_else(|| {
            NotRun::new(format!("{} names no gateway of the network `{name}`", engine.name), "look into the gate's log")
        })?;
        // Docker Desktop and podman's machine keep the gateway within a virtual machine, and forward a name to loopback.
        let (listen, host) = match (cfg!(target_os = "macos"), engine.name) {
            (false, _) => (gateway, gateway.to_string()),
            (true, "podman") => (IpAddr::V4(Ipv4Addr::LOCALHOST), "host.containers.internal".to_owned()),
            (true, _) => (IpAddr::V4(Ipv4Addr::LOCALHOST), "host.docker.internal".to_owned()),
        };
        Ok(Self { listen, host, network: Some(name), _undo: Some(undo) })
    }

    /// Whether services can listen there now. podman makes the gateway when the first container starts.
    pub fn is_there(&self) -> bool {
        TcpListener::bind((self.listen, 0)).is_ok()
    }

    /// Waits until they can.
    pub async fn appears(&self) -> Result<(), Unproven> {
        let begun = Instant::now();
        while !self.is_there() {
            if begun.elapsed() > APPEARS_WITHIN {
                let reason =
                    format!("the gateway {} of the container's network is no address of this machine", self.listen);
                return Err(NotRun::new(reason, "run the engine as root, or use docker").into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// An address with a port that nobody uses now.
    pub fn address(&self) -> Result<SocketAddr> {
        // Where the address is not there yet, a port that is free on loopback is free on it as well.
        let socket = TcpListener::bind((self.listen, 0)).or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
        let port = socket.and_then(|socket| socket.local_addr()).context("no port is free")?.port();
        Ok(SocketAddr::new(self.listen, port))
    }
}

/// The first gateway that `network inspect` tells, in docker's words or in podman's.
fn gateway(said: &str) -> Option<IpAddr> {
    #[derive(Deserialize)]
    struct Docker {
        #[serde(rename = "Gateway")]
        gateway: Option<String>,
    }
    #[derive(Deserialize, Default)]
    struct Ipam {
        #[serde(rename = "Config", default)]
        config: Vec<Docker>,
    }
    #[derive(Deserialize)]
    struct Podman {
        gateway: Option<String>,
    }
    #[derive(Deserialize)]
    struct Network {
        #[serde(rename = "IPAM", default)]
        ipam: Ipam,
        #[serde(default)]
        subnets: Vec<Podman>,
    }
    let networks: Vec<Network> = serde_json::from_str(said).ok()?;
    let docker = networks.iter().flat_map(|network| &network.ipam.config).map(|part| &part.gateway);
    let podman = networks.iter().flat_map(|network| &network.subnets).map(|part| &part.gateway);
    docker.chain(podman).flatten().find_map(|gateway| gateway.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_is_found_in_the_words_of_both_engines() {
        for (said, expected) in [
            (
                r#"[{"Name": "n", "IPAM": {"Driver": "default", "Config": [{"Subnet": "172.18.0.0/16", "Gateway": "172.18.0.1"}]}}]"#,
                Some("172.18.0.1"),
            ),
            (
                r#"[{"name": "n", "driver": "bridge", "subnets": [{"subnet": "10.89.0.0/24", "gateway": "10.89.0.1"}]}]"#,
                Some("10.89.0.1"),
            ),
            (r#"[{"Name": "n", "IPAM": {"Config": []}}]"#, None),
            ("Error: no such network", None),
        ] {
            assert_eq!(gateway(said).map(|address| address.to_string()).as_deref(), expected, "{said}");
        }
    }
}
