//! Why the database can't be written to although it is there: what it says of itself, remembered until it says otherwise.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::{Error, Reason, Result};

/// What callers, `/readyz` and the log say of a full disk.
pub(in crate::store) const DISK_FULL: &str = "the disk of the database is full";

/// Why nothing is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct Obstacle {
    reason: Reason,
    is_standby: bool,
    /// For callers and operators, as a lower-case sentence.
    message: String,
}

impl Obstacle {
    pub(in crate::store) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, is_standby: false, message: message.into() }
    }

    /// The database is a standby: it can't be written to, and what it has may be old.
    pub(in crate::store) fn standby() -> Self {
        let standby = Self::new(Reason::DatabaseReadOnly, "the database is a standby; connect to the primary");
        Self { is_standby: true, ..standby }
    }

    /// There is no room on the disk of the database.
    pub(in crate::store) fn disk_full() -> Self {
        Self::new(Reason::DatabaseUnavailable, format!("{DISK_FULL}; the operator frees space"))
    }

    /// The tables are not there, or not seen.
    pub(in crate::store) fn no_tables() -> Self {
        let message = "the server's tables are not in the database, or its search_path hides them";
        Self::new(Reason::DatabaseAccessDenied, message)
    }

    /// The database is somebody else's.
    pub(in crate::store) fn another_store() -> Self {
        let message = "the database holds another store than this server's; lead it back to its own";
        Self::new(Reason::DatabaseAccessDenied, message)
    }

    /// A crash of the database would lose what it confirmed.
    pub(in crate::store) fn not_durable(setting: &str, value: &str) -> Self {
        let message =
            format!("the database may lose what it acknowledges ({setting} is {value}); the operator sets it to on");
        Self::new(Reason::DatabaseNotDurable, message)
    }

    /// Whether what was confirmed in spite of it may be lost in a crash.
    pub(in crate::store) fn is_lossy(&self) -> bool {
        self.reason == Reason::DatabaseNotDurable
    }

    /// Whether it is one that reads can't be trusted on either.
    pub(in crate::store) fn is_standby(&self) -> bool {
        self.is_standby
    }

    /// What it is, for people.
    pub(in crate::store) fn message(&self) -> &str {
        &self.message
    }

    /// The refusal of a call.
    pub(in crate::store) fn refusal(&self) -> Error {
        Error::new(self.reason, format!("{}; retry later with the same request_id", self.message))
    }
}

/// What stands in the way of writes, as the connection that looked last found it: for `/readyz`, and to refuse a write before it
/// takes a connection. It acknowledges nothing: another connection may have found otherwise, so each transaction looks for
/// itself.
#[derive(Debug, Default)]
pub(in crate::store) struct Obstacles {
    found: Mutex<Option<Obstacle>>,
    /// The disk of the database takes no writes: found by one that failed, whatever the settings are.
    disk: Mutex<Option<Obstacle>>,
    /// Rights that the server's role lacks: what needs them fails, and nothing else.
    missing_rights: Mutex<Option<String>>,
}

impl Obstacles {
    fn now(&self) -> MutexGuard<'_, Option<Obstacle>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of_disk(&self) -> MutexGuard<'_, Option<Obstacle>> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers what a connection found out last.
    pub(in crate::store) fn note(&self, found: Option<Obstacle>) {
        let before = std::mem::replace(&mut *self.now(), found.clone());
        tell(before.as_ref(), found.as_ref());
    }

    /// Remembers what the last write to the disk met.
    pub(in crate::store) fn note_disk(&self, found: Option<Obstacle>) {
        let before = std::mem::replace(&mut *self.of_disk(), found.clone());
        tell(before.as_ref(), found.as_ref());
    }

    /// Whether the disk took no write when it was looked at last.
    pub(in crate::store) fn is_disk_noted(&self) -> bool {
        self.of_disk().is_some()
    }

    /// Remembers which rights are missing.
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

    /// Which rights are missing.
    pub(in crate::store) fn missing_rights(&self) -> Option<String> {
        self.missing_rights.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What it is, if there is one.
    pub(in crate::store) fn seen(&self) -> Option<Obstacle> {
        let of_disk = self.of_disk().clone();
        of_disk.or_else(|| self.now().clone())
    }

    /// Refuses a write while there is one.
    pub(in crate::store) fn check(&self) -> Result<()> {
        self.seen().map_or(Ok(()), |obstacle| Err(obstacle.refusal()))
    }
}

/// Logs what changed.
fn tell(before: Option<&Obstacle>, found: Option<&Obstacle>) {
    match (before, found) {
        (_, Some(obstacle)) if before != found => {
            tracing::error!(obstacle = obstacle.message(), "the database can't be written to: refusing writes");
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
        let obstacles = Obstacles::default();
        assert!(obstacles.check().is_ok());
        obstacles.note(Some(Obstacle::not_durable("fsync", "off")));
        let error = obstacles.check().expect_err("refused");
        assert_eq!(error.reason, Reason::DatabaseNotDurable);
        assert!(error.message.contains("fsync is off"), "{error}");
        obstacles.note(Some(Obstacle::standby()));
        assert_eq!(obstacles.check().expect_err("refused").reason, Reason::DatabaseReadOnly);
        obstacles.note_disk(Some(Obstacle::new(Reason::DatabaseUnavailable, "the disk is full")));
        obstacles.note(None);
        let error = obstacles.check().expect_err("what a connection found says nothing of the disk");
        assert!(error.message.contains("the disk is full"), "{error}");
        obstacles.note_disk(None);
        assert!(obstacles.check().is_ok());
    }
}
