//! Errors of calls, as the server answered them: canonical code, stable reason, every dynamic value.
//!
//! Decoded once from `google.rpc.Status` details (AIP-193), so that no caller parses messages.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use policyhub_core::api::pb;
use policyhub_core::domain::causes::with_causes;
use policyhub_core::domain::error::{Error as DomainError, FieldViolation, Reason};

/// Begins the error of TLS for a server's certificate that it does not trust (rustls, `Error::InvalidCertificate`).
pub(super) const UNTRUSTED: &str = "invalid peer certificate";

/// A call that failed. Its source is what failed below it, such as a connection, where something did.
#[derive(Debug, Clone)]
pub struct ClientError {
    pub(crate) code: Code,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) resource: Box<str>,
    pub(crate) violations: Vec<FieldViolation>,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) is_mutation: bool,
    pub(crate) source: Option<Arc<dyn Error + Send + Sync>>,
}

impl ClientError {
    /// Returns the canonical code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// Returns the stable UPPER_SNAKE reason of `google.rpc.ErrorInfo`; empty when neither the server nor a rule that this SDK
    /// shares with it gave one. [`Reason`] has those that this SDK knows.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Returns whether the reason is this one.
    #[must_use]
    pub fn is(&self, reason: Reason) -> bool {
        self.reason == reason.as_str()
    }

    /// Returns the message for people, a lower-case fragment that fits after "failed to …: ". It names its causes.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns every dynamic value of the message, by name.
    #[must_use]
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Returns the name of what it is about (`google.rpc.ResourceInfo`); empty when the server names nothing.
    #[must_use]
    pub fn resource(&self) -> &str {
        &self.resource
    }

    /// Returns every field of the request that can't be taken; of a FAILED_PRECONDITION, everything that does not hold, with its kind as
    /// the field, such as the check that fails.
    #[must_use]
    pub fn violations(&self) -> &[FieldViolation] {
        &self.violations
    }

    /// Returns how long the server asks to wait before the next try.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Returns whether the call was one that changes something: only then a repeated one needs the same request id.
    #[must_use]
    pub fn is_mutation(&self) -> bool {
        self.is_mutation
    }
}

impl ClientError {
    /// Returns an error of this side: a bad endpoint, token or certificate, or a server that can't be reached.
    pub(crate) fn local(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            reason: String::new(),
            message: message.into(),
            metadata: BTreeMap::new(),
            resource: Box::default(),
            violations: Vec::new(),
            retry_after: None,
            is_mutation: false,
            source: None,
        }
    }
}

impl ClientError {
    /// Returns the same error, of a call that changes something or not.
    #[doc(hidden)]
    #[must_use]
    pub fn with_mutation(self, is_mutation: bool) -> Self {
        Self { is_mutation, ..self }
    }

    /// Returns the error for an argument that can't be used.
    pub(crate) fn invalid(error: &DomainError) -> Self {
        let reason = error.reason.as_str().to_owned();
        let violations = error.violations.clone();
        Self { reason, violations, ..Self::local(Code::InvalidArgument, error.message.clone()) }
    }

    /// Returns the error for an answer of the server that can't be read.
    pub(crate) fn unreadable(error: &DomainError) -> Self {
        Self::local(Code::Internal, format!("the server's answer can't be read: {}", error.message))
    }

    /// Returns the error for an answer of the server that lacks a field.
    pub(crate) fn missing(what: &str) -> Self {
        Self::local(Code::Internal, format!("the server's answer has no {what}"))
    }

    #[doc(hidden)]
    /// Returns the refusal of one version by PublishVersions, as Publish of it would have failed, without violations of fields.
    #[must_use]
    pub fn of_refusal(name: &str, refusal: pb::Refusal) -> Self {
        let pb::Refusal { code, reason, message, metadata, retry_delay } = refusal;
        let retry_after = retry_delay.and_then(|wait| Duration::try_from(wait).ok());
        let resource = name.into();
        let metadata = metadata.into_iter().collect();
        Self {
            reason,
            metadata,
            resource,
            retry_after,
            is_mutation: true,
            ..Self::local(Code::from_i32(code), message)
        }
    }

