//! Polls the signing keys in the log of `system`, and checks whether this replica holds their private keys.
//!
//! Invariants: a replica that does not hold the active key writes nothing, and one that did not poll the log for `KEY_SPREAD_SECONDS`
//! polls it before it signs.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::reader::LogReader;
use crate::domain::key::KeyState;
use crate::domain::limits::KEY_SPREAD_SECONDS;
use crate::domain::name::NamespaceId;
use crate::domain::time::Micros;
use crate::domain::{Error, Reason, Result};
use crate::service::proof::{FromCheckpoint, KeyView};
use crate::signing::KeyStore;
use crate::store::{ReadTx, WriteTx, check_waited};

const KEY_SPREAD_MICROS: i64 = KEY_SPREAD_SECONDS * 1_000_000;

/// How long a write waits for a poll of the keys, including polls before it: as long as for any statement.
const POLL_TIMEOUT: Duration = Duration::from_millis(2_400);

/// Polls the signing keys.
#[derive(Debug)]
pub struct KeyPoller {
    log: Arc<LogReader>,
    /// Lets one poll run at a time.
    poll_lock: tokio::sync::Mutex<()>,
    /// Time at which the last successful poll began, in microseconds.
    checked: AtomicI64,
    /// Why the last poll failed, if it did.
    failure: Mutex<Option<Error>>,
    /// The epoch of a key checkpoint that names what the log lacks: it was lost if an operator raises the epoch.
    lost_of_epoch: Mutex<Option<i64>>,
    /// Whether it was logged that the active key is missing.
    missing_logged: AtomicBool,
}

impl KeyPoller {
    pub fn new(log: Arc<LogReader>) -> Self {
        Self {
            log,
            poll_lock: tokio::sync::Mutex::default(),
            checked: AtomicI64::default(),
            failure: Mutex::default(),
            lost_of_epoch: Mutex::default(),
            missing_logged: AtomicBool::default(),
        }
    }

    fn failure(&self) -> MutexGuard<'_, Option<Error>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the changes of keys in the log since the last poll. Called every second, and after each change of this replica.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`; `STORE_IN_DOUBT` for a log that lost its tail, `DATA_LOSS` for one that does not verify: then the known
    /// keys stay.
    pub async fn follow_keys(&self, now: Micros) -> Result<()> {
        let _only_poll = self.poll_lock.lock().await;
        let followed = match self.poll(now).await {
            // A log of `system` that ends before the part that was read means suspected data loss, like any other log.
            Err(error) => Err(self.log.store.or_suspected_loss(error).await),
            followed => followed,
        };
        *self.failure() = followed.as_ref().err().cloned();
        followed
    }

    /// Begins with the keys at a checkpoint, if the log still has its events; otherwise the first poll reads the whole log.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`.
    pub async fn resume(&self, checkpoint: &str) -> Result<()> {
        let _only_poll = self.poll_lock.lock().await;
        let tx = self.log.store.read().await?;
        let view = match KeyView::at_checkpoint(&tx, checkpoint, &self.log.signer).await? {
            FromCheckpoint::View(view) => *view,
            FromCheckpoint::Nothing => return Ok(()),
            FromCheckpoint::Lost { epoch } => {
                *self.lost_of_epoch() = Some(epoch);
                return Ok(());
            }
        };
        // When the log has moved since, the rows are those of a later event, and the poll compares them.
        if view.head() == tx.log_head(&NamespaceId::system()).await? {
            warn_if_rows_differ(&tx, &view).await;
        }
        self.log.signer.install(view);
        Ok(())
    }

    async fn poll(&self, now: Micros) -> Result<()> {
        let before = self.log.signer.view();
        // What was read while data loss was suspected may be of another log than that of this store.
        let is_reread = self.log.store.pending_reread().is_some();
        let from = if is_reread { Arc::new(before.emptied()) } else { Arc::clone(&before) };
        let system = NamespaceId::system();
        let heads = self.log.store.heads(std::slice::from_ref(&system)).await?;
        if heads.first().is_none_or(|(_, head)| *head != from.head()) {
            let tx = self.log.store.read().await?;
            let view = from.at_end(&tx, &*self.log.signer).await?;
            warn_if_rows_differ(&tx, &view).await;
            drop(tx);
            if view.revokes_since(&before) {
                // Subscribers must get the new signatures before the old ones are refused.
                for namespace in self.log.hub.namespaces() {
                    let _ = self.log.hub.in_force(&namespace).await;
                }
            }
            self.say_what_was_lost(&before, &view);
            self.log.signer.install(view);
        }
        self.find_private_keys().await;
        self.checked.store(now.0, Ordering::Relaxed);
        Ok(())
    }

