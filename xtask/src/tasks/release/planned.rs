//! What a release is going to be: its objects, where they go, and what a person reads before they say yes.

use std::collections::BTreeMap;

use super::aside;
use super::image::Chosen;
use super::plan::{self, Shown};
use super::restore::refusal;
use super::users;
use crate::config::{Environment, Release, Strategy};
use crate::engine::session::Session;
use crate::release::book::Book;
use crate::release::journal::Journal;
use crate::release::manifests::{Filling, Manifests, Prepared};
use crate::release::secrets;
use crate::release::track::Track;
use crate::tools::kube::Kube;
use crate::verdict::{Evidence, Finding, Outcome, Severity, Unproven, Work};

/// What is to be released, and how.
pub struct Intent<'a> {
    /// Where.
    pub environment: &'a Environment,
    /// Its `[release]`.
    pub release: &'a Release,
    /// The image.
    pub chosen: &'a Chosen,
    /// How.
    pub strategy: Strategy,
    /// Whether fields of others are taken over.
    pub take_over: bool,
    /// The ids of the gates to come.
    pub to_come: &'a [String],
}

/// What a release is made of, planned.
pub struct Planned {
    /// Its objects, to be filled.
    pub manifests: Manifests,
    /// The values of its Secret.
    pub values: BTreeMap<String, String>,
    /// The image.
    pub chosen: Chosen,
    /// The journal as it was.
    pub journal: Journal,
    /// How.
    pub strategy: Strategy,
    /// Which Deployment it changes.
    pub track: Track,
    /// Whether fields of others are taken over.
    pub take_over: bool,
    /// What a person reads.
    pub shown: String,
}

impl Planned {
    /// The objects that are applied, with the Secret's name.
    pub fn fill(&self, release: &Release, secret: &str) -> Prepared {
        self.manifests.fill(release, &filling(&self.chosen, secret, self.track))
    }
}

/// Which Deployment a release changes. One that users are on is never changed by a blue-green release: not the verified
/// one, and not the one that the Service leads to, which is another one where a release was killed after it had moved it.
/// Where nothing is verified, a release is the first one of what serves.
fn track(strategy: Strategy, verified: Option<Track>, leads_to: Option<Track>) -> Track {
    match (strategy, verified) {
        (Strategy::BlueGreen, Some(verified)) => Track::unused(&[verified, leads_to.unwrap_or(verified)]),
        (_, Some(verified)) => verified,
        (Strategy::BlueGreen, None) => leads_to.unwrap_or(Track::Blue),
        (_, None) => leads_to.unwrap_or(Track::Stable),
    }
}

/// Renders, fills, asks the API whether it would take it, and shows the difference.
pub async fn look(session: &Session, kube: &Kube, intent: &Intent<'_>) -> Result<(Outcome, Planned), Unproven> {
    let &Intent { environment, release, chosen, strategy, take_over, to_come } = intent;
    let manifests = plan::render(session, release).await?;
    let values = plan::values(session, environment)?;
    let namespace = kube.get(&format!("/api/v1/namespaces/{}", release.namespace)).await?;
    let book = Book::open(kube, &release.namespace);
    let journal = if namespace.is_some() { book.journal().await? } else { Journal::default() };
    let verified = journal.last_verified().map(|entry| Track::of(&entry.track));
    let service = users::service(kube, release).await?;
    let on = users::on(service.as_ref(), &journal);
    let track = track(strategy, verified, on);
    let key = secrets::known_key(kube, &release.namespace).await?.unwrap_or_default();
    let used = journal.last_verified().and_then(|entry| {
        entry
            .configs
            .iter()
            .find(|name| !release.secret.is_empty() && name.starts_with(&format!("{}-", release.secret)))
    });
    let named = plan::secret(kube, release, &values, used.map(String::as_str), key).await?;
    let prepared = manifests.fill(release, &filling(chosen, &named.name, track));
    let (mut findings, mut lines) = (Vec::new(), vec!["everything is new".to_owned()]);
    if namespace.is_some() {
        findings = plan::refusals(kube, &prepared.objects, take_over).await?;
        let workload = format!("/apis/apps/v1/namespaces/{}/deployments/{}", release.namespace, prepared.workload);
        let workload = kube.get(&workload).await?;
        if users::is_beside(on, track, service.as_ref(), workload.as_ref()) {
            let preview = Vec::from_iter(aside::preview(&prepared, &release.service, track));
            findings.extend(plan::refusals(kube, &preview, take_over).await?);
        }
        findings.extend(plan::paused(workload.as_ref()));
        if strategy == Strategy::Canary {
            findings.extend(plan::others_arms(kube, release).await?);
        }
        if findings.is_empty() {
            lines = plan::difference(session, kube, &prepared).await?;
        }
    }
    findings.extend(plan::nothing_beside(strategy, &journal));
    findings.extend(plan::shared(strategy, service.as_ref()));
    let before = journal.last_verified().map(|entry| format!("{} ({})", entry.image, entry.id)).unwrap_or_default();
    let lost = match journal.last_verified() {
        Some(entry) => refusal(entry, &book.gone(entry).await?, book.objects(&entry.id).await?.as_deref(), release),
        None => None,
    };
    let lost = lost.map(|why| why.reason).unwrap_or_default();
    if !lost.is_empty() {
        findings.push(Finding::new("no-way-back", Severity::Info, format!("this release cannot be undone: {lost}")));
    }
    let shown = Shown {
        environment: &environment.name,
        strategy: strategy.name(),
        image: &chosen.image,
        commit: &chosen.commit,
        before: &before,
        lost: &lost,
        difference: &lines,
        secret: &named,
        gates: to_come.iter().skip(2).map(String::as_str).collect(),
    };
    let shown = shown.to_string();
    let outcome = Outcome::Ran(Evidence {
        work: Work::new(prepared.objects.len() as u64, "objects"),
        declared: None,
        findings,
        artifacts: vec![],
        fix: "mend the objects, or take a field over by --take-over".to_owned(),
    });
    Ok((outcome, Planned { manifests, values, chosen: chosen.clone(), journal, strategy, track, take_over, shown }))
}

fn filling(chosen: &Chosen, secret: &str, track: Track) -> Filling {
    Filling {
        image: chosen.image.clone(),
        commit: chosen.commit.clone(),
        secret: secret.to_owned(),
        track,
        traffic: track.name().to_owned(),
        replicas: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blue_green_release_changes_no_deployment_that_users_are_on() {
        use Strategy::{BlueGreen, Rolling};
        use Track::{Blue, Green, Stable};
        for (strategy, verified, leads_to, expected) in [
            (BlueGreen, None, None, Blue),
            (BlueGreen, None, Some(Stable), Stable),
            (BlueGreen, Some(Stable), Some(Stable), Blue),
            (BlueGreen, Some(Blue), Some(Blue), Green),
            (BlueGreen, Some(Stable), None, Blue),
            (BlueGreen, Some(Stable), Some(Blue), Green),
            (BlueGreen, Some(Blue), Some(Green), Stable),
            (Rolling, None, None, Stable),
            // The journal is lost, and users are there.
            (Rolling, None, Some(Blue), Blue),
            (Rolling, Some(Green), Some(Blue), Green),
        ] {
            assert_eq!(track(strategy, verified, leads_to), expected, "{strategy:?} {verified:?} {leads_to:?}");
        }
    }
}
