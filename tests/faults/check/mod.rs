//! What must hold for a history, whatever happened while it was made: pure functions over the records.
//!
//! Boundary: no I/O, no clock, no randomness. A separate test target runs the tests of these files, which prove that each validator can
//! fail; the fault harness runs the validators after every schedule.

pub mod answers;
pub mod branches;
pub mod compare_and_set;
pub mod converged;
#[cfg(test)]
mod crafted;
pub mod ledger;
pub mod linearizable;
pub mod live;
pub mod log;
pub mod promises;
pub mod record;
pub mod roles;
pub mod streams;

use record::RecordedHistory;

/// The result of one validator.
#[derive(Debug, Default)]
pub struct CheckFindings {
    /// The number of single comparisons: zero comparisons prove nothing.
    pub checks: u64,
    /// The violations, each as a sentence.
    pub violations: Vec<String>,
}

impl CheckFindings {
    /// Makes one comparison; `what` describes its failure.
    pub fn check(&mut self, holds: bool, what: impl FnOnce() -> String) {
        self.checks += 1;
        if !holds {
            self.violations.push(what());
        }
    }
}

/// A validator: its name and its function.
pub type Validator = (&'static str, fn(&RecordedHistory, &mut CheckFindings));

/// All validators, in the order of the report.
pub const VALIDATORS: &[Validator] = &[
    ("log: contiguous, chained, replayable", log::check),
    ("log: no place with two contents", branches::check),
    ("ledger: acknowledged writes are there", ledger::acknowledged_are_there),
    ("ledger: failed writes are not", ledger::failed_are_absent),
    ("ledger: one effect per request id", ledger::one_effect),
    ("linearizable: order of writes and reads", linearizable::check_order),
    ("linearizable: reads equal the log", linearizable::check_contents),
    ("compare-and-set", compare_and_set::check),
    ("answers: every error is named", answers::check_named),
    ("answers: ends in order", answers::check_drains),
    ("streams: ordered and unique", streams::check_order),
    ("streams: no gap, resumable, atomic, filtered", streams::check_complete),
    ("streams: bookmarkable", streams::check_bookmarks),
    ("streams: snapshots and LATEST equal the log", streams::check_states),
    ("streams: signed", streams::check_signed),
    ("live: no stream falls silent", live::check_silence),
    ("live: delivered in time", live::check_delivery),
    ("promises: what workloads were told", promises::check),
    ("roles: taken away in time", roles::check),
    ("converged: replicas agree", converged::check_replicas),
    ("converged: watchers hold the head", converged::check_watchers),
];
