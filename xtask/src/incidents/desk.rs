//! Carries out what was decided: issues on GitHub, and those who hear of transitions.
//!
//! Whatever is written may have been written by another run at the same time, or half of it by one that is gone. So each
//! step is looked for before it is done, and what is still to do stands in the issue's mark. An issue is ours when it has
//! our label, its mark is whole and names this environment, and a stranger did not write it; no other is ever touched.

mod issue;
mod news;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::OnceCell;

use super::body::Writer;
use super::look::{Check, checks, name_of};
use super::mark::{self, Body, Key};
use super::state::{Kind, Look};
use crate::config::{Alerts, Environment};
use crate::context::Ctx;
use crate::model::Report;
use crate::text::Redactor;
use crate::tools::cancel::Cancel;
use crate::tools::github::{Clock, GitHub, Issue, Trouble, Wait};
use crate::tools::machine::Machine;
use crate::tools::webhook::{self, Hook};
use crate::verdict::{NotRun, Verdict};

/// How long telling may take: GitHub makes us wait, and somebody waits for the end of the run.
const PATIENCE: time::Duration = time::Duration::minutes(10);

/// What was told of all checks of a report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Told {
    /// One for each check, in the report's order, and one more for each other incident of it; then one for each issue whose
    /// check is not planned any more.
    pub checks: Vec<CheckTold>,
    /// What kept this run from asking about any check.
    pub trouble: Option<Untold>,
}

/// What was told of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckTold {
    /// `KIND/CHECK`
    pub check: String,
    /// What about it.
    pub about: Kind,
    /// `opened`, `joined`, `changed`, `escalated LABEL`, `closed`; empty where nothing was to be told.
    pub told: Vec<String>,
    /// The number of its issue, where it has an open one, or had until now.
    pub issue: Option<u64>,
    /// The page of that issue.
    pub url: String,
    /// What could not be told.
    pub trouble: Vec<Untold>,
}

/// Why something could not be told, and the way out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Untold {
    /// One sentence fragment.
    pub reason: String,
    /// The way out.
    pub fix: String,
}

impl From<Trouble> for Untold {
    fn from(trouble: Trouble) -> Self {
        Self { reason: trouble.to_string(), fix: trouble.way_out() }
    }
}

impl From<&webhook::Trouble> for Untold {
    fn from(trouble: &webhook::Trouble) -> Self {
        Self { reason: trouble.to_string(), fix: trouble.way_out() }
    }
}

impl From<&Untold> for NotRun {
    fn from(untold: &Untold) -> Self {
        Self::new(&untold.reason, &untold.fix)
    }
}

impl Told {
    /// The first thing that could not be told.
    pub fn untold(&self) -> Option<&Untold> {
        self.trouble.iter().chain(self.checks.iter().flat_map(|one| &one.trouble)).next()
    }

    /// How many checks there are, and of how many of them everything was told.
    pub fn count(&self) -> (u64, u64) {
        let all: BTreeSet<&str> = self.checks.iter().map(|one| one.check.as_str()).collect();
        let untold = self.checks.iter().filter(|one| self.trouble.is_some() || !one.trouble.is_empty());
        let untold: BTreeSet<&str> = untold.map(|one| one.check.as_str()).collect();
        (all.len() as u64, (all.len() - untold.len()) as u64)
    }
}

/// Tells what a finished report of the task `monitor` says of each check. What could not be told is in the answer.
///
/// An environment without `[alerts]` tells nobody anything: the answer has no check.
pub async fn tell(machine: &Machine, environment: &Environment, seen: Seen<'_>) -> Told {
    let github = GitHub::open(machine).await;
    tell_by(&machine.ctx, environment, seen, github.as_ref(), &machine.cancel, Arc::new(Clock)).await
}

/// What a run of the monitoring saw, and what it may have left out.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Its report.
    pub report: &'a Report,
    /// The gates of a run that looks at everything. An issue about another check is ended; about none where this is `None`.
    pub planned: Option<&'a [String]>,
}

