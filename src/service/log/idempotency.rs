//! Idempotent calls: a request id, the digest of its request, and the answer that is stored for it.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::writer::LogWriter;
use crate::defect::{Defect, planted};
use crate::domain::{Error, Reason, Result};
use crate::service::context::Context;
use crate::signing::digest_of;
use crate::store::{IdempotencyKey, KeptAnswer, ReadTx};

/// A call that may change something, identified by its request id and the digest of its request.
#[derive(Debug)]
pub struct IdempotentCall<'a> {
    writer: &'a LogWriter,
    context: &'a Context,
    key: Option<IdempotencyKey>,
    fingerprint: String,
}

impl LogWriter {
    /// Begins a call of `method`. Its fingerprint covers `request`.
    pub fn call<'a>(
        &'a self,
        context: &'a Context,
        method: &'static str,
        request: &impl Serialize,
    ) -> Result<IdempotentCall<'a>> {
        let text = serde_json::to_vec(request).map_err(|error| Error::internal(error.to_string()))?;
        let keeps = !context.options.validate_only && !planted(Defect::NoIdempotency);
        let key = (!context.options.request_id.is_empty() && keeps).then(|| IdempotencyKey {
            principal: context.actor(),
            method,
            request_id: context.options.request_id.clone(),
        });
        Ok(IdempotentCall { writer: self, context, key, fingerprint: digest_of(&text).to_string() })
    }
}

impl<'a> IdempotentCall<'a> {
    pub fn writer(&self) -> &'a LogWriter {
        self.writer
    }

    pub fn context(&self) -> &'a Context {
        self.context
    }

    /// Returns the answer that the same request got before.
    ///
    /// # Errors
    /// `REQUEST_ID_REUSED` when another request had this id.
    pub async fn replayed<T: DeserializeOwned>(&self, tx: &ReadTx) -> Result<Option<T>> {
        let Some(key) = &self.key else { return Ok(None) };
        let Some(kept) = tx.kept_answer(key, self.context.now).await? else { return Ok(None) };
        if kept.fingerprint != self.fingerprint {
            let message = format!("request_id {} was used for another {} request", key.request_id, key.method);
            return Err(Error::new(Reason::RequestIdReused, message).with("request_id", &key.request_id));
        }
        let answer = serde_json::from_str(&kept.answer);
        answer.map(Some).map_err(|error| Error::data_loss(format!("unreadable kept answer: {error}")))
    }

    /// Returns an answer as it is stored, with its key; none without a request id.
    pub fn kept(&self, answer: &impl Serialize) -> Result<Option<(&IdempotencyKey, KeptAnswer)>> {
        let Some(key) = &self.key else { return Ok(None) };
        let answer = serde_json::to_string(answer).map_err(|error| Error::internal(error.to_string()))?;
        Ok(Some((key, KeptAnswer { fingerprint: self.fingerprint.clone(), answer })))
    }
}
