//! Checks that pointers are still where the caller saw them.

use super::use_cases::Policies;
use crate::domain::Result;
use crate::domain::event::{Cursor, Fingerprint, Head, Position};
use crate::domain::lifecycle;
use crate::domain::name::NamespaceId;
use crate::domain::policy::Policy;
use crate::store::ReadTx;

/// Checks that no pointer of a namespace moved after the position at which the caller read it.
///
/// # Errors
/// `EXPECTED_ACTIVE_MISMATCH`, `DATA_LOSS`.
pub(super) async fn check_unmoved(tx: &ReadTx, namespace: &NamespaceId, head: Head, since: Position) -> Result<()> {
    let moved = Cursor { revision: tx.last_move(namespace).await?, ..head.cursor };
    let is_in_log = since.cursor.revision > 0 && since.cursor <= head.cursor;
    let found = match since.event {
        Some(_) if is_in_log => Fingerprint::of(&tx.event(namespace, since.cursor.revision).await?.hash),
        _ => None,
    };
    lifecycle::check_unmoved(since, found, moved, head.cursor)
}

impl Policies {
    /// Checks that the pointer is where the caller saw it; the refusal says who moved it since.
    ///
    /// # Errors
    /// `EXPECTED_ACTIVE_MISMATCH`.
    pub(super) async fn check_expected_active(
        &self,
        tx: &ReadTx,
        policy: &Policy,
        expected: Option<i64>,
    ) -> Result<()> {
        match lifecycle::check_expected(policy, expected) {
            Err(refusal) => Err(self.add_who_moved(tx, std::slice::from_ref(policy), refusal).await),
            Ok(()) => Ok(()),
        }
    }
}
