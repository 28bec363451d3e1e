//! Which resource a request is about, before anything of it is checked: permission comes first.

use crate::api::pb;

/// A request that names what it is about.
pub trait Scoped {
    /// Returns the field that names it, and the name as it was sent, whatever it holds; empty for what belongs to no namespace.
    fn scope(&self) -> (&str, &str);

    /// Returns the second one, of a request about two.
    fn other_scope(&self) -> Option<(&str, &str)> {
        None
    }
}

impl Scoped for pb::DiffVersionsRequest {
    fn scope(&self) -> (&str, &str) {
        ("base", &self.base)
    }

    fn other_scope(&self) -> Option<(&str, &str)> {
        Some(("other", &self.other))
    }
}

macro_rules! scoped {
    ($($request:ident => $field:ident,)*) => {$(
        impl Scoped for pb::$request {
            fn scope(&self) -> (&str, &str) {
                (stringify!($field), &self.$field)
            }
        }
    )*};
}

/// Returns the namespaces that a watch asks for, each with the field that names it. A request without
/// targets gives one empty name, so that it is refused as one without a namespace.
pub fn watch_scopes(request: &pb::WatchActiveRequest) -> impl Iterator<Item = (String, &str)> {
    let named = request.targets.iter().enumerate();
    let named = named.map(|(index, target)| (format!("targets[{index}].parent"), target.parent.as_str()));
    named.chain(request.targets.is_empty().then(|| ("targets".to_owned(), "")))
}

macro_rules! store_wide {
    ($($request:ident,)*) => {$(
        impl Scoped for pb::$request {
            fn scope(&self) -> (&str, &str) {
                ("", "")
            }
        }
    )*};
}

/// The name in a message that may be missing.
macro_rules! scoped_inside {
    ($($request:ident => $message:ident . $field:ident,)*) => {$(
        impl Scoped for pb::$request {
            fn scope(&self) -> (&str, &str) {
                let name = self.$message.as_ref().map_or("", |inner| &inner.$field);
                (concat!(stringify!($message), ".", stringify!($field)), name)
            }
        }
    )*};
}

scoped! {
    CreatePolicyRequest => parent,
    GetPolicyRequest => name,
    ListPoliciesRequest => parent,
    ListActiveRequest => parent,
    DraftRequest => parent,
    AbandonDraftRequest => name,
    StageRequest => name,
    PublishRequest => name,
    PublishVersionsRequest => parent,
    ActivateRequest => parent,
    RollbackRequest => name,
    DeactivateRequest => name,
    GetVersionRequest => name,
    ListVersionsRequest => parent,
    GetValidationReportRequest => name,
    ApproveVersionRequest => name,
    RejectVersionRequest => name,
    CreateScheduleRequest => parent,
    GetScheduleRequest => name,
    ListSchedulesRequest => parent,
    CancelScheduleRequest => name,
    ResumeScheduleRequest => name,
    ListEventsRequest => parent,
    ReportStatusRequest => name,
    ListSubscribersRequest => parent,
    GetConvergenceRequest => parent,
    GetActiveRequest => name,
    RecordRunRequest => parent,
    CompleteRunRequest => name,
    GetRunRequest => name,
    ListRunsRequest => parent,
    GetNamespaceRequest => name,
    GetGuardrailsRequest => name,
    CreateRoleBindingRequest => parent,
    ListRoleBindingsRequest => parent,
    ListDenialsRequest => parent,
    DeleteRoleBindingRequest => name,
    VerifyLogRequest => parent,
    ThawNamespaceRequest => name,
    ExportRowsRequest => parent,
    ImportNamespaceRequest => name,
}

scoped_inside! {
    UpdatePolicyRequest => policy.name,
    UpdateNamespaceRequest => namespace.name,
    UpdateGuardrailsRequest => guardrails.name,
}

store_wide! {
    CreateNamespaceRequest,
    ListNamespacesRequest,
    ListSigningKeysRequest,
    PrepareSigningKeyRequest,
    ActivateSigningKeyRequest,
    RevokeSigningKeyRequest,
    RevokeTokenRequest,
}
