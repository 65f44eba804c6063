//! The Deployments that an environment can have of its workload, by the release that makes them.

use serde_json::Value;

use super::manifests::TRACK;

/// Which Deployment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Track {
    /// The one that a rolling release changes.
    #[default]
    Stable,
    /// One of the two of a blue-green release.
    Blue,
    /// The other one.
    Green,
    /// The new version of a canary release.
    Canary,
    /// The old version, as fresh and as small, that the canary is compared with.
    Baseline,
}

impl Track {
    /// In labels and names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Blue => "blue",
            Self::Green => "green",
            Self::Canary => "canary",
            Self::Baseline => "baseline",
        }
    }

    /// The one of a journal; whatever else stands there is the first one.
    pub fn of(name: &str) -> Self {
        match name {
            "blue" => Self::Blue,
            "green" => Self::Green,
            _ => Self::Stable,
        }
    }

    /// Where a blue-green release goes: none of the Deployments that are `used`, by users or for the way back.
    pub fn unused(used: &[Self]) -> Self {
        let is_unused = |track: &Self| !used.contains(track);
        [Self::Blue, Self::Green].into_iter().find(is_unused).unwrap_or(Self::Stable)
    }

    /// Whether it is a release's Deployment of this track, or the Service of it alone, and not somebody else's of that name.
    pub fn has_made(self, object: &Value) -> bool {
        let selector = &object["spec"]["selector"];
        [selector, &selector["matchLabels"]].iter().any(|labels| labels[TRACK] == self.name())
    }

    /// The Service that leads to it before users' Service does.
    pub fn preview_of(self, service: &str) -> String {
        format!("{service}-{}", self.name())
    }

    /// The name of its Deployment and what belongs to it.
    pub fn of_workload(self, workload: &str) -> String {
        if self == Self::Stable { workload.to_owned() } else { format!("{workload}-{}", self.name()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_alone_makes_no_deployment_ours() {
        let deployment = |labels: Value| serde_json::json!({"spec": {"selector": {"matchLabels": labels}}});
        let ours = deployment(serde_json::json!({"app": "f", TRACK: "canary"}));
        assert!(Track::Canary.has_made(&ours) && !Track::Baseline.has_made(&ours));
        assert!(!Track::Canary.has_made(&deployment(serde_json::json!({"app": "f"}))));
        let service = |labels: Value| serde_json::json!({"spec": {"selector": labels}});
        assert!(Track::Canary.has_made(&service(serde_json::json!({TRACK: "canary"}))));
        assert!(!Track::Canary.has_made(&service(serde_json::json!({"app": "f"}))));
    }

    #[test]
    fn a_deployment_that_is_used_is_left_alone() {
        let (blue, green, stable) = (Track::Blue, Track::Green, Track::Stable);
        for (used, expected) in [
            (vec![blue, blue], green),
            (vec![green, green], blue),
            (vec![stable, stable], blue),
            // One that was killed after it had moved the Service: users are there, and the way back is the other one.
            (vec![stable, blue], green),
            (vec![blue, green], stable),
        ] {
            assert_eq!(Track::unused(&used), expected, "{used:?}");
        }
    }
}
