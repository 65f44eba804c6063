//! How a cluster is reached: a context of a kubeconfig, or the command line of a cloud that writes one.
//!
//! A login that is missing or has run out is found before anything else, with the command that mends it. A kubeconfig
//! that comes by a variable, or that a cloud writes for us, lies in a folder that only we can read and that ends with
//! this value.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::config::{Cluster, Login};
use crate::context::Ctx;
use crate::tools::command::Command;
use crate::tools::ledger::Scratch;
use crate::tools::machine::Machine;
use crate::tools::proc::{Ended, Runner};
use crate::verdict::{NotRun, Unproven};

/// Variables that the command lines of clouds, and the login programs that a kubeconfig names, read.
const PASSED_ON: &[&str] = &["KUBECONFIG"];

/// The beginnings of the names of such variables.
const FAMILIES: &[&str] = &["AWS_", "CLOUDSDK_", "GOOGLE_", "AZURE_", "ARM_", "ACTIONS_ID_TOKEN_"];

/// Where a cluster is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// A kubeconfig of its own; else that of the environment, or the home folder's.
    pub kubeconfig: Option<PathBuf>,
    /// The context.
    pub context: String,
}

/// A way into a cluster.
#[derive(Clone, Debug)]
pub struct Access {
    kubectl: PathBuf,
    cwd: PathBuf,
    place: Place,
    env: BTreeMap<String, String>,
    way_in: String,
    _folder: Option<Arc<Scratch>>,
}

impl Access {
    /// By the configuration of an environment.
    pub async fn of(machine: &Machine, runner: &Runner, cluster: &Cluster) -> Result<Self, Unproven> {
        let ctx = &machine.ctx;
        let mut access = Self::bare(machine, Place { kubeconfig: None, context: cluster.context.clone() })?;
        access.way_in = way_in(cluster);
        if !cluster.kubeconfig.is_empty() {
            let name = &cluster.kubeconfig;
            let text = ctx.var(name).filter(|text| !text.trim().is_empty()).ok_or_else(|| {
                NotRun::new(
                    format!("the variable `{name}`, which holds the kubeconfig, is not set"),
                    access.way_in.clone(),
                )
            })?;
            let file = access.own_folder(machine)?;
            std::fs::write(&file, text).context("cannot write the kubeconfig")?;
            access.place.kubeconfig = Some(file);
        } else if let Some(login) = cluster.login.as_ref() {
            let file = access.own_folder(machine)?;
            access.log_in(machine, runner, login, &file).await?;
            access.place.kubeconfig = Some(file);
        }
        access.checked(runner).await
    }

    /// By a context that somebody names.
    pub async fn by_context(machine: &Machine, runner: &Runner, place: Place) -> Result<Self, Unproven> {
        Self::bare(machine, place)?.checked(runner).await
    }

    fn bare(machine: &Machine, place: Place) -> Result<Self, NotRun> {
        let ctx = &machine.ctx;
        let kubectl = machine.on_path("kubectl").ok_or_else(|| {
            NotRun::new(
                "`kubectl` is not on PATH",
                "install kubectl (kubernetes.io/docs/tasks/tools), then run it again",
            )
        })?;
        let env = passed_on(ctx);
        let way_in = format!("kubectl --context {} get --raw /version", place.context);
        Ok(Self { kubectl, cwd: ctx.root.clone(), place, env, way_in, _folder: None })
    }

    /// A file in a folder that only we can read.
    fn own_folder(&mut self, machine: &Machine) -> Result<PathBuf> {
        let folder = machine.ledger.scratch("kubeconfig", &machine.temporary())?;
        let file = folder.path().join("config");
        self._folder = Some(Arc::new(folder));
        Ok(file)
    }

