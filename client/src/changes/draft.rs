//! Draft: writes the next version of a policy.

use bytes::Bytes;
use tonic::Code;

use super::{Prepared, can_be_validated, every_change};
use crate::error::ClientError;
use crate::model::VersionResult;
use crate::namespace::NamespaceClient;
use policyhub_core::api::pb;

impl NamespaceClient {
    /// Begins to write the next version of a policy.
    pub fn draft(&self, policy: &str, content_type: &str, content: impl Into<Bytes>) -> DraftCall {
        let (content, content_type) = (content.into(), content_type.to_owned());
        let request =
            |parent, request_id| pb::DraftRequest { parent, content, content_type, request_id, ..Default::default() };
        DraftCall(Prepared::of_policy(self, policy, request))
    }
}

/// A version to be written. It is a draft until it is staged and published.
#[derive(Debug, Clone)]
#[must_use = "nothing is written before it is sent"]
pub struct DraftCall(Prepared<pb::DraftRequest>);

every_change!(DraftCall);
can_be_validated!(DraftCall);

impl DraftCall {
    /// Gives the version a label, a SemVer such as `1.5.0`.
    pub fn label(self, label: impl Into<String>) -> Self {
        Self(self.0.with(|request| request.label = label.into()))
    }

    /// Says why it is written.
    pub fn change_note(self, note: impl Into<String>) -> Self {
        Self(self.0.with(|request| request.change_note = note.into()))
    }

    /// Says something of it for programs, such as the commit that it comes from.
    pub fn annotation(self, key: impl Into<String>, value: impl Into<String>) -> Self {
        Self(self.0.with(|request| drop(request.annotations.insert(key.into(), value.into()))))
    }

    /// Makes the policy when there is none; its language is that of the content type.
    pub fn allow_missing(self) -> Self {
        Self(self.0.with(|request| request.allow_missing = true))
    }

    /// Writes it.
    ///
    /// # Errors
    /// The error of the call; INVALID_ARGUMENT for an id that is none.
    pub async fn send(&self) -> Result<VersionResult, ClientError> {
        let call = self.0.send("Draft", |mut rpc, request| async move { rpc.policy.draft(request).await });
        let answer = call.await?;
        VersionResult::read(answer.version, answer.cursor)
    }
}
