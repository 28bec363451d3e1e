//! What the check of a log found.
//!
//! Findings are bounded: a log that is broken everywhere says so ten thousand times and no more.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::event::{Cursor, Head, Position};
use super::limits::{FINDING_MAX_CHARS, FINDINGS_KEPT_MAX, FINDINGS_MAX};

/// Describes one problem of a log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// The event it is about; 0: no one event.
    pub revision: i64,
    /// The table, and the key of the row in it; empty: no row.
    pub row: String,
    /// Holds what is wrong.
    pub message: String,
    /// Is the digest of what is stored there: who accepts the finding accepts these bytes, and no others. None: nothing is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// Everything that does not hold: all of it counted, some of it kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// The first ones.
    pub kept: Vec<Finding>,
    /// Says how many there are.
    pub count: u64,
}

/// Holds what the check of a log found.
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
    /// Holds the findings.
    pub findings: Findings,
    /// Is the digest of all findings; none when there are none, or more than can be accepted.
    pub findings_digest: Option<Digest>,
    /// Holds what is stored at the revisions that named findings, and the first broken event, are about. None stands where nothing is.
    pub positions: BTreeMap<i64, Position>,
}

/// Says what the check of a log is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogCheckPhase {
    /// It waits for its turn.
    #[default]
    Waiting,
    /// It checks events.
    Events,
    /// It compares pointers, rows and published versions with them.
    Rows,
}

/// Says how far the check of a log is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogCheckProgress {
    /// Holds what it is doing.
    pub phase: LogCheckPhase,
    /// Events checked so far.
    pub events: i64,
    /// Events there are to check, as of the beginning of the check.
    pub total_events: i64,
}

impl Findings {
    /// Takes one in about what is not there, or of which the message says everything.
    pub fn add(&mut self, revision: i64, row: &str, message: impl AsRef<str>) {
        self.add_found(revision, row, message, None);
    }

    /// Takes one in about what is stored, with the digest of that.
    pub fn add_found(&mut self, revision: i64, row: &str, message: impl AsRef<str>, digest: Option<Digest>) {
        self.count += 1;
        if self.kept.len() < FINDINGS_KEPT_MAX {
            let [row, message] = [row, message.as_ref()].map(|text| text.chars().take(FINDING_MAX_CHARS).collect());
            self.kept.push(Finding { revision, row, message, digest });
        }
    }

    /// Returns those that are named where all of them would be too many.
    pub fn named(&self) -> impl Iterator<Item = &Finding> {
        self.kept.iter().take(FINDINGS_MAX)
    }

    /// Leaves out what an admin accepted.
    pub fn leave_out(&mut self, is_accepted: impl Fn(&Finding) -> bool) {
        let before = self.kept.len();
        self.kept.retain(|finding| !is_accepted(finding));
        self.count = self.count.saturating_sub((before - self.kept.len()) as u64);
    }
}

impl LogVerdict {
    /// Returns whether everything holds.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.findings.count == 0
    }

    /// Returns the event that a finding is about, as it is stored; with epoch 0 when nothing is. None: the finding is about no one event.
    #[must_use]
    pub fn position(&self, finding: &Finding) -> Option<Position> {
        let absent = Cursor { epoch: 0, revision: finding.revision };
        let stored = || self.positions.get(&finding.revision).copied().unwrap_or_else(|| absent.into());
        (finding.revision > 0).then(stored)
    }

    /// Returns the finding about the first event that does not hold.
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
        for revision in 0..10_100 {
            findings.add(revision, "policies p", "é".repeat(300));
        }
        assert_eq!((findings.count, findings.kept.len()), (10_100, FINDINGS_KEPT_MAX));
        assert_eq!(findings.named().count(), FINDINGS_MAX);
        assert!(findings.kept.iter().all(|finding| finding.message.chars().count() == FINDING_MAX_CHARS));
    }
}
