//! The files of a generated project: sound ones in which no scanner finds a thing, and the same with one weakness.

use super::tree::{self, Size};
use crate::material::bulk::WORDS;
use crate::material::random::Random;

/// How many documents a manifest has.
pub const DOCUMENTS: usize = 4;

/// How many of them kube-score knows a check for.
pub const SCORED: usize = 3;

/// The version of Kubernetes whose schemas count.
const KUBERNETES: &str = "1.32";

/// The configuration, with every subject that needs nothing from outside.
pub fn pipeline(size: &Size, python: &str) -> String {
    let list = |count: usize, path: &dyn Fn(usize) -> String| format!("{:?}", (0..count).map(path).collect::<Vec<_>>());
    format!(
        "[python]\nversions = [\"{python}\"]\ntools = \"{python}\"\ntools_lock = \"locks/tools.txt\"\n\n\
         [tools]\nlocks = \"locks\"\n\n\
         [secrets]\nrules = \"xtask/config/gitleaks.toml\"\n\n\
         [sast]\nfiles = [\"library\"]\npython = \"{python}\"\n\n\
         [dockerfile]\nfiles = {}\n\n[workflows]\ndirectory = \".github/workflows\"\n\n\
         [manifests]\noverlays = {}\nkubernetes = \"{KUBERNETES}\"\n\n[shell]\nfiles = {}\n",
        list(size.dockerfiles, &tree::dockerfile),
        list(size.overlays.0, &|n| format!("k8s/{n:02}")),
        list(size.scripts, &tree::script),
    )
}

/// About so many bytes of Python; weak by a call of `eval`.
pub fn module(random: &mut Random, bytes: usize, weak: bool) -> String {
    let mut text = "\"\"\"Numbers.\"\"\"\n".to_owned();
    if weak {
        text.push_str("\n\ndef result(text: str) -> object:\n    return eval(text)\n");
    }
    let mut nth = 0;
    while text.len() < bytes {
        let [a, b] = [random.pick(&WORDS), random.pick(&WORDS)];
        let [n, m] = [random.below(1000), random.below(1000)];
        nth += 1;
        text.push_str(&format!(
            "\n\ndef {a}_{b}_{nth}(start: int, end: int = {n}) -> dict[str, int]:\n    \
             if start > end:\n        return {{\"rest\": start - {m}}}\n    \
             total = sum(x * {n} for x in range(start, end))\n    return {{\"total\": total, \"rest\": {m}}}\n"
        ));
    }
    text
}

/// Weak by a word that is not quoted.
pub fn script(random: &mut Random, weak: bool) -> String {
    let mut text = "#!/bin/sh\nset -eu\n".to_owned();
    for n in 0..20 {
        let [a, b] = [random.pick(&WORDS), random.pick(&WORDS)];
        text.push_str(&format!("\n{a}_{b}_{n}() {{\n    printf '%s\\n' \"{a} of $1\"\n}}\n{a}_{b}_{n} \"$0\"\n"));
    }
    text + if weak { "echo $1\n" } else { "" }
}

/// Weak by naming no user.
pub fn dockerfile(n: usize, weak: bool) -> String {
    let user = if weak { "" } else { "USER 10001\n" };
    format!("FROM scratch\nCOPY part_{n} /app\n{user}ENTRYPOINT [\"/app/run\"]\n")
}

/// Weak by a text of strangers in a script, which zizmor and actionlint know.
pub fn workflow(n: usize, weak: bool) -> String {
    let run = if weak { "echo \"${{ github.event.pull_request.title }}\"" } else { "cargo xtask ci" };
    format!(
        "name: Job {n}\non:\n  push:\n    branches: [main]\npermissions: {{}}\nconcurrency:\n  \
         group: job-{n}-${{{{ github.ref }}}}\n  cancel-in-progress: true\njobs:\n  check:\n    name: check\n    \
         runs-on: ubuntu-24.04\n    permissions:\n      contents: read # to check out\n    steps:\n      \
         - name: check out\n        uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1\n        \
         with:\n          persist-credentials: false\n      - name: check\n        run: {run}\n"
    )
}

/// An application: weak by a field that nobody knows, and by a container that may do everything.
pub fn manifest(n: usize, weak: bool) -> String {
    let (data, privileged) = if weak { ("dta", "true") } else { ("data", "false") };
    MANIFEST.replace("@APP@", &format!("app-{n}")).replace("@DATA@", data).replace("@PRIVILEGED@", privileged)
}

const MANIFEST: &str = "apiVersion: apps/v1
kind: Deployment
metadata:
  name: @APP@
spec:
  replicas: 2
  selector:
    matchLabels: {app: @APP@}
  template:
    metadata:
      labels: {app: @APP@}
    spec:
      securityContext:
        seccompProfile: {type: RuntimeDefault}
      affinity:
        podAntiAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
          - labelSelector:
              matchLabels: {app: @APP@}
            topologyKey: kubernetes.io/hostname
      containers:
      - name: app
        image: registry.invalid/app:1.0.0
        imagePullPolicy: Always
        ports: [{containerPort: 8080}]
        securityContext:
          privileged: @PRIVILEGED@
          runAsUser: 10001
          runAsGroup: 10001
          readOnlyRootFilesystem: true
        resources:
          requests: {cpu: 100m, memory: 64Mi, ephemeral-storage: 16Mi}
          limits: {cpu: 100m, memory: 64Mi, ephemeral-storage: 16Mi}
        readinessProbe:
          httpGet: {path: /ready, port: 8080}
        livenessProbe:
          httpGet: {path: /health, port: 8080}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: @APP@
spec:
  minAvailable: 1
  selector:
    matchLabels: {app: @APP@}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: @APP@
spec:
  podSelector:
    matchLabels: {app: @APP@}
  policyTypes: [Ingress, Egress]
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: @APP@
@DATA@:
  level: info
";
