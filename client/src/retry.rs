//! Retries of calls: few, bounded, of mutations with the same request id.
//!
//! Invariant: only what has one effect in all is retried: UNAVAILABLE of a read, or of a request that carries an id, unless the
//! database named a reason of its own, and what was refused for its rate, which was never begun.

use std::future::Future;
use std::time::Duration;

use tonic::{Code, Status};

use super::error::ClientError;
use policyhub_core::domain::Reason;

/// Tries after the first.
pub const RETRIES_MAX: u32 = 3;
/// Longest pause before the first retry; it doubles with each further one.
pub const BACKOFF_BASE_MS: u64 = 200;
/// Longest pause before any retry, also when the server asks for more.
pub const BACKOFF_MAX_MS: u64 = 5_000;

/// Returns a new idempotency key. A request that carries one is tried again while the server is away, and has one effect in all.
#[must_use]
pub fn new_request_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// Runs a mutation until it is neither UNAVAILABLE nor over its rate, or the tries are used up. Without a request id it is
/// tried again only when it was over its rate.
pub(crate) async fn with_retries<T, F>(request_id: &str, mut call: impl FnMut() -> F) -> Result<T, ClientError>
where
    F: Future<Output = Result<tonic::Response<T>, Status>>,
{
    let kind = if request_id.is_empty() { Repeat::OverRate } else { Repeat::Mutation };
    repeat(kind, || {
        let answer = call();
        async { Ok(answer.await?.into_inner()) }
    })
    .await
}

/// Says when a call may be made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It changes nothing: while the server is UNAVAILABLE, or the caller is over a rate.
    Read,
    /// It has one effect in all by its request id: as a read.
    Mutation,
    /// It has no request id: only what was over its rate, and so was never begun.
    OverRate,
}

/// Makes a call until its answer is none that another try can change, or the tries are used up. When one of several tries of a
/// mutation may have been carried out, a later one that was not doesn't hide that: the error is that of the first whose outcome
/// is unknown (docs/guarantees.md#g8).
pub(crate) async fn repeat<T, F>(kind: Repeat, mut call: impl FnMut() -> F) -> Result<T, ClientError>
where
    F: Future<Output = Result<T, ClientError>>,
{
    let mut attempt = 0;
    let mut unknown = None;
    loop {
        let error = match call().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error.with_mutation(kind != Repeat::Read),
        };
        let limits = [Reason::RateLimited, Reason::RequestBudgetExhausted];
        let is_limited = limits.iter().any(|limit| error.reason == limit.as_str());
        if error.code != Code::Unavailable && !is_limited {
            // The call was refused before its request id was looked up, so the outcome of the earlier try is still unknown.
            let is_unread = error.reason.is_empty()
                || matches!(error.code, Code::Unauthenticated | Code::PermissionDenied | Code::ResourceExhausted);
            return Err(unknown.filter(|_| is_unread).unwrap_or(error));
        }
        if is_named(&error) {
            return Err(unknown.unwrap_or(error));
        }
        let wait = pause(attempt, error.retry_after, fastrand::f64());
        if unknown.is_none() && error.is_mutation && !is_limited && may_have_happened(&error) {
            unknown = Some(error.clone());
        }
        if (kind == Repeat::OverRate && !is_limited) || attempt == RETRIES_MAX {
            return Err(unknown.unwrap_or(error));
        }
        tokio::time::sleep(wait).await;
        attempt += 1;
    }
}

/// Returns whether the database said itself why it does not serve this: the server has waited for it already, or an operator has to
/// act. The caller hears of it at once instead of after several such waits.
fn is_named(error: &ClientError) -> bool {
    let mut named = Reason::ALL.iter().filter(|reason| reason.is_named_by_the_database());
    named.any(|reason| error.reason == reason.as_str())
}

/// Returns whether an UNAVAILABLE leaves open what became of the call: the server says so, or the answer was lost on its way.
fn may_have_happened(error: &ClientError) -> bool {
    error.reason.is_empty() || error.reason == Reason::OutcomeUnknown.as_str()
}

