//! Paths, environment, clock and options of one invocation: read once, then passed by reference.
//!
//! The only file that reads the process's environment (clippy holds the others to it).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::config::{Config, Environment};
use crate::exit::UsageError;
use crate::text::Redactor;

/// Variables that a child needs to find programs, folders, proxies, certificates and package indexes.
/// They are passed on, are no part of any cache key, and are never printed.
const PASSED_ON: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "TMPDIR",
    "XDG_CACHE_HOME",
    "XDG_DATA_HOME",
    "XDG_CONFIG_HOME",
    "PYENV_ROOT",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "PIP_CERT",
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_CONFIG_FILE",
    "UV_CACHE_DIR",
    "UV_DEFAULT_INDEX",
    "UV_INDEX",
    "UV_INDEX_URL",
    "UV_EXTRA_INDEX_URL",
    "UV_NATIVE_TLS",
    "UV_PYTHON_INSTALL_DIR",
    "GOPATH",
    "GOCACHE",
    "GOMODCACHE",
    "GOPROXY",
    "GONOSUMDB",
    "GOSUMDB",
    "CARGO_HOME",
    "RUSTUP_HOME",
    // Where the container engine answers, and where its logins lie.
    "DOCKER_HOST",
    "DOCKER_CONFIG",
    "DOCKER_CONTEXT",
    "DOCKER_CERT_PATH",
    "DOCKER_TLS_VERIFY",
    "CONTAINER_HOST",
    "REGISTRY_AUTH_FILE",
    "CONTAINERS_CONF",
    "XDG_RUNTIME_DIR",
];

/// A variable whose name holds one of these words is taken for a secret; its value is redacted everywhere.
const SECRET_WORDS: &[&str] =
    &["TOKEN", "SECRET", "PASSWORD", "PASSWD", "API_KEY", "APIKEY", "PRIVATE_KEY", "CREDENTIAL"];

/// How strict a run is about where tools come from and which gates may be unable to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// A developer's machine: tools from PATH count.
    Local,
    /// GitHub Actions: only what our lock files installed counts.
    Actions,
    /// `actions`, less a written list of gates that need data from outside.
    Offline,
}

impl Profile {
    /// Its name in reports and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Actions => "actions",
            Self::Offline => "offline",
        }
    }

    /// Whether a program found on PATH may stand in for a pinned one (R15).
    pub fn trusts_path(self) -> bool {
        self == Self::Local
    }
}

/// Everything that a task may know about this invocation.
#[derive(Clone, Debug)]
pub struct Ctx {
    /// The repository's top level.
    pub root: PathBuf,
    /// Where reports go.
    pub out: PathBuf,
    /// Tools, environments and cache of this checkout: `target/xtask`.
    pub store: PathBuf,
    /// Where Python environments lie, with links followed: their scripts name the place for good.
    pub environments: PathBuf,
    /// Where programs lie that the pipeline installs, with links followed.
    pub tools: PathBuf,
    /// The configuration.
    pub config: Config,
    /// The folder that the configuration came from, as given.
    pub config_dir: PathBuf,
    /// The profile.
    pub profile: Profile,
    /// A snapshot of the environment.
    pub env: BTreeMap<String, String>,
    /// When this invocation began.
    pub started: OffsetDateTime,
    /// Knows the secrets of the environment.
    pub redactor: Redactor,
    /// The environment that this invocation is about, by the name of its file.
    pub environment: Option<String>,
}

/// What the command line says about the places and the profile.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// `--config DIR`
    pub config: Option<PathBuf>,
    /// `--out DIR`
    pub out: Option<PathBuf>,
    /// `--profile`
    pub profile: Option<Profile>,
}