    /// Logs what is in force no more since the epoch was raised: then an operator accepted the loss of a tail.
    fn say_what_was_lost(&self, before: &KeyView, view: &KeyView) {
        let epoch = view.head().cursor.epoch;
        let (keys, credentials) = view.lost_revocations(before);
        if epoch > before.head().cursor.epoch && (!keys.is_empty() || credentials > 0) {
            tracing::error!(
                ?keys,
                credentials,
                "the epoch of system was raised, and revocations were lost: revoke again"
            );
        }
        let store = &self.log.store;
        let is_own_log = store.suspected_loss().is_none() || store.pending_reread().is_some();
        let lost_of_epoch = self.lost_of_epoch().take_if(|_| is_own_log);
        if lost_of_epoch.is_some_and(|lost| epoch > lost) {
            tracing::error!(
                "the epoch of system was raised, and its log lacks what the key checkpoint names of keys, revocations and roles: \
                 look at what was lost, and revoke again"
            );
        }
    }

    fn lost_of_epoch(&self) -> MutexGuard<'_, Option<i64>> {
        self.lost_of_epoch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Searches for the private keys that sign or will sign, and logs when the active one is missing.
    async fn find_private_keys(&self) {
        let view = self.log.signer.view();
        let wanted = view.ring().records().filter(|key| matches!(key.state, KeyState::Prepared | KeyState::Active));
        let missing = wanted.filter(|key| !self.log.signer.private().holds(&key.key_id)).count();
        if missing > 0
            && let Err(error) = self.run_blocking(|private| private.look().map(drop)).await
        {
            tracing::error!(%error, detail = error.internal, "failed to look for signing keys");
        }
        let holds = self.log.signer.check_holds_active();
        // A new store has no active key that could be missing.
        let is_missing = holds.is_err() && view.active().is_some();
        let was_missing = self.missing_logged.swap(is_missing, Ordering::Relaxed);
        match holds {
            Err(error) if is_missing && !was_missing => {
                tracing::error!(%error, "can't sign: no writes and no checkpoints here")
            }
            Ok(()) if was_missing => tracing::info!("the active signing key is here: signing again"),
            _ => {}
        }
    }

    /// Runs a slow operation with the private keys on a blocking thread.
    pub async fn run_blocking<T: Send + 'static>(
        &self,
        what: impl FnOnce(&dyn KeyStore) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let private = Arc::clone(self.log.signer.private());
        let done = tokio::task::spawn_blocking(move || what(&*private)).await;
        done.unwrap_or_else(|error| Err(Error::internal(format!("the key store ended early: {error}"))))
    }

    /// Refuses a write that this replica can't sign, or might sign with a key that must no longer sign.
    pub async fn check_may_sign(&self, now: Micros) -> Result<()> {
        let age = now.0 - self.checked.load(Ordering::Relaxed);
        let may_be_old = !self.log.store.is_sole_writer() && !(0..KEY_SPREAD_MICROS).contains(&age);
        if may_be_old {
            check_waited()?;
            let polled = tokio::time::timeout(POLL_TIMEOUT, self.follow_keys(now)).await;
            polled.unwrap_or_else(|_| {
                // Another call is polling, and waits for the same cause that made the last poll fail.
                let unnamed = || Error::new(Reason::DatabaseUnavailable, "the signing keys can't be read in time");
                Err(self.failure().clone().unwrap_or_else(unnamed))
            })?;
        }
        self.log.signer.check_holds_active()
    }

    /// Polls the keys once more if the log of `system` moved, as seen by the transaction that holds a lock: a write under the lock is
    /// signed with the key that was active when the lock was taken.
    ///
    /// # Errors
    /// The same as `follow_keys`; `SIGNING_UNAVAILABLE`.
    pub async fn check_keys_current(&self, tx: &WriteTx, now: Micros) -> Result<()> {
        if self.log.store.is_sole_writer() {
            return Ok(());
        }
        if tx.system_head().is_some_and(|head| head != self.log.signer.view().head()) {
            self.follow_keys(now).await?;
        }
        self.log.signer.check_holds_active()
    }

    /// Waits until every replica knows a change made at `since`: at most `KEY_SPREAD_SECONDS`.
    pub async fn wait_for_replicas(&self, since: Micros, now: Micros) {
        let left = since.0.saturating_add(KEY_SPREAD_MICROS).saturating_sub(now.0).min(KEY_SPREAD_MICROS);
        if !self.log.store.is_sole_writer() && left > 0 {
            tokio::time::sleep(Duration::from_micros(left.unsigned_abs())).await;
        }
    }
}

/// Logs an error when the rows differ from the log. The rows are informational; the server uses the log.
pub async fn warn_if_rows_differ(tx: &ReadTx, view: &KeyView) {
    let same = match tx.signing_keys().await {
        Ok(rows) => rows.iter().eq(view.ring().records()),
        Err(error) if error.reason == Reason::DataLoss => false,
        // The database stopped answering; the next query reports it.
        Err(_) => return,
    };
    if !same {
        tracing::error!("the rows of signing_keys are not what the log says; going by the log");
    }
}