    /// Has a cloud's command line write a kubeconfig, whose credentials are short-lived.
    async fn log_in(
        &self,
        machine: &Machine,
        runner: &Runner,
        login: &Login,
        file: &std::path::Path,
    ) -> Result<(), Unproven> {
        let (program, args) = login.command(&self.place.context, file);
        let Some(found) = machine.on_path(program) else {
            let fix = format!("install the command line `{program}`, then `{}`", self.way_in);
            return Err(NotRun::new(format!("`{program}` is not on PATH"), fix).into());
        };
        let command = Command::new(found, &self.cwd).args(args).timeout(Duration::from_secs(60));
        let command = Command { env: self.env.clone(), ..command }.env("KUBECONFIG", file);
        let ended = runner.run(&command).await?;
        if ended.is_success() && file.is_file() {
            return Ok(());
        }
        let reason = format!("`{program}` gives no credentials for the cluster: {}", ended.failure());
        Err(NotRun::new(reason, self.way_in.clone()).into())
    }

    /// Asks the cluster for its version, which needs a login that works.
    async fn checked(self, runner: &Runner) -> Result<Self, Unproven> {
        let ask = self.kubectl(["get", "--raw", "/version", "--request-timeout=10s"]).timeout(Duration::from_secs(30));
        let ended = runner.run(&ask).await?;
        if ended.is_success() {
            return Ok(self);
        }
        Err(self.refused(&ended).into())
    }

    fn refused(&self, ended: &Ended) -> NotRun {
        NotRun::new(no_way_in(&self.place.context, &ended.failure()), self.way_in.clone())
    }

    /// A `kubectl` command on this cluster.
    pub fn kubectl<S: Into<String>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(&self.kubectl, &self.cwd);
        command.env.clone_from(&self.env);
        if let Some(file) = &self.place.kubeconfig {
            command.env.insert("KUBECONFIG".to_owned(), file.display().to_string());
        }
        command.arg("--context").args([self.place.context.clone()]).args(args)
    }

    /// Where the cluster is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The command that mends a login.
    pub fn way_in(&self) -> &str {
        &self.way_in
    }
}

/// What the words of a `kubectl` that got no answer mean.
fn no_way_in(context: &str, words: &str) -> String {
    let of_login = [
        "Unauthorized",
        "must be logged in",
        "provide credentials",
        "exec: ",
        "getting credentials",
        "expired",
        "token",
    ];
    match () {
        () if words.contains("does not exist") && words.contains("context") => {
            format!("the kubeconfig has no context `{context}`")
        }
        () if of_login.iter().any(|word| words.contains(word)) => {
            format!("the login to `{context}` is missing or has run out: {words}")
        }
        () => format!("the cluster of `{context}` does not answer: {words}"),
    }
}

fn passed_on(ctx: &Ctx) -> BTreeMap<String, String> {
    let named = |name: &str| PASSED_ON.contains(&name) || FAMILIES.iter().any(|family| name.starts_with(family));
    ctx.env.iter().filter(|(name, _)| named(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn way_in(cluster: &Cluster) -> String {
    match &cluster.login {
        _ if !cluster.kubeconfig.is_empty() => {
            format!("set `{}` to a kubeconfig with a login that works", cluster.kubeconfig)
        }
        Some(Login::Eks { .. }) => "aws sso login".to_owned(),
        Some(Login::Gke { .. }) => "gcloud auth login".to_owned(),
        Some(Login::Aks { .. }) => "az login".to_owned(),
        None => format!("log in to the context `{}` of your kubeconfig", cluster.context),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_login_that_is_missing_is_told_from_a_cluster_that_does_not_answer() {
        for (words, expected) in [
            ("error: context \"c\" does not exist", "has no context `c`"),
            ("error: You must be logged in to the server (Unauthorized)", "the login to `c`"),
            ("error: the server has asked for the client to provide credentials", "the login to `c`"),
            (
                "Unable to connect to the server: getting credentials: exec: executable aws not found",
                "the login to `c`",
            ),
            ("dial tcp 10.0.0.1:6443: connect: connection refused", "does not answer"),
        ] {
            let found = super::no_way_in("c", words);
            assert!(found.contains(expected), "{found}");
        }
    }
}