impl Ctx {
    /// Finds the repository around `cwd` and reads its configuration.
    pub fn load(places: Places, env: BTreeMap<String, String>, cwd: &Path, now: OffsetDateTime) -> Result<Self> {
        let root = cwd.ancestors().find(|dir| dir.join(".git").exists()).ok_or_else(|| {
            UsageError(format!("`{}` is not inside a git repository; run it from a checkout", cwd.display()))
        })?;
        let config_dir = places.config.map_or_else(|| root.join("xtask/config"), |dir| cwd.join(dir));
        let config = Config::load(&config_dir)?;
        let store = root.join("target/xtask");
        let out = places.out.map_or_else(|| store.join("out"), |dir| cwd.join(dir));
        let followed = |name: &str| store.join(name).canonicalize().unwrap_or_else(|_| store.join(name));
        let known = [secrets(&env), released(&config_dir, &env)].concat();
        let redactor = Redactor::new(known.iter().map(String::as_str));
        Ok(Self {
            root: root.to_owned(),
            out,
            environments: followed("env"),
            tools: followed("tools"),
            store,
            config,
            config_dir,
            profile: places.profile.unwrap_or(Profile::Local),
            env,
            started: now,
            redactor,
            environment: None,
        })
    }

    /// One variable of the environment.
    pub fn var(&self, name: &str) -> Option<&str> {
        self.env.get(name).map(String::as_str)
    }

    /// Whether this runs inside GitHub Actions, where groups and annotations are understood.
    pub fn in_actions(&self) -> bool {
        self.var("GITHUB_ACTIONS") == Some("true")
    }

    /// The environment of every child: what is passed on, and what is keyed. It gets nothing else.
    pub fn child_env(&self) -> BTreeMap<String, String> {
        let named = |name: &&String| PASSED_ON.contains(&name.as_str()) || self.config.cache.environment.contains(name);
        self.env.iter().filter(|(name, _)| named(name)).map(|(n, v)| (n.clone(), v.clone())).collect()
    }

    /// The keyed variables with their values, unset ones included: setting one to nothing is a change too.
    pub fn keyed_env(&self) -> BTreeMap<String, Option<String>> {
        self.config.cache.environment.iter().map(|name| (name.clone(), self.env.get(name).cloned())).collect()
    }

    /// A path relative to the repository, with forward slashes; `None` outside of it (R38).
    pub fn relative(&self, path: &Path) -> Option<String> {
        let mut parts = Vec::new();
        let absolute = self.root.join(path);
        for part in absolute.strip_prefix(&self.root).ok()?.components() {
            match part {
                std::path::Component::Normal(name) => parts.push(name.to_string_lossy().into_owned()),
                std::path::Component::CurDir => {}
                std::path::Component::ParentDir => {
                    parts.pop()?;
                }
                _ => return None,
            }
        }
        Some(parts.join("/"))
    }
}

/// Values that must not be shown: of variables that are named like secrets (a long one line by line, as logs
/// have it), and the passwords in the addresses of proxies and package indexes.
fn secrets(env: &BTreeMap<String, String>) -> Vec<String> {
    let named = |name: &str| SECRET_WORDS.iter().any(|word| name.to_uppercase().contains(word));
    let values = env.iter().filter(|(name, _)| named(name)).map(|(_, value)| value);
    let lines =
        values.flat_map(|value| std::iter::once(value.as_str()).chain(value.lines().filter(|line| line.len() >= 16)));
    let passwords = env.values().flat_map(|value| value.split_whitespace()).filter_map(|address| {
        let (user, _) = address.split_once("://")?.1.split('/').next()?.rsplit_once('@')?;
        Some(user.split_once(':').map_or(user, |(_, password)| password))
    });
    lines.chain(passwords).map(str::to_owned).collect()
}

/// The values that the Secret of any environment is filled with, whatever their variables are called. A file that cannot
/// be read is somebody else's to complain of.
fn released(config_dir: &Path, env: &BTreeMap<String, String>) -> Vec<String> {
    let environments =
        Environment::names(config_dir).into_iter().filter_map(|name| Environment::load(config_dir, &name).ok());
    let variables = environments.flat_map(|environment| environment.secrets.into_values());
    variables.filter_map(|name| env.get(name.trim_end_matches('?')).cloned()).collect()
}

/// The address of the workflow's run; empty where there is none.
pub fn run_url(env: &BTreeMap<String, String>) -> String {
    let var = |name: &str| env.get(name).filter(|value| !value.is_empty());
    let is_told = env.get("GITHUB_ACTIONS").is_some_and(|value| value == "true");
    match [var("GITHUB_SERVER_URL"), var("GITHUB_REPOSITORY"), var("GITHUB_RUN_ID")] {
        [Some(server), Some(repository), Some(id)] if is_told => format!("{server}/{repository}/actions/runs/{id}"),
        _ => String::new(),
    }
}

