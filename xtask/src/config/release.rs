//! `[cluster]`, `[release]` and `[rehearsal]` of an environment's file: where it runs, and how it is released.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::values::duration;

/// `[cluster]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// The context of the kubeconfig.
    pub context: String,
    /// The id of its namespace `kube-system` (`kubectl get namespace kube-system -o jsonpath={.metadata.uid}`): another
    /// cluster under the same context's name is refused.
    pub uid: String,
    /// A variable that holds the kubeconfig itself; empty for the kubeconfig of this machine.
    #[serde(default)]
    pub kubeconfig: String,
    /// A cloud whose command line gives the credentials.
    pub login: Option<Login>,
}

/// `[cluster.login]`: a cloud whose command line writes a kubeconfig with short-lived credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase", tag = "cloud")]
pub enum Login {
    /// Amazon, by `aws`.
    Eks {
        /// The cluster.
        name: String,
        /// Where it is.
        region: String,
    },
    /// Google, by `gcloud`; the context is `gke_PROJECT_LOCATION_NAME`.
    Gke {
        /// The cluster.
        name: String,
        /// Where it is.
        location: String,
        /// Whose it is.
        project: String,
    },
    /// Azure, by `az`.
    Aks {
        /// The cluster.
        name: String,
        /// The resource group.
        group: String,
    },
}

impl Login {
    /// The program and its arguments that write `file` with the context `context`.
    pub fn command(&self, context: &str, file: &Path) -> (&'static str, Vec<String>) {
        let file = file.display().to_string();
        let (program, args): (_, Vec<&str>) = match self {
            Self::Eks { name, region } => {
                let args = ["eks", "update-kubeconfig", "--name", name, "--region", region];
                ("aws", [&args[..], &["--alias", context, "--kubeconfig", &file]].concat())
            }
            // It writes where KUBECONFIG says.
            Self::Gke { name, location, project } => {
                let args = ["container", "clusters", "get-credentials", name];
                ("gcloud", [&args[..], &["--location", location, "--project", project]].concat())
            }
            Self::Aks { name, group } => {
                let args = ["aks", "get-credentials", "--name", name, "--resource-group", group];
                ("az", [&args[..], &["--context", context, "--file", &file, "--overwrite-existing"]].concat())
            }
        };
        (program, args.into_iter().map(str::to_owned).collect())
    }
}

/// How the new version takes the place of the old one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// Pod by pod, in one Deployment
    #[default]
    Rolling,
    /// A second Deployment beside the first; the Service is moved when it is verified
    BlueGreen,
    /// A small share first, compared with a fresh one of the old version
    Canary,
}

impl Strategy {
    /// Its name on the command line and in the journal.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rolling => "rolling",
            Self::BlueGreen => "blue-green",
            Self::Canary => "canary",
        }
    }
}

/// Of how many verified releases the configuration can be kept.
pub const MOST_KEPT: usize = 10;

/// `[release]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// The branch that is released from.
    pub branch: String,
    /// The Kustomize overlay, relative to the repository.
    pub overlay: String,
    /// The namespace that everything of the overlay lies in.
    pub namespace: String,
    /// The Deployment that is released.
    pub workload: String,
    /// Its container that gets the image.
    pub container: String,
    /// The Service in front of it.
    pub service: String,
    /// The Secret that its pods name and that is made of `[secrets]`; empty where they name none.
    #[serde(default)]
    pub secret: String,
    /// The strategy, where the command line names none.
    #[serde(default)]
    pub strategy: Strategy,
    /// Whether a person has to type the environment's name.
    #[serde(default)]
    pub confirm: bool,
    /// Whether image, commit and working tree are held against each other; a waiver needs a reason.
    #[serde(default = "yes")]
    pub checked: bool,
    /// The load of pipeline.toml that a release is verified with; empty for none.
    #[serde(default)]
    pub load: String,
    /// What of pipeline.toml's requests may be sent here as load, and how often each beside the others.
    #[serde(default)]
    pub routes: BTreeMap<String, u32>,
    /// The only provider that load may ask for an answer of a language model.
    #[serde(default = "echo")]
    pub provider: String,
    /// The environment whose verified image is taken where this branch's head is none and its source tree is the same.
    #[serde(default)]
    pub after: String,
    /// Where verification asks the Service.
    #[serde(default)]
    pub verify_at: VerifyAt,
    /// How long a request may take, streams included.
    #[serde(with = "duration")]
    pub max_stream: Duration,
    /// How long a registry that stumbles is borne.
    #[serde(default = "two_minutes", with = "duration")]
    pub pull_patience: Duration,
    /// How long a pod may find no node.
    #[serde(default = "three_minutes", with = "duration")]
    pub unschedulable_patience: Duration,
    /// How long a container that runs may take until it is ready.
    #[serde(default = "two_minutes", with = "duration")]
    pub ready_patience: Duration,
    /// How long a verification that cannot run is tried again.
    #[serde(default = "one_minute", with = "duration")]
    pub verify_patience: Duration,
    /// How long a rollout may take in all.
    #[serde(default = "fifteen_minutes", with = "duration")]
    pub deadline: Duration,
    /// How long the lock lives without a sign of life of its holder.
    #[serde(default = "ninety_seconds", with = "duration")]
    pub lock: Duration,
    /// How many verified releases can be gone back to.
    #[serde(default = "five")]
    pub keep: usize,
    /// What differs in a blue-green release.
    #[serde(default)]
    pub blue_green: BlueGreen,
    /// The shares of the traffic that a canary release gets one after the other, in percent.
    #[serde(default = "steps")]
    pub canary_steps: Vec<u8>,
}

