//! The objects of a release: what Kustomize rendered, with the image by digest, the Secret by its real name, and the
//! labels by which the release's pods are known. Pure: objects in, objects out; no text is ever replaced.

use std::time::Duration;

use serde_json::{Value, json};

use super::references::{configs, names, rename_secret};
use super::track::Track;
use crate::config::Release;
use crate::tools::kube::path_of;

/// The label with the hash of a pod's template.
pub const TEMPLATE: &str = "forge.xtask/template";
/// The label that says which Deployment a pod is of.
pub const TRACK: &str = "forge.xtask/track";
/// The label that the Service looks for: the track whose traffic a pod gets.
pub const TRAFFIC: &str = "forge.xtask/traffic";
/// The annotation with the commit.
pub const COMMIT: &str = "forge.xtask/commit";
/// The label of all that a release makes and that is removed when nobody goes back to it any more.
pub const OWNED: &str = "forge.xtask/release-of";

/// What a release puts into the objects.
#[derive(Clone, Debug, Default)]
pub struct Filling {
    /// `REPOSITORY@sha256:…`
    pub image: String,
    /// The commit.
    pub commit: String,
    /// The real name of the Secret.
    pub secret: String,
    /// Which Deployment it becomes.
    pub track: Track,
    /// Whose traffic its pods get; empty for nobody's.
    pub traffic: String,
    /// How many pods, where no autoscaler owns that.
    pub replicas: Option<u64>,
}

/// Rendered objects, held against what the environment's file says of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifests(Vec<Value>);

/// Objects that can be applied, in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prepared {
    /// The objects.
    pub objects: Vec<Value>,
    /// The hash of the workload's pod template.
    pub template: String,
    /// The workload's name.
    pub workload: String,
    /// The names of the ConfigMaps and Secrets that its pods read, and of every other ConfigMap among the objects: as
    /// long as this release is kept, none of them is tidied away.
    pub configs: Vec<String>,
}

/// In which order kinds are applied: what others name comes first, and what sends traffic last.
const ORDER: &[&str] = &[
    "Namespace",
    "ServiceAccount",
    "ConfigMap",
    "NetworkPolicy",
    "PodDisruptionBudget",
    "Deployment",
    "HorizontalPodAutoscaler",
    "Service",
];

impl Manifests {
    /// Objects → manifests; the error says what an environment's file or an overlay has to change.
    pub fn new(objects: Vec<Value>, release: &Release) -> Result<Self, String> {
        let manifests = Self(objects);
        manifests.check(release)?;
        Ok(manifests)
    }

