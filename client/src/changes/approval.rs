//! ApproveVersion and RejectVersion: what a reviewer says of a version.

use tonic::Code;

use super::{Prepared, every_change};
use crate::channel::RpcClient;
use crate::error::ClientError;
use crate::model::VersionResult;
use crate::namespace::NamespaceClient;
use policyhub_core::api::pb;

impl NamespaceClient {
    /// Begins to approve a staged version, by the digest of what was read.
    pub fn approve(&self, policy: &str, number: i64, digest: &str) -> ApproveCall {
        let digest = digest.to_owned();
        let request = |name, request_id| pb::ApproveVersionRequest { name, digest, request_id, ..Default::default() };
        ApproveCall(Prepared::of_version(self, policy, number, request))
    }

    /// Begins to reject a version that shall not be published, by the digest of what was read.
    pub fn reject(&self, policy: &str, number: i64, digest: &str, reason: &str) -> RejectCall {
        let (digest, reason) = (digest.to_owned(), reason.to_owned());
        let request = |name, request_id| pb::RejectVersionRequest { name, digest, reason, request_id };
        RejectCall(Prepared::of_version(self, policy, number, request))
    }
}

/// The approval of a staged version, by the digest of what was read.
#[derive(Debug, Clone)]
#[must_use = "nothing is approved before it is sent"]
pub struct ApproveCall(Prepared<pb::ApproveVersionRequest>);

/// The rejection of a version that shall not be published, by the digest of what was read.
#[derive(Debug, Clone)]
#[must_use = "nothing is rejected before it is sent"]
pub struct RejectCall(Prepared<pb::RejectVersionRequest>);

every_change!(ApproveCall);
every_change!(RejectCall);

impl ApproveCall {
    /// Says why.
    pub fn reason(self, reason: impl Into<String>) -> Self {
        Self(self.0.with(|request| request.reason = reason.into()))
    }

    /// Approves it.
    ///
    /// # Errors
    /// The error of the call: ABORTED with DIGEST_MISMATCH when the version is not what was read.
    pub async fn send(&self) -> Result<VersionResult, ClientError> {
        let call = |mut rpc: RpcClient, request| async move { rpc.policy.approve_version(request).await };
        let answer = self.0.send("ApproveVersion", call).await?;
        VersionResult::read(answer.version, answer.cursor)
    }
}

impl RejectCall {
    /// Rejects it.
    ///
    /// # Errors
    /// The error of the call.
    pub async fn send(&self) -> Result<VersionResult, ClientError> {
        let call = |mut rpc: RpcClient, request| async move { rpc.policy.reject_version(request).await };
        let answer = self.0.send("RejectVersion", call).await?;
        VersionResult::read(answer.version, answer.cursor)
    }
}
