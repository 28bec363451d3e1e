//! Stage, Publish and Abandon: what becomes of a version.

use tonic::Code;

use super::{Prepared, can_be_validated, every_change};
use crate::error::ClientError;
use crate::model::{VersionResult, findings, moved};
use crate::namespace::NamespaceClient;
use policyhub_core::api::pb;

impl NamespaceClient {
    /// Begins to check and lock a draft.
    pub fn stage(&self, policy: &str, number: i64) -> StageCall {
        let request = |name, request_id| pb::StageRequest { name, request_id, ..Default::default() };
        StageCall(Prepared::of_version(self, policy, number, request))
    }

    /// Begins to sign a version; a draft is staged first, in the same commit.
    pub fn publish(&self, policy: &str, number: i64) -> PublishCall {
        let request = |name, request_id| pb::PublishRequest { name, request_id, ..Default::default() };
        PublishCall(Prepared::of_version(self, policy, number, request))
    }

    /// Begins to end a version that was not published.
    pub fn abandon(&self, policy: &str, number: i64) -> AbandonCall {
        let request = |name, request_id| pb::AbandonDraftRequest { name, request_id, ..Default::default() };
        AbandonCall(Prepared::of_version(self, policy, number, request))
    }
}

/// A draft to be checked and locked.
#[derive(Debug, Clone)]
#[must_use = "nothing is staged before it is sent"]
pub struct StageCall(Prepared<pb::StageRequest>);

/// A version to be signed; a draft is staged first.
#[derive(Debug, Clone)]
#[must_use = "nothing is published before it is sent"]
pub struct PublishCall(Prepared<pb::PublishRequest>);

/// A version to be ended before it was published.
#[derive(Debug, Clone)]
#[must_use = "nothing is abandoned before it is sent"]
pub struct AbandonCall(Prepared<pb::AbandonDraftRequest>);

every_change!(StageCall);
can_be_validated!(StageCall);
every_change!(PublishCall);
can_be_validated!(PublishCall);
every_change!(AbandonCall);
can_be_validated!(AbandonCall);

impl StageCall {
    /// Stages it only when it is still what this etag stands for.
    pub fn etag(self, etag: impl Into<String>) -> Self {
        Self(self.0.with(|request| request.etag = etag.into()))
    }

    /// Runs every check, and locks the content. With `validate_only` a check that fails is no error: see the findings.
    ///
    /// # Errors
    /// The error of the call: FAILED_PRECONDITION with VALIDATION_FAILED names what a check found.
    pub async fn send(&self) -> Result<VersionResult, ClientError> {
        let call = self.0.send("Stage", |mut rpc, request| async move { rpc.policy.stage(request).await });
        let answer = call.await?;
        let changed = VersionResult::read(answer.version, answer.cursor)?;
        Ok(VersionResult { findings: findings(answer.report), ..changed })
    }
}

impl PublishCall {
    /// Puts it in force at once, in the same commit, for this reason.
    pub fn activate(self, reason: impl Into<String>) -> Self {
        Self(self.0.with(|request| (request.activate, request.reason) = (true, reason.into())))
    }

    /// Puts it in force only when exactly this version is; 0: only when none is.
    pub fn expected_active(self, number: i64) -> Self {
        Self(self.0.with(|request| request.expected_active = Some(number)))
    }

    /// Publishes it only when it is still what this etag stands for.
    pub fn etag(self, etag: impl Into<String>) -> Self {
        Self(self.0.with(|request| request.etag = etag.into()))
    }

    /// Signs it. From then on it never changes.
    ///
    /// # Errors
    /// The error of the call.
    pub async fn send(&self) -> Result<VersionResult, ClientError> {
        let call = self.0.send("Publish", |mut rpc, request| async move { rpc.policy.publish(request).await });
        let answer = call.await?;
        let moved = moved(answer.activation.as_ref())?;
        Ok(VersionResult { moved, ..VersionResult::read(answer.version, answer.cursor)? })
    }
}

impl AbandonCall {
    /// Says why.
    pub fn reason(self, reason: impl Into<String>) -> Self {
        Self(self.0.with(|request| request.reason = reason.into()))
    }

    /// Ends it.
    ///
    /// # Errors
    /// The error of the call.
    pub async fn send(&self) -> Result<VersionResult, ClientError> {
        let call = |mut rpc: crate::channel::RpcClient, request| async move { rpc.policy.abandon_draft(request).await };
        let answer = self.0.send("AbandonDraft", call).await?;
        VersionResult::read(answer.version, answer.cursor)
    }
}