/// Where a release is verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VerifyAt {
    /// At the environment's `url`, as its users do.
    #[default]
    Url,
    /// At the Service: its load balancer, its own address where this machine reaches it, else a forwarded port.
    Service,
}

/// `[release.blue_green]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlueGreen {
    /// How long the old Deployment is kept, for an instant way back.
    #[serde(default = "fifteen_minutes", with = "duration")]
    pub keep: Duration,
}

impl Default for BlueGreen {
    fn default() -> Self {
        Self { keep: fifteen_minutes() }
    }
}

/// `[rehearsal]`: the waiting times of a rehearsal, shorter than the environment's own.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rehearsal {
    /// In place of `pull_patience`.
    #[serde(default = "ten_seconds", with = "duration")]
    pub pull: Duration,
    /// In place of `unschedulable_patience`.
    #[serde(default = "fifteen_seconds", with = "duration")]
    pub unschedulable: Duration,
    /// In place of `lock`.
    #[serde(default = "five_seconds", with = "duration")]
    pub lock: Duration,
    /// How long the load lasts; 0 for none, and then no fault is planted that only a load shows.
    #[serde(default = "twenty_seconds", with = "duration")]
    pub load: Duration,
    /// Images that a cluster for tests cannot pull, and the programs of this machine that stand in for each.
    #[serde(default)]
    pub stand_ins: BTreeMap<String, Vec<String>>,
}

impl Default for Rehearsal {
    fn default() -> Self {
        Self {
            pull: ten_seconds(),
            unschedulable: fifteen_seconds(),
            lock: five_seconds(),
            load: twenty_seconds(),
            stand_ins: BTreeMap::new(),
        }
    }
}

impl Cluster {
    pub(super) fn check(&self) -> Result<(), String> {
        match () {
            () if self.context.is_empty() || self.context.starts_with('-') => {
                Err(format!("cluster.context: `{}` is no context", self.context))
            }
            () if self.uid.is_empty() => Err("cluster.uid is empty: any cluster would do".to_owned()),
            () if !self.kubeconfig.is_empty() && self.login.is_some() => {
                Err("[cluster] has `kubeconfig` and `login`, and there is one way in".to_owned())
            }
            () => Ok(()),
        }
    }
}

impl Release {
    pub(super) fn check(&self) -> Result<(), String> {
        let names = [&self.namespace, &self.workload, &self.container, &self.service];
        if let Some(wrong) = names.into_iter().find(|name| !is_label(name)) {
            return Err(format!("[release]: `{wrong}` is no name of an object"));
        }
        if self.branch.is_empty() || self.branch.starts_with('-') {
            return Err(format!("release.branch: `{}` is no branch", self.branch));
        }
        if self.overlay.is_empty()
            || self.overlay.starts_with(['/', '-'])
            || self.overlay.split('/').any(|part| part == "..")
        {
            return Err(format!("release.overlay: `{}` is no folder of the repository", self.overlay));
        }
        if self.lock < Duration::from_secs(5) {
            return Err("release.lock: less than 5s is over before its holder can say that it lives".to_owned());
        }
        if !self.load.is_empty() && self.routes.is_empty() {
            return Err("release.routes: load goes only to what is listed there".to_owned());
        }
        if self.keep == 0 {
            return Err("release.keep: with 0 there is no way back".to_owned());
        }
        if self.keep > MOST_KEPT {
            return Err(format!("release.keep: the journal remembers {MOST_KEPT} ways back and no more"));
        }
        if self.canary_steps.is_empty() || self.canary_steps.iter().any(|step| !(1..=50).contains(step)) {
            return Err("release.canary_steps: each is a share of 1 to 50 percent".to_owned());
        }
        Ok(())
    }
}

