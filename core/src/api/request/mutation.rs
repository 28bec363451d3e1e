//! What every request that changes something carries beside what it changes.

use super::fields::request_options;
use super::scope::Scoped;
use crate::api::pb;
use crate::domain::Result;
use crate::domain::command::RequestOptions;

/// A request that changes something.
pub trait Mutation: Scoped {
    /// Reads `request_id`, and `validate_only` where the request has it.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a request id that is too long or not printable ASCII.
    fn request_options(&self) -> Result<RequestOptions>;
}

macro_rules! mutations {
    ($($request:ident),* $(,)?) => {$(
        impl Mutation for pb::$request {
            fn request_options(&self) -> Result<RequestOptions> {
                request_options(&self.request_id, self.validate_only)
            }
        }
    )*};
}

macro_rules! mutations_without_validation {
    ($($request:ident),* $(,)?) => {$(
        impl Mutation for pb::$request {
            fn request_options(&self) -> Result<RequestOptions> {
                request_options(&self.request_id, false)
            }
        }
    )*};
}

mutations! {
    AbandonDraftRequest,
    ActivateRequest,
    CancelScheduleRequest,
    CreateNamespaceRequest,
    CreatePolicyRequest,
    CreateScheduleRequest,
    DeactivateRequest,
    DraftRequest,
    ImportNamespaceRequest,
    PublishRequest,
    PublishVersionsRequest,
    ResumeScheduleRequest,
    RollbackRequest,
    StageRequest,
    ThawNamespaceRequest,
    UpdateGuardrailsRequest,
    UpdateNamespaceRequest,
    UpdatePolicyRequest,
}

mutations_without_validation! {
    ActivateSigningKeyRequest,
    ApproveVersionRequest,
    CompleteRunRequest,
    CreateRoleBindingRequest,
    DeleteRoleBindingRequest,
    PrepareSigningKeyRequest,
    RecordRunRequest,
    RejectVersionRequest,
    RevokeSigningKeyRequest,
    RevokeTokenRequest,
}
