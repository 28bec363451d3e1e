//! Asks PostgreSQL which logs have grown since the last time, whatever number of logs there is.
//!
//! Neither times nor revisions tell that exactly: a transaction that began earlier may commit later. So an event has the id of its
//! transaction, and an answer has the lowest id that was still running: what is below that was visible, and the next question begins there.

use std::collections::BTreeSet;

use sea_orm::{ConnectionTrait as _, Statement};

use crate::domain::Result;
use crate::domain::name::NamespaceId;
use crate::store::error::failed;
use crate::store::handle::Store;

/// Logs that one answer names. When more have grown, all have to be looked at.
const CHANGED_LOGS_MAX: i64 = 1_000;

/// Selects the lowest id of a transaction that was running ($1 of the next question), and the logs with events of transactions from $1 on.
/// Ids from the next one on are left out: those are of another server, from which the rows were restored.
const CHANGED: &str = "SELECT s.lowest, e.namespace FROM \
     (SELECT pg_snapshot_xmin(now)::text::bigint AS lowest, pg_snapshot_xmax(now)::text::bigint AS next \
      FROM pg_current_snapshot() AS now) s \
     LEFT JOIN LATERAL (SELECT DISTINCT namespace FROM events \
      WHERE transaction_id >= $1 AND transaction_id < s.next LIMIT $2) e ON true";

/// From where the next question asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangesAfter(i64);

/// Which logs have grown.
#[derive(Debug)]
pub struct ChangedLogs {
    /// Their namespaces; none when there are too many to name them, or when it was not known from where to ask.
    pub namespaces: Option<BTreeSet<NamespaceId>>,
    /// Where the next question begins.
    pub next: ChangesAfter,
}

impl Store {
    /// Returns which logs have grown since an earlier answer, and possibly some that have not. On SQLite, where this process knows of each
    /// commit, it names none.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`.
    pub async fn changed_logs(&self, after: Option<ChangesAfter>) -> Result<ChangedLogs> {
        if self.is_sole_writer() {
            let namespaces = after.map(|_| BTreeSet::new());
            return Ok(ChangedLogs { namespaces, next: ChangesAfter(0) });
        }
        let reader = self.reader()?;
        let from = after.map_or(i64::MAX, |ChangesAfter(lowest)| lowest);
        let values = [from.into(), (CHANGED_LOGS_MAX + 1).into()];
        let ask = Statement::from_sql_and_values(reader.get_database_backend(), CHANGED, values);
        let (mut lowest, mut namespaces, mut count) = (0, BTreeSet::new(), 0);
        for row in reader.query_all_raw(ask).await.map_err(failed)? {
            let (found, namespace): (i64, Option<String>) = row.try_get_many_by_index().map_err(failed)?;
            lowest = found;
            count += i64::from(namespace.is_some());
            // An event of a namespace whose name is not valid belongs to no log that is followed.
            namespaces.extend(namespace.and_then(|id| NamespaceId::parse("namespace", &id).ok()));
        }
        let namespaces = (after.is_some() && count <= CHANGED_LOGS_MAX).then_some(namespaces);
        Ok(ChangedLogs { namespaces, next: ChangesAfter(lowest) })
    }
}
