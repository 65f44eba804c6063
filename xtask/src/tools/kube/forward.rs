//! A port of a pod on this machine, by `kubectl port-forward`, as long as the value lives.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::Kube;
use crate::tools::proc::{Runner, Server};
use crate::verdict::{NotRun, Unproven};

/// How long it may take until the port is there.
const OPENED: Duration = Duration::from_secs(15);

/// A port that leads to a pod.
pub struct Forward {
    /// Where it answers: `http://127.0.0.1:PORT`.
    pub url: String,
    _server: Server,
}

impl Forward {
    /// Forwards a free port to `port` of `object`, which is `pod/NAME` or `service/NAME`.
    pub async fn open(kube: &Kube, namespace: &str, object: &str, port: &str) -> Result<Self, Unproven> {
        let (sender, mut lines) = mpsc::unbounded_channel::<String>();
        let tell = move |line: &str| {
            let _gone = sender.send(line.to_owned());
        };
        let runner = Runner { on_line: Some(Arc::new(tell)), ..kube.runner().clone() };
        let command = kube.kubectl(["port-forward", "--namespace", namespace, "--address", "127.0.0.1", object]);
        let mut server = runner.serve(&command.args([format!(":{port}")]))?;
        let mut last = String::new();
        let opened = tokio::time::timeout(OPENED, async {
            while let Some(line) = lines.recv().await {
                if let Some(port) = port_of(&line) {
                    return Some(port);
                }
                last = line;
            }
            None
        });
        match opened.await {
            Ok(Some(port)) => Ok(Self { url: format!("http://127.0.0.1:{port}"), _server: server }),
            _ => {
                let ended = server.ended().map_or_else(|| "no port in time".to_owned(), |exit| exit.to_string());
                let reason = format!("no port of `{object}` can be had: {ended} {last}");
                Err(NotRun::new(reason.trim_end().to_owned(), "see whether the pod runs, then run it again").into())
            }
        }
    }
}

/// `Forwarding from 127.0.0.1:43231 -> 8000`
fn port_of(line: &str) -> Option<u16> {
    let rest = line.strip_prefix("Forwarding from 127.0.0.1:")?;
    rest.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_port_stands_in_the_line_that_says_so() {
        assert_eq!(super::port_of("Forwarding from 127.0.0.1:43231 -> 8000"), Some(43231));
        assert_eq!(super::port_of("Forwarding from [::1]:43231 -> 8000"), None);
        assert_eq!(super::port_of("error: unable to forward port"), None);
    }
}
