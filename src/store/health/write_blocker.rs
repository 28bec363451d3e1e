//! Write blockers: why a database that answers can't be written to, kept until a later check finds otherwise.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::{Error, Reason, Result};

/// The text for callers, `/readyz` and the log when the disk is full.
pub(in crate::store) const DISK_FULL: &str = "the disk of the database is full";

/// A reason why nothing can be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct WriteBlocker {
    reason: Reason,
    is_standby: bool,
    /// Text for callers and operators, a lower-case sentence.
    message: String,
}

impl WriteBlocker {
    pub(in crate::store) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, is_standby: false, message: message.into() }
    }

    /// Returns the blocker of a standby: it can't be written to, and its data may be old.
    pub(in crate::store) fn standby() -> Self {
        let standby = Self::new(Reason::DatabaseReadOnly, "the database is a standby; connect to the primary");
        Self { is_standby: true, ..standby }
    }

    /// Returns the blocker of a full disk.
    pub(in crate::store) fn disk_full() -> Self {
        Self::new(Reason::DatabaseUnavailable, format!("{DISK_FULL}; the operator frees space"))
    }

    /// Returns the blocker of a database whose tables are missing, or hidden by `search_path`.
    pub(in crate::store) fn no_tables() -> Self {
        let message = "the server's tables are not in the database, or its search_path hides them";
        Self::new(Reason::DatabaseAccessDenied, message)
    }

    /// Returns the blocker of a database that holds another store.
    pub(in crate::store) fn another_store() -> Self {
        let message = "the database holds another store than this server's; lead it back to its own";
        Self::new(Reason::DatabaseAccessDenied, message)
    }

    /// Returns the blocker of a setting with which a crash would lose confirmed writes.
    pub(in crate::store) fn not_durable(setting: &str, value: &str) -> Self {
        let message =
            format!("the database may lose what it acknowledges ({setting} is {value}); the operator sets it to on");
        Self::new(Reason::DatabaseNotDurable, message)
    }

    /// Whether a confirmed write may be lost in a crash because of it.
    pub(in crate::store) fn is_lossy(&self) -> bool {
        self.reason == Reason::DatabaseNotDurable
    }

    /// Whether reads from this database may be old too.
    pub(in crate::store) fn is_standby(&self) -> bool {
        self.is_standby
    }

    /// Returns the text for people.
    pub(in crate::store) fn message(&self) -> &str {
        &self.message
    }

    /// Returns the error of a call that is refused for it.
    pub(in crate::store) fn to_error(&self) -> Error {
        Error::new(self.reason, format!("{}; retry later with the same request_id", self.message))
    }
}

/// The write blockers as found by the connection that checked last: for `/readyz`, and to refuse a write before it takes a connection. No
/// write is acknowledged by it: another connection may find otherwise, so each transaction checks itself.
#[derive(Debug, Default)]
pub(in crate::store) struct WriteBlockers {
    found: Mutex<Option<WriteBlocker>>,
    /// The disk accepts no writes: found by a write that failed, whatever the settings are.
    disk: Mutex<Option<WriteBlocker>>,
    /// Rights that the server's role lacks: only operations that need them fail.
    missing_rights: Mutex<Option<String>>,
}

impl WriteBlockers {
    fn now(&self) -> MutexGuard<'_, Option<WriteBlocker>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of_disk(&self) -> MutexGuard<'_, Option<WriteBlocker>> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records the result of the connection that checked last.
    pub(in crate::store) fn note(&self, found: Option<WriteBlocker>) {
        let before = std::mem::replace(&mut *self.now(), found.clone());
        tell(before.as_ref(), found.as_ref());
    }

    /// Records the result of the last write to the disk.
    pub(in crate::store) fn note_disk(&self, found: Option<WriteBlocker>) {
        let before = std::mem::replace(&mut *self.of_disk(), found.clone());
        tell(before.as_ref(), found.as_ref());
    }

    /// Whether the last check of the disk found that it accepts no writes.
    pub(in crate::store) fn is_disk_noted(&self) -> bool {
        self.of_disk().is_some()
    }

    /// Records which rights are missing.
    pub(in crate::store) fn note_missing_rights(&self, found: Option<String>) {
        let mut known = self.missing_rights.lock().unwrap_or_else(PoisonError::into_inner);
        match &found {
            Some(missing) if known.as_ref() != Some(missing) => {
                tracing::error!(missing, "the server's role lacks rights in the database: what needs them fails");
            }
            None if known.is_some() => tracing::warn!("the server's role has its rights in the database again"),
            _ => {}
        }
        *known = found;
    }

    /// Returns the missing rights; none when there are all.
    pub(in crate::store) fn missing_rights(&self) -> Option<String> {
        self.missing_rights.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns what blocks writes now; none when nothing does.
    pub(in crate::store) fn seen(&self) -> Option<WriteBlocker> {
        let of_disk = self.of_disk().clone();
        of_disk.or_else(|| self.now().clone())
    }

    /// Refuses a write while something blocks writes.
    pub(in crate::store) fn check(&self) -> Result<()> {
        self.seen().map_or(Ok(()), |write_blocker| Err(write_blocker.to_error()))
    }
}

/// Logs what changed.
fn tell(before: Option<&WriteBlocker>, found: Option<&WriteBlocker>) {
    match (before, found) {
        (_, Some(write_blocker)) if before != found => {
            tracing::error!(
                write_blocker = write_blocker.message(),
                "the database can't be written to: refusing writes"
            );
        }
        (Some(_), None) => tracing::warn!("the database can be written to again"),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_refused_with_what_was_found_last() {
        let write_blockers = WriteBlockers::default();
        assert!(write_blockers.check().is_ok());
        write_blockers.note(Some(WriteBlocker::not_durable("fsync", "off")));
        let error = write_blockers.check().expect_err("refused");
        assert_eq!(error.reason, Reason::DatabaseNotDurable);
        assert!(error.message.contains("fsync is off"), "{error}");
        write_blockers.note(Some(WriteBlocker::standby()));
        assert_eq!(write_blockers.check().expect_err("refused").reason, Reason::DatabaseReadOnly);
        write_blockers.note_disk(Some(WriteBlocker::new(Reason::DatabaseUnavailable, "the disk is full")));
        write_blockers.note(None);
        let error = write_blockers.check().expect_err("what a connection found says nothing of the disk");
        assert!(error.message.contains("the disk is full"), "{error}");
        write_blockers.note_disk(None);
        assert!(write_blockers.check().is_ok());
    }
}
