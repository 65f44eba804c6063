//! `smoke [ENV | --url URL]`: does a running backend do what it is for? Every request of `[smoke]` to every instance.
//!
//! Each instance is asked by an address of its own: behind a balancer one that works hides one that does not. Without
//! an address the backend is started for it, as `integration` does.

use reqwest::Client;

use super::{Subject, Task, backend, container};
use crate::config::{Config, Environment, Request, is_http};
use crate::context::Ctx;
use crate::engine::gate::{Gate, Inputs, action};
use crate::engine::session::Session;
use crate::exit::UsageError;
use crate::expect::judge;
use crate::services::stack::{self, Stack, Wanted};
use crate::tools::cancel::Urgency;
use crate::tools::command::quoted;
use crate::tools::http::{self, Unanswered};
use crate::verdict::{Evidence, Finding, NotRun, Outcome, Severity, Unproven, Work};

/// What asks, as the report names it.
const TOOL: &str = "reqwest";

/// The task.
pub const TASK: Task = Task {
    name: "smoke",
    subjects: &[Subject::new("smoke", |config| config.smoke.is_some())],
    plan: |ctx| plan(ctx, &[]),
};

/// What the command line says.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Args {
    /// The environment whose URL and instances are asked
    #[arg(value_name = "ENV", conflicts_with = "url")]
    pub environment: Option<String>,
    /// An instance to ask, such as http://127.0.0.1:8000; may be given several times
    #[arg(long, value_name = "URL")]
    pub url: Vec<String>,
}

impl Args {
    /// The addresses to ask; none where the backend is to be started.
    pub fn addresses(&self, ctx: &Ctx) -> Result<Vec<String>, UsageError> {
        if let Some(wrong) = self.url.iter().find(|url| !is_http(url)) {
            return Err(UsageError(format!("`{wrong}` is no address like http://127.0.0.1:8000")));
        }
        match &self.environment {
            Some(name) => Ok(Environment::load(&ctx.config_dir, name)?.addresses().cloned().collect()),
            None => Ok(self.url.clone()),
        }
    }
}

/// One gate over all `addresses`; none of them: the backend is started.
pub fn plan(ctx: &Ctx, addresses: &[String]) -> Vec<Gate> {
    let Config { smoke: Some(smoke), requests, service, .. } = &ctx.config else { return vec![] };
    let asked: Vec<(String, Request)> =
        smoke.requests.iter().filter_map(|name| Some((name.clone(), requests.get(name)?.clone()))).collect();
    let ready = service.as_ref().and_then(|service| requests.get(&service.ready));
    let settings = format!("{asked:?} {addresses:?} {service:?} {ready:?}");
    let (addresses, again) = (addresses.to_vec(), again(addresses));
    let own = addresses.is_empty();
    let source = service.as_ref().filter(|_| own).map(|service| format!("{}/{}", service.directory, service.source));
    let files = source.into_iter().collect();
    vec![Gate {
        id: "smoke".to_owned(),
        unit: "requests",
        tool: (TOOL, "Cargo.lock".to_owned()),
        // What runs elsewhere is asked now; what is started here is the same as long as its source is.
        fresh: !own,
        waits_for: if own { vec![container::BUILD.to_owned()] } else { vec![] },
        environments: if own { stack::environments(&ctx.config) } else { vec![] },
        inputs: Inputs { files, ignored: own, settings, path_tools: stack::PATH_TOOLS.to_vec(), ..Inputs::default() },
        again: again.clone(),
        action: action(move |session| run(session, addresses.clone(), asked.clone(), again.clone())),
        ..Gate::default()
    }]
}

fn again(addresses: &[String]) -> String {
    let urls: String = addresses.iter().map(|address| format!(" --url {}", quoted(address))).collect();
    format!("cargo xtask smoke{urls}")
}

async fn run(
    session: Session,
    addresses: Vec<String>,
    asked: Vec<(String, Request)>,
    again: String,
) -> Result<Outcome, Unproven> {
    let started = if addresses.is_empty() { Some(backend::start(&session, &Wanted::default()).await?) } else { None };
    let addresses = started.as_ref().map_or(addresses, |stack| vec![stack.url.clone()]);
    let client = if started.is_some() { http::local_client()? } else { http::client()? };
    let (mut count, mut findings) = (0, started.as_ref().map(Stack::findings).unwrap_or_default());
    for address in &addresses {
        let (answered, found) = instance(&session, &client, address, &asked).await?;
        count += answered;
        findings.extend(found);
    }
    let declared = (addresses.len() * asked.len()) as u64;
    let fix = format!("mend what answers, then `{again}`");
    Ok(Outcome::Ran(Evidence {
        work: Work::new(count, "requests"),
        declared: Some(declared),
        findings,
        artifacts: started.map(|stack| stack.logs.clone()).unwrap_or_default(),
        fix,
    }))
}

/// Asks one instance everything. Where nobody listens nothing is proved; silence of one that listens is a finding.
async fn instance(
    session: &Session,
    client: &Client,
    address: &str,
    asked: &[(String, Request)],
) -> Result<(u64, Vec<Finding>), Unproven> {
    let (mut has_answered, mut findings) = (false, Vec::new());
    for (name, request) in asked {
        session.doing(format!("{} {address}{}", request.method(), request.path()));
        let mut cancel = session.machine.cancel.clone();
        let answer = tokio::select! {
            answer = http::ask(client, address, request) => answer,
            () = cancel.reached(Urgency::Gently) => return Err(NotRun::new("interrupted", "run it again").into()),
        };
        let fault = match answer {
            Err(Unanswered::NotReached(why) | Unanswered::Refused(why)) if !has_answered => {
                let fix = "see whether it runs and whether this machine may reach it, then run again";
                return Err(NotRun::new(format!("`{address}` cannot be reached: {why}"), fix).into());
            }
            // One that answered a moment ago and is gone now has failed.
            Err(unanswered) => Err(unanswered.to_string()),
            Ok(answer) => judge(request, &answer),
        };
        has_answered = true;
        session.note(&format!("{address} {name}: {}", fault.as_ref().err().map_or("as expected", String::as_str)))?;
        if let Err(fault) = fault {
            let message = format!("{address}: {}: {fault}", request.send);
            findings.push(Finding::new(name, Severity::High, message));
        }
    }
    Ok((asked.len() as u64, findings))
}