/// Returns a pause with full jitter: what the server asked for, and anything between nothing and the doubled bound on top: it tells many callers
/// the same, and they must not come back as one.
fn pause(attempt: u32, asked: Option<Duration>, fraction: f64) -> Duration {
    let longest = BACKOFF_BASE_MS.saturating_mul(1 << attempt.min(16)).min(BACKOFF_MAX_MS);
    let jittered = Duration::from_millis(longest).mul_f64(fraction);
    jittered.saturating_add(asked.unwrap_or_default()).min(Duration::from_millis(BACKOFF_MAX_MS))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::*;

    #[test]
    fn pauses_double_and_stay_bounded() {
        assert_eq!(pause(0, None, 1.0), Duration::from_millis(200));
        assert_eq!(pause(2, None, 1.0), Duration::from_millis(800));
        assert_eq!(pause(2, None, 0.0), Duration::ZERO);
        assert_eq!(pause(60, None, 1.0), Duration::from_millis(BACKOFF_MAX_MS));
        assert_eq!(pause(0, Some(Duration::from_secs(1)), 0.0), Duration::from_secs(1));
        assert_eq!(pause(0, Some(Duration::from_secs(1)), 0.5), Duration::from_millis(1_100), "not all at once");
        assert_eq!(pause(0, Some(Duration::from_secs(3600)), 0.0), Duration::from_millis(BACKOFF_MAX_MS));
    }

    async fn tries_of(request_id: &str, code: Code) -> u32 {
        let mut tries = 0;
        let outcome: Result<(), ClientError> = with_retries(request_id, || {
            tries += 1;
            std::future::ready(Err(Status::new(code, "no")))
        })
        .await;
        assert!(outcome.is_err());
        tries
    }

    #[tokio::test(start_paused = true)]
    async fn only_unavailable_with_an_id_is_tried_again() {
        assert_eq!(tries_of("id", Code::Unavailable).await, 1 + RETRIES_MAX);
        assert_eq!(tries_of("", Code::Unavailable).await, 1);
        assert_eq!(tries_of("id", Code::Aborted).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_database_itself_refused_is_told_at_once() {
        let refused = |reason: &str| {
            let details = ErrorDetails::with_error_info(reason, "policyhub", HashMap::new());
            Status::with_error_details(Code::Unavailable, "no", details)
        };
        for (reason, expected) in [
            ("LOCK_TIMEOUT", 1),
            ("DATABASE_CONNECTION_LIMIT", 1),
            ("DATABASE_READ_ONLY", 1),
            ("DATABASE_NOT_DURABLE", 1),
            ("DATABASE_ACCESS_DENIED", 1),
            ("DATABASE_UNAVAILABLE", 1 + RETRIES_MAX),
        ] {
            let mut tries = 0;
            let outcome: Result<(), ClientError> = with_retries("id", || {
                tries += 1;
                std::future::ready(Err(refused(reason)))
            })
            .await;
            assert_eq!((outcome.expect_err("no try worked").reason.as_str(), tries), (reason, expected));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_try_that_may_have_happened_is_not_hidden_by_the_next() {
        let lost = || Status::unavailable("connection lost");
        let down = || {
            let details = ErrorDetails::with_error_info("DATABASE_UNAVAILABLE", "policyhub", HashMap::new());
            Status::with_error_details(Code::Unavailable, "down", details)
        };
        for (first, then, reason) in [(lost(), down(), ""), (down(), down(), "DATABASE_UNAVAILABLE")] {
            let mut tries = 0;
            let outcome: Result<(), ClientError> = with_retries("id", || {
                tries += 1;
                std::future::ready(Err(if tries == 1 { first.clone() } else { then.clone() }))
            })
            .await;
            assert_eq!(outcome.expect_err("no try worked").reason, reason);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_over_its_rate_waits_as_long_as_it_is_told() {
        let limited = |reason: &str| {
            let mut details = ErrorDetails::with_error_info(reason, "policyhub", HashMap::new());
            details.set_retry_info(Some(Duration::from_millis(900)));
            Status::with_error_details(Code::ResourceExhausted, "slower", details)
        };
        for (reason, expected) in
            [("RATE_LIMITED", 1 + RETRIES_MAX), ("REQUEST_BUDGET_EXHAUSTED", 1 + RETRIES_MAX), ("QUOTA_EXCEEDED", 1)]
        {
            let (mut tries, began) = (0, tokio::time::Instant::now());
            let outcome: Result<(), ClientError> = with_retries("", || {
                tries += 1;
                std::future::ready(Err(limited(reason)))
            })
            .await;
            assert_eq!((outcome.expect_err("no try worked").reason.as_str(), tries), (reason, expected));
            assert!(began.elapsed() >= Duration::from_millis(900) * (expected - 1), "{:?}", began.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_retry_that_works_is_the_answer() {
        let mut tries = 0;
        let outcome = with_retries("id", || {
            tries += 1;
            std::future::ready(if tries == 2 { Ok(tonic::Response::new(7)) } else { Err(Status::unavailable("later")) })
        })
        .await;
        assert_eq!(outcome.ok(), Some(7));
        assert_eq!(tries, 2);
    }
}
