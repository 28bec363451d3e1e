//! How every change runs: replay the kept answer or lock the namespace, decide and write in a closure, commit, wake the watches.
//!
//! Invariant: the closure runs under the lock of its namespace, and only what it answers is committed. No verb locks or commits
//! by itself.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::write::Write;
use super::{Context, Service};
use crate::defect::{Defect, planted};
use crate::domain::name::NamespaceId;
use crate::domain::{Error, Reason, Result};
use crate::signing::digest_of;
use crate::store::{IdempotencyKey, KeptAnswer, ReadTx};

/// A call that may change something, known by its request id and the digest of its request.
#[derive(Debug)]
pub(super) struct IdempotentCall<'a> {
    service: &'a Service,
    context: &'a Context,
    key: Option<IdempotencyKey>,
    fingerprint: String,
}

/// How a closure under the lock ends.
#[derive(Debug)]
pub(super) enum Conclusion<T, U> {
    /// Commit, keep this answer for the request id, and return it.
    Commit(T),
    /// Roll back and return this. No answer is kept.
    RollBack(U),
}

/// What must hold before a namespace is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Requirement {
    /// The namespace is not frozen, and this replica holds the key that signs.
    ThawedAndSigning,
    /// This replica holds the key that signs.
    Signing,
    /// Nothing but a store without suspected data loss.
    Nothing,
}

/// What is found once a namespace is locked.
enum Locked<'a, T> {
    /// The request was answered before: this is the answer.
    Replayed(T),
    /// Nobody answered it yet.
    Open(Box<Write<'a>>),
}

impl Service {
    /// Begins a call of `method`. `request` is what its fingerprint is made of.
    pub(super) fn call<'a>(
        &'a self,
        context: &'a Context,
        method: &'static str,
        request: &impl Serialize,
    ) -> Result<IdempotentCall<'a>> {
        let text = serde_json::to_vec(request).map_err(|error| Error::internal(error.to_string()))?;
        let keeps = !context.delivery.validate_only && !planted(Defect::NoIdempotency);
        let key = (!context.delivery.request_id.is_empty() && keeps).then(|| IdempotencyKey {
            principal: context.actor(),
            method,
            request_id: context.delivery.request_id.clone(),
        });
        Ok(IdempotentCall { service: self, context, key, fingerprint: digest_of(&text).to_string() })
    }
}

