//! What is wrong with one container: its image, its configuration, or that it ends.

use time::OffsetDateTime;

use super::pull::{self, Pull};
use super::{Cause, Fault, Kind, View, pods};
use crate::release::object::{ContainerStatus, Event, Pod, Terminated};

/// Two runs that ended are a loop; one that ended may have met a neighbour that was not up yet.
const CRASHES: u64 = 2;

/// Why a container neither runs nor has done its work; `None` too where it is only on its way.
pub(super) fn fault(view: &View<'_>, pod: &Pod, status: &ContainerStatus, is_init: bool) -> Option<Fault> {
    let container = Container { view, pod, status };
    let waiting = status.state.waiting.clone().unwrap_or_default();
    let by_word = match waiting.reason.as_str() {
        "InvalidImageName" | "ErrImageNeverPull" => {
            Some(Fault::at_once(container.reported(Kind::Image, &waiting.reason, &waiting.message)))
        }
        "ErrImagePull" | "ImagePullBackOff" | "RegistryUnavailable" | "ImageInspectError" => {
            Some(container.not_pulled(&waiting.reason, &waiting.message))
        }
        "SignatureValidationFailed" => {
            Some(Fault::at_once(container.reported(Kind::Pull, &waiting.reason, &waiting.message)))
        }
        // The kubelet says so too of what it has not read yet.
        "CreateContainerConfigError" => {
            let cause = container.reported(Kind::Config, &waiting.reason, &waiting.message);
            let passes = ["timed out", "failed to sync", "not yet been read", "not registered"];
            Some(container.borne_if(passes.iter().any(|word| waiting.message.contains(word)), cause))
        }
        "CreateContainerError" | "RunContainerError" | "PreCreateHookError" | "PreStartHookError" => {
            let cause = container.reported(Kind::Config, &waiting.reason, &waiting.message);
            Some(container.borne_if(!is_configured_wrong(&waiting.message), cause))
        }
        _ => None,
    };
    by_word.or_else(|| container.crashed(is_init))
}

struct Container<'a> {
    view: &'a View<'a>,
    pod: &'a Pod,
    status: &'a ContainerStatus,
}