    fn check(&self, release: &Release) -> Result<(), String> {
        for object in &self.0 {
            let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
            let namespace = &object["metadata"]["namespace"];
            if kind.is_empty() || name.is_empty() {
                return Err(format!("`{}` renders an object without kind or name", release.overlay));
            }
            let at_home =
                if kind == "Namespace" { name == release.namespace } else { *namespace == *release.namespace };
            if !at_home {
                return Err(format!("{kind} `{name}` does not lie in the namespace `{}`", release.namespace));
            }
            if path_of(object).is_none() {
                return Err(format!("a release does not know where objects of the kind {kind} lie"));
            }
            if kind == "Secret" {
                return Err(format!("Secret `{name}` lies in a file: name its variables under [secrets] instead"));
            }
            if kind == "ConfigMap" && object["immutable"] != true {
                return Err(format!("ConfigMap `{name}` is not immutable, so no rollback restores it"));
            }
        }
        let workload =
            self.workload(release).ok_or_else(|| format!("there is no Deployment `{}`", release.workload))?;
        if self.find("Service", &release.service).is_none() {
            return Err(format!("there is no Service `{}`", release.service));
        }
        let container = container(workload, &release.container);
        let container = container
            .ok_or_else(|| format!("Deployment `{}` has no container `{}`", release.workload, release.container))?;
        if workload["spec"].get("replicas").is_some() && self.autoscaler(&release.workload).is_some() {
            return Err(format!("Deployment `{}` has `replicas`, which its autoscaler owns", release.workload));
        }
        let needed = release.max_stream + before_stop(container);
        let grace = Duration::from_secs(
            workload["spec"]["template"]["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap_or(30),
        );
        if grace < needed {
            return Err(format!(
                "terminationGracePeriodSeconds is {} s, and a stream of {} s after a preStop of {} s needs {} s",
                grace.as_secs(),
                release.max_stream.as_secs(),
                before_stop(container).as_secs(),
                needed.as_secs()
            ));
        }
        let names_secret = !release.secret.is_empty();
        if names_secret && !names(workload).contains(&release.secret.as_str()) {
            return Err(format!("Deployment `{}` names no Secret `{}`", release.workload, release.secret));
        }
        Ok(())
    }

    fn find(&self, kind: &str, name: &str) -> Option<&Value> {
        self.0.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
    }

    fn workload(&self, release: &Release) -> Option<&Value> {
        self.find("Deployment", &release.workload)
    }

    fn autoscaler(&self, workload: &str) -> Option<&Value> {
        self.0.iter().find(|object| {
            object["kind"] == "HorizontalPodAutoscaler" && object["spec"]["scaleTargetRef"]["name"] == workload
        })
    }

    /// The Namespace, which everything else needs.
    pub fn namespace(&self) -> Option<&Value> {
        self.0.iter().find(|object| object["kind"] == "Namespace")
    }

    /// How few pods there may be: what an autoscaler or the manifest says, else one.
    pub fn least_replicas(&self, release: &Release) -> u64 {
        let least = self.autoscaler(&release.workload).and_then(|object| object["spec"]["minReplicas"].as_u64());
        let written = self.workload(release).and_then(|object| object["spec"]["replicas"].as_u64());
        least.or(written).unwrap_or(1)
    }

    /// Objects that can be applied.
    pub fn fill(&self, release: &Release, filling: &Filling) -> Prepared {
        let mut objects = self.0.clone();
        let name = filling.track.of_workload(&release.workload);
        let mut prepared = Prepared { workload: name.clone(), ..Prepared::default() };
        for object in &mut objects {
            match text(&object["kind"]) {
                "Deployment" if object["metadata"]["name"] == *release.workload => {
                    fill_workload(object, release, filling, &name);
                    prepared.template = text(&object["spec"]["template"]["metadata"]["labels"][TEMPLATE]).to_owned();
                    prepared.configs = configs(object);
                }
                "HorizontalPodAutoscaler" if object["spec"]["scaleTargetRef"]["name"] == *release.workload => {
                    object["spec"]["scaleTargetRef"]["name"] = json!(name);
                    object["metadata"]["name"] = json!(filling.track.of_workload(text(&object["metadata"]["name"])));
                }
                "Service" if object["metadata"]["name"] == *release.service => {
                    object["spec"]["selector"][TRAFFIC] = json!(filling.traffic);
                }
                // By this it is removed when no release that is kept names it any more.
                "ConfigMap" => object["metadata"]["labels"][OWNED] = json!("settings"),
                _ => {}
            }
        }
        if filling.replicas.is_some() {
            // A Deployment of a fixed size: what scales the other one has nothing to do with it.
            // What its pods read has to be there, though: a new version may come with new settings.
            objects.retain(|object| {
                let found = text(&object["metadata"]["name"]);
                match text(&object["kind"]) {
                    "Deployment" => found == name,
                    "ConfigMap" => prepared.configs.iter().any(|config| config == found),
                    _ => false,
                }
            });
        }
        // Those of other workloads, which wear our label too.
        let maps = objects.iter().filter(|object| object["kind"] == "ConfigMap");
        prepared.configs.extend(maps.map(|object| text(&object["metadata"]["name"]).to_owned()));
        prepared.configs.sort_unstable();
        prepared.configs.dedup();
        let place = |object: &Value| {
            let kind = text(&object["kind"]);
            ORDER.iter().position(|known| *known == kind).unwrap_or(ORDER.len() - 2)
        };
        objects.sort_by_key(place);
        prepared.objects = objects;
        prepared
    }
}

fn fill_workload(object: &mut Value, release: &Release, filling: &Filling, name: &str) {
    object["metadata"]["name"] = json!(name);
    object["metadata"]["annotations"][COMMIT] = json!(filling.commit);
    if let Some(replicas) = filling.replicas {
        object["spec"]["replicas"] = json!(replicas);
    }
    let track = filling.track.name();
    object["spec"]["selector"]["matchLabels"][TRACK] = json!(track);
    rename_secret(object, &release.secret, &filling.secret);
    let template = &mut object["spec"]["template"];
    if let Some(containers) = template["spec"]["containers"].as_array_mut() {
        for container in containers.iter_mut().filter(|container| container["name"] == *release.container) {
            container["image"] = json!(filling.image);
        }
    }
    let labels = &mut template["metadata"]["labels"];
    labels[TRACK] = json!(track);
    labels[TRAFFIC] = json!(filling.traffic);
    // The same in another Deployment is another one: its pods are not these.
    let hash = blake3::hash(template.to_string().as_bytes()).to_hex();
    template["metadata"]["labels"][TEMPLATE] = json!(&hash[..16]);
}

fn container<'a>(workload: &'a Value, name: &str) -> Option<&'a Value> {
    workload["spec"]["template"]["spec"]["containers"].as_array()?.iter().find(|container| container["name"] == name)
}