impl<'a> IdempotentCall<'a> {
    pub(super) fn service(&self) -> &'a Service {
        self.service
    }

    pub(super) fn context(&self) -> &'a Context {
        self.context
    }

    /// Locks a namespace, runs `change`, commits and wakes the watches. A request that was answered before gets the same answer
    /// again, and `change` does not run. With `validate_only` everything is rolled back.
    ///
    /// # Errors
    /// `STORE_IN_DOUBT`, `DATA_LOSS` for a frozen namespace, `SIGNING_UNAVAILABLE`, `REQUEST_ID_REUSED`, those of `change`, and
    /// `OUTCOME_UNKNOWN` when nobody knows whether it was committed.
    pub(super) async fn mutate<T: Serialize + DeserializeOwned>(
        &self,
        namespace: &NamespaceId,
        change: impl AsyncFnOnce(&mut Write<'_>) -> Result<T>,
    ) -> Result<T> {
        self.run(namespace, Requirement::ThawedAndSigning, change).await
    }

    /// As `mutate`, also of a frozen namespace: for what thaws it.
    pub(super) async fn mutate_frozen<T: Serialize + DeserializeOwned>(
        &self,
        namespace: &NamespaceId,
        change: impl AsyncFnOnce(&mut Write<'_>) -> Result<T>,
    ) -> Result<T> {
        self.run(namespace, Requirement::Signing, change).await
    }

    /// As `mutate`, without a signing key: for what changes the keys.
    pub(super) async fn mutate_unsigned<T: Serialize + DeserializeOwned>(
        &self,
        namespace: &NamespaceId,
        change: impl AsyncFnOnce(&mut Write<'_>) -> Result<T>,
    ) -> Result<T> {
        self.run(namespace, Requirement::Nothing, change).await
    }

    /// As `mutate`, for a `change` that may end without a commit.
    pub(super) async fn try_mutate<T: Serialize + DeserializeOwned, U>(
        &self,
        namespace: &NamespaceId,
        change: impl AsyncFnOnce(&mut Write<'_>) -> Result<Conclusion<T, U>>,
    ) -> Result<Conclusion<T, U>> {
        self.try_run(namespace, Requirement::ThawedAndSigning, change).await
    }

    /// As `mutate_unsigned`, for a `change` that may end without a commit.
    pub(super) async fn try_mutate_unsigned<T: Serialize + DeserializeOwned, U>(
        &self,
        namespace: &NamespaceId,
        change: impl AsyncFnOnce(&mut Write<'_>) -> Result<Conclusion<T, U>>,
    ) -> Result<Conclusion<T, U>> {
        self.try_run(namespace, Requirement::Nothing, change).await
    }

    async fn run<T: Serialize + DeserializeOwned>(
        &self,
        namespace: &NamespaceId,
        requirement: Requirement,
        change: impl AsyncFnOnce(&mut Write<'_>) -> Result<T>,
    ) -> Result<T> {
        match self.lock(namespace, requirement).await? {
            Locked::Replayed(answer) => Ok(answer),
            Locked::Open(mut write) => {
                let answer = change(&mut write).await?;
                write.commit(answer).await
            }
        }
    }

    async fn try_run<T: Serialize + DeserializeOwned, U>(
        &self,
        namespace: &NamespaceId,
        requirement: Requirement,
        change: impl AsyncFnOnce(&mut Write<'_>) -> Result<Conclusion<T, U>>,
    ) -> Result<Conclusion<T, U>> {
        match self.lock(namespace, requirement).await? {
            Locked::Replayed(answer) => Ok(Conclusion::Commit(answer)),
            Locked::Open(mut write) => match change(&mut write).await? {
                Conclusion::Commit(answer) => write.commit(answer).await.map(Conclusion::Commit),
                rolled_back => Ok(rolled_back),
            },
        }
    }

    /// Returns the answer that this very request got before.
    ///
    /// # Errors
    /// `REQUEST_ID_REUSED` when another request had its id.
    pub(super) async fn replayed<T: DeserializeOwned>(&self, tx: &ReadTx) -> Result<Option<T>> {
        let Some(key) = &self.key else { return Ok(None) };
        let Some(kept) = tx.kept_answer(key, self.context.now).await? else { return Ok(None) };
        if kept.fingerprint != self.fingerprint {
            let message = format!("request_id {} was used for another {} request", key.request_id, key.method);
            return Err(Error::new(Reason::RequestIdReused, message).with("request_id", &key.request_id));
        }
        let answer = serde_json::from_str(&kept.answer);
        answer.map(Some).map_err(|error| Error::data_loss(format!("unreadable kept answer: {error}")))
    }

    /// Returns an answer as it is kept, and the request id it is kept under; none without an id.
    pub(super) fn kept(&self, answer: &impl Serialize) -> Result<Option<(&IdempotencyKey, KeptAnswer)>> {
        let Some(key) = &self.key else { return Ok(None) };
        let answer = serde_json::to_string(answer).map_err(|error| Error::internal(error.to_string()))?;
        Ok(Some((key, KeptAnswer { fingerprint: self.fingerprint.clone(), answer })))
    }

    /// Locks a namespace, unless a requirement does not hold. The order of the checks matters.
    async fn lock<T: DeserializeOwned>(
        &self,
        namespace: &NamespaceId,
        requirement: Requirement,
    ) -> Result<Locked<'_, T>> {
        let (service, now) = (self.service, self.context.now);
        if requirement == Requirement::ThawedAndSigning {
            // First: what was lost may be the very event that says who signs.
            service.store.check_beyond_doubt()?;
            service.hub.check_thawed(namespace).await?;
        }
        if requirement != Requirement::Nothing {
            service.store.check_beyond_doubt()?;
            service.check_may_sign(now).await?;
        }
        // Read before the lock: what this replica had read by then must be in the log.
        let read = service.hub.read_up_to(namespace);
        let tx = service.store.begin(namespace).await?;
        // Otherwise a revision could be used twice.
        read.check_reaches(namespace, tx.head().cursor);
        service.store.check_beyond_doubt()?;
        service.hub.found_committed(namespace, tx.head().cursor);
        if let Some(answer) = self.replayed(tx.read()).await? {
            return Ok(Locked::Replayed(answer));
        }
        if requirement != Requirement::Nothing {
            // Under the lock: from here on nobody who signs again what a key signed can miss this write.
            service.check_keys_level(tx.read(), now).await?;
        }
        Ok(Locked::Open(Box::new(Write::new(self, namespace.clone(), tx))))
    }
}
