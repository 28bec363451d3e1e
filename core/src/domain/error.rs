//! What can go wrong, in the order of what the caller does next.
//!
//! One error type for the whole product. `Reason` is the stable word a client switches on; `docs/errors.md` has a
//! paragraph for each. `message` and `metadata` go to the caller, `internal` never does: it is logged at the boundary.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The stable words of `google.rpc.ErrorInfo.reason`, grouped by what the caller does next.
#[expect(missing_docs, reason = "docs/errors.md has a paragraph for each, and a test compares the two")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
// To programs with the SDK more may come; to the server a `match` of all is one that a compiler checks.
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub enum Reason {
    // Fix the request.
    InvalidArgument,
    ContentEmpty,
    ContentTooLarge,
    MessageTooLarge,
    MessageTooComplex,
    DuplicateTarget,
    InvalidPageToken,
    InvalidSchema,
    RequestIdReused,
    ImportRefused,
    // Fix who you are.
    TokenMissing,
    TokenMalformed,
    TokenExpired,
    TokenAudience,
    TokenInvalid,
    TokenRevoked,
    CertificateInvalid,
    // Ask somebody who may.
    PermissionDenied,
    SubscriberIdTaken,
    // Ask for something else.
    NamespaceNotFound,
    PolicyNotFound,
    VersionNotFound,
    ReportNotFound,
    RunNotFound,
    ScheduleNotFound,
    BindingNotFound,
    KeyNotFound,
    NamespaceExists,
    PolicyExists,
    LabelContentConflict,
    RunConflict,
    ScheduleExists,
    BindingExists,
    // Change the state first.
    NoActiveVersion,
    NoPreviousVersion,
    AlreadyActive,
    NoOpenDraft,
    SeveralOpenDrafts,
    TooManyOpenDrafts,
    KindFixed,
    VersionStaged,
    VersionNotOpen,
    VersionNotStaged,
    VersionNotPublished,
    ValidationFailed,
    RequirementBroken,
    ApprovalsMissing,
    SelfApproval,
    LastAdmin,
    KeyNotReady,
    KeyStateWrong,
    ScheduleStateWrong,
    StoreInDoubt,
    NamespaceNotEmpty,
    ImportUnfinished,
    FindingsRemain,
    // Look again, then decide.
    EtagMismatch,
    ExpectedActiveMismatch,
    ConcurrentChange,
    DigestMismatch,
    // Start over from a snapshot.
    ResumePointGone,
    // Ask for less, or later.
    LimitExceeded,
    TooManyStreams,
    QuotaExceeded,
    RateLimited,
    RequestBudgetExhausted,
    // Retry with the same request id.
    DatabaseUnavailable,
    LockTimeout,
    DatabaseConnectionLimit,
    DatabaseReadOnly,
    DatabaseNotDurable,
    DatabaseAccessDenied,
    SigningUnavailable,
    ChecksUnavailable,
    ServerDraining,
    OutcomeUnknown,
    DeadlineExceeded,
    RequestTimeout,
    // Not in this version.
    Unimplemented,
    // Tell an operator.
    DataLoss,
    Internal,
}

