//! Errors as gRPC statuses: a canonical code, one `ErrorInfo`, and the details that apply (AIP-193).

use std::collections::HashMap;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, PreconditionViolation, StatusExt as _};

use super::pb;
use crate::domain::outcome::VersionRefusal;
use crate::domain::{Error, Reason};

/// The domain of every `ErrorInfo`.
pub const ERROR_DOMAIN: &str = "policyhub";
/// Sets when a caller may try again after the server could not answer.
const RETRY_AFTER: Duration = Duration::from_secs(1);

// A status travels in HTTP/2 headers, of which hyper's client takes 16 KiB in all by default. An error over that would
// reach the caller as INTERNAL, without its reason.
const MESSAGE_MAX_BYTES: usize = 1024;
const METADATA_VALUE_MAX_BYTES: usize = 256;
const VIOLATION_MAX_BYTES: usize = 200;
const VIOLATIONS_MAX: usize = 16;

/// Returns the canonical code of a reason.
#[must_use]
#[expect(clippy::too_many_lines, reason = "one table of all reasons, without a wildcard")]
pub fn code(reason: Reason) -> Code {
    match reason {
        Reason::InvalidArgument
        | Reason::MessageTooComplex
        | Reason::ContentEmpty
        | Reason::DuplicateTarget
        | Reason::InvalidPageToken
        | Reason::InvalidSchema
        | Reason::RequestIdReused
        | Reason::ImportRefused => Code::InvalidArgument,
        Reason::TokenMissing
        | Reason::TokenMalformed
        | Reason::TokenExpired
        | Reason::TokenAudience
        | Reason::TokenInvalid
        | Reason::TokenRevoked
        | Reason::CertificateInvalid => Code::Unauthenticated,
        Reason::PermissionDenied | Reason::SubscriberIdTaken => Code::PermissionDenied,
        Reason::NamespaceNotFound
        | Reason::PolicyNotFound
        | Reason::VersionNotFound
        | Reason::ReportNotFound
        | Reason::RunNotFound
        | Reason::ScheduleNotFound
        | Reason::BindingNotFound
        | Reason::KeyNotFound => Code::NotFound,
        Reason::NamespaceExists
        | Reason::PolicyExists
        | Reason::LabelContentConflict
        | Reason::RunConflict
        | Reason::ScheduleExists
        | Reason::BindingExists => Code::AlreadyExists,
        Reason::NoActiveVersion
        | Reason::NoPreviousVersion
        | Reason::AlreadyActive
        | Reason::NoOpenDraft
        | Reason::SeveralOpenDrafts
        | Reason::KindFixed
        | Reason::VersionStaged
        | Reason::VersionNotOpen
        | Reason::VersionNotStaged
        | Reason::VersionNotPublished
        | Reason::ValidationFailed
        | Reason::RequirementBroken
        | Reason::ApprovalsMissing
        | Reason::SelfApproval
        | Reason::LastAdmin
        | Reason::KeyNotReady
        | Reason::KeyStateWrong
        | Reason::ScheduleStateWrong
        | Reason::StoreInDoubt
        | Reason::NamespaceNotEmpty
        | Reason::ImportUnfinished
        | Reason::FindingsRemain => Code::FailedPrecondition,
        Reason::EtagMismatch | Reason::ExpectedActiveMismatch | Reason::ConcurrentChange | Reason::DigestMismatch => {
            Code::Aborted
        }
        Reason::ResumePointGone => Code::OutOfRange,
        Reason::ContentTooLarge
        | Reason::MessageTooLarge
        | Reason::TooManyOpenDrafts
        | Reason::LimitExceeded
        | Reason::TooManyStreams
        | Reason::QuotaExceeded
        | Reason::RateLimited
        | Reason::RequestBudgetExhausted => Code::ResourceExhausted,
        Reason::DatabaseUnavailable
        | Reason::LockTimeout
        | Reason::DatabaseConnectionLimit
        | Reason::DatabaseReadOnly
        | Reason::DatabaseNotDurable
        | Reason::DatabaseAccessDenied
        | Reason::SigningUnavailable
        | Reason::ChecksUnavailable
        | Reason::ServerDraining
        | Reason::OutcomeUnknown => Code::Unavailable,
        Reason::DeadlineExceeded | Reason::RequestTimeout => Code::DeadlineExceeded,
        Reason::Unimplemented => Code::Unimplemented,
        Reason::DataLoss => Code::DataLoss,
        Reason::Internal => Code::Internal,
    }
}

/// Writes an error. What is for the log alone is logged here, once, and does not travel.
#[must_use]
pub fn status(error: Error) -> Status {
    let error = bounded(error);
    let code = code(error.reason);
    log_internal(&error);
    let metadata: HashMap<String, String> =
        error.metadata.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    let mut details = ErrorDetails::with_error_info(error.reason.as_str(), ERROR_DOMAIN, metadata);
    let violations = error.violations.iter();
    match code {
        Code::InvalidArgument if !error.violations.is_empty() => {
            let fields = violations.map(|each| FieldViolation::new(each.field.clone(), each.description.clone()));
            details.set_bad_request(fields.collect::<Vec<_>>());
        }
        Code::FailedPrecondition if !error.violations.is_empty() => {
            let subject = error.resource.clone().unwrap_or_default();
            let failed =
                violations.map(|each| PreconditionViolation::new(&each.field, &subject, each.description.clone()));
            details.set_precondition_failure(failed.collect::<Vec<_>>());
        }
        Code::ResourceExhausted => {
            let subject = error.metadata.get("subject").or(error.resource.as_ref()).cloned().unwrap_or_default();
            details.add_quota_failure_violation(subject, error.message.clone());
        }
        _ => {}
    }
    if let Some(wait) = retry_after(&error) {
        details.set_retry_info(Some(wait));
    }
    if let Some(resource) = &error.resource {
        details.set_resource_info(resource_type(resource), resource.clone(), "", error.message.clone());
    }
    Status::with_error_details(code, error.message, details)
}

