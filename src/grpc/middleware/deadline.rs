//! Ends calls at the caller's deadline, `grpc-timeout` (gRPC over HTTP/2, "Requests"), so that the server does not work for a caller that
//! is gone.
//!
//! The deadline limits the time to the first answer. A long-reading stream also ends at it (`grpc::read`); a watch does not.

use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{Either, Map};
use http::{HeaderMap, Request, Response};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, Timeout, sleep};
use tower::{Layer, Service};

use crate::api::status::status;
use crate::domain::{Error, Reason};

/// How many digits a `grpc-timeout` may have, by the specification.
const DIGITS_MAX: usize = 8;

/// The time at which the caller of a request stops waiting; in the extensions of the request.
#[derive(Debug, Clone, Copy)]
pub(in crate::grpc) struct CallDeadline(pub(in crate::grpc) Instant);

/// Ends calls whose deadline has passed.
#[derive(Debug, Clone, Copy)]
pub struct DeadlineLayer;

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Deadline { inner }
    }
}

/// Ends the calls of a service at their deadlines.
#[derive(Debug, Clone)]
pub struct Deadline<S> {
    inner: S,
}

type TimedResult<R, E> = Result<Result<Response<R>, E>, Elapsed>;
type DeadlineFuture<F, R, E> = Map<Timeout<F>, fn(TimedResult<R, E>) -> Result<Response<R>, E>>;

impl<S, B, R> Service<Request<B>> for Deadline<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Either<S::Future, DeadlineFuture<S::Future, R, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let given = grpc_timeout(request.headers());
        if let Some(given) = given {
            request.extensions_mut().insert(CallDeadline(sleep(given).deadline()));
        }
        let answer = self.inner.call(request);
        match given {
            None => Either::Left(answer),
            Some(given) => Either::Right(tokio::time::timeout(given, answer).map(answer_in_time)),
        }
    }
}

fn answer_in_time<R: Default, E>(timed: TimedResult<R, E>) -> Result<Response<R>, E> {
    timed.unwrap_or_else(|_| {
        let error = Error::new(Reason::DeadlineExceeded, "the caller's deadline passed before there was an answer");
        Ok(status(error).into_http())
    })
}

/// Returns the timeout that the caller gave; a header that can't be parsed counts as none.
fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > DIGITS_MAX || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(value * 60 * 60),
        "M" => Duration::from_secs(value * 60),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-timeout", text.parse().expect("a header"));
        grpc_timeout(&headers)
    }

    #[test]
    fn units_are_those_of_the_specification() {
        for (text, duration) in [
            ("2H", Duration::from_secs(7_200)),
            ("3M", Duration::from_secs(180)),
            ("42S", Duration::from_secs(42)),
            ("13m", Duration::from_millis(13)),
            ("1u", Duration::from_micros(1)),
            ("99999999n", Duration::from_nanos(99_999_999)),
        ] {
            assert_eq!(read(text), Some(duration), "{text}");
        }
        for text in ["", "S", "5", "5s", "-5S", "+5S", "999999999S", "5 S", "é"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_takes_too_long_is_answered() {
        let slow = tower::service_fn(|_: Request<()>| async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            Ok::<_, std::convert::Infallible>(Response::new(()))
        });
        let mut service = DeadlineLayer.layer(slow);
        let request = Request::builder().header("grpc-timeout", "1S").body(()).expect("a request");
        let answer = service.call(request).await.expect("an answer");
        assert_eq!(answer.headers()["grpc-status"], "4");
        let answer = service.call(Request::new(())).await.expect("an answer");
        assert!(!answer.headers().contains_key("grpc-status"), "without a deadline there is time");
    }
}
