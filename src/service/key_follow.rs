//! Following the signing keys: what the log of `system` says of them, and whether their private halves are here.
//!
//! Invariants: a replica that does not hold the active key writes nothing, and one that has not looked at the log for
//! `KEY_SPREAD_SECONDS` looks before it signs.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::key_view::KeyView;
use super::keys::{change_key, introduced};
use super::write::{Begun, Write};
use super::{Context, Service};
use crate::domain::event::{Change, EventKind};
use crate::domain::key::KeyState;
use crate::domain::limits::KEY_SPREAD_SECONDS;
use crate::domain::name::NamespaceId;
use crate::domain::outcome::KeyChanged;
use crate::domain::time::Micros;
use crate::domain::{Error, Reason, Result};
use crate::signing::{Algorithm, KeyStore, PublicKey};
use crate::store::{ReadTx, check_waited};

const KEY_SPREAD_MICROS: i64 = KEY_SPREAD_SECONDS * 1_000_000;

/// How long a write waits for a look at the keys: as long as for any statement, also behind others.
const LOOK_TIMEOUT: Duration = Duration::from_millis(2_400);

/// How far this replica has followed the keys.
#[derive(Debug, Default)]
pub(super) struct Following {
    /// One look at a time.
    turn: tokio::sync::Mutex<()>,
    /// When the last look began that came to an end.
    checked: AtomicI64,
    /// Why the last look did not come to its end.
    failure: Mutex<Option<Error>>,
    /// Whether it was said that the active key is not held.
    said_missing: AtomicBool,
}

impl Following {
    fn failure(&self) -> MutexGuard<'_, Option<Error>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Service {
    /// Brings what this replica knows of the keys level with the log. Called once in a while, and after each change of its
    /// own.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`; `STORE_IN_DOUBT` for a log that lost its end, `DATA_LOSS` for one that does not verify: what was
    /// known stands.
    pub async fn follow_keys(&self, now: Micros) -> Result<()> {
        let _turn = self.following.turn.lock().await;
        let followed = match self.follow_keys_in_turn(now).await {
            // A log of `system` that ends before what was read of the keys is a doubt like any other that does.
            Err(error) => Err(self.store.or_suspected_loss(error).await),
            followed => followed,
        };
        *self.following.failure() = followed.as_ref().err().cloned();
        followed
    }

    async fn follow_keys_in_turn(&self, now: Micros) -> Result<()> {
        let before = self.signer.view();
        let system = NamespaceId::system();
        let heads = self.store.heads(std::slice::from_ref(&system)).await?;
        if heads.first().is_none_or(|(_, head)| *head != before.head()) {
            let tx = self.store.read().await?;
            let view = before.at_end(&tx, &*self.signer).await?;
            compare(&tx, &view).await;
            drop(tx);
            if view.revokes_since(&before) {
                // What was signed again is told before what it takes the place of is refused.
                for namespace in self.hub.namespaces() {
                    let _ = self.hub.in_force(&namespace).await;
                }
            }
            self.signer.install(view);
        }
        self.find_private_keys().await;
        self.following.checked.store(now.0, Ordering::Relaxed);
        Ok(())
    }

    /// Looks for the private halves of keys that sign or will sign, and says when the active one is not there.
    async fn find_private_keys(&self) {
        let view = self.signer.view();
        let wanted = view.ring().records().filter(|key| matches!(key.state, KeyState::Prepared | KeyState::Active));
        let missing = wanted.filter(|key| !self.signer.private().holds(&key.key_id)).count();
        if missing > 0
            && let Err(error) = self.apart(|private| private.look().map(drop)).await
        {
            tracing::error!(%error, detail = error.internal, "failed to look for signing keys");
        }
        let holds = self.signer.check_holds_active();
        // A new store has no key that could be missing.
        let is_missing = holds.is_err() && view.active().is_some();
        let said = self.following.said_missing.swap(is_missing, Ordering::Relaxed);
        match holds {
            Err(error) if is_missing && !said => {
                tracing::error!(%error, "can't sign: no writes and no checkpoints here")
            }
            Ok(()) if said => tracing::info!("the active signing key is here: signing again"),
            _ => {}
        }
    }

