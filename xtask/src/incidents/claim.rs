//! Which of several runs tells a transition: the one whose comment about it was there first.
//!
//! GitHub has no write that fails when somebody else was faster. So each run writes its comment, lists again, and the
//! lowest id stays; the others are removed by those who wrote them. The comment is what people read, too. One that was
//! written long ago by a run that did no more is taken over by a second one, which is claimed in the same way.

use std::collections::BTreeSet;

use super::desk::Desk;
use super::mark::{Note, read_note, wrap_note};
use super::state::GRACE;
use crate::tools::github::{Comment, Trouble};

/// How often a claim is taken over before it is given up.
const DEEPEST: usize = 3;

/// A comment that claims something.
struct Claim {
    id: u64,
    by: String,
    is_old: bool,
}

impl Desk<'_> {
    /// Whether it is this run that tells `tells` about an issue; `text` is what its comment says.
    pub(super) async fn claim(&self, issue: u64, tells: &str, text: &str) -> Result<bool, Trouble> {
        let (mut tells, mut text) = (tells.to_owned(), text.to_owned());
        for _ in 0..DEEPEST {
            match self.claims(issue, &tells).await?.first() {
                Some(first) if first.by == self.by => return Ok(true),
                Some(first) if !first.is_old => return Ok(false),
                // Whoever wrote it would have ended by now.
                Some(_) => (tells, text) = (format!("{tells}+"), self.writer.taken_over()),
                None => return self.contend(issue, &tells, &text).await,
            }
        }
        Ok(false)
    }

    async fn contend(&self, issue: u64, tells: &str, text: &str) -> Result<bool, Trouble> {
        let note = Note { by: self.by.clone(), tells: tells.to_owned() };
        let is_there = |comment: &Comment| comment.is_trusted && read_note(&comment.body).as_ref() == Some(&note);
        let made = self.github.comment(issue, &wrap_note(&note, text), is_there).await?;
        let claims = self.claims(issue, tells).await?;
        // One that was just written and is not listed yet is ours.
        let is_first = claims.first().is_none_or(|first| first.by == self.by);
        let stays = claims.first().filter(|_| is_first).map_or(made, |first| first.id);
        // Of a lost answer there may be two of ours; and a list of several pages misses some while others are removed.
        let ours = claims.iter().filter(|claim| claim.by == self.by).map(|claim| claim.id).chain([made]);
        for id in ours.collect::<BTreeSet<u64>>() {
            if !is_first || id != stays {
                self.github.delete_comment(id).await?;
            }
        }
        Ok(is_first)
    }

    /// The comments that claim it, the first one first.
    async fn claims(&self, issue: u64, tells: &str) -> Result<Vec<Claim>, Trouble> {
        let now = self.now();
        let comments = self.github.comments(issue).await?.into_iter().filter(|comment| comment.is_trusted);
        let claims = comments.filter_map(|comment| {
            let note = read_note(&comment.body).filter(|note| note.tells == tells)?;
            let is_old = comment.created.is_some_and(|created| now - created > GRACE);
            Some(Claim { id: comment.id, by: note.by, is_old })
        });
        Ok(claims.collect())
    }
}
