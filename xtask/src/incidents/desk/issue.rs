//! One incident and its issue: opened, joined, kept, closed.

use std::collections::BTreeSet;

use super::super::body::title;
use super::super::look::Check;
use super::super::mark::{Body, Key, Mark, wrap};
use super::super::routing::{assignees, labels, severity_label};
use super::super::state::{GRACE, Incident, Look, Next, State, Transition, follows, next};
use super::news::{self, Channel, News};
use super::{CheckTold, Desk, Ours, Untold, is_idle};
use crate::tools::github::{NewIssue, Reason, Trouble};

/// What is still to do in a mark: who is to be assigned.
const ASSIGN: &str = "assign";

/// What changes in a mark beside the state.
#[derive(Debug, Default)]
struct ToDo {
    done: BTreeSet<String>,
    new: BTreeSet<String>,
}

impl ToDo {
    fn is_empty(&self) -> bool {
        self.done.is_empty() && self.new.is_empty()
    }
}

/// What is written into an issue.
struct Change<'a> {
    incident: &'a Incident,
    /// Whether this run told a transition to it, and no other run did.
    is_told: bool,
    to_do: ToDo,
    closed: Option<Reason>,
}

impl Desk<'_> {
    /// Tells what there is to tell of one check in one respect.
    pub(super) async fn settle(&self, check: &Check, open: &[Ours], told: &mut CheckTold) -> Result<(), Trouble> {
        let key = self.key(check, told.about);
        let of_it: Vec<&Ours> = open.iter().filter(|ours| ours.body.mark.key == key).collect();
        let Some((first, others)) = of_it.split_first() else {
            return self.begin(check, &key, told).await;
        };
        (told.issue, told.url) = (Some(first.issue.number), first.issue.url.clone());
        // Whoever made these would have closed them by now.
        let left = others.iter().filter(|ours| self.now() - ours.body.mark.incident.seen > GRACE);
        for ours in left {
            self.close_duplicate(ours, first.issue.number).await?;
        }
        if is_idle(check, told.about) {
            return Ok(());
        }
        let has_followed = follows(&self.look(check, told.about), &first.body.mark.incident);
        if told.about.is_about(check.verdict) && has_followed && self.is_over_for_some(first) {
            // It was over for them: they hear of another incident, and the others of this one's end before that.
            let incident = &first.body.mark.incident;
            let lasted = (incident.passed.unwrap_or(incident.seen) - incident.bad).try_into().unwrap_or_default();
            self.hear_the_end(&News::Closed(lasted), first, incident, told).await;
            self.github.close_issue(first.issue.number, Reason::Completed).await?;
            return self.begin(check, &key, told).await;
        }
        self.go_on(check, first, told).await
    }

    /// Whether somebody has heard that it is over, and its issue is open for others who have not.
    fn is_over_for_some(&self, ours: &Ours) -> bool {
        let mark = &ours.body.mark;
        let waiting = news::to_hear_the_end(&mark.to_do);
        let is_over = mark.to_do.iter().any(|item| news::is_over(item));
        is_over && !ours.issue.has(&self.alerts.silence) && self.channels().any(|channel| !waiting.contains(&channel))
    }

    /// There is no open issue: makes one where the check is bad.
    async fn begin(&self, check: &Check, key: &Key, told: &mut CheckTold) -> Result<(), Trouble> {
        if is_idle(check, key.about) || !key.about.is_about(check.verdict) {
            return Ok(());
        }
        let look = Look { good: self.last_good().await, ..self.look(check, key.about) };
        let State::Open(incident) = next(key.about, &State::None, &look, &[]).state else { return Ok(()) };
        let mut to_do = BTreeSet::new();
        if !assignees(self.alerts, incident.severity).is_empty() {
            to_do.insert(ASSIGN.to_owned());
        }
        to_do.extend(self.channels().map(|channel| news::to_do(channel, &News::Opened)));
        let mark = Mark { key: key.clone(), by: self.by.clone(), to_do, tried: None, incident };
        let body = wrap(&mark, &self.writer.body(key, &mark.incident, check, ""));
        let title = title(key);
        let labels = labels(self.alerts, key, mark.incident.severity);
        let new = NewIssue { title: &title, body: &body, labels: &labels };
        let is_of_it = |ours: &Ours| ours.body.mark.key == *key;
        let is_there = |issue: &_| self.ours(Clone::clone(issue)).is_some_and(|ours| is_of_it(&ours));
        let made = self.github.create_issue(&new, self.label(), is_there).await?;

        let mut open: Vec<Ours> = self.list().await?.into_iter().filter(is_of_it).collect();
        if let Some(made) = made.filter(|made| open.iter().all(|ours| ours.issue.number != made.number)) {
            let number = made.number;
            match self.ours(made) {
                Some(ours) => open.push(ours),
                None => {
                    // No run would find it again, and each would make another one.
                    self.github.close_issue(number, Reason::NotPlanned).await?;
                    told.trouble.push(unknown_to_us(number, self.label()));
                }
            }
        }
        open.sort_by_key(|ours| ours.issue.number);
        let Some((first, others)) = open.split_first() else { return Ok(()) };
        (told.issue, told.url) = (Some(first.issue.number), first.issue.url.clone());
        for ours in others.iter().filter(|ours| ours.body.mark.by == self.by) {
            self.close_duplicate(ours, first.issue.number).await?;
        }
        if first.body.mark.by != self.by {
            told.told.push("joined".to_owned());
            return Ok(());
        }
        told.told.push("opened".to_owned());
        let to_do = self.catch_up(first, check, told).await;
        if to_do.is_empty() {
            return Ok(());
        }
        let incident = &first.body.mark.incident;
        self.write(first, check, Change { incident, is_told: false, to_do, closed: None }).await
    }

    /// There is an open issue: keeps it, or closes it.
    async fn go_on(&self, check: &Check, ours: &Ours, told: &mut CheckTold) -> Result<(), Trouble> {
        let (number, mark) = (ours.issue.number, &ours.body.mark);
        let look = self.look(check, told.about);
        let is_silenced = ours.issue.has(&self.alerts.silence);
        let mut to_do = ToDo::default();
        let takes_over = !is_silenced && mark.is_left(look.now) && self.takes_over(ours).await?;
        if takes_over {
            to_do = self.catch_up(ours, check, told).await;
        }
        let levels = if is_silenced { &[][..] } else { &self.alerts.escalation };
        let Next { state, transitions } = next(told.about, &State::Open(mark.incident.clone()), &look, levels);
        let (State::Open(mut incident) | State::Closed(mut incident)) = state else { return Ok(()) };
        let (is_quiet, mut is_told, mut closed) = (transitions.is_empty(), false, None);
        for transition in transitions {
            let (tells, text) = self.comment(&transition, ours, &incident, check);
            // Nobody hears of a change where somebody asked for silence.
            let is_silent = is_silenced && transition == Transition::Changed;
            let is_ours = match transition {
                // Its comment was written by the run that nobody heard.
                Transition::Closed(_) if mark.to_do.iter().any(|item| news::is_over(item)) => takes_over || is_silenced,
                _ => is_silent || self.claim(number, &tells, &text).await?,
            };
            if !is_ours {
                continue;
            }
            is_told = true;
            match transition {
                Transition::Opened => {}
                Transition::Changed => {
                    told.told.push("changed".to_owned());
                    self.relabel(ours, &incident).await?;
                    if !is_silenced && incident.severity > mark.incident.severity {
                        let people = assignees(self.alerts, incident.severity);
                        if let Err(trouble) = self.assign(number, &people, told).await {
                            told.trouble.push(trouble.into());
                            to_do.new.insert(ASSIGN.to_owned());
                        }
                    }
                }
                Transition::Escalated(level) => {
                    told.told.push(format!("escalated {}", level.label));
                    self.github.add_labels(number, std::slice::from_ref(&level.label)).await?;
                    // Whoever cannot be assigned keeps the others from nothing.
                    if let Err(trouble) = self.assign(number, &level.assignees, told).await {
                        told.trouble.push(trouble.into());
                    }
                    let news = News::Escalated(level.label);
                    let left = self.hear(&Channel::ALL, &news, ours, &incident, &check.reason, told).await;
                    to_do.new.extend(left.into_iter().map(|channel| news::to_do(channel, &news)));
                }
                Transition::Closed(lasted) => {
                    let news = News::Closed(lasted);
                    let left = self.hear_the_end(&news, ours, &incident, told).await;
                    to_do.done.extend(mark.to_do.iter().filter(|item| news::is_over(item)).cloned());
                    if left.is_empty() {
                        told.told.push("closed".to_owned());
                        closed = Some(Reason::Completed);
                    } else {
                        // No run looks into a closed issue: this one is one pass short of it until all have heard.
                        (incident.passes, incident.closed) = (incident.passes - 1, None);
                        to_do.new.extend(left);
                    }
                }
            }
        }
        // Where another run tells it, that one writes it down.
        let incident = if is_quiet || is_told { &incident } else { &mark.incident };
        if *incident == mark.incident && to_do.is_empty() {
            return Ok(());
        }
        self.write(ours, check, Change { incident, is_told, to_do, closed }).await
    }

    /// What a comment claims and says.
    fn comment(&self, transition: &Transition, ours: &Ours, now: &Incident, check: &Check) -> (String, String) {
        let (before, about) = (&ours.body.mark.incident, ours.body.mark.key.about);
        match transition {
            Transition::Opened => (String::new(), String::new()),
            Transition::Changed => {
                let tells = format!("changed {} {} {:?}", before.seen, now.cause, now.severity);
                (tells, self.writer.changed(before, now, check))
            }
            Transition::Escalated(level) => {
                (format!("escalated {} {}", now.bad, level.label), self.writer.escalated(level, now, self.now()))
            }
            Transition::Closed(lasted) => {
                let passed = now.passed.unwrap_or(now.seen);
                (format!("closed {passed}"), self.writer.closed(about, now, *lasted))
            }
        }
    }

    async fn relabel(&self, ours: &Ours, now: &Incident) -> Result<(), Trouble> {
        let (before, now) = (severity_label(ours.body.mark.incident.severity), severity_label(now.severity));
        if before == now {
            return Ok(());
        }
        self.github.add_labels(ours.issue.number, &[now]).await?;
        self.github.remove_label(ours.issue.number, &before).await
    }

    async fn assign(&self, number: u64, people: &[String], told: &mut CheckTold) -> Result<(), Trouble> {
        if people.is_empty() {
            return Ok(());
        }
        for left_out in self.github.assign(number, people).await? {
            let reason = format!("GitHub did not assign `{left_out}`");
            let fix = "name somebody in `alerts` of the environment's file who may be assigned, or give them access";
            told.trouble.push(Untold { reason, fix: fix.to_owned() });
        }
        Ok(())
    }

    /// Does what the mark says is still to do. What fails stays to be done, and is trouble.
    async fn catch_up(&self, ours: &Ours, check: &Check, told: &mut CheckTold) -> ToDo {
        let (mark, mut to_do) = (&ours.body.mark, ToDo::default());
        for item in &mark.to_do {
            let is_done = match (item.as_str(), news::of(item)) {
                (ASSIGN, _) => {
                    let people = assignees(self.alerts, mark.incident.severity);
                    match self.assign(ours.issue.number, &people, told).await {
                        Ok(()) => true,
                        Err(trouble) => {
                            told.trouble.push(trouble.into());
                            false
                        }
                    }
                }
                // As long as it is over; what is bad again is not.
                (over, _) if news::is_over(over) => told.about.is_about(check.verdict),
                (_, Some((channel, news))) => {
                    self.hear(&[channel], &news, ours, &mark.incident, &check.reason, told).await.is_empty()
                }
                // Of another version: nobody knows what it was.
                (_, None) => true,
            };
            if is_done {
                to_do.done.insert(item.clone());
            }
        }
        to_do
    }

    /// Whether it is this run that does what an earlier one left. It says so in the mark, without a word to people: who reads
    /// the mark after that leaves it alone. Two that read it in the same moment both do it, and it is heard twice.
    async fn takes_over(&self, ours: &Ours) -> Result<bool, Trouble> {
        let number = ours.issue.number;
        let now = self.ours(self.github.issue(number).await?).filter(|now| now.body.mark == ours.body.mark);
        let Some(Ours { body, .. }) = now else { return Ok(false) };
        let mark = Mark { tried: Some(self.now()), ..body.mark.clone() };
        self.mark(number, &body, &mark).await?;
        Ok(true)
    }

    /// Writes another mark, and leaves what people read as it is.
    async fn mark(&self, number: u64, body: &Body, mark: &Mark) -> Result<(), Trouble> {
        let Body { text, before, after, .. } = body;
        self.github.edit_issue(number, &format!("{before}{}{after}", wrap(mark, text)), None).await
    }

    /// Tells of an issue whose check nobody plans any more that it is not looked at, and closes it.
    pub(super) async fn end(&self, ours: &Ours, told: &mut CheckTold) -> Result<(), Trouble> {
        let (number, mark) = (ours.issue.number, &ours.body.mark);
        (told.issue, told.url) = (Some(number), ours.issue.url.clone());
        let is_silenced = ours.issue.has(&self.alerts.silence);
        let is_ours = if mark.to_do.iter().any(|item| news::is_over(item)) {
            is_silenced || mark.is_left(self.now()) && self.takes_over(ours).await?
        } else {
            self.claim(number, &format!("unplanned {}", mark.incident.seen), &self.writer.unplanned()).await?
        };
        if !is_ours {
            return Ok(());
        }
        let lasted = (self.now() - mark.incident.bad).try_into().unwrap_or_default();
        let left = self.hear_the_end(&News::Unplanned(lasted), ours, &mark.incident, told).await;
        if left.is_empty() {
            told.told.push("closed".to_owned());
            return self.github.close_issue(number, Reason::NotPlanned).await;
        }
        let Some(now) = self.ours(self.github.issue(number).await?) else { return Ok(()) };
        let mut mark = Mark { tried: Some(self.now()), ..now.body.mark.clone() };
        mark.to_do.retain(|item| !news::is_over(item));
        mark.to_do.extend(left);
        self.mark(number, &now.body, &mark).await
    }

    /// Tells that it is over to whoever has not heard it yet, and gives back what is still to do after that. Whoever
    /// silenced it hears nothing.
    async fn hear_the_end(
        &self,
        news: &News,
        ours: &Ours,
        incident: &Incident,
        told: &mut CheckTold,
    ) -> BTreeSet<String> {
        if ours.issue.has(&self.alerts.silence) {
            return BTreeSet::new();
        }
        let channels = news::to_hear_the_end(&ours.body.mark.to_do);
        let left = self.hear(&channels, news, ours, incident, "", told).await;
        left.into_iter().map(|channel| news::to_do(channel, news)).collect()
    }

    async fn close_duplicate(&self, ours: &Ours, of: u64) -> Result<(), Trouble> {
        self.claim(ours.issue.number, "duplicate", &self.writer.duplicate(of)).await?;
        self.github.close_issue(ours.issue.number, Reason::NotPlanned).await
    }

    /// Writes the state into the issue as it is now: what people, or other runs, have written in the meantime stays.
    async fn write(&self, ours: &Ours, check: &Check, change: Change<'_>) -> Result<(), Trouble> {
        let Change { incident, is_told, to_do, closed } = change;
        let number = ours.issue.number;
        // Closed, or taken away from us, by somebody meanwhile: it is theirs.
        let Some(now) = self.ours(self.github.issue(number).await?) else { return Ok(()) };
        let before = now.body.mark;
        let mut mark = Mark { incident: incident.clone(), ..before.clone() };
        if !is_told && before.incident != ours.body.mark.incident {
            // Another run has counted in between: this one counts on top of it, or not at all.
            let state = State::Open(before.incident.clone());
            mark.incident = match next(mark.key.about, &state, &self.look(check, mark.key.about), &[]) {
                Next { state: State::Open(on_top), transitions } if transitions.is_empty() => on_top,
                _ => before.incident.clone(),
            };
        }
        mark.incident.levels.extend(before.incident.levels.iter().cloned());
        mark.to_do.retain(|item| !to_do.done.contains(item));
        mark.to_do.extend(to_do.new);
        if closed.is_none() && mark == before {
            return Ok(());
        }
        let text = self.writer.body(&mark.key, &mark.incident, check, &now.body.text);
        let body = format!("{}{}{}", now.body.before, wrap(&mark, &text), now.body.after);
        self.github.edit_issue(number, &body, closed).await
    }
}

/// GitHub leaves out the labels of whoever may not set any, and says nothing of it.
fn unknown_to_us(number: u64, label: &str) -> Untold {
    Untold {
        reason: format!(
            "the issue #{number} was made and closed again: GitHub did not give it the label `{label}`, or its author may not write here"
        ),
        fix: "give the token the right to write issues (`issues: write`), of somebody who may write to the repository"
            .to_owned(),
    }
}
