//! The steps of every change: replay the stored answer or lock the namespace, decide and write in a closure, commit, wake the watches.
//!
//! Invariant: the closure runs under the lock of its namespace, and only its own writes are committed. No verb locks or commits by itself.

use std::convert::Infallible;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::idempotency::IdempotentCall;
use super::write::Write;
use crate::domain::Result;
use crate::domain::name::NamespaceId;

/// The result of a closure under the lock.
#[derive(Debug)]
pub enum Conclusion<T, U> {
    /// Commit, store this answer for the request id, and return it.
    Commit(T),
    /// Roll back and return this. No answer is stored.
    RollBack(U),
}

/// The conditions for locking a namespace, besides a store without suspected data loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LockCondition {
    /// The namespace is not frozen, and this replica holds the active signing key.
    ThawedAndSigning,
    /// This replica holds the active signing key.
    Signing,
    /// No further condition.
    Nothing,
}

/// The result of locking a namespace.
enum Locked<'a, T> {
    /// The request was answered before, with this answer.
    Replayed(T),
    /// The request is new.
    Open(Box<Write<'a>>),
}

impl IdempotentCall<'_> {
    /// Locks a namespace, runs `change`, commits and wakes the watches. A request that was answered before gets the same answer
    /// again, and `change` does not run. With `validate_only` everything is rolled back.
    ///
    /// # Errors
    /// `STORE_IN_DOUBT`, `DATA_LOSS` for a frozen namespace, `SIGNING_UNAVAILABLE`, `REQUEST_ID_REUSED`, those of `change`, and
    /// `OUTCOME_UNKNOWN` when it is unknown whether it was committed.
    pub async fn mutate<T: Serialize + DeserializeOwned>(
        &self,
        namespace: &NamespaceId,
        change: impl AsyncFnOnce(&mut Write<'_>) -> Result<T>,
    ) -> Result<T> {
        self.run(namespace, LockCondition::ThawedAndSigning, change).await
    }

    /// Does the same as `mutate` for a namespace that may be frozen; used to thaw it.
    pub async fn mutate_frozen<T: Serialize + DeserializeOwned>(
        &self,
        namespace: &NamespaceId,
        change: impl AsyncFnOnce(&mut Write<'_>) -> Result<T>,
    ) -> Result<T> {
        self.run(namespace, LockCondition::Signing, change).await
    }

    /// Does the same as `mutate` without a signing key; used to change the keys.
    pub async fn mutate_unsigned<T: Serialize + DeserializeOwned>(
        &self,
        namespace: &NamespaceId,
        change: impl AsyncFnOnce(&mut Write<'_>) -> Result<T>,
    ) -> Result<T> {
        self.run(namespace, LockCondition::Nothing, change).await
    }

    /// Does the same as `mutate` for a `change` that may end without a commit.
    pub async fn try_mutate<T: Serialize + DeserializeOwned, U>(
        &self,
        namespace: &NamespaceId,
        change: impl AsyncFnOnce(&mut Write<'_>) -> Result<Conclusion<T, U>>,
    ) -> Result<Conclusion<T, U>> {
        self.try_run(namespace, LockCondition::ThawedAndSigning, change).await
    }

    /// Does the same as `mutate_unsigned` for a `change` that may end without a commit.
    pub async fn try_mutate_unsigned<T: Serialize + DeserializeOwned, U>(
        &self,
        namespace: &NamespaceId,
        change: impl AsyncFnOnce(&mut Write<'_>) -> Result<Conclusion<T, U>>,
    ) -> Result<Conclusion<T, U>> {
        self.try_run(namespace, LockCondition::Nothing, change).await
    }

    async fn run<T: Serialize + DeserializeOwned>(
        &self,
        namespace: &NamespaceId,
        condition: LockCondition,
        change: impl AsyncFnOnce(&mut Write<'_>) -> Result<T>,
    ) -> Result<T> {
        let change = async |write: &mut Write<'_>| change(write).await.map(Conclusion::<T, Infallible>::Commit);
        let Conclusion::Commit(answer) = self.try_run(namespace, condition, change).await?;
        Ok(answer)
    }

    async fn try_run<T: Serialize + DeserializeOwned, U>(
        &self,
        namespace: &NamespaceId,
        condition: LockCondition,
        change: impl AsyncFnOnce(&mut Write<'_>) -> Result<Conclusion<T, U>>,
    ) -> Result<Conclusion<T, U>> {
        match self.lock(namespace, condition).await? {
            Locked::Replayed(answer) => Ok(Conclusion::Commit(answer)),
            Locked::Open(mut write) => match change(&mut write).await? {
                Conclusion::Commit(answer) => write.commit(answer).await.map(Conclusion::Commit),
                rolled_back => Ok(rolled_back),
            },
        }
    }

    /// Locks a namespace, unless a condition does not hold. Each check relies on those before it.
    async fn lock<T: DeserializeOwned>(
        &self,
        namespace: &NamespaceId,
        condition: LockCondition,
    ) -> Result<Locked<'_, T>> {
        let (writer, now) = (self.writer(), self.context().now);
        if condition == LockCondition::ThawedAndSigning {
            // Check this first: the lost tail may contain the very event that names the active key.
            writer.log.store.check_no_suspected_loss()?;
            writer.log.hub.check_thawed(namespace).await?;
        }
        if condition != LockCondition::Nothing {
            writer.log.store.check_no_suspected_loss()?;
            writer.key_poller.check_may_sign(now).await?;
        }
        // Read this before the lock: what this replica had read by then must be in the log.
        let read = writer.log.hub.read_up_to(namespace);
        let tx = writer.log.store.begin(namespace).await?;
        // Otherwise a revision could be used twice.
        read.check_reaches(namespace, tx.head().cursor);
        writer.log.store.check_no_suspected_loss()?;
        writer.check_authority(self.context())?;
        writer.log.hub.note_found_head(namespace, tx.head().cursor);
        if let Some(answer) = self.replayed(tx.read()).await? {
            return Ok(Locked::Replayed(answer));
        }
        if condition != LockCondition::Nothing {
            // Check this under the lock: a call that signs again everything by a key waits for this write, so that it misses none.
            writer.key_poller.check_keys_current(&tx, now).await?;
        }
        Ok(Locked::Open(Box::new(Write::new(
            self,
            namespace.clone(),
            tx,
            condition == LockCondition::ThawedAndSigning,
        ))))
    }
}