/// Writes an error about a part of a call, while the rest of it goes on. As for [`status`], what is for the log alone is logged here.
#[must_use]
pub fn refusal(error: Error) -> pb::Refusal {
    log_internal(&error);
    kept_refusal(VersionRefusal::from(Error { retry_after: retry_after(&error), ..error }))
}

/// Writes an error that was kept with an answer.
#[must_use]
pub fn kept_refusal(from: VersionRefusal) -> pb::Refusal {
    let VersionRefusal { reason, mut message, mut metadata, retry_after } = from;
    cut(&mut message, MESSAGE_MAX_BYTES);
    metadata.values_mut().for_each(|value| cut(value, METADATA_VALUE_MAX_BYTES));
    let code = code(reason) as i32;
    let retry_delay = retry_after.and_then(|wait| prost_types::Duration::try_from(wait).ok());
    pb::Refusal { code, reason: reason.as_str(), message, metadata: metadata.into_iter().collect(), retry_delay }
}

/// Returns how long to wait before another try, where one may go well.
fn retry_after(error: &Error) -> Option<Duration> {
    match code(error.reason) {
        Code::Unavailable => Some(RETRY_AFTER),
        Code::ResourceExhausted if error.reason == Reason::TooManyStreams => error.retry_after.or(Some(RETRY_AFTER)),
        Code::ResourceExhausted => error.retry_after,
        _ => None,
    }
}

fn log_internal(error: &Error) {
    if let Some(internal) = &error.internal {
        tracing::error!(reason = error.reason.as_str(), internal, "request failed");
    }
}

/// Cuts an error to a size that every client takes.
fn bounded(mut error: Error) -> Error {
    cut(&mut error.message, MESSAGE_MAX_BYTES);
    error.metadata.values_mut().for_each(|value| cut(value, METADATA_VALUE_MAX_BYTES));
    error.violations.truncate(VIOLATIONS_MAX);
    error.violations.iter_mut().for_each(|violation| cut(&mut violation.description, VIOLATION_MAX_BYTES));
    error
}

fn cut(text: &mut String, max_bytes: usize) {
    if text.len() > max_bytes {
        // `floor_char_boundary` needs a newer Rust than the SDK does.
        let end = (0..=max_bytes).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
}

fn resource_type(name: &str) -> &'static str {
    match name.split('/').count() {
        2 => "policyhub.v1.Namespace",
        _ if name.split('/').nth(2) == Some("runs") => "policyhub.v1.Run",
        _ if name.split('/').nth(2) == Some("schedules") => "policyhub.v1.Schedule",
        4 => "policyhub.v1.Policy",
        _ => "policyhub.v1.Version",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_mistakes_are_never_internal() {
        for reason in Reason::ALL {
            let is_ours = matches!(reason, Reason::Internal);
            assert_eq!(matches!(code(*reason), Code::Internal | Code::Unknown), is_ours, "{reason:?}");
        }
    }

    #[test]
    fn the_largest_error_fits_into_the_headers_of_a_client() {
        let long = "é".repeat(100_000);
        let violation =
            crate::domain::error::FieldViolation { field: "targets[99].policy".to_owned(), description: long.clone() };
        let error = Error { violations: vec![violation; 100], ..Error::new(Reason::InvalidArgument, &long) };
        let keys = ["a", "b", "c", "d", "e", "f"];
        let error = keys.into_iter().fold(error, |error, key| error.with(key, &long)).about("namespaces/n/policies/p");
        let response: http::Response<()> = status(error).into_http();
        let size: usize = response.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
        assert!(size < 16 * 1024, "{size}");
        assert!(size > 8 * 1024, "{size}");
    }

    #[test]
    fn who_is_over_a_quota_is_told_whose_it_is_and_when_to_come_again() {
        let error = Error::new(Reason::RateLimited, "over").with("subject", "local:ci");
        let wait = Duration::from_millis(20);
        let details = status(Error { retry_after: Some(wait), ..error }).get_error_details();
        let subject = details.quota_failure().and_then(|failure| failure.violations.first().map(|v| v.subject.clone()));
        assert_eq!(subject.as_deref(), Some("local:ci"));
        assert_eq!(details.retry_info().and_then(|retry| retry.retry_delay), Some(wait));
        assert!(details.resource_info().is_none(), "a principal is no resource");
        let of_a_part = refusal(Error { retry_after: Some(wait), ..Error::new(Reason::RateLimited, "over") });
        assert_eq!(of_a_part.retry_delay, prost_types::Duration::try_from(wait).ok());
        let full = status(Error::new(Reason::QuotaExceeded, "full")).get_error_details();
        assert!(full.retry_info().is_none(), "waiting does not help");
    }

    #[test]
    fn internal_detail_does_not_travel() {
        let status = status(Error::internal("the secret"));
        assert!(!format!("{status:?}").contains("the secret"));
        let info = status.get_details_error_info();
        assert_eq!(info.map(|info| (info.reason, info.domain)), Some(("INTERNAL".to_owned(), "policyhub".to_owned())));
    }
}
