//! Checks the rows that a decision read against the events that named them last.
//!
//! The MAC of a row shows who wrote it, not when: an older row that is written back has a genuine MAC, and a deleted row has none.
//! Invariant: an event is written, or an answer given without one, only when each row that the decision read, or found absent, matches the
//! newest event about it. Rows that this server wrote or verified are cached, so that most decisions verify no event again.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use super::reader::LogReader;
use crate::domain::digest::Digest;
use crate::domain::event::{Cursor, Payload, RowChange};
use crate::domain::name::{NamespaceId, SYSTEM_NAMESPACE};
use crate::domain::{Error, Result};
use crate::store::{LoggedRow, WriteTx, decides};
use crate::watch::Verify as _;

/// Number of rows in the cache, some 200 bytes each. Beyond it, the events of those that were used least recently are read again.
const CACHED_ROWS_MAX: NonZeroUsize = NonZeroUsize::new(200_000).unwrap();

/// The revision of a row that no event of its log names.
const NO_REVISION: i64 = 0;

/// Compares rows with the newest event about each.
#[derive(Debug)]
pub struct RowCheck {
    log: Arc<LogReader>,
    cache: RowEventCache,
}

/// The newest event about each row, by namespace, table and key.
#[derive(Debug)]
struct RowEventCache(Mutex<LruCache<(NamespaceId, String, String), NewestEvent>>);

impl Default for RowEventCache {
    fn default() -> Self {
        Self(Mutex::new(LruCache::sparse(CACHED_ROWS_MAX)))
    }
}

#[derive(Debug, Clone)]
struct NewestEvent {
    at: Cursor,
    digest: Option<Digest>,
}

impl RowEventCache {
    fn rows(&self) -> MutexGuard<'_, LruCache<(NamespaceId, String, String), NewestEvent>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Caches the rows that a committed event wrote.
    pub(super) fn learn(&self, log: &NamespaceId, at: Cursor, rows: impl IntoIterator<Item = RowChange>) {
        let mut known = self.rows();
        for RowChange { table, key, digest } in rows.into_iter().filter(|row| decides(&row.table)) {
            let key = (log.clone(), table, key);
            let entry = known.get_or_insert_mut(key, || NewestEvent { at, digest: digest.clone() });
            if entry.at < at {
                *entry = NewestEvent { at, digest };
            }
        }
    }

    /// Returns the newest event about a row, if it is cached and of this epoch: a log that lost its tail continues in another one.
    fn get(&self, log: &NamespaceId, row: &RowChange, epoch: i64) -> Option<NewestEvent> {
        let key = (log.clone(), row.table.clone(), row.key.clone());
        self.rows().get(&key).filter(|known| known.at.epoch == epoch).cloned()
    }
}

impl RowCheck {
    pub fn new(log: Arc<LogReader>) -> Self {
        Self { log, cache: RowEventCache::default() }
    }

    /// Caches the rows that a committed event wrote.
    pub fn learn(&self, log: &NamespaceId, at: Cursor, rows: impl IntoIterator<Item = RowChange>) {
        self.cache.learn(log, at, rows);
    }

    /// Compares the rows that a write read, or found absent, so far.
    ///
    /// # Errors
    /// `DATA_LOSS` when one does not match the newest event about it, or is absent without an event that removed it.
    pub async fn check_read(&self, tx: &WriteTx) -> Result<()> {
        let (epoch, is_alone) = (tx.head().cursor.epoch, self.log.store.is_sole_writer());
        // When this server alone writes, its cache has the newest event. With several replicas only the index has it.
        let is_known = |(log, row): &LoggedRow| {
            is_alone && self.cache.get(log, row, epoch).is_some_and(|known| known.digest == row.digest)
        };
        let mut read = tx.take_read();
        read.retain(|row| !is_known(row));
        if read.is_empty() {
            return Ok(());
        }
        let revisions = tx.read().naming_revisions(&read).await?;
        let (mut unknown, mut absent) = (Vec::new(), Vec::new());
        for (log, row) in read {
            let revision = revisions.get(&(log.to_string(), row.table.clone(), row.key.clone())).copied();
            match (self.cache.get(&log, &row, epoch), revision) {
                (Some(known), Some(revision)) if known.at.revision == revision => {
                    if known.digest != row.digest {
                        return Err(stale_row(
                            &row,
                            &format!("event {revision}, the newest about it, wrote something else"),
                        ));
                    }
                }
                (Some(known), revision)
                    if known.at.revision > NO_REVISION
                        && revision.is_none_or(|revision| revision < known.at.revision) =>
                {
                    let newer = known.at.revision;
                    return Err(stale_row(
                        &row,
                        &format!("the index of rows does not lead to event {newer}, which wrote it"),
                    ));
                }
                (_, Some(revision)) => unknown.push((log, row, revision)),
                (_, None) if is_from_creation(&row) => {}
                (_, None) if row.digest.is_none() => absent.push((log, row)),
                (_, None) => return Err(stale_row(&row, "no event wrote it")),
            }
        }
        self.check_events(tx, unknown).await?;
        if is_alone {
            // Rows that no event names are cached too, until this server writes them.
            for (log, row) in absent {
                self.cache.learn(&log, Cursor { epoch, revision: NO_REVISION }, [row]);
            }
        }
        Ok(())
    }

