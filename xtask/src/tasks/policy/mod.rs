//! `policy`: a branch does not judge itself.
//!
//! The configuration is compared with the one where the branch began. Whatever lets more pass is a finding until
//! the code owners have approved it, which GitHub knows.

mod approval;
mod compare;

use std::collections::{BTreeMap, BTreeSet};

use super::Task;
use crate::config::Config;
use crate::context::Ctx;
use crate::engine::gate::{Gate, Inputs, action};
use crate::engine::session::Session;
use crate::tools::command::Command;
use crate::verdict::{Evidence, Finding, NotRun, Outcome, Severity, Unproven, Work};

/// Part of `ci`.
pub const TASK: Task = Task { name: "policy", subjects: &[], plan };

/// One gate, always.
pub fn plan(ctx: &Ctx) -> Vec<Gate> {
    let folder = ctx.relative(&ctx.config_dir).unwrap_or_else(|| ".".to_owned());
    let hooks = ctx.config.hooks.as_ref().map(|hooks| hooks.config.clone());
    let bases = bases(ctx);
    let rules = ctx.config.secrets.iter().map(|secrets| secrets.rules.clone());
    // A script that says what a lock file has to be is a judge too.
    let judges = ctx.config.locks.iter().map(|locks| format!("{}/{}", locks.directory, locks.script));
    let rules: Vec<String> = rules.chain(judges).collect();
    let places = [vec![folder.clone()], rules].concat();
    // No ignore excuses it: a branch could bring one.
    vec![Gate {
        id: "policy".to_owned(),
        unit: "settings",
        tool: ("git", String::new()),
        inputs: Inputs {
            files: places.clone(),
            optional: hooks.iter().cloned().collect(),
            history: true,
            branches: bases.clone(),
            settings: bases.join(" "),
            ..Inputs::default()
        },
        again: "cargo xtask policy".to_owned(),
        action: action(move |session| run(session, folder.clone(), places.clone(), hooks.clone(), bases.clone())),
        ..Gate::default()
    }]
}

/// Where a branch begins unless somebody says otherwise. The branch itself could: its own words come last.
const TRUNKS: [&str; 4] = ["origin/main", "main", "origin/master", "master"];

/// What the branch may have begun at: the target of the pull request; for what is merged already, the branch itself.
fn bases(ctx: &Ctx) -> Vec<String> {
    let named = |name| ctx.var(name).filter(|value| !value.is_empty());
    let merged = ["push", "merge_group"].map(Some).contains(&named("GITHUB_EVENT_NAME")) && ctx.in_actions();
    let of_event = if merged { named("GITHUB_REF_NAME") } else { named("GITHUB_BASE_REF") };
    let of_event = of_event.map(|name| format!("origin/{name}"));
    let trunks = TRUNKS.iter().map(|name| (*name).to_owned());
    let mut all: Vec<String> = of_event.into_iter().chain(trunks).collect();
    for base in &ctx.config.policy.base {
        if !all.contains(base) {
            all.push(base.clone());
        }
    }
    all
}

async fn git(session: &Session, args: &[&str]) -> Option<String> {
    let command = Command::new("git", &session.ctx().root).args(args.iter().copied());
    let answer = session.machine.quiet().read_bytes(&command).await.ok()?;
    Some(String::from_utf8_lossy(&answer).into_owned())
}

