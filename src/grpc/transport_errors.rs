//! What tonic refuses by itself gets a reason like every other error: too large, undecodable, unknown method.

use http::Response;
use tonic::{Code, Status};

use crate::api::status::status;
use crate::domain::{Error, Reason};

/// How tonic's own errors begin.
const TOO_LARGE: &str = "Error, decoded message length too large";
const UNDECODABLE: &str = "failed to decode Protobuf message";

/// Rewrites an answer of tonic itself, leaves every other as it is.
pub fn rewrite<B: Default>(response: Response<B>) -> Response<B> {
    let Some(found) = Status::from_header_map(response.headers()) else { return response };
    if !found.details().is_empty() {
        return response;
    }
    let error = match found.code() {
        // OUT_OF_RANGE means that a resume point is gone.
        Code::OutOfRange if found.message().starts_with(TOO_LARGE) => {
            Error::new(Reason::MessageTooLarge, "the request message is over the limit of this method")
        }
        Code::Internal if found.message().starts_with(UNDECODABLE) => {
            Error::new(Reason::InvalidArgument, "the request message can't be decoded")
        }
        Code::Unimplemented => Error::new(Reason::Unimplemented, "there is no such method"),
        _ => return response,
    };
    status(error).into_http()
}