/// The same, with a given GitHub and a given clock.
pub async fn tell_by(
    ctx: &Ctx,
    environment: &Environment,
    Seen { report, planned }: Seen<'_>,
    github: Result<&GitHub, &Trouble>,
    cancel: &Cancel,
    wait: Arc<dyn Wait>,
) -> Told {
    let Some(alerts) = &environment.alerts else { return Told::default() };
    let checks = checks(report, &ctx.out, alerts);
    let untold = |trouble: Untold| {
        let nothing = |check: &Check| CheckTold::new(&check.name, Kind::Failing);
        Told { checks: checks.iter().map(nothing).collect(), trouble: Some(trouble) }
    };
    let github = match github {
        Ok(github) => github,
        Err(trouble) => return untold(trouble.clone().into()),
    };
    let run = run_page(ctx);
    let began = OffsetDateTime::parse(&report.started, &Rfc3339).unwrap_or(ctx.started);
    let mut random = [0_u8; 8];
    if getrandom::fill(&mut random).is_err() {
        let reason = "this machine has no random numbers, by which a run is known".to_owned();
        return untold(Untold { reason, fix: "run it on another machine".to_owned() });
    }
    let hook = |variable: &Option<String>| match variable {
        Some(variable) => Hook::of(ctx, variable, cancel.clone(), wait.clone()),
        None => Ok(None),
    };
    let desk = Desk {
        github,
        alerts,
        environment: &environment.name,
        workflow: ctx.config.github.as_ref().and_then(|one| one.monitoring.as_ref()).map(|one| one.workflow.as_str()),
        redactor: &ctx.redactor,
        writer: Writer { redactor: &ctx.redactor, run: &run },
        by: format!("{}-{}", began.unix_timestamp(), random.map(|byte| format!("{byte:02x}")).concat()),
        began: whole(began),
        slack: hook(&alerts.slack),
        json: hook(&alerts.webhook),
        good: OnceCell::new(),
        wait,
    };
    match desk.list().await {
        Ok(open) => desk.all(&checks, planned, &open).await,
        Err(trouble) => untold(trouble.into()),
    }
}

/// What one run tells with.
pub(super) struct Desk<'a> {
    pub(super) github: &'a GitHub,
    alerts: &'a Alerts,
    environment: &'a str,
    /// The workflow whose successes were the last good runs.
    workflow: Option<&'a str>,
    redactor: &'a Redactor,
    pub(super) writer: Writer<'a>,
    /// This run, unlike every other.
    pub(super) by: String,
    began: OffsetDateTime,
    slack: Result<Option<Hook>, webhook::Trouble>,
    json: Result<Option<Hook>, webhook::Trouble>,
    good: OnceCell<Option<OffsetDateTime>>,
    wait: Arc<dyn Wait>,
}

/// An issue that is ours.
#[derive(Clone, Debug)]
struct Ours {
    issue: Issue,
    body: Body,
}

