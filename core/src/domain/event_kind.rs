//! The kinds of events.

use serde::{Deserialize, Serialize};

/// The kind of an accepted change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "each is the RPC of the same name, or named by its comment in the proto")]
pub enum EventKind {
    CreateNamespace,
    UpdateNamespace,
    CreatePolicy,
    UpdatePolicy,
    Draft,
    AbandonDraft,
    Stage,
    Publish,
    Activate,
    Rollback,
    Deactivate,
    BumpEpoch,
    CreateRoleBinding,
    DeleteRoleBinding,
    ApproveVersion,
    RejectVersion,
    BreakGlass,
    PrepareSigningKey,
    ActivateSigningKey,
    RevokeSigningKey,
    Resign,
    RevokeToken,
    ImportNamespace,
    ThawNamespace,
    UpdateGuardrails,
    Schedule,
    SuspendSchedule,
    ResumeSchedule,
    CancelSchedule,
}

impl EventKind {
    /// Every kind, in the order of the enum.
    pub const ALL: &[Self] = &[
        Self::CreateNamespace,
        Self::UpdateNamespace,
        Self::CreatePolicy,
        Self::UpdatePolicy,
        Self::Draft,
        Self::AbandonDraft,
        Self::Stage,
        Self::Publish,
        Self::Activate,
        Self::Rollback,
        Self::Deactivate,
        Self::BumpEpoch,
        Self::CreateRoleBinding,
        Self::DeleteRoleBinding,
        Self::ApproveVersion,
        Self::RejectVersion,
        Self::BreakGlass,
        Self::PrepareSigningKey,
        Self::ActivateSigningKey,
        Self::RevokeSigningKey,
        Self::Resign,
        Self::RevokeToken,
        Self::ImportNamespace,
        Self::ThawNamespace,
        Self::UpdateGuardrails,
        Self::Schedule,
        Self::SuspendSchedule,
        Self::ResumeSchedule,
        Self::CancelSchedule,
    ];

    /// Returns the word kept in the database and in events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CreateNamespace => "CREATE_NAMESPACE",
            Self::UpdateNamespace => "UPDATE_NAMESPACE",
            Self::CreatePolicy => "CREATE_POLICY",
            Self::UpdatePolicy => "UPDATE_POLICY",
            Self::Draft => "DRAFT",
            Self::AbandonDraft => "ABANDON_DRAFT",
            Self::Stage => "STAGE",
            Self::Publish => "PUBLISH",
            Self::Activate => "ACTIVATE",
            Self::Rollback => "ROLLBACK",
            Self::Deactivate => "DEACTIVATE",
            Self::BumpEpoch => "BUMP_EPOCH",
            Self::CreateRoleBinding => "CREATE_ROLE_BINDING",
            Self::DeleteRoleBinding => "DELETE_ROLE_BINDING",
            Self::ApproveVersion => "APPROVE_VERSION",
            Self::RejectVersion => "REJECT_VERSION",
            Self::BreakGlass => "BREAK_GLASS",
            Self::PrepareSigningKey => "PREPARE_SIGNING_KEY",
            Self::ActivateSigningKey => "ACTIVATE_SIGNING_KEY",
            Self::RevokeSigningKey => "REVOKE_SIGNING_KEY",
            Self::Resign => "RESIGN",
            Self::RevokeToken => "REVOKE_TOKEN",
            Self::ImportNamespace => "IMPORT_NAMESPACE",
            Self::ThawNamespace => "THAW_NAMESPACE",
            Self::UpdateGuardrails => "UPDATE_GUARDRAILS",
            Self::Schedule => "SCHEDULE",
            Self::SuspendSchedule => "SUSPEND_SCHEDULE",
            Self::ResumeSchedule => "RESUME_SCHEDULE",
            Self::CancelSchedule => "CANCEL_SCHEDULE",
        }
    }
}
