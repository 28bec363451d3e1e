//! What the check of a log found.
//!
//! Findings are bounded: a log that is broken everywhere says so a hundred times and no more.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::event::Head;
use super::limits::{FINDING_MAX_CHARS, FINDINGS_MAX};

/// One thing that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// The event it is about; 0: no one event.
    pub revision: i64,
    /// The table, and the key of the row in it; empty: no row.
    pub row: String,
    /// What is wrong.
    pub message: String,
}

/// Everything that does not hold: all of it counted, some of it kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// The first ones.
    pub kept: Vec<Finding>,
    /// How many there are.
    pub count: u64,
}

/// What the check of a log found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogVerdict {
    /// Events checked.
    pub events: i64,
    /// Manifests checked, each with its content.
    pub manifests: i64,
    /// Rows compared with what the log says of them.
    pub rows: i64,
    /// The last event before anything was wrong with the log.
    pub head: Head,
    /// What does not hold.
    pub findings: Findings,
}

impl Findings {
    /// Takes one in.
    pub fn add(&mut self, revision: i64, row: &str, message: impl AsRef<str>) {
        self.count += 1;
        if self.kept.len() < FINDINGS_MAX {
            let [row, message] = [row, message.as_ref()].map(|text| text.chars().take(FINDING_MAX_CHARS).collect());
            self.kept.push(Finding { revision, row, message });
        }
    }
}

impl Findings {
    /// Leaves out what an admin accepted.
    pub fn leave_out(&mut self, accepted: &BTreeSet<Finding>) {
        let before = self.kept.len();
        self.kept.retain(|finding| !accepted.contains(finding));
        self.count = self.count.saturating_sub((before - self.kept.len()) as u64);
    }
}

impl LogVerdict {
    /// Whether everything holds.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.findings.count == 0
    }

    /// The finding about the first event that does not hold.
    #[must_use]
    pub fn broken(&self) -> Option<&Finding> {
        self.findings.kept.iter().filter(|finding| finding.revision > 0).min_by_key(|finding| finding.revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_counted_all_and_kept_in_bounds() {
        let mut findings = Findings::default();
        for revision in 0..1_000 {
            findings.add(revision, "policies p", "é".repeat(10_000));
        }
        assert_eq!((findings.count, findings.kept.len()), (1_000, FINDINGS_MAX));
        assert!(findings.kept.iter().all(|finding| finding.message.chars().count() == FINDING_MAX_CHARS));
    }
}
