//! Following the signing keys: what the log of `system` says of them, and whether their private halves are here.
//!
//! Invariants: a replica that does not hold the active key writes nothing, and one that has not looked at the log for
//! `KEY_SPREAD_SECONDS` looks before it signs.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::reader::LogReader;
use crate::domain::key::KeyState;
use crate::domain::limits::KEY_SPREAD_SECONDS;
use crate::domain::name::NamespaceId;
use crate::domain::time::Micros;
use crate::domain::{Error, Reason, Result};
use crate::service::proof::KeyView;
use crate::signing::KeyStore;
use crate::store::{ReadTx, check_waited};

const KEY_SPREAD_MICROS: i64 = KEY_SPREAD_SECONDS * 1_000_000;

/// How long a write waits for a look at the keys: as long as for any statement, also behind others.
const LOOK_TIMEOUT: Duration = Duration::from_millis(2_400);

/// How far this replica has followed the keys.
#[derive(Debug)]
pub struct KeyPoller {
    log: Arc<LogReader>,
    /// One look at a time.
    turn: tokio::sync::Mutex<()>,
    /// When the last look began that came to an end.
    checked: AtomicI64,
    /// Why the last look did not come to its end.
    failure: Mutex<Option<Error>>,
    /// Whether it was said that the active key is not held.
    said_missing: AtomicBool,
}

impl KeyPoller {
    pub fn new(log: Arc<LogReader>) -> Self {
        let (turn, checked, failure) = (tokio::sync::Mutex::default(), AtomicI64::default(), Mutex::default());
        Self { log, turn, checked, failure, said_missing: AtomicBool::default() }
    }

    fn failure(&self) -> MutexGuard<'_, Option<Error>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings what this replica knows of the keys level with the log. Called once in a while, and after each change of its
    /// own.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`; `STORE_IN_DOUBT` for a log that lost its end, `DATA_LOSS` for one that does not verify: what was
    /// known stands.
    pub async fn follow_keys(&self, now: Micros) -> Result<()> {
        let _turn = self.turn.lock().await;
        let followed = match self.follow_keys_in_turn(now).await {
            // A log of `system` that ends before what was read of the keys is a doubt like any other that does.
            Err(error) => Err(self.log.store.or_doubt(error).await),
            followed => followed,
        };
        *self.failure() = followed.as_ref().err().cloned();
        followed
    }

    async fn follow_keys_in_turn(&self, now: Micros) -> Result<()> {
        let before = self.log.signer.view();
        let system = NamespaceId::system();
        let heads = self.log.store.heads(std::slice::from_ref(&system)).await?;
        if heads.first().is_none_or(|(_, head)| *head != before.head()) {
            let tx = self.log.store.read().await?;
            let view = before.at_end(&tx, &*self.log.signer).await?;
            compare(&tx, &view).await;
            drop(tx);
            if view.revokes_since(&before) {
                // What was signed again is told before what it takes the place of is refused.
                for namespace in self.log.hub.namespaces() {
                    let _ = self.log.hub.in_force(&namespace).await;
                }
            }
            self.log.signer.install(view);
        }
        self.find_private_keys().await;
        self.checked.store(now.0, Ordering::Relaxed);
        Ok(())
    }

    /// Looks for the private halves of keys that sign or will sign, and says when the active one is not there.
    async fn find_private_keys(&self) {
        let view = self.log.signer.view();
        let wanted = view.ring().records().filter(|key| matches!(key.state, KeyState::Prepared | KeyState::Active));
        let missing = wanted.filter(|key| !self.log.signer.private().holds(&key.key_id)).count();
        if missing > 0
            && let Err(error) = self.apart(|private| private.look().map(drop)).await
        {
            tracing::error!(%error, detail = error.internal, "failed to look for signing keys");
        }
        let holds = self.log.signer.check_holds_active();
        // A new store has no key that could be missing.
        let is_missing = holds.is_err() && view.active().is_some();
        let said = self.said_missing.swap(is_missing, Ordering::Relaxed);
        match holds {
            Err(error) if is_missing && !said => {
                tracing::error!(%error, "can't sign: no writes and no checkpoints here")
            }
            Ok(()) if said => tracing::info!("the active signing key is here: signing again"),
            _ => {}
        }
    }

    /// Does something slow with the private keys, apart from the threads that serve.
    pub async fn apart<T: Send + 'static>(
        &self,
        what: impl FnOnce(&dyn KeyStore) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let private = Arc::clone(self.log.signer.private());
        let done = tokio::task::spawn_blocking(move || what(&*private)).await;
        done.unwrap_or_else(|error| Err(Error::internal(format!("the key store ended early: {error}"))))
    }

    /// Refuses a write that this replica could not sign, or might sign with a key that signs no more.
    pub async fn check_may_sign(&self, now: Micros) -> Result<()> {
        let age = now.0 - self.checked.load(Ordering::Relaxed);
        if !self.log.store.is_sole_writer() && !(0..KEY_SPREAD_MICROS).contains(&age) {
            check_waited()?;
            let look = tokio::time::timeout(LOOK_TIMEOUT, self.follow_keys(now)).await;
            look.unwrap_or_else(|_| {
                // Somebody else is looking, and waits for what kept the look before from its end.
                let unnamed = || Error::new(Reason::DatabaseUnavailable, "the signing keys can't be read in time");
                Err(self.failure().clone().unwrap_or_else(unnamed))
            })?;
        }
        self.log.signer.check_holds_active()
    }

    /// Follows the keys once more if the log of `system` went on, as a transaction sees it that holds a lock: what is signed
    /// under the lock is signed by the key that was active when it was taken.
    ///
    /// # Errors
    /// As `follow_keys`; `SIGNING_UNAVAILABLE`.
    pub async fn check_keys_level(&self, tx: &ReadTx, now: Micros) -> Result<()> {
        if self.log.store.is_sole_writer() {
            return Ok(());
        }
        let system = tx.log_state(&NamespaceId::system()).await?;
        if system.is_some_and(|system| system.head != self.log.signer.view().head()) {
            self.follow_keys(now).await?;
        }
        self.log.signer.check_holds_active()
    }

    /// Waits until every replica knows what happened at `since`: at most `KEY_SPREAD_SECONDS`.
    pub async fn wait_for_replicas(&self, since: Micros, now: Micros) {
        let left = since.0.saturating_add(KEY_SPREAD_MICROS).saturating_sub(now.0).min(KEY_SPREAD_MICROS);
        if !self.log.store.is_sole_writer() && left > 0 {
            tokio::time::sleep(Duration::from_micros(left.unsigned_abs())).await;
        }
    }
}

/// Says it aloud when the rows differ from the log. They are for people; nobody obeys them.
pub async fn compare(tx: &ReadTx, view: &KeyView) {
    let same = match tx.signing_keys().await {
        Ok(rows) => rows.iter().eq(view.ring().records()),
        Err(error) if error.reason == Reason::DataLoss => false,
        // The database went away in the middle; whoever needs it says so.
        Err(_) => return,
    };
    if !same {
        tracing::error!("the rows of signing_keys are not what the log says; going by the log");
    }
}