impl Container<'_> {
    /// The runtime's own words stand in the container's state or, where that says only that it waits, in an event.
    fn not_pulled(&self, reason: &str, message: &str) -> Fault {
        let tells_more = |text: &str| {
            let rest =
                text.strip_prefix("Back-off pulling image ").map(|rest| rest.rsplit('"').next().unwrap_or_default());
            !rest.unwrap_or(text).trim_start_matches([':', ' ']).is_empty()
        };
        let failed = || self.events().filter(|event| is_failed_pull(event));
        let event = failed().max_by_key(|event| event.last());
        let words = match event {
            _ if tells_more(message) => message,
            Some(event) => event.message.as_str(),
            None => message,
        };
        let (kind, patience) = match pull::of(words) {
            Pull::Missing => (Kind::Image, None),
            Pull::Refused => (Kind::Pull, None),
            Pull::Stumbles => (Kind::Pull, Some(self.view.limits.pull)),
        };
        // What was reported before the last pull that went well is over.
        let pulled = self.events().filter(|event| event.reason == "Pulled").filter_map(Event::last).max();
        let first = failed().filter_map(Event::first).min().max(pulled);
        let cause = self.cause(kind, reason, words, first.unwrap_or_else(|| self.last_known()));
        patience.map_or_else(|| Fault::at_once(cause.clone()), |patience| Fault::borne(cause.clone(), patience))
    }

    /// It ended, and has to run, or to end well.
    fn crashed(&self, is_init: bool) -> Option<Fault> {
        let ContainerStatus { state, last_state, restart_count, .. } = self.status;
        let is_looping = state.waiting.as_ref().is_some_and(|waiting| waiting.reason == "CrashLoopBackOff");
        let is_done = |terminated: &Terminated| is_init && terminated.exit_code == 0;
        let last = state.terminated.as_ref().or(last_state.terminated.as_ref());
        if last.is_some_and(is_done) && !is_looping {
            return None;
        }
        let is_down = state.terminated.is_some() || is_looping;
        let crashes = restart_count + u64::from(is_down);
        if crashes == 0 {
            return None;
        }
        // A pod that was there before counts only what it does now: its restarts are of other days.
        let is_ours = self.pod.metadata.creation_timestamp.is_none_or(|at| self.view.is_ours(at));
        let is_loop = crashes >= CRASHES && (is_ours || is_looping);
        if !is_down && !is_loop {
            return None;
        }
        let unknown = Terminated::default();
        let ended = last.unwrap_or(&unknown);
        let is_oom = ended.reason == "OOMKilled" || ended.message.contains("OOM-killed");
        let cannot_start = matches!(ended.reason.as_str(), "StartError" | "ContainerCannotRun");
        let kind = match () {
            () if is_oom => Kind::OutOfMemory,
            () if cannot_start => Kind::Config,
            () => Kind::Crash,
        };
        let reason = if ended.reason.is_empty() { "CrashLoopBackOff" } else { &ended.reason };
        let times = if crashes == 1 { "once".to_owned() } else { format!("{crashes} times") };
        let message = format!("ended {times}, last with exit code {}; {}", ended.exit_code, ended.message);
        let message = message.trim_end_matches([';', ' ']);
        let since = ended.finished_at.unwrap_or_else(|| self.last_known());
        let previous = state.terminated.is_none();
        let cause = Cause { previous, ..self.cause(kind, reason, message, since) };
        let is_hopeless = is_loop || cannot_start && is_configured_wrong(&ended.message);
        Some(if is_hopeless { Fault::at_once(cause) } else { Fault::waiting(cause) })
    }

    fn borne_if(&self, passes: bool, cause: Cause) -> Fault {
        if passes { Fault::borne(cause, self.view.limits.pull) } else { Fault::at_once(cause) }
    }

    /// A cause that the kubelet tells by an event as well, which knows since when.
    fn reported(&self, kind: Kind, reason: &str, message: &str) -> Cause {
        let is_it = |event: &&Event| {
            matches!(event.reason.as_str(), "Failed" | "InspectFailed" | "ErrImageNeverPull")
                && !message.is_empty()
                && event.message.contains(message)
        };
        let first = self.events().filter(is_it).filter_map(Event::first).min();
        self.cause(kind, reason, message, first.unwrap_or_else(|| self.last_known()))
    }

    fn cause(&self, kind: Kind, reason: &str, message: &str, since: OffsetDateTime) -> Cause {
        let container = self.status.name.clone();
        Cause { container, ..pods::of_pod(self.view, self.pod, kind, reason, message, Some(since)) }
    }

    fn events(&self) -> impl Iterator<Item = &Event> {
        let name = self.status.name.as_str();
        self.view.events(self.pod).filter(move |event| event.involved_object.container() == name)
    }

    /// When the pod was last known to come on: no state of a container that waits says since when.
    fn last_known(&self) -> OffsetDateTime {
        let status = &self.pod.status;
        let conditions = status.conditions.iter().filter_map(|condition| condition.last_transition_time).max();
        let known = conditions.or(status.start_time).or(self.pod.metadata.creation_timestamp);
        known.unwrap_or(self.view.now)
    }
}

fn is_failed_pull(event: &Event) -> bool {
    event.reason == "Failed" && event.message.starts_with("Failed to pull image")
}

/// Whether a runtime says that the container cannot be made of what it is given; its other troubles may pass.
fn is_configured_wrong(message: &str) -> bool {
    let words = [
        "executable file not found",
        "no such file or directory",
        "permission denied",
        "exec format error",
        "is a directory",
        "not a directory",
        "no command specified",
        "unable to find user",
        "unable to find group",
        "no users found",
        "invalid argument",
    ];
    words.iter().any(|word| message.contains(word))
}
