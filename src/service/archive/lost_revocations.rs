//! Revocations whose row was deleted too early.
//!
//! Rows are deleted without an event once the credential has expired. So a missing row is a finding only when it was deleted too early.
//! Its credential stays revoked in any case, because replicas go by the log.

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
    /// Removes the revocations from the rows that the log names and that are missing. Those that still revoke a credential are findings.
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
        for ((table, key), RowState { revision, .. }) in missing {
            if check.revocations.get(&revision).is_some_and(|revocation| is_early(revocation, now)) {
                check.findings.add(revision, &format!("{table} {key}"), "it is not there");
            }
        }
        Ok(())
    }
}

/// Returns whether a revocation still revokes a credential, whatever clock its row was deleted by.
fn is_early(revocation: &Revocation, now: Micros) -> bool {
    revocation.forget_time().0 > now.0.saturating_add(CLOCK_SKEW_MAX_MICROS)
}