    /// Returns whether the same request again can't succeed before somebody changes something: the request, the caller's rights, or
    /// the state it speaks of. Everything else may be tried again, with the same `request_id`, after [`Self::retry_after`]
    /// and a jitter.
    ///
    /// | code | terminal |
    /// |---|---|
    /// | UNAVAILABLE, also of a connection that broke, DEADLINE_EXCEEDED, CANCELLED | no: the first try may have been done |
    /// | RESOURCE_EXHAUSTED | yes, but `RATE_LIMITED`, `TOO_MANY_STREAMS` and `REQUEST_BUDGET_EXHAUSTED` |
    /// | ABORTED | yes, but `CONCURRENT_CHANGE`: read again, look, then ask for what you want now |
    /// | OUT_OF_RANGE | yes: open another stream without a resume point |
    /// | UNAUTHENTICATED | yes: take another token |
    /// | every other one | yes |
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        let passing =
            [Reason::RateLimited, Reason::TooManyStreams, Reason::RequestBudgetExhausted, Reason::ConcurrentChange];
        match self.code {
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => false,
            _ => !passing.iter().any(|reason| reason.as_str() == self.reason),
        }
    }
}

impl ClientError {
    /// Returns whether the client did not trust the server's certificate: its authority, its name or its time.
    #[must_use]
    pub fn is_untrusted(&self) -> bool {
        self.message.contains(UNTRUSTED)
    }

    /// Returns whether it is the connection that failed, or that nobody may use any more: another one may do better.
    pub(crate) fn is_of_connection(&self) -> bool {
        let is_broken = matches!(
            self.code,
            Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled | Code::DeadlineExceeded
        );
        let drains = self.reason == Reason::ServerDraining.as_str();
        self.code == Code::Unauthenticated || drains || (is_broken && self.reason.is_empty())
    }

    /// Returns whether a stream that this ended, or did not let begin, may be opened again as it is: a connection that broke, a server
    /// that is away, drains or is too busy.
    #[must_use]
    pub fn may_reconnect(&self) -> bool {
        // What breaks below gRPC has codes of the transport's choice, and never a reason of the server.
        let is_broken = self.reason.is_empty() && matches!(self.code, Code::Unknown | Code::Internal);
        // A stream only reads, so it may continue once an operator has decided about the store.
        let is_in_doubt = self.reason == Reason::StoreInDoubt.as_str();
        is_broken || is_in_doubt || !self.is_terminal()
    }
}

impl From<Status> for ClientError {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        let (reason, metadata) = match details.error_info() {
            Some(info) => (info.reason.clone(), info.metadata.clone().into_iter().collect()),
            None => (String::new(), BTreeMap::new()),
        };
        let violation = |field: &str, description: &str| FieldViolation {
            field: field.to_owned(),
            description: description.to_owned(),
        };
        let fields = details.bad_request().into_iter().flat_map(|bad| &bad.field_violations);
        let fields = fields.map(|each| violation(&each.field, &each.description));
        let unmet = details.precondition_failure().into_iter().flat_map(|failed| &failed.violations);
        let unmet = unmet.map(|each| violation(&each.r#type, &each.description));
        let violations = fields.chain(unmet).collect();
        Self {
            code: code_of(&status),
            reason,
            message: with_causes(status.message().to_owned(), status.source()),
            metadata,
            resource: details.resource_info().map(|about| about.resource_name.as_str().into()).unwrap_or_default(),
            violations,
            retry_after: details.retry_info().and_then(|retry| retry.retry_delay),
            is_mutation: false,
            source: status.source().is_some().then(|| Arc::new(Below(status)) as _),
        }
    }
}

/// Holds what failed below a call. It is kept within the status, which can't be taken apart.
#[derive(Debug)]
struct Below(Status);

impl fmt::Display for Below {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.source().map_or(Ok(()), |source| fmt::Display::fmt(source, f))
    }
}

impl Error for Below {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()?.source()
    }
}