    /// Does something slow with the private keys, apart from the threads that serve.
    pub(super) async fn apart<T: Send + 'static>(
        &self,
        what: impl FnOnce(&dyn KeyStore) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let private = Arc::clone(self.signer.private());
        let done = tokio::task::spawn_blocking(move || what(&*private)).await;
        done.unwrap_or_else(|error| Err(Error::internal(format!("the key store ended early: {error}"))))
    }

    /// Refuses a write that this replica could not sign, or might sign with a key that signs no more.
    pub(super) async fn check_may_sign(&self, now: Micros) -> Result<()> {
        let age = now.0 - self.following.checked.load(Ordering::Relaxed);
        if !self.store.is_sole_writer() && !(0..KEY_SPREAD_MICROS).contains(&age) {
            check_waited()?;
            let look = tokio::time::timeout(LOOK_TIMEOUT, self.follow_keys(now)).await;
            look.unwrap_or_else(|_| {
                // Somebody else is looking, and waits for what kept the look before from its end.
                let unnamed = || Error::new(Reason::DatabaseUnavailable, "the signing keys can't be read in time");
                Err(self.following.failure().clone().unwrap_or_else(unnamed))
            })?;
        }
        self.signer.check_holds_active()
    }

    /// Follows the keys once more if the log of `system` went on, as a transaction sees it that holds a lock: what is signed
    /// under the lock is signed by the key that was active when it was taken.
    ///
    /// # Errors
    /// As `follow_keys`; `SIGNING_UNAVAILABLE`.
    pub(super) async fn check_keys_level(&self, tx: &ReadTx, now: Micros) -> Result<()> {
        if self.store.is_sole_writer() {
            return Ok(());
        }
        let system = tx.log_state(&NamespaceId::system()).await?;
        if system.is_some_and(|system| system.head != self.signer.view().head()) {
            self.follow_keys(now).await?;
        }
        self.signer.check_holds_active()
    }

    /// Waits until every replica knows what happened at `since`: at most `KEY_SPREAD_SECONDS`.
    pub(super) async fn wait_for_replicas(&self, since: Micros, now: Micros) {
        let left = since.0.saturating_add(KEY_SPREAD_MICROS).saturating_sub(now.0).min(KEY_SPREAD_MICROS);
        if !self.store.is_sole_writer() && left > 0 {
            tokio::time::sleep(Duration::from_micros(left.unsigned_abs())).await;
        }
    }

    /// At the start: reads what the log says of the keys, and records the first key of a store that has none.
    ///
    /// # Errors
    /// As `follow_keys`.
    pub async fn begin_keys(&self, algorithm: Algorithm, now: Micros) -> Result<()> {
        self.follow_keys(now).await?;
        if !self.signer.view().ring().is_empty() {
            return Ok(());
        }
        let key = self.apart(move |private| first_key(private, algorithm)).await?;
        let context = Context::of_server(now);
        let call = self.call(&context, "ActivateSigningKey", &())?;
        let Begun::Fresh(write) = call.begin_unsigned::<KeyChanged>(&NamespaceId::system()).await? else {
            return Ok(());
        };
        let view = self.key_view(&write).await?;
        // Another replica may have been first.
        if view.ring().is_empty() {
            let reason = "the first key of the store".to_owned();
            let mut change = Change { reason, ..Change::new(EventKind::ActivateSigningKey, None) };
            let (write, changed) = change_key(write, &self.signer, &view, &mut change, introduced(&key)).await?;
            write.finish(changed).await?;
        }
        self.follow_keys(now).await
    }

    /// The keys as the log under a lock says.
    pub(super) async fn key_view(&self, write: &Write<'_>) -> Result<KeyView> {
        let view = self.signer.view().at_end(write.tx.read(), &*self.signer).await?;
        compare(write.tx.read(), &view).await;
        Ok(view)
    }
}

/// Says it aloud when the rows differ from the log. They are for people; nobody obeys them.
async fn compare(tx: &ReadTx, view: &KeyView) {
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

/// The first key of a store: one that is there, else a new one.
fn first_key(private: &dyn KeyStore, algorithm: Algorithm) -> Result<PublicKey> {
    let mut held = private.look()?.into_iter();
    held.find(|key| key.algorithm() == algorithm).map_or_else(|| private.make(algorithm), Ok)
}
