//! `monitor/health/endpoints`: each endpoint of each address, held against its status, its shape and its time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::super::{Kind, Watched, gate};
use super::ran;
use crate::config::{Request, VerifyAt};
use crate::context::Ctx;
use crate::engine::gate::{Gate, action};
use crate::engine::session::Session;
use crate::exit::UsageError;
use crate::monitor::endpoints::{Asked, assess};
use crate::tasks::release::way_to_service;
use crate::tools::cancel::Urgency;
use crate::tools::command::Command;
use crate::tools::http;
use crate::tools::kube::Forward;
use crate::verdict::{Finding, NotRun, Outcome, Severity, Unproven};

/// What is asked of each address.
#[derive(Clone, Debug)]
struct Endpoint {
    name: String,
    request: Request,
    budget: Duration,
}

/// One gate. A name that is no request is a [`UsageError`].
pub fn plan(ctx: &Ctx, watched: &Arc<Watched>) -> Result<Gate> {
    let endpoints = endpoints(ctx, watched)?;
    let base = watched.environment.url.trim_end_matches('/');
    let shown = endpoints.iter().map(|endpoint| {
        let Endpoint { request, .. } = endpoint;
        let limit = request.timeout.as_secs_f64().to_string();
        let url = format!("{base}{}", request.path());
        Command::new("curl", &ctx.root).args(["--max-time", &limit, "--request", request.method(), &url])
    });
    let (steps, again, watched) = (shown.collect(), watched.again(Kind::Health), watched.clone());
    Ok(Gate {
        steps,
        action: action(move |session| probe(session, watched.clone(), endpoints.clone())),
        ..gate("health/endpoints", "requests", "reqwest", again)
    })
}

fn endpoints(ctx: &Ctx, watched: &Watched) -> Result<Vec<Endpoint>> {
    let monitor = &watched.environment.monitor;
    let smoke = ctx.config.smoke.iter().flat_map(|smoke| &smoke.requests);
    let named: Vec<(&String, Duration)> = match monitor.endpoints.is_empty() {
        true => smoke.map(|name| (name, monitor.latency)).collect(),
        false => monitor.endpoints.iter().map(|(name, span)| (name, span.0)).collect(),
    };
    if named.is_empty() {
        return Err(UsageError("nothing is asked: neither monitor.endpoints nor [smoke] names a request".into()).into());
    }
    let known = named.into_iter().map(|(name, budget)| {
        let request = ctx.config.requests.get(name).cloned();
        let request = request.ok_or_else(|| {
            let known: Vec<&str> = ctx.config.requests.keys().map(String::as_str).collect();
            UsageError(format!("monitor.endpoints: no request is named `{name}` (there are: {})", known.join(", ")))
        })?;
        Ok(Endpoint { name: name.clone(), request, budget })
    });
    known.collect()
}

/// Where it is asked, what keeps the way open, and what is wrong with the way itself.
#[derive(Default)]
struct Addresses {
    urls: Vec<String>,
    open: Option<Forward>,
    findings: Vec<Finding>,
}

async fn probe(session: Session, watched: Arc<Watched>, endpoints: Vec<Endpoint>) -> Result<Outcome, Unproven> {
    let addresses = addresses(&session, &watched).await?;
    let client = http::client()?;
    let mut asked = Vec::new();
    for address in &addresses.urls {
        for Endpoint { name, request, budget } in &endpoints {
            session.doing(format!("{} {address}{}", request.method(), request.path()));
            let (mut cancel, begun) = (session.machine.cancel.clone(), Instant::now());
            let answer = tokio::select! {
                answer = http::ask(&client, address, request) => answer,
                () = cancel.reached(Urgency::Gently) => return Err(NotRun::new("interrupted", "run it again").into()),
            };
            let one = Asked { name, address, request, budget: *budget, answer, took: begun.elapsed() };
            session.note(&one.in_words())?;
            asked.push(one);
        }
    }
    // What the cluster says of its Service is heard, too.
    let heard = !addresses.findings.is_empty() || watched.door.answers(&session.machine, &watched.environment).await;
    let mut findings = addresses.findings;
    if !asked.is_empty() {
        findings.extend(assess(&asked, heard)?);
    }
    drop(addresses.open);
    let name = &watched.environment.name;
    let fix = format!("cargo xtask status {name}; cargo xtask logs {name}; then `{}`", watched.again(Kind::Health));
    Ok(ran(asked.len().max(findings.len()), "requests", findings, fix))
}

/// The environment's own addresses; where a release is verified at its Service, the Service in place of the URL.
async fn addresses(session: &Session, watched: &Watched) -> Result<Addresses, Unproven> {
    let environment = &watched.environment;
    let by_service = environment.release.as_ref().filter(|release| release.verify_at == VerifyAt::Service);
    let Some(release) = by_service else {
        return Ok(Addresses { urls: environment.addresses().cloned().collect(), ..Addresses::default() });
    };
    let kube = watched.door.kube(&session.machine, environment).await?;
    let (namespace, name) = (&release.namespace, &release.service);
    let mut addresses = Addresses { urls: environment.instances.clone(), ..Addresses::default() };
    let mut wrong = |what: String| addresses.findings.push(Finding::new("service", Severity::Critical, what));
    if kube.get(&format!("/api/v1/namespaces/{namespace}/services/{name}")).await?.is_none() {
        wrong(format!("there is no Service `{name}` in `{namespace}`"));
        return Ok(addresses);
    }
    match way_to_service(&kube, namespace, name).await {
        Ok((url, open)) => {
            addresses.urls.insert(0, url);
            addresses.open = open;
        }
        // The API answers and the Service leads nowhere: that is what is wrong, and not the way from here.
        Err(Unproven::NotRun(why)) if kube.uid().await.is_ok() => {
            wrong(format!("nobody answers behind the Service `{name}`: {}", why.reason));
        }
        Err(other) => return Err(other),
    }
    Ok(addresses)
}