/// RFC 1123 labels, as Kubernetes has them; a longer one leaves no room for a second Deployment's name.
pub(super) fn is_label(name: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !name.is_empty() && name.len() <= 50 && name.bytes().all(inside) && !name.starts_with('-') && !name.ends_with('-')
}

fn yes() -> bool {
    true
}

fn echo() -> String {
    "echo".to_owned()
}

fn five() -> usize {
    5
}

fn steps() -> Vec<u8> {
    vec![10, 25, 50]
}

fn five_seconds() -> Duration {
    Duration::from_secs(5)
}

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

fn fifteen_seconds() -> Duration {
    Duration::from_secs(15)
}

fn twenty_seconds() -> Duration {
    Duration::from_secs(20)
}

fn one_minute() -> Duration {
    Duration::from_secs(60)
}

fn ninety_seconds() -> Duration {
    Duration::from_secs(90)
}

fn two_minutes() -> Duration {
    Duration::from_secs(120)
}

fn three_minutes() -> Duration {
    Duration::from_secs(180)
}

fn fifteen_minutes() -> Duration {
    Duration::from_secs(900)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "branch = \"main\"\noverlay = \"k8s/overlays/production\"\nnamespace = \"forge\"\n\
                         workload = \"forge\"\ncontainer = \"forge\"\nservice = \"forge\"\nmax_stream = \"2m\"\n";

    #[test]
    fn a_release_names_objects_and_a_folder_of_the_repository() {
        for (from, to, wrong) in [
            ("", "", None),
            ("overlays/production", "../secrets", Some("no folder of the repository")),
            ("\"k8s/", "\"/k8s/", Some("no folder of the repository")),
            ("namespace = \"forge\"", "namespace = \"Forge\"", Some("no name of an object")),
            ("\"main\"", "\"-d\"", Some("no branch")),
            ("\"2m\"\n", "\"2m\"\nlock = \"1s\"\n", Some("less than 5s")),
            ("\"2m\"\n", "\"2m\"\nkeep = 0\n", Some("no way back")),
            ("\"2m\"\n", "\"2m\"\nkeep = 11\n", Some("remembers 10 ways back")),
            ("\"2m\"\n", "\"2m\"\ncanary_steps = [100]\n", Some("1 to 50 percent")),
        ] {
            let release: Release = toml::from_str(&LEAST.replacen(from, to, 1)).unwrap();
            let found = release.check().err().unwrap_or_default();
            assert_eq!(found.is_empty(), wrong.is_none(), "{to}: {found}");
            assert!(found.contains(wrong.unwrap_or_default()), "{to}: {found}");
        }
    }

    #[test]
    fn a_cluster_is_known_by_its_uid_and_has_one_way_in() {
        for (text, wrong) in [
            ("context = \"c\"\nuid = \"u\"\n", None),
            ("context = \"c\"\nuid = \"\"\n", Some("any cluster")),
            ("context = \"-c\"\nuid = \"u\"\n", Some("no context")),
            (
                "context = \"c\"\nuid = \"u\"\nkubeconfig = \"K\"\nlogin = { cloud = \"aks\", name = \"n\", group = \"g\" }\n",
                Some("one way in"),
            ),
        ] {
            let found = toml::from_str::<Cluster>(text).unwrap().check().err().unwrap_or_default();
            assert_eq!(found.is_empty(), wrong.is_none(), "{text}: {found}");
            assert!(found.contains(wrong.unwrap_or_default()), "{text}: {found}");
        }
    }

    #[test]
    fn each_cloud_writes_its_kubeconfig_by_its_own_command_line() {
        let file = Path::new("/f");
        let of = |login: Login| {
            let (program, args) = login.command("c", file);
            format!("{program} {}", args.join(" "))
        };
        let eks = Login::Eks { name: "n".into(), region: "r".into() };
        let gke = Login::Gke { name: "n".into(), location: "l".into(), project: "p".into() };
        let aks = Login::Aks { name: "n".into(), group: "g".into() };
        assert_eq!(of(eks), "aws eks update-kubeconfig --name n --region r --alias c --kubeconfig /f");
        assert_eq!(of(gke), "gcloud container clusters get-credentials n --location l --project p");
        assert_eq!(
            of(aks),
            "az aks get-credentials --name n --resource-group g --context c --file /f --overwrite-existing"
        );
    }
}
