//! Adds a reason to the errors that tonic itself returns: too large, undecodable, unknown method.

use http::{HeaderValue, Response};
use tonic::{Code, Status};

use crate::api::codec::{TOO_COMPLEX, UNDECODABLE};
use crate::api::status::status;
use crate::domain::{Error, Reason};

/// The first words of the errors that tonic itself returns.
const NOT_FRAMED: [&str; 4] = [
    "Missing request message",
    "Unexpected EOF decoding stream",
    "protocol error: received message with",
    "h2 protocol error",
];
pub(in crate::grpc) const COMPRESSED: &str = "Content is compressed with";
const TOO_LARGE: &str = "Error, decoded message length too large";

/// Rewrites an error that tonic itself returned, and leaves every other answer unchanged.
pub fn rewrite_transport_error<B: Default>(response: Response<B>) -> Response<B> {
    let Some(found) = Status::from_header_map(response.headers()) else { return response };
    if !found.details().is_empty() {
        return response;
    }
    let error = match found.code() {
        // In this API, OUT_OF_RANGE means that a resume point is gone.
        Code::OutOfRange if found.message().starts_with(TOO_LARGE) => {
            Error::new(Reason::MessageTooLarge, "the request message is over the limit of this method")
        }
        Code::Internal if found.message().starts_with(TOO_COMPLEX) => {
            Error::new(Reason::MessageTooComplex, found.message())
        }
        Code::Internal if found.message().starts_with(UNDECODABLE) => {
            Error::new(Reason::InvalidArgument, "the request message can't be decoded")
        }
        // The specification says INTERNAL, but it is a mistake of the caller.
        Code::Internal if NOT_FRAMED.iter().any(|begin| found.message().starts_with(begin)) => {
            Error::new(Reason::InvalidArgument, "the request is not exactly one message with the prefix of gRPC")
        }
        Code::Unimplemented if found.message().starts_with(COMPRESSED) => {
            let message = "a request can be compressed by gzip, or not at all";
            return with_encodings(status(Error::new(Reason::Unimplemented, message)));
        }
        Code::Unimplemented => Error::new(Reason::Unimplemented, "there is no such method"),
        _ => return response,
    };
    status(error).into_http()
}

/// Adds the accepted encodings, which a server must name in such a refusal (gRPC compression, "Specification").
fn with_encodings<B: Default>(refusal: Status) -> Response<B> {
    let mut response = refusal.into_http();
    response.headers_mut().insert("grpc-accept-encoding", HeaderValue::from_static("gzip,identity"));
    response
}
