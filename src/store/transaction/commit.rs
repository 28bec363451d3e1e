//! Commits transactions, and confirms each by another connection before it is acknowledged.

use std::sync::Arc;

use sea_orm::{DatabaseTransaction, DbErr};
use tokio::time::timeout;

use crate::domain::{Error, Result};
use crate::store::connection::bounded::TimedConnection;
use crate::store::error::{Failure, commit_failed, commit_refused};
use crate::store::handle::Store;
use crate::store::health::durability::CommitConfirmation;
use crate::store::health::state::COMMIT_ANSWER_TIMEOUT;
use crate::store::transaction::views::WriteTx;

/// The only table whose rows may change without an event.
const REPORTS: &str = "reports";

impl Store {
    /// Commits a transaction, checks by `confirmation` that another connection finds its writes, durably, then runs `after`. Otherwise a
    /// database that confirms a COMMIT and does not have it would lose an acknowledged write (docs/guarantees.md#g25).
    ///
    /// # Errors
    /// `OUTCOME_UNKNOWN`: it is unknown whether it is committed.
    #[expect(clippy::disallowed_methods, reason = "nothing a caller does may cancel a COMMIT (docs/guarantees.md#g8)")]
    pub(in crate::store) async fn commit(
        &self,
        tx: TimedConnection<DatabaseTransaction>,
        confirmation: impl Future<Output = std::result::Result<CommitConfirmation, DbErr>> + Send + 'static,
        after: impl FnOnce() + Send + 'static,
    ) -> Result<()> {
        let (health, store) = (Arc::clone(&self.inner.health), self.clone());
        let commit = tokio::spawn(async move {
            let _running = health.commit_begins();
            tx.commit().await.map_err(|error| commit_refused(&error))?;
            match confirmation.await {
                Ok(CommitConfirmation::Durable) => {
                    // The commit is in the file that this server has open, which the next start may not find under its name.
                    if let Some(replaced) = store.replaced_files().await {
                        health.failed(Failure::Outage);
                        after();
                        return Err(commit_failed(replaced));
                    }
                }
                Ok(CommitConfirmation::Lossy(found)) => {
                    let message = found.message().to_owned();
                    health.write_blockers.note(Some(found));
                    // For the same reason as below.
                    after();
                    return Err(commit_failed(message));
                }
                Ok(CommitConfirmation::Absent) => {
                    health.failed(Failure::Outage);
                    tracing::error!("the database confirmed a COMMIT and does not have what was written");
                    return Err(commit_failed("confirmed, and not there".to_owned()));
                }
                Err(error) => {
                    // The commit is confirmed: readers of this process must not get an answer from before it.
                    after();
                    return Err(commit_failed(format!("failed to read what was committed: {error}")));
                }
            }
            after();
            Ok(())
        });
        match timeout(COMMIT_ANSWER_TIMEOUT, commit).await {
            Ok(done) => {
                done.map_err(|error| commit_failed(format!("the task of a commit ended early: {error}"))).flatten()
            }
            Err(_) => {
                // A slow disk or standby, or an outage: the probe decides. The connection may be intact and the COMMIT only slow.
                self.inner.health.suspect();
                Err(commit_failed("no answer in time".to_owned()))
            }
        }
    }
}

impl WriteTx {
    /// Commits, then runs `after`. A caller that disconnects or stops waiting cancels neither: both run in their own task.
    ///
    /// # Errors
    /// `OUTCOME_UNKNOWN`: it is unknown whether it is committed.
    pub async fn commit(mut self, after: impl FnOnce() + Send + 'static) -> Result<()> {
        // A failed report of an open version is stored without an event; an event must name every other row.
        if self.take_written().iter().any(|row| row.table != REPORTS) {
            return Err(Error::internal("a row was written that no event names"));
        }
        let Self { read, store, namespace, head, .. } = self;
        let (inner, confirmation) = (Arc::clone(&store.inner), store.clone().confirm_event(namespace.clone(), head));
        let noted = move || {
            inner.high_water.note(&namespace, head);
            inner.unannounced.add(&namespace);
            after();
        };
        store.commit(read.tx, confirmation, noted).await
    }
}
