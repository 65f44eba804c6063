//! Incidents: what a run of the monitoring means for those who have to know, told once (R31).
//!
//! Pure parts beside those that ask GitHub: `look` reads a report, `state` decides what a look at a check means, `cause`
//! whether a failure is the same as before, `mark` how the state lies in the issue, `body` what people read, `routing` who
//! hears of it, `hooks` what goes to chats and other programs, `late` whether a schedule is overdue. `desk` carries the
//! decisions out, and `claim` sees to it that of several runs one does.

pub mod body;
pub mod cause;
mod claim;
pub mod desk;
pub mod hooks;
pub mod late;
pub mod look;
pub mod mark;
pub mod routing;
pub mod state;