impl Reason {
    /// Every reason, so that documents and tests can walk them.
    pub const ALL: &[Reason] = &[
        Reason::InvalidArgument,
        Reason::ContentEmpty,
        Reason::ContentTooLarge,
        Reason::MessageTooLarge,
        Reason::MessageTooComplex,
        Reason::DuplicateTarget,
        Reason::InvalidPageToken,
        Reason::InvalidSchema,
        Reason::RequestIdReused,
        Reason::ImportRefused,
        Reason::TokenMissing,
        Reason::TokenMalformed,
        Reason::TokenExpired,
        Reason::TokenAudience,
        Reason::TokenInvalid,
        Reason::TokenRevoked,
        Reason::CertificateInvalid,
        Reason::PermissionDenied,
        Reason::SubscriberIdTaken,
        Reason::NamespaceNotFound,
        Reason::PolicyNotFound,
        Reason::VersionNotFound,
        Reason::ReportNotFound,
        Reason::RunNotFound,
        Reason::ScheduleNotFound,
        Reason::BindingNotFound,
        Reason::KeyNotFound,
        Reason::NamespaceExists,
        Reason::PolicyExists,
        Reason::LabelContentConflict,
        Reason::RunConflict,
        Reason::ScheduleExists,
        Reason::BindingExists,
        Reason::NoActiveVersion,
        Reason::NoPreviousVersion,
        Reason::AlreadyActive,
        Reason::NoOpenDraft,
        Reason::SeveralOpenDrafts,
        Reason::TooManyOpenDrafts,
        Reason::KindFixed,
        Reason::VersionStaged,
        Reason::VersionNotOpen,
        Reason::VersionNotStaged,
        Reason::VersionNotPublished,
        Reason::ValidationFailed,
        Reason::RequirementBroken,
        Reason::ApprovalsMissing,
        Reason::SelfApproval,
        Reason::LastAdmin,
        Reason::KeyNotReady,
        Reason::KeyStateWrong,
        Reason::ScheduleStateWrong,
        Reason::StoreInDoubt,
        Reason::NamespaceNotEmpty,
        Reason::ImportUnfinished,
        Reason::FindingsRemain,
        Reason::EtagMismatch,
        Reason::ExpectedActiveMismatch,
        Reason::ConcurrentChange,
        Reason::DigestMismatch,
        Reason::ResumePointGone,
        Reason::LimitExceeded,
        Reason::TooManyStreams,
        Reason::QuotaExceeded,
        Reason::RateLimited,
        Reason::RequestBudgetExhausted,
        Reason::DatabaseUnavailable,
        Reason::LockTimeout,
        Reason::DatabaseConnectionLimit,
        Reason::DatabaseReadOnly,
        Reason::DatabaseNotDurable,
        Reason::DatabaseAccessDenied,
        Reason::SigningUnavailable,
        Reason::ChecksUnavailable,
        Reason::ServerDraining,
        Reason::OutcomeUnknown,
        Reason::DeadlineExceeded,
        Reason::RequestTimeout,
        Reason::Unimplemented,
        Reason::DataLoss,
        Reason::Internal,
    ];

    /// Returns whether the request or the stored data it names is at fault. Otherwise the server could not serve another part of the call either.
    #[must_use]
    pub fn is_of_what_was_asked(self) -> bool {
        let is_of_the_server = matches!(
            self,
            Reason::SigningUnavailable
                | Reason::ChecksUnavailable
                | Reason::ServerDraining
                | Reason::OutcomeUnknown
                | Reason::DeadlineExceeded
                | Reason::RequestTimeout
                | Reason::Unimplemented
                | Reason::Internal
        );
        !is_of_the_server && !self.is_of_the_database()
    }

    /// Returns whether the database can't serve this now: what was verified before is served on, marked as old (docs/guarantees.md#g17).
    #[must_use]
    pub fn is_of_the_database(self) -> bool {
        matches!(self, Reason::DatabaseUnavailable) || self.is_named_by_the_database()
    }

    /// Returns whether the database said itself why not. It has waited already, or somebody has to act: trying again at once does
    /// not help.
    #[must_use]
    pub fn is_named_by_the_database(self) -> bool {
        matches!(
            self,
            Reason::LockTimeout
                | Reason::DatabaseConnectionLimit
                | Reason::DatabaseReadOnly
                | Reason::DatabaseNotDurable
                | Reason::DatabaseAccessDenied
        )
    }

    /// Returns the UPPER_SNAKE word on the wire: the variant's own name, spelt out.
    #[must_use]
    pub fn as_str(self) -> String {
        let camel = format!("{self:?}");
        let mut word = String::with_capacity(camel.len() + 4);
        for letter in camel.chars() {
            if letter.is_ascii_uppercase() && !word.is_empty() {
                word.push('_');
            }
            word.push(letter.to_ascii_uppercase());
        }
        word
    }
}

