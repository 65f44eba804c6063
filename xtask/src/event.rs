//! Events: the only bridge from what runs (engine, releases, monitoring) to what shows (`report/`).

use std::sync::mpsc::Sender;

use crate::model::{GateReport, Report};

/// Something that happened and that a person or a report may want to know.
#[derive(Clone, Debug)]
pub enum Event {
    /// The report of the run as far as it is known: every planned gate, each as `did_not_run` so far.
    Planned(Box<Report>),
    /// A gate's action began.
    Started {
        /// The gate's id.
        gate: String,
    },
    /// A gate began one of its commands.
    Step {
        /// The gate's id.
        gate: String,
        /// The command as a person would type it.
        command: String,
    },
    /// A line that a gate's command printed, cleaned and redacted.
    Line {
        /// The gate's id.
        gate: String,
        /// Without its line feed.
        text: String,
    },
    /// A line of the log of something that runs elsewhere, cleaned and redacted.
    Log {
        /// Whose: a pod, and its container where it has several.
        source: String,
        /// Without its line feed.
        text: String,
    },
    /// A gate has its verdict.
    Finished(Box<GateReport>),
    /// Why a gate was not taken from the cache (`--explain`).
    Explained {
        /// The gate's id.
        gate: String,
        /// The first component that differed.
        because: String,
    },
    /// A sentence for people, outside of any gate.
    Note(String),
    /// A sentence that somebody should act upon, though it changes no verdict.
    Warning(String),
    /// What is said beside an output that somebody reads on: never where that goes.
    Aside(String),
    /// The run was interrupted; what is running is being stopped.
    Interrupted,
    /// The run is over; nothing comes after this.
    Ended(Box<Report>),
}

/// Where events go. Cheap to clone; sending never fails and never waits.
#[derive(Clone, Debug)]
pub struct Events(Sender<Event>);

impl Events {
    /// Events go to the consumer at the other end of `sender`.
    pub fn new(sender: Sender<Event>) -> Self {
        Self(sender)
    }

    /// Passes one event on. Once the consumer is gone nobody wants to know any more.
    pub fn send(&self, event: Event) {
        let _gone = self.0.send(event);
    }
}