async fn run(
    session: Session,
    folder: String,
    places: Vec<String>,
    hooks: Option<String>,
    bases: Vec<String>,
) -> Result<Outcome, Unproven> {
    let ctx = session.ctx();
    let (mut began, mut base) = (None, String::new());
    for candidate in &bases {
        if let Some(commit) = git(&session, &["merge-base", "HEAD", candidate]).await {
            (began, base) = (Some(commit.trim().to_owned()), candidate.clone());
            break;
        }
    }
    let Some(began) = began else {
        let reason = format!("git knows none of {} (policy.base)", bases.join(", "));
        return Err(NotRun::new(reason, "git fetch origin main (in GitHub Actions: `fetch-depth: 0`)").into());
    };
    let file = format!("{folder}/pipeline.toml");
    let now = std::fs::read_to_string(ctx.config_dir.join("pipeline.toml"))
        .map_err(|e| session.not_run(format!("`{file}` cannot be read: {e}")))?;
    let Some(before) = git(&session, &["show", &format!("{began}:{file}")]).await else {
        let listed = git(&session, &["ls-tree", "-r", "-z", "--name-only", &began]).await;
        let listed = listed.ok_or_else(|| session.not_run(format!("git cannot list the files of `{base}`")))?;
        return Ok(outcome(compare::settings(&now), vec![unknown(&file, &base, &listed)]));
    };
    let (known, planned) =
        (gates_of(ctx, &before), super::ALL.iter().flat_map(|task| (task.plan)(ctx)).collect::<Vec<_>>());
    let (mut compared, mut findings) =
        compare::configurations(&file, &before, &now, &known).map_err(|why| session.not_run(why))?;
    compared += known.len();
    let gone = known.iter().filter(|id| !planned.iter().any(|gate| gate.id == **id));
    findings.extend(gone.map(|id| {
        Finding::new("gate-removed", Severity::High, format!("the gate `{id}` is gone")).at(file.clone(), None)
    }));
    if let Some(hooks) = &hooks {
        let text = std::fs::read_to_string(ctx.root.join(hooks)).unwrap_or_default();
        let before = git(&session, &["show", &format!("{began}:{hooks}")]).await.unwrap_or_default();
        compared += 1;
        let programs = planned.iter().flat_map(|gate| &gate.programs).map(|program| program.name).collect();
        findings.extend(compare::hooks(hooks, &before, &text, &programs));
    }
    let (rules, changed) = changed_rules(&session, &places, &began).await?;
    compared += rules;
    findings.extend(changed);
    if findings.iter().any(|finding| finding.severity > Severity::Info)
        && let Some(approved) = approval::find(&session).await?
    {
        findings.iter_mut().for_each(|finding| finding.excused = Some(approved.clone()));
    }
    Ok(outcome(compared, findings))
}

/// The finding for a configuration that is not where the branch began: the first one of all, or one that takes
/// another's place.
fn unknown(file: &str, base: &str, listed: &str) -> Finding {
    let other = listed.split('\0').find(|path| path.ends_with("/pipeline.toml"));
    match other {
        None => {
            let message = format!("`{base}` has no `{file}`: there is nothing to compare with");
            Finding::new("new-configuration", Severity::Info, message)
        }
        Some(other) => {
            let message = format!("`{base}` has its configuration in `{other}`, not in `{file}`");
            Finding::new("other-configuration", Severity::High, message).at(file.to_owned(), None)
        }
    }
}

/// The gates that an older configuration planned. One that cannot be read any more is taken for today's.
fn gates_of(ctx: &Ctx, text: &str) -> BTreeSet<String> {
    let before = Config::parse(text).map_or_else(|_| ctx.clone(), |config| Ctx { config, ..ctx.clone() });
    super::ALL.iter().flat_map(|task| (task.plan)(&before)).map(|gate| gate.id).collect()
}

fn outcome(compared: usize, findings: Vec<Finding>) -> Outcome {
    Outcome::Ran(Evidence {
        work: Work::new(compared as u64, "settings"),
        declared: None,
        findings,
        artifacts: vec![],
        fix: "undo it, or have the code owners approve the pull request and run this again".to_owned(),
    })
}

/// Rules of scanners, beside the configuration and where it says: whether a change lets more pass, only a person can
/// say.
async fn changed_rules(session: &Session, places: &[String], began: &str) -> Result<(usize, Vec<Finding>), Unproven> {
    let list: Vec<&str> = ["ls-tree", "-r", "-z", began].into_iter().chain(places.iter().map(String::as_str)).collect();
    let listed = git(session, &list).await;
    let listed = listed.ok_or_else(|| session.not_run("git cannot list the rules of the scanners"))?;
    // `MODE TYPE OID TAB PATH`
    let entry = |entry: &str| -> Option<(String, String)> {
        let (head, path) = entry.split_once('\t')?;
        Some((path.to_owned(), head.rsplit(' ').next()?.to_owned()))
    };
    let before: BTreeMap<String, String> = listed.split('\0').filter_map(entry).collect();
    let snapshot = session.machine.snapshot().await?;
    let now = snapshot.files(places)?;
    let rules = before.iter().filter(|(path, _)| !path.ends_with("/pipeline.toml"));
    let (mut count, mut findings) = (0, Vec::new());
    for (path, oid) in rules {
        count += 1;
        if now.get(path).is_none_or(|identity| !identity.ends_with(oid.as_str())) {
            let message = "the rules of a scanner differ from those where this branch began";
            findings.push(Finding::new("changed-rules", Severity::Medium, message).at(path.clone(), None));
        }
    }
    Ok((count, findings))
}