/// Describes one invalid field of a request, for `google.rpc.BadRequest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// Path of the field, as in the proto: `targets[1].policy`.
    pub field: String,
    /// What is wrong, as a lower-case fragment.
    pub description: String,
}

/// An error on its way to the caller.
#[derive(Debug, Clone)]
pub struct Error {
    /// The stable word.
    pub reason: Reason,
    /// Is the message for people, a lower-case fragment that fits after "failed: ".
    pub message: String,
    /// Every dynamic value of the message, by name.
    pub metadata: BTreeMap<&'static str, String>,
    /// Every field that can't be taken.
    pub violations: Vec<FieldViolation>,
    /// Name of the resource it is about, for `google.rpc.ResourceInfo`.
    pub resource: Option<String>,
    /// How long to wait before another try, for `google.rpc.RetryInfo`.
    pub retry_after: Option<Duration>,
    /// Is the detail for the log alone. It is never sent to a caller.
    pub internal: Option<String>,
}

/// A result of the product.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Describes the violation of a required field that is missing.
pub const REQUIRED: &str = "is required";

impl Error {
    /// Returns an error with a message for the caller.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            metadata: BTreeMap::new(),
            violations: Vec::new(),
            resource: None,
            retry_after: None,
            internal: None,
        }
    }

    /// Returns one field that can't be taken.
    pub fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::invalid_fields(vec![FieldViolation { field: field.into(), description: description.into() }])
    }

    /// Returns a text that can't be taken: one that is missing is required, whatever the rule for it is.
    pub fn invalid_text(field: impl Into<String>, text: &str, rule: impl Into<String>) -> Self {
        if text.is_empty() { Self::invalid(field, REQUIRED) } else { Self::invalid(field, rule) }
    }

    /// Returns all fields that can't be taken.
    #[must_use]
    pub fn invalid_fields(violations: Vec<FieldViolation>) -> Self {
        let text: Vec<String> =
            violations.iter().map(|violation| format!("{}: {}", violation.field, violation.description)).collect();
        Self { violations, ..Self::new(Reason::InvalidArgument, text.join("; ")) }
    }

    /// Returns the error for a fault of the server. The caller learns only that; `detail` is logged.
    pub fn internal(detail: impl Into<String>) -> Self {
        Self { internal: Some(detail.into()), ..Self::new(Reason::Internal, "internal error") }
    }

    /// Returns a stored byte that does not verify: never served, always alarmed.
    pub fn data_loss(detail: impl Into<String>) -> Self {
        Self { internal: Some(detail.into()), ..Self::new(Reason::DataLoss, "stored data does not verify") }
    }

    /// Adds a dynamic value.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.metadata.insert(key, value.to_string());
        self
    }

    /// Adds the resource that it is about.
    #[must_use]
    pub fn about(mut self, resource: impl fmt::Display) -> Self {
        self.resource = Some(resource.to_string());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.reason.as_str())
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_upper_snake() {
        assert_eq!(Reason::LabelContentConflict.as_str(), "LABEL_CONTENT_CONFLICT");
        assert_eq!(Reason::Internal.as_str(), "INTERNAL");
    }

    /// Kept answers have them, and another build reads those.
    #[test]
    fn reasons_are_kept_as_they_are_on_the_wire() {
        for reason in Reason::ALL {
            let kept = serde_json::to_string(reason).expect("JSON");
            assert_eq!(kept, format!("{:?}", reason.as_str()));
            assert_eq!(serde_json::from_str::<Reason>(&kept).expect("a reason"), *reason);
        }
    }

    #[test]
    fn what_the_server_can_not_do_is_nobody_elses_fault() {
        for reason in [Reason::InvalidArgument, Reason::VersionNotOpen, Reason::RateLimited, Reason::DataLoss] {
            assert!(reason.is_of_what_was_asked(), "{reason:?}");
        }
        for reason in [Reason::DatabaseUnavailable, Reason::OutcomeUnknown, Reason::ChecksUnavailable, Reason::Internal]
        {
            assert!(!reason.is_of_what_was_asked(), "{reason:?}");
        }
    }
}