/// The process's environment and working folder, and the time.
///
/// Variables that are not Unicode are left out: nothing of ours reads them.
#[allow(clippy::disallowed_methods, reason = "the one door to the process's environment")]
pub fn surroundings() -> Result<(BTreeMap<String, String>, PathBuf, OffsetDateTime)> {
    let env = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let cwd = std::env::current_dir().context("cannot tell the current folder")?;
    Ok((env, cwd, OffsetDateTime::now_utc()))
}

#[cfg(test)]
pub mod testing {
    //! A context for unit tests.
    use super::*;

    /// A context over `root` with the smallest configuration.
    pub fn ctx(root: &Path) -> Ctx {
        let text = "[python]\nversions = [\"3.12\"]\ntools = \"3.12\"\ntools_lock = \"tools.txt\"\n";
        Ctx {
            root: root.to_owned(),
            out: root.join("out"),
            store: root.join("target/xtask"),
            environments: root.join("target/xtask/env"),
            tools: root.join("target/xtask/tools"),
            config: Config::parse(text).unwrap(),
            config_dir: root.join("xtask/config"),
            profile: Profile::Local,
            env: BTreeMap::new(),
            started: OffsetDateTime::UNIX_EPOCH,
            redactor: Redactor::default(),
            environment: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_outside_the_repository_are_refused() {
        let ctx = testing::ctx(Path::new("/repo"));
        for (path, relative) in [
            ("backend/a.py", Some("backend/a.py")),
            ("./backend/../backend/a.py", Some("backend/a.py")),
            ("/repo/backend/a.py", Some("backend/a.py")),
            ("../other/a.py", None),
            ("backend/../../etc/passwd", None),
            ("/etc/passwd", None),
        ] {
            assert_eq!(ctx.relative(Path::new(path)).as_deref(), relative, "{path}");
        }
    }

    #[test]
    fn secrets_are_known_by_name_line_and_address() {
        let env = [
            ("MY_TOKEN", "abcdef-token"),
            ("deploy_private_key", "-----BEGIN KEY-----\nAAAAAAAAAAAAAAAAAAAAAAAA\n-----END KEY-----"),
            ("UV_INDEX_URL", "https://someone:p4ssword@index.invalid/simple"),
            ("PLAIN", "nothing to hide"),
        ];
        let env = env.into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        let found = secrets(&env);
        for secret in ["abcdef-token", "AAAAAAAAAAAAAAAAAAAAAAAA", "p4ssword"] {
            assert!(found.iter().any(|known| known == secret), "{secret} in {found:?}");
        }
        assert!(!found.iter().any(|known| known.contains("hide")));
    }

    #[test]
    fn what_a_secret_of_an_environment_is_filled_with_is_known_whatever_its_name_is() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("staging.toml", "url = \"https://a.example\"\n[secrets]\nDSN = \"SENTRY_DSN\"\nMORE = \"OPTIONAL?\"\n");
        write("broken.toml", "url = 1\n");
        write("pipeline.toml", "");
        let env = [("SENTRY_DSN", "dsn-of-sentry"), ("OPTIONAL", "an-optional-one"), ("PLAIN", "nothing to hide")];
        let env = env.into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        assert_eq!(released(folder.path(), &env), ["dsn-of-sentry", "an-optional-one"]);
    }

    #[test]
    fn children_get_two_lists_and_nothing_else() {
        let mut ctx = testing::ctx(Path::new("/repo"));
        ctx.config.cache.environment = vec!["TZ".into(), "UNSET".into()];
        for name in ["PATH", "TZ", "GITHUB_TOKEN", "PYTHONPATH", "PYTEST_ADDOPTS", "SKIP"] {
            ctx.env.insert(name.into(), "v".into());
        }
        assert_eq!(ctx.child_env().keys().collect::<Vec<_>>(), ["PATH", "TZ"]);
        assert_eq!(
            ctx.keyed_env().into_iter().collect::<Vec<_>>(),
            [("TZ".to_owned(), Some("v".to_owned())), ("UNSET".to_owned(), None)]
        );
    }
}