    /// Compares rows with the events that the index leads to, and caches them.
    async fn check_events(&self, tx: &WriteTx, rows: Vec<(NamespaceId, RowChange, i64)>) -> Result<()> {
        let mut wanted: BTreeMap<&NamespaceId, BTreeSet<i64>> = BTreeMap::new();
        for (log, _, revision) in &rows {
            wanted.entry(log).or_default().insert(*revision);
        }
        let mut payloads: BTreeMap<(NamespaceId, i64), Payload> = BTreeMap::new();
        for (log, revisions) in wanted {
            let revisions: Vec<i64> = revisions.into_iter().collect();
            for (revision, event) in tx.read().events_at(log, &revisions).await? {
                payloads.insert((log.clone(), revision), self.log.signer.event(&event)?);
            }
        }
        for (log, row, revision) in rows {
            match payloads.get(&(log.clone(), revision)) {
                Some(payload) if payload.rows.contains(&row) => {
                    self.cache.learn(&log, Cursor { epoch: payload.epoch, revision }, [row]);
                }
                _ => {
                    return Err(stale_row(
                        &row,
                        &format!("event {revision}, the newest about it, wrote something else"),
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Returns whether a row was written when the store was created, without an event.
fn is_from_creation(row: &RowChange) -> bool {
    row.table == "namespaces" && row.key == SYSTEM_NAMESPACE
}

/// Returns the refusal of a row that is not the newest one, and logs it.
fn stale_row(row: &RowChange, problem: &str) -> Error {
    let RowChange { table, key, .. } = row;
    tracing::error!(target: "policyhub::audit", %table, row = %key, problem, "a decision was refused: a row is not the newest");
    Error::data_loss(format!("{table} {key}: {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_never_goes_back_and_is_of_one_epoch() {
        let (log, known) = (NamespaceId::parse("namespace", "a").expect("an id"), RowEventCache::default());
        let row = |table: &str, byte: u8| RowChange {
            table: table.to_owned(),
            key: "p".to_owned(),
            digest: Some(Digest::from_sha256(&[byte; 32])),
        };
        let at = |epoch, revision| Cursor { epoch, revision };
        known.learn(&log, at(1, 5), [row("policies", 5), row("reports", 5)]);
        known.learn(&log, at(1, 4), [row("policies", 4)]);
        let newest = known.get(&log, &row("policies", 0), 1).expect("a row that is known");
        assert_eq!((newest.at, newest.digest), (at(1, 5), row("policies", 5).digest));
        assert!(known.get(&log, &row("policies", 0), 2).is_none(), "what a lost tail wrote is not known");
        assert!(known.get(&log, &row("reports", 0), 1).is_none(), "a report decides nothing");
    }

    /// Given more rows than the cache has room for, the newest event about one that decisions read is not read again, nor mistaken.
    #[test]
    fn a_row_that_is_read_stays_however_many_are_written() {
        let (log, known) = (NamespaceId::parse("namespace", "a").expect("an id"), RowEventCache::default());
        let row = |key: &str, byte: u8| RowChange {
            table: "policies".to_owned(),
            key: key.to_owned(),
            digest: Some(Digest::from_sha256(&[byte; 32])),
        };
        let at = |revision| Cursor { epoch: 1, revision };
        let most = CACHED_ROWS_MAX.get();
        known.learn(&log, at(5), [row("used", 5)]);
        for number in 0..most + 1 {
            known.learn(&log, at(6), [row(&number.to_string(), 6)]);
            if number == most / 2 {
                assert!(known.get(&log, &row("used", 0), 1).is_some(), "there is room for all so far");
            }
        }
        assert_eq!(known.rows().len(), most);
        known.learn(&log, at(4), [row("used", 4)]);
        let newest = known.get(&log, &row("used", 0), 1).expect("a row that is known");
        assert_eq!((newest.at, newest.digest), (at(5), row("used", 5).digest), "the older one counts for nothing");
        assert!(known.get(&log, &row("0", 0), 1).is_none(), "the oldest is gone");
    }
}