/// Returns the code of a status, by the specification of gRPC: tonic calls a connection that broke UNKNOWN, INTERNAL or CANCELLED. What a server
/// answered has no source.
fn code_of(status: &Status) -> Code {
    match status.code() {
        _ if has_timed_out(status) => Code::DeadlineExceeded,
        Code::Unknown | Code::Internal | Code::Cancelled if status.source().is_some() => Code::Unavailable,
        code => code,
    }
}

/// Returns whether the client's own clock ended the call, which tonic calls CANCELLED and gRPC DEADLINE_EXCEEDED.
fn has_timed_out(status: &Status) -> bool {
    let mut next = status.source();
    while let Some(cause) = next {
        if cause.is::<tonic::TimeoutExpired>() {
            return true;
        }
        next = cause.source();
    }
    false
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.reason.is_empty() { format!("{:?}", self.code) } else { self.reason.clone() };
        write!(f, "{} ({word})", self.message)
    }
}

impl Error for ClientError {
    /// Returns what failed below the call. The message names it too, so that whoever prints the message alone has all of it.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::ErrorDetails;

    #[test]
    fn details_are_decoded() {
        let mut details = ErrorDetails::new();
        details
            .set_error_info("LABEL_CONTENT_CONFLICT", "policyhub", [("label".to_owned(), "1.0.0".to_owned())])
            .add_bad_request_violation("label", "is taken")
            .set_retry_info(Some(Duration::from_millis(250)))
            .set_resource_info("policy", "namespaces/default/policies/pricing", "", "");
        let error = ClientError::from(Status::with_error_details(Code::AlreadyExists, "label is taken", details));
        assert_eq!(error.code, Code::AlreadyExists);
        assert_eq!(error.reason, "LABEL_CONTENT_CONFLICT");
        assert_eq!(error.resource(), "namespaces/default/policies/pricing");
        assert_eq!(error.metadata.get("label").map(String::as_str), Some("1.0.0"));
        assert_eq!(error.violations.first().map(|violation| violation.field.as_str()), Some("label"));
        assert_eq!(error.retry_after, Some(Duration::from_millis(250)));
        assert_eq!(error.to_string(), "label is taken (LABEL_CONTENT_CONFLICT)");
    }

    #[test]
    fn what_may_be_tried_again_is_not_terminal() {
        let of = |code, reason: &str| {
            let details = ErrorDetails::with_error_info(reason, "policyhub", std::collections::HashMap::new());
            ClientError::from(Status::with_error_details(code, "", details)).is_terminal()
        };
        for (code, reason, terminal) in [
            (Code::Unavailable, "OUTCOME_UNKNOWN", false),
            (Code::DeadlineExceeded, "", false),
            (Code::ResourceExhausted, "RATE_LIMITED", false),
            (Code::ResourceExhausted, "LIMIT_EXCEEDED", true),
            (Code::Aborted, "CONCURRENT_CHANGE", false),
            (Code::Aborted, "EXPECTED_ACTIVE_MISMATCH", true),
            (Code::Unauthenticated, "UNAUTHENTICATED", true),
            (Code::Internal, "INTERNAL", true),
        ] {
            assert_eq!(of(code, reason), terminal, "{code:?} {reason}");
        }
    }

    #[test]
    fn a_connection_that_broke_is_unavailable() {
        let broken = |code| {
            let mut status = Status::new(code, "transport error");
            status.set_source(Arc::new(std::io::Error::other("connection reset")));
            ClientError::from(status).code()
        };
        for code in [Code::Unknown, Code::Internal, Code::Cancelled] {
            assert_eq!(broken(code), Code::Unavailable, "{code:?} of the transport");
            assert_eq!(ClientError::from(Status::new(code, "said")).code(), code, "{code:?} of the server");
        }
        assert_eq!(broken(Code::ResourceExhausted), Code::ResourceExhausted);
    }

    #[test]
    fn an_error_without_details_shows_its_code() {
        let error = ClientError::from(Status::unavailable("gone"));
        assert_eq!(error.to_string(), "gone (Unavailable)");
        assert!(error.metadata.is_empty() && error.violations.is_empty());
    }
}
