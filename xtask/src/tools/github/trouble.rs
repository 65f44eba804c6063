//! Why GitHub did not do what it was asked for, told apart by what a person does next.

use crate::verdict::{NotRun, Unproven};

/// `asked` is the request as `METHOD path`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// There is nothing to ask with.
    #[error("neither GITHUB_TOKEN nor GH_TOKEN is set")]
    NoToken,
    /// It is not known which repository is meant.
    #[error("{0}")]
    NoRepository(String),
    /// The address is none that a token may be sent to.
    #[error("GITHUB_API_URL `{0}` is no https:// address")]
    Address(String),
    /// No connection came about.
    #[error("GitHub cannot be reached: {0}")]
    NotReached(String),
    /// It was asked, and nobody knows what came of it.
    #[error("GitHub did not answer `{asked}`: {why}")]
    Lost {
        /// The request.
        asked: String,
        /// What was seen.
        why: String,
    },
    /// 401.
    #[error("GitHub does not take the token (401): {0}")]
    Unauthorized(String),
    /// 403 that is no limit.
    #[error("the token may not `{asked}` (403): {why}")]
    Forbidden {
        /// The request.
        asked: String,
        /// GitHub's words.
        why: String,
    },
    /// 404, which GitHub also says to those who may not know.
    #[error("GitHub finds nothing for `{asked}` (404): {why}")]
    NotFound {
        /// The request.
        asked: String,
        /// GitHub's words.
        why: String,
    },
    /// 400, 409, 410, 422: understood and refused.
    #[error("GitHub refuses `{asked}` ({status}): {why}")]
    Refused {
        /// The request.
        asked: String,
        /// The status.
        status: u16,
        /// GitHub's words.
        why: String,
    },
    /// A limit that lasts longer than is waited.
    #[error("GitHub's limit of requests is used up{0}")]
    Limited(
        /// ` until TIME`, or empty.
        String,
    ),
    /// The answer is none that is documented.
    #[error("GitHub's answer to `{asked}` cannot be read: {why}")]
    Unreadable {
        /// The request.
        asked: String,
        /// What is wrong with it.
        why: String,
    },
    /// A tag of that name is there and names another commit.
    #[error("the tag `{name}` names {found}, not {wanted}")]
    TagTaken {
        /// The tag.
        name: String,
        /// The commit that it names.
        found: String,
        /// The commit that it should name.
        wanted: String,
    },
    /// Git takes no such name for a tag.
    #[error("`{0}` is no name of a tag")]
    TagName(String),
    /// Others move the branch all the time.
    #[error("the branch `{branch}` was moved by others {tries} times in a row")]
    Contended {
        /// The branch.
        branch: String,
        /// How often it was tried.
        tries: u32,
    },
    /// Somebody stopped us.
    #[error("interrupted")]
    Interrupted,
}

impl Trouble {
    /// The way out.
    pub fn way_out(&self) -> String {
        let text = match self {
            Self::NoToken => "set GITHUB_TOKEN, for example to what `gh auth token` prints",
            Self::NoRepository(_) => "set GITHUB_REPOSITORY to OWNER/NAME",
            Self::Address(_) => "unset it, or set it to the https:// address of your server's API",
            Self::NotReached(_) => "check the way to it (network, proxy, certificates), then run it again",
            Self::Lost { .. } | Self::Unreadable { .. } => {
                "look at https://www.githubstatus.com whether GitHub is well, then run it again"
            }
            Self::Unauthorized(_) => "get a new token: this one is wrong, revoked or has run out",
            Self::Forbidden { .. } => "give the token the permission that its documentation names for this request",
            Self::NotFound { .. } => {
                "look whether the repository and the name are right; GitHub says 404 as well where the token lacks the permission"
            }
            Self::Refused { .. } => "look at GitHub's words",
            Self::Limited(_) => "wait until then, or use another token",
            Self::TagTaken { .. } => "find out who set it; a tag of a release is never moved",
            Self::TagName(_) => "see `git help check-ref-format` for what a name may be",
            Self::Contended { .. } => "find out who writes to it all the time, then run it again",
            Self::Interrupted => "run it again",
        };
        text.to_owned()
    }

    /// Whether the next try may go better. One that may have been done is repeated only where that does no harm.
    pub(super) fn is_passing(&self, repeatable: bool) -> bool {
        matches!(self, Self::NotReached(_)) || repeatable && matches!(self, Self::Lost { .. })
    }

    /// The same with the words from outside made harmless.
    pub(super) fn map(self, harmless: impl Fn(&str) -> String) -> Self {
        match self {
            Self::Lost { asked, why } => Self::Lost { asked, why: harmless(&why) },
            Self::Unauthorized(why) => Self::Unauthorized(harmless(&why)),
            Self::Forbidden { asked, why } => Self::Forbidden { asked, why: harmless(&why) },
            Self::NotFound { asked, why } => Self::NotFound { asked, why: harmless(&why) },
            Self::Refused { asked, status, why } => Self::Refused { asked, status, why: harmless(&why) },
            Self::Unreadable { asked, why } => Self::Unreadable { asked, why: harmless(&why) },
            other => other,
        }
    }
}

impl From<Trouble> for NotRun {
    fn from(trouble: Trouble) -> Self {
        Self::new(trouble.to_string(), trouble.way_out())
    }
}

impl From<Trouble> for Unproven {
    fn from(trouble: Trouble) -> Self {
        Self::NotRun(trouble.into())
    }
}
