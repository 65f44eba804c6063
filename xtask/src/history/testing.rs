//! Entries for unit tests.

use super::entry::{Entry, Gate, Host, SCHEMA};
use crate::context::Profile;
use crate::verdict::{Verdict, Work};

/// The run that began `number` minutes after the first of November.
pub fn entry(number: usize) -> Entry {
    let (day, hour, minute) = (1 + number / 1440, number / 60 % 24, number % 60);
    Entry {
        schema: SCHEMA.to_owned(),
        run: format!("202611{day:02}T{hour:02}{minute:02}00Z-0123abcd-ci-000000"),
        started: format!("2026-11-{day:02}T{hour:02}:{minute:02}:00Z"),
        duration_ms: 1000,
        commit: "0123abcd".repeat(5),
        branch: "main".to_owned(),
        dirty: false,
        task: "ci".to_owned(),
        profile: Profile::Local,
        environment: None,
        host: Host::Laptop,
        url: String::new(),
        verdict: Verdict::Pass,
        gates: vec![],
        coverage: None,
        image: None,
        load: None,
        release: None,
        issues: vec![],
        journal: vec![],
    }
}

/// A gate that passed in 500 ms.
pub fn gate(id: &str) -> Gate {
    Gate {
        id: id.to_owned(),
        verdict: Verdict::Pass,
        required: true,
        cached: false,
        duration_ms: 500,
        work: Work::new(3, "tests"),
        reason: String::new(),
        findings: super::entry::Found::default(),
        flaky: vec![],
    }
}