impl Desk<'_> {
    async fn all(&self, checks: &[Check], planned: Option<&[String]>, open: &[Ours]) -> Told {
        let (begun, mut told, mut over) = (self.now(), Told::default(), None);
        // What keeps this run from asking about the next check, too.
        let kept = |over: &Option<Untold>| {
            let reason =
                || format!("there was no more time: GitHub made it wait for {} minutes", PATIENCE.whole_minutes());
            let is_late = self.now() - begun > PATIENCE;
            over.clone().or_else(|| is_late.then(|| Untold { reason: reason(), fix: "run it again".to_owned() }))
        };
        for check in checks {
            for about in Kind::ALL {
                let mut one = CheckTold::new(&check.name, about);
                if let Some(untold) = kept(&over) {
                    one.trouble.push(untold);
                } else if let Err(trouble) = self.settle(check, open, &mut one).await {
                    one.fails(trouble, &mut over);
                }
                // Most checks have no second incident to speak of.
                if about == Kind::Failing || one.issue.is_some() || !one.told.is_empty() || !one.trouble.is_empty() {
                    told.checks.push(one);
                }
            }
        }
        for ours in unplanned(checks, planned, open) {
            let key = &ours.body.mark.key;
            let mut one = CheckTold::new(&key.check, key.about);
            if let Some(untold) = kept(&over) {
                one.trouble.push(untold);
            } else if let Err(trouble) = self.end(ours, &mut one).await {
                one.fails(trouble, &mut over);
            }
            told.checks.push(one);
        }
        told
    }

    /// All open issues that are ours.
    async fn list(&self) -> Result<Vec<Ours>, Trouble> {
        let open = self.github.open_issues(self.label()).await?;
        Ok(open.into_iter().filter_map(|issue| self.ours(issue)).collect())
    }

    /// The label by which they are found.
    fn label(&self) -> &str {
        self.alerts.labels.first().map_or("incident", String::as_str)
    }

    fn ours(&self, issue: Issue) -> Option<Ours> {
        let body = mark::read(&issue.body).filter(|body| body.mark.key.environment == self.environment)?;
        (issue.is_open && issue.is_trusted && issue.has(self.label())).then_some(Ours { issue, body })
    }

    fn key(&self, check: &Check, about: Kind) -> Key {
        Key { environment: self.environment.to_owned(), check: check.name.clone(), about }
    }

    fn look(&self, check: &Check, about: Kind) -> Look {
        Look {
            verdict: check.verdict,
            severity: check.severity(about, self.alerts),
            // That it did not run is the whole incident; why may differ each time.
            cause: if about == Kind::Unwatched { String::new() } else { check.cause() },
            began: self.began,
            now: self.now(),
            good: None,
        }
    }

    /// When the schedule last saw all checks pass: a run by hand may have looked at some of them. Asked once, and only where an incident begins.
    async fn last_good(&self) -> Option<OffsetDateTime> {
        let ask = async {
            let asked = self.github.last_start(self.workflow?, "event=schedule&status=success").await;
            asked.ok().flatten().map(|start| whole(start.at))
        };
        *self.good.get_or_init(|| ask).await
    }

    pub(super) fn now(&self) -> OffsetDateTime {
        whole(self.wait.now())
    }
}

impl CheckTold {
    fn new(check: &str, about: Kind) -> Self {
        Self { check: check.to_owned(), about, told: vec![], issue: None, url: String::new(), trouble: vec![] }
    }

    /// Notes what came in the way, and in `over` what would come in the way of the next one as well.
    fn fails(&mut self, trouble: Trouble, over: &mut Option<Untold>) {
        if is_over(&trouble) {
            *over = Some(trouble.clone().into());
        }
        self.trouble.push(trouble.into());
    }
}

/// The issues whose check is neither among those that were looked at nor among the planned ones.
fn unplanned<'a>(
    checks: &'a [Check],
    planned: Option<&'a [String]>,
    open: &'a [Ours],
) -> impl Iterator<Item = &'a Ours> {
    let is_planned = move |ours: &&Ours| {
        let name = &ours.body.mark.key.check;
        let is_seen = checks.iter().any(|check| check.name == *name);
        is_seen || planned.is_none_or(|planned| planned.iter().any(|gate| name_of(gate) == Some(name)))
    };
    open.iter().filter(move |ours| !is_planned(ours))
}

/// Whether there is no use in asking about the next check.
fn is_over(trouble: &Trouble) -> bool {
    use Trouble::{Interrupted, Limited, NoToken, NotReached, Unauthorized};
    matches!(trouble, Interrupted | Limited(_) | NoToken | NotReached(_) | Unauthorized(_))
}

/// Whole seconds, as marks have them.
fn whole(at: OffsetDateTime) -> OffsetDateTime {
    at.replace_nanosecond(0).unwrap_or(at).to_offset(time::UtcOffset::UTC)
}

/// Whether nothing is to be said of a check: nobody relies on one that is optional and did not run.
fn is_idle(check: &Check, about: Kind) -> bool {
    about == Kind::Unwatched && check.verdict == Verdict::DidNotRun && !check.required
}

/// The page of this run of a workflow; empty on a laptop.
fn run_page(ctx: &Ctx) -> String {
    let var = |name: &str| ctx.var(name).filter(|value| !value.is_empty());
    match [var("GITHUB_SERVER_URL"), var("GITHUB_REPOSITORY"), var("GITHUB_RUN_ID")] {
        [Some(server), Some(repository), Some(id)] => format!("{server}/{repository}/actions/runs/{id}"),
        _ => String::new(),
    }
}