/// How long a container's preStop takes, where it is a sleep.
fn before_stop(container: &Value) -> Duration {
    Duration::from_secs(container["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap_or(0))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
pub mod testing {
    //! Objects for unit tests.
    use super::*;

    /// The release of [`objects`].
    pub fn release() -> Release {
        toml::from_str(
            "branch = \"main\"\noverlay = \"k8s\"\nnamespace = \"n\"\nworkload = \"forge\"\ncontainer = \"app\"\n\
             service = \"forge\"\nsecret = \"placeholder\"\nmax_stream = \"20s\"\n",
        )
        .unwrap()
    }

    /// The least that can be released.
    pub fn objects() -> Vec<Value> {
        let meta = |name: &str| json!({"name": name, "namespace": "n"});
        vec![
            json!({"apiVersion": "v1", "kind": "Service", "metadata": meta("forge"), "spec": {"selector": {"app": "f"}}}),
            json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": meta("forge"),
                   "spec": {"minReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "forge"}}}),
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta("forge"), "spec": {
            "selector": {"matchLabels": {"app": "f"}},
            "template": {"metadata": {"labels": {"app": "f"}}, "spec": {
                "terminationGracePeriodSeconds": 30,
                "containers": [{"name": "app", "image": "forge",
                    "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
                    "envFrom": [{"configMapRef": {"name": "settings-1"}}, {"secretRef": {"name": "placeholder"}}]}],
            }}}}),
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta("redis"), "spec": {}}),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "immutable": true, "metadata": meta("settings-1"), "data": {}}),
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}}),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{objects, release};
    use super::*;

    fn filling() -> Filling {
        Filling {
            image: "r/i@sha256:1".into(),
            commit: "c".into(),
            secret: "real-1".into(),
            traffic: "stable".into(),
            ..Filling::default()
        }
    }

    fn find<'a>(prepared: &'a Prepared, kind: &str, name: &str) -> &'a Value {
        let is_it = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
        prepared.objects.iter().find(is_it).unwrap_or(&Value::Null)
    }

    #[test]
    fn the_image_goes_into_the_one_container_and_the_pods_are_known_by_what_they_are_made_of() {
        let manifests = Manifests::new(objects(), &release()).unwrap();
        let prepared = manifests.fill(&release(), &filling());
        let workload = find(&prepared, "Deployment", "forge");
        let template = &workload["spec"]["template"];
        assert_eq!(template["spec"]["containers"][0]["image"], "r/i@sha256:1");
        assert_eq!(template["spec"]["containers"][0]["envFrom"][1]["secretRef"]["name"], "real-1");
        assert_eq!(template["metadata"]["labels"][TEMPLATE], *prepared.template);
        assert_eq!(workload["spec"]["selector"]["matchLabels"][TRACK], "stable");
        assert_eq!(find(&prepared, "Service", "forge")["spec"]["selector"][TRAFFIC], "stable");
        assert_eq!(prepared.configs, ["real-1", "settings-1"]);
        assert!(workload["spec"].get("replicas").is_none());
        let kinds: Vec<&str> = prepared.objects.iter().map(|object| text(&object["kind"])).collect();
        assert_eq!(kinds.first().zip(kinds.last()), Some((&"Namespace", &"Service")));
        let again = manifests.fill(&release(), &filling());
        assert_eq!(again, prepared);
        for changed in
            [Filling { image: "r/i@sha256:2".into(), ..filling() }, Filling { secret: "real-2".into(), ..filling() }]
        {
            assert_ne!(manifests.fill(&release(), &changed).template, prepared.template);
        }
        let other_commit = Filling { commit: "d".into(), ..filling() };
        assert_eq!(manifests.fill(&release(), &other_commit).template, prepared.template);
    }

    #[test]
    fn what_only_another_workload_reads_is_kept_with_its_release() {
        let mut objects = objects();
        let meta = json!({"name": "redis-conf-1", "namespace": "n"});
        objects.push(json!({"apiVersion": "v1", "kind": "ConfigMap", "immutable": true, "metadata": meta}));
        let manifests = Manifests::new(objects, &release()).unwrap();
        let prepared = manifests.fill(&release(), &filling());
        // Everything that wears the label by which it is removed one day is named by its release.
        for object in prepared.objects.iter().filter(|object| object["metadata"]["labels"].get(OWNED).is_some()) {
            let name = text(&object["metadata"]["name"]);
            assert!(prepared.configs.iter().any(|config| config == name), "{name}: {:?}", prepared.configs);
        }
        assert_eq!(prepared.configs, ["real-1", "redis-conf-1", "settings-1"]);
    }

    #[test]
    fn a_second_deployment_has_names_of_its_own_and_a_fixed_one_comes_with_its_settings() {
        let manifests = Manifests::new(objects(), &release()).unwrap();
        let blue = Filling { track: Track::Blue, traffic: "blue".into(), ..filling() };
        let prepared = manifests.fill(&release(), &blue);
        assert_eq!(prepared.workload, "forge-blue");
        assert_eq!(
            find(&prepared, "HorizontalPodAutoscaler", "forge-blue")["spec"]["scaleTargetRef"]["name"],
            "forge-blue"
        );
        assert_eq!(find(&prepared, "Deployment", "redis")["kind"], "Deployment");
        let canary = Filling { track: Track::Canary, replicas: Some(2), ..filling() };
        let prepared = manifests.fill(&release(), &canary);
        // Alone but for the settings that its pods read.
        let kinds: Vec<&str> = prepared.objects.iter().map(|object| text(&object["kind"])).collect();
        assert_eq!(kinds, ["ConfigMap", "Deployment"]);
        assert_eq!(prepared.objects[1]["spec"]["replicas"], 2);
    }

    #[test]
    fn what_cannot_be_released_is_refused_before_anything_changes() {
        let change = |pointer: &str, value: Value| {
            let mut objects = objects();
            let (index, rest) = pointer.split_once('/').unwrap();
            *objects[index.parse::<usize>().unwrap()].pointer_mut(&format!("/{rest}")).unwrap() = value;
            Manifests::new(objects, &release()).unwrap_err()
        };
        let with = |object: Value| Manifests::new([objects(), vec![object]].concat(), &release()).unwrap_err();
        for (found, expected) in [
            (change("2/metadata/namespace", json!("m")), "does not lie in the namespace `n`"),
            (change("2/spec/template/spec/terminationGracePeriodSeconds", json!(24)), "needs 25 s"),
            (change("4/immutable", json!(false)), "is not immutable"),
            (change("0/metadata/name", json!("other")), "no Service `forge`"),
            (change("2/metadata/name", json!("other")), "no Deployment `forge`"),
            (change("2/spec/template/spec/containers/0/name", json!("other")), "no container `app`"),
            (change("2/spec/template/spec/containers/0/envFrom/1", json!({})), "names no Secret"),
            (change("2/spec", json!({"replicas": 1, "template": objects()[2]["spec"]["template"]})), "autoscaler owns"),
            (
                with(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "n"}})),
                "lies in a file",
            ),
            (
                with(json!({"apiVersion": "x/v1", "kind": "Odd", "metadata": {"name": "s", "namespace": "n"}})),
                "kind Odd",
            ),
            (with(json!({"kind": "Odd"})), "without kind or name"),
        ] {
            assert!(found.contains(expected), "{found} / {expected}");
        }
    }
}
