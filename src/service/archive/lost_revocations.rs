//! Revocations whose row was deleted too early.
//!
//! Rows are deleted without an event once the credential has expired. So a missing row is a finding only when it was deleted too early;
//! and its credential stays revoked, because the signed event proves the revocation.

use super::use_cases::Archive;
use crate::domain::Result;
use crate::domain::name::NamespaceId;
use crate::domain::revocation::Revocation;
use crate::domain::time::Micros;
use crate::signing::chain::{LogCheck, RowState};
use crate::store::ReadTx;

/// The table of revocations.
const TABLE: &str = "revoked_tokens";
/// A row that is missing this long before its time was deleted by hand: one hour. Replicas delete rows by their own clocks.
const CLOCK_SKEW_MAX_MICROS: i64 = 3_600 * 1_000_000;

impl Archive {
    /// Removes the revocations from the rows that the log names and that are missing. Those that still revoke a credential are findings,
    /// and stay in force.
    pub(super) async fn find_lost_revocations(
        &self,
        tx: &ReadTx,
        namespace: &NamespaceId,
        check: &mut LogCheck,
    ) -> Result<()> {
        let (missing, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut check.rows).into_iter().partition(|((table, _), _)| table == TABLE);
        check.rows = rest.into_iter().collect();
        if missing.is_empty() {
            return Ok(());
        }
        let now = self.log.store.newest_time(tx, namespace, check.head().cursor.revision).await?;
        let mut lost = Vec::new();
        for ((table, key), RowState { revision, .. }) in missing {
            let revocation = check.revocations.get(&revision).filter(|revocation| is_early(revocation, now));
            if let Some(revocation) = revocation {
                check.findings.add(revision, &format!("{table} {key}"), "it is not there");
                lost.push(revocation.clone());
            }
        }
        self.revocations.note_lost(lost);
        Ok(())
    }
}

/// Returns whether a revocation still revokes a credential, whatever clock its row was deleted by.
fn is_early(revocation: &Revocation, now: Micros) -> bool {
    revocation.forget_time().0 > now.0.saturating_add(CLOCK_SKEW_MAX_MICROS)
}
