//! Revocations whose row is gone before its time.
//!
//! Rows are forgotten when what they ended is over by itself, without an event. So a missing row is a finding only when it was too
//! early; and what it ended stays ended, since the sealed event says it.

use super::Service;
use crate::domain::Result;
use crate::domain::name::NamespaceId;
use crate::domain::revocation::Revocation;
use crate::domain::time::Micros;
use crate::signing::chain::{LogCheck, RowState};
use crate::store::ReadTx;

/// The table of revocations.
const TABLE: &str = "revoked_tokens";
/// A row that is gone this long before its time was taken away by somebody else: an hour. Replicas forget rows by their own clocks.
const CLOCKS_DIFFER_MICROS: i64 = 3_600 * 1_000_000;

impl Service {
    /// Takes the revocations out of the rows that the log names and that are not there. Those that still end something are findings,
    /// and are told to whoever keeps revocations in memory.
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
        let now = self.store.newest_time(tx, namespace, check.head().cursor.revision).await?;
        let mut lost = Vec::new();
        for ((table, key), RowState { revision, .. }) in missing {
            let said = check.revocations.get(&revision).filter(|said| is_early(said, now));
            if let Some(said) = said {
                check.findings.add(revision, &format!("{table} {key}"), "it is not there");
                lost.push(said.clone());
            }
        }
        self.revoking.note_lost(lost);
        Ok(())
    }
}

/// Whether something is still ended by it, whatever clock its row was forgotten by.
fn is_early(revocation: &Revocation, now: Micros) -> bool {
    revocation.forget_time().0 > now.0.saturating_add(CLOCKS_DIFFER_MICROS)
}
