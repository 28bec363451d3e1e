//! A message over the decode limit gets the code and reason of every other limit: tonic answers OUT_OF_RANGE, which
//! here means that a resume point is gone.

use http::Response;
use tonic::{Code, Status};

use crate::api::status::status;
use crate::domain::{Error, Reason};

/// How tonic's own error begins.
const TOO_LARGE: &str = "Error, decoded message length too large";

/// Rewrites that one answer, leaves every other as it is.
pub fn rewrite<B: Default>(response: Response<B>) -> Response<B> {
    let is_too_large = Status::from_header_map(response.headers())
        .is_some_and(|found| found.code() == Code::OutOfRange && found.message().starts_with(TOO_LARGE));
    if !is_too_large {
        return response;
    }
    let error = Error::new(Reason::MessageTooLarge, "the request message is over the limit of this method");
    status(error).into_http()
}
