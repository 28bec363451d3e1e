//! The capabilities of a replica now, for probes.

use super::use_cases::Service;
use crate::domain::counted_noun::counted_noun;

/// What a replica can do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// The replica can do everything.
    Ready,
    /// Something fails, for this reason: the database of all replicas does not answer, or something needs an operator.
    Degraded(String),
    /// The database of this server alone can't be read or written, for this reason if it is known: reads are answered from memory.
    Down(Option<String>),
    /// Data loss is suspected, or the database accepts no writes, for this reason.
    ReadOnly(String),
    /// The database of this server alone accepts no writes, for this reason: every read is answered.
    Unwritable(String),
    /// The replica does not hold this active signing key: it makes no writes and no checkpoints. Others may have it.
    NotSigning(String),
}

impl Service {
    /// Returns the current readiness.
    pub async fn readiness(&self) -> Readiness {
        // Check this first: it remains after an outage.
        if let Some(doubt) = self.log.store.suspected_loss() {
            return Readiness::ReadOnly(format!("the store is in doubt: {doubt}"));
        }
        if !self.log.store.ping().await {
            if self.log.store.is_sole_writer() {
                return Readiness::Down(self.log.store.outage_cause());
            }
            let unnamed = || "the database does not answer".to_owned();
            return Readiness::Degraded(self.log.store.outage_cause().unwrap_or_else(unnamed));
        }
        if let Some(blocker) = self.log.store.write_blocker() {
            let is_alone = self.log.store.is_sole_writer();
            return if is_alone { Readiness::Unwritable(blocker) } else { Readiness::ReadOnly(blocker) };
        }
        if let Err(error) = self.log.signer.check_holds_active() {
            return Readiness::NotSigning(error.message);
        }
        let frozen = self.log.store.all_frozen().len();
        if frozen > 0 {
            return Readiness::Degraded(format!(
                "{} frozen; the metrics name them",
                counted_noun(frozen, "namespace is", "namespaces are")
            ));
        }
        let unchecked = self.archive.failed_checks();
        if unchecked > 0 {
            return Readiness::Degraded(format!(
                "{} be checked; the server's log says why",
                counted_noun(unchecked, "log can't", "logs can't")
            ));
        }
        if let Some(why) = self.checks.contents.workers.failure() {
            return Readiness::Degraded(format!("versions can't be checked, no process for it can be started: {why}"));
        }
        match self.log.store.missing_rights() {
            Some(missing) => Readiness::Degraded(format!(
                "the server's role lacks a right in the database, what needs it fails: {missing}"
            )),
            None => Readiness::Ready,
        }
    }
}
